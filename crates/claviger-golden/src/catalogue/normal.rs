//! One spelling for what scripts and catalogues write in several.

use crate::Engine;
use crate::facts::Column;

/// A type of the facts in the words of the engine's catalogue.
pub(super) fn kind(kind: &str, engine: Engine) -> String {
    let kind = kind.to_lowercase();
    let base = kind.split('(').next().unwrap_or_default();
    let text = match (engine, base) {
        (Engine::MySql, "integer" | "int") => "int(11)",
        (Engine::MySql, "bool" | "boolean") => "tinyint(1)",
        (Engine::MySql, "blob") => "blob",
        (Engine::MySql, _) => match kind.as_str() {
            "bigint" => "bigint(20)",
            "smallint" => "smallint(6)",
            "tinyint" => "tinyint(4)",
            "char" => "char(1)",
            other => return other.replace("numeric", "decimal"),
        },
        (Engine::Postgres, "int" | "integer" | "serial") => "integer",
        (Engine::Postgres, "timestamp") => "timestamp without time zone",
        (Engine::Postgres, "bool") => "boolean",
        (Engine::Postgres, "double") => "double precision",
        (Engine::Postgres, _) => return kind,
    };
    text.to_owned()
}

/// A default of the facts, comparable with [`found_default`].
pub(super) fn default(table: &str, column: &Column, engine: Engine) -> String {
    if column.kind == "SERIAL" {
        return format!("NEXTVAL {table}_{}_SEQ", column.name);
    }
    let kind = kind(&column.kind, engine);
    found_default(column.default.as_deref().unwrap_or_default(), &kind, engine)
}

/// A default as the catalogue writes it, without casts and quotes; a sequence is `NEXTVAL`, whatever its schema.
pub(super) fn found_default(text: &str, kind: &str, engine: Engine) -> String {
    let text = text.trim();
    let upper = text.to_uppercase();
    if upper.starts_with("NEXTVAL(") {
        let name = upper.trim_start_matches("NEXTVAL(").split("::").next().unwrap_or_default();
        return format!("NEXTVAL {}", name.trim_matches(['\'', '"', ')']));
    }
    let text = text.split("::").next().unwrap_or_default();
    let upper = text.to_uppercase();
    match upper.trim_end_matches("()") {
        "NULL" => return String::new(),
        "CURRENT_TIMESTAMP" | "NOW" => return "CURRENT_TIMESTAMP".to_owned(),
        _ => {}
    }
    let text = text.trim_matches(['(', ')', '\'']);
    let is_truth = kind == "tinyint(1)" || (engine == Engine::Postgres && kind == "boolean");
    match text.to_uppercase().as_str() {
        "FALSE" | "F" | "0" if is_truth => "FALSE".to_owned(),
        "TRUE" | "T" | "1" if is_truth => "TRUE".to_owned(),
        _ => text.to_owned(),
    }
}

/// A rule of a foreign key. InnoDB does the same for RESTRICT and NO ACTION.
pub(super) fn rule(rule: &str, engine: Engine) -> String {
    match (engine, rule) {
        (Engine::MySql, "RESTRICT") => "NO ACTION".to_owned(),
        _ => rule.to_owned(),
    }
}
