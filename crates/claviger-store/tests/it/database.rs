//! A fresh database per case and engine, dropped afterwards.

use claviger_proto::entropy::Entropy;
use claviger_proto::ids::{SUPER_TENANT_DOMAIN, TenantId};
use claviger_proto::secret::Secret;
use claviger_store::db::{PoolLimits, Store};
use claviger_store::error::StoreError;
use claviger_store::location::{Location, Server, Tls};
use claviger_store::schema::{self, Prepared};
use claviger_store::seed::{self, TenantSeed};
use sqlx::{ConnectOptions as _, Connection as _};
use std::future::Future;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicU64, Ordering};

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Random bytes for rows that only have to differ.
pub(crate) struct Random;

impl Entropy for Random {
    fn fill(&self, buffer: &mut [u8]) {
        use std::hash::{BuildHasher as _, RandomState};
        for chunk in buffer.chunks_mut(8) {
            let word = RandomState::new().hash_one(NUMBER.fetch_add(1, Ordering::Relaxed)).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// Runs a case on every engine that is there, in a database that is ready for use.
pub(crate) async fn on_every_engine<F: Future<Output = ()>>(case: impl Fn(Store) -> F) {
    let case = &case;
    on_every_location(|location| async move {
        let store = open(location).await;
        assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Created);
        seed(&store).await;
        assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Found);
        case(store.clone()).await;
        store.close().await;
    })
    .await;
}

/// Runs a case on every engine that is there, with a place for a database that nobody has opened yet.
pub(crate) async fn on_every_location<F: Future<Output = ()>>(case: impl Fn(Location) -> F) {
    on_sqlite(&case).await;
    if let Some(url) = url("CLAVIGER_TEST_MYSQL_URL") {
        on_mysql(&url, &case).await;
    }
    if let Some(url) = url("CLAVIGER_TEST_POSTGRES_URL") {
        on_postgres(&url, &case).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the test reads where its servers are")]
pub(crate) fn url(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn fresh_name() -> String {
    format!("claviger_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

async fn on_sqlite<F: Future<Output = ()>>(case: impl Fn(Location) -> F) {
    let directory = Directory(std::env::temp_dir().join(fresh_name()));
    std::fs::create_dir_all(&directory.0).unwrap();
    case(Location::Sqlite(directory.0.join("claviger.sqlite"))).await;
}

struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

async fn on_mysql<F: Future<Output = ()>>(url: &str, case: impl Fn(Location) -> F) {
    let name = fresh_name();
    let options = sqlx::mysql::MySqlConnectOptions::from_str(url).unwrap();
    let mut admin = options.connect().await.unwrap();
    let run = |text: String| sqlx::raw_sql(sqlx::AssertSqlSafe(text));
    run(format!("CREATE DATABASE {name}")).execute(&mut admin).await.unwrap();
    case(Location::MySql(server(options.get_host(), options.get_port(), options.get_username(), &name))).await;
    run(format!("DROP DATABASE {name}")).execute(&mut admin).await.unwrap();
    admin.close().await.unwrap();
}

async fn on_postgres<F: Future<Output = ()>>(url: &str, case: impl Fn(Location) -> F) {
    let name = fresh_name();
    let options = sqlx::postgres::PgConnectOptions::from_str(url).unwrap();
    let mut admin = options.connect().await.unwrap();
    let run = |text: String| sqlx::raw_sql(sqlx::AssertSqlSafe(text));
    run(format!("CREATE DATABASE {name}")).execute(&mut admin).await.unwrap();
    case(Location::Postgres(server(options.get_host(), options.get_port(), options.get_username(), &name))).await;
    run(format!("DROP DATABASE {name}")).execute(&mut admin).await.unwrap();
    admin.close().await.unwrap();
}

/// The test servers' password is their user's name.
fn server(host: &str, port: u16, user: &str, database: &str) -> Server {
    Server {
        host: host.into(),
        port,
        database: database.into(),
        schema: None,
        user: user.into(),
        password: Some(Secret::new(user)),
        tls: Tls::Disable,
        tls_root_file: None,
    }
}

pub(crate) async fn open(location: Location) -> Store {
    Store::open(location, PoolLimits { connections_max: 16, acquire_ms_max: 20_000 }).await.unwrap()
}

/// Writes the first rows.
pub(crate) async fn seed(store: &Store) {
    store
        .write::<(), StoreError, _>(|conn| {
            Box::pin(async move {
                seed::database(conn).await?;
                let super_tenant = TenantSeed {
                    id: TenantId::SUPER,
                    domain: SUPER_TENANT_DOMAIN.into(),
                    admin_role: "admin".into(),
                    host: "localhost".into(),
                };
                seed::tenant(conn, &super_tenant, &Random).await
            })
        })
        .await
        .unwrap();
}
