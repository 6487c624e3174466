//! Wall clocks without a zone (contract database.md 1.4): the ends of tokens are right across both changes of daylight saving
//! time, whatever the zones of the old server's clock, of the database's sessions and of this process.
//!
//! The MariaDB of the tests runs in New York.

use crate::clients::{insert as insert_client, new_client};
use crate::database::{LIMITS, on_every_location, seed};
use crate::tokens::{insert, token};
use claviger_proto::time::{Timestamp, Zone};
use claviger_store::db::{Places, Store, Zones};
use claviger_store::location::Location;
use claviger_store::schema;
use claviger_store::sql::{Engine, Sql};
use claviger_store::tokens;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions as _, Row as _};
use std::str::FromStr as _;

/// In seconds: half past two by UTC's clock on the day on which New York has none, and the changes of daylight saving time of
/// 2027: New York forward and back, Berlin forward and back, Lord Howe (by half
/// an hour) back and forward.
const CHANGES_S: [i64; 7] =
    [1_804_991_400, 1_805_007_600, 1_825_567_200, 1_806_195_600, 1_824_944_400, 1_806_764_400, 1_822_491_000];

#[tokio::test]
async fn ends_are_right_across_both_changes() {
    for name in ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"] {
        let zone: Zone = name.parse().unwrap();
        on_every_location(|location| async move {
            let store = open_in(location, zone).await;
            let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
            let around = |change_s: i64| (-9..=9).map(move |step| change_s + step * 600 + 7);
            for (index, at_s) in CHANGES_S.into_iter().flat_map(around).enumerate() {
                let mut issued = token(client.id, "read");
                issued.key.user = format!("user_{index}");
                // Within a second, of which MySQL's columns say nothing.
                issued.created = Timestamp::from_millis(at_s * 1_000 + 700);
                // Refreshed without renewal: the refresh token is older.
                issued.refresh_created = Timestamp::from_millis((at_s - 3_000) * 1_000 + 300);
                insert(&store, &issued).await.unwrap_or_else(|error| panic!("{name} at {at_s}: {error:?}"));
                let mut conn = store.reader().await.unwrap();
                let text = issued.identifier.as_ref().unwrap().expose();
                let found = tokens::find_by_access(&mut conn, text).await.unwrap().unwrap();
                let ends = (found.expires_at(), found.refresh_expires_at());
                let expected = (issued.expires_at(), issued.refresh_expires_at());
                assert_eq!(ends, expected, "{name} on {:?} at {at_s}", store.engine());
                let late_s = at_s - found.created.as_secs();
                assert!((0..=7_200).contains(&late_s), "{name} at {at_s}: never later than it was, {late_s} s");
            }
            store.close().await;
        })
        .await;
    }
}

/// What an old server in another zone wrote is read as it meant it.
#[tokio::test]
async fn an_old_servers_local_time_is_understood() {
    static SHIFT: Sql = Sql::new(
        "UPDATE IDN_OAUTH2_ACCESS_TOKEN SET TIME_CREATED = '2027-01-15 12:00:00', REFRESH_TOKEN_TIME_CREATED = '2027-07-15 12:00:00'",
        &[],
    );
    on_every_location(|location| async move {
        let store = open_in(location, "Europe/Berlin".parse().unwrap()).await;
        if store.engine() == Engine::Sqlite {
            // Nobody else ever wrote it: always UTC.
            return;
        }
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let issued = token(client.id, "read");
        insert(&store, &issued).await.unwrap();
        store
            .write::<u64, claviger_store::error::StoreError, _>(|conn| Box::pin(conn.execute(&SHIFT, &[])))
            .await
            .unwrap();
        let mut conn = store.reader().await.unwrap();
        let text = issued.identifier.as_ref().unwrap().expose();
        let found = tokens::find_by_access(&mut conn, text).await.unwrap().unwrap();
        let instants = (found.created.as_secs(), found.refresh_created.as_secs());
        assert_eq!(instants, (1_800_010_800, 1_815_645_600), "winter: one hour, summer: two hours before UTC's noon");
        drop(conn);
        store.close().await;
    })
    .await;
}

/// Without this the first test would say nothing about sessions.
#[tokio::test]
async fn the_mariadb_of_the_tests_changes_its_clock() {
    #[expect(clippy::disallowed_methods, reason = "the test reads where its servers are")]
    let Ok(url) = std::env::var("CLAVIGER_TEST_MYSQL_URL") else { return };
    // As the server gives it, not as the driver would set it.
    let options = MySqlConnectOptions::from_str(&url).unwrap().timezone(None);
    let mut admin = options.connect().await.unwrap();
    let is_shown = sqlx::raw_sql(
        "SELECT CAST(FROM_UNIXTIME(UNIX_TIMESTAMP('2027-03-14 02:30:00')) = '2027-03-14 02:30:00' AS SIGNED)",
    );
    let is_shown: i64 = is_shown.fetch_one(&mut admin).await.unwrap().get(0);
    assert_eq!(is_shown, 0, "there is no half past two on that day in New York");
}

async fn open_in(location: Location, token: Zone) -> Store {
    let local = "Asia/Kolkata".parse().unwrap();
    let places = Places { zones: Zones { token, local }, ..Places::one(location, LIMITS) };
    let store = Store::open(places).await.unwrap();
    schema::prepare(&store).await.unwrap();
    seed(&store).await;
    store
}
