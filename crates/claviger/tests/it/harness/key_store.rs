//! Key stores of tenants in the registry, as an old server leaves them. No wire makes them.

use super::Server;
use claviger::app::SystemEntropy;
use claviger_proto::entropy::uuid;
use claviger_proto::ids::TenantId;
use claviger_proto::jose::SigningKey;
use claviger_proto::keystore::{KeyStore, PrivateKeyEntry, StoreType};
use claviger_proto::secret::Secret;
use claviger_proto::stored_form::{Cipher, CipherForm, CipherKey, Transformation};
use claviger_proto::time::Clock as _;
use claviger_store::error::StoreError;
use claviger_store::key_stores::{COLLECTION, name_of};
use claviger_store::registry::{self, NewResource};
use std::collections::BTreeMap;

/// The keys of an installation, which encrypted the passwords.
const INSTALLATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../claviger-proto/src/keystore/fixtures/keys.jks");
/// What deployment.toml says of them.
pub(crate) const KEYSTORE: &str = concat!(
    "[keystore.primary]\nfile_name = \"",
    env!("CARGO_MANIFEST_DIR"),
    "/../claviger-proto/src/keystore/fixtures/keys.jks\"\ntype = \"JKS\"\npassword = \"store-secret\"\nalias = \"wso2carbon\"\n\
     key_password = \"rsa-secret\"\n"
);

/// A key store of the tenant acme.com, with what keytool and OpenSSL say of its key.
#[derive(Clone, Copy)]
pub(crate) struct TenantStore {
    pub(crate) file: &'static [u8],
    pub(crate) password: &'static str,
    pub(crate) alias: &'static str,
    /// X.509 DER.
    pub(crate) certificate: &'static [u8],
    /// SubjectPublicKeyInfo DER.
    pub(crate) public: &'static [u8],
}

pub(crate) const FIRST: TenantStore = TenantStore {
    file: include_bytes!("../fixtures/acme-com.jks"),
    password: "acme-store-secret",
    alias: "acme.com",
    certificate: include_bytes!("../fixtures/acme-com.cer"),
    public: include_bytes!("../fixtures/acme-com.pub"),
};
pub(crate) const RENEWED: TenantStore = TenantStore {
    file: include_bytes!("../fixtures/acme-com-renewed.jks"),
    certificate: include_bytes!("../fixtures/acme-com-renewed.cer"),
    public: include_bytes!("../fixtures/acme-com-renewed.pub"),
    ..FIRST
};

fn key_of(file: &[u8], password: &str, alias: &str, key_password: &str) -> PrivateKeyEntry {
    let store = KeyStore::read(file, StoreType::Jks, &Secret::new(password)).unwrap();
    store.private_key(alias, &Secret::new(key_password)).unwrap()
}

impl TenantStore {
    /// As somebody signs who has the tenant's key.
    pub(crate) fn sign(&self, claims: &serde_json::Value) -> String {
        let key = key_of(self.file, self.password, self.alias, self.password);
        SigningKey::new(&key.pkcs8, &key.chain[0]).unwrap().sign(&claims.to_string())
    }
}

/// A password in the column's form, encrypted with the installation's key.
fn encrypted(plain: &str) -> String {
    let key = key_of(&std::fs::read(INSTALLATION).unwrap(), "store-secret", "wso2carbon", "rsa-secret");
    let key = CipherKey::new(&key.pkcs8, &key.chain[0]).unwrap();
    let cipher = Cipher::new(key, Vec::new(), CipherForm::Holder(Transformation::Oaep));
    cipher.encrypt(plain, &SystemEntropy::default()).unwrap()
}

/// Puts a key store where an old server puts a tenant's, in the place of any that is there.
pub(crate) async fn put_key_store(server: &Server, tenant: TenantId, domain: &str, store: &TenantStore) {
    let name = name_of(domain);
    // The embedded database numbers rows from the largest that is there: a change takes its time.
    server.clock.advance_ms(1);
    let (now, content) = (server.clock.now(), store.file);
    let properties = BTreeMap::from([
        ("password".to_owned(), encrypted(store.password)),
        ("privatekeyPass".to_owned(), encrypted(store.password)),
        ("privatekeyAlias".to_owned(), store.alias.to_owned()),
        ("type".to_owned(), "JKS".to_owned()),
    ]);
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        let (name, properties) = (name.clone(), properties.clone());
        Box::pin(async move {
            let rng = SystemEntropy::default();
            let new = NewResource {
                tenant,
                collection: COLLECTION,
                name: &name,
                media_type: "application/octet-stream",
                uuid: &uuid(&rng),
                content,
                user: "wso2.system.user",
                now,
            };
            let path = registry::put(conn, &new, &rng).await?;
            registry::set_properties(conn, tenant, (path, &name), &properties).await
        })
    });
    write.await.unwrap();
}
