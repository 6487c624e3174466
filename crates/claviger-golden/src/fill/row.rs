//! One row to insert.

use crate::db::{Db, Value};
use crate::facts::Facts;
use anyhow::{Context as _, Result, ensure};

/// A database with the facts of its tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family<'a> {
    pub(crate) db: &'a Db,
    pub(crate) facts: &'a Facts,
}

/// A row before it is written.
#[derive(Debug)]
pub(crate) struct NewRow {
    table: &'static str,
    values: Vec<(&'static str, Value)>,
    optional: Vec<(&'static str, Value)>,
}

pub(crate) fn row(table: &'static str) -> NewRow {
    NewRow { table, values: Vec::new(), optional: Vec::new() }
}

impl NewRow {
    pub(crate) fn set(mut self, column: &'static str, value: impl Into<Value>) -> Self {
        self.values.push((column, value.into()));
        self
    }

    /// A column that not every release has.
    pub(crate) fn optional(mut self, column: &'static str, value: impl Into<Value>) -> Self {
        self.optional.push((column, value.into()));
        self
    }
}

impl Family<'_> {
    pub(crate) fn has(&self, table: &str, column: &str) -> bool {
        self.facts.has(table, column)
    }

    /// Writes the row.
    pub(crate) async fn insert(&self, row: NewRow) -> Result<()> {
        let sql = self.statement(row)?;
        ensure!(self.db.run(&sql).await? == 1, "not one row: {sql}");
        Ok(())
    }

    /// Writes the row and gives the number that the engine gave it in the column `id`.
    pub(crate) async fn insert_numbered(&self, row: NewRow, id: &'static str) -> Result<i64> {
        self.db.insert(&self.statement(row)?, Some(id)).await
    }

    fn statement(&self, row: NewRow) -> Result<String> {
        let NewRow { table: name, mut values, optional } = row;
        let table = self.facts.table(name).with_context(|| format!("this release has no table {name}"))?;
        values.extend(optional.into_iter().filter(|(column, _)| table.column(column).is_some()));
        let engine = self.db.engine();
        let literal = |(column, value): &(&str, Value)| {
            let column = table.column(column).with_context(|| format!("{name} has no column {column}"))?;
            Ok(value.literal(engine, &column.kind))
        };
        let literals: Vec<String> = values.iter().map(literal).collect::<Result<_>>()?;
        let columns: Vec<&str> = values.iter().map(|(column, _)| *column).collect();
        Ok(format!("INSERT INTO {name} ({}) VALUES ({})", columns.join(", "), literals.join(", ")))
    }
}
