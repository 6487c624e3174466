//! Cleaning: which rows go, which stay, and that nothing changes under a cleaner's hands.

use crate::clients::{insert as insert_client, new_client};
use crate::database::{Random, on_every_engine};
use crate::tokens::{NOW, insert, token};
use claviger_proto::entropy::uuid;
use claviger_proto::event::Event;
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::{ApiId, ConsumerKeyId, TenantId};
use claviger_proto::secret::Secret;
use claviger_proto::time::Timestamp;
use claviger_store::cleaning::{self, PAGE_ROWS, Rules, Table, WRITE_ROWS};
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::events;
use claviger_store::revocations::{self, RevokedJwt};
use claviger_store::sql::Sql;
use claviger_store::tokens::{self, Token, TokenState};
use claviger_store::value::Arg;
use std::collections::BTreeSet;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

pub(crate) fn rules(now: Timestamp) -> Rules {
    Rules {
        now,
        ended_before: now.plus_millis(-60_000),
        tokens_ended_before: now.plus_millis(-60_000),
        active_ended_before: now.plus_millis(-2 * HOUR_MS),
        is_life_awaited: false,
        is_audit_kept: false,
        audit_before: None,
        events_before: now.plus_millis(-7 * DAY_MS),
        notifications_before: now.plus_millis(-30 * DAY_MS),
        notifications_ended_before: now.plus_millis(-DAY_MS),
    }
}

/// Cleans a table; returns what each write removed.
pub(crate) async fn clean(store: &Store, table: Table, rules: Rules) -> Vec<u64> {
    let (mut parts, mut place) = (Vec::new(), Some(String::new()));
    while let Some(after) = place {
        let page = cleaning::find(&mut store.reader().await.unwrap(), table, &after, &rules).await.unwrap();
        for some in page.candidates.chunks(WRITE_ROWS) {
            parts.push(remove(store, table, some.to_vec(), rules).await.unwrap());
        }
        place = page.next;
    }
    parts
}

async fn remove(
    store: &Store,
    table: Table,
    candidates: Vec<cleaning::Candidate>,
    rules: Rules,
) -> Result<u64, StoreError> {
    let write = store.write(move |conn| {
        let candidates = candidates.clone();
        Box::pin(async move { cleaning::remove(conn, table, &candidates, &rules).await })
    });
    write.await
}

pub(crate) async fn run(store: &Store, sql: &'static Sql, args: Vec<Arg<'static>>) -> u64 {
    let write = store.write::<u64, StoreError, _>(move |conn| {
        let args = args.clone();
        Box::pin(async move { conn.execute(sql, &args).await })
    });
    write.await.unwrap()
}

async fn count(store: &Store, sql: &'static Sql) -> i64 {
    store.reader().await.unwrap().row(sql, &[]).await.unwrap().unwrap().int(0).unwrap()
}

async fn retire(store: &Store, token: &Token, state: TokenState) {
    let token = token.clone();
    let write = store.write::<_, StoreError, _>(move |conn| {
        let token = token.clone();
        Box::pin(async move { tokens::retire(conn, &token, state, &uuid(&Random)).await })
    });
    assert!(write.await.unwrap());
}

/// A row as some server left it: lives in seconds from now; `None` stands for a life without end, or for no refresh token.
struct Case {
    name: &'static str,
    state: TokenState,
    access_s: Option<i64>,
    refresh_s: Option<i64>,
    goes: bool,
}

async fn insert_case(store: &Store, client: ConsumerKeyId, case: &Case) -> Token {
    let mut row = token(client, case.name);
    let life = 3_600;
    row.created = NOW.plus_millis((case.access_s.unwrap_or(0) - life) * 1000);
    row.validity_ms = if case.access_s.is_some() { life * 1000 } else { -1000 };
    row.refresh = case.refresh_s.map(|_| Secret::new(uuid(&Random)));
    row.refresh_created = NOW.plus_millis((case.refresh_s.unwrap_or(0) - life) * 1000);
    row.refresh_validity_ms = life * 1000;
    insert(store, &row).await.unwrap();
    if case.state != TokenState::Active {
        retire(store, &row, case.state).await;
    }
    row
}

#[tokio::test]
async fn tokens_go_by_the_rule_of_the_offline_procedure() {
    use TokenState::{Active, Expired, Inactive, Revoked};
    let case = |name, state, access_s, refresh_s, goes| Case { name, state, access_s, refresh_s, goes };
    let cases = [
        case("active", Active, Some(600), Some(6_000), false),
        case("active-just-over", Active, Some(-7_000), Some(-7_000), false),
        case("active-over", Active, Some(-7_300), Some(-7_300), true),
        case("active-over-refreshable", Active, Some(-7_300), Some(600), false),
        case("active-over-alone", Active, Some(-7_300), None, true),
        case("active-endless", Active, None, Some(-7_300), false),
        case("expired", Expired, Some(-600), Some(-600), true),
        case("expired-refreshable", Expired, Some(-600), Some(600), false),
        case("expired-alive", Expired, Some(600), None, false),
        case("inactive", Inactive, Some(600), None, true),
        case("inactive-refreshable", Inactive, Some(600), Some(6_000), false),
        case("inactive-over-refreshable", Inactive, Some(-600), Some(6_000), true),
        case("revoked", Revoked, Some(600), None, true),
        case("revoked-refreshable", Revoked, Some(600), Some(6_000), false),
        case("revoked-endless", Revoked, None, None, true),
    ];
    let cases = &cases;
    on_every_engine(|store| async move {
        static SCOPES: Sql = Sql::new("SELECT COUNT(*) FROM IDN_OAUTH2_ACCESS_TOKEN_SCOPE", &[]);
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let mut rows = Vec::new();
        for case in cases {
            rows.push((case, insert_case(&store, client.id, case).await));
        }
        let removed: u64 = clean(&store, Table::AccessTokens, rules(NOW)).await.iter().sum();
        let mut conn = store.reader().await.unwrap();
        let mut stayed = 0;
        for (case, row) in &rows {
            let found = tokens::find_by_access(&mut conn, row.identifier.as_ref().unwrap().expose()).await.unwrap();
            assert_eq!(found.is_none(), case.goes, "{:?}: {}", store.engine(), case.name);
            stayed += i64::from(found.is_some());
        }
        drop(conn);
        assert_eq!(removed, cases.iter().filter(|case| case.goes).count() as u64);
        assert_eq!(count(&store, &SCOPES).await, stayed, "the scopes go with their token");
        let awaited = Rules { is_life_awaited: true, ..rules(NOW) };
        insert_case(&store, client.id, &Case { name: "late", ..case_of(Revoked, 600) }).await;
        assert_eq!(clean(&store, Table::AccessTokens, awaited).await, [0; 0], "its life is waited for");
        assert_eq!(clean(&store, Table::AccessTokens, rules(NOW)).await, [1]);
    })
    .await;
}

fn case_of(state: TokenState, access_s: i64) -> Case {
    Case { name: "case", state, access_s: Some(access_s), refresh_s: None, goes: true }
}

/// A pair whose refresh token was carried from an EXPIRED row to a new one, as both stand at `NOW`.
async fn carried(store: &Store, client: ConsumerKeyId, scopes: &str) -> (Token, Token) {
    let mut old = token(client, scopes);
    old.created = NOW.plus_millis(-2 * HOUR_MS);
    old.refresh_created = old.created;
    insert(store, &old).await.unwrap();
    retire(store, &old, TokenState::Expired).await;
    let mut new = token(client, scopes);
    new.created = NOW.plus_millis(-60_000);
    (new.refresh, new.refresh_created) = (old.refresh.clone(), old.refresh_created);
    insert(store, &new).await.unwrap();
    (old, new)
}

#[tokio::test]
async fn a_revoked_refresh_token_does_not_come_back() {
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let (_, new) = carried(&store, client.id, "a").await;
        retire(&store, &new, TokenState::Revoked).await;
        // The revoked row goes after the expired one, or not before the refresh token's end; by whichever order of their keys.
        for _ in 0..3 {
            clean(&store, Table::AccessTokens, rules(NOW.plus_millis(2 * HOUR_MS))).await;
            let mut conn = store.reader().await.unwrap();
            let refresh = new.refresh.as_ref().unwrap().expose();
            let found = tokens::find_by_refresh(&mut conn, client.id, refresh).await.unwrap();
            let state = found.map(|found| found.state);
            assert!(matches!(state, None | Some(TokenState::Revoked)), "{:?}: {state:?}", store.engine());
        }
        assert_eq!(count(&store, &TOKENS).await, 0);
    })
    .await;
}

static TOKENS: Sql = Sql::new("SELECT COUNT(*) FROM IDN_OAUTH2_ACCESS_TOKEN", &[]);

#[tokio::test]
async fn a_revoked_refresh_token_does_not_come_back_from_a_row_without_a_hash() {
    static FORGET: Sql = Sql::new(
        "UPDATE IDN_OAUTH2_ACCESS_TOKEN SET ACCESS_TOKEN_HASH = NULL, REFRESH_TOKEN_HASH = NULL WHERE TOKEN_STATE = 'EXPIRED'",
        &[],
    );
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let (_, new) = carried(&store, client.id, "a").await;
        retire(&store, &new, TokenState::Revoked).await;
        assert_eq!(run(&store, &FORGET, Vec::new()).await, 1);
        let later = rules(NOW.plus_millis(2 * HOUR_MS));
        assert!(clean(&store, Table::AccessTokens, later).await.is_empty(), "{:?}", store.engine());
        clean(&store, Table::AccessTokens, rules(NOW.plus_millis(2 * DAY_MS))).await;
        assert_eq!(count(&store, &TOKENS).await, 0);
    })
    .await;
}

#[tokio::test]
async fn an_expired_row_whose_refresh_token_was_carried_on_goes() {
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let (_, new) = carried(&store, client.id, "a").await;
        // Of one time, as MySQL's whole seconds make them: nobody knows which is the newer.
        let (mut tie, mut expired) = (token(client.id, "b"), token(client.id, "b"));
        expired.created = NOW.plus_millis(-2 * HOUR_MS);
        insert(&store, &expired).await.unwrap();
        retire(&store, &expired, TokenState::Expired).await;
        (tie.refresh, tie.created) = (expired.refresh.clone(), expired.created);
        insert(&store, &tie).await.unwrap();
        retire(&store, &tie, TokenState::Revoked).await;
        assert_eq!(clean(&store, Table::AccessTokens, rules(NOW)).await, [1]);
        let mut conn = store.reader().await.unwrap();
        let found = tokens::find_by_refresh(&mut conn, client.id, new.refresh.as_ref().unwrap().expose()).await;
        assert_eq!(found.unwrap().unwrap().id, new.id);
        let found = tokens::find_by_refresh(&mut conn, client.id, tie.refresh.as_ref().unwrap().expose()).await;
        assert_eq!(found.unwrap().unwrap().state, TokenState::Revoked);
        drop(conn);
        // When the refresh token is over everything of it goes.
        clean(&store, Table::AccessTokens, rules(NOW.plus_millis(2 * DAY_MS))).await;
        assert_eq!(count(&store, &TOKENS).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_row_that_changed_since_it_was_listed_stays() {
    static RENEW: Sql = Sql::new("UPDATE IDN_OAUTH2_ACCESS_TOKEN SET TIME_CREATED = ? WHERE TOKEN_SCOPE_HASH = ?", &[]);
    static REVIVE: Sql =
        Sql::new("UPDATE IDN_OAUTH2_ACCESS_TOKEN SET TOKEN_STATE = 'ACTIVE' WHERE TOKEN_SCOPE_HASH = ?", &[]);
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let mut rows = Vec::new();
        for (name, case) in [
            ("renewed", case_of(TokenState::Active, -9_000)),
            ("revived", case_of(TokenState::Inactive, 600)),
            ("over", case_of(TokenState::Active, -9_000)),
        ] {
            rows.push(insert_case(&store, client.id, &Case { name, ..case }).await);
        }
        let listed = cleaning::find(&mut store.reader().await.unwrap(), Table::AccessTokens, "", &rules(NOW)).await;
        let listed = listed.unwrap().candidates;
        assert_eq!(listed.len(), 3);
        let hash = |index: usize| -> Arg<'static> {
            Arg::Text(Some(Box::leak(rows[index].key.scopes.column_hash().into_boxed_str())))
        };
        assert_eq!(run(&store, &RENEW, vec![NOW.into(), hash(0)]).await, 1);
        assert_eq!(run(&store, &REVIVE, vec![hash(1)]).await, 1);
        assert_eq!(remove(&store, Table::AccessTokens, listed, rules(NOW)).await.unwrap(), 1);
        let mut conn = store.reader().await.unwrap();
        for (row, is_there) in rows.iter().zip([true, true, false]) {
            let found = tokens::find_by_access(&mut conn, row.identifier.as_ref().unwrap().expose()).await.unwrap();
            assert_eq!(found.is_some(), is_there, "{:?}", store.engine());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_cleaners_at_once_remove_each_row_once() {
    const ROWS: u64 = 450;
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        fill(&store, client.id, ROWS).await;
        let kept = audited(rules(NOW));
        let [one, two, three] = [(); 3].map(|()| clean(&store, Table::AccessTokens, kept));
        let (one, two, three) = tokio::join!(one, two, three);
        let removed: u64 = [&one, &two, &three].into_iter().flatten().sum();
        assert_eq!(removed, ROWS, "{one:?} {two:?} {three:?}");
        assert_eq!(count(&store, &TOKENS).await, 0);
        assert_eq!(count(&store, &AUDIT).await, i64::try_from(ROWS).unwrap(), "copied once each");
    })
    .await;
}

static AUDIT: Sql = Sql::new("SELECT COUNT(*) FROM IDN_OAUTH2_ACCESS_TOKEN_AUDIT", &[]);

fn audited(rules: Rules) -> Rules {
    Rules { is_audit_kept: true, ..rules }
}

/// Dead rows of one client.
async fn fill(store: &Store, client: ConsumerKeyId, rows: u64) {
    let write = store.write::<_, StoreError, _>(move |conn| {
        Box::pin(async move {
            let idp = tokens::local_idp(conn, TenantId::SUPER).await?;
            for number in 0..rows {
                let mut row = token(client, &format!("s{number}"));
                row.refresh = None;
                tokens::insert(conn, &row, idp).await?;
                tokens::retire(conn, &row, TokenState::Revoked, &row.id.0).await?;
            }
            Ok(())
        })
    });
    write.await.unwrap();
}

#[tokio::test]
async fn audit_rows_are_written_with_the_removal_and_go_by_their_age() {
    static SAME: Sql = Sql::new(
        "SELECT TOKEN_ID, TOKEN_STATE, ACCESS_TOKEN_HASH, TIME_CREATED, INVALIDATED_TIME, IDP_ID FROM IDN_OAUTH2_ACCESS_TOKEN_AUDIT",
        &[],
    );
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let row = insert_case(&store, client.id, &case_of(TokenState::Revoked, 600)).await;
        let audited = audited(rules(NOW));
        assert_eq!(clean(&store, Table::AccessTokens, audited).await, [1]);
        let mut conn = store.reader().await.unwrap();
        let copy = conn.row(&SAME, &[]).await.unwrap().unwrap();
        assert_eq!((copy.text(0).unwrap(), copy.text(1).unwrap().as_str()), (row.id.0.clone(), "REVOKED"));
        assert_eq!(copy.text(2).unwrap(), row.hash.to_column());
        assert_eq!((copy.time(3).unwrap(), copy.time(4).unwrap()), (row.created, NOW));
        assert!(copy.int(5).unwrap() > 0);
        drop((conn, copy));
        assert!(clean(&store, Table::TokenAudit, audited).await.is_empty(), "kept for ever unless somebody says");
        let later = |days: i64| {
            let now = NOW.plus_millis(days * DAY_MS);
            Rules { audit_before: Some(now.plus_millis(-30 * DAY_MS)), ..rules(now) }
        };
        assert!(clean(&store, Table::TokenAudit, later(30)).await.is_empty());
        assert_eq!(clean(&store, Table::TokenAudit, later(31)).await, [1]);
    })
    .await;
}

#[tokio::test]
async fn revocations_outlive_the_row_and_go_after_the_tokens_end() {
    static JWTS: Sql = Sql::new("SELECT COUNT(*) FROM AM_REVOKED_JWT", &[]);
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        let row = insert_case(&store, client.id, &case_of(TokenState::Revoked, 600)).await;
        let (hash, end, jti) = (row.hash, row.expires_at(), row.identifier.as_ref().unwrap().expose().to_owned());
        let write = store.write::<_, StoreError, _>(move |conn| {
            let jti = jti.clone();
            Box::pin(async move {
                let jwt = RevokedJwt { uuid: "some-uuid", jti: &jti, signature: None, tenant_id: TenantId::SUPER };
                revocations::insert_token(conn, hash, end, Some(jwt), NOW).await?;
                revocations::insert_client(conn, &"Key_1".into(), NOW, Timestamp::NEVER, NOW).await
            })
        });
        write.await.unwrap();
        for table in Table::ALL {
            clean(&store, table, rules(NOW)).await;
        }
        assert_eq!((count(&store, &TOKENS).await, count(&store, &JWTS).await), (0, 1));
        let mut conn = store.reader().await.unwrap();
        assert!(revocations::is_token_revoked(&mut conn, hash).await.unwrap());
        drop(conn);
        let later = rules(end.plus_millis(60_001));
        assert_eq!(clean(&store, Table::RevokedJwts, later).await, [1]);
        assert_eq!(clean(&store, Table::Revocations, later).await, [1]);
        let mut conn = store.reader().await.unwrap();
        assert!(revocations::find_client(&mut conn, &"Key_1".into()).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn old_revocations_and_events_go_a_part_at_a_time() {
    const ROWS: i64 = 2_500;
    on_every_engine(|store| async move {
        let insert = store.write::<_, StoreError, _>(|conn| {
            Box::pin(async move {
                for number in 0..ROWS {
                    // More than a page of them end together.
                    let end = NOW.plus_millis(number.max(1_300));
                    let token = TokenHash::of(&number.to_string());
                    revocations::insert_token(conn, token, end, None, NOW.plus_millis(number)).await?;
                }
                Ok(())
            })
        });
        insert.await.unwrap();
        let (first, last) = events::bounds(&mut store.reader().await.unwrap()).await.unwrap();
        let before = NOW.plus_millis(ROWS - 100);
        let rules = Rules { ended_before: before, events_before: before, ..rules(NOW) };
        for table in [Table::Revocations, Table::Events] {
            let mut removed = 0;
            for _ in 0..2 {
                let parts = clean(&store, table, rules).await;
                assert!(parts.iter().all(|part| *part <= WRITE_ROWS as u64), "{parts:?}");
                removed += parts.iter().sum::<u64>();
            }
            assert_eq!(removed, u64::try_from(ROWS - 100).unwrap(), "{table:?}");
        }
        let (oldest, newest) = events::bounds(&mut store.reader().await.unwrap()).await.unwrap();
        assert!(oldest.0 > first.0 && newest == last);
        let all = Rules { events_before: NOW.plus_millis(DAY_MS), ..rules };
        clean(&store, Table::Events, all).await;
        let bounds = events::bounds(&mut store.reader().await.unwrap()).await.unwrap();
        assert_eq!(bounds, (last, last), "the newest event stays");
    })
    .await;
}

#[tokio::test]
async fn a_revocation_that_was_made_longer_stays() {
    on_every_engine(|store| async move {
        let hash = TokenHash::of("token");
        let revoke = |end: Timestamp| {
            store.write::<_, StoreError, _>(move |conn| {
                Box::pin(async move { revocations::insert_token(conn, hash, end, None, NOW).await })
            })
        };
        revoke(NOW.plus_millis(-HOUR_MS)).await.unwrap();
        let page = cleaning::find(&mut store.reader().await.unwrap(), Table::Revocations, "", &rules(NOW)).await;
        let listed = page.unwrap().candidates;
        assert_eq!(listed.len(), 1);
        revoke(NOW.plus_millis(HOUR_MS)).await.unwrap();
        assert_eq!(remove(&store, Table::Revocations, listed, rules(NOW)).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn pages_follow_each_other_to_the_end_of_the_table() {
    const ROWS: u64 = PAGE_ROWS as u64 + 150;
    on_every_engine(|store| async move {
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        fill(&store, client.id, ROWS).await;
        let mut conn = store.reader().await.unwrap();
        let first = cleaning::find(&mut conn, Table::AccessTokens, "", &rules(NOW)).await.unwrap();
        let next = first.next.clone().unwrap();
        let second = cleaning::find(&mut conn, Table::AccessTokens, &next, &rules(NOW)).await.unwrap();
        drop(conn);
        assert_eq!((first.candidates.len(), second.candidates.len(), second.next), (PAGE_ROWS, 150, None));
        let audited = audited(rules(NOW));
        let later = Rules { audit_before: Some(NOW.plus_millis(DAY_MS)), ..audited };
        for (table, rules) in [(Table::AccessTokens, audited), (Table::TokenAudit, later)] {
            let counted = cleaning::count(&mut store.reader().await.unwrap(), table, &rules).await.unwrap();
            assert_eq!(counted, (table == Table::TokenAudit).then_some(ROWS));
            let parts = clean(&store, table, rules).await;
            assert_eq!((parts.len(), parts.iter().sum::<u64>()), (12, ROWS), "{table:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn tables_that_are_not_there_are_left_out() {
    static DROP: Sql = Sql::new("DROP TABLE AM_REVOKED_JWT", &[]);
    on_every_engine(|store| async move {
        assert_eq!(cleaning::tables(store.capabilities()).collect::<Vec<_>>(), Table::ALL);
        run(&store, &DROP, Vec::new()).await;
        let tables: BTreeSet<_> = cleaning::tables(store.detect().await.unwrap()).collect();
        assert_eq!(tables.len(), Table::ALL.len() - 1);
        assert!(!tables.contains(&Table::RevokedJwts));
    })
    .await;
}

#[tokio::test]
async fn removing_tells_nobody() {
    on_every_engine(|store| async move {
        let emit = store.write::<_, StoreError, _>(|conn| {
            Box::pin(async move {
                for number in 0..3 {
                    conn.emit(Event::ApiChanged { api_id: ApiId(number) }, Timestamp::from_secs(number)).await?;
                }
                Ok(())
            })
        });
        emit.await.unwrap();
        let (_, last) = events::bounds(&mut store.reader().await.unwrap()).await.unwrap();
        let client = insert_client(&store, new_client("shop", "Key_1")).await.unwrap();
        fill(&store, client.id, 3).await;
        for table in Table::ALL {
            clean(&store, table, rules(NOW)).await;
        }
        assert_eq!(count(&store, &TOKENS).await, 0);
        assert_eq!(events::bounds(&mut store.reader().await.unwrap()).await.unwrap(), (last, last));
    })
    .await;
}
