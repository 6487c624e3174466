//! Users, roles, permissions.

use crate::database::{Random, on_every_engine};
use claviger_proto::ids::TenantId;
use claviger_proto::password::{PasswordForm, StoredPassword};
use claviger_proto::permission::Permissions;
use claviger_proto::secret::Secret;
use claviger_proto::time::Timestamp;
use claviger_proto::user::NameRule;
use claviger_store::claims;
use claviger_store::error::StoreError;
use claviger_store::sql::{Engine, Sql};
use claviger_store::users::{self, NewUser};

fn user(name: &str) -> NewUser {
    NewUser {
        uuid: claviger_proto::entropy::uuid(&Random),
        name: name.into(),
        password: StoredPassword::new(&Secret::new("s3cret"), &Random),
        tenant: TenantId::SUPER,
    }
}

#[tokio::test]
async fn a_user_holds_roles_and_their_permissions() {
    on_every_engine(|store| async move {
        store
            .write::<(), StoreError, _>(|conn| {
                Box::pin(async move {
                    let id = users::insert(conn, &user("ann"), Timestamp::from_secs(1_700_000_000)).await?;
                    users::add_role(conn, TenantId::SUPER, id, "admin").await?;
                    users::add_hybrid_role(conn, TenantId::SUPER, "ann", "creator").await?;
                    users::add_hybrid_role(conn, TenantId::SUPER, "ann", "creator").await?;
                    let other = users::insert(conn, &user("Ann"), Timestamp::from_secs(1_700_000_000)).await?;
                    users::add_role(conn, TenantId::SUPER, other, "auditor").await?;
                    users::add_hybrid_role(conn, TenantId::SUPER, "Ann", "publisher").await?;
                    Ok(())
                })
            })
            .await
            .unwrap();
        let mut conn = store.reader().await.unwrap();
        let ann = users::find(&mut conn, TenantId::SUPER, "ann", NameRule::AnyCase).await.unwrap().unwrap();
        assert!(ann.name == "ann" && ann.password.is_match(&Secret::new("s3cret"), PasswordForm::default()));
        for rule in [NameRule::Exact, NameRule::AnyCase] {
            let found = users::find(&mut conn, TenantId::SUPER, "ANN", rule).await.unwrap();
            assert!(found.is_none(), "{rule:?}: two could be meant");
        }
        assert!(
            users::find(&mut conn, TenantId(1), "ann", NameRule::AnyCase).await.unwrap().is_none(),
            "another tenant"
        );
        let mut roles = users::list_roles(&mut conn, TenantId::SUPER, &ann, NameRule::AnyCase).await.unwrap();
        roles.sort();
        assert_eq!(
            roles,
            ["Internal/creator", "Internal/everyone", "admin"],
            "nothing of the user who differs in case"
        );
        let statements = users::list_permissions(&mut conn, TenantId::SUPER).await.unwrap();
        let of = |role: &str| Permissions::new(statements.iter().filter(|(name, ..)| name == role).cloned());
        assert!(of("admin").may("/permission/admin/manage/identity/applicationmgt/create"));
        assert!(of("Internal/creator").may("/permission/admin/manage/api/create"));
        assert!(!of("Internal/creator").may("/permission/admin/manage/identity"));
    })
    .await;
}

#[tokio::test]
async fn a_name_in_another_case_is_one_users_where_the_rule_says_so() {
    on_every_engine(|store| async move {
        store
            .write::<(), StoreError, _>(|conn| {
                Box::pin(async move {
                    users::insert(conn, &user("bob"), Timestamp::from_secs(1_700_000_000)).await?;
                    users::add_hybrid_role(conn, TenantId::SUPER, "bob", "creator").await?;
                    users::add_hybrid_role(conn, TenantId::SUPER, "BOB", "publisher").await
                })
            })
            .await
            .unwrap();
        let mut conn = store.reader().await.unwrap();
        for (rule, is_found) in [(NameRule::Exact, false), (NameRule::AnyCase, true)] {
            let found = users::find(&mut conn, TenantId::SUPER, "Bob", rule).await.unwrap();
            assert_eq!(found.map(|user| user.name), is_found.then(|| "bob".to_owned()), "{rule:?}");
            assert_eq!(users::is_taken(&mut conn, TenantId::SUPER, "Bob", rule).await.unwrap(), is_found, "{rule:?}");
            assert!(users::find(&mut conn, TenantId::SUPER, "b\u{f3}b", rule).await.unwrap().is_none(), "{rule:?}");
            let bob = users::find(&mut conn, TenantId::SUPER, "bob", rule).await.unwrap().unwrap();
            let roles = users::list_roles(&mut conn, TenantId::SUPER, &bob, rule).await.unwrap();
            assert!(roles.iter().any(|role| role == "Internal/creator"), "{roles:?}");
            assert_eq!(roles.iter().any(|role| role == "Internal/publisher"), is_found, "{rule:?} {roles:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn many_names_are_looked_for_at_once() {
    on_every_engine(|store| async move {
        store
            .write::<(), StoreError, _>(|conn| {
                Box::pin(async move {
                    for name in ["bob", "ann", "Ann", "J\u{f3}s\u{e9}"] {
                        users::insert(conn, &user(name), Timestamp::from_secs(1_700_000_000)).await?;
                    }
                    Ok(())
                })
            })
            .await
            .unwrap();
        let mut conn = store.reader().await.unwrap();
        let wanted = ["BOB", "bob", "nobody", "ann", "ANN", "bob", "Jose", "b\u{f3}b"];
        let exact = users::find_named(&mut conn, TenantId::SUPER, &wanted).await.unwrap();
        let exact: Vec<Option<String>> = exact.into_iter().map(|user| user.map(|user| user.name)).collect();
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(exact, [None, some("bob"), None, some("ann"), None, some("bob"), None, None]);
        let spelled = users::find_spelled(&mut conn, TenantId::SUPER, &wanted).await.unwrap();
        let spelled: Vec<Option<String>> = spelled.into_iter().map(|user| user.map(|user| user.name)).collect();
        // Of two that differ in case alone nobody can say which is meant.
        assert_eq!(spelled, [some("bob"), some("bob"), None, None, None, some("bob"), None, None]);
        for (name, exact, spelled) in [("Bob", None, some("bob")), ("ANN", None, None), ("ann", some("ann"), None)] {
            let found = users::find_named(&mut conn, TenantId::SUPER, &[name]).await.unwrap();
            assert_eq!(found[0].as_ref().map(|user| user.name.clone()), exact, "{name}");
            let found = users::find_spelled(&mut conn, TenantId::SUPER, &[name]).await.unwrap();
            assert_eq!(found[0].as_ref().map(|user| user.name.clone()), spelled, "{name}");
        }
        let elsewhere = users::find_spelled(&mut conn, TenantId(1), &["bob"]).await.unwrap();
        assert!(elsewhere[0].is_none(), "another tenant");
    })
    .await;
}

static TELL_CASE: Sql = Sql::new(
    "UPDATE UM_USER SET UM_USER_NAME = UM_USER_NAME",
    &[(
        Engine::MySql,
        "ALTER TABLE UM_USER MODIFY UM_USER_NAME VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL",
    )],
);

#[tokio::test]
async fn a_column_that_tells_case_apart_hides_no_spelling() {
    on_every_engine(|store| async move {
        store
            .write::<(), StoreError, _>(|conn| {
                Box::pin(async move {
                    conn.execute(&TELL_CASE, &[]).await?;
                    users::insert(conn, &user("aliceSmith"), Timestamp::from_secs(1_700_000_000)).await.map(|_| ())
                })
            })
            .await
            .unwrap();
        let mut conn = store.reader().await.unwrap();
        let found = users::find_spelled(&mut conn, TenantId::SUPER, &["AlicesmitH"]).await.unwrap();
        assert_eq!(found[0].as_ref().map(|user| user.name.as_str()), Some("aliceSmith"), "{:?}", store.engine());
        let found = users::find(&mut conn, TenantId::SUPER, "ALICEsmith", NameRule::AnyCase).await.unwrap();
        assert_eq!(found.map(|user| user.name).as_deref(), Some("aliceSmith"), "{:?}", store.engine());
    })
    .await;
}

static IN_LATIN1: Sql = Sql::new(
    "UPDATE UM_USER SET UM_USER_NAME = UM_USER_NAME",
    &[(Engine::MySql, "ALTER TABLE UM_USER MODIFY UM_USER_NAME VARCHAR(255) CHARACTER SET latin1 NOT NULL")],
);

#[tokio::test]
async fn nobody_has_a_name_that_the_column_cannot_say() {
    on_every_engine(|store| async move {
        store
            .write::<(), StoreError, _>(|conn| Box::pin(async move { conn.execute(&IN_LATIN1, &[]).await.map(|_| ()) }))
            .await
            .unwrap();
        let mut conn = store.reader().await.unwrap();
        for name in ["\u{3a9}", "bob\u{1f600}", "bob\0"] {
            let engine = store.engine();
            let found = users::find_named(&mut conn, TenantId::SUPER, &[name]).await.unwrap();
            assert!(found[0].is_none(), "{name:?}, {engine:?}");
            let found = users::find_spelled(&mut conn, TenantId::SUPER, &[name]).await.unwrap();
            assert!(found[0].is_none(), "{name:?}, {engine:?}");
            let found = users::find(&mut conn, TenantId::SUPER, name, NameRule::AnyCase).await.unwrap();
            assert!(found.is_none(), "{name:?}, {engine:?}");
        }
    })
    .await;
}

static ALLOW_NULL: Sql = Sql::new("ALTER TABLE UM_USER ALTER COLUMN UM_CHANGED_TIME DROP NOT NULL", &[]);
static UNDATE: Sql = Sql::new(
    "UPDATE UM_USER SET UM_REQUIRE_CHANGE = ?, UM_CHANGED_TIME = NULL WHERE UM_USER_NAME = ?",
    &[(
        Engine::MySql,
        "UPDATE UM_USER SET UM_REQUIRE_CHANGE = ?, UM_CHANGED_TIME = '0000-00-00 00:00:00' WHERE UM_USER_NAME = ?",
    )],
);

#[tokio::test]
async fn a_one_time_password_of_an_unknown_day_is_an_old_one() {
    on_every_engine(|store| async move {
        if store.engine() == Engine::Sqlite {
            // The embedded database has our own tables only, whose column is never NULL.
            return;
        }
        store
            .write::<(), StoreError, _>(|conn| {
                Box::pin(async move {
                    users::insert(conn, &user("eve"), Timestamp::from_secs(1_700_000_000)).await?;
                    if conn.engine() == Engine::Postgres {
                        conn.execute(&ALLOW_NULL, &[]).await?;
                    }
                    conn.execute(&UNDATE, &[true.into(), "eve".into()]).await?;
                    Ok(())
                })
            })
            .await
            .unwrap();
        let mut conn = store.reader().await.unwrap();
        let eve = users::find(&mut conn, TenantId::SUPER, "eve", NameRule::Exact).await.unwrap().unwrap();
        assert_eq!(eve.one_time_since, Some(Timestamp::from_secs(0)), "{:?}", store.engine());
    })
    .await;
}

#[tokio::test]
async fn a_name_that_could_never_get_a_token_is_refused() {
    on_every_engine(|store| async move {
        let result = store
            .write::<i64, StoreError, _>(|conn| {
                Box::pin(async move { users::insert(conn, &user(&"x".repeat(101)), Timestamp::from_secs(0)).await })
            })
            .await;
        assert!(matches!(result, Err(StoreError::TooLong(_))));
    })
    .await;
}

#[tokio::test]
async fn what_a_store_calls_its_own_is_not_the_primary_stores() {
    static DIALECT: Sql =
        Sql::new("INSERT INTO IDN_CLAIM_DIALECT (ID, DIALECT_URI, TENANT_ID) VALUES (901, ?, ?)", &[]);
    static CLAIM: Sql =
        Sql::new("INSERT INTO IDN_CLAIM (ID, DIALECT_ID, CLAIM_URI, TENANT_ID) VALUES (?, 901, ?, ?)", &[]);
    static ATTRIBUTE: Sql = Sql::new(
        "INSERT INTO IDN_CLAIM_MAPPED_ATTRIBUTE (LOCAL_CLAIM_ID, USER_STORE_DOMAIN_NAME, ATTRIBUTE_NAME, TENANT_ID) VALUES (?, ?, ?, ?)",
        &[],
    );
    static DEFAULT: Sql = Sql::new(
        "INSERT INTO IDN_CLAIM_PROPERTY (LOCAL_CLAIM_ID, PROPERTY_NAME, PROPERTY_VALUE, TENANT_ID) \
         VALUES (?, 'DefaultAttribute', ?, ?)",
        &[],
    );
    on_every_engine(|store| async move {
        let write = store.write::<(), StoreError, _>(|conn| {
            Box::pin(async move {
                let tenant = TenantId::SUPER;
                conn.execute(&DIALECT, &["http://example.org".into(), tenant.into()]).await?;
                for (id, claim) in [(911_i64, "a"), (912, "b"), (913, "c")] {
                    conn.execute(&CLAIM, &[id.into(), claim.into(), tenant.into()]).await?;
                }
                for (id, domain, attribute) in
                    [(911_i64, "HR", "hr"), (911, "PRIMARY", "own"), (912, "PRIMARY", "own"), (913, "PRIMARY", "own")]
                {
                    conn.execute(&ATTRIBUTE, &[id.into(), domain.into(), attribute.into(), tenant.into()]).await?;
                }
                conn.execute(&DEFAULT, &[913_i64.into(), "default".into(), tenant.into()]).await?;
                for (domain, role) in [("PRIMARY", "dev"), ("HR", "ops")] {
                    users::grant(conn, tenant, domain, role, "/permission/admin/login").await?;
                }
                users::add_hybrid_role_in(conn, tenant, ("hr", "ann"), "Application/x").await?;
                users::add_hybrid_role(conn, tenant, "ann", "Application/y").await
            })
        });
        write.await.unwrap();
        let mut conn = store.reader().await.unwrap();
        let mut attributes = Vec::new();
        for domain in ["HR", "OTHER", "PRIMARY"] {
            let listed = claims::list(&mut conn, TenantId::SUPER, domain, "http://example.org").await.unwrap();
            attributes.push(listed.into_iter().map(|claim| claim.attribute.unwrap()).collect::<Vec<_>>());
        }
        assert_eq!(attributes, [["hr", "own", "default"], ["own", "own", "default"], ["own", "own", "own"]]);
        let permissions = users::list_permissions(&mut conn, TenantId::SUPER).await.unwrap();
        let holds = |role: &str| {
            permissions
                .iter()
                .any(|(name, path, _)| (name.as_str(), path.as_str()) == (role, "/permission/admin/login"))
        };
        assert!(holds("dev") && holds("HR/ops") && !holds("ops") && !holds("HR/dev"), "{permissions:?}");
        for (domain, rule, expected) in [
            ("HR", NameRule::AnyCase, vec![("Application/x".to_owned(), "ann".to_owned())]),
            ("PRIMARY", NameRule::AnyCase, vec![("Application/y".to_owned(), "ann".to_owned())]),
        ] {
            let rows = users::list_hybrid_roles(&mut conn, (TenantId::SUPER, domain), "Ann", rule).await.unwrap();
            assert_eq!(rows, expected, "{domain}");
        }
    })
    .await;
}
