//! What start-up refuses before it opens anything.

use super::{check_stores, refuse_several_databases, refuse_stored_forms};
use crate::config::{self, Config};
use std::path::Path;

fn config(text: &str) -> Config {
    config::load(text, "f", &|_| None).unwrap().config.in_data_dir(Path::new("/nowhere"))
}

#[test]
fn several_databases_are_refused_with_their_sections() {
    let apim = "[database.apim_db]\nurl='jdbc:mysql://db/am'\nusername='u'\n[database.shared_db]\nusername='u'\n";
    refuse_several_databases(&config("")).unwrap();
    refuse_several_databases(&config(&format!("{apim}url='jdbc:mysql://DB:3306/am'"))).unwrap();
    let error = refuse_several_databases(&config(&format!("{apim}url='jdbc:mysql://db/reg'"))).unwrap_err();
    let expected = "[database.shared_db] (the user tables) is another database than [database.apim_db]";
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[test]
fn stored_forms_that_cannot_be_read_are_refused() {
    refuse_stored_forms(&config("")).unwrap();
    for form in ["hashed", "encrypted"] {
        let error = refuse_stored_forms(&config(&format!("[oauth]\ntoken_storage_method='{form}'"))).unwrap_err();
        assert!(error.to_string().contains(&format!("{form} tokens in the database: not supported yet")), "{error}");
    }
}

#[test]
fn missing_store_files_are_named_with_their_key() {
    check_stores(&config("")).unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let table = [
        (
            "[keystore.primary]\nfile_name='a.jks'".to_owned(),
            "`keystore.primary.file_name`: there is no file /nowhere/a.jks",
        ),
        (
            format!("[keystore.tls]\ntype='PEM'\nfile_name='{file}'\nkey_file_name='b.key'"),
            "`keystore.tls.key_file_name`: there is no file /nowhere/b.key",
        ),
        ("[truststore]\nfile_name='t.p12'".to_owned(), "`truststore.file_name`: there is no file /nowhere/t.p12"),
        (format!("[truststore]\ntype='JKS'\nfile_name='{file}'"), "JKS and PKCS12 files cannot be read yet"),
        (format!("[keystore.internal]\nfile_name='{file}'"), "[keystore.internal]"),
    ];
    for (text, expected) in table {
        let error = check_stores(&config(&text)).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}\n{error}");
    }
    check_stores(&config(&format!("[keystore.tls]\ntype='PEM'\nfile_name='{file}'"))).unwrap();
}
