//! Randomness as an argument. Only the program's `app` module makes a real source.

use std::fmt::Write as _;

/// A source of random bytes. The program has one real source; tests seed theirs.
pub trait Entropy: Send + Sync {
    /// Fills the buffer with random bytes.
    fn fill(&self, buffer: &mut [u8]);
}

/// A version 4 UUID (RFC 9562 section 5.4) in lower-case hexadecimal with dashes: 122 random bits.
pub fn uuid(rng: &dyn Entropy) -> String {
    let mut bytes = [0_u8; 16];
    rng.fill(&mut bytes);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
    }
    text
}

/// `length` characters of `[A-Za-z0-9_]` from a uniform choice: client ids and secrets (rest-3x.md 2.1 asks for this
/// alphabet and at most 30 characters). 28 characters carry 167 bits.
pub fn key_text(rng: &dyn Entropy, length: usize) -> String {
    const ALPHABET: &[u8; 63] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
    let mut text = String::with_capacity(length);
    let mut buffer = [0_u8; 64];
    while text.len() < length {
        rng.fill(&mut buffer);
        // 252 = 4 x 63: bytes above it would favour the first letters, so they are thrown away.
        let letters = buffer.iter().filter(|byte| **byte < 252).map(|byte| ALPHABET[usize::from(*byte % 63)]);
        text.extend(letters.take(length - text.len()).map(char::from));
    }
    text
}
