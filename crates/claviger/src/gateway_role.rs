//! The gateway role: a `claviger_gateway::Gateway` with this program's configuration, TLS and ports.

use crate::config::Config;
use crate::config::model::ResourceMatching;
use crate::http::serve::{Port, accept};
use crate::http::tls;
use crate::ops::Metrics;
use crate::startup::keystores;
use anyhow::Context as _;
use claviger_gateway::config::ResourceMatching as Matching;
use claviger_gateway::control::ControlPlane;
use claviger_gateway::model::Cors;
use claviger_gateway::remote::RemoteControlPlane;
use claviger_gateway::{Gateway, GatewayConfig, Scheme};
use claviger_proto::entropy::Entropy;
use claviger_proto::time::Clock;
use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Makes the gateway. It serves nothing before its follower has a snapshot.
pub fn start(
    config: &Config,
    control: Arc<dyn ControlPlane>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Entropy>,
    metrics: &Metrics,
) -> anyhow::Result<Arc<Gateway>> {
    let backend_tls =
        tls::client_config(backend_authorities(config)?).context("the trusted certificates cannot be used")?;
    Ok(Gateway::new(gateway_config(config), control, clock, rng, backend_tls, &mut metrics.registry()))
}

/// Opens the gateway's ports and starts its follower.
pub fn open(
    gateway: &Arc<Gateway>,
    ports: [(Option<TcpListener>, Option<TlsAcceptor>); 2],
    connections_max: usize,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) {
    tasks.spawn(gateway.clone().run_follower(stopping.clone()));
    for (listener, tls) in ports {
        let Some(listener) = listener else { continue };
        let scheme = if tls.is_some() { Scheme::Https } else { Scheme::Http };
        let (gateway, port) = (gateway.clone(), Port { listener, tls, connections_max });
        tasks.spawn(accept(port, stopping.clone(), move |stream, peer, stopping| {
            let gateway = gateway.clone();
            async move { gateway.serve_connection(stream, peer.address, scheme, stopping).await }
        }));
    }
}

/// The control plane of a gateway apart: `[apim.key_manager]` names it, `[truststore]` holds its certificate.
pub fn remote_control_plane(
    config: &Config,
    own_certificate: Vec<CertificateDer<'static>>,
) -> anyhow::Result<Arc<dyn ControlPlane>> {
    let key_manager = &config.key_manager;
    // WSO2 names the old services' URL; everything before `/services` is the server.
    let base = key_manager.service_url.split("/services").next().unwrap_or_default();
    let base = url::Url::parse(base).with_context(|| format!("apim.key_manager.service_url {base:?} is not a URL"))?;
    let password = key_manager.password.as_ref().or(config.super_admin.password.as_ref());
    let password = password.context(
        "a gateway apart needs the control plane's credentials: set apim.key_manager.username and apim.key_manager.password",
    )?;
    let mut trusted = trust_store(config)?;
    // Two processes on one data directory share their certificate.
    trusted.extend(own_certificate.into_iter().take(1));
    let tls = tls::client_config(trusted).context("the certificates of [truststore] cannot be used")?;
    Ok(Arc::new(RemoteControlPlane::new(&base, &key_manager.username, password, tls)?))
}

fn trust_store(config: &Config) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    config.keystore.trust.as_ref().map_or(Ok(Vec::new()), keystores::load_trusted)
}

/// Backends, and who is told of events, are trusted by the system's authorities and by `[truststore]`.
pub fn backend_authorities(config: &Config) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!(%error, "a certificate of the system's store is left out");
    }
    let mut trusted = system.certs;
    trusted.extend(trust_store(config)?);
    Ok(trusted)
}

fn gateway_config(config: &Config) -> GatewayConfig {
    let cors = &config.cors;
    GatewayConfig {
        clock_skew_ms: config.oauth.timestamp_skew_s.saturating_mul(1000),
        requests_in_flight_max: config.gateway.in_flight_requests_max,
        endpoint_timeout_ms: config.gateway.endpoint_timeout_ms,
        is_outbound_authorization_kept: config.apim_oauth.is_outbound_auth_header_enabled,
        is_backend_fault_as_gateway_status: config.gateway.is_backend_fault_a_gateway_status,
        resource_matching: match config.gateway.resource_matching {
            ResourceMatching::Specific => Matching::Specific,
            ResourceMatching::Upstream => Matching::Upstream,
        },
        is_cors_enabled: cors.is_enabled,
        cors: Cors {
            origins: cors.allow_origins.clone(),
            methods: cors.allow_methods.clone(),
            headers: cors.allow_headers.clone(),
            is_credentials_allowed: cors.is_credentials_allowed,
            expose_headers: Vec::new(),
        },
        ..GatewayConfig::default()
    }
}
