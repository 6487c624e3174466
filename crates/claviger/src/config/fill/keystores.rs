//! `[keystore.*]` and `[truststore]` (configuration.md 2.3): which file, which entry, which passwords.
//!
//! Owns: the defaults, what `internal` and `tls` take over from `primary`. Leaves to others: whether the files are there
//! (`Config::in_data_dir`, start-up), reading them (`files`).

use super::Values;
use crate::config::model::{KeystoreSettings, Keystores, StoreFormat, TruststoreSettings};
use claviger_proto::secret::Secret;
use std::path::{Path, PathBuf};

/// Name, entry and passwords that WSO2's files ship with.
const SHIPPED: &str = "wso2carbon";
const KEYSTORE_FILE: &str = "wso2carbon.jks";
const TRUSTSTORE_FILE: &str = "client-truststore.jks";
const FORMATS: [(&str, StoreFormat); 3] =
    [("JKS", StoreFormat::Jks), ("PKCS12", StoreFormat::Pkcs12), ("PEM", StoreFormat::Pem)];
const EXTENSIONS: [(&str, StoreFormat); 7] = [
    ("jks", StoreFormat::Jks),
    ("p12", StoreFormat::Pkcs12),
    ("pfx", StoreFormat::Pkcs12),
    ("pkcs12", StoreFormat::Pkcs12),
    ("pem", StoreFormat::Pem),
    ("crt", StoreFormat::Pem),
    ("cer", StoreFormat::Pem),
];

impl Values<'_> {
    pub(super) fn keystores(&mut self) -> Keystores {
        let shipped = KeystoreSettings {
            section: "keystore.primary",
            file: KEYSTORE_FILE.into(),
            format: StoreFormat::Jks,
            key_file: None,
            password: Secret::new(SHIPPED),
            alias: SHIPPED.to_owned(),
            key_password: Secret::new(SHIPPED),
            is_configured: false,
        };
        let primary = self.keystore("keystore.primary", &shipped);
        let internal = self.keystore("keystore.internal", &primary);
        let tls = self.keystore("keystore.tls", &primary);
        Keystores { primary: Some(primary), internal: Some(internal), tls: Some(tls), trust: Some(self.truststore()) }
    }

    /// One key store; what it does not say is that of `base`.
    fn keystore(&mut self, section: &'static str, base: &KeystoreSettings) -> KeystoreSettings {
        let path = |key: &str| format!("{section}.{key}");
        let file = self.text_if_set(&path("file_name")).map(PathBuf::from);
        let key_file = self.text_if_set(&path("key_file_name")).map(PathBuf::from);
        let format = self.store_format(section, file.as_deref());
        let [password, key_password] = ["password", "key_password"].map(|key| self.secret(&path(key)));
        let alias = self.text_if_set(&path("alias"));
        if !self.checked.tables.contains_key(section) {
            return base.clone();
        }
        let format = format.unwrap_or(base.format);
        if format == StoreFormat::Pem {
            self.note_unused_by_pem(section);
            if file.is_none() && base.format != StoreFormat::Pem {
                self.problem(section, format!("`{section}.file_name` is missing"), "");
            }
        } else if key_file.is_some() {
            let message = format!("`{}` belongs to PEM files only", path("key_file_name"));
            self.problem(&path("key_file_name"), message, "set `type = \"PEM\"`, or remove it");
        }
        KeystoreSettings {
            section: if file.is_some() { section } else { base.section },
            key_file: key_file.or_else(|| if file.is_none() { base.key_file.clone() } else { None }),
            file: file.unwrap_or_else(|| base.file.clone()),
            format,
            password: password.unwrap_or_else(|| base.password.clone()),
            alias: alias.unwrap_or_else(|| base.alias.clone()),
            key_password: key_password.unwrap_or_else(|| base.key_password.clone()),
            is_configured: true,
        }
    }

    fn truststore(&mut self) -> TruststoreSettings {
        let section = "truststore";
        let file = self.text_if_set("truststore.file_name").map(PathBuf::from);
        let format = self.store_format(section, file.as_deref()).unwrap_or(StoreFormat::Jks);
        let password = self.secret("truststore.password");
        if format == StoreFormat::Pem {
            self.note_unused_by_pem(section);
            if file.is_none() {
                self.problem(section, "`truststore.file_name` is missing", "");
            }
        }
        TruststoreSettings {
            file: file.unwrap_or_else(|| TRUSTSTORE_FILE.into()),
            format,
            password: password.unwrap_or_else(|| Secret::new(SHIPPED)),
            is_configured: self.checked.tables.contains_key(section),
        }
    }

    /// The word of `type`, else what the file's name says.
    fn store_format(&mut self, section: &str, file: Option<&Path>) -> Option<StoreFormat> {
        let word = self.text_if_set(&format!("{section}.type"));
        let by_word = word.and_then(|word| FORMATS.into_iter().find(|(known, _)| *known == word));
        let extension = file.and_then(Path::extension).and_then(|extension| extension.to_str()).unwrap_or_default();
        let by_name = EXTENSIONS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
        by_word.or(by_name).map(|(_, format)| format)
    }

    fn note_unused_by_pem(&mut self, section: &str) {
        for key in ["password", "alias", "key_password"] {
            let path = format!("{section}.{key}");
            if self.checked.leaves.contains_key(&path) {
                self.note(&path, false, format!("`{path}` has no effect: PEM files have no passwords and one key"));
            }
        }
    }
}
