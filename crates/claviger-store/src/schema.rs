//! Creating the tables: the complete WSO2 3.2 layout (`ddl/`, generated from the contract's facts) in an empty database,
//! and our own `CLV_*` tables beside WSO2's. A WSO2 table is never altered.
//!
//! MySQL commits every CREATE TABLE by itself, so a start that ends in the middle leaves some tables behind. CLV_SETUP says
//! how far a start came: it is made first, and empty once the first rows are written too.

use crate::db::{Conn, Store};
use crate::error::{StoreError, WriteError};
use crate::sql::{Engine, queries};
use std::collections::BTreeSet;

queries! {
    LIST_TABLES = "SELECT UPPER(name) FROM sqlite_master WHERE type = 'table'",
        MySql = "SELECT UPPER(table_name) FROM information_schema.tables WHERE table_schema = DATABASE()",
        Postgres = "SELECT UPPER(table_name) FROM information_schema.tables WHERE table_schema = CURRENT_SCHEMA()";
    FIND_STEP = "SELECT STEP FROM CLV_SETUP";
    INSERT_STEP = "INSERT INTO CLV_SETUP (STEP) VALUES (?)";
    UPDATE_STEP = "UPDATE CLV_SETUP SET STEP = ?";
    DELETE_STEP = "DELETE FROM CLV_SETUP";
}

/// Tables are being made.
const TABLES: &str = "TABLES";
/// All tables are there, the first rows are not.
const ROWS: &str = "ROWS";

const WSO2_SQLITE: &str = include_str!("../ddl/sqlite.sql");
const WSO2_MYSQL: &str = include_str!("../ddl/mysql.sql");
const WSO2_POSTGRES: &str = include_str!("../ddl/postgres.sql");

const SETUP: &str = "CLV_SETUP";

/// Our own tables, one row per table and engine. Released statements never change; later versions add new ones.
/// On MySQL their character set is their own: a WSO2 database is often latin1, and keys compare exactly.
const OWN_TABLES: &[(&str, &str, &str, &str)] = &[
    (
        SETUP,
        "CREATE TABLE CLV_SETUP (STEP VARCHAR(10) NOT NULL)",
        "CREATE TABLE CLV_SETUP (STEP VARCHAR(10) NOT NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
        "CREATE TABLE CLV_SETUP (STEP VARCHAR(10) NOT NULL)",
    ),
    (
        "CLV_EVENT",
        "CREATE TABLE CLV_EVENT (ID INTEGER PRIMARY KEY AUTOINCREMENT, PAYLOAD TEXT NOT NULL, CREATED_AT INTEGER NOT NULL)",
        "CREATE TABLE CLV_EVENT (ID BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, PAYLOAD TEXT NOT NULL, CREATED_AT BIGINT NOT NULL) \
         ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
        "CREATE TABLE CLV_EVENT (ID BIGSERIAL PRIMARY KEY, PAYLOAD TEXT NOT NULL, CREATED_AT BIGINT NOT NULL)",
    ),
    (
        "CLV_REVOCATION",
        "CREATE TABLE CLV_REVOCATION (KIND TEXT NOT NULL, SUBJECT TEXT NOT NULL, REVOKED_BEFORE INTEGER NOT NULL, \
         EXPIRES_AT INTEGER NOT NULL, PRIMARY KEY (KIND, SUBJECT)); \
         CREATE INDEX IDX_CLV_REVOCATION_EXPIRES ON CLV_REVOCATION (EXPIRES_AT)",
        "CREATE TABLE CLV_REVOCATION (KIND VARCHAR(10) NOT NULL, SUBJECT VARCHAR(255) NOT NULL, REVOKED_BEFORE BIGINT NOT NULL, \
         EXPIRES_AT BIGINT NOT NULL, PRIMARY KEY (KIND, SUBJECT), KEY IDX_CLV_REVOCATION_EXPIRES (EXPIRES_AT)) \
         ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
        "CREATE TABLE CLV_REVOCATION (KIND VARCHAR(10) NOT NULL, SUBJECT VARCHAR(255) NOT NULL, REVOKED_BEFORE BIGINT NOT NULL, \
         EXPIRES_AT BIGINT NOT NULL, PRIMARY KEY (KIND, SUBJECT)); \
         CREATE INDEX IDX_CLV_REVOCATION_EXPIRES ON CLV_REVOCATION (EXPIRES_AT)",
    ),
    (
        "CLV_LEASE",
        "CREATE TABLE CLV_LEASE (NAME TEXT NOT NULL PRIMARY KEY, HOLDER TEXT NOT NULL, EXPIRES_AT INTEGER NOT NULL)",
        "CREATE TABLE CLV_LEASE (NAME VARCHAR(50) NOT NULL PRIMARY KEY, HOLDER VARCHAR(50) NOT NULL, EXPIRES_AT BIGINT NOT NULL) \
         ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
        "CREATE TABLE CLV_LEASE (NAME VARCHAR(50) NOT NULL PRIMARY KEY, HOLDER VARCHAR(50) NOT NULL, EXPIRES_AT BIGINT NOT NULL)",
    ),
];

/// What [`prepare`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// The database was empty: all tables were made, and [`crate::seed`] must fill in the first rows.
    Created,
    /// The WSO2 tables were there.
    Found,
}

/// Why the tables cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// MySQL keeps the tables that an interrupted start made.
    #[error(
        "an earlier start was interrupted while it made the tables, and some are missing; they hold nothing yet: drop the \
         database, create it again, empty, and start once more"
    )]
    Interrupted,
    /// Neither empty nor a database of the product.
    #[error(
        "the database holds {found} of the product's tables ({first} is one) but not IDN_OAUTH2_ACCESS_TOKEN: give an empty \
         database, or one that has them all; if an interrupted start left these tables, drop the database and create it again"
    )]
    Incomplete {
        /// How many there are.
        found: usize,
        /// One of them.
        first: String,
    },
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WriteError for PrepareError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::Interrupted | Self::Incomplete { .. } => None,
        }
    }
}

/// Makes the tables that are missing: all of them in an empty database, only our own beside existing WSO2 tables. One node at
/// a time, behind [`Store::lock_start`].
pub async fn prepare(store: &Store) -> Result<Prepared, PrepareError> {
    if store.engine() == Engine::MySql {
        // No transaction holds CREATE TABLE there, and the bound of a write would stop a slow server half-way.
        return prepare_on(&mut store.reader().await?).await;
    }
    store.write(|conn| Box::pin(prepare_on(conn))).await
}

/// Notes that the first rows are written; call it in their transaction.
pub(crate) async fn finish(conn: &mut Conn) -> Result<(), StoreError> {
    conn.execute(&DELETE_STEP, &[]).await?;
    Ok(())
}

async fn prepare_on(conn: &mut Conn) -> Result<Prepared, PrepareError> {
    let tables = tables(conn).await?;
    let step = if tables.contains(SETUP) { step(conn).await? } else { None };
    if step.as_deref() == Some(TABLES) {
        return Err(PrepareError::Interrupted);
    }
    if tables.contains("IDN_OAUTH2_ACCESS_TOKEN") {
        make_own(conn, &tables).await?;
        return Ok(if step.as_deref() == Some(ROWS) { Prepared::Created } else { Prepared::Found });
    }
    let statements = match conn.engine() {
        Engine::Sqlite => WSO2_SQLITE,
        Engine::MySql => WSO2_MYSQL,
        Engine::Postgres => WSO2_POSTGRES,
    };
    let found: Vec<&str> = names(statements).filter(|name| tables.contains(*name)).collect();
    if let Some(first) = found.first() {
        return Err(PrepareError::Incomplete { found: found.len(), first: (*first).to_owned() });
    }
    make_own(conn, &tables).await?;
    conn.execute(&INSERT_STEP, &[TABLES.into()]).await?;
    conn.command(statements).await?;
    conn.execute(&UPDATE_STEP, &[ROWS.into()]).await?;
    Ok(Prepared::Created)
}

async fn make_own(conn: &mut Conn, tables: &BTreeSet<String>) -> Result<(), StoreError> {
    for (name, sqlite, mysql, postgres) in OWN_TABLES {
        if !tables.contains(*name) {
            let statement = match conn.engine() {
                Engine::Sqlite => sqlite,
                Engine::MySql => mysql,
                Engine::Postgres => postgres,
            };
            conn.command(statement).await?;
        }
    }
    Ok(())
}

/// The database's tables, in upper case.
pub(crate) async fn tables(conn: &mut Conn) -> Result<BTreeSet<String>, StoreError> {
    conn.rows(&LIST_TABLES, &[]).await?.iter().map(|row| row.text(0)).collect()
}

async fn step(conn: &mut Conn) -> Result<Option<String>, StoreError> {
    conn.row(&FIND_STEP, &[]).await?.map(|row| row.text(0)).transpose()
}

/// Names of the tables that a script makes.
fn names(statements: &str) -> impl Iterator<Item = &str> {
    statements.lines().filter_map(|line| line.strip_prefix("CREATE TABLE ")?.split([' ', '(']).next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_make_the_same_tables() {
        let of = |script| names(script).map(str::to_ascii_uppercase).collect::<BTreeSet<_>>();
        let sqlite = of(WSO2_SQLITE);
        assert!(sqlite.len() >= 200 && sqlite.contains("IDN_OAUTH2_ACCESS_TOKEN"), "{}", sqlite.len());
        assert_eq!((&of(WSO2_MYSQL), &of(WSO2_POSTGRES)), (&sqlite, &sqlite));
    }
}
