//! `authorization_code` (RFC 6749 section 4.1.3 with RFC 7636; contract rest-3x.md 1.3). The code is used up by
//! `oauth::issue` in the transaction that makes its token, so of many parallel uses one succeeds. A later one ends that token, and
//! an exchange that fails by its redirect URI or its verifier ends the code: nobody tries a second verifier.

use super::{Authorized, Grant, Login, Rules, TokenContext, subject_of_row};
use crate::app::App;
use crate::oauth::id_token::OPENID;
use crate::oauth::reply::TokenError;
use crate::oauth::revoke;
use claviger_proto::form::Form;
use claviger_proto::pkce::{self, Method};
use claviger_proto::user::Username;
use claviger_store::clients::ClientSettings;
use claviger_store::codes::{self, Code};
use claviger_store::error::StoreError;
use claviger_store::tenants;
use claviger_store::tokens::{TokenState, UserType};
use futures_util::future::BoxFuture;

/// A code with this much left or less counts as over, as a token does (rest-3x.md 1.3).
const LEFTOVER_MS: i64 = 1000;

pub(super) struct AuthorizationCode;

impl Grant for AuthorizationCode {
    fn name(&self) -> &'static str {
        "authorization_code"
    }

    fn parameters(&self) -> &'static [&'static str] {
        &["code", "redirect_uri", "code_verifier"]
    }

    fn required(&self) -> &'static [&'static str] {
        &["code"]
    }

    fn rules(&self) -> Rules {
        Rules { may_refresh: true, may_identify: true, needs_secret: false, user_type: UserType::ApplicationUser }
    }

    fn authorize<'a>(&'a self, cx: TokenContext<'a>) -> BoxFuture<'a, Result<Authorized, TokenError>> {
        Box::pin(async move {
            let client = &cx.client.client;
            let mut conn = cx.app.store.reader().await?;
            let code = codes::find(&mut conn, client.id, cx.form.get("code").unwrap_or_default()).await?;
            let unknown = "Invalid authorization code received from token request";
            let code = code.ok_or(TokenError::InvalidGrant(unknown.into()))?;
            let tenant = tenants::find_domain(&mut conn, code.tenant).await?;
            let is_identified = code.scopes.contains(OPENID);
            let context = if is_identified { codes::find_context(&mut conn, &code.id).await? } else { None };
            drop(conn);
            let is_tenant_known = tenant.is_some();
            let username = Username {
                domain: code.user_domain.clone(),
                name: code.user.clone(),
                tenant: tenant.unwrap_or_default(),
            };
            let over =
                || TokenError::InvalidGrant("Expired or Revoked authorization code received from token request".into());
            match code.state {
                TokenState::Active => {}
                TokenState::Inactive => {
                    revoke::revoke_of_code(&cx.app.oauth, client, &username, &code.id).await?;
                    return Err(TokenError::CodeUsed);
                }
                TokenState::Expired | TokenState::Revoked => return Err(over()),
            }
            let left_ms = code.expires_at().millis_since(cx.app.clock.now());
            if left_ms.saturating_add(cx.app.oauth.settings.skew_ms) <= LEFTOVER_MS {
                end(cx.app, &code, TokenState::Expired).await?;
                return Err(over());
            }
            if let Err(error) = check(&code, &client.settings, cx.form) {
                end(cx.app, &code, TokenState::Revoked).await?;
                let user = username.with_tenant();
                tracing::info!(target: "audit", client_id = %client.key, user, outcome = "refused", reason = %error, "authorization code");
                return Err(error);
            }
            if !is_tenant_known {
                return Err(StoreError::Corrupt("code of an unknown tenant".into()).into());
            }
            let user = cx.app.users.find(&username).await?.filter(|user| user.tenant == client.tenant);
            let gone = || TokenError::InvalidGrant("The user of the authorization code may not log in any more".into());
            let username = user.ok_or_else(gone)?.username.clone();
            // As of a refresh token.
            if cx.app.oauth.find_user_revocation(&username).await?.is_some_and(|before| code.created < before) {
                return Err(over());
            }
            let subject = subject_of_row(&code.subject, &username);
            Ok(Authorized {
                username,
                tenant: code.tenant,
                subject,
                scopes: code.scopes,
                replaces: None,
                code: Some(code.id),
                login: context.map(|context| Login { at: Some(context.auth_time), nonce: context.nonce }),
            })
        })
    }
}

/// Ends a code that nobody may use any more.
async fn end(app: &App, code: &Code, to: TokenState) -> Result<(), StoreError> {
    let id = code.id.clone();
    let write = app.store.write::<_, StoreError, _>(move |conn| {
        let id = id.clone();
        Box::pin(async move { codes::end(conn, &id, to).await })
    });
    write.await.map(|_| ())
}

/// Does the exchange name the redirect URI of the request, and prove that it is the same client's (rest-3x.md 1.3)?
fn check(code: &Code, settings: &ClientSettings, form: &Form) -> Result<(), TokenError> {
    let refused = |text: &'static str| Err(TokenError::InvalidGrant(text.into()));
    if !code.callback.is_empty() && form.get("redirect_uri") != Some(&code.callback) {
        return refused("Callback url mismatch");
    }
    let (challenge, method, verifier) = match (&code.challenge, form.get("code_verifier")) {
        (_, None) if settings.is_pkce_mandatory => {
            return refused("No PKCE code verifier found.PKCE is mandatory for this oAuth 2.0 application.");
        }
        (None, None) => return Ok(()),
        // Somebody has put a code of another request, without a challenge, into this one (RFC 9700 section 4.8).
        (None, Some(_)) => return refused("PKCE validation failed"),
        (Some(_), None) => {
            return refused(
                "Empty PKCE code_verifier sent. This authorization code requires a PKCE verification to obtain an access token.",
            );
        }
        (Some((challenge, method)), Some(verifier)) => (challenge, method.as_deref(), verifier),
    };
    if !pkce::is_well_formed(verifier) {
        return refused("Code verifier used is not up to RFC 7636 specifications.");
    }
    match Method::from_word(method) {
        None => {
            let word = method.unwrap_or_default();
            let text = format!("Invalid OAuth2 Token Response. Invalid PKCE Code Challenge Method '{word}'");
            Err(TokenError::InvalidGrant(text.into()))
        }
        Some(Method::Plain) if !settings.may_pkce_be_plain => {
            refused("This application does not allow 'plain' transformation algorithm.")
        }
        Some(method) if method.is_met(challenge, verifier) => Ok(()),
        Some(_) => refused("PKCE validation failed"),
    }
}
