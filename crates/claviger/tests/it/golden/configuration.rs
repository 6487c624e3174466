//! The old installation's settings and keys, as ours is told of them.

use claviger::app::SystemEntropy;
use claviger_golden::clock::WallClock;
use claviger_golden::digest::PasswordDigest;
use claviger_golden::golden::Golden;
use claviger_golden::options::{Cipher, Form};
use claviger_golden::server::Address;
use claviger_golden::{Engine, Release};
use claviger_proto::jose::{KeyNames, SigningKey};
use claviger_proto::keystore::{KeyStore, PrivateKeyEntry, StoreType};
use claviger_proto::secret::Secret;
use claviger_proto::stored_form::{self, CipherForm, CipherKey, Transformation};
use std::fmt::Write as _;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../claviger-proto/src/keystore/fixtures");
/// File, store password, key password: 2.1 came with a key of 1024 bits, later releases with one of 2048.
const SMALL: (&str, &str, &str) = ("small.jks", "wso2carbon", "wso2carbon");
const LARGE: (&str, &str, &str) = ("keys.jks", "store-secret", "rsa-secret");
const ALIAS: &str = "wso2carbon";

fn key_store(release: Release) -> (&'static str, &'static str, &'static str) {
    if release == Release::V2_1 { SMALL } else { LARGE }
}

fn key(release: Release) -> PrivateKeyEntry {
    let (file, password, key_password) = key_store(release);
    let bytes = std::fs::read(format!("{FOLDER}/{file}")).unwrap();
    let store = KeyStore::read(&bytes, StoreType::Jks, &Secret::new(password)).unwrap();
    store.private_key(ALIAS, &Secret::new(key_password)).unwrap()
}

/// The key that signed the old server's JWTs.
pub(super) fn signing_key(release: Release) -> SigningKey {
    let key = key(release);
    let names = match release {
        Release::V2_1 | Release::V2_6 => KeyNames::Sha1,
        Release::V3_0 => KeyNames::Sha1WithAlgorithm,
        Release::V3_1 | Release::V3_2 => KeyNames::Sha256,
    };
    SigningKey::new(&key.pkcs8, &key.chain[0]).unwrap().named_as(names)
}

/// The key that encrypts the old server's columns, in its release's form.
pub(super) struct InstallationKey(stored_form::Cipher);

impl InstallationKey {
    pub(super) fn of(release: Release) -> Self {
        let key = key(release);
        let form = match release {
            Release::V2_1 => CipherForm::Block,
            _ => CipherForm::Holder(Transformation::Oaep),
        };
        let key = CipherKey::new(&key.pkcs8, &key.chain[0]).unwrap();
        Self(stored_form::Cipher::new(key, Vec::new(), form))
    }
}

impl Cipher for InstallationKey {
    fn encrypt(&self, _: Release, plain: &str) -> String {
        self.0.encrypt(plain, &SystemEntropy::default()).unwrap()
    }

    fn decrypt(&self, stored: &str) -> Option<String> {
        self.0.decrypt(stored).ok().map(|plain| plain.expose().to_owned())
    }
}

/// Everything of deployment.toml but the server and its administrator.
pub(super) fn deployment(golden: &Golden) -> String {
    let options = &golden.options;
    let mut text = String::new();
    let addresses = &golden.addresses;
    section(&mut text, "[database.apim_db]", &addresses.api_manager);
    section(&mut text, "[database.shared_db]", &addresses.registry);
    if addresses.identity != addresses.api_manager {
        section(&mut text, "[database.identity_db]", &addresses.identity);
    }
    if addresses.user != addresses.registry {
        // Both ways in which the users' database is named.
        let (user, name) = match golden.manifest.engine {
            Engine::MySql => ("[database.user]", "WSO2USER_DB"),
            Engine::Postgres => ("[[datasource]]\nid = \"WSO2UM_DB\"", "WSO2UM_DB"),
        };
        section(&mut text, user, &addresses.user);
        let _ = writeln!(text, "[realm_manager]\ndata_source = \"{name}\"");
    }
    let zone = |clock: WallClock| match clock {
        WallClock::Utc => "UTC".to_owned(),
        WallClock::CentralEurope => "Europe/Berlin".to_owned(),
        WallClock::Ahead(seconds) => format!("{:+03}:{:02}", seconds / 3600, seconds.abs() / 60 % 60),
    };
    let (token_zone, local_zone) = (zone(options.token_clock), zone(options.local_clock));
    let _ = writeln!(text, "[db]\ntoken_time_zone = \"{token_zone}\"\nlocal_time_zone = \"{local_zone}\"");
    let (file, password, key_password) = key_store(options.release);
    let _ = writeln!(
        text,
        "[keystore.primary]\nfile_name = \"{FOLDER}/{file}\"\ntype = \"JKS\"\npassword = \"{password}\"\nalias = \"{ALIAS}\"\n\
         key_password = \"{key_password}\""
    );
    let digest = match options.password_form.digest {
        PasswordDigest::Sha256 => "SHA-256",
        PasswordDigest::Sha1 => "SHA-1",
        PasswordDigest::Sha512 => "SHA-512",
        PasswordDigest::Md5 => "MD5",
        PasswordDigest::PlainText => "PLAIN_TEXT",
    };
    let is_salted = options.password_form.is_salted;
    let _ = writeln!(text, "[user_store.properties]\nPasswordDigest = \"{digest}\"\nStoreSaltedPassword = {is_salted}");
    text.push_str(match options.form {
        Form::Plain => "",
        Form::Hashed => "[oauth]\nhash_tokens_and_secrets = true\n",
        Form::Encrypted(_) => "[apim.oauth_config]\nenable_token_encryption = true\n",
    });
    text
}

/// As the configuration files of old servers have it.
fn section(text: &mut String, head: &str, address: &Address) {
    let (kind, tls) = match address.engine {
        Engine::MySql => ("mysql", ""),
        Engine::Postgres => ("postgre", "?sslmode=disable"),
    };
    let (url, user, password) = (address.jdbc_url(), &address.user, &address.password);
    let _ = writeln!(
        text,
        "{head}\ntype = \"{kind}\"\nurl = \"{url}{tls}\"\nusername = \"{user}\"\npassword = \"{password}\"\n\
         pool_options.max_active = 5\npool_options.test_on_borrow = true"
    );
}
