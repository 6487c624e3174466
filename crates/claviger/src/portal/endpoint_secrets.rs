//! The secrets of endpoint configurations: hidden from every reader, kept by a PUT that leaves them blank, and never sent to
//! a server that they were not entered for. Follows portal-gateway-3x.md 2.3.

use super::api_object::{ApiObject, EndpointConfig};
use super::error::PortalError;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The two sides of a configuration; each has its servers and its secrets.
const SIDES: [&str; 2] = ["production", "sandbox"];

/// The object as a client sees it: no passwords.
pub fn shown(object: &ApiObject) -> ApiObject {
    let mut object = object.clone();
    if let Some(security) = &mut object.endpoint_security {
        security.password.clear();
    }
    if let Some(EndpointConfig(config)) = &mut object.endpoint_config {
        each_secret(config, &mut |_, _, secret| *secret = Value::String(String::new()));
    }
    object
}

/// Empty secrets of a PUT keep what is stored (2.3), but only for the servers they were entered for: whoever may move an
/// endpoint must not have its password sent to a server of his own.
pub fn keep(object: &mut ApiObject, before: &ApiObject) -> Result<(), PortalError> {
    let mut sides: BTreeSet<&str> = BTreeSet::new();
    if let (Some(security), Some(old)) = (&mut object.endpoint_security, &before.endpoint_security)
        && security.password.is_empty()
        && !old.password.is_empty()
    {
        security.password.clone_from(&old.password);
        sides.extend(SIDES);
    }
    let mut known = Vec::new();
    if let Some(EndpointConfig(mut config)) = before.endpoint_config.clone() {
        each_secret(&mut config, &mut |sides, name, secret| known.push((sides, name.to_owned(), secret.clone())));
    }
    if let Some(EndpointConfig(config)) = &mut object.endpoint_config {
        each_secret(config, &mut |of, name, secret| {
            let old = known.iter().find(|(sides, known, _)| *sides == of && known == name);
            if let Some((_, _, old)) = old.filter(|_| secret.as_str().is_none_or(str::is_empty)) {
                *secret = old.clone();
                if old.as_str().is_some_and(|old| !old.is_empty()) {
                    sides.extend(of);
                }
            }
        });
    }
    let moved = sides.iter().find(|side| !servers(object, side).is_subset(&servers(before, side)));
    match moved {
        Some(side) => {
            let text = format!("The {side} endpoint is on another server: its password must be entered again");
            Err(PortalError::BadRequest(text))
        }
        None => Ok(()),
    }
}

/// Calls with each secret: the sides whose servers get it, its name, its value.
fn each_secret(config: &mut Map<String, Value>, change: &mut dyn FnMut(&'static [&'static str], &str, &mut Value)) {
    for side in SIDES.each_ref() {
        let security = config.get_mut("endpoint_security").and_then(|it| it.get_mut(side)?.as_object_mut());
        for (name, value) in security.into_iter().flatten() {
            if matches!(name.as_str(), "password" | "clientSecret") {
                change(std::slice::from_ref(side), name, value);
            }
        }
    }
    if let Some(secret) = config.get_mut("amznSecretKey") {
        change(&SIDES, "amznSecretKey", secret);
    }
}

/// Scheme, host and port of every URL that one side of the configuration names, token endpoints included. What belongs to
/// neither side counts for both.
fn servers(object: &ApiObject, side: &str) -> BTreeSet<String> {
    let Some(EndpointConfig(config)) = &object.endpoint_config else { return BTreeSet::new() };
    let is_of_side = |name: &str| SIDES.iter().all(|other| *other == side || !name.starts_with(other));
    let mut servers = BTreeSet::new();
    collect_servers(config, &is_of_side, &mut servers);
    servers
}

fn collect_servers(members: &Map<String, Value>, is_of_side: &dyn Fn(&str) -> bool, servers: &mut BTreeSet<String>) {
    let mut rest: Vec<&Value> = Vec::new();
    for (name, value) in members.iter().filter(|(name, _)| is_of_side(name)) {
        if let Some(text) = value.as_str().filter(|_| name.to_ascii_lowercase().ends_with("url")) {
            // Schemes that `url` does not know have no origin to compare.
            let origin = url::Url::parse(text).ok().map(|url| url.origin()).filter(url::Origin::is_tuple);
            servers.insert(origin.map_or_else(|| text.to_owned(), |origin| origin.ascii_serialization()));
        }
        rest.push(value);
    }
    while let Some(value) = rest.pop() {
        match value {
            Value::Array(list) => rest.extend(list),
            Value::Object(members) => collect_servers(members, is_of_side, servers),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::parse_body;
    use super::*;

    #[test]
    fn servers_of_a_side() {
        let text = r#"{"endpointConfig":{"endpoint_type":"failover",
            "production_endpoints":[{"url":"http://p1/a"},{"url":"http://p2:81/a"}],
            "production_failovers":[{"url":"http://p3"}],"sandbox_endpoints":{"URL":"https://s1"},
            "endpoint_security":{"production":{"tokenUrl":"https://idp/token"},"sandbox":{"tokenURL":"jms://s2/x"}},
            "other":{"url":"http://both"}}}"#;
        let object: ApiObject = parse_body(text.as_bytes()).unwrap();
        let check = |side: &str, expected: &[&str]| {
            assert_eq!(servers(&object, side).iter().map(String::as_str).collect::<Vec<_>>(), expected);
        };
        check("production", &["http://both", "http://p1", "http://p2:81", "http://p3", "https://idp"]);
        check("sandbox", &["http://both", "https://s1", "jms://s2/x"]);
    }
}
