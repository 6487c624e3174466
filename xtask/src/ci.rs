//! `cargo xtask ci`: all that must hold before a change is merged, quickest first, with the time of each step.
//! One profile (dev) for everything, so that the steps share what they build.

use crate::{licences, process, test};
use anyhow::{Context as _, Result};
use std::{process::Command, time::Instant};

type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("tools", tools),
    ("format", format),
    ("dependencies", licences::main),
    ("clippy", clippy),
    ("documentation", documentation),
    ("test", || test::main(&test::Options::complete())),
];

pub(crate) fn main() -> Result<()> {
    let started = Instant::now();
    let mut times = Vec::new();
    for (name, step) in STEPS {
        eprintln!("\nxtask: == {name}");
        let step_started = Instant::now();
        let result = step();
        times.push(format!("{name} {} s", step_started.elapsed().as_secs()));
        result.with_context(|| format!("step `{name}` failed; times: {}", times.join(", ")))?;
    }
    eprintln!("\nxtask: all steps passed in {} s: {}", started.elapsed().as_secs(), times.join(", "));
    Ok(())
}

fn tools() -> Result<()> {
    for tool in ["fmt", "clippy"] {
        process::capture(process::cargo().args([tool, "--version"])).with_context(|| {
            let component = if tool == "fmt" { "rustfmt" } else { tool };
            format!("`cargo {tool}` is missing: run `rustup component add {component}`")
        })?;
    }
    process::capture(Command::new("cc").arg("--version"))
        .context("a C compiler is missing: on Debian, apt-get install gcc libc6-dev")?;
    Ok(())
}

fn format() -> Result<()> {
    process::run(process::cargo().args(["fmt", "--all", "--", "--check"]))
}

fn clippy() -> Result<()> {
    let arguments = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
    process::run(process::cargo().args(arguments))
}

fn documentation() -> Result<()> {
    let mut doc = process::cargo();
    process::run(doc.args(["doc", "--locked", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-D warnings"))
}
