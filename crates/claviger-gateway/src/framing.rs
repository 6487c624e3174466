//! A look at the bytes of a connection before hyper sees them.
//!
//! Owns: noticing a head that gives the length of its body twice (security.md 4.5, request smuggling). hyper resolves such
//! a head by RFC 9112 section 6.3 (Transfer-Encoding wins, the connection ends after it) and drops the other header, so
//! it cannot be noticed later. Also the time-outs that hyper does not have: for the first bytes, and for a peer that does
//! not read. Leaves to hyper: parsing.

use crate::config::GatewayConfig;
use std::io::{self, BufRead as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Has the connection carried a head of ambiguous length? Stays set: such a peer is not trusted again.
#[derive(Clone, Debug, Default)]
pub(crate) struct FramingFlag(Arc<AtomicBool>);

impl FramingFlag {
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Finds lines that begin with a length header, block by block (a block ends at an empty line). It does not know heads from
/// bodies, so its finding only counts for a request that has such a header itself.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// Beginning of the current line, as far as a name is long.
    line: Vec<u8>,
    is_in_long_line: bool,
    lengths: u32,
}

const NAMES: [&[u8]; 2] = [b"content-length:", b"transfer-encoding:"];
const NAME_BYTES_MAX: usize = 18;

impl Scanner {
    /// Looks at the next bytes; true when one block has shown two length headers.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            let start = rest;
            let length = rest.skip_until(b'\n').unwrap_or(start.len());
            let piece = &start[..length];
            let is_ended = piece.last() == Some(&b'\n');
            if self.is_in_long_line || !self.line.is_empty() {
                // Continue a line that began in an earlier read.
                let room = NAME_BYTES_MAX.saturating_sub(self.line.len());
                self.line.extend_from_slice(&piece[..piece.len().min(room)]);
                if is_ended {
                    let line = std::mem::take(&mut self.line);
                    self.end_line(&line);
                }
            } else if is_ended {
                self.end_line(piece);
            } else {
                self.line.extend_from_slice(&piece[..piece.len().min(NAME_BYTES_MAX)]);
            }
            self.is_in_long_line = !is_ended;
            if self.lengths > 1 {
                return true;
            }
        }
        false
    }

    fn end_line(&mut self, line: &[u8]) {
        match line.first() {
            None | Some(b'\r' | b'\n') => self.lengths = 0,
            Some(b'c' | b'C' | b't' | b'T') => {
                let has = |name: &[u8]| line.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name));
                self.lengths += u32::from(NAMES.iter().any(|name| has(name)));
            }
            Some(_) => {}
        }
    }
}

/// A stream with the scanner and the time-outs in it.
pub(crate) struct GuardedStream<I> {
    io: I,
    scanner: Scanner,
    flag: FramingFlag,
    /// Runs until hyper's own time-outs do: it first waits for the 24 bytes of HTTP/2's preface without one.
    first_bytes: Option<Pin<Box<Sleep>>>,
    read_bytes: usize,
    write_timeout: Duration,
    /// Set up only when the peer does not take what we write.
    write_stall: Option<Pin<Box<Sleep>>>,
}

const PREFACE_BYTES: usize = 24;

impl<I> GuardedStream<I> {
    pub(crate) fn new(io: I, flag: FramingFlag, config: &GatewayConfig) -> Self {
        let first = Duration::from_millis(config.header_read_timeout_ms);
        Self {
            io,
            scanner: Scanner::default(),
            flag,
            first_bytes: Some(Box::pin(tokio::time::sleep(first))),
            read_bytes: 0,
            write_timeout: Duration::from_millis(config.body_idle_timeout_ms),
            write_stall: None,
        }
    }

    /// Turns a write that waits too long into an error.
    fn guard_write<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.write_stall = None;
            self.first_bytes = None;
            return outcome;
        }
        let timeout = self.write_timeout;
        let stall = self.write_stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        stall.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for GuardedStream<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut this.io).poll_read(context, buffer);
        if outcome.is_pending() {
            let Some(first_bytes) = &mut this.first_bytes else { return Poll::Pending };
            return first_bytes.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        let read = &buffer.filled()[before..];
        if this.first_bytes.is_some() {
            this.read_bytes += read.len();
            if this.read_bytes >= PREFACE_BYTES {
                this.first_bytes = None;
            }
        }
        if this.scanner.scan(read) {
            this.flag.0.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for GuardedStream<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(context, bytes);
        self.guard_write(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(context, pieces);
        self.guard_write(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(context);
        if outcome.is_ready() {
            // hyper also flushes when it has written nothing: no reason to stop waiting for the first bytes.
            self.write_stall = None;
            return outcome;
        }
        self.guard_write(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
