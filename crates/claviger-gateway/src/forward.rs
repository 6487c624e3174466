//! Phase 5: the call of the backend, streaming in both directions.
//!
//! Owns: the request line and the choice of the endpoint (portal-gateway-3x.md 6.6, 6.7). Leaves to `rewrite` the headers,
//! to `upstream` the connections, to `body` the pieces.

use crate::api::{Api, Target};
use crate::body::{ProxyBody, RequestBody};
use crate::fault::{Fault, Refusal};
use crate::gateway::Gateway;
use crate::model::KeyType;
use crate::rewrite::{self, Inbound};
use http::request::Parts;
use http::{Request, Response, Version};
use std::time::Duration;

impl Gateway {
    /// Sends a request to the endpoint for this type of key. `rest` is the path behind the API's context.
    pub(crate) async fn forward(
        &self,
        api: &Api,
        key_type: KeyType,
        request: (Parts, RequestBody),
        rest: &str,
        inbound: Inbound<'_>,
    ) -> Result<Response<ProxyBody>, Refusal> {
        let backend = match api.target(key_type) {
            Target::Ready(backend) => backend,
            Target::Absent => return Err(Fault::NoEndpoint(key_type).into()),
            Target::Unusable => return Err(Fault::BackendFailed.into()),
        };
        let (mut parts, body) = request;
        let query = rewrite::query(parts.uri.query());
        parts.uri = backend.uri(rest, query.as_deref()).ok_or(Fault::AmbiguousPath)?;
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        rewrite::request_headers(&mut parts.headers, inbound, backend);
        let idle_timeout = Duration::from_millis(self.config.body_idle_timeout_ms);
        let request = Request::from_parts(parts, ProxyBody::received(body, idle_timeout));
        let response = self.upstream.send(request, backend.timeout).await?;
        if response.status().is_informational() {
            // A switch of protocols that nobody asked for.
            return Err(Fault::BackendFailed.into());
        }
        let (mut head, incoming) = response.into_parts();
        rewrite::response_headers(&mut head.headers)?;
        head.version = Version::HTTP_11;
        head.extensions.clear();
        Ok(Response::from_parts(head, ProxyBody::streamed(incoming, idle_timeout)))
    }
}
