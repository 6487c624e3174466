//! `POST /oauth2/revoke` (RFC 7009; contract rest-3x.md 1.9). The row's state, its place on the list of revocations and the
//! event are one transaction; the reply is sent after its commit.

use crate::app::App;
use crate::notifications::outbox::{Ended, Outbox};
use crate::oauth::form_request::FormRequest;
use crate::oauth::reply::{self, TokenError};
use crate::oauth::{OAuth, client_auth};
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, PRAGMA, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use claviger_proto::entropy::uuid;
use claviger_proto::event::Event;
use claviger_proto::hash::TokenHash;
use claviger_proto::jose;
use claviger_proto::oauth::TokenType;
use claviger_proto::secret::Secret;
use claviger_proto::time::Timestamp;
use claviger_proto::user::Username;
use claviger_store::clients::{self, Client, Hold};
use claviger_store::codes;
use claviger_store::conn::Conn;
use claviger_store::error::StoreError;
use claviger_store::revocations::{self, RevokedJwt};
use claviger_store::tokens::{self, Token, TokenState};
use http_body_util::{BodyExt as _, Collected};
use serde_json::{Map, Value};
use std::sync::Arc;

const REVOKED_ACCESS: HeaderName = HeaderName::from_static("revokedaccesstoken");
const REVOKED_REFRESH: HeaderName = HeaderName::from_static("revokedrefreshtoken");
const AUTHORIZED_USER: HeaderName = HeaderName::from_static("authorizeduser");

/// Longest name of a script's function that an answer is put into.
const FUNCTION_NAME_MAX: usize = 100;

/// What was revoked, for the response headers.
pub struct Revoked {
    access: String,
    refresh: Option<String>,
    user: String,
}

/// Handler of the revocation endpoint.
pub async fn revoke(State(app): State<Arc<App>>, request: FormRequest) -> Response {
    let response = match revoke_token(&app, &request).await {
        Ok(revoked) => success(revoked),
        Err(error) => reply::reply(&error, &app.oauth.settings.host),
    };
    let form = request.form().ok();
    match form.as_ref().and_then(|form| form.get("callback")).filter(|name| is_function_name(name)) {
        Some(callback) => padded(response, callback).await,
        None => response,
    }
}

/// May this stand before a bracket in a script? Anything else would be a script of the caller's in our name.
fn is_function_name(name: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '$' | '.');
    name.len() <= FUNCTION_NAME_MAX
        && name.starts_with(|first: char| !first.is_ascii_digit())
        && name.chars().all(is_part)
}

/// The answer as a call of a function (JSONP).
async fn padded(response: Response, callback: &str) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/javascript"));
    parts.headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(format!("{callback}({});", String::from_utf8_lossy(&body))))
}

fn success(revoked: Option<Revoked>) -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    if let Some(revoked) = revoked {
        let named = [
            (REVOKED_ACCESS, Some(revoked.access)),
            (REVOKED_REFRESH, revoked.refresh),
            (AUTHORIZED_USER, Some(revoked.user)),
        ];
        for (name, value) in named {
            if let Some(Ok(value)) = value.map(|value| HeaderValue::from_str(&value)) {
                headers.insert(name, value);
            }
        }
    }
    response
}

/// Revokes a token of the client. `None`: there was nothing to revoke, which is a success too (RFC 7009 section 2.2).
async fn revoke_token(app: &App, request: &FormRequest) -> Result<Option<Revoked>, TokenError> {
    let oauth = &app.oauth;
    let form = request.form()?;
    let text = form.get("token").ok_or(TokenError::MissingToken)?;
    let known = client_auth::authenticate(oauth, &request.headers, &form).await?.client;
    revoke_of_client(app, &known.client, text, form.get("token_type_hint") == Some("refresh_token")).await
}

/// Revokes a token of an authenticated client. `None`: there was nothing to revoke.
pub async fn revoke_of_client(
    app: &App,
    client: &Client,
    text: &str,
    is_refresh_first: bool,
) -> Result<Option<Revoked>, TokenError> {
    let oauth = &app.oauth;
    if text.len() > jose::TOKEN_BYTES_MAX {
        return Ok(None);
    }
    // A JWT is found by its jti, when we signed it, and one that nobody can check is not said to be revoked. (Who knows the jti of a stored JWT of his own client may name it by that.)
    let claims = if jose::has_jws_shape(text) { oauth.verify(text).await? } else { None };
    let jti = claims.as_ref().and_then(|claims| claims.get("jti").and_then(Value::as_str).map(str::to_owned));
    let is_jwt = claims.is_some() || client.settings.token_type.kind() == TokenType::Jwt;
    let presented =
        Presented { identifier: jti.unwrap_or_else(|| text.to_owned()), text: text.to_owned(), is_refresh_first };
    let mut conn = oauth.store.reader().await?;
    let found = presented.find(&mut conn, client).await?;
    drop(conn);
    let tenant = match (found, claims) {
        (Some((token, _)), _) if token.consumer_key != client.key => return Err(TokenError::OtherClientsToken),
        // Asked before anything is done: what was done is in the audit log, whatever fails afterwards.
        (Some((token, _)), _) => oauth.tenant_domain(token.key.tenant).await?.unwrap_or_default(),
        (None, Some(claims)) => return revoke_unstored_jwt(oauth, client, text, &claims).await,
        (None, None) => return Ok(None),
    };
    let Some((token, is_refresh)) = revoke_stored(oauth, client, presented, is_jwt).await? else { return Ok(None) };
    let user = Username { domain: token.key.user_domain.clone(), name: token.key.user.clone(), tenant }.with_tenant();
    tracing::info!(target: "audit", token = %token.hash, client_id = %client.key, user, "token revoked");
    Ok(Some(Revoked {
        access: if is_refresh {
            token.identifier.as_ref().map_or("", Secret::expose).to_owned()
        } else {
            text.to_owned()
        },
        refresh: token.refresh.as_ref().map(|refresh| refresh.expose().to_owned()),
        user,
    }))
}

/// Ends the token that a code was used for: the code came a second time, so somebody has it who should not (RFC 6749 section
/// 4.1.2, RFC 9700 section 4.5).
pub(crate) async fn revoke_of_code(
    oauth: &OAuth,
    client: &Client,
    user: &Username,
    code_id: &str,
) -> Result<(), StoreError> {
    let now = oauth.clock.now();
    let ids = [uuid(&*oauth.rng), uuid(&*oauth.rng)];
    let times = Times { now, ended_before: oauth.settings.ended_before(now) };
    let shared = Arc::new((client.clone(), code_id.to_owned(), ids, oauth.outbox.clone()));
    let place = oauth.client_place(client.id).await?;
    let write = oauth.store.write::<_, StoreError, _>(move |conn| {
        let _place = &place;
        let shared = shared.clone();
        Box::pin(async move {
            let (client, code_id, ids, outbox) = &*shared;
            if clients::hold(conn, client, Hold::Alone).await?.is_none() {
                return Ok(None);
            }
            let found = codes::find_token(conn, code_id).await?;
            if let Some(token) = &found {
                let is_jwt = client.settings.token_type.kind() == TokenType::Jwt;
                let jwt = is_jwt.then_some(SeenJwt { signature: None });
                end_row(conn, token, End { to: TokenState::Revoked, jwt, ids, times, outbox }).await?;
            }
            Ok(found)
        })
    });
    let found = write.await?;
    let token = found.map(|token| token.hash);
    let user = user.with_tenant();
    tracing::warn!(target: "audit", client_id = %client.key, user, token = ?token, outcome = "revoked", "authorization code used twice");
    Ok(())
}

/// What a client wants revoked.
struct Presented {
    text: String,
    /// Under which an access token is stored.
    identifier: String,
    is_refresh_first: bool,
}

impl Presented {
    /// The token, and whether the text was its refresh token.
    async fn find(&self, conn: &mut Conn, client: &Client) -> Result<Option<(Token, bool)>, StoreError> {
        for is_refresh in [self.is_refresh_first, !self.is_refresh_first] {
            let token = if is_refresh {
                tokens::find_by_refresh(conn, client.id, &self.text).await?
            } else {
                tokens::find_by_access(conn, &self.identifier).await?
            };
            if let Some(token) = token {
                return Ok(Some((token, is_refresh)));
            }
        }
        Ok(None)
    }
}

/// Marks a pair revoked, lists its access token, and emits the event. The row is looked for once more while the client is
/// held: a renewal may have moved the refresh token to a new one.
async fn revoke_stored(
    oauth: &OAuth,
    client: &Client,
    presented: Presented,
    is_jwt: bool,
) -> Result<Option<(Token, bool)>, StoreError> {
    let now = oauth.clock.now();
    let ids = [uuid(&*oauth.rng), uuid(&*oauth.rng)];
    let times = Times { now, ended_before: oauth.settings.ended_before(now) };
    let shared = Arc::new((client.clone(), presented, ids, oauth.outbox.clone()));
    oauth
        .store
        .write(move |conn| {
            let shared = shared.clone();
            Box::pin(async move {
                let (client, presented, ids, outbox) = &*shared;
                if clients::hold(conn, client, Hold::Alone).await?.is_none() {
                    return Ok(None);
                }
                let found = presented.find(conn, client).await?;
                if let Some((token, _)) = &found {
                    let jwt = is_jwt.then(|| SeenJwt { signature: signature_of(&presented.text) });
                    end_row(conn, token, End { to: TokenState::Revoked, jwt, ids, times, outbox }).await?;
                }
                Ok(found)
            })
        })
        .await
}

/// The instants of a revocation.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) now: Timestamp,
    /// Tokens whose end is before this need no revocation.
    pub(crate) ended_before: Timestamp,
}

/// What is known of a dead token that is a JWT.
#[derive(Clone, Copy)]
pub(crate) struct SeenJwt<'a> {
    /// Its third part, when it was presented.
    pub(crate) signature: Option<&'a str>,
}

/// How a pair ends.
#[derive(Clone, Copy)]
pub(crate) struct End<'a> {
    /// The row's state from then on.
    pub(crate) to: TokenState,
    /// Is it a JWT?
    pub(crate) jwt: Option<SeenJwt<'a>>,
    /// TOKEN_STATE_ID, and the UUID of its line in the list that old gateways read.
    pub(crate) ids: &'a [String; 2],
    pub(crate) times: Times,
    pub(crate) outbox: &'a Outbox,
}

/// Ends a pair whose client is held, and lists its access token when somebody may still accept it. A pair whose row is dead
/// already is listed too: no event was written when the next token for the same user and scopes retired the row, and
/// gateways accept a JWT by its signature and an opaque token by a verdict they remember.
pub(crate) async fn end_row(conn: &mut Conn, token: &Token, end: End<'_>) -> Result<(), StoreError> {
    let End { to, jwt, ids, times: Times { now, ended_before }, outbox } = end;
    let is_alive = matches!(token.state, TokenState::Active | TokenState::Expired);
    if is_alive && !tokens::retire(conn, token, to, &ids[0]).await? {
        return Err(StoreError::Repeat(None));
    }
    if token.expires_at() <= ended_before {
        return Ok(());
    }
    let is_listed = token.state != TokenState::Active && revocations::is_token_revoked(conn, token.hash).await?;
    if is_listed {
        // Whoever revokes again may have been answered with an error though all was written: nobody may have heard of it.
        conn.emit(Event::TokenRevoked { token: token.hash, expires_at: token.expires_at() }, now).await?;
    } else {
        let listed = jwt.and_then(|jwt| revoked_jwt(token, &ids[1], jwt.signature));
        revocations::insert_token(conn, token.hash, token.expires_at(), listed, now).await?;
        outbox.token_ended(conn, Ended::of(token, jwt.is_some()), now).await?;
    }
    Ok(())
}

/// A stored JWT's line in the list that old gateways read.
pub(crate) fn revoked_jwt<'a>(token: &'a Token, uuid: &'a str, signature: Option<&'a str>) -> Option<RevokedJwt<'a>> {
    let jti = token.identifier.as_ref()?.expose();
    Some(RevokedJwt { uuid, jti, signature, tenant_id: token.key.tenant })
}

/// The third part of a JWT.
fn signature_of(text: &str) -> Option<&str> {
    jose::has_jws_shape(text).then(|| text.rsplit('.').next()).flatten()
}

/// A JWT without a row: its signature proves that it is ours, its `azp` whose it is.
async fn revoke_unstored_jwt(
    oauth: &OAuth,
    client: &Client,
    text: &str,
    claims: &Map<String, Value>,
) -> Result<Option<Revoked>, TokenError> {
    let claim = |name: &str| claims.get(name).and_then(Value::as_str);
    if claim("azp") != Some(client.key.as_str()) {
        return Err(TokenError::OtherClientsToken);
    }
    let Some(jti) = claim("jti").map(str::to_owned) else { return Ok(None) };
    let expires_at = super::introspect::time_claim(claims, "exp").unwrap_or(Timestamp::NEVER);
    let user = claim("sub").unwrap_or_default().to_owned();
    let subject = Username::parse(&user).ok();
    let signature = signature_of(text).map(str::to_owned);
    let hash = TokenHash::of(&jti);
    let (tenant_id, now, id) = (client.tenant, oauth.clock.now(), uuid(&*oauth.rng));
    let shared = Arc::new((client.key.clone(), subject, jti, id, signature, oauth.outbox.clone()));
    oauth
        .store
        .write::<_, StoreError, _>(move |conn| {
            let shared = shared.clone();
            Box::pin(async move {
                let (consumer_key, subject, jti, id, signature, outbox) = &*shared;
                if revocations::is_token_revoked(conn, hash).await? {
                    return conn.emit(Event::TokenRevoked { token: hash, expires_at }, now).await.map(drop);
                }
                let jwt = RevokedJwt { uuid: id, jti, signature: signature.as_deref(), tenant_id };
                revocations::insert_token(conn, hash, expires_at, Some(jwt), now).await?;
                let ended = Ended {
                    hash,
                    identifier: Some(jti),
                    expires_at,
                    user: subject.as_ref().map_or("", |subject| &subject.name),
                    tenant: tenant_id,
                    consumer_key,
                    token_type: TokenType::Jwt,
                };
                outbox.token_ended(conn, ended, now).await
            })
        })
        .await?;
    let who = Username::parse(&user).map_or_else(|_| user.clone(), |subject| subject.with_tenant());
    tracing::info!(target: "audit", token = %hash, client_id = %client.key, user = who, "token revoked");
    Ok(Some(Revoked { access: text.to_owned(), refresh: None, user }))
}
