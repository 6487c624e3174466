//! The portal mounted in the program: real users, real rules, the resident key manager.

use super::harness::temporary_directory;
use super::publisher::weather;
use crate::app::{SystemClock, SystemEntropy};
use crate::config::Config;
use crate::files::DataDir;
use crate::http::routes::Routes;
use crate::ops::Metrics;
use crate::{oauth, portal, startup};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use claviger_proto::encode::base64;
use claviger_proto::secret::Secret;
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::sync::Arc;
use tower_service::Service as _;

struct Program {
    router: Router,
    _directory: super::harness::Directory,
}

impl Program {
    async fn start() -> Self {
        let directory = temporary_directory();
        let mut config = Config::default_for(directory.path());
        config.super_admin.password = Some(Secret::new("admin-password"));
        let data_dir = DataDir::open(directory.path()).unwrap();
        let (clock, rng) = (Arc::new(SystemClock), Arc::new(SystemEntropy::default()));
        let started = startup::start(config, &data_dir, Arc::new(Metrics::default()), clock, rng).await.unwrap();
        let routes = Routes::new(started.app.clone()).with(oauth::routes).with(portal::routes);
        Self { router: routes.finish().0, _directory: directory }
    }

    async fn call(&self, authorization: &str, method: Method, path: &str, body: &str) -> (u16, Value) {
        let kind = if body.starts_with('{') { "application/json" } else { "application/x-www-form-urlencoded" };
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let request = if authorization.is_empty() { request } else { request.header("authorization", authorization) };
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().call(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{user}:{password}").as_bytes()))
}

#[tokio::test]
async fn from_registration_to_a_token_of_a_subscribed_application() {
    let program = Program::start().await;
    let admin = basic("admin", "admin-password");
    let register = "/client-registration/v0.17/register";
    let body = json!({"clientName": "ci", "owner": "admin", "grantType": "password refresh_token"}).to_string();
    assert_eq!(program.call("", Method::POST, register, &body).await.0, 401);
    assert_eq!(program.call(&basic("admin", "wrong"), Method::POST, register, &body).await.0, 401);
    let (status, client) = program.call(&admin, Method::POST, register, &body).await;
    assert_eq!(status, 200, "{client}");
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let client = basic(&text(&client, "clientId"), &text(&client, "clientSecret"));
    let scopes = "apim:api_view+apim:api_create+apim:api_publish+apim:subscribe";
    let form = format!("grant_type=password&username=admin&password=admin-password&scope={scopes}");
    let (status, token) = program.call(&client, Method::POST, "/oauth2/token", &form).await;
    assert_eq!(status, 200, "{token}");
    let bearer = format!("Bearer {}", text(&token, "access_token"));
    assert_eq!(program.call(&bearer, Method::POST, register, &body).await.0, 401, "a token registers no clients");

    let apis = "/api/am/publisher/v1/apis";
    let (status, api) = program.call(&bearer, Method::POST, apis, &weather("1.0.0").to_string()).await;
    assert_eq!(status, 201, "{api}");
    let id = text(&api, "id");
    assert_eq!(program.call(&bearer, Method::DELETE, &format!("{apis}/{id}"), "").await.0, 401, "not among the scopes");
    let publish = format!("{apis}/change-lifecycle?apiId={id}&action=Publish");
    assert_eq!(program.call(&bearer, Method::POST, &publish, "").await.0, 200);
    assert_eq!(program.call("", Method::GET, "/api/am/store/v1/apis", "").await.1["count"], 1);

    let store = "/api/am/store/v1";
    let body = json!({"name": "Shop", "throttlingPolicy": "10PerMin"}).to_string();
    let (status, application) = program.call(&bearer, Method::POST, &format!("{store}/applications"), &body).await;
    assert_eq!(status, 201, "{application}");
    let application = text(&application, "applicationId");
    let body = json!({"applicationId": application, "apiId": id, "throttlingPolicy": "Gold"}).to_string();
    assert_eq!(program.call(&bearer, Method::POST, &format!("{store}/subscriptions"), &body).await.0, 201);
    let keys = format!("{store}/applications/{application}/generate-keys");
    let body = json!({"keyType": "PRODUCTION", "grantTypesToBeSupported": ["client_credentials"],
                      "scopes": ["default", "apim:admin"], "validityTime": "60"});
    let (status, key) = program.call(&bearer, Method::POST, &keys, &body.to_string()).await;
    assert_eq!(status, 200, "{key}");
    assert_eq!((&key["token"]["tokenScopes"], &key["token"]["validityTime"]), (&json!(["default"]), &json!(60)));
    let own = basic(&text(&key, "consumerKey"), &text(&key, "consumerSecret"));
    let (status, issued) = program.call(&own, Method::POST, "/oauth2/token", "grant_type=client_credentials").await;
    assert_eq!(status, 200, "{issued}");

    // The owner is an administrator, but a key of an application opens no portal.
    let form = "grant_type=client_credentials&scope=apim:admin+apim:api_create";
    let (_, narrow) = program.call(&own, Method::POST, "/oauth2/token", form).await;
    assert_eq!(narrow["scope"], "default", "{narrow}");

    let place = format!("{store}/applications/{application}/keys/PRODUCTION");
    let (_, renewed) = program.call(&bearer, Method::POST, &format!("{place}/regenerate-secret"), "{}").await;
    assert_ne!(renewed["consumerSecret"], key["consumerSecret"]);
    assert_eq!(program.call(&own, Method::POST, "/oauth2/token", "grant_type=client_credentials").await.0, 401);
    let delete = format!("{store}/applications/{application}");
    assert_eq!(program.call(&bearer, Method::DELETE, &delete, "").await.0, 200);
    let renewed = basic(&text(&renewed, "consumerKey"), &text(&renewed, "consumerSecret"));
    assert_eq!(program.call(&renewed, Method::POST, "/oauth2/token", "grant_type=client_credentials").await.0, 401);
}

#[tokio::test]
async fn every_route_of_the_portal_has_its_rule() {
    let directory = temporary_directory();
    let config = Config::default_for(directory.path());
    let data_dir = DataDir::open(directory.path()).unwrap();
    let (clock, rng) = (Arc::new(SystemClock), Arc::new(SystemEntropy::default()));
    let started = startup::start(config, &data_dir, Arc::new(Metrics::default()), clock, rng).await.unwrap();
    let (router, entries) = Routes::new(started.app.clone()).with(portal::routes).finish();
    let mut anonymous = Vec::new();
    for entry in entries {
        let path =
            entry.path.replace("{id}", "x").replace("{key}", "x").replace("{level}", "api").replace("{name}", "x");
        let request = Request::builder().method(entry.method.clone()).uri(&path).body(Body::empty()).unwrap();
        let response = router.clone().call(request).await.unwrap();
        if response.status() != 401 {
            anonymous.push(format!("{} {}", entry.method, entry.path));
        }
    }
    anonymous.sort_unstable();
    let expected = [
        "GET /api/am/publisher/v1/settings",
        "GET /api/am/store/v1/apis",
        "GET /api/am/store/v1/apis/{id}",
        "GET /api/am/store/v1/apis/{id}/swagger",
        "GET /api/am/store/v1/settings",
        "GET /api/am/store/v1/tags",
    ];
    assert_eq!(anonymous, expected);
}
