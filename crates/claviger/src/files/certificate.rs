//! Making keys and self-signed certificates, and asking a certificate for whom it is.

use super::{FilesError, SIGNING_CERTIFICATE_DAYS, TLS_CERTIFICATE_DAYS, pem};
use claviger_proto::jose::generate_rsa_2048;
use claviger_proto::time::Timestamp;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair as RcgenKey, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, date_time_ymd,
};
use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use std::time::Duration;

/// The certificate begins this long before `now`, for clients whose clocks are behind.
const BACKDATED_SECS: i64 = 3600;
const DAY_SECS: i64 = 86_400;
/// Longest common name that X.520 allows.
const COMMON_NAME_CHARS_MAX: usize = 64;

/// A signing key with its certificate, as PEM text.
pub(super) fn signing_pem(now: Timestamp) -> Result<String, FilesError> {
    let failed = || FilesError::Generate("token signing".to_owned());
    let der = generate_rsa_2048().map_err(|_| failed())?;
    let key = RcgenKey::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der.as_slice()), &PKCS_RSA_SHA256)
        .map_err(|_| failed())?;
    let mut params = parameters("claviger", now, SIGNING_CERTIFICATE_DAYS);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    self_signed(&params, &key).ok_or_else(failed)
}

/// A server key with its certificate, as PEM text.
pub(super) fn tls_pem(host: &str, now: Timestamp) -> Result<String, FilesError> {
    let failed = || FilesError::Generate(format!("the host name {host:?}"));
    let mut names = vec![host.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.dedup();
    let with_names = CertificateParams::new(names).map_err(|_| failed())?;
    let common_name: String = host.chars().take(COMMON_NAME_CHARS_MAX).collect();
    let mut params = parameters(&common_name, now, TLS_CERTIFICATE_DAYS);
    params.subject_alt_names = with_names.subject_alt_names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = RcgenKey::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| failed())?;
    self_signed(&params, &key).ok_or_else(failed)
}

fn parameters(common_name: &str, now: Timestamp, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    let start_secs = now.as_secs() - BACKDATED_SECS;
    let at = |secs: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(secs).unwrap_or(0));
    params.not_before = at(start_secs);
    params.not_after = at(start_secs + days * DAY_SECS);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::ExplicitNoCa;
    params
}

fn self_signed(params: &CertificateParams, key: &RcgenKey) -> Option<String> {
    let certificate = params.self_signed(key).ok()?;
    Some(pem::block("PRIVATE KEY", key.serialized_der()) + &pem::block("CERTIFICATE", certificate.der()))
}

/// Whether the first certificate is for this host name or address.
pub(super) fn is_for_host(chain: &[CertificateDer<'_>], host: &str) -> bool {
    let Some(leaf) = chain.first().and_then(|leaf| ParsedCertificate::try_from(leaf).ok()) else { return false };
    ServerName::try_from(host).is_ok_and(|name| verify_server_name(&leaf, &name).is_ok())
}
