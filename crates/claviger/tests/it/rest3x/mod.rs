//! The REST contract of API Manager 3.x and 4.x, statement by statement: a test `checklist_NN_...` shows the statement of that
//! number (rest-3x.md 8); docs/compatibility.md is the list. Bodies and paths are written as the callers write them.

mod access;
mod account_locks;
mod authorize;
mod claims;
mod codes;
mod data_api;
mod data_api_more;
mod events;
mod events_delivery;
mod events_hour;
mod failed_logins;
mod id_tokens;
mod notify;
mod registration;
mod registration_more;
mod scopes;
mod tenants;
mod tokens;
mod unusual;
mod user_stores;
mod userinfo;
mod users_end;
mod users_end_races;

use crate::harness::{ADMIN, ADMIN_PASSWORD, Call as _, Reply, Server};
use claviger_proto::encode::base64;
use reqwest::Method;
use serde_json::Value;

/// Registration as API-M's client calls it.
const REGISTER: &str = "/keymanager-operations/dcr/register";

/// A call by the administrator, with the header that API-M always sends.
async fn call(server: &Server, method: Method, path: &str, body: Option<&Value>) -> Reply {
    let request = server.request(method, path).basic_auth(ADMIN, Some(ADMIN_PASSWORD));
    let request = request.header("x-wso2-tenant", "carbon.super").header("accept", "application/json");
    match body {
        Some(body) => request.json(body).call().await,
        None => request.call().await,
    }
}

async fn get(server: &Server, path: &str) -> Reply {
    call(server, Method::GET, path, None).await
}

async fn post(server: &Server, path: &str, body: &Value) -> Reply {
    call(server, Method::POST, path, Some(body)).await
}

async fn put(server: &Server, path: &str, body: &Value) -> Reply {
    call(server, Method::PUT, path, Some(body)).await
}

async fn delete(server: &Server, path: &str) -> Reply {
    call(server, Method::DELETE, path, None).await
}

/// A client's path with its id as API-M 3.2 and 4.0 write it.
fn raw(id: &str) -> String {
    format!("{REGISTER}/{id}")
}

/// The same as API-M 4.1+ writes it: base64url with padding.
fn encoded(id: &str) -> String {
    format!("{REGISTER}/{}", base64(id.as_bytes()).replace('+', "-").replace('/', "_"))
}
