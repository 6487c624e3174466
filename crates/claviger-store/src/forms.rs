//! How token texts and client secrets stand in their columns: plain, hashed or encrypted (contract database.md 2.4).
//!
//! The codecs are the pure crate's (`stored_form`); this file decides what a column that cannot be read means for its row.

use crate::error::StoreError;
use claviger_proto::entropy::Entropy;
use claviger_proto::hash::{HashedValue, TokenHash};
use claviger_proto::secret::Secret;
use claviger_proto::stored_form::{Stored, StoredForm, StoredFormError};
use std::sync::Arc;

/// A client secret as it can be known.
#[derive(Clone, Debug)]
pub enum ClientSecret {
    /// Its text; empty when there is none, or when it cannot be read any more.
    Text(Secret),
    /// Only its digest.
    Hash(HashedValue),
}

impl ClientSecret {
    /// Is this the secret? Takes a time that depends on lengths only. Nobody can show a secret that is empty.
    pub fn is_equal(&self, presented: &str) -> bool {
        match self {
            Self::Text(secret) => !secret.expose().is_empty() && secret.is_equal(presented),
            Self::Hash(hash) => !presented.is_empty() && hash.is_of(presented),
        }
    }

    /// Are both the same secret?
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.is_equal(b.expose()),
            (Self::Hash(a), Self::Hash(b)) => a.to_column() == b.to_column(),
            (Self::Text(text), Self::Hash(hash)) | (Self::Hash(hash), Self::Text(text)) => hash.is_of(text.expose()),
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

/// The forms of an installation. The default is plain for everything.
#[derive(Default)]
pub struct Forms {
    tokens: StoredForm,
    secrets: StoredForm,
    rng: Option<Arc<dyn Entropy>>,
}

impl Forms {
    /// The form of tokens and codes, and that of client secrets.
    pub fn new(tokens: StoredForm, secrets: StoredForm, rng: Arc<dyn Entropy>) -> Self {
        Self { tokens, secrets, rng: Some(rng) }
    }

    /// Can the text of a token be had back from its row?
    pub(crate) fn keeps_texts(&self) -> bool {
        !matches!(self.tokens, StoredForm::Hashed(_))
    }

    /// What the column of a token holds.
    pub(crate) fn column(&self, text: &Secret) -> Result<String, StoreError> {
        self.store(&self.tokens, text)
    }

    /// What the column of a client secret holds.
    pub(crate) fn secret_column(&self, secret: &Secret) -> Result<String, StoreError> {
        self.store(&self.secrets, secret)
    }

    /// What the column of a token that is looked up by it holds; `None` when it is not the same each time.
    pub(crate) fn looked_up(&self, text: &str) -> Option<String> {
        self.tokens.lookup(text)
    }

    /// The text behind a token's column; `None` when it holds a hash only, or nobody has the key any more: such a row can
    /// still be found and revoked by its hash.
    pub(crate) fn text(&self, column: &str) -> Option<Secret> {
        match read(&self.tokens, column) {
            Ok(Stored::Text(text)) => Some(text),
            Ok(Stored::Hash(_)) => None,
            Err(error) => {
                tracing::warn!(%error, "a stored token cannot be read");
                None
            }
        }
    }

    /// The client secret behind its column. One that cannot be read lets nobody in.
    pub(crate) fn secret(&self, column: &str) -> ClientSecret {
        match read(&self.secrets, column) {
            Ok(Stored::Text(text)) => ClientSecret::Text(text),
            Ok(Stored::Hash(hash)) => ClientSecret::Hash(hash),
            Err(error) => {
                tracing::warn!(%error, "a stored client secret cannot be read");
                ClientSecret::Text(Secret::new(""))
            }
        }
    }

    /// What the hash column holds for a text.
    pub(crate) fn hash(&self, text: &str) -> String {
        match &self.tokens {
            StoredForm::Hashed(algorithm) => HashedValue::of(text, algorithm).to_column(),
            StoredForm::Plain | StoredForm::Encrypted(_) => TokenHash::of(text).to_column(),
        }
    }

    fn store(&self, form: &StoredForm, text: &Secret) -> Result<String, StoreError> {
        let rng = self.rng.as_deref().unwrap_or(&Unasked);
        form.store(text.expose(), rng)
            .map_err(|error| StoreError::Corrupt(format!("a value cannot be stored: {error}")))
    }
}

/// A value from the time before its installation hashed or encrypted is still there as it was; one from a time when it hashed is
/// a hash and nobody's secret.
fn read(form: &StoredForm, column: &str) -> Result<Stored, StoredFormError> {
    if let Some(hash) = HashedValue::from_column(column) {
        return Ok(Stored::Hash(hash));
    }
    match form.read(column) {
        Err(StoredFormError::NotHashed | StoredFormError::NotEncrypted) => Ok(Stored::Text(Secret::new(column))),
        read => read,
    }
}

/// Only encryption asks for randomness, and whoever configures it gives some.
struct Unasked;

impl Entropy for Unasked {
    fn fill(&self, _buffer: &mut [u8]) {
        unreachable!("only an encrypted form asks for randomness")
    }
}
