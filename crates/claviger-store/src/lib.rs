//! The only SQL of Claviger: the WSO2 tables (contract database.md) and our own `CLV_*` tables, on SQLite, MariaDB/MySQL
//! and PostgreSQL from one text with named exceptions.
//!
//! Owns: connections, transactions and their retries ([`db`]), the SQLite writer that groups commits (`writer`), the
//! schema ([`schema`]), and one file per table family. A change and its event are one transaction ([`events`]).
//! Leaves to the program: every decision. A function here reads or writes rows and knows no HTTP.

pub mod account_locks;
pub mod apis;
pub mod applications;
pub mod capability;
pub mod claims;
pub mod cleaning;
pub mod client_details;
pub mod clients;
pub mod codes;
pub mod conn;
pub mod db;
pub mod error;
pub mod events;
pub mod feed;
pub mod forms;
mod galera;
pub mod key_stores;
pub mod leases;
pub mod line;
pub mod location;
pub mod notifications;
pub mod plan;
pub mod policies;
pub mod registry;
pub mod revocations;
pub mod roles;
pub mod schema;
pub mod scopes;
pub mod seed;
mod session;
mod session_zone;
pub mod sql;
pub mod start_lock;
pub mod status;
pub mod subscriptions;
pub mod tenants;
pub mod throttling;
pub mod tokens;
pub mod user_admin;
pub mod users;
pub mod value;
mod writer;

/// Every statement of the crate by module and name (`claviger_store::tokens::RETIRE`), for the tests that prepare each one
/// and look at the plans.
pub fn statements() -> impl Iterator<Item = (&'static str, &'static sql::Sql)> {
    [
        account_locks::STATEMENTS,
        apis::STATEMENTS,
        capability::STATEMENTS,
        applications::STATEMENTS,
        claims::STATEMENTS,
        client_details::STATEMENTS,
        clients::STATEMENTS,
        codes::STATEMENTS,
        events::STATEMENTS,
        feed::STATEMENTS,
        key_stores::STATEMENTS,
        leases::STATEMENTS,
        notifications::STATEMENTS,
        policies::STATEMENTS,
        registry::STATEMENTS,
        revocations::STATEMENTS,
        roles::STATEMENTS,
        schema::STATEMENTS,
        scopes::STATEMENTS,
        seed::STATEMENTS,
        subscriptions::STATEMENTS,
        tenants::STATEMENTS,
        throttling::STATEMENTS,
        user_admin::STATEMENTS,
        users::STATEMENTS,
    ]
    .into_iter()
    .flatten()
    .chain(tokens::statements())
    .chain(cleaning::statements())
    .chain(status::statements())
    .map(|(name, sql)| (*name, *sql))
}
