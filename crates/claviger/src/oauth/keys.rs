//! The keys that sign tokens, and the set under which they are published.

use crate::oauth::authorize::sealed::Sealing;
use claviger_proto::jose::{JwkSet, SigningKey, VerifyingKeys};

/// Signing keys of the installation. One for now; the set is what grows when keys rotate.
pub struct Keys {
    /// Signs new tokens.
    pub signing: SigningKey,
    /// What `/oauth2/jwks` shows.
    pub published: JwkSet,
    /// Checks tokens that come back.
    pub verifying: VerifyingKeys,
    /// Seals what a browser carries through a login. From the signing key, which all nodes of an installation have.
    pub sealing: Sealing,
}

impl Keys {
    /// The keys of an installation with one signing key.
    pub fn new(signing: SigningKey) -> Self {
        let published = JwkSet { keys: vec![signing.public_jwk()] };
        let sealing = Sealing::new(&signing.derived("login"));
        Self { verifying: VerifyingKeys::new(&published), published, signing, sealing }
    }
}
