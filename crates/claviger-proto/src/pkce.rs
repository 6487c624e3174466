//! Proof Key for Code Exchange (RFC 7636): what a challenge and a verifier may look like, and when they belong together.

use crate::encode::base64url;
use crate::hash::sha256;
use subtle::ConstantTimeEq as _;

/// Lengths of challenges and verifiers in characters (RFC 7636 sections 4.1 and 4.2).
const LENGTHS: std::ops::RangeInclusive<usize> = 43..=128;

/// How a challenge is made from its verifier (RFC 7636 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// It is the verifier.
    Plain,
    /// Base64url of its SHA-256.
    S256,
}

impl Method {
    /// From `code_challenge_method`; absence is `plain` (RFC 7636 section 4.3). `None`: nobody knows it.
    pub fn from_word(word: Option<&str>) -> Option<Self> {
        match word {
            None | Some("" | "plain") => Some(Self::Plain),
            Some("S256") => Some(Self::S256),
            Some(_) => None,
        }
    }

    /// The word on the wire and in PKCE_CODE_CHALLENGE_METHOD.
    pub fn as_word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::S256 => "S256",
        }
    }

    /// Is this the verifier of a challenge? The comparison takes the same time wherever they differ.
    pub fn is_met(self, challenge: &str, verifier: &str) -> bool {
        let expected = match self {
            Self::Plain => verifier.to_owned(),
            Self::S256 => base64url(&sha256(verifier.as_bytes())),
        };
        expected.as_bytes().ct_eq(challenge.as_bytes()).into()
    }
}

/// Has a text the form of a verifier or of a challenge: 43 to 128 unreserved characters (RFC 7636 sections 4.1 and 4.2)?
pub fn is_well_formed(text: &str) -> bool {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    LENGTHS.contains(&text.len()) && text.bytes().all(is_unreserved)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn a_challenge_belongs_to_its_verifier() {
        assert!(Method::S256.is_met(CHALLENGE, VERIFIER));
        assert!(Method::Plain.is_met(VERIFIER, VERIFIER));
        for (method, challenge, verifier) in [
            (Method::S256, CHALLENGE, CHALLENGE),
            (Method::S256, VERIFIER, VERIFIER),
            (Method::Plain, CHALLENGE, VERIFIER),
            (Method::S256, "", VERIFIER),
            (Method::Plain, VERIFIER, &VERIFIER[1..]),
        ] {
            assert!(!method.is_met(challenge, verifier), "{method:?} {challenge} {verifier}");
        }
    }

    #[test]
    fn methods_and_texts_are_checked() {
        assert_eq!(Method::from_word(None), Some(Method::Plain));
        for method in [Method::Plain, Method::S256] {
            assert_eq!(Method::from_word(Some(method.as_word())), Some(method));
        }
        assert_eq!(Method::from_word(Some("s256")), None);
        let check = |text: &str, expected: bool| assert_eq!(is_well_formed(text), expected, "{text}");
        check(VERIFIER, true);
        check(&"a".repeat(42), false);
        check(&"~".repeat(43), true);
        check(&"a".repeat(128), true);
        check(&"a".repeat(129), false);
        check(&"a b".repeat(20), false);
        check(&"ä".repeat(43), false);
    }
}
