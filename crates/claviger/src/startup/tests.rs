//! What start-up refuses before it opens anything.

use super::keystores::check;
use crate::config::{self, Config};
use std::path::Path;

fn config(text: &str) -> Config {
    config::load(text, "f", &|_| None).unwrap().config.in_data_dir(Path::new("/nowhere"))
}

#[test]
fn missing_store_files_are_named_with_their_key() {
    check(&config("")).unwrap();
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
    ];
    for (text, expected) in table {
        let error = check(&config(&text)).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}\n{error}");
    }
    check(&config(&format!("[keystore.tls]\ntype='PEM'\nfile_name='{file}'"))).unwrap();
}
