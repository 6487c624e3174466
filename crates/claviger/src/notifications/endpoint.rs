//! Posting an event: the request, its bounds, and what an answer means. No redirect is followed, and nothing of an answer counts
//! but its status.

use crate::config::model::Listener;
use crate::http::tls;
use anyhow::Context as _;
use bytes::Bytes;
use claviger_gateway::upstream;
use claviger_proto::encode::base64;
use claviger_proto::secret::Secret;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::CertificateError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time of a whole exchange. A receiver that writes to its database and to its broker may take a while.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(15);
const IDLE_CONNECTION_AGE: Duration = Duration::from_secs(20);
/// What is read of an answer, so that its connection can be used again.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Where a listener's events go.
pub(super) struct Endpoint {
    uri: Uri,
    headers: HeaderMap,
    client: Client<upstream::Connector, Full<Bytes>>,
}

/// What became of a post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The event was taken.
    Delivered,
    /// This body was refused; others may be taken.
    Refused(String),
    /// The receiver failed, gave no answer, or something before it refused. It may be this body, or all.
    Failed(String),
    /// Nobody's events are taken at the moment: no connection, wrong credentials, too many requests.
    Away(String),
}

impl Endpoint {
    /// The endpoint of a listener, with these authorities.
    pub(super) fn new(listener: &Listener, trusted: Vec<CertificateDer<'static>>) -> anyhow::Result<Self> {
        let uri: Uri = listener.endpoint.as_str().parse().context("the notification endpoint is not a URL")?;
        let pair = Secret::new(format!("{}:{}", listener.username, listener.password.expose()));
        let mut headers = HeaderMap::new();
        let authorization = HeaderValue::from_str(&format!("Basic {}", base64(pair.expose().as_bytes())));
        headers.insert(AUTHORIZATION, authorization.context("the credentials cannot be sent in a header")?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &listener.headers {
            let value = HeaderValue::from_str(value.expose());
            headers.insert(name, value.with_context(|| format!("the header {name} cannot be sent"))?);
        }
        for value in headers.values_mut() {
            value.set_sensitive(true);
        }
        let tls = if listener.is_host_verified { tls::client_config(trusted) } else { any_host(trusted) };
        let tls = tls.context("the trusted certificates cannot be used")?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION_AGE)
            .build(upstream::connector(CONNECT_TIMEOUT, tls));
        Ok(Self { uri, headers, client })
    }

    /// Posts an event.
    pub(super) async fn post(&self, body: Bytes) -> Outcome {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let exchange = async {
            match self.client.request(request).await {
                Ok(response) => {
                    let status = response.status();
                    // Whatever it says, and whether it comes to its end or not: the status was the answer.
                    drop(Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await);
                    outcome(status)
                }
                Err(error) => Outcome::Away(upstream::chain(&error)),
            }
        };
        let bounded = tokio::time::timeout(EXCHANGE_TIMEOUT, exchange).await;
        bounded.unwrap_or_else(|_| Outcome::Failed(format!("no answer in {} s", EXCHANGE_TIMEOUT.as_secs())))
    }
}

/// What an answer means (rest-3x.md 5.3): 2xx is taken, whatever the receiver does with it.
fn outcome(status: StatusCode) -> Outcome {
    let text = format!("answered {}", status.as_u16());
    match status {
        _ if status.is_success() => Outcome::Delivered,
        StatusCode::UNAUTHORIZED
        | StatusCode::PROXY_AUTHENTICATION_REQUIRED
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::MISDIRECTED_REQUEST
        | StatusCode::TOO_EARLY
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE => Outcome::Away(text),
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Outcome::Failed(text),
        _ if status.is_client_error() => Outcome::Refused(text),
        _ if status.is_server_error() => Outcome::Failed(text),
        // A redirect is an endpoint that is configured wrongly.
        _ => Outcome::Away(text),
    }
}

/// TLS that takes a trusted certificate whatever host it names.
fn any_host(trusted: Vec<CertificateDer<'static>>) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyHost(verifier))).with_no_client_auth())
}

/// Checks everything but the name.
#[derive(Debug)]
struct AnyHost(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is what it looks at last: the chain holds.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
