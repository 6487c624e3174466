//! What an old server left behind, with the plain values that its users and clients know, and what must be answered.

use crate::digest::PasswordForm;
use crate::options::Layout;
use crate::{Engine, Release};
use serde::Serialize;

/// Everything that was written and matters.
#[derive(Clone, Debug, Serialize)]
pub struct Manifest {
    /// The product.
    pub release: Release,
    /// The database server.
    pub engine: Engine,
    /// How many databases.
    pub layout: Layout,
    /// Form of tokens, codes and client secrets: `plain`, `hashed`, `encrypted`.
    pub form: &'static str,
    /// Form of passwords.
    pub password_form: PasswordForm,
    /// When the server was stopped, milliseconds since 1970, at the engine's precision.
    pub now_ms: i64,
    /// The super tenant first.
    pub tenants: Vec<Tenant>,
    /// Users of the primary stores and, without a password, of a secondary one.
    pub users: Vec<User>,
    /// OAuth clients.
    pub clients: Vec<Client>,
    /// Ids and secrets that look like clients' and open nothing: keys without an application.
    pub no_clients: Vec<(String, String)>,
    /// Token rows.
    pub tokens: Vec<Token>,
    /// Authorization codes.
    pub codes: Vec<Code>,
    /// API scopes.
    pub scopes: Vec<Scope>,
    /// What a client may call.
    pub subscriptions: Vec<Subscription>,
}

/// A tenant.
#[derive(Clone, Debug, Serialize)]
pub struct Tenant {
    /// -1234 or a number from 1 on.
    pub id: i64,
    /// `carbon.super` or a name.
    pub domain: String,
    /// ID of its IDP row LOCAL.
    pub idp_id: i64,
    /// The key in its key store, if it has one.
    pub key: Option<TenantKey>,
}

/// The key with which a tenant's tokens are signed.
#[derive(Clone, Debug, Serialize)]
pub struct TenantKey {
    /// X.509 DER.
    pub certificate: &'static [u8],
    /// SubjectPublicKeyInfo DER.
    pub public: &'static [u8],
}

/// A user.
#[derive(Clone, Debug, Serialize)]
pub struct User {
    /// Without domain and tenant.
    pub name: String,
    /// `PRIMARY` or a secondary store's domain.
    pub store: String,
    /// Its tenant.
    pub tenant_id: i64,
    /// `None` for a user of a secondary store, whose passwords lie elsewhere.
    pub password: Option<String>,
    /// The password is right and still no login: a one-time password that is a day old (database.md 5.1).
    pub is_login_over: bool,
    /// The password is right and still no login, nor a refresh: the account is locked or disabled (users-ldap.md 3.8).
    pub is_barred: bool,
    /// UM_USER_ID where the column exists.
    pub uuid: Option<String>,
    /// Names as the product shows them: `admin`, `Internal/subscriber`, `Application/x`; without `Internal/everyone`.
    pub roles: Vec<String>,
    /// Permissions that the roles give.
    pub may: Vec<String>,
    /// Permissions that they do not give.
    pub may_not: Vec<String>,
    /// UM_USER_ATTRIBUTE of the profile `default`.
    pub attributes: Vec<(String, String)>,
}

/// An OAuth client.
#[derive(Clone, Debug, Serialize)]
pub struct Client {
    /// What the tests call it.
    pub name: &'static str,
    /// Client id.
    pub key: String,
    /// Client secret.
    pub secret: String,
    /// APP_NAME of both tables.
    pub app_name: String,
    /// The owner, of the store PRIMARY.
    pub owner: String,
    /// The application's tenant.
    pub tenant_id: i64,
    /// Grants it may use.
    pub grants: Vec<String>,
    /// CALLBACK_URL; an empty one may be NULL.
    pub callback: String,
    /// PKCE_MANDATORY.
    pub is_pkce_mandatory: bool,
    /// Gets JWTs.
    pub is_jwt: bool,
    /// APP_STATE is ACTIVE.
    pub is_active: bool,
    /// Lifetimes in seconds of user, application, refresh and id tokens; zero is the server's (from 2.6 on).
    pub lifetimes_s: [i64; 4],
    /// Key type and application of the API Manager, if it belongs to one.
    pub application: Option<(String, String)>,
}

/// State of a token or code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum State {
    /// In use; it may be over.
    Active,
    /// Refreshed, or a code that was used.
    Inactive,
    /// Revoked.
    Revoked,
    /// Found over and replaced.
    Expired,
}

impl State {
    /// As the columns hold it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::Revoked => "REVOKED",
            Self::Expired => "EXPIRED",
        }
    }
}

/// A row of IDN_OAUTH2_ACCESS_TOKEN.
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "facts about a row and answers to be given, each by itself")]
pub struct Token {
    /// What the tests call it.
    pub name: &'static str,
    /// TOKEN_ID.
    pub id: String,
    /// Client id.
    pub client: String,
    /// The token; of a JWT its jti.
    pub access: String,
    /// The refresh token. Of `client_credentials` it is in the row and nobody was told.
    pub refresh: Option<String>,
    /// The row of a JWT.
    pub is_jwt: bool,
    /// AUTHZ_USER.
    pub user: String,
    /// USER_DOMAIN.
    pub store: String,
    /// TENANT_ID, the user's.
    pub tenant_id: i64,
    /// `APPLICATION` or `APPLICATION_USER`.
    pub user_type: &'static str,
    /// GRANT_TYPE.
    pub grant: &'static str,
    /// SUBJECT_IDENTIFIER.
    pub subject: String,
    /// Scopes.
    pub scopes: Vec<String>,
    /// TOKEN_STATE.
    pub state: State,
    /// When it was issued, milliseconds since 1970.
    pub issued_ms: i64,
    /// When the access token ends; `None` is never.
    pub expires_ms: Option<i64>,
    /// When the refresh token was first issued.
    pub refresh_issued_ms: i64,
    /// When the refresh token ends; `None` is never.
    pub refresh_expires_ms: Option<i64>,
    /// The row has hashes (from 2.6 on), unless an older release wrote it.
    pub has_hashes: bool,
    /// The row names its IDP (from 3.0 on), unless an older release wrote it.
    pub has_idp: bool,
    /// The access token is good.
    pub is_active: bool,
    /// The refresh token is good for its client, by the rules of this release (database.md 3.4).
    pub is_refreshable: bool,
    /// An old server of this release finds the row, whatever its state.
    pub is_found_by_old_server: bool,
}

/// An authorization code.
#[derive(Clone, Debug, Serialize)]
pub struct Code {
    /// What the tests call it.
    pub name: &'static str,
    /// The code.
    pub value: String,
    /// Client id.
    pub client: String,
    /// CALLBACK_URL.
    pub callback: String,
    /// Scopes.
    pub scopes: Vec<String>,
    /// AUTHZ_USER, of the store PRIMARY.
    pub user: String,
    /// TENANT_ID.
    pub tenant_id: i64,
    /// PKCE verifier, if the code has a challenge.
    pub verifier: Option<String>,
    /// STATE.
    pub state: State,
    /// When it ends, milliseconds since 1970.
    pub expires_ms: i64,
    /// TOKEN_ID of the token it was exchanged for.
    pub token_id: Option<String>,
    /// It can be exchanged.
    pub is_redeemable: bool,
}

/// A scope of an API.
#[derive(Clone, Debug, Serialize)]
pub struct Scope {
    /// The scope.
    pub name: String,
    /// What people see.
    pub display_name: String,
    /// Its tenant.
    pub tenant_id: i64,
    /// Roles that may have it; none is everybody.
    pub roles: Vec<String>,
    /// Resources that ask for it: context (with version), version, pattern, verb.
    pub resources: Vec<[String; 4]>,
}

/// What the subscription check says (database.md 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// Goes through.
    Allowed,
    /// The subscription is blocked.
    Blocked,
    /// On hold or rejected.
    Inactive,
    /// None, or its tier has no policy where the release looks for it.
    Forbidden,
}

/// A call that a client may try.
#[derive(Clone, Debug, Serialize)]
pub struct Subscription {
    /// Client id.
    pub client: String,
    /// `PRODUCTION` or `SANDBOX`.
    pub key_type: String,
    /// Application name.
    pub application: String,
    /// Its owner as the API Manager writes it: `user`, or `user@tenant`.
    pub subscriber: String,
    /// The tenant of the subscriber.
    pub subscriber_tenant_id: i64,
    /// The tenant of the API.
    pub api_tenant_id: i64,
    /// Context, with version.
    pub context: String,
    /// Version.
    pub version: String,
    /// TIER_ID.
    pub tier: String,
    /// The answer.
    pub verdict: Verdict,
}

impl Manifest {
    /// The client of that name.
    pub fn client(&self, name: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.name == name)
    }

    /// The token of that name.
    pub fn token(&self, name: &str) -> Option<&Token> {
        self.tokens.iter().find(|token| token.name == name)
    }

    /// The code of that name.
    pub fn code(&self, name: &str) -> Option<&Code> {
        self.codes.iter().find(|code| code.name == name)
    }

    /// The user of that name in a tenant's primary store.
    pub fn user(&self, name: &str, tenant_id: i64) -> Option<&User> {
        let is_it = |user: &&User| user.name == name && user.tenant_id == tenant_id && user.store == "PRIMARY";
        self.users.iter().find(is_it)
    }

    /// The tenant of that number.
    pub fn tenant(&self, id: i64) -> Option<&Tenant> {
        self.tenants.iter().find(|tenant| tenant.id == id)
    }
}
