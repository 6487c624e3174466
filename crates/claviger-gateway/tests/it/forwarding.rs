//! Portal-gateway-3x.md 6.5-6.7: what the backend gets, what the client gets back, and what happens when either is slow,
//! silent or gone.

use crate::world::{Reply, World, tls_trusting};
use bytes::Bytes;
use claviger_gateway::GatewayConfig;
use claviger_gateway::model::Endpoint;
use claviger_proto::ids::ApiId;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("in time")
}

/// Reads until some text has come.
pub(crate) async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    within(async {
        while !String::from_utf8_lossy(&read).contains(text) {
            assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "{:?}", String::from_utf8_lossy(&read));
        }
    })
    .await;
    String::from_utf8(read).unwrap()
}

/// A world whose API 1 has another production endpoint.
async fn world_with_endpoint(config: GatewayConfig, change: impl FnOnce(&mut Endpoint)) -> World {
    World::start_with(config, |control| {
        let mut state = control.state();
        change(state.apis.get_mut(&ApiId(1)).unwrap().production.as_mut().unwrap());
    })
    .await
}

#[tokio::test]
async fn the_backend_gets_only_what_is_meant_for_it() {
    let world = World::start().await;
    let sent = [
        ("Authorization", "Bearer token-prod-1"),
        ("X-JWT-Assertion", "forged"),
        ("WSO2_AM_API_DEFAULT_VERSION", "true"),
        ("X_JWT_Assertion", "forged"),
        ("wso2-am-api-default-version", "true"),
        ("X-WSO2-CLIENT-CERTIFICATE", "forged"),
        ("apikey", "k"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Upgrade", "websocket"),
        ("Proxy-Authorization", "Basic x"),
        ("Connection", "X-Listed, X-Forwarded-For, Host"),
        ("X-Listed", "1"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Kept", "kept"),
        ("activityid", "abc-1"),
    ];
    let reply = world.call("GET", "/weather/city/1", &sent).await;
    let mut lines: Vec<&str> = reply.body.trim_end().lines().collect();
    lines.sort_unstable();
    let host = format!("host: {}", world.backend.address);
    assert_eq!(
        lines,
        ["GET /base/city/1", "activityid: abc-1", host.as_str(), "x-forwarded-for: 127.0.0.1", "x-kept: kept"]
    );
    let chained = [("X-Forwarded-For", "203.0.113.9, 10.0.0.1")];
    let reply = world.call("GET", "/weather/open", &chained).await;
    assert!(reply.body.contains("x-forwarded-for: 203.0.113.9, 10.0.0.1, 127.0.0.1\n"), "{reply:?}");
}

#[tokio::test]
async fn the_credential_header_goes_on_only_when_it_is_switched_on() {
    let config = GatewayConfig { is_outbound_authorization_kept: true, ..GatewayConfig::default() };
    let world = World::start_with(config, |_| {}).await;
    let reply = world.get("/weather/city/1", "token-prod-1").await;
    assert!(reply.body.contains("authorization: Bearer token-prod-1\n"), "{reply:?}");
}

#[tokio::test]
async fn endpoint_credentials_and_queries_are_added() {
    let world = world_with_endpoint(GatewayConfig::default(), |endpoint| {
        endpoint.authorization = Some("Basic YmFja2VuZDpwdw==".to_owned());
        endpoint.url += "/v2/?fixed=1";
    })
    .await;
    let reply = world.get("/weather/city/1?a=b", "token-prod-1").await;
    assert_eq!(reply.body.lines().next(), Some("GET /base/v2/city/1?fixed=1&a=b"));
    assert!(reply.body.contains("authorization: Basic YmFja2VuZDpwdw==\n"), "{reply:?}");
    assert!(!reply.body.contains("token-prod-1"), "{reply:?}");
}

#[tokio::test]
async fn a_backends_own_error_is_passed_on_unchanged() {
    let world = World::start().await;
    let reply = world.call("GET", "/weather/fail", &[]).await;
    assert_eq!((reply.status, reply.body.as_str()), (503, "the backend's own words"));
    assert_eq!(reply.header("x-backend"), Some("yes"));
    assert_eq!(reply.header("x-hop"), None);
    assert!(world.metrics().contains(r#"gateway_requests_total{outcome="backend_server_error"} 1"#));
}

#[tokio::test]
async fn a_head_answer_keeps_its_length_and_has_no_body() {
    let world = World::start().await;
    let mut stream = world.connect().await;
    stream.write_all(b"HEAD /weather/open HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let answer = read_until(&mut stream, "\r\n\r\n").await;
    let length: usize = Reply::parse(&answer).header("content-length").unwrap().parse().unwrap();
    assert!(length > 0, "{answer}");
    stream.write_all(b"GET /weather/open HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(read_until(&mut stream, "GET /base/open").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_caller_that_leaves_is_counted_and_frees_its_place() {
    let world = World::start().await;
    let mut stream = world.connect().await;
    stream.write_all(b"GET /weather/hang HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let until = async |line: &str| {
        within(async {
            while !world.metrics().lines().any(|found| found == line) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    until("gateway_requests_in_flight 1").await;
    drop(stream);
    until("gateway_requests_in_flight 0").await;
    until(r#"gateway_requests_total{outcome="abandoned"} 1"#).await;
}

#[tokio::test]
async fn uploads_stream() {
    let world = World::start().await;
    let mut stream = world.connect().await;
    let head = "POST /weather/upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut uploads = world.backend.uploads.lock().await;
    for piece in ["first", "second"] {
        stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await.unwrap();
        // The backend has it before the client sends on.
        assert_eq!(within(uploads.recv()).await.unwrap(), piece);
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(within(uploads.recv()).await.unwrap(), "");
    assert!(read_until(&mut stream, "uploaded").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let world = World::start().await;
    let mut stream = world.connect().await;
    let head = "POST /weather/open HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    read_until(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n").await;
    stream.write_all(b"hello").await.unwrap();
    let answer = read_until(&mut stream, "\nhello").await;
    assert!(answer.contains("POST /base/open\n") && !answer.contains("expect"), "{answer}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let config = GatewayConfig { body_idle_timeout_ms: 50, ..GatewayConfig::default() };
    let world = World::start_with(config, |_| {}).await;
    let mut stream = world.connect().await;
    stream.write_all(b"GET /weather/download HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut stream, "200 OK").await;
    let sender = world.backend.download.lock().unwrap().take().unwrap();
    // More than the buffers of both sockets hold; sending fails when the gateway has given up.
    let flood = async {
        let piece = Bytes::from(vec![b'x'; 1024 * 1024]);
        while sender.send(piece.clone()).await.is_ok() {}
    };
    let connection = world.connections.lock().unwrap().pop().unwrap();
    tokio::select! {
        () = flood => panic!("the backend's channel closed first"),
        ended = within(connection) => ended.unwrap(),
    }
}

#[tokio::test]
async fn downloads_stream() {
    let world = World::start().await;
    let mut stream = world.connect().await;
    stream.write_all(b"GET /weather/download HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let sender = world.backend.download.lock().unwrap().take().unwrap();
    for piece in ["one-piece", "another-piece"] {
        sender.send(Bytes::from(piece)).await.unwrap();
        // The client has it before the backend sends on.
        read_until(&mut stream, piece).await;
    }
    drop(sender);
    read_until(&mut stream, "0\r\n\r\n").await;
}

#[tokio::test]
async fn a_refused_connection_is_101503() {
    // A port that was free a moment ago and has no listener.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let world =
        world_with_endpoint(GatewayConfig::default(), |endpoint| endpoint.url = format!("http://{address}")).await;
    let reply = world.call("GET", "/weather/open", &[("activityid", "corr-1")]).await;
    assert_eq!(reply.code(), (500, "101503"));
    assert!(reply.body.contains("<am:message>Runtime Error</am:message>"), "{reply:?}");
    assert_eq!(reply.header("activityid"), Some("corr-1"));
    let config = GatewayConfig { is_backend_fault_as_gateway_status: true, ..GatewayConfig::default() };
    let world = world_with_endpoint(config, |endpoint| endpoint.url = format!("http://{address}")).await;
    assert_eq!(world.call("GET", "/weather/open", &[]).await.code(), (502, "101503"));
}

/// Linux drops what comes to a listener whose queue of one connection is full; other systems refuse it or have room.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_backend_that_takes_no_connection_is_101504() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let _queued = TcpStream::connect(address).await.unwrap();
    let config = GatewayConfig { connect_timeout_ms: 50, ..GatewayConfig::default() };
    // The time-out for the answer is two minutes: it is not that one.
    let world = world_with_endpoint(config, |endpoint| endpoint.url = format!("http://{address}")).await;
    assert_eq!(world.call("GET", "/weather/open", &[]).await.code(), (500, "101504"));
    let (taken, _) = listener.accept().await.unwrap();
    drop(taken);
}

#[tokio::test]
async fn a_silent_backend_is_101504() {
    let world = world_with_endpoint(GatewayConfig::default(), |endpoint| endpoint.timeout_ms = Some(50)).await;
    assert_eq!(world.call("GET", "/weather/hang", &[]).await.code(), (500, "101504"));
    assert_eq!(world.backend.requests.load(Ordering::SeqCst), 1, "a request that was sent is not repeated");
}

#[tokio::test]
async fn a_backend_that_breaks_off_is_101500_and_only_harmless_requests_are_repeated() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heads, mut seen) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            heads.send(read_until(&mut stream, "\r\n\r\n").await).await.unwrap();
        }
    });
    let world =
        world_with_endpoint(GatewayConfig::default(), |endpoint| endpoint.url = format!("http://{address}")).await;
    let post = "POST /weather/open HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(Reply::parse(&world.raw(post.as_bytes()).await).code(), (500, "101500"));
    assert!(seen.try_recv().unwrap().starts_with("POST /open"));
    assert!(seen.try_recv().is_err(), "the POST was sent once");
    assert_eq!(world.call("GET", "/weather/open", &[]).await.code(), (500, "101500"));
    assert!(seen.try_recv().unwrap().starts_with("GET /open") && seen.try_recv().unwrap().starts_with("GET /open"));
    assert!(seen.try_recv().is_err(), "the GET was sent twice");
}

#[tokio::test]
async fn a_backend_behind_tls_is_called_only_when_it_is_trusted_by_its_name() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = vec![0; 4096];
            assert_ne!(stream.read(&mut head).await.unwrap(), 0);
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret";
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    let mut trusting = rustls::RootCertStore::empty();
    trusting.add(certified.cert.der().clone()).unwrap();
    let rows = [
        ("localhost", trusting.clone(), (200, "")),
        ("127.0.0.1", trusting, (500, "101500")),
        ("localhost", rustls::RootCertStore::empty(), (500, "101500")),
    ];
    for (host, roots, expected) in rows {
        let world = World::start_with_tls(GatewayConfig::default(), tls_trusting(roots), |control| {
            let mut state = control.state();
            let production = &mut state.apis.get_mut(&ApiId(1)).unwrap().production;
            production.as_mut().unwrap().url = format!("https://{host}:{port}");
        })
        .await;
        world.until(|progress| progress.snapshots > 0).await;
        let reply = world.call("GET", "/weather/open", &[]).await;
        assert_eq!(reply.code(), expected, "{host}: {reply:?}");
    }
}

/// The address of a backend that gives every request this answer and then ends the connection.
async fn backend_that_says(answer: &'static str) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn an_answer_of_two_lengths_comes_whole_and_one_in_another_coding_not_at_all() {
    let rows = [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            (200, ""),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            (200, ""),
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", (500, "101500")),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", (500, "101500")),
    ];
    for (answer, expected) in rows {
        let address = backend_that_says(answer).await;
        let world =
            world_with_endpoint(GatewayConfig::default(), |endpoint| endpoint.url = format!("http://{address}")).await;
        let reply = world.call("GET", "/weather/open", &[]).await;
        assert_eq!(reply.code(), expected, "{answer:?}: {reply:?}");
        if expected.0 == 200 {
            assert_eq!(reply.header("content-length"), None, "{reply:?}");
            assert_eq!(reply.body, "5\r\nhello\r\n0\r\n\r\n");
        }
    }
}

#[tokio::test]
async fn trailers_lose_what_concerns_one_connection() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                  5\r\nhello\r\n0\r\nX-Sum: 1\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\r\n";
    let address = backend_that_says(answer).await;
    let world =
        world_with_endpoint(GatewayConfig::default(), |endpoint| endpoint.url = format!("http://{address}")).await;
    let mut sender = http2(&world).await;
    let request = http::Request::get("http://a/weather/open").body(Empty::new()).unwrap();
    let response = within(sender.send_request(request)).await.unwrap();
    let collected = within(response.into_body().collect()).await.unwrap();
    let trailers = collected.trailers().expect("trailers").clone();
    assert_eq!(collected.to_bytes(), "hello");
    assert_eq!(trailers.len(), 1, "{trailers:?}");
    assert_eq!(trailers["x-sum"], "1");
}

#[tokio::test]
async fn a_clients_broken_body_is_the_clients_fault() {
    let world = World::start().await;
    let text = "POST /weather/open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n";
    assert_eq!(Reply::parse(&world.raw(text.as_bytes()).await).code(), (400, "400"));
    let metrics = world.metrics();
    assert!(metrics.contains("gateway_requests_total{outcome=\"malformed\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn an_endpoint_without_a_usable_url_is_101500() {
    let world = world_with_endpoint(GatewayConfig::default(), |endpoint| endpoint.url = "jms:/queue".to_owned()).await;
    assert_eq!(world.call("GET", "/weather/open", &[]).await.code(), (500, "101500"));
}

#[tokio::test]
async fn a_body_that_stands_still_is_given_up() {
    let config = GatewayConfig { body_idle_timeout_ms: 50, ..GatewayConfig::default() };
    let world = World::start_with(config, |_| {}).await;
    // The client stops in the middle of its body.
    let head = "POST /weather/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc";
    assert_eq!(Reply::parse(&world.raw(head.as_bytes()).await).code(), (408, "408"));
    // The backend stops in the middle of its answer: the connection ends without the last chunk.
    let sender = world.backend.download.lock().unwrap().take().unwrap();
    sender.send(Bytes::from_static(b"part")).await.unwrap();
    let answer = world.raw(b"GET /weather/download HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.contains("part") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn requests_in_flight_are_bounded() {
    let config = GatewayConfig { requests_in_flight_max: 1, ..GatewayConfig::default() };
    let world = World::start_with(config, |_| {}).await;
    let mut first = world.connect().await;
    first.write_all(b"GET /weather/download HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut first, "200 OK").await;
    // The head is answered, the body is not: still in flight.
    let reply = world.call("GET", "/weather/open", &[]).await;
    assert_eq!(reply.code(), (503, "900801"));
    assert!(reply.body.starts_with("<amt:fault "), "{reply:?}");
    drop(world.backend.download.lock().unwrap().take());
    read_until(&mut first, "0\r\n\r\n").await;
    assert_eq!(world.call("GET", "/weather/open", &[]).await.status, 200);
}

#[tokio::test]
async fn uris_and_tokens_have_a_length() {
    let world = World::start().await;
    let fits = format!("/weather/open?{}", "a".repeat(8 * 1024 - 14));
    assert_eq!(world.call("GET", &fits, &[]).await.status, 200);
    assert_eq!(world.call("GET", &format!("{fits}a"), &[]).await.code(), (414, "414"));
    let fits = "t".repeat(8 * 1024);
    assert_eq!(world.get("/weather/city/1", &fits).await.code(), (401, "900901"));
    assert_eq!(world.get("/weather/city/1", &format!("{fits}t")).await.code(), (431, "431"));
}

#[tokio::test]
async fn a_panic_ends_one_request_only() {
    let world = World::start().await;
    let mut kept = world.connect().await;
    kept.write_all(b"GET /weather/open HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut kept, "x-forwarded-for").await;
    world.clock.is_broken.store(true, Ordering::SeqCst);
    let reply = world.call("GET", "/weather/open", &[]).await;
    assert_eq!(reply.code(), (500, "500"));
    assert_eq!(reply.header("activityid"), Some("5a5a5a5a-5a5a-4a5a-9a5a-5a5a5a5a5a5a"));
    assert!(!reply.body.contains("clock"), "{reply:?}");
    world.clock.is_broken.store(false, Ordering::SeqCst);
    kept.write_all(b"GET /weather/open?again HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut kept, "GET /base/open?again").await;
}

#[tokio::test]
async fn a_shutdown_lets_running_requests_finish() {
    let world = World::start().await;
    let mut idle = world.connect().await;
    idle.write_all(b"GET /weather/open HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut idle, "x-forwarded-for").await;
    let mut running = world.connect().await;
    running.write_all(b"GET /weather/download HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut running, "200 OK").await;
    let sender = world.backend.download.lock().unwrap().take().unwrap();
    world.shutdown.send(true).unwrap();
    // The idle connection ends at once.
    let mut rest = Vec::new();
    within(idle.read_to_end(&mut rest)).await.unwrap();
    sender.send(Bytes::from_static(b"the-last-piece")).await.unwrap();
    drop(sender);
    within(running.read_to_end(&mut rest)).await.unwrap();
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.contains("the-last-piece") && rest.ends_with("0\r\n\r\n"), "{rest:?}");
    let connections = std::mem::take(&mut *world.connections.lock().unwrap());
    for connection in connections {
        within(connection).await.unwrap();
    }
}

async fn http2(world: &World) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
    let stream = TokioIo::new(world.connect().await);
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn http2_heads_have_limits() {
    let world = World::start().await;
    let mut sender = http2(&world).await;
    for (lines, status) in [(100, 200), (101, 431)] {
        let mut request = http::Request::get("http://a/health/live");
        for _ in 0..lines {
            request = request.header("x-many", "1");
        }
        let response = within(sender.send_request(request.body(Empty::new()).unwrap())).await.unwrap();
        assert_eq!(response.status(), status, "{lines}");
    }
}

#[tokio::test]
async fn http2_is_served_and_its_cookies_are_joined() {
    let world = World::start().await;
    let mut sender = http2(&world).await;
    let request = http::Request::get(format!("http://{}/weather/city/1", world.address))
        .header("authorization", "Bearer token-prod-1")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Empty::new())
        .unwrap();
    let response = within(sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = within(response.into_body().collect()).await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(body.contains("cookie: a=1; b=2\n"), "{body}");
    assert!(body.contains(&format!("host: {}\n", world.backend.address)), "{body}");
}
