//! The files of secondary user stores below the old server's home (contract users-ldap.md 3.4): found, read, decrypted. One that
//! cannot be used is said by name, and the others are used all the same, as in the old server.

use super::{databases, keystores};
use crate::config::Config;
use crate::config::user_store::{FILE_BYTES_MAX, FilePassword, UserStoreFile, parse};
use crate::users::StoreSettings;
use anyhow::Context as _;
use claviger_proto::ids::TenantId;
use claviger_proto::stored_form::Cipher;
use claviger_store::db::{Place, PoolLimits, Zones};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Most stores of one process: each has connections of its own.
const STORES_MAX: usize = 100;
const OF_SUPER_TENANT: &str = "repository/deployment/server/userstores";
const OF_TENANTS: &str = "repository/tenants";

/// The stores that can be used: by tenant, then by the names of their files, in which order names without a domain are tried.
pub(super) fn read(config: &Config) -> Vec<StoreSettings> {
    let mut stores: Vec<StoreSettings> = Vec::new();
    let mut cipher = LazyCipher { config, loaded: None };
    for (tenant, file) in files(&config.server.home) {
        let store = match read_one(config, tenant, &file, &mut cipher) {
            Ok(Some(store)) => store,
            Ok(None) => {
                tracing::info!(file = %file.display(), "the user store is disabled: nobody is looked for in it");
                continue;
            }
            Err(error) => {
                let reason = format!("{error:#}");
                tracing::warn!(file = %file.display(), reason, "the user store is not used: its users are unknown here");
                continue;
            }
        };
        let is_taken = stores.iter().any(|other| (other.tenant, &other.domain) == (tenant, &store.domain));
        if is_taken || stores.len() >= STORES_MAX {
            let reason = if is_taken { "another file names its domain" } else { "there are too many" };
            tracing::warn!(file = %file.display(), reason, "the user store is not used: its users are unknown here");
            continue;
        }
        stores.push(store);
    }
    stores
}

/// Files with the tenants whose they are.
fn files(home: &Path) -> Vec<(TenantId, PathBuf)> {
    let mut files: Vec<_> = list(&home.join(OF_SUPER_TENANT)).into_iter().map(|file| (TenantId::SUPER, file)).collect();
    let tenants = list(&home.join(OF_TENANTS));
    let tenants = tenants.into_iter().filter_map(|it| Some((TenantId(it.file_name()?.to_str()?.parse().ok()?), it)));
    for (tenant, directory) in tenants {
        files.extend(list(&directory.join("userstores")).into_iter().map(|file| (tenant, file)));
    }
    let is_xml = |path: &Path| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("xml"));
    files.retain(|(_, path)| is_xml(path));
    files
}

/// What a directory holds, by name. One that is not there holds nothing.
fn list(directory: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(directory).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<PathBuf> = read.unwrap_or_else(|error: std::io::Error| {
        if error.kind() != std::io::ErrorKind::NotFound {
            tracing::warn!(directory = %directory.display(), %error, "user stores cannot be looked for here");
        }
        Vec::new()
    });
    paths.sort();
    paths
}

/// One store; `None` when its file says that it is disabled.
fn read_one(
    config: &Config,
    tenant: TenantId,
    file: &Path,
    cipher: &mut LazyCipher<'_>,
) -> anyhow::Result<Option<StoreSettings>> {
    let mut bytes = Vec::new();
    let bytes_max = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    File::open(file)?.take(bytes_max).read_to_end(&mut bytes)?;
    anyhow::ensure!(bytes.len() <= FILE_BYTES_MAX, "it is longer than {FILE_BYTES_MAX} bytes");
    let text = String::from_utf8(bytes).context("it is not UTF-8")?;
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let parsed = parse(&text, stem)?;
    if parsed.is_disabled {
        return Ok(None);
    }
    if parsed.has_shared_groups {
        tracing::warn!(file = %file.display(), "`SharedGroupEnabled`: roles that tenants share are not read");
    }
    let place = place(config, &parsed, cipher)?;
    let zones = Zones { token: config.databases.token_time_zone, local: config.databases.local_time_zone };
    let UserStoreFile { domain, form, name_rule, are_groups_read, .. } = parsed;
    Ok(Some(StoreSettings { tenant, domain, place, zones, form, name_rule, are_groups_read }))
}

fn place(config: &Config, file: &UserStoreFile, cipher: &mut LazyCipher<'_>) -> anyhow::Result<Place> {
    let mut url = file.url.clone().in_data_dir(&config.server.home);
    if let Some(server) = url.server_mut() {
        let password = match &file.password {
            FilePassword::Plain(password) => password.clone(),
            FilePassword::Encrypted(text) => cipher.get()?.decrypt(text).context("the property `password`")?,
        };
        server.password = Some(password).filter(|password| !password.expose().is_empty()).or(server.password.take());
    }
    let limits = PoolLimits { connections_max: file.connections_max, acquire_ms_max: file.wait_ms_max };
    Ok(Place { location: databases::location(&url), limits })
}

/// The key is read when the first encrypted password is met.
struct LazyCipher<'a> {
    config: &'a Config,
    loaded: Option<Cipher>,
}

impl LazyCipher<'_> {
    fn get(&mut self) -> anyhow::Result<&Cipher> {
        let cipher = match self.loaded.take() {
            Some(cipher) => cipher,
            None => keystores::file_cipher(self.config).context("the property `password` is encrypted")?,
        };
        Ok(self.loaded.insert(cipher))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::SystemEntropy;
    use crate::config;
    use claviger_proto::entropy::uuid;
    use claviger_store::location::Location;

    const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../claviger-proto/src/keystore/fixtures/keys.jks");

    fn config(home: &Path, sections: &str) -> Config {
        let text = format!("[server]\nhome = \"{}\"\n{sections}", home.display());
        config::load(&text, "f", &|_| None).unwrap().config.in_data_dir(Path::new("/nowhere"))
    }

    fn file(domain: &str, password: &str) -> String {
        format!(
            "<UserStoreManager class=\"org.wso2.carbon.user.core.jdbc.UniqueIDJDBCUserStoreManager\">\
             <Property name=\"DomainName\">{domain}</Property><Property name=\"url\">jdbc:postgresql://db/{domain}</Property>\
             <Property name=\"userName\">u</Property>{password}</UserStoreManager>"
        )
    }

    /// (tenant, domain, password) of the stores below a home.
    fn found(config: &Config) -> Vec<(i64, String, Option<String>)> {
        let password = |place: Place| match place.location {
            Location::Postgres(server) => server.password.map(|password| password.expose().to_owned()),
            _ => panic!("{place:?}"),
        };
        read(config).into_iter().map(|store| (store.tenant.0, store.domain, password(store.place))).collect()
    }

    #[test]
    fn files_of_both_places_are_found_and_bad_ones_are_left_out() {
        let rng = SystemEntropy::default();
        let home = std::env::temp_dir().join(uuid(&rng));
        let (own, of_tenant) = (home.join(OF_SUPER_TENANT), home.join(OF_TENANTS).join("7/userstores"));
        let not_a_tenant = home.join(OF_TENANTS).join("x/userstores");
        for directory in [&own, &of_tenant, &not_a_tenant] {
            fs::create_dir_all(directory).unwrap();
        }
        let keys = format!(
            "[keystore.primary]\nfile_name = \"{KEYS}\"\ntype = \"JKS\"\npassword = \"store-secret\"\nalias = \"wso2carbon\"\n\
             key_password = \"rsa-secret\"\n"
        );
        let with_keys = config(&home, &keys);
        let cipher = keystores::file_cipher(&with_keys).unwrap();
        let encrypted = |text: &str| {
            let text = cipher.encrypt(text, &rng).unwrap();
            format!("<Property name=\"password\" encrypted=\"true\">{text}</Property>")
        };
        for (path, text) in [
            (own.join("b.xml"), file("B", "<Property name=\"password\">plain</Property>")),
            (own.join("a.xml"), file("a", &encrypted("secret"))),
            (own.join("C.XML"), file("c", "")),
            (own.join("bad.xml"), "<UserStoreManager".to_owned()),
            (own.join("latin.txt"), file("latin", "")),
            (own.join("off.xml"), file("off", "<Property name=\"Disabled\">true</Property>")),
            (own.join("d.xml"), file("d", "<Property name=\"password\" encrypted=\"true\">bm9uc2Vuc2U=</Property>")),
            (of_tenant.join("b.xml"), file("b", "")),
            (not_a_tenant.join("b.xml"), file("b", "")),
        ] {
            fs::write(path, text).unwrap();
        }
        let store = |tenant: i64, domain: &str, password: Option<&str>| {
            (tenant, domain.to_owned(), password.map(str::to_owned))
        };
        let (super_tenant, plain) = (TenantId::SUPER.0, Some("plain"));
        let expected = [
            store(super_tenant, "C", None),
            store(super_tenant, "A", Some("secret")),
            store(super_tenant, "B", plain),
            store(7, "B", None),
        ];
        assert_eq!(found(&with_keys), expected);
        // Without the key the others work all the same.
        let expected = [store(super_tenant, "C", None), store(super_tenant, "B", plain), store(7, "B", None)];
        assert_eq!(found(&config(&home, "")), expected);
        fs::remove_dir_all(&home).unwrap();
        assert_eq!(found(&with_keys), [], "there is nothing");
    }
}
