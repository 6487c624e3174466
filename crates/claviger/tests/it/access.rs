//! Every management route refuses those it is not for, and no route breaks on garbage.
//!
//! The test walks `Running.routes`, the list that start-up itself built. A route without a rule is impossible: `Routes` keeps
//! its router to itself, its only way in is `add(method, path, rule, handler)`, which puts the rule around the handler and
//! the row on the list in one step; and a guarded handler takes `Caller`, which exists only behind `enforce`.
//! What is left is to show that each rule refuses, for which an unknown kind of rule here would not compile.

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Database, Options, Reply, Server, insert_tenant, insert_user, on_sqlite, register,
};
use claviger::http::access::Rule;
use claviger::http::routes::RouteEntry;
use claviger::server::Listeners;
use claviger_proto::ids::TenantId;
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use tokio::net::TcpListener;

const PASSWORD: &str = "p";
/// Longest answer of a route; some wait for news.
const ANSWER_MS_MAX: u64 = 40_000;

/// A credential that must not open a route.
struct Stranger {
    name: &'static str,
    authorization: Option<String>,
}

impl Stranger {
    fn basic(name: &'static str, user: &str, password: &str) -> Self {
        let text = claviger_proto::encode::base64(format!("{user}:{password}").as_bytes());
        Self { name, authorization: Some(format!("Basic {text}")) }
    }
}

/// The path with something in place of each placeholder.
fn concrete(entry: &RouteEntry) -> String {
    let fill = |part: &str| if part.starts_with('{') { "b3JkZXJz".to_owned() } else { part.to_owned() };
    entry.path.split('/').map(fill).collect::<Vec<_>>().join("/")
}

fn authorized(request: RequestBuilder, authorization: Option<&str>) -> RequestBuilder {
    match authorization {
        Some(value) => request.header("authorization", value),
        None => request,
    }
}

async fn ask(server: &Server, entry: &RouteEntry, authorization: Option<&str>) -> Reply {
    authorized(server.request(entry.method.clone(), &concrete(entry)), authorization).call().await
}

/// Those whom every guarded route refuses: nobody, somebody unknown, a user without a role, dead and empty tokens, and the
/// administrator of another tenant, who may use the portal of his own tenant but nothing that asks for a permission here.
async fn strangers(server: &Server) -> (Vec<Stranger>, Stranger) {
    insert_user(server, TenantId::SUPER, "plain", PASSWORD, &[]).await;
    let tenant = insert_tenant(server, "acme.com").await;
    insert_user(server, tenant, "boss", PASSWORD, &["admin"]).await;
    insert_user(server, tenant, "clerk", PASSWORD, &[]).await;
    let client = register(server, "no-rights", json!({})).await;
    let form = [("grant_type", "password"), ("username", "plain"), ("password", PASSWORD), ("scope", "apim:admin")];
    let token = client.issue(server, &form).await.text("access_token");
    let all = ("scope", "apim:admin apim:api_view");
    let form = [("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD), all];
    let dead = client.issue(server, &form).await.text("access_token");
    client.revoke(server, &[("token", &dead)]).await;
    let bearer = |name, token: &str| Stranger { name, authorization: Some(format!("Bearer {token}")) };
    let list = vec![
        Stranger { name: "nobody", authorization: None },
        Stranger { name: "a broken header", authorization: Some("Basic %%%".to_owned()) },
        Stranger { name: "another scheme", authorization: Some("Digest username=\"admin\"".to_owned()) },
        Stranger::basic("an unknown user", "nobody", PASSWORD),
        Stranger::basic("a wrong password", ADMIN, "wrong"),
        Stranger::basic("an empty password", ADMIN, ""),
        Stranger::basic("a user without roles", "plain", PASSWORD),
        Stranger::basic("a user of another tenant", "clerk@acme.com", PASSWORD),
        Stranger::basic("a client", &client.id, &client.secret),
        bearer("no token", ""),
        bearer("an unknown token", "6f4e8f2c-1d90-4a44-8f38-77a1f0c42b5e"),
        bearer("a revoked token", &dead),
        bearer("a token without portal scopes", &token),
    ];
    (list, Stranger::basic("an administrator of another tenant", "boss@acme.com", PASSWORD))
}

#[tokio::test]
async fn guarded_routes_refuse_strangers() {
    on_sqlite("", async |server| {
        let (strangers, other_boss) = strangers(server).await;
        let mut guarded = 0;
        for entry in server.routes() {
            let refused: Vec<&Stranger> = match entry.rule {
                Rule::Public(reason) => {
                    assert!(!reason.trim().is_empty(), "{entry:?} says why it is open");
                    continue;
                }
                // Loopback clients pass the latter; `loopback_routes_refuse_strangers_from_elsewhere` asks from elsewhere.
                Rule::OAuthClient | Rule::PortalOrAnonymous | Rule::LoopbackOrPermission(_) => continue,
                Rule::Permission(_) => strangers.iter().chain([&other_boss]).collect(),
                // Any user may call a route without scopes; the others are still refused.
                Rule::Portal([]) => strangers.iter().filter(|stranger| !is_user(stranger)).collect(),
                // Any user by password; a token is not enough.
                Rule::BasicUser => strangers.iter().filter(|stranger| !is_basic_user(stranger)).collect(),
                Rule::Portal(_) | Rule::TenantAdministrator => strangers.iter().collect(),
            };
            guarded += 1;
            for stranger in refused {
                let reply = ask(server, entry, stranger.authorization.as_deref()).await;
                assert!(matches!(reply.status, 401 | 403), "{} at {entry:?}: {reply:?}", stranger.name);
                assert!(!reply.body.contains("secret"), "{} at {entry:?}: {reply:?}", stranger.name);
            }
        }
        assert!(guarded >= 7, "the list of routes has shrunk to {guarded} guarded ones");
    })
    .await;
}

fn is_basic_user(stranger: &Stranger) -> bool {
    ["a user without roles", "a user of another tenant"].contains(&stranger.name)
}

fn is_user(stranger: &Stranger) -> bool {
    is_basic_user(stranger) || stranger.name == "a token without portal scopes"
}

#[tokio::test]
async fn the_administrator_is_let_in() {
    on_sqlite("", async |server| {
        let admin = Stranger::basic("admin", ADMIN, ADMIN_PASSWORD);
        for entry in server.routes() {
            // An unknown client is 401 with an empty body (rest-3x.md 2.3), which is not the refusal of a rule.
            let reply = ask(server, entry, admin.authorization.as_deref()).await;
            let is_refused = reply.header("www-authenticate").is_some_and(|value| value.starts_with("realm user"));
            assert!(!is_refused && reply.status != 403, "{entry:?}: {reply:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_oauth_client_must_say_who_it_is() {
    on_sqlite("", async |server| {
        for entry in server.routes().iter().filter(|entry| entry.rule == Rule::OAuthClient) {
            let form = [("grant_type", "client_credentials"), ("token", "x")];
            let path = concrete(entry);
            let reply = server.request(entry.method.clone(), &path).form(&form).call().await;
            reply.check_error(401, "invalid_client", "Client Authentication failed.");
        }
    })
    .await;
}

/// An address of this machine that is not loopback, if it has one. Nothing is sent.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[tokio::test]
async fn loopback_routes_refuse_strangers_from_elsewhere() {
    let Some(outer) = outer_address() else {
        eprintln!("this machine has no address but loopback: nothing to ask from");
        return;
    };
    let loopback = Listeners::ephemeral().await.unwrap();
    let any = async || TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).await.unwrap();
    let listeners = Listeners { management_https: Some(any().await), management_http: Some(any().await), ..loopback };
    let plain_port = listeners.management_http.as_ref().unwrap().local_addr().unwrap().port();
    let secure_port = listeners.management_https.as_ref().unwrap().local_addr().unwrap().port();
    let server = Server::start(&Database::Sqlite, Options { listeners: Some(listeners), ..Options::default() }).await;
    let (strangers, other_boss) = strangers(&server).await;
    // The certificate is for loopback names only; who is asking is what matters here.
    let builder = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true);
    let client = builder.build().unwrap();
    let is_loopback_only = |entry: &&RouteEntry| matches!(entry.rule, Rule::LoopbackOrPermission(_));
    for entry in server.routes().iter().filter(is_loopback_only) {
        for stranger in strangers.iter().chain([&other_boss]) {
            let request =
                client.request(entry.method.clone(), format!("https://{outer}:{secure_port}{}", concrete(entry)));
            let reply = authorized(request, stranger.authorization.as_deref()).call().await;
            assert!(matches!(reply.status, 401 | 403), "{} at {entry:?}: {reply:?}", stranger.name);
        }
        assert_eq!(ask(&server, entry, None).await.status, 200, "loopback may look at {entry:?}");
    }
    // The plain port is for loopback clients altogether.
    for entry in server.routes() {
        let request = client.request(entry.method.clone(), format!("http://{outer}:{plain_port}{}", concrete(entry)));
        assert_eq!(request.call().await.status, 403, "{entry:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn no_route_breaks_on_garbage() {
    on_sqlite("[limits]\nrequest_timeout_s = 5\n", async |server| {
        let admin = Stranger::basic("admin", ADMIN, ADMIN_PASSWORD);
        let bodies: [(&str, &[u8]); 12] = [
            ("", b""),
            ("", b"\xff\xfe\x00"),
            ("application/json", b""),
            ("application/json", b"{"),
            ("application/json", b"[]"),
            ("application/json", b"null"),
            ("application/json", br#"{"name":{"a":[1,2]},"client_name":null,"id":-1,"limit":"x"}"#),
            ("application/json", b"\xff\xfe"),
            ("application/x-www-form-urlencoded", b"%zz=&&&=%00&a=%ff"),
            (
                "application/x-www-form-urlencoded",
                b"token=%F0%9F%94%91&grant_type=password&username=%27%22&password=%0d%0a",
            ),
            (
                "multipart/form-data; boundary=x",
                b"--x\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\n\xff\xfe",
            ),
            ("text/\u{e9}", b"x"),
        ];
        let deep = "[".repeat(5000);
        for entry in server.routes() {
            let paths = [
                concrete(entry),
                concrete(entry).replace("b3JkZXJz", "%00%ff%27%22..%2f"),
                concrete(entry) + "?limit=-1&offset=x&query=%00&after=-9",
            ];
            for path in &paths {
                for (content_type, body) in bodies.iter().copied().chain([("application/json", deep.as_bytes())]) {
                    for authorization in [admin.authorization.as_deref(), None] {
                        check_garbage(server, &entry.method, path, content_type, body, authorization).await;
                    }
                }
            }
        }
    })
    .await;
}

async fn check_garbage(
    server: &Server,
    method: &Method,
    path: &str,
    content_type: &str,
    body: &[u8],
    authorization: Option<&str>,
) {
    let mut request = authorized(server.request(method.clone(), path), authorization).body(body.to_vec());
    if !content_type.is_empty() {
        request = request.header("content-type", HeaderValue::from_bytes(content_type.as_bytes()).unwrap());
    }
    let bound = std::time::Duration::from_millis(ANSWER_MS_MAX);
    let reply = tokio::time::timeout(bound, request.call()).await.expect("every route answers in time");
    assert!(reply.status < 500, "{method} {path} {content_type} {body:?}: {reply:?}");
}
