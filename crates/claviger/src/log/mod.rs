//! Where log lines go: standard error, access lines gathered for a moment, everything else at once.
//!
//! A line per request would otherwise be a system call per request. A log that cannot be written (a blocked pipe, a full
//! disk) must not stop the service: what does not fit into the buffer is dropped and counted.

mod access;

use crate::cli::{LogFormat, Serve};
use access::AccessFirst;
use std::io::{self, Write as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::Metadata;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How long access lines may wait.
const FLUSH_MS: u64 = 50;
/// So many are written earlier.
const FLUSH_BYTES: usize = 256 * 1024;
/// What may wait; more is dropped.
const BUFFER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Sets the program's log up. The returned handle writes what still waits when it is dropped.
pub fn init(options: &Serve) -> Flush {
    let filter = EnvFilter::try_new(&options.log_filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = Lines::start();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines.clone());
    let format = options.log_format;
    match format {
        LogFormat::Text => {
            let builder = builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
            builder.map_event_format(|other| AccessFirst { format, other }).init();
        }
        LogFormat::Json => builder.json().map_event_format(|other| AccessFirst { format, other }).init(),
    }
    Flush(lines)
}

/// Writes what still waits when it is dropped.
pub struct Flush(Lines);

impl Drop for Flush {
    fn drop(&mut self) {
        self.0.flush();
    }
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    dropped: u64,
}

/// Lines on their way to standard error.
#[derive(Clone, Default)]
pub struct Lines(Arc<(Mutex<Waiting>, Condvar)>);

impl Lines {
    fn start() -> Self {
        let lines = Self::default();
        let writer = lines.clone();
        // Ends with the process: it holds nothing that must be closed.
        drop(std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.write_forever()));
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8], is_urgent: bool) {
        let mut waiting = self.lock();
        let before = waiting.bytes.len();
        if before + line.len() > BUFFER_BYTES_MAX {
            waiting.dropped += 1;
        } else {
            waiting.bytes.extend_from_slice(line);
        }
        let after = waiting.bytes.len();
        drop(waiting);
        if is_urgent {
            self.flush();
        } else if before == 0 || (before < FLUSH_BYTES && after >= FLUSH_BYTES) {
            // Waking the writer is a system call: the first line does it, and the one that fills the buffer.
            self.0.1.notify_one();
        }
    }

    /// Writes everything that waits. The order of lines is kept: the lock on standard error is taken first.
    fn flush(&self) {
        let mut out = io::stderr().lock();
        let Waiting { bytes, dropped } = std::mem::take(&mut *self.lock());
        // Nobody can be told that the log cannot be written.
        drop(out.write_all(&bytes));
        if dropped > 0 {
            drop(writeln!(out, "{dropped} log lines were dropped because the log could not be written in time"));
        }
    }

    fn write_forever(&self) {
        loop {
            let mut waiting = self.lock();
            while waiting.bytes.is_empty() {
                waiting = self.0.1.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            let pause = self.0.1.wait_timeout_while(waiting, Duration::from_millis(FLUSH_MS), |waiting| {
                waiting.bytes.len() < FLUSH_BYTES
            });
            drop(pause);
            self.flush();
        }
    }
}

/// Takes a line, which the subscriber formats whole and writes at once.
pub struct Line<'a> {
    lines: &'a Lines,
    is_urgent: bool,
}

impl io::Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.push(line, self.is_urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, is_urgent: true }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line { lines: self, is_urgent: metadata.target() != access::TARGET }
    }
}
