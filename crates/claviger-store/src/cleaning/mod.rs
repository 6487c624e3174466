//! Removing what is over from the tables that grow with use (contract database.md 3.8, 4.4): a page of a table is read by its
//! primary key, what may go is decided here in Rust, and a later write removes some of it by key.
//!
//! Owns: which row may go, and the statements. Leaves to the program: when, how much, how fast, and who. One function per
//! table, so that a database that lacks a table or a column leaves that [`Table`] out.
//!
//! A WSO2 node, or a second cleaner, may work on the same rows meanwhile. So nothing that was read without a lock counts: the
//! write locks the rows it names (by key: no range, no gap), looks at each again, and removes those for which nothing has
//! changed. Children (scopes, bindings) go with their row.

mod log;
mod rest;
mod tokens;

use crate::capability::{Capabilities, Capability};
use crate::conn::Conn;
use crate::error::StoreError;
use crate::schema;
use crate::sql::{Engine, Family, Sql, queries};
use crate::value::{Arg, Row};
use claviger_proto::time::Timestamp;

/// Rows read by one statement.
pub const PAGE_ROWS: usize = 1_000;
/// Rows removed by one write: as many as one statement names.
pub const WRITE_ROWS: usize = 100;
/// Periods from here on mean "never ends" (database.md 3.1), as do those that are not positive.
const ENDLESS_MS: i64 = 99_999_999_999_990;

/// As many places as a write has rows.
macro_rules! keys {
    () => {
        "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, \
         ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, \
         ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
    };
}
use keys;

queries! {
    NOW = "SELECT CAST(STRFTIME('%s', 'now') AS INTEGER)",
        MySql = "SELECT CAST(UNIX_TIMESTAMP() AS SIGNED)",
        Postgres = "SELECT CAST(FLOOR(EXTRACT(EPOCH FROM CLOCK_TIMESTAMP())) AS BIGINT)";
}

/// A table that is cleaned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// IDN_OAUTH2_ACCESS_TOKEN.
    AccessTokens,
    /// IDN_OAUTH2_AUTHORIZATION_CODE. After the tokens: a code stays as long as its token.
    AuthorizationCodes,
    /// CLV_CODE_CONTEXT. After the codes: a context goes with its code, whoever removed that.
    CodeContexts,
    /// IDN_OAUTH2_ACCESS_TOKEN_AUDIT.
    TokenAudit,
    /// IDN_AUTH_SESSION_STORE.
    Sessions,
    /// AM_REVOKED_JWT.
    RevokedJwts,
    /// CLV_REVOCATION.
    Revocations,
    /// CLV_EVENT.
    Events,
    /// CLV_NOTIFICATION.
    Notifications,
}

impl Table {
    /// All of them, in the order in which they are cleaned.
    pub const ALL: [Self; 9] = [
        Self::AccessTokens,
        Self::AuthorizationCodes,
        Self::CodeContexts,
        Self::TokenAudit,
        Self::Sessions,
        Self::RevokedJwts,
        Self::Revocations,
        Self::Events,
        Self::Notifications,
    ];

    /// The table's name in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessTokens => "IDN_OAUTH2_ACCESS_TOKEN",
            Self::AuthorizationCodes => "IDN_OAUTH2_AUTHORIZATION_CODE",
            Self::CodeContexts => "CLV_CODE_CONTEXT",
            Self::TokenAudit => "IDN_OAUTH2_ACCESS_TOKEN_AUDIT",
            Self::Sessions => "IDN_AUTH_SESSION_STORE",
            Self::RevokedJwts => "AM_REVOKED_JWT",
            Self::Revocations => "CLV_REVOCATION",
            Self::Events => "CLV_EVENT",
            Self::Notifications => "CLV_NOTIFICATION",
        }
    }
}

/// What may go.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The instant of the cleaning: INVALIDATED_TIME of audit rows.
    pub now: Timestamp,
    /// A token, code, session or revocation that ended before this is over for everybody: skew and clocks that are apart are
    /// in it.
    pub ended_before: Timestamp,
    /// The same of tokens and codes, whose times are wall clocks: earlier where nobody says in which zone those are.
    pub tokens_ended_before: Timestamp,
    /// An ACTIVE row goes when both its lives ended before this (more than two hours ago, database.md 3.8).
    pub active_ended_before: Timestamp,
    /// Keep the row of a revoked or replaced token until its access token's own end, though it has no refresh token. Needed where opaque tokens are replaced
    /// while they live: somebody who revokes one of those explicitly must find it, so that gateways hear of it.
    pub is_life_awaited: bool,
    /// Copy tokens to the audit table as they go, where there is one.
    pub is_audit_kept: bool,
    /// Audit rows older than this go; `None`: none does.
    pub audit_before: Option<Timestamp>,
    /// Events older than this go.
    pub events_before: Timestamp,
    /// Notifications that happened before this go, told or not: dead letters, and those of listeners that nobody names any more.
    pub notifications_before: Timestamp,
    /// A notification that waits goes when its token ended before this.
    pub notifications_ended_before: Timestamp,
}

/// A row that may go, as far as reading without a lock can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    key: String,
    /// What the decision rests on beside the times, and must still be so when the row goes.
    basis: String,
}

/// A page of a table.
#[derive(Debug, Default)]
pub struct Page {
    /// Rows that may go.
    pub candidates: Vec<Candidate>,
    /// Where the next page begins; `None`: this one was the last.
    pub next: Option<String>,
}

impl Page {
    /// A page that ends the table unless it is full.
    fn new(rows: usize, last: Option<String>, candidates: Vec<Candidate>) -> Self {
        Self { candidates, next: last.filter(|_| rows >= PAGE_ROWS) }
    }
}

/// The tables that can be cleaned in databases with these capabilities, in the order in which they are.
pub fn tables(capabilities: Capabilities) -> impl Iterator<Item = Table> {
    Table::ALL.into_iter().filter(move |table| match table {
        Table::AccessTokens
        | Table::AuthorizationCodes
        | Table::CodeContexts
        | Table::Revocations
        | Table::Events
        | Table::Notifications => true,
        Table::TokenAudit => capabilities.has(Capability::Audit),
        Table::Sessions => capabilities.has(Capability::SessionExpiry),
        Table::RevokedJwts => capabilities.has(Capability::RevokedJwt),
    })
}

/// Those of some tables that are there: before our first start a WSO2 database has none of ours.
pub async fn present(conn: &mut Conn, tables: Vec<Table>) -> Result<Vec<Table>, StoreError> {
    let there = schema::tables(conn, Family::Identity).await?;
    let is_ours = |table: &Table| table.name().starts_with("CLV_");
    Ok(tables.into_iter().filter(|table| !is_ours(table) || there.contains(table.name())).collect())
}

/// The present second by the clock of the identity tables' server; `None`: they are embedded, and the clock is this host's.
pub async fn server_time(conn: &mut Conn) -> Result<Option<Timestamp>, StoreError> {
    if conn.engine() == Engine::Sqlite {
        return Ok(None);
    }
    conn.row(&NOW, &[]).await?.map(|row| row.int(0).map(Timestamp::from_secs)).transpose()
}

/// Reads a page of a table behind a place (at first the empty text), without locks.
pub async fn find(conn: &mut Conn, table: Table, after: &str, rules: &Rules) -> Result<Page, StoreError> {
    match table {
        Table::AccessTokens => tokens::find(conn, after, rules).await,
        Table::AuthorizationCodes => rest::find_codes(conn, after, rules).await,
        Table::CodeContexts => rest::find_contexts(conn, after).await,
        Table::TokenAudit => rest::find_audit(conn, after, rules).await,
        Table::Sessions => rest::find_sessions(conn, after, rules).await,
        Table::RevokedJwts => rest::find_revoked_jwts(conn, after, rules).await,
        Table::Revocations => log::find_revocations(conn, after, rules).await,
        Table::Events => log::find_events(conn, after, rules).await,
        Table::Notifications => log::find_notifications(conn, after, rules).await,
    }
}

/// Counts what may go in a table without a key, whose pages follow each other only while rows are removed; `None` for the others.
pub async fn count(conn: &mut Conn, table: Table, rules: &Rules) -> Result<Option<u64>, StoreError> {
    match table {
        Table::TokenAudit => rest::count_audit(conn, rules).await.map(Some),
        _ => Ok(None),
    }
}

/// Removes those of some candidates (at most [`WRITE_ROWS`]) that may still go, in the present transaction; returns how many
/// rows went.
pub async fn remove(conn: &mut Conn, table: Table, candidates: &[Candidate], rules: &Rules) -> Result<u64, StoreError> {
    if candidates.is_empty() {
        return Ok(0);
    }
    match table {
        Table::AccessTokens => tokens::remove(conn, candidates, rules).await,
        Table::AuthorizationCodes => rest::remove_codes(conn, candidates, rules).await,
        Table::CodeContexts => rest::remove_contexts(conn, candidates).await,
        Table::TokenAudit => rest::remove_audit(conn, candidates, rules).await,
        Table::Sessions => rest::remove_sessions(conn, candidates, rules).await,
        Table::RevokedJwts => rest::remove_revoked_jwts(conn, candidates, rules).await,
        Table::Revocations => log::remove_revocations(conn, candidates, rules).await,
        Table::Events => log::remove_events(conn, candidates).await,
        Table::Notifications => log::remove_notifications(conn, candidates).await,
    }
}

/// End of something that began and lasts for a period; `NEVER` when the period means that, or when nobody knows.
fn end_of(begun: Option<Timestamp>, period_ms: Option<i64>) -> Timestamp {
    match (begun, period_ms) {
        (Some(begun), Some(period_ms)) if (1..ENDLESS_MS).contains(&period_ms) => begun.plus_millis(period_ms),
        _ => Timestamp::NEVER,
    }
}

/// Parameters for [`keys!`]: places without a key are NULL, which no key equals.
fn key_args<'a>(keys: impl Iterator<Item = &'a str>) -> Vec<Arg<'a>> {
    let mut args: Vec<Arg<'a>> = keys.map(Arg::from).collect();
    debug_assert!(args.len() <= WRITE_ROWS, "a statement names {WRITE_ROWS} rows");
    args.resize(WRITE_ROWS, Arg::Text(None));
    args
}

/// Rows of a page: `WHERE key > ? ORDER BY key LIMIT ?`.
async fn page(conn: &mut Conn, sql: &'static Sql, after: &str) -> Result<Vec<Row>, StoreError> {
    let limit = i64::try_from(PAGE_ROWS).unwrap_or(i64::MAX);
    conn.rows(sql, &[after.into(), limit.into()]).await
}

/// The statements of this folder.
pub(crate) fn statements() -> impl Iterator<Item = &'static (&'static str, &'static Sql)> {
    [STATEMENTS, log::STATEMENTS, rest::STATEMENTS, tokens::STATEMENTS].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_names_as_many_rows_as_a_write_has() {
        assert_eq!(keys!().matches('?').count(), WRITE_ROWS);
    }

    #[test]
    fn periods_that_mean_never_have_no_end() {
        let begun = Some(Timestamp::from_secs(10));
        assert_eq!(end_of(begun, Some(1_000)), Timestamp::from_secs(11));
        assert_eq!(end_of(begun, Some(ENDLESS_MS - 1)), Timestamp::from_millis(ENDLESS_MS + 9_999));
        for period in [None, Some(0), Some(-1_000), Some(ENDLESS_MS), Some(i64::MAX)] {
            assert_eq!(end_of(begun, period), Timestamp::NEVER, "{period:?}");
        }
        assert_eq!(end_of(None, Some(1_000)), Timestamp::NEVER);
    }
}
