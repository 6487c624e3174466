//! Databases that an old server left in good order, and deliberately odd ones: each names its oddity and nothing else.

use crate::database::location;
use crate::releases::servers;
use claviger_golden::facts::{Facts, Script};
use claviger_golden::golden::Golden;
use claviger_golden::options::{Layout, Options};
use claviger_golden::server::{Address, Scratch};
use claviger_golden::{Engine, Release, ddl};
use claviger_proto::time::Timestamp;
use claviger_store::db::{Place, Places, PoolLimits, Store, Zones};
use claviger_store::schema::{self, PrepareError, Prepared};
use claviger_store::sql::Family;
use claviger_store::status::{Depth, Finding, Severity, Status, look};

/// 2023-11-14 22:13:20 UTC.
const NOW_MS: i64 = 1_700_000_000_000;

fn place(golden: &claviger_golden::server::Address) -> Place {
    Place { location: location(golden), limits: PoolLimits::default() }
}

fn places(golden: &Golden) -> Places {
    let at = &golden.addresses;
    Places {
        identity: place(&at.api_manager),
        api: place(&at.api_manager),
        user: place(&at.user),
        registry: place(&at.registry),
        zones: Zones::default(),
    }
}

/// A database as an old server leaves it, without the oddities that the generator puts into every one.
async fn healthy(engine: Engine, url: &str, release: Release, layout: Layout) -> Golden {
    let options = Options { layout, ..Options::new(release, NOW_MS) };
    let golden = Golden::create(engine, url, options).await.unwrap();
    for name in ["without_idp", "twin_older"] {
        if let Some(token) = golden.manifest.tokens.iter().find(|token| token.name == name) {
            let id = &token.id;
            let scopes = format!("DELETE FROM IDN_OAUTH2_ACCESS_TOKEN_SCOPE WHERE TOKEN_ID = '{id}'");
            golden.databases.api_manager.run(&scopes).await.unwrap();
            let row = format!("DELETE FROM IDN_OAUTH2_ACCESS_TOKEN WHERE TOKEN_ID = '{id}'");
            golden.databases.api_manager.run(&row).await.unwrap();
        }
    }
    golden
}

async fn status(places: Places, depth: Depth) -> Status {
    let store = Store::open(places).await.unwrap();
    store.detect().await.unwrap();
    let status = look(&store, Timestamp::from_millis(NOW_MS), depth).await.unwrap();
    store.close().await;
    status
}

fn grave(status: Status) -> Vec<Finding> {
    status.findings.into_iter().filter(|finding| finding.severity() > Severity::Note).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_wrong_with_a_healthy_database() {
    for (engine, url) in servers() {
        for release in [Release::V2_1, Release::V2_6, Release::V3_0, Release::V3_1, Release::V3_2] {
            let golden = healthy(engine, &url, release, Layout::Three).await;
            let before = golden.catalogue_changes(|_| false).await.unwrap();
            let status = status(places(&golden), Depth::Full).await;
            assert_eq!(golden.catalogue_changes(|_| false).await.unwrap(), before, "it only looks");
            assert_eq!(status.databases.len(), 3);
            let first = &status.databases[0];
            assert!(
                !first.version.is_empty() && first.isolation.is_some() && first.session_zone.is_some(),
                "{first:?}"
            );
            assert_eq!(first.families, [Family::Identity, Family::Api]);
            let held: Vec<Family> = status.databases[1].holds.iter().map(|(family, _)| *family).collect();
            assert_eq!(held, [Family::User, Family::Registry], "the kernel's script makes both");
            assert_eq!(first.own, 0);
            let own = status.findings.iter().find(|it| matches!(it, Finding::OwnTables { may_create: Some(true), .. }));
            assert!(own.is_some(), "{:?}", status.findings);
            let is_open = engine == Engine::Postgres && release <= Release::V2_6;
            assert_eq!(status.findings.contains(&Finding::ActiveKey), is_open, "{:?}", status.findings);
            assert_eq!(grave(status), [], "{engine:?} {release:?}");
            golden.drop_databases().await.unwrap();
        }
    }
}

/// A way to spoil a database and what must be said of it.
struct Odd {
    release: Release,
    mysql: &'static str,
    postgres: &'static str,
    expected: fn() -> Vec<Finding>,
    /// Also found in the short look of a start.
    is_seen_at_start: bool,
}

const FIRST: &str =
    "(SELECT * FROM (SELECT MIN(TOKEN_ID) FROM IDN_OAUTH2_ACCESS_TOKEN WHERE TOKEN_STATE = 'ACTIVE') F)";

#[expect(clippy::too_many_lines, reason = "a table")]
fn odd_ones() -> Vec<Odd> {
    let both = |release, text, expected, is_seen_at_start| Odd {
        release,
        mysql: text,
        postgres: text,
        expected,
        is_seen_at_start,
    };
    vec![
        both(
            Release::V3_1,
            "DROP TABLE IDN_OAUTH2_AUTHZ_CODE_SCOPE; ALTER TABLE IDN_OAUTH2_SCOPE_BINDING DROP COLUMN BINDING_TYPE",
            || {
                vec![Finding::HalfMigrated {
                    release: "3.1",
                    missing: vec!["IDN_OAUTH2_AUTHZ_CODE_SCOPE.SCOPE", "IDN_OAUTH2_SCOPE_BINDING.BINDING_TYPE"],
                }]
            },
            true,
        ),
        both(
            Release::V3_2,
            "UPDATE IDP SET NAME = 'GONE' WHERE NAME = 'LOCAL' AND TENANT_ID = -1234",
            || vec![Finding::TenantsWithoutProvider { tenants: vec![-1234] }],
            false,
        ),
        both(
            Release::V3_0,
            "UPDATE IDN_OAUTH2_ACCESS_TOKEN SET IDP_ID = -1 WHERE TOKEN_ID = FIRST",
            || vec![Finding::TokensWithoutProvider { tokens: 1 }],
            false,
        ),
        both(
            Release::V2_6,
            "UPDATE IDN_OAUTH2_ACCESS_TOKEN SET ACCESS_TOKEN_HASH = NULL WHERE TOKEN_ID = FIRST",
            || vec![Finding::TokensWithoutHash { tokens: 1 }],
            false,
        ),
        both(
            Release::V3_2,
            "UPDATE IDN_OAUTH2_ACCESS_TOKEN SET AUTHZ_USER = NULL, TENANT_ID = 1, USER_DOMAIN = 'X', USER_TYPE = 'X', \
             TOKEN_SCOPE_HASH = 'X', CONSUMER_KEY_ID = (SELECT MIN(ID) FROM IDN_OAUTH_CONSUMER_APPS WHERE TENANT_ID = -1234) \
             WHERE TOKEN_STATE = 'ACTIVE'",
            || vec![Finding::DuplicateTokens { keys: 1 }],
            false,
        ),
        Odd {
            release: Release::V3_2,
            mysql: "ALTER TABLE IDN_OAUTH2_ACCESS_TOKEN DROP INDEX IDX_ATH",
            postgres: "DROP INDEX IDX_ATH",
            expected: || {
                vec![Finding::NoIndex {
                    table: "IDN_OAUTH2_ACCESS_TOKEN",
                    column: "ACCESS_TOKEN_HASH",
                    statement: "CREATE INDEX IDX_ATH ON IDN_OAUTH2_ACCESS_TOKEN (ACCESS_TOKEN_HASH)",
                }]
            },
            is_seen_at_start: true,
        },
        both(
            Release::V2_1,
            "DROP TABLE IDN_RECOVERY_DATA",
            || vec![Finding::NotMade { name: "IDN_RECOVERY_DATA" }],
            true,
        ),
        both(
            Release::V3_1,
            // Five hours and a half ahead, as a driver in Colombo writes it, and two minutes old.
            "UPDATE IDN_OAUTH2_ACCESS_TOKEN SET TIME_CREATED = '2023-11-15 03:41:20' WHERE TOKEN_ID = FIRST",
            || vec![Finding::TimesAhead { ahead_s: 5 * 3600 + 28 * 60, zone: Some("+05:30".into()) }],
            true,
        ),
        Odd {
            release: Release::V2_1,
            mysql: "SET SESSION sql_mode = ''; \
                    UPDATE IDN_OAUTH2_ACCESS_TOKEN SET REFRESH_TOKEN_TIME_CREATED = '0000-00-00 00:00:00' WHERE TOKEN_ID = FIRST",
            postgres: "",
            expected: || vec![Finding::ZeroTimes { rows: 1 }],
            is_seen_at_start: false,
        },
        both(
            Release::V3_2,
            "CREATE TABLE AM_REVISION (ID INT)",
            || vec![Finding::NewerRelease { proof: "AM_REVISION".into() }],
            true,
        ),
        both(
            Release::V3_2,
            "ALTER TABLE AM_API ADD STATUS VARCHAR(30)",
            || vec![Finding::NewerRelease { proof: "AM_API.STATUS".into() }],
            true,
        ),
        both(
            Release::V2_6,
            "CREATE TABLE IDN_OAUTH2_ACCESS_TOKEN_A (TOKEN_ID INT); CREATE TABLE IDN_OAUTH2_ACCESS_TOKEN_SCOPE_A (TOKEN_ID INT)",
            || vec![Finding::Partitions { tables: vec!["IDN_OAUTH2_ACCESS_TOKEN_A".into()] }],
            true,
        ),
        both(
            Release::V3_1,
            "UPDATE UM_USER SET UM_USER_ID = 'NONE' WHERE UM_USER_NAME = 'alice' AND UM_TENANT_ID = -1234",
            || vec![Finding::UsersWithoutId { users: 1 }],
            false,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_odd_database_names_its_oddity_and_nothing_else() {
    for (engine, url) in servers() {
        for odd in odd_ones() {
            let spoil = if engine == Engine::MySql { odd.mysql } else { odd.postgres };
            if spoil.is_empty() {
                continue;
            }
            let golden = healthy(engine, &url, odd.release, Layout::One).await;
            golden.databases.api_manager.run(&spoil.replace("FIRST", FIRST)).await.unwrap();
            let full = grave(status(places(&golden), Depth::Full).await);
            assert_eq!(full, (odd.expected)(), "{engine:?} {spoil}");
            let at_start = grave(status(places(&golden), Depth::Start).await);
            assert_eq!(at_start, if odd.is_seen_at_start { full } else { vec![] }, "{engine:?} {spoil}");
            golden.drop_databases().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_later_release_is_refused_and_left_as_it_was() {
    for (engine, url) in servers() {
        let golden = healthy(engine, &url, Release::V3_2, Layout::One).await;
        golden.databases.api_manager.run("ALTER TABLE AM_API ADD STATUS VARCHAR(30)").await.unwrap();
        let before = golden.catalogue_changes(|_| false).await.unwrap();
        let store = Store::open(places(&golden)).await.unwrap();
        let refused = schema::prepare(&store).await;
        assert!(matches!(&refused, Err(PrepareError::Newer { proof }) if proof == "AM_API.STATUS"), "{refused:?}");
        store.close().await;
        assert_eq!(golden.catalogue_changes(|_| false).await.unwrap(), before);
        golden.drop_databases().await.unwrap();
    }
}

/// An account that may read, and no more. (On MySQL `SHOW GRANTS` says it; the unit tests read its answers.)
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_may_not_make_tables_is_told_before_it_tries() {
    for (engine, url) in servers().into_iter().filter(|(engine, _)| *engine == Engine::Postgres) {
        let golden = healthy(engine, &url, Release::V3_2, Layout::One).await;
        let (db, address) = (&golden.databases.api_manager, &golden.addresses.api_manager);
        let account = format!("reader_{}", address.name);
        db.run(&format!(
            "CREATE ROLE {account} LOGIN PASSWORD '{account}'; REVOKE CREATE ON SCHEMA public FROM PUBLIC; \
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO {account}"
        ))
        .await
        .unwrap();
        let reader = location(&Address { user: account.clone(), ..address.clone() });
        let places = Places::one(reader, PoolLimits::default());
        let found = grave(status(places.clone(), Depth::Full).await);
        let [Finding::OwnTables { missing, may_create: Some(false) }] = &found[..] else { panic!("{found:?}") };
        assert!(missing.contains(&"CLV_EVENT"), "{missing:?}");
        let store = Store::open(places).await.unwrap();
        let denied = schema::prepare(&store).await;
        assert!(matches!(denied, Err(PrepareError::Denied(_))), "{denied:?}");
        store.close().await;
        db.run(&format!("DROP OWNED BY {account}; DROP ROLE {account}")).await.unwrap();
        golden.drop_databases().await.unwrap();
    }
}

/// `userdb` and `regdb` both have all tables of the kernel, and the configuration names the wrong one for users.
#[tokio::test(flavor = "multi_thread")]
async fn swapped_databases_are_seen() {
    for (engine, url) in servers() {
        let golden = healthy(engine, &url, Release::V3_0, Layout::Three).await;
        let right = places(&golden);
        let swapped = Places { user: right.registry.clone(), registry: right.user.clone(), ..right };
        for depth in [Depth::Full, Depth::Start] {
            let found = grave(status(swapped.clone(), depth).await);
            assert_eq!(found, [Finding::UsersElsewhere { family: Family::Registry }], "{engine:?}");
        }
        golden.drop_databases().await.unwrap();
    }
}

/// The identity server's own script: no AM_* tables.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_server_alone_has_no_key_validation() {
    for (engine, url) in servers() {
        let scratch = Scratch::create(engine, &url, "claviger_status", false).await.unwrap();
        let facts = Facts::of_one_database(&[Script::Identity, Script::Kernel(Release::V3_2)], engine).unwrap();
        scratch.db.run(&ddl::statements(&facts, engine).join(";")).await.unwrap();
        let found = status(Places::one(location(&scratch.address), PoolLimits::default()), Depth::Full).await;
        assert!(found.findings.contains(&Finding::NoApiTables), "{found:?}");
        assert_eq!((found.capabilities.release(), grave(found)), (Some("3.1"), vec![]));
        scratch.drop_database().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_we_make_ourselves_is_healthy() {
    crate::database::on_every_location(|location| async move {
        let limits = PoolLimits::default();
        let empty = status(Places::one(location.clone(), limits), Depth::Full).await;
        assert_eq!(empty.findings, [Finding::Empty]);
        let store = crate::database::open(location.clone()).await;
        assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Created);
        crate::database::seed(&store).await;
        store.close().await;
        let made = status(Places::one(location, limits), Depth::Full).await;
        assert_eq!(made.capabilities.release(), Some("3.2"));
        assert_eq!(grave(made), []);
    })
    .await;
}
