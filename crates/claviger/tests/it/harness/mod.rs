//! Starts what the tests talk to: `server` in this process, `process` as a program of its own and `node` that with a client, each
//! on a directory and a database of its own; `wire` is the HTTP client, `browser` a browser, `people` the users that no wire can
//! make, `user_stores` those of secondary stores, `receiver` what is told of dead tokens.

mod browser;
mod database;
mod key_store;
mod mortal;
mod node;
mod people;
mod process;
mod receiver;
mod relay;
mod server;
mod user_stores;
mod wire;

pub(crate) use browser::{Browser, authorize_path, hidden, sent_back};
pub(crate) use database::{Database, databases};
pub(crate) use key_store::{FIRST, KEYSTORE, RENEWED, TenantStore, put_key_store};
pub(crate) use mortal::{Mortal, SmallDisk, galera, galera_alone, kill_galera_member, mortals, small_disks};
pub(crate) use node::Node;
pub(crate) use people::{account_facts, insert_tenant, insert_user, permit, remove_user, set_account};
pub(crate) use process::{Ended, Process, free_offset};
pub(crate) use receiver::{Post, Receiver};
pub(crate) use relay::Relay;
pub(crate) use server::{ManualClock, Options, Server, on_every_engine, on_sqlite, on_two_nodes_with};
pub(crate) use user_stores::{Home, UserDatabase, user_databases};
pub(crate) use wire::{
    Call, Origin, Registered, Reply, Told, claims, http2_client, introspect, metric, plain_client, raw_status,
    register, registration,
};

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The administrator of every server of these tests.
pub(crate) const ADMIN: &str = "admin";
/// The administrator's password.
pub(crate) const ADMIN_PASSWORD: &str = "correct horse:battery staple";

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A name that nothing else on this machine has.
pub(crate) fn fresh_name() -> String {
    format!("claviger_it_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A directory that goes with its value.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(fresh_name());
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Is the test to be thorough rather than quick (`CLAVIGER_TEST_LONG=1`)?
#[expect(clippy::disallowed_methods, reason = "the test reads how thorough it is to be")]
pub(crate) fn is_long() -> bool {
    std::env::var("CLAVIGER_TEST_LONG").is_ok_and(|value| value == "1")
}

/// How long news may take, to another node too. It looks every 30 ms at least, or is told; the rest is for slow machines.
const NEWS_MS_MAX: u64 = 10_000;
/// Between two questions: both nodes share this process, and asking without a pause takes it from the one that is to hear.
const ASK_MS: u64 = 10;

/// Asks until the answer is no, for a bounded time; false when it never was.
pub(crate) async fn becomes_false(ask: impl AsyncFn() -> bool) -> bool {
    let mut pace = tokio::time::interval(Duration::from_millis(ASK_MS));
    let asking = async {
        while ask().await {
            pace.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_millis(NEWS_MS_MAX), asking).await.is_ok()
}
