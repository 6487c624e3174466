//! Users, roles, permissions.

use crate::database::{Random, on_every_engine};
use claviger_proto::ids::TenantId;
use claviger_proto::password::{PasswordForm, StoredPassword};
use claviger_proto::permission::Permissions;
use claviger_proto::secret::Secret;
use claviger_proto::time::Timestamp;
use claviger_store::error::StoreError;
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
        let ann = users::find(&mut conn, TenantId::SUPER, "ann").await.unwrap().unwrap();
        assert!(ann.name == "ann" && ann.password.is_match(&Secret::new("s3cret"), PasswordForm::default()));
        assert!(
            users::find(&mut conn, TenantId::SUPER, "ANN").await.unwrap().is_none(),
            "names are exact on every collation"
        );
        assert!(users::find(&mut conn, TenantId(1), "ann").await.unwrap().is_none(), "another tenant");
        let mut roles = users::list_roles(&mut conn, TenantId::SUPER, &ann).await.unwrap();
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
