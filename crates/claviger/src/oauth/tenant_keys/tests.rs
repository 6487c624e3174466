//! Key stores as old servers leave them, and as they should not be.

use super::*;
use crate::app::SystemEntropy;
use claviger_proto::keystore::{JksWriter, PrivateKeyEntry};
use claviger_proto::stored_form::{CipherForm, Transformation};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../claviger-proto/src/keystore/fixtures");
const PASSWORD: &str = "of the store";
const KEY_PASSWORD: &str = "of the key";

/// A key of the fixtures: the first is long enough to sign, the second is not.
fn key((file, password, key_password): (&str, &str, &str)) -> PrivateKeyEntry {
    let bytes = std::fs::read(format!("{FOLDER}/{file}")).unwrap();
    let store = KeyStore::read(&bytes, StoreType::Jks, &Secret::new(password)).unwrap();
    store.private_key("wso2carbon", &Secret::new(key_password)).unwrap()
}

const LONG: (&str, &str, &str) = ("keys.jks", "store-secret", "rsa-secret");
const SMALL: (&str, &str, &str) = ("small.jks", "wso2carbon", "wso2carbon");

fn cipher() -> Cipher {
    let key = key(LONG);
    let key = CipherKey::new(&key.pkcs8, &key.chain[0]).unwrap();
    Cipher::new(key, Vec::new(), CipherForm::Holder(Transformation::Oaep))
}

fn file(alias: &str, key: PrivateKeyEntry) -> Vec<u8> {
    let mut writer = JksWriter::new();
    let entry = PrivateKeyEntry { alias: alias.to_owned(), ..key };
    writer.add_key(&entry, &Secret::new(KEY_PASSWORD), &SystemEntropy::default()).unwrap();
    writer.finish(&Secret::new(PASSWORD))
}

/// What opening says of a file under these properties; values in angle brackets are encrypted.
fn opened(passwords: &Passwords, bytes: &[u8], properties: &[(&str, &str)]) -> String {
    let written = |value: &str| match value.strip_prefix('<').and_then(|value| value.strip_suffix('>')) {
        Some(plain) => cipher().encrypt(plain, &SystemEntropy::default()).unwrap(),
        None => value.to_owned(),
    };
    let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), written(value)));
    match open(passwords, "acme.com", (bytes, &properties.collect())) {
        Ok(key) => key.kid,
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_key_store_opens_with_what_its_resource_says() {
    let long = key(LONG);
    let kid = SigningKey::new(&long.pkcs8, &long.chain[0]).unwrap().kid;
    let own = file("acme.com", long.clone());
    let (store, of_key) = (("password", "<of the store>"), ("privatekeyPass", "<of the key>"));
    let all = [store, of_key, ("privatekeyAlias", "acme.com"), ("type", "JKS")];
    for properties in [&all[..], &[store, of_key], &[store, of_key, ("type", "jks")]] {
        assert_eq!(opened(&Ok(cipher()), &own, properties), kid, "{properties:?}");
    }
    let other = file("somebody", long.clone());
    assert_eq!(
        opened(&Ok(cipher()), &other, &[store, of_key, ("privatekeyAlias", "somebody")]),
        kid,
        "the alias that the resource names"
    );
    let missing = opened(&Ok(cipher()), &other, &[store, of_key]);
    assert!(missing.contains("no alias `acme.com`; it has somebody"), "{missing}");
    // One password for both.
    let mut writer = JksWriter::new();
    let entry = PrivateKeyEntry { alias: "acme.com".to_owned(), ..long };
    writer.add_key(&entry, &Secret::new(PASSWORD), &SystemEntropy::default()).unwrap();
    assert_eq!(opened(&Ok(cipher()), &writer.finish(&Secret::new(PASSWORD)), &[store]), kid);

    let without = Err("neither section names it".to_owned());
    for (passwords, properties, expected) in [
        (&without, &all[..], "and neither section names it"),
        (&Ok(cipher()), &[of_key], "no property `password`"),
        (&Ok(cipher()), &[("password", ""), of_key], "no property `password`"),
        (&Ok(cipher()), &[("password", "plain"), of_key], "`password` cannot be decrypted"),
        (&Ok(cipher()), &[store, ("privatekeyPass", "plain")], "`privatekeyPass` cannot be decrypted"),
        (&Ok(cipher()), &[("password", "<wrong>"), of_key], "store password is wrong"),
        (&Ok(cipher()), &[store, ("privatekeyPass", "<wrong>")], "key password for the alias `acme.com` is wrong"),
        (&Ok(cipher()), &[store, of_key, ("type", "pkcs12")], "a pkcs12, and tenants' key stores are read as JKS only"),
        (&Ok(cipher()), &[store], "key password for the alias `acme.com` is wrong"),
    ] {
        let told = opened(passwords, &own, properties);
        assert!(told.contains(expected), "{properties:?}: {told}");
        assert!(!told.contains("plain") && !told.contains(PASSWORD) && !told.contains(KEY_PASSWORD), "{told}");
    }
    let cut = opened(&Ok(cipher()), &own[..own.len() / 2], &all);
    assert!(cut.contains("truncated"), "{cut}");
    let short = opened(&Ok(cipher()), &file("acme.com", key(SMALL)), &all);
    assert!(short.contains("less than 2048 bits"), "{short}");
}
