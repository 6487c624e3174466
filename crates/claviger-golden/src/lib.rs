//! An old server's databases, as facts.

pub mod catalogue;
pub mod db;
pub mod ddl;
pub mod facts;
pub mod server;

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
