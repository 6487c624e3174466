//! Phase 4: the request as the backend gets it, and the answer as the client gets it.
//!
//! Owns: hop-by-hop hygiene (RFC 9110 section 7.6.1), the headers that must not come from a client, `Host`,
//! `X-Forwarded-For`, endpoint credentials (portal-gateway-3x.md 6.5, 6.6, 6.9). What the client calls hop-by-hop is removed
//! *before* anything is added, so it can never name a header of ours. Leaves to hyper: Content-Length, Transfer-Encoding of
//! what we send.

use crate::api::Backend;
use crate::credential;
use crate::fault::{Fault, Refusal};
use crate::framing;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const API_KEY: &str = "apikey";

/// Headers that the gateway alone may set, or that are meant for it (6.1, 6.5, 6.9).
const NEVER_FROM_CLIENT: [&str; 4] =
    ["x-jwt-assertion", "wso2_am_api_default_version", "x-wso2-client-certificate", API_KEY];

/// Also in a spelling that a CGI-style backend takes for the same header: to it `_` and `-` are one.
fn is_never_from_client(name: &HeaderName) -> bool {
    let folded = |name: &str| name.bytes().map(|byte| if byte == b'_' { b'-' } else { byte }).collect::<Vec<u8>>();
    NEVER_FROM_CLIENT.iter().any(|ours| ours.len() == name.as_str().len() && folded(ours) == folded(name.as_str()))
}

/// Removes what concerns one connection only.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let lines: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
        headers.remove(CONNECTION);
        let names = lines.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim);
        for name in names.filter(|name| !matches!(*name, "keep-alive" | "close")) {
            headers.remove(name);
        }
    }
    for name in [KEEP_ALIVE, PROXY_CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
}

/// What a request brings along beside its headers.
#[derive(Clone, Copy)]
pub(crate) struct Inbound<'a> {
    pub(crate) version: Version,
    /// Address of the caller's end of the connection.
    pub(crate) peer: &'a HeaderValue,
    /// Header to take the bearer token out of; `None` to leave it.
    pub(crate) credential: Option<&'a HeaderName>,
}

/// The headers for the backend.
pub(crate) fn request_headers(headers: &mut HeaderMap, inbound: Inbound<'_>, backend: &Backend) {
    remove_hop_by_hop(headers);
    headers.remove(PROXY_AUTHORIZATION);
    // The client got its 100 from us.
    headers.remove(EXPECT);
    let forged: Vec<HeaderName> = headers.keys().filter(|name| is_never_from_client(name)).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
    if let Some(name) = inbound.credential {
        credential::strip_bearer(headers, name);
    }
    if inbound.version == Version::HTTP_2 {
        join_cookies(headers);
    }
    headers.insert(HOST, backend.host.clone());
    append_forwarded_for(headers, inbound.peer);
    if let Some(authorization) = &backend.authorization {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
}

/// The headers for the client.
pub(crate) fn response_headers(headers: &mut HeaderMap) -> Result<(), Refusal> {
    // `identity` is no coding at all; servers of old name it.
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let (Some(only), None) = (codings.next(), codings.next())
        && only.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        headers.remove(TRANSFER_ENCODING);
    }
    if !framing::has_plain_coding(headers) {
        // We would have to decode it, and did not ask for it.
        let cause = Some("the answer has a Transfer-Encoding other than chunked".to_owned());
        return Err(Refusal { fault: Fault::BackendFailed, cause });
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        // RFC 9112 section 6.3: the chunks decide, and whoever forwards them removes the length. Refusing the answer is allowed
        // too, but a backend that says both has worked so far, and there is one reading of it.
        headers.remove(CONTENT_LENGTH);
    }
    remove_hop_by_hop(headers);
    Ok(())
}

/// HTTP/2 may split cookies into several lines, HTTP/1.1 may not (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let pieces: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&pieces.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

fn append_forwarded_for(headers: &mut HeaderMap, peer: &HeaderValue) {
    if !headers.contains_key(X_FORWARDED_FOR) {
        headers.insert(X_FORWARDED_FOR, peer.clone());
        return;
    }
    let mut pieces: Vec<&[u8]> = headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
    pieces.push(peer.as_bytes());
    if let Ok(joined) = HeaderValue::from_bytes(&pieces.join(&b", "[..])) {
        headers.insert(X_FORWARDED_FOR, joined);
    }
}

/// The query without the `apikey` parameter (6.5); `None` when nothing is left.
pub(crate) fn query(query: Option<&str>) -> Option<std::borrow::Cow<'_, str>> {
    let query = query?;
    if !query.contains(API_KEY) {
        return Some(query.into());
    }
    let is_kept = |pair: &&str| pair.split('=').next() != Some(API_KEY);
    let kept: Vec<&str> = query.split('&').filter(is_kept).collect();
    (!kept.is_empty()).then(|| kept.join("&").into())
}
