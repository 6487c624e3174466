//! `[database.*]` and `realm_manager.data_source`: one database from up to four sections (configuration.md 2.2).
//!
//! Owns: which section counts, a URL from its parts, what fits together. Leaves to others: parsing URLs
//! (`config::database`), connecting (the store).

use super::Values;
use crate::config::database::{
    DatabaseServer, DatabaseTls, DatabaseUrl, SQLITE_FILE, SUPPORTED, UrlError, default_port, parse_url,
};
use crate::config::model::{Database, Pool};

/// Families in the order in which they are asked for the one database.
const FAMILIES: [&str; 4] = ["apim_db", "identity_db", "shared_db", "user"];
/// Names of data sources (configuration.md 2.2) and the family behind each.
const DATA_SOURCES: [(&str, &str); 8] = [
    ("SHARED_DB", "shared_db"),
    ("WSO2SHARED_DB", "shared_db"),
    ("WSO2_SHARED_DB", "shared_db"),
    ("WSO2USER_DB", "user"),
    ("WSO2UM_DB", "user"),
    ("WSO2AM_DB", "apim_db"),
    ("WSO2IdentityDB", "identity_db"),
    ("WSO2_IDENTITY_DB", "identity_db"),
];
impl Values<'_> {
    pub(super) fn database(&mut self) -> Database {
        let mut found: Option<(&str, DatabaseUrl)> = None;
        for family in FAMILIES {
            if !self.checked.tables.contains_key(&format!("database.{family}")) {
                continue;
            }
            let Some(url) = self.database_url(family) else { continue };
            match &found {
                None => found = Some((family, url)),
                Some((first, other)) if !other.is_same_database(&url) => {
                    let message = format!("[database.{family}] is another database than [database.{first}]");
                    self.problem(
                        &format!("database.{family}"),
                        message,
                        "not supported yet: one database for all families",
                    );
                }
                Some((first, other)) => {
                    let user = |url: &DatabaseUrl| url.server().map(|server| server.user.clone());
                    if user(other) != user(&url) {
                        let text = format!("[database.{family}] has another user; that of [database.{first}] is used");
                        self.note(&format!("database.{family}"), true, text);
                    }
                }
            }
        }
        self.check_data_source();
        let (family, url) = found.unwrap_or((FAMILIES[0], DatabaseUrl::default()));
        let pool = format!("database.{family}.pool_options");
        let pool = Pool {
            connections_max: self.number(&format!("{pool}.max_active")),
            connections_idle_min: self.number(&format!("{pool}.min_idle")),
            acquire_timeout_ms: self.number(&format!("{pool}.max_wait")),
            is_tested_on_borrow: self.flag(&format!("{pool}.test_on_borrow")),
        };
        if pool.connections_idle_min > pool.connections_max {
            let path = format!("database.{family}.pool_options.min_idle");
            self.problem(&path, format!("`{path}` is larger than `max_active`"), "");
        }
        Database { url, pool }
    }

    fn check_data_source(&mut self) {
        let path = "realm_manager.data_source";
        let name = self.text(path);
        let name = name.strip_prefix("jdbc/").unwrap_or(&name);
        match DATA_SOURCES.iter().find(|(source, _)| *source == name) {
            None => self.problem(
                path,
                format!("`{path}`: no such data source"),
                "expected SHARED_DB, WSO2USER_DB, WSO2AM_DB or WSO2IdentityDB",
            ),
            Some((_, family)) => {
                let is_defined = self.checked.tables.contains_key(&format!("database.{family}"));
                if !is_defined && self.checked.leaves.contains_key(path) && *family != "shared_db" {
                    self.problem(path, format!("`{path}`: [database.{family}] is not configured"), "");
                }
            }
        }
    }

    /// One family's URL: an explicit `url` wins over the parts (configuration.md 2.2, C4).
    fn database_url(&mut self, family: &str) -> Option<DatabaseUrl> {
        let prefix = format!("database.{family}");
        let path = |name: &str| format!("{prefix}.{name}");
        let kind = self.text_if_set(&path("type"));
        if kind.as_deref().is_some_and(|kind| matches!(kind, "oracle" | "mssql" | "db2")) {
            self.problem(&path("type"), format!("`{prefix}.type`: this engine is not supported"), SUPPORTED);
            return None;
        }
        let url = self.text_if_set(&path("url"));
        let user = self.text_if_set(&path("username"));
        let password = self.secret(&path("password"));
        let name = self.text_if_set(&path("name"));
        if kind.as_deref() == Some("h2") {
            self.note(&path("type"), false, format!("[{prefix}]: H2 means the embedded SQLite file {SQLITE_FILE}"));
            return Some(DatabaseUrl::default());
        }
        let mut result = match url {
            Some(url) => self.parsed_url(&prefix, &url, kind.as_deref())?,
            None => self.url_from_parts(&prefix, kind.as_deref(), name.as_deref())?,
        };
        if let Some(server) = result.server_mut() {
            server.user = user.unwrap_or_else(|| std::mem::take(&mut server.user));
            server.password = password.or_else(|| server.password.take());
            if server.user.is_empty() {
                self.problem(&prefix, format!("[{prefix}] needs `username`"), "");
            }
        }
        Some(result)
    }

    fn url_from_parts(&mut self, prefix: &str, kind: Option<&str>, name: Option<&str>) -> Option<DatabaseUrl> {
        if kind == Some("sqlite") {
            return Some(DatabaseUrl::Sqlite { path: name.unwrap_or(SQLITE_FILE).into() });
        }
        let (Some(kind), Some(name)) = (kind, name) else {
            // A wrong `type` or `name` was reported already.
            if !self.checked.problems.iter().any(|problem| problem.message.contains(prefix)) {
                let missing = if kind.is_none() { "type" } else { "name" };
                self.problem(prefix, format!("[{prefix}] needs `{missing}` or `url`"), "");
            }
            return None;
        };
        let (host, port) = (self.text(&format!("{prefix}.hostname")), self.number(&format!("{prefix}.port")));
        Some(from_parts(kind, &host, port, name))
    }

    fn parsed_url(&mut self, prefix: &str, url: &str, kind: Option<&str>) -> Option<DatabaseUrl> {
        let path = format!("{prefix}.url");
        let parsed = match parse_url(url) {
            Ok(parsed) => parsed,
            Err(error) => {
                let help =
                    if error == UrlError::SeveralHosts { "for example the address of a load balancer" } else { "" };
                self.problem(&path, format!("`{path}`: {error}"), help);
                return None;
            }
        };
        let does_fit = match (kind, &parsed.url) {
            (None, _) => true,
            (Some(kind), DatabaseUrl::Sqlite { .. }) => kind == "sqlite",
            (Some(kind), DatabaseUrl::MySql(_)) => matches!(kind, "mysql" | "mariadb"),
            (Some(kind), DatabaseUrl::Postgres(_)) => matches!(kind, "postgre" | "postgresql"),
        };
        if !does_fit {
            self.problem(&path, format!("`{path}` is of another engine than `{prefix}.type`"), "");
        }
        if parsed.is_h2 {
            self.note(&path, false, format!("[{prefix}]: H2 means the embedded SQLite file {SQLITE_FILE}"));
        }
        if !parsed.ignored.is_empty() {
            let names = parsed.ignored.join("`, `");
            self.note(
                &path,
                true,
                format!("`{path}`: these parameters are not understood and have no effect: `{names}`"),
            );
        }
        Some(parsed.url)
    }
}

fn from_parts(kind: &str, host: &str, port: u16, name: &str) -> DatabaseUrl {
    let is_mysql = matches!(kind, "mysql" | "mariadb");
    let server = DatabaseServer {
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: if port == 0 { default_port(is_mysql) } else { port },
        name: name.to_owned(),
        schema: None,
        user: String::new(),
        password: None,
        tls: DatabaseTls::Prefer,
        tls_root_file: None,
    };
    if is_mysql { DatabaseUrl::MySql(server) } else { DatabaseUrl::Postgres(server) }
}
