//! The control plane over the network: Claviger's own deployment API (portal-gateway-3x.md 6.12, "build first").
//!
//! Owns: paths, credentials, bounds of bodies and waits, and what a status means. Leaves to `model` and `control`: the JSON.
//!
//! Paths under the base URL: `GET /internal/claviger/v1/snapshot`, `/apis/{id}`, `/applications/{id}` (404: gone),
//! `/issuers`, `/events?after=N&gaps=1,2&wait_ms=M` (410: snapshot needed), `POST /check-token` with the form `token=...`. Each
//! is answered 501 by a control plane whose tables are older than those of API-M 3.2.

use crate::body::ProxyBody;
use crate::control::{ControlError, ControlPlane, EventPage};
use crate::model::{ApiDeployment, ApplicationEntry, Issuer, Snapshot, TokenVerdict};
use crate::upstream;
use bytes::Bytes;
use claviger_proto::encode::base64;
use claviger_proto::follow::{EventsRequest, GAPS_ASKED_MAX};
use claviger_proto::ids::{ApiId, ApplicationId};
use claviger_proto::secret::Secret;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use std::time::Duration;
use url::{Host, Url};

const PREFIX: &str = "/internal/claviger/v1";
const SNAPSHOT_BYTES_MAX: usize = 64 * 1024 * 1024;
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const SNAPSHOT_TIMEOUT_MS: u64 = 110_000;
const ANSWER_TIMEOUT_MS: u64 = 10_000;
const IDLE_CONNECTION_AGE: Duration = Duration::from_secs(30);

/// A control plane in another process.
pub struct RemoteControlPlane {
    base: String,
    authorization: HeaderValue,
    client: Client<HttpsConnector<HttpConnector>, ProxyBody>,
}

/// Why a remote control plane cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Credentials would travel in the clear.
    #[error("the control plane's URL must be https (or http to this host itself)")]
    NotHttps,
    /// The user name or password cannot be sent.
    #[error("the credentials for the control plane cannot be sent in a header")]
    Credentials,
}

impl RemoteControlPlane {
    /// The control plane at a base URL, with Basic credentials.
    pub fn new(base: &Url, user: &str, password: &Secret, tls: rustls::ClientConfig) -> Result<Self, RemoteError> {
        let is_loopback = match base.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(_)) | None => false,
        };
        if base.scheme() != "https" && !(base.scheme() == "http" && is_loopback) {
            return Err(RemoteError::NotHttps);
        }
        let pair = Secret::new(format!("{user}:{}", password.expose()));
        let mut authorization = HeaderValue::from_str(&format!("Basic {}", base64(pair.expose().as_bytes())))
            .map_err(|_| RemoteError::Credentials)?;
        authorization.set_sensitive(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION_AGE)
            .build(upstream::connector(CONNECT_TIMEOUT, tls));
        let base = format!("{}{PREFIX}", base.as_str().trim_end_matches('/'));
        Ok(Self { base, authorization, client })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, bounds: Bounds) -> Result<Option<T>, ControlError> {
        let request = self.request(Method::GET, path, ProxyBody::own(""))?;
        self.call(request, bounds).await
    }

    fn request(&self, method: Method, path: &str, body: ProxyBody) -> Result<Request<ProxyBody>, ControlError> {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(ACCEPT, "application/json")
            .body(body)
            .map_err(|error| ControlError::Malformed(error.to_string()))
    }

    /// The answer's JSON; `None` for 404.
    async fn call<T: DeserializeOwned>(
        &self,
        request: Request<ProxyBody>,
        bounds: Bounds,
    ) -> Result<Option<T>, ControlError> {
        let timeout = Duration::from_millis(bounds.timeout_ms);
        let answer = tokio::time::timeout(timeout, self.exchange(request, bounds.body_bytes_max)).await;
        let (status, body) =
            answer.map_err(|_| ControlError::Unavailable(format!("no answer in {} ms", bounds.timeout_ms)))??;
        match status {
            StatusCode::OK => {
                // The position is told, the content is not: it may hold endpoint credentials.
                let json = serde_json::from_slice(&body).map_err(|error| {
                    ControlError::Malformed(format!("JSON line {} column {}", error.line(), error.column()))
                })?;
                Ok(Some(json))
            }
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::GONE => Err(ControlError::SnapshotNeeded),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ControlError::Refused),
            StatusCode::NOT_IMPLEMENTED => Err(ControlError::Unsupported),
            other if other.is_server_error() => Err(ControlError::Unavailable(format!("status {}", other.as_u16()))),
            other => Err(ControlError::Malformed(format!("status {}", other.as_u16()))),
        }
    }

    async fn exchange(
        &self,
        request: Request<ProxyBody>,
        body_bytes_max: usize,
    ) -> Result<(StatusCode, Bytes), ControlError> {
        let response = self.client.request(request).await;
        let response = response.map_err(|error| ControlError::Unavailable(upstream::chain(&error)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), body_bytes_max).collect().await;
        let body = body.map_err(|error| ControlError::Unavailable(upstream::chain(&*error)))?;
        Ok((status, body.to_bytes()))
    }
}

/// Bounds of one exchange.
#[derive(Clone, Copy)]
struct Bounds {
    body_bytes_max: usize,
    timeout_ms: u64,
}

/// For what grows with the installation.
const ALL: Bounds = Bounds { body_bytes_max: SNAPSHOT_BYTES_MAX, timeout_ms: SNAPSHOT_TIMEOUT_MS };
const ORDINARY: Bounds = Bounds { body_bytes_max: ANSWER_BYTES_MAX, timeout_ms: ANSWER_TIMEOUT_MS };

/// An answer that must be there.
fn present<T>(answer: Option<T>) -> Result<T, ControlError> {
    answer.ok_or_else(|| ControlError::Malformed("status 404".to_owned()))
}

impl ControlPlane for RemoteControlPlane {
    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, ControlError>> {
        async move { present(self.get("/snapshot", ALL).await?) }.boxed()
    }

    fn api(&self, id: ApiId) -> BoxFuture<'_, Result<Option<ApiDeployment>, ControlError>> {
        async move { self.get(&format!("/apis/{id}"), ORDINARY).await }.boxed()
    }

    fn application(&self, id: ApplicationId) -> BoxFuture<'_, Result<Option<ApplicationEntry>, ControlError>> {
        async move { self.get(&format!("/applications/{id}"), ORDINARY).await }.boxed()
    }

    fn issuers(&self) -> BoxFuture<'_, Result<Vec<Issuer>, ControlError>> {
        async move { present(self.get("/issuers", ALL).await?) }.boxed()
    }

    fn events(&self, request: EventsRequest, wait_ms: u64) -> BoxFuture<'_, Result<EventPage, ControlError>> {
        if request.gaps.len() > GAPS_ASKED_MAX {
            return async { Err(ControlError::SnapshotNeeded) }.boxed();
        }
        let gaps: Vec<String> = request.gaps.iter().map(ToString::to_string).collect();
        let path = format!("/events?after={}&gaps={}&wait_ms={wait_ms}", request.after, gaps.join(","));
        let bounds = Bounds { timeout_ms: wait_ms.saturating_add(ANSWER_TIMEOUT_MS), ..ORDINARY };
        async move { present(self.get(&path, bounds).await?) }.boxed()
    }

    fn check_token<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<TokenVerdict, ControlError>> {
        async move {
            let form: String =
                url::form_urlencoded::Serializer::new(String::new()).append_pair("token", token).finish();
            let mut request = self.request(Method::POST, "/check-token", ProxyBody::own(form))?;
            let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
            request.headers_mut().insert(CONTENT_TYPE, content_type);
            present(self.call(request, ORDINARY).await?)
        }
        .boxed()
    }
}
