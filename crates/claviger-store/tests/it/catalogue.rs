//! The schema that we make is the one an API-M 3.2 and its identity server would find, down to the names of its keys.

use crate::database::{on_every_location, open};
use claviger_golden::catalogue::differences;
use claviger_golden::db::Db;
use claviger_golden::facts::{Facts, Script};
use claviger_golden::golden::Golden;
use claviger_golden::options::{Layout, Options};
use claviger_golden::server::Address;
use claviger_golden::{Engine, Release};
use claviger_proto::secret::Secret;
use claviger_store::location::{Location, Server, Tls};
use claviger_store::schema::{self, Prepared};

#[tokio::test]
async fn a_new_schema_is_the_old_servers() {
    on_every_location(|location| async move {
        let Some((engine, url)) = address(&location) else { return };
        let store = open(location).await;
        assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Created);
        let db = Db::open(engine, &url, false).await.unwrap();
        let scripts = [Script::ApiManager(Release::V3_2), Script::Kernel(Release::V3_2)];
        let facts = Facts::of_one_database(&scripts, engine).unwrap();
        let is_ours = |table: &str| table.starts_with("CLV_");
        assert_eq!(differences(&db, &facts, is_ours).await.unwrap(), Vec::<String>::new(), "{engine:?}");
        db.close().await;
        store.close().await;
    })
    .await;
}

/// The URL of a database on a server.
fn address(location: &Location) -> Option<(Engine, String)> {
    let url = |scheme, server: &Server| {
        let password = server.password.as_ref().unwrap().expose();
        format!("{scheme}://{}:{password}@{}:{}/{}", server.user, server.host, server.port, server.database)
    };
    match location {
        Location::Sqlite(_) => None,
        Location::MySql(server) => Some((Engine::MySql, url("mysql", server))),
        Location::Postgres(server) => Some((Engine::Postgres, url("postgres", server))),
    }
}

/// What an old server left gets our own tables beside it and stays as it was.
#[tokio::test]
async fn an_old_servers_tables_stay_as_they_are() {
    for (engine, url) in [(Engine::MySql, "CLAVIGER_TEST_MYSQL_URL"), (Engine::Postgres, "CLAVIGER_TEST_POSTGRES_URL")]
    {
        let Some(url) = crate::database::url(url) else { continue };
        for release in [Release::V2_1, Release::V3_2] {
            let options =
                Options { layout: Layout::One, is_migrated: true, ..Options::new(release, 1_790_000_000_000) };
            let golden = Golden::create(engine, &url, options).await.unwrap();
            let complaints = golden.old_server().complaints(golden.manifest.now_ms).await.unwrap();
            let store = open(location(&golden.addresses.identity)).await;
            assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Found);
            assert_eq!(schema::prepare(&store).await.unwrap(), Prepared::Found);
            store.close().await;
            let changes = golden.catalogue_changes(|_| false).await.unwrap();
            assert!(changes.iter().any(|line| line.starts_with("new: CLV_EVENT:")), "{changes:?}");
            let is_ours = |table: &str| table.starts_with("CLV_");
            assert_eq!(
                golden.catalogue_changes(is_ours).await.unwrap(),
                Vec::<String>::new(),
                "{engine:?} {release:?}"
            );
            assert_eq!(golden.old_server().complaints(golden.manifest.now_ms).await.unwrap(), complaints);
            golden.drop_databases().await.unwrap();
        }
    }
}

fn location(address: &Address) -> Location {
    let server = Server {
        host: address.host.clone(),
        port: address.port,
        database: address.name.clone(),
        schema: None,
        user: address.user.clone(),
        password: Some(Secret::new(&address.password)),
        tls: Tls::Disable,
        tls_root_file: None,
    };
    match address.engine {
        Engine::MySql => Location::MySql(server),
        Engine::Postgres => Location::Postgres(server),
    }
}
