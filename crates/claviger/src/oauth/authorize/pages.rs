//! The pages of a login: plain HTML without a script, which nobody may frame, keep or add anything to (security.md 4.3). The ids
//! of their elements are a promise to whoever drives them (oauth-oidc.md 1.3).

use super::reply::INVALID_CALLBACK;
use super::{AUTHORIZE, COMMONAUTH};
use crate::oauth::reply::escape_html;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, PRAGMA, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use claviger_proto::encode::base64;
use claviger_proto::hash::sha256;
use claviger_proto::scope::Scopes;

const STYLE: &str = "body{font:16px/1.5 sans-serif;max-width:26em;margin:4em auto;padding:0 1em}\
label{display:block;margin-top:1em}input{font:inherit;width:100%;box-sizing:border-box;padding:.4em}\
button{font:inherit;margin:1.5em .5em 0 0;padding:.4em 1.2em}#login-error{color:#a00}";

/// The form that asks who somebody is.
pub(super) fn login(application: &str, key: &str, name: &str, has_failed: bool) -> Response {
    let error = if has_failed {
        r#"<p id="login-error" role="alert">Login failed. Check the user name and the password and try again.</p>"#
    } else {
        ""
    };
    let body = format!(
        r#"<h1>Sign in</h1><p>to go on to <strong id="application">{application}</strong></p>{error}
<form method="post" action="{COMMONAUTH}"><input type="hidden" name="sessionDataKey" value="{key}">
<label for="username">User name</label><input id="username" name="username" value="{name}" autocomplete="username" autofocus required>
<label for="password">Password</label><input id="password" name="password" type="password" autocomplete="current-password" required>
<button id="login-submit" type="submit">Sign in</button></form>"#,
        application = escape_html(application),
        key = escape_html(key),
        name = escape_html(name),
    );
    page(StatusCode::OK, "Sign in", "login", &body)
}

/// The question whether the application may have what it asks for.
pub(super) fn consent(application: &str, key: &str, user: &str, scopes: &Scopes) -> Response {
    let mut list = String::new();
    for scope in scopes.iter() {
        list.extend(["<li>", &escape_html(scope), "</li>"]);
    }
    let body = format!(
        r#"<h1>Allow access?</h1><p><strong id="application">{application}</strong> asks for access in the name of
<strong id="user">{user}</strong>:</p><ul id="scopes">{list}</ul>
<form method="post" action="{AUTHORIZE}"><input type="hidden" name="sessionDataKeyConsent" value="{key}">
<button id="consent-approve" type="submit" name="consent" value="approve">Allow</button>
<button id="consent-deny" type="submit" name="consent" value="deny">Deny</button></form>"#,
        application = escape_html(application),
        key = escape_html(key),
        user = escape_html(user),
    );
    page(StatusCode::OK, "Allow access?", "consent", &body)
}

/// What went wrong, by its code. No word of the request is shown: anybody can make such an address.
pub(super) fn error(code: &str) -> Response {
    let (code, text) = match code {
        "invalid_request" => {
            (code, "The request of the application was not valid, or it is too old. Go back and start again.")
        }
        "invalid_client" => (code, "The application is not known here, or it is not active."),
        "unauthorized_client" => (code, "The application may not sign users in here."),
        INVALID_CALLBACK => (code, "The application's return address is not registered."),
        _ => ("error", "Something went wrong. Go back to the application and start again."),
    };
    let body =
        format!(r#"<h1>That did not work</h1><p id="error-text">{text}</p><p><code id="error-code">{code}</code></p>"#);
    page(StatusCode::BAD_REQUEST, "Error", "error", &body)
}

fn page(status: StatusCode, title: &str, name: &str, body: &str) -> Response {
    let html = format!(
        r#"<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{STYLE}</style></head><body data-page="{name}">
{body}
</body></html>
"#
    );
    // No `form-action`: browsers apply it to the redirect that answers the form, too.
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; frame-ancestors 'none'",
        base64(&sha256(STYLE.as_bytes()))
    );
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (PRAGMA, "no-cache"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
