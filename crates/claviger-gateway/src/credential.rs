//! The header that carries the token: reading it, and taking the token out of what is sent on.
//!
//! Owns: the parse rules of soap-thrift-2x.md 5.1 (split at commas, then blanks; the word exactly `Bearer`; the next word
//! is the token, without quotation marks) and the outbound rule of portal-gateway-3x.md 6.5 (the other comma parts stay).

use http::{HeaderMap, HeaderName, HeaderValue};

/// The token in a credential header, `None` when there is none.
pub(crate) fn bearer<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let lines = headers.get_all(name);
    lines.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).find_map(token_of_part)
}

fn token_of_part(part: &str) -> Option<&str> {
    let mut words = part.split(' ').filter(|word| !word.is_empty());
    words.find(|word| *word == "Bearer")?;
    let word = words.next()?;
    let word = word.strip_prefix('"').unwrap_or(word);
    let word = word.strip_suffix('"').unwrap_or(word);
    (!word.is_empty()).then_some(word)
}

fn is_bearer_part(part: &str) -> bool {
    part.split(' ').any(|word| word == "Bearer")
}

/// Takes every `Bearer` part out of the credential header and leaves the others.
pub(crate) fn strip_bearer(headers: &mut HeaderMap, name: &HeaderName) {
    let http::header::Entry::Occupied(entry) = headers.entry(name) else { return };
    let (_, lines) = entry.remove_entry_mult();
    let mut kept = String::new();
    for line in lines {
        // A line that is not text cannot hold a token that was read; what it is cannot be known, so it is not sent on.
        let Ok(line) = line.to_str() else { continue };
        for part in line.split(',').filter(|part| !is_bearer_part(part)) {
            if !kept.is_empty() {
                kept.push(',');
            }
            kept.push_str(part);
        }
    }
    let kept = kept.trim();
    if let (false, Ok(mut value)) = (kept.is_empty(), HeaderValue::from_str(kept)) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
}
