//! Statement 30: what discovery names, and the one endpoint there that nothing else tests, `/oauth2/userinfo` (rest-3x.md 1.12,
//! 1.13).

use super::codes::{CALLBACK, register_for_codes, request_of};
use crate::harness::{
    ADMIN, Browser, Call as _, Registered, Reply, Server, insert_user, on_every_engine, on_sqlite, register,
    remove_user,
};
use claviger_proto::ids::TenantId;
use claviger_store::error::StoreError;
use claviger_store::sql::Sql;
use serde_json::json;

const USERINFO: &str = "/oauth2/userinfo";

#[tokio::test]
async fn checklist_30_discovery_names_what_is_imported() {
    on_sqlite("", async |server| {
        for (tenant, name) in [("", "token"), ("", "oidcdiscovery"), ("/t/carbon.super", "token")] {
            let path = format!("{tenant}/oauth2/{name}/.well-known/openid-configuration");
            let metadata = server.get(&path).call().await.json();
            for (member, path) in [
                ("issuer", "/oauth2/token"),
                ("authorization_endpoint", "/oauth2/authorize"),
                ("token_endpoint", "/oauth2/token"),
                ("jwks_uri", "/oauth2/jwks"),
                ("userinfo_endpoint", USERINFO),
                ("introspection_endpoint", "/oauth2/introspect"),
                ("revocation_endpoint", "/oauth2/revoke"),
                ("registration_endpoint", "/keymanager-operations/dcr/register"),
            ] {
                assert_eq!(metadata[member], format!("{}{path}", server.base_path), "{member} at {name}");
            }
            let grants = metadata["grant_types_supported"].as_array().unwrap();
            for grant in ["authorization_code", "client_credentials", "password", "refresh_token"] {
                assert!(grants.contains(&json!(grant)), "{grants:?}");
            }
            assert_eq!(metadata["response_types_supported"], json!(["code"]));
            assert_eq!(metadata["code_challenge_methods_supported"], json!(["S256", "plain"]));
        }
    })
    .await;
}

async fn ask(server: &Server, token: &str) -> Reply {
    server.get(USERINFO).bearer_auth(token).call().await
}

#[track_caller]
fn check_refused(reply: &Reply, status: u16, error: &str, text: &str) {
    reply.check_error(status, error, text);
    assert_eq!(reply.header("www-authenticate"), Some(format!("Bearer error=\"{error}\"").as_str()), "{reply:?}");
}

async fn set_attribute(server: &Server, name: &'static str, value: &'static str) {
    static INSERT: Sql = Sql::new(
        "INSERT INTO UM_USER_ATTRIBUTE (UM_ATTR_NAME, UM_ATTR_VALUE, UM_PROFILE_ID, UM_USER_ID, UM_TENANT_ID) \
         SELECT ?, ?, 'default', UM_ID, UM_TENANT_ID FROM UM_USER WHERE UM_USER_NAME = 'dora' AND UM_TENANT_ID = ?",
        &[],
    );
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        Box::pin(async move { conn.execute(&INSERT, &[name.into(), value.into(), TenantId::SUPER.into()]).await })
    });
    write.await.unwrap();
}

async fn token(server: &Server, client: &Registered, scope: &str) -> String {
    let mut parameters = request_of(client);
    parameters[4].1 = scope;
    let code = Browser::new(server).code(&parameters, ("dora", "p")).await;
    let form = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", CALLBACK)];
    client.issue(server, &form).await.text("access_token")
}

#[tokio::test]
async fn checklist_30_a_user_shows_what_the_scopes_open() {
    on_every_engine("", async |server| {
        insert_user(server, TenantId::SUPER, "dora", "p", &[]).await;
        for (name, value) in
            [("mail", "dora@acme.com"), ("givenName", "Dora"), ("localityName", "Colombo"), ("mobile", "1")]
        {
            set_attribute(server, name, value).await;
        }
        for token_type in ["Default", "JWT"] {
            let more = json!({ "token_type_extension": token_type });
            let client = register_for_codes(server, &format!("info-{token_type}"), more).await;
            for (scope, expected) in [
                ("openid", json!({ "sub": "dora" })),
                ("openid email", json!({ "sub": "dora", "email": "dora@acme.com" })),
                (
                    "openid profile address phone",
                    json!({ "sub": "dora", "given_name": "Dora", "address": { "locality": "Colombo" } }),
                ),
            ] {
                let reply = ask(server, &token(server, &client, scope).await).await;
                assert_eq!((reply.status, reply.json()), (200, expected), "{scope} {}", server.engine);
                assert_eq!(reply.header("cache-control"), Some("no-store"));
            }
            let text = "Access token does not have the openid scope";
            check_refused(&ask(server, &token(server, &client, "email").await).await, 403, "insufficient_scope", text);
            let good = token(server, &client, "openid").await;
            let posted = server.post(USERINFO).form(&[("access_token", &good)]).call().await;
            assert_eq!(posted.json(), json!({ "sub": "dora" }));
            // A token in an address is none, and a broken header is not made up for.
            let address = format!("{USERINFO}?access_token={good}");
            check_refused(&server.get(&address).call().await, 400, "invalid_request", "Bearer token missing");
            let request = server.post(USERINFO).header("authorization", "Basic x").form(&[("access_token", &good)]);
            check_refused(&request.call().await, 400, "invalid_request", "Bearer token missing");
            assert_eq!(client.revoke(server, &[("token", &good)]).await.status, 200);
            check_refused(&ask(server, &good).await, 401, "invalid_token", "Access token validation failed");
        }
        let client = register(server, "application", json!({})).await;
        let form = [("grant_type", "client_credentials"), ("scope", "openid")];
        let own = client.issue(server, &form).await.text("access_token");
        let text = "Access token is not valid. No authorized user found. Invalid grant";
        check_refused(&ask(server, &own).await, 401, "invalid_token", text);
        assert!(!ask(server, &own).await.body.contains(ADMIN));
        let client = register_for_codes(server, "gone", json!({})).await;
        let left = token(server, &client, "openid").await;
        remove_user(server, TenantId::SUPER, "dora").await;
        check_refused(&ask(server, &left).await, 401, "invalid_token", text);
        check_refused(&server.get(USERINFO).call().await, 400, "invalid_request", "Bearer token missing");
    })
    .await;
}
