//! The whole server in this process: ephemeral ports, a clock that moves by hand, the system's randomness.

use super::wire::{self, Call as _, Origin};
use super::{ADMIN, ADMIN_PASSWORD, Database, Directory, databases, galera};
use claviger::app::{App, SystemClock, SystemEntropy};
use claviger::cleaner::Cleanup;
use claviger::config;
use claviger::files::{DataDir, SIGNING_CERTIFICATE_FILE, SIGNING_FILE, TLS_CERTIFICATE_FILE};
use claviger::http::routes::RouteEntry;
use claviger::server::{Launch, Listeners, Running, start};
use claviger::startup::Administrator;
use claviger_gateway::model::Snapshot;
use claviger_proto::time::{Clock, Timestamp};
use futures_util::future::join_all;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A clock that stands still until it is moved.
pub(crate) struct ManualClock(AtomicI64);

impl ManualClock {
    pub(crate) fn at_ms(millis: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(millis)))
    }

    pub(crate) fn advance_s(&self, seconds: i64) {
        self.advance_ms(seconds * 1000);
    }

    pub(crate) fn advance_ms(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// What a test wants different.
#[derive(Default)]
pub(crate) struct Options {
    /// More text of deployment.toml.
    pub(crate) sections: &'static str,
    /// Listeners made by the test instead of loopback ones.
    pub(crate) listeners: Option<Listeners>,
    /// The clock of another server, for nodes whose clocks agree.
    pub(crate) clock: Option<Arc<ManualClock>>,
    /// `server.server_role`; all roles if not said.
    pub(crate) role: Option<&'static str>,
    /// How it cleans its tables.
    pub(crate) cleanup: Cleanup,
    /// The zone of its host; none is known if not said.
    pub(crate) host_zone: Option<&'static str>,
    /// Signs and names itself as that server does, so that each accepts the other's JWTs.
    pub(crate) likeness: Option<Likeness>,
    /// The home of the old installation; its own directory if not said.
    pub(crate) home: Option<PathBuf>,
}

/// The public name and the signing key of a server.
pub(crate) struct Likeness {
    base_path: String,
    directory: PathBuf,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) clock: Arc<ManualClock>,
    /// `https://localhost:port`, as tokens and metadata say it.
    pub(crate) base_path: String,
    pub(crate) engine: &'static str,
    pub(crate) admin_password: String,
    client: reqwest::Client,
    management: String,
    running: Running,
    directory: Directory,
}

/// Runs a case on a server on every engine.
pub(crate) async fn on_every_engine(sections: &'static str, case: impl AsyncFn(&Server)) {
    for database in databases().await {
        let server = Server::start(&database, Options { sections, ..Options::default() }).await;
        case(&server).await;
        server.stop().await;
        database.remove().await;
    }
}

/// Runs a case on a server on SQLite: for what no database can change.
pub(crate) async fn on_sqlite(sections: &'static str, case: impl AsyncFn(&Server)) {
    let server = Server::start(&Database::Sqlite, Options { sections, ..Options::default() }).await;
    case(&server).await;
    server.stop().await;
}

/// Runs a case on two nodes of one database with one clock, on each engine that can be shared; on a Galera cluster each node
/// has a member of its own.
pub(crate) async fn on_two_nodes_with(sections: &'static str, case: impl AsyncFn(&Server, &Server)) {
    for database in databases().await {
        if database.is_shared() {
            on_two_nodes_of([&database, &database], sections, &case).await;
        }
        database.remove().await;
    }
    if let Some(galera) = galera().await {
        on_two_nodes_of([&galera.members[0], &galera.members[1]], sections, &case).await;
        galera.remove().await;
    }
}

async fn on_two_nodes_of(databases: [&Database; 2], sections: &'static str, case: &impl AsyncFn(&Server, &Server)) {
    let a = Server::start(databases[0], Options { sections, ..Options::default() }).await;
    let clock = Some(a.clock.clone());
    let b = Server::start(databases[1], Options { sections, clock, ..Options::default() }).await;
    case(&a, &b).await;
    a.stop().await;
    b.stop().await;
}

impl Origin for Server {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.management))
    }

    fn admin_password(&self) -> &str {
        &self.admin_password
    }
}

impl Server {
    pub(crate) async fn start(database: &Database, options: Options) -> Self {
        let text = format!("{}\n{}", database.section(), options.sections);
        Self::start_on(database.engine(), &text, ADMIN_PASSWORD, options).await.unwrap()
    }

    /// Starts on databases that the text names. Who gives a key store there is answered on the plain port: its certificate is
    /// not this host's.
    pub(crate) async fn start_on(
        engine: &'static str,
        text: &str,
        admin_password: &str,
        options: Options,
    ) -> anyhow::Result<Self> {
        let directory = Directory::new();
        let listeners = match options.listeners {
            Some(listeners) => listeners,
            None => Listeners::ephemeral().await?,
        };
        let port = |listener: &Option<tokio::net::TcpListener>| listener.as_ref().unwrap().local_addr().unwrap().port();
        let (https, http) = (port(&listeners.management_https), port(&listeners.management_http));
        let mut base_path = format!("https://localhost:{https}");
        if let Some(likeness) = options.likeness {
            base_path = likeness.base_path;
            for file in [SIGNING_FILE, SIGNING_CERTIFICATE_FILE] {
                std::fs::copy(likeness.directory.join(file), directory.path().join(file))?;
            }
        }
        let role = options.role.unwrap_or("default");
        let home = Value::from(options.home.unwrap_or_default().to_str().unwrap());
        let text = format!(
            "[server]\nbase_path = \"{base_path}\"\nbind_address = \"127.0.0.1\"\nshutdown_deadline_s = 10\n\
             server_role = \"{role}\"\nhome = {home}\n\
             [super_admin]\nusername = \"{ADMIN}\"\npassword = {}\n{text}",
            Value::from(admin_password)
        );
        let environment = |name: &str| options.host_zone.filter(|_| name == "TZ").map(str::to_owned);
        let config = config::load(&text, "deployment.toml", &environment).unwrap().config.in_data_dir(directory.path());
        let data_dir = DataDir::open(directory.path())?;
        // Certificates are checked against the real time, so the manual clock starts there.
        let clock = options.clock.unwrap_or_else(|| ManualClock::at_ms(SystemClock.now().as_millis()));
        let profile = config.server.profile;
        let rng = Arc::new(SystemEntropy::default());
        let has_own_certificate = config.keystore.tls.is_none();
        let cleanup = options.cleanup;
        let launch = Launch { config, data_dir, profile, clock: clock.clone(), rng, cleanup };
        let running = Box::pin(start(launch, listeners)).await?;
        let (client, management) = if has_own_certificate {
            let certificate = std::fs::read(directory.path().join(TLS_CERTIFICATE_FILE)).unwrap();
            (wire::client(&certificate), format!("https://127.0.0.1:{https}"))
        } else {
            (wire::plain_client(), format!("http://127.0.0.1:{http}"))
        };
        let admin_password = admin_password.to_owned();
        Ok(Self { clock, base_path, engine, admin_password, client, management, running, directory })
    }

    /// The state, for what no wire can do.
    pub(crate) fn app(&self) -> &Arc<App> {
        self.running.app.as_ref().unwrap()
    }

    /// For a second node of its installation.
    pub(crate) fn likeness(&self) -> Likeness {
        Likeness { base_path: self.base_path.clone(), directory: self.directory.path().to_owned() }
    }

    /// Did this start insert the administrator?
    pub(crate) fn has_made_administrator(&self) -> bool {
        self.running.administrator == Some(Administrator::Configured)
    }

    /// The list of routes.
    pub(crate) fn routes(&self) -> &[RouteEntry] {
        &self.running.routes
    }

    /// Ends it and shows that nothing hung.
    pub(crate) async fn stop(self) {
        let Self { running, client, .. } = self;
        drop(client);
        assert!(running.stop().await, "the server did not stop in time");
    }

    /// Ends it and keeps its directory, for another process.
    pub(crate) async fn stop_and_keep(self) -> Directory {
        let Self { running, directory, .. } = self;
        assert!(running.stop().await, "the server did not stop in time");
        directory
    }

    /// As if it were killed: what runs is dropped where it stands.
    pub(crate) fn kill(self) {
        drop(self.running);
    }

    /// A figure of `GET /metrics`, by its name with labels; 0 when it is not there.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        wire::metric(self, name).await
    }

    /// The client of its requests, for one that keeps its connections.
    pub(crate) fn client(&self) -> reqwest::Client {
        self.client.clone()
    }

    /// A client that speaks HTTP/2.
    pub(crate) fn http2_client(&self) -> reqwest::Client {
        wire::http2_client(&std::fs::read(self.directory.path().join(TLS_CERTIFICATE_FILE)).unwrap())
    }

    /// A request to the management port.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        Origin::request(self, method, path)
    }

    /// Opens that many connections, so that as many requests can really run side by side.
    pub(crate) async fn warm_up(&self, connections: usize) {
        let replies = join_all((0..connections).map(|_| self.get("/health/ready").call())).await;
        assert!(replies.iter().all(|reply| reply.status == 200));
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    /// What introspection says of a token, asked by the administrator.
    pub(crate) async fn introspect(&self, token: &str) -> Value {
        wire::introspect(self, token).await
    }

    /// Does introspection call the token active?
    pub(crate) async fn is_active(&self, token: &str) -> bool {
        self.introspect(token).await["active"].as_bool().unwrap()
    }

    /// What a gateway is told when it starts.
    pub(crate) async fn snapshot(&self) -> Snapshot {
        let request = self.get("/internal/claviger/v1/snapshot").basic_auth(ADMIN, Some(&self.admin_password));
        let reply = request.call().await;
        assert_eq!(reply.status, 200, "{reply:?}");
        serde_json::from_str(&reply.body).unwrap()
    }

    /// Rows in IDN_OAUTH2_ACCESS_TOKEN that are ACTIVE.
    pub(crate) async fn active_rows(&self, client_id: &str) -> usize {
        let mut conn = self.app().store.reader().await.unwrap();
        let key = claviger_proto::ids::ConsumerKey::from(client_id);
        let client = claviger_store::clients::find(&mut conn, &key).await.unwrap().unwrap();
        claviger_store::tokens::list_active_of_client(&mut conn, client.id, 1_000).await.unwrap().len()
    }
}
