//! The end of a client's tokens: by a new secret, by the client's deletion, by another token type (database.md 2.6, rest-3x.md
//! 2.4). A client may have any number of them: they end in writes of bounded size.
//!
//! Nobody issues meanwhile for the old secret: who inserts a token holds the client and looks at it (`oauth::issue`).

use crate::notifications::outbox::{Outbox, Owner};
use crate::oauth::dcr::{KEY_LENGTH, RegistrationError, check_owner};
use crate::oauth::revoke::{End, SeenJwt, Times, end_row};
use crate::oauth::{KnownClient, OAuth, OAuthSettings};
use claviger_proto::entropy::{Entropy, key_text, uuid};
use claviger_proto::event::Event;
use claviger_proto::oauth::TokenType;
use claviger_proto::secret::Secret;
use claviger_proto::time::{Clock, Timestamp};
use claviger_store::clients::{self, Client, Hold};
use claviger_store::codes;
use claviger_store::conn::Conn;
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::revocations;
use claviger_store::tokens::{self, Token, TokenState};
use std::sync::Arc;

/// Tokens that end in one write, in some five statements each: a second or two where a statement takes 3 ms.
pub(super) const TOKENS_PER_WRITE: usize = 100;

/// Rows, of tokens long dead as a rule, that a deletion removes in one write.
const ROWS_PER_WRITE: usize = 5_000;

/// A new secret. The ACTIVE tokens of the client are dead afterwards, and every JWT that it was ever issued; the refresh token
/// of a token that was EXPIRED lives on, as upstream's.
pub async fn renew_secret(oauth: &OAuth, known: &Arc<KnownClient>) -> Result<Arc<KnownClient>, RegistrationError> {
    let secret = Secret::new(key_text(&*oauth.rng, KEY_LENGTH));
    let end = ClientEnd::new(oauth, known, Cause::NewSecret(secret.clone())).run().await;
    end.inspect_err(|_| oauth.clients.forget(&known.client.key))?;
    let known = oauth.find_client(&known.client.key).await?.ok_or(RegistrationError::NotFound)?;
    Ok(known.with_secret(&secret))
}

/// Deletes a client with its tokens.
pub async fn remove(oauth: &OAuth, known: &Arc<KnownClient>) -> Result<(), RegistrationError> {
    let end = ClientEnd::new(oauth, known, Cause::Deletion).run().await;
    end.inspect_err(|_| oauth.clients.forget(&known.client.key))
}

/// What ends tokens inside a write.
#[derive(Clone)]
pub(crate) struct TokenEnd {
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Entropy>,
    pub(super) settings: Arc<OAuthSettings>,
    pub(super) outbox: Outbox,
}

impl TokenEnd {
    pub(super) fn new(oauth: &OAuth) -> Self {
        Self {
            clock: oauth.clock.clone(),
            rng: oauth.rng.clone(),
            settings: oauth.settings.clone(),
            outbox: oauth.outbox.clone(),
        }
    }

    /// Of a process that issues no tokens.
    pub(crate) fn of_settings(settings: OAuthSettings, clock: Arc<dyn Clock>, rng: Arc<dyn Entropy>) -> Self {
        let outbox = Outbox::new(settings.listeners.clone(), settings.is_jwt_persisted, rng.clone());
        Self { clock, rng, settings: Arc::new(settings), outbox }
    }

    /// The time, as late as the write asks: the wait for the client's lock is over by then.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Ends some ACTIVE tokens of a client that is held alone, and lists those that still live; true when none is left.
    pub(super) async fn end_some(&self, conn: &mut Conn, client: &Client, to: TokenState) -> Result<bool, StoreError> {
        let tokens = tokens::list_active_of_client(conn, client.id, TOKENS_PER_WRITE).await?;
        self.end(conn, client, &tokens, to).await?;
        Ok(tokens.len() < TOKENS_PER_WRITE)
    }

    /// Ends tokens of a client that is held alone, and lists those that still live.
    pub(super) async fn end(
        &self,
        conn: &mut Conn,
        client: &Client,
        tokens: &[Token],
        to: TokenState,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let times = Times { now, ended_before: self.settings.ended_before(now) };
        let jwt = (client.settings.token_type.kind() == TokenType::Jwt).then_some(SeenJwt { signature: None });
        for token in tokens {
            let ids = [uuid(&*self.rng), uuid(&*self.rng)];
            end_row(conn, token, End { to, jwt, ids: &ids, times, outbox: &self.outbox }).await?;
        }
        Ok(())
    }
}

enum Cause {
    NewSecret(Secret),
    Deletion,
}

/// The end of every token that a client has.
struct ClientEnd {
    store: Store,
    known: Arc<KnownClient>,
    cause: Cause,
    token_end: TokenEnd,
}

impl ClientEnd {
    fn new(oauth: &OAuth, known: &Arc<KnownClient>, cause: Cause) -> Self {
        Self { store: oauth.store.clone(), known: known.clone(), cause, token_end: TokenEnd::new(oauth) }
    }

    /// Writes until no token is left. In a task of its own: a requester who hangs up leaves no tokens behind.
    async fn run(self) -> Result<(), RegistrationError> {
        let end = Arc::new(self);
        let task = tokio::spawn(async move {
            let mut part = Some(Part::First);
            while let Some(present) = part {
                part = end.clone().write(present).await?;
            }
            Ok(())
        });
        task.await.unwrap_or_else(|_| Err(StoreError::Panicked.into()))
    }

    async fn write(self: Arc<Self>, part: Part) -> Result<Option<Part>, RegistrationError> {
        let store = self.store.clone();
        let write = store.write(move |conn| {
            let end = self.clone();
            Box::pin(async move { end.step(conn, part).await })
        });
        write.await
    }

    /// One write; says which comes next. The first ends what the client could do until now, and nothing else: on a Galera cluster
    /// those who issue without a pause at another member undo every long write. A client that goes is blocked until all its
    /// tokens are gone. Tokens that a new secret is given before the last write die too: nobody has been told that
    /// secret yet.
    async fn step(&self, conn: &mut Conn, part: Part) -> Result<Option<Part>, RegistrationError> {
        let client = clients::hold(conn, &self.known.client, Hold::Alone).await?.ok_or(RegistrationError::NotFound)?;
        let mut next = None;
        if part == Part::First {
            check_owner(&self.known.client, &client)?;
            next = Some(Part::Tokens);
        } else if part != Part::Rows || client.is_active {
            // A blocked client gets no new tokens; one that has become active again meanwhile may have.
            let is_over = self.token_end.end_some(conn, &client, TokenState::Revoked).await?;
            next = (!is_over).then_some(Part::Tokens);
        }
        // Somebody may have given a client that goes a new secret in between.
        let is_beginning = part == Part::First || matches!(self.cause, Cause::Deletion) && client.is_active;
        if is_beginning {
            // The time is read as late as can be: others who have not yet heard of the change issue until it is committed.
            let now = self.token_end.now();
            match &self.cause {
                Cause::NewSecret(secret) => clients::update_secret(conn, &client, secret).await?,
                Cause::Deletion => clients::block(conn, &client).await?,
            }
            // Also of a client that is opaque by now: it may have been issued JWTs before. How long they live nobody knows:
            // the lifetime may have been changed since.
            let before = self.token_end.settings.revoked_before(now);
            codes::end_all(conn, client.id).await?;
            revocations::insert_client(conn, &client.key, before, Timestamp::NEVER, now).await?;
            self.token_end.outbox.owner_ended(conn, (client.tenant, Owner::Client(&client.key)), before, now).await?;
        }
        if next.is_none() && matches!(self.cause, Cause::Deletion) {
            let rows = tokens::delete_of_client(conn, client.id, ROWS_PER_WRITE).await?;
            if rows < ROWS_PER_WRITE {
                clients::delete(conn, &client).await?;
            } else {
                next = Some(Part::Rows);
            }
        }
        if is_beginning || next.is_none() {
            let event = Event::ClientChanged { consumer_key: client.key.clone() };
            conn.emit(event, self.token_end.now()).await?;
        }
        Ok(next)
    }
}

/// What a write is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The end itself.
    First,
    /// Its tokens.
    Tokens,
    /// The dead rows of a client that goes.
    Rows,
}
