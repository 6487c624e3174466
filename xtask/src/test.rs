//! `cargo xtask test`: every test of the workspace beside private database servers, then the client suites.
//! The servers are [`crate::servers`]; what they need installed is [`crate::packages`].

use crate::{packages, process, servers};
use anyhow::{Result, bail};
use std::{path::PathBuf, process::Command};

/// The command line of the task.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    servers: servers::Choice,
    may_not_install: bool,
    /// Given to `cargo test` in place of `--workspace`.
    arguments: Vec<String>,
}

impl Options {
    /// Everything, also what needs a Galera cluster or disks that may be filled.
    pub(crate) fn complete() -> Self {
        let servers = servers::Choice { has_galera: true, has_small_disks: true, ..Default::default() };
        Self { servers, ..Self::default() }
    }

    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                word if options.servers.take(word) => {}
                "--no-install" => options.may_not_install = true,
                "--" => options.arguments = rest.by_ref().cloned().collect(),
                other => bail!("`cargo xtask test` does not know `{other}` (arguments for cargo test follow `--`)"),
            }
        }
        Ok(options)
    }
}

pub(crate) fn main(options: &Options) -> Result<()> {
    let scripts: Vec<PathBuf> = if options.arguments.is_empty() { scripts() } else { Vec::new() };
    let mut needs = [&options.servers.needs(), packages::TESTS].concat();
    if !scripts.is_empty() {
        needs.extend(packages::CLIENTS);
    }
    packages::ensure(&needs, !options.may_not_install)?;
    if options.arguments.is_empty() {
        // What does not compile should say so before any server is started.
        process::run(process::cargo().args(["test", "--workspace", "--no-run"]))?;
    }
    let mut servers = servers::Servers::start(options.servers)?;
    let mut tests = process::cargo();
    tests.arg("test");
    if options.arguments.is_empty() {
        tests.args(["--workspace", "--no-fail-fast"]);
    } else {
        tests.args(&options.arguments);
    }
    servers.run(&mut tests)?;
    for script in scripts {
        servers.run(Command::new(script).current_dir(process::workspace_root()))?;
    }
    Ok(())
}

/// The README's tour, and the suites that drive the server with other people's client libraries.
fn scripts() -> Vec<PathBuf> {
    let scripts = ["tests/tour/run", "tests/clients/run"].map(|script| process::workspace_root().join(script));
    scripts.into_iter().filter(|script| process::is_executable(script)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options> {
        Options::parse(&words.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn what_follows_two_dashes_is_for_cargo() {
        let options = parse(&["--durable", "--galera", "--", "-p", "claviger-store", "--", "--nocapture"]).unwrap();
        assert!(options.servers.is_durable && options.servers.has_galera && !options.may_not_install);
        assert_eq!(options.arguments, ["-p", "claviger-store", "--", "--nocapture"]);
        assert!(parse(&["--quick"]).is_err());
        assert_eq!(parse(&[]).unwrap(), Options::default());
    }
}
