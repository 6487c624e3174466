//! The keys that sign tokens, and the sets under which they are published: the server's, and beside it those of tenants
//! (`tenant_keys`).

use crate::oauth::authorize::sealed::Sealing;
use crate::oauth::tenant_keys::{Passwords, TenantKeys};
use claviger_proto::jose::{JwkSet, KeyNames, SigningKey, VerifyingKeys};
use std::sync::Arc;

/// A signing key with its public side. One key for now; the set is what grows when keys rotate.
pub struct KeySet {
    /// Signs new tokens.
    pub signing: SigningKey,
    /// What `/oauth2/jwks` shows and gateways accept: the key by its present name first, and by those that living tokens of an old
    /// server, or of tables that were migrated since, may have for it.
    pub published: JwkSet,
    /// Checks tokens that come back.
    pub verifying: VerifyingKeys,
}

impl KeySet {
    /// The set of one signing key.
    pub fn new(signing: SigningKey) -> Self {
        let published = JwkSet { keys: signing.public_jwks() };
        Self { verifying: VerifyingKeys::new(&published), published, signing }
    }
}

/// Signing keys of the installation.
pub struct Keys {
    /// The server's: those of the super tenant, and of tenants without a key store of their own.
    pub server: Arc<KeySet>,
    /// Those of the other tenants.
    pub(super) tenants: TenantKeys,
    /// Seals what a browser carries through a login. From the server's signing key, which all nodes of an installation have.
    pub sealing: Sealing,
}

impl Keys {
    /// The keys of an installation: its signing key, what opens its tenants' key stores, and how its release names keys.
    pub fn new(signing: SigningKey, passwords: Passwords, names: KeyNames) -> Self {
        let sealing = Sealing::new(&signing.derived("login"));
        let server = Arc::new(KeySet::new(signing.named_as(names)));
        Self { server, tenants: TenantKeys::new(passwords, names), sealing }
    }
}
