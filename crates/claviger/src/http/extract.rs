//! What a handler takes of a request, and the one place that knows why a part cannot be taken.
//!
//! axum's own `Bytes`, `Path` and `Multipart` answer in plain text; these answer in the form that refusals of the management side share,
//! unless a handler asks for a `Result` and its wire has words of its own.

use crate::app::App;
use crate::http::reply;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Why a part of a request cannot be taken. The text is for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The body is larger than `limits.body_bytes_max`.
    #[error("The request is too large")]
    TooLarge,
    /// The client has broken the body off.
    #[error("The request is incomplete")]
    BrokenOff,
    /// The body should be a multipart form and says that it is not.
    #[error("The body is no multipart form")]
    NotMultipart,
    /// A segment of the path is not UTF-8, or not what its place is for.
    #[error("The path cannot be read")]
    Path,
}

impl Unreadable {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BrokenOff | Self::NotMultipart | Self::Path => StatusCode::BAD_REQUEST,
        }
    }
}

impl IntoResponse for Unreadable {
    fn into_response(self) -> Response {
        let status = self.status();
        let name = status.canonical_reason().unwrap_or_default();
        reply::portal_error(status, u32::from(status.as_u16()), name, &self.to_string())
    }
}

/// A body, read whole.
pub struct Whole(pub Bytes);

impl FromRequest<Arc<App>> for Whole {
    type Rejection = Unreadable;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Unreadable> {
        read_whole(app, request.into_body()).await.map(Self)
    }
}

/// Reads a body of at most `limits.body_bytes_max`.
pub async fn read_whole(app: &App, body: Body) -> Result<Bytes, Unreadable> {
    match Limited::new(body, app.limits.body_bytes_max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Unreadable::TooLarge),
        Err(_) => Err(Unreadable::BrokenOff),
    }
}

/// A multipart form, read part by part.
pub struct Multipart(pub axum::extract::Multipart);

impl FromRequest<Arc<App>> for Multipart {
    type Rejection = Unreadable;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Unreadable> {
        let form = axum::extract::Multipart::from_request(request, app).await;
        form.map(Self).map_err(|_| Unreadable::NotMultipart)
    }
}

/// The placeholders of a route's path.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<App>> for Path<T> {
    type Rejection = Unreadable;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Unreadable> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, app).await;
        path.map(|axum::extract::Path(value)| Self(value)).map_err(|_| Unreadable::Path)
    }
}
