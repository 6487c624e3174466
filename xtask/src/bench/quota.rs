//! A share of the processor that a process cannot exceed: a control group with a CPU bandwidth limit (Linux kernel,
//! Documentation/scheduler/sched-bwc). Needs root.

use crate::guard::Guard;
use anyhow::{Context as _, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A short period, so that a process which has used up its share does not stand still, with a lock in its hands, for longer than
/// a request takes.
const PERIOD_US: u32 = 5_000;
/// The kernel takes no smaller share of a period.
const QUOTA_US_MIN: u32 = 1_000;

/// Part of its share that a process must have used, if the share was what kept it from doing more.
const USED_MIN: f64 = 0.9;

/// A control group. The guard removes it when its processes have ended.
#[derive(Debug)]
pub(super) struct Quota {
    directory: PathBuf,
    percent: u32,
}

impl Quota {
    /// A group that gets this share of one processor, in percent.
    pub(super) fn new(guard: &mut Guard, name: &str, percent: u32) -> Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let period_us = PERIOD_US.max(QUOTA_US_MIN * 100 / percent);
        let quota_us = period_us * percent / 100;
        let is_unified = root.join("cgroup.controllers").exists();
        let parent = if is_unified { root.to_owned() } else { root.join("cpu") };
        if is_unified {
            enable_cpu(guard, &root.join("cgroup.subtree_control"))?;
        }
        let directory = parent.join(name);
        fs::create_dir(&directory).with_context(|| format!("{} (as root only)", directory.display()))?;
        guard.control_group(&directory)?;
        let quota = Self { directory, percent };
        if is_unified {
            quota.write("cpu.max", &format!("{quota_us} {period_us}"))?;
        } else {
            quota.write("cpu.cfs_period_us", &period_us.to_string())?;
            quota.write("cpu.cfs_quota_us", &quota_us.to_string())?;
        }
        Ok(quota)
    }

    /// Puts a process and its later children under the limit.
    pub(super) fn add(&self, pid: u32) -> Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        write(&self.directory.join(file), text)
    }

    /// Was the limit what kept the process from doing more? It has then used up its share of the time under load, in seconds.
    /// How often the kernel stopped it would not tell: periods in which it was idle are not counted.
    pub(super) fn check_reached(&self, cpu_seconds: f64, seconds: f64) -> Result<()> {
        check_reached(self.percent, cpu_seconds, seconds)
    }
}

fn check_reached(percent: u32, cpu_seconds: f64, seconds: f64) -> Result<()> {
    let share_seconds = f64::from(percent) / 100.0 * seconds;
    ensure!(
        cpu_seconds >= USED_MIN * share_seconds,
        "void: a node used {cpu_seconds:.2} of the {share_seconds:.2} CPU-seconds that were its share"
    );
    Ok(())
}

/// Lets groups below the root limit the processor's time; the guard takes it back if it was not so before.
fn enable_cpu(guard: &mut Guard, control: &Path) -> Result<()> {
    let enabled = fs::read_to_string(control).with_context(|| control.display().to_string())?;
    if enabled.split_whitespace().any(|name| name == "cpu") {
        return Ok(());
    }
    guard.write_at_end(control, "-cpu")?;
    write(control, "+cpu")
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("{text} to {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_was_idle_for_a_while_was_not_at_its_limit() {
        // A quarter of a processor for six seconds.
        check_reached(25, 1.5, 6.0).unwrap();
        check_reached(25, 1.36, 6.0).unwrap();
        let error = check_reached(25, 1.34, 6.0).unwrap_err().to_string();
        assert!(error.contains("1.34 of the 1.50 CPU-seconds"), "{error}");
    }
}
