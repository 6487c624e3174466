//! Statements 20, 4 and 13: authorization codes from the browser to the token (rest-3x.md 1.3, 1.8). What the pages look like
//! and refuse: `authorize`.

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Browser, Call as _, Database, Options, Registered, Reply, Server, Told, claims, databases,
    insert_tenant, insert_user, on_every_engine, on_sqlite, on_two_nodes_with, register, sent_back,
};
use claviger_proto::encode::base64url;
use claviger_proto::hash::sha256;
use claviger_proto::ids::{ConsumerKey, TenantId};
use claviger_store::codes;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

pub(super) const CALLBACK: &str = "https://app.example/cb";
pub(super) const WHO: (&str, &str) = (ADMIN, ADMIN_PASSWORD);
/// RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

const USED: &str = "Inactive authorization code received from token request";
const OVER: &str = "Expired or Revoked authorization code received from token request";
const UNKNOWN: &str = "Invalid authorization code received from token request";

fn challenge() -> String {
    base64url(&sha256(VERIFIER.as_bytes()))
}

/// A client that may use codes.
pub(super) async fn register_for_codes(server: &Server, name: &str, more: Value) -> Registered {
    let mut body = json!({
        "grant_types": ["authorization_code", "refresh_token"], "redirect_uris": [CALLBACK],
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    register(server, name, body).await
}

/// A request for a code, with its redirect URI.
pub(super) fn request_of(client: &Registered) -> Vec<(&str, &str)> {
    vec![
        ("response_type", "code"),
        ("client_id", &client.id),
        ("redirect_uri", CALLBACK),
        ("state", "s"),
        ("scope", "read write"),
    ]
}

async fn code_of(server: &Server, client: &Registered) -> String {
    Browser::new(server).code(&request_of(client), WHO).await
}

async fn exchange_with(server: &Server, client: &Registered, code: &str, more: &[(&str, &str)]) -> Reply {
    let form = [&[("grant_type", "authorization_code"), ("code", code)], more].concat();
    client.token(server, &form).await
}

async fn exchange(server: &Server, client: &Registered, code: &str) -> Reply {
    exchange_with(server, client, code, &[("redirect_uri", CALLBACK)]).await
}

#[tokio::test]
async fn checklist_20_a_code_is_good_for_one_token() {
    on_every_engine("", async |server| {
        for token_type in ["Default", "JWT"] {
            let more = json!({ "token_type_extension": token_type });
            let client = register_for_codes(server, &format!("once-{token_type}"), more).await;
            let code = code_of(server, &client).await;
            let first = exchange(server, &client, &code).await;
            assert_eq!(first.status, 200, "{}: {first:?}", server.engine);
            assert_eq!((&first.json()["scope"], &first.json()["expires_in"]), (&json!("read write"), &json!(3600)));
            assert_eq!(first.header("cache-control"), Some("no-store"));
            let (access, refresh) = (first.text("access_token"), first.text("refresh_token"));
            let told = server.introspect(&access).await;
            assert_eq!((&told["active"], &told["username"]), (&json!(true), &json!("admin@carbon.super")), "{told}");
            assert_eq!((&told["client_id"], &told["scope"]), (&json!(client.id), &json!("read write")), "{told}");
            // A second use is refused and ends what the first one got, on gateways too.
            assert!(!Told::by(server).await.is_dead(&access), "{}", server.engine);
            exchange(server, &client, &code).await.check_error(400, "invalid_grant", USED);
            assert!(!server.is_active(&access).await, "{} {token_type}", server.engine);
            assert!(Told::by(server).await.is_dead(&access), "{} {token_type}", server.engine);
            let refused = client.refresh(server, &refresh).await;
            refused.check_error(400, "invalid_grant", "Invalid refresh token state");
            exchange(server, &client, &code).await.check_error(400, "invalid_grant", USED);
            // Also what it became by refreshes.
            let code = code_of(server, &client).await;
            let mut pair = exchange(server, &client, &code).await;
            for _ in 0..2 {
                server.clock.advance_s(1);
                pair = client.refresh(server, &pair.text("refresh_token")).await;
                assert_eq!(pair.status, 200, "{}: {pair:?}", server.engine);
            }
            let access = pair.text("access_token");
            assert!(server.is_active(&access).await, "{}", server.engine);
            exchange(server, &client, &code).await.check_error(400, "invalid_grant", USED);
            assert!(!server.is_active(&access).await, "{} {token_type}", server.engine);
        }
    })
    .await;
}

#[tokio::test]
async fn checklist_20_a_code_lives_300_seconds() {
    on_every_engine("", async |server| {
        let client = register_for_codes(server, "life", json!({})).await;
        let codes = [code_of(server, &client).await, code_of(server, &client).await];
        server.clock.advance_s(298);
        assert_eq!(exchange(server, &client, &codes[0]).await.status, 200, "{}", server.engine);
        server.clock.advance_s(2);
        for _ in 0..2 {
            exchange(server, &client, &codes[1]).await.check_error(400, "invalid_grant", OVER);
        }
    })
    .await;
    on_sqlite("[oauth.token_validation]\nauthorization_code_validity = \"20s\"\n", async |server| {
        let client = register_for_codes(server, "shorter", json!({})).await;
        let codes = [code_of(server, &client).await, code_of(server, &client).await];
        server.clock.advance_s(18);
        assert_eq!(exchange(server, &client, &codes[0]).await.status, 200);
        server.clock.advance_s(1);
        exchange(server, &client, &codes[1]).await.check_error(400, "invalid_grant", OVER);
    })
    .await;
}

/// The token of a code ends when the code comes again, also where JWTs have no rows, and an application token stays.
#[tokio::test]
async fn checklist_20_a_second_use_ends_jwts_without_rows_too() {
    on_sqlite("[oauth.token_persistence]\npersist_jwt_access_tokens = false\n", async |server| {
        let more =
            json!({ "token_type_extension": "JWT", "grant_types": ["authorization_code", "client_credentials"] });
        let client = register_for_codes(server, "rowless", more).await;
        let code = code_of(server, &client).await;
        let first = exchange(server, &client, &code).await;
        assert_eq!(first.json().get("refresh_token"), None, "the client does not list it");
        let (access, other) = (first.text("access_token"), client.application_token(server).await);
        assert_eq!(claims(&access)["sub"], ADMIN);
        assert!(server.is_active(&access).await);
        exchange(server, &client, &code).await.check_error(400, "invalid_grant", USED);
        assert!(!server.is_active(&access).await);
        assert!(server.is_active(&other).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checklist_20_of_64_parallel_exchanges_one_succeeds() {
    on_every_engine("", async |server| {
        let client = register_for_codes(server, "race", json!({})).await;
        let code = code_of(server, &client).await;
        server.warm_up(64).await;
        let replies = join_all((0..64).map(|_| exchange(server, &client, &code))).await;
        check_race(server, &client, replies).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checklist_20_two_nodes_exchange_a_code_once() {
    on_two_nodes_with("", async |a, b| {
        let client = register_for_codes(a, "two-nodes", json!({})).await;
        let code = code_of(a, &client).await;
        join_all([a.warm_up(16), b.warm_up(16)]).await;
        let node = |number: usize| if number.is_multiple_of(2) { a } else { b };
        let replies = join_all((0..32).map(|number| exchange(node(number), &client, &code))).await;
        check_race(b, &client, replies).await;
    })
    .await;
}

/// One reply is a token, which is dead: the others were second uses.
async fn check_race(server: &Server, client: &Registered, replies: Vec<Reply>) {
    let (good, bad): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
    assert_eq!(good.len(), 1, "{}: {bad:?}", server.engine);
    for reply in bad {
        reply.check_error(400, "invalid_grant", USED);
    }
    let access = good[0].text("access_token");
    assert!(crate::harness::becomes_false(async || server.is_active(&access).await).await, "{}", server.engine);
    assert_eq!(server.active_rows(&client.id).await, 0, "{}", server.engine);
}

/// A code is its client's; who fails with his own has lost it, and nobody else can take it away.
#[tokio::test]
async fn checklist_20_a_code_is_bound_to_client_and_redirect_uri() {
    on_every_engine("", async |server| {
        let client = register_for_codes(server, "bound", json!({})).await;
        let other = register_for_codes(server, "other", json!({})).await;
        let code = code_of(server, &client).await;
        exchange(server, &other, &code).await.check_error(400, "invalid_grant", UNKNOWN);
        exchange(server, &client, &code.to_uppercase()).await.check_error(400, "invalid_grant", UNKNOWN);
        exchange(server, &client, "").await.check_error(400, "invalid_request", "Missing parameters: code");
        let wrong = Registered { secret: "wrong".to_owned(), ..client.clone() };
        assert_eq!(exchange(server, &wrong, &code).await.status, 401);
        assert_eq!(exchange(server, &client, &code).await.status, 200, "{}", server.engine);
        for redirect in [&[][..], &[("redirect_uri", "https://app.example/cb/")]] {
            let code = code_of(server, &client).await;
            let refused = exchange_with(server, &client, &code, redirect).await;
            refused.check_error(400, "invalid_grant", "Callback url mismatch");
            exchange(server, &client, &code).await.check_error(400, "invalid_grant", OVER);
        }
        // A request without one goes to the only one, and its exchange needs none.
        let parameters: Vec<_> = request_of(&client).into_iter().filter(|(name, _)| *name != "redirect_uri").collect();
        let code = Browser::new(server).code(&parameters, WHO).await;
        assert_eq!(exchange_with(server, &client, &code, &[]).await.status, 200, "{}", server.engine);
        // Who may not use codes any more has no use for one.
        let code = code_of(server, &client).await;
        let change = json!({ "client_name": "bound", "grant_types": ["client_credentials"] });
        assert_eq!(client.change(server, &change).await.status, 200);
        let text = "The authenticated client is not authorized to use this authorization grant type";
        exchange(server, &client, &code).await.check_error(400, "unauthorized_client", text);
    })
    .await;
}

/// What a code may do was decided when it was made, and what its user may do counts when it is used.
#[tokio::test]
async fn checklist_20_scopes_are_filtered_by_role() {
    on_every_engine("", async |server| {
        insert_user(server, TenantId::SUPER, "carol", "p", &["Internal/reader"]).await;
        for (name, role) in [("books:read", "Internal/reader"), ("books:write", "Internal/writer")] {
            let scope = json!({ "name": name, "displayName": name, "bindings": [role] });
            assert_eq!(super::post(server, "/api/identity/oauth2/v1.0/scopes", &scope).await.status, 201);
        }
        let client = register_for_codes(server, "roles", json!({})).await;
        let mut parameters = request_of(&client);
        parameters.retain(|(name, _)| *name != "scope");
        parameters.push(("scope", "openid books:write books:read free"));
        let browser = Browser::new(server);
        let page = browser.log_in(&parameters, ("carol", "p")).await;
        assert!(page.body.contains("<li>books:read</li><li>free</li><li>openid</li>"), "{page:?}");
        let code = sent_back(&browser.answer(&page, "approve").await)["code"].clone();
        // What the code is good for was decided with it.
        let key = ConsumerKey::from(client.id.as_str());
        let known = server.app().oauth.find_client(&key).await.unwrap().unwrap();
        let mut conn = server.app().store.reader().await.unwrap();
        let row = codes::find(&mut conn, known.client.id, &code).await.unwrap().unwrap();
        drop(conn);
        assert_eq!(row.scopes.to_string(), "books:read free openid", "{}", server.engine);
        let reply = exchange(server, &client, &code).await;
        assert_eq!((reply.status, reply.text("scope").as_str()), (200, "books:read free openid"), "{}", server.engine);
    })
    .await;
}

/// A tenant's application knows its users without the tenant, and nobody else's.
#[tokio::test]
async fn checklist_20_users_of_a_tenant_and_in_every_spelling() {
    on_every_engine("", async |server| {
        let tenant = insert_tenant(server, "acme.com").await;
        insert_user(server, tenant, "boss", "p", &["admin"]).await;
        let registration = json!({
            "clientName": "petshop", "owner": "boss@acme.com", "callbackUrl": CALLBACK,
            "grantType": "authorization_code refresh_token", "saasApp": false,
        });
        let request = server.post("/client-registration/v0.17/register").basic_auth("boss@acme.com", Some("p"));
        let reply = request.json(&registration).call().await;
        assert!(matches!(reply.status, 200 | 201), "{reply:?}");
        let client = Registered { id: reply.text("clientId"), secret: reply.text("clientSecret") };
        for name in ["boss", "boss@acme.com", "PRIMARY/boss", "Boss@ACME.com"] {
            let code = Browser::new(server).code(&request_of(&client), (name, "p")).await;
            let reply = exchange(server, &client, &code).await;
            assert_eq!(reply.status, 200, "{name} {}: {reply:?}", server.engine);
            let request = server.post("/t/acme.com/oauth2/introspect").basic_auth("boss@acme.com", Some("p"));
            let told = request.form(&[("token", reply.text("access_token"))]).call().await.json();
            assert_eq!((&told["active"], &told["username"]), (&json!(true), &json!("boss@acme.com")), "{told}");
        }
        for stranger in [(ADMIN, ADMIN_PASSWORD), ("admin@carbon.super", ADMIN_PASSWORD)] {
            let page = Browser::new(server).log_in(&request_of(&client), stranger).await;
            assert!(page.body.contains("Login failed"), "{page:?}");
        }
        let own = register_for_codes(server, "own", json!({})).await;
        for name in ["admin", "admin@carbon.super", "PRIMARY/admin", "ADMIN"] {
            let code = Browser::new(server).code(&request_of(&own), (name, ADMIN_PASSWORD)).await;
            assert_eq!(exchange(server, &own, &code).await.status, 200, "{name}");
        }
        let page = Browser::new(server).log_in(&request_of(&own), ("boss@acme.com", "p")).await;
        assert!(page.body.contains("Login failed"), "{page:?}");
    })
    .await;
}

#[tokio::test]
async fn checklist_20_a_verifier_proves_who_asked() {
    on_every_engine("", async |server| {
        let client = register_for_codes(server, "pkce", json!({ "pkceMandatory": true })).await;
        let challenge = challenge();
        let mut parameters = request_of(&client);
        parameters.extend([("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")]);
        let browser = Browser::new(server);
        let code = browser.code(&parameters, WHO).await;
        let good = [("redirect_uri", CALLBACK), ("code_verifier", VERIFIER)];
        assert_eq!(exchange_with(server, &client, &code, &good).await.status, 200, "{}", server.engine);
        let long = "x".repeat(43);
        for (verifier, text) in [
            (None, "No PKCE code verifier found.PKCE is mandatory for this oAuth 2.0 application."),
            (Some("short"), "Code verifier used is not up to RFC 7636 specifications."),
            (Some(long.as_str()), "PKCE validation failed"),
            (Some(challenge.as_str()), "PKCE validation failed"),
        ] {
            let code = browser.code(&parameters, WHO).await;
            let mut form = vec![("redirect_uri", CALLBACK)];
            form.extend(verifier.map(|verifier| ("code_verifier", verifier)));
            exchange_with(server, &client, &code, &form).await.check_error(400, "invalid_grant", text);
            // Nobody has a second guess.
            exchange_with(server, &client, &code, &good).await.check_error(400, "invalid_grant", OVER);
        }
    })
    .await;
}

#[tokio::test]
async fn checklist_13_the_pkce_flags_are_obeyed() {
    on_every_engine("", async |server| {
        let challenge = challenge();
        let shown = async |client: &Registered, pkce: &[(&str, &str)]| {
            let parameters = [&request_of(client)[..], pkce].concat();
            let reply = Browser::new(server).ask(&parameters).await;
            assert_eq!(reply.status, 302, "{reply:?}");
            reply.header("location").unwrap().split('?').next().unwrap().to_owned()
        };
        let (login, error) = ("/authenticationendpoint/login.do", "/authenticationendpoint/oauth2_error.do");
        let s256 = [("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")];
        let plain = [("code_challenge", VERIFIER), ("code_challenge_method", "plain")];
        let unnamed = [("code_challenge", VERIFIER)];
        let unknown = [("code_challenge", VERIFIER), ("code_challenge_method", "S512")];
        let short = [("code_challenge", "short"), ("code_challenge_method", "S256")];

        let free = register_for_codes(server, "free", json!({})).await;
        for (pkce, expected) in
            [(&[][..], login), (&s256, login), (&plain, error), (&unnamed, error), (&unknown, error), (&short, error)]
        {
            assert_eq!(shown(&free, pkce).await, expected, "{pkce:?}");
        }
        let strict = register_for_codes(server, "strict", json!({ "pkceMandatory": true })).await;
        for (pkce, expected) in [(&[][..], error), (&s256, login), (&plain, error)] {
            assert_eq!(shown(&strict, pkce).await, expected, "{pkce:?}");
        }
        let lax = register_for_codes(server, "lax", json!({ "pkceMandatory": true, "pkceSupportPlain": true })).await;
        for (pkce, expected) in [(&[][..], error), (&s256, login), (&plain, login), (&unnamed, login)] {
            assert_eq!(shown(&lax, pkce).await, expected, "{pkce:?}");
        }
        let parameters = [&request_of(&lax)[..], &unnamed].concat();
        let code = Browser::new(server).code(&parameters, WHO).await;
        let good = [("redirect_uri", CALLBACK), ("code_verifier", VERIFIER)];
        assert_eq!(exchange_with(server, &lax, &code, &good).await.status, 200, "{}", server.engine);
        // The flag counts when the code is used, too.
        let code = Browser::new(server).code(&parameters, WHO).await;
        let change = json!({ "client_name": "lax", "pkceSupportPlain": false });
        assert_eq!(lax.change(server, &change).await.status, 200);
        let text = "This application does not allow 'plain' transformation algorithm.";
        exchange_with(server, &lax, &code, &good).await.check_error(400, "invalid_grant", text);
        // A challenge asks for its verifier, and a verifier for its challenge, whatever the flags.
        let code = Browser::new(server).code(&[&request_of(&free)[..], &s256].concat(), WHO).await;
        let text = "Empty PKCE code_verifier sent. This authorization code requires a PKCE verification to obtain an access token.";
        exchange(server, &free, &code).await.check_error(400, "invalid_grant", text);
        let code = code_of(server, &free).await;
        exchange_with(server, &free, &code, &good).await.check_error(400, "invalid_grant", "PKCE validation failed");
        // A public client names itself; without a challenge it sends a state at least.
        let public = register_for_codes(server, "public", json!({ "bypassClientCredentials": true })).await;
        let code = Browser::new(server).code(&[&request_of(&public)[..], &s256].concat(), WHO).await;
        let form = [&[("grant_type", "authorization_code"), ("code", &code), ("client_id", &public.id)][..], &good].concat();
        assert_eq!(server.post("/oauth2/token").form(&form).call().await.status, 200, "{}", server.engine);
        let mut parameters = request_of(&public);
        parameters.retain(|(name, _)| *name != "state");
        let reply = Browser::new(server).ask(&parameters).await;
        assert!(reply.header("location").unwrap().starts_with(error), "{reply:?}");
        let code = Browser::new(server).code(&request_of(&free), WHO).await;
        let form = [("grant_type", "authorization_code"), ("code", &code), ("client_id", &free.id), ("redirect_uri", CALLBACK)];
        assert_eq!(server.post("/oauth2/token").form(&form).call().await.status, 401, "not a public one");
    })
    .await;
}

#[tokio::test]
async fn checklist_04_two_redirect_uris_and_no_others() {
    on_every_engine("", async |server| {
        let uris = ["https://a.example/cb?x=1", "https://b.example/cb"];
        let client = register_for_codes(server, "two", json!({ "redirect_uris": uris })).await;
        let shown =
            server.request(Method::GET, &super::raw(&client.id)).basic_auth(ADMIN, Some(ADMIN_PASSWORD)).call().await;
        assert_eq!(shown.json()["redirect_uris"], json!([format!("regexp=({}|{})", uris[0], uris[1])]));
        let request = |uri: &'static str| {
            let mut parameters = request_of(&client);
            parameters.retain(|(name, _)| *name != "redirect_uri");
            parameters.extend(Some(("redirect_uri", uri)).filter(|(_, uri)| !uri.is_empty()));
            parameters
        };
        for uri in uris {
            let browser = Browser::new(server);
            let page = browser.log_in(&request(uri), WHO).await;
            let reply = browser.answer(&page, "approve").await;
            assert!(reply.header("location").unwrap().starts_with(uri), "{reply:?}");
            let code = sent_back(&reply)["code"].clone();
            let reply = exchange_with(server, &client, &code, &[("redirect_uri", uri)]).await;
            assert_eq!(reply.status, 200, "{uri} {}: {reply:?}", server.engine);
        }
        for uri in [
            "https://aXexample/cb?x=1",
            "https://a.example/cb",
            "https://a.example/cb?x=1&y=2",
            "https://b.example/cb/",
            "https://b.example/cb#x",
            "https://evil.example/?https://b.example/cb",
            "https://b.example@evil.example/cb",
            "https://b.example\\@evil.example/cb",
            "javascript:alert(1)//https://b.example/cb",
            "regexp=(https://a.example/cb?x=1|https://b.example/cb)",
            "",
        ] {
            let reply = Browser::new(server).ask(&request(uri)).await;
            assert_eq!(reply.status, 302, "{uri}");
            assert_eq!(sent_back(&reply)["oauthErrorCode"], "invalid_callback", "{uri}");
            assert!(reply.header("location").unwrap().starts_with("/authenticationendpoint/oauth2_error.do?"), "{uri}");
        }
    })
    .await;
}

/// Begun at one node, the login goes on at the other, and the code is exchanged wherever its client asks.
#[tokio::test]
async fn checklist_20_a_login_goes_from_node_to_node() {
    for database in databases().await {
        if let Database::Sqlite = database {
            continue;
        }
        let a = Server::start(&database, Options::default()).await;
        let options = Options { clock: Some(a.clock.clone()), likeness: Some(a.likeness()), ..Options::default() };
        let b = Server::start(&database, options).await;
        let client = register_for_codes(&a, "balanced", json!({})).await;
        let at_a = Browser::new(&a);
        let reply = at_a.ask(&request_of(&client)).await;
        let page = at_a.at(&b).follow(reply).await;
        let key = crate::harness::hidden(&page, "sessionDataKey");
        let form = [("sessionDataKey", key.as_str()), ("username", ADMIN), ("password", ADMIN_PASSWORD)];
        let page = at_a.at(&b).follow(at_a.post("/commonauth", &form).await).await;
        let code = sent_back(&at_a.answer(&page, "approve").await)["code"].clone();
        assert_eq!(exchange(&b, &client, &code).await.status, 200, "{}", database.engine());
        a.stop().await;
        b.stop().await;
        database.remove().await;
    }
}
