//! What goes wrong on the way to a code, and how each case looks in the browser (contract rest-3x.md 1.8): what the application
//! may know goes back to it, the rest to the error page.

use super::ERROR_PAGE;
use crate::http::reply;
use crate::oauth::reply::TokenError;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, LOCATION, PRAGMA, REFERRER_POLICY};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use claviger_proto::form::FormError;
use claviger_proto::oauth::OAuthErrorCode as Code;
use claviger_store::error::StoreError;
use std::borrow::Cow;
use url::form_urlencoded::Serializer;

/// WSO2's word for a redirect URI that is not the application's.
pub(super) const INVALID_CALLBACK: &str = "invalid_callback";

/// Why there is no code.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuthorizeError {
    /// A parameter stands twice.
    #[error("repeated parameters")]
    Repeated,
    /// The request is no form, too large or broken off.
    #[error("the request is malformed")]
    Malformed,
    /// No such client.
    #[error("unknown client")]
    UnknownClient(String),
    /// APP_STATE is not ACTIVE.
    #[error("inactive client")]
    InactiveClient,
    /// The application does not list the grant, or has no callback.
    #[error("the client may not use this grant")]
    GrantNotListed,
    /// The redirect URI is not the application's.
    #[error("the redirect URI is not registered")]
    Callback,
    /// The PKCE parameters are not what the application must or may send.
    #[error("PKCE: {0}")]
    Pkce(&'static str),
    /// The login is over, was changed, or is another browser's.
    #[error("the login is over or another browser's")]
    SessionOver,
    /// A page of somebody else sent the form.
    #[error("the form was sent by another site")]
    CrossSite,
    /// A parameter says what it may not.
    #[error("{0}")]
    Parameter(&'static str),
    /// Another response type than `code`.
    #[error("unsupported response type")]
    ResponseType,
    /// A request object.
    #[error("request objects are not supported")]
    RequestObject,
    /// A reference to one.
    #[error("references to request objects are not supported")]
    RequestUri,
    /// Malformed or too many scopes.
    #[error("invalid scope")]
    Scope,
    /// `prompt=none`.
    #[error("nobody is logged in")]
    LoginRequired,
    /// He was deleted or locked during the login.
    #[error("the user is gone")]
    UserGone,
    /// The user said no.
    #[error("the user denied the consent")]
    Denied,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<FormError> for AuthorizeError {
    fn from(error: FormError) -> Self {
        match error {
            FormError::Repeated => Self::Repeated,
            FormError::Malformed | FormError::TooMany => Self::Malformed,
        }
    }
}

/// Of reading a posted form.
impl From<TokenError> for AuthorizeError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Form(error) => error.into(),
            TokenError::Store(error) => Self::Store(error),
            _ => Self::Malformed,
        }
    }
}

/// An error, and where it goes.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: AuthorizeError,
    /// The way to the application, once it is known to be the application's.
    pub(super) back: Option<Back>,
}

impl From<AuthorizeError> for Refusal {
    fn from(error: AuthorizeError) -> Self {
        Self { error, back: None }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        AuthorizeError::from(error).into()
    }
}

/// A redirect URI with what is echoed there.
#[derive(Clone, Debug)]
pub(super) struct Back {
    pub(super) uri: String,
    pub(super) state: Option<String>,
}

impl Back {
    /// The redirect URI with the members of an answer and, for the client of several servers, our name (RFC 9207).
    pub(super) fn with(&self, members: &[(&str, &str)], issuer: &str) -> String {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(members);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        let query = query.append_pair("iss", issuer).finish();
        let separator = match self.uri.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some(_) => "&",
        };
        format!("{}{separator}{query}", self.uri)
    }
}

/// The answer for each case. `found` is the status of a redirect: 302, or 303 after a POST.
pub(super) fn refuse(refusal: &Refusal, issuer: &str, found: StatusCode) -> Response {
    let (code, text): (&str, Cow<'static, str>) = match &refusal.error {
        AuthorizeError::Repeated => {
            (Code::InvalidRequest.as_str(), "Invalid authorization request with repeated parameters".into())
        }
        AuthorizeError::Malformed => (Code::InvalidRequest.as_str(), "Invalid authorization request".into()),
        AuthorizeError::UnknownClient(id) => {
            let text = format!("A valid OAuth client could not be found for client_id: {id}");
            (Code::InvalidClient.as_str(), text.into())
        }
        AuthorizeError::InactiveClient => {
            (Code::InvalidClient.as_str(), "Oauth application is not in active state".into())
        }
        AuthorizeError::GrantNotListed => {
            let text = "The authenticated client is not authorized to use this authorization grant type";
            (Code::UnauthorizedClient.as_str(), text.into())
        }
        AuthorizeError::Callback => {
            (INVALID_CALLBACK, "Registered callback does not match with the provided url.".into())
        }
        AuthorizeError::Pkce(text) | AuthorizeError::Parameter(text) => (Code::InvalidRequest.as_str(), (*text).into()),
        AuthorizeError::SessionOver => (Code::InvalidRequest.as_str(), "The login is over; start again.".into()),
        AuthorizeError::CrossSite => (Code::InvalidRequest.as_str(), "The form was sent by another site.".into()),
        AuthorizeError::ResponseType => (Code::UnsupportedResponseType.as_str(), "Unsupported response_type".into()),
        AuthorizeError::RequestObject => {
            (Code::RequestNotSupported.as_str(), "Request objects are not supported".into())
        }
        AuthorizeError::RequestUri => {
            (Code::RequestUriNotSupported.as_str(), "Request objects are not supported".into())
        }
        AuthorizeError::Scope => (Code::InvalidScope.as_str(), "Invalid Scope!".into()),
        AuthorizeError::LoginRequired => {
            (Code::LoginRequired.as_str(), "Request with 'prompt=none' but user session does not exist".into())
        }
        AuthorizeError::UserGone => (Code::AccessDenied.as_str(), "The user may not log in any more".into()),
        AuthorizeError::Denied => (Code::AccessDenied.as_str(), "User denied the consent".into()),
        AuthorizeError::Store(error) => {
            if refusal.back.is_none() {
                return reply::store_failure(error);
            }
            let id = reply::correlation_id();
            tracing::error!(correlation_id = %id, error = %reply::Chain(error), "no code was issued");
            let code = if error.is_temporary() { Code::TemporarilyUnavailable } else { Code::ServerError };
            (code.as_str(), format!("Server error occurred while performing authorization. Correlation id {id}").into())
        }
    };
    if let Some(back) = &refusal.back {
        return redirect(found, &back.with(&[("error", code), ("error_description", &text)], issuer));
    }
    // What every browser shows is chosen by the code there; the text is for whoever reads the address.
    let query =
        Serializer::new(String::new()).extend_pairs([("oauthErrorCode", code), ("oauthErrorMsg", &text)]).finish();
    let status = if matches!(refusal.error, AuthorizeError::Repeated) { StatusCode::BAD_REQUEST } else { found };
    redirect(status, &format!("{ERROR_PAGE}?{query}"))
}

/// Sends the browser elsewhere, and lets nobody keep or tell where.
pub(super) fn redirect(status: StatusCode, location: &str) -> Response {
    // Our own parts are encoded, and a redirect URI of other letters is never registered.
    let Ok(location) = HeaderValue::from_str(location) else {
        return reply::empty(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(LOCATION, location);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
