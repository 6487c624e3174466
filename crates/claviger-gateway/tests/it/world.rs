//! A gateway with its surroundings, a client that speaks raw HTTP/1.1, and the objects the tests share.

use crate::backend::Backend;
use crate::control::FakeControl;
use claviger_gateway::model::*;
use claviger_gateway::{Gateway, GatewayConfig, Progress, Scheme};
use claviger_proto::entropy::Entropy;
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::{ApiId, ApiUuid, ApplicationId, ApplicationUuid, ConsumerKey};
use claviger_proto::time::{Clock, Timestamp};
use prometheus_client::registry::Registry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) const KEY_MANAGER: &str = "Resident Key Manager";
/// The test's time at the start.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A clock that stands still until it is moved, and that can break.
pub(crate) struct TestClock {
    millis: AtomicI64,
    pub(crate) is_broken: AtomicBool,
}

impl TestClock {
    pub(crate) fn advance(&self, millis: i64) {
        self.millis.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        assert!(!self.is_broken.load(Ordering::SeqCst), "the clock is broken");
        Timestamp::from_millis(self.millis.load(Ordering::SeqCst))
    }
}

struct TestEntropy;

impl Entropy for TestEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0x5a);
    }
}

pub(crate) struct World {
    pub(crate) control: Arc<FakeControl>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) backend: Arc<Backend>,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: watch::Sender<bool>,
    pub(crate) registry: Registry,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) connections: Arc<std::sync::Mutex<Vec<JoinHandle<()>>>>,
}

impl World {
    /// The usual objects and limits.
    pub(crate) async fn start() -> Self {
        Self::start_with(GatewayConfig::default(), |_| {}).await
    }

    /// With other limits, and with the control plane's content changed before the gateway sees it.
    pub(crate) async fn start_with(config: GatewayConfig, prepare: impl FnOnce(&FakeControl)) -> Self {
        let world = Self::start_without_snapshot(config, prepare).await;
        world.until(|progress| progress.snapshots > 0).await;
        world
    }

    pub(crate) async fn start_without_snapshot(config: GatewayConfig, prepare: impl FnOnce(&FakeControl)) -> Self {
        Self::start_with_tls(config, tls(), prepare).await
    }

    /// With other trust in backends; the first snapshot may still be on its way.
    pub(crate) async fn start_with_tls(
        config: GatewayConfig,
        backend_tls: rustls::ClientConfig,
        prepare: impl FnOnce(&FakeControl),
    ) -> Self {
        let backend = Backend::start().await;
        let control = Arc::new(FakeControl::default());
        fill(&control, &backend.url());
        prepare(&control);
        let clock =
            Arc::new(TestClock { millis: AtomicI64::new(START.as_millis()), is_broken: AtomicBool::new(false) });
        let mut registry = Registry::default();
        let gateway = Gateway::new(
            config,
            Arc::clone(&control) as _,
            Arc::clone(&clock) as _,
            Arc::new(TestEntropy),
            backend_tls,
            &mut registry,
        );
        let (shutdown, shutting_down) = watch::channel(false);
        tokio::spawn(Arc::clone(&gateway).run_follower(shutting_down.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections: Arc<std::sync::Mutex<Vec<JoinHandle<()>>>> = Arc::default();
        let (serving, served) = (Arc::clone(&gateway), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let (gateway, shutting_down) = (Arc::clone(&serving), shutting_down.clone());
                let connection = tokio::spawn(async move {
                    gateway.serve_connection(stream, peer, Scheme::Http, shutting_down).await;
                });
                served.lock().unwrap().push(connection);
            }
        });
        let progress = gateway.progress();
        Self { control, clock, gateway, backend, address, shutdown, registry, progress, connections }
    }

    /// Waits until the follower is that far.
    pub(crate) async fn until(&self, condition: impl Fn(&Progress) -> bool) {
        let mut progress = self.progress.clone();
        let waiting = progress.wait_for(condition);
        tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("the follower got there").unwrap();
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a fresh connection and reads all that comes back.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        // A reset after the answer is as good an end as another.
        let _ = tokio::time::timeout(Duration::from_secs(20), reading).await.expect("the gateway ended the connection");
        String::from_utf8(answer).unwrap()
    }

    pub(crate) async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n");
        for (name, value) in headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text += "\r\n";
        Reply::parse(&self.raw(text.as_bytes()).await)
    }

    /// GET with a bearer token.
    pub(crate) async fn get(&self, path: &str, token: &str) -> Reply {
        self.call("GET", path, &[("Authorization", &format!("Bearer {token}"))]).await
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

/// An answer of the gateway.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Status and the code of the fault.
    pub(crate) fn code(&self) -> (u16, &str) {
        let code =
            self.body.split_once("code>").and_then(|(_, rest)| rest.split_once("</")).map_or("", |(code, _)| code);
        (self.status, code)
    }
}

/// Trusts nobody.
pub(crate) fn tls() -> rustls::ClientConfig {
    tls_trusting(rustls::RootCertStore::empty())
}

pub(crate) fn tls_trusting(roots: rustls::RootCertStore) -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// One API with two endpoints, and one application for each state of a subscription.
fn fill(control: &FakeControl, url: &str) {
    let mut state = control.state();
    state.as_of = 100;
    let api = api(1, "/weather", url);
    state.apis.insert(api.id, api);
    let applications = [
        (1, Some(SubscriptionStatus::Unblocked)),
        (2, Some(SubscriptionStatus::Blocked)),
        (3, Some(SubscriptionStatus::ProdOnlyBlocked)),
        (4, Some(SubscriptionStatus::OnHold)),
        (5, Some(SubscriptionStatus::Rejected)),
        (6, Some(SubscriptionStatus::TierUpdatePending)),
        (7, None),
    ];
    for (id, status) in applications {
        let entry = application(id, status);
        for key in &entry.keys {
            let token = active(key.consumer_key.as_str());
            state.tokens.insert(format!("token-{}", key.consumer_key), token);
        }
        state.applications.insert(entry.id, entry);
    }
    let mut reader = active("prod-1");
    reader.scopes = vec!["other".to_owned(), "read".to_owned()];
    reader.token = TokenHash::of("token-reader");
    state.tokens.insert("token-reader".to_owned(), reader);
}

pub(crate) fn api(id: i64, context: &str, url: &str) -> ApiDeployment {
    let endpoint = |path: &str| Some(Endpoint { url: format!("{url}{path}"), authorization: None, timeout_ms: None });
    ApiDeployment {
        id: ApiId(id),
        uuid: ApiUuid::from(format!("uuid-{id}")),
        name: format!("api-{id}"),
        version: "1.0.0".to_owned(),
        provider: "admin".to_owned(),
        tenant_domain: "carbon.super".to_owned(),
        context: format!("{context}/1.0.0"),
        default_context: Some(context.to_owned()),
        status: ApiStatus::Published,
        transports: vec!["http".to_owned(), "https".to_owned()],
        authorization_header: "Authorization".to_owned(),
        security: vec!["oauth2".to_owned()],
        key_managers: vec!["all".to_owned()],
        resources: vec![
            resource("GET", "/city/{id}", true, &[]),
            resource("POST", "/echo", true, &[]),
            resource("GET", "/read", true, &["read", "admin"]),
            resource("GET", "/open", false, &[]),
            resource("POST", "/open", false, &[]),
            resource("HEAD", "/open", false, &[]),
            resource("GET", "/hang", false, &[]),
            resource("GET", "/fail", false, &[]),
            resource("POST", "/upload", false, &[]),
            resource("GET", "/download", false, &[]),
            resource("PUT", "/put-only", true, &[]),
        ],
        production: endpoint(""),
        sandbox: endpoint("/sandbox"),
        cors: None,
    }
}

pub(crate) fn resource(verb: &str, pattern: &str, is_secured: bool, scopes: &[&str]) -> Resource {
    Resource {
        verb: verb.to_owned(),
        pattern: pattern.to_owned(),
        is_secured,
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        throttling_policy: "Unlimited".to_owned(),
    }
}

/// An application with the keys `prod-{id}` and `sand-{id}`, subscribed to API 1 in some state.
pub(crate) fn application(id: i64, status: Option<SubscriptionStatus>) -> ApplicationEntry {
    let key = |name: &str, key_type| ApplicationKey {
        consumer_key: ConsumerKey::from(format!("{name}-{id}")),
        key_type,
        key_manager: KEY_MANAGER.to_owned(),
        tenant_domain: None,
    };
    let subscription = |status| SubscriptionEntry { api_id: ApiId(1), status, policy: "Gold".to_owned() };
    ApplicationEntry {
        id: ApplicationId(id),
        uuid: ApplicationUuid::from(format!("application-{id}")),
        name: format!("application-{id}"),
        owner: "owner".to_owned(),
        policy: "Unlimited".to_owned(),
        keys: vec![key("prod", KeyType::Production), key("sand", KeyType::Sandbox)],
        subscriptions: status.map(subscription).into_iter().collect(),
    }
}

/// The key manager's word on `token-{consumer_key}`: good for an hour.
pub(crate) fn active(consumer_key: &str) -> ActiveToken {
    ActiveToken {
        token: TokenHash::of(&format!("token-{consumer_key}")),
        consumer_key: ConsumerKey::from(consumer_key),
        key_manager: KEY_MANAGER.to_owned(),
        username: "user@carbon.super".to_owned(),
        scopes: Vec::new(),
        issued_at: START.plus_millis(-1_000),
        expires_at: START.plus_millis(3_600_000),
        is_users: false,
    }
}
