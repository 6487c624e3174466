//! Accept loops, and what happens around every management request: time limit, panic barrier, access log, metrics.
//!
//! One loop serves any protocol: the gateway's ports use it with the gateway's own connection handler.

use crate::http::access::Peer;
use crate::http::rules::AccessRules;
use crate::http::{reply, unread};
use crate::ops::{Limits, Metrics};
use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, EXPECT};
use axum::http::{HeaderValue, Request, Response, StatusCode, Version};
use claviger_gateway::connection::{Bounds, Connection, HeadFault};
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower_service::Service as _;

/// What the system takes of an answer beyond what the client's window lets through.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 64 * 1024;
/// Longest TLS handshake.
const HANDSHAKE_MS_MAX: u64 = 10_000;
/// Longest wait for a request's head, from its first byte; for the first head from the beginning of the connection.
const HEAD_MAX: Duration = Duration::from_secs(15);
/// Longest time without a request.
const IDLE_MAX: Duration = Duration::from_mins(1);
/// Longest wait for a client to take an answer, beside what its bytes need at a least rate.
const BODY_MAX: Duration = Duration::from_mins(1);
/// Header lines of a request.
const HEADERS_MAX: usize = 100;
/// Request line and headers together.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Pause after a failed accept (no descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE_MS: u64 = 50;

/// A port: a bound listener, with TLS or without.
pub struct Port {
    /// The listener.
    pub listener: TcpListener,
    /// TLS, or plain.
    pub tls: Option<TlsAcceptor>,
    /// Most open connections; beyond it new ones wait in the system's queue.
    pub connections_max: usize,
}

/// A stream of either kind.
pub enum Stream {
    /// As it came.
    Plain(TcpStream),
    /// Decrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Accepts connections until shutdown, then waits for those that are open. `serve` must end its connection soon after the
/// shutdown signal.
pub async fn accept<F, S>(port: Port, shutdown: watch::Receiver<bool>, serve: F)
where
    F: Fn(Stream, Peer, watch::Receiver<bool>) -> S + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let serve = Arc::new(serve);
    let slots = Arc::new(Semaphore::new(port.connections_max));
    let mut connections = JoinSet::new();
    let mut ending = shutdown.clone();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = stopped(&mut ending) => break,
            accepted = accept_one(&port.listener, &slots) => accepted,
        };
        let (stream, address, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                continue;
            }
        };
        let (serve, tls, shutdown) = (serve.clone(), port.tls.clone(), shutdown.clone());
        let peer = Peer { address, is_tls: tls.is_some() };
        connections.spawn(async move {
            let _slot = slot;
            let mut ending = shutdown.clone();
            let stream = tokio::select! {
                () = stopped(&mut ending) => None,
                stream = handshake(stream, tls) => stream,
            };
            if let Some(stream) = stream {
                serve(stream, peer, shutdown).await;
            }
        });
    }
    drop(port.listener);
    while connections.join_next().await.is_some() {}
}

/// Waits for the shutdown signal. (The value's guard must not live across an await.)
pub async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    drop(shutdown.wait_for(|is_ending| *is_ending).await);
}

async fn accept_one(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, std::net::SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    stream.set_nodelay(true)?;
    // Otherwise the system calls a connection writable only when a third of its buffer is free, which may be a megabyte: to the
    // time-outs a slow reader would look like none.
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX) {
        tracing::debug!(%error, "slow readers cannot be told from those that stopped");
    }
    Ok((stream, address, slot))
}

async fn handshake(stream: TcpStream, tls: Option<TlsAcceptor>) -> Option<Stream> {
    let Some(tls) = tls else { return Some(Stream::Plain(stream)) };
    let bound = Duration::from_millis(HANDSHAKE_MS_MAX);
    match tokio::time::timeout(bound, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

/// What the requests of one management connection share.
pub struct ManagementConnection {
    /// The routes.
    pub router: Router,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Bounds.
    pub limits: Limits,
    /// What the operator asks for beside the routes' own rules.
    pub rules: Arc<AccessRules>,
    /// The other end.
    pub peer: Peer,
}

/// Serves one management connection.
pub async fn serve_management(connection: ManagementConnection, stream: Stream, shutdown: watch::Receiver<bool>) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(100).max_header_list_size(16 * 1024);
    let watched = Connection::new(Bounds { head: HEAD_MAX, idle: IDLE_MAX, body: BODY_MAX, headers_max: HEADERS_MAX });
    let shared = Arc::new((connection.peer.address.to_string(), connection));
    let service = service_fn(|request: Request<Incoming>| {
        let (open, fault) = watched.begin(&request);
        let shared = shared.clone();
        async move {
            let (peer_name, connection) = &*shared;
            let response = handle(connection, peer_name, request, fault).await;
            Ok::<_, Infallible>(response.map(|body| open.answer(body)))
        }
    });
    let stream = TokioIo::new(watched.guard(stream));
    watched.serve(builder.serve_connection(stream, service), shutdown).await;
}

/// The answer to a head that hyper takes and we do not. A connection of HTTP/1 ends with it: what follows cannot be trusted.
fn refuse(fault: HeadFault) -> Response<Body> {
    let status = match fault {
        HeadFault::Ambiguous | HeadFault::Host => StatusCode::BAD_REQUEST,
        HeadFault::TooManyHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    };
    let name = status.canonical_reason().unwrap_or_default();
    let mut response = reply::portal_error(status, u32::from(status.as_u16()), name, &fault.to_string());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The router's answer, in time and whatever its handler does.
async fn answer(router: &mut Router, request: Request<Body>, bound: Duration) -> Response<Body> {
    match AssertUnwindSafe(tokio::time::timeout(bound, router.call(request))).catch_unwind().await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(never))) => match never {},
        Ok(Err(_)) => reply::too_slow(),
        // One request's panic is one request's 500.
        Err(_) => reply::internal(&io::Error::other("the handler panicked")),
    }
}

async fn handle(
    shared: &ManagementConnection,
    peer_name: &str,
    request: Request<Incoming>,
    fault: Option<HeadFault>,
) -> Response<Body> {
    let started = Instant::now();
    let is_http1 = request.version() < Version::HTTP_2;
    let is_waited_for = request.headers().contains_key(EXPECT);
    let (head, body) = request.into_parts();
    let (body, mut rest) = unread::lend(body);
    let mut request = Request::from_parts(head, Body::new(body));
    request.extensions_mut().insert(shared.peer);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let bound = Duration::from_secs(shared.limits.request_timeout_s);
    let is_faulty = fault.is_some();
    let mut response = match fault {
        None if shared.rules.admit(&method, &path, request.extensions_mut()).is_ok() => {
            answer(&mut shared.router.clone(), request, bound).await
        }
        None => {
            // Its body is asked for below.
            drop(request);
            reply::ambiguous_path()
        }
        Some(fault) => refuse(fault),
    };
    let elapsed = started.elapsed();
    shared.metrics.observe(response.status(), elapsed);
    tracing::info!(
        target: "access",
        peer = peer_name,
        method = method.as_str(),
        // The path alone: a query may hold credentials.
        path,
        status = response.status().as_u16(),
        duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
    );
    // Behind a faulty head nobody knows what the body is.
    if !is_faulty && let Ok(rest) = rest.try_recv() {
        // As much as a request that is taken may have.
        let bytes_max = shared.limits.body_bytes_max as u64;
        if !rest.is_read_out(bytes_max, is_waited_for).await && is_http1 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
    response
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const BOUND_MS: u64 = 50;
    const HOUR_MS: u64 = 3_600_000;

    const LARGE_BYTES: usize = 16 * 1024 * 1024;

    /// A port that serves one connection, and a client that has sent this.
    async fn connect(sent: &[u8]) -> (TcpStream, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let (_keep, shutdown) = watch::channel(false);
            let (stream, address) = listener.accept().await.unwrap();
            let router = Router::new().route("/good", get(async || "good"));
            let connection = ManagementConnection {
                router: router
                    .fallback(async || reply::no_route())
                    .route("/large", get(async || vec![b'x'; LARGE_BYTES])),
                metrics: Arc::default(),
                limits: Limits { body_bytes_max: 1024, connections_max: 8, request_timeout_s: 30 },
                rules: Arc::default(),
                peer: Peer { address, is_tls: false },
            };
            serve_management(connection, Stream::Plain(stream), shutdown).await;
        });
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(sent).await.unwrap();
        (client, served)
    }

    /// What a client of this port gets when it sends this and then waits, in virtual time.
    async fn talk(sent: &[u8]) -> (String, Duration) {
        let (mut client, served) = connect(sent).await;
        let started = tokio::time::Instant::now();
        let mut answer = Vec::new();
        let bound = Duration::from_millis(HOUR_MS);
        let read = tokio::time::timeout(bound, client.read_to_end(&mut answer)).await;
        drop(read.expect("the connection is closed"));
        served.await.unwrap();
        (String::from_utf8_lossy(&answer).into_owned(), started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_its_answer_and_one_that_stops_is_cut() {
        let request = b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n";
        let (mut slow, _served) = connect(request).await;
        slow.readable().await.unwrap();
        let mut piece = vec![0; 64 * 1024];
        let mut taken = 0;
        while taken < LARGE_BYTES {
            taken += slow.read(&mut piece).await.unwrap();
            // Four minutes in all.
            tokio::time::advance(Duration::from_secs(1)).await;
        }

        let (_stopped, served) = connect(request).await;
        tokio::time::timeout(2 * BODY_MAX, served).await.expect("the connection is cut").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_does_nothing_is_closed() {
        let within = |elapsed: Duration, bound: Duration| {
            assert!((bound..=bound + Duration::from_secs(8)).contains(&elapsed), "{elapsed:?}");
        };
        for nothing in [&b""[..], b"GET /good HT", b"PRI * HTTP/2.0\r\n\r\nSM\r"] {
            let (_, elapsed) = talk(nothing).await;
            within(elapsed, HEAD_MAX);
        }
        let (_, elapsed) = talk(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        within(elapsed, IDLE_MAX);
        let (answer, elapsed) = talk(b"GET /good HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("good"), "{answer}");
        within(elapsed, IDLE_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_can_be_read_in_two_ways_is_refused() {
        let head = "POST /good HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        let pipelined = format!("GET /good HTTP/1.1\r\nhost: x\r\n\r\n{head}");
        for sent in [head, "GET /good HTTP/1.1\r\n\r\n", &pipelined] {
            let (answer, _) = talk(sent.as_bytes()).await;
            assert!(answer.contains("HTTP/1.1 400 Bad Request"), "{answer}");
        }
    }

    /// What a client has read by the end of an answer that is one JSON object.
    async fn read_answer(client: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let read = client.read_buf(&mut answer).await.unwrap();
            assert!(read > 0, "the connection ended: {}", String::from_utf8_lossy(&answer));
        }
        String::from_utf8_lossy(&answer).to_ascii_lowercase()
    }

    /// In real time: while the body is on its way there is nothing to do, and virtual time would run.
    #[tokio::test]
    async fn a_body_that_nobody_wants_does_not_end_the_connection() {
        let (mut client, _served) = connect(b"").await;
        // No route, a path that can be read in two ways, no route again.
        for (path, status) in [("/none", "404"), ("/none/%2e%2e/x", "400"), ("/none", "404")] {
            let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n");
            client.write_all(head.as_bytes()).await.unwrap();
            // The server sees the head before the body, which comes in two pieces.
            for _ in 0..2 {
                tokio::task::yield_now().await;
                client.write_all(&[b'x'; 450]).await.unwrap();
            }
            let answer = read_answer(&mut client).await;
            assert!(answer.starts_with(&format!("http/1.1 {status}")), "{answer}");
            assert!(!answer.contains("connection: close"), "{answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_whose_body_is_left_unread_is_closed_with_a_word_of_it() {
        for head in [
            // More than is read of any body.
            "content-length: 100000\r\n\r\nxx",
            "transfer-encoding: chunked\r\n\r\n800\r\n",
            // A client that asks first whether its body is wanted.
            "content-length: 900\r\nexpect: 100-continue\r\n\r\n",
            // A body that does not come.
            "content-length: 900\r\n\r\nx",
        ] {
            let is_large_chunk = head.contains("800");
            let mut sent = format!("POST /none HTTP/1.1\r\nhost: x\r\n{head}").into_bytes();
            sent.extend(std::iter::repeat_n(b'x', if is_large_chunk { 2048 } else { 0 }));
            let (answer, elapsed) = talk(&sent).await;
            assert!(answer.starts_with("HTTP/1.1 404"), "{head}: {answer}");
            assert!(answer.contains("connection: close"), "{head}: {answer}");
            assert!(elapsed < Duration::from_secs(3), "{head}: {elapsed:?}");
        }
    }

    async fn ask(router: &mut Router, path: &str) -> Response<Body> {
        let request = Request::get(path).body(Body::empty()).unwrap();
        answer(router, request, Duration::from_millis(BOUND_MS)).await
    }

    fn fail() {
        panic!("as a bug would");
    }

    #[tokio::test]
    async fn a_panic_and_a_hang_are_answers_and_the_router_lives_on() {
        let mut router = Router::new()
            .route("/panic", get(async || fail()))
            .route("/hang", get(async || std::future::pending::<()>().await))
            .route("/good", get(async || "good"));
        for _ in 0..2 {
            let panicked = ask(&mut router, "/panic").await;
            assert_eq!(panicked.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let body = http_body_util::BodyExt::collect(panicked.into_body()).await.unwrap().to_bytes();
            assert!(!String::from_utf8_lossy(&body).contains("as a bug would"), "the cause is for the log");
            assert_eq!(ask(&mut router, "/hang").await.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(ask(&mut router, "/good").await.status(), StatusCode::OK);
        }
    }
}
