//! Phase 0: one connection, whatever it came through.
//!
//! Owns: HTTP/1.1 and HTTP/2 on a stream that the program accepted (and wrapped in TLS), the limits of security.md 4.5 on
//! headers, streams and idle peers, and a shutdown that lets running requests finish. Leaves to the program: sockets, the
//! number of connections and certificates; to `framing`: heads that can be read in two ways; to `guard` and `connection`: slow
//! peers.

use crate::body::RequestBody;
use crate::config::GatewayConfig;
use crate::connection::{Bounds, Connection};
use crate::gateway::Gateway;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

/// How the caller reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Through TLS.
    Https,
}

impl Scheme {
    /// The word in an API's list of transports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What all requests of a connection share.
pub(crate) struct Arrival {
    /// Text of the caller's address.
    pub(crate) peer: HeaderValue,
    pub(crate) scheme: Scheme,
}

pub(crate) type Server = Builder<TokioExecutor>;

/// Pings on an HTTP/2 connection, and the wait for their answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Streams that a peer may reset before we looked at them (rapid reset).
const PENDING_RESETS_MAX: usize = 20;

/// The settings of every connection.
pub(crate) fn server(config: &GatewayConfig) -> Server {
    let mut builder = Builder::new(TokioExecutor::new());
    // No half_close: a caller that leaves and one that only has no more to say look the same until something is written, and
    // for the sake of the second the first would keep its place and its backend busy.
    builder
        .http1()
        .timer(TokioTimer::new())
        // Counts from the end of the answer before; heads that have begun are timed by `guard`.
        .header_read_timeout(Duration::from_millis(config.keep_alive_timeout_ms))
        .max_headers(config.headers_max)
        // hyper asks for at least 8 KiB.
        .max_buf_size(config.header_bytes_max.max(8 * 1024));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.streams_per_connection_max)
        .max_header_list_size(u32::try_from(config.header_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

impl Gateway {
    /// Serves one connection to its end. When `shutdown` becomes true (or its sender is gone), running requests are finished
    /// and no new ones are taken.
    pub async fn serve_connection<I>(
        self: &Arc<Self>,
        io: I,
        peer: SocketAddr,
        scheme: Scheme,
        shutdown: watch::Receiver<bool>,
    ) where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let peer = address_value(peer.ip());
        let arrival = Arc::new(Arrival { peer, scheme });
        let connection = Connection::new(Bounds {
            head: Duration::from_millis(self.config.header_read_timeout_ms),
            idle: Duration::from_millis(self.config.keep_alive_timeout_ms),
            body: Duration::from_millis(self.config.body_idle_timeout_ms),
            headers_max: self.config.headers_max,
        });
        let service = service_fn(|request: Request<Incoming>| {
            let (open, head_fault) = connection.begin(&request);
            let request = request.map(|incoming| RequestBody { incoming, head_fault });
            let response = Arc::clone(self).handle(request, Arc::clone(&arrival));
            async move { Ok::<_, Infallible>(response.await.map(|body| open.answer(body))) }
        });
        let stream = TokioIo::new(connection.guard(io));
        connection.serve(self.server.serve_connection(stream, service), shutdown).await;
    }
}

/// An address as it stands in `X-Forwarded-For`; an IPv4 address that came through an IPv6 socket as itself.
fn address_value(address: IpAddr) -> HeaderValue {
    let text = address.to_canonical().to_string();
    HeaderValue::from_str(&text).expect("an IP address is digits, letters, dots and colons")
}

/// Waits until a shutdown is asked for, or until nobody is left who could.
pub(crate) async fn until_shutdown(shutdown: &mut watch::Receiver<bool>) {
    // The value that comes back holds a lock; it ends here.
    drop(shutdown.wait_for(|is_shutting_down| *is_shutting_down).await);
}
