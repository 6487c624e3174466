//! Statement 35: the claims of a user (rest-3x.md 2.5, 2.6, 8.4).

use super::{get, post};
use crate::harness::{Call as _, Reply, Server, insert_tenant, insert_user, on_every_engine, on_sqlite};
use claviger_proto::ids::TenantId;
use serde_json::{Value, json};

const CLAIMS: &str = "/keymanager-operations/user-info/claims";
const GENERATE: &str = "/keymanager-operations/user-info/claims/generate";

/// The value of a claim in an answer; a list that says another count than it has is wrong.
#[track_caller]
fn value(reply: &Reply, uri: &str) -> Option<String> {
    assert_eq!(reply.status, 200, "{reply:?}");
    let json = reply.json();
    let list = json["list"].as_array().unwrap();
    assert_eq!(json["count"], json!(list.len()), "{json}");
    let found: Vec<&Value> = list.iter().filter(|claim| claim["uri"] == uri).collect();
    assert!(found.len() <= 1, "{json}");
    found.first().map(|claim| claim["value"].as_str().unwrap().to_owned())
}

async fn insert_clerk(server: &Server) {
    insert_user(server, TenantId::SUPER, "clerk", "p", &["Internal/subscriber"]).await;
}

#[tokio::test]
async fn checklist_35_a_user_is_found_with_his_domain_said_twice() {
    on_every_engine("", async |server| {
        insert_clerk(server).await;
        for (username, domain) in
            [("PRIMARY/clerk", "PRIMARY"), ("clerk", "PRIMARY"), ("clerk", ""), ("clerk@carbon.super", "")]
        {
            let question = json!({
                "username": username, "domain": domain, "dialect": "http://wso2.org/claims", "accessToken": "unknown",
                "bindFederatedUserClaims": false,
            });
            let reply = post(server, GENERATE, &question).await;
            let name = value(&reply, "http://wso2.org/claims/username");
            assert_eq!(name.as_deref(), Some("clerk"), "{username} {domain}: {reply:?}, {}", server.engine);
            let roles = value(&reply, "http://wso2.org/claims/role").unwrap();
            assert!(roles.split(',').any(|role| role == "Internal/subscriber"), "{roles}");
        }
        // A domain that there is not, once and twice; a user that there is not: no error, no claims.
        for (username, domain) in [("DOM/clerk", "DOM"), ("clerk", "DOM"), ("nobody", "PRIMARY"), ("a b/c@d", "")] {
            let reply = post(server, GENERATE, &json!({ "username": username, "domain": domain })).await;
            assert_eq!((reply.status, reply.json()), (200, json!({ "count": 0, "list": [] })), "{username} {domain}");
        }
    })
    .await;
}

#[tokio::test]
async fn claims_by_get_are_sorted_and_in_a_dialect() {
    on_sqlite("", async |server| {
        insert_clerk(server).await;
        let local = get(server, &format!("{CLAIMS}?username=clerk")).await;
        assert_eq!(local.header("cache-control"), Some("no-store, no-cache, must-revalidate, private"));
        let json = local.json();
        let uris: Vec<&str> =
            json["list"].as_array().unwrap().iter().map(|claim| claim["uri"].as_str().unwrap()).collect();
        assert!(uris.is_sorted() && uris.len() >= 3, "{uris:?}");
        assert!(value(&local, "http://wso2.org/claims/userid").is_some_and(|id| id.len() == 36));
        let openid =
            get(server, &format!("{CLAIMS}?username=clerk&dialect=http%3A%2F%2Fwso2.org%2Foidc%2Fclaim")).await;
        assert_eq!(value(&openid, "sub").as_deref(), Some("clerk"));
        assert_eq!(value(&openid, "http://wso2.org/claims/username"), None);
        let other = get(server, &format!("{CLAIMS}?username=clerk&dialect=http%3A%2F%2Fexample.org")).await;
        assert_eq!(other.json(), json!({ "count": 0, "list": [] }));
        assert_eq!(
            value(
                &get(server, &format!("{CLAIMS}?username=clerk&domain=PRIMARY")).await,
                "http://wso2.org/claims/username"
            )
            .as_deref(),
            Some("clerk")
        );
    })
    .await;
}

#[tokio::test]
async fn who_has_no_claims() {
    on_sqlite("", async |server| {
        insert_clerk(server).await;
        let tenant = insert_tenant(server, "acme.com").await;
        insert_user(server, tenant, "boss", "p", &["admin"]).await;
        // The GET form puts the domain before whatever is there; a user of another tenant does not exist.
        for (query, user) in [
            ("username=nobody", "nobody"),
            ("username=PRIMARY%2Fclerk&domain=PRIMARY", "PRIMARY/PRIMARY/clerk"),
            ("username=boss%40acme.com", "boss@acme.com"),
        ] {
            let reply = get(server, &format!("{CLAIMS}?{query}")).await;
            let text = format!("Requested user {user} does not exist.");
            let expected = json!({ "code": "Not Found", "message": "User not found", "description": text });
            assert_eq!((reply.status, reply.json()), (404, expected), "{query}");
        }
        let boss = post(server, GENERATE, &json!({ "username": "boss@acme.com" })).await;
        assert_eq!(boss.json(), json!({ "count": 0, "list": [] }));
        let bad = |text: &str| json!({ "code": "Bad Request", "message": "Bad request", "description": text });
        for query in ["", "?username=", "?domain=PRIMARY"] {
            let reply = get(server, &format!("{CLAIMS}{query}")).await;
            assert_eq!(
                (reply.status, reply.json()),
                (400, bad("username not found in the request parameters")),
                "{query}"
            );
        }
        for (body, text) in [
            (json!({}), "username not found in the request body"),
            (json!({ "username": "" }), "username not found in the request body"),
            (Value::Null, "Payload not found in Request body"),
            (json!(7), "Payload not found in Request body"),
        ] {
            let reply = post(server, GENERATE, &body).await;
            assert_eq!((reply.status, reply.json()), (400, bad(text)), "{body}");
        }
        let plain = server.get(&format!("{CLAIMS}?username=clerk")).basic_auth("clerk", Some("p")).call().await;
        assert_eq!(plain.status, 403);
    })
    .await;
}
