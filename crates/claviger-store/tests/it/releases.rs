//! The key manager's statements parse on the schemas of every release, as an old server made them.

use crate::database::Random;
use crate::database::location;
use claviger_golden::facts::{Facts, Script};
use claviger_golden::server::Scratch;
use claviger_golden::{Engine, Release, ddl};
use claviger_proto::ids::{SUPER_TENANT_DOMAIN, TenantId};
use claviger_store::capability::Capability;
use claviger_store::conn::Conn;
use claviger_store::db::{Places, PoolLimits, Store};
use claviger_store::error::StoreError;
use claviger_store::schema::{self, Prepared};
use claviger_store::seed::{self, TenantSeed};
use claviger_store::users;

const RELEASES: [(Release, &str); 5] = [
    (Release::V2_1, "2.1"),
    (Release::V2_6, "2.6"),
    (Release::V3_0, "3.0"),
    (Release::V3_1, "3.1"),
    (Release::V3_2, "3.2"),
];

/// What a key manager does.
const MODULES: [&str; 13] = [
    "clients::",
    "codes::",
    "tokens::",
    "users::",
    "tenants::",
    "scopes::",
    "revocations::",
    "events::",
    "roles::",
    "key_stores::",
    "registry::",
    "status::",
    "schema::",
];

/// Statements on tables that some releases do not have: the code asks for the capability before it runs them.
const ASKED_FOR: &[(&str, Capability)] = &[
    ("scopes::LIST_ALL_BINDINGS", Capability::ScopeBinding),
    ("clients::DELETE_PROPERTIES", Capability::OidcProperty),
    ("clients::INSERT_PROPERTY", Capability::OidcProperty),
    ("revocations::INSERT_JWT", Capability::RevokedJwt),
    ("revocations::FIND_JWT", Capability::RevokedJwt),
    ("revocations::LIST_JWTS", Capability::RevokedJwt),
    ("scopes::DELETE_BINDINGS", Capability::ScopeBinding),
    ("scopes::INSERT_BINDING", Capability::ScopeBinding),
    ("codes::INSERT_SCOPE", Capability::CodeScopes),
    ("codes::INSERT_4_SCOPES", Capability::CodeScopes),
    ("codes::INSERT_16_SCOPES", Capability::CodeScopes),
    // AM_SHARED_SCOPE came with 3.2, as KEY_MANAGER did.
    ("scopes::FIND_SHARED", Capability::KeyManager),
];

/// The servers that are there.
#[expect(clippy::disallowed_methods, reason = "the test reads where its servers are")]
pub(crate) fn servers() -> Vec<(Engine, String)> {
    let named = [(Engine::MySql, "CLAVIGER_TEST_MYSQL_URL"), (Engine::Postgres, "CLAVIGER_TEST_POSTGRES_URL")];
    named.into_iter().filter_map(|(engine, name)| Some((engine, std::env::var(name).ok()?))).collect()
}

#[tokio::test]
async fn every_statement_of_a_key_manager_prepares_on_every_release() {
    for (engine, url) in servers() {
        let mut failed = Vec::new();
        for (release, name) in RELEASES {
            let scratch = Scratch::create(engine, &url, "claviger_release", false).await.unwrap();
            let scripts = [Script::ApiManager(release), Script::Kernel(release)];
            let facts = Facts::of_one_database(&scripts, engine).unwrap();
            scratch.db.run(&ddl::statements(&facts, engine).join(";")).await.unwrap();
            let store = Store::open(Places::one(location(&scratch.address), PoolLimits::default())).await.unwrap();
            assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Found);
            let capabilities = store.capabilities();
            assert_eq!(capabilities.release(), Some(name), "{engine:?}");
            let never_fires = engine == Engine::Postgres && release <= Release::V2_6;
            assert_eq!(capabilities.has(Capability::ActiveKey), !never_fires, "{engine:?} {release:?}");
            // As somebody finds them who ran the scripts and never started a server.
            for _ in 0..2 {
                store.write::<(), StoreError, _>(|conn| Box::pin(seed_found(conn))).await.unwrap();
            }
            let mut conn = store.reader().await.unwrap();
            let permissions = users::list_permissions(&mut conn, TenantId::SUPER).await.unwrap();
            let of_admin =
                permissions.iter().filter(|(role, path, _)| role == "admin" && path == "/permission").count();
            assert_eq!(of_admin, 1, "{engine:?} {release:?}: {permissions:?}");
            drop(conn);
            let mut conn = store.reader().await.unwrap();
            for (statement, sql) in claviger_store::statements() {
                let short = statement.trim_start_matches("claviger_store::");
                if !MODULES.iter().any(|module| short.starts_with(module)) {
                    continue;
                }
                let asked_for = ASKED_FOR.iter().find(|(listed, _)| *listed == short);
                let is_expected = asked_for.is_none_or(|(_, capability)| capabilities.has(*capability));
                let result = conn.prepare(sql).await;
                if result.is_ok() != is_expected {
                    failed.push(format!(
                        "{short} on {engine:?} {name}: {:?}",
                        result.map_err(|error| format!("{error:?}"))
                    ));
                    conn = store.reader().await.unwrap();
                }
            }
            drop(conn);
            store.close().await;
            scratch.drop_database().await.unwrap();
        }
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }
}

async fn seed_found(conn: &mut Conn) -> Result<(), StoreError> {
    let tenant = TenantSeed {
        id: TenantId::SUPER,
        domain: SUPER_TENANT_DOMAIN.into(),
        admin_role: "admin".into(),
        host: "localhost".into(),
    };
    seed::found(conn, &tenant, &Random).await
}
