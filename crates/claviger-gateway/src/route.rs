//! Phase 1: which API and resource a request is for, and the requests that end here.
//!
//! Owns: portal-gateway-3x.md 6.1-6.4: context match, transport, BLOCKED, resource match (404 and 405 come before any
//! question about a token), preflight, the page at `/`, and health (6.10). Leaves to `path`, `resource` and `cors`: their
//! rules; to `authenticate`: who may call the resource.

use crate::api::Api;
use crate::body::ProxyBody;
use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::listen::Scheme;
use crate::model::ApiStatus;
use crate::path::CheckedPath;
use crate::resource::Found;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use std::sync::Arc;

/// Where a request goes.
pub(crate) enum Routed {
    /// Answered by the gateway itself.
    Here(Response<ProxyBody>),
    /// To a resource of an API.
    Resource(usize),
}

/// An API that was found by a path.
pub(crate) struct Located {
    pub(crate) api: Arc<Api>,
    /// Length of the context in the decoded path.
    decoded_length: usize,
    /// Length of the context in the path as it came.
    raw_length: usize,
}

impl Located {
    /// The part behind the context, as it came.
    pub(crate) fn raw_rest<'a>(&self, path: &CheckedPath<'a>) -> &'a str {
        &path.raw[self.raw_length..]
    }

    /// The part behind the context, decoded.
    pub(crate) fn decoded_rest<'a>(&self, path: &'a CheckedPath<'_>) -> &'a str {
        &path.decoded[self.decoded_length..]
    }
}

impl Gateway {
    /// The API a path belongs to.
    pub(crate) fn locate(&self, path: &CheckedPath<'_>) -> Option<Located> {
        let (api, decoded_length) = self.catalog.find_api(&path.decoded)?;
        let slashes = path.decoded[..decoded_length].matches('/').count();
        // Escapes never make or hide a slash, so the context ends before the same slash in both forms.
        let raw_length = path.raw.match_indices('/').nth(slashes).map_or(path.raw.len(), |(index, _)| index);
        Some(Located { api, decoded_length, raw_length })
    }

    /// Answers that need no API.
    pub(crate) fn answer_without_api(&self, method: &Method, path: &str) -> Result<Response<ProxyBody>, Fault> {
        Ok(match (path, method.as_str()) {
            ("/", "GET") => text(StatusCode::OK, "text/html; charset=UTF-8", PAGE),
            ("/health/live", "GET") => text(StatusCode::OK, "text/plain; charset=UTF-8", "live\n"),
            ("/health/ready", "GET") if self.is_ready() => text(StatusCode::OK, "text/plain; charset=UTF-8", "ready\n"),
            ("/health/ready", "GET") => {
                text(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=UTF-8", "not ready\n")
            }
            _ => return Err(Fault::UnknownContext),
        })
    }

    /// The resource of an API that a request is for.
    pub(crate) fn route(&self, api: &Api, parts: &Parts, scheme: Scheme, rest: &str) -> Result<Routed, Fault> {
        if !api.has_transport(scheme) {
            return Err(Fault::UnsupportedTransport(scheme));
        }
        if api.status == ApiStatus::Blocked {
            return Err(Fault::ApiBlocked);
        }
        let matching = self.config.resource_matching;
        let found = api.resources.find(&parts.method, rest, matching);
        if parts.method == Method::OPTIONS && self.config.is_cors_enabled && !matches!(found, Found::Resource(_)) {
            return self.preflight(api, parts, rest);
        }
        match found {
            Found::Resource(index) => Ok(Routed::Resource(index)),
            Found::OtherVerb => Err(Fault::MethodNotAllowed),
            Found::Nothing => Err(Fault::NoResource),
        }
    }

    /// OPTIONS on a path that does not define it: the question is about the verb that would follow, or, when none is
    /// named, about any.
    fn preflight(&self, api: &Api, parts: &Parts, rest: &str) -> Result<Routed, Fault> {
        let matching = self.config.resource_matching;
        let requested = parts.headers.get(ACCESS_CONTROL_REQUEST_METHOD);
        let found = match requested.and_then(|verb| Method::from_bytes(verb.as_bytes()).ok()) {
            Some(verb) => api.resources.find(&verb, rest, matching),
            None => api.resources.verbs_of(rest, matching).next().map_or(Found::Nothing, |_| Found::Resource(0)),
        };
        match found {
            Found::Resource(_) => Ok(Routed::Here(Response::new(ProxyBody::own("")))),
            Found::OtherVerb => Err(Fault::MethodNotAllowed),
            Found::Nothing => Err(Fault::NoResource),
        }
    }
}

const PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en\"><head><title>Claviger gateway</title></head><body><p>This is the API \
                    gateway. Call an API by its context.</p></body></html>\n";

fn text(status: StatusCode, content_type: &'static str, body: &'static str) -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::own(bytes::Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
