//! Developer tasks: `cargo xtask test | servers | ci | bench`.
//!
//! Owns the command line and nothing else: each task is a module. Everything a task starts is registered with
//! [`guard`], so that it is stopped and removed however the task ends. The product never depends on this crate.

mod bench;
mod ci;
mod graph;
mod guard;
mod licences;
mod packages;
mod process;
mod servers;
mod spdx;
mod test;

use anyhow::{Result, bail};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask test [--durable] [--galera] [--small-disks] [--no-install] [-- ARGS]
    Every test of the workspace, with private MariaDB and PostgreSQL servers on loopback. ARGS go to `cargo test`
    in place of `--workspace` and leave out the client suites of tests/clients.
cargo xtask servers [--durable] [--galera] [--small-disks]
    The same servers in the foreground; prints the lines to export. Ends with Ctrl-C.
cargo xtask ci
    What .ci/run calls: format, dependencies (licences, banned crates, crate rules), clippy, documentation, test.
cargo xtask bench NAME|all [--reps N] [--duration S] [--connections N] [--delay MS] [--settle S] [--no-build]
                [--engine mariadb|postgres] [--rows N[,N...]] [--share PERCENT]
    Our release server beside baselines in alternated rounds; prints Markdown. `bench list` shows the names.
    --engine is for `growth`, `clean` and `nodes`; --rows (of the token table) for the first two; --share for the last two: what
    each node gets of a processor, and the cleaner of the time.

  --durable     the servers flush every commit to disk, as in production (default: fast, not crash-safe)
  --galera      also a Galera cluster of three MariaDB servers, and one of each server that tests may kill (13 s, 550 MB);
                `ci` always starts them
  --small-disks also servers on disks that tests fill (10 s, 400 MB), which takes the right to mount in a namespace of one's
                own; `ci` always starts them
  --no-install  never install Debian packages, only say which are missing
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let Some((task, rest)) = arguments.split_first() else {
        bail!("which task?\n\n{HELP}");
    };
    match task.as_str() {
        "test" => test::main(&test::Options::parse(rest)?),
        "servers" => servers::main(rest),
        "ci" if rest.is_empty() => ci::main(),
        "bench" => bench::main(rest),
        guard::TASK if rest.is_empty() => guard::main(),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => bail!("`{other}` with these arguments is not a task\n\n{HELP}"),
    }
}
