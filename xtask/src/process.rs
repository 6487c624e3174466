//! Running other programs: run, capture, poll until a deadline, signal, find on the PATH, read `/proc`.
//! Leaves stopping what was started to [`crate::guard`].

use anyhow::{Context as _, Result, bail};
use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Runs to the end with our terminal; an unsuccessful end is an error that names the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", describe(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", describe(command));
    }
    Ok(())
}

/// Runs to the end and returns standard output; standard error goes into the error when it fails.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    command.stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot start {}", describe(command)))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", describe(command), output.status, error.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} printed bytes that are not UTF-8", describe(command)))
}

/// The program and its arguments, for messages.
pub(crate) fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    format!("`{}`", words.join(" "))
}

/// Asks `probe` again and again until it yields a value, fails, or `limit` has passed.
pub(crate) fn poll<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if started.elapsed() > limit {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        pause(POLL_INTERVAL);
    }
}

/// The only sleep of this crate: between two polls, and where a benchmark's definition says how long to wait.
#[expect(
    clippy::disallowed_methods,
    reason = "a developer tool polls foreign processes; there is no event to wait for"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Where a program is: the PATH, then the system directories that an unprivileged PATH leaves out.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| is_executable(candidate))
}

/// As [`find_program`], but its absence is an error.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    find_program(name).with_context(|| format!("the program `{name}` is not installed"))
}

pub(crate) fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Sends a signal to a process group; a group that is gone is not an error. The shell's own `kill` is used because
/// the program of that name is not on every minimal system.
pub(crate) fn signal_group(group: u32, signal: &str) -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-c", "kill -s \"$1\" -- \"-$2\" 2>/dev/null || :", "sh", signal, &group.to_string()]);
    run(&mut command)
}

/// One process as `/proc/PID/stat` shows it (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessStat {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(crate) is_dead: bool,
    /// User and system time used so far, in clock ticks.
    pub(crate) ticks: u64,
    /// The same of children that have ended and were waited for, and of theirs.
    pub(crate) ended_children_ticks: u64,
}

/// Every process that can be seen; those that vanish meanwhile are left out.
pub(crate) fn processes() -> Vec<ProcessStat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter_map(|text| parse_stat(&text))
        .collect()
}

fn parse_stat(text: &str) -> Option<ProcessStat> {
    // The name may hold blanks and parentheses, so the fields are counted from the last parenthesis.
    let (head, tail) = text.rsplit_once(')')?;
    let pid = head.split_once(' ')?.0.parse().ok()?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(ProcessStat {
        pid,
        parent: u32::try_from(number(1)?).ok()?,
        group: u32::try_from(number(2)?).ok()?,
        is_dead: matches!(*fields.first()?, "Z" | "X"),
        ticks: number(11)? + number(12)?,
        ended_children_ticks: number(13)? + number(14)?,
    })
}

/// `cargo`, without the variables that `cargo run` set for us: a build script that watches them would run again.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command.current_dir(workspace_root());
    command
}

/// The root of the workspace this program was built from.
pub(crate) fn workspace_root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace_root().join("target"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_a_name_full_of_traps() {
        let text = "42 (a) b (c) S 7 40 40 0 -1 4194304 1 2 3 4 150 25 60 7 20 0 1 0 99 1 2\n";
        let expected =
            ProcessStat { pid: 42, parent: 7, group: 40, is_dead: false, ticks: 175, ended_children_ticks: 67 };
        assert_eq!(parse_stat(text), Some(expected));
        assert!(parse_stat("1 (x) Z 0 1 1 0 -1 0 0 0 0 0 0 0 0 0").unwrap().is_dead);
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn we_see_ourselves() {
        let own = std::process::id();
        assert!(processes().iter().any(|process| process.pid == own && !process.is_dead));
    }

    #[test]
    fn poll_ends_with_a_value_an_error_or_the_deadline() {
        let mut calls = 0;
        let value = poll("count", Duration::from_secs(5), || {
            calls += 1;
            Ok((calls == 3).then_some(calls))
        });
        assert_eq!(value.unwrap(), 3);
        assert!(poll("x", Duration::from_secs(5), || -> Result<Option<()>> { bail!("broken") }).is_err());
        let error = poll("the thing", Duration::ZERO, || Ok(None::<()>)).unwrap_err();
        assert_eq!(error.to_string(), "the thing: not within 0 s");
    }

    #[test]
    fn a_failing_command_says_what_it_wrote() {
        let error = capture(Command::new("sh").args(["-c", "echo oops >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("oops") && error.contains('3'), "{error}");
    }
}
