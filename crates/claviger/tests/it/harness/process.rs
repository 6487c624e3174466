//! The built program as a process: started on a free port offset, killed or asked to end, started again on its directory.

use super::{ADMIN_PASSWORD, Directory};
use claviger::config::ports;
use claviger_proto::entropy::Entropy as _;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// Longest start, and longest end of a process that was asked to.
const START_OR_STOP_MS_MAX: u64 = 30_000;
/// Offsets that are tried before giving up.
const OFFSETS_MAX: u32 = 100;
/// Starts that may lose their ports to somebody else.
const STARTS_MAX: u32 = 5;
const BASES: [u16; 4] = [ports::MANAGEMENT_HTTPS, ports::MANAGEMENT_HTTP, ports::GATEWAY_HTTPS, ports::GATEWAY_HTTP];

/// An offset at which all four ports were free just now.
pub(crate) fn free_offset() -> u16 {
    let rng = claviger::app::SystemEntropy::default();
    for _ in 0..OFFSETS_MAX {
        let mut bytes = [0; 2];
        rng.fill(&mut bytes);
        // Below the range from which systems take ports for outgoing connections.
        let offset = u16::from_le_bytes(bytes) % 20_000;
        let taken = BASES.map(|base| TcpListener::bind((Ipv4Addr::UNSPECIFIED, base + offset)));
        if taken.iter().all(Result::is_ok) {
            return offset;
        }
    }
    panic!("no free ports");
}

/// What became of a process.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
}

impl Ended {
    /// Did it end because another process has one of its ports?
    pub(crate) fn is_port_taken(&self) -> bool {
        self.output.contains("another server may use it")
    }
}

/// A process and its output so far.
pub(crate) struct Process {
    pub(crate) offset: u16,
    child: Child,
    output: Arc<Mutex<String>>,
    progress: watch::Receiver<Progress>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    is_ready: bool,
    ends: u8,
    lines: usize,
}

impl Process {
    /// Starts on a directory and waits until it is ready; other ports are tried when somebody takes these.
    pub(crate) async fn start(directory: &Directory, arguments: &[&str]) -> Self {
        let command = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
            command.env_clear();
            command
        };
        Self::start_as(&command, directory, arguments).await
    }

    /// As [`Self::start`], by a command of the caller's to which arguments are added.
    pub(crate) async fn start_as(command: &dyn Fn() -> Command, directory: &Directory, arguments: &[&str]) -> Self {
        for _ in 0..STARTS_MAX {
            let mut command = command();
            command.env("CLAVIGER_ADMIN_PASSWORD", ADMIN_PASSWORD);
            match Self::spawn(command, directory.path(), free_offset(), arguments).await {
                Ok(process) => return process,
                Err(ended) => assert!(ended.is_port_taken(), "{ended:?}"),
            }
        }
        panic!("the ports were taken {STARTS_MAX} times");
    }

    /// Starts and waits until it is ready or has ended.
    pub(crate) async fn try_start(data_dir: &Path, offset: u16, arguments: &[&str]) -> Result<Self, Ended> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
        command.env_clear().env("CLAVIGER_ADMIN_PASSWORD", ADMIN_PASSWORD);
        Self::spawn(command, data_dir, offset, arguments).await
    }

    /// As [`Self::try_start`], with no password in the environment.
    pub(crate) async fn try_start_without_password(
        data_dir: &Path,
        offset: u16,
        arguments: &[&str],
    ) -> Result<Self, Ended> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
        command.env_clear();
        Self::spawn(command, data_dir, offset, arguments).await
    }

    async fn spawn(mut command: Command, data_dir: &Path, offset: u16, arguments: &[&str]) -> Result<Self, Ended> {
        command.arg("--data-dir").arg(data_dir).args(["--port-offset", &offset.to_string()]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (report, progress) = watch::channel(Progress::default());
        let (output, report) = (Arc::new(Mutex::new(String::new())), Arc::new(report));
        collect(child.stdout.take().unwrap(), output.clone(), report.clone());
        collect(child.stderr.take().unwrap(), output.clone(), report);
        let mut process = Self { offset, child, output, progress };
        let progress = process.wait(|progress| progress.is_ready || progress.ends == 2).await;
        if progress.is_ready { Ok(process) } else { Err(process.ended()) }
    }

    async fn wait(&mut self, until: impl Fn(&Progress) -> bool) -> Progress {
        let bound = Duration::from_millis(START_OR_STOP_MS_MAX);
        let waited = tokio::time::timeout(bound, self.progress.wait_for(until)).await;
        let Ok(progress) = waited else {
            panic!("nothing happened in {START_OR_STOP_MS_MAX} ms: {}", self.output.lock().unwrap())
        };
        *progress.unwrap()
    }

    /// The plain management port.
    pub(crate) fn plain(&self) -> String {
        format!("http://{}", self.plain_address())
    }

    /// The TLS management port.
    pub(crate) fn secure(&self) -> String {
        format!("https://localhost:{}", ports::MANAGEMENT_HTTPS + self.offset)
    }

    /// The plain gateway port.
    pub(crate) fn gateway(&self) -> String {
        format!("http://127.0.0.1:{}", ports::GATEWAY_HTTP + self.offset)
    }

    /// The root directory as the process sees it.
    pub(crate) fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.child.id()))
    }

    /// Waits until the log says something.
    pub(crate) async fn wait_for_log(&mut self, text: &str) {
        let output = self.output.clone();
        let progress = self.wait(|progress| progress.ends == 2 || output.lock().unwrap().contains(text)).await;
        assert_ne!(progress.ends, 2, "it ended: {}", self.output.lock().unwrap());
    }

    /// What it has said so far.
    pub(crate) fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// As a socket address.
    pub(crate) fn plain_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, ports::MANAGEMENT_HTTP + self.offset))
    }

    /// Ends it at once, with no chance to tidy up (SIGKILL).
    pub(crate) fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.ended()
    }

    /// As [`Self::kill`], for a process whose output nobody reads.
    pub(crate) fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM. The shell's own `kill` is there even where the program of that name is not.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        let status = Command::new("sh").args(["-c", "kill -s TERM \"$1\"", "sh", &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end.
    pub(crate) async fn wait_for_end(mut self) -> Ended {
        self.wait(|progress| progress.ends == 2).await;
        self.ended()
    }

    fn ended(&mut self) -> Ended {
        let code = self.child.wait().unwrap().code();
        Ended { code, output: self.output.lock().unwrap().clone() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("what a process of the failed test said:\n{}", self.output());
        }
    }
}

/// Reads a stream to its end on a thread of its own: the program must never wait for its reader.
fn collect(stream: impl Read + Send + 'static, output: Arc<Mutex<String>>, report: Arc<watch::Sender<Progress>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).into_owned();
            let is_ready = line.starts_with("Claviger ") && line.ends_with(" is ready");
            let mut text = output.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
            drop(text);
            report.send_modify(|progress| {
                progress.is_ready |= is_ready;
                progress.lines += 1;
            });
        }
        report.send_modify(|progress| progress.ends += 1);
    });
}
