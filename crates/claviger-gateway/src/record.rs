//! Phase 6: what is counted and logged of each request.
//!
//! Owns: the metrics and the access event (target `access`). No secret gets here: paths without their query, tokens as
//! eight digits of their hash. Leaves to the program: the registry's page and where events are written.
//!
//! Counting takes no lock: the library's histogram and families do, so the histogram is our own and each class of outcome
//! has its counter from the start.

use crate::gateway::{Context, Gateway, Outcome};
use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Upper bounds of the latency buckets; the last bucket has none.
const BUCKET_MICROS: [u64; 12] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_500_000, 10_000_000];

/// The gateway's counters.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: [Counter; Outcome::ALL.len()],
    latency: Arc<Latency>,
    pub(crate) verdict_hits: Counter,
    pub(crate) verdict_misses: Counter,
}

/// Time from the head of the request to the head of the answer.
#[derive(Debug, Default)]
struct Latency {
    buckets: [AtomicU64; BUCKET_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

impl Metrics {
    /// Counters under `gateway_`.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("gateway");
        let family = prometheus_client::metrics::family::Family::<OutcomeLabel, Counter>::default();
        let requests =
            Outcome::ALL.map(|outcome| family.get_or_create_owned(&OutcomeLabel { outcome: outcome.as_str() }));
        registry.register("requests", "Requests by what became of them", family);
        let latency = Arc::new(Latency::default());
        registry.register(
            "request_seconds",
            "Head of the request to head of the answer",
            LatencyMetric(Arc::clone(&latency)),
        );
        let verdict_hits = Counter::default();
        registry.register("verdict_hits", "Tokens whose verdict was cached", verdict_hits.clone());
        let verdict_misses = Counter::default();
        registry.register("verdict_misses", "Tokens that had to be judged", verdict_misses.clone());
        Self { requests, latency, verdict_hits, verdict_misses }
    }

    fn count(&self, outcome: Outcome, elapsed: Duration) {
        self.requests[outcome as usize].inc();
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKET_MICROS.partition_point(|bound| *bound < micros);
        self.latency.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.latency.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct LatencyMetric(Arc<Latency>);

impl EncodeMetric for LatencyMetric {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let bounds = BUCKET_MICROS.iter().map(|micros| seconds(*micros)).chain([f64::MAX]);
        let counts = self.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(self.0.sum_micros.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[expect(clippy::cast_precision_loss, reason = "a metric of seconds needs no 52 bits of microseconds")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1_000_000.0
}

/// Values that are read when the page of metrics is.
#[derive(Debug)]
pub(crate) struct StateCollector(pub(crate) Weak<Gateway>);

impl Collector for StateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Some(gateway) = self.0.upgrade() else { return Ok(()) };
        let count = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let values = [
            ("gateway_requests_in_flight", "Requests in flight", count(gateway.in_flight.count())),
            ("gateway_verdicts_cached", "Tokens with a cached good verdict", count(gateway.verdicts.count())),
            ("gateway_revoked_tokens", "Revoked tokens that are remembered", count(gateway.catalog.revoked_count())),
            ("gateway_follower_lag_events", "Events the copy is behind", gateway.following.lag_events()),
            (
                "gateway_follower_page_age_seconds",
                "Time since the last page of events; -1 before the first",
                gateway.following.page_age_ms(gateway.clock.now()).map_or(-1, |age_ms| age_ms / 1000),
            ),
        ];
        for (name, help, value) in values {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

impl Gateway {
    /// Counts a request that is over and tells the access log. Without a status the caller has not waited for one.
    pub(crate) fn record(&self, context: &Context, status: Option<StatusCode>) {
        let elapsed = context.started.elapsed();
        self.metrics.count(context.outcome, elapsed);
        tracing::info!(
            target: "access",
            method = context.method.as_str(),
            path = context.path(),
            status = status.map(|status| status.as_u16()),
            outcome = context.outcome.as_str(),
            api = context.api.as_ref().map(|api| api.name.as_str()),
            version = context.api.as_ref().map(|api| api.version.as_str()),
            application = context.caller.as_ref().map(|caller| caller.client.application.name.as_str()),
            application_id = context.caller.as_ref().map(|caller| caller.client.application.id.0),
            user = context.caller.as_ref().map(|caller| caller.verdict.username.as_str()),
            token = context.caller.as_ref().map(|caller| tracing::field::display(&caller.verdict.token)),
            peer = context.peer.to_str().unwrap_or_default(),
            activity = context.activity.as_ref().and_then(|activity| activity.to_str().ok()),
            duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        );
    }
}
