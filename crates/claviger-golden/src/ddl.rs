//! The CREATE statements of a script, written from its facts in dependency order.

use crate::Engine;
use crate::facts::{Column, Extra, Facts, Key, Table};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The statements that make the tables: sequences first, a table after those it points to, indexes last.
pub fn statements(facts: &Facts, engine: Engine) -> Vec<String> {
    let mut statements = Vec::new();
    if engine == Engine::Postgres {
        let columns = facts.tables.iter().flat_map(|table| &table.columns);
        let sequences: BTreeSet<&str> = columns.filter_map(sequence).collect();
        statements.extend(sequences.iter().map(|name| format!("CREATE SEQUENCE {name}")));
    }
    let mut names = BTreeSet::new();
    let mut indexes = Vec::new();
    for table in in_order(facts) {
        statements.push(create_table(table, engine));
        for key in &table.indexes {
            let mut name = key.name.clone().unwrap_or_else(|| format!("IX_{}_{}", table.name, key.parts[0].0));
            // PostgreSQL has one name space for the indexes of all tables.
            if engine == Engine::Postgres && !names.insert(name.clone()) {
                name = format!("{}_{name}", table.name);
            }
            indexes.push(format!("CREATE INDEX {name} ON {} ({})", table.name, parts(key, engine)));
        }
    }
    statements.extend(indexes);
    statements
}

/// Tables, each after those its foreign keys point to.
fn in_order(facts: &Facts) -> Vec<&Table> {
    fn visit<'a>(facts: &'a Facts, table: &'a Table, seen: &mut BTreeSet<&'a str>, order: &mut Vec<&'a Table>) {
        if !seen.insert(&table.name) {
            return;
        }
        for target in table.foreign.iter().filter_map(|key| facts.table(&key.table)) {
            visit(facts, target, seen, order);
        }
        order.push(table);
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    for table in &facts.tables {
        visit(facts, table, &mut seen, &mut order);
    }
    order
}

/// The sequence that numbers a column (PostgreSQL).
fn sequence(column: &Column) -> Option<&str> {
    column.default.as_deref()?.strip_prefix("NEXTVAL('")?.strip_suffix("')")
}

fn create_table(table: &Table, engine: Engine) -> String {
    let mut items: Vec<String> = table.columns.iter().map(|column| column_definition(column, engine)).collect();
    if !table.primary_key.is_empty() {
        items.push(format!("PRIMARY KEY ({})", table.primary_key.join(", ")));
    }
    for key in &table.unique {
        let name = key.name.as_ref().map(|name| format!("CONSTRAINT {name} ")).unwrap_or_default();
        items.push(format!("{name}UNIQUE ({})", parts(key, engine)));
    }
    for key in &table.foreign {
        let mut item = key.name.as_ref().map(|name| format!("CONSTRAINT {name} ")).unwrap_or_default();
        let (columns, references) = (key.columns.join(", "), key.references.join(", "));
        write!(item, "FOREIGN KEY ({columns}) REFERENCES {} ({references})", key.table).expect("text does not fail");
        for (event, rule) in [("DELETE", &key.on_delete), ("UPDATE", &key.on_update)] {
            if rule != "NO ACTION" {
                write!(item, " ON {event} {rule}").expect("text does not fail");
            }
        }
        items.push(item);
    }
    let suffix = if engine == Engine::MySql { " ENGINE=InnoDB" } else { "" };
    format!("CREATE TABLE {} ({}){suffix}", table.name, items.join(", "))
}

fn column_definition(column: &Column, engine: Engine) -> String {
    let mut text = format!("{} {}", column.name, column.kind);
    let is_mysql = engine == Engine::MySql;
    if !column.is_nullable {
        text.push_str(" NOT NULL");
    } else if is_mysql && column.kind.starts_with("TIMESTAMP") && column.extra != Extra::BareTimestamp {
        // Else a server with explicit_defaults_for_timestamp=OFF makes it NOT NULL.
        text.push_str(" NULL");
    }
    if let Some(default) = &column.default {
        write!(text, " DEFAULT {default}").expect("text does not fail");
    }
    match column.extra {
        Extra::AutoIncrement if is_mysql => text.push_str(" AUTO_INCREMENT"),
        Extra::OnUpdate if is_mysql => text.push_str(" ON UPDATE CURRENT_TIMESTAMP"),
        _ => {}
    }
    text
}

fn parts(key: &Key, engine: Engine) -> String {
    let part = |(column, prefix): &(String, Option<u32>)| match prefix {
        Some(length) if engine == Engine::MySql => format!("{column}({length})"),
        _ => column.clone(),
    };
    key.parts.iter().map(part).collect::<Vec<_>>().join(", ")
}
