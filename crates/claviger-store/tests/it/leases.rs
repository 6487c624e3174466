//! Leases: one holder at a time, and a next one when it is gone.

use crate::database::on_every_engine;
use claviger_store::error::StoreError;
use claviger_store::leases::{Lease, take_turn};
use claviger_store::sql::Sql;
use futures_util::future::join_all;
use std::time::{Duration, Instant};

const NAME: &str = "cleaning";
const NEVER: Duration = Duration::from_hours(1);
/// Longest wait for a sign of life, and for a takeover.
const WAIT: Duration = Duration::from_secs(10);

fn lease(holder: &str, dead_after: Duration) -> Lease {
    Lease::new(NAME, holder.to_owned(), dead_after)
}

/// Asks until the answer is yes, for a bounded time.
async fn becomes_true(mut ask: impl AsyncFnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < WAIT {
        if ask().await {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_has_one_holder_until_it_is_silent() {
    on_every_engine(|store| async move {
        let [mut a, mut b, mut c] = ["a", "b", "c"].map(|holder| lease(holder, NEVER));
        let taken = tokio::join!(a.hold(&store), b.hold(&store), c.hold(&store));
        let taken: [bool; 3] = <[Result<bool, StoreError>; 3]>::from(taken).map(Result::unwrap);
        assert_eq!(taken.iter().filter(|taken| **taken).count(), 1, "{:?}: {taken:?}", store.engine());
        let mut all = [a, b, c];
        let place = taken.iter().position(|taken| *taken).unwrap();
        let (holder, other) = (all[place].clone(), all[(place + 1) % 3].clone());
        let (mut holder, mut patient) = (holder, other);
        assert!(holder.hold(&store).await.unwrap(), "kept");
        for _ in 0..3 {
            assert!(!patient.hold(&store).await.unwrap(), "nobody was silent for that long");
        }
        // Two looks without a sign of life between them are enough for this one.
        let mut hasty = lease("hasty", Duration::ZERO);
        for _ in 0..3 {
            assert!(!hasty.hold(&store).await.unwrap(), "{:?}: there was a sign of life", store.engine());
            assert!(holder.hold(&store).await.unwrap());
        }
        assert!(
            !hasty.hold(&store).await.unwrap() && hasty.hold(&store).await.unwrap(),
            "the holder is taken for dead"
        );
        assert!(!holder.hold(&store).await.unwrap());
        holder.give_back(&store).await.unwrap();
        assert!(!patient.hold(&store).await.unwrap(), "it was not theirs to give");
        hasty.give_back(&store).await.unwrap();
        assert!(all[(place + 2) % 3].hold(&store).await.unwrap(), "{:?}", store.engine());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_who_take_a_dead_nodes_lease_one_gets_it() {
    on_every_engine(|store| async move {
        assert!(lease("dead", NEVER).hold(&store).await.unwrap());
        let mut heirs = ["a", "b", "c", "d"].map(|holder| lease(holder, Duration::ZERO));
        for heir in &mut heirs {
            assert!(!heir.hold(&store).await.unwrap());
        }
        let taken = join_all(heirs.iter_mut().map(|heir| heir.hold(&store))).await;
        let taken: Vec<bool> = taken.into_iter().map(Result::unwrap).collect();
        assert_eq!(taken.iter().filter(|taken| **taken).count(), 1, "{:?}: {taken:?}", store.engine());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_gives_signs_of_life_as_long_as_it_is_there() {
    static BEAT: Sql = Sql::new("SELECT BEAT FROM CLV_HOLDER WHERE NAME = ?", &[]);
    on_every_engine(|store| async move {
        let held = lease("a", Duration::from_millis(300)).take(&store).await.unwrap().unwrap();
        let beat = async || {
            let row = store.reader().await.unwrap().row(&BEAT, &[NAME.into()]).await.unwrap();
            row.map(|row| row.int(0).unwrap())
        };
        assert!(becomes_true(async || beat().await >= Some(3)).await, "{:?}", store.engine());
        assert!(held.is_held());
        // As when its node is killed.
        drop(held);
        let mut next = lease("b", Duration::from_secs(1));
        assert!(!next.hold(&store).await.unwrap(), "{:?}: nobody knows yet", store.engine());
        assert!(becomes_true(async || next.hold(&store).await.unwrap()).await, "{:?}", store.engine());
        // Somebody who takes it away is noticed.
        let held = next.take(&store).await.unwrap().unwrap();
        let mut third = lease("c", Duration::ZERO);
        assert!(becomes_true(async || third.hold(&store).await.unwrap()).await, "{:?}", store.engine());
        assert!(becomes_true(async || !held.is_held()).await, "{:?}", store.engine());
        let held = third.take(&store).await.unwrap().unwrap();
        held.release().await.unwrap();
        assert_eq!(beat().await, None, "{:?}", store.engine());
    })
    .await;
}

/// Each counts those who came before it, and none counts as many as another.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_in_ones_turn_the_others_have_committed() {
    static COUNT: Sql = Sql::new("SELECT COUNT(*) FROM CLV_HOLDER WHERE HOLDER = 'counted'", &[]);
    static INSERT: Sql = Sql::new("INSERT INTO CLV_HOLDER (NAME, HOLDER, BEAT) VALUES (?, 'counted', 0)", &[]);
    const TAKERS: i64 = 12;
    on_every_engine(|store| async move {
        let count = async |taker: i64| {
            let write = store.write::<_, StoreError, _>(move |conn| {
                Box::pin(async move {
                    take_turn(conn, "counting").await?;
                    let before = conn.row(&COUNT, &[]).await?.unwrap().int(0)?;
                    conn.execute(&INSERT, &[(&taker.to_string()).into()]).await?;
                    Ok(before)
                })
            });
            write.await.unwrap()
        };
        let mut counted = join_all((0..TAKERS).map(count)).await;
        counted.sort_unstable();
        assert!(counted.iter().copied().eq(0..TAKERS), "{:?}: {counted:?}", store.engine());
    })
    .await;
}
