//! Several tokens in one transaction. A token costs about ten statements, which the network and the engine make dear; sixteen
//! tokens together cost hardly more. So requests that come in while a transaction is under way wait for the next one and go
//! into it together.
//!
//! This is a short cut of [`super::issue`] and nothing else: it makes the tokens that nobody stands in the way of, and leaves the
//! others, with every error, to the way on which each request has a transaction of its own.

use super::issue::{self, Draft, Step};
use claviger_proto::event::Event;
use claviger_proto::ids::ConsumerKeyId;
use claviger_proto::user::NameRule;
use claviger_store::clients;
use claviger_store::conn::Conn;
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::tokens::{self, Active, NewRow, TOGETHER_MAX, Token, TokenState};
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::oneshot;

/// Transactions at a time. One beside others begins only when it is full.
const TRANSACTIONS_MAX: usize = 8;
/// Longest wait for a place. Who has none by then, because a transaction hangs, goes its own way.
const PLACE_MS_MAX: u64 = 250;

/// What became of a request.
pub(super) enum Outcome {
    /// The token to hand out.
    Token(Box<Token>),
    /// Nothing was done: it needs a transaction of its own.
    Left,
    /// The database is not there.
    Unavailable,
}

/// Requests on their way into a transaction. Each that waits is a request in flight, and of those there is a bounded number.
pub(super) struct Together {
    store: Store,
    rule: NameRule,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Clients of the transactions under way: two that want the same one would leave it to each other.
    busy: HashSet<ConsumerKeyId>,
    /// Transactions under way.
    count: usize,
}

struct Waiting {
    draft: Arc<Draft>,
    reply: oneshot::Sender<Outcome>,
}

impl Together {
    /// No requests yet.
    pub(super) fn new(store: Store, rule: NameRule) -> Self {
        Self { store, rule, queue: Arc::default() }
    }

    /// Makes a token together with those that wait.
    pub(super) async fn write(&self, draft: Arc<Draft>) -> Outcome {
        let (reply, mut outcome) = oneshot::channel();
        if let Some(requests) = lock(&self.queue).join(Waiting { draft: draft.clone(), reply }) {
            // A task of its own: the request that began it may go away, the others go on.
            tokio::spawn(work_off(self.queue.clone(), requests, self.store.clone(), self.rule));
        }
        let place = Duration::from_millis(PLACE_MS_MAX);
        if let Ok(outcome) = tokio::time::timeout(place, &mut outcome).await {
            return outcome.unwrap_or(Outcome::Left);
        }
        if lock(&self.queue).leave(&draft) { Outcome::Left } else { outcome.await.unwrap_or(Outcome::Left) }
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().expect("nothing panics while it holds the queue")
}

impl Queue {
    /// Joins those that wait; the requests of a transaction that is to begin now.
    fn join(&mut self, request: Waiting) -> Option<Vec<Waiting>> {
        self.waiting.push_back(request);
        let is_full = self.waiting.len() >= TOGETHER_MAX && self.count < TRANSACTIONS_MAX;
        if self.count > 0 && !is_full {
            return None;
        }
        let requests = self.take();
        // What waits is for clients that are busy.
        if requests.is_empty() {
            return None;
        }
        self.count += 1;
        Some(requests)
    }

    /// The oldest requests whose clients are free.
    fn take(&mut self) -> Vec<Waiting> {
        let mut taken = Vec::new();
        let mut later = VecDeque::new();
        for request in self.waiting.drain(..) {
            let is_given_up = request.reply.is_closed();
            if taken.len() < TOGETHER_MAX && !is_given_up && !self.busy.contains(&request.draft.client().id) {
                taken.push(request);
            } else if !is_given_up {
                later.push_back(request);
            }
        }
        self.waiting = later;
        self.busy.extend(taken.iter().map(|request| request.draft.client().id));
        taken
    }

    /// A transaction is over; the requests of the next one.
    fn go_on(&mut self, clients: &[ConsumerKeyId]) -> Vec<Waiting> {
        for client in clients {
            self.busy.remove(client);
        }
        let requests = self.take();
        self.count -= usize::from(requests.is_empty());
        requests
    }

    /// Takes back a request that has no place yet; false when it has one.
    fn leave(&mut self, draft: &Arc<Draft>) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|request| !Arc::ptr_eq(&request.draft, draft));
        self.waiting.len() < before
    }
}

/// Transaction after transaction, until nobody waits.
async fn work_off(queue: Arc<Mutex<Queue>>, mut requests: Vec<Waiting>, store: Store, rule: NameRule) {
    while !requests.is_empty() {
        let clients: Vec<_> = requests.iter().map(|request| request.draft.client().id).collect();
        let drafts: Arc<[_]> = requests.iter().map(|request| request.draft.clone()).collect();
        let written = store.write_once(move |conn| {
            let drafts = drafts.clone();
            Box::pin(async move { write(conn, &drafts, rule).await })
        });
        let written = written.await;
        if let Err(error) = &written {
            tracing::debug!(%error, requests = requests.len(), "tokens could not be written together");
        }
        let next = if matches!(written, Err(StoreError::Unavailable(_) | StoreError::Timeout)) {
            // Who waits behind them has waited as long as one may.
            let mut queue = lock(&queue);
            requests.extend(queue.waiting.drain(..));
            for request in requests {
                drop(request.reply.send(Outcome::Unavailable));
            }
            queue.go_on(&clients)
        } else {
            let outcomes = written.unwrap_or_default().into_iter().chain(std::iter::repeat_with(|| None));
            for (request, token) in requests.into_iter().zip(outcomes) {
                // A requester that went away does not want the answer; its token stands.
                drop(request.reply.send(token.map_or(Outcome::Left, |token| Outcome::Token(Box::new(token)))));
            }
            lock(&queue).go_on(&clients)
        };
        requests = next;
    }
}

/// One transaction. `None` for a request that is left to one of its own.
async fn write(conn: &mut Conn, drafts: &[Arc<Draft>], rule: NameRule) -> Result<Vec<Option<Token>>, StoreError> {
    let wanted: Vec<_> = drafts.iter().map(|draft| draft.client()).collect();
    let clients = clients::hold_free(conn, &wanted).await?;
    let is_held = |draft: &&Arc<Draft>| {
        let client = clients.iter().find(|client| client.id == draft.client().id);
        draft.check_client(client).is_ok()
    };
    let held: Vec<_> = drafts.iter().filter(is_held).collect();
    let keys: Vec<_> = held.iter().map(|draft| (draft.key(), draft.idp)).collect();
    let found = tokens::find_active_of(conn, &keys, rule).await?;

    let mut made = Vec::new();
    let mut rows = Vec::new();
    let mut retired: Vec<(Token, TokenState)> = Vec::new();
    for (draft, active) in held.iter().zip(found) {
        let active = match active {
            Active::None => None,
            Active::Token(token) => Some(*token),
            Active::OtherSpelling => continue,
        };
        match draft.next_step(active) {
            Step::HandOut(token) => made.push((draft, token)),
            Step::Insert { fresh, replaced } => {
                let behind = replaced.as_ref().map(|(token, _)| token.created);
                // What no column holds is told on the other way.
                let Ok(row) = NewRow::new(conn, &fresh, draft.idp, behind) else { continue };
                rows.push(row);
                retired.extend(replaced);
                made.push((draft, fresh));
            }
        }
    }
    retire(conn, &retired, drafts).await?;
    tokens::insert_rows(conn, &rows).await?;
    let token_of = |draft: &Arc<Draft>| {
        made.iter().find(|(made_for, _)| Arc::ptr_eq(made_for, draft)).map(|(_, token)| token.clone())
    };
    Ok(drafts.iter().map(token_of).collect())
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
