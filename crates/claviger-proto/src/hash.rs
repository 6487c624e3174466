//! The digests of the WSO2 token tables (contract database.md 3.2) and of our own caches.

use crate::encode::{from_hex, hex};
use aws_lc_rs::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

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
        format!(r#"{{"hash":"{}","algorithm":"SHA-256"}}"#, hex(&self.0))
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

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().expect("SHA-256 gives 32 bytes")
}

/// MD5 of some bytes: only for TOKEN_SCOPE_HASH, whose algorithm WSO2 fixed.
pub(crate) fn md5(bytes: &[u8]) -> [u8; 16] {
    use md5::Digest as _;
    md5::Md5::digest(bytes).into()
}
