//! A look at the request heads of a connection before hyper sees them.
//!
//! Owns: noticing a head that gives the length of its body twice (security.md 4.5, request smuggling), and knowing whether
//! the bytes that come next begin a head. Leaves to hyper: parsing; to `guard`: the stream and its time-outs.
//!
//! Only heads are looked at. The watch begins with the connection, ends at the empty line that ends a head, and begins again
//! when the request is over: its body was read to the end or dropped, or it had none. A head that a client sends without
//! waiting for that (pipelining) may pass unseen. So may every one, as far as safety goes: hyper resolves such a head by RFC
//! 9112 section 6.3 (Transfer-Encoding wins, Content-Length is dropped before the request is forwarded, the connection ends
//! after it). But what it drops can no longer be noticed behind it, and a client that sends both is better told so.
//!
//! A connection that begins with the preface of HTTP/2 (RFC 9113 section 3.4) has no such heads and is not looked at.

use std::io::BufRead as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a connection's stream and its requests tell each other. One number: [`AMBIGUOUS`], [`UNWATCHED`], or twice the count
/// of requests (from [`FIRST_HEAD`] on) plus [`OVER`] when the last one is over. Nothing else is handed over with it, so the
/// order of other memory does not matter.
#[derive(Clone, Debug)]
pub(crate) struct Framing(Arc<AtomicU64>);

/// A head of ambiguous length has come. Stays: such a peer is not trusted again.
const AMBIGUOUS: u64 = 0;
/// No heads to look at. Stays.
const UNWATCHED: u64 = 2;
const OVER: u64 = 1;
/// Nothing has been taken yet, and nothing is under way.
const FIRST_HEAD: u64 = 4 | OVER;

impl Default for Framing {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(FIRST_HEAD)))
    }
}

impl Framing {
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.state() == AMBIGUOUS
    }

    /// A request's head is complete. The request is over when what comes back is dropped, without a body at once.
    pub(crate) fn begin_request(&self, has_body: bool) -> Option<RequestEnd> {
        let before = self.state();
        if before == AMBIGUOUS || before == UNWATCHED {
            return None;
        }
        let taken = (before | OVER) + 1;
        self.0.store(if has_body { taken } else { taken | OVER }, Ordering::Relaxed);
        has_body.then(|| RequestEnd { framing: self.clone(), taken })
    }

    fn state(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn stay(&self, state: u64) {
        self.0.store(state, Ordering::Relaxed);
    }
}

/// Goes with a request's body; dropped when the body is over.
#[derive(Debug)]
pub(crate) struct RequestEnd {
    framing: Framing,
    taken: u64,
}

impl Drop for RequestEnd {
    fn drop(&mut self) {
        // Fails when the next request has been taken meanwhile: the watch must not begin in the middle of that one.
        let over = self.taken | OVER;
        let _ = self.framing.0.compare_exchange(self.taken, over, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// What a read that found nothing waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// A request is under way or just over, or the connection is not watched.
    Elsewhere,
    /// The first byte of a head.
    Head,
    /// More of a head that has begun.
    RestOfHead,
}

/// The stream's side: follows the bytes of a connection from head to head.
#[derive(Debug)]
pub(crate) struct HeadWatch {
    framing: Framing,
    /// State of the connection when the head that is looked at began.
    began_at: u64,
    scanner: Scanner,
    is_in_head: bool,
    /// So many bytes of HTTP/2's preface have come, and nothing else.
    preface_bytes: Option<usize>,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl HeadWatch {
    pub(crate) fn new(framing: Framing) -> Self {
        Self { framing, began_at: FIRST_HEAD, scanner: Scanner::default(), is_in_head: true, preface_bytes: Some(0) }
    }

    /// These bytes have come.
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        if self.is_preface(bytes) {
            self.framing.stay(UNWATCHED);
        }
        if !self.is_in_head || self.framing.state() != self.began_at {
            return;
        }
        match self.scanner.scan(bytes) {
            Finding::InHead => {}
            Finding::HeadEnded => self.is_in_head = false,
            Finding::TwoLengths => self.framing.stay(AMBIGUOUS),
        }
    }

    /// No bytes are there. Only now the watch begins again: before, hyper may still be taking in the rest of a body that was
    /// dropped, which it does only as long as it need not wait.
    pub(crate) fn wait(&mut self) -> Waiting {
        let state = self.framing.state();
        if state != self.began_at {
            if state & OVER != 0 {
                self.began_at = state;
                self.scanner = Scanner::default();
                self.is_in_head = true;
            }
            return Waiting::Elsewhere;
        }
        // A head that has ended but was not taken is the beginning of a preface: waited for like the rest of a head.
        if self.scanner.is_begun() { Waiting::RestOfHead } else { Waiting::Head }
    }

    fn is_preface(&mut self, bytes: &[u8]) -> bool {
        let Some(seen) = self.preface_bytes else { return false };
        let rest = &PREFACE[seen..];
        let common = rest.len().min(bytes.len());
        let is_same = rest[..common] == bytes[..common];
        let is_complete = common == rest.len();
        self.preface_bytes = (is_same && !is_complete).then_some(seen + common);
        is_same && is_complete
    }
}

/// What some bytes of a head show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The head goes on.
    InHead,
    /// Its empty line has come; the bytes behind it were not looked at.
    HeadEnded,
    /// It gives the length of its body twice.
    TwoLengths,
}

/// Counts the lines of one head that begin with a length header.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// Beginning of a line that goes on in the next read, as far as a name is long.
    begin: [u8; NAME_BYTES_MAX],
    begin_bytes: usize,
    /// Empty lines before the request line do not end a head (RFC 9112 section 2.2).
    has_request_line: bool,
    lengths: u32,
}

const NAMES: [&[u8]; 2] = [b"content-length:", b"transfer-encoding:"];
const NAME_BYTES_MAX: usize = 18;

impl Scanner {
    /// Looks at the next bytes of the head.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Finding {
        let mut rest = bytes;
        while !rest.is_empty() {
            let start = rest;
            let length = rest.skip_until(b'\n').unwrap_or(start.len());
            let line = &start[..length];
            let is_ended = line.ends_with(b"\n");
            let finding = if is_ended && self.begin_bytes == 0 {
                self.end_line(line)
            } else {
                self.keep(line);
                if !is_ended {
                    return Finding::InHead;
                }
                let (begin, begin_bytes) = (self.begin, std::mem::take(&mut self.begin_bytes));
                self.end_line(&begin[..begin_bytes])
            };
            if finding != Finding::InHead {
                return finding;
            }
        }
        Finding::InHead
    }

    /// Has anything but empty lines come?
    fn is_begun(&self) -> bool {
        self.has_request_line || self.begin_bytes > 0
    }

    fn keep(&mut self, piece: &[u8]) {
        let free = &mut self.begin[self.begin_bytes..];
        let taken = piece.len().min(free.len());
        free[..taken].copy_from_slice(&piece[..taken]);
        self.begin_bytes += taken;
    }

    fn end_line(&mut self, line: &[u8]) -> Finding {
        match line.first() {
            None | Some(b'\r' | b'\n') if self.has_request_line => return Finding::HeadEnded,
            None | Some(b'\r' | b'\n') => return Finding::InHead,
            Some(b'c' | b'C' | b't' | b'T') => {
                let has = |name: &[u8]| line.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name));
                self.lengths += u32::from(NAMES.iter().any(|name| has(name)));
            }
            Some(_) => {}
        }
        self.has_request_line = true;
        if self.lengths > 1 { Finding::TwoLengths } else { Finding::InHead }
    }
}

#[cfg(test)]
mod tests;
