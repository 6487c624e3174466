//! The whole program through its public wire: servers in this process on ports that the system chooses, or the built binary.
//!
//! One module per feature; `harness` starts and stops. SQLite always; MariaDB and PostgreSQL too when
//! `CLAVIGER_TEST_MYSQL_URL` and `CLAVIGER_TEST_POSTGRES_URL` name a server, the
//! Galera cluster of `CLAVIGER_TEST_GALERA_URLS` in `cluster`. Time is a manual clock, except for the process: it goes by the system's,
//! in `zones` by one that libfaketime makes up.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod access;
mod access_matrix;
mod cleaner;
mod cluster;
mod concurrency;
mod crash;
mod db_commands;
mod disk_full;
mod following;
mod gateway;
mod golden;
mod harness;
mod lifecycle;
mod oauth;
mod outage;
mod portal;
mod rest3x;
mod secrets;
mod zones;
