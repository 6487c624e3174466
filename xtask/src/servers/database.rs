//! What differs between the two database servers: how the data directory is made, the server started, asked, reached.
//! Both settle their identity by answering with their own data directory, so that a foreign server that took the port
//! is never mistaken for ours.

use crate::{packages, process};
use anyhow::{Context as _, Result};
use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

/// Tests open a pool each and run side by side.
const CONNECTIONS_MAX: u32 = 500;

/// A database server as a table of functions.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// System accounts to run as when root; the first that exists.
    pub(super) accounts: &'static [&'static str],
    /// The signal for an orderly and quick end.
    pub(super) stop_signal: &'static str,
    pub(super) prepare: fn(&Settings) -> Result<()>,
    pub(super) serve: fn(&Settings) -> Result<Command>,
    pub(super) answers: fn(&Settings) -> bool,
    pub(super) url: fn(&Settings) -> String,
    /// The file whose first line is the number of its process.
    pub(super) pid_file: fn(&Settings) -> PathBuf,
}

/// What one server is started with.
pub(super) struct Settings {
    pub(super) home: PathBuf,
    pub(super) account: Option<Account>,
    pub(super) port: u16,
    pub(super) password: String,
    pub(super) is_durable: bool,
    pub(super) buffer_mib: Option<u32>,
}

impl Settings {
    pub(super) fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// A command that runs as the server's user, in its directory, with a small fixed environment.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
        command.env("HOME", &self.home).current_dir(&self.home);
        if let Some(account) = &self.account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }
}

/// An unprivileged user of the system.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Account {
    pub(super) fn find(names: &[&str]) -> Result<Self> {
        let text = fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
        names
            .iter()
            .find_map(|name| Self::parse(&text, name))
            .with_context(|| format!("none of these system users exists: {}", names.join(", ")))
    }

    fn parse(passwd: &str, name: &str) -> Option<Self> {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let fields: Vec<&str> = line.split(':').collect();
        Some(Self { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
    }
}

pub(super) const MARIADB: Kind = Kind {
    name: "mariadb",
    accounts: &["mysql", "nobody"],
    stop_signal: "TERM",
    prepare: prepare_mariadb,
    serve: serve_mariadb,
    answers: mariadb_answers,
    url: |settings| format!("mysql://claviger:{}@127.0.0.1:{}/claviger_test", settings.password, settings.port),
    pid_file: |settings| settings.home.join("pid"),
};

pub(super) fn prepare_mariadb(settings: &Settings) -> Result<()> {
    let mut install = settings.command(&process::program("mariadb-install-db")?);
    // Without --no-defaults the system's configuration would be read.
    install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    install.arg(format!("--datadir={}", settings.data().display()));
    process::capture(&mut install)?;
    // Run by the server before it listens, so that the first answer already knows our user.
    let statements = format!(
        "CREATE DATABASE IF NOT EXISTS claviger_test;\n\
         CREATE OR REPLACE USER 'claviger'@'127.0.0.1' IDENTIFIED BY '{}';\n\
         GRANT ALL PRIVILEGES ON *.* TO 'claviger'@'127.0.0.1' WITH GRANT OPTION;\n\
         DROP USER IF EXISTS ''@'localhost';\n",
        settings.password
    );
    fs::write(settings.home.join("init.sql"), statements)?;
    if let Some(account) = &settings.account {
        std::os::unix::fs::chown(settings.home.join("init.sql"), Some(account.uid), Some(account.gid))?;
    }
    Ok(())
}

fn serve_mariadb(settings: &Settings) -> Result<Command> {
    let mut server = settings.command(&process::program("mariadbd")?);
    add_mariadb_arguments(&mut server, settings);
    server.arg(format!("--init-file={}/init.sql", settings.home.display()));
    Ok(server)
}

/// Largest log of a MariaDB server of ours: it takes its room at once, in memory where the files are.
const LOG_MIB_MAX: u32 = 1024;

/// What every MariaDB server of ours is started with.
pub(super) fn add_mariadb_arguments(server: &mut Command, settings: &Settings) {
    let home = settings.home.display();
    server.arg("--no-defaults").arg(format!("--datadir={}", settings.data().display()));
    for (name, file) in [("socket", "socket"), ("pid-file", "pid")] {
        server.arg(format!("--{name}={home}/{file}"));
    }
    server.arg(format!("--tmpdir={home}")).arg(format!("--port={}", settings.port));
    server.arg(format!("--max-connections={CONNECTIONS_MAX}"));
    server.arg(format!("--innodb-flush-log-at-trx-commit={}", if settings.is_durable { 1 } else { 2 }));
    server.args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--character-set-server=utf8mb4"]);
    // A log of about as much as is kept in memory spares a large server its hasty checkpoints.
    let (pool, log) = settings.buffer_mib.map_or((128, 96), |mib| (mib, mib.min(LOG_MIB_MAX)));
    server.arg(format!("--innodb-buffer-pool-size={pool}M")).arg(format!("--innodb-log-file-size={log}M"));
    // New York's clock, in a form that needs no zone files: an old server's database is seldom in UTC.
    server.arg("--default-time-zone=SYSTEM").env("TZ", "EST5EDT,M3.2.0,M11.1.0");
}

fn mariadb_answers(settings: &Settings) -> bool {
    let answer = ask_mariadb(settings, "SELECT @@datadir");
    answer.is_some_and(|answer| Path::new(answer.trim()) == settings.data())
}

/// The rows of a query to a MariaDB server, its columns between tabs; `None` when it does not answer.
pub(super) fn ask_mariadb(settings: &Settings, query: &str) -> Option<String> {
    let mut ask = settings.command(&process::program("mariadb").ok()?);
    ask.args([
        "--no-defaults",
        "--protocol=tcp",
        "--host=127.0.0.1",
        "--user=claviger",
        "--batch",
        "--skip-column-names",
    ]);
    ask.arg(format!("--port={}", settings.port)).arg(format!("--execute={query}")).arg("claviger_test");
    ask.env("MYSQL_PWD", &settings.password);
    process::capture(&mut ask).ok()
}

pub(super) const POSTGRES: Kind = Kind {
    name: "postgres",
    accounts: &["postgres", "nobody"],
    stop_signal: "INT",
    prepare: prepare_postgres,
    serve: serve_postgres,
    answers: postgres_answers,
    url: |settings| format!("postgres://claviger:{}@127.0.0.1:{}/claviger_test", settings.password, settings.port),
    pid_file: |settings| settings.data().join("postmaster.pid"),
};

fn postgres_program(name: &str) -> Result<PathBuf> {
    Ok(packages::postgres_directory().context("PostgreSQL is not installed")?.join(name))
}

fn prepare_postgres(settings: &Settings) -> Result<()> {
    let mut init = settings.command(&postgres_program("initdb")?);
    // Anyone on this machine may come in: the data are a test's, and every password check costs a test milliseconds.
    init.args([
        "--auth=trust",
        "--username=claviger",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
        "--no-instructions",
    ]);
    init.arg("--pgdata").arg(settings.data());
    process::capture(&mut init)?;
    // The single-user server makes the database before the real one listens.
    let mut single = settings.command(&postgres_program("postgres")?);
    single.args(["--single", "-D"]).arg(settings.data()).args(["-c", "fsync=off", "postgres"]);
    let statements = settings.home.join("init.sql");
    fs::write(&statements, "CREATE DATABASE claviger_test;\n")?;
    single.stdin(fs::File::open(&statements)?);
    let output = single.output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn serve_postgres(settings: &Settings) -> Result<Command> {
    let mut server = settings.command(&postgres_program("postgres")?);
    server.arg("-D").arg(settings.data()).arg("-p").arg(settings.port.to_string());
    let mut set = |setting: &str| {
        server.arg("-c").arg(setting);
    };
    set("listen_addresses=127.0.0.1");
    set("unix_socket_directories=");
    set(&format!("max_connections={CONNECTIONS_MAX}"));
    set("timezone=Asia/Kolkata");
    // Tables that a test or a benchmark fills get their statistics at once; a server that runs for longer has them.
    set("autovacuum_naptime=1");
    if let Some(mib) = settings.buffer_mib {
        set(&format!("shared_buffers={mib}MB"));
        set(&format!("max_wal_size={mib}MB"));
    }
    if !settings.is_durable {
        set("fsync=off");
        set("synchronous_commit=off");
        set("full_page_writes=off");
    }
    Ok(server)
}

fn postgres_answers(settings: &Settings) -> bool {
    let Ok(client) = process::program("psql") else { return false };
    let mut ask = settings.command(&client);
    ask.args(["-X", "-A", "-t", "-c", "SHOW data_directory"]).arg((POSTGRES.url)(settings));
    process::capture(&mut ask).is_ok_and(|answer| Path::new(answer.trim()) == settings.data())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nmysqlx:x:7:8::/:/bin/false\nmysql:x:101:102::/:/bin/false\n";
        assert_eq!(Account::parse(passwd, "mysql"), Some(Account { uid: 101, gid: 102 }));
        assert_eq!(Account::parse(passwd, "postgres"), None);
    }
}
