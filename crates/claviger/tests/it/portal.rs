//! The portal's changes side by side, on every engine: each is decided with what the one before it left.

use crate::harness::{ADMIN, ADMIN_PASSWORD, Call as _, Reply, Server, on_every_engine};
use claviger_proto::ids::TenantId;
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
