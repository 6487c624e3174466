//! The reference of all keys as Markdown, made from the table in `keys`: `claviger config keys` and docs/configuration.md.

use super::keys::KEYS;
use super::schema::{DATA_SOURCES, Effect, FAMILIES, Key, Kind};
use std::fmt::Write as _;

/// The reference.
pub fn reference() -> String {
    let mut text = String::from(HEAD);
    text.push_str("- A data source is called by the `id` of its `[[datasource]]` or by a name of its section, with or without `jdbc/`:\n");
    for (section, names) in DATA_SOURCES {
        let _ = writeln!(text, "  - `[database.{section}]`: {}", quoted(names));
    }
    text.push_str(ROLES);
    let mut section = "";
    for row in KEYS {
        let this = row.path.rsplit_once('.').map_or("", |(section, _)| section);
        if this != section {
            section = this;
            write_heading(&mut text, section);
        }
        write_row(&mut text, row);
    }
    text
}

const HEAD: &str = "\
# Configuration

Claviger reads `deployment.toml`. This page is made from the table of known keys (`claviger config keys` prints it).

- Every other key is an error that names the line and the nearest known key; `claviger config check FILE` lists all at once.
- Numbers and `true`/`false` may be quoted. A duration is a bare number or a text with a unit: `ms`, `s`, `m`, `h`, `d`.
- In every text, `$ref{a.b}` is the value of another key, `$env{NAME}` an environment variable, `$sys{name}` and `${name}`
  a built-in value (`carbon.host`, `carbon.management.port`, `https.nio.port`, ...). Undefined ones and circles are errors.
- Secrets are never printed.
";

const ROLES: &str = "\
- `identity.data_source`, `apim.datasource.name`, `realm_manager.data_source` and `governance_data.data_source` say which of
  them holds the identity, API-M, user and registry tables. Without any data source all are in the embedded database.
  Sections that mean the same database share one pool, that of the first in this order.
";

fn write_heading(text: &mut String, section: &str) {
    let heading = match section.strip_suffix("[]") {
        Some(name) => format!("[[{name}]]"),
        None => format!("[{section}]"),
    };
    let _ = writeln!(text, "\n## `{heading}`\n");
    for (family, names) in FAMILIES {
        if section.contains(family) {
            let sections = names.iter().map(|name| match name.strip_suffix("[]") {
                Some(list) => format!("each `[[{list}]]`"),
                None => format!("`{name}`"),
            });
            let _ = writeln!(text, "`{family}` stands for {}.\n", sections.collect::<Vec<_>>().join(", "));
        }
    }
    text.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
}

fn write_row(text: &mut String, row: &Key) {
    let default = if row.default.is_empty() { String::new() } else { format!("`{}`", escaped(row.default)) };
    let (default, doc) = match row.effect {
        Effect::Applied => (default, row.doc.to_owned()),
        Effect::None(why) => (default, format!("{} Accepted without effect: {why}.", row.doc)),
        Effect::Alias(name) => (String::new(), format!("The same as `{name}`.")),
    };
    let _ = writeln!(text, "| `{}` | {} | {default} | {} |", row.name(), type_name(row.kind), escaped(&doc));
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// A kind in words.
pub(super) fn type_name(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Secret => "secret text".to_owned(),
        Kind::DatabaseUrl => "database URL".to_owned(),
        Kind::HttpUrl => "http(s) URL".to_owned(),
        Kind::Flag => "true or false".to_owned(),
        Kind::Integer { min: i64::MIN, .. } => "number".to_owned(),
        Kind::Integer { min, max } => format!("number {min} to {max}"),
        Kind::Duration { unit, .. } => format!("duration, bare numbers are {}", unit.name()),
        Kind::OneOf(words) => format!("one of {}", quoted(words)),
        Kind::Texts => "list of texts".to_owned(),
        Kind::Properties => "table".to_owned(),
    }
}
