//! The backward leg: the reads that an old server makes when it comes back, in SQL of our own from the storage contract
//! (database.md). What these do not find, the old server does not find.

use crate::Release;
use crate::db::{Db, Row, Value};
use crate::digest::hash_text;
use crate::golden::{Databases, Golden};
use crate::options::Options;
use anyhow::Result;

mod audit;
mod clients;
mod codes;
mod tokens;
mod users;
mod validation;

pub use clients::FoundClient;
pub use codes::FoundCode;
pub use tokens::{FoundRefresh, FoundToken};
pub use validation::FoundSubscription;

/// An old server of the release that left the databases, with its settings.
#[derive(Clone, Copy, Debug)]
pub struct OldServer<'a> {
    databases: &'a Databases,
    options: &'a Options,
}

impl Golden {
    /// The old server, started again on its databases.
    pub fn old_server(&self) -> OldServer<'_> {
        OldServer { databases: &self.databases, options: &self.options }
    }
}

impl OldServer<'_> {
    fn release(&self) -> Release {
        self.options.release
    }

    fn am(&self) -> &Db {
        &self.databases.api_manager
    }

    fn idn(&self) -> &Db {
        &self.databases.identity
    }

    fn um(&self) -> &Db {
        &self.databases.user
    }

    async fn row(&self, db: &Db, sql: &str, arguments: &[Value]) -> Result<Option<Row>> {
        Ok(db.rows(sql, arguments).await?.into_iter().next())
    }

    /// The condition by which a token, refresh token or code is looked up: by its hash from 2.6 on, before by its column.
    fn by_value(&self, column: &str, value: &str) -> (String, Value) {
        match self.release() {
            Release::V2_1 => (format!("{column} = ?"), self.options.form.stored(Release::V2_1, value).into()),
            _ => (format!("{column}_HASH = ?"), hash_text(value).into()),
        }
    }

    /// The instant of a token time.
    fn instant_ms(&self, text: &str) -> Result<i64> {
        let instant = self.options.token_clock.instant_ms(text);
        instant.ok_or_else(|| anyhow::anyhow!("no time of {:?}: {text}", self.options.token_clock))
    }

    /// A tenant's number; `carbon.super` has no row.
    pub async fn tenant_id(&self, domain: &str) -> Result<Option<i64>> {
        if domain == "carbon.super" {
            return Ok(Some(crate::fill::SUPER));
        }
        let find = "SELECT UM_ID FROM UM_TENANT WHERE UM_DOMAIN_NAME = ?";
        self.row(self.um(), find, &[domain.into()]).await?.map(|row| row.int(0)).transpose()
    }

    /// A tenant's `tenant-conf.json` (database.md 6.1 and 6.3).
    pub async fn tenant_configuration(&self, tenant_id: i64) -> Result<Option<Vec<u8>>> {
        const FIND: &str = "SELECT c.REG_CONTENT_DATA FROM REG_PATH p \
            JOIN REG_RESOURCE r ON r.REG_PATH_ID = p.REG_PATH_ID AND r.REG_TENANT_ID = p.REG_TENANT_ID \
            JOIN REG_CONTENT c ON c.REG_CONTENT_ID = r.REG_CONTENT_ID AND c.REG_TENANT_ID = r.REG_TENANT_ID \
            WHERE p.REG_PATH_VALUE = ? AND p.REG_TENANT_ID = ? AND r.REG_NAME = ?";
        let (path, name) = crate::fill::CONFIGURATION;
        let row = self.row(&self.databases.registry, FIND, &[path.into(), tenant_id.into(), name.into()]).await?;
        row.map(|row| row.bytes(0)).transpose()
    }
}
