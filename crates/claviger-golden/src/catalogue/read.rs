//! The catalogue of a live database.

use super::{Found, FoundColumn, Shape, normal};
use crate::Engine;
use crate::db::Db;
use anyhow::Result;
use std::collections::BTreeMap;

const COLUMNS_MYSQL: &str = "SELECT UPPER(c.table_name), UPPER(c.column_name), c.ordinal_position, c.column_type, c.is_nullable, \
    c.column_default, c.extra FROM information_schema.columns c WHERE c.table_schema = DATABASE()";
const COLUMNS_POSTGRES: &str = "SELECT UPPER(table_name), UPPER(column_name), ordinal_position, \
    CASE data_type WHEN 'character varying' THEN 'varchar(' || character_maximum_length || ')' \
    WHEN 'character' THEN 'char(' || character_maximum_length || ')' ELSE data_type END, is_nullable, column_default, '' \
    FROM information_schema.columns WHERE table_schema = CURRENT_SCHEMA()";

/// Table, key, kind (P, U, I), column, prefix length; a key's columns in order.
const KEYS_MYSQL: &str = "SELECT UPPER(table_name), UPPER(index_name), \
    CASE WHEN index_name = 'PRIMARY' THEN 'P' WHEN non_unique = 0 THEN 'U' ELSE 'I' END, UPPER(column_name), sub_part \
    FROM information_schema.statistics WHERE table_schema = DATABASE() ORDER BY table_name, index_name, seq_in_index";
const KEYS_POSTGRES: &str = "SELECT UPPER(c.relname), UPPER(i.relname), \
    CASE WHEN x.indisprimary THEN 'P' WHEN x.indisunique THEN 'U' ELSE 'I' END, UPPER(a.attname), NULL \
    FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid \
    JOIN pg_namespace s ON s.oid = c.relnamespace AND s.nspname = CURRENT_SCHEMA() \
    CROSS JOIN LATERAL unnest(x.indkey::int2[]) WITH ORDINALITY AS k(attribute, place) \
    JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attribute ORDER BY c.relname, i.relname, k.place";

/// Table, key, column, target table, target column, rules; a key's columns in order.
const FOREIGN_MYSQL: &str = "SELECT UPPER(k.table_name), UPPER(k.constraint_name), UPPER(k.column_name), \
    UPPER(k.referenced_table_name), UPPER(k.referenced_column_name), r.delete_rule, r.update_rule \
    FROM information_schema.key_column_usage k JOIN information_schema.referential_constraints r \
    ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name AND r.table_name = k.table_name \
    WHERE k.table_schema = DATABASE() AND k.referenced_table_name IS NOT NULL \
    ORDER BY k.table_name, k.constraint_name, k.ordinal_position";
const FOREIGN_POSTGRES: &str = "SELECT UPPER(c.relname), UPPER(o.conname), UPPER(a.attname), UPPER(r.relname), UPPER(b.attname), \
    o.confdeltype, o.confupdtype FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid \
    JOIN pg_namespace s ON s.oid = c.relnamespace AND s.nspname = CURRENT_SCHEMA() JOIN pg_class r ON r.oid = o.confrelid \
    CROSS JOIN LATERAL unnest(o.conkey, o.confkey) WITH ORDINALITY AS k(here, there, place) \
    JOIN pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = k.here \
    JOIN pg_attribute b ON b.attrelid = o.confrelid AND b.attnum = k.there \
    WHERE o.contype = 'f' ORDER BY c.relname, o.conname, k.place";

/// All tables of the database.
pub(super) async fn tables(db: &Db) -> Result<BTreeMap<String, Found>> {
    let engine = db.engine();
    let (columns, keys, foreign) = match engine {
        Engine::MySql => (COLUMNS_MYSQL, KEYS_MYSQL, FOREIGN_MYSQL),
        Engine::Postgres => (COLUMNS_POSTGRES, KEYS_POSTGRES, FOREIGN_POSTGRES),
    };
    let mut tables: BTreeMap<String, Found> = BTreeMap::new();
    for row in db.rows(columns, &[]).await? {
        let kind = row.text(3)?;
        let extra = row.get(6).unwrap_or_default().to_lowercase();
        let column = FoundColumn {
            ordinal: row.text(2)?.parse()?,
            is_nullable: row.get(4) == Some("YES"),
            default: normal::found_default(row.get(5).unwrap_or_default(), &kind, engine),
            is_numbered: extra.contains("auto_increment"),
            is_moving: extra.contains("on update"),
            kind,
        };
        tables.entry(row.text(0)?).or_default().columns.insert(row.text(1)?, column);
    }
    let mut found: BTreeMap<(String, String, String), Shape> = BTreeMap::new();
    for row in db.rows(keys, &[]).await? {
        let prefix = row.get(4).map(|length| format!("({length})")).unwrap_or_default();
        let shape = found.entry((row.text(0)?, row.text(1)?, row.text(2)?)).or_default();
        shape.push(row.text(3)? + &prefix);
    }
    for ((table, name, kind), shape) in found {
        let table = tables.entry(table).or_default();
        match kind.as_str() {
            "P" => table.primary_key = shape,
            "U" => table.unique.entry(shape).or_default().push(name),
            _ => table.indexes.entry(shape).or_default().push(name),
        }
    }
    let mut found: BTreeMap<(String, String), [Shape; 3]> = BTreeMap::new();
    for row in db.rows(foreign, &[]).await? {
        let [columns, targets, rules] = found.entry((row.text(0)?, row.text(1)?)).or_default();
        columns.push(row.text(2)?);
        targets.push(format!("{}.{}", row.text(3)?, row.text(4)?));
        let rule = |index| row.text(index).map(|text| normal::rule(rule_in_words(&text), engine));
        *rules = vec![rule(5)?, rule(6)?];
    }
    for ((table, name), [columns, targets, rules]) in found {
        let table = tables.entry(table).or_default();
        table.foreign_columns.insert(columns.clone());
        table.foreign.entry([columns, targets, rules].concat()).or_default().push(name);
    }
    Ok(tables)
}

const OTHERS: &str = "SELECT 'view', UPPER(table_name) FROM information_schema.views WHERE table_schema = THIS_SCHEMA \
    UNION ALL SELECT 'trigger', UPPER(trigger_name) FROM information_schema.triggers WHERE trigger_schema = THIS_SCHEMA \
    UNION ALL SELECT 'routine', UPPER(routine_name) FROM information_schema.routines WHERE routine_schema = THIS_SCHEMA";
const SEQUENCES: &str = " UNION ALL SELECT 'sequence', UPPER(sequence_name) FROM information_schema.sequences WHERE sequence_schema = THIS_SCHEMA";

/// What there is besides tables, one line each.
pub(super) async fn others(db: &Db) -> Result<Vec<String>> {
    let sql = match db.engine() {
        Engine::MySql => OTHERS.replace("THIS_SCHEMA", "DATABASE()"),
        Engine::Postgres => [OTHERS, SEQUENCES].concat().replace("THIS_SCHEMA", "CURRENT_SCHEMA()"),
    };
    let rows = db.rows(&sql, &[]).await?;
    rows.iter().map(|row| Ok(format!("{}: {}", row.text(1)?, row.text(0)?))).collect()
}

/// PostgreSQL keeps a letter.
fn rule_in_words(rule: &str) -> &str {
    match rule {
        "c" => "CASCADE",
        "r" => "RESTRICT",
        "n" => "SET NULL",
        "a" => "NO ACTION",
        other => other,
    }
}
