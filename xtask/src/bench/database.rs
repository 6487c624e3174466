//! A database of a private server: made, named in our server's configuration, asked through the engine's own client.

use crate::{
    process,
    servers::{Choice, Running, Servers},
};
use anyhow::{Context as _, Result, bail, ensure};
use std::{
    process::Command,
    time::{Duration, Instant},
};

/// Engines that have a server, by the name of the option `--engine`.
pub(super) const ENGINES: [&str; 2] = ["mariadb", "postgres"];

/// Longest wait for InnoDB's purge.
const PURGE_LIMIT: Duration = Duration::from_mins(1);

/// A database and how it is reached.
#[derive(Clone, Debug)]
pub(super) struct Database {
    pub(super) engine: &'static str,
    pub(super) name: String,
    port: u16,
    password: String,
    /// The server's own process.
    pub(super) pid: u32,
}

/// The two servers, flushing every commit, with this much of their pages in memory.
pub(super) fn start(buffer_mib: Option<u32>) -> Result<Servers> {
    Servers::start(Choice { is_durable: true, buffer_mib, ..Choice::default() })
}

/// The server of an engine.
pub(super) fn server<'a>(servers: &'a Servers, engine: &str) -> &'a Running {
    if engine == "mariadb" { servers.mariadb() } else { servers.postgres() }
}

impl Database {
    /// The database that a server of ours has from its start.
    pub(super) fn of(engine: &'static str, server: &Running) -> Self {
        let (name, password) = ("claviger_test".to_owned(), server.password.clone());
        Self { engine, name, port: server.port, password, pid: server.pid() }
    }

    /// A new, empty database beside it.
    pub(super) fn create(&self, name: &str) -> Result<Self> {
        self.ask(&format!("CREATE DATABASE {name}"))?;
        Ok(Self { name: name.to_owned(), ..self.clone() })
    }

    pub(super) fn is_mariadb(&self) -> bool {
        self.engine == "mariadb"
    }

    /// The configuration that makes our server keep everything here.
    pub(super) fn configuration(&self) -> String {
        let (kind, scheme) = if self.is_mariadb() { ("mysql", "mysql") } else { ("postgre", "postgresql") };
        ["apim_db", "shared_db"]
            .map(|section| {
                format!(
                    "[database.{section}]\ntype = \"{kind}\"\nurl = \"jdbc:{scheme}://127.0.0.1:{}/{}\"\n\
                     username = \"claviger\"\npassword = \"{}\"\n",
                    self.port, self.name, self.password
                )
            })
            .concat()
    }

    /// Runs statements and returns the rows of the last, its columns between tabs.
    pub(super) fn ask(&self, statement: &str) -> Result<String> {
        if self.is_mariadb() {
            let mut client = Command::new(process::program("mariadb")?);
            client.args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--user=claviger"]);
            client.args(["--skip-column-names", "--batch"]).arg(format!("--port={}", self.port));
            client.env("MYSQL_PWD", &self.password).arg(format!("--execute={statement}")).arg(&self.name);
            return process::capture(&mut client);
        }
        let url = format!("postgres://claviger:{}@127.0.0.1:{}/{}", self.password, self.port, self.name);
        let mut psql = Command::new(process::program("psql")?);
        psql.args(["-X", "-q", "-t", "-A", "-F", "\t", "-v", "ON_ERROR_STOP=1", &url, "-c", statement]);
        process::capture(&mut psql)
    }

    /// Waits until the rows that were deleted or replaced so far are gone from `InnoDB`'s pages as well; nothing elsewhere.
    pub(super) fn wait_until_purged(&self) -> Result<()> {
        if !self.is_mariadb() {
            return Ok(());
        }
        let (limit, begun) = (PURGE_LIMIT.as_secs(), Instant::now());
        // Setting it waits until the history list is no longer than that; at its time limit the statement ends without an error.
        self.ask(&format!("SET max_statement_time = {limit}; SET GLOBAL innodb_max_purge_lag_wait = 0"))?;
        ensure!(begun.elapsed() < PURGE_LIMIT, "void: deleted rows were not purged within {limit} s");
        Ok(())
    }

    /// The number that a statement yields.
    pub(super) fn number(&self, statement: &str) -> Result<u64> {
        let text = self.ask(statement)?;
        text.trim().parse().with_context(|| format!("{statement} gave {text}"))
    }
}

/// The engines a plan is to run on.
pub(super) fn chosen(wanted: Option<&str>) -> Result<Vec<&'static str>> {
    let Some(wanted) = wanted else { return Ok(ENGINES.to_vec()) };
    let engine = ENGINES.into_iter().find(|engine| *engine == wanted);
    match engine {
        Some(engine) => Ok(vec![engine]),
        None => bail!("--engine is one of {}", ENGINES.join(", ")),
    }
}
