//! How an engine means to run a statement, for the test that keeps the hot statements on their indexes.
//!
//! Reads each engine's `EXPLAIN` as far as that question needs. Leaves to the test which scans are acceptable.

use crate::conn::{Conn, Link};
use crate::error::StoreError;
use crate::sql::Sql;
use crate::value::{Arg, mysql_arguments, postgres_arguments, sqlite_arguments};
use sqlx::{AssertSqlSafe, Row as _};

/// A plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The engine's words, for a failing test.
    pub lines: Vec<String>,
    /// Names (the alias where the statement gives one), in upper case, of tables that are read from end to end.
    pub scanned: Vec<String>,
}

impl Conn {
    /// The plan of a statement with these parameters. The statement does not run.
    #[doc(hidden)]
    pub async fn explain(&mut self, sql: &'static Sql, args: &[Arg<'_>]) -> Result<Plan, StoreError> {
        let databases = self.databases();
        let clock = databases.clock_of(sql.family(), sql.face());
        let (link, rendered) = self.link_for(sql.family(), sql).await?;
        let (text, args) = (rendered.text.as_str(), rendered.kept(args));
        let mut plan = Plan::default();
        match link {
            Link::Sqlite(link) => {
                let query = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"));
                for row in sqlx::query_with(query, sqlite_arguments(args)?).fetch_all(&mut **link).await? {
                    let step = row.try_get_unchecked::<String, _>("detail")?;
                    plan.scanned.extend(word_after(&step, "SCAN ").filter(|word| *word != "CONSTANT").map(upper));
                    plan.lines.push(step);
                }
            }
            Link::MySql(link) => {
                let query = AssertSqlSafe(format!("EXPLAIN {text}"));
                for row in sqlx::query_with(query, mysql_arguments(args, clock)?).fetch_all(&mut **link).await? {
                    let word = |name| row.try_get_unchecked::<Option<String>, _>(name).map(Option::unwrap_or_default);
                    let (table, kind, key) = (word("table")?, word("type")?, word("key")?);
                    // `index` reads an index from end to end.
                    if kind == "ALL" || kind == "index" {
                        plan.scanned.push(upper(&table));
                    }
                    plan.lines.push(format!("{table}: {kind} by {key:?}, {}", word("Extra")?));
                }
            }
            Link::Postgres(link) => {
                let query = AssertSqlSafe(format!("EXPLAIN {text}"));
                for row in sqlx::query_with(query, postgres_arguments(args, clock)?).fetch_all(&mut **link).await? {
                    let step = row.try_get_unchecked::<String, _>(0)?;
                    if let Some((_, rest)) = step.split_once("Seq Scan on ") {
                        let names = rest.split_once("  (").map_or(rest, |(names, _)| names);
                        plan.scanned.extend(names.split(' ').next_back().map(upper));
                    }
                    plan.lines.push(step);
                }
            }
        }
        Ok(plan)
    }
}

fn upper(name: &str) -> String {
    name.to_ascii_uppercase()
}

fn word_after<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.strip_prefix(start)?.split(' ').next()
}
