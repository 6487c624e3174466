//! Cleaning on command: one walk through all tables, beside whatever else works on them.

use super::{Cleanup, Totals, find, remove};
use crate::config::Config;
use crate::startup;
use anyhow::Context as _;
use claviger_proto::time::Clock;
use claviger_store::cleaning::{self, Rules, Table};
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use std::io;
use tokio::time::Instant;

/// `claviger db clean`: one walk through the tables of a configuration's database, beside whatever else works on it; prints
/// each table with the rows that went, or would go, also when one of them could not be cleaned.
pub async fn clean_database(
    config: &Config,
    settings: &Cleanup,
    clock: &dyn Clock,
    is_dry_run: bool,
    out: &mut dyn io::Write,
) -> anyhow::Result<()> {
    let store = startup::databases::open(&config.databases).await?;
    store.detect().await.context("the tables cannot be read")?;
    let apart_ms =
        settings.clocks_apart_ms(&store, clock).await.context("the database server's clock cannot be read")?;
    if let Some(apart_ms) = apart_ms {
        anyhow::bail!(
            "this host's clock and the database server's are {} s apart: nothing is cleaned",
            apart_ms / 1000
        );
    }
    let rules = settings.rules(config, &startup::oauth_settings(config), clock.now());
    let mut totals = Totals::new();
    let result = clean_once(&store, settings, rules, !is_dry_run, &mut totals).await;
    store.close().await;
    writeln!(out, "{:32} {}", "table", if is_dry_run { "rows that would go" } else { "rows removed" })?;
    for (table, rows) in totals {
        writeln!(out, "{:32} {rows}", table.name())?;
    }
    out.flush()?;
    result
}

/// One walk through all tables that are there, at the cleaner's pace. Without `is_removing` the rows that may go are only counted.
/// Each of them is in `totals`; an error is returned when every other one has had its turn.
async fn clean_once(
    store: &Store,
    settings: &Cleanup,
    rules: Rules,
    is_removing: bool,
    totals: &mut Totals,
) -> anyhow::Result<()> {
    let tables = async { cleaning::present(&mut store.reader().await?, settings.tables(store)).await };
    let mut failed = None;
    for table in tables.await.context("the tables cannot be listed")? {
        let rows = totals.entry(table).or_default();
        if let Err(error) = clean_table(store, settings, table, rules, is_removing, rows).await {
            failed.get_or_insert_with(|| {
                anyhow::Error::new(error).context(format!("{} cannot be cleaned", table.name()))
            });
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn clean_table(
    store: &Store,
    settings: &Cleanup,
    table: Table,
    rules: Rules,
    is_removing: bool,
    rows: &mut u64,
) -> Result<(), StoreError> {
    let counted = if is_removing { None } else { cleaning::count(&mut store.reader().await?, table, &rules).await? };
    let mut place = Some(String::new()).filter(|_| counted.is_none());
    *rows = counted.unwrap_or(0);
    while let Some(after) = place {
        let begun = Instant::now();
        let page = find(store, table, &after, &rules).await?;
        tokio::time::sleep(settings.pause_after(begun.elapsed())).await;
        if !is_removing {
            *rows += page.candidates.len() as u64;
            place = page.next;
            continue;
        }
        for some in page.candidates.chunks(cleaning::WRITE_ROWS) {
            let begun = Instant::now();
            *rows += remove(store, table, some, rules).await?;
            tokio::time::sleep(settings.pause_after(begun.elapsed())).await;
        }
        place = page.next;
    }
    Ok(())
}
