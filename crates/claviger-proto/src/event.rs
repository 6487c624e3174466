//! The events that nodes and gateways follow (design decision D2).
//!
//! An event says *what* changed, by identity; a follower fetches the object's present state. That makes every event
//! idempotent and independent of order, so a number that commits late does no harm. Revocations carry all they need and
//! only ever add: they too may arrive twice or in any order.

use crate::hash::TokenHash;
use crate::ids::{ApiId, ApplicationId, ConsumerKey, EventId, TenantId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One change. Stored as JSON in CLV_EVENT.PAYLOAD and sent in the same form to gateways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// An API was created, changed, deployed, undeployed or deleted.
    ApiChanged {
        /// The API.
        api_id: ApiId,
    },
    /// An application, one of its key mappings or one of its subscriptions changed.
    ApplicationChanged {
        /// The application.
        application_id: ApplicationId,
    },
    /// An OAuth client was registered, changed, or deleted.
    ClientChanged {
        /// The client.
        consumer_key: ConsumerKey,
    },
    /// Every self-contained token of a client issued before an instant is dead (secret regenerated, client deleted). Opaque
    /// ones have a [`Event::TokenRevoked`] each.
    ClientRevoked {
        /// The client.
        consumer_key: ConsumerKey,
        /// JWTs issued before this instant are refused.
        before: Timestamp,
    },
    /// A throttling policy of a tenant changed.
    PoliciesChanged {
        /// The tenant.
        tenant_id: TenantId,
    },
    /// A signing key was added or removed.
    KeysChanged,
    /// A token's row was retired by a newer one for the same client, user and scopes. Nodes forget it; gateways do not refuse it
    /// (rest-3x.md 1.6.4: no revocation is announced for it).
    TokenRetired {
        /// SHA-256 of the stored token identifier.
        token: TokenHash,
    },
    /// A token was revoked, or retired by a refresh.
    TokenRevoked {
        /// SHA-256 of the stored token identifier: the opaque token itself, or the `jti` of a JWT.
        token: TokenHash,
        /// When the token would have ended anyway; the entry can be forgotten afterwards.
        expires_at: Timestamp,
    },
    /// A user's password, roles or state changed, or the user was deleted.
    UserChanged {
        /// Name as `[DOMAIN/]user@tenant`.
        username: String,
    },
    /// Every token that a user was given before an instant is dead, and every JWT that names him: an administrator changed him, wrong
    /// passwords locked his account, or a key manager says so that keeps no rows of its tokens. What he was authorized for before it
    /// gives nobody a new token.
    UserRevoked {
        /// Whose: `[DOMAIN/]user@tenant`.
        subject: String,
        /// Tokens issued before this instant are refused.
        before: Timestamp,
    },
    /// An event of a newer version, which this one passes over. Its number counts as seen.
    #[serde(other)]
    Unknown,
}

/// An event with its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberedEvent {
    /// CLV_EVENT.ID.
    pub id: EventId,
    /// What changed.
    pub event: Event,
}
