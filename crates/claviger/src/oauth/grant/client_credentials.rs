//! `client_credentials` (RFC 6749 section 4.4): the application acts for itself; the subject is its owner.

use super::{Authorized, Grant, Rules, TokenContext};
use crate::oauth::reply::TokenError;
use crate::oauth::scope_policy;
use crate::portal_scopes;
use claviger_proto::user::Username;
use claviger_store::error::StoreError;
use claviger_store::tokens::UserType;
use futures_util::future::BoxFuture;

pub(super) struct ClientCredentials;

impl Grant for ClientCredentials {
    fn name(&self) -> &'static str {
        "client_credentials"
    }

    fn parameters(&self) -> &'static [&'static str] {
        &["scope", "validity_period"]
    }

    fn required(&self) -> &'static [&'static str] {
        &[]
    }

    fn rules(&self) -> Rules {
        Rules { may_refresh: false, may_identify: false, needs_secret: true, user_type: UserType::Application }
    }

    fn authorize<'a>(&'a self, cx: TokenContext<'a>) -> BoxFuture<'a, Result<Authorized, TokenError>> {
        Box::pin(async move {
            let client = &cx.client.client;
            let tenant = cx.app.oauth.tenant_domain(client.tenant).await?;
            let tenant =
                tenant.ok_or_else(|| StoreError::Corrupt(format!("client of unknown tenant {}", client.tenant)))?;
            let mut scopes = cx.scopes.clone();
            // Holding a client's secret is not holding its owner's roles: no client opens the portal, or what permissions
            // protect, by itself.
            scopes.retain(|scope| !portal_scopes::is_portal_scope(scope) && !scope_policy::is_internal(scope));
            let is_free = |scope: &str| scope_policy::is_free(&cx.app.oauth.settings, scope);
            if !scopes.iter().all(is_free) {
                // Who assigned scopes to the application meant these and no others (rest-3x.md 1.6.7).
                let assigned = cx.app.oauth.assigned_scopes(cx.client).await?;
                scopes.retain(|scope| assigned.is_empty() || is_free(scope) || assigned.iter().any(|own| own == scope));
            }
            let username = Username { domain: client.owner_domain.clone(), name: client.owner.clone(), tenant };
            Ok(Authorized {
                subject: username.with_tenant(),
                username,
                tenant: client.tenant,
                scopes,
                replaces: None,
                code: None,
                login: None,
            })
        })
    }
}
