//! Identifiers and secrets from a seed: the same seed gives the same databases.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A source of bytes that looks random and is not. Never for anything but tests.
#[derive(Debug)]
pub(crate) struct Chance {
    seed: u64,
    drawn: u64,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    fn block(&mut self) -> [u8; 32] {
        self.drawn += 1;
        let input = [self.seed.to_be_bytes(), self.drawn.to_be_bytes()].concat();
        digest(&SHA256, &input).as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    /// A UUID of version 4.
    pub(crate) fn uuid(&mut self) -> String {
        let mut bytes = self.block();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let digits = crate::db::hex(&bytes[..16]);
        [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
    }

    /// A client id or secret: 28 characters of letters, digits and `_` (database.md 2.2).
    pub(crate) fn client_text(&mut self) -> String {
        STANDARD.encode(&self.block()[..20]).replace('/', "_").replace('=', "a").replace('+', "f")
    }

    /// A salt: Base64 of 16 bytes (database.md 5.2).
    pub(crate) fn salt(&mut self) -> String {
        STANDARD.encode(&self.block()[..16])
    }

    /// A password of 16 characters.
    pub(crate) fn password(&mut self) -> String {
        crate::db::hex(&self.block()[..8])
    }

    /// A code verifier of 64 characters (RFC 7636, 4.1).
    pub(crate) fn verifier(&mut self) -> String {
        crate::db::hex(&self.block())
    }
}
