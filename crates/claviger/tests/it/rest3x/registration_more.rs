//! Statement 13, and what newer connectors added to registration: scopes of an application, display names, logout addresses,
//! several secrets, one-time tokens; the identity server's own registration (rest-3x.md 2.1, 2.4, 2.7, 3.1).

use super::{REGISTER, call, delete, get, post, put, raw};
use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Registered, insert_user, on_every_engine, on_sqlite, register, registration,
};
use claviger_proto::ids::TenantId;
use reqwest::Method;
use serde_json::{Value, json};

const NATIVE: &str = "/api/identity/oauth2/dcr/v1.1/register";
const GRANT: (&str, &str) = ("grant_type", "client_credentials");

#[tokio::test]
async fn checklist_13_lifetimes_and_flags_are_numbers_and_booleans() {
    on_every_engine("", async |server| {
        let wanted = json!({
            "ext_application_token_lifetime": 111, "ext_user_token_lifetime": 222, "ext_refresh_token_lifetime": 333,
            "ext_id_token_lifetime": 444, "pkceMandatory": true, "pkceSupportPlain": true, "bypassClientCredentials": true,
        });
        let client = register(server, "lifetimes", wanted.clone()).await;
        let shown = get(server, &raw(&client.id)).await.json();
        for (name, value) in wanted.as_object().unwrap() {
            assert_eq!(&shown[name], value, "{name}, {}", server.engine);
        }
        let application = client.issue(server, &[GRANT]).await;
        assert_eq!(application.json()["expires_in"], 111, "{}", server.engine);
        // A public client names itself and no more.
        let form = [
            ("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD), ("client_id", &client.id),
        ];
        let login = server.post("/oauth2/token").form(&form).call().await;
        assert_eq!((login.status, &login.json()["expires_in"]), (200, &json!(222)), "{}", server.engine);
        server.clock.advance_s(334);
        let late = client.refresh(server, &login.text("refresh_token")).await;
        late.check_error(400, "invalid_grant", "Refresh token is expired.");
        // 0 and nothing mean the server's own.
        let plain = register(server, "plain", json!({ "ext_user_token_lifetime": 0 })).await;
        let shown = get(server, &raw(&plain.id)).await.json();
        assert_eq!(shown["ext_user_token_lifetime"], 3600);
        for name in ["pkceMandatory", "pkceSupportPlain", "bypassClientCredentials"] {
            assert_eq!(shown[name], json!(false));
        }
    })
    .await;
}

#[tokio::test]
async fn the_word_for_the_token_type_comes_back_as_it_was_sent() {
    on_every_engine("", async |server| {
        for (number, word) in ["Default", "DEFAULT", "OAUTH", "JWT"].into_iter().enumerate() {
            let more = json!({ "token_type_extension": word });
            let made = post(server, REGISTER, &registration(&format!("word-{number}"), more)).await;
            assert_eq!((made.status, made.text("token_type_extension").as_str()), (201, word), "{}", server.engine);
            let client = Registered { id: made.text("client_id"), secret: made.text("client_secret") };
            assert_eq!(get(server, &raw(&client.id)).await.text("token_type_extension"), word, "{}", server.engine);
            let token = client.issue(server, &[GRANT]).await.text("access_token");
            assert_eq!(token.contains('.'), word == "JWT", "{word}: {token}");
            let untouched = put(server, &raw(&client.id), &json!({ "client_name": format!("word-{number}-2") })).await;
            assert_eq!(untouched.text("token_type_extension"), word, "{}", server.engine);
        }
        let client = register(server, "word", json!({ "token_type_extension": "DEFAULT" })).await;
        let token = client.issue(server, &[GRANT]).await.text("access_token");
        // Another word for the same kind: the token lives on.
        let renamed = put(server, &raw(&client.id), &json!({ "token_type_extension": "OAUTH" })).await;
        assert_eq!(renamed.text("token_type_extension"), "OAUTH");
        assert!(server.is_active(&token).await, "{}", server.engine);
        let changed = put(server, &raw(&client.id), &json!({ "token_type_extension": "JWT" })).await;
        assert_eq!(changed.text("token_type_extension"), "JWT");
        assert!(!server.is_active(&token).await, "{}", server.engine);
        for word in ["jwt", "Opaque"] {
            let refused = put(server, &raw(&client.id), &json!({ "token_type_extension": word })).await;
            assert_eq!((refused.status, refused.text("code").as_str()), (400, "invalid_client_metadata"), "{word}");
        }
    })
    .await;
}

#[tokio::test]
async fn scopes_of_an_application_are_kept_and_replaced() {
    on_every_engine("", async |server| {
        let more = json!({
            "application_scopes": ["orders:read", "orders:write"], "application_display_name": "Orders (of bob)",
            "backchannel_logout_uri": "https://app.acme.com/logout",
        });
        let client = register(server, "scoped", more).await;
        let scopes = async || get(server, &raw(&client.id)).await.json()["application_scopes"].clone();
        assert_eq!(scopes().await, json!(["orders:read", "orders:write"]), "{}", server.engine);
        assert_eq!(put(server, &raw(&client.id), &json!({ "client_name": "scoped-2" })).await.status, 200);
        assert_eq!(scopes().await, json!(["orders:read", "orders:write"]), "{}", server.engine);
        let change = json!({ "application_scopes": ["orders:delete"] });
        assert_eq!(put(server, &raw(&client.id), &change).await.json()["application_scopes"], json!(["orders:delete"]));
        assert_eq!(put(server, &raw(&client.id), &json!({ "application_scopes": [] })).await.status, 200);
        assert_eq!(scopes().await, json!([]), "{}", server.engine);
        for wrong in [
            json!({ "application_scopes": ["two words"] }),
            json!({ "application_scopes": [""] }),
            json!({ "backchannel_logout_uri": "https://app.acme.com/#fragment" }),
            json!({ "backchannel_logout_uri": "file:///etc/passwd" }),
        ] {
            let reply = put(server, &raw(&client.id), &wrong).await;
            assert_eq!((reply.status, reply.text("code").as_str()), (400, "invalid_client_metadata"), "{wrong}");
        }
        let mut template = crate::harness::registration("by-template", json!({}));
        template["ext_param_sp_template"] = "basic".into();
        let reply = post(server, REGISTER, &template).await;
        assert_eq!(reply.text("description"), "Invalid service provider template name: basic");
    })
    .await;
}

#[tokio::test]
async fn a_client_has_one_secret() {
    on_sqlite("", async |server| {
        let client = register(server, "one-secret", json!({})).await;
        let body = json!({ "expires_in": 60, "description": "second" });
        let replies = [
            post(server, &format!("{}/generate-secret", raw(&client.id)), &body).await,
            get(server, &format!("{}/secrets", raw(&client.id))).await,
            get(server, &format!("{}/secrets/MQ==", raw(&client.id))).await,
            delete(server, &format!("{}/secrets/MQ==", raw(&client.id))).await,
        ];
        for reply in replies {
            assert_eq!((reply.status, reply.text("code").as_str()), (400, "60100"), "{reply:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_one_time_token_is_revoked_for_its_client_only() {
    on_sqlite("", async |server| {
        let (client, other) = (register(server, "once", json!({})).await, register(server, "other", json!({})).await);
        let token = client.application_token(server).await;
        let path = "/keymanager-operations/revoke-one-time-token";
        let revoke = async |key: &str| post(server, path, &json!({ "token": token, "consumer_key": key })).await;
        for key in [&other.id, "nobody"] {
            assert_eq!(revoke(key).await.status, 200);
            assert!(server.is_active(&token).await, "{key}");
        }
        let reply = revoke(&client.id).await;
        let message = format!("Successfully revoked token ...{}", &token[token.len() - 4..]);
        assert_eq!(
            (reply.status, reply.json()),
            (200, json!({ "code": "OK", "message": message, "description": null }))
        );
        assert!(!server.is_active(&token).await);
        for (body, what) in [
            (json!({ "consumer_key": "a" }), "token id"),
            (json!({ "token": "a", "consumer_key": " " }), "consumer key"),
            (json!([]), "token id"),
        ] {
            let reply = post(server, path, &body).await;
            let text = format!("Could not revoke the token because the {what} is empty");
            assert_eq!((reply.status, reply.text("description")), (400, text), "{body}");
        }
    })
    .await;
}

#[tokio::test]
async fn registration_of_the_identity_server() {
    on_every_engine("", async |server| {
        insert_user(server, TenantId::SUPER, "bob", "p", &[]).await;
        let body = json!({
            "client_name": "native", "grant_types": ["client_credentials"], "redirect_uris": ["https://a.example/cb"],
            "token_type_extension": "JWT", "ext_application_owner": "bob", "unknown": 1,
        });
        let created = post(server, NATIVE, &body).await;
        assert_eq!(created.status, 201, "{created:?}");
        let client = Registered { id: created.text("client_id"), secret: created.text("client_secret") };
        let expected = json!({
            "client_id": client.id, "client_secret": client.secret, "client_secret_expires_at": null,
            "redirect_uris": ["https://a.example/cb"], "client_name": "native", "grant_types": ["client_credentials"],
        });
        assert_eq!(created.json(), expected);
        assert_eq!(get(server, &format!("{NATIVE}/{}", client.id)).await.json(), expected, "{}", server.engine);
        assert_eq!(get(server, &format!("{NATIVE}?client_name=native")).await.json(), expected, "{}", server.engine);
        assert!(client.application_token(server).await.contains('.'));
        // Who registers owns, whatever the body says.
        assert_eq!(get(server, &raw(&client.id)).await.text("ext_application_owner"), ADMIN);
        let changed = put(server, &format!("{NATIVE}/{}", client.id), &json!({ "client_name": "native-2" })).await;
        assert_eq!((changed.status, changed.text("client_name").as_str()), (200, "native-2"), "{changed:?}");
        let taken = post(server, NATIVE, &json!({ "client_name": "native-2", "redirect_uris": [] })).await;
        let text = "Application with the name native-2 already exist in the system";
        taken.check_error(400, "invalid_client_metadata", text);
        let uri = post(server, NATIVE, &json!({ "client_name": "uri", "redirect_uris": ["nonsense"] })).await;
        uri.check_error(400, "invalid_redirect_uri", "Invalid redirect URI: nonsense");
        let nameless = get(server, NATIVE).await;
        nameless.check_error(400, "invalid_client_metadata", "Invalid client_name");
        assert_eq!(delete(server, &format!("{NATIVE}/{}", client.id)).await.status, 204);
        for path in [format!("{NATIVE}/{}", client.id), format!("{NATIVE}?client_name=native-2")] {
            let gone = call(server, Method::GET, &path, None).await;
            assert_eq!((gone.status, gone.body.as_str()), (401, ""), "{path}");
        }
        let put = put(server, &format!("{NATIVE}/{}", client.id), &Value::Null).await;
        assert_eq!((put.status, put.body.as_str()), (401, ""));
    })
    .await;
}
