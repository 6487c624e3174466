//! Servers whose data directories are file systems of their own that a test can fill: a `tmpfs` in a mount namespace of each
//! server, so that nothing of it is seen elsewhere and all of it goes with the server. They start again by themselves when the full
//! disk ended them, as an operator's service manager would do.

use super::database::{self, Kind, Settings};
use super::{mortal, tail};
use crate::{guard::Guard, process};
use anyhow::{Context as _, Result};
use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

/// What a server and all our tables take, and some room.
const DISK: &str = "320m";
/// Makes a mount namespace of its own: as root, or as root of a user namespace of its own.
const APART: &str = "\
if unshare --mount true 2>/dev/null; then exec unshare --mount \"$@\"; fi
exec unshare --map-root-user --mount \"$@\"";
/// Puts the prepared data on the small disk and gives up the rights that this took.
const FURNISH: &str = "\
set -e
home=$1 size=$2 user=$3 group=$4; shift 4
[ -d \"$home/prepared\" ] || { mv \"$home/data\" \"$home/prepared\"; mkdir \"$home/data\"; }
mount -t tmpfs -o \"size=$size\" claviger \"$home/data\"
cp -a \"$home/prepared/.\" \"$home/data/\"
if grep -q '4294967295$' /proc/self/uid_map; then
  exec setpriv --reuid \"$user\" --regid \"$group\" --clear-groups \"$@\"
fi
exec unshare --user --map-user=\"$user\" --map-group=\"$group\" \"$@\"";
/// Serves until the server is asked to end, through as many ends with an error as a full disk may cause.
const SERVE: &str = "\
tries=0
until \"$@\" || [ $tries -ge 600 ]; do tries=$((tries + 1)); sleep 0.2; done";

/// The running servers.
pub(super) struct Small {
    servers: Vec<Server>,
}

struct Server {
    child: Child,
    url: String,
    /// Its data directory as this side of its namespace sees it.
    directory: String,
}

impl Small {
    pub(super) fn start(guard: &mut Guard, directory: &Path) -> Result<Self> {
        let directory = directory.join("small");
        fs::create_dir(&directory)?;
        // With a binary log MariaDB waits in the COMMIT for somebody to make room; without it statements fail.
        let kinds = [
            ("mariadb", &database::MARIADB, &[][..]),
            ("postgres", &database::POSTGRES, &["-c", "max_wal_size=64MB", "-c", "wal_recycle=off"][..]),
            ("mariadb-with-binary-log", &database::MARIADB, &["--log-bin", "--server-id=1"][..]),
        ];
        let start = |(name, kind, more)| start_one(guard, &directory, name, kind, more).context(name);
        Ok(Self { servers: kinds.map(start).into_iter().collect::<Result<_>>()? })
    }

    /// Where they are: their URLs and their directories, in the same order.
    pub(super) fn exports(&self) -> [(&'static str, String); 2] {
        let list = |of: fn(&Server) -> &str| self.servers.iter().map(of).collect::<Vec<_>>().join(",");
        [
            ("CLAVIGER_TEST_SMALL_URLS", list(|server| &server.url)),
            ("CLAVIGER_TEST_SMALL_DIRECTORIES", list(|server| &server.directory)),
        ]
    }

    pub(super) fn children(&mut self) -> impl Iterator<Item = &mut Child> {
        self.servers.iter_mut().map(|server| &mut server.child)
    }
}

fn start_one(guard: &mut Guard, directory: &Path, name: &str, kind: &Kind, more: &[&str]) -> Result<Server> {
    let (home, account) = super::make_home(directory, name, kind)?;
    let (user, group) = match &account {
        Some(account) => (account.uid, account.gid),
        None => fs::metadata(&home).map(|own| (own.uid(), own.gid()))?,
    };
    let port = mortal::steady_port()?;
    let settings =
        Settings { home, account, port, password: "claviger".to_owned(), is_durable: true, buffer_mib: None };
    (kind.prepare)(&settings).context("cannot make its data directory")?;
    let server = (kind.serve)(&settings)?;
    let mut command = Command::new(process::program("sh")?);
    command.args(["-c", APART, "sh", "sh", "-c", FURNISH, "sh"]).arg(&settings.home).arg(DISK);
    command.args([user.to_string(), group.to_string()]).args(["sh", "-c", SERVE, "sh"]);
    command.arg(server.get_program()).args(server.get_args()).args(more).current_dir(&settings.home).env_clear();
    if name.starts_with("mariadb") {
        command.arg("--innodb-log-file-size=8M");
    }
    command.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let log_file = directory.join(format!("{name}.log"));
    let log = fs::File::create(&log_file)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut child = guard.spawn(&mut command, kind.stop_signal)?;
    process::poll("the first answer", super::START_LIMIT, || {
        if let Some(status) = child.try_wait()? {
            anyhow::bail!(
                "it ended with {status}. A small disk takes the right to mount in a namespace of one's own: \
                 that of root with CAP_SYS_ADMIN, or user namespaces for everybody"
            );
        }
        Ok((kind.answers)(&settings).then_some(()))
    })
    .with_context(|| tail(&log_file))?;
    let directory = format!("/proc/{}/root{}", child.id(), settings.data().display());
    Ok(Server { child, url: (kind.url)(&settings), directory })
}
