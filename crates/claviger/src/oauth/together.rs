//! Several tokens in one transaction. A token costs about ten statements, which the network and the engine make dear; sixteen
//! tokens together cost hardly more. So requests that come in while a transaction is under way wait for the next one and go
//! into it together.
//!
//! This is a short cut of [`super::issue`] and nothing else: it makes the tokens that nobody stands in the way of, and leaves the
//! others, with every error, to the way on which each request has a transaction of its own.

mod queue;

use super::issue::{self, Draft, Step};
use claviger_proto::event::Event;
use claviger_proto::ids::{ConsumerKeyId, TokenId};
use claviger_proto::time::Timestamp;
use claviger_proto::user::NameRule;
use claviger_store::clients::{self, Client, Hold};
use claviger_store::codes;
use claviger_store::conn::Conn;
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::revocations;
use claviger_store::tokens::{self, Active, NewRow, TOGETHER_MAX, Token, TokenState};
use queue::{Queue, Request};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Longest wait for a place in a transaction. Who has none by then goes its own way.
const PLACE_MS_MAX: u64 = 250;

/// What became of a request.
pub(super) enum Outcome {
    /// The token to hand out.
    Token(Box<Token>),
    /// Nothing was done: it needs a transaction of its own.
    Left,
    /// It has waited for the database as long as one may.
    Unavailable,
}

/// Requests on their way into a transaction.
#[derive(Clone)]
pub(super) struct Together {
    store: Store,
    rule: NameRule,
    queue: Arc<Mutex<Queue<Waiting>>>,
}

struct Waiting {
    draft: Arc<Draft>,
    /// It has a place, or its requester gave it up.
    is_decided: Arc<AtomicBool>,
    reply: oneshot::Sender<Outcome>,
}

impl Request for Waiting {
    fn client(&self) -> ConsumerKeyId {
        self.draft.client().id
    }

    fn take(&self) -> bool {
        !self.reply.is_closed() && !self.is_decided.swap(true, Ordering::AcqRel)
    }
}

impl Together {
    /// No requests yet.
    pub(super) fn new(store: Store, rule: NameRule) -> Self {
        Self { store, rule, queue: Arc::new(Mutex::new(Queue::new(TOGETHER_MAX))) }
    }

    /// Makes a token together with those that wait.
    pub(super) async fn write(&self, draft: Arc<Draft>) -> Outcome {
        let (reply, mut outcome) = oneshot::channel();
        let is_decided = Arc::new(AtomicBool::new(false));
        let requests = self.queue().join(Waiting { draft, is_decided: is_decided.clone(), reply }, Instant::now());
        if !requests.is_empty() {
            // A task of its own: the request that began it may go away, the others go on.
            tokio::spawn(self.clone().work_off(requests));
        }
        if let Ok(outcome) = tokio::time::timeout(Duration::from_millis(PLACE_MS_MAX), &mut outcome).await {
            return outcome.unwrap_or(Outcome::Left);
        }
        if is_decided.swap(true, Ordering::AcqRel) { outcome.await.unwrap_or(Outcome::Left) } else { Outcome::Left }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<Waiting>> {
        self.queue.lock().expect("nothing panics while it holds the queue")
    }

    /// Transaction after transaction, until nobody waits.
    async fn work_off(self, mut requests: Vec<Waiting>) {
        while !requests.is_empty() {
            let running = Running::of(&self, &requests);
            let held = self.transact(requests, Patience::None).await;
            running.split(held);
            requests = self.queue().begin(Instant::now());
        }
    }

    /// One transaction. Returns the requests whose client somebody else holds.
    async fn transact(&self, requests: Vec<Waiting>, patience: Patience) -> Vec<Waiting> {
        let drafts: Arc<[_]> = requests.iter().map(|request| request.draft.clone()).collect();
        let rule = self.rule;
        let written = self.store.write_once(move |conn| {
            let drafts = drafts.clone();
            Box::pin(async move { write(conn, &drafts, rule, patience).await })
        });
        let mut written = written.await;
        if let Err(error) = &written {
            tracing::debug!(%error, requests = requests.len(), "tokens could not be written together");
        }
        let has_waited = matches!(&written, Err(error) if error.is_wait_over());
        let mut made = written.as_mut().map(std::mem::take).unwrap_or_default().into_iter();
        let mut held = Vec::new();
        for request in requests {
            let outcome = match made.next() {
                _ if has_waited => Outcome::Unavailable,
                Some(Made::Token(token)) => Outcome::Token(token),
                Some(Made::Held) => {
                    held.push(request);
                    continue;
                }
                Some(Made::Left) | None => Outcome::Left,
            };
            // A requester that went away does not want the answer; its token stands.
            drop(request.reply.send(outcome));
        }
        held
    }
}

/// A transaction's clients, which are free again when it ends, whatever its end.
struct Running {
    together: Together,
    clients: HashSet<ConsumerKeyId>,
}

impl Running {
    fn of(together: &Together, requests: &[Waiting]) -> Self {
        Self { together: together.clone(), clients: requests.iter().map(Request::client).collect() }
    }

    /// Ends it. Requests whose client somebody else holds go on, with those for the same client, in a transaction that waits:
    /// one each would line up behind the holder, and no later transaction would find the client free.
    fn split(mut self, held: Vec<Waiting>) {
        let mut by_client: HashMap<ConsumerKeyId, Vec<Waiting>> = HashMap::new();
        for request in held {
            by_client.entry(request.client()).or_default().push(request);
        }
        self.clients.retain(|client| !by_client.contains_key(client));
        self.together.queue().split(1 + by_client.len());
        for requests in by_client.into_values() {
            let together = self.together.clone();
            let running = Self::of(&together, &requests);
            tokio::spawn(async move {
                let held = together.transact(requests, Patience::Waits).await;
                drop((held, running));
                // Those that came meanwhile.
                let requests = together.queue().begin(Instant::now());
                together.work_off(requests).await;
            });
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.together.queue().end(&self.clients);
    }
}

/// May a transaction wait for a client?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    None,
    /// For the one client of all its requests.
    Waits,
}

/// What a transaction made of a request.
enum Made {
    Token(Box<Token>),
    Left,
    Held,
}

/// One transaction.
async fn write(
    conn: &mut Conn,
    drafts: &[Arc<Draft>],
    rule: NameRule,
    patience: Patience,
) -> Result<Vec<Made>, StoreError> {
    let wanted: Vec<&Client> = drafts.iter().map(|draft| draft.client()).collect();
    let present = match (patience, wanted.first()) {
        (Patience::Waits, Some(client)) => clients::hold(conn, client, Hold::Alone).await?.into_iter().collect(),
        _ => clients::hold_free(conn, &wanted).await?,
    };
    let mut made: Vec<Made> = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let client = present.iter().find(|client| client.id == draft.client().id);
        // One that is gone cannot be told from one that is held.
        made.push(if client.is_none() && patience == Patience::None { Made::Held } else { Made::Left });
    }
    let subjects: BTreeSet<String> = drafts.iter().filter_map(|draft| draft.subject()).collect();
    // Behind the clients, as on the other way: what is read here is not older than a lock.
    let names: Vec<&str> = subjects.iter().map(String::as_str).collect();
    let revoked = revocations::find_users(conn, &names).await?;
    let revoked_before =
        |draft: &Draft| -> Option<Timestamp> { draft.subject().and_then(|subject| revoked.get(&subject).copied()) };
    let is_able = |draft: &Arc<Draft>| {
        draft.check_client(present.iter().find(|client| client.id == draft.client().id)).is_ok()
            && draft.check_user(revoked_before(draft)).is_ok()
    };
    let able: Vec<_> = drafts.iter().enumerate().filter(|(_, draft)| is_able(draft)).collect();
    let keys: Vec<_> = able.iter().map(|(_, draft)| (draft.key(), draft.idp)).collect();
    let found = tokens::find_active_of(conn, &keys, rule).await?;

    let mut rows = Vec::new();
    let mut retired: Vec<(Token, TokenState)> = Vec::new();
    let mut carried: Vec<(ConsumerKeyId, TokenId, TokenId)> = Vec::new();
    for ((place, draft), active) in able.into_iter().zip(found) {
        let active = match active {
            Active::None => None,
            Active::Token(token) => Some(*token),
            Active::OtherSpelling => continue,
        };
        let token = match draft.next_step(active, revoked_before(draft)) {
            Step::HandOut(token) => token,
            Step::Insert { fresh, replaced } => {
                let behind = replaced.as_deref().map(|(token, _)| token.created);
                // What no column holds is told on the other way.
                let Ok(row) = NewRow::new(conn, &fresh, draft.idp, behind) else { continue };
                rows.push(row);
                if let Some((old, _)) =
                    replaced.as_deref().filter(|(old, _)| issue::does_code_follow(draft.client(), old, &fresh))
                {
                    carried.push((draft.client().id, old.id.clone(), fresh.id.clone()));
                }
                retired.extend(replaced.map(|replaced| *replaced));
                fresh
            }
        };
        made[place] = Made::Token(token);
    }
    retire(conn, &retired, drafts).await?;
    tokens::insert_rows(conn, &rows).await?;
    for (client, old, fresh) in &carried {
        codes::move_token(conn, *client, old, fresh).await?;
    }
    Ok(made)
}

async fn retire(conn: &mut Conn, retired: &[(Token, TokenState)], drafts: &[Arc<Draft>]) -> Result<(), StoreError> {
    for to in [TokenState::Revoked, TokenState::Expired] {
        let ids: Vec<_> = retired.iter().filter(|(_, state)| *state == to).map(|(token, _)| &token.id).collect();
        if !tokens::retire_all(conn, &ids, to).await? {
            return Err(StoreError::Repeat(None));
        }
    }
    let Some(times) = drafts.first().map(|draft| draft.times) else { return Ok(()) };
    let (heard, told): (Vec<_>, Vec<_>) =
        retired.iter().partition(|(token, _)| issue::is_known_elsewhere(conn.engine(), token, times));
    let event = |(token, _): &(Token, TokenState)| Event::TokenRetired { token: token.hash };
    for retired in told {
        conn.tell(event(retired));
    }
    conn.emit_all(heard.into_iter().map(event).collect(), times.now).await
}
