//! The little DER (ITU-T X.690) that keys, certificates and keystores need: definite lengths, one-byte tags.

/// SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;
/// INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// OCTET STRING.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;

/// Walks over elements that follow each other. `None` from a method: not that element, or its length does not fit.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The tag of the next element.
    pub(crate) fn tag(self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The content of the next element, which must have this tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.tag() != Some(tag) {
            return None;
        }
        let (header, content) = lengths(self.0)?;
        let element = self.0.get(..header.checked_add(content)?)?;
        self.0 = &self.0[element.len()..];
        Some(&element[header..])
    }

    /// Steps over the next element, whatever it is.
    pub(crate) fn skip(&mut self) -> Option<()> {
        let tag = self.tag()?;
        self.take(tag).map(|_| ())
    }
}

/// Bytes of the first element's header and of its content, which need not be there. `None`: no definite length, or
/// one of more than four bytes.
pub(crate) fn lengths(bytes: &[u8]) -> Option<(usize, usize)> {
    let first = *bytes.get(1)?;
    if first < 0x80 {
        return Some((2, usize::from(first)));
    }
    let count = usize::from(first & 0x7f);
    if !(1..=4).contains(&count) {
        return None;
    }
    let digits = bytes.get(2..2 + count)?;
    Some((2 + count, digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit))))
}

/// A non-negative INTEGER from its big-endian bytes.
pub(crate) fn integer(unsigned: &[u8]) -> Vec<u8> {
    let start = unsigned.iter().position(|byte| *byte != 0).unwrap_or(unsigned.len());
    let mut value = unsigned[start..].to_vec();
    if value.first().is_none_or(|byte| byte & 0x80 != 0) {
        value.insert(0, 0);
    }
    element(INTEGER, &value)
}

/// Tag, length and content.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1)..];
    let mut element = vec![tag];
    if content.len() < 0x80 {
        element.extend_from_slice(significant);
    } else {
        element.push(0x80 | u8::try_from(significant.len()).expect("a length has at most 8 bytes"));
        element.extend_from_slice(significant);
    }
    element.extend_from_slice(content);
    element
}
