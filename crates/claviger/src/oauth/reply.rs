//! What goes wrong at the token and revocation endpoints, and how each case looks on the wire (rest-3x.md 1.5, 1.9).

use crate::http::extract::Unreadable;
use crate::http::reply::{self, UNWRITABLE};
use crate::oauth::tenant_keys::KeyError;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use claviger_proto::form::FormError;
use claviger_proto::oauth::{OAuthError, OAuthErrorCode};
use claviger_store::error::{StoreError, WriteError};
use serde::Serialize;
use std::borrow::Cow;

/// Of a code that comes a second time (rest-3x.md 1.3).
const CODE_USED: &str = "Inactive authorization code received from token request";

/// Why no token was issued or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The body is not a form.
    #[error("the body is not a form")]
    NotAForm,
    /// A part of the request cannot be taken.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The form is malformed.
    #[error(transparent)]
    Form(#[from] FormError),
    /// No `grant_type`.
    #[error("no grant_type")]
    MissingGrantType,
    /// A grant nobody knows.
    #[error("unknown grant_type")]
    UnknownGrantType,
    /// Parameters that the grant needs.
    #[error("missing parameters {0}")]
    MissingParameters(String),
    /// No such client.
    #[error("unknown client")]
    UnknownClient(String),
    /// APP_STATE is not ACTIVE.
    #[error("inactive client")]
    InactiveClient,
    /// The client gets another kind of token since it authenticated.
    #[error("the client has been changed meanwhile")]
    ClientChanged,
    /// The user was changed by an administrator since the request was authorized.
    #[error("the user has been changed meanwhile")]
    UserChanged,
    /// No or wrong client credentials.
    #[error("client authentication failed")]
    ClientAuthentication,
    /// Credentials in the header and in the body.
    #[error("two client credentials")]
    TwoCredentials,
    /// The grant is not in the application's list.
    #[error("the client may not use this grant")]
    GrantNotAllowed,
    /// Password, refresh token or code do not hold.
    #[error("invalid grant: {0}")]
    InvalidGrant(Cow<'static, str>),
    /// The authorization code was used before; the tokens of that use are revoked.
    #[error("the code was used before")]
    CodeUsed,
    /// A scope is malformed or too wide.
    #[error("invalid scope")]
    InvalidScope,
    /// Revocation without a token.
    #[error("no token to revoke")]
    MissingToken,
    /// The token to revoke belongs to another client.
    #[error("token of another client")]
    OtherClientsToken,
    /// A value does not fit its column.
    #[error("a value is too long: {0}")]
    TooLong(&'static str),
    /// A value has a character that the database cannot hold.
    #[error("a value cannot be stored")]
    Unwritable,
    /// The client's JWTs or the user's tokens up to a later instant are dead, as seen by this node's clock.
    #[error("the clock is behind the revocation of the client's or user's tokens")]
    ClockBehind,
    /// The key that would sign cannot be read.
    #[error("the key store of the tenant {0} cannot be read")]
    NoKey(String),
    /// The database.
    #[error(transparent)]
    Store(StoreError),
}

impl From<KeyError> for TokenError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Unreadable(tenant) => Self::NoKey(tenant),
            KeyError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TooLong(what) => Self::TooLong(what),
            StoreError::Unwritable(_) => Self::Unwritable,
            other => Self::Store(other),
        }
    }
}

impl WriteError for TokenError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

/// The reply for each case.
pub fn reply(error: &TokenError, host: &str) -> Response {
    use OAuthErrorCode as Code;
    let later = |text| (StatusCode::SERVICE_UNAVAILABLE, Code::TemporarilyUnavailable, Cow::Borrowed(text));
    let unavailable = later("Service Unavailable Error.");
    let (status, code, description): (StatusCode, Code, Cow<'static, str>) = match error {
        TokenError::NotAForm => (
            StatusCode::BAD_REQUEST,
            Code::InvalidRequest,
            "Content-Type must be application/x-www-form-urlencoded".into(),
        ),
        TokenError::Unreadable(error) => (error.status(), Code::InvalidRequest, error.to_string().into()),
        TokenError::Form(error) => (StatusCode::BAD_REQUEST, Code::InvalidRequest, error.to_string().into()),
        TokenError::MissingGrantType => {
            (StatusCode::BAD_REQUEST, Code::InvalidRequest, "Missing grant_type parameter value".into())
        }
        TokenError::UnknownGrantType => {
            (StatusCode::BAD_REQUEST, Code::InvalidRequest, "Unsupported grant_type value".into())
        }
        TokenError::MissingParameters(names) => {
            (StatusCode::BAD_REQUEST, Code::InvalidRequest, format!("Missing parameters: {names}").into())
        }
        TokenError::UnknownClient(id) => {
            let text = format!("A valid OAuth client could not be found for client_id: {}", escape_html(id));
            (StatusCode::UNAUTHORIZED, Code::InvalidClient, text.into())
        }
        TokenError::InactiveClient => {
            (StatusCode::UNAUTHORIZED, Code::InvalidClient, "Oauth application is not in active state".into())
        }
        TokenError::ClientAuthentication => {
            (StatusCode::UNAUTHORIZED, Code::InvalidClient, "Client Authentication failed.".into())
        }
        TokenError::ClientChanged => later("The application has been changed; try again."),
        TokenError::UserChanged => later("The user has been changed; try again."),
        TokenError::TwoCredentials => {
            let text = "Request body and headers contain authorization information";
            (StatusCode::BAD_REQUEST, Code::InvalidRequest, text.into())
        }
        TokenError::GrantNotAllowed => {
            let text = "The authenticated client is not authorized to use this authorization grant type";
            (StatusCode::BAD_REQUEST, Code::UnauthorizedClient, text.into())
        }
        TokenError::InvalidGrant(text) => (StatusCode::BAD_REQUEST, Code::InvalidGrant, text.clone()),
        TokenError::CodeUsed => (StatusCode::BAD_REQUEST, Code::InvalidGrant, CODE_USED.into()),
        TokenError::InvalidScope => (StatusCode::BAD_REQUEST, Code::InvalidScope, "Invalid Scope!".into()),
        TokenError::MissingToken => {
            (StatusCode::BAD_REQUEST, Code::InvalidRequest, "Invalid revocation request".into())
        }
        TokenError::OtherClientsToken => {
            (StatusCode::UNAUTHORIZED, Code::UnauthorizedClient, "Client Authentication failed.".into())
        }
        TokenError::TooLong(what) => {
            (StatusCode::BAD_REQUEST, Code::InvalidRequest, format!("Invalid request: {what} is too long").into())
        }
        TokenError::Unwritable => {
            (StatusCode::BAD_REQUEST, Code::InvalidRequest, format!("Invalid request: {UNWRITABLE}").into())
        }
        TokenError::ClockBehind => {
            tracing::warn!("no token is issued: {error}; do the clocks of the nodes agree?");
            unavailable
        }
        TokenError::NoKey(tenant) => {
            tracing::warn!(tenant, "no token is issued: {error}");
            later("The signing key of the tenant cannot be read.")
        }
        TokenError::Store(error) if error.is_temporary() => {
            tracing::warn!(error = %reply::Chain(error), "the database is not available");
            unavailable
        }
        TokenError::Store(error @ StoreError::Conflict(_)) => {
            // Row 15 of the contract's table.
            tracing::error!(error = %reply::Chain(error), "no token: a row of the same key is in the way, perhaps of a user whose name the database does not tell from this one's");
            (StatusCode::BAD_GATEWAY, Code::ServerError, "Service Unavailable Error.".into())
        }
        TokenError::Store(error) => {
            let id = reply::correlation_id();
            tracing::error!(correlation_id = %id, error = %reply::Chain(error), "the request failed");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                Code::ServerError,
                format!("Internal Server Error. Correlation id {id}").into(),
            )
        }
    };
    let mut response = write(status, &OAuthError::new(code, description));
    let is_challenged = matches!(error, TokenError::ClientAuthentication | TokenError::Store(StoreError::Conflict(_)));
    if let (true, Ok(value)) = (is_challenged, HeaderValue::from_str(&format!("Basic realm={host}"))) {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(axum::http::header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}

fn write(status: StatusCode, error: &OAuthError) -> Response {
    #[derive(Serialize)]
    struct ErrorBody<'a> {
        error_description: &'a str,
        error: &'a str,
    }
    reply::json_no_store(status, &ErrorBody { error_description: &error.description, error: error.code.as_str() })
}

/// A text as it may stand in HTML, also as the value of an attribute.
pub(super) fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
