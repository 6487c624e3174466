//! The digests of the WSO2 token tables (contract database.md 3.2) and of our own caches.

use crate::encode::{from_hex, hex};
use aws_lc_rs::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use subtle::ConstantTimeEq;

/// SHA-256 of a token identifier: the opaque token, or the `jti` of a JWT. Names a token where the token itself must not
/// stand: in logs, events and cache keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// Digest of a token or of a `jti`.
    pub fn of(identifier: &str) -> Self {
        Self(sha256(identifier.as_bytes()))
    }

    /// The text of ACCESS_TOKEN_HASH, REFRESH_TOKEN_HASH and AUTHORIZATION_CODE_HASH:
    /// `{"hash":"<hex>","algorithm":"SHA-256"}`, compared by WSO2 as an exact string.
    pub fn to_column(self) -> String {
        column(&self.0, SHA_256)
    }

    /// Reads a hash column; `None` when it holds another algorithm or shape.
    pub fn from_column(text: &str) -> Option<Self> {
        let hex = text.strip_prefix(r#"{"hash":""#)?.strip_suffix(r#"","algorithm":"SHA-256"}"#)?;
        from_hex(hex)?.try_into().ok().map(Self)
    }
}

/// First eight hexadecimal digits: enough to find a token in a log, not enough to use it.
impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0[..4]))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({self})")
    }
}

impl Serialize for TokenHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = from_hex(&text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("not 64 hexadecimal digits"))
    }
}

/// Java's name of the default algorithm.
const SHA_256: &str = "SHA-256";

/// The digest that `OAuth.HashAlgorithm` configures, by its Java name. The columns hold the name as it is configured and
/// are compared as text, so its spelling is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashAlgorithm {
    name: String,
    function: Function,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl HashAlgorithm {
    /// From a name of Java's MessageDigest: MD5, SHA-1 (also SHA, SHA1), SHA-256, SHA-384 or SHA-512, in either case.
    pub fn parse(name: &str) -> Option<Self> {
        let function = match name.to_ascii_uppercase().as_str() {
            "MD5" => Function::Md5,
            "SHA" | "SHA1" | "SHA-1" => Function::Sha1,
            SHA_256 => Function::Sha256,
            "SHA-384" => Function::Sha384,
            "SHA-512" => Function::Sha512,
            _ => return None,
        };
        Some(Self { name: name.to_owned(), function })
    }

    /// The name as configured.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn digest(&self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self.function {
            Function::Md5 => return md5(bytes).to_vec(),
            Function::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Function::Sha256 => &digest::SHA256,
            Function::Sha384 => &digest::SHA384,
            Function::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }
}

/// SHA-256, as all releases ship it.
impl Default for HashAlgorithm {
    fn default() -> Self {
        Self { name: SHA_256.to_owned(), function: Function::Sha256 }
    }
}

/// What a hash column tells of a value: enough to recognise it, not to know it.
#[derive(Clone)]
pub struct HashedValue {
    algorithm: HashAlgorithm,
    digest: Vec<u8>,
}

impl HashedValue {
    /// Digest of a token, code or secret.
    pub fn of(text: &str, algorithm: &HashAlgorithm) -> Self {
        Self { digest: algorithm.digest(text.as_bytes()), algorithm: algorithm.clone() }
    }

    /// The column's text, like [`TokenHash::to_column`] with the algorithm's name.
    pub fn to_column(&self) -> String {
        column(&self.digest, &self.algorithm.name)
    }

    /// Reads a hash column of any known algorithm, its members in either order; `None` for anything else.
    pub fn from_column(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Column {
            hash: String,
            algorithm: String,
        }
        let column: Column = serde_json::from_str(text).ok()?;
        Some(Self { algorithm: HashAlgorithm::parse(&column.algorithm)?, digest: from_hex(&column.hash)? })
    }

    /// The digest's algorithm.
    pub fn algorithm(&self) -> &HashAlgorithm {
        &self.algorithm
    }

    /// Is this the digest of that text? The comparison takes the same time wherever they differ.
    pub fn is_of(&self, text: &str) -> bool {
        self.digest.ct_eq(&self.algorithm.digest(text.as_bytes())).into()
    }
}

/// Does not show the digest: that of a short secret can be searched.
impl fmt::Debug for HashedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashedValue({})", self.algorithm.name)
    }
}

/// The JSON text of a hash column, members in the order that WSO2's library writes.
fn column(digest: &[u8], algorithm: &str) -> String {
    format!(r#"{{"hash":"{}","algorithm":"{algorithm}"}}"#, hex(digest))
}

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().expect("SHA-256 gives 32 bytes")
}

/// SHA-1 of some bytes: for the names that old releases gave their keys.
pub(crate) fn sha1(bytes: &[u8]) -> [u8; 20] {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().try_into().expect("SHA-1 gives 20 bytes")
}

/// MD5 of some bytes: for TOKEN_SCOPE_HASH, whose algorithm WSO2 fixed, and for hash columns configured so.
pub(crate) fn md5(bytes: &[u8]) -> [u8; 16] {
    use md5::Digest as _;
    md5::Md5::digest(bytes).into()
}
