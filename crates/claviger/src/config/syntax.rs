//! What is wrong before any key is looked at: size, nesting, TOML syntax. A file that does not parse has no tree that says
//! where its secrets are, so lines are masked by what they look like.

use super::{FILE_BYTES_MAX, Problem};
use std::ops::Range;
use toml::de::Error;

/// Dots in one key; the known keys have four. Bounds the depth of the tree, whose walk and release are recursive.
const KEY_DOTS_MAX: usize = 16;
/// Syntax errors whose surroundings are looked at.
const ERRORS_MAX: usize = 100;
/// Parts of a key's name that suggest a secret value.
const SENSITIVE: [&str; 8] = ["pass", "pwd", "secret", "token", "credential", "url", "key", "private"];

/// Refuses files that are too large or whose keys are too deep.
pub(super) fn check_size(text: &str) -> Result<(), Problem> {
    if text.len() > FILE_BYTES_MAX {
        return Err(Problem::new(None, format!("the file is larger than {FILE_BYTES_MAX} bytes")));
    }
    if text.lines().any(has_deep_key) {
        return Err(Problem::new(None, format!("a key has more than {KEY_DOTS_MAX} dots")));
    }
    Ok(())
}

/// Whether a run of name characters and dots outside quotes is longer than any key. A long dotted text inside quotes is
/// no key; the quotes are followed loosely, which can only miss what the parser refuses by itself.
fn has_deep_key(line: &str) -> bool {
    let mut dots = 0;
    let mut quote = None;
    for byte in line.bytes() {
        match (quote, byte) {
            (None, b'#') => return false,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            (None, b'.') => dots += 1,
            (None, b'=' | b',' | b'{' | b'[') => dots = 0,
            (Some(_) | None, _) => {}
        }
        if dots > KEY_DOTS_MAX {
            return true;
        }
    }
    false
}

/// A parser's error as a problem.
pub(super) fn problem(error: &Error) -> Problem {
    Problem::new(error.span(), format!("syntax: {}", error.message().replace('\n', ", ")))
}

/// Ranges to mask around syntax errors: what follows `=` on a line that names something secret, and whole lines inside
/// a text of several lines.
pub(super) fn masks(text: &str, errors: &[Error]) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    for span in errors.iter().take(ERRORS_MAX).filter_map(Error::span) {
        let mut at = span.start.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
        let line = &text[start..end];
        let is_inside_text = ["\"\"\"", "'''"].iter().any(|quotes| text[..start].matches(quotes).count() % 2 == 1);
        let lower = line.to_ascii_lowercase();
        let value = line.find('=').map(|equals| {
            let after = &line[equals + 1..];
            start + line.len() - after.trim_start().len()
        });
        if is_inside_text {
            out.push(start..end);
        } else if SENSITIVE.iter().any(|word| lower.contains(word)) {
            match value {
                Some(value) => out.push(value..end),
                None if line.trim_start().starts_with('[') => {}
                None => out.push(start..end),
            }
        }
    }
    out
}
