//! `claviger db status` and `claviger db create`: the databases of a configuration, looked at and made.
//!
//! Owns: the output and the exit codes. Leaves to others: looking and making (the store), the first rows (`startup`).

use super::findings::{advice, of_family, severity, what};
use super::key_stores::{self, Trouble};
use super::{EXIT_FAILURE, EXIT_OK};
use crate::config::Config;
use crate::config::database::DatabaseUrl;
use crate::config::model::Databases;
use crate::startup::{self, databases};
use anyhow::Context as _;
use claviger_proto::entropy::Entropy;
use claviger_proto::time::Timestamp;
use claviger_store::capability::Capability;
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::schema::{self, Prepared};
use claviger_store::sql::{Engine, Family};
use claviger_store::status::{self, DatabaseStatus, Depth, Finding, Severity, Status};
use std::io::{self, Write};
use std::sync::Arc;

/// Prints what the databases hold and what is unusual about them, and changes nothing. The exit code is [`EXIT_FAILURE`]
/// when a server could not run on them, however many warnings there are it is [`EXIT_OK`].
pub async fn status(config: &Config, now: Timestamp, out: &mut dyn Write) -> anyhow::Result<u8> {
    let configured = &config.databases;
    if let DatabaseUrl::Sqlite { path } = &configured.identity.url
        && !path.exists()
    {
        writeln!(out, "There is no database {} yet; the first start makes it.", path.display())?;
        return Ok(EXIT_OK);
    }
    let store = databases::open(configured).await?;
    let found = look(&store, config, now).await.context("the databases cannot be read");
    store.close().await;
    let (found, troubles) = found?;
    for database in &found.databases {
        print_database(database, configured, out)?;
    }
    print_layout(&found, out)?;
    for finding in &found.findings {
        let word = severity(finding.severity());
        writeln!(
            out,
            "{word}: {}\n{:width$}{}",
            what(finding, configured),
            "",
            advice(finding),
            width = word.len() + 2
        )?;
    }
    key_stores::print(&troubles, out)?;
    let is_fatal = found.findings.iter().any(|finding| finding.severity() == Severity::Error);
    if troubles.is_empty() && found.findings.iter().all(|finding| finding.severity() == Severity::Note) {
        writeln!(out, "Nothing is wrong.")?;
    }
    Ok(if is_fatal { EXIT_FAILURE } else { EXIT_OK })
}

/// What the store sees, and tenants' key stores where there may be some.
async fn look(store: &Store, config: &Config, now: Timestamp) -> Result<(Status, Vec<Trouble>), StoreError> {
    let found = status::look(store, now, Depth::Full).await?;
    let is_there = |wanted: Family| found.databases.iter().any(|it| it.holds.iter().any(|(held, _)| *held == wanted));
    let is_readable = is_there(Family::Registry) && is_there(Family::User);
    let is_missing = |finding: &Finding| matches!(finding, Finding::NoTables { .. } | Finding::NewerRelease { .. });
    if !is_readable || found.findings.iter().any(is_missing) {
        return Ok((found, Vec::new()));
    }
    let troubles = key_stores::look(store, config).await?;
    Ok((found, troubles))
}

fn print_database(found: &DatabaseStatus, configured: &Databases, out: &mut dyn Write) -> io::Result<()> {
    let first = found.families.first().copied().unwrap_or(Family::Identity);
    let engine = match found.engine {
        Engine::Sqlite => "SQLite",
        Engine::MySql if found.version.contains("MariaDB") => "MariaDB",
        Engine::MySql => "MySQL",
        Engine::Postgres => "PostgreSQL",
    };
    let mut sections: Vec<&str> = found.families.iter().map(|it| of_family(configured, *it).name.as_str()).collect();
    sections.dedup();
    writeln!(out, "{} [{}]", of_family(configured, first).url.label(), sections.join(", "))?;
    let mut line = |name: &str, value: &str| writeln!(out, "  {name:14} {value}");
    line("server", &format!("{engine} {}", found.version))?;
    line("configured for", &names(&found.families))?;
    let holds: Vec<String> = found.holds.iter().map(|(family, count)| format!("{} {count}", family.name())).collect();
    let own = if found.own > 0 { format!("; our own (CLV_*) {}", found.own) } else { String::new() };
    let holds = if holds.is_empty() { "no tables of the product".to_owned() } else { holds.join(", ") };
    line("holds", &format!("{holds}{own}"))?;
    line("character set", &found.character_set)?;
    if let Some(collation) = &found.collation {
        line("client ids", &format!("collation {collation}"))?;
    }
    if let Some(zone) = &found.session_zone {
        let gap = found.next_gap.as_ref();
        let gap = gap.map(|(from, to)| format!("; the clock next skips {from} to {to}")).unwrap_or_default();
        line("session zone", &format!("{zone}{gap}"))?;
    }
    if let Some(isolation) = &found.isolation {
        line("isolation", isolation)?;
    }
    if let Some(value) = &found.explicit_defaults {
        line("timestamps", &format!("explicit_defaults_for_timestamp {value}"))?;
    }
    let zones = (configured.token_time_zone, configured.local_time_zone);
    match found.engine {
        Engine::Sqlite => Ok(()),
        Engine::MySql | Engine::Postgres => line(
            "stored times",
            &format!("tokens in {} (db.token_time_zone), others in {} (db.local_time_zone)", zones.0, zones.1),
        ),
    }
}

fn names(families: &[Family]) -> String {
    families.iter().map(|family| family.name()).collect::<Vec<_>>().join(", ")
}

fn print_layout(found: &Status, out: &mut dyn Write) -> io::Result<()> {
    let is_empty = found.databases.iter().all(|database| database.holds.is_empty());
    if is_empty {
        return Ok(());
    }
    writeln!(out, "Layout of release {}", found.capabilities.release().unwrap_or("unknown"))?;
    let missing: Vec<&str> = found.capabilities.missing().map(Capability::name).collect();
    if !missing.is_empty() {
        writeln!(out, "  without        {}", missing.join(", "))?;
    }
    Ok(())
}

/// Makes tables and first rows where the databases are empty, our own tables where the product's are there. The
/// administrator is made by the first start of a server, which has a place for a generated password.
pub async fn create(config: &Config, rng: &Arc<dyn Entropy>, out: &mut dyn Write) -> anyhow::Result<u8> {
    let store = databases::open(&config.databases).await?;
    let lock = store.lock_start().await.context("another node is still preparing the databases")?;
    store.detect().await?;
    let before = status::look(&store, Timestamp::NEVER, Depth::Start).await?;
    let prepared = schema::prepare(&store).await.context("the tables cannot be prepared")?;
    startup::seed_rows(&store, config, prepared, rng).await.context("the first rows cannot be written")?;
    lock.release().await;
    store.close().await;
    let label = databases::labels(&config.databases);
    match prepared {
        Prepared::Created if !before.findings.contains(&Finding::Empty) => {
            writeln!(out, "The first rows were written in {label}; the tables were there.")?;
        }
        Prepared::Created => writeln!(out, "All tables and first rows were made in {label}.")?,
        Prepared::Found if before.findings.iter().any(|finding| matches!(finding, Finding::OwnTables { .. })) => {
            writeln!(out, "Our own tables (CLV_*) were made beside the product's in {label}.")?;
        }
        Prepared::Found => writeln!(out, "Everything is there in {label}; nothing was made.")?,
    }
    Ok(EXIT_OK)
}

/// Prints the statements that make our own tables, or with `is_all` those of every configured database while it is empty.
pub fn print(configured: &Databases, is_all: bool, out: &mut dyn Write) -> io::Result<u8> {
    let mut databases: Vec<(Family, Vec<Family>)> = Vec::new();
    for family in Family::ALL {
        let url = &of_family(configured, family).url;
        let same = databases.iter_mut().find(|(first, _)| of_family(configured, *first).url.is_same_database(url));
        match same {
            Some((_, families)) => families.push(family),
            None => databases.push((family, vec![family])),
        }
    }
    for (first, families) in databases.iter().filter(|(first, _)| is_all || *first == Family::Identity) {
        let url = &of_family(configured, *first).url;
        let engine = match url {
            DatabaseUrl::Sqlite { .. } => Engine::Sqlite,
            DatabaseUrl::MySql(_) => Engine::MySql,
            DatabaseUrl::Postgres(_) => Engine::Postgres,
        };
        writeln!(out, "-- {}", url.label())?;
        if is_all {
            writeln!(out, "-- Only while it is empty: the {} tables.", names(families))?;
            for statement in schema::statements(engine, families) {
                writeln!(out, "{statement};")?;
            }
        }
        if *first == Family::Identity {
            writeln!(out, "-- Our own tables.")?;
            for statement in schema::own_statements(engine) {
                writeln!(out, "{statement};")?;
            }
            if is_all {
                writeln!(out, "-- The first start adds the first rows.\n{};", schema::ROWS_ARE_MISSING)?;
            }
        }
    }
    Ok(EXIT_OK)
}
