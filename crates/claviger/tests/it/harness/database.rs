//! A fresh database per test and engine. What the product says about databases is configuration text; only making and
//! dropping one needs a connection of our own.

use super::fresh_name;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use std::str::FromStr as _;

/// An empty database; SQLite's is made by the server in its data directory.
pub(crate) enum Database {
    Sqlite,
    MySql { options: MySqlConnectOptions, name: String },
    Postgres { options: PgConnectOptions, name: String },
}

/// One empty database of every engine that is there.
pub(crate) async fn databases() -> Vec<Database> {
    let mut databases = vec![Database::Sqlite];
    if let Some(url) = url("CLAVIGER_TEST_MYSQL_URL") {
        databases.push(Database::MySql { options: MySqlConnectOptions::from_str(&url).unwrap(), name: fresh_name() });
    }
    if let Some(url) = url("CLAVIGER_TEST_POSTGRES_URL") {
        databases.push(Database::Postgres { options: PgConnectOptions::from_str(&url).unwrap(), name: fresh_name() });
    }
    for database in &databases {
        database.run("CREATE DATABASE").await;
    }
    databases
}

#[expect(clippy::disallowed_methods, reason = "the test reads where its servers are")]
fn url(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Database {
    /// The engine's name, for messages.
    pub(crate) fn engine(&self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::MySql { .. } => "MariaDB",
            Self::Postgres { .. } => "PostgreSQL",
        }
    }

    /// May two servers use it at once?
    pub(crate) fn is_shared(&self) -> bool {
        !matches!(self, Self::Sqlite)
    }

    /// The section of deployment.toml. The test servers' password is their user's name.
    pub(crate) fn section(&self) -> String {
        let (scheme, host, port, user, name) = match self {
            Self::Sqlite => return String::new(),
            Self::MySql { options, name } => {
                ("mysql", options.get_host(), options.get_port(), options.get_username(), name)
            }
            Self::Postgres { options, name } => {
                ("postgresql", options.get_host(), options.get_port(), options.get_username(), name)
            }
        };
        let tls = if scheme == "mysql" { "useSSL=false" } else { "sslmode=disable" };
        format!(
            "[database.shared_db]\nurl = \"jdbc:{scheme}://{host}:{port}/{name}?{tls}\"\nusername = \"{user}\"\n\
             password = \"{user}\"\n[database.shared_db.pool_options]\nmax_active = 12\n"
        )
    }

    /// Runs statements in it, as its administrator. SQLite's belongs to its server.
    pub(crate) async fn execute(&self, text: &str) {
        let text = sqlx::raw_sql(sqlx::AssertSqlSafe(text.to_owned()));
        match self {
            Self::Sqlite => panic!("the embedded database has no administrator"),
            Self::MySql { options, name } => {
                let mut link = options.clone().database(name).connect().await.unwrap();
                text.execute(&mut link).await.unwrap();
                link.close().await.unwrap();
            }
            Self::Postgres { options, name } => {
                let mut link = options.clone().database(name).connect().await.unwrap();
                text.execute(&mut link).await.unwrap();
                link.close().await.unwrap();
            }
        }
    }

    /// Removes it from its server.
    pub(crate) async fn remove(self) {
        self.run("DROP DATABASE").await;
    }

    async fn run(&self, verb: &str) {
        match self {
            Self::Sqlite => {}
            Self::MySql { options, name } => {
                let mut admin = options.connect().await.unwrap();
                sqlx::raw_sql(sqlx::AssertSqlSafe(format!("{verb} {name}"))).execute(&mut admin).await.unwrap();
                admin.close().await.unwrap();
            }
            Self::Postgres { options, name } => {
                let mut admin = options.connect().await.unwrap();
                sqlx::raw_sql(sqlx::AssertSqlSafe(format!("{verb} {name}"))).execute(&mut admin).await.unwrap();
                admin.close().await.unwrap();
            }
        }
    }
}
