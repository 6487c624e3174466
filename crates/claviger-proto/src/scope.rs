//! A checked set of scopes (RFC 6749 section 3.3), sorted, without repetitions.

use crate::encode::hex;
use std::collections::BTreeSet;
use std::fmt;

/// Widest scope that IDN_OAUTH2_ACCESS_TOKEN_SCOPE.TOKEN_SCOPE holds (database.md 1.6).
pub const SCOPE_LENGTH_MAX: usize = 60;
/// Most scopes one request may name.
pub const SCOPES_MAX: usize = 100;

/// Scopes in sorted order. An empty set is a request without scopes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scopes(BTreeSet<String>);

/// Why a scope text was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// A character outside RFC 6749's scope-token.
    #[error("a scope holds a character that RFC 6749 does not allow")]
    Character,
    /// Longer than the table's column.
    #[error("a scope is longer than {SCOPE_LENGTH_MAX} characters")]
    TooLong,
    /// Too many at once.
    #[error("more than {SCOPES_MAX} scopes")]
    TooMany,
}

impl Scopes {
    /// Parses a blank-separated list.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let mut set = BTreeSet::new();
        for scope in text.split(' ').filter(|scope| !scope.is_empty()) {
            if !scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
                return Err(ScopeError::Character);
            }
            if scope.len() > SCOPE_LENGTH_MAX {
                return Err(ScopeError::TooLong);
            }
            set.insert(scope.to_owned());
            if set.len() > SCOPES_MAX {
                return Err(ScopeError::TooMany);
            }
        }
        Ok(Self(set))
    }

    /// No scope at all?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Is this scope in the set?
    pub fn contains(&self, scope: &str) -> bool {
        self.0.contains(scope)
    }

    /// Is every scope of this set in the other?
    pub fn is_subset(&self, other: &Scopes) -> bool {
        self.0.is_subset(&other.0)
    }

    /// The scopes in sorted order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Keeps the scopes for which the test holds.
    pub fn retain(&mut self, mut test: impl FnMut(&str) -> bool) {
        self.0.retain(|scope| test(scope));
    }

    /// TOKEN_SCOPE_HASH: lower-case hexadecimal MD5 of the sorted scopes joined by one blank (database.md 3.2).
    /// MD5 is WSO2's choice of a column key; nothing relies on it being hard to invert.
    pub fn column_hash(&self) -> String {
        hex(&crate::hash::md5(self.to_string().as_bytes()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope)?;
        }
        Ok(())
    }
}

impl<T: Into<String>> FromIterator<T> for Scopes {
    /// From scopes that were checked before (rows of the token tables).
    fn from_iter<I: IntoIterator<Item = T>>(scopes: I) -> Self {
        Self(scopes.into_iter().map(Into::into).collect())
    }
}
