//! Base ports, to which the offset is added (configuration.md 1.6).

/// Management, TLS.
pub const MANAGEMENT_HTTPS: u16 = 9443;
/// Management, plain.
pub const MANAGEMENT_HTTP: u16 = 9763;
/// Gateway, TLS.
pub const GATEWAY_HTTPS: u16 = 8243;
/// Gateway, plain.
pub const GATEWAY_HTTP: u16 = 8280;
