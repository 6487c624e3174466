//! PEM files (RFC 7468): reading a key with its certificates, writing certificates.

use super::{FILE_BYTES_MAX, FilesError, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Columns of a PEM body.
const COLUMNS: usize = 64;

/// Reads a file of at most `FILE_BYTES_MAX` bytes.
pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, FilesError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(FilesError::io("read", path))?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(FilesError::io("read", path))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(FilesError::Broken { path: path.to_owned(), reason: "the file is too large" });
    }
    Ok(bytes)
}

/// Loads certificates and the key from one file or from two, and checks that they belong together.
pub(super) fn load_pair(certificate_file: &Path, key_file: Option<&Path>) -> Result<KeyPair, FilesError> {
    let broken = |path: &Path, reason| FilesError::Broken { path: path.to_owned(), reason };
    let bytes = read_bounded(certificate_file)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|_| broken(certificate_file, "not a PEM file"))?;
    if chain.is_empty() {
        return Err(broken(certificate_file, "no CERTIFICATE block in it"));
    }
    let (key_path, key_bytes) = match key_file {
        Some(path) => (path, read_bounded(path)?),
        None => (certificate_file, bytes),
    };
    let key = PrivateKeyDer::from_pem_slice(&key_bytes).map_err(|_| broken(key_path, "no PRIVATE KEY block in it"))?;
    // The provider parses the key; the pair's halves are compared where the key's kind allows it.
    CertifiedKey::from_der(chain.clone(), key.clone_key(), &default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => broken(key_path, "the private key is not that of the certificate"),
        rustls::Error::InvalidCertificate(_) => broken(certificate_file, "the certificate cannot be read"),
        _ => broken(key_path, "the private key cannot be read"),
    })?;
    Ok(KeyPair { chain, key, is_new: false })
}

/// Certificates as PEM text.
pub(super) fn certificates_text(chain: &[CertificateDer<'_>]) -> String {
    chain.iter().map(|certificate| block("CERTIFICATE", certificate)).collect()
}

/// One PEM block.
pub(super) fn block(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for at in (0..body.len()).step_by(COLUMNS) {
        text.push_str(&body[at..body.len().min(at + COLUMNS)]);
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}
