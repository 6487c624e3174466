//! What a gateway knows of the control plane: APIs with their endpoints, applications with their keys and subscriptions,
//! issuers, revocations. The same JSON travels over Claviger's deployment API (portal-gateway-3x.md 5.4, 6.12).

use claviger_proto::hash::TokenHash;
use claviger_proto::ids::{ApiId, ApiUuid, ApplicationId, ApplicationUuid, ConsumerKey, EventId};
use claviger_proto::jose::JwkSet;
use claviger_proto::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Everything at one moment. Events after `as_of` bring it up to date; applying one that is already in it does no harm.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last event whose effect is surely contained.
    pub as_of: EventId,
    /// Deployed APIs.
    pub apis: Vec<ApiDeployment>,
    /// Applications with at least one key or subscription.
    pub applications: Vec<ApplicationEntry>,
    /// Key managers whose tokens are accepted.
    pub issuers: Vec<Issuer>,
    /// Tokens revoked and not yet past their end.
    pub revoked_tokens: Vec<RevokedToken>,
    /// Clients whose self-contained tokens up to an instant are dead.
    pub revoked_clients: Vec<RevokedClient>,
    /// Users whose self-contained tokens up to an instant are dead. An older control plane says none.
    #[serde(default)]
    pub revoked_users: Vec<RevokedUser>,
}

/// An API as a gateway serves it: status, resources, security, endpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiDeployment {
    /// AM_API.API_ID.
    pub id: ApiId,
    /// Id in the REST paths.
    pub uuid: ApiUuid,
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Provider, with a real `@`.
    pub provider: String,
    /// Tenant of the API.
    pub tenant_domain: String,
    /// Context with the version: `/weather/1.0.0`, `/t/acme.com/weather/1.0.0`.
    pub context: String,
    /// Context without the version, also answered when set: this is the default version.
    pub default_context: Option<String>,
    /// Lifecycle state; others are not deployed.
    pub status: ApiStatus,
    /// `http` and/or `https`.
    pub transports: Vec<String>,
    /// Name of the header that carries the token (`Authorization`).
    pub authorization_header: String,
    /// Accepted schemes: `oauth2`, later `api_key`, `basic_auth`, `mutualssl`.
    pub security: Vec<String>,
    /// Names of the key managers whose tokens are accepted; `all` for every one.
    pub key_managers: Vec<String>,
    /// Resources in definition order.
    pub resources: Vec<Resource>,
    /// Where production keys go.
    pub production: Option<Endpoint>,
    /// Where sandbox keys go.
    pub sandbox: Option<Endpoint>,
    /// CORS values of this API; `None`: the gateway's own.
    pub cors: Option<Cors>,
}

/// Lifecycle states in which an API is on a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ApiStatus {
    /// Served.
    Published,
    /// Served without security and throttling.
    Prototyped,
    /// Served; no new subscriptions.
    Deprecated,
    /// Every call is answered 503 code 700700.
    Blocked,
}

/// One verb on one pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Upper-case HTTP method.
    pub verb: String,
    /// `/city/{id}`, `/*`, `/a/*`.
    pub pattern: String,
    /// False for auth type `None`.
    pub is_secured: bool,
    /// The token needs one of these, when there are any.
    pub scopes: Vec<String>,
    /// Advanced throttling policy.
    pub throttling_policy: String,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Base URL, `http` or `https`.
    pub url: String,
    /// Value of the `Authorization` header for the backend (Basic endpoint security), never shown in logs.
    pub authorization: Option<String>,
    /// Milliseconds until the first byte of the answer; `None`: the gateway's default (120 000).
    pub timeout_ms: Option<u64>,
}

/// CORS values (portal-gateway-3x.md 6.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cors {
    /// Allowed origins; `*` for any; entries may hold `*` wildcards.
    pub origins: Vec<String>,
    /// Methods that may be offered.
    pub methods: Vec<String>,
    /// Request headers that may be offered.
    pub headers: Vec<String>,
    /// `Access-Control-Allow-Credentials`.
    pub is_credentials_allowed: bool,
    /// `Access-Control-Expose-Headers`.
    pub expose_headers: Vec<String>,
}

/// An application with all that hangs on it. Refetched whole when any part changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationEntry {
    /// AM_APPLICATION.APPLICATION_ID.
    pub id: ApplicationId,
    /// AM_APPLICATION.UUID.
    pub uuid: ApplicationUuid,
    /// Name.
    pub name: String,
    /// Subscriber (owner).
    pub owner: String,
    /// Application policy.
    pub policy: String,
    /// Its clients.
    pub keys: Vec<ApplicationKey>,
    /// Its subscriptions.
    pub subscriptions: Vec<SubscriptionEntry>,
}

/// AM_APPLICATION_KEY_MAPPING.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplicationKey {
    /// Client id.
    pub consumer_key: ConsumerKey,
    /// Which endpoint the key reaches.
    pub key_type: KeyType,
    /// Name of the key manager.
    pub key_manager: String,
    /// Domain of the client's tenant, where that is another than the super tenant; `None` also where nobody said.
    #[serde(default)]
    pub tenant_domain: Option<String>,
}

/// Production or sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum KeyType {
    /// Production endpoint.
    Production,
    /// Sandbox endpoint.
    Sandbox,
}

/// AM_SUBSCRIPTION.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionEntry {
    /// The API.
    pub api_id: ApiId,
    /// SUB_STATUS.
    pub status: SubscriptionStatus,
    /// Subscription policy.
    pub policy: String,
}

/// AM_SUBSCRIPTION.SUB_STATUS (database.md 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SubscriptionStatus {
    /// Allowed.
    Unblocked,
    /// Allowed; a change of policy waits.
    TierUpdatePending,
    /// Every call is refused: 900907.
    Blocked,
    /// Production calls are refused: 900907.
    ProdOnlyBlocked,
    /// Waits for approval: 900909.
    OnHold,
    /// Approval was refused: 900909.
    Rejected,
}

/// A key manager whose JWTs the gateway checks itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer {
    /// Name of the key manager (`Resident Key Manager`).
    pub key_manager: String,
    /// Tenant whose APIs accept it.
    pub tenant_domain: String,
    /// Value of `iss`.
    pub issuer: String,
    /// Its keys that count for everybody's clients.
    pub jwks: JwkSet,
    /// Its keys that count for clients of `tenant_domain` alone. `None` from an older control plane, whose `jwks` holds them
    /// too: no signature is enough then.
    #[serde(default)]
    pub tenant_jwks: Option<JwkSet>,
    /// Claim that holds the client id (`azp`).
    pub consumer_key_claim: String,
    /// Claim that holds the scopes (`scope`).
    pub scopes_claim: String,
}

/// A token that must be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedToken {
    /// SHA-256 of the opaque token or of the `jti`.
    pub token: TokenHash,
    /// The entry can be forgotten after this instant.
    pub expires_at: Timestamp,
}

/// A client whose older self-contained tokens (JWTs) must be refused; its opaque ones are listed one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedClient {
    /// Client id.
    pub consumer_key: ConsumerKey,
    /// JWTs issued before this instant are dead.
    pub before: Timestamp,
}

/// A user whose older tokens must be refused: JWTs, and opaque tokens that he lent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedUser {
    /// `[DOMAIN/]user@tenant`.
    pub subject: String,
    /// Tokens issued before this instant are dead.
    pub before: Timestamp,
}

/// What the key manager says of a token (introspection, rest-3x.md 1.10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenVerdict {
    /// Unknown, expired or revoked.
    Inactive,
    /// Good until `expires_at`, if not revoked before.
    Active(ActiveToken),
}

/// An active token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveToken {
    /// SHA-256 of the stored identifier (opaque token or `jti`): under this name it is revoked.
    pub token: TokenHash,
    /// The client.
    pub consumer_key: ConsumerKey,
    /// Name of the key manager that issued it.
    pub key_manager: String,
    /// `[DOMAIN/]user@tenant`.
    pub username: String,
    /// Granted scopes.
    pub scopes: Vec<String>,
    /// Issue time.
    pub issued_at: Timestamp,
    /// End of life; [`Timestamp::NEVER`] for none.
    pub expires_at: Timestamp,
    /// Did a user lend it, so that it ends with what he was given? False of an application's own, and where an older node says it.
    #[serde(default)]
    pub is_users: bool,
}
