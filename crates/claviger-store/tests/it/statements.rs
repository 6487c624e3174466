//! Every statement parses on every engine, and the hot ones use an index.

use crate::database::on_every_engine;

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
