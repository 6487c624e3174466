//! User names on the wires: `[DOMAIN/]user[@tenant]` (contract users-ldap.md 3.1).

use crate::ids::SUPER_TENANT_DOMAIN;
use std::fmt;

/// The primary user store's domain name.
pub const PRIMARY: &str = "PRIMARY";

/// A user name with its user-store domain and tenant. Two users are the same when all three parts are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Username {
    /// User-store domain, upper case; `PRIMARY` when none was given.
    pub domain: String,
    /// Name without domain and tenant.
    pub name: String,
    /// Tenant domain, lower case; `carbon.super` when none was given.
    pub tenant: String,
}

/// A name as somebody typed it to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginName {
    /// Whom it names, in the primary store when it names none.
    pub username: Username,
    /// Does it name a store? One that does not may be any store's (users-ldap.md 3.4).
    pub has_domain: bool,
}

impl LoginName {
    /// Parses a name as [`Username::parse`] does.
    pub fn parse(text: &str) -> Result<Self, UsernameError> {
        let username = Username::parse(text)?;
        let rest = text.rsplit_once('@').map_or(text, |(rest, _)| rest);
        Ok(Self { username, has_domain: rest.contains('/') })
    }
}

/// When two spellings name one user (`CaseInsensitiveUsername`, contract database.md 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// Only when they are equal.
    Exact,
    /// Also when they differ in upper and lower case alone.
    AnyCase,
}

impl NameRule {
    /// May both spellings name one user?
    pub fn is_same(self, one: &str, other: &str) -> bool {
        one == other || (self == Self::AnyCase && one.to_lowercase() == other.to_lowercase())
    }
}

/// A name that no user can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a user name")]
pub struct UsernameError;

impl Username {
    /// Parses a name. The tenant is what follows the *last* `@`.
    pub fn parse(text: &str) -> Result<Self, UsernameError> {
        let (rest, tenant) = match text.rsplit_once('@') {
            Some((rest, tenant)) => (rest, tenant.to_ascii_lowercase()),
            None => (text, SUPER_TENANT_DOMAIN.to_owned()),
        };
        let (domain, name) = match rest.split_once('/') {
            Some((domain, name)) => (domain.to_ascii_uppercase(), name),
            None => (PRIMARY.to_owned(), rest),
        };
        let is_clean = |part: &str| !part.is_empty() && !part.chars().any(char::is_control) && part.trim() == part;
        // Written without its domain, as the primary store's are, it would be another store's user.
        let is_plain = domain != PRIMARY || !name.contains('/');
        let is_valid = is_plain && is_clean(name) && is_clean(&domain) && is_clean(&tenant) && text.len() <= 255;
        if is_valid { Ok(Self { domain, name: name.to_owned(), tenant }) } else { Err(UsernameError) }
    }

    /// A user of the primary store.
    pub fn primary(name: &str, tenant: &str) -> Self {
        Self { domain: PRIMARY.to_owned(), name: name.to_owned(), tenant: tenant.to_owned() }
    }

    /// `[DOMAIN/]user@tenant`, the tenant always there: the form of introspection, revocation headers, JWT subjects and the audit
    /// log.
    pub fn with_tenant(&self) -> String {
        format!("{}@{}", self.with_domain(), self.tenant)
    }

    /// `[DOMAIN/]user`, without the tenant.
    pub fn with_domain(&self) -> String {
        if self.domain == PRIMARY { self.name.clone() } else { format!("{}/{}", self.domain, self.name) }
    }
}

/// `[DOMAIN/]user[@tenant]` with `@carbon.super` left out: the tenant-aware form of AM_SUBSCRIBER and of owners.
impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_domain())?;
        if self.tenant != SUPER_TENANT_DOMAIN {
            write!(f, "@{}", self.tenant)?;
        }
        Ok(())
    }
}
