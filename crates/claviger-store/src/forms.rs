//! How token texts and client secrets stand in their columns: plain, hashed or encrypted (contract database.md 2.4).

use crate::error::StoreError;
use claviger_proto::hash::TokenHash;
use claviger_proto::secret::Secret;
use subtle::ConstantTimeEq as _;

/// A client secret as it can be known.
#[derive(Clone, Debug)]
pub enum ClientSecret {
    /// Its text.
    Text(Secret),
    /// Only its digest, as the column holds it.
    Hash(TokenHash),
}

impl ClientSecret {
    /// Is this the secret? Takes a time that depends on lengths only. Nobody can show a secret that is empty.
    pub fn is_equal(&self, presented: &str) -> bool {
        match self {
            Self::Text(secret) => !secret.expose().is_empty() && secret.is_equal(presented),
            Self::Hash(hash) => !presented.is_empty() && bool::from(hash.0.ct_eq(&TokenHash::of(presented).0)),
        }
    }

    /// Are both the same secret?
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.is_equal(b.expose()),
            (Self::Hash(a), Self::Hash(b)) => a == b,
            (Self::Text(text), Self::Hash(_)) => other.is_equal(text.expose()),
            (Self::Hash(_), Self::Text(text)) => self.is_equal(text.expose()),
        }
    }

    /// Its text, where it is known.
    pub fn text(&self) -> Option<&Secret> {
        match self {
            Self::Text(secret) => Some(secret),
            Self::Hash(_) => None,
        }
    }
}

/// The forms of an installation.
#[derive(Debug, Default)]
pub struct Forms;

impl Forms {
    /// What the column of a token holds.
    pub(crate) fn column(&self, text: &Secret) -> Result<String, StoreError> {
        Ok(text.expose().to_owned())
    }

    /// The text behind a column; `None` when it holds a hash only.
    pub(crate) fn text(&self, column: String) -> Result<Option<Secret>, StoreError> {
        Ok(Some(Secret::new(column)))
    }

    /// What the column of a client secret holds.
    pub(crate) fn secret_column(&self, secret: &Secret) -> Result<String, StoreError> {
        Ok(secret.expose().to_owned())
    }

    /// The client secret behind its column.
    pub(crate) fn secret(&self, column: String) -> Result<ClientSecret, StoreError> {
        Ok(ClientSecret::Text(Secret::new(column)))
    }

    /// What the hash column holds for a text.
    pub(crate) fn hash(&self, text: &str) -> String {
        TokenHash::of(text).to_column()
    }
}
