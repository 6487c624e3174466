//! What every process has, whatever its roles: metrics, health, limits.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Bounds of the management ports.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest request body.
    pub body_bytes_max: usize,
    /// Open connections per port.
    pub connections_max: usize,
    /// Longest request.
    pub request_timeout_s: u64,
}

/// Answers by class of status.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByClass {
    class: &'static str,
}

/// Counters of the management side and of the event log.
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<ByClass, Counter>,
    duration_seconds: Histogram,
    /// Events committed but not yet taken notice of by this node.
    pub event_lag: Gauge,
    /// Looks of this node at the log of events.
    pub event_reads: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let requests = Family::<ByClass, Counter>::default();
        let buckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
        let duration_seconds = Histogram::new(buckets);
        let (event_lag, event_reads) = (Gauge::default(), Counter::default());
        registry.register("claviger_management_requests", "Answers of the management ports by class", requests.clone());
        registry.register(
            "claviger_management_request_duration_seconds",
            "Time to answer on the management ports",
            duration_seconds.clone(),
        );
        registry.register("claviger_event_lag", "Events this node has not yet taken notice of", event_lag.clone());
        registry.register("claviger_event_reads", "Looks of this node at the log of events", event_reads.clone());
        Self { registry: Mutex::new(registry), requests, duration_seconds, event_lag, event_reads }
    }
}

impl Metrics {
    /// Where other parts register theirs.
    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().expect("nothing panics while registering or encoding")
    }

    /// Counts an answer.
    pub fn observe(&self, status: StatusCode, elapsed: Duration) {
        let class = match status.as_u16() / 100 {
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            5 => "5xx",
            _ => "other",
        };
        self.requests.get_or_create(&ByClass { class }).inc();
        self.duration_seconds.observe(elapsed.as_secs_f64());
    }

    /// `GET /metrics` in the OpenMetrics text format.
    pub fn reply(&self) -> Response {
        let mut text = String::new();
        match encode(&mut text, &self.registry()) {
            Ok(()) => {
                ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
            }
            Err(error) => crate::http::reply::internal(&error),
        }
    }
}
