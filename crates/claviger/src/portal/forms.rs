//! Multipart forms of the publisher, with bounds (portal-gateway-3x.md 2.1, 2.8).

use super::error::PortalError;
use super::openapi_read::DEFINITION_BYTES_MAX;
use axum::extract::Multipart;
use std::collections::BTreeMap;

/// Most parts of a form.
const PARTS_MAX: usize = 10;

/// The text parts of a form by name. Files are text too: definitions.
pub async fn read(mut form: Multipart) -> Result<BTreeMap<String, String>, PortalError> {
    let malformed = |_| PortalError::MalformedBody;
    let mut parts = BTreeMap::new();
    while let Some(mut field) = form.next_field().await.map_err(malformed)? {
        let name = field.name().unwrap_or_default().to_owned();
        let mut bytes = Vec::new();
        while let Some(chunk) = field.chunk().await.map_err(malformed)? {
            if bytes.len() + chunk.len() > DEFINITION_BYTES_MAX || parts.len() >= PARTS_MAX {
                return Err(PortalError::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        let text =
            String::from_utf8(bytes).map_err(|_| PortalError::BadRequest(format!("'{name}' is not UTF-8 text")))?;
        parts.insert(name, text);
    }
    Ok(parts)
}

/// The definition in a form: a file (or the text field `apiDefinition`). URLs are not fetched: a portal that fetches what a
/// client names reaches into the operator's network.
pub fn definition(parts: &BTreeMap<String, String>) -> Result<&str, PortalError> {
    let part = |name: &str| parts.get(name).filter(|text| !text.trim().is_empty());
    let text = part("file").or_else(|| part("apiDefinition"));
    match (text, part("url")) {
        (Some(text), None) => Ok(text),
        (Some(_), Some(_)) => Err(PortalError::BadRequest("Only one of 'file' and 'url' should be specified".into())),
        (None, Some(_)) => Err(PortalError::BadRequest("Importing from a URL is switched off; send the file".into())),
        (None, None) => Err(PortalError::BadRequest("Either 'file' or 'url' should be specified".into())),
    }
}
