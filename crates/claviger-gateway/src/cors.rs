//! Cross-origin headers (portal-gateway-3x.md 6.4).
//!
//! Owns: which headers an answer gets, on preflights and on normal calls. Leaves to `route`: what a preflight is.
//! A call without `Origin` gets no CORS header, except for the preflight: nobody would read it.

use crate::model::Cors;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// Longest origin that is compared: a scheme, a host name of DNS and a port.
const ORIGIN_BYTES_MAX: usize = 280;

/// The values of one API, ready to be sent.
#[derive(Debug)]
pub(crate) struct CorsRules {
    is_any_origin: bool,
    origins: Vec<String>,
    methods: Vec<String>,
    allow_headers: Option<HeaderValue>,
    is_credentials_allowed: bool,
    expose_headers: Option<HeaderValue>,
}

impl CorsRules {
    /// The rules of an API whose token travels in a header of this name.
    pub(crate) fn new(cors: &Cors, authorization_header: &str) -> Self {
        let list = |items: &[String]| HeaderValue::from_str(&items.join(",")).ok().filter(|value| !value.is_empty());
        let mut headers = cors.headers.clone();
        headers.push(authorization_header.to_owned());
        Self {
            is_any_origin: cors.origins.iter().any(|origin| origin == "*"),
            origins: cors.origins.clone(),
            methods: cors.methods.clone(),
            allow_headers: list(&headers),
            is_credentials_allowed: cors.is_credentials_allowed,
            expose_headers: list(&cors.expose_headers),
        }
    }

    /// Adds the headers that are not there yet. `verbs` are those of the matched path.
    pub(crate) fn add<'a>(
        &self,
        headers: &mut HeaderMap,
        origin: Option<&HeaderValue>,
        verbs: impl Iterator<Item = &'a Method>,
    ) {
        if !self.is_any_origin {
            // The answer differs by origin; a cache must not give one's answer to another.
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        let Some(allowed) = self.allowed_origin(origin) else { return };
        set(headers, ACCESS_CONTROL_ALLOW_ORIGIN, Some(allowed));
        let offered: Vec<&str> =
            verbs.map(Method::as_str).filter(|verb| self.methods.iter().any(|method| method == verb)).collect();
        set(headers, ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_str(&offered.join(",")).ok());
        set(headers, ACCESS_CONTROL_ALLOW_HEADERS, self.allow_headers.clone());
        if self.is_credentials_allowed && !self.is_any_origin {
            set(headers, ACCESS_CONTROL_ALLOW_CREDENTIALS, Some(HeaderValue::from_static("true")));
        }
        set(headers, ACCESS_CONTROL_EXPOSE_HEADERS, self.expose_headers.clone());
    }

    fn allowed_origin(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        if self.is_any_origin {
            return Some(HeaderValue::from_static("*"));
        }
        let value = origin?;
        let text = value.to_str().ok().filter(|text| text.len() <= ORIGIN_BYTES_MAX)?;
        self.origins.iter().any(|pattern| is_origin_match(pattern, text)).then(|| value.clone())
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.entry(name).or_insert(value);
    }
}

/// `https://*.example.com`: a `*` stands for one or more characters of a host name or port, so it cannot reach over into
/// another host's name.
fn is_origin_match(pattern: &str, origin: &str) -> bool {
    let Some((first, others)) = pattern.split_once('*') else { return pattern == origin };
    let (between, last) = others.rsplit_once('*').map_or((None, others), |(between, last)| (Some(between), last));
    let Some(mut rest) = origin.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else { return false };
    let is_starred = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
    };
    // Each piece at its first place behind a character for the star. Taking a later place never helps: the star before it
    // would cover all that the first place did, and what is behind only gets shorter.
    for piece in between.into_iter().flat_map(|between| between.split('*')) {
        let Some(at) = rest.get(1..).and_then(|behind| behind.find(piece)) else { return false };
        let (starred, found) = rest.split_at(at + 1);
        if !is_starred(starred) {
            return false;
        }
        rest = &found[piece.len()..];
    }
    is_starred(rest)
}
