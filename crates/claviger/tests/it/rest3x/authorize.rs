//! The authorization endpoint and its pages: what they answer, refuse and never show (rest-3x.md 1.8; security.md 4.3).

use super::codes::{CALLBACK, WHO, register_for_codes, request_of};
use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Browser, Call as _, Reply, Server, authorize_path, hidden, on_sqlite, register, sent_back,
};
use reqwest::Method;
use serde_json::json;

const ERROR_PAGE: &str = "/authenticationendpoint/oauth2_error.do";
const LOGIN_PAGE: &str = "/authenticationendpoint/login.do";
const CONSENT_PAGE: &str = "/authenticationendpoint/oauth2_authz.do";

/// An answer that shows the error page, wherever the request wanted it.
#[track_caller]
fn check_shown(reply: &Reply, code: &str) {
    assert!(matches!(reply.status, 302 | 303 | 400), "{reply:?}");
    assert!(reply.header("location").unwrap().starts_with(&format!("{ERROR_PAGE}?")), "{reply:?}");
    assert_eq!(sent_back(reply)["oauthErrorCode"], code, "{reply:?}");
}

/// An answer that goes back to the application.
#[track_caller]
fn check_sent_back(reply: &Reply, code: &str) {
    assert!(matches!(reply.status, 302 | 303), "{reply:?}");
    assert!(reply.header("location").unwrap().starts_with(&format!("{CALLBACK}?")), "{reply:?}");
    let members = sent_back(reply);
    assert_eq!((members["error"].as_str(), members.get("code")), (code, None), "{reply:?}");
    assert_eq!(members["state"], "s", "{reply:?}");
}

#[track_caller]
fn check_page(reply: &Reply, name: &str) {
    assert!(reply.body.contains(&format!("data-page=\"{name}\"")), "{reply:?}");
    let policy = reply.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe") && !reply.body.contains("<script"), "{reply:?}");
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn the_way_through_the_pages() {
    on_sqlite("", async |server| {
        let client = register_for_codes(server, "the shop", json!({})).await;
        let browser = Browser::new(server);
        let mut parameters = request_of(&client);
        parameters.push(("login_hint", "adm"));
        let begun = browser.ask(&parameters).await;
        assert_eq!((begun.status, begun.header("cache-control")), (302, Some("no-store")));
        let cookie = begun.header("set-cookie").unwrap();
        for part in ["__Host-", "Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert!(!cookie.contains("Domain"), "{cookie}");
        let page = browser.follow(begun).await;
        check_page(&page, "login");
        for part in ["id=\"username\"", "value=\"adm\"", "id=\"password\"", "id=\"login-submit\"", "the shop"] {
            assert!(page.body.contains(part), "{part}: {page:?}");
        }
        let key = hidden(&page, "sessionDataKey");
        // Wrong passwords, unknown users and names that nobody can have look alike.
        let mut refusals = Vec::new();
        for (user, password) in
            [(ADMIN, "wrong"), ("nobody", "wrong"), ("nobody@unknown.example", "wrong"), ("", ""), ("a/b/c@", "")]
        {
            let form = [("sessionDataKey", key.as_str()), ("username", user), ("password", password)];
            let reply = browser.post("/commonauth", &form).await;
            assert_eq!(reply.status, 303);
            let page = browser.follow(reply).await;
            assert_eq!(page.status, 200);
            refusals.push(page.body);
        }
        assert!(
            refusals[0].contains("Login failed") && refusals.iter().all(|body| *body == refusals[0]),
            "{refusals:?}"
        );
        let form = [("sessionDataKey", key.as_str()), ("username", ADMIN), ("password", ADMIN_PASSWORD)];
        let reply = browser.post("/commonauth", &form).await;
        assert_eq!(reply.status, 303);
        assert!(reply.header("location").unwrap().starts_with("/oauth2/authorize?sessionDataKey="), "{reply:?}");
        let page = browser.follow(reply).await;
        check_page(&page, "consent");
        for part in
            ["id=\"consent-approve\"", "id=\"consent-deny\"", "the shop", "<li>read</li><li>write</li>", "admin"]
        {
            assert!(page.body.contains(part), "{part}: {page:?}");
        }
        let denied = browser.answer(&page, "deny").await;
        check_sent_back(&denied, "access_denied");
        assert_eq!(denied.status, 303);
        // Who finds the page in the browser's history decides nothing more.
        check_shown(&browser.answer(&page, "approve").await, "invalid_request");
        let page = browser.log_in(&request_of(&client), (ADMIN, ADMIN_PASSWORD)).await;
        let approved = browser.answer(&page, "approve").await;
        assert_eq!((approved.status, approved.header("referrer-policy")), (303, Some("no-referrer")));
        let members = sent_back(&approved);
        assert_eq!(members.keys().collect::<Vec<_>>(), ["code", "iss", "state"]);
        assert_eq!(members["iss"], format!("{}/oauth2/token", server.base_path));
        assert!(members["code"].len() >= 32);
        // The same by a form, and below a tenant's path.
        let posted = browser.post("/oauth2/authorize", &request_of(&client)).await;
        assert_eq!(posted.status, 303, "{posted:?}");
        let reply = browser.get(&format!("/t/carbon.super{}", authorize_path(&request_of(&client)))).await;
        check_page(&browser.follow(reply).await, "login");
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_goes_back_only_to_a_registered_address() {
    on_sqlite("", async |server| {
        let client = register_for_codes(server, "errors", json!({})).await;
        let other = register(server, "no-codes", json!({ "redirect_uris": [CALLBACK] })).await;
        let none = register(server, "no-callback", json!({})).await;
        let ask = async |parameters: &[(&str, &str)]| Browser::new(server).ask(parameters).await;
        let with = |name: &'static str, value: &'static str| {
            let mut parameters = request_of(&client);
            parameters.retain(|(own, _)| *own != name);
            parameters.extend(Some((name, value)).filter(|(_, value)| !value.is_empty()));
            parameters
        };
        for (name, value, code) in [
            ("client_id", "", "invalid_client"),
            ("client_id", "nobody", "invalid_client"),
            ("redirect_uri", "https://evil.example/", "invalid_callback"),
            ("code_challenge", "short", "invalid_request"),
        ] {
            check_shown(&ask(&with(name, value)).await, code);
        }
        let long = "x".repeat(300);
        let mut parameters = request_of(&client);
        parameters[1].1 = &long;
        check_shown(&ask(&parameters).await, "invalid_client");
        check_shown(&ask(&request_of(&none)).await, "unauthorized_client");
        check_shown(&ask(&[]).await, "invalid_client");
        let twice = ask(&[&request_of(&client)[..], &[("state", "t")]].concat()).await;
        check_shown(&twice, "invalid_request");
        assert_eq!(twice.status, 400);
        check_sent_back(&ask(&request_of(&other)).await, "unauthorized_client");
        for (name, value, code) in [
            ("response_type", "", "invalid_request"),
            ("response_type", "token", "unsupported_response_type"),
            ("response_type", "code id_token", "unsupported_response_type"),
            ("response_mode", "fragment", "invalid_request"),
            ("request", "e30.e30.", "request_not_supported"),
            ("request_uri", "https://app.example/r", "request_uri_not_supported"),
            ("scope", "a\"b", "invalid_scope"),
            ("prompt", "none", "login_required"),
            ("prompt", "none login", "invalid_request"),
            ("prompt", "create", "invalid_request"),
        ] {
            check_sent_back(&ask(&with(name, value)).await, code);
        }
        for (name, value) in [("prompt", "login consent"), ("display", "popup"), ("ui_locales", "de"), ("nonce", "n")] {
            let reply = ask(&with(name, value)).await;
            assert!(reply.header("location").unwrap().starts_with(LOGIN_PAGE), "{name}: {reply:?}");
        }
        let state = "x".repeat(4097);
        let mut parameters = request_of(&client);
        parameters[3].1 = &state;
        let reply = ask(&parameters).await;
        assert_eq!((sent_back(&reply)["error"].as_str(), sent_back(&reply).get("state")), ("invalid_request", None));
        let reply = server.post("/oauth2/authorize").body("response_type=code").call().await;
        check_shown(&reply, "invalid_request");
    })
    .await;
}

/// `state` comes back byte for byte, also beside a query that the address has.
#[tokio::test]
async fn the_state_is_echoed_untouched() {
    on_sqlite("", async |server| {
        let uri = "https://app.example/cb?x=%20y";
        let client = register_for_codes(server, "state", json!({ "redirect_uris": [uri] })).await;
        let long = "s".repeat(4096);
        for state in ["<script>alert(1)</script>", "a&b=c#d %20+\u{e4}\"'", "0", &long] {
            let mut parameters = request_of(&client);
            parameters[2].1 = uri;
            parameters[3].1 = state;
            for consent in ["approve", "deny"] {
                let browser = Browser::new(server);
                let page = browser.log_in(&parameters, WHO).await;
                let reply = browser.answer(&page, consent).await;
                assert!(reply.header("location").unwrap().starts_with(&format!("{uri}&")), "{reply:?}");
                let members = sent_back(&reply);
                assert_eq!((members["state"].as_str(), members["x"].as_str()), (state, " y"));
            }
        }
    })
    .await;
}

/// What comes from applications, users and addresses is text on a page and nothing else.
#[tokio::test]
async fn hostile_texts_are_shown_as_texts() {
    on_sqlite("", async |server| {
        let client = register_for_codes(server, "harmless", json!({})).await;
        rename(server, &client.id, "<b onmouseover=alert(1)>'\"&").await;
        let mut parameters = request_of(&client);
        parameters[4].1 = "<script>alert(1)</script> a'b&c";
        parameters.push(("login_hint", "\"><script>alert(2)</script>"));
        let browser = Browser::new(server);
        let page = browser.follow(browser.ask(&parameters).await).await;
        check_page(&page, "login");
        assert!(page.body.contains("&lt;b onmouseover=alert(1)&gt;&#39;&quot;&amp;"), "{page:?}");
        assert!(page.body.contains("value=\"&quot;&gt;&lt;script&gt;alert(2)"), "{page:?}");
        let page = browser.log_in(&parameters, WHO).await;
        check_page(&page, "consent");
        assert!(page.body.contains("<li>&lt;script&gt;alert(1)&lt;/script&gt;</li><li>a&#39;b&amp;c</li>"), "{page:?}");
        assert!(page.body.contains("&lt;b onmouseover"), "{page:?}");
        let address = format!("{ERROR_PAGE}?oauthErrorCode=%3Cscript%3E&oauthErrorMsg=%3Cscript%3Ealert(3)");
        let page = browser.get(&address).await;
        check_page(&page, "error");
        assert!(page.status == 400 && !page.body.contains("alert(3)"), "{page:?}");
        let page = browser.get(&format!("{ERROR_PAGE}?oauthErrorCode=invalid_callback&oauthErrorMsg=call+me")).await;
        assert!(page.body.contains("invalid_callback") && !page.body.contains("call me"), "{page:?}");
    })
    .await;
}

/// An old server's table may hold names that no registration takes.
async fn rename(server: &Server, id: &str, name: &'static str) {
    use claviger_store::{clients, error::StoreError};
    let key = claviger_proto::ids::ConsumerKey::from(id);
    let known = server.app().oauth.find_client(&key).await.unwrap().unwrap();
    let settings = clients::ClientSettings { name: name.to_owned(), ..known.client.settings.clone() };
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        let (known, settings) = (known.clone(), settings.clone());
        Box::pin(async move { clients::update(conn, &known.client, &settings).await })
    });
    write.await.unwrap();
    server.app().forget_everything();
}

/// A login belongs to its browser, to its step and to ten minutes.
#[tokio::test]
async fn a_login_is_nobody_elses() {
    on_sqlite("", async |server| {
        let client = register_for_codes(server, "session", json!({})).await;
        let (browser, stranger) = (Browser::new(server), Browser::new(server));
        stranger.ask(&request_of(&client)).await;
        let page = browser.follow(browser.ask(&request_of(&client)).await).await;
        let login = hidden(&page, "sessionDataKey");
        let page = browser.log_in(&request_of(&client), WHO).await;
        let consent = hidden(&page, "sessionDataKeyConsent");
        let changed = |key: &str| {
            let mut bytes = key.as_bytes().to_vec();
            bytes[40] = if bytes[40] == b'A' { b'B' } else { b'A' };
            String::from_utf8(bytes).unwrap()
        };
        let to_log_in = |key: &str| {
            vec![
                ("sessionDataKey".to_owned(), key.to_owned()),
                ("username".to_owned(), ADMIN.to_owned()),
                ("password".to_owned(), ADMIN_PASSWORD.to_owned()),
            ]
        };
        let to_approve = |key: &str| {
            vec![("sessionDataKeyConsent".to_owned(), key.to_owned()), ("consent".to_owned(), "approve".to_owned())]
        };
        let post = async |browser: &Browser, path: &str, form: Vec<(String, String)>| {
            let form: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            browser.post(path, &form).await
        };
        // Changed, another step's, another browser's, none.
        for (browser, key) in [
            (&browser, changed(&login)),
            (&browser, consent.clone()),
            (&stranger, login.clone()),
            (&browser, String::new()),
        ] {
            check_shown(&browser.get(&format!("{LOGIN_PAGE}?sessionDataKey={key}")).await, "invalid_request");
            check_shown(&post(browser, "/commonauth", to_log_in(&key)).await, "invalid_request");
        }
        for (browser, key) in [
            (&browser, changed(&consent)),
            (&browser, login.clone()),
            (&stranger, consent.clone()),
            (&browser, String::new()),
        ] {
            check_shown(&browser.get(&format!("{CONSENT_PAGE}?sessionDataKeyConsent={key}")).await, "invalid_request");
            let reply = post(browser, "/oauth2/authorize", to_approve(&key)).await;
            assert!(!reply.headers.iter().any(|(_, value)| value.contains("code=")), "{reply:?}");
        }
        check_shown(&stranger.get(&format!("/oauth2/authorize?sessionDataKey={consent}")).await, "invalid_request");
        // Nothing is approved by an address, by another site's form, or by a form that says neither.
        let address = format!("/oauth2/authorize?sessionDataKeyConsent={consent}&consent=approve");
        check_shown(&browser.get(&address).await, "invalid_request");
        check_shown(&browser.answer(&page, "perhaps").await, "invalid_request");
        for site in ["cross-site", "same-site", "none"] {
            for (path, form) in [("/commonauth", to_log_in(&login)), ("/oauth2/authorize", to_approve(&consent))] {
                let request = server.post(path).header("sec-fetch-site", site).header("cookie", browser.cookie());
                check_shown(&request.form(&form).call().await, "invalid_request");
            }
        }
        // The address that the answer would go to must still be the application's, and it must still be there.
        let change = json!({ "client_name": "session", "redirect_uris": ["https://app.example/other"] });
        assert_eq!(client.change(server, &change).await.status, 200);
        check_shown(&post(&browser, "/oauth2/authorize", to_approve(&consent)).await, "invalid_callback");
        let change = json!({ "client_name": "session", "redirect_uris": [CALLBACK] });
        assert_eq!(client.change(server, &change).await.status, 200);
        assert_eq!(post(&browser, "/oauth2/authorize", to_approve(&consent)).await.status, 303);
        server.clock.advance_s(599);
        assert_eq!(post(&browser, "/commonauth", to_log_in(&login)).await.status, 303);
        server.clock.advance_s(1);
        check_shown(&post(&browser, "/commonauth", to_log_in(&login)).await, "invalid_request");
        check_shown(&post(&browser, "/oauth2/authorize", to_approve(&consent)).await, "invalid_request");
        let page = browser.log_in(&request_of(&client), WHO).await;
        assert_eq!(client.delete(server).await.status, 204);
        check_shown(&browser.answer(&page, "approve").await, "invalid_client");
        assert_eq!(server.request(Method::GET, "/commonauth").call().await.status, 405);
    })
    .await;
}

/// A user who is gone gives nothing away, and a code of his is worth nothing.
#[tokio::test]
async fn a_user_who_is_gone_has_no_code() {
    use claviger_proto::ids::TenantId;
    on_sqlite("", async |server| {
        crate::harness::insert_user(server, TenantId::SUPER, "leaver", "p", &[]).await;
        let client = register_for_codes(server, "leavers", json!({})).await;
        let browser = Browser::new(server);
        let code = browser.code(&request_of(&client), ("leaver", "p")).await;
        let page = browser.log_in(&request_of(&client), ("leaver", "p")).await;
        crate::harness::remove_user(server, TenantId::SUPER, "leaver").await;
        check_sent_back(&browser.answer(&page, "approve").await, "access_denied");
        let form = [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", CALLBACK)];
        let text = "The user of the authorization code may not log in any more";
        client.token(server, &form).await.check_error(400, "invalid_grant", text);
    })
    .await;
}
