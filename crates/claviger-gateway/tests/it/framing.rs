//! Security.md 4.5, request smuggling and header limits, in raw bytes.

use crate::forwarding::{read_until, within};
use crate::world::{Reply, World};
use claviger_gateway::{GatewayConfig, Scheme};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Sends a head with these lines and a body, then a second request that must not be answered as such.
async fn status_of(world: &World, lines: &str, body: &str) -> u16 {
    let smuggled = "GET /weather/open?smuggled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let text = format!("POST /weather/open HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}{smuggled}");
    let answer = world.raw(text.as_bytes()).await;
    assert!(!answer.contains("?smuggled"), "{lines:?} let a second request through: {answer}");
    Reply::parse(&answer).status
}

#[tokio::test]
async fn bodies_of_ambiguous_length_are_refused() {
    let world = World::start().await;
    let rows = [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        ("content-length: 5\r\nX-Between: 1\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
        ("Content-Length: 0\r\nContent-Length: 0\r\n", ""),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
        ("Content-Length: 5, 5\r\n", "hello"),
        ("Content-Length: +5\r\n", "hello"),
        ("Content-Length: 0x5\r\n", "hello"),
        ("Content-Length: -1\r\n", ""),
        ("Content-Length : 5\r\n", "hello"),
        ("Content-Length: 5\r\n continued\r\n", "hello"),
        ("X-Folded: a\r\n\tb\r\n", ""),
        (" Content-Length: 5\r\n", "hello"),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding:\u{b}chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: , chunked\r\n", "0\r\n\r\n"),
        ("X-Line: 1\nContent-Length: 5\r\n", "hello"),
        ("Content-Length: 5\r\n\nhello", ""),
    ];
    for (lines, body) in rows {
        assert_eq!(status_of(&world, lines, body).await, 400, "{lines:?}");
    }
    assert_eq!(world.backend.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn bodies_of_one_length_pass() {
    let world = World::start().await;
    let rows = [
        ("Content-Length: 5\r\n", "hello", "content-length: 5"),
        ("Content-Length:\t 5 \r\n", "hello", "content-length: 5"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", "transfer-encoding: chunked"),
        ("transfer-encoding:Chunked \r\n", "5\r\nhello\r\n0\r\n\r\n", "transfer-encoding: chunked"),
        (
            "Transfer-Encoding: chunked\r\n",
            "5;ext=1\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n",
            "transfer-encoding: chunked",
        ),
    ];
    for (lines, body, expected) in rows {
        let text = format!("POST /weather/open HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n{body}");
        let reply = Reply::parse(&world.raw(text.as_bytes()).await);
        assert_eq!(reply.status, 200, "{lines:?}");
        assert!(reply.body.contains(expected) && reply.body.ends_with("\nhello"), "{reply:?}");
    }
    // Broken chunks end the request without an answer of the backend's.
    let text = "POST /weather/open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n";
    assert!(!world.raw(text.as_bytes()).await.contains("200 OK"));
}

#[tokio::test]
async fn two_requests_in_one_piece_are_two_requests() {
    let world = World::start().await;
    let text = "POST /weather/open HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
                POST /weather/open?second HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
    let answer = world.raw(text.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert!(answer.contains("\nhello") && answer.ends_with("\nhi"), "{answer}");
}

#[tokio::test]
async fn a_pipelined_head_is_looked_at_like_any_other() {
    let world = World::start().await;
    let open = "POST /weather/open HTTP/1.1\r\nHost: a\r\n";
    let firsts = [
        "GET /weather/open HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        format!("{open}Content-Length: 5\r\n\r\nhello"),
        format!("{open}Content-Length: 0\r\n\r\n"),
        format!("{open}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        format!("{open}Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nh\r\n0\r\nX-Trailer: 1\r\n\r\n"),
    ];
    for first in firsts {
        let text = format!(
            "{first}{first}{open}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /weather/open?smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let answer = world.raw(text.as_bytes()).await;
        let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|reply| &reply[..3]).collect();
        assert_eq!(statuses, ["200", "200", "400"], "behind {first:?}: {answer}");
    }
}

#[tokio::test]
async fn a_request_names_one_host_and_ends_its_lines_in_full() {
    let world = World::start().await;
    let rows = [
        ("GET /weather/open HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("\r\nGET /weather/open HTTP/1.1\r\nHost: [::1]:8280\r\n\r\n", 200),
        ("GET /weather/open HTTP/1.1\r\nHost:\r\n\r\n", 200),
        ("GET /weather/open HTTP/1.0\r\n\r\n", 200),
        ("GET /weather/open HTTP/1.1\r\n\r\n", 400),
        ("GET /weather/open HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET /weather/open HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /weather/open HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET /weather/open HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET /weather/open HTTP/1.1\r\nHost: user@a\r\n\r\n", 400),
        ("GET /weather/open HTTP/1.1\nHost: a\n\n", 400),
        ("GET /weather/open HTTP/1.1\nHost: a\r\n\r\n", 400),
        ("GET /weather/open HTTP/1.1\r\nHost: a\r\n\n", 400),
        ("\nGET /weather/open HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ];
    for (head, status) in rows {
        let head = head.replace("HTTP/1.1\r\n", "HTTP/1.1\r\nConnection: close\r\n");
        assert_eq!(Reply::parse(&world.raw(head.as_bytes()).await).status, status, "{head:?}");
    }
}

#[tokio::test]
async fn heads_have_limits() {
    let world = World::start().await;
    let many = "X-Many: 1\r\n".repeat(101);
    let large = format!("X-Large: {}\r\n", "a".repeat(17 * 1024));
    for (lines, status) in
        [(many, 431), (large, 431), ("X: \u{0}\r\n".to_owned(), 400), ("X: a\rb\r\n".to_owned(), 400)]
    {
        let text = format!("GET /weather/open HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let answer = world.raw(text.as_bytes()).await;
        assert_eq!(Reply::parse(&answer).status, status, "{answer}");
    }
    assert_eq!(world.backend.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_let_go() {
    let config = GatewayConfig { header_read_timeout_ms: 50, ..GatewayConfig::default() };
    let world = World::start_with(config, |_| {}).await;
    for beginning in ["", "PRI", "PRI * HTTP/2.0\r\n\r\n", "GET /weather/open HTTP/1.1\r\nHost: a\r\n"] {
        let mut stream = world.connect().await;
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        // An error counts as an end too.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(10), reading).await.expect("the connection ended");
        assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    }
}

/// An uploaded trace of HTTP.
const TRACE: &str = "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn a_body_is_not_taken_for_a_head() {
    let world = World::start().await;
    let mut uploads = world.backend.uploads.lock().await;
    let mut stream = world.connect().await;
    let next = "POST /weather/open HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    for lines in ["Transfer-Encoding: chunked", &format!("Content-Length: {}", TRACE.len() + 1)] {
        let is_chunked = lines.starts_with('T');
        let chunk = |text: &str| if is_chunked { format!("{:x}\r\n{text}\r\n", text.len()) } else { text.to_owned() };
        let head = format!("POST /weather/upload HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n{}", chunk("-"));
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(within(uploads.recv()).await.unwrap(), "-");
        // The gateway has read all there was: this comes in a read of its own.
        stream.write_all(chunk(TRACE).as_bytes()).await.unwrap();
        assert_eq!(within(uploads.recv()).await.unwrap(), TRACE);
        if is_chunked {
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        }
        assert!(within(uploads.recv()).await.unwrap().is_empty());
        assert!(read_until(&mut stream, "uploaded").await.starts_with("HTTP/1.1 200 OK"));
        stream.write_all(next.as_bytes()).await.unwrap();
        assert!(read_until(&mut stream, "\nhello").await.starts_with("HTTP/1.1 200 OK"), "after {lines}");
    }
}

/// Reads one answer of a connection that goes on.
async fn read_reply(stream: &mut TcpStream) -> Reply {
    let text = read_until(stream, "\r\n\r\n").await;
    let mut reply = Reply::parse(&text);
    let length: usize = reply.header("content-length").expect("a length").parse().unwrap();
    let mut rest = vec![0; length - reply.body.len()];
    within(stream.read_exact(&mut rest)).await.unwrap();
    reply.body += &String::from_utf8(rest).unwrap();
    reply
}

#[tokio::test]
async fn later_heads_of_a_connection_are_looked_at() {
    let world = World::start().await;
    let firsts = [
        ("GET /weather/open", "\r\n", 200),
        ("POST /weather/open", "Content-Length: 5\r\n\r\nhello", 200),
        ("POST /weather/open", "Content-Length: 0\r\n\r\n", 200),
        ("POST /weather/open", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200),
        ("GET /nowhere", "\r\n", 404),
        // Refused before its body is read.
        ("POST /nowhere", "Content-Length: 5\r\n\r\nhello", 404),
    ];
    for (line, rest, status) in firsts {
        let first = format!("{line} HTTP/1.1\r\nHost: a\r\n{rest}");
        let mut stream = world.connect().await;
        for _ in 0..2 {
            stream.write_all(first.as_bytes()).await.unwrap();
            assert_eq!(read_reply(&mut stream).await.status, status, "{first:?}");
        }
        let second = "POST /weather/open HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        stream.write_all(second.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.contains("HTTP/1.1 400 "), "after {first:?}: {answer}");
    }
}

#[tokio::test]
async fn http2_carries_what_it_likes() {
    use http_body_util::Full;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let world = World::start().await;
    let stream = TokioIo::new(world.connect().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let request = http::Request::post(format!("http://{}/weather/open", world.address))
            .body(Full::new(bytes::Bytes::from_static(TRACE.as_bytes())))
            .unwrap();
        assert_eq!(within(sender.send_request(request)).await.unwrap().status(), 200);
    }
}

/// A connection without a socket: nothing comes from outside while a paused clock looks for something to wait for.
fn connect_in_process(world: &World) -> DuplexStream {
    let (stream, served) = tokio::io::duplex(64 * 1024);
    let (gateway, shutdown) = (Arc::clone(&world.gateway), world.shutdown.subscribe());
    let peer = world.address;
    tokio::spawn(async move { gateway.serve_connection(served, peer, Scheme::Http, shutdown).await });
    stream
}

/// Answered by the gateway itself.
const LOCAL: &str = "GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n";

/// A request for [`LOCAL`], or the rest of one.
async fn call(stream: &mut DuplexStream, request: &str) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"live\n") {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "{}", String::from_utf8_lossy(&read));
    }
    assert!(read.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&read));
}

/// Milliseconds until the gateway ends the connection.
async fn millis_to_end(stream: &mut DuplexStream) -> u128 {
    let start = Instant::now();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    start.elapsed().as_millis()
}

/// Moves the paused clock on, once everybody has done what there was to do before.
pub(crate) async fn advance(duration: Duration) {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(duration).await;
}

#[tokio::test]
async fn heads_have_ten_seconds_and_idle_connections_sixty() {
    let world = World::start().await;
    let near = |millis: u128, expected: u128| (expected..expected + 10).contains(&millis);
    let second = Duration::from_secs(1);
    // From here on the clock goes on by itself whenever everybody waits for it.
    tokio::time::pause();

    let mut silent = connect_in_process(&world);
    let millis = millis_to_end(&mut silent).await;
    assert!(near(millis, 10_000), "the first byte: {millis}");

    let mut first = connect_in_process(&world);
    advance(4 * second).await;
    first.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let millis = millis_to_end(&mut first).await;
    assert!(near(millis, 6_000), "the first head: {millis}");

    let mut idle = connect_in_process(&world);
    for _ in 0..3 {
        call(&mut idle, LOCAL).await;
        advance(59 * second).await;
    }
    call(&mut idle, LOCAL).await;
    let millis = millis_to_end(&mut idle).await;
    assert!(near(millis, 60_000), "between requests: {millis}");

    let mut later = connect_in_process(&world);
    call(&mut later, LOCAL).await;
    advance(30 * second).await;
    // Bytes that trickle in do not win time.
    later.write_all(b"GET / HT").await.unwrap();
    advance(9 * second).await;
    later.write_all(b"TP/1.1\r\nX:").await.unwrap();
    let millis = millis_to_end(&mut later).await;
    assert!(near(millis, 1_000), "a later head: {millis}");

    let mut slow = connect_in_process(&world);
    for _ in 0..2 {
        // Each head has the whole time.
        slow.write_all(&LOCAL.as_bytes()[..20]).await.unwrap();
        advance(9 * second).await;
        call(&mut slow, &LOCAL[20..]).await;
        advance(30 * second).await;
    }
}
