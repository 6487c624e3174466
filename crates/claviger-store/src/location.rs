//! Where a database is and how to reach it, without a word of the driver's.

use claviger_proto::secret::Secret;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::path::PathBuf;

/// Where the database is.
#[derive(Clone, Debug)]
pub enum Location {
    /// A file; made when it is not there.
    Sqlite(PathBuf),
    /// A MariaDB or MySQL server.
    MySql(Server),
    /// A PostgreSQL server.
    Postgres(Server),
}

impl Location {
    /// Are both the same database, whoever logs in?
    pub fn is_same_database(&self, other: &Self) -> bool {
        let same = |a: &Server, b: &Server| {
            is_same_host(&a.host, &b.host) && a.port == b.port && a.database == b.database && a.schema == b.schema
        };
        match (self, other) {
            (Self::Sqlite(a), Self::Sqlite(b)) => a == b,
            (Self::MySql(a), Self::MySql(b)) | (Self::Postgres(a), Self::Postgres(b)) => same(a, b),
            _ => false,
        }
    }
}

/// Do both name the same machine? Our own has several names.
pub fn is_same_host(a: &str, b: &str) -> bool {
    let is_own = |host: &str| host.eq_ignore_ascii_case("localhost") || host == "127.0.0.1" || host == "::1";
    a.eq_ignore_ascii_case(b) || is_own(a) && is_own(b)
}

/// A database on a server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database name.
    pub database: String,
    /// Schema that unqualified names resolve to (PostgreSQL only).
    pub schema: Option<String>,
    /// User.
    pub user: String,
    /// Password.
    pub password: Option<Secret>,
    /// TLS towards the server.
    pub tls: Tls,
    /// PEM file with the authorities for `VerifyCa` and `VerifyFull`.
    pub tls_root_file: Option<PathBuf>,
}

/// How much TLS is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// None.
    Disable,
    /// If the server offers it.
    Prefer,
    /// Always, without checking the certificate.
    Require,
    /// Always, from a known authority.
    VerifyCa,
    /// Always, from a known authority and for the right name.
    VerifyFull,
}

impl Server {
    pub(crate) fn mysql_options(&self) -> MySqlConnectOptions {
        let mode = match self.tls {
            Tls::Disable => MySqlSslMode::Disabled,
            Tls::Prefer => MySqlSslMode::Preferred,
            Tls::Require => MySqlSslMode::Required,
            Tls::VerifyCa => MySqlSslMode::VerifyCa,
            Tls::VerifyFull => MySqlSslMode::VerifyIdentity,
        };
        let mut options = MySqlConnectOptions::new().host(&self.host).port(self.port).database(&self.database);
        options = options.username(&self.user).ssl_mode(mode);
        if let Some(password) = &self.password {
            options = options.password(password.expose());
        }
        if let Some(file) = &self.tls_root_file {
            options = options.ssl_ca(file);
        }
        // The session keeps the server's time zone and SQL mode: a WSO2 node writes under the same (database.md 1.4).
        options.timezone(None).pipes_as_concat(false).no_engine_substitution(false)
    }

    pub(crate) fn postgres_options(&self) -> PgConnectOptions {
        let mode = match self.tls {
            Tls::Disable => PgSslMode::Disable,
            Tls::Prefer => PgSslMode::Prefer,
            Tls::Require => PgSslMode::Require,
            Tls::VerifyCa => PgSslMode::VerifyCa,
            Tls::VerifyFull => PgSslMode::VerifyFull,
        };
        let mut options =
            PgConnectOptions::new_without_pgpass().host(&self.host).port(self.port).database(&self.database);
        options = options.username(&self.user).ssl_mode(mode);
        if let Some(password) = &self.password {
            options = options.password(password.expose());
        }
        if let Some(file) = &self.tls_root_file {
            options = options.ssl_root_cert(file);
        }
        match &self.schema {
            Some(schema) => options.options([("search_path", schema)]),
            None => options,
        }
    }
}
