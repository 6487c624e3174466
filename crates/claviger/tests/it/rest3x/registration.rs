//! Statements 1-14: registration of clients at `/keymanager-operations` (rest-3x.md 8.1).

use super::{REGISTER, call, delete, encoded, get, post, put, raw};
use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Registered, Reply, Server, Told, insert_user, on_every_engine, on_sqlite,
    register,
};
use claviger_proto::ids::TenantId;
use reqwest::Method;
use serde_json::{Value, json};

const METADATA: &str = "invalid_client_metadata";
const GRANT: (&str, &str) = ("grant_type", "client_credentials");

/// The body that API-M 3.2 sends for the application `orders-app` of bob.
fn order(name: &str) -> Value {
    json!({
        "client_name": name, "token_type_extension": "JWT",
        "grant_types": ["client_credentials", "password", "refresh_token"],
        "redirect_uris": ["https://app.acme.com/cb"], "ext_application_owner": "bob",
    })
}

async fn insert_bob(server: &Server) {
    insert_user(server, TenantId::SUPER, "bob", "bob's", &["Internal/subscriber"]).await;
}

#[track_caller]
fn check_refused(reply: &Reply, message: &str) {
    assert_eq!((reply.status, reply.text("message").as_str()), (400, message), "{reply:?}");
    assert_eq!(reply.text("code"), message);
    // What 4.2+ reads, and what the others show.
    assert_eq!(reply.text("error_description"), reply.text("description"));
}

fn registered(reply: &Reply) -> Registered {
    Registered { id: reply.text("client_id"), secret: reply.text("client_secret") }
}

#[tokio::test]
async fn checklist_01_a_registration_answers_201_with_every_field() {
    on_every_engine("", async |server| {
        insert_bob(server).await;
        let reply = post(server, REGISTER, &order("bob_orders-app_PRODUCTION")).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        let json = reply.json();
        for name in ["client_id", "client_secret", "client_name", "ext_application_owner"] {
            assert!(json[name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {json}");
        }
        assert_eq!(json["client_secret_expires_at"], Value::Null);
        assert_eq!(json["redirect_uris"], json!(["https://app.acme.com/cb"]));
        assert_eq!(json["client_name"], "bob_orders-app_PRODUCTION");
        assert_eq!(json["grant_types"], json!(["client_credentials", "password", "refresh_token"]));
        assert_eq!(json["ext_application_owner"], "bob");
        let cache = reply.header("cache-control");
        assert_eq!(cache, Some("no-store, no-cache, must-revalidate, private"));
    })
    .await;
}

#[tokio::test]
async fn checklist_03_a_chosen_id_is_used_as_it_is() {
    on_every_engine("", async |server| {
        let chosen = |name: &str, id: &str| {
            json!({
                "client_name": name, "grant_types": ["client_credentials"], "redirect_uris": [],
                "ext_application_owner": ADMIN, "ext_param_client_id": id, "ext_param_client_secret": "my-own-secret",
            })
        };
        let reply = post(server, REGISTER, &chosen("first", "My_Own_Client_Id_1")).await;
        assert_eq!((reply.status, reply.text("client_id").as_str()), (201, "My_Own_Client_Id_1"), "{reply:?}");
        assert_eq!(reply.text("client_secret"), "my-own-secret");
        assert_eq!(registered(&reply).token(server, &[GRANT]).await.status, 200, "{}", server.engine);
        check_refused(&post(server, REGISTER, &chosen("second", "My_Own_Client_Id_1")).await, METADATA);
        for id in ["fourteen_chars", "a-dash-is-not-allowed", &"x".repeat(31)] {
            check_refused(&post(server, REGISTER, &chosen("third", id)).await, METADATA);
        }
    })
    .await;
}

#[tokio::test]
async fn checklist_05_no_redirect_uri_needs_no_code_grant() {
    on_sqlite("", async |server| {
        let mut body = order("uris");
        body["ext_application_owner"] = ADMIN.into();
        body["redirect_uris"] = json!([]);
        body["grant_types"] = json!(["authorization_code"]);
        check_refused(&post(server, REGISTER, &body).await, METADATA);
        body["grant_types"] = json!(["client_credentials"]);
        let reply = post(server, REGISTER, &body).await;
        assert_eq!((reply.status, &reply.json()["redirect_uris"]), (201, &json!([""])), "{reply:?}");
    })
    .await;
}

#[tokio::test]
async fn checklist_06_an_update_changes_what_it_names() {
    on_every_engine("", async |server| {
        insert_bob(server).await;
        let created = post(server, REGISTER, &order("before")).await;
        let (id, secret) = (created.text("client_id"), created.text("client_secret"));
        // The secret where the id belongs: some versions of API-M send that.
        let change = json!({
            "client_name": "after", "client_id": secret, "grant_types": ["client_credentials"],
            "redirect_uris": ["https://app.acme.com/other"], "token_type_extension": "Default",
        });
        let mut expected = created.json();
        for name in ["client_name", "grant_types", "redirect_uris", "token_type_extension"] {
            expected[name] = change[name].clone();
        }
        let changed = put(server, &raw(&id), &change).await;
        assert_eq!((changed.status, changed.json()), (200, expected.clone()), "{}", server.engine);
        for nothing in [json!({}), json!({ "client_name": null, "grant_types": [], "redirect_uris": [] })] {
            let same = put(server, &raw(&id), &nothing).await;
            assert_eq!((same.status, same.json()), (200, expected.clone()), "{nothing}, {}", server.engine);
        }
        // What several URIs were stored as comes back as one text; the word `null` clears it.
        for (uris, stored) in [
            (json!(["https://a.example/x", "https://b.example/y"]), "regexp=(https://a.example/x|https://b.example/y)"),
            (
                json!(["regexp=(https://c.example/x|https://d.example/y)"]),
                "regexp=(https://c.example/x|https://d.example/y)",
            ),
            (json!(["NULL"]), ""),
        ] {
            let changed = put(server, &raw(&id), &json!({ "redirect_uris": uris })).await;
            assert_eq!((changed.status, &changed.json()["redirect_uris"]), (200, &json!([stored])), "{changed:?}");
        }
        for uri in ["regexp=.*", "regexp=(javascript:alert(1))", "regexp=()", "regexp=(https://a.example/|)"] {
            check_refused(&put(server, &raw(&id), &json!({ "redirect_uris": [uri] })).await, "invalid_redirect_uri");
        }
        let long = put(server, &raw(&id), &json!({ "client_name": "n".repeat(300) })).await;
        check_refused(&long, METADATA);
    })
    .await;
}

#[tokio::test]
async fn checklist_07_a_deletion_ends_every_token() {
    on_every_engine("", async |server| {
        for token_type in ["JWT", "Default"] {
            let client = register(server, token_type, json!({ "token_type_extension": token_type })).await;
            let tokens = [
                client.application_token(server).await,
                client.log_in(server, "a").await.text("access_token"),
                client.log_in(server, "b").await.text("access_token"),
            ];
            let reply = delete(server, &raw(&client.id)).await;
            assert_eq!((reply.status, reply.body.as_str()), (204, ""), "{reply:?}");
            let told = Told::by(server).await;
            for token in &tokens {
                assert!(!server.is_active(token).await, "{}: {token_type}", server.engine);
                assert!(told.is_dead(token), "{}: {token_type}", server.engine);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn checklist_08_an_unknown_id_is_401_without_a_body() {
    on_sqlite("", async |server| {
        for path in [raw("nobody_knows_this"), encoded("nobody_knows_this")] {
            for method in [Method::GET, Method::PUT, Method::DELETE] {
                let reply = call(server, method.clone(), &path, Some(&json!({}))).await;
                assert_eq!((reply.status, reply.body.as_str()), (401, ""), "{method} {path}");
                // Not the refusal of a caller, which names the user.
                assert_eq!(reply.header("www-authenticate"), None);
            }
        }
        check_refused(&get(server, &format!("{REGISTER}/%20")).await, METADATA);
    })
    .await;
}

#[tokio::test]
async fn checklist_09_a_new_secret_ends_the_old_one_and_its_tokens() {
    on_every_engine("", async |server| {
        let old = register(server, "secret", json!({})).await;
        let token = old.application_token(server).await;
        // No body, as API-M sends it.
        let reply = call(server, Method::POST, &format!("{}/regenerate-consumer-secret", raw(&old.id)), None).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let new = registered(&reply);
        assert!(new.id == old.id && new.secret != old.secret);
        old.token(server, &[GRANT]).await.check_error(401, "invalid_client", "Client Authentication failed.");
        assert!(!server.is_active(&token).await, "{}", server.engine);
        assert_eq!(new.token(server, &[GRANT]).await.status, 200, "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn checklist_10_the_owner_comes_in_the_body_or_in_the_query() {
    on_every_engine("", async |server| {
        for name in ["bob", "carol", "dave"] {
            insert_user(server, TenantId::SUPER, name, "p", &["Internal/subscriber"]).await;
        }
        let client = register(server, "given-away", json!({})).await;
        let path = format!("{}/change-owner", raw(&client.id));
        let by_body = post(server, &path, &json!({ "applicationOwner": "bob" })).await;
        assert_eq!((by_body.status, by_body.text("ext_application_owner").as_str()), (200, "bob"), "{by_body:?}");
        assert_eq!(by_body.text("client_name"), "given-away", "the name stays");
        let query = format!("{}/change-owner?applicationOwner=carol%40carbon.super", encoded(&client.id));
        let by_query = call(server, Method::POST, &query, None).await;
        assert_eq!((by_query.status, by_query.text("ext_application_owner").as_str()), (200, "carol"), "{by_query:?}");
        let request = server.post(&path).basic_auth(ADMIN, Some(ADMIN_PASSWORD));
        let by_form = request.form(&[("applicationOwner", "dave")]).call().await;
        assert_eq!(by_form.text("ext_application_owner"), "dave", "{by_form:?}");
        assert_eq!(get(server, &raw(&client.id)).await.json(), by_form.json());
        // A client speaks for its owner.
        let token = client.application_token(server).await;
        assert_eq!(server.introspect(&token).await["username"], "dave@carbon.super", "{}", server.engine);
        for body in [json!({}), json!({ "applicationOwner": "" }), json!({ "applicationOwner": "nobody" }), json!(7)] {
            check_refused(&post(server, &path, &body).await, METADATA);
        }
        let unknown = format!("{}/change-owner?applicationOwner=bob", raw("nobody_knows_this"));
        assert_eq!(call(server, Method::POST, &unknown, None).await.status, 401);
        assert_eq!(get(server, &raw(&client.id)).await.text("ext_application_owner"), "dave");
    })
    .await;
}

#[tokio::test]
async fn checklist_11_ids_as_they_are_and_as_base64url() {
    on_sqlite("", async |server| {
        let client = register(server, "encoded", json!({})).await;
        let shown = get(server, &raw(&client.id)).await.json();
        for path in [
            encoded(&client.id),
            encoded(&client.id).replace('=', "%3D"),
            format!("{}?decodeKey=true", encoded(&client.id)),
        ] {
            let reply = get(server, &path).await;
            assert_eq!((reply.status, reply.json()), (200, shown.clone()), "{path}");
        }
        assert_eq!(get(server, &format!("{}?decodeKey=false", raw(&client.id))).await.json(), shown);
        assert_eq!(get(server, &format!("{}?decodeKey=false", encoded(&client.id))).await.status, 401);
        // An id that is itself base64url of another: the id as it is wins.
        let inner = register(server, "inner", json!({ "ext_param_client_id": "inner_client_id" })).await;
        let outer_id = encoded(&inner.id).rsplit_once('/').unwrap().1.to_owned();
        let outer = register(server, "outer", json!({ "ext_param_client_id": outer_id })).await;
        assert_eq!(get(server, &raw(&outer.id)).await.text("client_name"), "outer");
        let secret = format!("{}/regenerate-consumer-secret", encoded(&outer.id));
        assert_eq!(call(server, Method::POST, &secret, None).await.text("client_id"), outer.id);
        assert_eq!(put(server, &encoded(&outer.id), &json!({ "client_name": "renamed" })).await.status, 200);
        assert_eq!(delete(server, &encoded(&outer.id)).await.status, 204);
        assert_eq!(get(server, &raw(&outer.id)).await.text("client_name"), "inner");
    })
    .await;
}

#[tokio::test]
async fn checklist_12_the_token_type_decides() {
    on_sqlite("", async |server| {
        let words = [(json!("JWT"), true), (json!("Default"), false), (Value::Null, false), (json!("OAUTH"), false)];
        for (number, (word, is_jwt)) in words.into_iter().enumerate() {
            let client = register(server, &format!("type-{number}"), json!({ "token_type_extension": word })).await;
            let token = client.application_token(server).await;
            assert_eq!(token.contains('.'), is_jwt, "{word}: {token}");
        }
        let absent = json!({ "client_name": "absent", "grant_types": ["client_credentials"], "redirect_uris": [] });
        let client = registered(&post(server, REGISTER, &absent).await);
        assert!(!client.application_token(server).await.contains('.'));
    })
    .await;
}

#[tokio::test]
async fn checklist_14_unknown_members_are_ignored() {
    on_sqlite("", async |server| {
        let mut body = order("unknown");
        body["ext_application_owner"] = ADMIN.into();
        let ignored = json!({
            "client_id": "ignored", "client_secret": "ignored", "application_type": "web", "jwks_uri": "https://a.example/",
            "url": "x", "contacts": ["a"], "post_logout_redirect_uris": ["b"], "request_uris": ["c"],
            "response_types": ["code"], "backchannel_logout_session_required": true, "client_secret_expires_at": 0,
            "something_new": { "a": [1, null] },
        });
        body.as_object_mut().unwrap().extend(ignored.as_object().unwrap().clone());
        let reply = post(server, REGISTER, &body).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        assert!(reply.text("client_id") != "ignored" && reply.text("client_secret") != "ignored");
        assert_eq!(put(server, &raw(&reply.text("client_id")), &ignored).await.status, 200);
    })
    .await;
}

/// Only an administrator may let a client speak for somebody else.
#[tokio::test]
async fn whoever_gives_a_client_away_is_an_administrator() {
    on_sqlite("", async |server| {
        insert_bob(server).await;
        crate::harness::permit(
            server,
            TenantId::SUPER,
            "publisher",
            "/permission/admin/manage/identity/applicationmgt",
        )
        .await;
        insert_user(server, TenantId::SUPER, "registrar", "r", &["Internal/publisher"]).await;
        let body = json!({ "client_name": "own", "grant_types": ["client_credentials"], "redirect_uris": [] });
        let request = server.post(REGISTER).basic_auth("registrar", Some("r"));
        let client = registered(&request.json(&body).call().await);
        let path = format!("{}/change-owner", raw(&client.id));
        for owner in [ADMIN, "bob"] {
            let request = server.post(&path).basic_auth("registrar", Some("r"));
            let reply = request.json(&json!({ "applicationOwner": owner })).call().await;
            check_refused(&reply, METADATA);
        }
        assert_eq!(get(server, &raw(&client.id)).await.text("ext_application_owner"), "registrar");
        let plain = server.post(&path).basic_auth("bob", Some("bob's"));
        assert_eq!(plain.json(&json!({ "applicationOwner": "bob" })).call().await.status, 403);
    })
    .await;
}

/// Who has a client's secret speaks with its owner's roles.
#[tokio::test]
async fn a_client_is_its_owners_and_the_administrators() {
    on_sqlite("", async |server| {
        let path = "/permission/admin/manage/identity/applicationmgt";
        crate::harness::permit(server, TenantId::SUPER, "publisher", path).await;
        insert_user(server, TenantId::SUPER, "registrar", "r", &["Internal/publisher"]).await;
        let body = json!({ "client_name": "of_admin", "grant_types": ["client_credentials"], "redirect_uris": [] });
        let of_admin =
            registered(&server.post(REGISTER).basic_auth(ADMIN, Some(ADMIN_PASSWORD)).json(&body).call().await);
        let body = json!({ "client_name": "of_registrar", "grant_types": ["client_credentials"], "redirect_uris": [] });
        let own = registered(&server.post(REGISTER).basic_auth("registrar", Some("r")).json(&body).call().await);
        for (client, is_own) in [(&of_admin, false), (&own, true)] {
            let path = raw(&client.id);
            let by_name = "/api/identity/oauth2/dcr/v1.1/register?client_name=of_admin";
            let requests = [
                server.get(&path),
                server.get(if is_own { &path } else { by_name }),
                server
                    .request(Method::PUT, &path)
                    .json(&json!({ "client_name": if is_own { "of_registrar" } else { "of_admin" } })),
                server.post(&format!("{path}/change-owner?applicationOwner=registrar")),
                server.post(&format!("{path}/regenerate-consumer-secret")),
                server.request(Method::DELETE, &path),
            ];
            for (number, request) in requests.into_iter().enumerate() {
                let reply = request.basic_auth("registrar", Some("r")).call().await;
                assert_eq!((200..300).contains(&reply.status), is_own, "{number}: {reply:?}");
            }
        }
        assert_eq!(get(server, &raw(&of_admin.id)).await.text("client_secret"), of_admin.secret);
    })
    .await;
}
