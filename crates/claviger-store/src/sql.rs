//! Statements: one text for all engines, exceptions in view, `?` placeholders everywhere.
//!
//! Names are upper case and unquoted, which all three engines resolve (database.md 1.2).

use std::sync::OnceLock;

/// The engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Embedded, one writer.
    Sqlite,
    /// MariaDB or MySQL.
    MySql,
    /// PostgreSQL.
    Postgres,
}

/// One statement. Made by `queries!`, never from input.
pub struct Sql {
    text: &'static str,
    exceptions: &'static [(Engine, &'static str)],
    numbered: OnceLock<String>,
}

impl Sql {
    /// A statement with its exceptions.
    pub const fn new(text: &'static str, exceptions: &'static [(Engine, &'static str)]) -> Self {
        Self { text, exceptions, numbered: OnceLock::new() }
    }

    /// The text for an engine; for PostgreSQL with `$1`, `$2`, ... in place of `?`.
    pub fn on(&'static self, engine: Engine) -> &'static str {
        let exception = self.exceptions.iter().find(|(named, _)| *named == engine);
        let text = exception.map_or(self.text, |(_, text)| text);
        if engine == Engine::Postgres { self.numbered.get_or_init(|| number_placeholders(text)) } else { text }
    }
}

/// Replaces each `?` outside a quoted text by `$n`.
fn number_placeholders(text: &str) -> String {
    let mut numbered = String::with_capacity(text.len() + 16);
    let mut count = 0;
    let mut is_quoted = false;
    for letter in text.chars() {
        is_quoted ^= letter == '\'';
        if letter == '?' && !is_quoted {
            count += 1;
            numbered.push('$');
            numbered.push_str(&count.to_string());
        } else {
            numbered.push(letter);
        }
    }
    numbered
}

/// Declares statements and lists them:
/// `queries! { FIND = "SELECT ..", INSERT = "INSERT ..", Postgres = "INSERT .. RETURNING ID" }` separated by `;`.
macro_rules! queries {
    ($($name:ident = $text:expr $(, $engine:ident = $other:expr)*;)*) => {
        $(static $name: $crate::sql::Sql = $crate::sql::Sql::new($text, &[$(($crate::sql::Engine::$engine, $other)),*]);)*
        /// This file's statements, by module and name.
        pub(crate) static STATEMENTS: &[(&str, &$crate::sql::Sql)] =
            &[$((concat!(module_path!(), "::", stringify!($name)), &$name)),*];
    };
}
pub(crate) use queries;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_outside_quotes() {
        assert_eq!(number_placeholders("A=? AND B='?' AND C=?"), "A=$1 AND B='?' AND C=$2");
    }
}
