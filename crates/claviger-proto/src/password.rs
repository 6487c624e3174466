//! The password column of UM_USER (contract database.md 5.2): Base64 of one digest round over the password followed by the
//! salt *as its Base64 text*, or whatever else the user store is configured for.
//!
//! One round of a fast digest is WSO2's form. It is kept because the old server must be able to read what we write.

use crate::encode::base64;
use crate::entropy::Entropy;
use crate::hash::md5;
use crate::secret::Secret;
use aws_lc_rs::digest::{self, Algorithm};

/// The digest of a user store (`PasswordDigest`, users-ldap.md 2.1): a Java name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasswordDigest {
    /// `SHA-256`.
    #[default]
    Sha256,
    /// `SHA-384`.
    Sha384,
    /// `SHA-512`.
    Sha512,
    /// `SHA-1`.
    Sha1,
    /// `MD5`.
    Md5,
    /// `PLAIN_TEXT`: the password itself.
    PlainText,
}

/// How a user store keeps passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordForm {
    /// `PasswordDigest`.
    pub digest: PasswordDigest,
    /// `StoreSaltedPassword`.
    pub is_salted: bool,
}

impl Default for PasswordForm {
    /// Salted SHA-256, as in a user store that is not told otherwise.
    fn default() -> Self {
        Self { digest: PasswordDigest::default(), is_salted: true }
    }
}

impl PasswordForm {
    /// The column's text. Without salting the salt does not count, even if its column is filled.
    fn text(self, password: &Secret, salt: &str) -> Secret {
        let salt = if self.is_salted { salt } else { "" };
        // As large as it will be: a text that grows leaves copies behind, which nobody wipes.
        let mut text = String::with_capacity(password.expose().len() + salt.len());
        text.push_str(password.expose());
        text.push_str(salt);
        let text = Secret::new(text);
        let bytes = text.expose().as_bytes();
        let with = |algorithm: &'static Algorithm| Secret::new(base64(digest::digest(algorithm, bytes).as_ref()));
        match self.digest {
            PasswordDigest::Sha256 => with(&digest::SHA256),
            PasswordDigest::Sha384 => with(&digest::SHA384),
            PasswordDigest::Sha512 => with(&digest::SHA512),
            PasswordDigest::Sha1 => with(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            PasswordDigest::Md5 => Secret::new(base64(&md5(bytes))),
            PasswordDigest::PlainText => text,
        }
    }
}

/// A stored password.
#[derive(Clone, Debug)]
pub struct StoredPassword {
    /// UM_USER_PASSWORD.
    pub digest: String,
    /// UM_SALT_VALUE: the Base64 text, empty without salt.
    pub salt: String,
}

impl StoredPassword {
    /// A new password in the default form: SHA-256 with a fresh salt of 16 random bytes.
    pub fn new(password: &Secret, rng: &dyn Entropy) -> Self {
        Self::in_form(password, PasswordForm::default(), rng)
    }

    /// A new password in the form of its user store, with a fresh salt where there is one.
    pub fn in_form(password: &Secret, form: PasswordForm, rng: &dyn Entropy) -> Self {
        let mut bytes = [0_u8; 16];
        rng.fill(&mut bytes);
        let salt = if form.is_salted { base64(&bytes) } else { String::new() };
        Self { digest: form.text(password, &salt).expose().to_owned(), salt }
    }

    /// Is this the password? In constant time.
    pub fn is_match(&self, password: &Secret, form: PasswordForm) -> bool {
        let is_stored = form.text(password, &self.salt).is_equal(&self.digest);
        // Old kernels kept plain passwords without the salt that they stored beside them (database.md 5.2).
        let is_bare = form.digest == PasswordDigest::PlainText && password.is_equal(&self.digest);
        is_stored | is_bare
    }
}
