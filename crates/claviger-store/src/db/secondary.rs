//! The database of a secondary user store: UM_* tables of its own, which are only read (contract users-ldap.md 3.4).

use super::{Database, Databases, Gaps, Listeners, Place, Store, Zones, connect, read_embedded};
use super::{Family, Location};
use crate::capability::Capabilities;
use crate::error::StoreError;
use crate::users;
use claviger_proto::ids::TenantId;
use sqlx::sqlite::SqliteConnectOptions;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

impl Store {
    /// Connects to the database of a user store and looks whether it has users. Nothing is created there, and it is nobody's to
    /// write to: [`Store::write`] and the functions that need other tables than UM_USER, UM_USER_ATTRIBUTE, UM_ROLE and
    /// UM_USER_ROLE are not for it.
    pub async fn open_users(place: &Place, zones: Zones) -> Result<Self, StoreError> {
        let pool = match &place.location {
            // Neither is the file made, nor its journal changed.
            Location::Sqlite(path) if path.is_file() => {
                let options = SqliteConnectOptions::new().filename(path).busy_timeout(Duration::from_secs(5));
                read_embedded(options, place.limits)
            }
            Location::Sqlite(_) => return Err(StoreError::Unavailable(None)),
            Location::MySql(_) | Location::Postgres(_) => connect(place).await?.0,
        };
        let wait = Duration::from_millis(place.limits.acquire_ms_max);
        let databases = Databases {
            // No time is written, so no wall clock has to be avoided.
            all: vec![Database { pool, wait, gaps: Gaps::default() }],
            index_of: [0; Family::ALL.len()],
            // None of the statements asks.
            capabilities: AtomicU32::new(Capabilities::ALL.bits()),
            has_unhashed: AtomicBool::new(false),
            can_skip_held: AtomicBool::new(false),
            forms: OnceLock::new(),
            zones,
        };
        let store = Self { databases: Arc::new(databases), writer: None, listeners: Listeners::default() };
        let looked = async { users::find_named(&mut store.reader().await?, TenantId::SUPER, &["-"]).await };
        if let Err(error) = looked.await {
            store.close().await;
            return Err(error);
        }
        Ok(store)
    }
}
