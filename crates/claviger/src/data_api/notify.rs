//! `POST /internal/data/v1/notify`: a key manager says what it has revoked (rest-3x.md 5.3).
//!
//! One transaction writes the row that API Manager's gateways read, the list that ours read, and the event, so that ours refuse the
//! token before the 200 is sent. Everything may come again: an event finds what it did, and what this server revoked itself and told
//! itself is known already, so nothing goes in circles. `X-WSO2-KEY-MANAGER` is not looked at: what its unknown values meant to the
//! old receiver was that revocations were lost.

use super::notification::{self, DeadToken, Malformed, Notification, Subject};
use super::{refusal_by_release, refuse};
use crate::app::App;
use crate::http::extract::{Unreadable, Whole};
use crate::http::reply::{self, UNWRITABLE};
use crate::notifications::outbox::Outbox;
use crate::oauth::revoke::{End, SeenJwt, Times, end_row};
use crate::oauth::user_end::subjects_of;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use claviger_proto::entropy::uuid;
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::{ConsumerKey, TenantId};
use claviger_proto::oauth::TokenType;
use claviger_proto::time::Timestamp;
use claviger_proto::user::Username;
use claviger_store::clients::{self, Client, Hold};
use claviger_store::conn::Conn;
use claviger_store::error::StoreError;
use claviger_store::revocations::{self, Received};
use claviger_store::tokens::{self, TokenState};
use claviger_store::{tenants, users};
use serde_json::json;
use std::sync::Arc;

/// Tenant of a token of a key manager whose tenants we do not have.
const NO_TENANT: i64 = -1;

/// Handler of the notifications.
pub(super) async fn notify(State(app): State<Arc<App>>, body: Result<Whole, Unreadable>) -> Response {
    if let Some(refusal) = refusal_by_release(&app) {
        return refusal;
    }
    let body = match body {
        Ok(Whole(body)) => body,
        Err(error) => return refuse(error.status(), &error.to_string()),
    };
    let events = match notification::read(&body, app.clock.now()) {
        Ok(events) => events,
        Err(error) => return malformed(&error),
    };
    for event in events {
        let event_id = event.event_id.clone();
        match apply(&app, event).await {
            Ok(()) => tracing::info!(target: "audit", event_id, "a revocation of a key manager was taken in"),
            Err(StoreError::TooLong(what)) => return malformed(&Malformed(format!("{what} is too long"))),
            Err(StoreError::Unwritable(_)) => return malformed(&Malformed(UNWRITABLE.to_owned())),
            Err(error) => return reply::store_failure(&error),
        }
    }
    reply::empty(StatusCode::OK)
}

/// 400 with the members of this wire's errors and the one that senders of notifications read.
fn malformed(Malformed(text): &Malformed) -> Response {
    tracing::warn!(reason = text, "a notification was refused");
    let body = json!({ "code": 400, "message": "Bad Request", "description": text, "fields": "", "Message": text });
    reply::json(StatusCode::BAD_REQUEST, &body)
}

async fn apply(app: &App, event: Notification) -> Result<(), StoreError> {
    match &event.subject {
        Subject::Token(token) => {
            let tenant_id = tenant_of(app, &event).await?;
            revoke_token(app, event.event_id.clone(), tenant_id, token.clone()).await
        }
        Subject::Client(key, before) => revoke_client(app, key.clone(), *before).await,
        Subject::User(entity, before) => revoke_user(app, &event, entity, *before).await,
    }
}

/// The tenant by its domain; what the sender calls it when we have no such tenant: its token is dead all the same.
async fn tenant_of(app: &App, event: &Notification) -> Result<TenantId, StoreError> {
    let mut conn = app.store.reader().await?;
    let found = tenants::find_by_domain(&mut conn, &event.tenant_domain).await?;
    Ok(found.unwrap_or(TenantId(event.tenant_id.unwrap_or(NO_TENANT))))
}

/// A token that is one of ours and alive ends as if it had been revoked here, or it would be handed out again. One that is on the
/// list is left alone: its row may have been replaced, and keep a refresh token that lives.
async fn revoke_token(app: &App, event_id: String, tenant_id: TenantId, token: DeadToken) -> Result<(), StoreError> {
    let now = app.clock.now();
    let times = Times { now, ended_before: app.oauth.settings.ended_before(now) };
    let client = find_client_of(app, &token.identifier).await?;
    let shared = Arc::new((client, event_id, token, uuid(&*app.rng), app.oauth.outbox.clone()));
    let write = app.store.write::<_, StoreError, _>(move |conn| {
        let shared = shared.clone();
        Box::pin(async move {
            let (client, event_id, token, id, outbox) = &*shared;
            if let Some(client) = client {
                end_own(conn, client, token, [id.clone(), event_id.clone()], times, outbox).await?;
            }
            if token.expires_at <= times.ended_before {
                return Ok(());
            }
            let received = Received {
                event_id,
                token: &token.identifier,
                token_type: &token.token_type,
                tenant_id,
                expires_at: token.expires_at,
            };
            revocations::insert_received(conn, &received, times.now).await.map(|_| ())
        })
    });
    write.await
}

/// Whose token it is, if it is one of ours and active.
async fn find_client_of(app: &App, identifier: &str) -> Result<Option<Client>, StoreError> {
    let mut conn = app.store.reader().await?;
    match tokens::find_by_access(&mut conn, identifier).await? {
        Some(token) if token.state == TokenState::Active => clients::find(&mut conn, &token.consumer_key).await,
        _ => Ok(None),
    }
}

async fn end_own(
    conn: &mut Conn,
    client: &Client,
    token: &DeadToken,
    ids: [String; 2],
    times: Times,
    outbox: &Outbox,
) -> Result<(), StoreError> {
    // First in the transaction: what is read must not be older than the lock.
    let Some(client) = clients::hold(conn, client, Hold::Alone).await? else { return Ok(()) };
    if revocations::is_token_revoked(conn, TokenHash::of(&token.identifier)).await? {
        return Ok(());
    }
    let found = tokens::find_by_access(conn, &token.identifier).await?;
    if let Some(row) = found.filter(|row| row.state == TokenState::Active) {
        let is_jwt = client.settings.token_type.kind() == TokenType::Jwt;
        let jwt = is_jwt.then_some(SeenJwt { signature: None });
        end_row(conn, &row, End { to: TokenState::Revoked, jwt, ids: &ids, times, outbox }).await?;
    }
    Ok(())
}

/// What is known already is not told again: an earlier instant takes nothing back.
async fn revoke_client(app: &App, key: ConsumerKey, before: Timestamp) -> Result<(), StoreError> {
    let now = app.clock.now();
    let write = app.store.write::<_, StoreError, _>(move |conn| {
        let key = key.clone();
        Box::pin(async move {
            if revocations::find_client(conn, &key).await?.is_some_and(|known| known >= before) {
                return Ok(());
            }
            revocations::insert_client(conn, &key, before, Timestamp::NEVER, now).await
        })
    });
    write.await
}

/// The entity is a user's UUID, or his name as `sub` of a token says it.
async fn revoke_user(app: &App, event: &Notification, entity: &str, before: Timestamp) -> Result<(), StoreError> {
    let mut conn = app.store.reader().await?;
    let tenant = tenants::find_by_domain(&mut conn, &event.tenant_domain).await?;
    let by_uuid = match tenant {
        Some(tenant) => users::find_name_by_uuid(&mut conn, tenant, entity).await?,
        None => None,
    };
    drop(conn);
    let own = format!("@{}", event.tenant_domain);
    // A name may hold an `@` of its own; what follows the last is a tenant only if it is the event's, or nobody is called so.
    let full = match by_uuid {
        Some(name) => name + &own,
        None if entity.ends_with(&own) => entity.to_owned(),
        None => format!("{entity}{own}"),
    };
    let subjects = match Username::parse(&full) {
        // Whom we do not know may be another key manager's: gateways look for him under the same names.
        Ok(name) => {
            let known = app.users.find_even_barred(&name).await?;
            subjects_of(&app.users, known.as_ref().map_or(&name, |user| &user.username)).await?
        }
        Err(_) => vec![full],
    };
    let now = app.clock.now();
    let write = app.store.write::<_, StoreError, _>(move |conn| {
        let subjects = subjects.clone();
        Box::pin(async move {
            for subject in &subjects {
                if revocations::find_user(conn, subject).await?.is_none_or(|known| known < before) {
                    revocations::insert_user(conn, subject, before, Timestamp::NEVER, now).await?;
                }
            }
            Ok(())
        })
    });
    write.await
}
