//! Answers of some megabytes, compressed when that is asked for: what a gateway loads at its start is mostly repetition.
//!
//! For this feature's answers alone: none of them mixes a secret with what a stranger chose (BREACH).

use crate::http::reply;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use std::io::{self, Write as _};

/// Below it the frame outweighs what is saved.
const BYTES_MIN: usize = 512;

/// 200 with a JSON body, compressed when the request takes gzip. Both are work for a thread of its own: a large installation has
/// some ten megabytes of APIs.
pub(super) async fn answer<T: Serialize + Send + 'static>(headers: &HeaderMap, value: T) -> Response {
    let is_compressed = is_asked_for(headers);
    let written = tokio::task::spawn_blocking(move || write(&value, is_compressed)).await;
    match written {
        Ok(Ok((body, is_compressed))) => {
            let mut response = (StatusCode::OK, [(CONTENT_TYPE, "application/json")], body).into_response();
            response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
            if is_compressed {
                response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        }
        Ok(Err(error)) => reply::internal(&error),
        Err(error) => reply::internal(&error),
    }
}

fn write<T: Serialize>(value: &T, is_compressed: bool) -> io::Result<(Vec<u8>, bool)> {
    let body = serde_json::to_vec(value)?;
    if !is_compressed || body.len() < BYTES_MIN {
        return Ok((body, false));
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    encoder.write_all(&body)?;
    Ok((encoder.finish()?, true))
}

/// RFC 9110 section 12.5.3; gateways of 4.x ask by `Accept: application/gzip` too.
fn is_asked_for(headers: &HeaderMap) -> bool {
    if headers.get(ACCEPT).is_some_and(|value| value == "application/gzip") {
        return true;
    }
    let mut any = None;
    for value in headers.get_all(ACCEPT_ENCODING) {
        for entry in value.to_str().unwrap_or_default().split(',') {
            let (coding, parameter) = entry.split_once(';').unwrap_or((entry, ""));
            let weight = parameter.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f32>().ok());
            let is_taken = weight.is_none_or(|weight| weight > 0.0);
            match coding.trim().to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => return is_taken,
                "*" => any = Some(is_taken),
                _ => {}
            }
        }
    }
    any.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_gzip() {
        let check = |value: &'static str, expected: bool| {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            assert_eq!(is_asked_for(&headers), expected, "{value}");
        };
        check("gzip", true);
        check("gzip,deflate", true);
        check("br, GZIP;q=0.5", true);
        check("deflate, *", true);
        check("*;q=0", false);
        check("gzip; q=0, *", false);
        check("*, gzip;q=0", false);
        check("identity", false);
        check("", false);
        assert!(!is_asked_for(&HeaderMap::new()));
        assert!(is_asked_for(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/gzip"))])));
    }
}
