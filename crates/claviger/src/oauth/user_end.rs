//! The end of what a user holds, when an administrator changed him or wrong passwords locked his account: his codes, his tokens with
//! their refresh tokens, the JWTs that have no row (users-ldap.md 4.4). A user may have any number of them, of any number of clients:
//! they end in writes of bounded size, each of which may be repeated, and the whole may be run again.
//!
//! Nobody gets a new one meanwhile by what he was before: the first write says up to which instant the user's authorizations are
//! void, and `oauth::issue` asks that in the transaction of each token.

use crate::notifications::outbox::Owner;
use crate::oauth::client_end::{TOKENS_PER_WRITE, TokenEnd};
use crate::oauth::grant::subject_of;
use crate::users::{Principal, Users};
use claviger_proto::event::Event;
use claviger_proto::ids::{ConsumerKeyId, TokenId};
use claviger_proto::time::Timestamp;
use claviger_proto::user::Username;
use claviger_store::clients::{self, Client, Hold};
use claviger_store::conn::Conn;
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::sql::Engine;
use claviger_store::tokens::of_user::{self, Holder, is_of};
use claviger_store::tokens::{Token, TokenState};
use claviger_store::{codes, revocations};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Codes that end in one write.
const CODES_PER_WRITE: usize = 100;

/// The names under which a user's revocation is looked up: his own, and where it differs the one that gateways read out of `sub`,
/// which says nothing of the super tenant: of a name with an `@` they take the rest for a tenant. Not where another user is called
/// so: his tokens are not to end (security.md 4.4), and gateways know this one's by the events of their rows alone.
pub(crate) async fn subjects_of(users: &Users, user: &Username) -> Result<Vec<String>, StoreError> {
    let own = user.with_tenant();
    let Some(as_read) = as_gateways_read(user) else { return Ok(vec![own]) };
    if users.find_even_barred(&as_read).await?.is_some() {
        tracing::warn!(
            user = own,
            other = as_read.with_tenant(),
            "gateways cannot tell these users' JWTs apart: those without a row live to their end"
        );
        return Ok(vec![own]);
    }
    Ok(vec![own, as_read.with_tenant()])
}

/// Whom gateways take the `sub` of a user's JWTs for, if for another.
fn as_gateways_read(user: &Username) -> Option<Username> {
    Username::parse(&subject_of(user)).ok().filter(|as_read| as_read != user)
}

/// What ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Codes that nobody had used.
    pub codes: usize,
    /// Pairs of tokens.
    pub tokens: usize,
}

/// The end of what one user holds.
pub struct UserEnd {
    store: Store,
    token_end: TokenEnd,
    username: Username,
    subjects: Vec<String>,
    holder: Holder,
}

impl UserEnd {
    /// Of a user.
    pub(crate) async fn of(
        users: &Users,
        (store, token_end): (Store, TokenEnd),
        user: &Principal,
    ) -> Result<Arc<Self>, StoreError> {
        let username = user.username.clone();
        let subjects = subjects_of(users, &username).await?;
        let Username { domain, name, .. } = username.clone();
        let holder = Holder { tenant: user.tenant, domain, name, rule: user.name_rule };
        Ok(Arc::new(Self { store, token_end, username, subjects, holder }))
    }

    /// Whose tokens end.
    pub(crate) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Says in the write of the change that everything which the user was given or authorized for until then is dead: to this
    /// server's nodes and gateways, and to API Manager where JWTs have no rows. `entity` is the user's UUID, where he has one.
    pub(crate) async fn begin(&self, conn: &mut Conn, entity: Option<&str>) -> Result<(), StoreError> {
        // As late as can be: others who have not yet heard of it issue until this is committed.
        let now = self.token_end.now();
        let before = self.token_end.settings.user_revoked_before(now);
        for subject in &self.subjects {
            revocations::insert_user(conn, subject, before, Timestamp::NEVER, now).await?;
        }
        let subject = subject_of(&self.username);
        let owner = Owner::User(entity.unwrap_or(&subject));
        self.token_end.outbox.owner_ended(conn, (self.holder.tenant, owner), before, now).await?;
        self.tell(conn).await
    }

    /// Says that the user is another by now.
    pub(crate) async fn tell(&self, conn: &mut Conn) -> Result<(), StoreError> {
        let event = Event::UserChanged { username: self.username.with_tenant() };
        conn.emit(event, self.token_end.now()).await.map(drop)
    }

    /// Ends all codes and tokens, and once more when every node has heard of the change: a login may have been under way. Each takes
    /// a place, and none is kept between them.
    pub(crate) async fn run(self: &Arc<Self>, places: &Semaphore) -> Result<Ended, StoreError> {
        let first = self.sweep(places).await?;
        // The embedded database has one process.
        if self.store.engine() == Engine::Sqlite {
            return Ok(first);
        }
        let news_ms = u64::try_from(self.token_end.settings.news_ms()).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(news_ms)).await;
        let second = self.sweep(places).await?;
        Ok(Ended { codes: first.codes + second.codes, tokens: first.tokens + second.tokens })
    }

    /// Codes first: what an exchange makes of one until then is among the tokens.
    async fn sweep(self: &Arc<Self>, places: &Semaphore) -> Result<Ended, StoreError> {
        let _place = places.acquire().await;
        let codes = self.end_codes().await?;
        let (mut tokens, mut after) = (0, ConsumerKeyId(0));
        loop {
            let clients = of_user::list_clients(&mut self.store.reader().await?, &self.holder, after).await?;
            let Some(last) = clients.last() else { return Ok(Ended { codes, tokens }) };
            after = *last;
            for client in clients {
                tokens += self.end_tokens(client).await?;
            }
        }
    }

    async fn end_codes(&self) -> Result<usize, StoreError> {
        let (mut count, mut after) = (0, String::new());
        loop {
            let mut conn = self.store.reader().await?;
            let page = codes::list_of_user(&mut conn, &self.holder, &after, CODES_PER_WRITE).await?;
            let is_last = page.len() < CODES_PER_WRITE;
            let mut own = Vec::new();
            for (id, name) in page {
                after.clone_from(&id);
                if is_of(&mut conn, &self.holder, &name).await? {
                    own.push(id);
                }
            }
            drop(conn);
            let own = Arc::new(own);
            let write = self.store.write::<_, StoreError, _>(move |conn| {
                let own = own.clone();
                Box::pin(async move {
                    let mut count = 0;
                    for id in own.iter() {
                        count += usize::from(codes::end(conn, id, TokenState::Revoked).await?);
                    }
                    Ok(count)
                })
            });
            count += write.await?;
            if is_last {
                return Ok(count);
            }
        }
    }

    /// Ends the user's tokens of one client.
    async fn end_tokens(self: &Arc<Self>, id: ConsumerKeyId) -> Result<usize, StoreError> {
        let client = clients::find_by_id(&mut self.store.reader().await?, id).await?;
        let Some(client) = client.map(Arc::new) else { return Ok(0) };
        let (mut count, mut place) = (0, Some(TokenId(String::new())));
        while let Some(after) = place {
            let shared = Arc::new((self.clone(), client.clone(), after));
            let write = self.store.write::<_, StoreError, _>(move |conn| {
                let shared = shared.clone();
                Box::pin(async move {
                    let (end, client, after) = &*shared;
                    end.end_some(conn, client, after).await
                })
            });
            let (ended, next) = write.await?;
            count += ended;
            place = next;
        }
        Ok(count)
    }

    /// One write: how many ended, and where the next begins.
    async fn end_some(
        &self,
        conn: &mut Conn,
        client: &Client,
        after: &TokenId,
    ) -> Result<(usize, Option<TokenId>), StoreError> {
        let Some(client) = clients::hold(conn, client, Hold::Alone).await? else { return Ok((0, None)) };
        let page = of_user::list(conn, client.id, &self.holder, after, TOKENS_PER_WRITE).await?;
        let next = page.last().filter(|_| page.len() >= TOKENS_PER_WRITE).map(|token| token.id.clone());
        let mut own: Vec<Token> = Vec::with_capacity(page.len());
        for token in page {
            if is_of(conn, &self.holder, &token.key.user).await? {
                own.push(token);
            }
        }
        self.token_end.end(conn, &client, &own, TokenState::Revoked).await?;
        Ok((own.len(), next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_take_a_name_with_an_at_sign_for_a_tenants() {
        let of = |name: &str, tenant: &str| as_gateways_read(&Username::primary(name, tenant));
        assert_eq!(of("ann", "carbon.super"), None);
        assert_eq!(of("ann", "acme.com"), None);
        assert_eq!(of("ann@x.org", "carbon.super"), Some(Username::primary("ann", "x.org")));
    }
}
