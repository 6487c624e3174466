//! The scene: a backend, a control process, a gateway apart, and what a publisher and a developer do at the portal.

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Directory, Process, Registered, Reply, free_offset, plain_client,
};
use axum::Router;
use claviger::files::TLS_CERTIFICATE_FILE;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Roles of a control process without a gateway.
pub(super) const CONTROL: [&str; 4] = ["--profile", "key-manager,portal,traffic-manager", "--log", "warn"];
/// What is asked of an API.
pub(super) const RESOURCE: &str = "/colombo";
/// Longest time from a change to its effect at every gateway, also after a connection is there again.
pub(super) const NEWS_MS_MAX: u64 = 15_000;
const PORTAL_SCOPES: &str =
    "apim:api_view apim:api_create apim:api_publish apim:subscribe apim:app_manage apim:sub_manage";

/// An HTTP server that answers 200 to everything.
pub(super) struct Backend {
    pub(super) url: String,
    serving: JoinHandle<()>,
}

impl Backend {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(async || "from the backend");
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, serving }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Where a gateway apart finds its control plane, and what it says there.
pub(super) struct Link {
    /// Port of this host.
    pub(super) port: u16,
    /// The administrator's password, or another one.
    pub(super) password: Option<&'static str>,
    /// PEM file with the control plane's certificate.
    pub(super) trusted: Option<PathBuf>,
}

impl Link {
    /// To the control process of a directory, through a port.
    pub(super) fn to(directory: &Directory, port: u16) -> Self {
        let trusted = Some(directory.path().join(TLS_CERTIFICATE_FILE));
        Self { port, password: Some(ADMIN_PASSWORD), trusted }
    }

    /// Writes the gateway's deployment.toml.
    pub(super) fn write(&self, directory: &Directory) {
        let password = self.password.map(|password| format!("password = \"{password}\"\n")).unwrap_or_default();
        let trusted = self.trusted.as_ref().map(|file| {
            let file = file.display();
            format!("[truststore]\ntype = \"PEM\"\nfile_name = \"{file}\"\n")
        });
        let text = format!(
            "[apim.key_manager]\nservice_url = \"https://localhost:{}/services/\"\nusername = \"{ADMIN}\"\n{password}{}",
            self.port,
            trusted.unwrap_or_default()
        );
        std::fs::write(directory.path().join("deployment.toml"), text).unwrap();
    }
}

/// Starts a gateway apart on its directory. Nothing in its environment helps it.
pub(super) async fn start_gateway(directory: &Directory) -> Process {
    let arguments = ["--profile", "gateway", "--log", "warn"];
    Process::try_start_without_password(directory.path(), free_offset(), &arguments).await.unwrap()
}

/// What a gateway made of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The code of a fault.
    pub(super) code: Option<i64>,
}

pub(super) const PASSED: Answer = Answer { status: 200, code: None };
/// The token is not good.
pub(super) const REFUSED: Answer = Answer { status: 401, code: Some(900_901) };
/// There is no such API.
pub(super) const UNKNOWN: Answer = Answer { status: 404, code: Some(404) };
/// The application is unknown or not subscribed.
pub(super) const NOT_SUBSCRIBED: Answer = Answer { status: 403, code: Some(900_908) };
/// The control plane cannot be asked.
pub(super) const UNCHECKED: Answer = Answer { status: 500, code: Some(900_900) };

/// A caller of a gateway, with connections of its own.
pub(super) struct Caller {
    http: Client,
    base: String,
}

impl Caller {
    pub(super) fn of(process: &Process) -> Self {
        Self { http: plain_client(), base: process.gateway() }
    }

    /// A call of version 1.0.0 of the API with this context.
    pub(super) async fn call(&self, context: &str, token: &str) -> Answer {
        let request = self.http.get(format!("{}{context}/1.0.0{RESOURCE}", self.base));
        let reply = request.bearer_auth(token).header("accept", "application/json").call().await;
        let fault = serde_json::from_str::<Value>(&reply.body).ok();
        Answer { status: reply.status, code: fault.and_then(|body| body["fault"]["code"].as_i64()) }
    }

    /// Calls until a new API or subscription has arrived here: unknown at first, then not subscribed.
    pub(super) async fn wait_for_service(&self, context: &str, token: &str) -> Duration {
        self.wait_for((context, token), PASSED, &[UNKNOWN, NOT_SUBSCRIBED], Duration::from_millis(NEWS_MS_MAX)).await
    }

    /// Calls until the answer is this one, and says how long that took. Every other answer must be of those allowed.
    pub(super) async fn wait_for(
        &self,
        (context, token): (&str, &str),
        wanted: Answer,
        allowed: &[Answer],
        bound: Duration,
    ) -> Duration {
        let started = Instant::now();
        loop {
            let answer = self.call(context, token).await;
            let elapsed = started.elapsed();
            if answer == wanted {
                return elapsed;
            }
            assert!(allowed.contains(&answer), "{context}: {answer:?} on the way to {wanted:?} after {elapsed:?}");
            assert!(elapsed < bound, "{context}: still {answer:?} in place of {wanted:?} after {elapsed:?}");
        }
    }
}

/// A publisher and developer with the rights of the administrator, and the OAuth endpoints.
pub(super) struct Portal {
    http: Client,
    base: String,
    token: String,
}

/// Kind of an application's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Opaque,
    Jwt,
}

/// An application with keys for production.
#[derive(Debug)]
pub(super) struct Application {
    pub(super) id: String,
    pub(super) keys: Registered,
}

impl Portal {
    pub(super) async fn open(process: &Process) -> Self {
        let (http, base) = (plain_client(), process.plain());
        let tool = json!({ "clientName": "tool", "owner": ADMIN, "grantType": "password", "saasApp": true });
        let request = http.post(format!("{base}/client-registration/v0.17/register")).json(&tool);
        let tool = good(request.basic_auth(ADMIN, Some(ADMIN_PASSWORD))).await;
        let form =
            [("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD), ("scope", PORTAL_SCOPES)];
        let request = http.post(format!("{base}/oauth2/token")).form(&form);
        let reply = good(request.basic_auth(tool.text("clientId"), Some(tool.text("clientSecret")))).await;
        Self { token: reply.text("access_token"), http, base }
    }

    /// Forgets its connections: the process at their other end is gone.
    pub(super) fn reconnect(&mut self) {
        self.http = plain_client();
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        let request = self.http.post(format!("{}/api/am/{path}", self.base)).bearer_auth(&self.token);
        good(request.json(&body)).await
    }

    /// Publishes an API of the backend under a context. The last thing that happens is the 200 of the publication.
    pub(super) async fn publish(&self, context: &str, backend: &Backend) -> String {
        let body = json!({
            "name": context.trim_start_matches('/'), "context": context, "version": "1.0.0", "policies": ["Gold"],
            "gatewayEnvironments": ["Production and Sandbox"],
            "endpointConfig": { "endpoint_type": "http", "production_endpoints": { "url": backend.url } },
            "operations": [{ "target": "/*", "verb": "GET" }],
        });
        let id = self.post("publisher/v1/apis", body).await.text("id");
        let path = format!("publisher/v1/apis/change-lifecycle?apiId={id}&action=Publish");
        let reply = self.post(&path, json!({})).await;
        assert_eq!(reply.json()["lifecycleState"]["state"], "Published", "{reply:?}");
        id
    }

    /// Makes an application with keys. The portal makes clients with JWTs only; the other kind is the key manager's.
    pub(super) async fn application(&self, name: &str, kind: Kind) -> Application {
        let body = json!({ "name": name, "throttlingPolicy": "Unlimited" });
        let id = self.post("store/v1/applications", body).await.text("applicationId");
        let body = json!({ "keyType": "PRODUCTION", "grantTypesToBeSupported": ["client_credentials"] });
        let keys = self.post(&format!("store/v1/applications/{id}/generate-keys"), body).await;
        let keys = Registered { id: keys.text("consumerKey"), secret: keys.text("consumerSecret") };
        if kind == Kind::Opaque {
            let url = format!("{}/keymanager-operations/dcr/register/{}", self.base, keys.id);
            let request = self.http.put(url).basic_auth(ADMIN, Some(ADMIN_PASSWORD));
            good(request.json(&json!({ "client_id": keys.id, "token_type_extension": "Default" }))).await;
        }
        Application { id, keys }
    }

    /// Subscribes an application to an API.
    pub(super) async fn subscribe(&self, application: &Application, api: &str) {
        let body = json!({ "applicationId": application.id, "apiId": api, "throttlingPolicy": "Gold" });
        let reply = self.post("store/v1/subscriptions", body).await;
        assert_eq!(reply.text("status"), "UNBLOCKED", "{reply:?}");
    }

    async fn oauth(&self, application: &Application, path: &str, form: &[(&str, &str)]) -> Reply {
        let request = self.http.post(format!("{}/oauth2/{path}", self.base)).form(form);
        good(request.basic_auth(&application.keys.id, Some(&application.keys.secret))).await
    }

    /// A token of the application. A scope of its own makes it another one than those before.
    pub(super) async fn token(&self, application: &Application, scope: &str) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        self.oauth(application, "token", &form).await.text("access_token")
    }

    /// Revokes; when this returns, the 200 is here.
    pub(super) async fn revoke(&self, application: &Application, token: &str) {
        self.oauth(application, "revoke", &[("token", token)]).await;
    }
}

async fn good(request: RequestBuilder) -> Reply {
    let reply = request.call().await;
    assert!(matches!(reply.status, 200 | 201), "{reply:?}");
    reply
}
