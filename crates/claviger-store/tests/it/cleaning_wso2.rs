//! Cleaning of WSO2's authorization codes and sessions.

use crate::cleaning::{clean, rules, run};
use crate::clients::{insert as insert_client, new_client};
use crate::database::on_every_engine;
use crate::tokens::{NOW, insert, token};
use claviger_store::cleaning::Table;
use claviger_store::sql::Sql;
use claviger_store::value::Arg;

#[tokio::test]
async fn codes_go_after_their_life_and_their_token() {
    static INSERT: Sql = Sql::new(
        "INSERT INTO IDN_OAUTH2_AUTHORIZATION_CODE (CODE_ID, AUTHORIZATION_CODE, CONSUMER_KEY_ID, TIME_CREATED, VALIDITY_PERIOD, STATE, \
         TOKEN_ID, IDP_ID) VALUES (?, 'code', ?, ?, ?, ?, ?, 1)",
        &[],
    );
    static LIST: Sql = Sql::new("SELECT CODE_ID FROM IDN_OAUTH2_AUTHORIZATION_CODE ORDER BY CODE_ID", &[]);
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let alive = token(client.id, "a");
        insert(&store, &alive).await.unwrap();
        let alive: &'static str = Box::leak(alive.id.0.into_boxed_str());
        for (id, age_s, state, token, period_ms) in [
            ("fresh", 100, "ACTIVE", None, 300_000),
            ("fresh-used", 100, "INACTIVE", Some("gone"), 300_000),
            ("endless", 90_000, "ACTIVE", None, -1),
            ("used", 90_000, "INACTIVE", Some(alive), 300_000),
            ("gone-active", 500, "ACTIVE", None, 300_000),
            ("gone-endless", 90_000, "INACTIVE", None, -1),
            ("gone-used", 500, "INACTIVE", Some("gone"), 300_000),
        ] {
            let created = NOW.plus_millis(-age_s * 1000);
            let args = vec![
                id.into(),
                client.id.into(),
                created.into(),
                Arg::Int(Some(period_ms)),
                state.into(),
                token.into(),
            ];
            run(&store, &INSERT, args).await;
        }
        assert_eq!(clean(&store, Table::AuthorizationCodes, rules(NOW)).await, [3]);
        let left = store.reader().await.unwrap().rows(&LIST, &[]).await.unwrap();
        let left: Vec<String> = left.iter().map(|row| row.text(0).unwrap()).collect();
        assert_eq!(left, ["endless", "fresh", "fresh-used", "used"], "{:?}", store.engine());
    })
    .await;
}

/// Whoever removed the codes: we, an old server, or the end of their client.
#[tokio::test]
async fn contexts_go_behind_their_codes() {
    static INSERT: Sql = Sql::new(
        "INSERT INTO IDN_OAUTH2_AUTHORIZATION_CODE (CODE_ID, AUTHORIZATION_CODE, CONSUMER_KEY_ID, TIME_CREATED, VALIDITY_PERIOD, STATE, \
         IDP_ID) VALUES (?, 'code', ?, ?, 300000, 'ACTIVE', 1)",
        &[],
    );
    static INSERT_CONTEXT: Sql =
        Sql::new("INSERT INTO CLV_CODE_CONTEXT (CODE_ID, AUTH_TIME, NONCE) VALUES (?, 1, 'nonce')", &[]);
    static LIST: Sql = Sql::new("SELECT CODE_ID FROM CLV_CODE_CONTEXT ORDER BY CODE_ID", &[]);
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        for (id, age_s) in [("alive", 100), ("over", 500)] {
            run(&store, &INSERT, vec![id.into(), client.id.into(), NOW.plus_millis(-age_s * 1000).into()]).await;
        }
        // More than one statement of the cleaner names.
        let gone: Vec<&'static str> = (0..150).map(|number| &*format!("gone_{number:03}").leak()).collect();
        for id in ["alive", "over"].into_iter().chain(gone.iter().copied()) {
            run(&store, &INSERT_CONTEXT, vec![id.into()]).await;
        }
        assert_eq!(clean(&store, Table::CodeContexts, rules(NOW)).await, [100, 50], "{:?}", store.engine());
        assert_eq!(clean(&store, Table::AuthorizationCodes, rules(NOW)).await, [1], "{:?}", store.engine());
        assert_eq!(clean(&store, Table::CodeContexts, rules(NOW)).await, [1], "{:?}", store.engine());
        let left = store.reader().await.unwrap().rows(&LIST, &[]).await.unwrap();
        let left: Vec<String> = left.iter().map(|row| row.text(0).unwrap()).collect();
        assert_eq!(left, ["alive"], "{:?}", store.engine());
    })
    .await;
}

#[tokio::test]
async fn sessions_go_when_all_their_rows_are_surely_over() {
    static INSERT: Sql = Sql::new(
        "INSERT INTO IDN_AUTH_SESSION_STORE (SESSION_ID, SESSION_TYPE, OPERATION, TIME_CREATED, TENANT_ID, EXPIRY_TIME) \
         VALUES (?, 'AppAuthFrameworkSessionContextCache', ?, ?, -1234, ?)",
        &[],
    );
    static LIST: Sql = Sql::new("SELECT DISTINCT SESSION_ID FROM IDN_AUTH_SESSION_STORE ORDER BY SESSION_ID", &[]);
    on_every_engine(|store| async move {
        let nanoseconds = |offset_s: i64| Some(NOW.plus_millis(offset_s * 1000).as_millis() * 1_000_000);
        let milliseconds = |offset_s: i64| Some(NOW.plus_millis(offset_s * 1000).as_millis());
        for (id, operation, number, expiry) in [
            ("alive", "STORE", 1, nanoseconds(600)),
            ("closed", "STORE", 1, nanoseconds(600)),
            ("closed", "DELETE", 2, nanoseconds(-600)),
            ("over", "STORE", 1, nanoseconds(-600)),
            ("over", "STORE", 2, nanoseconds(-300)),
            ("over-ms", "STORE", 1, milliseconds(-600)),
            ("unknown", "STORE", 1, None),
            ("unknown", "STORE", 2, nanoseconds(-600)),
            ("zero", "STORE", 1, Some(0)),
        ] {
            run(&store, &INSERT, vec![id.into(), operation.into(), Arg::Int(Some(number)), expiry.into()]).await;
        }
        assert_eq!(clean(&store, Table::Sessions, rules(NOW)).await, [3]);
        let left = store.reader().await.unwrap().rows(&LIST, &[]).await.unwrap();
        let left: Vec<String> = left.iter().map(|row| row.text(0).unwrap()).collect();
        assert_eq!(left, ["alive", "closed", "unknown", "zero"], "{:?}", store.engine());
    })
    .await;
}
