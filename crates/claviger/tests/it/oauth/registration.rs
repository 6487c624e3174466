//! Client registration as API-M's connector calls it (rest-3x.md 2.1-2.4, 8.1).

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Registered, Reply, Server, insert_tenant, insert_user, on_every_engine,
    on_sqlite, permit, register, registration,
};
use claviger_proto::encode::base64;
use claviger_proto::ids::TenantId;
use claviger_proto::user::NameRule;
use claviger_store::error::StoreError;
use claviger_store::users;
use reqwest::Method;
use serde_json::{Value, json};

const REGISTER: &str = "/keymanager-operations/dcr/register";
const METADATA: &str = "invalid_client_metadata";

async fn call(server: &Server, method: Method, path: &str, body: Option<&Value>) -> Reply {
    let request = server.request(method, path).basic_auth(ADMIN, Some(ADMIN_PASSWORD));
    match body {
        Some(body) => request.json(body).call().await,
        None => request.call().await,
    }
}

async fn create(server: &Server, name: &str, more: Value) -> Reply {
    call(server, Method::POST, REGISTER, Some(&registration(name, more))).await
}

/// The error object of 2.3 with the member that later versions read.
#[track_caller]
fn check_refused(reply: &Reply, message: &str, description: &str) {
    let expected = json!({
        "code": message, "message": message, "description": description, "error_description": description,
    });
    assert_eq!((reply.status, reply.json()), (400, expected), "{reply:?}");
}

/// The id as API-M 4.1+ puts it into paths: base64url with padding.
fn encoded(id: &str) -> String {
    base64(id.as_bytes()).replace('+', "-").replace('/', "_")
}

#[tokio::test]
async fn a_registration_from_first_to_last() {
    on_every_engine("", async |server| {
        let more = json!({ "redirect_uris": ["https://app.example.org/cb"], "unknown_member": { "a": [1] } });
        let created = create(server, "bob_orders-app_PRODUCTION", more).await;
        assert_eq!(created.status, 201, "{created:?}");
        assert_eq!(created.header("cache-control"), Some("no-store, no-cache, must-revalidate, private"));
        let (id, secret) = (created.text("client_id"), created.text("client_secret"));
        let expected = json!({
            "client_id": id, "client_secret": secret, "client_secret_expires_at": null,
            "redirect_uris": ["https://app.example.org/cb"], "client_name": "bob_orders-app_PRODUCTION",
            "grant_types": ["client_credentials", "password", "refresh_token"], "ext_application_owner": "admin",
            "ext_application_token_lifetime": 3600, "ext_user_token_lifetime": 3600,
            "ext_refresh_token_lifetime": 86400, "ext_id_token_lifetime": 3600, "pkceMandatory": false,
            "pkceSupportPlain": false, "bypassClientCredentials": false, "token_type_extension": "Default",
            "application_scopes": [],
        });
        assert_eq!(created.json(), expected, "{}", server.engine);
        for (path, kind) in [(format!("{REGISTER}/{id}"), "raw"), (format!("{REGISTER}/{}", encoded(&id)), "encoded")] {
            let read = call(server, Method::GET, &path, None).await;
            assert_eq!((read.status, read.json()), (200, expected.clone()), "{kind}");
        }
        let change = json!({
            "client_name": "renamed", "grant_types": ["client_credentials"], "token_type_extension": "JWT",
            "ext_application_token_lifetime": 77, "pkceMandatory": true, "pkceSupportPlain": true,
            "client_id": secret, "client_secret": "ignored", "ext_application_owner": "ignored",
        });
        let changed = call(server, Method::PUT, &format!("{REGISTER}/{}", encoded(&id)), Some(&change)).await;
        let mut expected = expected;
        expected["client_name"] = "renamed".into();
        expected["grant_types"] = json!(["client_credentials"]);
        expected["token_type_extension"] = "JWT".into();
        expected["ext_application_token_lifetime"] = 77.into();
        expected["pkceMandatory"] = true.into();
        expected["pkceSupportPlain"] = true.into();
        assert_eq!((changed.status, changed.json()), (200, expected.clone()), "{}", server.engine);
        let same = call(server, Method::PUT, &format!("{REGISTER}/{id}"), Some(&json!({}))).await;
        assert_eq!((same.status, same.json()), (200, expected), "fields left out keep their value");
        // The change works at once.
        let client = Registered { id: id.clone(), secret };
        let token = client.issue(server, &[("grant_type", "client_credentials")]).await;
        assert_eq!(token.json()["expires_in"], 77, "{}", server.engine);
        let password = [("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD)];
        assert_eq!(client.token(server, &password).await.text("error"), "unauthorized_client");
        let deleted = call(server, Method::DELETE, &format!("{REGISTER}/{}", encoded(&id)), None).await;
        assert_eq!((deleted.status, deleted.body.as_str()), (204, ""));
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let gone = call(server, method, &format!("{REGISTER}/{id}"), Some(&json!({}))).await;
            assert_eq!((gone.status, gone.body.as_str()), (401, ""), "the compatibility default");
        }
        // The name is free again.
        assert_eq!(create(server, "renamed", json!({})).await.status, 201, "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn what_a_registration_may_not_say() {
    on_every_engine("", async |server| {
        let first = create(server, "taken", json!({ "ext_param_client_id": "client_id_0123456" })).await;
        assert_eq!((first.status, first.text("client_id").as_str()), (201, "client_id_0123456"));
        let reply = create(server, "taken", json!({})).await;
        check_refused(&reply, METADATA, "Application with the name taken already exist in the system");
        let reply = create(server, "other", json!({ "ext_param_client_id": "client_id_0123456" })).await;
        check_refused(&reply, METADATA, "Client id client_id_0123456 already exist in the system");
        for id in ["short", "with-a-dash-in-the-id", "0123456789012345678901234567890", "client id 012345678", ""] {
            let reply = create(server, "preset", json!({ "ext_param_client_id": id })).await;
            let text = "Provided client id is not adhering to the provided regex [a-zA-Z0-9_]{15,30}";
            check_refused(&reply, METADATA, text);
        }
        for name in ["", "  ", "a@b", "a/b", "<b>"] {
            let reply = create(server, name, json!({})).await;
            check_refused(&reply, METADATA, r"Client Name is not adhering to the regex: ^[\sa-zA-Z0-9._-]*$");
        }
        for uri in ["nonsense", "javascript:alert(1)", "https://a.example/#fragment", "https://u:p@a.example/"] {
            let reply = create(server, "uris", json!({ "redirect_uris": [uri] })).await;
            check_refused(&reply, "invalid_redirect_uri", &format!("Invalid redirect URI: {uri}"));
        }
        for grant in ["authorization_code", "implicit"] {
            let reply = create(server, "codes", json!({ "grant_types": [grant] })).await;
            let text = "RedirectUris property must have at least one URI value when using Authorization code or implicit grant types.";
            check_refused(&reply, METADATA, text);
        }
        let reply = create(server, "grants", json!({ "grant_types": ["nothing"] })).await;
        check_refused(&reply, METADATA, "Unknown grant type: nothing");
        let reply = create(server, "owners", json!({ "ext_application_owner": "nobody" })).await;
        check_refused(&reply, METADATA, "ext_application_owner is not a user of this tenant");
        let reply = create(server, "types", json!({ "token_type_extension": "X" })).await;
        assert_eq!((reply.status, reply.text("message").as_str()), (400, METADATA));
        let reply = create(server, &"n".repeat(300), json!({})).await;
        assert_eq!((reply.status, reply.text("message").as_str()), (400, METADATA), "{}", server.engine);
        let reply = create(server, "long-uri", json!({ "redirect_uris": [format!("https://a.example/{}", "u".repeat(4000))] }));
        let reply = reply.await;
        assert_eq!((reply.status, reply.text("message").as_str()), (400, METADATA), "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn bodies_that_are_no_registration() {
    on_sqlite("", async |server| {
        for body in ["", "{", "[]", "null", "7", r#"{"client_name":7}"#, r#"{"client_name":"a","redirect_uris":"x"}"#] {
            let request = server.post(REGISTER).basic_auth(ADMIN, Some(ADMIN_PASSWORD));
            let reply = request.header("content-type", "application/json").body(body).call().await;
            assert_eq!((reply.status, reply.text("message").as_str()), (400, METADATA), "{body}: {reply:?}");
        }
        let reply = call(server, Method::POST, REGISTER, Some(&json!({ "redirect_uris": [] }))).await;
        check_refused(&reply, METADATA, "client_name is required");
    })
    .await;
}

#[tokio::test]
async fn several_redirect_uris_become_one_pattern() {
    on_sqlite("", async |server| {
        let uris = json!({ "redirect_uris": ["https://a.example/cb", "https://b.example/cb"] });
        let reply = create(server, "two-uris", uris).await;
        assert_eq!(reply.json()["redirect_uris"], json!(["regexp=(https://a.example/cb|https://b.example/cb)"]));
        let reply = create(server, "no-uri", json!({})).await;
        assert_eq!((reply.status, &reply.json()["redirect_uris"]), (201, &json!([""])));
    })
    .await;
}

#[tokio::test]
async fn a_new_secret_ends_the_old_one_and_every_token() {
    on_every_engine("", async |server| {
        let old = register(server, "new-secret", json!({})).await;
        let application = old.application_token(server).await;
        let form = [("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD)];
        let user = old.issue(server, &form).await;
        let path = format!("{REGISTER}/{}/regenerate-consumer-secret", encoded(&old.id));
        let reply = call(server, Method::POST, &path, None).await;
        assert_eq!((reply.status, reply.text("client_id")), (200, old.id.clone()), "{reply:?}");
        let new = Registered { secret: reply.text("client_secret"), ..old.clone() };
        assert_ne!(new.secret, old.secret);
        assert_eq!(old.token(server, &[("grant_type", "client_credentials")]).await.status, 401, "{}", server.engine);
        for token in [&application, &user.text("access_token")] {
            assert!(!server.is_active(token).await, "{}", server.engine);
        }
        let refresh = user.text("refresh_token");
        let refused = new.token(server, &[("grant_type", "refresh_token"), ("refresh_token", &refresh)]).await;
        refused.check_error(400, "invalid_grant", "Invalid refresh token state");
        let fresh = new.application_token(server).await;
        assert_ne!(fresh, application, "{}", server.engine);
        assert!(server.is_active(&fresh).await, "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn clients_of_another_tenant_do_not_exist() {
    on_every_engine("", async |server| {
        let tenant = insert_tenant(server, "acme.com").await;
        insert_user(server, tenant, "boss", "boss's", &["admin"]).await;
        insert_user(server, TenantId::SUPER, "plain", "plain's", &["Internal/creator"]).await;
        let client = register(server, "hidden", json!({})).await;
        let own = format!("{REGISTER}/{}", client.id);
        let secret = format!("{own}/regenerate-consumer-secret");
        let post = registration("x", json!({}));
        for (user, password, status) in [("boss@acme.com", "boss's", 401), ("plain", "plain's", 403)] {
            for (method, path) in [
                (Method::POST, REGISTER),
                (Method::GET, &own),
                (Method::PUT, &own),
                (Method::DELETE, &own),
                (Method::POST, &secret),
            ] {
                let request = server.request(method.clone(), path).basic_auth(user, Some(password));
                let reply = request.json(&post).call().await;
                assert_eq!(reply.status, status, "{user} {method} {path}: {reply:?}");
                assert!(!reply.body.contains(&client.secret));
            }
        }
        assert_eq!(client.token(server, &[("grant_type", "client_credentials")]).await.status, 200);
        // Whoever may register clients does not get the rights of others by naming them as owner.
        permit(server, TenantId::SUPER, "publisher", "/permission/admin/manage/identity/applicationmgt").await;
        insert_user(server, TenantId::SUPER, "registrar", "r", &["Internal/publisher"]).await;
        for (owner, status) in [("admin", 400), ("ADMIN", 400), ("registrar", 201)] {
            let body = registration(&format!("for-{owner}"), json!({ "ext_application_owner": owner }));
            let request = server.request(Method::POST, REGISTER).basic_auth("registrar", Some("r"));
            let reply = request.json(&body).call().await;
            assert_eq!(reply.status, status, "{owner}: {reply:?}");
        }
        // An owner of another tenant cannot be named either.
        let reply = create(server, "foreign-owner", json!({ "ext_application_owner": "boss@acme.com" })).await;
        check_refused(&reply, METADATA, "ext_application_owner is not a user of this tenant");
    })
    .await;
}

/// Roles `Application/<name>` of a user, as the tables have them.
async fn application_roles(server: &Server, name: &str) -> Vec<String> {
    let mut conn = server.app().store.reader().await.unwrap();
    let user = users::find(&mut conn, TenantId::SUPER, name, NameRule::Exact).await.unwrap().unwrap();
    let mut roles = users::list_roles(&mut conn, TenantId::SUPER, &user, NameRule::Exact).await.unwrap();
    roles.retain(|role| role.starts_with("Application/"));
    roles
}

#[tokio::test]
async fn the_role_of_an_application_goes_with_its_name() {
    on_every_engine("", async |server| {
        let client = register(server, "first-name", json!({})).await;
        insert_user(server, TenantId::SUPER, "helper", "h", &[]).await;
        let write = server.app().store.write::<_, StoreError, _>(|conn| {
            Box::pin(async move {
                users::add_hybrid_role(conn, TenantId::SUPER, "helper", "Application/first-name").await?;
                // Left behind by a client of that name, under an earlier version.
                users::add_hybrid_role(conn, TenantId::SUPER, "helper", "Application/third-name").await
            })
        });
        write.await.unwrap();
        assert_eq!(client.change(server, &json!({ "client_name": "second-name" })).await.status, 200);
        assert_eq!(application_roles(server, ADMIN).await, ["Application/second-name"], "{}", server.engine);
        assert_eq!(client.change(server, &json!({ "client_name": "third-name" })).await.status, 200);
        for user in [ADMIN, "helper"] {
            assert_eq!(application_roles(server, user).await, ["Application/third-name"], "{}", server.engine);
        }
        assert_eq!(client.delete(server).await.status, 204);
        for user in [ADMIN, "helper"] {
            assert_eq!(application_roles(server, user).await, [""; 0], "{}: {user}", server.engine);
        }
    })
    .await;
}
