//! `[[event_listener]]` (rest-3x.md 5.1, 6.4): which of them is the sender that tells API Manager of dead tokens, and its
//! properties. Other classes of listeners are reported and left out.

use super::Values;
use crate::config::check::{Property, Value, http_url};
use crate::config::model::Listener;
use crate::config::problem::{Note, Problem, shown_name};
use claviger_proto::secret::Secret;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue};
use url::{Host, Url};

/// The class and the id by which the sender is known.
const CLASS: &str = "org.wso2.is.notification.ApimOauthEventInterceptor";
const ID: &str = "token_revocation";
/// Longest id: it stands in a column.
const ID_CHARS_MAX: usize = 100;

const HEADER: &str = "header.";
/// The header by which API Manager finds out whose event it is, and the values that it knows.
const KEY_MANAGER: &str = "x-wso2-key-manager";
const KEY_MANAGERS: [&str; 3] = ["default", "WSO2-IS", "WSO2-IAM"];
/// Headers that follow from the rest of a request.
const OWN_HEADERS: [HeaderName; 6] = [AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING];

impl Values<'_> {
    pub(super) fn listeners(&mut self) -> Vec<Listener> {
        let array = "event_listener";
        let count = self.checked.lengths.get(array).copied().unwrap_or(0);
        let mut out: Vec<Listener> = Vec::new();
        for index in 0..count {
            let prefix = format!("{array}[{index}]");
            let Some(listener) = self.listener(&prefix) else { continue };
            if out.iter().any(|other| other.id == listener.id) {
                self.problem(&format!("{prefix}.id"), "two event listeners have this id", "");
            }
            out.push(listener);
        }
        out
    }

    fn listener(&mut self, prefix: &str) -> Option<Listener> {
        let path = |name: &str| format!("{prefix}.{name}");
        let (id, name) = (self.text(&path("id")), self.text(&path("name")));
        let properties = match self.value(&path("properties")) {
            Some(Value::Properties(properties)) => properties,
            _ => Vec::new(),
        };
        if !self.flag(&path("enable")) {
            return None;
        }
        let at = path(if name.is_empty() { "id" } else { "name" });
        if name != CLASS && id != ID {
            let what = shown_name(if name.is_empty() { &id } else { &name });
            self.note(&at, true, format!("[[event_listener]] `{what}`: this listener is not known and is left out"));
            return None;
        }
        let id = if id.is_empty() { ID.to_owned() } else { id };
        if id.chars().count() > ID_CHARS_MAX {
            self.problem(&path("id"), format!("`id`: at most {ID_CHARS_MAX} characters"), "");
        }
        let mut found = Found::default();
        for property in properties {
            self.property(property, &mut found);
        }
        let mut required = |value: Option<Secret>, name: &str| {
            let value = value.filter(|value| !value.expose().is_empty());
            if value.is_none() {
                let message = format!("[[event_listener]] `{}`: `properties.{name}` is missing", shown_name(&id));
                self.problem(
                    &at,
                    message,
                    "API Manager is told of dead tokens at `notification_endpoint`, by Basic credentials",
                );
            }
            value
        };
        let endpoint = required(found.endpoint.take(), "notification_endpoint");
        let username = required(found.username.take(), "username");
        let password = required(found.password.take(), "password");
        // A wrong URL was told where it stands.
        let endpoint = endpoint.and_then(|text| Url::parse(text.expose()).ok());
        Some(Listener {
            endpoint: endpoint?,
            username: username?.expose().to_owned(),
            password: password?,
            headers: found.headers,
            is_host_verified: !found.is_any_host_taken,
            id,
        })
    }

    fn property(&mut self, property: Property, found: &mut Found) {
        let Property { name, text, has_secret, span } = property;
        let line = self.source.line_of(span.start);
        let mut problem = |message: String, help: &str| {
            let problem = Problem::new(Some(span.clone()), format!("`event_listener[].properties`: {message}"));
            self.checked.problems.push(problem.help(help));
        };
        let text = match text {
            Ok(text) => text,
            Err(message) => return problem(message, ""),
        };
        let header = name.strip_prefix(HEADER);
        if has_secret && header.is_none() && name != "password" {
            return problem("a secret may only go into `password` or a header".to_owned(), "");
        }
        match name.as_str() {
            "notification_endpoint" => match check_endpoint(text.expose()) {
                Ok(()) => found.endpoint = Some(text),
                Err(message) => {
                    problem(format!("`notification_endpoint`: {message}"), "");
                    // It is there, though wrong.
                    found.endpoint = Some(text);
                }
            },
            "username" => found.username = Some(text),
            "password" => found.password = Some(text),
            "hostname_verifier" => match text.expose() {
                word if word.eq_ignore_ascii_case("AllowAll") => {
                    found.is_any_host_taken = true;
                    let text = "`hostname_verifier`: the notification endpoint's certificate may name any host, so whoever \
                                holds one that is trusted can read and drop what API Manager is told";
                    self.checked.notes.push(Note { line: Some(line), is_warning: true, text: text.to_owned() });
                }
                word if word.eq_ignore_ascii_case("Strict") => {}
                _ => problem("`hostname_verifier`: expected `Strict` or `AllowAll`".to_owned(), ""),
            },
            _ => match header.map(|header| check_header(header, &text)) {
                Some(Ok(header)) => {
                    if header == KEY_MANAGER && !KEY_MANAGERS.contains(&text.expose()) {
                        let value = if has_secret { "********".to_owned() } else { shown_name(text.expose()) };
                        let text = format!(
                            "`{HEADER}X-WSO2-KEY-MANAGER`: API Manager knows no key manager `{value}`: it answers 200 to events in \
                             its name and leaves them unread, so that dead tokens go on working; it knows `default`, `WSO2-IS` and, \
                             before connector 1.0.16, `WSO2-IAM`"
                        );
                        self.checked.notes.push(Note { line: Some(line), is_warning: true, text });
                    }
                    found.headers.push((header, text));
                }
                Some(Err(message)) => problem(format!("`{}`: {message}", shown_name(&name)), ""),
                None => problem(
                    format!("unknown property `{}`", shown_name(&name)),
                    "expected notification_endpoint, username, password, hostname_verifier or 'header.NAME'",
                ),
            },
        }
    }
}

/// What was given.
#[derive(Default)]
struct Found {
    endpoint: Option<Secret>,
    username: Option<Secret>,
    password: Option<Secret>,
    headers: Vec<(HeaderName, Secret)>,
    is_any_host_taken: bool,
}

/// Credentials and token texts cross no network in the clear.
fn check_endpoint(text: &str) -> Result<(), String> {
    http_url(text)?;
    let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    let is_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    };
    if url.scheme() != "https" && !is_loopback {
        return Err("expected https: the credentials would cross the network in the clear".to_owned());
    }
    Ok(())
}

fn check_header(name: &str, value: &Secret) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "this is no name of a header".to_owned())?;
    if OWN_HEADERS.contains(&name) {
        return Err("this header follows from the rest of the request".to_owned());
    }
    HeaderValue::from_str(value.expose()).map_err(|_| "this cannot be sent in a header".to_owned())?;
    Ok(name)
}
