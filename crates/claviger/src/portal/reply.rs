//! The REST error object of the three portal APIs, and the one mapping from [`PortalError`] to it.
//!
//! Follows portal-gateway-3x.md 1.2 (401 body), 1.5 (error object, texts, product codes).

use super::error::{Finding, PortalError, Resource};
use crate::http::reply::UNWRITABLE;
use axum::response::{IntoResponse, Response};
use claviger_store::error::StoreError;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// The error object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorBody {
    /// HTTP status or product code.
    pub code: u32,
    /// Short text.
    pub message: String,
    /// Longer text.
    pub description: String,
    /// Always empty.
    #[serde(rename = "moreInfo")]
    pub more_info: String,
    /// Single findings.
    pub error: Vec<ErrorItem>,
}

/// One finding of an [`ErrorBody`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorItem {
    /// Product code or `400_{path}`.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// More; left out when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl ErrorBody {
    /// A body without findings.
    pub fn new(code: u32, message: impl Into<String>, description: impl Into<String>) -> Self {
        let (message, description) = (message.into(), description.into());
        Self { code, message, description, more_info: String::new(), error: Vec::new() }
    }

    /// The body of every authentication and scope failure.
    pub fn unauthenticated() -> Self {
        Self::new(401, "", "Unauthenticated request")
    }

    /// The body of every 5xx: the client learns nothing but the id under which the log tells more.
    pub fn internal(correlation_id: &str) -> Self {
        let text = "The server encountered an internal error. Please contact administrator.";
        let mut body = Self::new(500, "Internal server error", text);
        body.error.push(ErrorItem {
            code: "500".to_owned(),
            message: format!("Correlation id {correlation_id}"),
            description: String::new(),
        });
        body
    }

    fn with(mut self, findings: &[Finding]) -> Self {
        self.error = findings
            .iter()
            .map(|finding| ErrorItem {
                code: finding.code.clone(),
                message: finding.message.clone(),
                description: finding.description.clone(),
            })
            .collect();
        self
    }
}

static FAILURES: AtomicU64 = AtomicU64::new(0);

/// A JSON reply with the headers that every reply of the portal carries (1.2).
pub fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    let bytes = match serde_json::to_vec(body) {
        Ok(bytes) => bytes,
        Err(error) => return PortalError::Damaged(error.to_string()).into_response(),
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (http::header::X_XSS_PROTECTION, HeaderValue::from_static("1; mode=block")),
    ];
    (status, headers, bytes).into_response()
}

/// 201 with its `Location`, relative to the API's base.
pub fn created<T: Serialize>(location: &str, body: &T) -> Response {
    let mut response = json(StatusCode::CREATED, body);
    if let Ok(value) = HeaderValue::from_str(location) {
        response.headers_mut().insert(http::header::LOCATION, value);
    }
    response
}

/// The reply of an error. What the client may not know is logged here, once.
impl IntoResponse for PortalError {
    fn into_response(self) -> Response {
        let correlation_id = format!("{:x}-p{}", std::process::id(), FAILURES.fetch_add(1, Ordering::Relaxed));
        let (status, body) = reply(&self, &correlation_id);
        if status.is_server_error() {
            let cause = std::error::Error::source(&self).map(ToString::to_string).unwrap_or_default();
            tracing::error!(%correlation_id, error = %self, %cause, "a portal request failed");
        }
        let mut response = json(status, &body);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

const BAD: (StatusCode, &str) = (StatusCode::BAD_REQUEST, "Bad Request");
const FORBIDDEN: (StatusCode, &str) = (StatusCode::FORBIDDEN, "Forbidden");
const NOT_FOUND: (StatusCode, &str) = (StatusCode::NOT_FOUND, "Not Found");
const CONFLICT: (StatusCode, &str) = (StatusCode::CONFLICT, "Conflict");
const EXISTS: (StatusCode, &str) = (StatusCode::CONFLICT, "Resource Already Exists");

/// Status and body of an error. `correlation_id` is what a 5xx shows.
#[expect(clippy::too_many_lines, reason = "one exhaustive match, a line or two per case")]
pub fn reply(error: &PortalError, correlation_id: &str) -> (StatusCode, ErrorBody) {
    let plain = |(status, message): (StatusCode, &str), description: String| {
        (status, ErrorBody::new(u32::from(status.as_u16()), message, description))
    };
    let coded = |(status, _): (StatusCode, &str), code: u32, message: &str, description: String| {
        (status, ErrorBody::new(code, message, description))
    };
    match error {
        PortalError::MalformedBody => plain(BAD, "Malformed request body.".to_owned()),
        PortalError::EmptyBody => plain(BAD, "Request payload cannot be empty.".to_owned()),
        PortalError::UnknownField(name) => plain(BAD, format!("Unrecognized property '{name}'")),
        PortalError::DisallowedValue => {
            plain(BAD, "One or more request body parameters contain disallowed values.".to_owned())
        }
        PortalError::Invalid(findings) => {
            let (status, body) = plain(BAD, "Validation Error".to_owned());
            (status, body.with(findings))
        }
        PortalError::BadRequest(text) | PortalError::KeyManager(text) => plain(BAD, text.clone()),
        PortalError::Forbidden { resource, id } => {
            plain(FORBIDDEN, format!("You don't have permission to access the {} with Id {id}", resource.word()))
        }
        PortalError::ForbiddenBecause(text) => plain(FORBIDDEN, text.clone()),
        PortalError::NotFound { resource: Resource::Scope, id } => {
            coded(NOT_FOUND, 900_981, "Shared Scope not found", format!("Shared Scope with Id {id} not found"))
        }
        PortalError::NotFound { resource, id } => {
            plain(NOT_FOUND, format!("Requested {} with Id '{id}' not found", resource.word()))
        }
        PortalError::NoMatch => plain(NOT_FOUND, "No API matches the query".to_owned()),
        PortalError::ApiExists { name, version } => {
            let text = format!("A duplicate API already exists for {name}-{version}");
            plain(EXISTS, format!("Error while adding new API : {name}-{version} - {text}"))
        }
        PortalError::ApiExistsWithOtherContext { name, version } => {
            plain(BAD, format!("An API {name}-{version} already exists with a different context"))
        }
        PortalError::ContextTaken(context) => {
            plain(BAD, format!("Error while adding the API. A duplicate API context already exists for {context}"))
        }
        PortalError::NameDiffersInCase(name) => {
            plain(BAD, format!("An API name differing from {name} only in letter case already exists"))
        }
        PortalError::UnknownPolicies(names) => {
            plain(BAD, format!("Specified tier(s) [{}] are invalid", names.join(", ")))
        }
        PortalError::UnknownKeyManager(name) => {
            coded(BAD, 901_403, "Key Manager not found", format!("Key Manager {name} not found or not enabled"))
        }
        PortalError::KeyManagerCannotCreate(name) => {
            let text = format!("Key Manager {name} doesn't support OAuth application creation");
            coded(BAD, 901_405, "Key Manager doesn't support OAuth App Creation", text)
        }
        PortalError::KeyMappingExists => {
            let text = "Key Mappings already exists for the application, key type and key manager";
            coded(CONFLICT, 901_408, "Key Mappings already exists", text.to_owned())
        }
        PortalError::NoResources => {
            coded(BAD, 900_763, "API has no resources", "The API must have resources".to_owned())
        }
        PortalError::ScopeTaken(name) => {
            coded(CONFLICT, 900_984, "Scope already registered", format!("Scope {name} is already used by another API"))
        }
        PortalError::UnknownRole(name) => plain(BAD, format!("Role '{name}' Does not exist.")),
        PortalError::ActiveSubscriptions(id) => {
            plain(CONFLICT, format!("Cannot remove the API {id} as active subscriptions exist"))
        }
        PortalError::ActionNotAllowed { action, allowed } => {
            let allowed = allowed.join(", ");
            plain(BAD, format!("Action '{action}' is not allowed. Allowed actions are [{allowed}]"))
        }
        PortalError::Definition(findings) => definition(findings),
        PortalError::ApplicationExists(name) => {
            plain(EXISTS, format!("An application already exists with name {name}"))
        }
        PortalError::SubscriptionExists => {
            let text = "Subscription already exists for the API and the application";
            coded(CONFLICT, 900_336, "The subscription already exists", text.to_owned())
        }
        PortalError::ClientNameTaken(name) => {
            plain(BAD, format!("Application with the name {name} already exist in the system"))
        }
        PortalError::ApplicationNotApproved => plain(BAD, "Workflow status is not Approved".to_owned()),
        PortalError::UnknownTenant(name) => {
            coded(BAD, 901_300, "Tenant not found", format!("Tenant with tenantDomain '{name}' not found"))
        }
        PortalError::TooLarge => {
            (StatusCode::PAYLOAD_TOO_LARGE, ErrorBody::new(413, "Payload Too Large", "The request is too large"))
        }
        PortalError::NotImplemented(what) => {
            (StatusCode::NOT_IMPLEMENTED, ErrorBody::new(501, "Not Implemented", *what))
        }
        PortalError::Store(StoreError::TooLong(what)) => {
            coded(BAD, 900_704, "Value too long", format!("{what} is longer than its column"))
        }
        PortalError::Store(StoreError::Unwritable(_)) => plain(BAD, UNWRITABLE.to_owned()),
        PortalError::Store(StoreError::Conflict(_)) => plain(CONFLICT, "It was changed at the same time".to_owned()),
        PortalError::Store(error) if error.is_temporary() => {
            let body = ErrorBody {
                code: 503,
                message: "Service Unavailable".to_owned(),
                ..ErrorBody::internal(correlation_id)
            };
            (StatusCode::SERVICE_UNAVAILABLE, body)
        }
        PortalError::Store(_) | PortalError::Damaged(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, ErrorBody::internal(correlation_id))
        }
    }
}

/// A refused definition answers with the first finding's code.
fn definition(findings: &[Finding]) -> (StatusCode, ErrorBody) {
    let (code, description) = findings.first().map_or((400, String::new()), |first| {
        let text = if first.description.is_empty() { &first.message } else { &first.description };
        (first.code.parse().unwrap_or(400), text.clone())
    });
    (StatusCode::BAD_REQUEST, ErrorBody::new(code, "Bad Request", description).with(findings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_401_body_is_fixed() {
        let json = serde_json::to_string(&ErrorBody::unauthenticated()).unwrap();
        let expected = r#"{"code":401,"message":"","description":"Unauthenticated request","moreInfo":"","error":[]}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn damage_tells_the_client_nothing_but_the_correlation_id() {
        let (status, body) = reply(&PortalError::Damaged("row 17 of secret table".to_owned()), "c-1");
        assert_eq!(status, 500);
        let json = serde_json::to_string(&body).unwrap();
        assert!(json.contains("c-1") && !json.contains("row 17"), "{json}");
    }

    #[test]
    fn product_codes() {
        let check = |error: PortalError, status: u16, code: u32| {
            let (got, body) = reply(&error, "");
            assert_eq!((got.as_u16(), body.code), (status, code), "{error}");
        };
        check(PortalError::SubscriptionExists, 409, 900_336);
        check(PortalError::KeyMappingExists, 409, 901_408);
        check(PortalError::UnknownKeyManager("x".into()), 400, 901_403);
        check(PortalError::NoResources, 400, 900_763);
        check(PortalError::UnknownTenant("x".into()), 400, 901_300);
        check(PortalError::ScopeTaken("x".into()), 409, 900_984);
        check(PortalError::NotFound { resource: Resource::Api, id: "i".into() }, 404, 404);
        check(PortalError::ApiExistsWithOtherContext { name: "a".into(), version: "1".into() }, 400, 400);
        let finding = Finding { code: "900753".into(), message: "m".into(), description: String::new() };
        check(PortalError::Definition(vec![finding]), 400, 900_753);
    }

    #[test]
    fn findings_of_validation() {
        let (_, body) = reply(&PortalError::Invalid(vec![Finding::field("name", "must not be null")]), "");
        let json = serde_json::to_value(&body).unwrap();
        assert_eq!(json["error"][0]["code"], "400_name");
        assert_eq!(json["error"][0]["message"], "name: must not be null");
    }
}
