//! What `claviger db status` says of tenants' key stores: which ones a server could not sign with (`oauth::tenant_keys`).

use crate::config::Config;
use crate::oauth::tenant_keys::{OpenError, open};
use crate::startup::keystores;
use claviger_proto::ids::TenantId;
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::{key_stores, tenants};
use std::io::{self, Write};

/// A tenant whose key store does not sign, and why.
pub(super) type Trouble = (String, OpenError);

/// Opens the key store of every active tenant that has one.
pub(super) async fn look(store: &Store, config: &Config) -> Result<Vec<Trouble>, StoreError> {
    let passwords = keystores::passwords(config, store.capabilities());
    let mut conn = store.reader().await?;
    let marks = key_stores::list_marks(&mut conn).await?;
    let mut troubles = Vec::new();
    for (tenant, domain) in tenants::list(&mut conn).await? {
        if tenant == TenantId::SUPER || !marks.contains_key(&(tenant, key_stores::name_of(&domain))) {
            continue;
        }
        let Some(stored) = key_stores::find(&mut conn, tenant, &domain).await? else { continue };
        if let Err(error) = open(&passwords, &domain, (&stored.bytes, &stored.properties)) {
            troubles.push((domain, error));
        }
    }
    Ok(troubles)
}

/// A warning with its advice for each.
pub(super) fn print(troubles: &[Trouble], out: &mut dyn Write) -> io::Result<()> {
    for (tenant, error) in troubles {
        writeln!(out, "warning: the key store of the tenant {tenant} does not sign: {error}")?;
        writeln!(out, "         {}", advice(error))?;
    }
    Ok(())
}

fn advice(error: &OpenError) -> &'static str {
    match error {
        OpenError::Short => {
            "the server's key signs for the tenant; clients that trust the tenant's certificate must be given the other one"
        }
        OpenError::NoCipher(_) | OpenError::Password(..) => {
            "no JWT is issued for the tenant until [keystore.internal] or [keystore.primary] names the key that encrypted the password"
        }
        OpenError::NoProperty(_)
        | OpenError::NotJks(_)
        | OpenError::KeyStore(_)
        | OpenError::NoCertificate
        | OpenError::NotRsa => "no JWT is issued for the tenant until its key store in the registry is put right",
    }
}
