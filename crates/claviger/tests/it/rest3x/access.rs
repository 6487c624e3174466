//! Statements 39 and 40: the operator's access rules beside the built-in ones, and bearer tokens at guarded routes (rest-3x.md
//! 6.1, 6.2, 8.5).

use super::{REGISTER, call, get, post, raw};
use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Database, Options, Registered, Reply, Server, insert_tenant, insert_user,
    on_sqlite, permit, raw_status, register,
};
use claviger::cli::{EXIT_OK, config_check};
use claviger::http::access::Rule;
use claviger::server::Listeners;
use claviger_proto::ids::TenantId;
use reqwest::Method;
use serde_json::{Value, json};

const INTROSPECT: &str = "/oauth2/introspect";
const SCOPES: &str = "/api/identity/oauth2/v1.0/scopes";
const VIEWER: (&str, &str) = ("viewer", "v");

/// The access rules and the rewriting that the upgrade guide of 3.2 has an operator add, as facts: (context, method, what is
/// below `/permission/admin/manage/identity/`, scope).
const DOCUMENTED: [(&str, &str, &str, &str); 6] = [
    ("(.)/keymanager-operations/user-info/claims(.)", "GET", "usermgt/list", "internal_user_mgt_list"),
    ("(.*)/keymanager-operations/user-info/claims/generate", "POST", "usermgt/list", "internal_user_mgt_list"),
    ("(.*)/keymanager-operations/dcr/register", "POST", "applicationmgt/create", "internal_application_mgt_create"),
    ("(.*)/keymanager-operations/dcr/register(.*)", "GET", "applicationmgt/view", "internal_application_mgt_view"),
    ("(.*)/keymanager-operations/dcr/register(.*)", "PUT", "applicationmgt/update", "internal_application_mgt_update"),
    (
        "(.*)/keymanager-operations/dcr/register(.*)",
        "DELETE",
        "applicationmgt/delete",
        "internal_application_mgt_delete",
    ),
];

fn documented() -> String {
    let rule = |(context, method, permission, scope): &(&str, &str, &str, &str)| {
        format!(
            "[[resource.access_control]]\ncontext = \"{context}\"\nsecure = true\nhttp_method = \"{method}\"\n\
             permissions = \"/permission/admin/manage/identity/{permission}\"\nscopes = \"{scope}\"\n"
        )
    };
    let rules: Vec<String> = DOCUMENTED.iter().map(rule).collect();
    format!("{}\n[tenant_context.rewrite]\ncustom_webapps = [\"/keymanager-operations/\"]\n", rules.join("\n"))
}

/// A user who may look at clients and scopes, and nothing else.
async fn insert_viewer(server: &Server) {
    insert_user(server, TenantId::SUPER, VIEWER.0, VIEWER.1, &["Internal/creator"]).await;
    permit(server, TenantId::SUPER, "creator", "/permission/admin/manage/identity/applicationmgt/view").await;
}

async fn ask(server: &Server, method: Method, path: &str, (user, password): (&str, &str)) -> Reply {
    server.request(method, path).basic_auth(user, Some(password)).call().await
}

async fn ask_with(server: &Server, token: &str, path: &str) -> Reply {
    server.get(path).bearer_auth(token).call().await
}

/// A user's token with a scope.
async fn token_of(server: &Server, client: &Registered, (user, password): (&str, &str), scope: &str) -> String {
    let form = [("grant_type", "password"), ("username", user), ("password", password), ("scope", scope)];
    client.issue(server, &form).await.text("access_token")
}

/// The documented listener, whose header names a key manager that API Manager does not know.
const LISTENER: &str = "[super_admin]\nusername = \"admin\"\npassword = \"some-password\"\n\n[[event_listener]]\nid = \"token_revocation\"\n\
     type = \"org.wso2.carbon.identity.core.handler.AbstractIdentityHandler\"\n\
     name = \"org.wso2.is.notification.ApimOauthEventInterceptor\"\norder = 1\n\n[event_listener.properties]\n\
     notification_endpoint = \"https://localhost:9443/internal/data/v1/notify\"\nusername = \"${admin.username}\"\n\
     password = \"${admin.password}\"\n'header.X-WSO2-KEY-MANAGER' = \"WSO2IS\"\n\n";

#[tokio::test]
async fn checklist_39_the_documented_file_is_loaded_and_explained() {
    let directory = crate::harness::Directory::new();
    let file = directory.path().join("deployment.toml");
    let text = format!("{LISTENER}{}", documented());
    std::fs::write(&file, &text).unwrap();
    let mut out = Vec::new();
    assert_eq!(config_check(&file, &|_| None, &mut out).unwrap(), EXIT_OK);
    let out = String::from_utf8(out).unwrap();
    let line_of = |index: usize| {
        let line = format!("context = \"{}\"", DOCUMENTED[index].0);
        text.lines().position(|own| own == line).unwrap() + 1
    };
    let warnings: Vec<&str> = out.lines().filter(|line| line.starts_with("warning: ")).collect();
    let expected = format!(
        "warning: line {}: access rule `(.)/keymanager-operations/user-info/claims(.)` (GET): no path ever matches, because \
         `(.)` stands for exactly one character (`(.*)` was meant?); built-in rules protect GET \
         /keymanager-operations/user-info/claims",
        line_of(0)
    );
    assert_eq!(warnings.len(), 2, "{out}");
    assert!(warnings.contains(&expected.as_str()), "{out}");
    let header = format!("warning: line {}: ", LISTENER.trim_end().lines().count());
    let of_header = warnings.iter().find(|line| line.starts_with(&header)).unwrap_or_else(|| panic!("{out}"));
    assert!(of_header.contains("`WSO2IS`"), "{of_header}");
    // The third rule ends too early; what it leaves out has a rule of its own.
    let start = format!("note: line {}: access rule ", line_of(2));
    let ends = out.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{out}"));
    let alone = "the rule ends with its path: built-in rules alone protect POST /keymanager-operations/dcr/register/{client_id}/";
    assert!(ends.contains(alone), "{ends}");
    // And the server that runs with them is as closed as without.
    let sections: &'static str = documented().leak();
    let server = Server::start(&Database::Sqlite, Options { sections, ..Options::default() }).await;
    let made = post(&server, REGISTER, &json!({ "client_name": "a", "grant_types": ["client_credentials"] })).await;
    assert_eq!(made.status, 201, "{made:?}");
    let client = raw(&made.text("client_id"));
    for (method, path) in [
        (Method::GET, "/keymanager-operations/user-info/claims?username=admin".to_owned()),
        (Method::POST, format!("{client}/change-owner")),
        (Method::POST, format!("{client}/regenerate-consumer-secret")),
        (Method::POST, format!("{client}/generate-secret")),
        (Method::GET, client),
    ] {
        assert_eq!(server.request(method.clone(), &path).call().await.status, 401, "{path}");
        assert!(!matches!(call(&server, method, &path, None).await.status, 401 | 403), "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn checklist_40_a_rule_names_methods_permissions_and_scopes_as_text_or_list() {
    const RULES: &str = "[[resource.access_control]]\ncontext = '(.*)/v1.0/scopes'\nhttp_method = 'GET, HEAD'\n\
         permissions = ['/permission/admin/manage/identity/applicationmgt/view', '/permission/special']\n\
         scopes = ['internal_application_mgt_view', 'special']\n\
         [[resource.access_control]]\ncontext = '(.*)/dcr/register/(.*)'\nhttp_method = 'all'\n\
         permissions = '/permission/admin/manage/identity/applicationmgt/view, /permission/special'\n\
         scopes = 'internal_application_mgt_view, special'\n";
    on_sqlite(RULES, async |server| {
        insert_viewer(server).await;
        let client = register(server, "scoped", json!({})).await;
        let scope = json!({ "name": "a", "displayName": "d" });
        assert_eq!(post(server, SCOPES, &scope).await.status, 201);
        let one = format!("{SCOPES}/name/a");
        let own = raw(&client.id);
        let paths = [(Method::GET, SCOPES), (Method::HEAD, SCOPES), (Method::GET, own.as_str())];
        for (method, path) in paths {
            assert_eq!(ask(server, method.clone(), path, VIEWER).await.status, 403, "{method} {path}");
            assert_eq!(ask(server, method.clone(), path, (ADMIN, ADMIN_PASSWORD)).await.status, 200, "{method} {path}");
            // A token needs every scope.
            for (scopes, status) in
                [("internal_application_mgt_view special", 200), ("internal_application_mgt_view", 403)]
            {
                let token = token_of(server, &client, (ADMIN, ADMIN_PASSWORD), scopes).await;
                let reply = server.request(method.clone(), path).bearer_auth(token).call().await;
                assert_eq!(reply.status, status, "{method} {path} {scopes}");
            }
        }
        // Another path, and another method of the same path.
        assert_eq!(ask(server, Method::GET, &one, VIEWER).await.status, 200);
        permit(server, TenantId::SUPER, "creator", "/permission/admin/manage/identity/applicationmgt/create").await;
        insert_user(server, TenantId::SUPER, "maker", "m", &["Internal/creator"]).await;
        let made = server.post(SCOPES).basic_auth("maker", Some("m")).json(&json!({ "name": "b", "displayName": "d" }));
        assert_eq!(made.call().await.status, 201);
    })
    .await;
}

/// Whatever the operator's rules open, the routes' own stay.
#[tokio::test]
async fn no_rule_opens_what_is_protected() {
    const RULES: &str = "[resource_access_control]\ndefault_access_allow = true\n\
         [[resource.access_control]]\ncontext = '(.*)'\nsecure = false\nhttp_method = 'all'\ncross_tenant = true\n";
    on_sqlite(RULES, async |server| {
        insert_tenant(server, "acme.com").await;
        let mut asked = 0;
        for entry in server.routes() {
            let path = entry.path.replace(['{', '}'], "");
            if matches!(entry.rule, Rule::Permission(_) | Rule::Portal(_) | Rule::BasicUser | Rule::TenantAdministrator)
            {
                for path in [path.clone(), format!("/t/acme.com{path}")] {
                    let reply = server.request(entry.method.clone(), &path).call().await;
                    assert!(matches!(reply.status, 401 | 404), "{path}: {reply:?}");
                    asked += 1;
                }
            }
        }
        assert!(asked > 50, "{asked}");
        assert_eq!(server.get("/oauth2/jwks").call().await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_rule_closes_what_is_open() {
    const RULES: &str = "[[resource.access_control]]\ncontext = '(.*)/jwks'\n\
         [[resource.access_control]]\ncontext = '(.*)/\\.well-known/(.*)'\npermissions = 'none'\ncross_tenant = true\n\
         [[resource.access_control]]\ncontext = '/t/acme.com/oauth2/(.*)'\nhttp_method = 'POST'\npermissions = '/permission/special'\n";
    on_sqlite(RULES, async |server| {
        let tenant = insert_tenant(server, "acme.com").await;
        insert_user(server, tenant, "bob", "b", &[]).await;
        let (bob, admin) = (("bob@acme.com", "b"), (ADMIN, ADMIN_PASSWORD));
        let status = async |path: &str, who| ask(server, Method::GET, path, who).await.status;
        let metadata = "/oauth2/token/.well-known/openid-configuration";
        for path in ["/oauth2/jwks", "/t/acme.com/oauth2/jwks", metadata] {
            let refused = server.get(path).call().await;
            assert_eq!((refused.status, refused.header("www-authenticate").is_some()), (401, true), "{path}");
            assert_eq!(status(path, ("bob@acme.com", "wrong")).await, 401, "{path}");
        }
        assert_eq!(status("/oauth2/jwks", admin).await, 200);
        assert_eq!(status("/oauth2/jwks", bob).await, 401, "of another tenant");
        assert_eq!(status("/t/acme.com/oauth2/jwks", bob).await, 200);
        assert_eq!(status("/t/acme.com/oauth2/jwks", admin).await, 401, "of another tenant");
        assert_eq!(status(metadata, bob).await, 200, "cross_tenant");
        let client = register(server, "closed", json!({})).await;
        assert_eq!(client.token(server, &[("grant_type", "client_credentials")]).await.status, 200);
        let below = server.post("/t/acme.com/oauth2/token").basic_auth("bob@acme.com", Some("b"));
        assert_eq!(below.form(&[("grant_type", "client_credentials")]).call().await.status, 403);
    })
    .await;
}

#[tokio::test]
async fn bearer_tokens_open_what_their_scopes_and_their_user_may() {
    on_sqlite("", async |server| {
        insert_viewer(server).await;
        let tenant = insert_tenant(server, "acme.com").await;
        insert_user(server, tenant, "boss", "b", &["admin"]).await;
        for token_type in ["Default", "JWT"] {
            let client = register(server, token_type, json!({ "token_type_extension": token_type })).await;
            let one = raw(&client.id);
            let view = "internal_application_mgt_view";
            let admin = token_of(server, &client, (ADMIN, ADMIN_PASSWORD), view).await;
            assert_eq!(ask_with(server, &admin, &one).await.status, 200, "{token_type}");
            let seen = server.post(INTROSPECT).bearer_auth(&admin).form(&[("token", &admin)]).call().await;
            assert_eq!((seen.status, &seen.json()["active"]), (200, &json!(true)), "{token_type}");
            // Its own scope and no other; and not what has none.
            assert_eq!(server.request(Method::DELETE, &one).bearer_auth(&admin).call().await.status, 403);
            assert_eq!(ask_with(server, &admin, "/internal/claviger/v1/snapshot").await.status, 403, "{token_type}");
            let other =
                token_of(server, &client, (ADMIN, ADMIN_PASSWORD), "INTERNAL_APPLICATION_MGT_VIEW orders").await;
            assert_eq!(ask_with(server, &other, &one).await.status, 403, "{token_type}");
            // The tenant is the user's: no header moves a token.
            for (path, header, status) in [
                (one.clone(), "carbon.super", 200),
                (one.clone(), "acme.com", 401),
                (format!("/t/acme.com{one}"), "", 401),
                (format!("/t/acme.com{one}"), "acme.com", 401),
            ] {
                let mut request = server.get(&path).bearer_auth(&admin);
                if !header.is_empty() {
                    request = request.header("x-wso2-tenant", header);
                }
                assert_eq!(request.call().await.status, status, "{token_type} {path} {header}");
            }
            // A client has not what its owner has.
            let form = [("grant_type", "client_credentials"), ("scope", view)];
            let own = client.issue(server, &form).await;
            assert_eq!(own.text("scope"), "default", "{token_type}");
            assert_eq!(ask_with(server, &own.text("access_token"), &one).await.status, 403, "{token_type}");
            client.revoke(server, &[("token", &admin)]).await;
            assert_eq!(ask_with(server, &admin, &one).await.status, 401, "{token_type}");
        }
        // What the user lost, his token does not have any more.
        let client = register(server, "lender", json!({})).await;
        let lent = token_of(server, &client, VIEWER, "internal_application_mgt_view").await;
        assert_eq!(ask_with(server, &lent, SCOPES).await.status, 200);
        let now = claviger_proto::time::Clock::now(&*server.clock);
        let write = server.app().store.write::<_, claviger_store::error::StoreError, _>(move |conn| {
            Box::pin(async move {
                claviger_store::users::delete_hybrid_role(conn, TenantId::SUPER, "creator").await?;
                conn.emit(claviger_proto::event::Event::UserChanged { username: VIEWER.0.to_owned() }, now).await?;
                Ok(())
            })
        });
        write.await.unwrap();
        assert_eq!(ask_with(server, &lent, SCOPES).await.status, 403);
    })
    .await;
}

/// What is no route is refused there like what is one, so that nobody learns what is served.
#[tokio::test]
async fn what_is_not_served_is_closed_too() {
    on_sqlite("", async |server| {
        insert_tenant(server, "acme.com").await;
        for path in [
            "/keymanager-operations",
            "/keymanager-operations/unknown",
            "/t/acme.com/keymanager-operations/unknown",
            "/api/unknown",
            "/api/am/unknown/v1",
            "/internal/unknown",
            "/oauth2/introspect/unknown",
        ] {
            assert_eq!(server.get(path).call().await.status, 401, "{path}");
            assert_eq!(ask(server, Method::GET, path, (ADMIN, "wrong")).await.status, 401, "{path}");
            assert_eq!(get(server, path).await.status, 404, "{path}");
        }
        assert_eq!(server.get(REGISTER).call().await.status, 401);
        assert_eq!(get(server, REGISTER).await.status, 405);
        assert_eq!(server.get("/nothing").call().await.status, 404);
        let json: Value = server.get("/api/am/unknown/v1").call().await.json();
        assert_eq!(json["description"], "Unauthenticated request");
    })
    .await;
}

#[tokio::test]
async fn a_rule_knows_its_path_in_every_spelling() {
    const RULES: &str = "[[resource.access_control]]\ncontext = '(.*)/dcr/register/guarded_client_01'\n\
         permissions = '/permission/special'\n";
    let listeners = Listeners::ephemeral().await.unwrap();
    let port = listeners.management_http.as_ref().unwrap().local_addr().unwrap().port();
    let options = Options { sections: RULES, listeners: Some(listeners), ..Options::default() };
    let server = Server::start(&Database::Sqlite, options).await;
    insert_viewer(&server).await;
    register(&server, "guarded", json!({ "ext_param_client_id": "guarded_client_01" })).await;
    for (path, viewer, admin) in [
        ("/keymanager-operations/dcr/register/guarded_client_01", 403, 200),
        ("/keymanager-operations/dcr/register/%67uarded_client_01", 403, 200),
        ("/keymanager-operations/dcr/register/guarded_client_0%31", 403, 200),
        ("/keymanager-operations/dcr/register/guarded%5Fclient%5f01", 403, 200),
        ("/t/carbon.super/keymanager-operations/dcr/register/%67uarded_client_01", 403, 200),
        // Spelt otherwise a route is none.
        ("/keymanager-operations/dcr/%72egister/guarded_client_01", 404, 404),
        ("/keymanager-operations/dcr/register/guarded_client_01/", 404, 404),
        ("/keymanager-operations/dcr/register//guarded_client_01", 400, 400),
        ("/keymanager-operations/dcr/register/./guarded_client_01", 400, 400),
        ("/keymanager-operations/dcr/register/x/../guarded_client_01", 400, 400),
        ("/keymanager-operations/dcr/register/x/%2e%2E/guarded_client_01", 400, 400),
        ("/keymanager-operations/dcr/register/guarded_client_01;x=1", 400, 400),
        ("/keymanager-operations/dcr/register%2fguarded_client_01", 400, 400),
        ("/keymanager-operations/dcr/register/%2567uarded_client_01", 401, 401),
        ("/keymanager-operations/dcr/register/guarded_client_01%00", 400, 400),
        ("/keymanager-operations\\dcr/register/guarded_client_01", 400, 400),
    ] {
        assert_eq!(raw_status(port, &Method::GET, path, VIEWER).await, viewer, "{path}");
        assert_eq!(raw_status(port, &Method::GET, path, (ADMIN, ADMIN_PASSWORD)).await, admin, "{path}");
    }
    server.stop().await;
}
