//! `password` (RFC 6749 section 4.3): only for applications that list it.

use super::{Authorized, Grant, Login, Rules, TokenContext};
use crate::oauth::reply::TokenError;
use claviger_proto::secret::Secret;
use claviger_proto::user::LoginName;
use claviger_store::tokens::UserType;
use futures_util::future::BoxFuture;

pub(super) struct Password;

impl Grant for Password {
    fn name(&self) -> &'static str {
        "password"
    }

    fn parameters(&self) -> &'static [&'static str] {
        &["username", "password", "scope"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["username", "password"]
    }

    fn rules(&self) -> Rules {
        Rules { may_refresh: true, may_identify: true, needs_secret: false, user_type: UserType::ApplicationUser }
    }

    fn authorize<'a>(&'a self, cx: TokenContext<'a>) -> BoxFuture<'a, Result<Authorized, TokenError>> {
        Box::pin(async move {
            let given = cx.form.get("username").unwrap_or_default();
            let failed = || TokenError::InvalidGrant(format!("Authentication failed for {}", printable(given)).into());
            let login = LoginName::parse(given).map_err(|_| failed())?;
            let password = Secret::new(cx.form.get("password").unwrap_or_default());
            let principal = cx.app.users.authenticate(&login, &password).await?;
            let Some(principal) = principal else {
                tracing::info!(target: "audit", user = login.username.with_tenant(), client_id = %cx.client.client.key, outcome = "refused", "password grant");
                return Err(failed());
            };
            if principal.tenant != cx.client.client.tenant {
                let text = format!(
                    "Users in the tenant domain : {} do not have access to application {}",
                    login.username.tenant, cx.client.client.settings.name
                );
                return Err(TokenError::InvalidGrant(text.into()));
            }
            let (username, tenant) = (principal.username.clone(), principal.tenant);
            let (subject, scopes) = (super::subject_of(&username), cx.scopes.clone());
            // Nothing keeps the time of this login, and what the first ID token says every refresh must say again.
            let login = Some(Login::default());
            Ok(Authorized { subject, username, tenant, scopes, replaces: None, code: None, login })
        })
    }
}

/// A name as it may stand in an error text: what the client sent, without control characters, cut at a sane length.
fn printable(name: &str) -> String {
    let name = name.strip_suffix("@carbon.super").unwrap_or(name);
    name.chars().filter(|letter| !letter.is_control()).take(255).collect()
}
