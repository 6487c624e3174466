//! Keys of the installation: key stores in PEM, JKS and PKCS#12, and what they are for (contract configuration.md 2.3 and 4).
//!
//! The primary key signs, the internal one encrypts what is stored, that of `keystore.tls` is the server's. A key of 1024 bits,
//! as the key manager of 2.1 shipped it, is good for what it encrypted and for nothing else.

use crate::config::Config;
use crate::config::model::{HashAlgorithm, KeystoreSettings, StoreFormat, TokenPersistence, TruststoreSettings};
use crate::files::{KeyPair, load_pem};
use crate::oauth::tenant_keys::Passwords;
use anyhow::Context as _;
use claviger_proto::entropy::Entropy;
use claviger_proto::hash;
use claviger_proto::jose::KeyNames;
use claviger_proto::keystore::{KEYSTORE_BYTES_MAX, KeyStore, StoreType};
use claviger_proto::secret::Secret;
use claviger_proto::stored_form::{Cipher, CipherForm, CipherKey, StoredForm, Transformation};
use claviger_store::capability::{Capabilities, Capability};
use claviger_store::forms::Forms;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// Length of a token.
const UUID_CHARS: usize = 36;
/// Width of ACCESS_TOKEN in 2.1.
const OLD_TOKEN_CHARS_MAX: usize = 255;

/// Checks the configured key and trust stores before anything is opened: their files must be there.
pub fn check(config: &Config) -> anyhow::Result<()> {
    let stores = &config.keystore;
    let keys = [&stores.primary, &stores.internal, &stores.tls].into_iter().flatten();
    let keys = keys.flat_map(|store| {
        let key_file = store.key_file.iter().map(|file| (store.section, "key_file_name", file));
        [(store.section, "file_name", &store.file)].into_iter().chain(key_file)
    });
    for (section, key, file) in keys.chain(stores.trust.iter().map(|store| ("truststore", "file_name", &store.file))) {
        anyhow::ensure!(
            file.is_file(),
            "`{section}.{key}`: there is no file {}; a relative name is looked for in the data directory",
            file.display()
        );
    }
    Ok(())
}

/// The key of a store with its certificates.
pub fn load(store: &KeystoreSettings) -> anyhow::Result<KeyPair> {
    let at = || format!("[{}] {}", store.section, store.file.display());
    let format = match store.format {
        StoreFormat::Pem => return load_pem(&store.file, store.key_file.as_deref()).with_context(at),
        StoreFormat::Jks => StoreType::Jks,
        StoreFormat::Pkcs12 => StoreType::Pkcs12,
    };
    let opened = open(&store.file, format, &store.password).with_context(at)?;
    let entry = opened.private_key(&store.alias, &store.key_password).with_context(at)?;
    let chain: Vec<CertificateDer<'static>> = entry.chain.into_iter().map(CertificateDer::from).collect();
    anyhow::ensure!(!chain.is_empty(), "{}: the key `{}` has no certificate", at(), store.alias);
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(entry.pkcs8.to_vec()));
    Ok(KeyPair { chain, key, is_new: false })
}

/// The key of a store if it may sign and be a server's. One of 1024 bits, as the key manager of 2.1 shipped it, may not: it is
/// good for what it encrypted, and `None` here.
pub fn load_strong(store: &KeystoreSettings) -> anyhow::Result<Option<KeyPair>> {
    let pair = load(store)?;
    let certificate = pair.chain.first().context("the key has no certificate")?;
    let is_short = CipherKey::new(pair.key.secret_der(), certificate).is_ok_and(|key| key.is_short());
    if is_short {
        tracing::warn!(
            section = store.section,
            file = %store.file.display(),
            "a key of less than 2048 bits neither signs nor serves TLS: keys of the data directory do; clients that trust the old \
             certificate must be given the new one"
        );
    }
    Ok(Some(pair).filter(|_| !is_short))
}

/// The certificates of a trust store.
pub fn load_trusted(store: &TruststoreSettings) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let at = || format!("[truststore] {}", store.file.display());
    let format = match store.format {
        StoreFormat::Pem => {
            let certificates = CertificateDer::pem_file_iter(&store.file).and_then(Iterator::collect);
            return certificates.with_context(|| format!("{} cannot be read as PEM certificates", at()));
        }
        StoreFormat::Jks => StoreType::Jks,
        StoreFormat::Pkcs12 => StoreType::Pkcs12,
    };
    let opened = open(&store.file, format, &store.password).with_context(at)?;
    // A key's own certificate counts too, as in Java: keytool makes trust stores from copies of key stores.
    let aliases: Vec<String> = opened.aliases().map(str::to_owned).collect();
    let certificate = |alias: &String| opened.certificate(alias).map(|der| CertificateDer::from(der.to_vec()));
    aliases.iter().map(certificate).collect::<Result<_, _>>().with_context(at)
}

fn open(file: &Path, format: StoreType, password: &Secret) -> anyhow::Result<KeyStore> {
    let mut bytes = Vec::new();
    let bytes_max = u64::try_from(KEYSTORE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    File::open(file)?.take(bytes_max).read_to_end(&mut bytes)?;
    let store = KeyStore::read(&bytes, format, password)?;
    if let Some(mismatch) = store.mismatch() {
        tracing::warn!(file = %file.display(), "{mismatch}");
    }
    Ok(store)
}

/// How tokens and secrets stand in the databases (database.md 2.4).
pub fn forms(config: &Config, capabilities: Capabilities, rng: &Arc<dyn Entropy>) -> anyhow::Result<Forms> {
    let stored = &config.oauth.stored;
    let tokens = match stored.tokens {
        TokenPersistence::Plain => StoredForm::Plain,
        TokenPersistence::Hashed { algorithm } => {
            anyhow::ensure!(
                capabilities.has(Capability::TokenHash),
                "the configuration asks for hashed tokens, but the token table has no hash columns (2.1 knows plain and encrypted ones)"
            );
            anyhow::ensure!(
                algorithm == HashAlgorithm::Sha256,
                "tokens hashed with {algorithm:?} cannot be told to gateways, which know them by SHA-256: only that is supported"
            );
            StoredForm::Hashed(hash::HashAlgorithm::default())
        }
        TokenPersistence::Encrypted => {
            let cipher = cipher(config, capabilities)?;
            let chars = cipher.column_chars(UUID_CHARS);
            anyhow::ensure!(
                capabilities.has(Capability::TokenHash) || chars <= OLD_TOKEN_CHARS_MAX,
                "a token encrypted with this key has {chars} characters, and the columns of 2.1 hold {OLD_TOKEN_CHARS_MAX}: the old \
                 server's key has 1512 bits at the most"
            );
            StoredForm::Encrypted(Arc::new(cipher))
        }
    };
    let secrets = match (&tokens, stored.is_client_secret_hashed) {
        (StoredForm::Hashed(algorithm), true) => StoredForm::Hashed(algorithm.clone()),
        (StoredForm::Encrypted(cipher), _) => StoredForm::Encrypted(cipher.clone()),
        _ => StoredForm::Plain,
    };
    Ok(Forms::new(tokens, secrets, rng.clone()))
}

/// How the old server on these tables names its keys: those that check tokens may know them by that.
pub fn key_names(capabilities: Capabilities) -> KeyNames {
    // IS 5.10, 5.9, and before: the tables of 3.1, 3.0, and 2.x.
    match (capabilities.has(Capability::TokenBinding), capabilities.has(Capability::IdpId)) {
        (true, _) => KeyNames::Sha256,
        (false, true) => KeyNames::Sha1WithAlgorithm,
        (false, false) => KeyNames::Sha1,
    }
}

/// What opens the passwords of tenants' key stores, whatever form tokens have: the old server encrypted them with its key.
pub fn passwords(config: &Config, capabilities: Capabilities) -> Passwords {
    old_cipher(config, capabilities).map_err(|error| format!("{error:#}"))
}

/// What decrypts passwords in files of the old server: they are encrypted as tokens are (configuration.md 1.3).
pub fn file_cipher(config: &Config) -> anyhow::Result<Cipher> {
    old_cipher(config, Capabilities::ALL)
}

fn old_cipher(config: &Config, capabilities: Capabilities) -> anyhow::Result<Cipher> {
    let has_key = config.keystore.internal.is_some() || config.keystore.primary.is_some();
    anyhow::ensure!(has_key, "neither [keystore.internal] nor [keystore.primary] names it");
    cipher(config, capabilities)
}

/// The internal key writes; the primary one, which older releases used, reads too.
fn cipher(config: &Config, capabilities: Capabilities) -> anyhow::Result<Cipher> {
    let stores = &config.keystore;
    let internal = stores.internal.as_ref().or(stores.primary.as_ref()).context(
        "the configuration asks for encrypted tokens: [keystore.internal] or [keystore.primary] must name the old server's key",
    )?;
    let present = cipher_key(internal)?;
    let mut former = Vec::new();
    if let Some(primary) =
        stores.primary.as_ref().filter(|primary| (&primary.file, &primary.alias) != (&internal.file, &internal.alias))
    {
        former.push(cipher_key(primary)?);
    }
    let form = if capabilities.has(Capability::TokenHash) {
        CipherForm::Holder(Transformation::Oaep)
    } else {
        CipherForm::Block
    };
    Ok(Cipher::new(present, former, form))
}

fn cipher_key(store: &KeystoreSettings) -> anyhow::Result<CipherKey> {
    let pair = load(store)?;
    let certificate = pair.chain.first().context("the key has no certificate")?;
    CipherKey::new(pair.key.secret_der(), certificate)
        .with_context(|| format!("[{}] {}: the key `{}`", store.section, store.file.display(), store.alias))
}
