//! How much the gateway takes on at once.
//!
//! Owns: the bound on requests in flight, on the lengths of URI and token, and the least rate of a body (security.md 4.5).
//! Leaves to a later piece: the throttling policies of portal-gateway-3x.md 6.11; to `listen`: headers, streams per
//! connection; to `body` and `connection`: whoever is slower than that.

use crate::fault::Fault;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Rate at which a client has to send and take bodies.
const BODY_BYTES_PER_SECOND_MIN: u64 = 240;

/// Counts requests in flight.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlight(Arc<AtomicUsize>);

/// The right to be in flight, given back on drop.
#[derive(Debug)]
pub(crate) struct Permit(Arc<AtomicUsize>);

impl InFlight {
    /// Takes a permit, or none when `requests_max` are taken.
    pub(crate) fn take(&self, requests_max: usize) -> Result<Permit, Fault> {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(Arc::clone(&self.0));
        if before < requests_max { Ok(permit) } else { Err(Fault::TooManyInFlight) }
    }

    /// Permits that are out.
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long so many bytes of a body may take.
pub(crate) fn body_time(bytes: usize) -> Duration {
    Duration::from_millis((bytes as u64).saturating_mul(1_000) / BODY_BYTES_PER_SECOND_MIN)
}

/// Is the path with its query short enough?
pub(crate) fn check_uri(uri: &http::Uri, uri_bytes_max: usize) -> Result<(), Fault> {
    let length = uri.path_and_query().map_or(0, |both| both.as_str().len());
    if length <= uri_bytes_max { Ok(()) } else { Err(Fault::UriTooLong) }
}

/// Is the token short enough to be looked at?
pub(crate) fn check_token(token: &str, token_bytes_max: usize) -> Result<(), Fault> {
    if token.len() <= token_bytes_max { Ok(()) } else { Err(Fault::TokenTooLong) }
}
