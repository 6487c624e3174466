//! In which form tokens and client secrets stand in the database (configuration.md 2.5 and 2.7; database.md 2.4).
//!
//! Owns: what the six keys that speak of it mean together. Several may be set as long as they agree; a database is read
//! and written in one form, so nothing is guessed when they do not. Leaves to others: the forms themselves.

use super::Values;
use crate::config::model::{HashAlgorithm, StoredForms, TokenPersistence};

const METHOD: &str = "oauth.token_storage_method";
const PROCESSOR: &str = "oauth.extensions.token_persistence_processor";
const SECRET_PROCESSOR: &str = "oauth.extensions.client_secret_persistence_processor";
const HASH: &str = "oauth.hash_tokens_and_secrets";
const ALGORITHM: &str = "oauth.hash_token_algorithm";
const APIM_ENCRYPTION: &str = "apim.oauth_config.enable_token_encryption";
const APIM_HASHING: &str = "apim.oauth_config.enable_token_hashing";

/// Java classes without their package.
const PROCESSORS: [(&str, Form); 3] = [
    ("PlainTextPersistenceProcessor", Form::Plain),
    ("HashingPersistenceProcessor", Form::Hashed),
    ("EncryptionDecryptionPersistenceProcessor", Form::Encrypted),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    Hashed,
    Encrypted,
}

impl Form {
    const fn name(self) -> &'static str {
        match self {
            Form::Plain => "plain",
            Form::Hashed => "hashed",
            Form::Encrypted => "encrypted",
        }
    }
}

impl Values<'_> {
    /// What all six say.
    pub(super) fn stored_forms(&mut self) -> StoredForms {
        let by_method = match self.text_if_set(METHOD).as_deref() {
            Some("plaintext") => Some(Form::Plain),
            Some("hashed") => Some(Form::Hashed),
            Some("encrypted") => Some(Form::Encrypted),
            _ => None,
        };
        let by_class = self.processor(PROCESSOR);
        let is_hash_set = self.flag(HASH);
        let is_apim_hashed = self.flag(APIM_HASHING);
        let by_flag = |is_set: bool, form: Form| is_set.then_some(form);
        let demands = [
            (METHOD, by_method),
            (PROCESSOR, by_class),
            (APIM_ENCRYPTION, by_flag(self.flag(APIM_ENCRYPTION), Form::Encrypted)),
            (APIM_HASHING, by_flag(is_apim_hashed, Form::Hashed)),
            (HASH, by_flag(is_hash_set, Form::Hashed)),
        ];
        let mut demands = demands.into_iter().filter_map(|(path, form)| Some((path, form?)));
        let first = demands.next();
        for (path, form) in demands {
            if let Some((first_path, first_form)) = first
                && form != first_form
            {
                let message =
                    format!("`{path}` asks for {} tokens, `{first_path}` for {} ones", form.name(), first_form.name());
                self.problem(path, message, "keep the one that the tokens in the database were written with");
            }
        }
        let form = first.map_or(Form::Plain, |(_, form)| form);
        let is_client_secret_hashed = self.is_secret_hashed(form, is_hash_set, is_apim_hashed);
        let algorithm = self.choice(
            ALGORITHM,
            &[
                ("SHA-256", HashAlgorithm::Sha256),
                ("SHA-384", HashAlgorithm::Sha384),
                ("SHA-512", HashAlgorithm::Sha512),
                ("SHA-1", HashAlgorithm::Sha1),
            ],
        );
        let tokens = match form {
            Form::Plain => TokenPersistence::Plain,
            Form::Hashed => TokenPersistence::Hashed { algorithm },
            Form::Encrypted => TokenPersistence::Encrypted,
        };
        StoredForms { tokens, is_client_secret_hashed }
    }

    /// Secrets are encrypted as the tokens are. Hashed they are only where that is said of them too (database.md 2.4): the
    /// form of the tokens alone leaves them plain.
    fn is_secret_hashed(&mut self, form: Form, is_hash_set: bool, is_apim_hashed: bool) -> bool {
        let by_class = self.processor(SECRET_PROCESSOR);
        let is_plain_by_class = match by_class {
            Some(Form::Plain) if form == Form::Hashed && !is_hash_set => true,
            Some(secret_form) if secret_form != form => {
                let message = format!(
                    "`{SECRET_PROCESSOR}` asks for {} client secrets, tokens are {}",
                    secret_form.name(),
                    form.name()
                );
                self.problem(SECRET_PROCESSOR, message, "remove it: client secrets are stored as tokens are");
                false
            }
            _ => false,
        };
        let is_refused = self.checked.leaves.contains_key(HASH) && !is_hash_set;
        let is_asked_for = is_hash_set || is_apim_hashed || by_class == Some(Form::Hashed);
        form == Form::Hashed && is_asked_for && !is_plain_by_class && !is_refused
    }

    fn processor(&mut self, path: &str) -> Option<Form> {
        let class = self.text_if_set(path)?;
        let name = class.trim().rsplit('.').next().unwrap_or_default();
        let known = PROCESSORS.iter().find(|(known, _)| *known == name);
        if known.is_none() {
            let names = PROCESSORS.map(|(known, _)| known).join(", ");
            self.problem(path, format!("`{path}`: this class is not known"), &format!("expected one of {names}"));
        }
        known.map(|(_, form)| *form)
    }
}
