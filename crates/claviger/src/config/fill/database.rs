//! `[database.*]` and `[[datasource]]`: each section as one database (configuration.md 2.2).
//!
//! Owns: a URL from its parts, credentials, pools, what the parts of a section mean together. Leaves to others: parsing
//! URLs (`config::database`), which section holds which tables (`fill::roles`), connecting (the store).

use super::Values;
use crate::config::database::{
    DatabaseServer, DatabaseTls, DatabaseUrl, DriverClock, ENGINES, EngineWord, Parameter, ParsedUrl, SQLITE_FILE,
    SUPPORTED, UrlError, default_port, parse_url,
};
use crate::config::model::{Database, Pool};

/// One section that describes a database.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// Its path in the file: `database.apim_db`, `datasource[0]`.
    pub(super) path: String,
    /// Its name in messages: `database.apim_db`, `datasource WSO2UM_DB`.
    pub(super) name: String,
    /// What it says; `None` when that is wrong (and was reported).
    pub(super) database: Option<Database>,
    /// Parameters of its URL that do nothing here.
    pub(super) parameters: Vec<Parameter>,
    /// What is known of the old server's driver.
    pub(super) clock: DriverClock,
    /// Whether `driver` is the class of Connector/J 5.
    pub(super) has_old_driver: bool,
}

impl Values<'_> {
    /// Reads the section at `path`.
    pub(super) fn database_section(&mut self, path: &str, name: &str) -> Section {
        let mut section = Section {
            path: path.to_owned(),
            name: name.to_owned(),
            database: None,
            parameters: Vec::new(),
            clock: DriverClock::default(),
            has_old_driver: false,
        };
        let parsed = self.section_url(&section);
        self.driver(&mut section);
        let pool = self.pool(path);
        if let Some(parsed) = parsed {
            section.database = Some(Database { name: name.to_owned(), url: parsed.url, h2_file: parsed.h2_file, pool });
            section.parameters = parsed.without_effect;
            section.clock = parsed.clock;
        }
        section
    }

    /// `[<path>.pool_options]`.
    pub(super) fn pool(&mut self, path: &str) -> Pool {
        let path = format!("{path}.pool_options");
        let pool = Pool {
            connections_max: self.number(&format!("{path}.max_active")),
            connections_idle_min: self.number(&format!("{path}.min_idle")),
            acquire_timeout_ms: self.number(&format!("{path}.max_wait")),
            is_tested_on_borrow: self.flag(&format!("{path}.test_on_borrow")),
        };
        if pool.connections_idle_min > pool.connections_max {
            let path = format!("{path}.min_idle");
            self.problem(&path, format!("`{path}` is larger than `max_active`"), "");
        }
        pool
    }

    fn driver(&mut self, section: &mut Section) {
        let path = format!("{}.driver", section.path);
        match self.text_if_set(&path).as_deref() {
            None => {}
            Some("com.mysql.jdbc.Driver") => section.has_old_driver = true,
            Some(_) => {
                let text = format!("`{path}` is accepted without effect: the database driver is built in");
                self.note(&path, false, text);
            }
        }
    }

    /// A section's URL: an explicit `url` wins over the parts (configuration.md 2.2, C4).
    fn section_url(&mut self, section: &Section) -> Option<ParsedUrl> {
        let path = |key: &str| format!("{}.{key}", section.path);
        let word = self.text_if_set(&path("type")).map(|word| word.trim().to_ascii_lowercase());
        let engine = word.as_ref().and_then(|word| ENGINES.iter().find(|(known, _)| known == word));
        let engine = engine.map(|(_, engine)| *engine);
        if word.is_some() && engine.is_none() {
            let message = format!("`{}`: this engine is not supported", path("type"));
            self.problem(&path("type"), message, SUPPORTED);
            return None;
        }
        let url = self.text_if_set(&path("url"));
        let user = self.text_if_set(&path("username"));
        let password = self.secret(&path("password"));
        let name = self.text_if_set(&path("name"));
        let mut parsed = if engine == Some(EngineWord::H2) {
            self.note_h2(&path("type"), section);
            let h2_file = match url.as_deref().map(parse_url) {
                Some(Ok(parsed)) => parsed.h2_file,
                Some(Err(_)) | None => None,
            };
            return Some(ParsedUrl { h2_file, ..ParsedUrl::from(DatabaseUrl::default()) });
        } else if let Some(url) = url {
            self.parsed_url(section, &url, engine)?
        } else {
            self.url_from_parts(section, engine, name.as_deref())?.into()
        };
        if let Some(server) = parsed.url.server_mut() {
            server.user = user.unwrap_or_else(|| std::mem::take(&mut server.user));
            server.password = password.or_else(|| server.password.take());
            if server.user.is_empty() {
                self.problem(&section.path, format!("[{}] needs `username`", section.name), "");
            }
        }
        Some(parsed)
    }

    fn note_h2(&mut self, path: &str, section: &Section) {
        self.note(path, false, format!("[{}]: H2 means the embedded SQLite file {SQLITE_FILE}", section.name));
    }

    fn url_from_parts(
        &mut self,
        section: &Section,
        engine: Option<EngineWord>,
        name: Option<&str>,
    ) -> Option<DatabaseUrl> {
        if engine == Some(EngineWord::Sqlite) {
            return Some(DatabaseUrl::Sqlite { path: name.unwrap_or(SQLITE_FILE).into() });
        }
        let (Some(engine), Some(name)) = (engine, name) else {
            // A wrong `type` or `name` was reported already.
            if !self.checked.problems.iter().any(|problem| problem.message.contains(&section.path)) {
                let missing = if engine.is_none() { "type" } else { "name" };
                self.problem(&section.path, format!("[{}] needs `{missing}` or `url`", section.name), "");
            }
            return None;
        };
        let host = self.text(&format!("{}.hostname", section.path));
        let port = self.number(&format!("{}.port", section.path));
        Some(from_parts(engine == EngineWord::MySql, &host, port, name))
    }

    fn parsed_url(&mut self, section: &Section, url: &str, engine: Option<EngineWord>) -> Option<ParsedUrl> {
        let path = format!("{}.url", section.path);
        let parsed = match parse_url(url) {
            Ok(parsed) => parsed,
            Err(error) => {
                let help =
                    if error == UrlError::SeveralHosts { "for example the address of a load balancer" } else { "" };
                self.problem(&path, format!("`{path}`: {error}"), help);
                return None;
            }
        };
        let found = match &parsed.url {
            DatabaseUrl::Sqlite { .. } => EngineWord::Sqlite,
            DatabaseUrl::MySql(_) => EngineWord::MySql,
            DatabaseUrl::Postgres(_) => EngineWord::Postgres,
        };
        if engine.is_some_and(|engine| engine != found) {
            self.problem(&path, format!("`{path}` is of another engine than `{}.type`", section.path), "");
        }
        if parsed.is_h2 {
            self.note_h2(&path, section);
        }
        Some(parsed)
    }
}

fn from_parts(is_mysql: bool, host: &str, port: u16, name: &str) -> DatabaseUrl {
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
