//! A request of the OAuth endpoints, read whole.

use crate::app::App;
use crate::http::extract;
use crate::oauth::reply::{self, TokenError};
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use claviger_proto::form::Form;
use std::sync::Arc;

/// Headers and body of a request that should be a form. The headers are moved out of the request and the body is read where
/// it stands: these are the busiest endpoints, and the library's extractors copy the one and box the other.
pub struct FormRequest {
    /// The headers.
    pub headers: HeaderMap,
    body: Bytes,
}

impl FormRequest {
    /// The form, which must be `application/x-www-form-urlencoded`.
    pub fn form(&self) -> Result<Form, TokenError> {
        let content_type = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(TokenError::NotAForm);
        }
        Ok(Form::parse(&self.body)?)
    }
}

impl FromRequest<Arc<App>> for FormRequest {
    type Rejection = Response;

    async fn from_request(mut request: Request, app: &Arc<App>) -> Result<Self, Response> {
        let headers = std::mem::take(request.headers_mut());
        match extract::read_whole(app, request.into_body()).await {
            Ok(body) => Ok(Self { headers, body }),
            Err(error) => Err(reply::reply(&error.into(), &app.oauth.settings.host)),
        }
    }
}
