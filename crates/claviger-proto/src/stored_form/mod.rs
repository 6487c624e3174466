//! How tokens, authorization codes and client secrets stand in WSO2's columns: plain, hashed or encrypted.
//!
//! Follows contract database.md 2.4 and 3.2 (TokenPersistenceProcessor). Owns: the text of CONSUMER_SECRET, ACCESS_TOKEN,
//! REFRESH_TOKEN and AUTHORIZATION_CODE in each form. Leaves to others: which form is configured for which column, where
//! the key comes from (`keystore`), and the hash columns beside them, which are [`TokenHash`](crate::hash::TokenHash)'s.

mod cipher;
#[cfg(test)]
mod tests;

pub use cipher::{Cipher, CipherForm, CipherKey, KEY_BITS_MAX, KEY_BITS_MIN, STORED_BYTES_MAX, Transformation};

use crate::entropy::Entropy;
use crate::hash::{HashAlgorithm, HashedValue};
use crate::secret::Secret;
use std::sync::Arc;

/// Why a value cannot be stored or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredFormError {
    /// The key is no RSA key, its size is not supported, or it contradicts itself.
    #[error("not a usable RSA key of {KEY_BITS_MIN} to {KEY_BITS_MAX} bit")]
    Key,
    /// The text is longer than one block of the key takes.
    #[error("the text has {bytes} bytes; the key encrypts {bytes_max}")]
    TooLong {
        /// Length of the text.
        bytes: usize,
        /// Longest text for this key and transformation.
        bytes_max: usize,
    },
    /// An unpadded block cannot keep zero bytes at the beginning.
    #[error("a text that begins with NUL cannot be encrypted without padding")]
    LeadingNul,
    /// The column does not hold a hash of a known algorithm.
    #[error("the column does not hold a hash")]
    NotHashed,
    /// The column does not hold a cipher text (known from its text alone).
    #[error("the column does not hold a cipher text")]
    NotEncrypted,
    /// The cipher text names a transformation that is not supported (known from its text alone).
    #[error("the cipher text was made with the transformation `{0}`, which is not supported")]
    Transformation(String),
    /// No key decrypts the value, and the certificate that it names is none of ours.
    #[error("no key decrypts the value; it was encrypted for the certificate with the SHA-1 thumbprint {thumbprint}")]
    UnknownKey {
        /// As the cipher text names it.
        thumbprint: String,
    },
    /// No key decrypts the value. Says nothing about the reason: padding must not be told from content.
    #[error("no key decrypts the value")]
    NotDecrypted,
}

/// The form that configuration chooses for a column. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub enum StoredForm {
    /// PlainTextPersistenceProcessor: the value itself.
    #[default]
    Plain,
    /// HashingPersistenceProcessor: the value cannot be had back.
    Hashed(HashAlgorithm),
    /// EncryptionDecryptionPersistenceProcessor.
    Encrypted(Arc<Cipher>),
}

/// What a column gives.
#[derive(Clone, Debug)]
pub enum Stored {
    /// The value.
    Text(Secret),
    /// Only a hash, to compare a presented value with.
    Hash(HashedValue),
}

impl StoredForm {
    /// The column's text for a value. Randomness is used by OAEP only. The caller compares the length with the column's.
    pub fn store(&self, plain: &str, rng: &dyn Entropy) -> Result<String, StoredFormError> {
        match self {
            Self::Plain => Ok(plain.to_owned()),
            Self::Hashed(algorithm) => Ok(HashedValue::of(plain, algorithm).to_column()),
            Self::Encrypted(cipher) => cipher.encrypt(plain, rng),
        }
    }

    /// What a column holds. A column is read in the configured form and no other, as WSO2 does.
    pub fn read(&self, column: &str) -> Result<Stored, StoredFormError> {
        match self {
            Self::Plain => Ok(Stored::Text(Secret::new(column))),
            Self::Hashed(_) => HashedValue::from_column(column).map(Stored::Hash).ok_or(StoredFormError::NotHashed),
            Self::Encrypted(cipher) => cipher.decrypt(column).map(Stored::Text),
        }
    }

    /// Does the column hold the presented value? False also for a column that cannot be read ([`StoredForm::read`] says
    /// why). Hashes are compared by the column's own algorithm, so a change of the setting keeps older rows valid.
    pub fn matches(&self, column: &str, presented: &str) -> bool {
        self.read(column).is_ok_and(|stored| stored.is(presented))
    }

    /// The text by which a value is found in its column: the one that [`StoredForm::store`] gives each time. `None` when
    /// it gives another one each time (OAEP) or none at all; then look-ups go through the hash columns.
    pub fn lookup(&self, plain: &str) -> Option<String> {
        match self {
            Self::Plain => Some(plain.to_owned()),
            Self::Hashed(algorithm) => Some(HashedValue::of(plain, algorithm).to_column()),
            Self::Encrypted(cipher) => cipher.lookup(plain),
        }
    }

    /// Length in characters of the column's text for a value, to compare with the column's width before writing.
    pub fn column_chars(&self, plain: &str) -> usize {
        match self {
            Self::Plain => plain.chars().count(),
            Self::Hashed(algorithm) => HashedValue::of(plain, algorithm).to_column().len(),
            Self::Encrypted(cipher) => cipher.column_chars(plain.len()),
        }
    }
}

impl Stored {
    /// Is this the presented value? Compares in constant time.
    pub fn is(&self, presented: &str) -> bool {
        match self {
            Self::Text(text) => text.is_equal(presented),
            Self::Hash(hash) => hash.is_of(presented),
        }
    }

    /// The value, unless only a hash is left.
    pub fn text(&self) -> Option<&Secret> {
        match self {
            Self::Text(text) => Some(text),
            Self::Hash(_) => None,
        }
    }
}
