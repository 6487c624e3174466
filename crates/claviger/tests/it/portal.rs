//! The portal's changes side by side, on every engine: each is decided with what the one before it left.

use crate::harness::{ADMIN, ADMIN_PASSWORD, Call as _, Reply, Server, insert_user, on_every_engine};
use claviger::app::SystemEntropy;
use claviger_proto::entropy::uuid;
use claviger_proto::ids::{ApplicationUuid, TenantId};
use claviger_proto::time::Clock as _;
use claviger_store::applications::{self, NewApplication};
use claviger_store::error::StoreError;
use claviger_store::sql::Sql;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

const APIS: &str = "/api/am/publisher/v1/apis";
const AT_ONCE: usize = 8;

async fn send(server: &Server, method: Method, path: &str, body: &Value) -> Reply {
    let request = server.request(method, path).basic_auth(ADMIN, Some(ADMIN_PASSWORD));
    request.header("content-type", "application/json").body(body.to_string()).call().await
}

async fn create(server: &Server, api: &Value) -> Reply {
    send(server, Method::POST, APIS, api).await
}

fn api(name: &str, context: &str) -> Value {
    json!({"name": name, "context": context, "version": "1.0.0", "policies": ["Gold"], "transport": ["https"],
        "endpointConfig": {"endpoint_type": "http", "production_endpoints": {"url": "http://b1:9000/w"},
                           "endpoint_security": {"production": {"enabled": true, "type": "BASIC", "username": "u",
                                                                "password": "first"}}},
        "operations": [{"target": "/a", "verb": "GET"}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_updates_keep_the_newest_password() {
    on_every_engine("", async |server| {
        let created = create(server, &api("Own", "/own")).await;
        assert_eq!(created.status, 201, "{}: {created:?}", server.engine);
        let blank = created.json();
        let id = blank["id"].as_str().unwrap();
        let path = format!("{APIS}/{id}");
        server.warm_up(AT_ONCE).await;
        for round in 0..5 {
            let mut changed = blank.clone();
            let password = format!("new-{round}");
            changed["endpointConfig"]["endpoint_security"]["production"]["password"] = json!(password);
            let bodies = (0..AT_ONCE).map(|number| if number == AT_ONCE / 2 { &changed } else { &blank });
            let replies = join_all(bodies.map(|body| send(server, Method::PUT, &path, body))).await;
            assert!(replies.iter().all(|reply| reply.status == 200), "{}: {replies:?}", server.engine);
            let mut conn = server.app().store.reader().await.unwrap();
            let stored = claviger::portal::apis::find(&mut conn, TenantId::SUPER, id).await.unwrap().unwrap();
            let security = &stored.object.endpoint_config.unwrap().0["endpoint_security"]["production"];
            assert_eq!(security["password"], password, "{}", server.engine);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_apis_one_gets_the_context_and_one_the_scope() {
    on_every_engine("", async |server| {
        server.warm_up(AT_ONCE).await;
        // Each lies in all of those before it.
        let contexts = ["/cash", "/cash/{version}", "/cash/1.0.0/{version}", "/cash/1.0.0/1.0.0/x"];
        let contested = contexts.iter().enumerate().map(|(number, context)| api(&format!("C{number}"), context));
        let contested: Vec<Value> = contested.collect();
        let replies = join_all(contested.iter().map(|api| create(server, api))).await;
        let made = replies.iter().filter(|reply| reply.status == 201).count();
        let refused = replies.iter().filter(|reply| reply.status == 400).count();
        assert_eq!((made, refused), (1, 3), "{}: {replies:?}", server.engine);
        let apis: Vec<Value> = (0..AT_ONCE)
            .map(|number| {
                let mut api = api(&format!("S{number}"), &format!("/s{number}"));
                api["scopes"] = json!([{"scope": {"name": "contested", "bindings": ["admin"]}}]);
                api
            })
            .collect();
        let replies = join_all(apis.iter().map(|api| create(server, api))).await;
        let made = replies.iter().filter(|reply| reply.status == 201).count();
        let refused = replies.iter().filter(|reply| reply.status == 409).count();
        assert_eq!((made, refused), (1, AT_ONCE - 1), "{}: {replies:?}", server.engine);
    })
    .await;
}

const APPLICATIONS: &str = "/api/am/store/v1/applications";
const SECRET: &str = "a user's secret";

/// An application that an old server made for whoever logged in with that spelling.
async fn insert_old_application(server: &Server, subscriber: &'static str) -> String {
    let (now, uuid) = (server.clock.now(), uuid(&SystemEntropy::default()));
    let id = ApplicationUuid(uuid.clone());
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        let id = id.clone();
        Box::pin(async move {
            let new = NewApplication {
                uuid: id,
                name: format!("{subscriber}'s"),
                subscriber_id: applications::insert_subscriber(conn, TenantId::SUPER, subscriber, now).await?,
                owner: subscriber.to_owned(),
                policy: "Unlimited".to_owned(),
                description: None,
                token_type: "JWT".to_owned(),
            };
            applications::insert(conn, &new, now).await
        })
    });
    write.await.unwrap();
    uuid
}

#[tokio::test]
async fn what_was_made_under_another_spelling_is_the_users() {
    on_every_engine("", async |server| {
        for user in ["alice", "bobSmith", "Dora", "dora"] {
            insert_user(server, TenantId::SUPER, user, SECRET, &["Internal/subscriber"]).await;
        }
        let get = async |user: &str, path: &str| server.get(path).basic_auth(user, Some(SECRET)).call().await;
        for (user, subscriber) in [("alice", "Alice"), ("bobSmith", "BobSmith")] {
            let id = insert_old_application(server, subscriber).await;
            for typed in [user.to_owned(), user.to_uppercase()] {
                let listed = get(&typed, APPLICATIONS).await;
                assert_eq!(listed.status, 200, "{typed}, {}: {listed:?}", server.engine);
                assert_eq!(listed.json()["list"][0]["applicationId"], id.as_str(), "{typed}, {}", server.engine);
                let read = get(&typed, &format!("{APPLICATIONS}/{id}")).await;
                assert_eq!(read.status, 200, "{typed}, {}: {read:?}", server.engine);
            }
        }
        // Somebody is called exactly that: it is his alone.
        let id = insert_old_application(server, "Dora").await;
        // On MySQL the key of the roles lets one of the two have none.
        let other = if server.engine == "MariaDB" { 401 } else { 403 };
        for (user, status) in [("Dora", 200), ("dora", other), ("alice", 403)] {
            let read = get(user, &format!("{APPLICATIONS}/{id}")).await;
            assert_eq!(read.status, status, "{user}, {}: {read:?}", server.engine);
        }
        if server.engine != "MariaDB" {
            let listed = get("dora", APPLICATIONS).await.json();
            assert_ne!(listed["list"][0]["applicationId"], id.as_str(), "{}", server.engine);
        }
    })
    .await;
}

static RENAME_OWNER: Sql =
    Sql::new("UPDATE IDN_OAUTH_CONSUMER_APPS SET USERNAME = 'ALICE' WHERE USERNAME = 'alice'", &[]);

#[tokio::test]
async fn a_client_of_another_spelling_is_the_owners() {
    on_every_engine("", async |server| {
        insert_user(server, TenantId::SUPER, "alice", SECRET, &["Internal/subscriber"]).await;
        let body = json!({"clientName": "portal-caller", "owner": "alice", "grantType": "password", "saasApp": true});
        let register = async || {
            let request = server.post("/client-registration/v0.17/register").basic_auth("alice", Some(SECRET));
            request.header("content-type", "application/json").body(body.to_string()).call().await
        };
        let first = register().await;
        assert_eq!(first.status, 200, "{}: {first:?}", server.engine);
        let write = server
            .app()
            .store
            .write::<_, StoreError, _>(|conn| Box::pin(async move { conn.execute(&RENAME_OWNER, &[]).await }));
        assert_eq!(write.await.unwrap(), 1);
        server.app().forget_everything();
        let again = register().await;
        assert_eq!(again.status, 200, "{}: {again:?}", server.engine);
        assert_eq!(again.text("clientId"), first.text("clientId"), "{}", server.engine);
    })
    .await;
}
