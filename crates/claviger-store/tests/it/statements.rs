//! Every statement parses on every engine, and the hot ones use an index.

use crate::database::on_every_engine;
use claviger_store::sql::{Engine, Family};

#[tokio::test]
async fn every_statement_prepares() {
    on_every_engine(|store| async move {
        let mut conn = store.reader().await.unwrap();
        for (name, sql) in claviger_store::statements() {
            if let Err(error) = conn.prepare(sql).await {
                panic!("{name} on {:?}: {error:?}", store.engine());
            }
        }
    })
    .await;
}

/// Families may live in databases of their own (database.md 1.1): no statement may join two.
#[test]
fn every_statement_keeps_to_one_family() {
    for (name, sql) in claviger_store::statements() {
        for engine in [Engine::Sqlite, Engine::MySql, Engine::Postgres] {
            let is_catalogue = |table: &&str| table.contains("information_schema") || table.starts_with("sqlite");
            for table in sql.tables(engine).filter(|table| !is_catalogue(table)) {
                assert_eq!(Family::of_table(table), sql.family(), "{name} reads {table}");
            }
        }
    }
}
