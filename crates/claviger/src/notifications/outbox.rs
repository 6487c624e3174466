//! Writes down what API Manager is to be told, in the transaction of the change: no event is lost with the process, and none is
//! told of a change that did not happen.

use super::event::{self, DeadToken, Envelope};
use claviger_proto::encode::hex;
use claviger_proto::entropy::{Entropy, uuid};
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::{ConsumerKey, SUPER_TENANT_DOMAIN, TenantId};
use claviger_proto::oauth::TokenType;
use claviger_proto::secret::Secret;
use claviger_proto::time::Timestamp;
use claviger_store::conn::Conn;
use claviger_store::error::StoreError;
use claviger_store::notifications::{self, NewNotification};
use claviger_store::tenants;
use claviger_store::tokens::Token;
use std::sync::Arc;

/// Why an event about a token of which the database holds the hash only cannot be sent: API Manager knows tokens by their text.
const TEXT_UNKNOWN: &str = "the token's text is not known: it is stored hashed, and nobody presented it";

/// Who is to be told, and of what.
#[derive(Clone)]
pub struct Outbox {
    listeners: Arc<[String]>,
    rng: Arc<dyn Entropy>,
    /// Are JWTs issued without a row? Then a client's or user's end is told as such.
    are_owners_told: bool,
}

/// Whose tokens are all dead.
#[derive(Clone, Copy)]
pub enum Owner<'a> {
    /// A client.
    Client(&'a ConsumerKey),
    /// A user: his UUID, or where he has none his name as `sub` says it.
    User(&'a str),
}

/// A token that nobody may accept any more.
#[derive(Clone, Copy)]
pub struct Ended<'a> {
    /// Its name in logs and events.
    pub hash: TokenHash,
    /// The `jti` of a JWT, the text of an opaque token; `None`: nobody knows it.
    pub identifier: Option<&'a str>,
    /// Its own end.
    pub expires_at: Timestamp,
    /// The user, without domain and tenant.
    pub user: &'a str,
    /// The user's tenant.
    pub tenant: TenantId,
    /// The client.
    pub consumer_key: &'a ConsumerKey,
    /// What it is.
    pub token_type: TokenType,
}

impl<'a> Ended<'a> {
    /// Of a row.
    pub fn of(token: &'a Token, is_jwt: bool) -> Self {
        Self {
            hash: token.hash,
            identifier: token.identifier.as_ref().map(Secret::expose),
            expires_at: token.expires_at(),
            user: &token.key.user,
            tenant: token.key.tenant,
            consumer_key: &token.consumer_key,
            token_type: if is_jwt { TokenType::Jwt } else { TokenType::Opaque },
        }
    }
}

impl Outbox {
    /// For the listeners with these ids.
    pub fn new(listeners: impl IntoIterator<Item = String>, is_jwt_persisted: bool, rng: Arc<dyn Entropy>) -> Self {
        Self { listeners: listeners.into_iter().collect(), rng, are_owners_told: !is_jwt_persisted }
    }

    /// Writes that a token is dead, in the present transaction.
    pub async fn token_ended(&self, conn: &mut Conn, token: Ended<'_>, now: Timestamp) -> Result<(), StoreError> {
        if self.listeners.is_empty() {
            return Ok(());
        }
        let domain = domain_of(conn, token.tenant).await?;
        let event_id = uuid(&*self.rng);
        let envelope = Envelope { event_id: &event_id, now, tenant: token.tenant, tenant_domain: &domain };
        let body = token.identifier.map(|identifier| {
            let (expires_at, user, consumer_key) = (token.expires_at, token.user, token.consumer_key);
            let dead = DeadToken { identifier, expires_at, user, consumer_key, token_type: token.token_type };
            event::token_revocation(envelope, dead)
        });
        if body.is_none() {
            tracing::warn!(token = %token.hash, client_id = %token.consumer_key, "API Manager cannot be told of this token: {TEXT_UNKNOWN}");
        }
        let row = Row { lane: &hex(&token.hash.0), consumer_key: token.consumer_key, expires_at: token.expires_at };
        self.insert(conn, envelope, row, body.as_deref().ok_or(TEXT_UNKNOWN)).await
    }

    /// Writes that every token which a client or a user was issued before an instant is dead, in the present transaction. Where each
    /// token has a row, each is told by itself, and this is not.
    pub async fn owner_ended(
        &self,
        conn: &mut Conn,
        (tenant, owner): (TenantId, Owner<'_>),
        before: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if self.listeners.is_empty() || !self.are_owners_told {
            return Ok(());
        }
        let domain = domain_of(conn, tenant).await?;
        let event_id = uuid(&*self.rng);
        let envelope = Envelope { event_id: &event_id, now, tenant, tenant_domain: &domain };
        let nobody = ConsumerKey(String::new());
        let (lane, consumer_key, body) = match owner {
            Owner::Client(key) => (format!("client {key}"), key, event::client_revocation(envelope, key, before)),
            Owner::User(entity) => {
                let name = TokenHash::of(&format!("{entity}@{domain}"));
                (format!("user {}", hex(&name.0)), &nobody, event::user_revocation(envelope, entity, before))
            }
        };
        let row = Row { lane: &lane, consumer_key, expires_at: Timestamp::NEVER };
        self.insert(conn, envelope, row, Ok(&body)).await
    }

    /// A row for each listener.
    async fn insert(
        &self,
        conn: &mut Conn,
        envelope: Envelope<'_>,
        row: Row<'_>,
        body: Result<&str, &str>,
    ) -> Result<(), StoreError> {
        let of = |listener| NewNotification {
            listener,
            lane: row.lane,
            event_id: envelope.event_id,
            consumer_key: row.consumer_key,
            body,
            created: envelope.now,
            expires_at: row.expires_at,
        };
        let rows: Vec<_> = self.listeners.iter().map(|listener| of(listener)).collect();
        notifications::insert(conn, &rows).await
    }
}

/// What a row says beside the event.
#[derive(Clone, Copy)]
struct Row<'a> {
    lane: &'a str,
    consumer_key: &'a ConsumerKey,
    expires_at: Timestamp,
}

/// The receiver fails without a domain. A tenant that is gone has none; the token is dead all the same, and is known by its text.
async fn domain_of(conn: &mut Conn, tenant: TenantId) -> Result<String, StoreError> {
    let domain = tenants::find_domain(conn, tenant).await?;
    Ok(domain.unwrap_or_else(|| SUPER_TENANT_DOMAIN.to_owned()))
}
