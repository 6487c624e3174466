//! A fresh database per test and engine. What the product says about databases is configuration text; only making and
//! dropping one needs a connection of our own.

use super::fresh_name;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use std::str::FromStr as _;

/// An empty database; SQLite's is made by the server in its data directory.
pub(crate) enum Database {
    Sqlite,
    MySql { engine: &'static str, options: MySqlConnectOptions, name: String },
    Postgres { options: PgConnectOptions, name: String },
}

/// One empty database of every engine that is there.
pub(crate) async fn databases() -> Vec<Database> {
    let mut databases = vec![Database::Sqlite];
    if let Some(url) = url("CLAVIGER_TEST_MYSQL_URL") {
        databases.push(Database::mysql("MariaDB", &url, fresh_name()));
    }
    if let Some(url) = url("CLAVIGER_TEST_POSTGRES_URL") {
        databases.push(Database::postgres(&url, fresh_name()));
    }
    for database in &databases {
        database.run("CREATE DATABASE").await;
    }
    databases
}

#[expect(clippy::disallowed_methods, reason = "the test reads where its servers are")]
pub(super) fn url(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The server lets go when the connection ends.
pub(crate) struct Locked {
    _mysql: Option<MySqlConnection>,
    _postgres: Option<PgConnection>,
}

impl Database {
    /// A database of this name on the server that a URL names.
    pub(super) fn mysql(engine: &'static str, url: &str, name: String) -> Self {
        Self::MySql { engine, options: MySqlConnectOptions::from_str(url).unwrap(), name }
    }

    /// The same on a PostgreSQL server.
    pub(super) fn postgres(url: &str, name: String) -> Self {
        Self::Postgres { options: PgConnectOptions::from_str(url).unwrap(), name }
    }

    /// The engine's name, for messages.
    pub(crate) fn engine(&self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::MySql { engine, .. } => engine,
            Self::Postgres { .. } => "PostgreSQL",
        }
    }

    /// May two servers use it at once?
    pub(crate) fn is_shared(&self) -> bool {
        !matches!(self, Self::Sqlite)
    }

    /// The section of deployment.toml. The test servers' password is their user's name.
    pub(crate) fn section(&self) -> String {
        self.section_at(self.port())
    }

    /// The server's port.
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Sqlite => 0,
            Self::MySql { options, .. } => options.get_port(),
            Self::Postgres { options, .. } => options.get_port(),
        }
    }

    /// As [`Self::section`], with another port of this host, behind which the server is.
    pub(crate) fn section_at(&self, port: u16) -> String {
        let Some((url, user)) = self.jdbc_at(port) else { return String::new() };
        format!(
            "[database.shared_db]\nurl = \"{url}\"\nusername = \"{user}\"\n\
             password = \"{user}\"\n[database.shared_db.pool_options]\nmax_active = 12\n"
        )
    }

    /// Its URL on a port of its host, and its user; `None` of SQLite.
    pub(crate) fn jdbc_at(&self, port: u16) -> Option<(String, &str)> {
        let (scheme, host, user, name) = match self {
            Self::Sqlite => return None,
            Self::MySql { options, name, .. } => ("mysql", options.get_host(), options.get_username(), name),
            Self::Postgres { options, name } => ("postgresql", options.get_host(), options.get_username(), name),
        };
        let tls = if scheme == "mysql" { "useSSL=false" } else { "sslmode=disable" };
        Some((format!("jdbc:{scheme}://{host}:{port}/{name}?{tls}"), user))
    }

    /// The rows of a query, each column as text, by a session in the server's zone; not for SQLite.
    pub(crate) async fn ask(&self, query: &'static str) -> Result<Vec<Vec<String>>, sqlx::Error> {
        use sqlx::Row as _;
        match self {
            Self::Sqlite => panic!("SQLite has no server to ask"),
            Self::MySql { options, name, .. } => ask_mysql(&options.clone().database(name), query).await,
            Self::Postgres { options, name } => {
                let mut link = options.clone().database(name).connect().await?;
                let rows = sqlx::query(query).fetch_all(&mut link).await?;
                link.close().await?;
                rows.iter().map(|row| (0..row.len()).map(|column| row.try_get_unchecked(column)).collect()).collect()
            }
        }
    }

    /// As [`Self::ask`], of MySQL's server itself: the database need not be there.
    pub(super) async fn ask_server(&self, query: &'static str) -> Result<Vec<Vec<String>>, sqlx::Error> {
        let Self::MySql { options, .. } = self else { panic!("{} is not asked for its state", self.engine()) };
        ask_mysql(options, query).await
    }

    /// Holds a table of tokens alone, so that every statement about it waits, until the value is dropped; not for SQLite.
    pub(crate) async fn lock_tokens(&self) -> Locked {
        match self {
            Self::Sqlite => panic!("SQLite has no server to ask"),
            Self::MySql { options, name, .. } => {
                let mut link = options.clone().database(name).connect().await.unwrap();
                let lock = "LOCK TABLES IDN_OAUTH2_ACCESS_TOKEN WRITE";
                sqlx::raw_sql(lock).execute(&mut link).await.unwrap();
                Locked { _mysql: Some(link), _postgres: None }
            }
            Self::Postgres { options, name } => {
                let mut link = options.clone().database(name).connect().await.unwrap();
                let lock = "BEGIN; LOCK TABLE IDN_OAUTH2_ACCESS_TOKEN IN ACCESS EXCLUSIVE MODE";
                sqlx::raw_sql(lock).execute(&mut link).await.unwrap();
                Locked { _mysql: None, _postgres: Some(link) }
            }
        }
    }

    /// Holds all clients that are there alone, as who ends their tokens does, until the value is dropped; not for SQLite.
    pub(crate) async fn hold_clients(&self) -> Locked {
        match self {
            Self::Sqlite => panic!("SQLite has no server to ask"),
            Self::MySql { options, name, .. } => {
                let mut link = options.clone().database(name).connect().await.unwrap();
                let lock = "BEGIN; SELECT ID FROM IDN_OAUTH_CONSUMER_APPS FOR UPDATE";
                sqlx::raw_sql(lock).execute(&mut link).await.unwrap();
                Locked { _mysql: Some(link), _postgres: None }
            }
            Self::Postgres { options, name } => {
                let mut link = options.clone().database(name).connect().await.unwrap();
                let lock =
                    "BEGIN; SELECT pg_advisory_xact_lock(1129072195, CAST(ID AS INTEGER)) FROM IDN_OAUTH_CONSUMER_APPS";
                sqlx::raw_sql(lock).execute(&mut link).await.unwrap();
                Locked { _mysql: None, _postgres: Some(link) }
            }
        }
    }

    /// Runs statements in it, as its administrator, in a session whose zone is the server's. SQLite's belongs to its server.
    pub(crate) async fn execute(&self, text: &str) {
        let text = sqlx::raw_sql(sqlx::AssertSqlSafe(text.to_owned()));
        match self {
            Self::Sqlite => panic!("the embedded database has no administrator"),
            Self::MySql { options, name, .. } => {
                let mut link = options.clone().database(name).timezone(None).connect().await.unwrap();
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

    pub(super) async fn run(&self, verb: &str) {
        match self {
            Self::Sqlite => {}
            Self::MySql { options, name, .. } => {
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

async fn ask_mysql(options: &MySqlConnectOptions, query: &'static str) -> Result<Vec<Vec<String>>, sqlx::Error> {
    use sqlx::Row as _;
    let mut link = options.clone().timezone(None).connect().await?;
    let rows = sqlx::query(query).fetch_all(&mut link).await?;
    link.close().await?;
    rows.iter().map(|row| (0..row.len()).map(|column| row.try_get_unchecked(column)).collect()).collect()
}
