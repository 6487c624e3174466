//! Java keystores as bytes and a password: JKS (own reader and writer) and PKCS#12 (RFC 7292).
//!
//! Follows contract configuration.md section 4. Owns: telling the formats apart, the entries, their passwords, bounds and
//! distinct errors. Leaves to others: reading the file and naming it in a message, what a key may be used for, and the
//! validity and meaning of certificates, whose bytes stay as they are (key ids derive from them).

mod jks;
mod pkcs12;
#[cfg(test)]
mod tests;

pub use jks::JksWriter;

use crate::secret::Secret;
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use zeroize::Zeroizing;

/// Largest keystore that is read, in bytes. A truststore of all public authorities has about 200 kB.
pub const KEYSTORE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most entries of a keystore.
pub const ENTRIES_MAX: usize = 10_000;
/// Most certificates in the chain of one key.
pub const CHAIN_CERTIFICATES_MAX: usize = 32;
/// Largest certificate, in bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;
/// Largest protected private key, in bytes. RSA with 16384 bit has about 9 kB.
pub const KEY_BYTES_MAX: usize = 64 * 1024;
/// Most aliases that an error message names.
const ALIASES_NAMED_MAX: usize = 20;

/// The type of a keystore as configuration names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreType {
    /// Sun's Java keystore.
    Jks,
    /// PKCS#12.
    Pkcs12,
}

impl StoreType {
    /// From the configured name (`keystore.*.type`); like Java, upper and lower case are the same.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Jks, Self::Pkcs12].into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    /// Java's name: `JKS` or `PKCS12`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jks => "JKS",
            Self::Pkcs12 => "PKCS12",
        }
    }
}

/// Why a keystore, or an entry of it, cannot be had. The caller adds the file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyStoreError {
    /// More bytes than [`KEYSTORE_BYTES_MAX`].
    #[error("the file has {bytes} bytes; a keystore may have {KEYSTORE_BYTES_MAX}")]
    TooLarge {
        /// Size of the file.
        bytes: usize,
    },
    /// The file begins like no keystore format.
    #[error("the file is not a keystore (neither JKS nor PKCS12)")]
    NotAKeyStore,
    /// The format of the SunJCE provider.
    #[error("the keystore is of type JCEKS, which is not read; convert it with keytool -importkeystore to PKCS12")]
    Jceks,
    /// The file ends before its content does.
    #[error("the keystore is truncated")]
    Truncated,
    /// The file breaks the rules of its format, or a bound of ours.
    #[error("the keystore is malformed: {0}")]
    Malformed(&'static str),
    /// A correct keystore with something that is not supported.
    #[error("the keystore uses {0}, which is not supported")]
    Unsupported(&'static str),
    /// The integrity check fails.
    #[error("the store password is wrong, or the keystore was altered")]
    WrongStorePassword,
    /// A PKCS#12 file whose integrity check holds, but a key in it has another password (keytool makes no such file).
    #[error("a key in the keystore is not readable with the store password; in a PKCS12 file both must be the same")]
    KeyPasswordDiffers,
    /// No entry has this alias.
    #[error("the keystore has no alias `{alias}`; it has {present}")]
    NoSuchAlias {
        /// The alias that was asked for.
        alias: String,
        /// The aliases that are there, for people.
        present: String,
    },
    /// The alias names a certificate and not a key.
    #[error("the alias `{alias}` is a trusted certificate, not a private key")]
    NotAKey {
        /// The alias that was asked for.
        alias: String,
    },
    /// The key's own password does not open it.
    #[error("the key password for the alias `{alias}` is wrong")]
    WrongKeyPassword {
        /// The alias that was asked for.
        alias: String,
    },
}

/// A private key with its certificate chain (Java's PrivateKeyEntry).
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKeyEntry {
    /// Name in the keystore, lower case.
    pub alias: String,
    /// When the entry was made; the epoch for PKCS#12, which does not say.
    pub created: Timestamp,
    /// The key as PKCS#8 PrivateKeyInfo, DER.
    pub pkcs8: Zeroizing<Vec<u8>>,
    /// The key's certificate, then its issuers, each as X.509 DER. May be empty in a PKCS#12 file.
    pub chain: Vec<Vec<u8>>,
}

impl fmt::Debug for PrivateKeyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKeyEntry({}, {} certificates)", self.alias, self.chain.len())
    }
}

/// A certificate that is trusted as such (Java's TrustedCertificateEntry).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedCertificate {
    /// Name in the keystore, lower case.
    pub alias: String,
    /// When the entry was made; the epoch for PKCS#12, which does not say.
    pub created: Timestamp,
    /// X.509 DER.
    pub der: Vec<u8>,
}

/// A keystore whose integrity was checked with its password.
pub struct KeyStore {
    format: StoreType,
    configured: StoreType,
    password: Secret,
    entries: Entries,
}

type Entries = BTreeMap<String, Entry>;

enum Entry {
    Key { created: Timestamp, key: Key, chain: Vec<Vec<u8>> },
    Certificate(TrustedCertificate),
}

enum Key {
    /// JKS: EncryptedPrivateKeyInfo, opened with the key's password.
    Protected(Vec<u8>),
    /// PKCS#12: opened with the store's password, which is the key's too.
    Open(Zeroizing<Vec<u8>>),
}

impl KeyStore {
    /// Reads a keystore and checks its integrity. The file's own format counts, not the configured type: keytool writes
    /// PKCS12 under .jks names and Java's type JKS reads both; [`KeyStore::mismatch`] tells. A PKCS#12 file without an
    /// integrity check is accepted, as Java does.
    pub fn read(bytes: &[u8], configured: StoreType, store_password: &Secret) -> Result<Self, KeyStoreError> {
        if bytes.len() > KEYSTORE_BYTES_MAX {
            return Err(KeyStoreError::TooLarge { bytes: bytes.len() });
        }
        let format = format_of(bytes)?;
        let entries = match format {
            StoreType::Jks => jks::read(bytes, store_password)?,
            StoreType::Pkcs12 => pkcs12::read(bytes, store_password)?,
        };
        Ok(Self { format, configured, password: store_password.clone(), entries })
    }

    /// The format that the file really has.
    pub fn format(&self) -> StoreType {
        self.format
    }

    /// What to tell the operator when the configured type is not the file's format; `None` when it is.
    pub fn mismatch(&self) -> Option<String> {
        let (configured, found) = (self.configured.name(), self.format.name());
        (configured != found).then(|| format!("the keystore is configured as {configured} and read as {found}"))
    }

    /// All aliases, sorted.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The private key of an alias. Upper and lower case of the alias are the same, as in Java.
    pub fn private_key(&self, alias: &str, key_password: &Secret) -> Result<PrivateKeyEntry, KeyStoreError> {
        let (alias, entry) = self.find(alias)?;
        let Entry::Key { created, key, chain } = entry else {
            return Err(KeyStoreError::NotAKey { alias });
        };
        let pkcs8 = match key {
            Key::Protected(info) => jks::open_key(info, key_password, &alias)?,
            Key::Open(pkcs8) if self.password.is_equal(key_password.expose()) => pkcs8.clone(),
            Key::Open(_) => return Err(KeyStoreError::WrongKeyPassword { alias }),
        };
        Ok(PrivateKeyEntry { alias, created: *created, pkcs8, chain: chain.clone() })
    }

    /// The certificate of an alias: the trusted one, or the first of a key's chain. Needs no key password.
    pub fn certificate(&self, alias: &str) -> Result<&[u8], KeyStoreError> {
        match self.find(alias)?.1 {
            Entry::Certificate(certificate) => Ok(&certificate.der),
            Entry::Key { chain, .. } => {
                chain.first().map(Vec::as_slice).ok_or(KeyStoreError::Malformed("a key without its certificate"))
            }
        }
    }

    /// The trusted certificates, sorted by alias.
    pub fn trusted_certificates(&self) -> impl Iterator<Item = &TrustedCertificate> {
        self.entries.values().filter_map(|entry| match entry {
            Entry::Certificate(certificate) => Some(certificate),
            Entry::Key { .. } => None,
        })
    }

    fn find(&self, alias: &str) -> Result<(String, &Entry), KeyStoreError> {
        let alias = alias.to_lowercase();
        match self.entries.get(&alias) {
            Some(entry) => Ok((alias, entry)),
            None => Err(KeyStoreError::NoSuchAlias { alias, present: self.present() }),
        }
    }

    fn present(&self) -> String {
        if self.entries.is_empty() {
            return "no entries".to_owned();
        }
        let mut named: Vec<&str> = self.aliases().take(ALIASES_NAMED_MAX).collect();
        if self.entries.len() > named.len() {
            named.push("...");
        }
        named.join(", ")
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyStore({}, {} entries)", self.format.name(), self.entries.len())
    }
}

fn format_of(bytes: &[u8]) -> Result<StoreType, KeyStoreError> {
    const JCEKS_MAGIC: [u8; 4] = [0xce; 4];
    if bytes.starts_with(&jks::MAGIC) {
        Ok(StoreType::Jks)
    } else if bytes.starts_with(&JCEKS_MAGIC) {
        Err(KeyStoreError::Jceks)
    } else if bytes.first() == Some(&crate::der::SEQUENCE) {
        Ok(StoreType::Pkcs12)
    } else if jks::MAGIC.starts_with(bytes) || JCEKS_MAGIC.starts_with(bytes) {
        Err(KeyStoreError::Truncated)
    } else {
        Err(KeyStoreError::NotAKeyStore)
    }
}
