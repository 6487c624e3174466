//! Writes what an old server leaves behind, in statements of our own (contract database.md and schema/seed-rows.md). One file
//! per family of tables; the order is that of a server's life: first start, users, APIs, applications and their clients, tokens.

use crate::chance::Chance;
use crate::clock::WallClock;
use crate::manifest::{Manifest, Tenant};
use crate::options::Options;
use crate::{Engine, Release};
use anyhow::{Context as _, Result};

mod apis;
mod applications;
mod claims;
mod clients;
mod codes;
mod first_start;
mod registry;
pub(crate) mod row;
mod token_rows;
mod tokens;
mod users;

pub(crate) use registry::CONFIGURATION;
use row::Family;

/// The super tenant.
pub(crate) const SUPER: i64 = -1234;
/// The domain of the one real tenant.
pub(crate) const TENANT: &str = "example.com";
/// The domain of the secondary user store.
pub(crate) const SECONDARY: &str = "EXAMPLE";

/// Milliseconds.
const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Where the families of tables are while they are filled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Families<'a> {
    /// AM_.
    pub(crate) api_manager: Family<'a>,
    /// IDN_, SP_, IDP.
    pub(crate) identity: Family<'a>,
    /// UM_.
    pub(crate) user: Family<'a>,
    /// REG_.
    pub(crate) registry: Family<'a>,
}

/// The work in progress.
struct Fill<'a> {
    am: Family<'a>,
    idn: Family<'a>,
    um: Family<'a>,
    reg: Family<'a>,
    options: &'a Options,
    engine: Engine,
    now: i64,
    chance: Chance,
    manifest: Manifest,
}

/// Fills empty tables.
pub(crate) async fn fill(families: Families<'_>, options: &Options) -> Result<Manifest> {
    let engine = families.api_manager.db.engine();
    let now = options.now_on(engine);
    let manifest = Manifest {
        release: options.release,
        engine,
        layout: options.layout,
        form: options.form.name(),
        password_form: options.password_form,
        now_ms: now,
        tenants: Vec::new(),
        users: Vec::new(),
        clients: Vec::new(),
        no_clients: Vec::new(),
        tokens: Vec::new(),
        codes: Vec::new(),
        scopes: Vec::new(),
        subscriptions: Vec::new(),
    };
    let mut fill = Fill {
        am: families.api_manager,
        idn: families.identity,
        um: families.user,
        reg: families.registry,
        options,
        engine,
        now,
        chance: Chance::new(options.seed),
        manifest,
    };
    fill.first_start().await.context("the rows of the first start")?;
    fill.claims().await.context("claims and OIDC scopes")?;
    fill.registry().await.context("the registry")?;
    fill.users().await.context("users")?;
    let apis = fill.apis().await.context("APIs")?;
    fill.clients().await.context("clients")?;
    fill.applications(&apis).await.context("applications")?;
    fill.tokens().await.context("tokens")?;
    fill.codes().await.context("codes")?;
    Ok(fill.manifest)
}

impl Fill<'_> {
    fn release(&self) -> Release {
        self.options.release
    }

    /// A token or code time.
    fn token_time(&self, instant_ms: i64) -> String {
        self.options.token_clock.text(instant_ms, self.engine)
    }

    /// Any other time.
    fn local_time(&self, instant_ms: i64) -> String {
        let clock: WallClock = self.options.local_clock;
        clock.text(instant_ms, self.engine)
    }

    /// Where a token, code or client secret is stored.
    fn stored(&self, plain: &str) -> String {
        self.options.form.stored(self.release(), plain)
    }

    fn tenant(&self, id: i64) -> Result<&Tenant> {
        self.manifest.tenant(id).with_context(|| format!("no tenant {id}"))
    }

    /// The id of the real tenant.
    fn real_tenant(&self) -> Result<i64> {
        Ok(self.manifest.tenants.get(1).context("the tenant is there by now")?.id)
    }

    /// The client id of a client.
    fn key_of(&self, name: &str) -> Result<String> {
        Ok(self.manifest.client(name).with_context(|| format!("no client {name}"))?.key.clone())
    }
}
