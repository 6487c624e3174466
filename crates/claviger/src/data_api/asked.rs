//! Whose objects a gateway of API Manager asks for: the header `xWSO2Tenant` (rest-3x.md 0.3, 5.4).

use crate::app::App;
use crate::users::Principal;
use axum::http::HeaderMap;
use claviger_proto::ids::{SUPER_TENANT_DOMAIN, TenantId};
use claviger_store::error::StoreError;
use claviger_store::tenants;

/// Names the tenant.
const HEADER: &str = "xwso2tenant";
/// In its place: every tenant (4.x).
const EVERY_TENANT: [&str; 2] = ["ALL", "*"];

/// Whose objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// He named no tenant and may ask for any: lists are those of the super tenant, an object that is named by its number or key
    /// is whosoever's. Gateways leave the tenant out when they miss a single object.
    Unnamed,
    /// Every tenant's.
    Every,
    /// This tenant's.
    One(TenantId, String),
}

/// Why nobody is told anything.
#[derive(Debug)]
pub(super) enum NotAsked {
    /// The caller may not ask for this tenant's.
    Refused,
    /// There is no such active tenant.
    Unknown(String),
    /// The database.
    Store(StoreError),
}

/// Whose objects the request of an authenticated administrator is about: one of the super tenant may name any tenant, one of
/// another tenant only his own, and it is his own when he names none.
pub(super) async fn asked(app: &App, caller: &Principal, headers: &HeaderMap) -> Result<Asked, NotAsked> {
    let value = headers.get(HEADER).map(|value| value.to_str().unwrap_or("?").trim()).unwrap_or_default();
    if caller.tenant != TenantId::SUPER {
        let is_own = value.is_empty() || value.eq_ignore_ascii_case(&caller.username.tenant);
        let own = || Asked::One(caller.tenant, caller.username.tenant.clone());
        return is_own.then(own).ok_or(NotAsked::Refused);
    }
    if value.is_empty() {
        return Ok(Asked::Unnamed);
    }
    if EVERY_TENANT.contains(&value) {
        return Ok(Asked::Every);
    }
    let domain = value.to_ascii_lowercase();
    if domain == SUPER_TENANT_DOMAIN {
        return Ok(Asked::One(TenantId::SUPER, domain));
    }
    let found = async { tenants::find_by_domain(&mut app.store.reader().await?, &domain).await };
    match found.await {
        Ok(Some(id)) => Ok(Asked::One(id, domain)),
        Ok(None) => Err(NotAsked::Unknown(domain)),
        Err(error) => Err(NotAsked::Store(error)),
    }
}
