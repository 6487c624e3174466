//! Leases: one holder at a time, and a next one when it is gone.

use crate::database::on_every_engine;
use crate::tokens::NOW;
use claviger_proto::time::Timestamp;
use claviger_store::error::StoreError;
use claviger_store::leases;

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_has_one_holder_and_is_taken_over_after_its_end() {
    on_every_engine(|store| async move {
        let take = |holder: &'static str, now: Timestamp| {
            let until = now.plus_millis(60_000);
            store.write::<_, StoreError, _>(move |conn| {
                Box::pin(async move { leases::take(conn, "cleaning", holder, now, until).await })
            })
        };
        let (a, b, c) = tokio::join!(take("a", NOW), take("b", NOW), take("c", NOW));
        let takers = [("a", a), ("b", b), ("c", c)].map(|(name, taken)| (name, taken.unwrap()));
        let holders: Vec<&str> = takers.iter().filter(|(_, taken)| *taken).map(|(name, _)| *name).collect();
        let [holder] = holders[..] else { panic!("{takers:?}") };
        let other = if holder == "a" { "b" } else { "a" };
        assert!(take(holder, NOW.plus_millis(30_000)).await.unwrap(), "kept");
        let slack = leases::CLOCKS_APART_MS_MAX;
        assert!(!take(other, NOW.plus_millis(90_000 + slack)).await.unwrap());
        assert!(take(other, NOW.plus_millis(90_001 + slack)).await.unwrap(), "the holder is taken for dead");
        assert!(!take(holder, NOW.plus_millis(90_001 + slack)).await.unwrap());
        let give_back = |holder: &'static str| {
            store.write::<_, StoreError, _>(move |conn| Box::pin(leases::give_back(conn, "cleaning", holder)))
        };
        give_back(holder).await.unwrap();
        assert!(!take(holder, NOW.plus_millis(90_002 + slack)).await.unwrap(), "it was not theirs to give");
        give_back(other).await.unwrap();
        assert!(take(holder, NOW.plus_millis(90_003 + slack)).await.unwrap());
    })
    .await;
}
