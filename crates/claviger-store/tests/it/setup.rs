//! Preparing a database: several nodes at once, and starts that ended in the middle.

use crate::clients::{insert, new_client};
use crate::database::{on_every_engine, on_every_location, on_three_databases, open, seed};
use claviger_proto::ids::TenantId;
use claviger_store::clients;
use claviger_store::db::{OpenError, Place, Places, Store};
use claviger_store::error::StoreError;
use claviger_store::location::Location;
use claviger_store::roles;
use claviger_store::schema::{self, PrepareError, Prepared};
use claviger_store::sql::{Engine, Family, Sql};
use claviger_store::users;
use futures_util::future::join_all;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_together_prepare_the_database_once() {
    on_every_location(|location| async move {
        let first = open(location.clone()).await;
        // A second server on one data directory is refused elsewhere: its lock is the directory's.
        let count = if first.engine() == Engine::Sqlite { 1 } else { 4 };
        let stores: Vec<_> =
            join_all((0..count).map(|_| open(location.clone()))).await.into_iter().chain([first]).collect();
        let start = |index: usize| {
            let store = stores[index].clone();
            async move {
                let lock = store.lock_start().await.unwrap();
                let prepared = schema::prepare(&store).await.unwrap();
                if prepared == Prepared::Created {
                    seed(&store).await;
                }
                lock.release().await;
                prepared
            }
        };
        let starts = if count == 1 { 1 } else { stores.len() };
        let prepared = join_all((0..starts).map(start)).await;
        assert_eq!(prepared.iter().filter(|it| **it == Prepared::Created).count(), 1, "{prepared:?}");
        for store in stores {
            store.close().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_start_that_ended_before_the_first_rows_is_taken_up_again() {
    on_every_location(|location| async move {
        let store = open(location).await;
        assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Created);
        assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Created, "the first rows are still missing");
        seed(&store).await;
        assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Found);
        store.close().await;
    })
    .await;
}

/// As a start leaves it that was killed while it made the tables.
#[tokio::test]
async fn half_a_schema_is_finished() {
    static STEP: Sql = Sql::new("INSERT INTO CLV_SETUP (STEP) VALUES ('TABLES')", &[]);
    static DROP: Sql = Sql::new("DROP TABLE REG_LOG", &[]);
    static EVENTS: Sql = Sql::new("DROP TABLE CLV_EVENT", &[]);
    static USE: Sql = Sql::new("DELETE FROM REG_LOG", &[]);
    static USE_EVENTS: Sql = Sql::new("DELETE FROM CLV_EVENT", &[]);
    on_every_engine(|store| async move {
        if store.engine() != Engine::MySql {
            // The others undo an interrupted start.
            return;
        }
        for statement in [&STEP, &DROP, &EVENTS] {
            run(&store, statement).await;
        }
        assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Created);
        run(&store, &USE).await;
        run(&store, &USE_EVENTS).await;
    })
    .await;
}

#[tokio::test]
async fn tables_without_a_note_are_left_alone_too() {
    static OTHER: Sql = Sql::new("CREATE TABLE UM_TENANT (UM_ID INTEGER)", &[]);
    on_every_location(|location| async move {
        let store = open(location).await;
        run(&store, &OTHER).await;
        for _ in 0..2 {
            let incomplete = schema::prepare(&store).await;
            assert!(matches!(incomplete, Err(PrepareError::Incomplete { found: 1, .. })), "{incomplete:?}");
        }
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn three_empty_databases_become_one_installation() {
    static USERS: Sql = Sql::new("DELETE FROM UM_USER", &[]);
    on_three_databases(|places| async move {
        let store = Store::open(places).await.unwrap();
        assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Created);
        seed(&store).await;
        assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Found);
        // Writes to two of them, or to none.
        let failed = store.write::<(), StoreError, _>(|conn| {
            Box::pin(async move {
                clients::insert(conn, &new_client("left", "Key_0")).await?;
                Err(StoreError::Timeout)
            })
        });
        failed.await.unwrap_err();
        let client = insert(&store, new_client("app", "Key_1")).await.unwrap();
        let mut conn = store.reader().await.unwrap();
        let roles = roles::list(&mut conn, TenantId::SUPER).await.unwrap();
        let own = roles.iter().filter(|role| role.starts_with("Application/")).collect::<Vec<_>>();
        assert_eq!(own, ["Application/app"]);
        assert!(clients::find(&mut conn, &"Key_0".into()).await.unwrap().is_none());
        drop(conn);
        let user = store.write(|conn| Box::pin(conn.execute(&USERS, &[])));
        assert_eq!(user.await.map_err(|error: StoreError| error.to_string()), Ok(0), "the right database");
        assert_eq!(client.key.as_str(), "Key_1");
        store.close().await;
    })
    .await;
}

/// Clients and tokens are there, but the database named for users is a wrong, empty one.
#[tokio::test]
async fn an_empty_database_beside_a_full_one_is_named() {
    on_three_databases(|places| async move {
        let alone = Store::open(Places::one(places.identity.location.clone(), places.identity.limits)).await.unwrap();
        schema::prepare(&alone).await.unwrap();
        seed(&alone).await;
        let store = Store::open(places).await.unwrap();
        let missing = schema::prepare(&store).await;
        assert!(
            matches!(missing, Err(PrepareError::Missing { family: Family::User, proof: "UM_USER" })),
            "{missing:?}"
        );
        store.close().await;
        alone.close().await;
    })
    .await;
}

/// A name that leads to another program's database.
#[tokio::test]
async fn a_strangers_database_is_left_alone() {
    static OTHER: Sql = Sql::new("CREATE TABLE INVOICES (ID INTEGER)", &[]);
    on_every_location(|location| async move {
        let store = open(location).await;
        run(&store, &OTHER).await;
        let refused = schema::prepare(&store).await;
        assert!(matches!(&refused, Err(PrepareError::Strange { first, .. }) if first == "INVOICES"), "{refused:?}");
        store.close().await;
    })
    .await;
}

/// A new identity database beside users that an old server looks after: theirs is not touched, whatever happens in between.
#[tokio::test]
async fn users_that_are_there_keep_their_tables_and_permissions() {
    static TAKEN_AWAY: Sql = Sql::new("DELETE FROM UM_ROLE_PERMISSION", &[]);
    static OTHER_LAYOUT: Sql = Sql::new("DROP TABLE UM_UUID_DOMAIN_MAPPER", &[]);
    static STEP: Sql = Sql::new("UPDATE CLV_SETUP SET STEP = 'TABLES_ID'", &[]);
    static MAPPER: Sql = Sql::new("SELECT UM_ID FROM UM_UUID_DOMAIN_MAPPER", &[]);
    on_three_databases(|places| async move {
        let users = Places::one(places.user.location.clone(), places.user.limits);
        let old = Store::open(users).await.unwrap();
        schema::prepare(&old).await.unwrap();
        seed(&old).await;
        for statement in [&TAKEN_AWAY, &OTHER_LAYOUT] {
            run(&old, statement).await;
        }
        let two = Places { registry: places.user.clone(), ..places };
        let store = Store::open(two).await.unwrap();
        assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Created);
        if store.engine() == Engine::MySql {
            run(&store, &STEP).await;
            assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Created, "taken up again");
        }
        seed(&store).await;
        let mut conn = store.reader().await.unwrap();
        assert_eq!(users::list_permissions(&mut conn, TenantId::SUPER).await.unwrap(), [], "nobody gave them back");
        assert!(conn.rows(&MAPPER, &[]).await.is_err(), "nobody altered the old layout");
        drop(conn);
        store.close().await;
        old.close().await;
    })
    .await;
}

/// The API database's name is mistyped: nothing is made in a wrong place, and the right name starts.
#[tokio::test]
async fn an_empty_api_database_beside_a_full_identity_database_is_left_alone() {
    on_three_databases(|places| async move {
        let at = |place: &Place| Places {
            identity: place.clone(),
            user: place.clone(),
            registry: place.clone(),
            ..places.clone()
        };
        let full = Places { api: places.identity.clone(), ..at(&places.identity) };
        let store = Store::open(full.clone()).await.unwrap();
        schema::prepare(&store).await.unwrap();
        seed(&store).await;
        let mistyped = Store::open(Places { api: places.user.clone(), ..full }).await.unwrap();
        for _ in 0..2 {
            let missing = schema::prepare(&mistyped).await;
            assert!(matches!(missing, Err(PrepareError::Missing { family: Family::Api, .. })), "{missing:?}");
        }
        assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Found);
        for store in [store, mistyped] {
            store.close().await;
        }
    })
    .await;
}

/// Clients that applications name would be unknown in a new identity database.
#[tokio::test]
async fn an_empty_identity_database_beside_a_full_api_database_is_left_alone() {
    on_three_databases(|places| async move {
        let full = Store::open(Places::one(places.user.location.clone(), places.user.limits)).await.unwrap();
        schema::prepare(&full).await.unwrap();
        seed(&full).await;
        let elsewhere = Places { api: places.user.clone(), registry: places.user.clone(), ..places };
        let store = Store::open(elsewhere).await.unwrap();
        for _ in 0..2 {
            let missing = schema::prepare(&store).await;
            assert!(matches!(missing, Err(PrepareError::Missing { family: Family::Identity, .. })), "{missing:?}");
        }
        for store in [store, full] {
            store.close().await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_embedded_database_stands_alone() {
    on_three_databases(|places| async move {
        let file = std::env::temp_dir().join(format!("claviger_alone_{}.sqlite", std::process::id()));
        let embedded = Place { location: Location::Sqlite(file.clone()), limits: places.user.limits };
        for mixed in [Places { identity: embedded.clone(), ..places.clone() }, Places { user: embedded, ..places }] {
            assert!(matches!(Store::open(mixed).await, Err(OpenError::Embedded { .. })));
        }
        drop(std::fs::remove_file(file));
    })
    .await;
}

async fn run(store: &Store, sql: &'static Sql) {
    let done = store.write::<u64, StoreError, _>(move |conn| Box::pin(conn.execute(sql, &[])));
    done.await.unwrap();
}
