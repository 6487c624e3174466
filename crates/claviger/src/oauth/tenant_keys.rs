//! Tenants' own signing keys, from the key stores that the old server made with the tenants (contract configuration.md 4.3,
//! database.md 6.3 and 6.5).
//!
//! A tenant with a key store has its tokens signed with the key in it, and with no other: its gateways trust that one. A tenant
//! without one, or with one whose key is too short to sign (1024 bits before 2.6), has them signed with the server's. One that
//! is there and cannot be read stops the tenant's JWTs until somebody has repaired it; the log names the tenant.
//!
//! Keys are read when somebody needs them and remembered. Whether a key store changed is looked up when the last look is
//! some seconds old; at once where an answer tells others what to trust; and when a token names a key that nobody knows. The
//! first node that sees a change tells gateways, which hold keys too.

use super::OAuth;
use super::keys::KeySet;
use claviger_proto::event::Event;
use claviger_proto::ids::{ConsumerKey, TenantId};
use claviger_proto::jose::{self, JoseError, JwkSet, KeyNames, SigningKey};
use claviger_proto::keystore::{KeyStore, KeyStoreError, StoreType};
use claviger_proto::secret::Secret;
use claviger_proto::stored_form::{Cipher, CipherKey, StoredFormError};
use claviger_proto::time::Timestamp;
use claviger_store::error::StoreError;
use claviger_store::key_stores::{self, Mark, StoredKeyStore};
use claviger_store::{clients, tenants};
use quick_cache::sync::Cache;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::Mutex;

/// Tenants whose keys are remembered; each takes some kilobytes.
const TENANTS_MAX: usize = 10_000;
/// Age of a look after which the next token asks again whether the tenant's key store changed.
pub(super) const LOOK_MS: i64 = 5_000;
/// The same for a token whose key is unknown: it may be a new one. Whoever makes such tokens up gets no more looks by it.
const UNKNOWN_LOOK_MS: i64 = 1_000;
/// Looks at once where the answer is what others will trust.
pub(super) const NOW: i64 = 0;
/// Locks that keep one tenant's key store from being read by many at a time; two tenants may share one.
const LOCKS: usize = 64;

/// What opens the passwords of key stores: the old server's key, or why there is none.
pub type Passwords = Result<Cipher, String>;

/// Why a tenant's tokens can neither be signed nor checked.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its key store is there and cannot be read. The log has the reason.
    #[error("the key store of the tenant {0} cannot be read")]
    Unreadable(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a key store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The key that encrypted its passwords is not there.
    #[error("its passwords are encrypted with the old server's key, and {0}")]
    NoCipher(String),
    /// The resource has no such property.
    #[error("its resource has no property `{0}`")]
    NoProperty(&'static str),
    /// A password cannot be decrypted.
    #[error("its property `{0}` cannot be decrypted: {1}")]
    Password(&'static str, #[source] StoredFormError),
    /// The old server makes JKS. Opening another form may take as long as who wrote it likes, and a tenant's administrator may
    /// have written it.
    #[error("it is a {0}, and tenants' key stores are read as JKS only")]
    NotJks(String),
    /// The file, or its key.
    #[error(transparent)]
    KeyStore(#[from] KeyStoreError),
    /// The key has no certificate, which names it.
    #[error("its key has no certificate")]
    NoCertificate,
    /// Less than 2048 bits.
    #[error("its key has less than 2048 bits")]
    Short,
    /// The key is none that signs tokens.
    #[error("its key is not an RSA key that can sign")]
    NotRsa,
}

/// The signing key of a tenant from its key store, a file with the properties of its resource. Where the key is and under which
/// passwords is said here and nowhere else (configuration.md 4.3): the alias is the tenant's domain, as the old server's token
/// issuer has it, or else the one that the resource names.
pub fn open(
    passwords: &Passwords,
    domain: &str,
    (file, properties): (&[u8], &BTreeMap<String, String>),
) -> Result<SigningKey, OpenError> {
    const PASSWORD: &str = "password";
    const KEY_PASSWORD: &str = "privatekeyPass";
    let cipher = passwords.as_ref().map_err(|reason| OpenError::NoCipher(reason.clone()))?;
    let property = |name: &str| properties.get(name).filter(|value| !value.is_empty());
    let decrypt = |name| property(name).map(|value| cipher.decrypt(value).map_err(|it| OpenError::Password(name, it)));
    let password = decrypt(PASSWORD).ok_or(OpenError::NoProperty(PASSWORD))??;
    let key_password: Secret = decrypt(KEY_PASSWORD).transpose()?.unwrap_or_else(|| password.clone());
    if let Some(other) = property("type").filter(|name| StoreType::parse(name) != Some(StoreType::Jks)) {
        return Err(OpenError::NotJks(other.clone()));
    }
    let store = KeyStore::read(file, StoreType::Jks, &password)?;
    let entry = match (store.private_key(domain, &key_password), property("privatekeyAlias")) {
        (Err(KeyStoreError::NoSuchAlias { .. }), Some(alias)) => store.private_key(alias, &key_password)?,
        (found, _) => found?,
    };
    let certificate = entry.chain.first().ok_or(OpenError::NoCertificate)?;
    let is_short = || CipherKey::new(&entry.pkcs8, certificate).is_ok_and(|key| key.is_short());
    SigningKey::new(&entry.pkcs8, certificate)
        .map_err(|_| if is_short() { OpenError::Short } else { OpenError::NotRsa })
}

/// What is known of one tenant.
struct Known {
    domain: String,
    /// The key store that was read; `None` when there was none.
    mark: Option<Mark>,
    /// `None` when the key store cannot be read.
    keys: Option<Arc<KeySet>>,
    /// Milliseconds of the last look.
    looked_ms: AtomicI64,
}

impl Known {
    fn looked(&self) -> Timestamp {
        Timestamp::from_millis(self.looked_ms.load(Ordering::Acquire))
    }

    fn note_look(&self, at: Timestamp) {
        self.looked_ms.store(at.as_millis(), Ordering::Release);
    }

    fn keys(&self) -> Result<Arc<KeySet>, KeyError> {
        self.keys.clone().ok_or_else(|| KeyError::Unreadable(self.domain.clone()))
    }
}

/// The keys of tenants as far as somebody has asked for them.
pub(super) struct TenantKeys {
    passwords: Passwords,
    names: KeyNames,
    known: Cache<TenantId, Arc<Known>>,
    locks: Vec<Mutex<()>>,
}

impl TenantKeys {
    pub(super) fn new(passwords: Passwords, names: KeyNames) -> Self {
        let locks = (0..LOCKS).map(|_| Mutex::new(())).collect();
        Self { passwords, names, known: Cache::new(TENANTS_MAX), locks }
    }

    /// What is known from a look that is younger than `age_ms`.
    fn find(&self, tenant: TenantId, age_ms: i64, now: Timestamp) -> Option<Arc<Known>> {
        let known = self.known.get(&tenant)?;
        // A clock that was set back makes no look younger.
        (0..age_ms).contains(&now.millis_since(known.looked())).then_some(known)
    }

    /// Some key store changed: everybody is looked at again, when he is needed.
    pub(super) fn look_again(&self) {
        for (_, known) in self.known.iter() {
            known.note_look(Timestamp::from_millis(i64::MIN / 2));
        }
    }

    fn lock_of(&self, tenant: TenantId) -> &Mutex<()> {
        &self.locks[usize::try_from(tenant.0.unsigned_abs() % LOCKS as u64).unwrap_or(0)]
    }
}

impl OAuth {
    /// The keys of a tenant: its own, or the server's when it has none. A look at its key store may be `age_ms` old.
    pub(crate) async fn keys_of(&self, tenant: TenantId, age_ms: i64) -> Result<Arc<KeySet>, KeyError> {
        if tenant == TenantId::SUPER {
            return Ok(self.keys.server.clone());
        }
        let asked = self.clock.now();
        if let Some(known) = self.keys.tenants.find(tenant, age_ms, asked) {
            return known.keys();
        }
        // Boxed: looking is the rare and long way, and the future of every caller would be as large.
        let looked = Box::pin(self.look_at_key_store(tenant, asked));
        match (looked.await, self.keys.tenants.known.get(&tenant)) {
            (Ok((known, is_changed)), _) => {
                if is_changed {
                    Box::pin(self.tell_of_change(&known)).await;
                }
                known.keys()
            }
            // Nothing shows that it changed while the database does not answer. It is asked again after a while.
            (Err(error), Some(known)) if age_ms > NOW && error.is_temporary() => {
                known.note_look(self.clock.now());
                known.keys()
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// The keys that sign a client's tokens. They are those of its tenant, and so are its users
    /// (`authentication.sign_auth_response_with_tenant_of` would tell the two apart).
    pub(crate) async fn signer_of(&self, client: &clients::Client) -> Result<Arc<KeySet>, KeyError> {
        self.keys_of(client.tenant, LOOK_MS).await
    }

    /// The keys that a tenant's APIs accept from everybody's clients: the server's, which signs for tenants without a key store
    /// and has signed for this one as long as it had none.
    pub(crate) fn common_keys(&self) -> JwkSet {
        self.keys.server.published.clone()
    }

    /// The keys that a tenant's APIs accept from its own clients beside [`Self::common_keys`].
    pub(crate) async fn own_keys(
        &self,
        tenant: TenantId,
        domain: &str,
        marks: &HashMap<(TenantId, String), Mark>,
    ) -> Result<JwkSet, StoreError> {
        let Some(mark) = marks.get(&(tenant, key_stores::name_of(domain))).filter(|_| tenant != TenantId::SUPER) else {
            return Ok(JwkSet::default());
        };
        let known = self.keys.tenants.known.get(&tenant).filter(|known| known.mark.as_ref() == Some(mark));
        let keys = match known {
            Some(known) => known.keys(),
            None => self.keys_of(tenant, NOW).await,
        };
        match keys {
            Ok(own) if !Arc::ptr_eq(&own, &self.keys.server) => Ok(own.published.clone()),
            // An unreadable one has been told of; the others' gateways are served.
            Ok(_) | Err(KeyError::Unreadable(_)) => Ok(JwkSet::default()),
            Err(KeyError::Store(error)) => Err(error),
        }
    }

    /// The claims of a JWT that this installation signed, `None` for any other. The key of a tenant counts for tokens of that
    /// tenant's clients only, which name their client as `azp`: who found it out must not speak for others.
    /// [`KeyError::Unreadable`] when nobody can say.
    pub(crate) async fn verify(&self, text: &str) -> Result<Option<Map<String, Value>>, KeyError> {
        match self.keys.server.verifying.verify(text) {
            Err(JoseError::UnknownKey) => {}
            checked => return Ok(checked.ok()),
        }
        let Ok(claims) = jose::unverified_claims(text) else { return Ok(None) };
        let Some(client) = claims.get("azp").and_then(Value::as_str) else { return Ok(None) };
        let Some(known) = self.find_client(&ConsumerKey::from(client)).await? else { return Ok(None) };
        let tenant = known.client.tenant;
        if tenant == TenantId::SUPER {
            return Ok(None);
        }
        let mut answer = Ok(None);
        for age_ms in [LOOK_MS, UNKNOWN_LOOK_MS] {
            answer = match self.keys_of(tenant, age_ms).await {
                Ok(keys) => match keys.verifying.verify(text) {
                    Err(JoseError::UnknownKey) => Ok(None),
                    checked => return Ok(checked.ok()),
                },
                Err(error @ KeyError::Unreadable(_)) => Err(error),
                Err(error) => return Err(error),
            };
        }
        answer
    }

    /// Looks whether a tenant's key store is the one that is known, and reads it when it is not. True when another was known.
    async fn look_at_key_store(&self, tenant: TenantId, asked: Timestamp) -> Result<(Arc<Known>, bool), StoreError> {
        let keys = &self.keys.tenants;
        let lock = tokio::time::timeout(self.store.wait_max(), keys.lock_of(tenant).lock());
        let _lock = lock.await.map_err(|_| StoreError::NoPlace)?;
        let before = keys.known.get(&tenant);
        // Whoever held the lock may have looked meanwhile.
        if let Some(known) = before.as_ref().filter(|known| known.looked() > asked) {
            return Ok((known.clone(), false));
        }
        let looked = self.clock.now();
        let mut conn = self.store.reader().await?;
        let domain = match &before {
            Some(known) => known.domain.clone(),
            None => tenants::find_domain(&mut conn, tenant).await?.unwrap_or_default(),
        };
        let mark = key_stores::find_mark(&mut conn, tenant, &domain).await?;
        if let Some(known) = before.as_ref().filter(|known| known.mark == mark) {
            known.note_look(looked);
            return Ok((known.clone(), false));
        }
        // It may go between the two statements.
        let stored = if mark.is_some() { key_stores::find(&mut conn, tenant, &domain).await? } else { None };
        drop(conn);
        let known = Arc::new(Known {
            keys: self.read_keys(&domain, stored.as_ref()),
            domain,
            mark: stored.map(|stored| stored.mark),
            looked_ms: AtomicI64::new(looked.as_millis()),
        });
        keys.known.insert(tenant, known.clone());
        Ok((known, before.is_some()))
    }

    /// The keys of a tenant with this key store, and a line for what an operator should know of it.
    fn read_keys(&self, domain: &str, stored: Option<&StoredKeyStore>) -> Option<Arc<KeySet>> {
        let Some(stored) = stored else { return Some(self.keys.server.clone()) };
        match open(&self.keys.tenants.passwords, domain, (&stored.bytes, &stored.properties)) {
            Ok(signing) => {
                let signing = signing.named_as(self.keys.tenants.names);
                tracing::info!(tenant = domain, kid = signing.kid, "tokens of a tenant are signed with its own key");
                Some(Arc::new(KeySet::new(signing)))
            }
            Err(error @ OpenError::Short) => {
                tracing::warn!(
                    tenant = domain,
                    "the key store of a tenant does not sign, {error}: the server's key does; clients that trust the tenant's \
                     certificate must be given the other one"
                );
                Some(self.keys.server.clone())
            }
            Err(error) => {
                tracing::error!(
                    tenant = domain,
                    "the key store of a tenant cannot be read, {error}: no JWT is issued or accepted for it until it can"
                );
                None
            }
        }
    }

    /// Gateways remember keys. What they are told costs the request that saw the change a write, and never its answer.
    async fn tell_of_change(&self, known: &Known) {
        let now = self.clock.now();
        let write = self.store.write::<_, StoreError, _>(move |conn| Box::pin(conn.emit(Event::KeysChanged, now)));
        if let Err(error) = write.await {
            tracing::warn!(tenant = known.domain, %error, "gateways could not be told of a tenant's new key");
        }
    }
}

#[cfg(test)]
mod tests;
