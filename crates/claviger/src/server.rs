//! Where the parts meet: builds the roles of a process, opens its ports, and ends it in order.

use crate::app::{App, SystemClock, SystemEntropy};
use crate::config::Config;
use crate::config::model::PlainHttp;
use crate::config::ports;
use crate::config::profile::{Profile, Role};
use crate::files::DataDir;
use crate::http::access::Peer;
use crate::http::routes::{RouteEntry, Routes};
use crate::http::serve::{Port, Stream, accept, serve_management};
use crate::http::tls;
use crate::ops::Metrics;
use crate::startup::{self, Administrator};
use crate::{events, health, oauth, portal};
use anyhow::Context as _;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use claviger_proto::entropy::Entropy;
use claviger_proto::time::Clock;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// The bound ports of a process. Bound before anything else is opened: a taken port is the first thing to know.
pub struct Listeners {
    /// Management, TLS.
    pub management_https: Option<TcpListener>,
    /// Management, plain.
    pub management_http: Option<TcpListener>,
    /// Gateway, TLS.
    pub gateway_https: Option<TcpListener>,
    /// Gateway, plain.
    pub gateway_http: Option<TcpListener>,
}

impl Listeners {
    /// Binds the ports that a profile uses.
    pub async fn bind(config: &Config, profile: Profile) -> anyhow::Result<Self> {
        let has_management = profile.roles().any(|role| role != Role::Gateway);
        let has_plain = config.server.plain_http != PlainHttp::Off;
        let has_gateway = profile.has(Role::Gateway);
        let bind = async |is_wanted: bool, base: u16| match is_wanted {
            true => bind(SocketAddr::new(config.server.bind_address, config.port(base))).await.map(Some),
            false => Ok(None),
        };
        Ok(Self {
            management_https: bind(has_management, ports::MANAGEMENT_HTTPS).await?,
            management_http: bind(has_plain, ports::MANAGEMENT_HTTP).await?,
            gateway_https: bind(has_gateway, ports::GATEWAY_HTTPS).await?,
            gateway_http: bind(has_gateway, ports::GATEWAY_HTTP).await?,
        })
    }

    /// Binds ports that the system chooses, on loopback.
    pub async fn ephemeral() -> anyhow::Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(Self {
            management_https: Some(bind(any).await?),
            management_http: Some(bind(any).await?),
            gateway_https: Some(bind(any).await?),
            gateway_http: Some(bind(any).await?),
        })
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{address} cannot be opened; another server may use it (--port-offset moves all ports)")
    })
}

/// What a process is to be.
pub struct Launch {
    /// Its configuration.
    pub config: Config,
    /// Its files.
    pub data_dir: DataDir,
    /// Its roles.
    pub profile: Profile,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Its randomness.
    pub rng: Arc<dyn Entropy>,
}

impl Launch {
    /// A process of the real world.
    pub fn new(config: Config, data_dir: DataDir, profile: Profile) -> Self {
        Self { config, data_dir, profile, clock: Arc::new(SystemClock), rng: Arc::new(SystemEntropy::default()) }
    }
}

/// A running process.
pub struct Running {
    /// The state, when the process has a database.
    pub app: Option<Arc<App>>,
    /// Every management route with its rule.
    pub routes: Vec<RouteEntry>,
    /// What happened with the administrator; `None` without a database.
    pub administrator: Option<Administrator>,
    deadline: Duration,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Ends the process: no new connections, running requests finish, the database is closed. Returns false when the deadline
    /// cut something off.
    pub async fn stop(mut self) -> bool {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let is_clean = tokio::time::timeout(self.deadline, all).await.is_ok();
        if !is_clean {
            tracing::warn!("the shutdown deadline is over; open connections are cut");
            self.tasks.abort_all();
        }
        if let Some(app) = &self.app {
            app.store.close().await;
        }
        is_clean
    }
}

/// Starts a process on its ports.
pub async fn start(launch: Launch, listeners: Listeners) -> anyhow::Result<Running> {
    let Launch { config, data_dir, profile, clock, rng } = launch;
    let deadline = Duration::from_secs(config.server.shutdown_deadline_s);
    let tls =
        tls::acceptor(startup::tls_pair(&config, &data_dir, &*clock)?).context("the TLS certificate cannot be used")?;
    let metrics = Arc::new(Metrics::default());
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let _ = profile;
    let started = startup::start(config, &data_dir, metrics, clock, rng).await?;
    let app = started.app;
    tasks.spawn(events::follow(app.clone(), app.config.events.poll_interval_ms, stopping.clone()));
    tasks.spawn(events::clean_up(app.clone(), app.config.events.retention_days, stopping.clone()));
    let (router, routes) = management_routes(&app, profile);
    let management = Management { app: app.clone(), router, stopping: stopping.clone() };
    management.open(listeners.management_https, Some(tls.clone()), &mut tasks);
    management.open(listeners.management_http, None, &mut tasks);
    Ok(Running { app: Some(app), routes, administrator: Some(started.administrator), deadline, stop, tasks })
}

fn management_routes(app: &Arc<App>, _profile: Profile) -> (Router, Vec<RouteEntry>) {
    let (router, entries) = portal::mount::routes(app, Routes::new(app.clone()).with(health::routes).with(oauth::routes)).finish();
    (router.layer(DefaultBodyLimit::max(app.limits.body_bytes_max)), entries)
}

struct Management {
    app: Arc<App>,
    router: Router,
    stopping: watch::Receiver<bool>,
}

impl Management {
    fn open(&self, listener: Option<TcpListener>, tls: Option<TlsAcceptor>, tasks: &mut JoinSet<()>) {
        let Some(listener) = listener else { return };
        let is_loopback_only = tls.is_none() && self.app.config.server.plain_http == PlainHttp::Loopback;
        let refusal = Router::new().fallback(async || {
            (
                StatusCode::FORBIDDEN,
                "This port is for clients on the same host; use https (server.plain_http opens it).\n",
            )
        });
        let (app, router) = (self.app.clone(), self.router.clone());
        let port = Port { listener, tls, connections_max: app.limits.connections_max };
        tasks.spawn(accept(port, self.stopping.clone(), move |stream: Stream, peer: Peer, stopping| {
            let is_refused = is_loopback_only && !peer.address.ip().to_canonical().is_loopback();
            let router = if is_refused { refusal.clone() } else { router.clone() };
            serve_management(app.clone(), router, stream, peer, stopping)
        }));
    }
}
