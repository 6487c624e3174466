//! What we may depend on: licences, banned crates, and which of our own crates may reach what.
//! ARCHITECTURE.md says why; the graph comes from [`crate::graph`], licence texts are read by [`crate::spdx`].

use crate::{
    graph::{EDGES_ALL, EDGES_SHIPPED, Graph, Package},
    process,
    spdx::Expression,
};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;

/// Licences that put no condition on the program as a whole.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Licences allowed for named crates only, after someone has read what they ask of us: `(crate, licence)`.
const ALLOWED_FOR: &[(&str, &str)] = &[];

/// One TLS and cryptography provider (aws-lc-rs): a second one would be a second set of defects to follow.
const BANNED: &[&str] = &["native-tls", "openssl", "openssl-sys", "ring"];

/// What the compiler must keep out of a crate: `(our crate, edges, forbidden crates)`; `*` ends a prefix. What only tests
/// may use (`claviger-golden`) no shipped crate reaches.
const RULES: &[(&str, &str, &[&str])] = &[
    ("claviger-proto", EDGES_SHIPPED, &["tokio", "hyper", "sqlx", "sqlx-*", "axum", "claviger-*"]),
    ("claviger-gateway", EDGES_SHIPPED, &["sqlx", "sqlx-*", "claviger-golden", "claviger-store", "claviger"]),
    ("claviger-store", EDGES_SHIPPED, &["hyper", "axum", "claviger-gateway", "claviger-golden", "claviger"]),
    ("claviger", EDGES_SHIPPED, &["claviger-golden"]),
    ("claviger-contract", EDGES_ALL, &["claviger", "claviger-*"]),
    ("claviger-golden", EDGES_ALL, &["claviger", "claviger-*"]),
];

/// Checks everything; the error lists every finding.
pub(crate) fn main() -> Result<()> {
    let licences = declared_licences()?;
    let graph = Graph::of_workspace(EDGES_ALL)?;
    let mut findings = licence_findings(graph.packages(), &licences);
    findings.extend(banned_findings(&graph));
    for (member, edges, forbidden) in RULES {
        findings.extend(rule_finding(&Graph::of_member(member, edges)?, member, forbidden));
    }
    if !findings.is_empty() {
        bail!("{} findings:\n  {}", findings.len(), findings.join("\n  "));
    }
    eprintln!("xtask: {} packages in the graph, all allowed", graph.packages().count());
    Ok(())
}

/// The `license` field of every package that cargo knows of for this workspace.
fn declared_licences() -> Result<BTreeMap<Package, Option<String>>> {
    let text = process::capture(process::cargo().args(["metadata", "--locked", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).context("the output of cargo metadata")?;
    let packages = metadata.get("packages").and_then(Value::as_array).context("cargo metadata without packages")?;
    let field = |package: &Value, name: &str| package.get(name).and_then(Value::as_str).map(str::to_owned);
    packages
        .iter()
        .map(|package| {
            let name = field(package, "name").context("a package without a name")?;
            let version = field(package, "version").context("a package without a version")?;
            Ok(((name, version), field(package, "license")))
        })
        .collect()
}

fn licence_findings<'a>(
    packages: impl Iterator<Item = &'a Package>,
    licences: &BTreeMap<Package, Option<String>>,
) -> Vec<String> {
    let judge = |package: &Package| -> Option<String> {
        let (name, version) = package;
        let Some(Some(licence)) = licences.get(package) else {
            return Some(format!("{name} {version} declares no licence expression"));
        };
        let is_allowed = |licence: &str| ALLOWED.contains(&licence) || ALLOWED_FOR.contains(&(name.as_str(), licence));
        match Expression::parse(licence) {
            Ok(expression) if expression.is_met(&is_allowed) => None,
            Ok(_) => Some(format!("{name} {version}: the licence `{licence}` is not allowed")),
            Err(error) => Some(format!("{name} {version}: {error}")),
        }
    };
    packages.filter_map(judge).collect()
}

fn banned_findings(graph: &Graph) -> Vec<String> {
    let is_ours = |name: &str| name.starts_with("claviger") || name == "xtask";
    BANNED
        .iter()
        .filter_map(|banned| graph.path(is_ours, |name| name == *banned))
        .map(|chain| format!("banned: {}", chain.join(" -> ")))
        .collect()
}

fn rule_finding(graph: &Graph, member: &str, forbidden: &[&str]) -> Option<String> {
    let is_forbidden = |name: &str| {
        name != member
            && forbidden.iter().any(|rule| rule.strip_suffix('*').map_or(name == *rule, |head| name.starts_with(head)))
    };
    let chain = graph.path(|name| name == member, is_forbidden)?;
    Some(format!("{member} must not reach {}: {}", chain.last()?, chain.join(" -> ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &str) -> Graph {
        Graph::for_test(edges)
    }

    #[test]
    fn licences_are_judged_per_package() {
        let known = [
            ("fine", Some("MIT OR GPL-3.0-only")),
            ("bad", Some("MIT AND GPL-3.0-only")),
            ("silent", None),
            ("odd", Some("MIT OR")),
        ];
        let licences: BTreeMap<Package, Option<String>> = known
            .iter()
            .map(|(name, licence)| (((*name).to_owned(), "1.0.0".to_owned()), licence.map(str::to_owned)))
            .collect();
        let findings = licence_findings(licences.keys(), &licences);
        assert_eq!(findings.len(), 3, "{findings:?}");
        assert!(findings.iter().all(|finding| !finding.starts_with("fine")));
    }

    #[test]
    fn a_banned_crate_is_reported_with_its_chain() {
        let findings = banned_findings(&graph("0 claviger v0.1.0\n1 tls v1.0.0\n2 ring v0.17.0\n"));
        assert_eq!(findings, ["banned: claviger -> tls -> ring"]);
        assert!(banned_findings(&graph("0 claviger v0.1.0\n1 springs v1.0.0\n")).is_empty());
    }

    #[test]
    fn a_crate_rule_knows_prefixes_and_spares_the_crate_itself() {
        let tree = graph("0 claviger-contract v0.1.0\n1 anyhow v1.0.0\n1 helper v1.0.0\n2 claviger-proto v0.1.0\n");
        let finding = rule_finding(&tree, "claviger-contract", &["claviger", "claviger-*"]).unwrap();
        assert!(finding.contains("helper -> claviger-proto"), "{finding}");
        assert_eq!(rule_finding(&tree, "claviger-contract", &["sqlx"]), None);
        let alone = graph("0 claviger-contract v0.1.0\n1 anyhow v1.0.0\n");
        assert_eq!(rule_finding(&alone, "claviger-contract", &["claviger", "claviger-*"]), None);
    }
}
