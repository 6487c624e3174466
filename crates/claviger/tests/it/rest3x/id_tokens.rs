//! ID tokens (rest-3x.md 1.7; OpenID Connect Core sections 2, 3.1.3 and 12.2), and the part of statement 13 that is about their
//! life. That libraries of others take them: `tests/clients`.

use super::codes::{CALLBACK, WHO, register_for_codes, request_of};
use super::{get, put, raw};
use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Browser, Call as _, Database, Options, Registered, Reply, Server, claims, databases, hidden,
    on_every_engine, on_sqlite, register, sent_back,
};
use claviger_proto::encode::{base64url, from_base64url};
use claviger_proto::hash::sha256;
use claviger_proto::jose::{JwkSet, VerifyingKeys};
use claviger_proto::time::Clock as _;
use claviger_store::error::StoreError;
use claviger_store::sql::Sql;
use serde_json::{Value, json};

const USERINFO: &str = "/oauth2/userinfo";
/// A nonce is a text: signs that mean something elsewhere, and letters of any script.
const NONCE: &str = "n-0S6_WzA2Mj \"&<é漢>";

/// Runs a statement without arguments, as an old server on the same tables does: nobody is told.
async fn run(server: &Server, sql: &'static Sql) {
    let write =
        server.app().store.write::<_, StoreError, _>(move |conn| Box::pin(async move { conn.execute(sql, &[]).await }));
    write.await.unwrap();
    server.app().forget_everything();
}

/// The claims of an answer's ID token, whose signature is checked with the published keys.
async fn id_claims(server: &Server, reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{reply:?}");
    let token = reply.text("id_token");
    let keys: JwkSet = serde_json::from_str(&server.get("/oauth2/jwks").call().await.body).unwrap();
    let header = from_base64url(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!((&header["alg"], &header["kid"]), (&json!("RS256"), &json!(keys.keys[0].kid)));
    Value::Object(VerifyingKeys::new(&keys).verify(&token).unwrap())
}

/// The left half of a token's digest.
fn half_hash(token: &str) -> String {
    base64url(&sha256(token.as_bytes())[..16])
}

fn life_s(claims: &Value) -> i64 {
    claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap()
}

/// A request for a code that asks who the user is.
fn openid_request<'a>(client: &'a Registered, scope: &'a str, nonce: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut parameters = request_of(client);
    parameters[4].1 = scope;
    parameters.extend(nonce.map(|nonce| ("nonce", nonce)));
    parameters
}

async fn exchange(server: &Server, client: &Registered, code: &str) -> Reply {
    let form = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", CALLBACK)];
    client.issue(server, &form).await
}

async fn by_code(server: &Server, client: &Registered, scope: &str, nonce: Option<&str>) -> Reply {
    let code = Browser::new(server).code(&openid_request(client, scope, nonce), WHO).await;
    exchange(server, client, &code).await
}

async fn subject_at_userinfo(server: &Server, access_token: &str) -> Value {
    server.get(USERINFO).bearer_auth(access_token).call().await.json()["sub"].clone()
}

#[tokio::test]
async fn checklist_13_id_tokens_live_as_long_as_the_client_says() {
    static ZERO: Sql = Sql::new("UPDATE IDN_OAUTH_CONSUMER_APPS SET ID_TOKEN_EXPIRE_TIME = 0", &[]);
    on_every_engine("[oauth.oidc.token_validation]\nid_token_validity = \"10m\"\n", async |server| {
        let own = register_for_codes(
            server,
            "own",
            json!({
                "ext_id_token_lifetime": 444, "grant_types": ["authorization_code", "password", "refresh_token"],
            }),
        )
        .await;
        let lives = async |client: &Registered| {
            let first = by_code(server, client, "openid", None).await;
            let login = client.log_in(server, "openid other").await;
            let refreshed = client.refresh(server, &login.text("refresh_token")).await;
            let mut lives = Vec::new();
            for reply in [first, login, refreshed] {
                lives.push(life_s(&id_claims(server, &reply).await));
            }
            lives
        };
        assert_eq!(lives(&own).await, [444; 3], "{}", server.engine);
        let change = json!({ "ext_id_token_lifetime": 555 });
        assert_eq!(put(server, &raw(&own.id), &change).await.json()["ext_id_token_lifetime"], 555);
        assert_eq!(lives(&own).await, [555; 3], "{}", server.engine);
        // 0 and nothing mean the server's own: what a registration copies, and what a row says by a zero.
        let plain = register_for_codes(
            server,
            "plain",
            json!({
                "ext_id_token_lifetime": 0, "grant_types": ["authorization_code", "password", "refresh_token"],
            }),
        )
        .await;
        assert_eq!(get(server, &raw(&plain.id)).await.json()["ext_id_token_lifetime"], 600, "{}", server.engine);
        assert_eq!(lives(&plain).await, [600; 3], "{}", server.engine);
        run(server, &ZERO).await;
        assert_eq!(get(server, &raw(&own.id)).await.json()["ext_id_token_lifetime"], 0, "{}", server.engine);
        assert_eq!(lives(&own).await, [600; 3], "{}", server.engine);
    })
    .await;
    on_sqlite("", async |server| {
        let client = register(server, "default", json!({})).await;
        assert_eq!(get(server, &raw(&client.id)).await.json()["ext_id_token_lifetime"], 3600);
        let login = client.log_in(server, "openid").await;
        assert_eq!(life_s(&id_claims(server, &login).await), 3600);
    })
    .await;
}

#[tokio::test]
async fn a_code_brings_its_nonce_and_the_time_of_its_login() {
    on_every_engine("", async |server| {
        for token_type in ["Default", "JWT"] {
            let more = json!({ "token_type_extension": token_type });
            let client = register_for_codes(server, &format!("said-{token_type}"), more).await;
            let browser = Browser::new(server);
            let page = browser.log_in(&openid_request(&client, "openid read", Some(NONCE)), WHO).await;
            let auth_time = server.clock.now().as_secs();
            server.clock.advance_s(7);
            let code = sent_back(&browser.answer(&page, "approve").await)["code"].clone();
            server.clock.advance_s(5);
            let reply = exchange(server, &client, &code).await;
            let (access, now) = (reply.text("access_token"), auth_time + 12);
            let expected = json!({
                "iss": format!("{}/oauth2/token", server.base_path), "sub": ADMIN, "aud": client.id, "azp": client.id,
                "exp": now + 3600, "nbf": now, "iat": now, "auth_time": auth_time, "nonce": NONCE, "amr": ["pwd"],
                "at_hash": half_hash(&access),
            });
            assert_eq!(id_claims(server, &reply).await, expected, "{} {token_type}", server.engine);
            assert_eq!(subject_at_userinfo(server, &access).await, ADMIN);
            // It says who somebody is, and opens nothing.
            let id_token = reply.text("id_token");
            assert!(!server.is_active(&id_token).await, "{} {token_type}", server.engine);
            let asked = server.get(USERINFO).bearer_auth(&id_token).call().await;
            asked.check_error(401, "invalid_token", "Access token validation failed");
            // Each code has its own.
            let (one, two) = (
                by_code(server, &client, "openid read", Some("1")).await,
                by_code(server, &client, "openid read", Some("2")).await,
            );
            assert_eq!(id_claims(server, &one).await["nonce"], "1", "{}", server.engine);
            assert_eq!(id_claims(server, &two).await["nonce"], "2", "{}", server.engine);
            let none = by_code(server, &client, "openid read", None).await;
            assert_eq!(id_claims(server, &none).await.get("nonce"), None, "{}", server.engine);
        }
    })
    .await;
}

/// OpenID Connect Core section 12.2.
#[tokio::test]
async fn a_refresh_keeps_who_and_when_and_drops_the_nonce() {
    on_every_engine("", async |server| {
        for token_type in ["Default", "JWT"] {
            let more = json!({ "token_type_extension": token_type });
            let client = register_for_codes(server, &format!("kept-{token_type}"), more).await;
            let mut reply = by_code(server, &client, "openid read", Some(NONCE)).await;
            let first = id_claims(server, &reply).await;
            for _ in 0..2 {
                server.clock.advance_s(60);
                reply = client.refresh(server, &reply.text("refresh_token")).await;
                let later = id_claims(server, &reply).await;
                for name in ["iss", "sub", "aud", "azp", "auth_time", "amr"] {
                    assert_eq!(later[name], first[name], "{name} {token_type} {}", server.engine);
                }
                assert_eq!(later.get("nonce"), None);
                assert_eq!(later["iat"], server.clock.now().as_secs());
                let access = reply.text("access_token");
                assert_eq!(later["at_hash"], half_hash(&access), "{token_type} {}", server.engine);
                assert_eq!(subject_at_userinfo(server, &access).await, first["sub"]);
            }
            // Of two logins that got the same token nobody knows whose refresh it is; each got a JWT of its own.
            let again = by_code(server, &client, "openid read", None).await;
            let auth_time = id_claims(server, &again).await["auth_time"].clone();
            assert_ne!(auth_time, first["auth_time"]);
            server.clock.advance_s(1);
            let later = client.refresh(server, &again.text("refresh_token")).await;
            let known = Some(&auth_time).filter(|_| token_type == "JWT");
            assert_eq!(id_claims(server, &later).await.get("auth_time"), known, "{token_type} {}", server.engine);
            // Who asks for less than `openid` is told less.
            let form =
                [("grant_type", "refresh_token"), ("refresh_token", &later.text("refresh_token")), ("scope", "read")];
            assert_eq!(client.issue(server, &form).await.json().get("id_token"), None, "{}", server.engine);
        }
    })
    .await;
}

#[tokio::test]
async fn a_login_by_the_password_grant_and_a_token_that_is_handed_out_again() {
    on_every_engine("", async |server| {
        let client = register(server, "password", json!({})).await;
        let form = [
            ("grant_type", "password"),
            ("username", ADMIN),
            ("password", ADMIN_PASSWORD),
            ("scope", "openid"),
            ("nonce", "is no parameter of this grant"),
        ];
        let first = client.issue(server, &form).await;
        let now = server.clock.now().as_secs();
        let access = first.text("access_token");
        let expected = |now: i64| {
            json!({
                "iss": format!("{}/oauth2/token", server.base_path), "sub": ADMIN, "aud": client.id, "azp": client.id,
                "exp": now + 3600, "nbf": now, "iat": now, "amr": ["pwd"], "at_hash": half_hash(&access),
            })
        };
        assert_eq!(id_claims(server, &first).await, expected(now), "{}", server.engine);
        // The access token gets old, the ID token is of its moment.
        server.clock.advance_s(100);
        let second = client.issue(server, &form).await;
        assert_eq!((second.text("access_token"), &second.json()["expires_in"]), (access.clone(), &json!(3500)));
        assert_eq!(id_claims(server, &second).await, expected(now + 100), "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn without_openid_or_without_a_user_there_is_none() {
    on_every_engine("", async |server| {
        for token_type in ["Default", "JWT"] {
            let more = json!({
                "token_type_extension": token_type,
                "grant_types": ["authorization_code", "client_credentials", "password", "refresh_token"],
            });
            let client = register_for_codes(server, &format!("none-{token_type}"), more).await;
            let own = client.issue(server, &[("grant_type", "client_credentials"), ("scope", "openid")]).await;
            assert_eq!(own.text("scope"), "openid");
            let login = client.log_in(server, "read").await;
            let refreshed = client.refresh(server, &login.text("refresh_token")).await;
            let code = by_code(server, &client, "read", Some(NONCE)).await;
            for reply in [own, login, refreshed, code] {
                assert_eq!(reply.json().get("id_token"), None, "{token_type} {}: {reply:?}", server.engine);
            }
        }
    })
    .await;
}

/// What is said of a code is where every node finds it, once.
#[tokio::test]
async fn a_code_of_one_node_is_exchanged_at_the_other() {
    for database in databases().await {
        if let Database::Sqlite = database {
            continue;
        }
        let a = Server::start(&database, Options::default()).await;
        let options = Options { clock: Some(a.clock.clone()), likeness: Some(a.likeness()), ..Options::default() };
        let b = Server::start(&database, options).await;
        let client = register_for_codes(&a, "two-nodes", json!({})).await;
        let parameters = openid_request(&client, "openid", Some(NONCE));
        let auth_time = a.clock.now().as_secs();
        // The password at one node, the consent at the other, the exchange at the first.
        let at_a = Browser::new(&a);
        let page = at_a.follow(at_a.ask(&parameters).await).await;
        let key = hidden(&page, "sessionDataKey");
        let form = [("sessionDataKey", key.as_str()), ("username", ADMIN), ("password", ADMIN_PASSWORD)];
        let page = at_a.follow(at_a.post("/commonauth", &form).await).await;
        a.clock.advance_s(3);
        let code = sent_back(&at_a.at(&b).answer(&page, "approve").await)["code"].clone();
        let first = exchange(&a, &client, &code).await;
        let said = id_claims(&b, &first).await;
        assert_eq!((&said["nonce"], &said["auth_time"]), (&json!(NONCE), &json!(auth_time)), "{}", database.engine());
        let form = [("grant_type", "authorization_code"), ("code", &*code), ("redirect_uri", CALLBACK)];
        assert_eq!(client.token(&b, &form).await.status, 400, "{}", database.engine());
        let other = at_a.at(&b).code(&parameters, WHO).await;
        let mut pair = exchange(&a, &client, &other).await;
        for node in [&b, &a] {
            a.clock.advance_s(10);
            pair = client.refresh(node, &pair.text("refresh_token")).await;
            let said = id_claims(&a, &pair).await;
            assert_eq!((said.get("nonce"), &said["auth_time"]), (None, &json!(auth_time + 3)), "{}", database.engine());
        }
        a.stop().await;
        b.stop().await;
        database.remove().await;
    }
}

/// A `sub` that an old server chose stays the user's for as long as the grant does, here and at userinfo.
#[tokio::test]
async fn a_subject_that_an_old_server_chose_stays() {
    static CHOSEN: Sql = Sql::new("UPDATE IDN_OAUTH2_ACCESS_TOKEN SET SUBJECT_IDENTIFIER = 'admin@carbon.super'", &[]);
    static UNKNOWN: Sql = Sql::new("UPDATE IDN_OAUTH2_ACCESS_TOKEN SET SUBJECT_IDENTIFIER = NULL", &[]);
    on_every_engine("", async |server| {
        for (name, sql, subject) in [("chosen", &CHOSEN, "admin@carbon.super"), ("unknown", &UNKNOWN, ADMIN)] {
            let client = register(server, name, json!({})).await;
            let login = client.log_in(server, "openid").await;
            run(server, sql).await;
            assert_eq!(subject_at_userinfo(server, &login.text("access_token")).await, subject, "{}", server.engine);
            let again = client.log_in(server, "openid").await;
            assert_eq!(again.text("access_token"), login.text("access_token"), "{}", server.engine);
            assert_eq!(id_claims(server, &again).await["sub"], subject, "{}", server.engine);
            let refreshed = client.refresh(server, &login.text("refresh_token")).await;
            assert_eq!(id_claims(server, &refreshed).await["sub"], subject, "{}", server.engine);
            assert_eq!(subject_at_userinfo(server, &refreshed.text("access_token")).await, subject);
            assert_eq!(client.revoke(server, &[("token", &refreshed.text("access_token"))]).await.status, 200);
        }
    })
    .await;
}

/// Registration has no word for them; an old server's console does.
#[tokio::test]
async fn more_audiences_are_named_behind_the_client() {
    static ADD: Sql = Sql::new(
        "INSERT INTO IDN_OIDC_PROPERTY (TENANT_ID, CONSUMER_KEY, PROPERTY_KEY, PROPERTY_VALUE) \
         SELECT TENANT_ID, CONSUMER_KEY, 'audience', 'https://orders.example' FROM IDN_OAUTH_CONSUMER_APPS \
         WHERE APP_NAME = 'heard'",
        &[],
    );
    on_every_engine("", async |server| {
        let client = register(server, "heard", json!({ "token_type_extension": "JWT" })).await;
        run(server, &ADD).await;
        let login = client.log_in(server, "openid").await;
        let said = id_claims(server, &login).await;
        assert_eq!(said["aud"], json!([client.id, "https://orders.example"]), "{}", server.engine);
        assert_eq!(said["azp"], client.id);
        // Gateways and API-M know access tokens by a single one.
        assert_eq!(claims(&login.text("access_token"))["aud"], client.id);
    })
    .await;
}

#[tokio::test]
async fn discovery_names_what_id_tokens_are() {
    on_sqlite("", async |server| {
        let metadata = server.get("/oauth2/token/.well-known/openid-configuration").call().await.json();
        assert_eq!(metadata["id_token_signing_alg_values_supported"], json!(["RS256"]));
        assert_eq!(metadata["subject_types_supported"], json!(["public"]));
        let has = |member: &str, word: &str| metadata[member].as_array().unwrap().contains(&json!(word));
        for scope in ["openid", "profile", "email", "phone", "address", "default"] {
            assert!(has("scopes_supported", scope), "{scope}: {metadata}");
        }
        let client = register_for_codes(server, "named", json!({})).await;
        let said = id_claims(server, &by_code(server, &client, "openid", Some("n")).await).await;
        for claim in said.as_object().unwrap().keys().map(String::as_str).chain(["email", "given_name", "address"]) {
            assert!(has("claims_supported", claim), "{claim}: {metadata}");
        }
    })
    .await;
}
