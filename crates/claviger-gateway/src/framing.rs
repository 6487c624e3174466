//! A look at the bytes of an HTTP/1 connection before hyper sees them.
//!
//! Owns: noticing a head that can be read in more than one way (security.md 4.5, request smuggling), because it gives the
//! length of its body twice or ends a line with LF alone, and knowing whether the bytes that come next belong to a head.
//! Leaves to hyper: parsing, and refusing what is no HTTP at all; to `guard`: the stream and its time-outs.
//!
//! hyper resolves a head with two lengths by RFC 9112 section 6.3 (Transfer-Encoding wins, Content-Length is dropped), so
//! behind it nothing can be noticed any more. The watch follows the bytes from head to head through the bodies between them,
//! so it sees a head wherever a read begins or ends, also one that was sent without waiting for an answer (pipelining). What
//! it cannot follow makes all that comes behind it ambiguous: at worst a request too many is refused.
//!
//! A connection that begins with the preface of HTTP/2 (RFC 9113 section 3.4) has no such heads and is not looked at.

use http::header::{HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Version};
use std::io::BufRead as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is wrong with the head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
    /// It can be read in more than one way (400).
    #[error("the head, or the length of the body, can be read in more than one way")]
    Ambiguous,
    /// No host, two, or one that cannot be one (400).
    #[error("the request does not name one host")]
    Host,
    /// More header lines than are taken (431).
    #[error("the request has too many headers")]
    TooManyHeaders,
}

/// RFC 9112 section 3.2: HTTP/1.1 names its host once, nobody names it twice, and it looks like one.
pub(crate) fn has_host(version: Version, headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(HOST).iter();
    match (lines.next(), lines.next()) {
        (None, _) => version != Version::HTTP_11,
        (Some(host), None) => {
            host.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(byte))
        }
        (Some(_), Some(_)) => false,
    }
}

/// Is there no `Transfer-Encoding`, or the one that everybody reads alike?
pub(crate) fn has_plain_coding(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    match (lines.next(), lines.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// What a connection's stream tells its requests. hyper hands the heads over one by one, in the order of their bytes, so
/// counting them is enough. Nothing else is handed over with the numbers: the order of other memory does not matter.
#[derive(Clone, Debug)]
pub(crate) struct Framing(Arc<Heads>);

#[derive(Debug)]
struct Heads {
    /// Heads that hyper has handed over.
    taken: AtomicU64,
    /// The first that is ambiguous, counted from 0. None behind it is trusted either.
    ambiguous_from: AtomicU64,
}

impl Default for Framing {
    fn default() -> Self {
        Self(Arc::new(Heads { taken: AtomicU64::new(0), ambiguous_from: AtomicU64::new(u64::MAX) }))
    }
}

impl Framing {
    /// hyper has handed over the next head. True when it is ambiguous.
    pub(crate) fn take_head(&self) -> bool {
        self.0.taken.fetch_add(1, Ordering::Relaxed) >= self.0.ambiguous_from.load(Ordering::Relaxed)
    }
}

/// What a read that found nothing waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// A body, or whatever comes behind a request.
    Elsewhere,
    /// The first byte of the first head.
    FirstHead,
    /// More of a head that has begun.
    RestOfHead,
}

/// The stream's side: follows the bytes of a connection.
#[derive(Debug)]
pub(crate) struct HeadWatch {
    framing: Framing,
    place: Place,
    line: Line,
    /// Heads that have ended.
    heads: u64,
    /// So many bytes of HTTP/2's preface have come, and nothing else.
    preface_bytes: Option<usize>,
}

/// Where in the bytes the watch is.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Before a request line.
    Start,
    /// Behind it. The length of the body, if it was given.
    Head(Option<Length>),
    /// In a body with so many bytes to come.
    Body(u64),
    /// At the size of a chunk.
    ChunkSize,
    /// In a chunk with so many bytes to come, its line end among them.
    Chunk(u64),
    /// Behind the last chunk.
    Trailers,
    /// Nothing is looked at any more.
    Unwatched,
}

#[derive(Clone, Copy, Debug)]
enum Length {
    Bytes(u64),
    Chunks,
}

/// It can be read in more than one way.
struct Ambiguous;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl HeadWatch {
    pub(crate) fn new(framing: Framing) -> Self {
        Self { framing, place: Place::Start, line: Line::default(), heads: 0, preface_bytes: Some(0) }
    }

    /// These bytes have come.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) {
        if self.is_preface(bytes) {
            self.place = Place::Unwatched;
        }
        while !bytes.is_empty() {
            match &mut self.place {
                Place::Unwatched => return,
                Place::Body(left) | Place::Chunk(left) => {
                    let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    bytes = &bytes[taken..];
                    *left -= taken as u64;
                }
                Place::Start | Place::Head(_) | Place::ChunkSize | Place::Trailers => {
                    if !self.line.take(&mut bytes) {
                        return;
                    }
                    self.place = self.behind_line().unwrap_or_else(|Ambiguous| {
                        self.framing.0.ambiguous_from.store(self.heads, Ordering::Relaxed);
                        Place::Unwatched
                    });
                    self.line.clear();
                }
            }
            match self.place {
                Place::Body(0) => self.place = Place::Start,
                Place::Chunk(0) => self.place = Place::ChunkSize,
                _ => {}
            }
        }
    }

    /// No bytes are there.
    pub(crate) fn wait(&self) -> Waiting {
        match self.place {
            Place::Head(_) => Waiting::RestOfHead,
            Place::Start if self.line.length > 0 => Waiting::RestOfHead,
            // The beginning of a preface is a head of its own.
            Place::Start if self.preface_bytes.is_some_and(|seen| seen > 0) => Waiting::RestOfHead,
            Place::Start if self.heads == 0 => Waiting::FirstHead,
            _ => Waiting::Elsewhere,
        }
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

    /// Where the line that has ended leads to.
    fn behind_line(&mut self) -> Result<Place, Ambiguous> {
        let line = self.line.text().ok_or(Ambiguous)?;
        Ok(match self.place {
            // Empty lines before the request line do not end a head (RFC 9112 section 2.2).
            Place::Start | Place::Trailers if line.is_empty() => Place::Start,
            Place::Start => Place::Head(None),
            Place::Head(length) if line.is_empty() => {
                self.heads += 1;
                match length {
                    None => Place::Start,
                    Some(Length::Bytes(bytes)) => Place::Body(bytes),
                    Some(Length::Chunks) => Place::ChunkSize,
                }
            }
            Place::Head(before) => match (before, length_in(line)?) {
                (before, None) => Place::Head(before),
                (None, length) => Place::Head(length),
                (Some(_), Some(_)) => return Err(Ambiguous),
            },
            Place::ChunkSize => match chunk_size_in(line)? {
                0 => Place::Trailers,
                size => Place::Chunk(size.checked_add(2).ok_or(Ambiguous)?),
            },
            Place::Trailers | Place::Body(_) | Place::Chunk(_) | Place::Unwatched => self.place,
        })
    }
}

/// The length of the body that a line of a head gives.
fn length_in(line: &[u8]) -> Result<Option<Length>, Ambiguous> {
    let mut parts = line.splitn(2, |byte| *byte == b':');
    let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if name.eq_ignore_ascii_case(b"transfer-encoding") {
        return Ok(Some(Length::Chunks));
    }
    if !name.eq_ignore_ascii_case(b"content-length") {
        return Ok(None);
    }
    number_in(value.trim_ascii(), 10)
        .filter(|_| line.len() < LINE_BYTES_MAX)
        .map(Length::Bytes)
        .map(Some)
        .ok_or(Ambiguous)
}

fn chunk_size_in(line: &[u8]) -> Result<u64, Ambiguous> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    match line.get(digits) {
        None if line.len() == LINE_BYTES_MAX => Err(Ambiguous),
        None | Some(b';' | b' ' | b'\t') => number_in(&line[..digits], 16).ok_or(Ambiguous),
        Some(_) => Err(Ambiguous),
    }
}

/// A number of digits only.
fn number_in(digits: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let is_number = text.chars().all(|digit| digit.is_digit(radix));
    u64::from_str_radix(text, radix).ok().filter(|_| is_number)
}

/// So much of a line is kept: any line that matters, unless somebody stretches it.
const LINE_BYTES_MAX: usize = 64;

/// A line, however many reads it comes in.
#[derive(Debug)]
struct Line {
    begin: [u8; LINE_BYTES_MAX],
    length: usize,
    /// Its last two bytes so far.
    end: [u8; 2],
}

impl Default for Line {
    fn default() -> Self {
        Self { begin: [0; LINE_BYTES_MAX], length: 0, end: [0; 2] }
    }
}

impl Line {
    /// Takes in the bytes up to the line's end. True when it has come.
    fn take(&mut self, bytes: &mut &[u8]) -> bool {
        let start = *bytes;
        let length = bytes.skip_until(b'\n').unwrap_or(start.len());
        let piece = &start[..length];
        if let Some(free) = self.begin.get_mut(self.length..) {
            let kept = free.len().min(length);
            free[..kept].copy_from_slice(&piece[..kept]);
        }
        self.length += length;
        match piece {
            [.., before, last] => self.end = [*before, *last],
            [last] => self.end = [self.end[1], *last],
            [] => {}
        }
        self.end[1] == b'\n'
    }

    /// What is kept is overwritten by the next line.
    fn clear(&mut self) {
        self.length = 0;
        self.end = [0; 2];
    }

    /// The line without its end, of a long one the beginning; none if it did not end with CRLF.
    fn text(&self) -> Option<&[u8]> {
        (self.end == *b"\r\n").then(|| &self.begin[..(self.length - 2).min(LINE_BYTES_MAX)])
    }
}

#[cfg(test)]
mod tests;
