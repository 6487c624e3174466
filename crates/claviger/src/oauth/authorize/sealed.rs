//! What a browser carries through a login and may neither read nor change: AES-256-GCM-SIV with a key that all nodes of an
//! installation have. It costs an anonymous visitor's request no row, and any node goes on where another began.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use claviger_proto::encode::{base64url, from_base64url};
use claviger_proto::entropy::Entropy;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest content: with the rest of a request's head it stays below what our ports read of one.
const CONTENT_BYTES_MAX: usize = 9 * 1024;
/// Longest sealed text that is looked at.
const TEXT_BYTES_MAX: usize = CONTENT_BYTES_MAX * 4 / 3 + 64;

/// What a sealed text is for. One made for something else cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A request whose user is to be found out (`sessionDataKey` before the login).
    Login,
    /// A request whose user is known (`sessionDataKey` after it, `sessionDataKeyConsent`).
    Consent,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Login => b"login",
            Self::Consent => b"consent",
        }
    }
}

/// The key.
pub struct Sealing(LessSafeKey);

impl Sealing {
    /// Over a secret of this length.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, secret).expect("the key has the algorithm's length")))
    }

    /// Seals a value; `None` when it is too long.
    pub(super) fn seal(&self, purpose: Purpose, value: &impl Serialize, rng: &dyn Entropy) -> Option<String> {
        let mut content = serde_json::to_vec(value).ok().filter(|content| content.len() <= CONTENT_BYTES_MAX)?;
        let mut nonce = [0_u8; NONCE_LEN];
        rng.fill(&mut nonce);
        let aad = Aad::from(purpose.label());
        self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut content).ok()?;
        Some(base64url(&[&nonce[..], &content].concat()))
    }

    /// What was sealed for this purpose; `None` for everything else.
    pub(super) fn open<T: DeserializeOwned>(&self, purpose: Purpose, text: &str) -> Option<T> {
        let mut bytes = from_base64url(text).filter(|_| text.len() <= TEXT_BYTES_MAX)?;
        let (nonce, content) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
        let aad = Aad::from(purpose.label());
        let content = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, content).ok()?;
        serde_json::from_slice(content).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::SystemEntropy;

    #[test]
    fn only_what_was_sealed_for_the_purpose_is_opened() {
        let (sealing, rng) = (Sealing::new(&[7; 32]), SystemEntropy::default());
        let value = vec!["a".to_owned(), "b".to_owned()];
        let text = sealing.seal(Purpose::Login, &value, &rng).unwrap();
        assert_ne!(sealing.seal(Purpose::Login, &value, &rng).unwrap(), text);
        assert_eq!(sealing.open::<Vec<String>>(Purpose::Login, &text), Some(value));
        assert_eq!(sealing.open::<Vec<String>>(Purpose::Consent, &text), None);
        assert_eq!(Sealing::new(&[8; 32]).open::<Vec<String>>(Purpose::Login, &text), None);
        for index in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[index] = if altered[index] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(sealing.open::<Vec<String>>(Purpose::Login, &altered), None, "{index}");
            assert_eq!(sealing.open::<Vec<String>>(Purpose::Login, &text[..index]), None, "{index}");
        }
        let long = "x".repeat(CONTENT_BYTES_MAX);
        assert_eq!(sealing.seal(Purpose::Login, &long, &rng), None);
        let longest = "x".repeat(CONTENT_BYTES_MAX - 2);
        let text = sealing.seal(Purpose::Login, &longest, &rng).unwrap();
        assert_eq!(sealing.open::<String>(Purpose::Login, &text), Some(longest));
    }
}
