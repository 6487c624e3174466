//! A fresh database per case and engine, dropped afterwards.

use claviger_golden::Engine;
use claviger_golden::server::Address;
use claviger_proto::entropy::Entropy;
use claviger_proto::ids::{SUPER_TENANT_DOMAIN, TenantId};
use claviger_proto::secret::Secret;
use claviger_store::db::{Place, Places, PoolLimits, Store, Zones};
use claviger_store::error::StoreError;
use claviger_store::location::{Location, Server, Tls};
use claviger_store::schema::{self, Prepared};
use claviger_store::seed::{self, TenantSeed};
use sqlx::{ConnectOptions as _, Connection as _};
use std::future::Future;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of every pool.
pub(crate) const LIMITS: PoolLimits = PoolLimits { connections_max: 16, acquire_ms_max: 20_000 };

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

/// Runs a case on every server that is there, with the databases of an installation that keeps three: apimgtdb, userdb, regdb.
pub(crate) async fn on_three_databases<F: Future<Output = ()>>(case: impl Fn(Places) -> F) {
    let place = |location| Place { location, limits: LIMITS };
    for (name, is_mysql) in [("CLAVIGER_TEST_MYSQL_URL", true), ("CLAVIGER_TEST_POSTGRES_URL", false)] {
        let Some(url) = url(name) else { continue };
        let mut made = Vec::new();
        for _ in 0..3 {
            made.push(if is_mysql { make_on_mysql(&url).await } else { make_on_postgres(&url).await });
        }
        let [identity, user, registry] = [0, 1, 2].map(|index: usize| place(made[index].0.clone()));
        case(Places { api: identity.clone(), identity, user, registry, zones: Zones::default() }).await;
        for (_, name) in made {
            remove(&url, is_mysql, &name).await;
        }
    }
}

async fn on_mysql<F: Future<Output = ()>>(url: &str, case: impl Fn(Location) -> F) {
    let (location, name) = make_on_mysql(url).await;
    case(location).await;
    remove(url, true, &name).await;
}

async fn on_postgres<F: Future<Output = ()>>(url: &str, case: impl Fn(Location) -> F) {
    let (location, name) = make_on_postgres(url).await;
    case(location).await;
    remove(url, false, &name).await;
}

async fn make_on_mysql(url: &str) -> (Location, String) {
    let name = fresh_name();
    let options = sqlx::mysql::MySqlConnectOptions::from_str(url).unwrap();
    run(url, true, format!("CREATE DATABASE {name}")).await;
    let server = server(options.get_host(), options.get_port(), options.get_username(), &name);
    (Location::MySql(server), name)
}

async fn make_on_postgres(url: &str) -> (Location, String) {
    let name = fresh_name();
    let options = sqlx::postgres::PgConnectOptions::from_str(url).unwrap();
    run(url, false, format!("CREATE DATABASE {name}")).await;
    let server = server(options.get_host(), options.get_port(), options.get_username(), &name);
    (Location::Postgres(server), name)
}

async fn remove(url: &str, is_mysql: bool, name: &str) {
    run(url, is_mysql, format!("DROP DATABASE {name}")).await;
}

async fn run(url: &str, is_mysql: bool, text: String) {
    let text = sqlx::raw_sql(sqlx::AssertSqlSafe(text));
    if is_mysql {
        let mut admin = sqlx::mysql::MySqlConnectOptions::from_str(url).unwrap().connect().await.unwrap();
        text.execute(&mut admin).await.unwrap();
        admin.close().await.unwrap();
    } else {
        let mut admin = sqlx::postgres::PgConnectOptions::from_str(url).unwrap().connect().await.unwrap();
        text.execute(&mut admin).await.unwrap();
        admin.close().await.unwrap();
    }
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

/// Where a database of the generator's is.
pub(crate) fn location(at: &Address) -> Location {
    let server = server(&at.host, at.port, &at.user, &at.name);
    match at.engine {
        Engine::MySql => Location::MySql(server),
        Engine::Postgres => Location::Postgres(server),
    }
}

pub(crate) async fn open(location: Location) -> Store {
    Store::open(Places::one(location, LIMITS)).await.unwrap()
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
