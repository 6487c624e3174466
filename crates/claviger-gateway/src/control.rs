//! The seam between the data plane and the control plane. Two implementations: in the same process (the program's
//! `gateway_feed`), and over the network ([`crate::remote`]).

use crate::model::{ApiDeployment, ApplicationEntry, Issuer, Snapshot, TokenVerdict};
use claviger_proto::event::NumberedEvent;
use claviger_proto::follow::EventsRequest;
use claviger_proto::ids::{ApiId, ApplicationId, EventId};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

/// Where a gateway gets its data and asks about opaque tokens.
pub trait ControlPlane: Send + Sync + 'static {
    /// Everything at one moment.
    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, ControlError>>;

    /// One API; `None` when it does not exist or is not to be deployed.
    fn api(&self, id: ApiId) -> BoxFuture<'_, Result<Option<ApiDeployment>, ControlError>>;

    /// One application; `None` when it does not exist.
    fn application(&self, id: ApplicationId) -> BoxFuture<'_, Result<Option<ApplicationEntry>, ControlError>>;

    /// The accepted issuers.
    fn issuers(&self) -> BoxFuture<'_, Result<Vec<Issuer>, ControlError>>;

    /// Events after a place in the log and in its gaps. Waits up to `wait_ms` when there is none; an empty page is normal.
    fn events(&self, request: EventsRequest, wait_ms: u64) -> BoxFuture<'_, Result<EventPage, ControlError>>;

    /// Is this opaque token active?
    fn check_token<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<TokenVerdict, ControlError>>;
}

/// Some events, in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPage {
    /// The events.
    pub events: Vec<NumberedEvent>,
    /// Highest number in the log when the page was read: `last - after` is the follower's lag in events.
    pub last: EventId,
}

/// Why the control plane gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Not reachable, too slow, or answering 5xx.
    #[error("the control plane is not available: {0}")]
    Unavailable(String),
    /// It refused our credentials.
    #[error("the control plane refused the gateway's credentials")]
    Refused,
    /// Its database is of a release whose APIs and applications it cannot tell of.
    #[error("the control plane serves no gateways: its database has the tables of an older release than API-M 3.2")]
    Unsupported,
    /// It answered something we do not understand.
    #[error("the control plane's answer is not understood: {0}")]
    Malformed(String),
    /// The events asked for are no longer kept: take a snapshot.
    #[error("the event log no longer reaches back that far")]
    SnapshotNeeded,
}
