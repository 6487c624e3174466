//! [`super::tail`] on a machine that never stands still. A core of a virtual machine is taken away for milliseconds now and then,
//! and a thousand calls wait meanwhile: what the slowest answer of a thousand says there is said of the machine. So server and
//! generator run on the one core of a machine that qemu emulates and whose clock counts the instructions that it has executed,
//! a nanosecond each: while nothing is executed, no time passes there. Its kernel is Debian's, its disk is its memory.
//!
//! Absolute figures are those of no machine that there is; how far the slowest answers are from the usual one is the server's own.

use super::{
    Bench,
    plans::NOT_PERSISTED,
    subject::Subject,
    tail::{HEADER, Steady, cases, figures, request},
};
use crate::{packages, process, servers};
use anyhow::{Context as _, Result, bail, ensure};
use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The package that needs the kernel that there is now.
const KERNEL: &str = "linux-image-cloud-amd64";
const PROGRAMS: [&str; 3] = ["claviger", "steady-rate", "hyper-hello"];
/// What lines of the machine begin with that are meant for us.
const MARK: &str = "@@ ";

pub(super) fn run(bench: &mut Bench) -> Result<String> {
    packages::ensure(packages::COUNTED, true)?;
    let kernel = kernel(&bench.directory)?;
    let root = bench.directory.join("root");
    for directory in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir_all(root.join(directory))?;
    }
    for program in PROGRAMS {
        install(&process::target_directory().join("release").join(program), &root)?;
    }
    fs::copy(process::program("busybox")?, root.join("bin/busybox"))?;

    let mut subject = Subject::start(bench, "claviger", NOT_PERSISTED)?;
    let cases = cases(&subject)?;
    subject.stop()?;
    process::capture(Command::new("cp").arg("-a").arg(subject.directory()).arg(root.join("data")))?;
    let mut plan = String::new();
    for (number, (_, load)) in cases.iter().enumerate() {
        let (port, variables) = request(load)?;
        for (name, value) in variables {
            writeln!(plan, "export {name}={}", quoted(&value))?;
        }
        writeln!(plan, "measure {number} {port}")?;
    }
    fs::write(root.join("plan"), plan)?;
    let places = [
        ("OFFSET", subject.offset().to_string()),
        ("BARE", servers::free_port()?.to_string()),
        ("CONNECTIONS", bench.pace.connections.to_string()),
        ("ROUNDS", bench.pace.rounds.to_string()),
        ("SECONDS", bench.pace.seconds.to_string()),
    ];
    let mut init = fs::read_to_string(process::workspace_root().join("benches/tail/init.sh"))?;
    for (name, value) in places {
        init = init.replace(&format!("@{name}@"), &value);
    }
    fs::write(root.join("init"), init)?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;

    let said = boot(bench, &kernel, &root)?;
    let mut text = String::from(HEADER);
    for (number, (what, _)) in cases.iter().enumerate() {
        let of = |kind: &str| -> Vec<&str> {
            let mark = format!("{number} {kind} ");
            said.iter().filter_map(|line| line.strip_prefix(&mark)).collect()
        };
        let full = of("full").first().copied().with_context(|| format!("no rate of {what}"))?;
        let (full, rate) = full.split_once(' ').context("no rate")?;
        let asked: f64 = rate.parse()?;
        for (what, kind, of_full) in [(*what, "ours", format!(" ({full})")), ("bare hyper", "bare", String::new())] {
            let runs =
                of(kind).into_iter().map(|line| Steady::parse(line)?.check(what, asked)).collect::<Result<Vec<_>>>()?;
            writeln!(text, "| {what} | {rate}{of_full} | {} |", figures(&runs)?)?;
        }
    }
    Ok(text)
}

/// Runs the machine to its end; what it said to us.
fn boot(bench: &mut Bench, kernel: &Path, root: &Path) -> Result<Vec<String>> {
    let disk = bench.directory.join("disk");
    let pack = "find . -print0 | cpio --null --quiet -o -H newc > ../disk";
    process::run(Command::new("sh").args(["-c", pack]).current_dir(root))?;
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-machine", "q35", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "1", "-m", "2048"]);
    command.args(["-icount", "shift=0,sleep=off", "-rtc", "base=utc,clock=vm"]);
    command.args(["-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(&disk);
    command.args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"]);
    let mut machine = bench.guard.spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()), "KILL")?;
    let mut said = Vec::new();
    let mut all = String::new();
    for line in BufReader::new(machine.stdout.take().context("a process without stdout")?).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
        writeln!(all, "{line}")?;
        if let Some(line) = line.strip_prefix(MARK) {
            eprintln!("xtask: {line}");
            said.push(line.to_owned());
        }
    }
    let status = machine.wait()?;
    ensure!(
        status.success() && said.last().is_some_and(|line| line == "done"),
        "the machine ended with {status}:\n{all}"
    );
    Ok(said)
}

/// Downloads the kernel and unpacks it; installs nothing.
fn kernel(directory: &Path) -> Result<PathBuf> {
    let depends = process::capture(Command::new("apt-cache").args(["depends", KERNEL]))?;
    let name = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let name = format!("linux-image-{}", name.with_context(|| format!("{KERNEL} needs no kernel: {depends}"))?);
    let own = directory.join("kernel");
    fs::create_dir(&own)?;
    process::capture(Command::new("apt-get").args(["download", "-q", &name]).current_dir(&own))?;
    let only = |folder: &Path, wanted: &str| -> Result<PathBuf> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().contains(wanted) {
                return Ok(entry.path());
            }
        }
        bail!("no {wanted} in {}", folder.display())
    };
    process::run(Command::new("dpkg-deb").arg("-x").arg(only(&own, ".deb")?).arg(&own))?;
    only(&own.join("boot"), "vmlinuz")
}

/// A program with the libraries that it needs.
fn install(program: &Path, root: &Path) -> Result<()> {
    let name = program.file_name().context("a program without a name")?;
    process::run(Command::new("objcopy").arg("--strip-debug").arg(program).arg(root.join("bin").join(name)))?;
    let needs = process::capture(Command::new("ldd").arg(program))?;
    for library in needs.split_whitespace().filter(|word| word.starts_with('/')) {
        let place = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(place.parent().context("a library without a directory")?)?;
        fs::copy(library, place)?;
    }
    Ok(())
}

/// One word of the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
