//! The schema that we make is the one an API-M 3.2 and its identity server would find, down to the names of its keys.

use crate::database::{on_every_location, open};
use claviger_golden::catalogue::differences;
use claviger_golden::db::Db;
use claviger_golden::facts::{Facts, Script};
use claviger_golden::{Engine, Release};
use claviger_store::location::{Location, Server};
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
