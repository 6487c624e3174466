//! SPDX licence expressions (SPDX 2.3 annex D): parse and decide. Cargo's old `A/B` counts as `A OR B`.
//! Which licences are allowed is decided in [`crate::licences`].

use anyhow::{Result, bail};

/// Nesting of parentheses; real manifests have two.
const DEPTH_MAX: usize = 32;

/// A parsed expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expression {
    /// One licence, with its exception after ` WITH ` if it has one.
    Licence(String),
    All(Vec<Expression>),
    Any(Vec<Expression>),
}

impl Expression {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        let tokens: Vec<&str> = spaced.split_whitespace().collect();
        let mut parser = Parser { tokens: &tokens, depth: 0 };
        let expression = parser.any()?;
        if let Some(token) = parser.peek() {
            bail!("`{token}` is out of place in the licence expression `{text}`");
        }
        Ok(expression)
    }

    /// True when the licences for which `is_allowed` holds suffice.
    pub(crate) fn is_met(&self, is_allowed: &impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Licence(name) => is_allowed(name),
            Self::All(parts) => parts.iter().all(|part| part.is_met(is_allowed)),
            Self::Any(parts) => parts.iter().any(|part| part.is_met(is_allowed)),
        }
    }
}

/// Recursive descent; `AND` binds tighter than `OR`, `WITH` tighter than both.
struct Parser<'a> {
    tokens: &'a [&'a str],
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.first().copied()
    }

    fn take(&mut self) -> Option<&'a str> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn takes(&mut self, word: &str) -> bool {
        let is_next = self.peek().is_some_and(|token| token.eq_ignore_ascii_case(word));
        if is_next {
            self.take();
        }
        is_next
    }

    fn any(&mut self) -> Result<Expression> {
        let mut parts = vec![self.all()?];
        while self.takes("OR") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Any(parts) })
    }

    fn all(&mut self) -> Result<Expression> {
        let mut parts = vec![self.one()?];
        while self.takes("AND") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::All(parts) })
    }

    fn one(&mut self) -> Result<Expression> {
        if self.takes("(") {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                bail!("a licence expression nests too deep");
            }
            let inner = self.any()?;
            if !self.takes(")") {
                bail!("a licence expression lacks `)`");
            }
            self.depth -= 1;
            return Ok(inner);
        }
        let name = self.name()?;
        Ok(Expression::Licence(if self.takes("WITH") { format!("{name} WITH {}", self.name()?) } else { name }))
    }

    fn name(&mut self) -> Result<String> {
        match self.take() {
            Some(token) if !["AND", "OR", "WITH", "(", ")"].contains(&token.to_ascii_uppercase().as_str()) => {
                Ok(token.to_owned())
            }
            other => bail!("a licence expression needs a licence, not `{}`", other.unwrap_or("its end")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, allowed: &[&str], expected: bool) {
        let met = Expression::parse(text).unwrap().is_met(&|name| allowed.contains(&name));
        assert_eq!(met, expected, "{text} with {allowed:?}");
    }

    #[test]
    fn or_needs_one_and_needs_all() {
        check("MIT", &["MIT"], true);
        check("MIT OR GPL-3.0-only", &["MIT"], true);
        check("MIT AND GPL-3.0-only", &["MIT"], false);
        check("MIT/Apache-2.0", &["Apache-2.0"], true);
        check("Apache-2.0 / MIT", &["MIT"], true);
        check("ISC AND (Apache-2.0 OR ISC)", &["ISC"], true);
        check("(MIT OR Apache-2.0) AND Unicode-3.0", &["MIT", "Apache-2.0"], false);
        check("((MIT))", &["MIT"], true);
    }

    #[test]
    fn and_binds_tighter_than_or() {
        check("A OR B AND C", &["A"], true);
        check("A OR B AND C", &["B"], false);
        check("(A OR B) AND C", &["A"], false);
        check("A AND B OR C AND D", &["C", "D"], true);
    }

    #[test]
    fn an_exception_belongs_to_its_licence() {
        check("Apache-2.0 WITH LLVM-exception OR GPL-2.0-only", &["Apache-2.0"], false);
        check("Apache-2.0 WITH LLVM-exception", &["Apache-2.0 WITH LLVM-exception"], true);
    }

    #[test]
    fn malformed_expressions_are_refused() {
        for text in ["", "MIT OR", "AND MIT", "(MIT", "MIT)", "MIT Apache-2.0", "MIT WITH", "()", "MIT OR OR ISC"] {
            assert!(Expression::parse(text).is_err(), "{text}");
        }
        assert!(Expression::parse(&"(".repeat(10_000)).is_err());
    }
}
