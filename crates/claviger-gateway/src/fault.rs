//! What a caller is told when the gateway itself refuses or fails.
//!
//! Owns: the codes, texts and bodies of portal-gateway-3x.md 6.1-6.6 and 6.11 and of soap-thrift-2x.md 5.2-5.3 (`am:fault`,
//! `ams:fault`, `amt:fault`, each as XML and JSON) and the Accept rule. Leaves to the phases: deciding which fault it is.

use crate::framing::HeadFault;
use crate::listen::Scheme;
use crate::model::KeyType;
use http::header::{CONNECTION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use std::borrow::Cow;
use std::fmt::Write as _;

/// Why a request was not passed on, or got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the path can be read in more than one way")]
    AmbiguousPath,
    #[error(transparent)]
    Head(HeadFault),
    #[error("path and query are too long")]
    UriTooLong,
    #[error("the token is too long")]
    TokenTooLong,
    #[error("the client broke off its body or its framing")]
    RequestBodyBroken,
    #[error("the client did not send its body in time")]
    RequestBodyTimeout,
    #[error("no API has this context")]
    UnknownContext,
    #[error("the API has no such resource")]
    NoResource,
    #[error("the API's resource does not have this verb")]
    MethodNotAllowed,
    #[error("the API is not offered on this transport")]
    UnsupportedTransport(Scheme),
    #[error("the API is blocked")]
    ApiBlocked,
    #[error("too many requests are in flight")]
    TooManyInFlight,
    #[error("no credentials")]
    MissingCredentials,
    #[error("the token is not good")]
    InvalidCredentials,
    #[error("the token has dots but is no JWT")]
    InvalidJwt,
    #[error("the token could not be checked")]
    AuthenticationUnavailable,
    #[error("the subscription is blocked")]
    SubscriptionBlocked,
    #[error("the application is not known or not subscribed")]
    NotSubscribed,
    #[error("the subscription is not active")]
    SubscriptionInactive,
    #[error("the token has none of the resource's scopes")]
    ScopeMissing,
    #[error("the API has no endpoint for this type of key")]
    NoEndpoint(KeyType),
    #[error("the backend cannot be reached")]
    BackendRefused,
    #[error("the backend did not answer in time")]
    BackendTimeout,
    #[error("the call of the backend failed")]
    BackendFailed,
    #[error("the request met a defect of the gateway")]
    Internal,
}

/// A fault with what the operator should know of it and the caller should not.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) fault: Fault,
    pub(crate) cause: Option<String>,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { fault, cause: None }
    }
}

/// The three families of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// `am:fault` with a type.
    Management,
    /// `ams:fault`.
    Security,
    /// `amt:fault`.
    Throttling,
}

/// A fault as it travels.
struct Wire<'a> {
    status: StatusCode,
    family: Family,
    code: u32,
    message: &'static str,
    description: Cow<'a, str>,
}

/// What the texts of a fault mention.
#[derive(Clone, Copy, Default)]
pub(crate) struct Mentioned<'a> {
    /// Context of the API, with the version.
    pub context: &'a str,
    /// Version of the API.
    pub version: &'a str,
    /// Pattern of the resource.
    pub resource: &'a str,
    /// Name of the header that carries the token.
    pub authorization_header: &'a str,
}

/// Text format of a fault body, by the exact `Accept` header (soap-thrift-2x.md 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// XML, under this content type.
    Xml(&'static str),
    /// JSON.
    Json,
}

impl Format {
    /// The format for a request. Only an exact match counts; anything else is `application/xml`.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.get(http::header::ACCEPT).map_or(&b""[..], HeaderValue::as_bytes) {
            b"application/json" => Self::Json,
            b"text/xml" => Self::Xml("text/xml; charset=UTF-8"),
            b"application/soap+xml" => Self::Xml("application/soap+xml; charset=UTF-8"),
            b"text/html" => Self::Xml("text/html; charset=UTF-8"),
            b"text/plain" => Self::Xml("text/plain; charset=UTF-8"),
            // The list also names form encodings, badgerfish and JavaScript. What they look like is UNVERIFIED (5.2), and no
            // caller reads a fault in them: XML.
            _ => Self::Xml("application/xml; charset=UTF-8"),
        }
    }
}

impl Fault {
    /// The one mapping from causes to the wire.
    #[expect(clippy::too_many_lines, reason = "one exhaustive table, a row per cause")]
    fn wire<'a>(self, mentioned: &Mentioned<'a>, is_gateway_status: bool) -> Wire<'a> {
        let backend =
            |gateway_status| if is_gateway_status { gateway_status } else { StatusCode::INTERNAL_SERVER_ERROR };
        match self {
            Self::AmbiguousPath => {
                management(StatusCode::BAD_REQUEST, 400, "Bad Request", "The path is not in normal form.")
            }
            Self::Head(HeadFault::Ambiguous) => {
                management(StatusCode::BAD_REQUEST, 400, "Bad Request", "The framing of the request is ambiguous.")
            }
            Self::Head(HeadFault::Host) => {
                management(StatusCode::BAD_REQUEST, 400, "Bad Request", "The request has to name one host.")
            }
            Self::Head(HeadFault::TooManyHeaders) => management(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                431,
                "Request Header Fields Too Large",
                "The request has too many header fields.",
            ),
            Self::UriTooLong => {
                management(StatusCode::URI_TOO_LONG, 414, "URI Too Long", "The request URI is too long.")
            }
            Self::TokenTooLong => management(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                431,
                "Request Header Fields Too Large",
                "The credentials are too long.",
            ),
            Self::RequestBodyBroken => {
                management(StatusCode::BAD_REQUEST, 400, "Bad Request", "The request body is broken.")
            }
            Self::RequestBodyTimeout => management(
                StatusCode::REQUEST_TIMEOUT,
                408,
                "Request Timeout",
                "The request body did not arrive in time.",
            ),
            Self::UnknownContext => {
                management(StatusCode::NOT_FOUND, 404, "Not Found", "The requested resource is not available.")
            }
            Self::NoResource => management(
                StatusCode::NOT_FOUND,
                404,
                RUNTIME_ERROR,
                "No matching resource found for given API Request",
            ),
            Self::MethodNotAllowed => management(
                StatusCode::METHOD_NOT_ALLOWED,
                405,
                RUNTIME_ERROR,
                "Method not allowed for given API resource",
            ),
            Self::UnsupportedTransport(scheme) => management(
                StatusCode::FORBIDDEN,
                403,
                "Forbidden",
                match scheme {
                    Scheme::Http => "Unsupported Transport [ http ]. The requested resource is not available.",
                    Scheme::Https => "Unsupported Transport [ https ]. The requested resource is not available.",
                },
            ),
            Self::ApiBlocked => {
                management(StatusCode::SERVICE_UNAVAILABLE, 700_700, "API blocked", "The API is blocked at the moment.")
            }
            Self::TooManyInFlight => Wire {
                status: StatusCode::SERVICE_UNAVAILABLE,
                family: Family::Throttling,
                code: 900_801,
                message: "API Limit Reached",
                description: "API not accepting requests".into(),
            },
            Self::MissingCredentials => security(StatusCode::UNAUTHORIZED, 900_902, MISSING, missing_text(mentioned)),
            Self::InvalidCredentials => security(
                StatusCode::UNAUTHORIZED,
                900_901,
                INVALID,
                access_failure(mentioned, 900_901, INVALID, INVALID_HINT),
            ),
            Self::InvalidJwt => {
                security(StatusCode::UNAUTHORIZED, 900_901, INVALID, format!("Invalid JWT token{INVALID_HINT}"))
            }
            Self::AuthenticationUnavailable => security(
                StatusCode::INTERNAL_SERVER_ERROR,
                900_900,
                "Unclassified Authentication Failure",
                "Error while accessing backend services for API key validation",
            ),
            Self::SubscriptionBlocked => {
                security(StatusCode::UNAUTHORIZED, 900_907, BLOCKED, access_failure(mentioned, 900_907, BLOCKED, ""))
            }
            Self::NotSubscribed => security(
                StatusCode::FORBIDDEN,
                900_908,
                "Resource forbidden ",
                "User is NOT authorized to access the Resource. API Subscription validation failed.",
            ),
            Self::SubscriptionInactive => {
                security(StatusCode::UNAUTHORIZED, 900_909, INACTIVE, access_failure(mentioned, 900_909, INACTIVE, ""))
            }
            Self::ScopeMissing => security(
                StatusCode::FORBIDDEN,
                900_910,
                "The access token does not allow you to access the requested resource",
                format!(
                    "User is NOT authorized to access the Resource: {}. Scope validation failed.",
                    mentioned.resource
                ),
            ),
            Self::NoEndpoint(key_type) => management(
                StatusCode::FORBIDDEN,
                900_901,
                RUNTIME_ERROR,
                match key_type {
                    KeyType::Production => "Production key offered to the API with no production endpoint",
                    KeyType::Sandbox => "Sandbox key offered to the API with no sandbox endpoint",
                },
            ),
            Self::BackendRefused => {
                management(backend(StatusCode::BAD_GATEWAY), 101_503, RUNTIME_ERROR, "Error connecting to the back end")
            }
            Self::BackendTimeout => {
                management(backend(StatusCode::GATEWAY_TIMEOUT), 101_504, RUNTIME_ERROR, "Time-out of the back end")
            }
            Self::BackendFailed => {
                management(backend(StatusCode::BAD_GATEWAY), 101_500, RUNTIME_ERROR, "Error while calling the back end")
            }
            Self::Internal => management(
                StatusCode::INTERNAL_SERVER_ERROR,
                500,
                "Internal Server Error",
                "The request could not be processed.",
            ),
        }
    }

    /// Must the connection end with this answer, because what follows on it cannot be told apart from the request's body?
    fn is_connection_closed(self) -> bool {
        self == Self::Head(HeadFault::Ambiguous)
    }
}

const RUNTIME_ERROR: &str = "Runtime Error";
const MISSING: &str = "Missing Credentials";
const INVALID: &str = "Invalid Credentials";
const INVALID_HINT: &str = ". Make sure you have provided the correct security credentials";
const BLOCKED: &str = "The requested API is temporarily blocked";
const INACTIVE: &str = "The subscription to the API is inactive";
const CHALLENGE: HeaderValue = HeaderValue::from_static(
    r#"OAuth2 realm="WSO2 API Manager", error="invalid_token", error_description="The access token expired""#,
);

fn management<'a>(status: StatusCode, code: u32, message: &'static str, description: &'static str) -> Wire<'a> {
    Wire { status, family: Family::Management, code, message, description: description.into() }
}

fn security<'a>(
    status: StatusCode,
    code: u32,
    message: &'static str,
    description: impl Into<Cow<'a, str>>,
) -> Wire<'a> {
    Wire { status, family: Family::Security, code, message, description: description.into() }
}

fn access_failure(mentioned: &Mentioned<'_>, code: u32, message: &str, hint: &str) -> String {
    format!(
        "Access failure for API: {}, version: {} status: ({code}) - {message}{hint}",
        mentioned.context, mentioned.version
    )
}

fn missing_text(mentioned: &Mentioned<'_>) -> String {
    format!(
        "Invalid Credentials. Make sure your API invocation call has a header: '{} : Bearer ACCESS_TOKEN'",
        mentioned.authorization_header
    )
}

/// The answer for a fault: status, headers and the text of its body.
pub(crate) fn reply(
    fault: Fault,
    format: Format,
    mentioned: &Mentioned<'_>,
    is_gateway_status: bool,
) -> Response<String> {
    let wire = fault.wire(mentioned, is_gateway_status);
    let (content_type, body) = match format {
        Format::Json => ("application/json; charset=UTF-8", json(&wire)),
        Format::Xml(content_type) => (content_type, xml(&wire)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = wire.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if wire.status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
    }
    if fault.is_connection_closed() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn xml(wire: &Wire<'_>) -> String {
    let (prefix, namespace) = match wire.family {
        Family::Management => ("am", "http://wso2.org/apimanager"),
        Family::Security => ("ams", "http://wso2.org/apimanager/security"),
        Family::Throttling => ("amt", "http://wso2.org/apimanager/throttling"),
    };
    let kind = match wire.family {
        Family::Management => "<am:type>Status report</am:type>",
        Family::Security | Family::Throttling => "",
    };
    let mut text = String::with_capacity(256 + wire.description.len());
    write!(
        text,
        "<{prefix}:fault xmlns:{prefix}=\"{namespace}\"><{prefix}:code>{}</{prefix}:code>{kind}<{prefix}:message>{}</{prefix}:message><{prefix}:description>",
        wire.code, wire.message
    )
    .expect("writing to a String cannot fail");
    for letter in wire.description.chars() {
        match letter {
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '&' => text.push_str("&amp;"),
            other => text.push(other),
        }
    }
    write!(text, "</{prefix}:description></{prefix}:fault>").expect("writing to a String cannot fail");
    text
}

fn json(wire: &Wire<'_>) -> String {
    let description = serde_json::Value::from(&*wire.description);
    let kind = match wire.family {
        Family::Management => r#""type":"Status report","#,
        Family::Security | Family::Throttling => "",
    };
    format!(r#"{{"fault":{{"code":{},{kind}"message":"{}","description":{description}}}}}"#, wire.code, wire.message)
}
