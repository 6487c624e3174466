//! A second process of this program that stops what a task started and removes its directories.
//!
//! It reads registrations from its standard input and acts when that ends. The kernel closes the pipe however the
//! task ends (success, failure, panic, Ctrl-C, SIGKILL), so there is one clean-up path and no signal handler. The
//! guard and all that is registered live in process groups of their own, so that Ctrl-C in the terminal reaches the
//! task only and the guard ends the rest in order.

use crate::process;
use anyhow::{Context as _, Result, bail};
use std::{
    fs,
    io::{BufRead as _, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

/// The hidden task by which this program starts itself as guard.
pub(crate) const TASK: &str = "guard-of-a-running-task";

/// How long a process may take to end on its first signal before it is killed.
const GRACE: Duration = Duration::from_secs(20);
const KILLED: Duration = Duration::from_secs(5);

/// The task's side. Dropping it cleans up and waits until that is done.
pub(crate) struct Guard {
    child: Child,
    input: Option<ChildStdin>,
}

impl Guard {
    pub(crate) fn start() -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        command.arg(TASK).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).current_dir("/");
        let mut child = command.spawn().context("cannot start the guard process")?;
        let input = child.stdin.take();
        Ok(Self { child, input })
    }

    /// Starts a command in a process group of its own that gets `signal` at the end.
    pub(crate) fn spawn(&mut self, command: &mut Command, signal: &str) -> Result<Child> {
        let child =
            command.process_group(0).spawn().with_context(|| format!("cannot start {}", process::describe(command)))?;
        self.tell(&format!("group {} {signal}", child.id()))?;
        Ok(child)
    }

    /// Runs a command to its end in a process group of its own; whatever it leaves running ends with the task.
    pub(crate) fn run(&mut self, command: &mut Command) -> Result<()> {
        let status = self.spawn(command.stdin(Stdio::null()), "TERM")?.wait()?;
        if !status.success() {
            bail!("{} ended with {status}", process::describe(command));
        }
        Ok(())
    }

    /// Takes over a new directory, to be removed at the end.
    pub(crate) fn directory(&mut self, path: &Path) -> Result<()> {
        let text =
            path.to_str().filter(|text| !text.contains('\n')).context("a directory name that is not plain text")?;
        self.tell(&format!("directory {text}"))
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("the guard process is gone")?;
        writeln!(input, "{line}").and_then(|()| input.flush()).context("the guard process does not listen")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.input.take());
        if let Err(error) = self.child.wait() {
            eprintln!("xtask: the guard process cannot be waited for: {error}");
        }
    }
}

/// The guard's own side: collect, wait for the end of input, clean up in reverse order.
pub(crate) fn main() -> Result<()> {
    let (mut groups, mut directories) = (Vec::new(), Vec::new());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("group", rest)) => {
                let (pid, signal) = rest.split_once(' ').context("group without a signal")?;
                groups.push((pid.parse::<u32>().context("group without a number")?, signal.to_owned()));
            }
            Some(("directory", path)) => directories.push(PathBuf::from(path)),
            _ => bail!("not a registration: {line}"),
        }
    }
    for (group, signal) in groups.iter().rev() {
        if let Err(error) = stop(*group, signal) {
            eprintln!("xtask: process group {group}: {error:#}");
        }
    }
    for directory in directories.iter().rev() {
        if directory.exists()
            && let Err(error) = fs::remove_dir_all(directory)
        {
            eprintln!("xtask: cannot remove {}: {error}", directory.display());
        }
    }
    Ok(())
}

fn stop(group: u32, signal: &str) -> Result<()> {
    if !is_alive(group) {
        return Ok(());
    }
    process::signal_group(group, signal)?;
    let ended = process::poll("end after the first signal", GRACE, || Ok((!is_alive(group)).then_some(())));
    if ended.is_err() {
        process::signal_group(group, "KILL")?;
        process::poll("end after SIGKILL", KILLED, || Ok((!is_alive(group)).then_some(())))?;
    }
    Ok(())
}

/// A dead process that its parent has not yet waited for does not count.
fn is_alive(group: u32) -> bool {
    process::processes().iter().any(|process| process.group == group && !process.is_dead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_group_is_stopped_with_the_children_of_its_leader() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & sleep 600"]).process_group(0);
        let mut child = command.spawn().unwrap();
        assert!(is_alive(child.id()));
        stop(child.id(), "TERM").unwrap();
        assert!(!is_alive(child.id()));
        child.wait().unwrap();
        stop(child.id(), "TERM").unwrap();
    }
}
