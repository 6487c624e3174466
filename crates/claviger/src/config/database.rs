//! Database URLs: JDBC (`jdbc:mysql:`, `jdbc:mariadb:`, `jdbc:postgresql:`, `jdbc:sqlite:`, `jdbc:h2:`) and native
//! (`mysql:`, `postgres:`, `sqlite:`) ones as typed connection parameters (configuration.md 2.2).
//!
//! Owns: parsing and which URL parameters are understood. Leaves to others: the keys around the URL (`fill`), connecting.

use super::problem::shown_name;
use claviger_proto::secret::Secret;
use claviger_store::location::is_same_host;
use std::path::{Path, PathBuf};
use url::Url;

/// File of the embedded database, relative to the data directory.
pub const SQLITE_FILE: &str = "claviger.sqlite";
/// Longest URL.
const URL_BYTES_MAX: usize = 4 * 1024;
/// The sentence behind every refusal of an engine.
pub(super) const SUPPORTED: &str = "supported are MySQL, MariaDB, PostgreSQL and SQLite";
/// Words of `type`, with what each stands for.
pub(super) const ENGINES: [(&str, EngineWord); 7] = [
    ("mysql", EngineWord::MySql),
    ("mariadb", EngineWord::MySql),
    ("postgre", EngineWord::Postgres),
    ("postgresql", EngineWord::Postgres),
    ("postgres", EngineWord::Postgres),
    ("sqlite", EngineWord::Sqlite),
    ("h2", EngineWord::H2),
];

/// The engine that a `type` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EngineWord {
    MySql,
    Postgres,
    Sqlite,
    /// The embedded SQLite stands in.
    H2,
}

/// Where the database is and how to log in.
#[derive(Clone, Debug)]
pub enum DatabaseUrl {
    /// Embedded.
    Sqlite {
        /// File; relative ones are relative to the data directory.
        path: PathBuf,
    },
    /// MySQL or MariaDB.
    MySql(DatabaseServer),
    /// PostgreSQL.
    Postgres(DatabaseServer),
}

/// A database on a server.
#[derive(Clone, Debug)]
pub struct DatabaseServer {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database name.
    pub name: String,
    /// Schema that unqualified names resolve to (PostgreSQL `currentSchema`).
    pub schema: Option<String>,
    /// User; empty when neither URL nor keys name one.
    pub user: String,
    /// Password.
    pub password: Option<Secret>,
    /// TLS towards the server.
    pub tls: DatabaseTls,
    /// PEM file with the certificate authorities for `VerifyCa` and `VerifyFull`.
    pub tls_root_file: Option<PathBuf>,
}

/// How much TLS is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseTls {
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

impl DatabaseUrl {
    /// Whether both are the same database, whoever logs in.
    pub fn is_same_database(&self, other: &DatabaseUrl) -> bool {
        let same = |a: &DatabaseServer, b: &DatabaseServer| {
            is_same_host(&a.host, &b.host) && a.port == b.port && a.name == b.name && a.schema == b.schema
        };
        match (self, other) {
            (DatabaseUrl::Sqlite { path: a }, DatabaseUrl::Sqlite { path: b }) => a == b,
            (DatabaseUrl::MySql(a), DatabaseUrl::MySql(b)) | (DatabaseUrl::Postgres(a), DatabaseUrl::Postgres(b)) => {
                same(a, b)
            }
            _ => false,
        }
    }

    /// The same with a relative file made relative to `data_dir`.
    #[must_use]
    pub fn in_data_dir(self, data_dir: &Path) -> Self {
        match self {
            DatabaseUrl::Sqlite { path } => DatabaseUrl::Sqlite { path: data_dir.join(path) },
            server => server,
        }
    }

    /// Engine, host and database without credentials, for messages.
    pub fn label(&self) -> String {
        match self {
            DatabaseUrl::Sqlite { path } => format!("sqlite {}", path.display()),
            DatabaseUrl::MySql(server) => format!("mysql {}:{}/{}", server.host, server.port, server.name),
            DatabaseUrl::Postgres(server) => format!("postgresql {}:{}/{}", server.host, server.port, server.name),
        }
    }

    /// The server's parameters, unless embedded.
    pub fn server(&self) -> Option<&DatabaseServer> {
        match self {
            DatabaseUrl::Sqlite { .. } => None,
            DatabaseUrl::MySql(server) | DatabaseUrl::Postgres(server) => Some(server),
        }
    }

    pub(crate) fn server_mut(&mut self) -> Option<&mut DatabaseServer> {
        match self {
            DatabaseUrl::Sqlite { .. } => None,
            DatabaseUrl::MySql(server) | DatabaseUrl::Postgres(server) => Some(server),
        }
    }
}

/// A parsed URL.
#[derive(Clone, Debug)]
pub struct ParsedUrl {
    /// The connection.
    pub url: DatabaseUrl,
    /// Whether it was an H2 URL, for which the embedded SQLite stands in.
    pub is_h2: bool,
    /// The file of that H2 database, without its endings; relative to wherever the old server ran.
    pub h2_file: Option<PathBuf>,
    /// Parameters that do nothing here.
    pub without_effect: Vec<Parameter>,
    /// What the parameters say about the clock of the old server's driver.
    pub clock: DriverClock,
}

/// A parameter that does nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, fit to be shown.
    pub name: String,
    /// Why; `None`: it is not known.
    pub why: Option<&'static str>,
}

/// Parameters of MySQL's Java driver that decide in which zone it wrote times (database.md 1.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriverClock {
    /// `serverTimezone` or `connectionTimeZone`, fit to be shown.
    pub server_zone: Option<String>,
    /// `useLegacyDatetimeCode`.
    pub is_legacy: Option<bool>,
}

/// Why a URL was refused. Never repeats the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not of the form of a URL.
    #[error("not a database URL such as jdbc:mysql://host:3306/name")]
    Malformed,
    /// An engine that is not supported.
    #[error("this database engine is not supported; {SUPPORTED}")]
    Engine,
    /// A list of hosts.
    #[error("several hosts in one URL are not supported; give one, or a load balancer's")]
    SeveralHosts,
    /// No database name.
    #[error("the database name is missing")]
    Name,
    /// A database in memory.
    #[error("a database in memory cannot be shared by connections; give a file")]
    Memory,
    /// A known parameter with a value that is not understood.
    #[error("the parameter `{0}` has a value that is not understood")]
    Parameter(&'static str),
}

/// Parameters of the Java drivers that only make the same work faster or describe it; dropped silently.
const TUNING: &[&str] = &[
    "ApplicationName",
    "cacheCallableStmts",
    "cachePrepStmts",
    "cacheResultSetMetadata",
    "cacheServerConfiguration",
    "defaultFetchSize",
    "defaultRowFetchSize",
    "elideSetAutoCommits",
    "maintainTimeStats",
    "noAccessToProcedureBodies",
    "nullCatalogMeansCurrent",
    "nullNamePatternMatchesAll",
    "permitMysqlScheme",
    "prepareThreshold",
    "prepStmtCacheSize",
    "prepStmtCacheSqlLimit",
    "reWriteBatchedInserts",
    "rewriteBatchedStatements",
    "tcpKeepAlive",
    "useLocalSessionState",
    "useServerPrepStmts",
];
const RECONNECT: &str = "a lost connection is always replaced before the next use";
const ONE_HOST: &str = "a URL names one host";
const TIMEOUT: &str = "`pool_options.max_wait` bounds the wait for a connection";
const TEXT: &str = "texts are always exchanged as UTF-8";
const CLOCK: &str = "`db.token_time_zone` and `db.local_time_zone` say how times are stored";
/// Parameters that somebody may rely on and that do nothing here, with the reason.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("allowMultiQueries", "statements are sent one by one"),
    ("allowPublicKeyRetrieval", "a password is sent encrypted by TLS or not at all"),
    ("autoReconnect", RECONNECT),
    ("autoReconnectForPools", RECONNECT),
    ("characterEncoding", TEXT),
    ("connectionCollation", TEXT),
    ("connectionTimeZone", CLOCK),
    ("connectTimeout", TIMEOUT),
    ("failOverReadOnly", ONE_HOST),
    ("initialTimeout", RECONNECT),
    ("loadBalanceHosts", ONE_HOST),
    ("loginTimeout", TIMEOUT),
    ("maxReconnects", RECONNECT),
    ("relaxAutoCommit", "transactions are always explicit"),
    ("serverTimezone", CLOCK),
    ("sessionVariables", "the session is left as the server gives it"),
    ("socketTimeout", "each piece of work has its own time limit"),
    ("stringtype", "values are sent in the column's type"),
    ("targetServerType", ONE_HOST),
    ("useLegacyDatetimeCode", CLOCK),
    ("useUnicode", TEXT),
    ("zeroDateTimeBehavior", "a time of zero is always read as unset"),
];

/// Parses a JDBC or native URL.
pub fn parse_url(text: &str) -> Result<ParsedUrl, UrlError> {
    let text = text.trim();
    if text.len() > URL_BYTES_MAX {
        return Err(UrlError::Malformed);
    }
    let is_jdbc = text.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("jdbc:"));
    let text = if is_jdbc { &text[5..] } else { text };
    let (scheme, rest) = text.split_once(':').ok_or(UrlError::Malformed)?;
    match scheme.to_ascii_lowercase().as_str() {
        "h2" if is_jdbc => parse_h2(rest),
        "sqlite" => parse_sqlite(rest),
        "mysql" | "mariadb" => parse_server(rest, true),
        "postgresql" | "postgres" => parse_server(rest, false),
        "oracle" | "sqlserver" | "db2" => Err(UrlError::Engine),
        _ if is_jdbc || rest.starts_with("//") => Err(UrlError::Engine),
        _ => Err(UrlError::Malformed),
    }
}

/// `[file:]path;parameters`, `mem:name`. An H2 server is another engine.
fn parse_h2(rest: &str) -> Result<ParsedUrl, UrlError> {
    let path = rest.split(';').next().unwrap_or_default();
    let path = path.strip_prefix("file:").unwrap_or(path);
    if ["tcp:", "ssl:", "zip:"].iter().any(|kind| path.starts_with(kind)) {
        return Err(UrlError::Engine);
    }
    let is_in_memory = path.starts_with("mem:") || path == "mem";
    let path = path.strip_prefix("${carbon.home}/").unwrap_or(path);
    let h2_file = (!is_in_memory && !path.is_empty()).then(|| path.into());
    Ok(ParsedUrl { is_h2: true, h2_file, ..ParsedUrl::from(DatabaseUrl::default()) })
}

fn parse_sqlite(rest: &str) -> Result<ParsedUrl, UrlError> {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if path.is_empty() {
        return Err(UrlError::Name);
    }
    if path.starts_with(":memory:") || query.contains("mode=memory") {
        return Err(UrlError::Memory);
    }
    let mut parsed = ParsedUrl::from(DatabaseUrl::Sqlite { path: percent_decoded(path).into() });
    let names = url::form_urlencoded::parse(query.as_bytes()).map(|(name, _)| shown_name(&name));
    parsed.without_effect = names.map(|name| Parameter { name, why: None }).collect();
    Ok(parsed)
}

fn parse_server(rest: &str, is_mysql: bool) -> Result<ParsedUrl, UrlError> {
    let scheme = if is_mysql { "mysql" } else { "postgres" };
    let full = match rest.strip_prefix("//") {
        Some(rest) => {
            let authority = rest.split(['/', '?']).next().unwrap_or_default();
            if authority.rsplit('@').next().is_some_and(|hosts| hosts.contains(',')) {
                return Err(UrlError::SeveralHosts);
            }
            format!("{scheme}://{}", if authority.is_empty() { format!("localhost{rest}") } else { rest.to_owned() })
        }
        // `jdbc:postgresql:name`; `jdbc:mysql:loadbalance://...` and its like are lists of hosts.
        None if rest.contains("//") => return Err(UrlError::SeveralHosts),
        None if is_mysql => return Err(UrlError::Malformed),
        None => format!("{scheme}://localhost/{rest}"),
    };
    let url = Url::parse(&full).map_err(|_| UrlError::Malformed)?;
    let name = percent_decoded(url.path().trim_start_matches('/'));
    if name.is_empty() {
        return Err(UrlError::Name);
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(UrlError::Malformed)?;
    let mut server = DatabaseServer {
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: url.port().unwrap_or(default_port(is_mysql)),
        name,
        schema: None,
        user: percent_decoded(url.username()),
        password: url.password().map(|password| Secret::new(percent_decoded(password))),
        tls: DatabaseTls::Prefer,
        tls_root_file: None,
    };
    let (without_effect, clock) = apply_parameters(&mut server, &url)?;
    let url = if is_mysql { DatabaseUrl::MySql(server) } else { DatabaseUrl::Postgres(server) };
    Ok(ParsedUrl { without_effect, clock, ..ParsedUrl::from(url) })
}

/// The port an engine listens on.
pub(super) const fn default_port(is_mysql: bool) -> u16 {
    if is_mysql { 3306 } else { 5432 }
}

/// Reads the query; returns the parameters that do nothing here.
fn apply_parameters(server: &mut DatabaseServer, url: &Url) -> Result<(Vec<Parameter>, DriverClock), UrlError> {
    let mut without_effect = Vec::new();
    let mut clock = DriverClock::default();
    let mut is_verified = false;
    // URLs pasted from XML files have `&amp;` between their parameters.
    let query = url.query().unwrap_or_default().replace("&amp;", "&");
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "user" => server.user = value.into_owned(),
            "password" => server.password = Some(Secret::new(value)),
            "useSSL" if is_true(&value, "useSSL")? => server.tls = server.tls.at_least(DatabaseTls::Require),
            "requireSSL" if is_true(&value, "requireSSL")? => server.tls = server.tls.at_least(DatabaseTls::Require),
            "verifyServerCertificate" => is_verified = is_true(&value, "verifyServerCertificate")?,
            "ssl" if value.is_empty() || is_true(&value, "ssl")? => {
                server.tls = server.tls.at_least(DatabaseTls::VerifyFull);
            }
            "useSSL" | "ssl" => server.tls = DatabaseTls::Disable,
            "sslmode" | "sslMode" | "ssl-mode" => server.tls = tls_mode(&value)?,
            "sslrootcert" | "serverSslCert" | "ssl-ca" => server.tls_root_file = Some(value.into_owned().into()),
            "currentSchema" => server.schema = Some(value.into_owned()),
            other if other == "requireSSL" || TUNING.contains(&other) => {}
            other => {
                match other {
                    "serverTimezone" | "connectionTimeZone" => clock.server_zone = Some(shown_name(&value)),
                    "useLegacyDatetimeCode" => clock.is_legacy = Some(is_true(&value, "useLegacyDatetimeCode")?),
                    _ => {}
                }
                let why = WITHOUT_EFFECT.iter().find(|(name, _)| *name == other).map(|(_, why)| *why);
                without_effect.push(Parameter { name: shown_name(other), why });
            }
        }
    }
    if is_verified && server.tls != DatabaseTls::Disable {
        server.tls = server.tls.at_least(DatabaseTls::VerifyCa);
    }
    Ok((without_effect, clock))
}

impl From<DatabaseUrl> for ParsedUrl {
    fn from(url: DatabaseUrl) -> Self {
        Self { url, is_h2: false, h2_file: None, without_effect: Vec::new(), clock: DriverClock::default() }
    }
}

impl DatabaseTls {
    fn at_least(self, other: DatabaseTls) -> DatabaseTls {
        if (self as u8) < (other as u8) { other } else { self }
    }
}

fn is_true(value: &str, name: &'static str) -> Result<bool, UrlError> {
    match value {
        "true" | "yes" => Ok(true),
        "false" | "no" => Ok(false),
        _ => Err(UrlError::Parameter(name)),
    }
}

fn tls_mode(value: &str) -> Result<DatabaseTls, UrlError> {
    match value.to_ascii_lowercase().replace('_', "-").as_str() {
        "disable" | "disabled" => Ok(DatabaseTls::Disable),
        "allow" | "prefer" | "preferred" => Ok(DatabaseTls::Prefer),
        "require" | "required" | "trust" => Ok(DatabaseTls::Require),
        "verify-ca" => Ok(DatabaseTls::VerifyCa),
        "verify-full" | "verify-identity" => Ok(DatabaseTls::VerifyFull),
        _ => Err(UrlError::Parameter("sslmode")),
    }
}

/// Decodes `%41`; a plus sign stays what it is.
fn percent_decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let form = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(form.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}
