//! What a script's facts make passes the check against them, and a change is found.

use crate::servers;
use claviger_golden::catalogue::{differences, snapshot};
use claviger_golden::facts::{Facts, SCRIPTS, Script};
use claviger_golden::server::Scratch;
use claviger_golden::{Engine, Release, ddl};

async fn make(engine: Engine, url: &str, facts: &Facts, has_old_timestamps: bool) -> Scratch {
    let scratch = Scratch::create(engine, url, "golden_ddl", has_old_timestamps).await.unwrap();
    scratch.db.run(&ddl::statements(facts, engine).join(";")).await.unwrap();
    scratch
}

#[tokio::test]
async fn every_script_makes_what_its_facts_say() {
    for (engine, url) in servers() {
        for script in SCRIPTS {
            let facts = Facts::of(script, engine).unwrap();
            let scratch = make(engine, &url, &facts, false).await;
            let found = differences(&scratch.db, &facts, |_| false).await.unwrap();
            assert!(found.is_empty(), "{engine:?} {script:?}: {found:#?}");
            scratch.drop_database().await.unwrap();
        }
    }
}

/// Each change with the words that must name it.
const CHANGES: &[(&str, &str, &str)] = &[
    ("DROP TABLE IDN_OIDC_JTI", "DROP TABLE IDN_OIDC_JTI", "IDN_OIDC_JTI: the table is missing"),
    ("CREATE TABLE CLV_X (A INT)", "CREATE TABLE CLV_X (A INT)", "CLV_X: a table too many"),
    (
        "ALTER TABLE IDN_OAUTH2_ACCESS_TOKEN DROP INDEX IDX_ATH",
        "DROP INDEX IDX_ATH",
        "IDN_OAUTH2_ACCESS_TOKEN: index on ACCESS_TOKEN_HASH is missing (IDX_ATH)",
    ),
    (
        "CREATE INDEX IDX_MORE ON AM_API (API_TIER)",
        "CREATE INDEX IDX_MORE ON AM_API (API_TIER)",
        "AM_API: index on API_TIER is one too many (IDX_MORE)",
    ),
    (
        "ALTER TABLE IDN_OAUTH2_ACCESS_TOKEN_SCOPE MODIFY TOKEN_SCOPE VARCHAR(255) NOT NULL",
        "ALTER TABLE IDN_OAUTH2_ACCESS_TOKEN_SCOPE ALTER TOKEN_SCOPE TYPE VARCHAR(255)",
        "IDN_OAUTH2_ACCESS_TOKEN_SCOPE: column TOKEN_SCOPE is varchar(255), expected varchar(60)",
    ),
    ("ALTER TABLE SP_APP ADD EXTRA INT", "ALTER TABLE SP_APP ADD EXTRA INT", "SP_APP: column EXTRA is one too many"),
    (
        "ALTER TABLE AM_API DROP COLUMN API_TIER",
        "ALTER TABLE AM_API DROP COLUMN API_TIER",
        "AM_API: column API_TIER is missing",
    ),
    (
        "ALTER TABLE IDP ALTER IS_ENABLED SET DEFAULT '0'",
        "ALTER TABLE IDP ALTER IS_ENABLED SET DEFAULT '0'",
        "IDP: column IS_ENABLED has the default \"0\", expected \"1\"",
    ),
    (
        "ALTER TABLE SP_APP MODIFY USERNAME VARCHAR(255) NULL",
        "ALTER TABLE SP_APP ALTER USERNAME DROP NOT NULL",
        "SP_APP: column USERNAME may be NULL: true, expected false",
    ),
    (
        "ALTER TABLE IDN_OAUTH_CONSUMER_APPS DROP INDEX CONSUMER_KEY_CONSTRAINT, ADD INDEX CONSUMER_KEY_CONSTRAINT (CONSUMER_KEY)",
        "ALTER TABLE IDN_OAUTH_CONSUMER_APPS DROP CONSTRAINT CONSUMER_KEY_CONSTRAINT CASCADE",
        "IDN_OAUTH_CONSUMER_APPS: unique key on CONSUMER_KEY is missing (CONSUMER_KEY_CONSTRAINT)",
    ),
    (
        "ALTER TABLE IDN_BASE_TABLE DROP PRIMARY KEY",
        "ALTER TABLE IDN_BASE_TABLE DROP CONSTRAINT IDN_BASE_TABLE_PKEY",
        "IDN_BASE_TABLE: primary key [], expected [\"PRODUCT_NAME\"]",
    ),
    (
        "ALTER TABLE AM_APPLICATION_ATTRIBUTES DROP FOREIGN KEY AM_APPLICATION_ATTRIBUTES_ibfk_1",
        "ALTER TABLE AM_APPLICATION_ATTRIBUTES DROP CONSTRAINT AM_APPLICATION_ATTRIBUTES_APPLICATION_ID_FKEY",
        "AM_APPLICATION_ATTRIBUTES: foreign key on APPLICATION_ID, AM_APPLICATION.APPLICATION_ID, CASCADE, CASCADE is missing ()",
    ),
];

#[tokio::test]
async fn a_change_is_found() {
    for (engine, url) in servers() {
        let facts = Facts::of(Script::ApiManager(Release::V2_6), engine).unwrap();
        let scratch = make(engine, &url, &facts, false).await;
        let mut known = Vec::new();
        for (mysql, postgres, words) in CHANGES {
            scratch.db.run(if engine == Engine::MySql { mysql } else { postgres }).await.unwrap();
            let found = differences(&scratch.db, &facts, |_| false).await.unwrap();
            let new: Vec<_> = found.iter().filter(|line| !known.contains(*line)).collect();
            assert!(new.iter().any(|line| line == words), "{engine:?}, after {postgres}: {new:#?}");
            known = found;
        }
        let found = differences(&scratch.db, &facts, |table| table.starts_with("CLV_")).await.unwrap();
        assert_eq!(found.len(), known.len() - 1, "our own tables may be left out");
        scratch.drop_database().await.unwrap();
    }
}

/// A snapshot sees what the facts do not speak of.
#[tokio::test]
async fn a_snapshot_sees_every_change() {
    for (engine, url) in servers() {
        let facts = Facts::of(Script::Kernel(Release::V2_1), engine).unwrap();
        let scratch = make(engine, &url, &facts, false).await;
        let mut known = snapshot(&scratch.db).await.unwrap();
        assert_eq!(snapshot(&scratch.db).await.unwrap(), known);
        let trigger = match engine {
            Engine::MySql => "CREATE TRIGGER HOOK BEFORE INSERT ON UM_USER FOR EACH ROW SET NEW.UM_SALT_VALUE = ''",
            Engine::Postgres => {
                "CREATE FUNCTION HOOKED() RETURNS TRIGGER LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
                 CREATE TRIGGER HOOK BEFORE INSERT ON UM_USER FOR EACH ROW EXECUTE FUNCTION HOOKED()"
            }
        };
        let changes = [
            ("CREATE VIEW USERS AS SELECT UM_USER_NAME FROM UM_USER", "USERS: view"),
            (trigger, "HOOK: trigger"),
            (
                "CREATE UNIQUE INDEX IDX_NEW ON UM_ROLE (UM_ROLE_NAME)",
                "UM_ROLE: unique [\"UM_ROLE_NAME\"] [\"IDX_NEW\"]",
            ),
        ];
        for (change, line) in changes {
            scratch.db.run(change).await.unwrap();
            let now = snapshot(&scratch.db).await.unwrap();
            assert!(now.contains(line) && !known.contains(line), "{engine:?}: {:?}", now.difference(&known));
            known = now;
        }
        scratch.drop_database().await.unwrap();
    }
}

/// The other definition of a TIMESTAMP that the script leaves to the server (database.md 1.3).
#[tokio::test]
async fn old_timestamps_are_accepted_and_move() {
    for (engine, url) in servers().into_iter().filter(|(engine, _)| *engine == Engine::MySql) {
        let facts = Facts::of(Script::ApiManager(Release::V2_1), engine).unwrap();
        let scratch = make(engine, &url, &facts, true).await;
        assert_eq!(differences(&scratch.db, &facts, |_| false).await.unwrap(), Vec::<String>::new());
        let extra = "SELECT EXTRA FROM information_schema.columns WHERE table_schema = DATABASE() \
                     AND table_name = 'IDN_OAUTH2_AUTHORIZATION_CODE' AND column_name = 'TIME_CREATED'";
        let rows = scratch.db.rows(extra, &[]).await.unwrap();
        assert!(rows[0].text(0).unwrap().to_lowercase().contains("on update"), "{rows:?}");
        scratch.drop_database().await.unwrap();
    }
}
