//! What gateways are fed: the places in the log at which they can start, and answers in time.

use crate::harness::{ADMIN, ADMIN_PASSWORD, Call as _, Server, on_every_engine, on_sqlite, register};
use claviger::events::find_place;
use claviger_proto::follow::EventsRequest;
use claviger_proto::time::Clock as _;
use claviger_store::error::StoreError;
use serde_json::json;

const DAYS_8_S: i64 = 8 * 86_400;

async fn get(server: &Server, path: &str) -> crate::harness::Reply {
    let request = server.get(&format!("/internal/claviger/v1{path}"));
    request.basic_auth(ADMIN, Some(ADMIN_PASSWORD)).call().await
}

#[tokio::test]
async fn a_snapshot_after_a_clean_up_and_a_restart_is_a_place_to_read_on_from() {
    on_every_engine("", async |server| {
        for name in ["one", "two", "three"] {
            let client = register(server, name, json!({})).await;
            let token = client.application_token(server).await;
            client.revoke(server, &[("token", &token)]).await;
        }
        server.clock.advance_s(DAYS_8_S);
        let (app, now) = (server.app(), server.clock.now());
        let removed =
            app.store.write::<_, StoreError, _>(move |conn| Box::pin(claviger_store::events::delete_before(conn, now)));
        assert!(removed.await.unwrap() >= 2, "{}", server.engine);
        // As a start does.
        find_place(app).await.unwrap();
        let request = EventsRequest { after: app.events.low_watermark(), gaps: Vec::new() };
        let page = app.events.page(&app.store, &request, 0).await;
        assert!(page.is_ok(), "{}: {page:?}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn an_empty_page_is_back_before_the_time_limit_of_requests() {
    on_sqlite("[limits]\nrequest_timeout_s = 2\n", async |server| {
        let snapshot = get(server, "/snapshot").await.json();
        let after = snapshot["as_of"].as_i64().unwrap();
        let last = get(server, &format!("/events?after={after}")).await.json()["last"].as_i64().unwrap();
        let page = get(server, &format!("/events?after={last}&wait_ms=25000")).await;
        assert_eq!((page.status, page.json()["events"].clone()), (200, json!([])), "{page:?}");
    })
    .await;
}
