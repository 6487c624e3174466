//! JKS, the keystore of Sun's provider: reader for versions 1 and 2, writer for version 2.
//!
//! Big-endian; magic, version, count, then entries of tag, alias, time and content; at the end SHA-1 over the UTF-16BE
//! password, a fixed phrase and all bytes before. A key is PKCS#8 under a key stream of chained SHA-1 digests
//! (1.3.6.1.4.1.42.2.17.1.1). Texts are Java's modified UTF-8. Everything is cut from the input; no length allocates.

use super::{
    CERTIFICATE_BYTES_MAX, CHAIN_CERTIFICATES_MAX, ENTRIES_MAX, Entries, Entry, KEY_BYTES_MAX, Key, KeyStoreError,
    PrivateKeyEntry, TrustedCertificate,
};
use crate::der;
use crate::entropy::Entropy;
use crate::secret::Secret;
use crate::time::Timestamp;
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA1_OUTPUT_LEN};
use std::collections::BTreeMap;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub(super) const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
const VERSION_WRITTEN: u32 = 2;
const KEY_ENTRY: u32 = 1;
const CERTIFICATE_ENTRY: u32 = 2;
const CERTIFICATE_TYPE: &str = "X.509";
const PHRASE: &[u8] = b"Mighty Aphrodite";
/// 1.3.6.1.4.1.42.2.17.1.1
const KEY_PROTECTION: [u8; 10] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x2a, 0x02, 0x11, 0x01, 0x01];
const NULL: [u8; 2] = [0x05, 0x00];

pub(super) fn read(bytes: &[u8], password: &Secret) -> Result<Entries, KeyStoreError> {
    let mut input = Input(bytes);
    if input.take(MAGIC.len())? != MAGIC {
        return Err(KeyStoreError::NotAKeyStore);
    }
    let version = input.u32()?;
    if !matches!(version, 1 | 2) {
        return Err(KeyStoreError::Unsupported("a JKS version other than 1 and 2"));
    }
    let count = input.length(ENTRIES_MAX, "too many entries")?;
    let mut entries = Entries::new();
    for _ in 0..count {
        let (alias, entry) = input.entry(version)?;
        entries.insert(alias, entry);
    }
    let signed = &bytes[..bytes.len() - input.0.len()];
    let digest = input.take(SHA1_OUTPUT_LEN)?;
    if !input.0.is_empty() {
        return Err(KeyStoreError::Malformed("bytes after its end"));
    }
    if !is_equal(digest, &store_digest(&utf16(password), signed)) {
        return Err(KeyStoreError::WrongStorePassword);
    }
    Ok(entries)
}

/// Opens an EncryptedPrivateKeyInfo of Sun's protection.
pub(super) fn open_key(info: &[u8], key_password: &Secret, alias: &str) -> Result<Zeroizing<Vec<u8>>, KeyStoreError> {
    let (algorithm, data) = protected_parts(info).ok_or(KeyStoreError::Malformed("a key is not PKCS#8"))?;
    if algorithm != KEY_PROTECTION {
        return Err(KeyStoreError::Unsupported("a key protection other than Sun's for JKS"));
    }
    if data.len() < 2 * SHA1_OUTPUT_LEN {
        return Err(KeyStoreError::Malformed("a protected key is too short"));
    }
    let (salt, rest) = data.split_at(SHA1_OUTPUT_LEN);
    let (encrypted, check) = rest.split_at(rest.len() - SHA1_OUTPUT_LEN);
    let password = utf16(key_password);
    let key = Zeroizing::new(apply_key_stream(&password, salt, encrypted));
    if is_equal(check, &sha1(&[&password, &key])) {
        Ok(key)
    } else {
        Err(KeyStoreError::WrongKeyPassword { alias: alias.to_owned() })
    }
}

/// Makes a JKS file of version 2, as keytool reads it. An alias that is added again replaces the former entry.
#[derive(Default)]
pub struct JksWriter(BTreeMap<String, Vec<u8>>);

impl JksWriter {
    /// A keystore without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key under its own password. The salt comes from `rng`.
    pub fn add_key(
        &mut self,
        entry: &PrivateKeyEntry,
        key_password: &Secret,
        rng: &dyn Entropy,
    ) -> Result<(), KeyStoreError> {
        if entry.chain.len() > CHAIN_CERTIFICATES_MAX {
            return Err(KeyStoreError::Malformed("too many certificates in a chain"));
        }
        let mut salt = [0; SHA1_OUTPUT_LEN];
        rng.fill(&mut salt);
        let password = utf16(key_password);
        let encrypted = apply_key_stream(&password, &salt, &entry.pkcs8);
        let data = [&salt[..], &encrypted, &sha1(&[&password, &entry.pkcs8])].concat();
        let algorithm = [der::element(der::OBJECT_IDENTIFIER, &KEY_PROTECTION), NULL.to_vec()].concat();
        let info = [der::element(der::SEQUENCE, &algorithm), der::element(der::OCTET_STRING, &data)].concat();

        let mut output = Output::start(KEY_ENTRY, &entry.alias, entry.created)?;
        output.bytes(&der::element(der::SEQUENCE, &info), KEY_BYTES_MAX, "a key is too large")?;
        output.length(entry.chain.len());
        for certificate in &entry.chain {
            output.certificate(certificate)?;
        }
        self.insert(&entry.alias, output)
    }

    /// Adds a trusted certificate.
    pub fn add_certificate(&mut self, certificate: &TrustedCertificate) -> Result<(), KeyStoreError> {
        let mut output = Output::start(CERTIFICATE_ENTRY, &certificate.alias, certificate.created)?;
        output.certificate(&certificate.der)?;
        self.insert(&certificate.alias, output)
    }

    /// The file, protected against change with the store password.
    pub fn finish(self, store_password: &Secret) -> Vec<u8> {
        let mut file = Output(MAGIC.to_vec());
        file.0.extend_from_slice(&VERSION_WRITTEN.to_be_bytes());
        file.length(self.0.len());
        file.0.extend(self.0.into_values().flatten());
        let digest = store_digest(&utf16(store_password), &file.0);
        file.0.extend_from_slice(&digest);
        file.0
    }

    fn insert(&mut self, alias: &str, entry: Output) -> Result<(), KeyStoreError> {
        self.0.insert(alias.to_lowercase(), entry.0);
        if self.0.len() > ENTRIES_MAX { Err(KeyStoreError::Malformed("too many entries")) } else { Ok(()) }
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], KeyStoreError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(KeyStoreError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], KeyStoreError> {
        Ok(self.take(N)?.try_into().expect("take gives the asked number of bytes"))
    }

    fn u32(&mut self) -> Result<u32, KeyStoreError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn length(&mut self, max: usize, too_large: &'static str) -> Result<usize, KeyStoreError> {
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        if length > max { Err(KeyStoreError::Malformed(too_large)) } else { Ok(length) }
    }

    fn text(&mut self) -> Result<String, KeyStoreError> {
        let length = u16::from_be_bytes(self.array()?);
        let bytes = self.take(usize::from(length))?;
        from_modified_utf8(bytes).ok_or(KeyStoreError::Malformed("a text is not modified UTF-8"))
    }

    fn entry(&mut self, version: u32) -> Result<(String, Entry), KeyStoreError> {
        let tag = self.u32()?;
        let alias = self.text()?.to_lowercase();
        let created = Timestamp::from_millis(i64::from_be_bytes(self.array()?));
        let entry = match tag {
            KEY_ENTRY => {
                let length = self.length(KEY_BYTES_MAX, "a key is too large")?;
                let key = Key::Protected(self.take(length)?.to_vec());
                let count = self.length(CHAIN_CERTIFICATES_MAX, "too many certificates in a chain")?;
                let chain = (0..count).map(|_| self.certificate(version)).collect::<Result<_, _>>()?;
                Entry::Key { created, key, chain }
            }
            CERTIFICATE_ENTRY => {
                let der = self.certificate(version)?;
                Entry::Certificate(TrustedCertificate { alias: alias.clone(), created, der })
            }
            _ => return Err(KeyStoreError::Malformed("an entry is neither key nor certificate")),
        };
        Ok((alias, entry))
    }

    fn certificate(&mut self, version: u32) -> Result<Vec<u8>, KeyStoreError> {
        if version == 2 && self.text()? != CERTIFICATE_TYPE {
            return Err(KeyStoreError::Unsupported("a certificate type other than X.509"));
        }
        let length = self.length(CERTIFICATE_BYTES_MAX, "a certificate is too large")?;
        Ok(self.take(length)?.to_vec())
    }
}

struct Output(Vec<u8>);

impl Output {
    fn start(tag: u32, alias: &str, created: Timestamp) -> Result<Self, KeyStoreError> {
        let mut output = Self(tag.to_be_bytes().to_vec());
        output.text(&alias.to_lowercase())?;
        output.0.extend_from_slice(&created.as_millis().to_be_bytes());
        Ok(output)
    }

    /// `length` is below a bound of this module.
    fn length(&mut self, length: usize) {
        let length = u32::try_from(length).expect("every bound of a keystore fits 32 bits");
        self.0.extend_from_slice(&length.to_be_bytes());
    }

    fn text(&mut self, text: &str) -> Result<(), KeyStoreError> {
        let bytes = to_modified_utf8(text);
        let length = u16::try_from(bytes.len()).map_err(|_| KeyStoreError::Malformed("an alias is too long"))?;
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(&bytes);
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8], max: usize, too_large: &'static str) -> Result<(), KeyStoreError> {
        if bytes.len() > max {
            return Err(KeyStoreError::Malformed(too_large));
        }
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn certificate(&mut self, der: &[u8]) -> Result<(), KeyStoreError> {
        self.text(CERTIFICATE_TYPE)?;
        self.bytes(der, CERTIFICATE_BYTES_MAX, "a certificate is too large")
    }
}

/// Algorithm and data of EncryptedPrivateKeyInfo (RFC 5208 section 6).
fn protected_parts(info: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut outer = der::Reader::new(info);
    let mut parts = der::Reader::new(outer.take(der::SEQUENCE)?);
    let algorithm = der::Reader::new(parts.take(der::SEQUENCE)?).take(der::OBJECT_IDENTIFIER)?;
    let data = parts.take(der::OCTET_STRING)?;
    (outer.is_empty() && parts.is_empty()).then_some((algorithm, data))
}

fn store_digest(password: &[u8], signed: &[u8]) -> [u8; SHA1_OUTPUT_LEN] {
    sha1(&[password, PHRASE, signed])
}

/// XOR with the digests d1 = SHA-1(password, salt), d2 = SHA-1(password, d1), and so on; its own inverse.
fn apply_key_stream(password: &[u8], salt: &[u8], data: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(data.len());
    let mut digest = sha1(&[password, salt]);
    for block in data.chunks(SHA1_OUTPUT_LEN) {
        output.extend(block.iter().zip(&digest).map(|(byte, mask)| byte ^ mask));
        digest = sha1(&[password, &digest]);
    }
    output
}

fn sha1(parts: &[&[u8]]) -> [u8; SHA1_OUTPUT_LEN] {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().try_into().expect("SHA-1 gives 20 bytes")
}

fn is_equal(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// A password as Java's key protection and integrity check take it.
fn utf16(password: &Secret) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * password.expose().len()));
    password.expose().encode_utf16().for_each(|unit| bytes.extend_from_slice(&unit.to_be_bytes()));
    bytes
}

/// Java's `DataOutput.writeUTF`: each UTF-16 unit by itself, NUL in two bytes.
fn to_modified_utf8(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for unit in text.encode_utf16() {
        let [high, low] = unit.to_be_bytes();
        match unit {
            0x01..=0x7f => bytes.push(low),
            0 | 0x80..=0x7ff => bytes.extend([0xc0 | high << 2 | low >> 6, 0x80 | low & 0x3f]),
            _ => bytes.extend([0xe0 | high >> 4, 0x80 | (high & 0x0f) << 2 | low >> 6, 0x80 | low & 0x3f]),
        }
    }
    bytes
}

fn from_modified_utf8(bytes: &[u8]) -> Option<String> {
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    let continuation = |rest: &mut std::slice::Iter<'_, u8>| {
        rest.next().filter(|byte| **byte & 0xc0 == 0x80).map(|byte| u16::from(byte & 0x3f))
    };
    while let Some(first) = rest.next() {
        let lead = u16::from(*first);
        units.push(match first {
            0x00..=0x7f => lead,
            0xc0..=0xdf => (lead & 0x1f) << 6 | continuation(&mut rest)?,
            0xe0..=0xef => (lead & 0x0f) << 12 | continuation(&mut rest)? << 6 | continuation(&mut rest)?,
            _ => return None,
        });
    }
    String::from_utf16(&units).ok()
}
