//! The search syntax of `query` (portal-gateway-3x.md 2.10), over the fields of the artifact.
//!
//! Owns the reading of the text and the comparison. `doc` and `content` of documents are not indexed; `content` acts as
//! `name`, `doc` finds nothing.

use super::api_object::ApiObject;
use super::error::PortalError;

/// Longest query, in bytes.
const QUERY_BYTES_MAX: usize = 1000;

/// A checked query: all terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    key: String,
    value: String,
    is_exact: bool,
}

impl Query {
    /// Reads a query.
    pub fn parse(text: &str) -> Result<Self, PortalError> {
        if text.len() > QUERY_BYTES_MAX {
            return Err(PortalError::BadRequest("The query is too long".to_owned()));
        }
        let mut terms = Vec::new();
        for word in split(text) {
            let (key, value) = match word.split_once(':') {
                Some((key, value)) => (key.to_lowercase(), value),
                None => ("name".to_owned(), word.as_str()),
            };
            let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            let given = quoted.unwrap_or(value);
            let value = given.trim_matches('*').to_lowercase();
            // Stars alone stand for any text.
            let is_any = value.is_empty() && !given.is_empty();
            if given.is_empty() {
                return Err(PortalError::BadRequest(
                    "Search term is missing. Try again with valid search query.".into(),
                ));
            }
            let is_exact = !is_any && (quoted.is_some() || matches!(key.as_str(), "tag" | "tags"));
            terms.push(Term { key, value, is_exact });
        }
        Ok(Self(terms))
    }

    /// Does the API fit?
    pub fn matches(&self, api: &ApiObject) -> bool {
        self.0.iter().all(|term| term.matches(api))
    }
}

/// Words separated by blanks; quotes keep blanks together.
fn split(text: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    for letter in text.chars() {
        is_quoted ^= letter == '"';
        if letter.is_whitespace() && !is_quoted {
            words.push(std::mem::take(&mut word));
        } else {
            word.push(letter);
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

impl Term {
    fn matches(&self, api: &ApiObject) -> bool {
        let fits = |field: &str| {
            let field = field.to_lowercase();
            if self.is_exact { field == self.value } else { field.contains(&self.value) }
        };
        let any = |list: &[String]| list.iter().any(|item| fits(item));
        match self.key.as_str() {
            "name" | "content" => fits(&api.name),
            "version" => fits(&api.version),
            "context" => fits(&api.context),
            "status" => fits(api.status().upper()),
            "provider" => fits(api.provider.as_deref().unwrap_or_default()),
            "description" => fits(api.description.as_deref().unwrap_or_default()),
            "subcontext" => api.operations.iter().any(|operation| fits(&operation.target)),
            "tag" | "tags" => any(&api.tags),
            "type" => fits(api.kind.word()),
            "api-category" => any(&api.categories),
            "label" => any(&api.labels),
            "doc" => false,
            property => {
                let mut own = api.additional_properties.iter().filter(|(name, _)| name.eq_ignore_ascii_case(property));
                own.any(|(_, value)| fits(value))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms() {
        let api = ApiObject {
            name: "Weather".into(),
            version: "1.0.0".into(),
            context: "/weather".into(),
            tags: vec!["sun shine".into()],
            additional_properties: [("team".to_owned(), "Blue".to_owned())].into(),
            ..ApiObject::default()
        };
        let check = |text: &str, expected: bool| {
            assert_eq!(Query::parse(text).unwrap().matches(&api), expected, "{text}");
        };
        check("", true);
        check("*", true);
        check("weath", true);
        check("name:\"weath\"", false);
        check("name:\"Weather\"", true);
        check("context:/weather version:1.0", true);
        check("context:/weather version:2", false);
        check("tag:sun", false);
        check("tag:\"sun shine\"", true);
        check("team:blu", true);
        check("status:created", true);
        check("nosuch:x", false);
        assert!(Query::parse("name:").is_err());
    }
}
