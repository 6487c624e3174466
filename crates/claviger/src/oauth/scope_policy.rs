//! Which of the requested scopes are granted: the connector's role-based issuer (rest-3x.md 1.6.7), for every grant.
//!
//! Filters and never fails: a scope that the user's roles do not cover is left out. When nothing is left the token gets the
//! scope `default`. Scopes of the allow list (`allowed_scopes`) need no role and no look-up.

use crate::app::App;
use crate::oauth::OAuthSettings;
use crate::portal_scopes;
use crate::users::Principal;
use claviger_proto::ids::TenantId;
use claviger_proto::scope::Scopes;
use claviger_proto::user::Username;
use claviger_store::error::StoreError;
use claviger_store::scopes;

const DEFAULT: &str = "default";
/// What API-M asks for in an application's name.
const APPLICATION: &str = "am_application_scope";

/// The scopes a token gets.
pub async fn grant(app: &App, username: &Username, tenant: TenantId, requested: &Scopes) -> Result<Scopes, StoreError> {
    // This is the hot path: no look-up for the scopes that every client of API-M asks for.
    if requested.iter().all(|scope| is_free(&app.oauth.settings, scope)) {
        return Ok(or_default(requested.clone()));
    }
    let principal = app.users.find_even_barred(username).await?;
    let mut granted = Vec::new();
    let mut conn = app.store.reader().await?;
    for scope in requested.iter() {
        if is_free(&app.oauth.settings, scope) {
            granted.push(scope.to_owned());
            continue;
        }
        let roles = scopes::find_roles(&mut conn, tenant, scope).await?;
        if is_granted(scope, roles.as_deref(), principal.as_deref(), &app.portal.admin_role) {
            granted.push(scope.to_owned());
        }
    }
    Ok(or_default(granted.into_iter().collect()))
}

/// May anybody have the scope, whatever it is bound to? A pattern does not open what the portal or permissions protect.
pub fn is_free(settings: &OAuthSettings, scope: &str) -> bool {
    let is_allowed = || settings.allowed_scopes.iter().any(|pattern| pattern.is_match(scope));
    matches!(scope, DEFAULT | APPLICATION)
        || !portal_scopes::is_portal_scope(scope) && !is_internal(scope) && is_allowed()
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
    if is_internal(scope) {
        return principal.is_some_and(|principal| holds_internal(scope, principal));
    }
    match roles {
        None | Some([]) => true,
        Some(roles) => principal.is_some_and(|principal| principal.has_one_of(roles.iter().map(String::as_str))),
    }
}

/// Scopes that stand for a permission (rest-3x.md 6.2); other internal scopes are granted to nobody.
const INTERNAL: [(&str, &str); 5] = [
    ("internal_application_mgt_create", "/permission/admin/manage/identity/applicationmgt/create"),
    ("internal_application_mgt_view", "/permission/admin/manage/identity/applicationmgt/view"),
    ("internal_application_mgt_update", "/permission/admin/manage/identity/applicationmgt/update"),
    ("internal_application_mgt_delete", "/permission/admin/manage/identity/applicationmgt/delete"),
    ("internal_user_mgt_list", "/permission/admin/manage/identity/usermgt/list"),
];

/// Does the scope open routes by a permission, in whatever spelling?
pub fn is_internal(scope: &str) -> bool {
    portal_scopes::strip_prefix(scope, "internal_").is_some() || scope.eq_ignore_ascii_case("SYSTEM")
}

/// The scope that a token needs where a user needs this permission, if a token is enough there.
pub fn scope_for(permission: &str) -> Option<&'static str> {
    INTERNAL.iter().find(|(_, own)| *own == permission).map(|(scope, _)| *scope)
}

fn holds_internal(scope: &str, principal: &Principal) -> bool {
    INTERNAL.iter().any(|(own, permission)| *own == scope && principal.permissions.may(permission))
}
