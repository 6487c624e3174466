//! Database servers that tests may kill, because they come back by themselves: the members of the Galera cluster of
//! `CLAVIGER_TEST_GALERA_URLS`, and the servers of `CLAVIGER_TEST_MORTAL_MYSQL_URL` and `CLAVIGER_TEST_MORTAL_POSTGRES_URL`.
//! Those of `CLAVIGER_TEST_SMALL_URLS` are on disks that tests may fill.

use super::database::url;
use super::{Database, becomes_false, fresh_name};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A killed member recovers, joins and is brought up to date.
const WHOLE_AGAIN_MAX: Duration = Duration::from_mins(2);

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
        let galera = Self { members, _turn: turn };
        // A test that failed may have left a member on its way back.
        galera.wait_until_whole().await;
        galera.members[0].run("CREATE DATABASE").await;
        galera
    }

    /// Waits until every member takes part.
    pub(crate) async fn wait_until_whole(&self) {
        const STATE: &str = "SELECT GROUP_CONCAT(VARIABLE_VALUE ORDER BY VARIABLE_NAME) FROM information_schema.GLOBAL_STATUS \
                             WHERE VARIABLE_NAME IN ('WSREP_CLUSTER_SIZE', 'WSREP_LOCAL_STATE_COMMENT')";
        let whole = format!("{},Synced", self.members.len());
        let is_partial = async || {
            for member in &self.members {
                if !member.ask_server(STATE).await.is_ok_and(|rows| rows == [[whole.as_str()]]) {
                    return true;
                }
            }
            false
        };
        let deadline = Instant::now() + WHOLE_AGAIN_MAX;
        while !becomes_false(is_partial).await {
            assert!(Instant::now() < deadline, "a member did not come back");
        }
    }

    /// Removes the database from the cluster.
    pub(crate) async fn remove(self) {
        self.members[0].run("DROP DATABASE").await;
    }
}

/// Kills a member with SIGKILL.
pub(crate) fn kill_galera_member(index: usize) {
    let files = url("CLAVIGER_TEST_GALERA_PID_FILES").unwrap();
    kill(Path::new(files.split(',').nth(index).unwrap()));
}

/// A database on a server of its own that may be killed and starts again by itself.
pub(crate) struct Mortal {
    pub(crate) database: Database,
    pid_file: PathBuf,
}

/// One of each kind, when they are there.
pub(crate) async fn mortals() -> Vec<Mortal> {
    let mut mortals = Vec::new();
    if let Some(address) = url("CLAVIGER_TEST_MORTAL_MYSQL_URL") {
        let pid_file = url("CLAVIGER_TEST_MORTAL_MYSQL_PID_FILE").unwrap().into();
        mortals.push(Mortal { database: Database::mysql("MariaDB", &address, fresh_name()), pid_file });
    }
    if let Some(address) = url("CLAVIGER_TEST_MORTAL_POSTGRES_URL") {
        let pid_file = url("CLAVIGER_TEST_MORTAL_POSTGRES_PID_FILE").unwrap().into();
        mortals.push(Mortal { database: Database::postgres(&address, fresh_name()), pid_file });
    }
    for mortal in &mortals {
        mortal.database.run("CREATE DATABASE").await;
    }
    mortals
}

impl Mortal {
    /// Kills the server with SIGKILL.
    pub(crate) fn kill(&self) {
        kill(&self.pid_file);
    }

    /// Waits until it answers.
    pub(crate) async fn wait_until_back(&self) {
        let is_away = async || self.database.ask("SELECT '1'").await.is_err();
        assert!(becomes_false(is_away).await, "{}: the server did not come back", self.database.engine());
    }
}

/// A database on a disk of its own that may be filled, and that disk.
pub(crate) struct SmallDisk {
    pub(crate) database: Database,
    pub(crate) directory: PathBuf,
    /// Does the server wait in a COMMIT until there is room, rather than refuse it?
    pub(crate) is_waited_for: bool,
}

/// All of them, the embedded database without a directory first; none when nobody made small disks.
pub(crate) async fn small_disks() -> Vec<SmallDisk> {
    let (Some(urls), Some(directories)) = (url("CLAVIGER_TEST_SMALL_URLS"), url("CLAVIGER_TEST_SMALL_DIRECTORIES"))
    else {
        return Vec::new();
    };
    let mut disks = vec![SmallDisk { database: Database::Sqlite, directory: PathBuf::new(), is_waited_for: false }];
    for (url, directory) in urls.split(',').zip(directories.split(',')) {
        let is_waited_for = directory.contains("binary-log");
        let database = if url.starts_with("mysql") {
            let engine = if is_waited_for { "MariaDB with a binary log" } else { "MariaDB" };
            Database::mysql(engine, url, fresh_name())
        } else {
            Database::postgres(url, fresh_name())
        };
        database.run("CREATE DATABASE").await;
        disks.push(SmallDisk { database, directory: directory.into(), is_waited_for });
    }
    disks
}

/// The number is the file's first line. The shell's own `kill` is there even where the program of that name is not.
fn kill(pid_file: &Path) {
    let text = std::fs::read_to_string(pid_file).unwrap();
    let pid = text.lines().next().unwrap().trim();
    let status = Command::new("sh").args(["-c", "kill -s KILL \"$1\"", "sh", pid]).status().unwrap();
    assert!(status.success());
}
