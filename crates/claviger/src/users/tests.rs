//! The user store of a started program, on the embedded database.

use super::seeker::{Seeker, Sought};
use super::source::Source;
use super::*;
use crate::app::{SystemClock, SystemEntropy};
use crate::config::Config;
use crate::files::DataDir;
use crate::ops::Metrics;
use crate::startup;
use claviger_proto::entropy::uuid;
use claviger_proto::password::StoredPassword;
use claviger_store::db::{Place, PoolLimits, Zones};
use claviger_store::location::Location;
use claviger_store::sql::Sql;

/// Connections that read an embedded database at a time.
const READERS: usize = 8;

/// A started program on a database of its own.
async fn started(password: &Secret) -> (startup::Started, std::path::PathBuf) {
    let directory = std::env::temp_dir().join(uuid(&SystemEntropy::default()));
    std::fs::create_dir_all(&directory).unwrap();
    let mut config = Config::default_for(&directory);
    config.super_admin.password = Some(password.clone());
    let data_dir = DataDir::open(&directory).unwrap();
    let (clock, rng) = (Arc::new(SystemClock), Arc::new(SystemEntropy::default()));
    let started = startup::start(config, &data_dir, Arc::new(Metrics::default()), clock, rng).await.unwrap();
    (started, directory)
}

#[tokio::test]
async fn a_flood_of_unknown_names_is_a_few_statements() {
    let (started, directory) = started(&Secret::new("admin-password")).await;
    let seeker = Arc::new(Seeker::new(Source::Ours(started.app.store.clone()), Sought::Spelled));
    let turn = seeker.hold_turn().await;
    let names = (0..120).map(|number| if number == 70 { "ADMIN".to_owned() } else { format!("nobody-{number}") });
    let asked: Vec<_> = names
        .map(|name| {
            let seeker = seeker.clone();
            tokio::spawn(async move { seeker.find(TenantId::SUPER, &name).await.unwrap().map(|user| user.name) })
        })
        .collect();
    let given_up = {
        let seeker = seeker.clone();
        tokio::spawn(async move { seeker.find(TenantId::SUPER, "given-up").await })
    };
    while seeker.waiting() < 121 {
        tokio::task::yield_now().await;
    }
    given_up.abort();
    drop(given_up.await);
    // Three statements of fifty names at most answer them all.
    for _ in 0..3 {
        seeker.answer_some().await;
    }
    let mut found = Vec::new();
    for task in asked {
        found.extend(task.await.unwrap());
    }
    assert_eq!(found, ["admin"]);
    drop(turn);
    assert_eq!(seeker.find(TenantId::SUPER, "Admin").await.unwrap().unwrap().name, "admin");
    started.app.store.close().await;
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn no_more_names_wait_than_there_are_places() {
    let (started, directory) = started(&Secret::new("admin-password")).await;
    let seeker = Arc::new(Seeker::new(Source::Ours(started.app.store.clone()), Sought::Named));
    let turn = seeker.hold_turn().await;
    let ask = |name: String| {
        let seeker = seeker.clone();
        tokio::spawn(async move { seeker.find(TenantId::SUPER, &name).await.map(|user| user.is_some()) })
    };
    let mut asked: Vec<_> = (0..seeker::WAITING_MAX).map(|number| ask(format!("nobody-{number}"))).collect();
    while seeker.waiting() < seeker::WAITING_MAX {
        tokio::task::yield_now().await;
    }
    let refused = ask("admin".to_owned()).await.unwrap();
    assert!(matches!(refused, Err(StoreError::Unavailable(None))), "{refused:?}");
    // The place of one who gave up is free again.
    let given_up = asked.pop().unwrap();
    given_up.abort();
    drop(given_up.await);
    let last = ask("admin".to_owned());
    drop(turn);
    assert!(last.await.unwrap().unwrap());
    for task in asked {
        assert!(!task.await.unwrap().unwrap());
    }
    started.app.store.close().await;
    std::fs::remove_dir_all(&directory).unwrap();
}

/// The database has not been asked, so it has not failed either.
#[tokio::test]
async fn a_crowd_puts_no_healthy_store_to_rest() {
    let (started, directory) = started(&Secret::new("admin-password")).await;
    let location = Location::Sqlite(directory.join("claviger.sqlite"));
    let settings = StoreSettings {
        tenant: TenantId::SUPER,
        domain: "SECOND".to_owned(),
        place: Place { location, limits: PoolLimits::default() },
        zones: Zones::default(),
        form: PasswordForm::default(),
        name_rule: NameRule::Exact,
        are_groups_read: false,
    };
    let store = Arc::new(UserStore::secondary(&settings, &SystemEntropy::default()));
    assert!(store.find_named(TenantId::SUPER, "admin").await.unwrap().is_some());
    let ask = |name: String| {
        let store = store.clone();
        tokio::spawn(async move { store.find_named(TenantId::SUPER, &name).await.map(|user| user.is_some()) })
    };
    let turn = store.named().hold_turn().await;
    let asked: Vec<_> = (0..seeker::WAITING_MAX).map(|number| ask(format!("nobody-{number}"))).collect();
    while store.named().waiting() < seeker::WAITING_MAX {
        tokio::task::yield_now().await;
    }
    let refused = ask("one more".to_owned()).await.unwrap();
    assert!(matches!(refused, Err(StoreError::Unavailable(None))), "{refused:?}");
    drop(turn);
    for task in asked {
        assert!(!task.await.unwrap().unwrap());
    }
    assert!(store.find_named(TenantId::SUPER, "admin").await.unwrap().is_some());
    store.close().await;
    started.app.store.close().await;
    std::fs::remove_dir_all(&directory).unwrap();
}

/// No text in a column of texts: the row does not decode.
static SPOIL: Sql = Sql::new("UPDATE UM_USER SET UM_USER_PASSWORD = X'FF' WHERE UM_USER_NAME = ?", &[]);

#[tokio::test]
async fn a_row_that_cannot_be_read_fails_its_own_name_alone() {
    let (started, directory) = started(&Secret::new("admin-password")).await;
    let write = started.app.store.write::<_, StoreError, _>(|conn| {
        Box::pin(async move {
            let password = StoredPassword { digest: "digest".to_owned(), salt: "salt".to_owned() };
            for name in ["ann", "bad"] {
                let (uuid, name) = (uuid(&SystemEntropy::default()), name.to_owned());
                let user = rows::NewUser { uuid, name, password: password.clone(), tenant: TenantId::SUPER };
                rows::insert(conn, &user, SystemClock.now()).await?;
            }
            conn.execute(&SPOIL, &["bad".into()]).await.map(|_| ())
        })
    });
    write.await.unwrap();
    for sought in [Sought::Named, Sought::Spelled] {
        let seeker = Arc::new(Seeker::new(Source::Ours(started.app.store.clone()), sought));
        let turn = seeker.hold_turn().await;
        // Whoever gets the turn first asks for all: be it the bad name or another.
        let names = ["bad", "ann", "nobody", "bad", "admin"];
        let asked = names.map(|name| {
            let seeker = seeker.clone();
            tokio::spawn(async move { (name, seeker.find(TenantId::SUPER, name).await) })
        });
        while seeker.waiting() < names.len() {
            tokio::task::yield_now().await;
        }
        drop(turn);
        for task in asked {
            let (name, found) = task.await.unwrap();
            match found {
                Err(StoreError::Corrupt(_)) => assert_eq!(name, "bad"),
                found => assert_eq!(found.unwrap().is_some(), ["ann", "admin"].contains(&name), "{name}"),
            }
        }
    }
    started.app.store.close().await;
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn who_hangs_up_ends_neither_the_statement_nor_the_turn() {
    let (started, directory) = started(&Secret::new("admin-password")).await;
    // The statement waits for a connection as it would for a slow database.
    let mut busy = Vec::new();
    for _ in 0..READERS {
        let mut conn = started.app.store.reader().await.unwrap();
        rows::find_named(&mut conn, TenantId::SUPER, &["admin"]).await.unwrap();
        busy.push(conn);
    }
    let seeker = Seeker::new(Source::Ours(started.app.store.clone()), Sought::Named);
    let ask = |name: &'static str| {
        let seeker = seeker.clone();
        tokio::spawn(async move { seeker.find(TenantId::SUPER, name).await })
    };
    let given_up = ask("nobody");
    while !seeker.is_asking() || seeker.waiting() > 0 {
        tokio::task::yield_now().await;
    }
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    assert!(seeker.is_asking(), "another statement would begin beside the one that goes on");
    let next = ask("admin");
    while seeker.waiting() < 1 {
        tokio::task::yield_now().await;
    }
    drop(busy);
    assert_eq!(next.await.unwrap().unwrap().unwrap().name, "admin");
    started.app.store.close().await;
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn a_remembered_login_says_nothing_about_roles() {
    let password = Secret::new("admin-password");
    let (started, directory) = started(&password).await;
    let (app, admin) = (&started.app, LoginName::parse("admin").unwrap());
    let has_role = async || {
        let principal = app.users.authenticate(&admin, &password).await.unwrap().unwrap();
        principal.has_one_of(["Internal/late"])
    };
    assert!(!has_role().await);
    // An old node on the same database writes no event; the roles' own age ends them.
    let write = app.store.write::<_, StoreError, _>(|conn| {
        Box::pin(async move { rows::add_hybrid_role(conn, TenantId::SUPER, "admin", "late").await })
    });
    write.await.unwrap();
    app.users.known.forget_all();
    assert!(has_role().await);
    assert!(app.users.authenticate(&admin, &Secret::new("wrong")).await.unwrap().is_none());
    app.store.close().await;
    std::fs::remove_dir_all(&directory).unwrap();
}
