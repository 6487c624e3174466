//! The gateway's named limits and switches with their defaults.
//!
//! Owns: every bound of the data plane (security.md 4.5, portal-gateway-3x.md 6.4-6.6). Leaves to the program: reading
//! them from the configuration file.

use crate::model::Cors;

/// How resources are chosen (portal-gateway-3x.md 6.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResourceMatching {
    /// WSO2's order: `/*` hides every template of the API.
    Upstream,
    /// The same order, but a template is preferred to a bare `/*`.
    #[default]
    Specific,
}

/// Limits and switches of a gateway.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Tolerance for `exp` and `nbf` of JWTs: the OAuth server's timestamp skew (rest-3x.md 6.7). Not used for opaque
    /// tokens, whose end the key manager has already computed.
    pub clock_skew_ms: i64,
    /// Requests between their head and the end of a backend's answer, over all connections; beyond it 503.
    pub requests_in_flight_max: usize,
    /// Concurrent HTTP/2 streams of one connection (HTTP/1.1 has one at a time).
    pub streams_per_connection_max: u32,
    /// Header lines of a request.
    pub headers_max: usize,
    /// Request line and headers together.
    pub header_bytes_max: usize,
    /// Path and query; beyond it 414.
    pub uri_bytes_max: usize,
    /// A presented token; beyond it 431.
    pub token_bytes_max: usize,
    /// From the first byte of a request head to its end; for the first head from the beginning of the connection.
    pub header_read_timeout_ms: u64,
    /// From the end of an answer to the end of the next head on the same HTTP/1.1 connection; on one of HTTP/2 without any
    /// open request.
    pub keep_alive_timeout_ms: u64,
    /// To open a connection to a backend.
    pub connect_timeout_ms: u64,
    /// From the request to the head of the backend's answer, where the endpoint names no value of its own.
    pub endpoint_timeout_ms: u64,
    /// Between two pieces of a backend's answer. For a client in all: to send its body and to take its answer, beside what
    /// the bytes need at the least rate of a body.
    pub body_idle_timeout_ms: u64,
    /// Idle connections kept to one backend.
    pub idle_connections_per_backend_max: usize,
    /// How long an idle connection to a backend is kept.
    pub idle_connection_age_ms_max: u64,
    /// Cached positive verdicts.
    pub verdicts_max: usize,
    /// After this an opaque token is asked about again.
    pub verdict_age_ms_max: i64,
    /// Cached negative verdicts.
    pub negative_verdicts_max: usize,
    /// How long a negative verdict is kept.
    pub negative_verdict_age_ms_max: i64,
    /// Questions about opaque tokens that may be under way at once.
    pub token_checks_max: usize,
    /// Wait for the answer about one opaque token.
    pub token_check_timeout_ms: u64,
    /// Between two fetches of the issuers that an unknown `kid` caused.
    pub issuer_refetch_interval_ms: i64,
    /// How long a call of an unknown client may wait until the follower has looked again.
    pub unknown_client_wait_ms: u64,
    /// Between two looks that unknown clients caused.
    pub unknown_client_interval_ms: i64,
    /// How long the control plane may hold an empty page back.
    pub events_wait_ms: u64,
    /// Age of the last page from the control plane up to which the gateway calls itself ready.
    pub ready_age_ms_max: i64,
    /// Send the client's credential header on to the backend (`[apim.oauth_config] enable_outbound_auth_header`).
    pub is_outbound_authorization_kept: bool,
    /// Answer backend failures with 502 and 504 in place of WSO2's 500 (portal-gateway-3x.md 6.6).
    pub is_backend_fault_as_gateway_status: bool,
    /// How resources are chosen.
    pub resource_matching: ResourceMatching,
    /// `[apim.cors] enable`.
    pub is_cors_enabled: bool,
    /// CORS values for APIs without their own.
    pub cors: Cors,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            clock_skew_ms: 300_000,
            requests_in_flight_max: 10_000,
            streams_per_connection_max: 100,
            headers_max: 100,
            header_bytes_max: 16 * 1024,
            uri_bytes_max: 8 * 1024,
            token_bytes_max: 8 * 1024,
            header_read_timeout_ms: 10_000,
            keep_alive_timeout_ms: 60_000,
            connect_timeout_ms: 10_000,
            endpoint_timeout_ms: 120_000,
            body_idle_timeout_ms: 60_000,
            idle_connections_per_backend_max: 256,
            idle_connection_age_ms_max: 30_000,
            verdicts_max: 100_000,
            verdict_age_ms_max: 900_000,
            negative_verdicts_max: 10_000,
            negative_verdict_age_ms_max: 2_000,
            token_checks_max: 1_000,
            token_check_timeout_ms: 10_000,
            issuer_refetch_interval_ms: 60_000,
            unknown_client_wait_ms: 500,
            unknown_client_interval_ms: 1_000,
            events_wait_ms: 25_000,
            ready_age_ms_max: 60_000,
            is_outbound_authorization_kept: false,
            is_backend_fault_as_gateway_status: false,
            resource_matching: ResourceMatching::Specific,
            is_cors_enabled: true,
            cors: default_cors(),
        }
    }
}

/// The defaults of portal-gateway-3x.md 6.4.
fn default_cors() -> Cors {
    let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
    Cors {
        origins: list(&["*"]),
        methods: list(&["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"]),
        headers: list(&[
            "authorization",
            "Access-Control-Allow-Origin",
            "Content-Type",
            "SOAPAction",
            "apikey",
            "testKey",
        ]),
        is_credentials_allowed: false,
        expose_headers: Vec::new(),
    }
}
