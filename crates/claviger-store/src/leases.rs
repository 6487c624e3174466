//! CLV_HOLDER: who of several nodes does a piece of work that one is enough for. A row per piece of work names its holder and
//! carries a number that the holder changes as long as it lives. Who sees the same number for too long, by its own clock that
//! only runs, takes the row over; no node's time of day is compared with another's. Every step is one conditional statement, so
//! it holds on a Galera cluster too, where locks and `GET_LOCK` are each member's own and only a COMMIT is checked.
//!
//! A lease spares work, it protects nothing: a holder that stood still for a while may wake up beside its successor. What is
//! done under it must be right when two do it at once. A turn protects, and ends with its transaction: its row belongs to nobody.

use crate::conn::Conn;
use crate::db::Store;
use crate::error::StoreError;
use crate::schema;
use crate::sql::queries;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Signs of life that a holder must miss until it is taken for dead.
const BEATS: u32 = 6;
/// Holder of a turn's row.
const NOBODY: &str = "";

queries! {
    FIND = "SELECT HOLDER, BEAT FROM CLV_HOLDER WHERE NAME = ?";
    INSERT = "INSERT INTO CLV_HOLDER (NAME, HOLDER, BEAT) VALUES (?, ?, 0)";
    BEAT = "UPDATE CLV_HOLDER SET BEAT = BEAT + 1 WHERE NAME = ? AND HOLDER = ?";
    TAKE_OVER = "UPDATE CLV_HOLDER SET HOLDER = ?, BEAT = 0 WHERE NAME = ? AND HOLDER = ? AND BEAT = ?";
    GIVE_BACK = "DELETE FROM CLV_HOLDER WHERE NAME = ? AND HOLDER = ?";
}

/// One node's view of a lease.
#[derive(Clone, Debug)]
pub struct Lease {
    name: &'static str,
    holder: String,
    dead_after: Duration,
    /// The other holder's sign of life that was seen last, and since when.
    seen: Option<(Sign, Instant)>,
}

/// A holder and its number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sign {
    holder: String,
    beat: i64,
}

/// What is to be done with the row.
#[derive(Clone, Debug)]
enum Step {
    Insert,
    Beat,
    TakeOver(Sign),
    GiveBack,
}

impl Lease {
    /// The lease of a name (at most 50 characters) for a node that nobody else is called as. A holder that gave no sign of life
    /// for `dead_after` is dead.
    pub fn new(name: &'static str, holder: String, dead_after: Duration) -> Self {
        Self { name, holder, dead_after, seen: None }
    }

    /// Takes the lease, or gives a sign of life; false when another node has it. Who does not have it comes back, more often
    /// than a holder may be silent.
    pub async fn hold(&mut self, store: &Store) -> Result<bool, StoreError> {
        let row = store.reader().await?.row(&FIND, &[self.name.into()]).await?;
        let step = match row {
            None => Step::Insert,
            Some(row) => {
                let sign = Sign { holder: row.text(0)?, beat: row.int(1)? };
                if sign.holder == self.holder {
                    Step::Beat
                } else {
                    match &self.seen {
                        Some((before, since)) if *before == sign => {
                            if since.elapsed() < self.dead_after {
                                return Ok(false);
                            }
                            Step::TakeOver(sign)
                        }
                        _ => {
                            self.seen = Some((sign, Instant::now()));
                            return Ok(false);
                        }
                    }
                }
            }
        };
        self.seen = None;
        match self.write(store, step).await {
            // Another node was first.
            Err(StoreError::Conflict(_)) => Ok(false),
            done => done,
        }
    }

    /// As [`Self::hold`]; the holder gives its signs of life in the background.
    pub async fn take(&mut self, store: &Store) -> Result<Option<Held>, StoreError> {
        let is_held = self.hold(store).await?;
        Ok(is_held.then(|| Held::keep(self.clone(), store.clone())))
    }

    /// Lets the next node take the lease at once.
    pub async fn give_back(&self, store: &Store) -> Result<(), StoreError> {
        self.write(store, Step::GiveBack).await?;
        Ok(())
    }

    /// Was it our row, or did it become ours?
    async fn write(&self, store: &Store, step: Step) -> Result<bool, StoreError> {
        let (name, holder) = (self.name, self.holder.clone());
        let write = store.write::<_, StoreError, _>(move |conn| {
            let (holder, step) = (holder.clone(), step.clone());
            Box::pin(async move {
                let own = [name.into(), holder.as_str().into()];
                match &step {
                    Step::Insert => conn.execute(&INSERT, &own).await,
                    Step::Beat => conn.execute(&BEAT, &own).await,
                    Step::GiveBack => conn.execute(&GIVE_BACK, &own).await,
                    Step::TakeOver(dead) => {
                        let args = [own[1], own[0], dead.holder.as_str().into(), dead.beat.into()];
                        conn.execute(&TAKE_OVER, &args).await
                    }
                }
            })
        });
        Ok(write.await? == 1)
    }
}

/// A lease that is held. Dropped, it is silent, and another node takes it over in its time.
pub struct Held {
    lease: Lease,
    store: Store,
    is_ours: Arc<AtomicBool>,
    beating: JoinHandle<()>,
}

impl Held {
    fn keep(lease: Lease, store: Store) -> Self {
        let is_ours = Arc::new(AtomicBool::new(true));
        let beating = tokio::spawn(beat(lease.clone(), store.clone(), is_ours.clone()));
        Self { lease, store, is_ours, beating }
    }

    /// Does this node still have it, as far as it knows?
    pub fn is_held(&self) -> bool {
        self.is_ours.load(Ordering::Relaxed)
    }

    /// Lets the next node take the lease at once. A database that is gone takes nothing back; the caller bounds the time.
    pub async fn release(self) -> Result<(), StoreError> {
        self.beating.abort();
        self.lease.give_back(&self.store).await
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

async fn beat(mut lease: Lease, store: Store, is_ours: Arc<AtomicBool>) {
    let mut beats = interval(lease.dead_after / BEATS);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once, and the lease was just taken.
    beats.tick().await;
    let mut last = Instant::now();
    loop {
        beats.tick().await;
        match lease.hold(&store).await {
            Ok(true) => {
                last = Instant::now();
                is_ours.store(true, Ordering::Relaxed);
            }
            Ok(false) => {
                tracing::warn!(
                    lease = lease.name,
                    "this node stood still for too long: another one has begun beside it"
                );
                is_ours.store(false, Ordering::Relaxed);
                return;
            }
            Err(error) => {
                tracing::warn!(%error, lease = lease.name, "no sign of life could be given");
                if last.elapsed() >= lease.dead_after {
                    is_ours.store(false, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Lets the transactions that take this turn (a name that no lease has) come one after another, until each is committed: what one
/// reads behind it the others have committed. On a Galera cluster, where a lock is its member's own, the number that each changes
/// fails the later COMMIT. With several databases this one is committed last; but where it is on a Galera cluster too, what another
/// database has committed before that COMMIT fails stays.
pub async fn take_turn(conn: &mut Conn, name: &'static str) -> Result<(), StoreError> {
    let turn = [name.into(), NOBODY.into()];
    if conn.execute(&BEAT, &turn).await? == 0 {
        conn.execute(&INSERT, &turn).await.map_err(StoreError::or_repeat)?;
    }
    Ok(())
}

/// Makes the table when it is not there, for who needs a lease before the tables are prepared; false when the account may not.
pub(crate) async fn ensure_table(store: &Store) -> Result<bool, StoreError> {
    match schema::make_leases(&mut store.reader().await?).await {
        Err(error) if error.is_denied() => {
            tracing::warn!(%error, "CLV_HOLDER cannot be made: do not start nodes at several members at once");
            Ok(false)
        }
        done => done.map(|()| true),
    }
}
