//! Statements 15-31: tokens, introspection, revocation, discovery, as API-M uses them (rest-3x.md 8.2, 8.3). The rules behind
//! them have their tests in `oauth`.

use super::get;
use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Registered, Reply, Server, claims, insert_user, on_every_engine, on_sqlite,
    register,
};
use claviger_proto::ids::TenantId;
use claviger_proto::time::Clock as _;
use serde_json::{Value, json};

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

async fn post_form(server: &Server, path: &str, form: &[(&str, &str)]) -> Reply {
    server.post(path).form(form).call().await
}

/// The token request of API-M 3.2: credentials and validity in the body.
async fn token_of_3_2(server: &Server, client: &Registered, scope: &str) -> Reply {
    let form = [
        ("client_id", client.id.as_str()),
        ("client_secret", &client.secret),
        GRANT,
        ("scope", scope),
        ("validity_period", "3600"),
    ];
    post_form(server, "/oauth2/token", &form).await
}

#[tokio::test]
async fn checklist_15_application_tokens_by_body_and_by_basic() {
    on_sqlite("", async |server| {
        let client = register(server, "both-ways", json!({})).await;
        let by_body = token_of_3_2(server, &client, "am_application_scope default").await;
        let by_basic = client.token(server, &[GRANT, ("scope", "am_application_scope default")]).await;
        for reply in [by_body, by_basic] {
            assert_eq!(reply.status, 200, "{reply:?}");
            let json = reply.json();
            let mut names: Vec<&String> = json.as_object().unwrap().keys().collect();
            names.sort();
            assert_eq!(names, ["access_token", "expires_in", "scope", "token_type"]);
            assert_eq!(json["scope"], "am_application_scope default");
        }
    })
    .await;
}

#[tokio::test]
async fn checklist_16_opaque_tokens_again_and_jwts_anew() {
    on_every_engine("", async |server| {
        let opaque = register(server, "opaque", json!({})).await;
        let first = token_of_3_2(server, &opaque, "default").await;
        server.clock.advance_s(60);
        let second = token_of_3_2(server, &opaque, "default").await;
        assert_eq!(first.text("access_token"), second.text("access_token"), "{}", server.engine);
        let left = |reply: &Reply| reply.json()["expires_in"].as_i64().unwrap();
        assert_eq!(left(&first) - left(&second), 60, "{}", server.engine);
        let jwt = register(server, "jwt", json!({ "token_type_extension": "JWT" })).await;
        let (first, second) = (jwt.application_token(server).await, jwt.application_token(server).await);
        assert_ne!(first, second);
        assert_ne!(claims(&first)["jti"], claims(&second)["jti"]);
    })
    .await;
}

#[tokio::test]
async fn checklist_17_what_a_jwt_names() {
    on_every_engine("", async |server| {
        let client = register(server, "named", json!({ "token_type_extension": "JWT" })).await;
        let application = client.application_token(server).await;
        let login = client.log_in(server, "a b").await;
        let refreshed = client.refresh(server, &login.text("refresh_token")).await.text("access_token");
        for (token, aut) in [
            (application, "APPLICATION"),
            (login.text("access_token"), "APPLICATION_USER"),
            (refreshed, "APPLICATION_USER"),
        ] {
            let claims = claims(&token);
            let members = ["aud", "aut", "azp", "exp", "iat", "iss", "jti", "nbf", "scope", "sub"];
            let names: std::collections::BTreeSet<&String> = claims.as_object().unwrap().keys().collect();
            assert!(names.into_iter().eq(members.iter()), "{}: {claims}", server.engine);
            assert_eq!((&claims["aut"], &claims["aud"]), (&json!(aut), &json!(client.id)), "{}", server.engine);
            let head = token.split('.').next().and_then(claviger_proto::encode::from_base64url).unwrap();
            let head: Value = serde_json::from_slice(&head).unwrap();
            let names: std::collections::BTreeSet<&String> = head.as_object().unwrap().keys().collect();
            assert!(names.into_iter().eq(["alg", "kid", "x5t"].iter()), "{head}");
            let keys = get(server, "/oauth2/jwks").await.json();
            assert!(keys["keys"].as_array().unwrap().iter().any(|key| key["kid"] == head["kid"]), "{}", server.engine);
        }
    })
    .await;
}

#[tokio::test]
async fn checklist_18_azp_and_scope_of_a_jwt() {
    on_sqlite("", async |server| {
        let client = register(server, "azp", json!({ "token_type_extension": "JWT" })).await;
        let reply = token_of_3_2(server, &client, "default am_application_scope").await;
        let claims = claims(&reply.text("access_token"));
        assert_eq!((&claims["azp"], &claims["aud"]), (&json!(client.id), &json!(client.id)));
        assert_eq!(claims["scope"], "am_application_scope default");
    })
    .await;
}

#[tokio::test]
async fn checklist_19_a_refresh_replaces_both_tokens() {
    on_every_engine("", async |server| {
        for token_type in ["Default", "JWT"] {
            let client = register(server, token_type, json!({ "token_type_extension": token_type })).await;
            let first = client.log_in(server, "a").await;
            let second = client.refresh(server, &first.text("refresh_token")).await;
            assert_eq!(second.status, 200, "{second:?}");
            for name in ["access_token", "refresh_token"] {
                assert_ne!(first.text(name), second.text(name), "{token_type}");
            }
            assert!(!server.is_active(&first.text("access_token")).await, "{}: {token_type}", server.engine);
            assert!(server.is_active(&second.text("access_token")).await, "{}: {token_type}", server.engine);
            let again = client.refresh(server, &first.text("refresh_token")).await;
            again.check_error(400, "invalid_grant", "Invalid refresh token state");
        }
    })
    .await;
}

#[tokio::test]
async fn checklist_21_a_wrong_secret_and_a_repeated_parameter() {
    on_sqlite("", async |server| {
        let client = register(server, "wrong", json!({})).await;
        let wrong = Registered { secret: "wrong".to_owned(), ..client.clone() };
        for reply in [token_of_3_2(server, &wrong, "default").await, wrong.token(server, &[GRANT]).await] {
            reply.check_error(401, "invalid_client", "Client Authentication failed.");
            assert!(reply.header("www-authenticate").is_some_and(|value| value.starts_with("Basic realm=")));
        }
        let twice = client.token(server, &[GRANT, ("scope", "a"), ("scope", "b")]).await;
        twice.check_error(400, "invalid_request", "Invalid request with repeated parameters.");
    })
    .await;
}

#[tokio::test]
async fn checklist_22_errors_have_both_members_and_answers_are_not_kept() {
    on_sqlite("", async |server| {
        let client =
            register(server, "members", json!({ "grant_types": ["client_credentials", "refresh_token"] })).await;
        for form in [
            &[("grant_type", "nothing")][..],
            &[("grant_type", "password"), ("username", "a"), ("password", "b")],
            &[("grant_type", "refresh_token"), ("refresh_token", "x")],
            &[GRANT, ("scope", "\"")],
            &[],
        ] {
            let reply = client.token(server, form).await;
            assert!(matches!(reply.status, 400 | 401), "{reply:?}");
            for name in ["error", "error_description"] {
                assert!(!reply.text(name).is_empty(), "{form:?}: {reply:?}");
            }
        }
        let reply = client.issue(server, &[GRANT]).await;
        assert_eq!((reply.header("cache-control"), reply.header("pragma")), (Some("no-store"), Some("no-cache")));
    })
    .await;
}

#[tokio::test]
async fn checklist_23_a_validity_period_is_never_an_error() {
    on_sqlite("", async |server| {
        let client = register(server, "validity", json!({})).await;
        for period in ["3600", "-2", "0", "", "never", "99999999999999999999"] {
            let form = [GRANT, ("validity_period", period)];
            assert_eq!(client.token(server, &form).await.status, 200, "{period}");
        }
    })
    .await;
}

#[tokio::test]
async fn checklist_24_unknown_scopes_pass_and_bound_ones_need_a_role() {
    on_every_engine("", async |server| {
        insert_user(server, TenantId::SUPER, "clerk", "p", &["Internal/subscriber"]).await;
        let client = register(server, "scopes", json!({})).await;
        let bound = json!({ "name": "bound", "displayName": "d", "bindings": ["admin"] });
        assert_eq!(super::post(server, "/api/identity/oauth2/v1.0/scopes", &bound).await.status, 201);
        let granted = async |user: &str, password: &str, scope: &str| {
            let form = [("grant_type", "password"), ("username", user), ("password", password), ("scope", scope)];
            client.issue(server, &form).await.text("scope")
        };
        assert_eq!(granted("clerk", "p", "bound never-registered").await, "never-registered", "{}", server.engine);
        assert_eq!(granted("clerk", "p", "bound").await, "default", "{}", server.engine);
        assert_eq!(granted(ADMIN, ADMIN_PASSWORD, "bound").await, "bound", "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn checklist_26_what_introspection_tells() {
    on_every_engine("", async |server| {
        let client = register(server, "introspected", json!({ "token_type_extension": "JWT" })).await;
        let token = token_of_3_2(server, &client, "default am_application_scope").await.text("access_token");
        let ask = server.post("/oauth2/introspect").basic_auth(ADMIN, Some(ADMIN_PASSWORD));
        let reply = ask.header("x-wso2-tenant", "carbon.super").form(&[("token", &token)]).call().await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let (json, now) = (reply.json(), server.clock.now().as_secs());
        assert_eq!((&json["active"], &json["client_id"]), (&json!(true), &json!(client.id)), "{}", server.engine);
        assert_eq!(json["username"], "admin@carbon.super");
        assert_eq!(json["scope"], "am_application_scope default");
        assert_eq!((&json["iat"], &json["exp"]), (&json!(now), &json!(now + 3600)));
        assert_eq!(server.introspect("unknown").await, json!({ "active": false }));
        assert_eq!(post_form(server, "/oauth2/introspect", &[("token", &token)]).await.status, 401);
    })
    .await;
}

#[tokio::test]
async fn checklist_27_introspection_tells_application_tokens_from_others() {
    on_every_engine("", async |server| {
        for token_type in ["Default", "JWT"] {
            let client = register(server, token_type, json!({ "token_type_extension": token_type })).await;
            let application = server.introspect(&client.application_token(server).await).await;
            assert_eq!(application["aut"], "APPLICATION", "{}: {token_type}", server.engine);
            let login = client.log_in(server, "a").await;
            let user = server.introspect(&login.text("access_token")).await;
            assert_eq!(user["aut"], "APPLICATION_USER", "{}: {token_type}", server.engine);
            let refreshed = client.refresh(server, &login.text("refresh_token")).await;
            let user = server.introspect(&refreshed.text("access_token")).await;
            assert_eq!(user["aut"], "APPLICATION_USER", "{}: {token_type}, refreshed", server.engine);
        }
    })
    .await;
}

/// Where JWTs have no row, they say it themselves.
#[tokio::test]
async fn checklist_27_jwts_without_a_row_tell_whose_they_are() {
    let sections = "[oauth.token_persistence]\npersist_jwt_access_tokens = false\n";
    on_sqlite(sections, async |server| {
        let client = register(server, "rowless", json!({ "token_type_extension": "JWT" })).await;
        let application = client.application_token(server).await;
        assert_eq!(server.active_rows(&client.id).await, 0, "no row says it");
        assert_eq!(server.introspect(&application).await["aut"], "APPLICATION");
        // One that can be refreshed has its row; a client without that grant gets one that has none.
        let grants = json!({ "token_type_extension": "JWT", "grant_types": ["password"] });
        let user = register(server, "rowless-user", grants).await;
        let token = user.log_in(server, "a").await.text("access_token");
        assert_eq!(server.active_rows(&user.id).await, 0, "no row says it");
        assert_eq!(server.introspect(&token).await["aut"], "APPLICATION_USER");
    })
    .await;
}

#[tokio::test]
async fn checklist_28_a_revocation_echoes_what_it_ended() {
    on_every_engine("", async |server| {
        let client = register(server, "revoked", json!({})).await;
        let other = register(server, "stranger", json!({})).await;
        let pair = client.log_in(server, "a").await;
        let (access, refresh) = (pair.text("access_token"), pair.text("refresh_token"));
        let refused = other.revoke(server, &[("token", &access)]).await;
        refused.check_error(401, "unauthorized_client", "Client Authentication failed.");
        assert!(server.is_active(&access).await, "{}", server.engine);
        // Credentials in the body, as API-M's client has them.
        let form = [("client_id", client.id.as_str()), ("client_secret", &client.secret), ("token", &access)];
        let reply = post_form(server, "/oauth2/revoke", &form).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, ""), "{reply:?}");
        let echo = ["revokedaccesstoken", "revokedrefreshtoken", "authorizeduser"].map(|name| reply.header(name));
        assert_eq!(echo, [Some(access.as_str()), Some(refresh.as_str()), Some("admin@carbon.super")]);
        assert!(!server.is_active(&access).await, "{}", server.engine);
        let unknown = client.revoke(server, &[("token", "nobody-ever-had-this")]).await;
        assert_eq!((unknown.status, unknown.body.as_str()), (200, ""));
    })
    .await;
}

#[tokio::test]
async fn checklist_29_a_revocation_answers_a_script() {
    on_sqlite("", async |server| {
        let client = register(server, "jsonp", json!({})).await;
        let token = client.application_token(server).await;
        let reply = client.revoke(server, &[("token", &token), ("callback", "cb")]).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "cb();"), "{reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/javascript"));
        assert_eq!(reply.header("revokedaccesstoken"), Some(token.as_str()));
        assert!(!server.is_active(&token).await);
        let wrong = Registered { secret: "wrong".to_owned(), ..client.clone() };
        let refused = wrong.revoke(server, &[("token", &token), ("callback", "my.fn_1$")]).await;
        let json = refused.body.strip_prefix("my.fn_1$(").and_then(|rest| rest.strip_suffix(");"));
        let json: Value = serde_json::from_str(json.unwrap_or_else(|| panic!("{refused:?}"))).unwrap();
        assert_eq!((refused.status, &json["error"]), (401, &json!("invalid_client")));
        // No script of the caller's in our name.
        for callback in ["alert(1)//", "a;b", "<b>", "1a", &"a".repeat(101)] {
            let reply = client.revoke(server, &[("token", "unknown"), ("callback", callback)]).await;
            assert_eq!((reply.status, reply.body.as_str()), (200, ""), "{callback}");
            assert_eq!(reply.header("content-type"), Some("text/html"));
        }
    })
    .await;
}

#[tokio::test]
async fn checklist_31_the_issuer_is_the_same_everywhere() {
    on_sqlite("", async |server| {
        let client = register(server, "issuer", json!({ "token_type_extension": "JWT" })).await;
        let issued_by = claims(&client.application_token(server).await)["iss"].clone();
        for name in ["token", "oidcdiscovery"] {
            let metadata = get(server, &format!("/oauth2/{name}/.well-known/openid-configuration")).await;
            assert_eq!(metadata.json()["issuer"], issued_by, "{name}");
        }
    })
    .await;
}

/// The four resources below a client that the old list of rules forgot are among the routes asked here (rest-3x.md 6.1).
#[tokio::test]
async fn checklist_38_without_credentials_there_is_401() {
    on_sqlite("", async |server| {
        let guarded = ["/keymanager-operations/", "/api/", "/internal/"];
        let mut asked = 0;
        for entry in server.routes().iter().filter(|entry| guarded.iter().any(|start| entry.path.starts_with(start))) {
            // The portal's own lists have an anonymous half; nothing of the key manager has.
            if entry.path.starts_with("/api/am/") {
                continue;
            }
            let path = entry.path.replace(['{', '}'], "");
            let reply = server.request(entry.method.clone(), &path).call().await;
            assert_eq!(reply.status, 401, "{entry:?}: {reply:?}");
            asked += 1;
        }
        assert!(asked >= 20, "{asked}");
        let forgotten = ["change-owner", "regenerate-consumer-secret", "generate-secret"];
        for name in forgotten {
            let reply = server.post(&format!("{}/{name}", super::raw("x"))).call().await;
            assert_eq!(reply.status, 401, "{name}");
        }
        assert_eq!(server.post("/keymanager-operations/revoke-one-time-token").call().await.status, 401);
    })
    .await;
}
