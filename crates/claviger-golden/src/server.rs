//! Databases of one's own on a test server.

use crate::Engine;
use crate::db::Db;
use anyhow::{Context as _, Result};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the databases of this process, for names that nobody else has.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Where a database is, for a URL or a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The server.
    pub engine: Engine,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database name.
    pub name: String,
    /// Account.
    pub user: String,
    /// Its password; empty is none.
    pub password: String,
}

impl Address {
    /// Of a URL `SCHEME://USER[:PASSWORD]@HOST:PORT/NAME`, in which nothing is percent-encoded.
    pub fn of_url(engine: Engine, url: &str) -> Result<Self> {
        let parts = || {
            let (_, rest) = url.split_once("://")?;
            let (account, rest) = rest.rsplit_once('@')?;
            let (server, name) = rest.split_once('/')?;
            let (host, port) = server.rsplit_once(':')?;
            let (user, password) = account.split_once(':').unwrap_or((account, ""));
            Some((host, port, name, user, password))
        };
        let (host, port, name, user, password) = parts().context("not SCHEME://USER:PASSWORD@HOST:PORT/NAME")?;
        let [host, name, user, password] = [host, name, user, password].map(str::to_owned);
        Ok(Self { engine, host, port: port.parse()?, name, user, password })
    }

    /// `mysql://` or `postgres://` with the account.
    pub fn url(&self) -> String {
        let scheme = if self.engine == Engine::MySql { "mysql" } else { "postgres" };
        let Self { host, port, name, user, password, .. } = self;
        let colon = if password.is_empty() { "" } else { ":" };
        format!("{scheme}://{user}{colon}{password}@{host}:{port}/{name}")
    }

    /// As an old server's configuration names it, without the account.
    pub fn jdbc_url(&self) -> String {
        let Self { host, port, name, .. } = self;
        match self.engine {
            Engine::MySql => format!("jdbc:mysql://{host}:{port}/{name}?autoReconnect=true&useSSL=false"),
            Engine::Postgres => format!("jdbc:postgresql://{host}:{port}/{name}"),
        }
    }
}

/// A new, empty database.
#[derive(Clone, Debug)]
pub struct Scratch {
    /// Where it is, with the account of the server's URL.
    pub address: Address,
    /// Connections to it.
    pub db: Db,
    admin_url: String,
}

impl Scratch {
    /// Makes a database whose name begins with `prefix`. `admin_url` names any database of the server and an account that
    /// may make others. On MariaDB its character set is latin1, in which every script loads (database.md 1.5).
    pub async fn create(engine: Engine, admin_url: &str, prefix: &str, has_old_timestamps: bool) -> Result<Self> {
        let name = format!("{prefix}_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let address = Address { name: name.clone(), ..Address::of_url(engine, admin_url)? };
        let admin = Db::open(engine, admin_url, false).await?;
        let charset = if engine == Engine::MySql { " CHARACTER SET latin1 COLLATE latin1_swedish_ci" } else { "" };
        admin.run(&format!("CREATE DATABASE {name}{charset}")).await?;
        admin.close().await;
        let db = Db::open(engine, &address.url(), has_old_timestamps).await?;
        Ok(Self { address, db, admin_url: admin_url.to_owned() })
    }

    /// Drops it; nobody may be connected to it any more.
    pub async fn drop_database(self) -> Result<()> {
        let engine = self.db.engine();
        self.db.close().await;
        let admin = Db::open(engine, &self.admin_url, false).await?;
        admin.run(&format!("DROP DATABASE {}", self.address.name)).await?;
        admin.close().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |engine, url: &str, jdbc: &str| {
            let address = Address::of_url(engine, url).unwrap();
            assert_eq!((address.url().as_str(), address.jdbc_url().as_str()), (url, jdbc));
        };
        let jdbc = "jdbc:mysql://[::1]:3306/am_db?autoReconnect=true&useSSL=false";
        check(Engine::MySql, "mysql://me:se@cret@[::1]:3306/am_db", jdbc);
        check(Engine::Postgres, "postgres://me@host:5432/userdb", "jdbc:postgresql://host:5432/userdb");
        assert!(Address::of_url(Engine::MySql, "mysql://host/am_db").is_err());
    }
}
