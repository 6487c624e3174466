//! `POST /oauth2/introspect` (RFC 7662; contract rest-3x.md 1.10), the same check for our own routes, and its answer to
//! gateways.
//!
//! A JWT is checked twice: its signature and times, then its row or the list of revocations. A signature alone is never
//! enough (security.md 4.2).

use crate::app::App;
use crate::http::access::Caller;
use crate::http::reply;
use crate::oauth::OAuth;
use crate::oauth::form_request::FormRequest;
use crate::oauth::tenant_keys::KeyError;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use claviger_gateway::model::{ActiveToken, TokenVerdict};
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::{ConsumerKey, SUPER_TENANT_DOMAIN, TenantId};
use claviger_proto::jose;
use claviger_proto::oauth::TokenType;
use claviger_proto::scope::Scopes;
use claviger_proto::time::Timestamp;
use claviger_proto::user::Username;
use claviger_store::error::StoreError;
use claviger_store::tokens::{Token, TokenState, UserType};
use claviger_store::{revocations, tenants};
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Name under which this installation appears in AM_KEY_MANAGER.
pub const RESIDENT_KEY_MANAGER: &str = "Resident Key Manager";

/// An active token.
#[derive(Debug)]
pub struct Introspected {
    /// Its digest: the name for logs and events.
    pub hash: TokenHash,
    /// The client.
    pub consumer_key: ConsumerKey,
    /// The user.
    pub username: Username,
    /// Its `sub`; empty where an old server's row has none.
    pub subject: String,
    /// Granted scopes.
    pub scopes: Scopes,
    /// Issue time.
    pub issued_at: Timestamp,
    /// End of life.
    pub expires_at: Timestamp,
    /// Whom it speaks for; `None` for a JWT without a row and without the claim `aut`.
    pub user_type: Option<UserType>,
}

#[derive(Serialize)]
struct ActiveBody<'a> {
    nbf: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    active: bool,
    token_type: &'a str,
    exp: i64,
    iat: i64,
    client_id: &'a str,
    username: String,
    /// What API-M 4.x tells application tokens by; 3.2 passes over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    aut: Option<&'static str>,
}

/// Handler of the introspection endpoint.
pub async fn introspect(State(app): State<Arc<App>>, caller: Caller, request: FormRequest) -> Response {
    let Some(token) = request.form().ok().and_then(|form| form.get("token").map(str::to_owned)) else {
        return (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, "application/json")], r#"{"error": "Invalid input"}"#)
            .into_response();
    };
    let result = async {
        let Some(token) = app.introspect(&token).await? else { return Ok(None) };
        let is_seen = is_visible(&app, &caller, &token).await?;
        Ok(is_seen.then_some(token))
    };
    match result.await {
        Ok(Some(token)) => {
            let body = ActiveBody {
                nbf: token.issued_at.as_secs(),
                scope: token.scopes.to_string(),
                active: true,
                token_type: "Bearer",
                exp: if token.expires_at == Timestamp::NEVER { i64::MAX } else { token.expires_at.as_secs() },
                iat: token.issued_at.as_secs(),
                client_id: token.consumer_key.as_str(),
                username: token.username.with_tenant(),
                aut: token.user_type.map(UserType::as_word),
            };
            reply::json_no_store(StatusCode::OK, &body)
        }
        Ok(None) => reply::json_no_store(StatusCode::OK, &serde_json::json!({ "active": false })),
        Err(error) => reply::store_failure(&error),
    }
}

/// May the caller know of the token? Who is of a tenant sees the tokens of its clients; the super tenant sees all.
async fn is_visible(app: &App, caller: &Caller, token: &Introspected) -> Result<bool, StoreError> {
    if caller.principal.tenant == TenantId::SUPER {
        return Ok(true);
    }
    let known = app.oauth.find_client(&token.consumer_key).await?;
    Ok(known.is_some_and(|known| known.client.tenant == caller.principal.tenant))
}

/// The same question from one of our gateways.
pub async fn check_token(State(app): State<Arc<App>>, request: FormRequest) -> Response {
    let Some(token) = request.form().ok().and_then(|form| form.get("token").map(str::to_owned)) else {
        return reply::portal_error(StatusCode::BAD_REQUEST, 400, "Bad Request", "The form has no token");
    };
    match verdict(&app, &token).await {
        Ok(verdict) => reply::json_no_store(StatusCode::OK, &verdict),
        Err(error) => reply::store_failure(&error),
    }
}

/// What a gateway is told of a token.
pub async fn verdict(app: &App, token: &str) -> Result<TokenVerdict, StoreError> {
    Ok(match app.introspect(token).await? {
        None => TokenVerdict::Inactive,
        Some(token) => TokenVerdict::Active(ActiveToken {
            token: token.hash,
            consumer_key: token.consumer_key,
            key_manager: RESIDENT_KEY_MANAGER.to_owned(),
            username: token.username.with_tenant(),
            scopes: token.scopes.iter().map(str::to_owned).collect(),
            issued_at: token.issued_at,
            expires_at: token.expires_at,
            is_users: token.user_type != Some(UserType::Application),
        }),
    })
}

impl OAuth {
    /// Looks at a token: `None` when it is unknown, over, revoked, or of a client that is no longer active.
    pub async fn introspect(&self, text: &str) -> Result<Option<Introspected>, StoreError> {
        if text.len() > jose::TOKEN_BYTES_MAX {
            return Ok(None);
        }
        if !jose::has_jws_shape(text) {
            // The row of a JWT holds its jti, which is no secret: it must not pass as a token.
            return self.introspect_identifier(text, TokenType::Opaque, None).await;
        }
        let claims = match self.verify(text).await {
            Ok(claims) => claims,
            // Nobody can say that it is good.
            Err(KeyError::Unreadable(_)) => None,
            Err(KeyError::Store(error)) => return Err(error),
        };
        let Some(claims) = claims.filter(|claims| jose::may_be_access_token(text, claims)) else { return Ok(None) };
        let now = self.clock.now();
        let is_ours = claims.get("iss").and_then(Value::as_str) == Some(self.settings.issuer.as_str());
        let end = time_claim(&claims, "exp");
        let is_alive = end.is_some_and(|end| end.plus_millis(self.settings.skew_ms) > now);
        let Some(jti) = claims.get("jti").and_then(Value::as_str).filter(|_| is_ours && is_alive) else {
            return Ok(None);
        };
        let mut found = self.introspect_identifier(jti, TokenType::Jwt, time_claim(&claims, "iat")).await?;
        // A tenant's key is good for its own clients' tokens, and the name of a token is no secret.
        let client = claims.get("azp").and_then(Value::as_str);
        if found.as_ref().is_some_and(|token| client.is_some_and(|client| client != token.consumer_key.as_str())) {
            return Ok(None);
        }
        if found.is_none() && !self.settings.is_jwt_persisted {
            found = self.introspect_claims(jti, &claims).await?;
        }
        let Some(token) = found else { return Ok(None) };
        let dead_before = self.find_user_revocation(&token.username).await?;
        Ok(dead_before.is_none_or(|before| token.issued_at >= before).then_some(token))
    }

    /// Looks at the row under an identifier that was presented as this kind of token.
    async fn introspect_identifier(
        &self,
        identifier: &str,
        presented: TokenType,
        issued_at: Option<Timestamp>,
    ) -> Result<Option<Introspected>, StoreError> {
        let hash = TokenHash::of(identifier);
        let Some(token) = self.find_token(&hash, identifier).await? else { return Ok(None) };
        let is_alive = token.expires_at().plus_millis(self.settings.skew_ms).millis_since(self.clock.now()) > 1000;
        let known = self.find_client(&token.consumer_key).await?;
        // The JWT says it better than the row, whose column may not be able to (`tokens::insert`).
        let issued_at = issued_at.unwrap_or(token.created);
        let is_usable = known.is_some_and(|known| {
            // As gateways see it: a client's revocation concerns its JWTs, opaque tokens are revoked one by one.
            let is_revoked = known.revoked_before.is_some_and(|before| issued_at < before);
            known.client.is_active
                && match presented {
                    TokenType::Jwt => !is_revoked,
                    TokenType::Opaque => known.client.settings.token_type.kind() == TokenType::Opaque,
                }
        });
        if token.state != TokenState::Active || !is_alive || !is_usable {
            return Ok(None);
        }
        let tenant = self.tenant_domain(token.key.tenant).await?;
        Ok(tenant.map(|tenant| describe(&token, hash, tenant, issued_at)))
    }

    /// A JWT without a row: its claims count, unless it or its client's older tokens were revoked.
    async fn introspect_claims(
        &self,
        jti: &str,
        claims: &Map<String, Value>,
    ) -> Result<Option<Introspected>, StoreError> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let hash = TokenHash::of(jti);
        let (Some(key), Some(subject), Some(issued_at), Some(expires_at)) =
            (text("azp"), text("sub"), time_claim(claims, "iat"), time_claim(claims, "exp"))
        else {
            return Ok(None);
        };
        let key = ConsumerKey::from(key);
        let Some(known) = self.find_client(&key).await? else { return Ok(None) };
        let is_before_revocation = known.revoked_before.is_some_and(|before| issued_at < before);
        let (Ok(username), Ok(scopes)) = (Username::parse(subject), Scopes::parse(text("scope").unwrap_or_default()))
        else {
            return Ok(None);
        };
        // Tokens are issued to users of the client's tenant only; a name with an `@` of its own reads as one of another.
        let is_of_tenant = self.tenant_domain(known.client.tenant).await?.as_deref() == Some(username.tenant.as_str());
        let mut conn = self.store.reader().await?;
        let is_revoked = revocations::is_token_revoked(&mut conn, hash).await?;
        if is_revoked || !is_of_tenant || is_before_revocation || !known.client.is_active {
            return Ok(None);
        }
        let user_type = text("aut").and_then(UserType::from_word);
        let subject = subject.to_owned();
        Ok(Some(Introspected { hash, consumer_key: key, username, subject, scopes, issued_at, expires_at, user_type }))
    }

    /// Domain of a tenant; `None` when there is no such tenant.
    pub(crate) async fn tenant_domain(&self, tenant: TenantId) -> Result<Option<String>, StoreError> {
        if tenant == TenantId::SUPER {
            return Ok(Some(SUPER_TENANT_DOMAIN.to_owned()));
        }
        // Boxed: reading is the rare and long way, and the future of every caller would be as large.
        Box::pin(async {
            let mut conn = self.store.reader().await?;
            tenants::find_domain(&mut conn, tenant).await
        })
        .await
    }
}

fn describe(token: &Token, hash: TokenHash, tenant: String, issued_at: Timestamp) -> Introspected {
    Introspected {
        hash,
        consumer_key: token.consumer_key.clone(),
        username: Username { domain: token.key.user_domain.clone(), name: token.key.user.clone(), tenant },
        subject: token.subject.clone(),
        scopes: token.key.scopes.clone(),
        issued_at,
        expires_at: token.expires_at(),
        user_type: Some(token.key.user_type),
    }
}

/// A time claim in seconds (RFC 7519 section 2, NumericDate).
pub(crate) fn time_claim(claims: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    claims.get(name).and_then(Value::as_i64).map(Timestamp::from_secs)
}
