//! The grants. One grant = one file that states its name, its parameters and its rules as data, and decides whom a token is
//! for. The pipeline in `oauth::token` authenticates the client, checks that the application lists the grant, strips
//! parameters that the grant did not declare, and applies the scope policy: no grant can forget one of them.
//!
//! `docs/adding-a-grant.md` shows the steps for a new one.

mod authorization_code;
mod client_credentials;
mod password;
mod refresh_token;

use crate::app::App;
use crate::oauth::KnownClient;
use crate::oauth::reply::TokenError;
use claviger_proto::form::Form;
use claviger_proto::ids::{SUPER_TENANT_DOMAIN, TenantId};
use claviger_proto::scope::Scopes;
use claviger_proto::time::Timestamp;
use claviger_proto::user::{PRIMARY, Username};
use claviger_store::tokens::{Token, UserType};
use futures_util::future::BoxFuture;

/// Every grant of the token endpoint.
pub const GRANTS: &[&dyn Grant] = &[
    &authorization_code::AuthorizationCode,
    &client_credentials::ClientCredentials,
    &password::Password,
    &refresh_token::RefreshToken,
];

/// What a grant leaves to the pipeline, as data.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Does the reply carry a refresh token, when the application lists that grant?
    pub may_refresh: bool,
    /// Does the reply carry an ID token, when `openid` is granted?
    pub may_identify: bool,
    /// Must the client show its secret, also when it is a public one?
    pub needs_secret: bool,
    /// Whose lifetime the access token gets, and what the row says.
    pub user_type: UserType,
}

/// A grant type (RFC 6749 section 1.3).
pub trait Grant: Sync {
    /// Value of `grant_type`.
    fn name(&self) -> &'static str;

    /// Parameters besides `grant_type` and the client's credentials; every other one is stripped.
    fn parameters(&self) -> &'static [&'static str];

    /// Those of them that must be there.
    fn required(&self) -> &'static [&'static str];

    /// What the pipeline does for it.
    fn rules(&self) -> Rules;

    /// Decides whom the token is for and what it may be used for.
    fn authorize<'a>(&'a self, cx: TokenContext<'a>) -> BoxFuture<'a, Result<Authorized, TokenError>>;
}

/// What a grant sees.
#[derive(Clone, Copy)]
pub struct TokenContext<'a> {
    /// The program's state.
    pub app: &'a App,
    /// The authenticated client.
    pub client: &'a KnownClient,
    /// The form, reduced to the grant's parameters.
    pub form: &'a Form,
    /// Requested scopes.
    pub scopes: &'a Scopes,
}

/// A grant's decision.
#[derive(Debug)]
pub struct Authorized {
    /// The user the token speaks for.
    pub username: Username,
    /// The user's tenant.
    pub tenant: TenantId,
    /// `sub`.
    pub subject: String,
    /// Scopes before the scope policy.
    pub scopes: Scopes,
    /// The pair that a refresh replaces.
    pub replaces: Option<Token>,
    /// CODE_ID of the code that the token uses up.
    pub code: Option<String>,
    /// How the user logged in, as far as anybody knows.
    pub login: Option<Login>,
}

/// A login by password, as an ID token tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// `auth_time`, where a refresh will know it too.
    pub at: Option<Timestamp>,
    /// The authorization request's `nonce`.
    pub nonce: Option<String>,
}

/// `sub` of a user: the plain name in the super tenant, with the tenant otherwise (rest-3x.md 1.6.3).
pub(crate) fn subject_of(username: &Username) -> String {
    if username.tenant == SUPER_TENANT_DOMAIN { username.with_domain() } else { username.with_tenant() }
}

/// `sub` of a user by what a row says of it, which stays as it is: an old server may have been told another. Where it wrote the
/// name alone of a secondary store's user, that is the primary store's user of this name.
pub(crate) fn subject_of_row(subject: &str, username: &Username) -> String {
    if subject.is_empty() || username.domain != PRIMARY { subject_of(username) } else { subject.to_owned() }
}

/// The grant of this name.
pub fn find(name: &str) -> Option<&'static dyn Grant> {
    GRANTS.iter().find(|grant| grant.name() == name).copied()
}
