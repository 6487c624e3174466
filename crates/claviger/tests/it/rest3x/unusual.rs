//! Requests that no caller means: texts that a database cannot hold, arrays in place of objects, bodies and paths that cannot be
//! read. Each wire refuses them in its own words.

use super::{REGISTER, call, delete, get, post, put, raw};
use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Options, Reply, Server, databases, on_sqlite, register, registration,
};
use claviger_proto::encode::base64;
use reqwest::Method;
use serde_json::{Value, json};

const SCOPES: &str = "/api/identity/oauth2/v1.0/scopes";
const NATIVE: &str = "/api/identity/oauth2/dcr/v1.1/register";
const GENERATE: &str = "/keymanager-operations/user-info/claims/generate";
const ONE_TIME: &str = "/keymanager-operations/revoke-one-time-token";
const FORM: &str = "application/x-www-form-urlencoded";

/// The second is in PostgreSQL's and SQLite's texts; neither is in latin1. The first is in nobody's.
const ODD: [&str; 2] = ["a\0b", "\u{4e2d}"];

fn can_hold(server: &Server, text: &str) -> bool {
    !text.contains('\0') && server.engine != "MariaDB"
}

/// On every engine; MariaDB's tables are latin1, as the old server's scripts made them on many a host.
async fn on_narrow_databases(case: impl AsyncFn(&Server)) {
    for database in databases().await {
        if database.engine() == "MariaDB" {
            database.execute("ALTER DATABASE CHARACTER SET latin1").await;
        }
        let server = Server::start(&database, Options::default()).await;
        case(&server).await;
        server.stop().await;
        database.remove().await;
    }
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |before, byte| format!("{before}%{byte:02X}"))
}

async fn send(server: &Server, method: Method, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> Reply {
    let request = server.request(method, path).basic_auth(ADMIN, Some(ADMIN_PASSWORD));
    request.header("content-type", kind).body(body).call().await
}

#[track_caller]
fn check(server: &Server, text: &str, reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{text:?}, {}: {reply:?}", server.engine);
}

#[tokio::test]
async fn a_text_that_no_table_can_hold_finds_nothing() {
    on_narrow_databases(async |server| {
        let client = register(server, "looked-for", json!({})).await;
        for odd in ODD {
            for path in ["/oauth2/token", "/oauth2/revoke"] {
                let credentials = format!("Basic {}", base64(format!("{odd}:x").as_bytes()));
                let form = [("grant_type", "client_credentials"), ("token", "x")];
                let reply = server.post(path).header("authorization", credentials).form(&form).call().await;
                check(server, odd, &reply, 401);
            }
            // A form has no U+0000 at all.
            let (status, error) = if odd.contains('\0') { (400, "invalid_request") } else { (401, "invalid_client") };
            let form = [("grant_type", "client_credentials"), ("client_id", odd), ("client_secret", "x")];
            let reply = server.post("/oauth2/token").form(&form).call().await;
            assert_eq!((reply.status, reply.text("error").as_str()), (status, error), "{odd:?}, {}", server.engine);
            let as_user = server.get(&raw("x")).basic_auth(odd, Some("x")).call().await;
            check(server, odd, &as_user, 401);

            let id = percent(odd);
            // A path with U+0000 is refused before anybody looks for anything.
            let unknown = |status: u16| if odd.contains('\0') { 400 } else { status };
            for base in [REGISTER, NATIVE] {
                let path = format!("{base}/{id}");
                check(server, odd, &get(server, &path).await, unknown(401));
                check(server, odd, &put(server, &path, &json!({})).await, unknown(401));
                check(server, odd, &delete(server, &path).await, unknown(401));
            }
            check(server, odd, &get(server, &format!("{NATIVE}?client_name={id}")).await, 401);
            check(server, odd, &get(server, &format!("/t/{id}/oauth2/jwks")).await, unknown(404));

            let scope = format!("{SCOPES}/name/{id}");
            check(server, odd, &get(server, &scope).await, unknown(404));
            check(server, odd, &call(server, Method::HEAD, &scope, None).await, unknown(404));
            check(server, odd, &delete(server, &scope).await, unknown(404));
            let claims = format!("/keymanager-operations/user-info/claims?username={ADMIN}&dialect=");
            let nobodys = get(server, &format!("{claims}nobodys")).await;
            let found = get(server, &format!("{claims}{id}")).await;
            assert_eq!((found.status, &found.body), (nobodys.status, &nobodys.body), "{odd:?}, {}", server.engine);

            let refresh = [("grant_type", "refresh_token"), ("refresh_token", odd)];
            let reply = client.token(server, &refresh).await;
            let error = if odd.contains('\0') { "invalid_request" } else { "invalid_grant" };
            assert_eq!((reply.status, reply.text("error").as_str()), (400, error), "{odd:?}, {}", server.engine);
            assert!(odd.contains('\0') || !server.is_active(odd).await, "{odd:?}");
            for key in [odd, &client.id] {
                let reply = post(server, ONE_TIME, &json!({ "token": odd, "consumer_key": key })).await;
                check(server, odd, &reply, 200);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_text_that_a_table_cannot_hold_is_not_written() {
    on_narrow_databases(async |server| {
        for (index, odd) in ODD.into_iter().enumerate() {
            for member in ["displayName", "description", "bindings"] {
                let name = format!("odd-{index}-{member}");
                let mut scope = json!({ "name": name, "displayName": "d" });
                scope[member] = if member == "bindings" { json!([odd]) } else { odd.into() };
                let reply = post(server, SCOPES, &scope).await;
                let stored = get(server, &format!("{SCOPES}/name/{name}")).await.status;
                if can_hold(server, odd) {
                    assert_eq!((reply.status, stored), (201, 200), "{member}, {}: {reply:?}", server.engine);
                } else {
                    assert_eq!((reply.status, stored), (400, 404), "{odd:?} {member}, {}: {reply:?}", server.engine);
                    assert_eq!(reply.text("code"), "41007");
                }
            }
            let members = [
                ("application_display_name", json!(odd)),
                ("redirect_uris", json!([format!("https://app.acme.com/{odd}")])),
                ("backchannel_logout_uri", json!(format!("https://app.acme.com/{odd}"))),
                ("ext_param_client_secret", json!(odd)),
            ];
            for (base, prefix) in [(REGISTER, "c"), (NATIVE, "n")] {
                for (number, (member, value)) in members.iter().enumerate() {
                    let name = format!("{prefix}-{index}-{number}");
                    let id = format!("chosen_client_{prefix}_{index}_{number}");
                    let body = registration(&name, json!({ "ext_param_client_id": id, *member: value }));
                    let reply = post(server, base, &body).await;
                    if can_hold(server, odd) {
                        assert_eq!(reply.status, 201, "{odd:?} {member}, {}: {reply:?}", server.engine);
                        continue;
                    }
                    assert_eq!(reply.status, 400, "{odd:?} {member}, {}: {reply:?}", server.engine);
                    let error = if base == REGISTER { "code" } else { "error" };
                    assert_eq!(reply.text(error), "invalid_client_metadata", "{odd:?} {member}");
                    assert_eq!(get(server, &raw(&id)).await.status, 401, "nothing is half written");
                }
            }
            let client = register(server, &format!("changed-{index}"), json!({})).await;
            let change = json!({ "redirect_uris": [format!("https://app.acme.com/{odd}")] });
            let changed = put(server, &raw(&client.id), &change).await;
            check(server, odd, &changed, if can_hold(server, odd) { 200 } else { 400 });
        }
    })
    .await;
}

#[tokio::test]
async fn an_array_is_no_object() {
    on_sqlite("", async |server| {
        let client = register(server, "arrays", json!({})).await;
        let scope = json!({ "name": "kept", "displayName": "d" });
        assert_eq!(post(server, SCOPES, &scope).await.status, 201);
        let array = json!(["a", "b"]);
        for path in [SCOPES, REGISTER, NATIVE, GENERATE, ONE_TIME, "/api/am/store/v1/applications"] {
            let reply = post(server, path, &array).await;
            assert_eq!(reply.status, 400, "{path}: {reply:?}");
            assert!(reply.json().is_object(), "{path}");
        }
        for path in [raw(&client.id), format!("{NATIVE}/{}", client.id), format!("{SCOPES}/name/kept")] {
            let reply = put(server, &path, &array).await;
            assert_eq!(reply.status, 400, "{path}: {reply:?}");
        }
        let owner = format!("{}/change-owner", raw(&client.id));
        assert_eq!(post(server, &owner, &json!([ADMIN])).await.status, 400);
        // Inside as well.
        let bindings = json!({ "name": "inner", "displayName": "d", "scopeBindings": [["DEFAULT", ["admin"]]] });
        assert_eq!(post(server, SCOPES, &bindings).await.status, 400);
        assert_eq!(get(server, &format!("{SCOPES}/name/a")).await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_in_the_words_of_the_wire() {
    on_sqlite("[limits]\nbody_bytes_max = 4096\n", async |server| {
        let client = register(server, "unread", json!({})).await;
        let object = |reply: &Reply, status: u16, member: &str, value: Value| {
            assert_eq!((reply.status, reply.header("content-type")), (status, Some("application/json")), "{reply:?}");
            assert_eq!(reply.json()[member], value, "{reply:?}");
        };
        let large = "x".repeat(5000);
        let applications = "/api/am/store/v1/applications";
        for (method, path, member, value) in [
            (Method::POST, REGISTER, "code", json!("invalid_client_metadata")),
            (Method::PUT, &raw(&client.id), "error_description", json!("The request is too large")),
            (Method::POST, NATIVE, "error", json!("invalid_client_metadata")),
            (Method::POST, SCOPES, "code", json!("41007")),
            (Method::POST, GENERATE, "message", json!("Bad request")),
            (Method::POST, ONE_TIME, "code", json!("invalid_client_metadata")),
            (Method::POST, applications, "code", json!(413)),
        ] {
            let reply = send(server, method, path, "application/json", large.clone()).await;
            object(&reply, 413, member, value);
        }
        let import = "/api/am/publisher/v1/apis/import-openapi";
        object(&send(server, Method::POST, import, "text/plain", "x").await, 400, "code", json!(400));
        object(&send(server, Method::POST, "/oauth2/token", FORM, large).await, 413, "error", json!("invalid_request"));
        // Before any wire has it.
        for path in [
            format!("{REGISTER}/%FF"),
            format!("{NATIVE}/%FF"),
            format!("{SCOPES}/name/%FF"),
            format!("{applications}/%FF"),
            "/oauth2/%FF/.well-known/openid-configuration".to_owned(),
        ] {
            object(&get(server, &path).await, 400, "code", json!(400));
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_body_arrives() {
    on_sqlite("[limits]\nbody_bytes_max = 65536\n", async |server| {
        let http2 = server.http2_client();
        let body = vec![b'x'; 120_000];
        for path in ["/oauth2/token", REGISTER, "/no/such/path"] {
            for client in [&http2, &server.client()] {
                for _ in 0..10 {
                    let request = client.post(format!("{}{path}", server.base_path)).header("content-type", FORM);
                    let reply = request.body(body.clone()).call().await;
                    let expected = match path {
                        "/oauth2/token" => 413,
                        REGISTER => 401,
                        _ => 404,
                    };
                    assert_eq!(reply.status, expected, "{path}: {reply:?}");
                }
            }
        }
    })
    .await;
}
