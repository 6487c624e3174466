//! `[[resource.access_control]]`, `[resource_access_control]` and `[tenant_context.rewrite]` (rest-3x.md 6.1, 6.3) as values.
//!
//! Owns: what one rule says, and that of two with the same words the first one counts. Leaves to `http::rules`: which paths
//! there are, what a rule does to them, and what is to be said about that.

use super::Values;
use crate::config::model::AccessRule;
use crate::config::pattern::Pattern;

const RULES: &str = "resource.access_control";
const INTROSPECT: &str = "resource_access_control.introspect.permissions";
/// Stands for every method.
const ALL: &str = "all";
/// Stands for no permission at all.
const NONE: &str = "none";
/// Methods that a request may have here.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

impl Values<'_> {
    /// The rules in their order.
    pub(super) fn access_rules(&mut self) -> Vec<AccessRule> {
        let count = self.checked.lengths.get(RULES).copied().unwrap_or(0);
        let mut rules: Vec<AccessRule> = Vec::with_capacity(count);
        for index in 0..count {
            let Some(rule) = self.access_rule(&format!("{RULES}[{index}]")) else { continue };
            let is_same = |other: &&AccessRule| {
                other.context.text() == rule.context.text() && other.methods.eq_ignore_ascii_case(&rule.methods)
            };
            if let Some(first) = rules.iter().find(is_same) {
                let line = first.line.unwrap_or_default();
                let text = format!("`{RULES}`: the rule of line {line} has the same context and method and counts");
                self.note(&format!("{RULES}[{index}].context"), true, text);
            } else {
                rules.push(rule);
            }
        }
        rules.extend(self.introspection_rule());
        rules
    }

    fn access_rule(&mut self, prefix: &str) -> Option<AccessRule> {
        let path = |name: &str| format!("{prefix}.{name}");
        let context = self.text_if_set(&path("context"));
        let methods = self.text(&path("http_method"));
        let rule = AccessRule {
            line: self.span(&path("context")).map(|span| self.source.line_of(span.start)),
            context: self.compiled(&path("context"), Pattern::of_paths(context.as_deref().unwrap_or_default()))?,
            is_secure: self.flag(&path("secure")),
            methods: methods.trim().to_owned(),
            permissions: self.words(&path("permissions")),
            scopes: self.words(&path("scopes")),
            is_cross_tenant: self.flag(&path("cross_tenant")),
        };
        if context.is_none() {
            self.problem(prefix, format!("`{RULES}`: a rule needs a `context`"), "");
            return None;
        }
        let upper = methods.to_ascii_uppercase();
        if !methods.trim().eq_ignore_ascii_case(ALL) && !METHODS.iter().any(|method| upper.contains(method)) {
            self.note(
                &path("http_method"),
                true,
                format!("`{RULES}`: `http_method` names no method: the rule is for nothing"),
            );
        }
        Some(rule)
    }

    /// What introspection is to ask for besides its own permission.
    fn introspection_rule(&mut self) -> Option<AccessRule> {
        let permissions = self.words(INTROSPECT);
        let context = self.pattern(INTROSPECT, "(.*)/oauth2/introspect(.*)")?;
        (!permissions.is_empty()).then(|| AccessRule {
            line: self.span(INTROSPECT).map(|span| self.source.line_of(span.start)),
            context,
            is_secure: true,
            methods: ALL.to_owned(),
            permissions,
            scopes: Vec::new(),
            is_cross_tenant: false,
        })
    }

    /// `[tenant_context.rewrite]` (rest-3x.md 6.3).
    pub(super) fn tenant_paths(&mut self) -> Vec<String> {
        let mut paths = Vec::new();
        for name in ["webapps", "custom_webapps"] {
            let key = format!("tenant_context.rewrite.{name}");
            for path in self.words(&key) {
                if path.starts_with('/') {
                    paths.push(path);
                } else {
                    self.note(&key, true, format!("`{key}`: `{path}` begins no path: a path begins with a slash"));
                }
            }
        }
        paths
    }

    /// A list without blanks around its words and without the word that stands for nothing.
    fn words(&mut self, path: &str) -> Vec<String> {
        let words = self
            .texts(path)
            .into_iter()
            .flat_map(|text| text.split(',').map(|word| word.trim().to_owned()).collect::<Vec<_>>());
        words.filter(|word| !word.is_empty() && !word.eq_ignore_ascii_case(NONE)).collect()
    }

    /// The expressions of several lists.
    pub(super) fn patterns(&mut self, paths: &[&str]) -> Vec<Pattern> {
        let mut patterns = Vec::new();
        for path in paths {
            for text in self.texts(path) {
                patterns.extend(self.pattern(path, &text));
            }
        }
        patterns
    }

    /// An expression of the file, compiled.
    pub(super) fn pattern(&mut self, path: &str, text: &str) -> Option<Pattern> {
        self.compiled(path, Pattern::new(text))
    }

    fn compiled(&mut self, path: &str, compiled: Result<Pattern, String>) -> Option<Pattern> {
        match compiled {
            Ok(pattern) => Some(pattern),
            Err(message) => {
                let help = "a regular expression without look-around and back references";
                self.problem(path, format!("`{path}`: {message}"), help);
                None
            }
        }
    }
}
