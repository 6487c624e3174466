//! An old server's databases on a test server, from nothing to dropped.

use crate::catalogue;
use crate::db::Db;
use crate::facts::{Facts, Script};
use crate::fill::row::Family;
use crate::fill::{Families, fill};
use crate::manifest::Manifest;
use crate::options::{Layout, Options};
use crate::server::{Address, Scratch};
use crate::{Engine, Release, ddl, migrated};
use anyhow::{Result, ensure};
use std::collections::BTreeSet;

/// The databases with what an old server left in them.
#[derive(Debug)]
pub struct Golden {
    /// Where the families of tables are, for a configuration file.
    pub addresses: Addresses,
    /// Connections to them.
    pub databases: Databases,
    /// What was written and what must be answered.
    pub manifest: Manifest,
    /// How they came about.
    pub options: Options,
    scratches: Vec<Scratch>,
    catalogues: Vec<BTreeSet<String>>,
}

/// Where each family's database is; several may be the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// AM_: `[database.apim_db]`.
    pub api_manager: Address,
    /// IDN_, SP_, IDP: `[database.identity_db]`.
    pub identity: Address,
    /// UM_: `[database.user]`.
    pub user: Address,
    /// REG_: `[database.shared_db]`.
    pub registry: Address,
}

/// Connections to each family's database; several may be the same.
#[derive(Clone, Debug)]
pub struct Databases {
    /// AM_.
    pub api_manager: Db,
    /// IDN_, SP_, IDP.
    pub identity: Db,
    /// UM_.
    pub user: Db,
    /// REG_.
    pub registry: Db,
}

impl Golden {
    /// Makes the databases, their tables and their rows. `admin_url` names any database of the server and an account that
    /// may make others.
    pub async fn create(engine: Engine, admin_url: &str, options: Options) -> Result<Self> {
        let is_apart = options.layout == Layout::Apart;
        ensure!(!is_apart || options.release == Release::V3_2, "only 3.2 has its identity server's own tables here");
        let (manager, kernel) = (Script::ApiManager(options.release), Script::Kernel(options.release));
        let scripts: &[(&str, &[Script])] = match options.layout {
            Layout::One => &[("golden_all", &[manager, kernel])],
            Layout::Two => &[("golden_am", &[manager]), ("golden_shared", &[kernel])],
            Layout::Three => &[("golden_apimgt", &[manager]), ("golden_user", &[kernel]), ("golden_reg", &[kernel])],
            Layout::Apart => {
                &[("golden_am", &[manager]), ("golden_identity", &[Script::Identity]), ("golden_shared", &[kernel])]
            }
        };
        let mut scratches = Vec::new();
        let mut catalogues = Vec::new();
        for (prefix, scripts) in scripts {
            let scratch = Scratch::create(engine, admin_url, prefix, options.has_old_timestamps).await?;
            let facts = Facts::of_one_database(scripts, engine)?;
            scratch.db.run(&ddl::statements(&facts, engine).join(";")).await?;
            if options.is_migrated {
                migrated::alter(&scratch.db, &facts, options.release).await?;
            }
            catalogues.push(catalogue::snapshot(&scratch.db).await?);
            scratches.push(scratch);
        }
        let last = scratches.len() - 1;
        let user_at = if is_apart { last } else { last.min(1) };
        let at = |index: usize| (scratches[index].db.clone(), scratches[index].address.clone());
        let [api_manager, identity, user, registry] = [0, usize::from(is_apart), user_at, last].map(at);
        let databases =
            Databases { api_manager: api_manager.0, identity: identity.0, user: user.0, registry: registry.0 };
        let addresses =
            Addresses { api_manager: api_manager.1, identity: identity.1, user: user.1, registry: registry.1 };
        let [manager_facts, kernel_facts] = [Facts::of(manager, engine)?, Facts::of(kernel, engine)?];
        let identity_facts = Facts::of(if is_apart { Script::Identity } else { manager }, engine)?;
        let families = Families {
            api_manager: Family { db: &databases.api_manager, facts: &manager_facts },
            identity: Family { db: &databases.identity, facts: &identity_facts },
            user: Family { db: &databases.user, facts: &kernel_facts },
            registry: Family { db: &databases.registry, facts: &kernel_facts },
        };
        let manifest = fill(families, &options).await?;
        Ok(Self { addresses, databases, manifest, options, scratches, catalogues })
    }

    /// What the catalogues say now and did not say at first, and the other way round, without the tables that are ours.
    pub async fn catalogue_changes(&self, is_ours: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let mut changes = Vec::new();
        for (scratch, before) in self.scratches.iter().zip(&self.catalogues) {
            let now = catalogue::snapshot(&scratch.db).await?;
            let is_theirs = |line: &&String| !is_ours(line.split(':').next().unwrap_or_default());
            changes.extend(now.difference(before).filter(is_theirs).map(|line| format!("new: {line}")));
            changes.extend(before.difference(&now).filter(is_theirs).map(|line| format!("gone: {line}")));
        }
        Ok(changes)
    }

    /// Drops the databases; nobody else may be connected to them any more.
    pub async fn drop_databases(self) -> Result<()> {
        for scratch in self.scratches {
            scratch.drop_database().await?;
        }
        Ok(())
    }
}
