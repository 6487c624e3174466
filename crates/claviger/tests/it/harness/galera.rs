//! The Galera cluster of `CLAVIGER_TEST_GALERA_URLS`. Its members come back by themselves when they are killed.

use super::Database;
use super::database::url;
use super::fresh_name;
use std::path::PathBuf;
use std::process::Command;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Who kills a member has the cluster for himself.
static CLUSTER: RwLock<()> = RwLock::const_new(());

/// One empty database, as each member shows it.
pub(crate) struct Galera<G> {
    pub(crate) members: Vec<Database>,
    _turn: G,
}

/// When there is a cluster: beside others.
pub(crate) async fn galera() -> Option<Galera<RwLockReadGuard<'static, ()>>> {
    url("CLAVIGER_TEST_GALERA_URLS")?;
    Some(Galera::make(CLUSTER.read().await).await)
}

/// When there is a cluster: alone.
pub(crate) async fn galera_alone() -> Option<Galera<RwLockWriteGuard<'static, ()>>> {
    url("CLAVIGER_TEST_GALERA_URLS")?;
    Some(Galera::make(CLUSTER.write().await).await)
}

impl<G> Galera<G> {
    async fn make(turn: G) -> Self {
        let (urls, name) = (url("CLAVIGER_TEST_GALERA_URLS").unwrap(), fresh_name());
        let members: Vec<Database> = urls.split(',').map(|url| Database::mysql("Galera", url, name.clone())).collect();
        members[0].run("CREATE DATABASE").await;
        Self { members, _turn: turn }
    }

    /// Removes the database from the cluster.
    pub(crate) async fn remove(self) {
        self.members[0].run("DROP DATABASE").await;
    }
}

/// Kills a member with SIGKILL. The shell's own `kill` is there even where the program of that name is not.
pub(crate) fn kill_galera_member(index: usize) {
    let files = url("CLAVIGER_TEST_GALERA_PID_FILES").unwrap();
    let files: Vec<PathBuf> = files.split(',').map(PathBuf::from).collect();
    let pid = std::fs::read_to_string(&files[index]).unwrap();
    let status = Command::new("sh").args(["-c", "kill -s KILL \"$1\"", "sh", pid.trim()]).status().unwrap();
    assert!(status.success());
}
