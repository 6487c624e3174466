//! From configuration to a working state: keys, database, first rows, administrator.

pub mod databases;
pub mod keystores;
#[cfg(test)]
mod tests;
mod user_stores;

use crate::app::App;
use crate::cli::findings::{advice, what};
use crate::config::database::DatabaseUrl;
use crate::config::model::{Databases, Lifetime};
use crate::config::profile::{Profile, Role};
use crate::config::{self, Config};
use crate::events::EventLog;
use crate::files::{DataDir, KeyPair};
use crate::gateway_role;
use crate::notifications::Notifications;
use crate::oauth::client_end::TokenEnd;
use crate::oauth::grant::GRANTS;
use crate::oauth::keys::Keys;
use crate::oauth::tenant_keys::Passwords;
use crate::oauth::{OAuth, OAuthSettings};
use crate::ops::{Limits, Metrics};
use crate::portal::state::{Environment, PortalSettings};
use crate::users::Users;
use anyhow::Context as _;
use claviger_proto::entropy::{Entropy, key_text, uuid};
use claviger_proto::event::Event;
use claviger_proto::ids::{SUPER_TENANT_DOMAIN, TenantId};
use claviger_proto::jose::SigningKey;
use claviger_proto::password::StoredPassword;
use claviger_proto::secret::Secret;
use claviger_proto::time::{Clock, Timestamp};
use claviger_proto::user::{PRIMARY, Username};
use claviger_store::capability::{Capabilities, Capability};
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::schema::Prepared;
use claviger_store::seed::TenantSeed;
use claviger_store::status::{self, Depth, Finding, Severity};
use claviger_store::users::NewUser;
use claviger_store::{key_stores, schema, seed, tenants, users};
use std::sync::Arc;

/// Length of a generated administrator password: 24 of 63 characters are 143 bits.
const PASSWORD_LENGTH: usize = 24;

/// What the operator is told about the administrator at start.
#[derive(Debug, PartialEq, Eq)]
pub enum Administrator {
    /// Was there before.
    Existing,
    /// Made now, with the configured password.
    Configured,
    /// Made now, with a generated password that stands in a file.
    Generated,
}

/// The state, and what start-up found.
pub struct Started {
    /// The state.
    pub app: Arc<App>,
    /// What happened with the administrator.
    pub administrator: Administrator,
    /// Were the tables made now?
    pub prepared: Prepared,
}

/// Opens everything a process with a database needs.
pub async fn start(
    config: Config,
    data_dir: &DataDir,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Entropy>,
) -> anyhow::Result<Started> {
    let signing = signing_key(&config, data_dir, &*clock)?;
    let label = config.databases.identity.url.label();
    let store = databases::open(&config.databases).await?;
    let lock = store.lock_start().await.with_context(|| format!("another node is still preparing {label}"))?;
    let prepared =
        schema::prepare(&store).await.with_context(|| format!("the tables of {label} cannot be prepared"))?;
    check_profile(config.server.profile, store.capabilities(), &label)?;
    if prepared == Prepared::Found {
        report_findings(&store, &config.databases, clock.now()).await?;
    }
    store.use_forms(keystores::forms(&config, store.capabilities(), &rng)?);
    seed_rows(&store, &config, prepared, &rng).await.context("the first rows cannot be written")?;
    let administrator = ensure_administrator(&store, &config, data_dir, &*clock, &rng).await?;
    lock.release().await;
    let users = users_of(&store, &config, clock.clone(), &rng);
    users.open_stores();
    let passwords = keystores::passwords(&config, store.capabilities());
    if prepared == Prepared::Found {
        report_key_stores(&store, &passwords).await;
    }
    let keys = Keys::new(signing, passwords, keystores::key_names(store.capabilities()));
    let oauth = OAuth::new(store.clone(), clock.clone(), rng.clone(), keys, oauth_settings(&config));
    let bounds = Limits {
        body_bytes_max: config.limits.body_bytes_max,
        connections_max: config.limits.connections_max,
        request_timeout_s: config.limits.request_timeout_s,
    };
    let portal = portal_settings(&config);
    let trusted = || {
        let mut trusted = gateway_role::backend_authorities(&config)?;
        // The receiver may be this very process.
        trusted.extend(tls_pair(&config, data_dir, &*clock)?.chain.into_iter().take(1));
        Ok(trusted)
    };
    let notifications = Notifications::new(&config, trusted, &metrics).context("[[event_listener]]")?;
    let events = EventLog::default();
    let app = App { config, store, clock, rng, users, oauth, portal, events, notifications, metrics, limits: bounds };
    let app = Arc::new(app);
    let weak = Arc::downgrade(&app);
    app.store.on_commit(Arc::new(move |events: &[Event]| {
        if let Some(app) = weak.upgrade() {
            app.apply(events);
            // Nobody who waits for events wants to hear of retired rows: the caches of this process just did.
            if events.iter().any(|event| !matches!(event, Event::TokenRetired { .. })) {
                app.events.note_written();
            }
        }
    }));
    Ok(Started { app, administrator, prepared })
}

/// The users of a configuration's stores.
pub(crate) fn users_of(store: &Store, config: &Config, clock: Arc<dyn Clock>, rng: &Arc<dyn Entropy>) -> Arc<Users> {
    let primary = (config.password_form, config.name_rule);
    let token_end = TokenEnd::of_settings(oauth_settings(config), clock.clone(), rng.clone());
    let users = Users::new(store.clone(), primary, &user_stores::read(config), clock, &**rng);
    let users = users.with_accounts_in_attributes(config.are_accounts_in_attributes);
    Arc::new(users.with_lock_rule(config.lock_rule, &token_end))
}

/// The key manager serves every release; portal and gateway have statements for the tables of API-M 3.2 only.
fn check_profile(profile: Profile, capabilities: Capabilities, label: &str) -> anyhow::Result<()> {
    let needs_newest = profile.has(Role::Portal) || profile.has(Role::Gateway);
    let newest = Capability::KeyManager;
    anyhow::ensure!(
        !needs_newest || capabilities.has(newest),
        "the portal and gateway roles need the tables of API-M 3.2, but {label} has those of {} ({} is missing): start with \
         `--profile key-manager`",
        capabilities.release().unwrap_or("an older release"),
        newest.column()
    );
    Ok(())
}

/// Logs what is unusual about databases that were there, as far as a few milliseconds show it.
async fn report_findings(store: &Store, databases: &Databases, now: Timestamp) -> anyhow::Result<()> {
    // Boxed: the future of the whole start would be as large.
    let found = Box::pin(status::look(store, now, Depth::Start)).await.context("the databases cannot be looked at")?;
    for finding in &found.findings {
        let (what, advice) = (what(finding, databases), advice(finding));
        // Going on would make an administrator in the wrong database.
        anyhow::ensure!(!matches!(finding, Finding::UsersElsewhere { .. }), "{what}: {advice}");
        match finding.severity() {
            Severity::Error => tracing::error!("{what}: {advice}"),
            Severity::Warning => tracing::warn!("{what}: {advice}"),
            Severity::Note => {}
        }
    }
    Ok(())
}

/// Says once that there are key stores of tenants which nobody can open: else it shows when the first JWT is refused.
async fn report_key_stores(store: &Store, passwords: &Passwords) {
    let Err(reason) = passwords else { return };
    let counted = async {
        let mut conn = store.reader().await?;
        let marks = key_stores::list_marks(&mut conn).await?;
        let mut tenants = tenants::list(&mut conn).await?;
        tenants
            .retain(|(id, domain)| *id != TenantId::SUPER && marks.contains_key(&(*id, key_stores::name_of(domain))));
        Ok::<_, StoreError>(tenants.len())
    };
    match counted.await {
        Ok(0) => {}
        Ok(count) => tracing::warn!(
            "the registry holds key stores of {count} tenants, whose passwords the old server's key opens, and {reason}: no JWT is \
             issued for these tenants; name that key, then `claviger db status` says whether it is the right one"
        ),
        Err(error) => tracing::warn!(%error, "whether tenants have key stores could not be found out"),
    }
}

fn signing_key(config: &Config, data_dir: &DataDir, clock: &dyn Clock) -> anyhow::Result<SigningKey> {
    let configured = config.keystore.primary.as_ref().map(keystores::load_strong).transpose()?.flatten();
    let pair = match configured {
        Some(pair) => pair,
        None => data_dir.signing_material(clock.now())?,
    };
    let certificate = pair.chain.first().context("the signing key has no certificate")?;
    SigningKey::new(pair.key.secret_der(), certificate)
        .context("the signing key is not an RSA key of 2048 bits or more in PKCS#8")
}

/// The server's TLS key and certificate.
pub fn tls_pair(config: &Config, data_dir: &DataDir, clock: &dyn Clock) -> anyhow::Result<KeyPair> {
    match config.keystore.tls.as_ref().map(keystores::load_strong).transpose()?.flatten() {
        Some(pair) => Ok(pair),
        None => Ok(data_dir.tls_material(&config.server.hostname, clock.now())?),
    }
}

/// Writes the first rows: all of them into new tables, else what every tenant needs and an old server may not have made.
pub async fn seed_rows(
    store: &Store,
    config: &Config,
    prepared: Prepared,
    rng: &Arc<dyn Entropy>,
) -> Result<(), StoreError> {
    let rng = rng.clone();
    let tenant = TenantSeed {
        id: TenantId::SUPER,
        domain: SUPER_TENANT_DOMAIN.to_owned(),
        admin_role: config.super_admin.admin_role.clone(),
        host: config.server.hostname.clone(),
    };
    store
        .write(move |conn| {
            let (tenant, rng) = (tenant.clone(), rng.clone());
            Box::pin(async move {
                if prepared == Prepared::Found {
                    return seed::found(conn, &tenant, &*rng).await;
                }
                seed::database(conn).await?;
                seed::tenant(conn, &tenant, &*rng).await
            })
        })
        .await
}

/// Makes the administrator when there is none. No password is ever assumed: it is configured, or generated and told.
async fn ensure_administrator(
    store: &Store,
    config: &Config,
    data_dir: &DataDir,
    clock: &dyn Clock,
    rng: &Arc<dyn Entropy>,
) -> anyhow::Result<Administrator> {
    let admin = &config.super_admin;
    let username = Username::parse(&admin.username).context("super_admin.username is not a user name")?;
    anyhow::ensure!(username.domain == PRIMARY, "super_admin.username must be a name of the primary user store");
    let mut conn = store.reader().await?;
    let name_rule = config.name_rule;
    if users::is_taken(&mut conn, TenantId::SUPER, &username.name, name_rule).await? {
        return Ok(Administrator::Existing);
    }
    drop(conn);
    anyhow::ensure!(
        admin.is_account_created,
        "the administrator {username} does not exist and super_admin.create_admin_account is false"
    );
    let (password, outcome) = if let Some(password) = &admin.password {
        (password.clone(), Administrator::Configured)
    } else {
        (generated_password(data_dir, &**rng)?, Administrator::Generated)
    };
    let user = NewUser {
        uuid: uuid(&**rng),
        name: username.name.clone(),
        password: StoredPassword::in_form(&password, config.password_form, &**rng),
        tenant: TenantId::SUPER,
    };
    let (role, now) = (admin.admin_role.clone(), clock.now());
    store
        .write::<_, StoreError, _>(move |conn| {
            let (user, role) = (user.clone(), role.clone());
            Box::pin(async move {
                // Two nodes may start together: the other one's administrator is as good.
                if !users::is_taken(conn, TenantId::SUPER, &user.name, name_rule).await? {
                    let id = users::insert(conn, &user, now).await?;
                    users::add_role(conn, TenantId::SUPER, id, &role).await?;
                }
                Ok(())
            })
        })
        .await?;
    Ok(outcome)
}

/// The password in the data directory's file. A file from an interrupted first start holds the one to use.
fn generated_password(data_dir: &DataDir, rng: &dyn Entropy) -> anyhow::Result<Secret> {
    if let Some(password) = data_dir.read_admin_password()? {
        return Ok(password);
    }
    let password = Secret::new(key_text(rng, PASSWORD_LENGTH));
    data_dir.create_admin_password(&password)?;
    // Another process may have been first: what stands in the file counts.
    Ok(data_dir.read_admin_password()?.unwrap_or(password))
}

/// What configuration says to the OAuth server.
pub(crate) fn oauth_settings(config: &Config) -> OAuthSettings {
    let seconds = |lifetime: Lifetime| match lifetime {
        Lifetime::Seconds(seconds) => seconds,
        Lifetime::Never => -1,
    };
    let oauth = &config.oauth;
    OAuthSettings {
        issuer: oauth.issuer.clone().unwrap_or_else(|| format!("{}/oauth2/token", config.server.base_path)),
        base_url: config.server.base_path.clone(),
        host: config.server.hostname.clone(),
        code_s: oauth.code_validity_s,
        user_access_s: seconds(oauth.user_access_token_validity),
        application_access_s: seconds(oauth.app_access_token_validity),
        refresh_s: seconds(oauth.refresh_token_validity),
        id_s: oauth.id_token_validity_s,
        is_refresh_renewed: oauth.is_refresh_token_renewed,
        is_access_renewed_per_request: oauth.is_access_token_renewed_per_request,
        is_jwt_persisted: oauth.is_jwt_persisted,
        name_rule: config.name_rule,
        news_ms_max: news_ms_max(config),
        skew_ms: oauth.timestamp_skew_s.saturating_mul(1000),
        allowed_scopes: config.apim_oauth.allowed_scopes.clone(),
        listeners: config.listeners.iter().map(|listener| listener.id.clone()).collect(),
    }
}

/// Longest time between two looks of any node at the log of events. What PostgreSQL tells may be lost: its nodes' slow looks count.
fn news_ms_max(config: &Config) -> i64 {
    let events = &config.events;
    let longest = match config.databases.identity.url {
        DatabaseUrl::Postgres(_) => events.poll_interval_ms.max(events.slow_poll_interval_ms),
        DatabaseUrl::Sqlite { .. } | DatabaseUrl::MySql(_) => events.poll_interval_ms,
    };
    i64::try_from(longest).unwrap_or(i64::MAX)
}

fn portal_settings(config: &Config) -> PortalSettings {
    let base = &config.server.base_path;
    let first = |urls: &[String]| urls.first().cloned().unwrap_or_default();
    let environment = |environment: &config::model::Environment| Environment {
        name: environment.name.clone(),
        kind: environment.kind.clone(),
        http_url: first(&environment.http_endpoints),
        https_url: first(&environment.https_endpoints),
    };
    PortalSettings {
        environments: config.environments.iter().map(environment).collect(),
        admin_role: config.super_admin.admin_role.clone(),
        is_deprecated_shown: false,
        are_versions_shown: true,
        is_unlimited_offered: true,
        token_endpoint: format!("{base}/oauth2/token"),
        revoke_endpoint: format!("{base}/oauth2/revoke"),
        userinfo_endpoint: format!("{base}/oauth2/userinfo"),
        grant_types: GRANTS.iter().map(|grant| grant.name().to_owned()).collect(),
    }
}
