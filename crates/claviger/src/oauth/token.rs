//! `POST /oauth2/token`: the pipeline every grant goes through (contract rest-3x.md 1.2-1.5).

use crate::app::App;
use crate::oauth::client_auth::{self, Authenticated};
use crate::oauth::form_request::FormRequest;
use crate::oauth::grant::{self, Grant, TokenContext};
use crate::oauth::id_token::OPENID;
use crate::oauth::issue::{self, Order};
use crate::oauth::reply::{self, TokenError};
use crate::oauth::{KnownClient, scope_policy};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use claviger_proto::form::Form;
use claviger_proto::scope::Scopes;
use serde::Serialize;
use std::sync::Arc;

/// Times a request is authorized whose user was changed meanwhile.
const AUTHORIZATIONS_MAX: u32 = 3;

/// The success body (RFC 6749 section 5.1).
#[derive(Debug, Serialize)]
pub struct TokenReply {
    /// Opaque token or JWT.
    pub access_token: String,
    /// Refresh token, when the grant and the application allow one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// Granted scopes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// ID token, when `openid` is granted and the grant allows one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
    /// `Bearer`.
    pub token_type: &'static str,
    /// Seconds left.
    pub expires_in: i64,
}

/// Handler of the token endpoint.
pub async fn token(State(app): State<Arc<App>>, request: FormRequest) -> Response {
    match issue_token(&app, &request).await {
        Ok(body) => crate::http::reply::json_no_store(StatusCode::OK, &body),
        Err(error) => reply::reply(&error, &app.oauth.settings.host),
    }
}

async fn issue_token(app: &App, request: &FormRequest) -> Result<TokenReply, TokenError> {
    let mut form = request.form()?;
    let grant_type = form.get("grant_type").ok_or(TokenError::MissingGrantType)?;
    let grant = grant::find(grant_type).ok_or(TokenError::UnknownGrantType)?;
    let missing: Vec<&str> = grant.required().iter().copied().filter(|name| form.get(name).is_none()).collect();
    if !missing.is_empty() {
        return Err(TokenError::MissingParameters(missing.join(" ")));
    }
    let Authenticated { client, is_by_secret } = client_auth::authenticate(&app.oauth, &request.headers, &form).await?;
    check_listed(&client, grant)?;
    if grant.rules().needs_secret && !is_by_secret {
        return Err(TokenError::GrantNotAllowed);
    }
    form.keep_only(grant.parameters());
    let requested = Scopes::parse(form.get("scope").unwrap_or_default()).map_err(|_| TokenError::InvalidScope)?;
    run(app, grant, client, &form, &requested).await
}

/// Issues a client_credentials token to a client whose owner the portal has authenticated.
pub async fn issue_to_client(
    app: &App,
    client: Arc<KnownClient>,
    requested: &Scopes,
) -> Result<TokenReply, TokenError> {
    let grant = grant::find("client_credentials").ok_or(TokenError::UnknownGrantType)?;
    if !client.client.is_active {
        return Err(TokenError::InactiveClient);
    }
    check_listed(&client, grant)?;
    run(app, grant, client, &Form::default(), requested).await
}

fn check_listed(client: &KnownClient, grant: &dyn Grant) -> Result<(), TokenError> {
    let is_listed = client.client.settings.grants.iter().any(|listed| listed == grant.name());
    if is_listed { Ok(()) } else { Err(TokenError::GrantNotAllowed) }
}

/// The part of the pipeline behind authentication: decision, scope policy, issue.
async fn run(
    app: &App,
    grant: &'static dyn Grant,
    client: Arc<KnownClient>,
    form: &Form,
    requested: &Scopes,
) -> Result<TokenReply, TokenError> {
    let mut more = 1..AUTHORIZATIONS_MAX;
    loop {
        match run_once(app, grant, client.clone(), form, requested).await {
            // Nobody is told to come again who is let in by what he is now.
            Err(TokenError::UserChanged) if more.next().is_some() => {}
            done => return done,
        }
    }
}

async fn run_once(
    app: &App,
    grant: &'static dyn Grant,
    client: Arc<KnownClient>,
    form: &Form,
    requested: &Scopes,
) -> Result<TokenReply, TokenError> {
    let begun = app.clock.now();
    let cx = TokenContext { app, client: &client, form, scopes: requested };
    let authorized = grant.authorize(cx).await?;
    let scopes = scope_policy::grant(app, &authorized.username, authorized.tenant, &authorized.scopes).await?;
    let rules = grant.rules();
    let may_refresh = rules.may_refresh && client.client.settings.grants.iter().any(|listed| listed == "refresh_token");
    let is_identified = rules.may_identify && scopes.contains(OPENID);
    let user_type = rules.user_type;
    let order = Order { begun, client, authorized, scopes, grant: grant.name(), user_type, may_refresh, is_identified };
    let issued = issue::issue(&app.oauth, order).await?;
    Ok(TokenReply {
        access_token: issued.access_token,
        refresh_token: issued.refresh_token,
        scope: Some(issued.scope).filter(|scope| !scope.is_empty()),
        id_token: issued.id_token,
        token_type: "Bearer",
        expires_in: issued.expires_in_s,
    })
}
