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
    io::{BufRead as _, ErrorKind, Write as _},
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
        self.tell(&format!("directory {}", plain(path)?))
    }

    /// Takes over a new control group (Linux kernel, Documentation/admin-guide/cgroup-v2), to be removed at the end, when the
    /// processes in it have ended.
    pub(crate) fn control_group(&mut self, path: &Path) -> Result<()> {
        self.tell(&format!("control-group {}", plain(path)?))
    }

    /// Takes over to write `text` to a file at the end, after all that is registered later was removed.
    pub(crate) fn write_at_end(&mut self, path: &Path, text: &str) -> Result<()> {
        self.tell(&format!("write {text} {}", plain(path)?))
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("the guard process is gone")?;
        writeln!(input, "{line}").and_then(|()| input.flush()).context("the guard process does not listen")
    }
}

fn plain(path: &Path) -> Result<&str> {
    path.to_str().filter(|text| !text.contains('\n')).context("a file name that is not plain text")
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
    let (mut groups, mut leavings) = (Vec::new(), Vec::new());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("group", rest)) => {
                let (pid, signal) = rest.split_once(' ').context("group without a signal")?;
                groups.push((pid.parse::<u32>().context("group without a number")?, signal.to_owned()));
            }
            _ => leavings.push(Leaving::parse(&line)?),
        }
    }
    for (group, signal) in groups.iter().rev() {
        if let Err(error) = stop(*group, signal) {
            eprintln!("xtask: process group {group}: {error:#}");
        }
    }
    for leaving in leavings.iter().rev() {
        if let Err(error) = leaving.clear() {
            eprintln!("xtask: {leaving:?}: {error:#}");
        }
    }
    Ok(())
}

/// What a task leaves behind beside processes.
#[derive(Debug, PartialEq, Eq)]
enum Leaving {
    Directory(PathBuf),
    ControlGroup(PathBuf),
    /// A text that a file is to get.
    Write(String, PathBuf),
}

impl Leaving {
    fn parse(line: &str) -> Result<Self> {
        Ok(match line.split_once(' ') {
            Some(("directory", path)) => Self::Directory(path.into()),
            Some(("control-group", path)) => Self::ControlGroup(path.into()),
            Some(("write", rest)) => {
                let (text, path) = rest.split_once(' ').context("write without a file")?;
                Self::Write(text.to_owned(), path.into())
            }
            _ => bail!("not a registration: {line}"),
        })
    }

    fn clear(&self) -> Result<()> {
        match self {
            Self::Directory(path) if path.exists() => Ok(fs::remove_dir_all(path)?),
            Self::Directory(_) => Ok(()),
            // Its files cannot be removed, and the kernel may take a moment to see that its last process is gone.
            Self::ControlGroup(path) => {
                process::poll("removal of a control group", KILLED, || match fs::remove_dir(path) {
                    Ok(()) => Ok(Some(())),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(())),
                    Err(error) if error.kind() == ErrorKind::ResourceBusy => Ok(None),
                    Err(error) => Err(error.into()),
                })
            }
            Self::Write(text, path) => Ok(fs::write(path, text)?),
        }
    }
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
    fn what_is_registered_is_cleared() {
        let root = std::env::temp_dir().join(format!("xtask-guard-{}", std::process::id()));
        let (directory, group, file) = (root.join("a b"), root.join("group"), root.join("control"));
        fs::create_dir_all(directory.join("inner")).unwrap();
        fs::create_dir(&group).unwrap();
        fs::write(&file, "+cpu").unwrap();
        let lines = [
            format!("directory {}", directory.display()),
            format!("control-group {}", group.display()),
            format!("write -cpu {}", file.display()),
        ];
        for line in &lines {
            Leaving::parse(line).unwrap().clear().unwrap();
        }
        assert!(!directory.exists() && !group.exists());
        assert_eq!(fs::read_to_string(&file).unwrap(), "-cpu");
        // What is gone already is no error.
        Leaving::parse(&lines[0]).unwrap().clear().unwrap();
        Leaving::parse(&lines[1]).unwrap().clear().unwrap();
        assert!(Leaving::parse("furniture /x").is_err());
        fs::remove_dir_all(root).unwrap();
    }

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
