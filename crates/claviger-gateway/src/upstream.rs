//! Connections to the backends.
//!
//! Owns: the pool, TLS, the time-outs of connecting and of waiting for the first byte, one retry on a connection that had
//! gone stale, and which fault a failure is (portal-gateway-3x.md 6.6). Leaves to `rewrite`: what is sent; to `body`: the
//! time-outs of bodies.

use crate::body::{BodyError, ProxyBody};
use crate::config::GatewayConfig;
use crate::fault::{Fault, Refusal};
use http::{Method, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::error::Error as StdError;
use std::io;
use std::time::Duration;

/// Silence after which the other end of a connection is probed, and between two probes.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Probes without an answer after which the connection is lost.
const KEEPALIVE_RETRIES: u32 = 2;

/// A pool of connections that sends bodies of one type.
pub(crate) struct Upstream {
    client: Client<HttpsConnector<HttpConnector>, ProxyBody>,
}

impl Upstream {
    /// A pool with this TLS configuration. Backends are spoken to in HTTP/1.1.
    pub(crate) fn new(config: &GatewayConfig, tls: rustls::ClientConfig) -> Self {
        let connector = connector(Duration::from_millis(config.connect_timeout_ms), tls);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_millis(config.idle_connection_age_ms_max))
            .pool_max_idle_per_host(config.idle_connections_per_backend_max)
            // Only a request of which nothing was sent is tried again, whatever its method: nobody has seen it.
            .retry_canceled_requests(true)
            .set_host(false)
            .build(connector);
        Self { client }
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(
        &self,
        request: Request<ProxyBody>,
        timeout: Duration,
    ) -> Result<Response<Incoming>, Refusal> {
        match tokio::time::timeout(timeout, self.send_with_retry(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Refusal { fault: fault_of(&error), cause: Some(chain(&error)) }),
            Err(_) => Err(Fault::BackendTimeout.into()),
        }
    }

    /// A backend may close an idle connection while the request is on its way. Then it is tried once more, if doing it
    /// twice is harmless and there is no body that would be gone.
    async fn send_with_retry(&self, request: Request<ProxyBody>) -> Result<Response<Incoming>, Error> {
        let is_repeatable =
            matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) && request.body().is_end_stream();
        if !is_repeatable {
            return self.client.request(request).await;
        }
        let (parts, body) = request.into_parts();
        let spare = parts.clone();
        match self.client.request(Request::from_parts(parts, body)).await {
            Err(error) if is_broken_off(&error) => {
                self.client.request(Request::from_parts(spare, ProxyBody::own(""))).await
            }
            outcome => outcome,
        }
    }
}

/// What makes connections for a client of this process.
pub type Connector = HttpsConnector<HttpConnector>;

/// HTTP/1.1 over TCP or TLS with this time-out to connect.
pub fn connector(connect_timeout: Duration, mut tls: rustls::ClientConfig) -> Connector {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(connect_timeout));
    // An answer that is waited for on a connection which the network has silently lost would not be missed before its time-out:
    // half a minute for news of revocations.
    http.set_keepalive(Some(KEEPALIVE));
    http.set_keepalive_interval(Some(KEEPALIVE));
    http.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    // The builder wants to set it and refuses a configuration that has it.
    tls.alpn_protocols = Vec::new();
    hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http)
}

/// Did the connection end before any byte of an answer?
fn is_broken_off(error: &Error) -> bool {
    if error.is_connect() {
        return false;
    }
    causes(error).any(|cause| {
        let is_incomplete = cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message);
        let is_reset = cause.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted
            )
        });
        is_incomplete || is_reset
    })
}

fn fault_of(error: &Error) -> Fault {
    if let Some(body) = causes(error).find_map(|cause| cause.downcast_ref::<BodyError>()) {
        return match body {
            BodyError::Idle => Fault::RequestBodyTimeout,
            BodyError::Broken(_) => Fault::RequestBodyBroken,
        };
    }
    if !error.is_connect() {
        return Fault::BackendFailed;
    }
    let kind = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    match kind {
        Some(io::ErrorKind::TimedOut) => Fault::BackendTimeout,
        // TLS failures arrive as other or invalid data; everything below TLS is a connection that was not there.
        Some(io::ErrorKind::Other | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => Fault::BackendFailed,
        Some(_) | None => Fault::BackendRefused,
    }
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| (*error).source())
}

/// An error with its causes in one line.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
