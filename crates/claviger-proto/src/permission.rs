//! The permission tree (contract users-ldap.md 3.3): for each role the deepest node on the path that says something
//! decides, deny beats allow on one node, and a user is allowed when any of his roles comes out allowed.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;

/// The roles of a user, as the wires name them. Who registered thousands of applications has one for each, so one is looked up
/// and not compared with all.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    names: Vec<String>,
    folded: HashSet<String>,
}

impl Roles {
    /// The roles of these names.
    pub fn new(names: Vec<String>) -> Self {
        let folded = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self { names, folded }
    }

    /// Is this one of them? Role names compare without case (rest-3x.md 1.6.7).
    pub fn has(&self, role: &str) -> bool {
        self.folded.contains(&role.to_ascii_lowercase())
    }
}

/// Their names, in the order in which they came.
impl Deref for Roles {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.names
    }
}

/// The statements of one user's roles: per role, (lower-case path, allowed).
#[derive(Clone, Debug, Default)]
pub struct Permissions(HashMap<String, Vec<(String, bool)>>);

impl Permissions {
    /// From (role, resource path, allowed) rows. Paths are compared lower-case.
    pub fn new(rows: impl IntoIterator<Item = (String, String, bool)>) -> Self {
        let mut roles: HashMap<String, Vec<(String, bool)>> = HashMap::new();
        for (role, path, is_allowed) in rows {
            let path = path.trim_end_matches('/').to_ascii_lowercase();
            roles.entry(role).or_default().push((path, is_allowed));
        }
        Self(roles)
    }

    /// May the holder of these roles do what the path names?
    pub fn may(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/').to_ascii_lowercase();
        self.0.values().any(|statements| is_role_allowed(statements, &path))
    }
}

fn is_role_allowed(statements: &[(String, bool)], path: &str) -> bool {
    let covering = statements.iter().filter(|(node, _)| covers(node, path));
    // Deepest node first; on the same node `false` (deny) sorts before `true`.
    covering.max_by_key(|(node, is_allowed)| (node.len(), !is_allowed)).is_some_and(|(_, is_allowed)| *is_allowed)
}

fn covers(node: &str, path: &str) -> bool {
    path.strip_prefix(node).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
