//! A share of the processor that a process cannot exceed: a control group with a CPU bandwidth limit (Linux kernel,
//! Documentation/scheduler/sched-bwc). Needs root.

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

/// A control group; removed when dropped, which its processes must not outlive.
#[derive(Debug)]
pub(super) struct Quota {
    directory: PathBuf,
}

/// How often the limit was asked about, and how often it was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Periods {
    all: u64,
    throttled: u64,
}

impl Quota {
    /// A group that gets this share of one processor, in percent.
    pub(super) fn new(name: &str, percent: u32) -> Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let period_us = PERIOD_US.max(QUOTA_US_MIN * 100 / percent);
        let quota_us = period_us * percent / 100;
        let is_unified = root.join("cgroup.controllers").exists();
        let parent = if is_unified { root.to_owned() } else { root.join("cpu") };
        let directory = parent.join(name);
        fs::create_dir(&directory).with_context(|| format!("{} (as root only)", directory.display()))?;
        let quota = Self { directory };
        if is_unified {
            quota.write("../cgroup.subtree_control", "+cpu")?;
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
        let path = self.directory.join(file);
        fs::write(&path, text).with_context(|| format!("{text} to {}", path.display()))
    }

    pub(super) fn periods(&self) -> Result<Periods> {
        Periods::parse(&fs::read_to_string(self.directory.join("cpu.stat"))?)
    }

    /// Was the limit what kept the process from doing more, since then?
    pub(super) fn check_reached(&self, since: Periods) -> Result<()> {
        let now = self.periods()?;
        let (all, throttled) = (now.all - since.all, now.throttled - since.throttled);
        ensure!(throttled * 10 >= all * 6, "void: a node reached its limit in {throttled} of {all} periods only");
        Ok(())
    }
}

impl Periods {
    fn parse(text: &str) -> Result<Self> {
        let field = |name: &str| -> Result<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
            Ok(line.trim().parse()?)
        };
        Ok(Self { all: field("nr_periods ")?, throttled: field("nr_throttled ")? })
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.directory) {
            eprintln!("xtask: {}: {error}", self.directory.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_periods_of_a_group() {
        let periods = Periods::parse("nr_periods 120\nnr_throttled 77\nthrottled_time 5\n").unwrap();
        assert_eq!(periods, Periods { all: 120, throttled: 77 });
        assert!(Periods::parse("usage_usec 5\n").is_err());
    }
}
