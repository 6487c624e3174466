//! Which claims a user has: those of a dialect that have a value (contract users-ldap.md 3.6; database.md 5.6).

use super::dialects;
use crate::app::App;
use claviger_proto::user::Username;
use claviger_store::claims as rows;
use claviger_store::error::StoreError;
use std::collections::BTreeMap;

/// The claim whose value are the user's roles.
const ROLE: &str = "http://wso2.org/claims/role";
/// Local claims, by parts of their names, that are secrets of the user: they do not leave the key manager.
const SECRETS: &[&str] = &["challengequestion", "onetimepassword", "secretkey", "password"];

/// Claims of a user by URI, in the order of their URIs; `None` when there is no such user.
pub(super) async fn find(
    app: &App,
    username: &Username,
    dialect: &str,
) -> Result<Option<BTreeMap<String, String>>, StoreError> {
    let Some(principal) = app.users.find_even_barred(username).await? else { return Ok(None) };
    let attributes = app.users.attributes(username).await?.unwrap_or_default();
    let mut conn = app.store.reader().await?;
    let mut known = rows::list(&mut conn, principal.tenant, &principal.username.domain, dialect).await?;
    drop(conn);
    if known.is_empty() {
        known = dialects::list(dialect);
    }
    let roles = principal.roles.join(",");
    let mut claims = BTreeMap::new();
    for claim in known {
        let local = claim.local.to_ascii_lowercase();
        if SECRETS.iter().any(|secret| local.contains(secret)) {
            continue;
        }
        let value = match &claim.attribute {
            _ if claim.local == ROLE => Some(&roles),
            Some(attribute) => attributes.get(attribute),
            None => None,
        };
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            claims.insert(claim.uri, value.clone());
        }
    }
    Ok(Some(claims))
}
