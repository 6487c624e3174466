//! Databases of one's own on a test server.

use crate::Engine;
use crate::db::Db;
use anyhow::{Context as _, Result};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the databases of this process, for names that nobody else has.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A new, empty database.
#[derive(Clone, Debug)]
pub struct Scratch {
    /// `mysql://` or `postgres://`, with the account of the server's URL.
    pub url: String,
    /// Connections to it.
    pub db: Db,
    name: String,
    admin_url: String,
}

impl Scratch {
    /// Makes a database whose name begins with `prefix`. `admin_url` names any database of the server and an account that
    /// may make others. On MariaDB its character set is latin1, in which every script loads (database.md 1.5).
    pub async fn create(engine: Engine, admin_url: &str, prefix: &str, has_old_timestamps: bool) -> Result<Self> {
        let name = format!("{prefix}_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let (server, _) = admin_url.rsplit_once('/').context("a database URL ends with /NAME")?;
        let url = format!("{server}/{name}");
        let admin = Db::open(engine, admin_url, false).await?;
        let charset = if engine == Engine::MySql { " CHARACTER SET latin1 COLLATE latin1_swedish_ci" } else { "" };
        admin.run(&format!("CREATE DATABASE {name}{charset}")).await?;
        admin.close().await;
        let db = Db::open(engine, &url, has_old_timestamps).await?;
        Ok(Self { url, db, name, admin_url: admin_url.to_owned() })
    }

    /// Drops it; nobody may be connected to it any more.
    pub async fn drop_database(self) -> Result<()> {
        let engine = self.db.engine();
        self.db.close().await;
        let admin = Db::open(engine, &self.admin_url, false).await?;
        admin.run(&format!("DROP DATABASE {}", self.name)).await?;
        admin.close().await;
        Ok(())
    }
}
