//! `application/x-www-form-urlencoded` bodies and query strings, with every repetition refused (RFC 6749 section 3.2).

use crate::secret::Secret;
use std::collections::BTreeMap;

/// Most parameters a form may hold.
pub const PARAMETERS_MAX: usize = 64;

/// A decoded form. Values may be secrets, so they are kept as such.
#[derive(Debug, Default)]
pub struct Form(BTreeMap<String, Secret>);

/// Why a form was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// A name stands twice.
    #[error("Invalid request with repeated parameters.")]
    Repeated,
    /// A `%` escape is broken, the text is not UTF-8, or it holds a NUL.
    #[error("The form is not valid application/x-www-form-urlencoded.")]
    Malformed,
    /// Too many parameters.
    #[error("The form has more than {PARAMETERS_MAX} parameters.")]
    TooMany,
}

impl Form {
    /// Decodes a form or a query string.
    pub fn parse(body: &[u8]) -> Result<Self, FormError> {
        let mut fields = BTreeMap::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let split = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = match split {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &b""[..]),
            };
            if fields.insert(decode(name)?, Secret::new(decode(value)?)).is_some() {
                return Err(FormError::Repeated);
            }
            if fields.len() > PARAMETERS_MAX {
                return Err(FormError::TooMany);
            }
        }
        Ok(Self(fields))
    }

    /// The value of a parameter; an empty value counts as absent (RFC 6749 section 3.2).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(Secret::expose).filter(|value| !value.is_empty())
    }

    /// Removes every parameter that is not named.
    pub fn keep_only(&mut self, names: &[&str]) {
        self.0.retain(|name, _| names.contains(&name.as_str()));
    }
}

/// Decodes one name or value. Public for the other place that uses this encoding (RFC 6749 section 2.3.1).
pub fn decode(text: &[u8]) -> Result<String, FormError> {
    // Most values are ids and tokens without an escape.
    if !text.iter().any(|byte| matches!(byte, b'+' | b'%' | b'\0')) {
        return std::str::from_utf8(text).map(str::to_owned).map_err(|_| FormError::Malformed);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits =
                    tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok()).ok_or(FormError::Malformed)?;
                rest = &tail[2..];
                crate::encode::from_hex(digits).ok_or(FormError::Malformed)?[0]
            }
            other => *other,
        });
    }
    let text = String::from_utf8(bytes).map_err(|_| FormError::Malformed)?;
    if text.contains('\0') { Err(FormError::Malformed) } else { Ok(text) }
}
