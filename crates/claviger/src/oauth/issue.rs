//! Making a token, or handing out the active one again (contract rest-3x.md 1.6, database.md 3.4-3.5).
//!
//! At most one row is ACTIVE for a client, user and scope set: the tables' own unique key decides, and the loser reads the
//! winner's row. In one process a lock per key lets equal requests go one after the other, for a while. Whoever inserts or
//! retires a row holds the client (`clients::hold`) and looks at it then: no token is made for a secret that is over.

use crate::notifications::outbox::{Ended, Outbox};
use crate::oauth::grant::Authorized;
use crate::oauth::past_revocation::{self, check_begun};
use crate::oauth::present::present;
use crate::oauth::reply::TokenError;
use crate::oauth::revoke::{self, Times};
use crate::oauth::together::Outcome;
use crate::oauth::{KnownClient, OAuth, client_auth, namesakes};
use claviger_proto::entropy::uuid;
use claviger_proto::event::Event;
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::TokenId;
use claviger_proto::oauth::TokenType;
use claviger_proto::scope::Scopes;
use claviger_proto::secret::Secret;
use claviger_proto::time::Timestamp;
use claviger_store::capability::Capability;
use claviger_store::clients::{self, Client, Hold};
use claviger_store::codes;
use claviger_store::conn::Conn;
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::revocations;
use claviger_store::sql::Engine;
use claviger_store::tokens::{self, NewRow, Token, TokenKey, TokenState, UserType};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Times the winner's row is read again after losing to another node (`retry_count_on_persistence_failures`).
const CONFLICTS_MAX: u32 = 5;
/// A token with this much left or less counts as over (rest-3x.md 1.6.1).
const LEFTOVER_MS: i64 = 1000;
/// What to issue.
#[derive(Debug)]
pub struct Order {
    /// From before the grant asked anything.
    pub begun: Timestamp,
    /// The client.
    pub client: Arc<KnownClient>,
    /// Whom for.
    pub authorized: Authorized,
    /// Granted scopes.
    pub scopes: Scopes,
    /// GRANT_TYPE.
    pub grant: &'static str,
    /// USER_TYPE.
    pub user_type: UserType,
    /// Is a refresh token made and returned?
    pub may_refresh: bool,
    /// Is an ID token returned?
    pub is_identified: bool,
}

impl Order {
    /// Is it a user whom the token speaks for? The owner of an application has no part in its tokens.
    fn is_users(&self) -> bool {
        self.user_type == UserType::ApplicationUser
    }
}

/// What the client gets.
#[derive(Debug)]
pub struct Issued {
    /// Opaque token or JWT.
    pub access_token: String,
    /// Refresh token.
    pub refresh_token: Option<String>,
    /// Granted scopes.
    pub scope: String,
    /// ID token: always of this moment, whatever the age of the access token.
    pub id_token: Option<String>,
    /// Seconds left.
    pub expires_in_s: i64,
}

/// What is to be done about a request, given the ACTIVE row for its key.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Hand out the active token again.
    Reuse,
    /// Retire the row into this state, if there is one, and insert a new pair.
    New {
        retire: Option<TokenState>,
        /// Keep the living refresh token with its times.
        is_refresh_kept: bool,
    },
}

/// What a decision depends on besides the row and the time.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one request, each named where it is used")]
struct Rules {
    skew_ms: i64,
    is_renewed_per_request: bool,
    is_jwt: bool,
    is_refresh: bool,
    /// Is a code used up with it?
    is_code: bool,
    may_refresh: bool,
    /// Can the token be had back from its row? What one node happens to remember is no rule.
    is_text_kept: bool,
}

impl Rules {
    /// How the first transaction holds the client: alone where a row is likely to be retired, where it costs nothing, and where
    /// the tables' own key would let two nodes insert the same token.
    fn first_hold(self, store: &Store) -> Hold {
        let is_kept_single = store.capabilities().has(Capability::ActiveKey);
        let is_alone = store.engine() == Engine::Sqlite
            || !is_kept_single
            || self.is_jwt
            || self.is_renewed_per_request
            || self.is_refresh
            || self.is_code
            || !self.is_text_kept;
        if is_alone { Hold::Alone } else { Hold::Shared }
    }
}

/// Issues a token. [`TokenError::UserChanged`] asks for another try: by then what authorized the request is known as it is.
pub async fn issue(oauth: &OAuth, order: Order) -> Result<Issued, TokenError> {
    let order = Arc::new(order);
    let issued = issue_now(oauth, &order).await;
    if let Err(TokenError::UserChanged) = issued {
        past_revocation::wait_for_user(oauth, &order.authorized.username).await?;
    }
    issued
}

async fn issue_now(oauth: &OAuth, order: &Arc<Order>) -> Result<Issued, TokenError> {
    let client = &order.client.client;
    let key = TokenKey {
        consumer_key_id: client.id,
        user: order.authorized.username.name.clone(),
        user_domain: order.authorized.username.domain.clone(),
        tenant: order.authorized.tenant,
        user_type: order.user_type,
        scopes: order.scopes.clone(),
    };
    let rules = Rules {
        skew_ms: oauth.settings.skew_ms,
        is_renewed_per_request: oauth.settings.is_access_renewed_per_request,
        is_jwt: client.settings.token_type.kind() == TokenType::Jwt,
        is_refresh: order.authorized.replaces.is_some(),
        is_code: order.authorized.code.is_some(),
        may_refresh: order.may_refresh,
        is_text_kept: oauth.store.keeps_token_texts(),
    };
    // Before anything is written: who cannot sign issues nothing.
    let signer = if rules.is_jwt || order.is_identified { Some(oauth.signer_of(client).await?) } else { None };
    let signer = signer.as_deref();
    // Here by what is known of the user: one with a row asks again in its transaction.
    if rules.is_jwt || order.is_users() {
        check_begun(order.begun, oauth.find_user_revocation(&order.authorized.username).await?)?;
    }
    if rules.is_jwt {
        past_revocation::wait_for_client(oauth, &order.client).await?;
        // The token of a code has a row: who uses the code a second time ends it.
        if !oauth.settings.is_jwt_persisted && !order.may_refresh && !rules.is_code {
            let present_client = oauth.find_client(&client.key).await?;
            client_auth::check_unchanged(client, present_client.as_ref().map(|known| &known.client))?;
            return Ok(present(oauth, &new_token(oauth, order, key), order, true, signer));
        }
    }
    if let Some(token) = find_reusable(oauth, order, &key, rules).await? {
        return Ok(present(oauth, &token, order, rules.is_jwt, signer));
    }
    let lock = oauth.lock(&key).await;
    // Whoever held the lock may have made the token meanwhile.
    if let Some(token) = find_reusable(oauth, order, &key, rules).await? {
        return Ok(present(oauth, &token, order, rules.is_jwt, signer));
    }
    let idp = oauth.find_idp(key.tenant).await?;
    // What is written together has different keys, which the lock sees to.
    if lock.is_some() && !rules.is_refresh && !rules.is_code && oauth.store.can_skip_held() {
        let draft = Arc::new(Draft::new(oauth, order, &key, rules, idp));
        match oauth.together.write(draft.clone()).await {
            Outcome::Token(token) => {
                let token = remember(oauth, &draft, *token).await?;
                return Ok(present(oauth, &token, order, rules.is_jwt, signer));
            }
            Outcome::Left => {}
            Outcome::Unavailable => return Err(StoreError::Unavailable(None).into()),
        }
    }
    let mut hold = rules.first_hold(&oauth.store);
    let mut conflicts = 0;
    loop {
        let place = oauth.client_place(key.consumer_key_id).await?;
        // What is random or timed is made here, after the wait, and is the same in every attempt of the write.
        let draft = Arc::new(Draft::new(oauth, order, &key, rules, idp));
        // Boxed: the way through the database is long, and the future of every request would be as large.
        match Box::pin(write(oauth, &draft, hold, place)).await {
            Ok(Some(token)) => {
                let token = remember(oauth, &draft, token).await?;
                return Ok(present(oauth, &token, order, rules.is_jwt, signer));
            }
            Ok(None) => hold = Hold::Alone,
            // Another node inserted first: look again, in a new transaction that can see its row. From then on the client is
            // held alone, or a node that issues without a pause would win every time.
            Err(TokenError::Store(StoreError::Conflict(_))) if conflicts < CONFLICTS_MAX => {
                // Or what is in the way is another user's, whom the key does not tell from this one.
                Box::pin(namesakes::clear_way(oauth, order, &key)).await?;
                (hold, conflicts) = (Hold::Alone, conflicts + 1);
            }
            Err(error) => {
                use TokenError::{ClientAuthentication, ClientChanged, InactiveClient};
                match &error {
                    ClientAuthentication | ClientChanged | InactiveClient => {
                        oauth.clients.forget(&order.client.client.key);
                    }
                    TokenError::CodeUsed => {
                        if let Some(code) = &order.authorized.code {
                            let user = &order.authorized.username;
                            revoke::revoke_of_code(oauth, &order.client.client, user, code).await?;
                        }
                    }
                    // The provider's row may be another one by now.
                    TokenError::Store(StoreError::Database(_)) => oauth.idps.forget(&key.tenant),
                    _ => {}
                }
                return Err(error);
            }
        }
    }
}

/// The active token as this process remembers it, when it may be handed out again.
async fn find_reusable(
    oauth: &OAuth,
    order: &Order,
    key: &TokenKey,
    rules: Rules,
) -> Result<Option<Arc<Token>>, StoreError> {
    if rules.is_jwt || rules.is_refresh || rules.is_code || !rules.is_text_kept {
        return Ok(None);
    }
    // Introspection may have read the row again after it was revoked.
    let is_usable = |token: &Arc<Token>| token.key == *key && token.state == TokenState::Active;
    let remembered = oauth.active.get(key).and_then(|hash| oauth.tokens.find(&hash));
    let Some(token) = remembered.filter(is_usable) else { return Ok(None) };
    let revoked_before =
        if order.is_users() { oauth.find_user_revocation(&order.authorized.username).await? } else { None };
    let decision = decide(Some(&token), revoked_before, rules, oauth.clock.now());
    Ok((decision == Decision::Reuse).then_some(token))
}

/// `revoked_before` is the end of what the token's user was given.
fn decide(active: Option<&Token>, revoked_before: Option<Timestamp>, rules: Rules, now: Timestamp) -> Decision {
    // The cache may hold a dead row too: introspecting a revoked token puts it there, and the hint still points at it.
    let Some(active) = active.filter(|token| token.state == TokenState::Active) else {
        return Decision::New { retire: None, is_refresh_kept: false };
    };
    // The sweep that says so in the rows is under way, or somebody has killed it. It finds the row as EXPIRED too, and tells of it.
    if revoked_before.is_some_and(|before| active.created < before) {
        return Decision::New { retire: Some(TokenState::Expired), is_refresh_kept: false };
    }
    if rules.is_jwt || rules.is_renewed_per_request || rules.is_refresh {
        return Decision::New { retire: Some(TokenState::Revoked), is_refresh_kept: false };
    }
    if active.identifier.is_none() || !rules.is_text_kept {
        // The database holds its hash only: nobody can be given it again (database.md 3.4).
        return Decision::New { retire: Some(TokenState::Expired), is_refresh_kept: false };
    }
    let is_alive = |end: Timestamp| end.millis_since(now).saturating_add(rules.skew_ms) > LEFTOVER_MS;
    let is_access_alive = is_alive(active.expires_at());
    let is_refresh_alive = active.refresh.is_some() && is_alive(active.refresh_expires_at());
    match (is_access_alive, is_refresh_alive || !rules.may_refresh) {
        (true, true) => Decision::Reuse,
        (true, false) => Decision::New { retire: Some(TokenState::Expired), is_refresh_kept: false },
        (false, _) => {
            Decision::New { retire: Some(TokenState::Expired), is_refresh_kept: is_refresh_alive && rules.may_refresh }
        }
    }
}

/// A token that is to be, with what its making depends on.
pub(crate) struct Draft {
    order: Arc<Order>,
    key: TokenKey,
    rules: Rules,
    fresh: Token,
    /// The generation of its hash in the cache, from before it was written.
    generation: u64,
    /// For the dead rows: TOKEN_STATE_ID, and what else needs one.
    ids: [String; 3],
    /// The tenant's resident identity provider.
    pub(crate) idp: Option<i64>,
    pub(crate) times: Times,
}

/// What a transaction has to do.
pub(crate) enum Step {
    /// Nothing: the active token is handed out.
    HandOut(Box<Token>),
    /// Insert a pair, and before it move the active row to another state, if there is one.
    Insert { fresh: Box<Token>, replaced: Option<Box<(Token, TokenState)>> },
}

impl Draft {
    fn new(oauth: &OAuth, order: &Arc<Order>, key: &TokenKey, rules: Rules, idp: Option<i64>) -> Self {
        let now = oauth.clock.now();
        let fresh = new_token(oauth, order, key.clone());
        Self {
            order: order.clone(),
            key: key.clone(),
            rules,
            generation: oauth.tokens.generation(&fresh.hash),
            fresh,
            ids: [uuid(&*oauth.rng), uuid(&*oauth.rng), uuid(&*oauth.rng)],
            idp,
            times: Times { now, ended_before: oauth.settings.ended_before(now) },
        }
    }

    /// Whose token it is.
    pub(crate) fn key(&self) -> &TokenKey {
        &self.key
    }

    /// The client that authenticated.
    pub(crate) fn client(&self) -> &Client {
        &self.order.client.client
    }

    /// Is the client, as the transaction finds it, the one that authenticated?
    pub(crate) fn check_client(&self, present: Option<&Client>) -> Result<(), TokenError> {
        client_auth::check_unchanged(self.client(), present)
    }

    /// The name under which the revocation of the user stands who was authorized; none of an application token: its owner has no
    /// part in it.
    pub(crate) fn subject(&self) -> Option<String> {
        self.order.is_users().then(|| self.order.authorized.username.with_tenant())
    }

    /// May the user still have it, by his revocation as the transaction finds it?
    pub(crate) fn check_user(&self, revoked_before: Option<Timestamp>) -> Result<(), TokenError> {
        check_begun(self.order.begun, revoked_before)
    }

    /// What is to be done beside what is active, given the revocation of the user.
    pub(crate) fn next_step(&self, active: Option<Token>, revoked_before: Option<Timestamp>) -> Step {
        let mut fresh = Box::new(self.fresh.clone());
        match (decide(active.as_ref(), revoked_before, self.rules, self.times.now), active) {
            (Decision::Reuse, Some(active)) => Step::HandOut(Box::new(active)),
            (Decision::New { retire: Some(state), is_refresh_kept }, Some(active)) => {
                if is_refresh_kept {
                    fresh.refresh.clone_from(&active.refresh);
                    fresh.refresh_created = active.refresh_created;
                    fresh.refresh_validity_ms = active.refresh_validity_ms;
                }
                Step::Insert { fresh, replaced: Some(Box::new((active, state))) }
            }
            (Decision::New { .. } | Decision::Reuse, _) => Step::Insert { fresh, replaced: None },
        }
    }
}

/// One transaction: read the active row, retire what must go, insert the new pair or hand out the one that is there. `None`
/// when a row is in the way and the client was not held alone.
async fn write(
    oauth: &OAuth,
    draft: &Arc<Draft>,
    hold: Hold,
    place: OwnedSemaphorePermit,
) -> Result<Option<Token>, TokenError> {
    let (draft, rule) = (draft.clone(), oauth.settings.name_rule);
    let outbox = draft.order.authorized.replaces.is_some().then(|| oauth.outbox.clone());
    let write = oauth.store.write(move |conn| {
        // Until the write is over, also when nobody waits for it any more.
        let _place = &place;
        let (draft, outbox) = (draft.clone(), outbox.clone());
        Box::pin(async move {
            let (order, idp, times) = (&draft.order, draft.idp, draft.times);
            let client = clients::hold(conn, draft.client(), hold).await?;
            draft.check_client(client.as_ref())?;
            let revoked_before = match draft.subject() {
                Some(subject) => revocations::find_user(conn, &subject).await?,
                None => None,
            };
            draft.check_user(revoked_before)?;
            if let (Some(replaced), Some(outbox)) = (&order.authorized.replaces, &outbox) {
                retire_refreshed(conn, replaced, draft.rules.is_jwt, outbox, (&draft.ids, times)).await?;
                if has_codes(draft.client()) {
                    codes::move_token(conn, draft.client().id, &replaced.id, &draft.fresh.id).await?;
                }
            }
            let active = tokens::find_active(conn, &draft.key, idp, rule).await?;
            let before = [order.authorized.replaces.as_ref(), active.as_ref()];
            let behind = before.into_iter().flatten().map(|token| token.created).max();
            let (fresh, replaced) = match draft.next_step(active, revoked_before) {
                Step::HandOut(active) => {
                    use_code(conn, order, &active.id).await?;
                    return Ok::<_, TokenError>(Some(*active));
                }
                Step::Insert { replaced: Some(_), .. } if hold == Hold::Shared => return Ok(None),
                Step::Insert { fresh, replaced } => (fresh, replaced),
            };
            if let Some((active, state)) = replaced.as_deref() {
                retire(conn, active, *state, &draft.ids[2], times).await?;
                if does_code_follow(draft.client(), active, &fresh) {
                    codes::move_token(conn, draft.client().id, &active.id, &fresh.id).await?;
                }
            }
            use_code(conn, order, &fresh.id).await?;
            let row = NewRow::new(conn, &fresh, idp, behind)?;
            tokens::insert_rows(conn, &[row]).await?;
            Ok(Some(*fresh))
        })
    });
    write.await
}

/// May tokens of this client have been made by codes? The tables of 2.x find a token's code slowly.
fn has_codes(client: &Client) -> bool {
    client.settings.grants.iter().any(|grant| grant == "authorization_code")
}

/// Does a new pair go on with the refresh token of the one that it replaces? A code that made the old one ends the new one then,
/// when it comes a second time.
pub(crate) fn does_code_follow(client: &Client, replaced: &Token, fresh: &Token) -> bool {
    let fresh = fresh.refresh.as_ref();
    has_codes(client)
        && replaced.refresh.as_ref().is_some_and(|old| fresh.is_some_and(|new| new.is_equal(old.expose())))
}

/// Uses up the code that a token is issued for, if it is for one. Of any number of exchanges one gets past this.
async fn use_code(conn: &mut Conn, order: &Order, token: &TokenId) -> Result<(), TokenError> {
    match &order.authorized.code {
        Some(code) if !codes::consume(conn, code, token).await? => Err(TokenError::CodeUsed),
        _ => Ok(()),
    }
}

/// Takes a token into this process' memory.
async fn remember(oauth: &OAuth, draft: &Draft, token: Token) -> Result<Arc<Token>, TokenError> {
    let hash = token.hash;
    let token = Arc::new(token);
    if token.id == draft.fresh.id {
        oauth.tokens.insert(hash, draft.generation, token.clone());
    } else {
        // Another node's token: remember it as it stands now, not as it was when the transaction read it.
        if let Some(identifier) = &token.identifier {
            oauth.find_token(&hash, identifier.expose()).await?;
        }
    }
    oauth.active.insert(draft.key.clone(), hash);
    Ok(token)
}

/// Retires the row that a new one takes the place of.
pub(super) async fn retire(
    conn: &mut Conn,
    active: &Token,
    state: TokenState,
    state_id: &str,
    times: Times,
) -> Result<(), TokenError> {
    if !tokens::retire(conn, active, state, state_id).await? {
        return Err(StoreError::Repeat(None).into());
    }
    let event = Event::TokenRetired { token: active.hash };
    if is_known_elsewhere(conn.engine(), active, times) {
        conn.emit(event, times.now).await?;
    } else {
        conn.tell(event);
    }
    Ok(())
}

/// May another process take a retired token for an active one? The embedded database has one process, and nobody calls a token
/// active when it is over.
pub(crate) fn is_known_elsewhere(engine: Engine, token: &Token, times: Times) -> bool {
    engine != Engine::Sqlite && token.expires_at() > times.ended_before
}

/// A refresh retires the pair it replaces, and its access token is dead everywhere. Of parallel uses one finds the row as it
/// was; the others are refused.
async fn retire_refreshed(
    conn: &mut Conn,
    replaced: &Token,
    is_jwt: bool,
    outbox: &Outbox,
    (ids, Times { now, ended_before }): (&[String; 3], Times),
) -> Result<(), TokenError> {
    if !tokens::retire(conn, replaced, TokenState::Inactive, &ids[0]).await? {
        return Err(TokenError::InvalidGrant("Invalid refresh token state".into()));
    }
    // The change of its client's token type may have ended it, and told so.
    let is_told = replaced.state != TokenState::Active && revocations::is_token_revoked(conn, replaced.hash).await?;
    if !is_told && replaced.expires_at() > ended_before {
        let jwt = revoke::revoked_jwt(replaced, &ids[1], None).filter(|_| is_jwt);
        revocations::insert_token(conn, replaced.hash, replaced.expires_at(), jwt, now).await?;
        outbox.token_ended(conn, Ended::of(replaced, is_jwt), now).await?;
    }
    Ok(())
}

fn new_token(oauth: &OAuth, order: &Order, key: TokenKey) -> Token {
    let (settings, client, now) = (&oauth.settings, &order.client.client, oauth.clock.now());
    let lifetimes = client.settings.lifetimes;
    let or_default = |own: i64, default: i64| if own == 0 { default } else { own };
    let access_s = match order.user_type {
        UserType::Application => or_default(lifetimes.application_s, settings.application_access_s),
        UserType::ApplicationUser => or_default(lifetimes.user_s, settings.user_access_s),
    };
    let refresh_s = or_default(lifetimes.refresh_s, settings.refresh_s);
    let is_renewed = client.settings.is_refresh_renewed.unwrap_or(settings.is_refresh_renewed);
    let kept = order.authorized.replaces.as_ref().filter(|_| !is_renewed);
    let identifier = uuid(&*oauth.rng);
    Token {
        id: TokenId(uuid(&*oauth.rng)),
        hash: TokenHash::of(&identifier),
        identifier: Some(Secret::new(identifier)),
        refresh: match kept {
            Some(replaced) => replaced.refresh.clone(),
            None => order.may_refresh.then(|| Secret::new(uuid(&*oauth.rng))),
        },
        consumer_key: client.key.clone(),
        key,
        grant: order.grant.to_owned(),
        created: now,
        refresh_created: kept.map_or(now, |replaced| replaced.refresh_created),
        validity_ms: access_s.saturating_mul(1000),
        refresh_validity_ms: kept.map_or(refresh_s.saturating_mul(1000), |replaced| replaced.refresh_validity_ms),
        state: TokenState::Active,
        subject: order.authorized.subject.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use claviger_proto::ids::{ConsumerKey, ConsumerKeyId, TenantId};

    #[test]
    fn only_an_active_row_is_handed_out_again() {
        let now = Timestamp::from_secs(1_700_000_000);
        let rules = Rules {
            skew_ms: 0,
            is_renewed_per_request: false,
            is_jwt: false,
            is_refresh: false,
            is_code: false,
            may_refresh: true,
            is_text_kept: true,
        };
        let in_state = |state| Token {
            id: TokenId("id".into()),
            hash: TokenHash::of("access"),
            identifier: Some(Secret::new("access")),
            refresh: Some(Secret::new("refresh")),
            consumer_key: ConsumerKey("client".into()),
            key: TokenKey {
                consumer_key_id: ConsumerKeyId(1),
                user: "admin".into(),
                user_domain: "PRIMARY".into(),
                tenant: TenantId::SUPER,
                user_type: UserType::ApplicationUser,
                scopes: Scopes::default(),
            },
            grant: "password".into(),
            created: now,
            refresh_created: now,
            validity_ms: 3_600_000,
            refresh_validity_ms: 86_400_000,
            state,
            subject: "admin".into(),
        };
        let new = Decision::New { retire: None, is_refresh_kept: false };
        let active = in_state(TokenState::Active);
        assert_eq!(decide(Some(&active), None, rules, now), Decision::Reuse);
        for dead in [TokenState::Expired, TokenState::Inactive, TokenState::Revoked] {
            assert_eq!(decide(Some(&in_state(dead)), None, rules, now), new, "{dead:?}");
        }
        assert_eq!(decide(None, None, rules, now), new);
        // What its user was given ended at that instant.
        let retired = Decision::New { retire: Some(TokenState::Expired), is_refresh_kept: false };
        assert_eq!(decide(Some(&active), Some(now), rules, now), Decision::Reuse);
        assert_eq!(decide(Some(&active), Some(now.plus_millis(1)), rules, now), retired);
        assert_eq!(decide(Some(&active), Some(now.plus_millis(1)), rules, now.plus_millis(3_700_000)), retired);
    }
}
