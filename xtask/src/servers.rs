//! Private MariaDB and PostgreSQL servers for tests and benchmarks: on loopback, on ports the system gives, in a
//! directory of their own, as an unprivileged user. They touch no server, socket, file or account of the system.
//!
//! [`database`] knows how each of the two is made and asked, [`galera`] makes a cluster of the first kind, [`mortal`] lets them
//! come back when a test kills them, [`small`] gives them disks that a test can fill; this file owns where, when and how often.

mod database;
mod galera;
mod mortal;
mod small;

use crate::{guard::Guard, packages, process};
use anyhow::{Context as _, Result, bail};
use database::{Account, Kind, Settings};
use galera::Galera;
use small::Small;
use std::{
    fmt::Write as _,
    fs,
    io::Read as _,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A port found free may be taken by another program before the server binds it; then another one is tried.
const START_ATTEMPTS: usize = 5;
const START_LIMIT: Duration = Duration::from_mins(1);
/// Free space from which a memory file system is used. A container's default of 64 MiB is too small for two servers.
const MEMORY_FREE_KIB_MIN: u64 = 1024 * 1024;
/// A socket's path may have 107 bytes; this leaves room for the directories and names of the servers.
const DIRECTORY_BYTES_MAX: usize = 70;

/// Two running servers. Dropping this stops them and removes their files.
pub(crate) struct Servers {
    guard: Guard,
    mariadb: Running,
    postgres: Running,
    mortal: Option<Mortal>,
    small: Option<Small>,
}

/// Servers that may be killed.
struct Mortal {
    galera: Galera,
    mariadb: Running,
    postgres: Running,
}

/// Which servers, and how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    /// They flush every commit to disk.
    pub(crate) is_durable: bool,
    /// A Galera cluster too, and one of each server that may be killed.
    pub(crate) has_galera: bool,
    /// MiB of pages that MariaDB and PostgreSQL keep in memory; `None`: what is enough for tests.
    pub(crate) buffer_mib: Option<u32>,
    /// Servers on disks that may be filled.
    pub(crate) has_small_disks: bool,
}

impl Choice {
    /// Takes a word of the command line that says something about servers.
    pub(crate) fn take(&mut self, word: &str) -> bool {
        match word {
            "--durable" => self.is_durable = true,
            "--galera" => self.has_galera = true,
            "--small-disks" => self.has_small_disks = true,
            _ => return false,
        }
        true
    }

    /// What must be installed.
    pub(crate) fn needs(self) -> Vec<packages::Need> {
        let galera = if self.has_galera { packages::GALERA } else { &[] };
        let small = if self.has_small_disks { packages::SMALL_DISKS } else { &[] };
        [packages::DATABASES, galera, small].concat()
    }
}

/// One running server.
pub(crate) struct Running {
    child: Child,
    /// How a client reaches its database `claviger_test`, as a user who may do everything.
    pub(crate) url: String,
    pub(crate) port: u16,
    pid_file: PathBuf,
    /// The password of its user `claviger`.
    pub(crate) password: String,
}

impl Running {
    /// The server's own process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Servers {
    pub(crate) fn start(choice: Choice) -> Result<Self> {
        let is_durable = choice.is_durable;
        let mut guard = Guard::start()?;
        let directory = make_directory(&mut guard, "servers")?;
        let mariadb = start_one(&mut guard, &directory, &database::MARIADB, choice, false).context("MariaDB")?;
        let postgres = start_one(&mut guard, &directory, &database::POSTGRES, choice, false).context("PostgreSQL")?;
        let mortal = choice.has_galera.then(|| Mortal::start(&mut guard, &directory, is_durable)).transpose()?;
        let small = choice.has_small_disks.then(|| Small::start(&mut guard, &directory)).transpose()?;
        Ok(Self { guard, mariadb, postgres, mortal, small })
    }

    pub(crate) fn mariadb(&self) -> &Running {
        &self.mariadb
    }

    pub(crate) fn postgres(&self) -> &Running {
        &self.postgres
    }

    /// Runs a command that finds the servers in its environment; it ends with us.
    pub(crate) fn run(&mut self, command: &mut Command) -> Result<()> {
        for (name, url) in self.exports() {
            command.env(name, url);
        }
        self.guard.run(command)
    }

    fn exports(&self) -> Vec<(&'static str, String)> {
        let mut exports = vec![
            ("CLAVIGER_TEST_MYSQL_URL", self.mariadb.url.clone()),
            ("CLAVIGER_TEST_POSTGRES_URL", self.postgres.url.clone()),
        ];
        exports.extend(self.mortal.iter().flat_map(Mortal::exports));
        exports.extend(self.small.iter().flat_map(Small::exports));
        exports
    }
}

impl Mortal {
    fn start(guard: &mut Guard, directory: &Path, is_durable: bool) -> Result<Self> {
        let started = Instant::now();
        let galera = Galera::start(guard, directory, is_durable).context("Galera")?;
        eprintln!("xtask: the Galera cluster came up in {:.1} s", started.elapsed().as_secs_f64());
        let directory = directory.join("mortal");
        fs::create_dir(&directory)?;
        // What they have acknowledged must survive their end.
        let durable = Choice { is_durable: true, ..Choice::default() };
        let mariadb = start_one(guard, &directory, &database::MARIADB, durable, true).context("a mortal MariaDB")?;
        let postgres =
            start_one(guard, &directory, &database::POSTGRES, durable, true).context("a mortal PostgreSQL")?;
        Ok(Self { galera, mariadb, postgres })
    }

    fn exports(&self) -> Vec<(&'static str, String)> {
        let mut exports = self.galera.exports().to_vec();
        exports.extend([
            ("CLAVIGER_TEST_MORTAL_MYSQL_URL", self.mariadb.url.clone()),
            ("CLAVIGER_TEST_MORTAL_MYSQL_PID_FILE", self.mariadb.pid_file.display().to_string()),
            ("CLAVIGER_TEST_MORTAL_POSTGRES_URL", self.postgres.url.clone()),
            ("CLAVIGER_TEST_MORTAL_POSTGRES_PID_FILE", self.postgres.pid_file.display().to_string()),
        ]);
        exports
    }

    fn children(&mut self) -> impl Iterator<Item = &mut Child> {
        self.galera.children().chain([&mut self.mariadb.child, &mut self.postgres.child])
    }
}

/// `cargo xtask servers`: keeps them running until Ctrl-C or until one of them ends.
pub(crate) fn main(arguments: &[String]) -> Result<()> {
    let mut choice = Choice::default();
    for word in arguments {
        if !choice.take(word) {
            bail!("`cargo xtask servers` knows only --durable, --galera and --small-disks");
        }
    }
    packages::ensure(&choice.needs(), true)?;
    let mut servers = Servers::start(choice)?;
    for (name, url) in servers.exports() {
        println!("export {name}={url}");
    }
    eprintln!("xtask: the servers answer; Ctrl-C stops them and removes their files");
    loop {
        for (name, server) in [("MariaDB", &mut servers.mariadb), ("PostgreSQL", &mut servers.postgres)] {
            if let Some(status) = server.child.try_wait()? {
                bail!("{name} ended with {status}");
            }
        }
        let mortal = servers.mortal.iter_mut().flat_map(Mortal::children);
        for server in mortal.chain(servers.small.iter_mut().flat_map(Small::children)) {
            if let Some(status) = server.try_wait()? {
                bail!("a server that comes back after a kill ended with {status}");
            }
        }
        process::pause(Duration::from_secs(1));
    }
}

/// A new directory that is removed with the guard: in memory when there is room, else where an unprivileged server
/// can reach it.
pub(crate) fn make_directory(guard: &mut Guard, purpose: &str) -> Result<PathBuf> {
    let memory = PathBuf::from("/dev/shm");
    let has_memory = free_kib(&memory).is_some_and(|free| free >= MEMORY_FREE_KIB_MIN);
    // As root the servers run as another user, who may not be able to enter the directories above ours.
    let on_disk = Some(process::target_directory())
        .filter(|path| !process::is_root() && path.as_os_str().len() <= DIRECTORY_BYTES_MAX)
        .unwrap_or_else(std::env::temp_dir);
    let parent = if has_memory { memory } else { on_disk };
    fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let path = parent.join(format!("claviger-{purpose}-{}", random_hex(6)?));
    fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
    guard.directory(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o711))?;
    Ok(path)
}

fn free_kib(path: &Path) -> Option<u64> {
    let text = process::capture(Command::new("df").arg("-Pk").arg(path)).ok()?;
    text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

/// Bytes of chance as hexadecimal digits, for names and passwords.
pub(crate) fn random_hex(bytes: usize) -> Result<String> {
    let mut buffer = vec![0; bytes];
    fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut buffer)).context("/dev/urandom")?;
    let mut text = String::new();
    for byte in buffer {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("no free port on loopback")?;
    Ok(listener.local_addr()?.port())
}

fn start_one(guard: &mut Guard, directory: &Path, kind: &Kind, choice: Choice, is_mortal: bool) -> Result<Running> {
    let (home, account) = make_home(directory, kind.name, kind)?;
    // The tests know the servers by their URL; the password is the user's name.
    let password = "claviger".to_owned();
    let Choice { is_durable, buffer_mib, .. } = choice;
    let mut settings = Settings { home, account, port: 0, password, is_durable, buffer_mib };
    let log_file = directory.join(format!("{}.log", kind.name));
    (kind.prepare)(&settings).context("cannot make its data directory")?;
    for _ in 0..START_ATTEMPTS {
        settings.port = if is_mortal { mortal::steady_port()? } else { free_port()? };
        let log = fs::File::create(&log_file)?;
        let mut command = (kind.serve)(&settings)?;
        if is_mortal {
            command = mortal::immortal(&command, &settings)?;
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = guard.spawn(&mut command, kind.stop_signal)?;
        let answer = process::poll("the first answer", START_LIMIT, || {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(Err(status)));
            }
            Ok((kind.answers)(&settings).then_some(Ok(())))
        })
        .with_context(|| tail(&log_file))?;
        match answer {
            Ok(()) => {
                return Ok(Running {
                    child,
                    url: (kind.url)(&settings),
                    port: settings.port,
                    pid_file: (kind.pid_file)(&settings),
                    password: settings.password,
                });
            }
            Err(status) if !is_port_taken(&log_file) => bail!("ended with {status} at start\n{}", tail(&log_file)),
            Err(_) => {}
        }
    }
    bail!("{START_ATTEMPTS} ports in a row were taken by others\n{}", tail(&log_file))
}

/// A server's own directory, and the user it runs as when we are root.
fn make_home(directory: &Path, name: &str, kind: &Kind) -> Result<(PathBuf, Option<Account>)> {
    let account = if process::is_root() { Some(Account::find(kind.accounts)?) } else { None };
    let home = directory.join(name);
    fs::create_dir(&home)?;
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
    if let Some(account) = &account {
        chown(&home, Some(account.uid), Some(account.gid)).with_context(|| format!("chown {}", home.display()))?;
    }
    Ok((home, account))
}

fn is_port_taken(log: &Path) -> bool {
    fs::read_to_string(log).is_ok_and(|text| text.contains("Address already in use"))
}

/// The end of a log, for an error message.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    format!("its log ends:\n{}", lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_has_the_asked_length_and_differs() {
        assert_eq!(random_hex(6).unwrap().len(), 12);
        assert_ne!(random_hex(16).unwrap(), random_hex(16).unwrap());
    }

    #[test]
    fn free_space_is_read() {
        assert!(free_kib(Path::new("/")).is_some());
        assert_eq!(free_kib(Path::new("/nowhere/at/all")), None);
    }
}
