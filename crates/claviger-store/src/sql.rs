//! Statements: one text for all engines and releases, exceptions in view, `?` placeholders everywhere.
//!
//! Names are upper case and unquoted, which all three engines resolve (database.md 1.2). What only some releases have stands
//! in brackets, `[capability:text]` or `[capability:text|otherwise]`: a caller gives all arguments, and those of placeholders
//! that fall away are left out. Tables and columns of later releases are named in no other way.

use crate::capability::{Capabilities, Capability};
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

/// The families of tables, each of which may live in a database of its own (database.md 1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IDN_*, SP_*, IDP*, CM_*, and our own CLV_*: clients and tokens.
    Identity,
    /// AM_*: APIs, applications, subscriptions.
    Api,
    /// UM_*: users, roles, permissions, tenants.
    User,
    /// REG_*: the registry.
    Registry,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Identity, Self::Api, Self::User, Self::Registry];

    /// The family of a table.
    pub fn of_table(name: &str) -> Self {
        match name {
            _ if name.starts_with("AM_") => Self::Api,
            _ if name.starts_with("UM_") => Self::User,
            _ if name.starts_with("REG_") => Self::Registry,
            _ => Self::Identity,
        }
    }

    /// The family of a table of the product's; `None` for a stranger's.
    pub fn of_product_table(name: &str) -> Option<Self> {
        let prefixes = ["AM_", "UM_", "REG_", "IDN_", "SP_", "IDP", "CM_", "WF_", "FIDO"];
        prefixes.iter().any(|prefix| name.starts_with(prefix)).then(|| Self::of_table(name))
    }

    /// How messages call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity (IDN_*)",
            Self::Api => "API (AM_*)",
            Self::User => "user (UM_*)",
            Self::Registry => "registry (REG_*)",
        }
    }
}

/// In which clock a statement's times are (database.md 1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    /// Tokens and codes: UTC as a rule.
    Token,
    /// The rest: the old server's own clock.
    Local,
}

/// One statement. Made by `queries!`, never from input.
pub struct Sql {
    text: &'static str,
    exceptions: &'static [(Engine, &'static str)],
    subject: OnceLock<(Family, Face)>,
    rendered: OnceLock<Box<Rendered>>,
}

/// A statement as one engine and one set of capabilities get it. The few variants of a statement form a list.
pub(crate) struct Rendered {
    engine: Engine,
    capabilities: Capabilities,
    /// The text, for PostgreSQL with `$1`, `$2`, ... in place of `?`.
    pub(crate) text: String,
    /// Has the n-th argument its place in the text?
    kept: Vec<bool>,
    next: OnceLock<Box<Rendered>>,
}

impl Rendered {
    /// The arguments that have a place in the text.
    pub(crate) fn kept<'a, T>(&self, args: &'a [T]) -> impl Iterator<Item = &'a T> {
        args.iter().zip(&self.kept).filter_map(|(arg, is_kept)| is_kept.then_some(arg))
    }
}

impl Sql {
    /// A statement with its exceptions.
    pub const fn new(text: &'static str, exceptions: &'static [(Engine, &'static str)]) -> Self {
        Self { text, exceptions, subject: OnceLock::new(), rendered: OnceLock::new() }
    }

    /// The text for an engine on the newest release.
    pub fn on(&'static self, engine: Engine) -> &'static str {
        &self.rendered(engine, Capabilities::ALL).text
    }

    /// The family of its tables; a statement without tables counts as one of the identity family.
    pub fn family(&self) -> Family {
        self.subject().0
    }

    /// The clock of its times.
    pub(crate) fn face(&self) -> Face {
        self.subject().1
    }

    fn subject(&self) -> (Family, Face) {
        *self.subject.get_or_init(|| match tables(self.text).next() {
            Some(table @ ("IDN_OAUTH2_ACCESS_TOKEN" | "IDN_OAUTH2_AUTHORIZATION_CODE")) => {
                (Family::of_table(table), Face::Token)
            }
            Some(table) => (Family::of_table(table), Face::Local),
            None => (Family::Identity, Face::Local),
        })
    }

    /// Every table it names, in the text that an engine gets on the newest release.
    pub fn tables(&'static self, engine: Engine) -> impl Iterator<Item = &'static str> {
        tables(self.on(engine))
    }

    pub(crate) fn rendered(&'static self, engine: Engine, capabilities: Capabilities) -> &'static Rendered {
        let mut place = &self.rendered;
        loop {
            let rendered = place.get_or_init(|| Box::new(self.render(engine, capabilities)));
            if rendered.engine == engine && rendered.capabilities == capabilities {
                return rendered;
            }
            place = &rendered.next;
        }
    }

    fn render(&self, engine: Engine, capabilities: Capabilities) -> Rendered {
        let exception = self.exceptions.iter().find(|(named, _)| *named == engine);
        let text = exception.map_or(self.text, |(_, text)| text);
        let mut out = Rendering { text: String::with_capacity(text.len() + 16), engine, kept: Vec::new() };
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('[') {
            out.push(before, true);
            let (segment, after) = after.split_once(']').expect("a bracket of a statement is closed");
            let (name, segment) = segment.split_once(':').expect("a bracket names a capability");
            let (text, otherwise) = segment.split_once('|').unwrap_or((segment, ""));
            let has = capabilities.has(Capability::named(name));
            out.push(text, has);
            out.push(otherwise, !has);
            rest = after;
        }
        out.push(rest, true);
        Rendered { engine, capabilities, text: out.text, kept: out.kept, next: OnceLock::new() }
    }
}

struct Rendering {
    text: String,
    engine: Engine,
    kept: Vec<bool>,
}

impl Rendering {
    /// Takes over a piece, or only counts its placeholders. No piece of ours ends inside a quoted text.
    fn push(&mut self, piece: &str, is_kept: bool) {
        let mut is_quoted = false;
        for letter in piece.chars() {
            is_quoted ^= letter == '\'';
            if letter == '?' && !is_quoted {
                self.kept.push(is_kept);
                if is_kept && self.engine == Engine::Postgres {
                    let place = self.kept.iter().filter(|is_kept| **is_kept).count();
                    self.text.push('$');
                    self.text.push_str(&place.to_string());
                    continue;
                }
            }
            if is_kept {
                self.text.push(letter);
            }
        }
    }
}

/// The words behind FROM, JOIN, INTO and UPDATE.
fn tables(text: &str) -> impl Iterator<Item = &str> {
    let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != '.');
    std::iter::from_fn(move || {
        loop {
            let word = words.next()?;
            if matches!(word, "FROM" | "JOIN" | "INTO" | "UPDATE") {
                // `FOR UPDATE` ends a statement; a subselect's bracket is followed by its own FROM.
                let table = words.find(|word| !word.is_empty())?;
                if table.contains('_') || table == "IDP" {
                    return Some(table);
                }
            }
        }
    })
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

/// A literal 1, 4, 16 or 64 times, with commas or another separator between: the rows of a statement, the members of a set,
/// alternatives.
macro_rules! repeated {
    ($times:tt, $text:literal) => {
        $crate::sql::repeated!($times, $text, ", ")
    };
    (1, $text:literal, $between:literal) => {
        $text
    };
    (4, $text:literal, $between:literal) => {
        concat!($text, $between, $text, $between, $text, $between, $text)
    };
    (16, $text:literal, $between:literal) => {
        concat!(
            $crate::sql::repeated!(4, $text, $between),
            $between,
            $crate::sql::repeated!(4, $text, $between),
            $between,
            $crate::sql::repeated!(4, $text, $between),
            $between,
            $crate::sql::repeated!(4, $text, $between)
        )
    };
    (64, $text:literal, $between:literal) => {
        concat!(
            $crate::sql::repeated!(16, $text, $between),
            $between,
            $crate::sql::repeated!(16, $text, $between),
            $between,
            $crate::sql::repeated!(16, $text, $between),
            $between,
            $crate::sql::repeated!(16, $text, $between)
        )
    };
}
pub(crate) use repeated;

#[cfg(test)]
mod tests {
    use super::*;

    static INSERT: Sql =
        Sql::new("INSERT INTO T_A (A[idp_id:, B], C) VALUES (?[idp_id:, ?], '?', ?[token_hash:|, NULL])", &[]);

    #[test]
    fn placeholders_are_numbered_outside_quotes() {
        static PLAIN: Sql = Sql::new("SELECT A FROM T_A WHERE A=? AND B='?' AND C=?", &[]);
        assert_eq!(PLAIN.on(Engine::Postgres), "SELECT A FROM T_A WHERE A=$1 AND B='?' AND C=$2");
        assert_eq!(PLAIN.on(Engine::MySql), "SELECT A FROM T_A WHERE A=? AND B='?' AND C=?");
    }

    #[test]
    fn what_a_release_lacks_falls_away_with_its_argument() {
        let all = INSERT.rendered(Engine::Postgres, Capabilities::ALL);
        assert_eq!(all.text, "INSERT INTO T_A (A, B, C) VALUES ($1, $2, '?', $3)");
        assert_eq!(all.kept(&[1, 2, 3]).collect::<Vec<_>>(), [&1, &2, &3]);
        let old = INSERT.rendered(Engine::Postgres, Capabilities::NONE);
        assert_eq!(old.text, "INSERT INTO T_A (A, C) VALUES ($1, '?', $2, NULL)");
        assert_eq!(old.kept(&[1, 2, 3]).collect::<Vec<_>>(), [&1, &3]);
        // Both variants stay.
        assert!(std::ptr::eq(all, INSERT.rendered(Engine::Postgres, Capabilities::ALL)));
    }

    #[test]
    fn a_statement_tells_its_tables() {
        static JOIN: Sql =
            Sql::new("SELECT REG_ID FROM AM_X A JOIN AM_Y B ON 1=1 WHERE A.Z IN (SELECT Q FROM AM_V) FOR UPDATE", &[]);
        static NONE: Sql = Sql::new("SELECT pg_advisory_xact_lock(1)", &[]);
        assert_eq!(JOIN.tables(Engine::MySql).collect::<Vec<_>>(), ["AM_X", "AM_Y", "AM_V"]);
        assert_eq!(JOIN.family(), Family::Api);
        assert_eq!(NONE.family(), Family::Identity);
    }
}
