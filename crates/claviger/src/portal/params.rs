//! The parameters of a query string, refused in the portal's form.

use super::error::PortalError;
use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use serde::de::DeserializeOwned;

/// The query string as a value.
#[derive(Clone, Copy, Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = PortalError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, PortalError> {
        // PostgreSQL takes no NUL in a text.
        if parts.uri.query().is_some_and(|query| query.contains("%00")) {
            return Err(PortalError::BadRequest("A query parameter holds a character that is not allowed".to_owned()));
        }
        let Query(value) =
            Query::try_from_uri(&parts.uri).map_err(|rejection| PortalError::BadRequest(rejection.body_text()))?;
        Ok(Self(value))
    }
}
