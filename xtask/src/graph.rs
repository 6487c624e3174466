//! The dependency graph that is really built: `cargo tree` with our features for this platform.
//!
//! `cargo metadata` is not enough: its graph keeps optional dependencies that no feature activates (`ring` under
//! `rustls-webpki` is one), because it does not ask the feature resolver. `cargo tree` does.

use crate::process;
use anyhow::{Context as _, Result, ensure};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A package as `cargo tree` names it: `name`, `version`.
pub(crate) type Package = (String, String);

/// Which kinds of dependency to follow, in the words of `cargo tree --edges`.
pub(crate) const EDGES_ALL: &str = "normal,build,dev";
/// Without what only tests need.
pub(crate) const EDGES_SHIPPED: &str = "normal,build";

/// Packages and the edges between them.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    edges: BTreeMap<Package, BTreeSet<Package>>,
}

impl Graph {
    /// The graph below every member of the workspace.
    pub(crate) fn of_workspace(edges: &str) -> Result<Self> {
        Self::ask(&["--workspace"], edges)
    }

    /// The graph below one member, with the features it asks for by itself.
    pub(crate) fn of_member(name: &str, edges: &str) -> Result<Self> {
        Self::ask(&["--package", name], edges)
    }

    fn ask(selection: &[&str], edges: &str) -> Result<Self> {
        let mut tree = process::cargo();
        tree.args(["tree", "--locked", "--prefix", "depth", "--format", " {p}", "--charset", "ascii"]);
        tree.args(["--edges", edges]).args(selection);
        Self::parse(&process::capture(&mut tree)?)
    }

    /// Reads lines of `DEPTH NAME vVERSION ...`. A `(*)` marks a package whose dependencies stand elsewhere.
    fn parse(text: &str) -> Result<Self> {
        let mut graph = Self::default();
        let mut path: Vec<Package> = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let mut words = line.split_whitespace();
            let depth: usize = words.next().and_then(|word| word.parse().ok()).with_context(|| line.to_owned())?;
            let name = words.next().with_context(|| line.to_owned())?;
            let version = words.next().and_then(|word| word.strip_prefix('v')).with_context(|| line.to_owned())?;
            ensure!(depth <= path.len(), "a line of cargo tree skips a level: {line}");
            path.truncate(depth);
            let package = (name.to_owned(), version.to_owned());
            graph.edges.entry(package.clone()).or_default();
            if let Some(parent) = path.last() {
                graph.edges.entry(parent.clone()).or_default().insert(package.clone());
            }
            path.push(package);
        }
        ensure!(!graph.edges.is_empty(), "cargo tree printed nothing");
        Ok(graph)
    }

    #[cfg(test)]
    pub(crate) fn for_test(tree: &str) -> Self {
        Self::parse(tree).unwrap()
    }

    pub(crate) fn packages(&self) -> impl Iterator<Item = &Package> {
        self.edges.keys()
    }

    /// A shortest chain of names from any package for which `is_start` holds to one for which `is_end` holds.
    pub(crate) fn path(&self, is_start: impl Fn(&str) -> bool, is_end: impl Fn(&str) -> bool) -> Option<Vec<String>> {
        let mut came_from: BTreeMap<&Package, Option<&Package>> = BTreeMap::new();
        let mut queue: VecDeque<&Package> = VecDeque::new();
        for start in self.packages().filter(|package| is_start(&package.0)) {
            came_from.insert(start, None);
            queue.push_back(start);
        }
        while let Some(package) = queue.pop_front() {
            for next in self.edges.get(package).into_iter().flatten() {
                if came_from.contains_key(next) {
                    continue;
                }
                came_from.insert(next, Some(package));
                if is_end(&next.0) {
                    let mut chain = vec![next.0.clone()];
                    let mut at = came_from.get(next).copied().flatten();
                    while let Some(before) = at {
                        chain.insert(0, before.0.clone());
                        at = came_from.get(before).copied().flatten();
                    }
                    return Some(chain);
                }
                queue.push_back(next);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
0 app v0.1.0 (/somewhere/app)
1 store v0.1.0 (/somewhere/store)
2 sqlx v0.9.0
3 log v0.4.0
1 serde v1.0.0
2 derive v1.0.0 (proc-macro)
1 log v0.4.0

0 edge v0.1.0 (/somewhere/edge)
1 serde v1.0.0 (*)
1 log v0.3.0
";

    #[test]
    fn edges_follow_the_depth() {
        let graph = Graph::parse(TREE).unwrap();
        assert_eq!(graph.packages().count(), 8);
        let path = |from: &str, to: &str| graph.path(|name| name == from, |name| name == to);
        assert_eq!(path("app", "log").unwrap(), ["app", "log"]);
        assert_eq!(path("app", "sqlx").unwrap(), ["app", "store", "sqlx"]);
        assert_eq!(path("edge", "derive").unwrap(), ["edge", "serde", "derive"]);
        assert_eq!(path("edge", "sqlx"), None);
        assert_eq!(path("app", "edge"), None);
    }

    #[test]
    fn two_versions_are_two_packages() {
        let graph = Graph::parse(TREE).unwrap();
        assert_eq!(graph.packages().filter(|package| package.0 == "log").count(), 2);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "x", "0 name", "0 name 1.0", "1 name v1.0"] {
            assert!(Graph::parse(text).is_err(), "{text:?}");
        }
    }
}
