//! The program: reads the command line, starts the server, waits for a signal.

use anyhow::Context as _;
use claviger::app::{SystemClock, SystemEntropy};
use claviger::cleaner::{self, Cleanup};
use claviger::cli::user::UserAction;
use claviger::cli::{self, Action, DbAction, Serve};
use claviger::config::Config;
use claviger::config::database::DatabaseUrl;
use claviger::config::profile::{Profile, Role};
use claviger::files::{ADMIN_PASSWORD_FILE, DataDir};
use claviger::log;
use claviger::server::{self, Launch, Listeners, Running};
use claviger::startup::Administrator;
use claviger_proto::time::Clock as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let code = match cli::parse(std::env::args_os(), &environment) {
        Err(error) => {
            drop(error.print());
            u8::try_from(error.exit_code()).unwrap_or(cli::EXIT_USAGE)
        }
        Ok(Action::ConfigCheck(file)) => {
            cli::config_check(&file, &environment, &mut io::stdout()).unwrap_or(cli::EXIT_FAILURE)
        }
        Ok(Action::ConfigKeys) => cli::config_keys(&mut io::stdout()).unwrap_or(cli::EXIT_FAILURE),
        Ok(Action::Serve(options)) => serve(&options),
        Ok(Action::Db(options, action)) => on_database(&options, action),
        Ok(Action::User(options, action)) => on_user(&options, &action),
    };
    ExitCode::from(code)
}

#[expect(clippy::disallowed_methods, reason = "the program's one look at its environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn serve(options: &Serve) -> u8 {
    let (mut config, notes, file) = match cli::load_config(options, &environment) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("{error}");
            return cli::EXIT_CONFIG;
        }
    };
    let _log = log::init(options);
    if let Some(file) = &file {
        tracing::info!(file = %file.display(), "configuration read");
    }
    for note in &notes {
        if note.is_warning {
            tracing::warn!("{note}");
        } else {
            tracing::info!("{note}");
        }
    }
    if let Some(password) = environment("CLAVIGER_ADMIN_PASSWORD").filter(|password| !password.is_empty()) {
        let is_guessable = password == "admin" || password == config.super_admin.username;
        if is_guessable && !config.server.bind_address.is_loopback() {
            eprintln!("claviger: CLAVIGER_ADMIN_PASSWORD is the well-known default; choose another password");
            return cli::EXIT_CONFIG;
        }
        config.super_admin.password = Some(password.into());
    }
    let profile = config.server.profile;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("claviger: no threads can be started: {error}");
            return cli::EXIT_FAILURE;
        }
    };
    match runtime.block_on(run(options, config, profile)) {
        Ok(()) => cli::EXIT_OK,
        Err(error) => {
            eprintln!("claviger: {error:#}");
            cli::EXIT_FAILURE
        }
    }
}

/// `claviger db`: works on the database of a configuration and ends.
fn on_database(options: &Serve, action: DbAction) -> u8 {
    let config = match cli::load_config(options, &environment) {
        Ok((config, ..)) => config,
        Err(error) => {
            eprintln!("{error}");
            return cli::EXIT_CONFIG;
        }
    };
    let work = async {
        let mut out = io::stdout();
        match action {
            DbAction::Status => cli::db::status(&config, SystemClock.now(), &mut out).await,
            DbAction::Create => {
                let _lock = lock_embedded(options, &config)?;
                cli::db::create(&config, &(Arc::new(SystemEntropy::default()) as _), &mut out).await
            }
            DbAction::Clean { is_dry_run } => {
                // The embedded one is not made by looking at it.
                if let DatabaseUrl::Sqlite { path } = &config.databases.identity.url {
                    anyhow::ensure!(path.exists(), "there is no database {}", path.display());
                }
                let _lock = lock_embedded(options, &config)?;
                let settings = Cleanup::from(&config.cleanup);
                cleaner::clean_database(&config, &settings, &SystemClock, is_dry_run, &mut out).await?;
                Ok(cli::EXIT_OK)
            }
            DbAction::Print { is_all } => Ok(cli::db::print(&config.databases, is_all, &mut out)?),
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.context("no threads can be started").and_then(|runtime| runtime.block_on(work)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("claviger: {error:#}");
            cli::EXIT_FAILURE
        }
    }
}

/// `claviger user`: changes a user and ends. The audit log's lines go to standard error, as a server's do.
fn on_user(options: &Serve, action: &UserAction) -> u8 {
    let config = match cli::load_config(options, &environment) {
        Ok((config, ..)) => config,
        Err(error) => {
            eprintln!("{error}");
            return cli::EXIT_CONFIG;
        }
    };
    let log = log::init(options);
    let work = async {
        let _lock = lock_embedded(options, &config)?;
        let (clock, rng) = (Arc::new(SystemClock), Arc::new(SystemEntropy::default()));
        cli::user::run(&config, action, clock, rng, (&mut io::stdin().lock(), &mut io::stdout())).await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.context("no threads can be started").and_then(|runtime| runtime.block_on(work));
    drop(log);
    done.unwrap_or_else(|error| {
        eprintln!("claviger: {error:#}");
        cli::EXIT_FAILURE
    })
}

/// The embedded database belongs to one process at a time.
fn lock_embedded(options: &Serve, config: &Config) -> anyhow::Result<Option<impl Sized>> {
    let DatabaseUrl::Sqlite { .. } = &config.databases.identity.url else { return Ok(None) };
    Ok(Some(DataDir::open(&options.data_dir)?.lock()?))
}

async fn run(options: &Serve, config: Config, profile: Profile) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listeners = Listeners::bind(&config, profile).await?;
    let data_dir = DataDir::open(&options.data_dir)?;
    let _lock = data_dir.lock()?;
    if data_dir.is_open_to_others() {
        tracing::warn!(path = %data_dir.path().display(), "the data directory can be read by other users of this machine");
    }
    let summary = Summary::of(&config, profile, &data_dir);
    let running = Box::pin(server::start(Launch::new(config, data_dir, profile), listeners))
        .await
        .context("the server cannot start")?;
    summary.print(&running)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: running requests finish, no new ones are taken");
    let is_clean = running.stop().await;
    tracing::info!(is_clean, "stopped");
    Ok(())
}

/// The few lines that tell where everything is.
struct Summary(Vec<(&'static str, String)>);

impl Summary {
    fn of(config: &Config, profile: Profile, data_dir: &DataDir) -> Self {
        let host = &config.server.hostname;
        let base = &config.server.base_path;
        let mut lines = Vec::new();
        let has = |role: Role| profile.has(role);
        lines.push(("Roles", profile.roles().map(Role::name).collect::<Vec<_>>().join(", ")));
        if profile.roles().any(|role| role != Role::Gateway) {
            lines.push(("Database", config.databases.identity.url.label()));
        }
        if has(Role::KeyManager) {
            lines.push(("Token endpoint", format!("{base}/oauth2/token")));
        }
        if has(Role::Portal) {
            lines.push(("Publisher API", format!("{base}/api/am/publisher/v1")));
            lines.push(("Developer API", format!("{base}/api/am/store/v1")));
        }
        if has(Role::Gateway) {
            use claviger::config::ports::{GATEWAY_HTTP, GATEWAY_HTTPS};
            let (https, http) = (config.port(GATEWAY_HTTPS), config.port(GATEWAY_HTTP));
            lines.push(("Gateway", format!("https://{host}:{https} and http://{host}:{http}")));
        }
        lines.push(("Data directory", data_dir.path().display().to_string()));
        Self(lines)
    }

    fn print(mut self, running: &Running) -> io::Result<()> {
        let admin = match running.administrator {
            None => None,
            Some(Administrator::Existing) => Some("admin exists since an earlier start".to_owned()),
            Some(Administrator::Configured) => Some("created with the configured password".to_owned()),
            Some(Administrator::Generated) => {
                let app = running.app.as_ref().map(|app| app.config.super_admin.username.clone()).unwrap_or_default();
                Some(format!("created: user {app}, password in the file {ADMIN_PASSWORD_FILE} of the data directory"))
            }
        };
        self.0.extend(admin.map(|text| ("Administrator", text)));
        let mut out = io::stdout().lock();
        writeln!(out, "Claviger {} is ready", env!("CARGO_PKG_VERSION"))?;
        for (name, value) in self.0 {
            writeln!(out, "  {name:15} {value}")?;
        }
        out.flush()
    }
}
