//! The path of a request: refused when it can be read in more than one way, else matched and forwarded as it came.
//!
//! Owns: security.md 4.5 "path normalisation bypass". A path that passes has one reading for every backend: its segments are
//! the pieces between the slashes, none is empty (but for one trailing slash), `.` or `..`, and no escape hides a slash,
//! backslash, dot, control or a second escape of one. Leaves to `route`: which API and resource it is.

use std::borrow::Cow;

/// A path without a second reading.
#[derive(Debug, PartialEq, Eq)]
pub struct CheckedPath<'a> {
    /// As it came and as it is forwarded.
    pub raw: &'a str,
    /// With its escapes resolved, for matching. Has the same slashes as `raw`.
    pub decoded: Cow<'a, str>,
}

/// The path has more than one reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

/// Checks a path (without its query).
pub fn check(raw: &str) -> Result<CheckedPath<'_>, Ambiguous> {
    let bytes = raw.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(Ambiguous);
    }
    let mut has_escape = false;
    let mut previous = b'/';
    for (at, byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            b'/' if previous == b'/' => return Err(Ambiguous),
            // Controls, blanks, non-ASCII, path parameters, backslashes and fragments.
            0..=0x20 | 0x7f.. | b';' | b'\\' | b'#' => return Err(Ambiguous),
            b'.' if previous == b'/' && is_dot_segment(&bytes[at..]) => return Err(Ambiguous),
            b'%' => has_escape = true,
            _ => {}
        }
        previous = *byte;
    }
    let decoded = if has_escape { Cow::Owned(decode(bytes)?) } else { Cow::Borrowed(raw) };
    Ok(CheckedPath { raw, decoded })
}

/// Do these bytes begin with a segment that means this place or the one above?
fn is_dot_segment(bytes: &[u8]) -> bool {
    matches!(bytes, [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..])
}

/// Resolves the escapes and refuses those that change the structure, also when a backend would resolve them twice.
fn decode(bytes: &[u8]) -> Result<String, Ambiguous> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(byte) = bytes.get(index) {
        if *byte != b'%' {
            decoded.push(*byte);
            index += 1;
            continue;
        }
        let value = escape_at(bytes, index).ok_or(Ambiguous)?;
        if is_structural(value) {
            return Err(Ambiguous);
        }
        decoded.push(value);
        index += 3;
    }
    // What is an escape now, whatever spelt its parts, is resolved by whoever decodes a second time.
    let mut hidden =
        (0..decoded.len()).filter(|at| decoded.get(*at) == Some(&b'%')).filter_map(|at| escape_at(&decoded, at));
    if hidden.any(|byte| is_structural(byte) || byte == b'%') {
        return Err(Ambiguous);
    }
    // Overlong forms and half characters are read differently by different backends.
    String::from_utf8(decoded).map_err(|_| Ambiguous)
}

fn escape_at(bytes: &[u8], index: usize) -> Option<u8> {
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let value = digit(index + 1)? * 16 + digit(index + 2)?;
    u8::try_from(value).ok()
}

fn is_structural(byte: u8) -> bool {
    matches!(byte, b'/' | b'\\' | b'.' | b';' | 0..=0x1f | 0x7f)
}
