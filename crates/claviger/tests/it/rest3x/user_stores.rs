//! Statements 25 and 35 for secondary user stores, as the files of an old installation name them (users-ldap.md 3.4, rest-3x.md 8.4).

use super::{REGISTER, get, post};
use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Browser, Call as _, Database, Home, Options, Registered, Relay, Reply, Server, UserDatabase,
    becomes_false, claims, databases, insert_tenant, insert_user, register, user_databases,
};
use crate::rest3x::codes::{register_for_codes, request_of};
use claviger_proto::ids::TenantId;
use claviger_store::error::StoreError;
use claviger_store::users;
use serde_json::{Value, json};

const CLAIMS: &str = "/keymanager-operations/user-info/claims";
const SCOPES: &str = "/api/identity/oauth2/v1.0/scopes";
/// The first tenant of a database.
const ACME: TenantId = TenantId(1);
const ANY_CASE: &str = "<Property name=\"CaseInsensitiveUsername\">true</Property>";

/// People of the store HR, in two tenants, and of SALES.
const HR: &[(TenantId, &str, &str, &[&str])] = &[
    (TenantId::SUPER, "ann", "ann's", &["dev"]),
    (TenantId::SUPER, "bob", "hr's bob", &[]),
    (ACME, "ann", "acme's ann", &["dev"]),
];
const SALES: &[(TenantId, &str, &str, &[&str])] =
    &[(TenantId::SUPER, "bob", "sales' bob", &[]), (TenantId::SUPER, "ann", "ann's", &[])];

/// Runs a case on every engine, with HR and SALES in databases of their own beside the server's.
async fn with_stores(case: impl AsyncFn(&Server)) {
    // Boxed: the future of every test would be as large.
    let stores = Box::pin(user_databases([HR, SALES])).await;
    for (database, [hr, sales]) in databases().await.into_iter().zip(stores) {
        let home = Home::new();
        home.write(TenantId::SUPER, "hr", &format!("{}{ANY_CASE}", hr.properties(None)));
        home.write(TenantId::SUPER, "sales", &sales.properties(None));
        home.write(ACME, "HR", &hr.properties(None));
        home.write(
            TenantId::SUPER,
            "off",
            &format!("{}<Property name=\"Disabled\">true</Property>", hr.properties(None)),
        );
        home.write_text(TenantId::SUPER, "broken", "<UserStoreManager class=");
        let options = Options { home: Some(home.path().to_owned()), ..Options::default() };
        let server = Box::pin(Server::start(&database, options)).await;
        insert_user(&server, TenantId::SUPER, "bob", "the first bob", &["dev"]).await;
        assert_eq!(insert_tenant(&server, "acme.com").await, ACME, "{}", server.engine);
        case(&server).await;
        server.stop().await;
        for database in [database, hr.database, sales.database] {
            database.remove().await;
        }
    }
}

async fn log_in(server: &Server, client: &Registered, user: &str, password: &str) -> Reply {
    client.token(server, &[("grant_type", "password"), ("username", user), ("password", password)]).await
}

/// Who an access token says its user is.
async fn name_of(server: &Server, reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}: {reply:?}", server.engine);
    let told = server.introspect(&reply.text("access_token")).await;
    assert_eq!(told["active"], true, "{told}");
    told["username"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn checklist_25_users_of_secondary_stores_log_in() {
    with_stores(async |server| {
        let client = register(server, "stores", json!({})).await;
        let first = log_in(server, &client, "HR/ann", "ann's").await;
        assert_eq!(name_of(server, &first).await, "HR/ann@carbon.super");
        for user in ["hr/ann@carbon.super", "HR/ANN", "ann", "ann@carbon.super"] {
            let again = log_in(server, &client, user, "ann's").await;
            assert_eq!(again.text("access_token"), first.text("access_token"), "{user}, {}: {again:?}", server.engine);
        }
        // The same name with the same password in another store, under its domain, is another user.
        let other = log_in(server, &client, "SALES/ann", "ann's").await;
        assert_eq!(name_of(server, &other).await, "SALES/ann@carbon.super");
        assert_ne!(other.text("access_token"), first.text("access_token"));
        let failed = [
            ("HR/ann", "wrong"),
            ("ann", "wrong"),
            ("NONE/ann", "ann's"),
            ("OFF/ann", "ann's"),
            ("BROKEN/ann", "ann's"),
            ("PRIMARY/ann", "ann's"),
            // This store's names are told apart by case.
            ("SALES/ANN", "ann's"),
            ("HR/nobody", "ann's"),
            ("SALES/ann@acme.com", "ann's"),
            ("HR/ann@acme.com", "ann's"),
            ("HR/ann@nowhere.com", "ann's"),
        ];
        for (user, password) in failed {
            let reply = log_in(server, &client, user, password).await;
            reply.check_error(400, "invalid_grant", &format!("Authentication failed for {user}"));
        }
        // The pair goes on, and ends, as everybody's.
        let refreshed = client.refresh(server, &first.text("refresh_token")).await;
        assert_eq!(name_of(server, &refreshed).await, "HR/ann@carbon.super");
        let token = refreshed.text("access_token");
        let revoked = client.revoke(server, &[("token", &token)]).await;
        assert_eq!(revoked.header("authorizeduser"), Some("HR/ann@carbon.super"), "{revoked:?}");
        assert!(!server.is_active(&token).await);
    })
    .await;
}

#[tokio::test]
async fn checklist_25_of_one_name_in_three_stores_the_password_tells() {
    with_stores(async |server| {
        let client = register(server, "three-bobs", json!({})).await;
        for (password, name) in [("the first bob", "bob"), ("hr's bob", "HR/bob"), ("sales' bob", "SALES/bob")] {
            let full = format!("{name}@carbon.super");
            for user in ["bob", name] {
                let reply = log_in(server, &client, user, password).await;
                assert_eq!(name_of(server, &reply).await, full, "{user}");
            }
            for other in ["PRIMARY/bob", "HR/bob", "SALES/bob"] {
                let is_his = other.trim_start_matches("PRIMARY/") == name;
                let status = log_in(server, &client, other, password).await.status;
                assert_eq!(status, if is_his { 200 } else { 400 }, "{other}: {password}, {}", server.engine);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn checklist_25_a_tenants_store_is_its_own() {
    with_stores(async |server| {
        insert_user(server, ACME, "boss", "boss's", &["admin"]).await;
        let order = json!({
            "client_name": "of-acme", "grant_types": ["password", "client_credentials"], "redirect_uris": [],
            "ext_application_owner": "HR/ann",
        });
        let path = format!("/t/acme.com{REGISTER}");
        let boss = server.post(&path).basic_auth("boss@acme.com", Some("boss's")).json(&order).call().await;
        assert_eq!(boss.status, 201, "{}: {boss:?}", server.engine);
        let client = Registered { id: boss.text("client_id"), secret: boss.text("client_secret") };
        for user in ["HR/ann@acme.com", "ann@acme.com"] {
            let reply = log_in(server, &client, user, "acme's ann").await;
            assert_eq!(name_of(server, &reply).await, "HR/ann@acme.com", "{user}");
        }
        // The application is its owner's, with his domain.
        let own = server.introspect(&client.application_token(server).await).await;
        assert_eq!(own["username"], "HR/ann@acme.com", "{own}");
    })
    .await;
}

#[tokio::test]
async fn checklist_25_roles_of_a_store_are_told_by_its_domain() {
    const LIST: &str = "/permission/admin/manage/identity/usermgt/list";
    with_stores(async |server| {
        let write = server.app().store.write::<_, StoreError, _>(|conn| {
            Box::pin(async move {
                users::grant(conn, TenantId::SUPER, "HR", "dev", LIST).await?;
                users::add_hybrid_role_in(conn, TenantId::SUPER, ("HR", "bob"), "writer").await?;
                // Of the same name in another store.
                users::add_hybrid_role_in(conn, TenantId::SUPER, ("SALES", "ann"), "writer").await
            })
        });
        write.await.unwrap();
        let claims = format!("{CLAIMS}?username=admin");
        for (user, password, status) in [
            ("HR/ann", "ann's", 200),
            ("ann", "ann's", 200),
            ("SALES/ann", "ann's", 403),
            // His role has that name too, in the primary store.
            ("PRIMARY/bob", "the first bob", 403),
            ("HR/ann", "wrong", 401),
        ] {
            let reply = server.get(&claims).basic_auth(user, Some(password)).call().await;
            assert_eq!(reply.status, status, "{user}, {}: {reply:?}", server.engine);
        }
        for (scope, role) in [("of-dev", "HR/dev"), ("of-writers", "Internal/writer")] {
            let made = post(server, SCOPES, &json!({ "name": scope, "displayName": scope, "bindings": [role] })).await;
            assert_eq!(made.status, 201, "{made:?}");
        }
        let client = register(server, "roles", json!({})).await;
        for (user, password, granted) in [
            ("HR/ann", "ann's", "of-dev"),
            ("HR/bob", "hr's bob", "of-writers"),
            ("SALES/ann", "ann's", "of-writers"),
            ("PRIMARY/bob", "the first bob", "default"),
        ] {
            let scope = ("scope", "of-dev of-writers");
            let form = [("grant_type", "password"), ("username", user), ("password", password), scope];
            let reply = client.issue(server, &form).await;
            assert_eq!(reply.text("scope"), granted, "{user}, {}", server.engine);
        }
    })
    .await;
}

#[tokio::test]
async fn checklist_25_the_login_page_and_a_jwt_name_the_store() {
    with_stores(async |server| {
        let client = register_for_codes(server, "pages", json!({ "token_type_extension": "JWT" })).await;
        for (user, password) in [("HR/ann", "ann's"), ("ann", "ann's")] {
            let browser = Browser::new(server);
            let code = browser.code(&request_of(&client), (user, password)).await;
            let callback = request_of(&client);
            let callback = callback.iter().find(|(name, _)| *name == "redirect_uri").unwrap().1;
            let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", callback)];
            let reply = client.issue(server, &form).await;
            assert_eq!(name_of(server, &reply).await, "HR/ann@carbon.super", "{user}");
            // As of every user of the super tenant, but never without the store: `ann` would be another user.
            assert_eq!(claims(&reply.text("access_token"))["sub"], "HR/ann");
        }
        let refused = Browser::new(server).log_in(&request_of(&client), ("HR/ann", "wrong")).await;
        assert!(refused.body.contains("data-page=\"login\""), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn checklist_25_a_store_that_is_down_is_down_for_its_users_only() {
    let stores = Box::pin(user_databases([HR])).await;
    for (database, [hr]) in databases().await.into_iter().zip(stores) {
        let home = Home::new();
        let mut way = Way::to(&hr).await;
        home.write(TenantId::SUPER, "hr", &hr.properties(way.port()));
        way.close(&hr).await;
        let options = Options { home: Some(home.path().to_owned()), ..Options::default() };
        let server = Box::pin(Server::start(&database, options)).await;
        insert_user(&server, TenantId::SUPER, "bob", "the first bob", &[]).await;
        let client = register(&server, "down", json!({})).await;
        let check_down = async || {
            // Who has the primary store's name and not his password is answered as who has no name there.
            for user in ["HR/ann", "ann", "nobody", "bob", ADMIN] {
                let reply = log_in(&server, &client, user, "ann's").await;
                assert_eq!(reply.status, 503, "{user}, {}: {reply:?}", server.engine);
                assert!(reply.header("retry-after").is_some(), "{reply:?}");
            }
            for (user, password) in
                [("bob", "the first bob"), ("bob@carbon.super", "the first bob"), (ADMIN, ADMIN_PASSWORD)]
            {
                assert_eq!(log_in(&server, &client, user, password).await.status, 200, "{user}, {}", server.engine);
            }
            for user in ["PRIMARY/bob", "PRIMARY/nobody", "OTHER/nobody"] {
                assert_eq!(log_in(&server, &client, user, "wrong").await.status, 400, "{user}, {}", server.engine);
            }
            assert_eq!(server.get("/health/ready").call().await.status, 200, "{}", server.engine);
        };
        check_down().await;
        way.open(&hr).await;
        let is_refused = async || log_in(&server, &client, "HR/ann", "ann's").await.status != 200;
        assert!(becomes_false(is_refused).await, "the store is back, {}", server.engine);
        // And once more, now that there are connections and a remembered login.
        if database.is_shared() {
            server.app().forget_everything();
            way.close(&hr).await;
            check_down().await;
            way.open(&hr).await;
            assert!(becomes_false(is_refused).await, "the store is back again, {}", server.engine);
        }
        server.stop().await;
        drop(way);
        database.remove().await;
        hr.database.remove().await;
    }
}

/// The way to a store's database, which can be closed: a relay, or the file's name.
enum Way {
    File,
    Relay(Relay),
}

impl Way {
    async fn to(store: &UserDatabase) -> Self {
        match store.database {
            Database::Sqlite => Self::File,
            _ => Self::Relay(Relay::start(store.database.port()).await),
        }
    }

    fn port(&self) -> Option<u16> {
        match self {
            Self::File => None,
            Self::Relay(relay) => Some(relay.port()),
        }
    }

    async fn close(&mut self, store: &UserDatabase) {
        match self {
            Self::File => std::fs::rename(store.file(), store.file().with_extension("away")).unwrap(),
            Self::Relay(relay) => relay.cut().await,
        }
    }

    async fn open(&mut self, store: &UserDatabase) {
        match self {
            Self::File => std::fs::rename(store.file().with_extension("away"), store.file()).unwrap(),
            Self::Relay(relay) => relay.mend().await,
        }
    }
}

#[tokio::test]
async fn checklist_35_a_user_of_a_secondary_store_is_found_once() {
    with_stores(async |server| {
        let value = |reply: &Reply, uri: &str| -> Option<String> {
            assert_eq!(reply.status, 200, "{reply:?}");
            let json = reply.json();
            let list = json["list"].as_array().unwrap();
            assert_eq!(json["count"], json!(list.len()), "{json}");
            let mut found = list.iter().filter(|claim| claim["uri"] == uri);
            let value = found.next().map(|claim| claim["value"].as_str().unwrap().to_owned());
            assert!(found.next().is_none(), "{json}");
            value
        };
        let mut ids = Vec::new();
        for (username, domain) in
            [("HR/ann", "HR"), ("ann", "HR"), ("ann", "hr"), ("HR/ann", ""), ("HR/ann@carbon.super", "HR")]
        {
            let question = json!({ "username": username, "domain": domain, "dialect": "http://wso2.org/claims" });
            let reply = post(server, &format!("{CLAIMS}/generate"), &question).await;
            let name = value(&reply, "http://wso2.org/claims/username");
            assert_eq!(name.as_deref(), Some("ann"), "{username} {domain}: {reply:?}, {}", server.engine);
            let roles = value(&reply, "http://wso2.org/claims/role").unwrap();
            assert!(roles.split(',').any(|role| role == "HR/dev"), "{roles}");
            ids.push(value(&reply, "http://wso2.org/claims/userid").unwrap());
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "{ids:?}");
        let other = post(server, &format!("{CLAIMS}/generate"), &json!({ "username": "ann", "domain": "SALES" })).await;
        assert_ne!(value(&other, "http://wso2.org/claims/userid").unwrap(), ids[0]);
        assert_eq!(value(&other, "http://wso2.org/claims/role").as_deref(), Some("Internal/everyone"));
        // Neither a user of the primary store, nor of one that is not there.
        for question in [json!({ "username": "ann" }), json!({ "username": "ann", "domain": "OFF" })] {
            let reply = post(server, &format!("{CLAIMS}/generate"), &question).await;
            assert_eq!(
                (reply.status, reply.json()),
                (200, json!({ "count": 0, "list": Value::Array(vec![]) })),
                "{question}"
            );
        }
        let by_get = get(server, &format!("{CLAIMS}?username=ann&domain=HR")).await;
        assert_eq!(value(&by_get, "http://wso2.org/claims/userid"), Some(ids[0].clone()));
    })
    .await;
}
