//! An old server's databases, as facts: its tables on each engine ([`facts`], [`ddl`]) and a check of a live catalogue against
//! them ([`catalogue`]); the rows that it leaves behind, with a manifest of what must be answered ([`golden`], [`manifest`]);
//! and the reads that it makes when it comes back ([`old_server`]). Everything follows the storage contract (database.md) and
//! nothing knows our program: what both must agree on is written twice, on purpose. For tests only.
//!
//! A test of a program goes both ways:
//!
//! ```text
//! let golden = Golden::create(engine, &admin_url, Options { form, ..Options::new(Release::V2_6, now_ms) }).await?;
//! // forward: start the program on golden.addresses; every answer is as golden.manifest says
//! // backward: stop it; golden.old_server() finds what the program wrote: token(), refresh(), code(), client(), ...
//! golden.old_server().complaints(now_ms).await?;      // only of rows that the manifest names
//! golden.catalogue_changes(|table| table.starts_with("CLV_")).await?;      // none
//! golden.drop_databases().await?;
//! ```
//!
//! The tests of this crate run each release once on each engine, and with `CLAVIGER_TEST_LONG=1` every combination of release,
//! engine, form, layout, fresh and migrated.

pub mod catalogue;
mod chance;
pub mod clock;
pub mod db;
pub mod ddl;
pub mod digest;
pub mod facts;
mod fill;
pub mod golden;
pub mod manifest;
mod migrated;
pub mod old_server;
pub mod options;
pub mod server;
pub mod vectors;

/// The database servers that old releases run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Engine {
    /// MariaDB or MySQL.
    MySql,
    /// PostgreSQL.
    Postgres,
}

/// Releases of the API Manager whose databases we know, each with the identity server of its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Release {
    /// 2.1.0 with IS 5.3.
    V2_1,
    /// 2.6.0 with IS 5.7.
    V2_6,
    /// 3.0.0 with IS 5.9.
    V3_0,
    /// 3.1.0 with IS 5.10.
    V3_1,
    /// 3.2.0 with IS 5.10.
    V3_2,
}
