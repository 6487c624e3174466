//! A clock that the test sets, for the program as it is built: Debian's libfaketime answers a dynamically linked program's
//! questions for the time of day. It stands still between two settings. Clocks that only count go on, and with them all
//! timers.

use crate::harness::Directory;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The library for programs with threads.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

pub(super) struct Clock {
    library: PathBuf,
    directory: Directory,
    now_ms: i64,
}

impl Clock {
    /// `None` when the library is not here, and nobody asked for all tests (`cargo xtask test` installs what they need).
    pub(super) fn at_ms(now_ms: i64) -> Option<Self> {
        let Some(library) = library() else {
            let is_asked = ["CLAVIGER_TEST_MYSQL_URL", "CLAVIGER_TEST_POSTGRES_URL"].map(is_set).contains(&true);
            assert!(!is_asked, "{LIBRARY} is missing: install Debian's package libfaketime");
            eprintln!("no test of the process across changes of the clock: {LIBRARY} (package libfaketime) is missing");
            return None;
        };
        let clock = Self { library, directory: Directory::new(), now_ms };
        clock.show();
        Some(clock)
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    pub(super) fn now_s(&self) -> i64 {
        self.now_ms.div_euclid(1_000)
    }

    /// Moves it forward.
    pub(super) fn move_to(&mut self, at_ms: i64) {
        assert!(at_ms >= self.now_ms, "time goes forward: {at_ms} after {}", self.now_ms);
        self.now_ms = at_ms;
        self.show();
    }

    /// The built program in a zone, by this clock.
    pub(super) fn command(&self, zone: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
        command.env_clear().env("TZ", zone).env("LD_PRELOAD", &self.library);
        // Seconds since 1970 mean the same in every zone; a date would be read in the program's.
        command.env("FAKETIME_TIMESTAMP_FILE", self.file()).env("FAKETIME_FMT", "%s").env("FAKETIME_NO_CACHE", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
        command
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("now")
    }

    fn show(&self) {
        // The library cuts a fraction off that has no exact binary form: half a millisecond keeps it on the safe side.
        let text = format!("{}.{:03}5", self.now_s(), self.now_ms.rem_euclid(1_000));
        let next = self.directory.path().join("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, self.file()).unwrap();
    }
}

/// Removes what the library leaves behind of processes that were killed: in the way of the next one of the same number.
impl Drop for Clock {
    fn drop(&mut self) {
        for path in fs::read_dir("/dev/shm").into_iter().flatten().flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let number = ["faketime_shm_", "sem.faketime_sem_"].iter().find_map(|start| name.strip_prefix(start));
            if number.is_some_and(|number| !Path::new("/proc").join(number).exists()) {
                drop(fs::remove_file(&path));
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the test reads where its servers are")]
fn is_set(name: &str) -> bool {
    std::env::var(name).is_ok()
}

/// Debian has a directory for each kind of processor (`/usr/lib/x86_64-linux-gnu`), others one for all.
fn library() -> Option<PathBuf> {
    let below = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(std::env::consts::ARCH) || (std::env::consts::ARCH == "x86" && name.starts_with("i386-"))
    };
    let common = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(|path| Path::new(path).to_owned());
    below.filter(is_ours).chain(common).map(|path| path.join(LIBRARY)).find(|path| path.is_file())
}
