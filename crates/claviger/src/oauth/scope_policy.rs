//! Which of the requested scopes are granted: the connector's role-based issuer (rest-3x.md 1.6.7), for every grant.
//!
//! Filters and never fails: a scope that the user's roles do not cover is left out. When nothing is left the token gets the
//! scope `default`.

use crate::app::App;
use crate::portal_scopes;
use crate::users::Principal;
use claviger_proto::ids::TenantId;
use claviger_proto::scope::Scopes;
use claviger_proto::user::Username;
use claviger_store::error::StoreError;
use claviger_store::scopes;

const DEFAULT: &str = "default";

/// The scopes a token gets.
pub async fn grant(app: &App, username: &Username, tenant: TenantId, requested: &Scopes) -> Result<Scopes, StoreError> {
    // The scopes every API-M client asks for need no look-up; this is the hot path.
    if requested.iter().all(|scope| scope == DEFAULT || scope == "am_application_scope") {
        return Ok(or_default(requested.clone()));
    }
    let principal = app.users.find(username).await?;
    let mut granted = Vec::new();
    let mut conn = app.store.reader().await?;
    for scope in requested.iter() {
        let roles = scopes::find_roles(&mut conn, tenant, scope).await?;
        if is_granted(scope, roles.as_deref(), principal.as_deref(), &app.portal.admin_role) {
            granted.push(scope.to_owned());
        }
    }
    Ok(or_default(granted.into_iter().collect()))
}

fn or_default(scopes: Scopes) -> Scopes {
    if scopes.is_empty() { [DEFAULT].into_iter().collect() } else { scopes }
}

/// One scope: `roles` are those it is bound to, `None` when it is not registered.
fn is_granted(scope: &str, roles: Option<&[String]>, principal: Option<&Principal>, admin_role: &str) -> bool {
    if portal_scopes::is_portal_scope(scope) {
        // The portal's own scopes always need their role: a token from anywhere else must not open it (CVE-2026-4052).
        return principal.is_some_and(|principal| portal_scopes::is_granted(scope, principal, admin_role));
    }
    if let Some(permission) = portal_scopes::strip_prefix(scope, "internal_") {
        return principal.is_some_and(|principal| holds_internal(permission, principal));
    }
    match roles {
        None | Some([]) => !scope.eq_ignore_ascii_case("SYSTEM"),
        Some(roles) => principal.is_some_and(|principal| principal.has_one_of(roles.iter().map(String::as_str))),
    }
}

/// `internal_application_mgt_view` stands for a permission (rest-3x.md 6.2); other internal scopes are granted to nobody.
fn holds_internal(name: &str, principal: &Principal) -> bool {
    const IDENTITY: &str = "/permission/admin/manage/identity";
    let path = match name {
        "application_mgt_create" => "applicationmgt/create",
        "application_mgt_view" => "applicationmgt/view",
        "application_mgt_update" => "applicationmgt/update",
        "application_mgt_delete" => "applicationmgt/delete",
        "user_mgt_list" => "usermgt/list",
        _ => return false,
    };
    principal.permissions.may(&format!("{IDENTITY}/{path}"))
}
