//! The operator's access rules (`[[resource.access_control]]`, contract rest-3x.md 6.1) beside those of the routes: they ask for
//! more and open nothing.
//!
//! Owns: that a path has one reading before anybody looks at it, which rule a request meets, and what is said about a list of
//! rules before the server starts. `access` asks for what the rule says.

use crate::config::Note;
use crate::config::model::AccessRule;
use crate::http::access::{Caller, Credential, Rule};
use crate::http::routes::RouteEntry;
use crate::http::tenant;
use crate::oauth::scope_policy::is_internal;
use axum::http::{Extensions, Method};
use claviger_gateway::path::{self, Ambiguous};
use std::borrow::Cow;
use std::sync::Arc;

/// Paths that a message lists.
const PATHS_SHOWN_MAX: usize = 4;

/// The rules of a server, first come first.
#[derive(Debug, Default)]
pub struct AccessRules(Vec<Arc<AccessRule>>);

/// What the operator asks for beside the route's own rule. Goes with the request.
#[derive(Clone, Debug)]
pub struct Demand(Arc<AccessRule>);

impl AccessRules {
    /// Rules in their order.
    pub fn new(rules: &[AccessRule]) -> Self {
        Self(rules.iter().cloned().map(Arc::new).collect())
    }

    /// Refuses a path with more than one reading, and notes the rule that the path meets, before a router or a tenant's prefix
    /// changes it.
    pub fn admit(&self, method: &Method, path: &str, extensions: &mut Extensions) -> Result<(), Ambiguous> {
        let path = path::check(path)?;
        if let Some(rule) = self.find(method, &with_lower_tenant(&path.decoded)).filter(|rule| rule.is_secure) {
            extensions.insert(Demand(rule.clone()));
        }
        Ok(())
    }

    fn find(&self, method: &Method, path: &str) -> Option<&Arc<AccessRule>> {
        let first = |method: &str| self.0.iter().find(|rule| names(rule, method) && rule.context.is_match(path));
        // A route without a HEAD of its own answers as to GET, and a rule for all methods says nothing of HEAD.
        let own = first(method.as_str()).filter(|rule| *method != Method::HEAD || !is_for_all(rule));
        own.or_else(|| if *method == Method::HEAD { first("GET") } else { None })
    }
}

impl Demand {
    /// May users of other tenants than the path's get in?
    pub fn is_cross_tenant(&self) -> bool {
        self.0.is_cross_tenant
    }

    /// Does the caller hold what is asked for: by a token all scopes, where the rule names any, else all permissions?
    pub fn is_met(&self, caller: &Caller) -> bool {
        let has_scopes = || self.0.scopes.iter().all(|scope| caller.scopes.contains(scope));
        let holds_all = || self.0.permissions.iter().all(|path| caller.principal.permissions.may(path));
        match caller.credential {
            Credential::Password => holds_all(),
            Credential::UserToken if self.0.scopes.is_empty() => holds_all(),
            Credential::UserToken => has_scopes(),
            // A client does not hold what its owner holds.
            Credential::ClientToken if self.0.scopes.is_empty() => self.0.permissions.is_empty(),
            Credential::ClientToken => has_scopes() && !self.0.scopes.iter().any(|scope| is_internal(scope)),
        }
    }
}

/// The path as it is served: a tenant's domain has small letters ([`tenant::forward`]).
fn with_lower_tenant(path: &str) -> Cow<'_, str> {
    let Some(rest) = path.strip_prefix("/t/").filter(|rest| !rest.is_empty()) else { return Cow::Borrowed(path) };
    let (domain, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Cow::Owned(format!("/t/{}{rest}", domain.to_ascii_lowercase()))
}

fn is_for_all(rule: &AccessRule) -> bool {
    rule.methods.eq_ignore_ascii_case("all")
}

fn names(rule: &AccessRule, method: &str) -> bool {
    is_for_all(rule) || rule.methods.to_ascii_uppercase().contains(method)
}

/// What an operator should know about his rules, given the routes that they are beside.
pub fn notes(rules: &[AccessRule], routes: &[RouteEntry]) -> Vec<Note> {
    let note = |rule: &AccessRule, (is_warning, text): (bool, String)| Note {
        line: rule.line,
        is_warning,
        text: format!("access rule `{}` ({}): {text}", rule.context.text(), rule.methods),
    };
    rules.iter().flat_map(|rule| remarks(rule, rules, routes).into_iter().map(move |it| note(rule, it))).collect()
}

fn remarks(rule: &AccessRule, rules: &[AccessRule], routes: &[RouteEntry]) -> Vec<(bool, String)> {
    let met: Vec<&RouteEntry> = routes.iter().filter(|entry| meets(rule, entry)).collect();
    if met.is_empty() {
        return vec![met_by_nothing(rule, routes)];
    }
    let mut remarks = Vec::new();
    let guarded: Vec<&RouteEntry> = met.iter().copied().filter(|entry| !is_open(entry.rule)).collect();
    if !rule.is_secure && !guarded.is_empty() {
        remarks.push((true, format!("`secure = false` opens nothing: built-in rules protect {}", listed(&guarded))));
    }
    if rule.is_cross_tenant && !guarded.is_empty() {
        remarks.push((true, format!("`cross_tenant` opens nothing at {}", listed(&guarded))));
    }
    let is_below = |entry: &&RouteEntry| {
        met.iter().any(|upper| {
            let rest = entry.path.strip_prefix(upper.path);
            entry.method == upper.method && rest.is_some_and(|rest| rest.starts_with('/'))
        })
    };
    let left: Vec<&RouteEntry> =
        routes.iter().filter(is_below).filter(|entry| !rules.iter().any(|other| meets(other, entry))).collect();
    if rule.is_secure && !left.is_empty() {
        remarks.push((false, format!("the rule ends with its path: built-in rules alone protect {}", listed(&left))));
    }
    remarks
}

/// `(.)` is one character; a rule that means nothing, and would mean something with `(.*)`, has lost its star.
fn met_by_nothing(rule: &AccessRule, routes: &[RouteEntry]) -> (bool, String) {
    let starred = rule.context.text().replace("(.)", "(.*)");
    if starred != rule.context.text()
        && let Ok(context) = crate::config::pattern::Pattern::new(&starred)
    {
        let meant = AccessRule { context, ..rule.clone() };
        let met: Vec<&RouteEntry> = routes.iter().filter(|entry| meets(&meant, entry)).collect();
        if !met.is_empty() {
            let text = format!(
                "no path ever matches, because `(.)` stands for exactly one character (`(.*)` was meant?); built-in rules protect {}",
                listed(&met)
            );
            return (true, text);
        }
    }
    (false, "no path of this server looks like this; the rule is kept for what may come".to_owned())
}

fn is_open(rule: Rule) -> bool {
    matches!(rule, Rule::Public(_) | Rule::OAuthClient)
}

/// Would a request for this route meet the rule, with a tenant before its path or without?
fn meets(rule: &AccessRule, entry: &RouteEntry) -> bool {
    let fill = |part: &'static str| if part.starts_with('{') { "x" } else { part };
    let path = entry.path.split('/').map(fill).collect::<Vec<_>>().join("/");
    let is_served_to_tenants = tenant::PREFIXES.iter().any(|prefix| path.starts_with(prefix));
    names(rule, entry.method.as_str())
        && (rule.context.is_match(&path)
            || is_served_to_tenants && rule.context.is_match(&format!("/t/example.com{path}")))
}

fn listed(entries: &[&RouteEntry]) -> String {
    let shown: Vec<String> =
        entries.iter().take(PATHS_SHOWN_MAX).map(|entry| format!("{} {}", entry.method, entry.path)).collect();
    let more = entries.len().saturating_sub(PATHS_SHOWN_MAX);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn rules(text: &str) -> Vec<AccessRule> {
        config::load(text, "deployment.toml", &|_| None).unwrap().config.access_rules
    }

    fn found(rules: &[AccessRule], method: &Method, path: &str) -> Option<usize> {
        AccessRules::new(rules).find(method, path).and_then(|rule| rule.line)
    }

    #[test]
    fn the_first_rule_counts_and_a_text_may_name_several_methods() {
        let rules = rules(
            "[[resource.access_control]]\ncontext='(.*)/a'\nhttp_method='GET, HEAD'\n\
             [[resource.access_control]]\ncontext='(.*)/(.*)'\nhttp_method='post'\n\
             [[resource.access_control]]\ncontext='/b'\nhttp_method='GET'\n\
             [[resource.access_control]]\ncontext='/b'\nhttp_method='HEAD'\n\
             [[resource.access_control]]\ncontext='/c'\nhttp_method='ALL'\n",
        );
        let table = [
            (Method::GET, "/a", Some(2)),
            (Method::HEAD, "/a", Some(2)),
            (Method::POST, "/a", Some(5)),
            (Method::DELETE, "/a", None),
            (Method::GET, "/a/", None),
            (Method::GET, "/b", Some(8)),
            (Method::HEAD, "/b", Some(11)),
            (Method::DELETE, "/c", Some(14)),
            (Method::POST, "/c", Some(5)),
        ];
        for (method, path, line) in table {
            assert_eq!(found(&rules, &method, path), line, "{method} {path}");
        }
        // A GET rule covers the HEAD that the same handler answers.
        assert_eq!(found(&rules[2..3], &Method::HEAD, "/b"), Some(8));
    }

    #[test]
    fn a_tenants_domain_is_the_same_in_any_case() {
        let rules = rules("[[resource.access_control]]\ncontext='/t/ACME.com/oauth2/(.*)'\n");
        for (path, line) in [
            ("/t/acme.com/oauth2/token", Some(2)),
            ("/t/Acme.COM/oauth2/token", Some(2)),
            ("/t/acme.com/OAuth2/token", None),
            ("/t/other.com/oauth2/token", None),
        ] {
            assert_eq!(found(&rules, &Method::POST, &with_lower_tenant(path)), line, "{path}");
        }
    }

    #[test]
    fn what_is_said_about_rules() {
        const NEEDS: Rule = Rule::Permission("/permission/x");
        let entry = |method: Method, path: &'static str, rule: Rule| RouteEntry { method, path, rule };
        let routes = [
            entry(Method::POST, "/keymanager-operations/a", NEEDS),
            entry(Method::POST, "/keymanager-operations/a/{id}/b", NEEDS),
            entry(Method::GET, "/oauth2/jwks", Rule::Public("published")),
        ];
        let said = |text: &str| {
            let rule = format!("[[resource.access_control]]\n{text}");
            notes(&rules(&rule), &routes).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        let table = [
            ("context='(.*)/a(.*)'", ""),
            ("context='/t/(.*)/a(.*)'", ""),
            ("context='(.*)/jwks'\nsecure=false", ""),
            (
                "context='(.*)'\nsecure=false\nhttp_method='OPTIONS'",
                "note: line 2: access rule `(.*)` (OPTIONS): no path of",
            ),
            ("context='(.)/a(.)'", "warning: line 2: access rule `(.)/a(.)` (all): no path ever matches"),
            ("context='(.)/z(.)'", "note: line 2: access rule `(.)/z(.)` (all): no path of this server"),
            (
                "context='(.*)/a'",
                "note: line 2: access rule `(.*)/a` (all): the rule ends with its path: built-in rules alone protect POST /keymanager-operations/a/{id}/b",
            ),
            (
                "context='(.*)/a/(.*)'\nsecure=false",
                "warning: line 2: access rule `(.*)/a/(.*)` (all): `secure = false` opens nothing: built-in rules protect POST /keymanager-operations/a/{id}/b",
            ),
            (
                "context='(.*)/a/(.*)'\ncross_tenant=true",
                "warning: line 2: access rule `(.*)/a/(.*)` (all): `cross_tenant` opens nothing at POST",
            ),
        ];
        for (text, expected) in table {
            let said = said(text);
            assert!(said.starts_with(expected) && said.is_empty() == expected.is_empty(), "{text}: {said}");
        }
    }
}
