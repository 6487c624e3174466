//! Tenants and users, inserted as their tables' owner does: no wire makes them.

use super::Server;
use claviger::app::SystemEntropy;
use claviger_proto::entropy::uuid;
use claviger_proto::ids::TenantId;
use claviger_proto::password::StoredPassword;
use claviger_proto::secret::Secret;
use claviger_proto::time::Clock as _;
use claviger_store::error::StoreError;
use claviger_store::seed::{self, TenantSeed};
use claviger_store::sql::Sql;
use claviger_store::users::NewUser;
use claviger_store::value::Row;
use claviger_store::{tenants, users};
use std::collections::BTreeMap;

/// A tenant with its first rows.
pub(crate) async fn insert_tenant(server: &Server, domain: &'static str) -> TenantId {
    let now = server.clock.now();
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        Box::pin(async move {
            let id = tenants::insert(conn, domain, "admin@example.org", now).await?;
            let host = "localhost".to_owned();
            let row = TenantSeed { id, domain: domain.to_owned(), admin_role: "admin".to_owned(), host };
            seed::tenant(conn, &row, &SystemEntropy::default()).await?;
            Ok(id)
        })
    });
    write.await.unwrap()
}

/// Lets a hybrid role, named without `Internal/`, do what a permission path says.
pub(crate) async fn permit(server: &Server, tenant: TenantId, role: &'static str, path: &'static str) {
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        Box::pin(async move { users::grant(conn, tenant, "INTERNAL", role, path).await })
    });
    write.await.unwrap();
}

/// Removes a user, as an old server on the same tables does: nobody is told.
pub(crate) async fn remove_user(server: &Server, tenant: TenantId, name: &'static str) {
    static REMOVE: [Sql; 3] = [
        Sql::new(
            "DELETE FROM UM_USER_ATTRIBUTE WHERE UM_USER_ID IN (SELECT UM_ID FROM UM_USER WHERE UM_USER_NAME = ? AND UM_TENANT_ID = ?)",
            &[],
        ),
        Sql::new(
            "DELETE FROM UM_USER_ROLE WHERE UM_USER_ID IN (SELECT UM_ID FROM UM_USER WHERE UM_USER_NAME = ? AND UM_TENANT_ID = ?)",
            &[],
        ),
        Sql::new("DELETE FROM UM_USER WHERE UM_USER_NAME = ? AND UM_TENANT_ID = ?", &[]),
    ];
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        Box::pin(async move {
            for statement in &REMOVE {
                conn.execute(statement, &[name.into(), tenant.into()]).await?;
            }
            Ok(())
        })
    });
    write.await.unwrap();
    server.app().forget_everything();
}

/// Says something of a user's account (`accountLocked`, `unlockTime`, `accountDisabled`), as an old server on the same tables does:
/// nobody is told.
pub(crate) async fn set_account(
    server: &Server,
    tenant: TenantId,
    user: &'static str,
    facts: &[(&'static str, &'static str)],
) {
    static DELETE: Sql = Sql::new("DELETE FROM IDN_IDENTITY_USER_DATA WHERE TENANT_ID = ? AND USER_NAME = ?", &[]);
    static INSERT: Sql = Sql::new(
        "INSERT INTO IDN_IDENTITY_USER_DATA (TENANT_ID, USER_NAME, DATA_KEY, DATA_VALUE) VALUES (?, ?, ?, ?)",
        &[],
    );
    let rows: Vec<_> =
        facts.iter().map(|(name, value)| (format!("http://wso2.org/claims/identity/{name}"), *value)).collect();
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        let rows = rows.clone();
        Box::pin(async move {
            conn.execute(&DELETE, &[tenant.into(), user.into()]).await?;
            for (key, value) in &rows {
                conn.execute(&INSERT, &[tenant.into(), user.into(), key.into(), (*value).into()]).await?;
            }
            Ok(())
        })
    });
    write.await.unwrap();
    server.app().forget_everything();
}

/// What is said of a user's account (`failedLoginAttempts`, ...).
pub(crate) async fn account_facts(server: &Server, tenant: TenantId, user: &str) -> BTreeMap<String, String> {
    static LIST: Sql =
        Sql::new("SELECT DATA_KEY, DATA_VALUE FROM IDN_IDENTITY_USER_DATA WHERE TENANT_ID = ? AND USER_NAME = ?", &[]);
    let mut conn = server.app().store.reader().await.unwrap();
    let rows = conn.rows(&LIST, &[tenant.into(), user.into()]).await.unwrap();
    let fact = |row: &Row| {
        let key = row.text(0).unwrap();
        (key.rsplit('/').next().unwrap().to_owned(), row.text(1).unwrap())
    };
    rows.iter().map(fact).collect()
}

/// A user with roles: `admin` is the user store's, `Internal/x` a hybrid one.
pub(crate) async fn insert_user(
    server: &Server,
    tenant: TenantId,
    name: &'static str,
    password: &str,
    roles: &'static [&'static str],
) {
    let (now, rng) = (server.clock.now(), SystemEntropy::default());
    let password = StoredPassword::new(&Secret::new(password), &rng);
    let user = NewUser { uuid: uuid(&rng), name: name.to_owned(), password, tenant };
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        let user = user.clone();
        Box::pin(async move {
            let id = users::insert(conn, &user, now).await?;
            for role in roles {
                match role.strip_prefix("Internal/") {
                    Some(role) => users::add_hybrid_role(conn, tenant, name, role).await?,
                    None => users::add_role(conn, tenant, id, role).await?,
                }
            }
            Ok(())
        })
    });
    write.await.unwrap();
}
