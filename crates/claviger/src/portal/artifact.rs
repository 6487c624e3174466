//! The codec of the registry artifact of an API: `<metadata>` XML with an `overview` and some groups.
//!
//! Owns the bytes only; what the elements mean is [`super::artifact_map`]'s. Elements that it does not know survive a
//! decode and encode, so that an artifact written by another portal loses nothing here.
//! Follows portal-gateway-3x.md 5.3 (content). No document type, no entity but the five of XML.

use quick_xml::Reader;
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::Event;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Largest artifact, in bytes.
pub const ARTIFACT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most elements in one artifact.
const ELEMENTS_MAX: usize = 20_000;
/// `metadata`, group, element.
const DEPTH_MAX: usize = 3;
const NAMESPACE: &str = "http://www.wso2.org/governance/metadata";

/// An artifact: groups of elements. An element may be there several times (`labels/labelName`).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Artifact {
    groups: BTreeMap<String, Vec<(String, String)>>,
}

/// What is wrong with an artifact's XML.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// Not well-formed.
    #[error("the artifact is not well-formed XML")]
    NotXml,
    /// A document type, a foreign entity or a processing instruction.
    #[error("the artifact holds a document type, an unknown entity or a processing instruction")]
    Forbidden,
    /// Not `<metadata>` with groups of elements.
    #[error("the artifact is not metadata with groups of elements")]
    Shape,
    /// Too long, or too many elements.
    #[error("the artifact is too large")]
    TooLarge,
}

impl Artifact {
    /// The first element of that name in the group.
    pub fn get(&self, group: &str, name: &str) -> Option<&str> {
        let elements = self.groups.get(group)?;
        elements.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every element of that name in the group, in order.
    pub fn all<'a>(&'a self, group: &str, name: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        let elements = self.groups.get(group).map(Vec::as_slice).unwrap_or_default();
        elements.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// An element of `overview`; `None` when absent or empty.
    pub fn overview(&self, name: &str) -> Option<&str> {
        self.get("overview", name).filter(|value| !value.is_empty())
    }

    /// Sets an element to one value.
    pub fn set(&mut self, group: &str, name: &str, value: impl Into<String>) {
        let elements = self.groups.entry(group.to_owned()).or_default();
        let value = value.into();
        match elements.iter_mut().find(|(key, _)| key == name) {
            Some(element) => element.1 = value,
            None => elements.push((name.to_owned(), value)),
        }
    }

    /// Replaces a whole group.
    pub fn set_group(&mut self, group: &str, elements: Vec<(String, String)>) {
        if elements.is_empty() {
            self.groups.remove(group);
        } else {
            self.groups.insert(group.to_owned(), elements);
        }
    }

    /// Reads an artifact.
    pub fn decode(xml: &str) -> Result<Self, ArtifactError> {
        if xml.len() > ARTIFACT_BYTES_MAX {
            return Err(ArtifactError::TooLarge);
        }
        let mut reader = Reader::from_str(xml.trim_start_matches('\u{feff}'));
        let mut decoder = Decoder::default();
        loop {
            match reader.read_event().map_err(|_| ArtifactError::NotXml)? {
                Event::Start(start) => decoder.open(start.local_name().as_ref())?,
                Event::Empty(start) => {
                    decoder.open(start.local_name().as_ref())?;
                    decoder.close();
                }
                Event::End(_) => decoder.close(),
                Event::Text(text) => decoder.text(&text.xml10_content())?,
                Event::CData(text) => decoder.text(&text.xml10_content())?,
                Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                    Ok(Some(character)) => decoder.text(character.encode_utf8(&mut [0; 4]))?,
                    Ok(None) => decoder.text(resolve_predefined_entity(&reference).ok_or(ArtifactError::Forbidden)?)?,
                    Err(_) => return Err(ArtifactError::NotXml),
                },
                Event::Comment(_) | Event::Decl(_) => {}
                Event::PI(_) | Event::DocType(_) => return Err(ArtifactError::Forbidden),
                Event::Eof => return decoder.finish(),
            }
        }
    }

    /// Writes the artifact. `overview` comes first, as readers expect.
    pub fn encode(&self) -> String {
        let mut xml = format!("<metadata xmlns=\"{NAMESPACE}\">");
        let rest = self.groups.iter().filter(|(group, _)| *group != "overview");
        for (group, elements) in self.groups.get_key_value("overview").into_iter().chain(rest) {
            write!(xml, "<{group}>").expect("writing to a String cannot fail");
            for (name, value) in elements {
                let value: String = value.chars().filter(|c| is_xml_character(*c)).collect();
                write!(xml, "<{name}>{}</{name}>", escape(value)).expect("writing to a String cannot fail");
            }
            write!(xml, "</{group}>").expect("writing to a String cannot fail");
        }
        xml.push_str("</metadata>");
        xml
    }
}

/// XML 1.0 has no way to write the other characters; a database may have none for NUL.
pub fn is_xml_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[derive(Default)]
struct Decoder {
    artifact: Artifact,
    path: Vec<String>,
    text: String,
    elements: usize,
    is_root_seen: bool,
}

impl Decoder {
    fn open(&mut self, name: &str) -> Result<(), ArtifactError> {
        self.elements += 1;
        if self.elements > ELEMENTS_MAX {
            return Err(ArtifactError::TooLarge);
        }
        let is_root = self.path.is_empty();
        if self.path.len() >= DEPTH_MAX || (is_root && (name != "metadata" || self.is_root_seen)) {
            return Err(ArtifactError::Shape);
        }
        self.is_root_seen = true;
        self.path.push(name.to_owned());
        self.text.clear();
        Ok(())
    }

    fn close(&mut self) {
        let text = std::mem::take(&mut self.text);
        let Some(name) = self.path.pop() else { return };
        if let [_, group] = self.path.as_slice() {
            self.artifact.groups.entry(group.clone()).or_default().push((name, text));
        }
    }

    fn text(&mut self, text: &str) -> Result<(), ArtifactError> {
        if self.path.len() == DEPTH_MAX {
            self.text.push_str(text);
        } else if !text.trim().is_empty() {
            return Err(ArtifactError::Shape);
        }
        Ok(())
    }

    fn finish(self) -> Result<Artifact, ArtifactError> {
        if !self.path.is_empty() {
            return Err(ArtifactError::NotXml);
        }
        if self.is_root_seen { Ok(self.artifact) } else { Err(ArtifactError::Shape) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_with_everything_that_needs_escaping() {
        let mut artifact = Artifact::default();
        artifact.set("overview", "description", "a < b & \"c\" 'd' \u{e4} \u{1f600}\r\nline");
        artifact.set("overview", "endpointConfig", r#"{"url":"http://b?x=1&y=2"}"#);
        let labels = vec![("labelName".to_owned(), "a".to_owned()), ("labelName".to_owned(), "b".to_owned())];
        artifact.set_group("labels", labels);
        let xml = artifact.encode();
        assert!(xml.starts_with("<metadata xmlns=\"http://www.wso2.org/governance/metadata\"><overview>"));
        assert!(Artifact::decode(&xml).unwrap() == artifact, "{xml}");
        assert_eq!(artifact.all("labels", "labelName").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn what_other_writers_do() {
        let xml = "<?xml version=\"1.0\"?>\n<m:metadata xmlns:m=\"x\">\n  <!-- c --><m:overview>\n<m:name>W</m:name>\
                   <m:tier/><m:x><![CDATA[a<b]]></m:x></m:overview></m:metadata>";
        let artifact = Artifact::decode(xml).unwrap();
        assert_eq!(artifact.overview("name"), Some("W"));
        assert_eq!(artifact.get("overview", "tier"), Some(""));
        assert_eq!(artifact.overview("tier"), None);
        assert_eq!(artifact.overview("x"), Some("a<b"));
    }

    #[test]
    fn refusals() {
        let check = |xml: &str, error: ArtifactError| assert_eq!(Artifact::decode(xml).err(), Some(error), "{xml}");
        let bomb = "<!DOCTYPE m [<!ENTITY a \"aaaa\">]><metadata><overview><name>&a;</name></overview></metadata>";
        check(bomb, ArtifactError::Forbidden);
        check("<metadata><overview><name>&a;</name></overview></metadata>", ArtifactError::Forbidden);
        check("<metadata><overview><name>x</overview></metadata>", ArtifactError::NotXml);
        check("<metadata><overview>", ArtifactError::NotXml);
        check("<other/>", ArtifactError::Shape);
        check("", ArtifactError::Shape);
        check("<metadata><a><b><c/></b></a></metadata>", ArtifactError::Shape);
        check("<metadata>text</metadata>", ArtifactError::Shape);
        check("<metadata/><metadata/>", ArtifactError::Shape);
        check(&"x".repeat(ARTIFACT_BYTES_MAX + 1), ArtifactError::TooLarge);
    }

    #[test]
    fn control_characters_are_left_out() {
        let mut artifact = Artifact::default();
        artifact.set("overview", "description", "a\u{0}b\u{1b}c");
        let again = Artifact::decode(&artifact.encode()).unwrap();
        assert_eq!(again.overview("description"), Some("abc"));
    }
}
