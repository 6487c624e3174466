//! PKCS#12 (RFC 7292) as Java's provider reads it: aliases are friendly names in lower case, a certificate is trusted by
//! itself only with Oracle's trusted-key-usage attribute, a chain follows the issuers' names.

use super::{
    CERTIFICATE_BYTES_MAX, CHAIN_CERTIFICATES_MAX, ENTRIES_MAX, Entries, Entry, KEY_BYTES_MAX, KEYSTORE_BYTES_MAX, Key,
    KeyStoreError, TrustedCertificate,
};
use crate::der;
use crate::secret::Secret;
use crate::time::Timestamp;
use p12_keystore::Pkcs12Archive;
use p12_keystore::error::Error as Pkcs12Error;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// scrypt, 1.3.6.1.4.1.11591.4.11 (RFC 7914 section 7), as it stands in a file. Java never writes it, and its parameters
/// would let a file without integrity check choose how much memory we take.
const SCRYPT: [u8; 11] = [0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x04, 0x0b];

pub(super) fn read(bytes: &[u8], password: &Secret) -> Result<Entries, KeyStoreError> {
    let has_mac = check_outer(bytes)?;
    if bytes.windows(SCRYPT.len()).any(|window| window == SCRYPT) {
        return Err(KeyStoreError::Unsupported("scrypt"));
    }
    if password.expose().chars().any(|character| u32::from(character) > 0xffff) {
        return Err(KeyStoreError::Unsupported("a password with characters beyond U+FFFF"));
    }
    match Pkcs12Archive::from_pkcs12(bytes, password.expose()) {
        Ok(archive) => entries(archive),
        Err(error) => Err(match reason(&error, has_mac) {
            // Java takes the characters whole for the integrity check and not for AES, OpenSSL as UTF-8 for both.
            KeyStoreError::KeyPasswordDiffers if !password.expose().is_ascii() => {
                KeyStoreError::Unsupported("a password beyond ASCII in the way Java uses it in PKCS12")
            }
            reason => reason,
        }),
    }
}

/// Is the outermost element whole, and does the file carry an integrity check?
fn check_outer(bytes: &[u8]) -> Result<bool, KeyStoreError> {
    const NOT_DER: KeyStoreError = KeyStoreError::Malformed("it is not a PKCS12 file in DER");
    let Some((header, content)) = der::lengths(bytes) else {
        // Fewer bytes than the longest header: cut off. A length of unknown form: not DER.
        return Err(if bytes.len() < 6 { KeyStoreError::Truncated } else { NOT_DER });
    };
    match (bytes.len() - header).cmp(&content) {
        std::cmp::Ordering::Less => return Err(KeyStoreError::Truncated),
        std::cmp::Ordering::Greater => return Err(KeyStoreError::Malformed("bytes after its end")),
        std::cmp::Ordering::Equal => {}
    }
    let mut pfx = der::Reader::new(&bytes[header..]);
    let version = pfx.take(der::INTEGER).ok_or(NOT_DER)?;
    pfx.take(der::SEQUENCE).ok_or(NOT_DER)?;
    if version == [3] { Ok(!pfx.is_empty()) } else { Err(NOT_DER) }
}

fn reason(error: &Pkcs12Error, has_mac: bool) -> KeyStoreError {
    match error {
        Pkcs12Error::UnsupportedEncryptionScheme
        | Pkcs12Error::UnsupportedMacAlgorithm
        | Pkcs12Error::UnsupportedContentType
        | Pkcs12Error::UnsupportedCertificateType => KeyStoreError::Unsupported("an algorithm or content of PKCS12"),
        // After the integrity check only a key with another password fails to decrypt.
        Pkcs12Error::Pkcs5Error(_) | Pkcs12Error::UnpadError | Pkcs12Error::InvalidPrivateKey if has_mac => {
            KeyStoreError::KeyPasswordDiffers
        }
        Pkcs12Error::MacError(_) | Pkcs12Error::Pkcs5Error(_) | Pkcs12Error::UnpadError => {
            KeyStoreError::WrongStorePassword
        }
        Pkcs12Error::InvalidParameters => KeyStoreError::Malformed("too many rounds of key derivation"),
        Pkcs12Error::X509Error(_) => KeyStoreError::Malformed("a certificate is not X.509"),
        _ => KeyStoreError::Malformed("its content is not PKCS12"),
    }
}

/// Bounds what the archive holds and links keys with their certificates.
pub(super) fn entries(archive: Pkcs12Archive) -> Result<Entries, KeyStoreError> {
    let Pkcs12Archive { keys, certs, secrets: _ } = archive;
    if keys.len() + certs.len() > ENTRIES_MAX {
        return Err(KeyStoreError::Malformed("too many entries"));
    }
    if certs.iter().any(|bag| bag.cert.as_der().len() > CERTIFICATE_BYTES_MAX) {
        return Err(KeyStoreError::Malformed("a certificate is too large"));
    }
    if keys.iter().any(|bag| bag.key.as_der().len() > KEY_BYTES_MAX) {
        return Err(KeyStoreError::Malformed("a key is too large"));
    }
    // PKCS#12 does not say when an entry was made.
    let created = Timestamp::from_millis(0);
    let mut names = Names(0);
    let mut entries = Entries::new();
    let by_subject: BTreeMap<&[u8], &[u8]> = certs
        .iter()
        .filter_map(|bag| issuer_and_subject(bag.cert.as_der()).map(|(_, subject)| (subject, bag.cert.as_der())))
        .collect();
    let mut chains_bytes = 0;
    for bag in keys {
        let leaf = certs.iter().find(|cert| {
            cert.local_key_id.is_some() && cert.local_key_id.as_deref() == bag.local_key_id.as_ref().map(AsRef::as_ref)
        });
        let chain = leaf.map_or_else(Vec::new, |leaf| chain(leaf.cert.as_der(), &by_subject));
        // Keys may share their issuers, so the chains may hold more than the file does.
        chains_bytes += chain.iter().map(Vec::len).sum::<usize>();
        if chains_bytes > KEYSTORE_BYTES_MAX {
            return Err(KeyStoreError::Malformed("its certificate chains are too large"));
        }
        let key = Key::Open(Zeroizing::new(bag.key.as_der().to_vec()));
        entries.insert(names.alias(bag.friendly_name), Entry::Key { created, key, chain });
    }
    for bag in certs.into_iter().filter(|bag| bag.trusted && bag.local_key_id.is_none()) {
        let alias = names.alias(bag.friendly_name);
        let der = bag.cert.as_der().to_vec();
        entries.insert(alias.clone(), Entry::Certificate(TrustedCertificate { alias, created, der }));
    }
    Ok(entries)
}

/// Aliases as Java gives them: the friendly name, else 1, 2 and so on.
struct Names(u32);

impl Names {
    fn alias(&mut self, friendly_name: Option<String>) -> String {
        friendly_name.map_or_else(
            || {
                self.0 += 1;
                self.0.to_string()
            },
            |name| name.to_lowercase(),
        )
    }
}

/// A key's certificate and its issuers as far as they are in the file.
fn chain<'a>(leaf: &'a [u8], by_subject: &BTreeMap<&[u8], &'a [u8]>) -> Vec<Vec<u8>> {
    let mut chain = vec![leaf];
    while chain.len() < CHAIN_CERTIFICATES_MAX
        && let Some((issuer, subject)) = chain.last().and_then(|der| issuer_and_subject(der))
        && issuer != subject
        && let Some(next) = by_subject.get(issuer)
        && !chain.contains(next)
    {
        chain.push(next);
    }
    chain.into_iter().map(<[u8]>::to_vec).collect()
}

/// The names of a certificate as DER (RFC 5280 section 4.1).
fn issuer_and_subject(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    const VERSION: u8 = 0xa0;
    let mut outer = der::Reader::new(der::Reader::new(certificate).take(der::SEQUENCE)?);
    let mut fields = der::Reader::new(outer.take(der::SEQUENCE)?);
    if fields.tag() == Some(VERSION) {
        fields.skip()?;
    }
    fields.take(der::INTEGER)?; // serial number
    fields.take(der::SEQUENCE)?; // signature algorithm
    let issuer = fields.take(der::SEQUENCE)?;
    fields.take(der::SEQUENCE)?; // validity
    Some((issuer, fields.take(der::SEQUENCE)?))
}
