//! The shape of a table of known keys: one `Key` per row, and `Schema`, the rows opened out to full paths.
//!
//! Owns: what a key is (type, default, words, whether it has an effect) and how a path is found among them.
//! Leaves to others: the rows themselves (`keys`), reading values (`check`), printing them (`reference`).

use std::collections::BTreeMap;

/// The type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Text that is never shown.
    Secret,
    /// JDBC or native database URL; may hold a password.
    DatabaseUrl,
    /// `http` or `https` URL without credentials.
    HttpUrl,
    /// `true` or `false`, also quoted.
    Flag,
    /// A whole number, also quoted.
    Integer {
        /// Smallest allowed value.
        min: i64,
        /// Largest allowed value.
        max: i64,
    },
    /// A bare number in `unit`, or a text such as `15m`.
    Duration {
        /// What a bare number counts.
        unit: Unit,
        /// Smallest allowed value in `unit`.
        min: i64,
        /// Whether a negative number stands for "never".
        may_be_never: bool,
    },
    /// One of a few words, in any case.
    OneOf(&'static [&'static str]),
    /// A list of texts, or one text with commas.
    Texts,
    /// A table of texts under names that are the section's own affair; never shown.
    Properties,
}

/// Unit of a bare number (configuration.md 1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
    /// Days.
    Days,
}

impl Unit {
    /// Milliseconds of one unit.
    pub const fn millis(self) -> i64 {
        match self {
            Unit::Millis => 1,
            Unit::Seconds => 1_000,
            Unit::Minutes => 60_000,
            Unit::Days => 86_400_000,
        }
    }

    /// The unit in words.
    pub const fn name(self) -> &'static str {
        match self {
            Unit::Millis => "milliseconds",
            Unit::Seconds => "seconds",
            Unit::Minutes => "minutes",
            Unit::Days => "days",
        }
    }
}

/// What setting a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read by the program.
    Applied,
    /// Accepted so that existing files load; the text says why nothing happens.
    None(&'static str),
    /// Another spelling of the key with this last segment.
    Alias(&'static str),
}

/// One row of the table of known keys.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Dotted path; `<database>` stands for each section of a family, `[]` follows an array of tables.
    pub path: &'static str,
    /// Type.
    pub kind: Kind,
    /// Default in the form a file would have it, without quotes; empty: none.
    pub default: &'static str,
    /// One sentence for the reference.
    pub doc: &'static str,
    /// Whether it does anything.
    pub effect: Effect,
}

/// A row that is read by the program.
pub(super) const fn key(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default, doc, effect: Effect::Applied }
}

impl Key {
    /// The same row, accepted without effect.
    pub(super) const fn without_effect(mut self, why: &'static str) -> Self {
        self.effect = Effect::None(why);
        self
    }

    /// A further spelling, `alias`, of this row's key.
    pub(super) const fn also(mut self, alias_path: &'static str, canonical_name: &'static str) -> Self {
        self.path = alias_path;
        self.effect = Effect::Alias(canonical_name);
        self
    }

    /// The last segment of the path.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }
}

/// What a `<family>` at the start of a path stands for.
pub const FAMILIES: [(&str, &[&str]); 2] = [
    (
        "<database>",
        &[
            "database.apim_db",
            "database.identity_db",
            "database.shared_db",
            "database.user",
            "database.config",
            "database.local",
            "datasource[]",
        ],
    ),
    ("<keystore>", &["keystore.primary", "keystore.internal", "keystore.tls"]),
];

/// The fixed sections of `[database]` and the names of the data sources that they make (configuration.md 2.2).
pub const DATA_SOURCES: [(&str, &[&str]); 6] = [
    ("apim_db", &["WSO2AM_DB", "AM_DB"]),
    ("identity_db", &["WSO2IdentityDB", "WSO2_IDENTITY_DB", "IDENTITY_DB"]),
    ("shared_db", &["SHARED_DB", "WSO2_SHARED_DB", "WSO2SHARED_DB", "WSO2REG_DB"]),
    ("user", &["WSO2USER_DB", "WSO2UM_DB"]),
    ("config", &["WSO2CONFIG_DB"]),
    ("local", &["WSO2_CARBON_DB", "WSO2CarbonDB"]),
];

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableKind {
    /// `[a.b]`.
    Table,
    /// `[[a.b]]`.
    Array,
}

/// All rows by full path, and all tables that hold them.
pub(super) struct Schema {
    keys: BTreeMap<String, &'static Key>,
    tables: BTreeMap<String, TableKind>,
}

impl Schema {
    /// Opens the rows out.
    pub(super) fn new(rows: &'static [Key]) -> Self {
        let mut schema = Self { keys: BTreeMap::new(), tables: BTreeMap::new() };
        for row in rows {
            for path in expanded(row.path) {
                schema.insert_tables(&path);
                schema.keys.insert(path, row);
            }
        }
        schema
    }

    fn insert_tables(&mut self, path: &str) {
        for (at, _) in path.match_indices('.') {
            let prefix = &path[..at];
            let kind = if prefix.ends_with("[]") { TableKind::Array } else { TableKind::Table };
            self.tables.insert(prefix.trim_end_matches("[]").to_owned(), kind);
        }
    }

    /// The key at a schema path (`a.b[].c`).
    pub(super) fn key(&self, path: &str) -> Option<&'static Key> {
        self.keys.get(path).copied()
    }

    /// The table at a schema path.
    pub(super) fn table(&self, path: &str) -> Option<TableKind> {
        self.tables.get(path).copied()
    }

    /// All keys with their full paths.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &'static Key)> {
        self.keys.iter().map(|(path, key)| (path.as_str(), *key))
    }

    /// Names that may stand directly in the table `prefix` (empty: top level).
    pub(super) fn children<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.keys.keys().chain(self.tables.keys()).filter_map(move |path| {
            let rest = if prefix.is_empty() { path } else { path.strip_prefix(prefix)?.strip_prefix('.')? };
            (!rest.contains('.')).then_some(rest)
        })
    }
}

/// A row's path with its family opened out.
fn expanded(path: &str) -> Vec<String> {
    for (placeholder, names) in FAMILIES {
        if path.contains(placeholder) {
            return names.iter().map(|name| path.replace(placeholder, name)).collect();
        }
    }
    vec![path.to_owned()]
}
