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
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;

/// Transactions at a time. A client's requests share one, so two of them never wait for each other's client.
const LANES: usize = 4;

/// What became of a request.
pub(super) enum Outcome {
    /// The token to hand out.
    Token(Box<Token>),
    /// Nothing was done: it needs a transaction of its own.
    Left,
    /// The database is not there.
    Unavailable,
}

/// Requests on their way into a transaction.
pub(super) struct Together {
    store: Store,
    rule: NameRule,
    lanes: Vec<Arc<Lane>>,
}

/// Waiting requests of some clients. Each belongs to a request that is in flight, and of those there is a bounded number.
#[derive(Default)]
struct Lane(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// A task works on it.
    is_worked_on: bool,
}

struct Waiting {
    draft: Arc<Draft>,
    reply: oneshot::Sender<Outcome>,
}

impl Together {
    /// No requests yet.
    pub(super) fn new(store: Store, rule: NameRule) -> Self {
        Self { store, rule, lanes: (0..LANES).map(|_| Arc::default()).collect() }
    }

    /// Makes a token together with those that wait.
    pub(super) async fn write(&self, draft: Arc<Draft>) -> Outcome {
        let lane = &self.lanes[lane_of(draft.client().id)];
        let (reply, outcome) = oneshot::channel();
        if lane.wait(Waiting { draft, reply }) {
            // A task of its own: the request that began it may go away, the others go on.
            tokio::spawn(work_off(lane.clone(), self.store.clone(), self.rule));
        }
        outcome.await.unwrap_or(Outcome::Left)
    }
}

fn lane_of(client: ConsumerKeyId) -> usize {
    usize::try_from(client.0.unsigned_abs()).unwrap_or(0) % LANES
}

impl Lane {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().expect("nothing panics while it holds a lane")
    }

    /// Joins those that wait; true when nobody works on them.
    fn wait(&self, request: Waiting) -> bool {
        let mut queue = self.queue();
        queue.waiting.push_back(request);
        !std::mem::replace(&mut queue.is_worked_on, true)
    }

    /// The next requests; none, and the lane is nobody's.
    fn next(&self) -> Vec<Waiting> {
        let mut queue = self.queue();
        let count = queue.waiting.len().min(TOGETHER_MAX);
        queue.is_worked_on = count > 0;
        queue.waiting.drain(..count).collect()
    }
}

/// Works until nobody waits.
async fn work_off(lane: Arc<Lane>, store: Store, rule: NameRule) {
    loop {
        let mut requests = lane.next();
        if requests.is_empty() {
            return;
        }
        requests.retain(|request| !request.reply.is_closed());
        let drafts: Arc<[_]> = requests.iter().map(|request| request.draft.clone()).collect();
        let written = store.write_once(move |conn| {
            let drafts = drafts.clone();
            Box::pin(async move { write(conn, &drafts, rule).await })
        });
        let written = written.await;
        if let Err(error) = &written {
            tracing::debug!(%error, requests = requests.len(), "tokens could not be written together");
        }
        if matches!(written, Err(StoreError::Unavailable(_) | StoreError::Timeout)) {
            // Who waited behind them has waited as long as one may.
            requests.extend(lane.queue().waiting.drain(..));
            for request in requests {
                drop(request.reply.send(Outcome::Unavailable));
            }
            continue;
        }
        let outcomes = written.unwrap_or_default().into_iter().chain(std::iter::repeat_with(|| None));
        for (request, token) in requests.into_iter().zip(outcomes) {
            // A requester that went away does not want the answer; its token stands.
            drop(request.reply.send(token.map_or(Outcome::Left, |token| Outcome::Token(Box::new(token)))));
        }
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
