//! The password column of UM_USER (contract database.md 5.2): Base64 of one digest round over the password followed by the
//! salt *as its Base64 text*.
//!
//! One round of a fast digest is WSO2's form. It is kept because the old server must be able to read what we write.

use crate::encode::base64;
use crate::entropy::Entropy;
use crate::secret::Secret;
use aws_lc_rs::digest;

/// A stored password.
#[derive(Clone, Debug)]
pub struct StoredPassword {
    /// UM_USER_PASSWORD.
    pub digest: String,
    /// UM_SALT_VALUE: the Base64 text, empty without salt.
    pub salt: String,
}

impl StoredPassword {
    /// Digests a new password with a fresh salt: SHA-256, 16 random bytes.
    pub fn new(password: &Secret, rng: &dyn Entropy) -> Self {
        let mut bytes = [0_u8; 16];
        rng.fill(&mut bytes);
        let salt = base64(&bytes);
        Self { digest: digest_text(password, &salt), salt }
    }

    /// Is this the password? In constant time.
    pub fn is_match(&self, password: &Secret) -> bool {
        Secret::new(digest_text(password, &self.salt)).is_equal(&self.digest)
    }
}

fn digest_text(password: &Secret, salt: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(password.expose().as_bytes());
    context.update(salt.as_bytes());
    base64(context.finish().as_ref())
}
