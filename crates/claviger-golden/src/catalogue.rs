//! Compares a database's catalogue with the facts of a script: tables, columns with place, type, nullability and default,
//! primary, unique, plain and foreign keys. What is accepted: InnoDB's own index for a foreign key, PostgreSQL's dropping of
//! a unique key that equals the primary key, names cut at 63 characters, and either definition of a MySQL TIMESTAMP that the
//! script leaves to the server (database.md 1.3).

use crate::Engine;
use crate::db::Db;
use crate::facts::{Column, Extra, Facts, Key, Table};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};

mod normal;
mod read;

/// A key's columns with prefix lengths, or a foreign key's columns, target and rules, in words that compare.
type Shape = Vec<String>;

/// What a catalogue says about one table.
#[derive(Debug, Default)]
struct Found {
    columns: BTreeMap<String, FoundColumn>,
    primary_key: Shape,
    unique: BTreeMap<Shape, Vec<String>>,
    indexes: BTreeMap<Shape, Vec<String>>,
    foreign: BTreeMap<Shape, Vec<String>>,
    /// The columns of each foreign key alone.
    foreign_columns: BTreeSet<Shape>,
}

#[derive(Debug)]
struct FoundColumn {
    ordinal: u32,
    kind: String,
    is_nullable: bool,
    default: String,
    is_numbered: bool,
    is_moving: bool,
}

/// The differences between a database and the facts, one line each; none is the expected answer. `is_ours` names tables to
/// leave out, such as those of the program under test.
pub async fn differences(db: &Db, facts: &Facts, is_ours: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let engine = db.engine();
    let mut found = read::tables(db).await?;
    found.retain(|name, _| !is_ours(name));
    let mut differences = Vec::new();
    for table in &facts.tables {
        match found.remove(&table.name) {
            Some(found) => compare(table, &found, engine, &mut differences),
            None => differences.push(format!("{}: the table is missing", table.name)),
        }
    }
    differences.extend(found.keys().map(|name| format!("{name}: a table too many")));
    Ok(differences)
}

/// Everything that the catalogue says, one line each beginning with `NAME:`, to compare with later: tables, and the names of
/// views, triggers, routines and sequences.
pub async fn snapshot(db: &Db) -> Result<BTreeSet<String>> {
    let mut lines = BTreeSet::new();
    for (table, found) in read::tables(db).await? {
        lines.extend(found.columns.iter().map(|(name, column)| format!("{table}: {name} {column:?}")));
        lines.insert(format!("{table}: primary key {:?}", found.primary_key));
        for (what, keys) in [("unique", &found.unique), ("index", &found.indexes), ("foreign key", &found.foreign)] {
            lines.extend(keys.iter().map(|(shape, names)| format!("{table}: {what} {shape:?} {names:?}")));
        }
    }
    lines.extend(read::others(db).await?);
    Ok(lines)
}

fn compare(table: &Table, found: &Found, engine: Engine, differences: &mut Vec<String>) {
    let mut note = |text: String| differences.push(format!("{}: {text}", table.name));
    for column in &table.columns {
        match found.columns.get(&column.name) {
            Some(found) => compare_column(&table.name, column, found, engine, &mut note),
            None => note(format!("column {} is missing", column.name)),
        }
    }
    for name in found.columns.keys().filter(|name| table.column(name).is_none()) {
        note(format!("column {name} is one too many"));
    }
    if table.primary_key != found.primary_key {
        note(format!("primary key {:?}, expected {:?}", found.primary_key, table.primary_key));
    }
    let is_primary = |shape: &Shape| engine == Engine::Postgres && *shape == found.primary_key;
    let unique = shapes(&table.unique, engine);
    compare_keys("unique key", &unique, &found.unique, is_primary, |_| false, &mut note);
    // InnoDB makes an index for a foreign key, and drops it again when a wider one comes.
    let is_for_foreign = |shape: &Shape| engine == Engine::MySql && found.foreign_columns.contains(shape);
    compare_keys("index", &shapes(&table.indexes, engine), &found.indexes, |_| false, is_for_foreign, &mut note);
    let mut foreign: BTreeMap<Shape, Vec<String>> = BTreeMap::new();
    for key in &table.foreign {
        let rules = [normal::rule(&key.on_delete, engine), normal::rule(&key.on_update, engine)];
        let target = key.references.iter().map(|column| format!("{}.{column}", key.table));
        let shape = key.columns.iter().cloned().chain(target).chain(rules).collect();
        foreign.entry(shape).or_default().extend(key.name.clone());
    }
    compare_keys("foreign key", &foreign, &found.foreign, |_| false, |_| false, &mut note);
}

fn compare_column(table: &str, column: &Column, found: &FoundColumn, engine: Engine, note: &mut impl FnMut(String)) {
    let name = &column.name;
    if column.ordinal != found.ordinal {
        note(format!("column {name} has place {}, expected {}", found.ordinal, column.ordinal));
    }
    let kind = normal::kind(&column.kind, engine);
    if kind != found.kind {
        note(format!("column {name} is {}, expected {kind}", found.kind));
    }
    // explicit_defaults_for_timestamp=OFF: NOT NULL, with a default, and the first of a table moves with each update.
    let is_servers_choice = engine == Engine::MySql && column.extra == Extra::BareTimestamp && !found.is_nullable;
    if column.is_nullable != found.is_nullable && !is_servers_choice {
        note(format!("column {name} may be NULL: {}, expected {}", found.is_nullable, column.is_nullable));
    }
    let default = normal::default(table, column, engine);
    if default != found.default && !is_servers_choice {
        note(format!("column {name} has the default {:?}, expected {default:?}", found.default));
    }
    if engine == Engine::MySql && (column.extra == Extra::AutoIncrement) != found.is_numbered {
        note(format!("column {name} numbers its rows: {}", found.is_numbered));
    }
    if engine == Engine::MySql && (column.extra == Extra::OnUpdate) != found.is_moving && !is_servers_choice {
        note(format!("column {name} moves with an update: {}", found.is_moving));
    }
}

/// The keys of the facts by their shape, each with the names it was given (none for a key without a name).
fn shapes(keys: &[Key], engine: Engine) -> BTreeMap<Shape, Vec<String>> {
    let mut shapes: BTreeMap<Shape, Vec<String>> = BTreeMap::new();
    for key in keys {
        let part = |(column, prefix): &(String, Option<u32>)| match prefix {
            Some(length) if engine == Engine::MySql => format!("{column}({length})"),
            _ => column.clone(),
        };
        shapes.entry(key.parts.iter().map(part).collect()).or_default().extend(key.name.clone());
    }
    shapes
}

fn compare_keys(
    what: &str,
    expected: &BTreeMap<Shape, Vec<String>>,
    found: &BTreeMap<Shape, Vec<String>>,
    may_lack: impl Fn(&Shape) -> bool,
    may_have: impl Fn(&Shape) -> bool,
    note: &mut impl FnMut(String),
) {
    for (shape, names) in expected {
        match found.get(shape) {
            None if may_lack(shape) => {}
            None => note(format!("{what} on {} is missing ({})", shape.join(", "), names.join(", "))),
            Some(found) => {
                let is_there =
                    |name: &&String| found.contains(&name.chars().take(63).collect::<String>().to_uppercase());
                for name in names.iter().filter(|name| !is_there(name)) {
                    note(format!("{what} on {} has the name {}, expected {name}", shape.join(", "), found.join(", ")));
                }
            }
        }
    }
    for (shape, names) in found.iter().filter(|(shape, _)| !expected.contains_key(*shape) && !may_have(shape)) {
        note(format!("{what} on {} is one too many ({})", shape.join(", "), names.join(", ")));
    }
}
