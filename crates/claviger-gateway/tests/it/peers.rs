//! Security.md 4.5: peers that hold on to what they do not use, and stop everybody else.

use crate::forwarding::within;
use crate::framing::advance;
use crate::world::World;
use bytes::Bytes;
use claviger_gateway::connection::{Bounds, Connection};
use claviger_gateway::{GatewayConfig, Scheme};
use futures_util::FutureExt as _;
use http::{Method, Request, Version};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A connection without a socket, and what serves it.
fn connect_in_process(world: &World) -> (DuplexStream, JoinHandle<()>) {
    let (stream, served) = tokio::io::duplex(64 * 1024);
    let (gateway, shutdown) = (Arc::clone(&world.gateway), world.shutdown.subscribe());
    let peer = world.address;
    let serving = tokio::spawn(async move { gateway.serve_connection(served, peer, Scheme::Http, shutdown).await });
    (stream, serving)
}

/// A client of HTTP/2 that lets every answer have so many bytes before it reads any; it answers pings.
async fn http2(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    window_bytes: u32,
) -> SendRequest<Full<Bytes>> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window_bytes);
    let (sender, connection) = within(builder.handshake(TokioIo::new(stream))).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: Method, path: &str) -> Request<Full<Bytes>> {
    Request::builder().method(method).uri(format!("http://api.example{path}")).body(Full::default()).unwrap()
}

async fn until_metric(world: &World, line: &str) {
    within(async {
        while !world.metrics().lines().any(|found| found == line) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_made_here_holds_no_place() {
    let config = GatewayConfig { requests_in_flight_max: 1, ..GatewayConfig::default() };
    let world = World::start_with(config, |_| {}).await;
    let mut sender = http2(world.connect().await, 0).await;
    let held = within(sender.send_request(request(Method::GET, "/nope"))).await.unwrap();
    assert_eq!(held.status(), 404);
    assert_eq!(world.call("GET", "/weather/open", &[]).await.status, 200);
    drop(held);
}

#[tokio::test]
async fn an_answer_that_nobody_takes_ends_its_connection() {
    let config = GatewayConfig { body_idle_timeout_ms: 50, ..GatewayConfig::default() };
    let world = World::start_with(config, |_| {}).await;
    let mut sender = http2(world.connect().await, 0).await;
    let held = within(sender.send_request(request(Method::GET, "/weather/open"))).await.unwrap();
    assert_eq!(held.status(), 200);
    let connection = world.connections.lock().unwrap().pop().unwrap();
    within(connection).await.unwrap();
    until_metric(&world, "gateway_requests_in_flight 0").await;
}

/// Seconds until a connection is ended on which one request after the other is answered. Their answers have no body and need
/// no window.
async fn seconds_to_end(sender: &mut SendRequest<Full<Bytes>>, serving: &JoinHandle<()>) -> u64 {
    let start = Instant::now();
    while !serving.is_finished() {
        assert!(start.elapsed() < Duration::from_mins(10), "still open");
        let live = sender.send_request(request(Method::OPTIONS, "/weather/open")).await;
        assert!(live.is_err() || live.is_ok_and(|answer| answer.status() == 200));
        advance(Duration::from_secs(1)).await;
    }
    start.elapsed().as_secs()
}

#[tokio::test]
async fn a_live_stream_does_not_cover_one_that_stands_still() {
    let world = World::start().await;
    tokio::time::pause();
    let (stream, serving) = connect_in_process(&world);
    let mut sender = http2(stream, 0).await;
    let held = sender.send_request(request(Method::GET, "/nope")).await.unwrap();
    let seconds = seconds_to_end(&mut sender, &serving).await;
    assert!((60..=70).contains(&seconds), "{seconds}");
    drop(held);
}

#[tokio::test]
async fn an_answer_behind_a_small_window_is_not_out_of_sight() {
    let world = World::start().await;
    let (stream, serving) = connect_in_process(&world);
    let mut sender = http2(stream, 10).await;
    // The backend gives it back. For ten bytes of window hyper takes all of a piece into its hands.
    let long = request(Method::POST, "/weather/open").map(|_| Full::from(vec![b'x'; 40 * 1024]));
    let held = within(sender.send_request(long)).await.unwrap();
    assert_eq!(held.status(), 200);
    tokio::time::pause();
    // A piece of 16 KiB may take 68 s beside the 60 s.
    let seconds = seconds_to_end(&mut sender, &serving).await;
    assert!((60..=140).contains(&seconds), "{seconds}");
    drop(held);
}

#[tokio::test]
async fn answers_are_handed_over_in_short_pieces() {
    let minute = Duration::from_mins(1);
    let connection = Connection::new(Bounds { head: minute, idle: minute, body: minute, headers_max: 10 });
    let request = Request::builder().version(Version::HTTP_2).body(()).unwrap();
    let (open, fault) = connection.begin(&request);
    assert_eq!(fault, None);
    let mut answer = open.answer(Full::new(Bytes::from(vec![b'x'; 40_000])));
    let mut left = 40_000;
    for length in [16_384, 16_384, 7_232] {
        assert!(!answer.is_end_stream());
        assert_eq!(answer.size_hint().exact(), Some(left));
        let piece = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(piece.len(), length);
        left -= piece.len() as u64;
    }
    assert_eq!((left, answer.is_end_stream(), answer.size_hint().exact()), (0, true, Some(0)));
    assert!(answer.frame().await.is_none());
}

#[tokio::test]
async fn a_reader_that_trickles_is_given_up() {
    let world = World::start().await;
    let (mut stream, serving) = connect_in_process(&world);
    stream.write_all(b"GET /weather/download HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let sender = world.backend.download.lock().unwrap().take().unwrap();
    let mut piece = vec![0; 100];
    for _ in 0..60 {
        sender.send(Bytes::from(vec![b'x'; 10 * 1024])).await.unwrap();
    }
    within(stream.read_exact(&mut piece)).await.unwrap();
    tokio::time::pause();
    let start = Instant::now();
    while !serving.is_finished() {
        assert!(start.elapsed() < Duration::from_hours(2), "still open");
        // Something was written within the idle time-out, every time.
        let _ = stream.read_exact(&mut piece).now_or_never();
        advance(Duration::from_secs(10)).await;
    }
    assert!(start.elapsed() > Duration::from_mins(1), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let world = World::start().await;
    let mut uploads = world.backend.uploads.lock().await;
    let head = "POST /weather/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 24001\r\n\r\n-";
    let (mut steady, _) = connect_in_process(&world);
    steady.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(within(uploads.recv()).await.unwrap(), "-");
    let (mut trickling, _) = connect_in_process(&world);
    trickling.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(within(uploads.recv()).await.unwrap(), "-");
    drop(uploads);
    tokio::time::pause();
    let start = Instant::now();
    let mut answer = Vec::new();
    for _ in 0..9 {
        steady.write_all(&[b'x'; 2400]).await.unwrap();
        if answer.is_empty() {
            trickling.write_all(b"x").await.unwrap();
        }
        advance(Duration::from_secs(10)).await;
        let _ = trickling.read_buf(&mut answer).now_or_never();
    }
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408 "), "after {:?}: {answer}", start.elapsed());
    tokio::time::resume();
    steady.write_all(&[b'x'; 2400]).await.unwrap();
    let mut answer = Vec::new();
    within(steady.read_buf(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn an_idle_http2_connection_is_closed() {
    let world = World::start().await;
    tokio::time::pause();
    for is_used in [false, true] {
        let (stream, serving) = connect_in_process(&world);
        let mut sender = http2(stream, 65_535).await;
        if is_used {
            advance(Duration::from_secs(40)).await;
            let answer = sender.send_request(request(Method::GET, "/health/live")).await.unwrap();
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "live\n");
        }
        let start = Instant::now();
        tokio::time::timeout(Duration::from_mins(10), serving).await.expect("closed").unwrap();
        assert!((60..=70).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_silent_http2_peer_does_not_hold_up_a_stop() {
    let world = World::start().await;
    tokio::time::pause();
    let (mut stream, serving) = connect_in_process(&world);
    // The preface and empty SETTINGS; then nothing is read, acknowledged or answered.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    advance(Duration::from_secs(1)).await;
    world.shutdown.send(true).unwrap();
    let start = Instant::now();
    serving.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
}
