//! The programs a task needs and the Debian packages that bring them. Installs what is missing when root on a
//! Debian-like system; otherwise says exactly what is missing and how to get it.

use crate::process;
use anyhow::{Result, bail};
use std::{path::PathBuf, process::Command};

/// A program and the Debian package it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    program: &'static str,
    package: &'static str,
}

const fn need(program: &'static str, package: &'static str) -> Need {
    Need { program, package }
}

/// The two database servers and their command-line clients.
pub(crate) const DATABASES: &[Need] = &[
    need("mariadbd", "mariadb-server"),
    need("mariadb-install-db", "mariadb-server"),
    need("mariadb", "mariadb-client"),
    need("postgres", "postgresql"),
    need("psql", "postgresql-client"),
];

/// Needed besides by a Galera cluster. Its script that copies a member's data looks with `lsof` who listens.
pub(crate) const GALERA: &[Need] =
    &[need("libgalera_smm.so", "galera-4"), need("rsync", "rsync"), need("lsof", "lsof")];

/// Needed besides by servers on small disks.
pub(crate) const SMALL_DISKS: &[Need] =
    &[need("unshare", "util-linux"), need("setpriv", "util-linux"), need("mount", "mount")];

/// The library that makes up the time of day for a program.
const FAKETIME: &str = "libfaketimeMT.so.1";

/// Needed by tests and benchmarks besides the databases.
pub(crate) const TESTS: &[Need] = &[
    need("curl", "curl"),
    need("jq", "jq"),
    need("openssl", "openssl"),
    need("haproxy", "haproxy"),
    need("nginx", "nginx"),
    need("wrk", "wrk"),
    need(FAKETIME, "libfaketime"),
];

/// Needed by benchmarks only.
pub(crate) const BENCHMARKS: &[Need] = &[need("taskset", "util-linux"), need("mariadb-slap", "mariadb-client")];

/// Needed besides by the benchmark on a machine whose clock counts instructions.
pub(crate) const COUNTED: &[Need] = &[
    need("qemu-system-x86_64", "qemu-system-x86"),
    need("busybox", "busybox-static"),
    need("cpio", "cpio"),
    need("objcopy", "binutils"),
];

/// Needed besides by the client suites of `tests/clients`.
pub(crate) const CLIENTS: &[Need] = &[need("node", "nodejs"), need("npm", "npm"), need("python3", "python3")];

/// Makes sure that all of `needs` are there.
pub(crate) fn ensure(needs: &[Need], may_install: bool) -> Result<()> {
    let mut packages = missing(needs, is_present);
    // `python3 -m venv` is a package of its own on Debian, and so is pip; either serves the client suites.
    if needs.iter().any(|need| need.program == "npm") && !has_python_packaging() {
        packages.push("python3-venv");
    }
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if may_install && process::is_root() && process::find_program("apt-get").is_some() {
        eprintln!("xtask: installing {list}");
        process::run(apt_get().arg("update").arg("-q"))?;
        process::run(apt_get().args(["install", "-q", "-y", "--no-install-recommends"]).args(&packages))?;
        let still = missing(needs, is_present);
        if still.is_empty() {
            return Ok(());
        }
        bail!("apt-get installed {list}, yet programs of these packages are not found: {}", still.join(" "));
    }
    bail!("programs are missing. On Debian or Ubuntu: sudo apt-get install --no-install-recommends {list}")
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// The packages to install, each once, in the order of the needs.
fn missing(needs: &[Need], is_present: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for need in needs {
        if !is_present(need.program) && !packages.contains(&need.package) {
            packages.push(need.package);
        }
    }
    packages
}

fn is_present(program: &str) -> bool {
    match program {
        "postgres" | "initdb" => postgres_directory().is_some(),
        "libgalera_smm.so" => galera_library().is_some(),
        FAKETIME => has_faketime(),
        other => process::find_program(other).is_some(),
    }
}

/// The library that makes a MariaDB server a member of a Galera cluster.
pub(crate) fn galera_library() -> Option<PathBuf> {
    let places = ["/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so"];
    places.map(PathBuf::from).into_iter().find(|path| path.is_file())
}

/// Debian has a directory for each kind of processor (`/usr/lib/x86_64-linux-gnu`), others one for all.
fn has_faketime() -> bool {
    let below = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let common = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from);
    below.chain(common).any(|directory| directory.join("faketime").join(FAKETIME).is_file())
}

fn has_python_packaging() -> bool {
    let imports = |module: &str| {
        let code = format!("import {module}");
        process::capture(Command::new("python3").args(["-c", &code])).is_ok()
    };
    imports("ensurepip") || imports("pip")
}

/// The directory of PostgreSQL's own programs: Debian keeps each release apart and off the PATH. The newest wins.
pub(crate) fn postgres_directory() -> Option<PathBuf> {
    let has_both =
        |directory: &PathBuf| ["postgres", "initdb"].iter().all(|name| process::is_executable(&directory.join(name)));
    let debian = std::fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten().flatten().filter_map(|entry| {
        let release: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((release, entry.path().join("bin")))
    });
    let newest = debian.filter(|(_, directory)| has_both(directory)).max_by_key(|(release, _)| *release);
    newest.map(|(_, directory)| directory).or_else(|| {
        let directory = process::find_program("initdb")?.parent()?.to_path_buf();
        has_both(&directory).then_some(directory)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_package_is_named_once() {
        let found = missing(DATABASES, |program| !program.starts_with("mariadb"));
        assert_eq!(found, ["mariadb-server", "mariadb-client"]);
        assert!(missing(TESTS, |_| true).is_empty());
    }
}
