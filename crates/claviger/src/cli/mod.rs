//! The command line: `claviger [serve]`, `claviger config check FILE`, `claviger config keys`, `claviger db
//! status|create|clean`, `claviger user
//! lock|unlock|disable|enable|delete|password|roles`.
//!
//! Owns: words, options, their environment fallbacks, which configuration file is read, exit codes. Leaves to others: the
//! meaning of the configuration (`config`), running (`app`). The environment is a function given from outside; an option
//! wins over its variable, a variable over the file (`server.offset`, `server.server_role`).

pub mod db;
pub mod findings;
mod key_stores;
#[cfg(test)]
mod tests;
pub mod user;

use crate::config::{self, Config, FILE_BYTES_MAX, Host, Loaded, Note, Problems};
use crate::http::rules;
use crate::server::route_list;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

pub use crate::config::profile::{Profile, Role};
use user::{UserAction, Verb};

/// Exit code: done, or stopped as asked.
pub const EXIT_OK: u8 = 0;
/// Exit code: could not start or had to stop.
pub const EXIT_FAILURE: u8 = 1;
/// Exit code: the command line is wrong (clap's own code).
pub const EXIT_USAGE: u8 = 2;
/// Exit code: the configuration is wrong or cannot be read.
pub const EXIT_CONFIG: u8 = 3;

/// Data directory when none is given.
const DATA_DIR: &str = "claviger-data";
/// Configuration file looked for in the data directory.
const CONFIG_FILE: &str = "deployment.toml";
/// Largest port offset; the same as the row of `server.offset`.
const PORT_OFFSET_MAX: i64 = 50_000;
const ENV_CONFIG: &str = "CLAVIGER_CONFIG";
const ENV_DATA_DIR: &str = "CLAVIGER_DATA_DIR";
const ENV_PORT_OFFSET: &str = "CLAVIGER_PORT_OFFSET";
const ENV_PROFILE: &str = "CLAVIGER_PROFILE";

/// What the user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run the server.
    Serve(Serve),
    /// Check a configuration file.
    ConfigCheck(PathBuf),
    /// Print the reference of all keys.
    ConfigKeys,
    /// Work on the database of a configuration.
    Db(Serve, DbAction),
    /// Change a user.
    User(Serve, UserAction),
}

/// What is to be done with a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DbAction {
    /// Look, and say what is unusual.
    Status,
    /// Make tables and first rows where they are missing.
    Create,
    /// Remove what is over.
    Clean {
        /// Only say what would go.
        is_dry_run: bool,
    },
    /// Print the statements that make our own tables.
    Print {
        /// The product's tables too.
        is_all: bool,
    },
}

/// Options of the server, with the environment and defaults applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serve {
    /// File named by the user; `None`: the one in the data directory if it is there.
    pub config_file: Option<PathBuf>,
    /// Data directory.
    pub data_dir: PathBuf,
    /// Offset that wins over the file's.
    pub port_offset: Option<u16>,
    /// Roles that win over the file's.
    pub profile: Option<Profile>,
    /// Form of log lines.
    pub log_format: LogFormat,
    /// Filter of log lines (`info`, `claviger=debug`).
    pub log_filter: String,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Key manager, API gateway and portal in one program.
#[derive(Parser)]
#[command(name = "claviger", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    options: ServeOptions,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXIT_CODES: &str = "Exit codes: 0 done or stopped as asked, 1 could not start or had to stop (db status: \
                          found an error; user: refused, or not done to its end), 2 wrong command line, 3 wrong configuration.";

#[derive(Subcommand)]
enum Command {
    /// Run the server (what happens without a command)
    #[command(after_help = EXIT_CODES)]
    Serve(ServeOptions),
    /// Work with configuration files
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Work on the database of a configuration
    #[command(subcommand)]
    Db(DbCommand),
    /// Change a user, and end what he holds
    #[command(after_help = EXIT_CODES)]
    User {
        #[command(subcommand)]
        verb: UserVerb,
    },
}

/// The words of `claviger user`, each with the user and the options.
#[derive(Subcommand)]
enum UserVerb {
    /// Keep the user out until somebody unlocks him; his tokens end
    Lock(UserOptions),
    /// End a lock, also one after wrong passwords
    Unlock(UserOptions),
    /// Keep the user out until somebody enables him, whatever his roles; his tokens end
    Disable(UserOptions),
    /// Let a disabled user in again
    Enable(UserOptions),
    /// Remove the user; his tokens end
    Delete(UserOptions),
    /// Give him the password that is read from standard input, one line; his tokens end
    Password(UserOptions),
    /// Give him roles (admin, Internal/creator) and take others; his tokens end when one is taken
    Roles {
        /// A role that he gets; may be given several times
        #[arg(long, value_name = "ROLE")]
        add: Vec<String>,
        /// A role that he loses; may be given several times
        #[arg(long, value_name = "ROLE", required_unless_present = "add")]
        remove: Vec<String>,
        #[command(flatten)]
        options: UserOptions,
    },
}

#[derive(Args)]
struct UserOptions {
    /// The user: [DOMAIN/]name[@tenant]
    name: String,
    #[command(flatten)]
    serve: ServeOptions,
}

#[derive(Subcommand)]
enum DbCommand {
    /// Remove tokens, codes, sessions and events that are over, as a running server does by itself
    #[command(after_help = EXIT_CODES)]
    Clean {
        /// Only print how many rows would go
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        options: ServeOptions,
    },
    /// Say what the databases hold and what is unusual about them; changes nothing
    #[command(after_help = EXIT_CODES)]
    Status {
        #[command(flatten)]
        options: ServeOptions,
    },
    /// Make tables and first rows in empty databases, and our own tables beside the product's
    #[command(after_help = EXIT_CODES)]
    Create {
        /// Only print the statements for an administrator who runs them; no database is asked
        #[arg(long)]
        print: bool,
        /// With --print: all tables, for empty databases, and not only our own
        #[arg(long, requires = "print")]
        all: bool,
        #[command(flatten)]
        options: ServeOptions,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// List everything that is wrong with a file
    Check {
        /// A deployment.toml
        file: PathBuf,
    },
    /// Print all known keys
    Keys,
}

/// The fallbacks are applied by `serve_options`, because these options may stand before and after the word `serve`.
#[derive(Args, Default)]
struct ServeOptions {
    /// Configuration file [env: CLAVIGER_CONFIG] [default: deployment.toml in the data directory, if there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Keys, certificates and the embedded database [env: CLAVIGER_DATA_DIR] [default: claviger-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Added to every port [env: CLAVIGER_PORT_OFFSET] [default: server.offset of the file]
    #[arg(long, value_name = "N", value_parser = port_offset)]
    port_offset: Option<u16>,
    /// Roles: all, or some of key-manager,gateway,portal,traffic-manager [env: CLAVIGER_PROFILE] [default: all]
    #[arg(long, value_name = "ROLES", value_parser = profile)]
    profile: Option<Profile>,
    /// Form of log lines [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// What is logged, for example info or claviger=debug [default: info]
    #[arg(long = "log", value_name = "FILTER")]
    log_filter: Option<String>,
}

fn profile(text: &str) -> Result<Profile, String> {
    text.parse().map_err(|error: config::profile::UnknownRole| error.to_string())
}

fn port_offset(text: &str) -> Result<u16, String> {
    let wrong = || format!("expected 0 to {PORT_OFFSET_MAX}");
    let number: i64 = text.trim().parse().map_err(|_| wrong())?;
    u16::try_from(number).ok().filter(|_| number <= PORT_OFFSET_MAX).ok_or_else(wrong)
}

/// Reads the command line. The error knows how to print itself and its exit code (also for `--help`).
pub fn parse<I>(arguments: I, env: &dyn Fn(&str) -> Option<String>) -> Result<Action, clap::Error>
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let cli = Cli::try_parse_from(arguments)?;
    match cli.command {
        None => serve_options(cli.options, ServeOptions::default(), env).map(Action::Serve),
        Some(Command::Serve(after)) => serve_options(cli.options, after, env).map(Action::Serve),
        Some(Command::Config(ConfigCommand::Check { file })) => Ok(Action::ConfigCheck(file)),
        Some(Command::Config(ConfigCommand::Keys)) => Ok(Action::ConfigKeys),
        Some(Command::Db(command)) => {
            let (after, action) = match command {
                DbCommand::Clean { dry_run, options } => (options, DbAction::Clean { is_dry_run: dry_run }),
                DbCommand::Status { options } => (options, DbAction::Status),
                DbCommand::Create { print: false, options, .. } => (options, DbAction::Create),
                DbCommand::Create { print: true, all, options } => (options, DbAction::Print { is_all: all }),
            };
            serve_options(cli.options, after, env).map(|options| Action::Db(options, action))
        }
        Some(Command::User { verb }) => {
            let (UserOptions { name, serve }, verb) = match verb {
                UserVerb::Lock(options) => (options, Verb::Lock),
                UserVerb::Unlock(options) => (options, Verb::Unlock),
                UserVerb::Disable(options) => (options, Verb::Disable),
                UserVerb::Enable(options) => (options, Verb::Enable),
                UserVerb::Delete(options) => (options, Verb::Delete),
                UserVerb::Password(options) => (options, Verb::Password),
                UserVerb::Roles { add, remove, options } => (options, Verb::Roles { add, remove }),
            };
            serve_options(cli.options, serve, env).map(|options| Action::User(options, UserAction { name, verb }))
        }
    }
}

/// Options after `serve` win over those before it, these over the environment, that over defaults.
fn serve_options(
    before: ServeOptions,
    after: ServeOptions,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Serve, clap::Error> {
    // An empty variable is one that a script forgot to set.
    let env = |name: &str| env(name).filter(|value| !value.is_empty());
    let wrong =
        |name: &str, message: String| Cli::command().error(ErrorKind::ValueValidation, format!("{name}: {message}"));
    let port_offset = match (after.port_offset.or(before.port_offset), env(ENV_PORT_OFFSET)) {
        (None, Some(text)) => Some(port_offset(&text).map_err(|message| wrong(ENV_PORT_OFFSET, message))?),
        (given, _) => given,
    };
    let profile = match (after.profile.or(before.profile), env(ENV_PROFILE)) {
        (None, Some(text)) => Some(profile(&text).map_err(|message| wrong(ENV_PROFILE, message))?),
        (given, _) => given,
    };
    Ok(Serve {
        config_file: after.config.or(before.config).or_else(|| env(ENV_CONFIG).map(PathBuf::from)),
        data_dir: (after.data_dir.or(before.data_dir))
            .or_else(|| env(ENV_DATA_DIR).map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from(DATA_DIR)),
        port_offset,
        profile,
        log_format: after.log_format.or(before.log_format).unwrap_or_default(),
        log_filter: after.log_filter.or(before.log_filter).unwrap_or_else(|| "info".to_owned()),
    })
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file is wrong.
    #[error("{0}")]
    Problems(#[from] Problems),
    /// A section names an H2 database whose file was found and is not empty: it may be what an old server filled, and cannot be
    /// read.
    #[error(
        "[{section}] names the H2 database {}, which is not empty, and H2 cannot be read. Move the data to MariaDB, MySQL or \
         PostgreSQL and name that database (docs/databases.md, \"H2\"); to begin with an empty embedded database instead, remove \
         the section or move the file away", file.display()
    )]
    H2 {
        /// The section.
        section: String,
        /// The file.
        file: PathBuf,
    },
}

impl ConfigError {
    /// The process' exit code for this error.
    pub const fn exit_code(&self) -> u8 {
        EXIT_CONFIG
    }
}

/// The configuration that a server runs with: files relative to the data directory made absolute, the command line's
/// offset and roles put in. Also says which file was read.
pub fn load_config(
    serve: &Serve,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(Config, Vec<Note>, Option<PathBuf>), ConfigError> {
    let in_data_dir = serve.data_dir.join(CONFIG_FILE);
    let file = match &serve.config_file {
        Some(file) => Some(file.clone()),
        None => in_data_dir.exists().then_some(in_data_dir),
    };
    let host = host(env, serve.port_offset);
    let mut loaded = match &file {
        Some(file) => read_config(file, &host)?,
        None => config::load_on(&host, "", "(defaults)")?,
    };
    let profile = serve.profile.unwrap_or(loaded.config.server.profile);
    note_access_rules(&mut loaded, profile);
    if loaded.config.server.home.as_os_str().is_empty()
        && let Some(home) = file.as_deref().and_then(home_of)
    {
        // Relative to where we were started, not to the data directory.
        loaded.config.server.home = std::path::absolute(home).unwrap_or_else(|_| home.to_owned());
    }
    let mut config = loaded.config.in_data_dir(&serve.data_dir);
    config.server.profile = profile;
    // A gateway alone opens no database.
    if config.server.profile.roles().any(|role| role != Role::Gateway) {
        check_h2(&config, &h2_homes(serve, file.as_deref()), env)?;
    }
    Ok((config, loaded.notes, file))
}

/// The old server's home, where its `repository/conf` holds the configuration.
fn home_of(file: &Path) -> Option<&Path> {
    file.parent().filter(|it| it.ends_with("repository/conf")).and_then(|it| it.ancestors().nth(2))
}

/// Directories that the path of an H2 database may be relative to: the old server's home, where its `repository/conf` holds
/// the configuration or where we are started, and our own data directory.
fn h2_homes(serve: &Serve, file: Option<&Path>) -> Vec<PathBuf> {
    let beside = file.and_then(Path::parent).map(Path::to_owned);
    let home = file.and_then(home_of);
    [home.map(Path::to_owned), beside, Some(serve.data_dir.clone()), Some(PathBuf::new())]
        .into_iter()
        .flatten()
        .collect()
}

/// The embedded database must not take the place of an H2 database that we can find and that is not empty. Of any other, a file
/// elsewhere among them, a note says that the embedded one stands in (`config/fill/database.rs`).
fn check_h2(config: &Config, homes: &[PathBuf], env: &dyn Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
    for (_, database) in config.databases.all() {
        let Some(named) = &database.h2_file else { continue };
        let path = match (named.strip_prefix("~"), env("HOME")) {
            (Ok(rest), Some(home)) => Path::new(&home).join(rest),
            _ => named.clone(),
        };
        let endings = ["mv.db", "h2.db", "data.db"];
        let files = homes
            .iter()
            .flat_map(|home| endings.map(|ending| PathBuf::from(format!("{}.{ending}", home.join(&path).display()))));
        let is_filled = |file: &PathBuf| file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0);
        if let Some(file) = files.into_iter().find(is_filled) {
            return Err(ConfigError::H2 { section: database.name.clone(), file });
        }
    }
    Ok(())
}

/// This host. A machine without the link, or with a copy of the file, does not tell its zone's name.
fn host(env: &dyn Fn(&str) -> Option<String>, port_offset: Option<u16>) -> Host<'_> {
    Host { env, port_offset, localtime: std::fs::read_link("/etc/localtime").ok() }
}

/// What is to be said about the access rules of a file, beside the routes of its server.
fn note_access_rules(loaded: &mut Loaded, profile: Profile) {
    if profile.roles().any(|role| role != Role::Gateway) {
        loaded.notes.extend(rules::notes(&loaded.config.access_rules, &route_list(profile)));
        loaded.notes.sort_by_key(|note| note.line);
    }
}

fn read_config(file: &Path, host: &Host<'_>) -> Result<Loaded, ConfigError> {
    let failed = |source| ConfigError::Io { path: file.to_owned(), source };
    let mut text = String::new();
    // One byte more than is allowed, so that `config` sees that the file is too large.
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    File::open(file).and_then(|opened| opened.take(limit).read_to_string(&mut text)).map_err(failed)?;
    // Editors on Windows put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(config::load_on(host, text, &file.to_string_lossy())?)
}

/// `claviger config check FILE`: prints notes and problems, returns the exit code.
pub fn config_check(file: &Path, env: &dyn Fn(&str) -> Option<String>, out: &mut dyn Write) -> io::Result<u8> {
    match read_config(file, &host(env, None)) {
        Ok(mut loaded) => {
            let profile = loaded.config.server.profile;
            note_access_rules(&mut loaded, profile);
            for note in &loaded.notes {
                writeln!(out, "{note}")?;
            }
            writeln!(out, "{}: no problems", file.display())?;
            Ok(EXIT_OK)
        }
        Err(error) => {
            writeln!(out, "{error}")?;
            Ok(error.exit_code())
        }
    }
}

/// `claviger config keys`: prints the reference.
pub fn config_keys(out: &mut dyn Write) -> io::Result<u8> {
    out.write_all(config::reference().as_bytes())?;
    Ok(EXIT_OK)
}
