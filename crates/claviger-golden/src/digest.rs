//! What an old server computes from secrets and scopes before it writes them (contract database.md 3.2 and 5.2).

use crate::db::hex;
use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use md5::{Digest as _, Md5};

/// The text in the hash columns, and in place of a value in the hashed form.
pub fn hash_text(value: &str) -> String {
    let digits = hex(digest(&SHA256, value.as_bytes()).as_ref());
    format!(r#"{{"hash":"{digits}","algorithm":"SHA-256"}}"#)
}

/// TOKEN_SCOPE_HASH: MD5 of the scopes, sorted and joined by a space.
pub fn scope_hash(scopes: &[String]) -> String {
    let mut sorted = scopes.to_vec();
    // Java sorts by UTF-16 units; scopes are ASCII (RFC 6749, 3.3), for which bytes give the same order.
    sorted.sort();
    hex(&Md5::digest(sorted.join(" ").as_bytes()))
}

/// The S256 challenge of a code verifier (RFC 7636, 4.2).
pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

/// The digest of a user store (`PasswordDigest`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum PasswordDigest {
    /// `SHA-256`, the default.
    Sha256,
    /// `SHA-1`.
    Sha1,
    /// `SHA-512`.
    Sha512,
    /// `MD5`.
    Md5,
    /// `PLAIN_TEXT`.
    PlainText,
}

/// How a user store keeps passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PasswordForm {
    /// `PasswordDigest`.
    pub digest: PasswordDigest,
    /// `StoreSaltedPassword`.
    pub is_salted: bool,
}

impl PasswordForm {
    /// What a user store does that is not told otherwise.
    pub const DEFAULT: Self = Self { digest: PasswordDigest::Sha256, is_salted: true };

    /// Every form the contract names.
    pub const ALL: [Self; 10] = {
        const fn form(digest: PasswordDigest, is_salted: bool) -> PasswordForm {
            PasswordForm { digest, is_salted }
        }
        [
            form(PasswordDigest::Sha256, true),
            form(PasswordDigest::Sha256, false),
            form(PasswordDigest::Sha1, true),
            form(PasswordDigest::Sha1, false),
            form(PasswordDigest::Sha512, true),
            form(PasswordDigest::Sha512, false),
            form(PasswordDigest::Md5, true),
            form(PasswordDigest::Md5, false),
            form(PasswordDigest::PlainText, true),
            form(PasswordDigest::PlainText, false),
        ]
    };

    /// UM_USER_PASSWORD. `salt` is the text of UM_SALT_VALUE; without salting it does not count.
    pub fn column(self, password: &str, salt: &str) -> String {
        let text = if self.is_salted { format!("{password}{salt}") } else { password.to_owned() };
        let with = |algorithm: &'static Algorithm| STANDARD.encode(digest(algorithm, text.as_bytes()));
        match self.digest {
            PasswordDigest::Sha256 => with(&SHA256),
            PasswordDigest::Sha1 => with(&SHA1_FOR_LEGACY_USE_ONLY),
            PasswordDigest::Sha512 => with(&SHA512),
            PasswordDigest::Md5 => STANDARD.encode(Md5::digest(text.as_bytes())),
            PasswordDigest::PlainText => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_the_contract() {
        let scopes = |text: &str| text.split(' ').filter(|it| !it.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(scope_hash(&scopes("default")), "c21f969b5f03d33d43e04f8f136e7682");
        assert_eq!(scope_hash(&scopes("default am_application_scope")), "15703966c63ae7da301cd656ef647fa6");
        assert_eq!(scope_hash(&[]), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(
            hash_text("3a1b2c3d-0000-4000-8000-1234567890ab"),
            r#"{"hash":"cc9f33cb7596e6e31c1e4298bbd142afcac9029be7b0a33fb7e6ec30af6cfc04","algorithm":"SHA-256"}"#
        );
        let salt = "AAECAwQFBgcICQoLDA0ODw==";
        let column = |digest, is_salted| PasswordForm { digest, is_salted }.column("admin", salt);
        assert_eq!(column(PasswordDigest::Sha256, true), "4MnJjCYpevdkIed46uWi+mk+ZvFjMASJPmrZIWynBuM=");
        assert_eq!(column(PasswordDigest::Sha256, false), "jGl25bVBBBW96Qi9Te4V37Fnqchz/Eu4qB9vKrRIqRg=");
        assert_eq!(column(PasswordDigest::PlainText, true), "adminAAECAwQFBgcICQoLDA0ODw==");
        assert_eq!(column(PasswordDigest::PlainText, false), "admin");
        // `printf admin | openssl dgst -md5 -binary | base64`, and with -sha1.
        assert_eq!(column(PasswordDigest::Md5, false), "ISMvKXpXpadDiUoOSoAfww==");
        assert_eq!(column(PasswordDigest::Sha1, false), "0DPiKuNIrrVmD8IUCuw1hQxNqZc=");
    }

    /// RFC 7636, appendix B.
    #[test]
    fn challenge_of_the_rfc() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
