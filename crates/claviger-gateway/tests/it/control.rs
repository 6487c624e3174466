//! A control plane in memory: the tests' own second implementation of the seam.

use claviger_gateway::control::{ControlError, ControlPlane, EventPage};
use claviger_gateway::model::*;
use claviger_proto::event::{Event, NumberedEvent};
use claviger_proto::follow::EventsRequest;
use claviger_proto::ids::{ApiId, ApplicationId, EventId};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// What the control plane has, and how it misbehaves.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) apis: BTreeMap<ApiId, ApiDeployment>,
    pub(crate) applications: BTreeMap<ApplicationId, ApplicationEntry>,
    pub(crate) issuers: Vec<Issuer>,
    pub(crate) revoked_tokens: Vec<RevokedToken>,
    pub(crate) revoked_clients: Vec<RevokedClient>,
    pub(crate) revoked_users: Vec<RevokedUser>,
    pub(crate) tokens: HashMap<String, ActiveToken>,
    pub(crate) events: Vec<NumberedEvent>,
    pub(crate) as_of: i64,
    /// Every call fails.
    pub(crate) is_down: bool,
    /// The next fetches of an API fail.
    pub(crate) api_failures: u32,
    /// Answers about an API, already made, wait for a permit of this.
    pub(crate) api_hold: Option<Arc<Semaphore>>,
    pub(crate) api_fetches: u32,
    /// The next pages are refused as too old.
    pub(crate) snapshots_demanded: u32,
    /// Answers about tokens wait for a permit of this.
    pub(crate) hold: Option<Arc<Semaphore>>,
    pub(crate) token_checks: u32,
    pub(crate) issuer_fetches: u32,
    pub(crate) gaps_asked: Vec<EventId>,
}

#[derive(Default)]
pub(crate) struct FakeControl {
    state: Mutex<State>,
    /// Wakes a page that waits.
    version: watch::Sender<u64>,
    /// Tells the tests that the gateway called.
    calls: watch::Sender<u64>,
}

impl FakeControl {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Commits an event under a number and wakes those who wait.
    pub(crate) fn emit(&self, id: i64, event: Event) {
        self.state().events.push(NumberedEvent { id: EventId(id), event });
        self.wake();
    }

    pub(crate) fn wake(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// Waits until a condition on the state holds; checked at every call that the gateway makes.
    pub(crate) async fn until(&self, condition: impl Fn(&State) -> bool) {
        let mut calls = self.calls.subscribe();
        // Looks at the state with nothing else in hand: a call counts itself with the state in hand.
        let waiting = async {
            while !condition(&self.state()) {
                calls.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("the condition came about");
    }

    fn up(&self) -> Result<MutexGuard<'_, State>, ControlError> {
        let state = self.state();
        if state.is_down { Err(ControlError::Unavailable("down for the test".to_owned())) } else { Ok(state) }
    }
}

impl ControlPlane for FakeControl {
    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, ControlError>> {
        async {
            let state = self.up()?;
            Ok(Snapshot {
                as_of: EventId(state.as_of),
                apis: state.apis.values().cloned().collect(),
                applications: state.applications.values().cloned().collect(),
                issuers: state.issuers.clone(),
                revoked_tokens: state.revoked_tokens.clone(),
                revoked_clients: state.revoked_clients.clone(),
                revoked_users: state.revoked_users.clone(),
            })
        }
        .boxed()
    }

    fn api(&self, id: ApiId) -> BoxFuture<'_, Result<Option<ApiDeployment>, ControlError>> {
        async move {
            let (api, hold) = {
                let mut state = self.up()?;
                state.api_fetches += 1;
                if state.api_failures > 0 {
                    state.api_failures -= 1;
                    return Err(ControlError::Unavailable("this fetch fails for the test".to_owned()));
                }
                (state.apis.get(&id).cloned(), state.api_hold.clone())
            };
            self.calls.send_modify(|calls| *calls += 1);
            if let Some(hold) = hold {
                hold.acquire().await.unwrap().forget();
            }
            Ok(api)
        }
        .boxed()
    }

    fn application(&self, id: ApplicationId) -> BoxFuture<'_, Result<Option<ApplicationEntry>, ControlError>> {
        async move { Ok(self.up()?.applications.get(&id).cloned()) }.boxed()
    }

    fn issuers(&self) -> BoxFuture<'_, Result<Vec<Issuer>, ControlError>> {
        async {
            let mut state = self.up()?;
            state.issuer_fetches += 1;
            self.calls.send_modify(|calls| *calls += 1);
            Ok(state.issuers.clone())
        }
        .boxed()
    }

    fn events(&self, request: EventsRequest, wait_ms: u64) -> BoxFuture<'_, Result<EventPage, ControlError>> {
        async move {
            let mut version = self.version.subscribe();
            let deadline = tokio::time::Instant::now() + Duration::from_millis(wait_ms);
            loop {
                {
                    let mut state = self.up()?;
                    if state.snapshots_demanded > 0 {
                        state.snapshots_demanded -= 1;
                        return Err(ControlError::SnapshotNeeded);
                    }
                    if state.gaps_asked != request.gaps {
                        state.gaps_asked.clone_from(&request.gaps);
                        self.calls.send_modify(|calls| *calls += 1);
                    }
                    let is_new = |event: &&NumberedEvent| event.id > request.after || request.gaps.contains(&event.id);
                    let mut events: Vec<_> = state.events.iter().filter(is_new).cloned().collect();
                    events.sort_by_key(|event| event.id);
                    let last = state.events.iter().map(|event| event.id).max().unwrap_or(EventId(state.as_of));
                    if !events.is_empty() || tokio::time::Instant::now() >= deadline {
                        return Ok(EventPage { events, last });
                    }
                }
                let _ = tokio::time::timeout_at(deadline, version.changed()).await;
            }
        }
        .boxed()
    }

    fn check_token<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<TokenVerdict, ControlError>> {
        async move {
            let (verdict, hold) = {
                let mut state = self.up()?;
                state.token_checks += 1;
                let verdict = state.tokens.get(token).cloned().map_or(TokenVerdict::Inactive, TokenVerdict::Active);
                (verdict, state.hold.clone())
            };
            self.calls.send_modify(|calls| *calls += 1);
            if let Some(hold) = hold {
                hold.acquire().await.unwrap().forget();
            }
            Ok(verdict)
        }
        .boxed()
    }
}
