//! Security.md 4.5, request smuggling and header limits, in raw bytes.

use crate::world::{Reply, World};
use claviger_gateway::GatewayConfig;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", "transfer-encoding: chunked"),
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
    for beginning in ["", "PRI", "GET /weather/open HTTP/1.1\r\nHost: a\r\n"] {
        let mut stream = world.connect().await;
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        // An error counts as an end too.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(10), reading).await.expect("the connection ended");
        assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    }
}
