//! `claviger db status` and `claviger db create` as operators call them, and what a start says of the same databases.

use crate::harness::{Database, Directory, Process, databases, free_offset};
use std::process::{Command, Stdio};

struct Ran {
    code: Option<i32>,
    out: String,
    error: String,
}

fn claviger(directory: &Directory, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
    command.env_clear().args(arguments).arg("--data-dir").arg(directory.path()).stdin(Stdio::null());
    let done = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: done.status.code(), out: text(done.stdout), error: text(done.stderr) }
}

/// Says in the directory's configuration where the database is.
fn configure(directory: &Directory, database: &Database) {
    std::fs::write(directory.path().join("deployment.toml"), database.section()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_is_left_alone_by_status_and_filled_by_create() {
    for database in databases().await {
        let directory = Directory::new();
        configure(&directory, &database);
        for _ in 0..2 {
            let nothing = claviger(&directory, &["db", "status"]);
            assert_eq!(nothing.code, Some(0), "{}{}", nothing.out, nothing.error);
            let expected = if database.is_shared() { "note: no database holds" } else { "There is no database" };
            assert!(nothing.out.contains(expected), "{}: {}", database.engine(), nothing.out);
        }
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 1, "the configuration is alone");
        for expected in ["All tables and first rows were made", "nothing was made"] {
            let made = claviger(&directory, &["db", "create"]);
            assert_eq!(made.code, Some(0), "{}{}", made.out, made.error);
            assert!(made.out.contains(expected), "{}: {}", database.engine(), made.out);
        }
        let status = claviger(&directory, &["db", "status"]);
        assert_eq!(status.code, Some(0), "{}{}", status.out, status.error);
        for expected in [database.engine(), "Layout of release 3.2", "identity (IDN_*)", "Nothing is wrong."] {
            assert!(status.out.contains(expected), "{expected}: {}", status.out);
        }
        assert!(!status.out.contains("  without  "), "{}", status.out);
        database.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_odd_is_named_with_advice_and_logged_at_start() {
    for database in databases().await.into_iter().filter(Database::is_shared) {
        let directory = Directory::new();
        configure(&directory, &database);
        assert_eq!(claviger(&directory, &["db", "create"]).code, Some(0));
        let drop = if database.engine() == "MariaDB" { " ON IDN_OAUTH2_ACCESS_TOKEN" } else { "" };
        database.execute(&format!("DROP INDEX IDX_ATH{drop}")).await;
        let odd = claviger(&directory, &["db", "status"]);
        assert_eq!(odd.code, Some(0), "a warning is no failure: {}{}", odd.out, odd.error);
        let advice = "let an administrator run: CREATE INDEX IDX_ATH ON IDN_OAUTH2_ACCESS_TOKEN (ACCESS_TOKEN_HASH)";
        assert!(
            odd.out.contains("warning: no index of IDN_OAUTH2_ACCESS_TOKEN begins with ACCESS_TOKEN_HASH"),
            "{}",
            odd.out
        );
        assert!(odd.out.contains(advice) && !odd.out.contains("Nothing is wrong"), "{}", odd.out);
        let mut process = Process::start(&directory, &[]).await;
        process.wait_for_log(advice).await;
        process.kill();

        database.execute("CREATE TABLE AM_REVISION (ID INT)").await;
        let later = claviger(&directory, &["db", "status"]);
        assert_eq!(later.code, Some(1), "{}{}", later.out, later.error);
        assert!(later.out.contains("error: the database is of API-M 4.x: AM_REVISION is there"), "{}", later.out);
        let Err(refused) = Process::try_start(directory.path(), free_offset(), &[]).await else {
            panic!("started on a database of 4.x")
        };
        assert_eq!(refused.code, Some(1), "{}", refused.output);
        assert!(refused.output.contains("is of API-M 4.x"), "{}", refused.output);
        database.remove().await;
    }
}

/// An administrator must not be made in a database that only looks like the users'.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_swapped_databases_is_refused() {
    let shared = || async { databases().await.into_iter().filter(Database::is_shared) };
    for (full, other) in shared().await.zip(shared().await) {
        let directory = Directory::new();
        configure(&directory, &other);
        assert_eq!(claviger(&directory, &["db", "create"]).code, Some(0));
        configure(&directory, &full);
        Process::start(&directory, &[]).await.kill();
        let user = other.section().replace("shared_db", "user") + "[realm_manager]\ndata_source = \"WSO2USER_DB\"\n";
        let sections = full.section() + &user;
        std::fs::write(directory.path().join("deployment.toml"), sections).unwrap();
        let status = claviger(&directory, &["db", "status"]);
        assert_eq!(status.code, Some(1), "{}{}", status.out, status.error);
        assert!(status.out.contains("may be swapped"), "{}", status.out);
        let Err(refused) = Process::try_start(directory.path(), free_offset(), &[]).await else {
            panic!("started on swapped databases")
        };
        assert_eq!(refused.code, Some(1), "{}", refused.output);
        assert!(refused.output.contains("may be swapped"), "{}", refused.output);
        // Its own table of users is as empty as before.
        other.execute("INSERT INTO UM_USER (UM_USER_ID, UM_USER_NAME, UM_USER_PASSWORD, UM_TENANT_ID, UM_ID, UM_CHANGED_TIME) \
                       VALUES ('x', 'admin', 'x', -1234, 1, CURRENT_TIMESTAMP)").await;
        full.remove().await;
        other.remove().await;
    }
}

/// The way of an operator whose account may not make tables.
#[tokio::test(flavor = "multi_thread")]
async fn printed_statements_make_what_a_start_would() {
    for database in databases().await.into_iter().filter(Database::is_shared) {
        let directory = Directory::new();
        // No server is asked.
        let elsewhere = database.section().replace("127.0.0.1", "database.invalid");
        std::fs::write(directory.path().join("deployment.toml"), elsewhere).unwrap();
        let own = claviger(&directory, &["db", "create", "--print"]);
        assert_eq!(own.code, Some(0), "{}{}", own.out, own.error);
        assert!(own.out.contains("CREATE TABLE CLV_EVENT") && !own.out.contains("IDN_OAUTH2"), "{}", own.out);
        let all = claviger(&directory, &["db", "create", "--print", "--all"]);
        assert_eq!(all.code, Some(0), "{}", all.error);
        database.execute(&all.out).await;
        configure(&directory, &database);
        let rows = claviger(&directory, &["db", "create"]);
        assert!(rows.out.contains("The first rows were written"), "{}{}", rows.out, rows.error);
        let status = claviger(&directory, &["db", "status"]);
        assert!(status.out.contains("Nothing is wrong."), "{}{}", status.out, status.error);
        database.remove().await;
    }
}
