//! Creating the tables: the complete WSO2 3.2 layout (`ddl/`, generated from the contract's facts) in an empty database,
//! and our own `CLV_*` tables beside WSO2's. A WSO2 table is never altered.

use crate::db::{Conn, Store};
use crate::error::StoreError;
use crate::sql::{Engine, queries};

queries! {
    COUNT_TABLE = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND UPPER(name) = ?",
        MySql = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND UPPER(table_name) = ?",
        Postgres = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = CURRENT_SCHEMA() AND UPPER(table_name) = ?";
}

const WSO2_SQLITE: &str = include_str!("../ddl/sqlite.sql");
const WSO2_MYSQL: &str = include_str!("../ddl/mysql.sql");
const WSO2_POSTGRES: &str = include_str!("../ddl/postgres.sql");

/// Our own tables, one row per table and engine. Released statements never change; later versions add new ones.
const OWN_TABLES: &[(&str, &str, &str, &str)] = &[
    (
        "CLV_EVENT",
        "CREATE TABLE CLV_EVENT (ID INTEGER PRIMARY KEY AUTOINCREMENT, PAYLOAD TEXT NOT NULL, CREATED_AT INTEGER NOT NULL)",
        "CREATE TABLE CLV_EVENT (ID BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, PAYLOAD TEXT NOT NULL, CREATED_AT BIGINT NOT NULL) ENGINE=InnoDB",
        "CREATE TABLE CLV_EVENT (ID BIGSERIAL PRIMARY KEY, PAYLOAD TEXT NOT NULL, CREATED_AT BIGINT NOT NULL)",
    ),
    (
        "CLV_REVOCATION",
        "CREATE TABLE CLV_REVOCATION (KIND TEXT NOT NULL, SUBJECT TEXT NOT NULL, REVOKED_BEFORE INTEGER NOT NULL, \
         EXPIRES_AT INTEGER NOT NULL, PRIMARY KEY (KIND, SUBJECT)); \
         CREATE INDEX IDX_CLV_REVOCATION_EXPIRES ON CLV_REVOCATION (EXPIRES_AT)",
        "CREATE TABLE CLV_REVOCATION (KIND VARCHAR(10) NOT NULL, SUBJECT VARCHAR(255) NOT NULL, REVOKED_BEFORE BIGINT NOT NULL, \
         EXPIRES_AT BIGINT NOT NULL, PRIMARY KEY (KIND, SUBJECT), KEY IDX_CLV_REVOCATION_EXPIRES (EXPIRES_AT)) ENGINE=InnoDB",
        "CREATE TABLE CLV_REVOCATION (KIND VARCHAR(10) NOT NULL, SUBJECT VARCHAR(255) NOT NULL, REVOKED_BEFORE BIGINT NOT NULL, \
         EXPIRES_AT BIGINT NOT NULL, PRIMARY KEY (KIND, SUBJECT)); \
         CREATE INDEX IDX_CLV_REVOCATION_EXPIRES ON CLV_REVOCATION (EXPIRES_AT)",
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

/// Makes the tables that are missing: all of them in an empty database, only our own beside existing WSO2 tables.
pub async fn prepare(store: &Store) -> Result<Prepared, StoreError> {
    store
        .write(|conn| {
            Box::pin(async move {
                let prepared =
                    if has_table(conn, "IDN_OAUTH2_ACCESS_TOKEN").await? { Prepared::Found } else { Prepared::Created };
                if prepared == Prepared::Created {
                    let statements = match conn.engine() {
                        Engine::Sqlite => WSO2_SQLITE,
                        Engine::MySql => WSO2_MYSQL,
                        Engine::Postgres => WSO2_POSTGRES,
                    };
                    conn.command(statements).await?;
                }
                for (name, sqlite, mysql, postgres) in OWN_TABLES {
                    if !has_table(conn, name).await? {
                        let statement = match conn.engine() {
                            Engine::Sqlite => sqlite,
                            Engine::MySql => mysql,
                            Engine::Postgres => postgres,
                        };
                        conn.command(statement).await?;
                    }
                }
                Ok(prepared)
            })
        })
        .await
}

async fn has_table(conn: &mut Conn, name: &str) -> Result<bool, StoreError> {
    let row = conn.row(&COUNT_TABLE, &[name.into()]).await?;
    Ok(row.map_or(Ok(0), |row| row.int(0))? > 0)
}
