//! A Galera cluster of three MariaDB servers on this host, each with ports of its own, and each started again when somebody
//! kills it: a test may kill a member as often as it likes and finds the cluster whole afterwards.
//!
//! The first member makes the cluster; the others come in one by one and take their data from a member (rsync), as a killed
//! one does that comes back.

use super::mortal::{self, steady_port};
use super::{START_ATTEMPTS, database, is_port_taken, make_home, tail};
use crate::{guard::Guard, packages, process};
use anyhow::{Context as _, Result, bail};
use database::Settings;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

const MEMBERS: usize = 3;
/// A member that comes in copies its data first.
const JOIN_LIMIT: Duration = Duration::from_mins(2);
/// Three running members.
pub(super) struct Galera {
    members: Vec<Member>,
}

struct Member {
    child: Child,
    url: String,
    pid_file: PathBuf,
}

/// Ports of one member: for SQL, for the group, for missed transactions, for all data.
struct Ports {
    sql: u16,
    group: u16,
    transactions: u16,
    data: u16,
}

impl Galera {
    pub(super) fn start(guard: &mut Guard, directory: &Path, is_durable: bool) -> Result<Self> {
        for attempt in 0..START_ATTEMPTS {
            let directory = directory.join(format!("galera{attempt}"));
            fs::create_dir(&directory)?;
            let ports = (0..MEMBERS).map(|_| Ports::find()).collect::<Result<Vec<_>>>()?;
            let mut members = Vec::new();
            while let Some(port) = ports.get(members.len()) {
                match start_member(guard, &directory, members.len(), port, &ports, is_durable)? {
                    Some(member) => members.push(member),
                    None => break,
                }
            }
            if members.len() == MEMBERS {
                return Ok(Self { members });
            }
        }
        bail!("{START_ATTEMPTS} times a port was taken by others")
    }

    /// Where the members are: their URLs and the files with the numbers of their processes, in the same order.
    pub(super) fn exports(&self) -> [(&'static str, String); 2] {
        let list = |of: fn(&Member) -> String| self.members.iter().map(of).collect::<Vec<_>>().join(",");
        [
            ("CLAVIGER_TEST_GALERA_URLS", list(|member| member.url.clone())),
            ("CLAVIGER_TEST_GALERA_PID_FILES", list(|member| member.pid_file.display().to_string())),
        ]
    }

    /// The children that ought to run.
    pub(super) fn children(&mut self) -> impl Iterator<Item = &mut Child> {
        self.members.iter_mut().map(|member| &mut member.child)
    }
}

impl Ports {
    fn find() -> Result<Self> {
        Ok(Self { sql: steady_port()?, group: steady_port()?, transactions: steady_port()?, data: steady_port()? })
    }
}

/// Starts a member and waits until it takes part; `None` when one of its ports was taken.
fn start_member(
    guard: &mut Guard,
    directory: &Path,
    index: usize,
    own: &Ports,
    all: &[Ports],
    is_durable: bool,
) -> Result<Option<Member>> {
    let name = format!("member{index}");
    let (home, account) = make_home(directory, &name, &database::MARIADB)?;
    let settings =
        Settings { home, account, port: own.sql, password: "claviger".to_owned(), is_durable, buffer_mib: None };
    database::prepare_mariadb(&settings).context("cannot make its data directory")?;
    let mut server = Command::new(process::program("mariadbd")?);
    database::add_mariadb_arguments(&mut server, &settings);
    add_cluster_arguments(&mut server, &settings, &name, own, all)?;
    let mut command = mortal::immortal(&server, &settings)?;
    if index == 0 {
        // A member that comes back is a guest of the others, not the founder of a second cluster.
        command.env(
            mortal::FIRST_ARGUMENTS,
            format!("--wsrep-new-cluster --init-file={}", settings.home.join("init.sql").display()),
        );
    }
    let log_file = directory.join(format!("{name}.log"));
    let log = fs::File::create(&log_file)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut child = guard.spawn(&mut command, database::MARIADB.stop_signal)?;
    let answer = process::poll("taking part", JOIN_LIMIT, || {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(Err(status)));
        }
        Ok(takes_part(&settings, index + 1).then_some(Ok(())))
    })
    .with_context(|| tail(&log_file))?;
    match answer {
        Ok(()) => {
            Ok(Some(Member { child, url: (database::MARIADB.url)(&settings), pid_file: settings.home.join("pid") }))
        }
        Err(_) if is_port_taken(&log_file) => Ok(None),
        Err(status) => bail!("ended with {status} at start\n{}", tail(&log_file)),
    }
}

fn add_cluster_arguments(
    server: &mut Command,
    settings: &Settings,
    name: &str,
    own: &Ports,
    all: &[Ports],
) -> Result<()> {
    let library = packages::galera_library().context("the package galera-4 is not installed")?;
    let cluster: Vec<String> = all.iter().map(|ports| format!("127.0.0.1:{}", ports.group)).collect();
    server.args(["--wsrep-on=ON", "--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-sst-method=rsync"]);
    server.arg(format!("--wsrep-provider={}", library.display()));
    // Servers of other runs that are found on these ports are not let in.
    server.arg(format!("--wsrep-cluster-name=claviger-{}", all[0].group)).arg(format!("--wsrep-node-name={name}"));
    server.arg(format!("--wsrep-cluster-address=gcomm://{}", cluster.join(",")));
    server.arg("--wsrep-node-address=127.0.0.1");
    server.arg(format!("--wsrep-sst-receive-address=127.0.0.1:{}", own.data));
    server.arg(format!(
        "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{};ist.recv_addr=127.0.0.1:{};gcache.size=32M;gcache.dir={}",
        own.group,
        own.transactions,
        settings.home.display()
    ));
    Ok(())
}

/// Is it the member with our directory, up to date, in a cluster of at least that many?
fn takes_part(settings: &Settings, members: usize) -> bool {
    let status = |name: &str| {
        format!("(SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = '{name}')")
    };
    let query = format!("SELECT @@datadir, {}, {}", status("WSREP_LOCAL_STATE_COMMENT"), status("WSREP_CLUSTER_SIZE"));
    let Some(answer) = database::ask_mariadb(settings, &query) else { return false };
    let words: Vec<&str> = answer.split_whitespace().collect();
    matches!(words.as_slice(), [data, "Synced", size] if Path::new(data) == settings.data() && *size == members.to_string())
}
