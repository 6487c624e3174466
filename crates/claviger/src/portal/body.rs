//! JSON request bodies: one way in, with the product's texts for what is wrong.
//!
//! Follows portal-gateway-3x.md 1.5 (JSON problems) and 0.2 fact 5 (unknown fields are refused). A field that is `null`
//! counts as absent.

use super::artifact::is_xml_character;
use super::error::PortalError;
use crate::http::json::Object;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Largest JSON body of a portal operation, in bytes.
pub const BODY_BYTES_MAX: usize = 5 * 1024 * 1024;

/// Reads a body that is an object.
pub fn parse_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PortalError> {
    parse::<Object<T>>(bytes).map(|object| object.0)
}

/// Reads a body that is a list of objects.
pub fn parse_list<T: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<T>, PortalError> {
    Ok(parse::<Vec<Object<T>>>(bytes)?.into_iter().map(|object| object.0).collect())
}

/// Nesting is bounded by the JSON reader (128 levels).
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PortalError> {
    if bytes.len() > BODY_BYTES_MAX {
        return Err(PortalError::TooLarge);
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(PortalError::EmptyBody);
    }
    let mut value: Value = serde_json::from_slice(bytes).map_err(|_| PortalError::MalformedBody)?;
    drop_nulls(&mut value);
    if !is_storable(&value) {
        return Err(PortalError::BadRequest("The request body holds a character that cannot be stored".to_owned()));
    }
    serde_json::from_value(value).map_err(|error| refusal(&error.to_string()))
}

/// Can every name and text be written to the registry's XML and to every database?
pub fn are_members_storable(members: &Map<String, Value>) -> bool {
    members.iter().all(|(name, value)| name.chars().all(is_xml_character) && is_storable(value))
}

/// Holds no text or name that XML cannot hold?
pub fn is_storable(value: &Value) -> bool {
    match value {
        Value::String(text) => text.chars().all(is_xml_character),
        Value::Array(list) => list.iter().all(is_storable),
        Value::Object(members) => are_members_storable(members),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, entry| !entry.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// serde tells what is wrong by text only; a test holds the two beginnings we rely on.
fn refusal(text: &str) -> PortalError {
    if let Some(rest) = text.strip_prefix("unknown field `") {
        let name = rest.split('`').next().unwrap_or_default();
        return PortalError::UnknownField(name.to_owned());
    }
    if text.starts_with("unknown variant `") {
        return PortalError::DisallowedValue;
    }
    PortalError::MalformedBody
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Body {
        word: Word,
        list: Vec<String>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    enum Word {
        #[default]
        Yes,
        No,
    }

    #[test]
    fn refusals() {
        let check = |text: &str| parse_body::<Body>(text.as_bytes()).unwrap_err();
        assert!(matches!(check("  "), PortalError::EmptyBody));
        assert!(matches!(check("{"), PortalError::MalformedBody));
        assert!(matches!(check(r#"{"list":"x"}"#), PortalError::MalformedBody));
        assert!(matches!(check(r#"["Yes",["a"]]"#), PortalError::MalformedBody));
        assert!(matches!(parse_list::<Body>(br#"[["Yes",["a"]]]"#), Err(PortalError::MalformedBody)));
        assert!(matches!(check(r#"{"word":"Maybe"}"#), PortalError::DisallowedValue));
        assert!(matches!(check(r#"{"colour":1}"#), PortalError::UnknownField(name) if name == "colour"));
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        assert!(matches!(check(&deep), PortalError::MalformedBody));
    }

    #[test]
    fn null_counts_as_absent() {
        let body: Body = parse_body(br#"{"word":null,"list":null}"#).unwrap();
        assert!(body.list.is_empty() && body.word == Word::Yes);
        let body: Body = parse_body(br#"{"word":"No","list":["a"]}"#).unwrap();
        assert!(body.list == ["a"] && body.word == Word::No);
    }
}
