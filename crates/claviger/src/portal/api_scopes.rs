//! Local scopes of APIs at the key manager: whose a scope is, when it is written, when it is deleted.
//!
//! The key manager's row names no owner. A scope belongs to the versions of one API (same provider and name): those that
//! put it on a resource, or, while no resource needs it, those whose stored definition declares it. A document alone proves
//! nothing: without the row the name is free for the next. Follows portal-gateway-3x.md 2.2, 2.8.

use super::api_object::{ApiObject, ApiScope};
use super::api_write::Writer;
use super::apis::find_by_row;
use super::error::PortalError;
use crate::portal_scopes::{is_portal_scope, strip_prefix};
use claviger_proto::ids::ApiId;
use claviger_store::apis as rows;
use claviger_store::conn::Conn;
use claviger_store::scopes;
use std::collections::BTreeSet;

impl Writer<'_> {
    /// Writes the scopes of an API; those of `before` that are gone are deleted.
    pub(super) async fn put_scopes(
        &self,
        conn: &mut Conn,
        object: &ApiObject,
        before: &[ApiScope],
    ) -> Result<(), PortalError> {
        let tenant = self.actor.tenant;
        let is_gone = |old: &&ApiScope| !object.scopes.iter().any(|new| new.scope.name == old.scope.name);
        let gone: Vec<ApiScope> = before.iter().filter(is_gone).cloned().collect();
        self.drop_scopes(conn, object, &gone).await?;
        // Read once: it means reading every other version.
        let mut of_siblings = None;
        for scope in object.scopes.iter().map(|entry| &entry.scope) {
            if scopes::is_shared(conn, tenant, &scope.name).await? {
                continue;
            }
            let is_declared = before.iter().any(|old| old.scope.name == scope.name);
            if !self.may_write_scope(conn, object, (&scope.name, is_declared), &mut of_siblings).await? {
                return Err(PortalError::ScopeTaken(scope.name.clone()));
            }
            let display_name = scope.display_name.clone().filter(|text| !text.is_empty());
            let stored = scopes::Scope {
                name: scope.name.clone(),
                display_name: display_name.unwrap_or_else(|| scope.name.clone()),
                description: scope.description.clone(),
                roles: scope.bindings.clone(),
            };
            scopes::put(conn, tenant, &stored).await?;
        }
        Ok(())
    }

    /// `is_declared`: the API declared the scope when it was last written.
    async fn may_write_scope(
        &self,
        conn: &mut Conn,
        object: &ApiObject,
        (name, is_declared): (&str, bool),
        of_siblings: &mut Option<BTreeSet<String>>,
    ) -> Result<bool, PortalError> {
        let tenant = self.actor.tenant;
        if scopes::find(conn, tenant, name).await?.is_none() {
            return Ok(!is_reserved(name));
        }
        let users = rows::list_scope_users(conn, tenant, name).await?;
        if users.iter().any(|(id, ..)| *id == self.id) {
            return Ok(true);
        }
        if users.is_empty() && is_declared {
            return Ok(true);
        }
        let provider = object.provider.as_deref().unwrap_or_default();
        let is_sibling = |(_, api, owner): &(ApiId, String, String)| *api == object.name && *owner == provider;
        let is_own = if users.is_empty() {
            if of_siblings.is_none() {
                *of_siblings = Some(self.sibling_scopes(conn, object).await?);
            }
            of_siblings.as_ref().is_some_and(|declared| declared.contains(name))
        } else {
            users.iter().all(is_sibling)
        };
        Ok(is_own && !is_reserved(name))
    }

    /// Deletes scopes that this API declared, except those that another API uses or another version of it declares: a scope
    /// without its row would be granted to everybody.
    pub(super) async fn drop_scopes(
        &self,
        conn: &mut Conn,
        object: &ApiObject,
        gone: &[ApiScope],
    ) -> Result<(), PortalError> {
        if gone.is_empty() {
            return Ok(());
        }
        let tenant = self.actor.tenant;
        let kept = self.sibling_scopes(conn, object).await?;
        for name in gone.iter().map(|entry| &entry.scope.name).filter(|name| !kept.contains(*name)) {
            let users = rows::list_scope_users(conn, tenant, name).await?;
            let is_used = users.iter().any(|(id, ..)| *id != self.id);
            if !is_used && !is_portal_scope(name) && !scopes::is_shared(conn, tenant, name).await? {
                scopes::delete(conn, tenant, name).await?;
            }
        }
        Ok(())
    }

    /// Scopes that the other versions of the API declare.
    async fn sibling_scopes(&self, conn: &mut Conn, object: &ApiObject) -> Result<BTreeSet<String>, PortalError> {
        let mut declared = BTreeSet::new();
        for row in rows::list_neighbours(conn, &object.name, "").await? {
            let is_sibling = row.name == object.name && object.provider.as_ref() == Some(&row.provider);
            if !is_sibling || row.id == self.id {
                continue;
            }
            if let Some(api) = Box::pin(find_by_row(conn, &row)).await? {
                declared.extend(api.object.scopes.into_iter().map(|entry| entry.scope.name));
            }
        }
        Ok(declared)
    }
}

/// Names that no API may bring: the portal's, the key manager's and OpenID Connect's.
fn is_reserved(name: &str) -> bool {
    ["apim:", "internal_"].iter().any(|prefix| strip_prefix(name, prefix).is_some())
        || ["openid", "SYSTEM"].iter().any(|taken| name.eq_ignore_ascii_case(taken))
}
