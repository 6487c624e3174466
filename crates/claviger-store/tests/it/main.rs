//! Store conformance: the same cases on SQLite always, and on MariaDB and PostgreSQL when `CLAVIGER_TEST_MYSQL_URL` and
//! `CLAVIGER_TEST_POSTGRES_URL` name a server (`cargo xtask test` starts both). Each case gets a database of its own.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod catalogue;
mod cleaning;
mod cleaning_wso2;
mod clients;
mod codes;
mod concurrency;
mod database;
mod events;
mod feed;
mod key_stores;
mod leases;
mod notifications;
mod of_user;
mod plan_rows;
mod plans;
mod portal;
mod releases;
mod setup;
mod statements;
mod status;
mod tokens;
mod trouble;
mod users;
mod zones;
