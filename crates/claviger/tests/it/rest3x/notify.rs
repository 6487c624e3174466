//! Statements 47 and 48: what key managers say is revoked, and what old gateways read of it (rest-3x.md 5.2, 5.3, 8.7).

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Reply, Server, Told, claims, insert_tenant, insert_user, on_every_engine,
    on_sqlite, register,
};
use claviger_proto::ids::TenantId;
use claviger_proto::time::Clock as _;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

const NOTIFY: &str = "/internal/data/v1/notify";
const HOUR_MS: i64 = 3_600_000;

async fn tell(server: &Server, header: Option<&'static str>, body: &Value) -> Reply {
    let mut request = server.post(NOTIFY).basic_auth(ADMIN, Some(ADMIN_PASSWORD));
    if let Some(value) = header {
        request = request.header("X-WSO2-KEY-MANAGER", HeaderValue::from_static(value));
    }
    request.header("content-type", "application/json").body(body.to_string()).call().await
}

#[track_caller]
fn check_taken(server: &Server, reply: &Reply) {
    assert_eq!((reply.status, reply.body.as_str()), (200, ""), "{}: {reply:?}", server.engine);
}

fn event(kind: &str, id: &str, more: Value) -> Value {
    let mut body = json!({ "eventId": id, "timeStamp": 1, "type": kind, "tenantId": -1234, "tenantDomain": "carbon.super", "properties": {} });
    let Value::Object(more) = more else { panic!("more members are an object") };
    body.as_object_mut().unwrap().extend(more);
    body
}

fn token_event(id: &str, token: &str, token_type: &str, ends_ms: i64) -> Value {
    let more = json!({ "accessToken": token, "expiryTime": ends_ms, "user": "bob", "consumerKey": "other", "tokenType": token_type });
    event("token_revocation", id, more)
}

fn now_ms(server: &Server) -> i64 {
    server.clock.now().as_millis()
}

/// What `/revokedjwt` lists under this name: its ends.
async fn listed(server: &Server, token: &str) -> Vec<i64> {
    let request = server.get("/internal/data/v1/revokedjwt").basic_auth(ADMIN, Some(ADMIN_PASSWORD));
    let reply = request.call().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let json = reply.json();
    let found = json.as_array().unwrap().iter().filter(|row| row["jwt_signature"] == token);
    found.map(|row| row["expiry_time"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn checklist_47_every_event_and_every_header_is_taken() {
    on_every_engine("", async |server| {
        let end = now_ms(server) + HOUR_MS;
        let headers = [None, Some("default"), Some("WSO2-IS"), Some("WSO2-IAM"), Some("WSO2IS"), Some("Okta"), Some("")];
        for (number, header) in headers.into_iter().enumerate() {
            let token = format!("jti-{number}");
            let reply = tell(server, header, &token_event(&format!("event-{number}"), &token, "JWT", end)).await;
            check_taken(server, &reply);
            assert!(Told::by(server).await.has_token(&token), "{}: {header:?}", server.engine);
        }
        // The second counts whole.
        let (sent, before) = (now_ms(server), (now_ms(server) + 999) / 1_000 * 1_000);
        let of_client = event("consumer_app_revocation_event", "c1", json!({ "consumerKey": "theirs", "revocationTime": sent }));
        check_taken(server, &tell(server, Some("WSO2-IS"), &of_client).await);
        let entity = |kind: &str, id: &str| {
            let more = json!({ "entityId": id, "entityType": kind, "revocationTime": sent });
            event("subject_entity_revocation_event", &format!("{kind}-{id}"), more)
        };
        check_taken(server, &tell(server, Some("WSO2-IS"), &entity("CLIENT_ID", "another")).await);
        check_taken(server, &tell(server, Some("WSO2-IS"), &entity("USER_ID", "carol")).await);
        let told = server.snapshot().await;
        for key in ["theirs", "another"] {
            let mut revoked = told.revoked_clients.iter();
            assert!(revoked.any(|it| it.consumer_key.as_str() == key && it.before.as_millis() == before), "{key}");
        }
        let mut users = told.revoked_users.iter();
        assert!(users.any(|it| it.subject == "carol@carbon.super" && it.before.as_millis() == before), "{}", server.engine);
        // Several in one body, as later senders put them.
        let batch = json!({ "tokenRevocationEventList": [token_event("b1", "batch-1", "JWT", end), token_event("b2", "batch-2", "Default", end)] });
        check_taken(server, &tell(server, None, &batch).await);
        let told = Told::by(server).await;
        assert!(told.has_token("batch-1") && told.has_token("batch-2"), "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn checklist_47_what_cannot_be_understood_is_refused() {
    on_sqlite("", async |server| {
        let end = now_ms(server) + HOUR_MS;
        let good = token_event("e", "t", "JWT", end);
        let refused = async |body: &str| {
            let request = server.post(NOTIFY).basic_auth(ADMIN, Some(ADMIN_PASSWORD));
            let reply = request.header("content-type", "application/json").body(body.to_owned()).call().await;
            let error = reply.json();
            assert_eq!((reply.status, &error["code"]), (400, &json!(400)), "{body}: {reply:?}");
            assert!(error["message"].is_string() && error["Message"].is_string(), "{error}");
            error["Message"].as_str().unwrap().to_owned()
        };
        for body in ["", "{", "[]", "null", "\"token_revocation\""] {
            refused(body).await;
        }
        for name in ["eventId", "tenantDomain", "accessToken", "expiryTime", "type"] {
            let mut body = good.clone();
            body.as_object_mut().unwrap().remove(name);
            assert_eq!(refused(&body.to_string()).await, format!("{name} is missing"));
        }
        let mut long = good.clone();
        long["accessToken"] = json!("x".repeat(2049));
        assert!(refused(&long.to_string()).await.contains("too long"));
        let ahead = now_ms(server) + HOUR_MS;
        refused(
            &event("consumer_app_revocation_event", "a", json!({ "consumerKey": "k", "revocationTime": ahead }))
                .to_string(),
        )
        .await;
        assert!(!Told::by(server).await.has_token("t"));
        assert!(listed(server, "t").await.is_empty());
        // Who is not an administrator of the super tenant says nothing.
        let tenant = insert_tenant(server, "acme.com").await;
        insert_user(server, tenant, "boss", "boss's", &["admin"]).await;
        insert_user(server, TenantId::SUPER, "plain", "p", &["Internal/subscriber"]).await;
        for (user, password) in [("boss@acme.com", "boss's"), ("plain", "p"), (ADMIN, "wrong")] {
            let reply = server.post(NOTIFY).basic_auth(user, Some(password)).json(&good).call().await;
            assert!(matches!(reply.status, 401 | 403), "{user}: {reply:?}");
        }
        assert_eq!(server.post(NOTIFY).json(&good).call().await.status, 401);
        check_taken(server, &tell(server, None, &good).await);
    })
    .await;
}

#[tokio::test]
async fn checklist_48_what_was_told_is_listed_until_its_end() {
    on_every_engine("", async |server| {
        let end = now_ms(server) + HOUR_MS;
        let endless = i64::MAX;
        for (id, token, token_type, end) in [
            ("e1", "0b7a1c4e-2d53-4a61-9f0e-5c8d7e1f2a3b", "JWT", end),
            ("e2", "an-opaque-token", "Default", end),
            ("e3", "without-a-type", "", end),
            ("e4", "endless", "JWT", endless),
        ] {
            // However often it comes.
            for _ in 0..2 {
                check_taken(server, &tell(server, Some("default"), &token_event(id, token, token_type, end)).await);
            }
            assert_eq!(listed(server, token).await, [end], "{}: {token}", server.engine);
            assert!(Told::by(server).await.has_token(token), "{}: {token}", server.engine);
        }
        let over = token_event("e5", "over", "JWT", now_ms(server) - HOUR_MS);
        check_taken(server, &tell(server, None, &over).await);
        assert!(listed(server, "over").await.is_empty(), "{}", server.engine);
        server.clock.advance_s(2 * 3_600);
        assert!(listed(server, "an-opaque-token").await.is_empty(), "{}", server.engine);
        assert_eq!(listed(server, "endless").await, [endless], "{}", server.engine);
    })
    .await;
}

/// The number of the last event.
async fn events(server: &Server) -> i64 {
    let mut conn = server.app().store.reader().await.unwrap();
    claviger_store::events::bounds(&mut conn).await.unwrap().1.0
}

#[tokio::test]
async fn a_token_of_ours_ends_and_what_we_revoked_ourselves_is_no_news() {
    on_every_engine("", async |server| {
        for token_type in ["Default", "JWT"] {
            let client = register(server, token_type, json!({ "token_type_extension": token_type })).await;
            let name = |token: &str| {
                if token_type == "JWT" { claims(token)["jti"].as_str().unwrap().to_owned() } else { token.to_owned() }
            };
            let end = now_ms(server) + HOUR_MS;
            // Alive until somebody else says it is dead; the next request gets another.
            let token = client.application_token(server).await;
            let event = token_event(&format!("{token_type}-1"), &name(&token), token_type, end);
            check_taken(server, &tell(server, Some("WSO2-IS"), &event).await);
            assert!(!server.is_active(&token).await, "{}: {token_type}", server.engine);
            assert!(Told::by(server).await.is_dead(&token), "{}: {token_type}", server.engine);
            assert_eq!(listed(server, &name(&token)).await.len(), 1, "{}: {token_type}", server.engine);
            let next = client.application_token(server).await;
            assert_ne!(next, token, "{}: {token_type}", server.engine);

            // Revoked here; our own sender tells our own receiver, as often as it likes.
            assert_eq!(client.revoke(server, &[("token", &next)]).await.status, 200);
            let before = events(server).await;
            for _ in 0..3 {
                let event = token_event(&format!("{token_type}-2"), &name(&next), token_type, end);
                check_taken(server, &tell(server, Some("WSO2-IS"), &event).await);
            }
            assert_eq!(events(server).await, before, "{}: {token_type}: nothing is told again", server.engine);
            assert_eq!(listed(server, &name(&next)).await.len(), 1, "{}: {token_type}", server.engine);

            // A replaced pair: its event must not end the one that replaced it.
            let pair = client.log_in(server, "a").await;
            let renewed = client.refresh(server, &pair.text("refresh_token")).await;
            let old = name(&pair.text("access_token"));
            check_taken(
                server,
                &tell(server, None, &token_event(&format!("{token_type}-3"), &old, token_type, end)).await,
            );
            assert!(server.is_active(&renewed.text("access_token")).await, "{}: {token_type}", server.engine);
            let again = client.refresh(server, &renewed.text("refresh_token")).await;
            assert_eq!(again.status, 200, "{}: {token_type}: {again:?}", server.engine);
        }
    })
    .await;
}

#[tokio::test]
async fn clients_and_users_of_ours() {
    // Without rows for JWTs: what such events are for.
    on_sqlite("[oauth.token_persistence]\npersist_jwt_access_tokens = false\n", async |server| {
        insert_user(server, TenantId::SUPER, "Carol", "c", &["Internal/subscriber"]).await;
        let client = register(server, "jwt", json!({ "token_type_extension": "JWT" })).await;
        let form = [("grant_type", "password"), ("username", "Carol"), ("password", "c")];
        let of_carol = client.issue(server, &form).await.text("access_token");
        let of_admin = client.log_in(server, "a").await.text("access_token");
        assert!(server.is_active(&of_carol).await && server.is_active(&of_admin).await);
        server.clock.advance_s(1);
        let more = json!({ "entityId": "carol", "entityType": "USER_ID", "revocationTime": now_ms(server) });
        check_taken(server, &tell(server, None, &event("subject_entity_revocation_event", "u", more)).await);
        assert!(!server.is_active(&of_carol).await && server.is_active(&of_admin).await);
        let told = server.snapshot().await;
        assert_eq!(told.revoked_users.iter().map(|it| it.subject.as_str()).collect::<Vec<_>>(), ["Carol@carbon.super"]);
        // JWTs name whole seconds: one of the same second is dead too.
        server.clock.advance_s(1);
        let later = client.issue(server, &form).await.text("access_token");
        assert!(server.is_active(&later).await, "issued afterwards");
        // The same once more, and an earlier instant, are no news.
        let before = events(server).await;
        for ago_ms in [0, 5_000] {
            let time = told.revoked_users[0].before.as_millis() - ago_ms;
            let more = json!({ "entityId": "carol", "entityType": "USER_ID", "revocationTime": time });
            check_taken(server, &tell(server, None, &event("subject_entity_revocation_event", "u", more)).await);
        }
        assert_eq!(events(server).await, before);
        let more = json!({ "consumerKey": client.id, "revocationTime": now_ms(server) });
        let of_client = event("consumer_app_revocation_event", "c", more);
        check_taken(server, &tell(server, None, &of_client).await);
        assert!(!server.is_active(&of_admin).await);
        let before = events(server).await;
        check_taken(server, &tell(server, None, &of_client).await);
        assert_eq!(events(server).await, before);
    })
    .await;
}

/// Of a name with an `@` that the event's tenant does not have gateways may take the rest for a tenant. Another user who is called so
/// keeps what he has.
#[tokio::test]
async fn a_strangers_end_is_nobody_elses() {
    on_sqlite("", async |server| {
        let tenant = insert_tenant(server, "acme.com").await;
        insert_user(server, tenant, "ann", "a", &[]).await;
        for entity in ["ann@acme.com", "bob@acme.com"] {
            let more = json!({ "entityId": entity, "entityType": "USER_ID", "revocationTime": now_ms(server) });
            check_taken(server, &tell(server, None, &event("subject_entity_revocation_event", entity, more)).await);
        }
        let told = server.snapshot().await;
        let mut subjects: Vec<&str> = told.revoked_users.iter().map(|it| it.subject.as_str()).collect();
        subjects.sort_unstable();
        assert_eq!(subjects, ["ann@acme.com@carbon.super", "bob@acme.com", "bob@acme.com@carbon.super"]);
    })
    .await;
}
