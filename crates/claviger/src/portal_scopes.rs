//! The scopes of the portal REST APIs and the roles that hold them (tenant-conf.json, portal-gateway-3x.md 1.4). The role
//! `super_admin.admin_role` holds every one. The token endpoint grants them by these roles; Basic callers are checked
//! against the same table.

use crate::users::Principal;

const CREATOR: &[&str] = &["Internal/creator"];
const PUBLISHER: &[&str] = &["Internal/publisher"];
const CREATOR_PUBLISHER: &[&str] = &["Internal/creator", "Internal/publisher"];
const VIEWERS: &[&str] = &["Internal/creator", "Internal/publisher", "Internal/analytics"];
const SUBSCRIBER: &[&str] = &["Internal/subscriber"];
const SUBSCRIBER_DEVOPS: &[&str] = &["Internal/subscriber", "Internal/devops"];
const DEVOPS: &[&str] = &["Internal/devops"];
const ADMIN_ONLY: &[&str] = &[];

/// Scope without its prefix `apim:`, roles besides the administrator's.
const ROLES: &[(&str, &[&str])] = &[
    ("api_create", CREATOR),
    ("api_delete", CREATOR),
    ("mediation_policy_view", CREATOR),
    ("mediation_policy_create", CREATOR),
    ("mediation_policy_manage", CREATOR),
    ("ep_certificates_view", CREATOR),
    ("ep_certificates_add", CREATOR),
    ("ep_certificates_update", CREATOR),
    ("client_certificates_view", CREATOR),
    ("client_certificates_add", CREATOR),
    ("client_certificates_update", CREATOR),
    ("threat_protection_policy_create", CREATOR),
    ("threat_protection_policy_manage", CREATOR),
    ("pub_alert_manage", CREATOR),
    ("api_publish", PUBLISHER),
    ("subscription_block", PUBLISHER),
    ("monetization_usage_publish", PUBLISHER),
    ("tier_view", CREATOR_PUBLISHER),
    ("subscription_view", CREATOR_PUBLISHER),
    ("document_create", CREATOR_PUBLISHER),
    ("document_manage", CREATOR_PUBLISHER),
    ("publisher_settings", CREATOR_PUBLISHER),
    ("api_view", VIEWERS),
    ("subscribe", SUBSCRIBER),
    ("store_settings", SUBSCRIBER),
    ("api_key", SUBSCRIBER),
    ("app_update", SUBSCRIBER),
    ("sub_alert_manage", SUBSCRIBER),
    ("app_manage", SUBSCRIBER_DEVOPS),
    ("sub_manage", SUBSCRIBER_DEVOPS),
    ("app_import_export", DEVOPS),
    ("api_import_export", DEVOPS),
    ("api_product_import_export", DEVOPS),
    ("admin", ADMIN_ONLY),
    ("tier_manage", ADMIN_ONLY),
    ("bl_view", ADMIN_ONLY),
    ("bl_manage", ADMIN_ONLY),
    ("api_workflow_view", ADMIN_ONLY),
    ("api_workflow_approve", ADMIN_ONLY),
    ("app_owner_change", ADMIN_ONLY),
    ("label_manage", ADMIN_ONLY),
    ("label_read", ADMIN_ONLY),
    ("admin_settings", ADMIN_ONLY),
    ("tenantInfo", ADMIN_ONLY),
    ("tenant_theme_manage", ADMIN_ONLY),
    ("admin_operations", ADMIN_ONLY),
    ("shared_scope_manage", ADMIN_ONLY),
    ("admin_alert_manage", ADMIN_ONLY),
    ("bot_data", ADMIN_ONLY),
    ("scope_manage", ADMIN_ONLY),
];

/// Is this one of the portal's scopes?
pub fn is_portal_scope(scope: &str) -> bool {
    roles_of(scope).is_some()
}

/// Does the user hold a role of this portal scope? Scopes without roles, and unknown `apim:` scopes, are the administrators'.
pub fn is_granted(scope: &str, principal: &Principal, admin_role: &str) -> bool {
    roles_of(scope).is_some_and(|roles| principal.has_one_of([admin_role].into_iter().chain(roles.iter().copied())))
}

/// The scope without its prefix, which is found without regard to case.
pub fn strip_prefix<'a>(scope: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, tail) = scope.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(tail)
}

/// Without regard to case: a scope that anyone down the line could take for a portal scope needs that scope's role.
fn roles_of(scope: &str) -> Option<&'static [&'static str]> {
    let name = strip_prefix(scope, "apim:")?;
    let row = ROLES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    Some(row.map_or(ADMIN_ONLY, |(_, roles)| roles))
}
