//! `[[event_listener]]`: the documented form, what is missing, what is not known.

use super::{bad, good, read};

const HEAD: &str = "[super_admin]\nusername = 'boss'\npassword = 'hunter2'\n";
/// As the documentation of API Manager 3.2 has it, but for the last value.
const LISTENER: &str = "[[event_listener]]\nid = \"token_revocation\"\n\
     type = \"org.wso2.carbon.identity.core.handler.AbstractIdentityHandler\"\n\
     name = \"org.wso2.is.notification.ApimOauthEventInterceptor\"\norder = 1\n\n[event_listener.properties]\n\
     notification_endpoint = \"https://localhost:9443/internal/data/v1/notify\"\nusername = \"${admin.username}\"\n\
     password = \"${admin.password}\"\n";

fn warnings(text: &str) -> Vec<String> {
    let notes = read(text).unwrap().notes;
    notes.iter().filter(|note| note.is_warning).map(ToString::to_string).collect()
}

#[test]
fn the_documented_listener_is_read() {
    let text = format!("{HEAD}{LISTENER}'header.X-WSO2-KEY-MANAGER' = \"WSO2-IS\"\nheader.X-Other = 7\n");
    assert_eq!(warnings(&text), [""; 0]);
    let listeners = good(&text).listeners;
    assert_eq!(listeners.len(), 1);
    let listener = &listeners[0];
    assert_eq!((listener.id.as_str(), listener.username.as_str()), ("token_revocation", "boss"));
    assert_eq!(listener.endpoint.as_str(), "https://localhost:9443/internal/data/v1/notify");
    assert_eq!((listener.password.expose(), listener.is_host_verified), ("hunter2", true));
    let headers: Vec<_> = listener.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    let mut headers = headers;
    headers.sort_unstable();
    assert_eq!(headers, [("x-other", "7"), ("x-wso2-key-manager", "WSO2-IS")]);
    assert!(!format!("{listeners:?}").contains("hunter2"));
}

#[test]
fn a_key_manager_that_api_manager_does_not_know_is_named() {
    for known in ["default", "WSO2-IS", "WSO2-IAM"] {
        assert_eq!(warnings(&format!("{HEAD}{LISTENER}'header.X-WSO2-KEY-MANAGER' = '{known}'")), [""; 0], "{known}");
    }
    assert_eq!(warnings(&format!("{HEAD}{LISTENER}")), [""; 0], "without the header it is `default`");
    for spelling in ["'header.x-wso2-key-manager'", "header.X-WSO2-KEY-MANAGER"] {
        let warnings = warnings(&format!("{HEAD}{LISTENER}{spelling} = \"WSO2IS\"\n"));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("warning: line 14: ") && warnings[0].contains("`WSO2IS`"), "{warnings:?}");
    }
}

#[test]
fn what_is_missing_is_refused() {
    for missing in ["notification_endpoint", "username", "password"] {
        let lines: Vec<&str> = LISTENER.lines().filter(|line| !line.starts_with(missing)).collect();
        let message = bad(&format!("{HEAD}{}", lines.join("\n")));
        assert!(message.contains(&format!("`properties.{missing}` is missing")), "{message}");
        let message = bad(&format!("{HEAD}{}\n{missing} = ''", lines.join("\n")));
        assert!(message.contains(&format!("`properties.{missing}` is missing")), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    let without_properties = "[[event_listener]]\nname = 'org.wso2.is.notification.ApimOauthEventInterceptor'";
    assert!(bad(without_properties).contains("3 problems"), "{}", bad(without_properties));
    // The administrator's password is made up when nobody sets it.
    assert!(bad(LISTENER).contains("that key is not set"), "{}", bad(LISTENER));
}

#[test]
fn wrong_properties_are_refused() {
    let table = [
        ("usernam = 'x'", "unknown property `usernam`"),
        ("hostname_verifier = 'perhaps'", "expected `Strict` or `AllowAll`"),
        ("'header.a b' = 'x'", "no name of a header"),
        ("'header.Authorization' = 'x'", "follows from the rest of the request"),
        ("'header.X-A' = \"a\\nb\"", "cannot be sent in a header"),
        ("'header.X-A' = '$env{NOTHING}'", "this environment variable is not set"),
        ("'header.X-A' = 1.5", "expected text, found"),
    ];
    for (line, expected) in table {
        let message = bad(&format!("{HEAD}{LISTENER}{line}\n"));
        assert!(message.contains(expected), "{line}: {message}");
    }
    let endpoints = [
        ("http://api.example.com/notify", "expected https"),
        ("ftp://localhost/notify", "expected an http or https URL"),
        ("https://u:hunter2@localhost/notify", "credentials do not belong"),
        ("localhost", "not a URL"),
    ];
    for (endpoint, expected) in endpoints {
        let text = LISTENER.replace("https://localhost:9443/internal/data/v1/notify", endpoint);
        let message = bad(&format!("{HEAD}{text}"));
        assert!(message.contains(expected) && message.contains("1 problem "), "{endpoint}: {message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    for endpoint in ["http://localhost:8080/n", "http://127.0.0.1/n", "http://[::1]:1/n"] {
        good(&format!("{HEAD}{}", LISTENER.replace("https://localhost:9443/internal/data/v1/notify", endpoint)));
    }
    let twice = format!("{HEAD}{LISTENER}{LISTENER}");
    assert!(bad(&twice).contains("two event listeners have this id"), "{}", bad(&twice));
    let secret = LISTENER.replace("${admin.username}", "${admin.password}");
    assert!(bad(&format!("{HEAD}{secret}")).contains("a secret may only go into"));
}

#[test]
fn other_listeners_are_reported_and_left_out() {
    let other = "[[event_listener]]\nid = 'sms'\nname = 'com.example.SmsListener'\n[event_listener.properties]\n\
                 a.b = [1]\nc = '$secret{x}'\n";
    let text = format!("{HEAD}{other}{LISTENER}");
    assert_eq!(good(&text).listeners.len(), 1);
    assert_eq!(
        warnings(&text),
        ["warning: line 6: [[event_listener]] `com.example.SmsListener`: this listener is not known and is left out"]
    );
    let disabled = "[[event_listener]]\nname = 'com.example.SmsListener'\nenable = false\n";
    assert_eq!(warnings(disabled), [""; 0]);
    let ours = LISTENER.replace("order = 1", "enable = 'false'").replace("username", "usernam");
    assert!(good(&format!("{HEAD}{ours}")).listeners.is_empty());
    let by_id = format!("{HEAD}{}", LISTENER.replace("org.wso2.is.notification.Apim", "com.example."));
    assert_eq!(good(&by_id).listeners.len(), 1, "known by its id");
}

#[test]
fn any_host_name_is_taken_only_when_somebody_says_so() {
    let text = format!("{HEAD}{LISTENER}hostname_verifier = 'AllowAll'\n");
    assert!(!good(&text).listeners[0].is_host_verified);
    assert!(warnings(&text)[0].contains("may name any host"));
    let strict = format!("{HEAD}{LISTENER}hostname_verifier = 'Strict'\n");
    assert!(good(&strict).listeners[0].is_host_verified && warnings(&strict).is_empty());
}
