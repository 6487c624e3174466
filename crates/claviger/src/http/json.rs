//! JSON bodies that must be objects.
//!
//! serde reads a struct from an array too, member by member in the order of their declaration. No wire means that, so every
//! struct of a body is read through [`Object`], on its own or as a member.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// A value that is written as an object.
#[derive(Clone, Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(OfMap(PhantomData)).map(Self)
    }
}

/// Reads a body that is an object.
pub fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice::<Object<T>>(body).map(|object| object.0)
}

/// Reads a body that is an object or `null`.
pub fn object_or_null<T: DeserializeOwned>(body: &[u8]) -> Result<Option<T>, serde_json::Error> {
    serde_json::from_slice::<Option<Object<T>>>(body).map(|object| object.map(|object| object.0))
}

/// A member that is an object, for `#[serde(deserialize_with)]`.
pub fn member<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|object| object.0)
}

/// A member that is an object or `null`; where it may be left out, beside `default`.
pub fn optional_member<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::<Object<T>>::deserialize(deserializer).map(|object| object.map(|object| object.0))
}

/// A member that is a list of objects.
pub fn list_member<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Vec::<Object<T>>::deserialize(deserializer)?.into_iter().map(|object| object.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Outer {
        name: String,
        #[serde(deserialize_with = "member")]
        inner: Inner,
        #[serde(deserialize_with = "optional_member")]
        maybe: Option<Inner>,
        #[serde(deserialize_with = "list_member")]
        list: Vec<Inner>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct Inner {
        word: String,
    }

    #[test]
    fn an_array_is_no_object_at_any_depth() {
        let read = |text: &str| object::<Outer>(text.as_bytes());
        let word = || Inner { word: "w".to_owned() };
        let good = read(r#"{"name":"n","inner":{"word":"w"},"maybe":{"word":"w"},"list":[{"word":"w"}]}"#).unwrap();
        assert_eq!(good, Outer { name: "n".to_owned(), inner: word(), maybe: Some(word()), list: vec![word()] });
        assert_eq!(read(r#"{"maybe":null}"#).unwrap(), Outer::default());
        for bad in [
            r#"["n"]"#,
            "[]",
            r#"{"inner":["w"]}"#,
            r#"{"maybe":["w"]}"#,
            r#"{"list":[["w"]]}"#,
            r#"{"x":1}"#,
            "null",
            "1",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(object_or_null::<Outer>(b"null").unwrap().is_none() && object_or_null::<Outer>(b"[]").is_err());
    }
}
