//! Key stores, stored forms of tokens and secrets, and the cleaner.

use super::{bad, good, read};
use crate::config::Config;
use crate::config::model::{
    Cleanup, HashAlgorithm, KeystoreSettings, Keystores, StoredForms, TokenPersistence, TruststoreSettings,
};
use std::path::PathBuf;

/// A store in one line: section, file, format, alias, both passwords.
fn shown(store: &KeystoreSettings) -> String {
    let passwords = format!("{} {}", store.password.expose(), store.key_password.expose());
    format!("{} {} {:?} {} {passwords}", store.section, store.file.display(), store.format, store.alias)
}

fn stores(text: &str) -> Keystores {
    good(text).keystore
}

#[test]
fn key_stores_take_over_what_they_do_not_say_themselves() {
    let shipped = "keystore.primary wso2carbon.jks Jks wso2carbon wso2carbon wso2carbon";
    // Text; primary, internal, tls.
    let table = [
        ("", [shipped; 3]),
        // As in the files of the packaged key manager.
        ("[keystore.primary]\nname='wso2carbon.jks'\npassword='wso2carbon'", [shipped; 3]),
        (
            "[keystore.primary]\nfile_name='a.jks'\ntype='jks'\npassword='p'\nalias='x'\nkey_password='k'",
            ["keystore.primary a.jks Jks x p k"; 3],
        ),
        (
            "[keystore.tls]\nfile_name='t.P12'\npassword='p'\nalias='x'\nkey_password='k'",
            [shipped, shipped, "keystore.tls t.P12 Pkcs12 x p k"],
        ),
        (
            "[keystore.primary]\nfile_name='a.pfx'\npassword='p'\n[keystore.internal]\nfile_name='i'\nalias='y'",
            [
                "keystore.primary a.pfx Pkcs12 wso2carbon p wso2carbon",
                "keystore.internal i Pkcs12 y p wso2carbon",
                "keystore.primary a.pfx Pkcs12 wso2carbon p wso2carbon",
            ],
        ),
        (
            "[keystore.tls]\nalias='y'",
            [shipped, shipped, "keystore.primary wso2carbon.jks Jks y wso2carbon wso2carbon"],
        ),
        (
            "[keystore.tls]\nfile_name='t.bin'\ntype='PEM'",
            [shipped, shipped, "keystore.tls t.bin Pem wso2carbon wso2carbon wso2carbon"],
        ),
    ];
    for (text, expected) in table {
        let found = stores(text);
        let found = [found.primary, found.internal, found.tls].map(|store| shown(&store.unwrap()));
        assert_eq!(found, expected, "{text}");
    }
    let pem = stores("[keystore.primary]\nfile_name='a.pem'\nkey_file_name='a.key'\n[keystore.tls]\nfile_name='t.crt'");
    assert_eq!(pem.internal.unwrap().key_file, Some(PathBuf::from("a.key")));
    assert_eq!(pem.tls.unwrap().key_file, None);
}

#[test]
fn trust_stores_in_every_form() {
    let table = [
        ("", "client-truststore.jks Jks wso2carbon false"),
        ("[truststore]\nname='t.jks'\npassword='p'", "t.jks Jks p true"),
        ("[truststore]\nfile_name='t.p12'\ntype='pkcs12'", "t.p12 Pkcs12 wso2carbon true"),
        ("[truststore]\nfile_name='t.pem'", "t.pem Pem wso2carbon true"),
        ("[truststore]\npassword='p'", "client-truststore.jks Jks p true"),
    ];
    for (text, expected) in table {
        let TruststoreSettings { file, format, password, is_configured } = stores(text).trust.unwrap();
        let found = format!("{} {format:?} {} {is_configured}", file.display(), password.expose());
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn stores_that_nobody_configured_count_when_their_file_is_there() {
    let dir = std::env::temp_dir().join(format!("claviger-config-stores-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let in_dir = |text: &str| -> Config { good(text).in_data_dir(&dir) };
    let none = in_dir("").keystore;
    assert!(none.primary.is_none() && none.internal.is_none() && none.tls.is_none() && none.trust.is_none());
    let absolute = in_dir("[keystore.tls]\nfile_name='/etc/t.p12'\n[truststore]\nfile_name='t.jks'").keystore;
    assert_eq!(absolute.tls.unwrap().file, PathBuf::from("/etc/t.p12"));
    assert_eq!(absolute.trust.unwrap().file, dir.join("t.jks"));
    assert!(absolute.primary.is_none());
    std::fs::write(dir.join("wso2carbon.jks"), "x").unwrap();
    std::fs::write(dir.join("client-truststore.jks"), "x").unwrap();
    let found = in_dir("").keystore;
    for store in [&found.primary, &found.internal, &found.tls] {
        assert_eq!(store.as_ref().unwrap().file, dir.join("wso2carbon.jks"));
    }
    assert_eq!(found.trust.unwrap().file, dir.join("client-truststore.jks"));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn key_stores_that_make_no_sense_are_refused() {
    let table = [
        ("[keystore.primary]\ntype='PEM'", "`keystore.primary.file_name` is missing"),
        ("[truststore]\ntype='PEM'", "`truststore.file_name` is missing"),
        (
            "[keystore.tls]\nfile_name='a.jks'\nkey_file_name='b'",
            "`keystore.tls.key_file_name` belongs to PEM files only",
        ),
        ("[keystore.tls]\nfile_name='a.jks'\nname='b.jks'", "given twice"),
        ("[keystore.tls]\ntype='BKS'", "expected one of `PEM`, `JKS`, `PKCS12`"),
    ];
    for (text, expected) in table {
        assert!(bad(text).contains(expected), "{text}\n{}", bad(text));
    }
    let text = "[keystore.tls]\nfile_name='a.pem'\npassword='hunter2'";
    let loaded = read(text).unwrap();
    assert_eq!(
        loaded.notes[0].to_string(),
        "note: line 3: `keystore.tls.password` has no effect: PEM files have no passwords and one key"
    );
    assert!(!format!("{loaded:?}").contains("hunter"));
}

#[test]
fn six_keys_say_in_which_form_tokens_and_secrets_are_stored() {
    let hashed = |algorithm| TokenPersistence::Hashed { algorithm };
    let sha256 = hashed(HashAlgorithm::Sha256);
    let package = "org.wso2.carbon.identity.oauth.tokenprocessor";
    let class = |name: &str| format!("[oauth.extensions]\ntoken_persistence_processor='{package}.{name}'\n");
    let both = |secret: &str, rest: &str| {
        format!(
            "[oauth.extensions]\ntoken_persistence_processor='HashingPersistenceProcessor'\n\
             client_secret_persistence_processor='{secret}'\n{rest}"
        )
    };
    let table = [
        (String::new(), TokenPersistence::Plain, false),
        ("[oauth]\ntoken_storage_method='plaintext'".to_owned(), TokenPersistence::Plain, false),
        ("[oauth]\ntoken_storage_method='encrypted'".to_owned(), TokenPersistence::Encrypted, false),
        ("[oauth]\ntoken_storage_method='hashed'".to_owned(), sha256, false),
        ("[oauth]\nhash_tokens_and_secrets=true".to_owned(), sha256, true),
        ("[oauth]\ntoken_storage_method='hashed'\nhash_tokens_and_secrets=true".to_owned(), sha256, true),
        (
            "[oauth]\nhash_tokens_and_secrets=true\nhash_token_algorithm='SHA-512'".to_owned(),
            hashed(HashAlgorithm::Sha512),
            true,
        ),
        ("[oauth]\ntoken_storage_method='hashed'\nhash_tokens_and_secrets=false".to_owned(), sha256, false),
        (class("PlainTextPersistenceProcessor"), TokenPersistence::Plain, false),
        (class("HashingPersistenceProcessor"), sha256, false),
        (format!("{}[oauth]\nhash_tokens_and_secrets=true", class("HashingPersistenceProcessor")), sha256, true),
        (class("EncryptionDecryptionPersistenceProcessor"), TokenPersistence::Encrypted, false),
        ("[apim.oauth_config]\nenable_token_encryption=true".to_owned(), TokenPersistence::Encrypted, false),
        ("[apim.oauth_config]\nenable_token_hashing=true".to_owned(), sha256, true),
        ("[apim.oauth_config]\nenable_token_hashing=false".to_owned(), TokenPersistence::Plain, false),
        (
            format!("{}[apim.oauth_config]\nenable_token_hashing=true", class("HashingPersistenceProcessor")),
            sha256,
            true,
        ),
        (both("PlainTextPersistenceProcessor", ""), sha256, false),
        (both("HashingPersistenceProcessor", ""), sha256, true),
    ];
    for (text, persistence, is_secret_hashed) in table {
        let expected = StoredForms { tokens: persistence, is_client_secret_hashed: is_secret_hashed };
        assert_eq!(good(&text).oauth.stored, expected, "{text}");
    }
    let contradictions = [
        (
            "[oauth]\ntoken_storage_method='encrypted'\n[apim.oauth_config]\nenable_token_hashing=true".to_owned(),
            "`apim.oauth_config.enable_token_hashing` asks for hashed tokens, `oauth.token_storage_method` for encrypted ones",
        ),
        (
            "[apim.oauth_config]\nenable_token_hashing=true\nenable_token_encryption=true".to_owned(),
            "`apim.oauth_config.enable_token_hashing` asks for hashed tokens, `apim.oauth_config.enable_token_encryption` \
             for encrypted ones",
        ),
        (
            "[oauth]\ntoken_storage_method='plaintext'\nhash_tokens_and_secrets=true".to_owned(),
            "`oauth.hash_tokens_and_secrets` asks for hashed tokens, `oauth.token_storage_method` for plain ones",
        ),
        (class("OwnProcessor"), "expected one of PlainTextPersistenceProcessor, HashingPersistenceProcessor, Encr"),
        (both("EncryptionDecryptionPersistenceProcessor", ""), "asks for encrypted client secrets, tokens are hashed"),
        (
            both("PlainTextPersistenceProcessor", "[oauth]\nhash_tokens_and_secrets=true"),
            "asks for plain client secrets, tokens are hashed",
        ),
        ("[oauth]\nhash_token_algorithm='MD5'".to_owned(), "expected one of `SHA-256`"),
    ];
    for (text, expected) in contradictions {
        let message = bad(&text);
        assert!(message.contains(expected), "{text}\n{message}");
        assert!(message.ends_with("1 problem in deployment.toml"), "{message}");
    }
}

#[test]
fn the_cleaner_is_on_and_keeps_the_audit_for_ever() {
    let default = Cleanup {
        is_enabled: true,
        are_tokens_cleaned: true,
        is_audit_kept: true,
        audit_retention_days: None,
        interval_s: 300,
        share_percent: 25,
        time_budget_ms: 60_000,
    };
    assert_eq!(good("").cleanup, default);
    let set = good(
        "[oauth.token_cleanup]\nenable=false\nretain_access_tokens_for_auditing='false'\n\
         [cleanup]\naudit_retention_days='90d'\ninterval_s='5m'\nshare_percent=100\nenable=false\ntime_budget_ms='2s'",
    );
    let expected = Cleanup {
        is_enabled: false,
        are_tokens_cleaned: false,
        is_audit_kept: false,
        audit_retention_days: Some(90),
        interval_s: 300,
        share_percent: 100,
        time_budget_ms: 2_000,
    };
    assert_eq!(set.cleanup, expected);
    for wrong in ["interval_s=0", "share_percent=0", "share_percent=101", "time_budget_ms=9", "audit_retention_days=0"]
    {
        assert!(bad(&format!("[cleanup]\n{wrong}")).contains("expected "), "{wrong}");
    }
}
