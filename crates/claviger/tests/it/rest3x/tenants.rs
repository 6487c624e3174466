//! Statements 2, 36 and 37: tenants, by the path and by the header of API-M (rest-3x.md 0.3, 6.3, 8.5).

use super::{REGISTER, call, get, post};
use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Registered, Reply, Server, insert_tenant, insert_user, on_every_engine,
    on_sqlite, register,
};
use claviger::http::access::Rule;
use claviger_proto::ids::TenantId;
use reqwest::Method;
use serde_json::{Value, json};

const BOSS: (&str, &str) = ("boss@acme.com", "boss's");
const SUPER: (&str, &str) = (ADMIN, ADMIN_PASSWORD);
const INTROSPECT: &str = "/oauth2/introspect";

/// The tenant acme.com with an administrator and a user without rights.
async fn insert_acme(server: &Server) -> TenantId {
    let tenant = insert_tenant(server, "acme.com").await;
    insert_user(server, tenant, "boss", BOSS.1, &["admin"]).await;
    insert_user(server, tenant, "bob", "bob's", &["Internal/subscriber"]).await;
    tenant
}

/// A call by somebody, with a tenant in the header or none.
async fn ask(server: &Server, (user, password): (&str, &str), header: &str, path: &str, body: Option<&Value>) -> Reply {
    let method = if body.is_some() { Method::POST } else { Method::GET };
    let mut request = server.request(method, path).basic_auth(user, Some(password));
    if !header.is_empty() {
        request = request.header("x-wso2-tenant", header);
    }
    match body {
        Some(body) => request.json(body).call().await,
        None => request.call().await,
    }
}

fn order(name: &str, owner: &str) -> Value {
    json!({
        "client_name": name, "grant_types": ["client_credentials", "password"], "redirect_uris": [],
        "ext_application_owner": owner, "token_type_extension": "JWT",
    })
}

#[tokio::test]
async fn checklist_02_a_name_is_taken_in_its_tenant_only() {
    on_every_engine("", async |server| {
        insert_acme(server).await;
        assert_eq!(post(server, REGISTER, &order("shared", ADMIN)).await.status, 201);
        let taken = post(server, REGISTER, &order("shared", ADMIN)).await;
        assert_eq!((taken.status, taken.text("code").as_str()), (400, "invalid_client_metadata"), "{}", server.engine);
        let path = format!("/t/acme.com{REGISTER}");
        let other = ask(server, SUPER, "acme.com", &path, Some(&order("shared", "bob"))).await;
        assert_eq!(other.status, 201, "{}: {other:?}", server.engine);
        assert_eq!(other.text("ext_application_owner"), "bob");
        let taken = ask(server, BOSS, "acme.com", &path, Some(&order("shared", "bob"))).await;
        assert_eq!(taken.status, 400, "{}: {taken:?}", server.engine);
        // The client works, and speaks for a user of its tenant.
        let client = Registered { id: other.text("client_id"), secret: other.text("client_secret") };
        let issued = client.application_token(server).await;
        assert_eq!(server.introspect(&issued).await["username"], "bob@acme.com", "{}", server.engine);
        let form = [("grant_type", "password"), ("username", "bob@acme.com"), ("password", "bob's")];
        assert_eq!(client.token(server, &form).await.status, 200, "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn checklist_36_the_administrator_acts_in_a_tenant() {
    on_every_engine("", async |server| {
        insert_acme(server).await;
        let own = register(server, "of-super", json!({})).await;
        // By path and header together, as API-M asks, and by the header alone, where an endpoint was configured without a tenant.
        for (number, prefix) in ["/t/acme.com", "/t/ACME.com", ""].into_iter().enumerate() {
            let register = format!("{prefix}{REGISTER}");
            let made = ask(server, SUPER, "acme.com", &register, Some(&order(&format!("app{number}"), "bob"))).await;
            assert_eq!(made.status, 201, "{prefix}: {made:?}");
            let one = format!("{register}/{}", made.text("client_id"));
            assert_eq!(ask(server, SUPER, "acme.com", &one, None).await.status, 200, "{prefix}");
            // It is nobody's but the tenant's; and the tenant sees no other.
            assert_eq!(get(server, &format!("{REGISTER}/{}", made.text("client_id"))).await.status, 401, "{prefix}");
            let foreign = format!("{register}/{}", own.id);
            assert_eq!(ask(server, SUPER, "acme.com", &foreign, None).await.status, 401, "{prefix}");
            // A user of the super tenant is none of this one, with and without his tenant's name.
            for owner in [ADMIN, "admin@carbon.super", "boss@carbon.super"] {
                let reply = ask(server, SUPER, "acme.com", &register, Some(&order("x", owner))).await;
                assert_eq!(reply.status, 400, "{prefix} {owner}: {reply:?}");
            }
            let scopes = format!("{prefix}/api/identity/oauth2/v1.0/scopes");
            let scope = json!({ "name": format!("s{number}"), "displayName": "d" });
            assert_eq!(ask(server, SUPER, "acme.com", &scopes, Some(&scope)).await.status, 201, "{prefix}");
            let claims = format!("{prefix}/keymanager-operations/user-info/claims?username=bob");
            assert_eq!(ask(server, SUPER, "acme.com", &claims, None).await.status, 200, "{prefix}");
        }
        assert_eq!(get(server, "/api/identity/oauth2/v1.0/scopes").await.json(), json!([]), "{}", server.engine);
        // The switch is needed: the path alone does not make him one of theirs.
        assert_eq!(ask(server, SUPER, "", &format!("/t/acme.com{REGISTER}/x"), None).await.status, 401);
        let refused = ask(server, SUPER, "acme.com", &format!("/t/carbon.super{REGISTER}/x"), None).await;
        assert_eq!((refused.status, refused.header("www-authenticate").is_some()), (401, true));
        let unknown = ask(server, SUPER, "nowhere.com", REGISTER, Some(&order("x", ADMIN))).await;
        assert_eq!((unknown.status, unknown.header("www-authenticate").is_some()), (401, true), "{unknown:?}");
        for path in [format!("/t/nowhere.com{REGISTER}"), "/t/nowhere.com/oauth2/jwks".to_owned()] {
            let unknown = ask(server, SUPER, "nowhere.com", &path, None).await;
            let text = "invalid tenant domain : nowhere.com";
            let expected = json!({ "code": 404, "message": text, "description": text });
            assert_eq!((unknown.status, unknown.json()), (404, expected), "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn checklist_37_other_tenants_are_refused() {
    on_sqlite("", async |server| {
        insert_acme(server).await;
        let other = insert_tenant(server, "other.com").await;
        insert_user(server, other, "boss", "other's", &["admin"]).await;
        insert_user(server, TenantId::SUPER, "second", "s", &["admin"]).await;
        let path = format!("/t/acme.com{REGISTER}");
        let status =
            async |who, header, path: &str| ask(server, who, header, path, Some(&order("x", "nobody"))).await.status;
        // At home, with and without the header: refused for the owner, not for himself.
        assert_eq!(status(BOSS, "", &path).await, 400);
        assert_eq!(status(BOSS, "acme.com", &path).await, 400);
        for header in ["other.com", "carbon.super", "nowhere.com", "acme.com, other.com"] {
            assert_eq!(status(BOSS, header, &path).await, 401, "{header}");
            assert_eq!(status(BOSS, header, REGISTER).await, 401, "{header}");
        }
        assert_eq!(status(BOSS, "acme.com", REGISTER).await, 401, "the super tenant's path");
        assert_eq!(status(("boss@other.com", "other's"), "", &path).await, 401);
        assert_eq!(status(("boss@other.com", "other's"), "acme.com", &path).await, 401);
        // Only the configured administrator switches, whatever his role is.
        assert_eq!(status(("second", "s"), "acme.com", &path).await, 401);
        assert_eq!(status(("second", "s"), "acme.com", REGISTER).await, 401);
        assert_eq!(status(("second", "s"), "carbon.super", REGISTER).await, 400);
        assert_eq!(status(("bob@acme.com", "bob's"), "acme.com", &path).await, 403, "no permission");
        assert_eq!(status((ADMIN, "wrong"), "acme.com", &path).await, 401);
    })
    .await;
}

/// Every route with a permission, before it a tenant: nobody of another tenant gets in, and what has no tenants is not there.
#[tokio::test]
async fn every_guarded_route_knows_its_tenant() {
    on_sqlite("", async |server| {
        insert_acme(server).await;
        insert_tenant(server, "other.com").await;
        let mut asked = 0;
        for entry in server.routes().iter().filter(|entry| matches!(entry.rule, Rule::Permission(_))) {
            let path = entry.path.replace(['{', '}'], "");
            let send = async |who: (&str, &str), header: &str, path: String| {
                let request = server.request(entry.method.clone(), &path).basic_auth(who.0, Some(who.1));
                if header.is_empty() {
                    request.call().await
                } else {
                    request.header("x-wso2-tenant", header).call().await
                }
            };
            let has_tenants =
                ["/oauth2/", "/keymanager-operations/", "/api/identity/"].iter().any(|it| path.starts_with(it));
            if !has_tenants {
                assert_eq!(send(BOSS, "acme.com", format!("/t/acme.com{path}")).await.status, 404, "{entry:?}");
                assert_eq!(send(BOSS, "acme.com", path).await.status, 401, "{entry:?}");
                continue;
            }
            asked += 1;
            for (who, header, prefix) in [
                (BOSS, "", ""),
                (BOSS, "acme.com", ""),
                (BOSS, "carbon.super", ""),
                (BOSS, "", "/t/other.com"),
                (BOSS, "other.com", "/t/other.com"),
                (BOSS, "acme.com", "/t/carbon.super"),
                (("bob@acme.com", "bob's"), "acme.com", "/t/acme.com"),
                (SUPER, "", "/t/acme.com"),
                (SUPER, "other.com", "/t/acme.com"),
            ] {
                let reply = send(who, header, format!("{prefix}{path}")).await;
                let is_refused = reply.header("www-authenticate").is_some_and(|value| value.starts_with("realm user"));
                assert!(
                    matches!(reply.status, 401 | 403) && is_refused,
                    "{who:?} {header} {prefix} {entry:?}: {reply:?}"
                );
            }
            let home = send(BOSS, "acme.com", format!("/t/acme.com{path}")).await;
            assert_eq!(home.header("www-authenticate"), None, "{entry:?}: {home:?}");
        }
        assert!(asked >= 20, "{asked}");
    })
    .await;
}

#[tokio::test]
async fn a_tenant_sees_the_tokens_of_its_clients() {
    on_sqlite("", async |server| {
        insert_acme(server).await;
        let made = ask(server, BOSS, "", &format!("/t/acme.com{REGISTER}"), Some(&order("seen", "bob"))).await;
        let client = Registered { id: made.text("client_id"), secret: made.text("client_secret") };
        let (own, foreign) = (client.application_token(server).await, register(server, "foreign", json!({})).await);
        let foreign = foreign.application_token(server).await;
        let sees = async |who: (&str, &str), header: &str, path: &str, token: &str| {
            let mut request = server.post(path).basic_auth(who.0, Some(who.1));
            if !header.is_empty() {
                request = request.header("x-wso2-tenant", header);
            }
            let reply = request.form(&[("token", token)]).call().await;
            assert_eq!(reply.status, 200, "{reply:?}");
            reply.json()["active"].as_bool().unwrap()
        };
        let tenants = format!("/t/acme.com{INTROSPECT}");
        assert!(sees(BOSS, "", &tenants, &own).await && !sees(BOSS, "", &tenants, &foreign).await);
        assert!(sees(SUPER, "acme.com", &tenants, &own).await && !sees(SUPER, "acme.com", &tenants, &foreign).await);
        assert!(sees(SUPER, "", INTROSPECT, &own).await && sees(SUPER, "", INTROSPECT, &foreign).await);
        // Keys and tokens answer under the tenant's path too.
        let (with, without) = (get(server, "/t/acme.com/oauth2/jwks").await, get(server, "/oauth2/jwks").await);
        assert_eq!((with.status, &with.body), (200, &without.body));
        let token = server.post("/t/acme.com/oauth2/token").basic_auth(&client.id, Some(&client.secret));
        assert_eq!(token.form(&[("grant_type", "client_credentials")]).call().await.status, 200);
        for path in ["/t/acme.com/health/live", "/t/acme.com", "/t/acme.com/", "/t/acme.com/t/acme.com/oauth2/jwks"] {
            assert_eq!(call(server, Method::GET, path, None).await.status, 404, "{path}");
        }
        assert_eq!(call(server, Method::GET, "/t//oauth2/jwks", None).await.status, 400);
    })
    .await;
}

/// What a tenant's document names as its own, and that its issuer is the one of its tokens.
#[tokio::test]
async fn the_metadata_of_a_tenant() {
    on_sqlite("", async |server| {
        insert_acme(server).await;
        let made = ask(server, BOSS, "", &format!("/t/acme.com{REGISTER}"), Some(&order("issued", "bob"))).await;
        let client = Registered { id: made.text("client_id"), secret: made.text("client_secret") };
        let claims = crate::harness::claims(&client.application_token(server).await);
        for name in ["token", "oidcdiscovery"] {
            let path = format!("/oauth2/{name}/.well-known/openid-configuration");
            let own = get(server, &format!("/t/acme.com{path}")).await.json();
            let (of_super, by_name) = (get(server, &path).await.json(), format!("/t/carbon.super{path}"));
            assert_eq!(get(server, &by_name).await.json(), of_super);
            assert_eq!(own["issuer"], claims["iss"]);
            for (member, value) in own.as_object().unwrap() {
                if matches!(member.as_str(), "registration_endpoint" | "jwks_uri") {
                    let path = of_super[member].as_str().unwrap().strip_prefix(&server.base_path).unwrap();
                    assert_eq!(*value, format!("{}/t/acme.com{path}", server.base_path), "{member}");
                } else {
                    assert_eq!(*value, of_super[member], "{member}");
                }
            }
        }
        // The keys that the document leads to check the tenant's tokens.
        let head = format!("{}/t/acme.com", server.base_path);
        let keys = get(server, "/t/acme.com/oauth2/jwks").await;
        let document = get(server, "/t/acme.com/oauth2/token/.well-known/openid-configuration").await.json();
        assert_eq!(document["jwks_uri"], format!("{head}/oauth2/jwks"));
        let keys: claviger_proto::jose::JwkSet = serde_json::from_str(&keys.body).unwrap();
        let token = client.application_token(server).await;
        assert!(claviger_proto::jose::VerifyingKeys::new(&keys).verify(&token).is_ok());
    })
    .await;
}

/// `[tenant_context.rewrite]` adds paths; what is the server's or the portals' stays without tenants, whatever the list says.
#[tokio::test]
async fn paths_that_the_configuration_gives_to_tenants() {
    const LIST: &str = "[tenant_context.rewrite]\nwebapps = ['/oauth2/', '/health/', '/']\ncustom_webapps = '/keymanager-operations/'\n";
    on_sqlite(LIST, async |server| {
        insert_acme(server).await;
        assert_eq!(get(server, "/t/acme.com/health/live").await.status, 200);
        assert_eq!(get(server, "/t/nowhere.com/health/live").await.status, 404);
        assert_eq!(ask(server, BOSS, "", &format!("/t/acme.com{REGISTER}/x"), None).await.status, 401);
        let mut asked = 0;
        for entry in server.routes() {
            let is_of_nobody = match entry.rule {
                Rule::Permission(permission) => permission == claviger::http::access::ADMINISTER,
                Rule::Portal(_)
                | Rule::BasicUser
                | Rule::TenantAdministrator
                | Rule::PortalOrAnonymous
                | Rule::LoopbackOrPermission(_) => true,
                Rule::Public(_) | Rule::OAuthClient => false,
            };
            if is_of_nobody {
                let path = format!("/t/acme.com{}", entry.path.replace(['{', '}'], ""));
                let reply = server.request(entry.method.clone(), &path).basic_auth(BOSS.0, Some(BOSS.1)).call().await;
                assert_eq!(reply.status, 404, "{entry:?}: {reply:?}");
                asked += 1;
            }
        }
        assert!(asked > 50, "{asked}");
    })
    .await;
    on_sqlite("", async |server| {
        insert_acme(server).await;
        assert_eq!(get(server, "/t/acme.com/health/live").await.status, 404);
    })
    .await;
}
