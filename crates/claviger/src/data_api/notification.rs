//! The body of a notification: what a key manager says is revoked (rest-3x.md 5.2, 5.3).
//!
//! Pure. Senders differ between releases in what they leave out; what one must say to be understood is asked for, with a text that
//! names the member. An event whose type nobody knows is refused: its sender keeps it, and somebody sees it.

use claviger_proto::ids::ConsumerKey;
use claviger_proto::time::Timestamp;
use serde_json::{Map, Value};

/// How far the clock of a sender may be ahead of ours.
pub(super) const AHEAD_MS_MAX: i64 = 60_000;
/// TOKEN_TYPE of an event that says none.
const DEFAULT_TYPE: &str = "Default";
/// The list of a body with several events.
const BATCH: &str = "tokenRevocationEventList";

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notification {
    /// The same however often it is delivered.
    pub(super) event_id: String,
    /// Where the tenant's number is as the sender says it; ours is looked up by the domain.
    pub(super) tenant_id: Option<i64>,
    pub(super) tenant_domain: String,
    pub(super) subject: Subject,
}

/// What is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// One token.
    Token(DeadToken),
    /// The tokens of a client that were issued before an instant.
    Client(ConsumerKey, Timestamp),
    /// The tokens of a user, by name or UUID, that were issued before an instant.
    User(String, Timestamp),
}

/// A dead token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeadToken {
    /// The opaque token, or a JWT's `jti`.
    pub(super) identifier: String,
    pub(super) expires_at: Timestamp,
    /// `JWT`, `Default`.
    pub(super) token_type: String,
}

/// A body that cannot be understood, in words for its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) String);

/// Reads a body: one event, or the list of token events that later senders put together.
pub(super) fn read(body: &[u8], now: Timestamp) -> Result<Vec<Notification>, Malformed> {
    let body: Value = serde_json::from_slice(body).map_err(|_| Malformed("the body is not JSON".to_owned()))?;
    let Value::Object(body) = body else { return Err(Malformed("the body is not an object".to_owned())) };
    match body.get(BATCH) {
        None | Some(Value::Null) => Ok(vec![event(&body, kind(&body)?, None, now)?]),
        Some(Value::Array(events)) => {
            let read_one = |(index, one): (usize, &Value)| match one {
                Value::Object(one) => event(one, "token_revocation", Some((&body, index)), now),
                _ => Err(Malformed(format!("{BATCH}[{index}] is not an object"))),
            };
            events.iter().enumerate().map(read_one).collect()
        }
        Some(_) => Err(Malformed(format!("{BATCH} is not an array"))),
    }
}

fn kind(body: &Map<String, Value>) -> Result<&str, Malformed> {
    text(body, "type")?.ok_or_else(|| missing("type"))
}

/// Reads an event. What one of a list leaves out of its envelope, the list's own says; its id then has a number behind it.
fn event(
    event: &Map<String, Value>,
    kind: &str,
    list: Option<(&Map<String, Value>, usize)>,
    now: Timestamp,
) -> Result<Notification, Malformed> {
    let of_list = |name: &str| list.map_or(Ok(None), |(body, _)| text(body, name));
    let event_id = match (text(event, "eventId")?, of_list("eventId")?) {
        (Some(own), _) => own.to_owned(),
        (None, Some(of_list)) => format!("{of_list}-{}", list.map_or(0, |(_, index)| index)),
        (None, None) => return Err(missing("eventId")),
    };
    let tenant_domain = text(event, "tenantDomain")?.or(of_list("tenantDomain")?);
    let tenant_id = match (number(event, "tenantId")?, list) {
        (None, Some((body, _))) => number(body, "tenantId")?,
        (own, _) => own,
    };
    let subject = match kind {
        "token_revocation" => {
            // 3.2 fails without the client's id, which is no help here: a revocation is not lost for want of it.
            Subject::Token(DeadToken {
                identifier: identifier(event, "accessToken")?,
                expires_at: Timestamp::from_millis(number(event, "expiryTime")?.ok_or_else(|| missing("expiryTime"))?),
                token_type: text(event, "tokenType")?.unwrap_or(DEFAULT_TYPE).to_owned(),
            })
        }
        "consumer_app_revocation_event" => {
            Subject::Client(ConsumerKey(identifier(event, "consumerKey")?), revocation_time(event, now)?)
        }
        "subject_entity_revocation_event" => {
            let (id, before) = (required(event, "entityId")?, revocation_time(event, now)?);
            match text(event, "entityType")? {
                Some("CLIENT_ID") => Subject::Client(ConsumerKey(id), before),
                Some("USER_ID") => Subject::User(id, before),
                Some(_) => return Err(Malformed("entityType is neither CLIENT_ID nor USER_ID".to_owned())),
                None => return Err(missing("entityType")),
            }
        }
        _ => return Err(Malformed("the type of the event is not known".to_owned())),
    };
    if !event_id.is_ascii() {
        return Err(Malformed("eventId is not ASCII".to_owned()));
    }
    let tenant_domain = tenant_domain.ok_or_else(|| missing("tenantDomain"))?.to_ascii_lowercase();
    Ok(Notification { event_id, tenant_id, tenant_domain, subject })
}

/// The instant before which tokens are dead. One that lies ahead would end tokens that nobody has issued yet. A second counts whole,
/// as in our own revocations (`OAuthSettings::revoked_before`): JWTs and some columns know no part of it, and who asks for a token
/// within it waits for its end.
fn revocation_time(event: &Map<String, Value>, now: Timestamp) -> Result<Timestamp, Malformed> {
    let time = Timestamp::from_millis(number(event, "revocationTime")?.ok_or_else(|| missing("revocationTime"))?);
    if time > now.plus_millis(AHEAD_MS_MAX) {
        return Err(Malformed("revocationTime lies in the future".to_owned()));
    }
    Ok(time.plus_millis(999).truncated_to_secs())
}

fn missing(name: &str) -> Malformed {
    Malformed(format!("{name} is missing"))
}

/// A text; one that is null or blank counts as none.
fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Malformed> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        // No name and no token has them, and not every database can keep them.
        Some(Value::String(text)) if text.chars().any(char::is_control) => {
            Err(Malformed(format!("{name} has control characters")))
        }
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.trim().is_empty())),
        Some(_) => Err(Malformed(format!("{name} is not a text"))),
    }
}

fn required(object: &Map<String, Value>, name: &str) -> Result<String, Malformed> {
    text(object, name)?.map(str::to_owned).ok_or_else(|| missing(name))
}

/// The text of a token, a client or an event: ASCII wherever they come from.
fn identifier(object: &Map<String, Value>, name: &str) -> Result<String, Malformed> {
    let text = required(object, name)?;
    if text.is_ascii() { Ok(text) } else { Err(Malformed(format!("{name} is not ASCII"))) }
}

fn number(object: &Map<String, Value>, name: &str) -> Result<Option<i64>, Malformed> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or_else(|| Malformed(format!("{name} is not a whole number"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_123_456);

    fn token() -> Value {
        json!({
            "accessToken": "0b7a1c4e", "expiryTime": 1_700_003_600_000_i64, "user": "bob", "consumerKey": "pQ3x", "tokenType": "JWT",
            "eventId": "6b3c", "timeStamp": 1_700_000_123_456_i64, "type": "token_revocation", "tenantId": -1234,
            "tenantDomain": "carbon.super", "properties": {},
        })
    }

    fn check(body: &Value) -> Result<Vec<Notification>, String> {
        read(body.to_string().as_bytes(), NOW).map_err(|Malformed(text)| text)
    }

    fn without(name: &str) -> Value {
        let mut body = token();
        body.as_object_mut().unwrap().remove(name);
        body
    }

    fn with(name: &str, value: Value) -> Value {
        let mut body = token();
        body[name] = value;
        body
    }

    #[test]
    fn a_dead_token() {
        let expected = DeadToken {
            identifier: "0b7a1c4e".into(),
            expires_at: Timestamp::from_millis(1_700_003_600_000),
            token_type: "JWT".into(),
        };
        let read = check(&token()).unwrap();
        assert_eq!((read.len(), read[0].event_id.as_str(), read[0].tenant_id), (1, "6b3c", Some(-1234)));
        assert_eq!(read[0].subject, Subject::Token(expected.clone()));
        for body in [with("tokenType", json!(" ")), with("tokenType", Value::Null), without("tokenType")] {
            let untyped = DeadToken { token_type: "Default".into(), ..expected.clone() };
            assert_eq!(check(&body).unwrap()[0].subject, Subject::Token(untyped));
        }
        let endless = check(&with("expiryTime", json!(i64::MAX))).unwrap();
        assert!(matches!(&endless[0].subject, Subject::Token(token) if token.expires_at == Timestamp::NEVER));
    }

    #[test]
    fn what_an_event_must_say() {
        for name in ["eventId", "tenantDomain", "accessToken", "expiryTime", "type"] {
            assert_eq!(check(&without(name)).unwrap_err(), format!("{name} is missing"));
            assert_eq!(check(&with(name, Value::Null)).unwrap_err(), format!("{name} is missing"));
        }
        for name in ["consumerKey", "user", "timeStamp", "tenantId", "properties"] {
            assert!(check(&without(name)).is_ok(), "{name}");
        }
        assert!(check(&with("expiryTime", json!("soon"))).is_err());
        assert!(check(&with("expiryTime", json!(1.5))).is_err());
        assert!(check(&with("accessToken", json!(["a"]))).is_err());
        assert!(check(&with("type", json!("something_else"))).unwrap_err().contains("not known"));
        for body in ["", "{", "[]", "null", "7"] {
            assert!(read(body.as_bytes(), NOW).is_err(), "{body}");
        }
    }

    #[test]
    fn clients_and_users() {
        // The second counts whole.
        let (sent, at) = (1_700_000_122_001_i64, Timestamp::from_secs(1_700_000_123));
        let envelope = |kind: &str, more: Value| {
            let mut body = json!({ "eventId": "e", "tenantDomain": "ACME.com", "type": kind, "revocationTime": sent });
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let client = envelope("consumer_app_revocation_event", json!({ "consumerKey": "k" }));
        let read = check(&client).unwrap();
        assert_eq!(read[0].subject, Subject::Client("k".into(), at));
        assert_eq!(read[0].tenant_domain, "acme.com");
        let entity =
            |kind: &str| envelope("subject_entity_revocation_event", json!({ "entityId": "x", "entityType": kind }));
        assert_eq!(check(&entity("CLIENT_ID")).unwrap()[0].subject, Subject::Client("x".into(), at));
        assert_eq!(check(&entity("USER_ID")).unwrap()[0].subject, Subject::User("x".into(), at));
        assert!(check(&entity("ROLE_ID")).is_err());
        let mut ahead = client.clone();
        ahead["revocationTime"] = json!(at.as_millis());
        assert_eq!(check(&ahead).unwrap()[0].subject, Subject::Client("k".into(), at));
        ahead["revocationTime"] = json!(NOW.as_millis() + AHEAD_MS_MAX + 1);
        assert!(check(&ahead).unwrap_err().contains("future"));
        ahead["revocationTime"] = json!(NOW.as_millis() + AHEAD_MS_MAX);
        assert!(check(&ahead).is_ok());
    }

    #[test]
    fn several_in_one_body() {
        let mut second = without("eventId");
        second["accessToken"] = json!("second");
        second.as_object_mut().unwrap().remove("tenantDomain");
        let batch = json!({ "eventId": "all", "tenantDomain": "carbon.super", BATCH: [token(), second] });
        let read = check(&batch).unwrap();
        assert_eq!(read.iter().map(|one| one.event_id.as_str()).collect::<Vec<_>>(), ["6b3c", "all-1"]);
        assert_eq!(read[1].tenant_domain, "carbon.super");
        assert!(check(&json!({ BATCH: [] })).unwrap().is_empty());
        assert!(check(&json!({ BATCH: [1] })).is_err());
        assert!(check(&json!({ BATCH: {} })).is_err());
    }
}
