//! Where the parts meet: builds the roles of a process, opens its ports, and ends it in order.

use crate::app::{App, SystemClock, SystemEntropy};
use crate::cleaner::{self, Cleanup};
use crate::config::Config;
use crate::config::model::PlainHttp;
use crate::config::ports;
use crate::config::profile::{Profile, Role};
use crate::events::pace::Intervals;
use crate::files::DataDir;
use crate::gateway_feed::{self, LocalControlPlane};
use crate::http::access::Peer;
use crate::http::routes::{RouteEntry, Routes};
use crate::http::rules::AccessRules;
use crate::http::serve::{ManagementConnection, Port, Stream, accept, serve_management};
use crate::http::tls;
use crate::ops::Metrics;
use crate::startup::{self, Administrator};
use crate::{data_api, events, gateway_role, health, notifications, oauth, ops, portal, user_info};
use anyhow::Context as _;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use claviger_gateway::control::ControlPlane;
use claviger_proto::entropy::Entropy;
use claviger_proto::event::Event;
use claviger_proto::time::Clock;
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
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
        let bind = async |is_wanted: bool, base: u16| {
            let address = SocketAddr::new(config.server.bind_address, config.port(base));
            if is_wanted { bind(address).await.map(Some) } else { Ok(None) }
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
    /// How it cleans its tables.
    pub cleanup: Cleanup,
}

impl Launch {
    /// A process of the real world.
    pub fn new(config: Config, data_dir: DataDir, profile: Profile) -> Self {
        let (clock, rng) = (Arc::new(SystemClock), Arc::new(SystemEntropy::default()));
        let cleanup = Cleanup::from(&config.cleanup);
        Self { config, data_dir, profile, clock, rng, cleanup }
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
    /// Tells other nodes of what the last requests wrote, so it ends after them.
    courier: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

impl Running {
    /// Ends the process: no new connections, running requests finish, the database is closed. Returns false when the deadline
    /// cut something off.
    pub async fn stop(mut self) -> bool {
        self.stop.send_replace(true);
        if let Some(app) = &self.app {
            app.events.close();
        }
        let all = async {
            while self.tasks.join_next().await.is_some() {}
            // What the last requests left to be done behind their answers.
            if let Some(app) = &self.app {
                app.users.finish().await;
            }
        };
        let is_clean = tokio::time::timeout(self.deadline, all).await.is_ok();
        if !is_clean {
            tracing::warn!("the shutdown deadline is over; open connections are cut");
            self.tasks.abort_all();
        }
        if let Some((stop, courier)) = self.courier {
            stop.send_replace(true);
            // It bounds its own end.
            drop(courier.await);
        }
        if let Some(app) = &self.app {
            app.users.close().await;
            app.store.close().await;
        }
        is_clean
    }
}

/// Starts a process on its ports.
pub async fn start(launch: Launch, listeners: Listeners) -> anyhow::Result<Running> {
    let Launch { mut config, data_dir, profile, clock, rng, cleanup } = launch;
    config.server.profile = profile;
    let deadline = Duration::from_secs(config.server.shutdown_deadline_s);
    startup::keystores::check(&config)?;
    let pair = startup::tls_pair(&config, &data_dir, &*clock)?;
    let own_certificate = pair.chain.clone();
    let tls = tls::acceptor(pair).context("the TLS certificate cannot be used")?;
    let metrics = Arc::new(Metrics::default());
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut courier = None;
    let has_database = profile.roles().any(|role| role != Role::Gateway);
    let started = if has_database {
        let started = startup::start(config.clone(), &data_dir, metrics.clone(), clock.clone(), rng.clone()).await?;
        let app = &started.app;
        let cursor = events::find_place(app).await.context("the event log cannot be read")?;
        tasks.spawn(events::follow(app.clone(), cursor, Intervals::from(&config.events), stopping.clone()));
        let (stop, stopping_last) = watch::channel(false);
        courier = Some((stop, tokio::spawn(events::courier::run(app.clone(), stopping_last))));
        tasks.spawn(cleaner::run(app.clone(), cleanup, stopping.clone()));
        tasks.spawn(notifications::run(app.clone(), stopping.clone()));
        Some(started)
    } else {
        None
    };
    let app = started.as_ref().map(|started| started.app.clone());
    let mut own_gateway = None;
    if profile.has(Role::Gateway) {
        let control = control_plane(&config, app.as_ref(), own_certificate)?;
        let gateway = gateway_role::start(&config, control, clock, rng, &metrics)?;
        if let Some(app) = &app {
            let gateway = Arc::downgrade(&gateway);
            app.store.on_commit(Arc::new(move |events: &[Event]| {
                if let Some(gateway) = gateway.upgrade() {
                    gateway.apply_revocations(events);
                }
            }));
        }
        let ports = [(listeners.gateway_https, Some(tls.clone())), (listeners.gateway_http, None)];
        gateway_role::open(&gateway, ports, config.limits.connections_max, &stopping, &mut tasks);
        own_gateway = Some(gateway);
    }
    let (router, entries) = match &app {
        Some(app) => features(Routes::new(app.clone()), profile).finish(),
        None => (health::without_database(metrics.clone(), own_gateway), Vec::new()),
    };
    let limits = ops::Limits {
        body_bytes_max: config.limits.body_bytes_max,
        connections_max: config.limits.connections_max,
        request_timeout_s: config.limits.request_timeout_s,
    };
    let router = router.layer(DefaultBodyLimit::max(limits.body_bytes_max));
    let is_plain_open = config.server.plain_http == PlainHttp::All;
    let rules = Arc::new(AccessRules::new(&config.access_rules));
    let management = Management { router, metrics, limits, rules, is_plain_open, stopping };
    management.open(listeners.management_https, Some(tls), &mut tasks);
    management.open(listeners.management_http, None, &mut tasks);
    Ok(Running {
        app,
        routes: entries,
        administrator: started.map(|started| started.administrator),
        deadline,
        stop,
        tasks,
        courier,
    })
}

/// Where the gateway of this process gets its data: from this process, or from `[apim.key_manager] service_url`.
fn control_plane(
    config: &Config,
    app: Option<&Arc<App>>,
    own_certificate: Vec<CertificateDer<'static>>,
) -> anyhow::Result<Arc<dyn ControlPlane>> {
    if let Some(app) = app {
        return Ok(Arc::new(LocalControlPlane::new(app.clone())));
    }
    gateway_role::remote_control_plane(config, own_certificate)
}

/// Every management route of a profile with its rule, without a server.
pub fn route_list(profile: Profile) -> Vec<RouteEntry> {
    Routes::list(|routes| features(routes, profile))
}

fn features(routes: Routes, profile: Profile) -> Routes {
    let mut routes =
        routes.with(health::routes).with(gateway_feed::routes).with(notifications::routes).with(data_api::routes);
    if profile.has(Role::KeyManager) {
        routes = routes.with(oauth::routes).with(user_info::routes);
    }
    if profile.has(Role::Portal) {
        routes = routes.with(portal::routes);
    }
    routes
}

struct Management {
    router: Router,
    metrics: Arc<Metrics>,
    limits: ops::Limits,
    rules: Arc<AccessRules>,
    is_plain_open: bool,
    stopping: watch::Receiver<bool>,
}

impl Management {
    fn open(&self, listener: Option<TcpListener>, tls: Option<TlsAcceptor>, tasks: &mut JoinSet<()>) {
        let Some(listener) = listener else { return };
        let is_loopback_only = tls.is_none() && !self.is_plain_open;
        let refusal = Router::new().fallback(async || {
            (
                StatusCode::FORBIDDEN,
                "This port is for clients on the same host; use https (server.plain_http opens it).\n",
            )
        });
        let (router, metrics, limits) = (self.router.clone(), self.metrics.clone(), self.limits);
        let rules = self.rules.clone();
        let port = Port { listener, tls, connections_max: limits.connections_max };
        tasks.spawn(accept(port, self.stopping.clone(), move |stream: Stream, peer: Peer, stopping| {
            let is_refused = is_loopback_only && !peer.address.ip().to_canonical().is_loopback();
            let router = if is_refused { refusal.clone() } else { router.clone() };
            let (metrics, rules) = (metrics.clone(), rules.clone());
            serve_management(ManagementConnection { router, metrics, limits, rules, peer }, stream, stopping)
        }));
    }
}
