//! Statements 32-34: the scopes API of the identity server (rest-3x.md 3.3, 8.4), and what its roles do to tokens.

use super::{call, delete, get, post, put};
use crate::harness::{ADMIN, ADMIN_PASSWORD, Call as _, Server, insert_user, on_every_engine, on_sqlite, register};
use claviger_proto::ids::TenantId;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

const SCOPES: &str = "/api/identity/oauth2/v1.0/scopes";

fn scope(name: &str, roles: &[&str]) -> Value {
    json!({ "name": name, "displayName": format!("Display of {name}"), "description": "text", "bindings": roles })
}

fn named(name: &str) -> String {
    format!("{SCOPES}/name/{name}")
}

#[track_caller]
fn check_refused(reply: &crate::harness::Reply, status: u16, code: &str, message: &str) {
    assert_eq!((reply.status, reply.text("code").as_str()), (status, code), "{reply:?}");
    assert_eq!(reply.text("message"), message);
}

#[tokio::test]
async fn checklist_32_the_codes_that_the_caller_compares() {
    on_every_engine("", async |server| {
        let created = post(server, SCOPES, &scope("orders:read", &["Internal/subscriber", "admin"])).await;
        assert_eq!(created.status, 201, "{created:?}");
        let location = format!("{}{}", server.base_path, named("orders:read"));
        assert_eq!(created.header("location"), Some(location.as_str()));
        let mut expected = json!({
            "name": "orders:read", "displayName": "Display of orders:read", "description": "text",
            "bindings": ["Internal/subscriber", "admin"],
            "scopeBindings": [{ "bindingType": "DEFAULT", "binding": ["Internal/subscriber", "admin"] }],
        });
        assert_eq!(created.json(), expected);
        let twice = post(server, SCOPES, &scope("orders:read", &[])).await;
        check_refused(&twice, 409, "41004", "Conflict");
        let text = "Scope with the name orders:read already exists in the system. Please use a different scope name.";
        assert_eq!(twice.text("description"), text);
        for path in
            [named("orders:read"), named("orders%3Aread"), format!("{}?includeOIDCScopes=true", named("orders:read"))]
        {
            let head = call(server, Method::HEAD, &path, None).await;
            assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        }
        for unknown in ["orders:write", "ORDERS:READ"] {
            let head = call(server, Method::HEAD, &named(unknown), None).await;
            assert_eq!((head.status, head.body.as_str()), (404, ""), "{unknown}, {}", server.engine);
            check_refused(&get(server, &named(unknown)).await, 404, "41003", "Not Found");
            check_refused(&put(server, &named(unknown), &scope(unknown, &[])).await, 404, "41003", "Not Found");
            check_refused(&delete(server, &named(unknown)).await, 404, "41003", "Not Found");
        }
        // As API-M writes it: without the name.
        let change = json!({ "displayName": "New", "bindings": ["admin"] });
        let changed = put(server, &named("orders:read"), &change).await;
        assert_eq!(changed.status, 200, "{changed:?}");
        expected["displayName"] = "New".into();
        expected["description"] = "".into();
        expected["bindings"] = json!(["admin"]);
        expected["scopeBindings"][0]["binding"] = json!(["admin"]);
        assert_eq!(changed.json(), expected);
        let read = get(server, &named("orders:read")).await;
        assert_eq!((read.status, read.json()), (200, expected), "{}", server.engine);
        let deleted = delete(server, &named("orders:read")).await;
        assert_eq!((deleted.status, deleted.body.as_str()), (200, ""), "not 204: the caller wants 200");
        assert_eq!(call(server, Method::HEAD, &named("orders:read"), None).await.status, 404, "{}", server.engine);
        assert_eq!(post(server, SCOPES, &scope("orders:read", &[])).await.status, 201, "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn checklist_33_bindings_are_always_an_array() {
    on_every_engine("", async |server| {
        let empty = json!([]);
        for (name, body) in [
            ("none", json!({ "name": "none", "displayName": "d" })),
            ("null", json!({ "name": "null", "displayName": "d", "bindings": null, "scopeBindings": null })),
            ("empty", json!({ "name": "empty", "displayName": "d", "bindings": ["", " "] })),
        ] {
            let created = post(server, SCOPES, &body).await;
            assert_eq!((created.status, &created.json()["bindings"]), (201, &empty), "{name}, {}", server.engine);
            assert_eq!(get(server, &named(name)).await.json()["bindings"], empty, "{name}, {}", server.engine);
            let updated = put(server, &named(name), &json!({ "displayName": "e" })).await;
            assert_eq!((updated.status, &updated.json()["bindings"]), (200, &empty), "{name}, {}", server.engine);
        }
        for listed in get(server, SCOPES).await.json().as_array().unwrap() {
            assert_eq!(listed["bindings"], empty, "{}", server.engine);
        }
        let typed = json!({ "displayName": "d", "scopeBindings": [{ "bindingType": "DEFAULT", "binding": ["admin", "ADMIN"] }] });
        assert_eq!(put(server, &named("none"), &typed).await.json()["bindings"], json!(["admin"]));
    })
    .await;
}

#[tokio::test]
async fn checklist_34_a_list_without_a_page_is_whole() {
    on_every_engine("", async |server| {
        for number in 0..35 {
            let created = post(server, SCOPES, &scope(&format!("s{number:02}"), &["admin"])).await;
            assert_eq!(created.status, 201, "{created:?}");
        }
        let names = async |query: &str| {
            let reply = get(server, &format!("{SCOPES}{query}")).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            let json = reply.json();
            let list = json.as_array().unwrap().iter();
            list.map(|scope| scope["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let all = names("").await;
        assert_eq!(all, (0..35).map(|number| format!("s{number:02}")).collect::<Vec<_>>(), "{}", server.engine);
        assert_eq!(get(server, SCOPES).await.json()[7]["bindings"], json!(["admin"]));
        assert_eq!(names("?startIndex=1&count=2").await, ["s00", "s01"]);
        assert_eq!(names("?startIndex=34").await, ["s33", "s34"]);
        assert_eq!(names("?count=100").await.len(), 30, "the cap of a page");
        assert_eq!(names("?requestedScopes=s03%20s30%20other").await, ["s03", "s30"]);
        check_refused(&get(server, &format!("{SCOPES}?count=x")).await, 400, "41007", "Bad Request");
    })
    .await;
}

#[tokio::test]
async fn what_is_no_scope() {
    on_sqlite("", async |server| {
        for (body, code) in [
            (json!({}), "41001"),
            (json!({ "name": " ", "displayName": "d" }), "41001"),
            (json!({ "name": "a" }), "41002"),
            (json!({ "name": "a", "displayName": "" }), "41002"),
            (Value::Null, "41005"),
            (json!({ "name": "a b", "displayName": "d" }), "41006"),
            (json!({ "name": "a\"b", "displayName": "d" }), "41007"),
            (json!({ "name": "x".repeat(61), "displayName": "d" }), "41007"),
            (json!({ "name": "a", "displayName": "d".repeat(256) }), "41007"),
            (json!({ "name": "a", "displayName": "d", "bindings": ["r".repeat(256)] }), "41007"),
            (json!({ "name": "a", "displayName": "d", "bindings": "admin" }), "41007"),
            // A binding that nobody would check must not make the scope everybody's.
            (json!({ "name": "a", "displayName": "d", "scopeBindings": [{ "bindingType": "PERMISSION", "binding": ["x"] }] }), "41007"),
        ] {
            check_refused(&post(server, SCOPES, &body).await, 400, code, "Bad Request");
        }
        let empty = server.post(SCOPES).basic_auth(ADMIN, Some(ADMIN_PASSWORD)).call().await;
        check_refused(&empty, 400, "41005", "Bad Request");
        assert_eq!(get(server, SCOPES).await.json(), json!([]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_registrations_of_one_name_one_succeeds() {
    on_every_engine("", async |server| {
        server.warm_up(12).await;
        let body = scope("raced", &["admin"]);
        let replies = join_all((0..12).map(|_| post(server, SCOPES, &body))).await;
        let mut codes: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
        codes.sort_unstable();
        assert_eq!(codes[0], 201, "{}: {codes:?}", server.engine);
        assert!(codes[1..].iter().all(|code| *code == 409), "{}: {codes:?}", server.engine);
    })
    .await;
}

/// Roles of every domain count, for every grant; a change of the roles counts for the next token.
#[tokio::test]
async fn a_registered_scope_goes_to_those_who_hold_a_role_of_it() {
    on_every_engine("", async |server| {
        insert_user(server, TenantId::SUPER, "clerk", "p", &["Internal/subscriber", "Internal/Application/shop"]).await;
        insert_user(server, TenantId::SUPER, "guest", "p", &[]).await;
        let client = register(server, "shop", json!({})).await;
        for (name, roles) in [
            ("by-internal", &["internal/Subscriber"][..]),
            ("by-primary", &["admin"]),
            ("by-application", &["Application/shop"]),
            ("by-nobody", &["Internal/nobody"]),
            ("unbound", &[]),
        ] {
            assert_eq!(post(server, SCOPES, &scope(name, roles)).await.status, 201);
        }
        let all = "by-internal by-primary by-application by-nobody unbound";
        let granted = async |user: Option<(&str, &str)>| granted(server, &client, user, all).await;
        assert_eq!(granted(Some(("clerk", "p"))).await, "by-application by-internal unbound", "{}", server.engine);
        assert_eq!(granted(Some(("guest", "p"))).await, "unbound", "{}", server.engine);
        // The client speaks for its owner, the administrator.
        assert_eq!(granted(None).await, "by-primary unbound", "{}", server.engine);
        let change = json!({ "displayName": "d", "bindings": ["Internal/subscriber"] });
        assert_eq!(put(server, &named("by-nobody"), &change).await.status, 200);
        assert_eq!(
            granted(Some(("clerk", "p"))).await,
            "by-application by-internal by-nobody unbound",
            "{}",
            server.engine
        );
    })
    .await;
}

async fn granted(
    server: &Server,
    client: &crate::harness::Registered,
    user: Option<(&str, &str)>,
    scopes: &str,
) -> String {
    let mut form = vec![("scope", scopes)];
    match user {
        Some((user, password)) => form.extend([("grant_type", "password"), ("username", user), ("password", password)]),
        None => form.push(("grant_type", "client_credentials")),
    }
    client.issue(server, &form).await.text("scope")
}
