//! Replies that several facades share. A 5xx tells the client a correlation id and nothing else; the cause goes to the log.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Response as HttpResponse, StatusCode};
use axum::response::{IntoResponse as _, Response};
use claviger_store::error::StoreError;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// Header that carries the correlation id of a failed request.
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("activityid");
/// Seconds a client should wait after a 503.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("2");

/// What clients hear of [`StoreError::Unwritable`].
pub const UNWRITABLE: &str = "a text holds a character that cannot be stored";

static FAILURES: AtomicU64 = AtomicU64::new(0);

/// A new correlation id: unique in this process' log.
pub fn correlation_id() -> String {
    format!("{:x}-{}", std::process::id(), FAILURES.fetch_add(1, Ordering::Relaxed))
}

/// A JSON reply.
pub fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => (status, [(CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(error) => internal(&error),
    }
}

/// A JSON reply that nobody may keep (RFC 6749 section 5.1).
pub fn json_no_store<T: Serialize>(status: StatusCode, body: &T) -> Response {
    let mut response = json(status, body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// A JSON reply of `/keymanager-operations` (rest-3x.md 0.2).
pub fn json_private<T: Serialize>(status: StatusCode, body: &T) -> Response {
    let mut response = json(status, body);
    let value = HeaderValue::from_static("no-store, no-cache, must-revalidate, private");
    response.headers_mut().insert(CACHE_CONTROL, value);
    response
}

/// 401 or 403 of the identity endpoints: header with the name, short HTML body, never JSON (rest-3x.md 0.2).
pub fn container_refusal(status: StatusCode, name: &str) -> Response {
    let name: String = name.chars().filter(|letter| letter.is_ascii_graphic() && *letter != '"').collect();
    let challenge = format!(r#"realm user="{name}""#);
    let body = format!("<!doctype html><title>{status}</title><h1>{status}</h1>");
    let challenge = HeaderValue::from_str(&challenge).unwrap_or(HeaderValue::from_static("realm user=\"\""));
    (status, [(WWW_AUTHENTICATE, challenge), (CONTENT_TYPE, HeaderValue::from_static("text/html"))], body)
        .into_response()
}

/// The one refusal of the portal REST APIs (portal-gateway-3x.md 1.2).
pub fn portal_unauthenticated() -> Response {
    portal_error(StatusCode::UNAUTHORIZED, 401, "", "Unauthenticated request")
}

/// The error object of the portal REST APIs (portal-gateway-3x.md 1.5).
pub fn portal_error(status: StatusCode, code: u32, message: &str, description: &str) -> Response {
    #[derive(Serialize)]
    struct PortalError<'a> {
        code: u32,
        message: &'a str,
        description: &'a str,
        #[serde(rename = "moreInfo")]
        more_info: &'a str,
        error: [(); 0],
    }
    json(status, &PortalError { code, message, description, more_info: "", error: [] })
}

/// A store error at the edge: 503 with Retry-After when trying again helps, else 500; the cause is logged here.
pub fn store_failure(error: &StoreError) -> Response {
    if error.is_temporary() { unavailable(error) } else { internal(error) }
}

/// 503 with Retry-After and a correlation id; the cause is logged here.
pub fn unavailable(error: &dyn std::error::Error) -> Response {
    let id = correlation_id();
    tracing::warn!(correlation_id = %id, error = %Chain(error), "not available at the moment");
    let mut response = failure_body(StatusCode::SERVICE_UNAVAILABLE, &id);
    response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
    response
}

/// 503 with Retry-After for a request whose time is over.
pub fn too_slow() -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let mut response = portal_error(status, 503, "Service Unavailable", "The request took too long");
    response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S);
    response
}

/// 500 with a correlation id; the cause is logged here.
pub fn internal(error: &dyn std::error::Error) -> Response {
    let id = correlation_id();
    tracing::error!(correlation_id = %id, error = %Chain(error), "internal error");
    failure_body(StatusCode::INTERNAL_SERVER_ERROR, &id)
}

fn failure_body(status: StatusCode, id: &str) -> Response {
    let text = status.canonical_reason().unwrap_or("Error");
    let mut response = portal_error(status, u32::from(status.as_u16()), text, &format!("Correlation id {id}"));
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(CORRELATION_ID, value);
    }
    response
}

/// 404 for a path that is no route.
pub fn no_route() -> Response {
    portal_error(StatusCode::NOT_FOUND, 404, "Not Found", "The requested resource is not available.")
}

/// 400 for a path with more than one reading: empty and dot segments, `;`, escapes that hide a slash or a dot.
pub fn ambiguous_path() -> Response {
    portal_error(StatusCode::BAD_REQUEST, 400, "Bad Request", "The path can be read in more than one way.")
}

/// 405 for a route that has other methods.
pub fn no_method() -> Response {
    portal_error(StatusCode::METHOD_NOT_ALLOWED, 405, "Method Not Allowed", "The resource has no such method.")
}

/// An empty reply.
pub fn empty(status: StatusCode) -> Response {
    let mut response = HttpResponse::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Prints an error with its causes.
pub struct Chain<'a>(pub &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
