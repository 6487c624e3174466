//! Which client is calling (rest-3x.md 1.2, rows 5-7, 9, 10 of 1.5).

use crate::harness::{ADMIN, ADMIN_PASSWORD, Call as _, Registered, Server, on_every_engine, on_sqlite, register};
use claviger_proto::event::Event;
use claviger_proto::ids::ConsumerKey;
use claviger_proto::secret::Secret;
use claviger_proto::time::Clock as _;
use claviger_store::error::StoreError;
use serde_json::json;

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

#[tokio::test]
async fn credentials_in_the_header_or_in_the_body() {
    on_sqlite("", async |server| {
        let client = register(server, "by-header-and-body", json!({})).await;
        let by_header = client.issue(server, &[GRANT]).await;
        let form = [GRANT, ("client_id", &client.id), ("client_secret", &client.secret)];
        let by_body = server.post("/oauth2/token").form(&form).call().await;
        assert_eq!(by_body.status, 200, "{by_body:?}");
        assert_eq!(by_body.text("access_token"), by_header.text("access_token"));
        // The scheme's case does not matter, and the id may be repeated beside the header.
        let basic = claviger_proto::encode::base64(format!("{}:{}", client.id, client.secret).as_bytes());
        let request = server.post("/oauth2/token").header("authorization", format!("bAsIc {basic}"));
        assert_eq!(request.form(&[GRANT, ("client_id", &client.id)]).call().await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn missing_and_wrong_credentials() {
    on_sqlite("", async |server| {
        let client = register(server, "refused", json!({})).await;
        let refused = async |reply: crate::harness::Reply| {
            reply.check_error(401, "invalid_client", "Client Authentication failed.");
            assert_eq!(reply.header("www-authenticate"), Some("Basic realm=localhost"));
        };
        let send = async |form: &[(&str, &str)]| server.post("/oauth2/token").form(form).call().await;
        refused(send(&[GRANT]).await).await;
        refused(send(&[GRANT, ("client_id", &client.id)]).await).await;
        refused(send(&[GRANT, ("client_secret", &client.secret)]).await).await;
        refused(send(&[GRANT, ("client_id", &client.id), ("client_secret", "wrong")]).await).await;
        let wrong = Registered { secret: "wrong".to_owned(), ..client.clone() };
        refused(wrong.token(server, &[GRANT]).await).await;
        let empty = Registered { secret: String::new(), ..client.clone() };
        refused(empty.token(server, &[GRANT]).await).await;
        for header in ["Basic", "Basic !", "Bearer x", "Basic bm9jb2xvbg=="] {
            let request = server.post("/oauth2/token").header("authorization", header);
            refused(request.form(&[GRANT]).call().await).await;
        }
    })
    .await;
}

#[tokio::test]
async fn unknown_clients_are_named_without_markup() {
    on_sqlite("", async |server| {
        let unknown = |id: &str| Registered { id: id.to_owned(), secret: "x".to_owned() };
        let reply = unknown("nobody").token(server, &[GRANT]).await;
        reply.check_error(401, "invalid_client", "A valid OAuth client could not be found for client_id: nobody");
        assert_eq!(reply.header("www-authenticate"), None);
        let reply = unknown("<b>&\"").token(server, &[GRANT]).await;
        let text = "A valid OAuth client could not be found for client_id: &lt;b&gt;&amp;&quot;";
        reply.check_error(401, "invalid_client", text);
        assert_eq!(unknown(&"x".repeat(5000)).token(server, &[GRANT]).await.status, 401);
    })
    .await;
}

#[tokio::test]
async fn an_id_is_looked_up_exactly() {
    on_every_engine("", async |server| {
        let preset = json!({ "ext_param_client_id": "Mixed_Case_Client_1", "ext_param_client_secret": "Secret_1" });
        let client = register(server, "mixed-case", preset).await;
        assert_eq!(client.secret, "Secret_1");
        let other = Registered { id: client.id.to_lowercase(), ..client.clone() };
        assert_eq!(other.token(server, &[GRANT]).await.status, 401, "{}", server.engine);
        let other = Registered { secret: client.secret.to_lowercase(), ..client.clone() };
        assert_eq!(other.token(server, &[GRANT]).await.status, 401, "{}", server.engine);
        assert_eq!(client.token(server, &[GRANT]).await.status, 200, "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn header_and_body_together_are_refused() {
    on_sqlite("", async |server| {
        let client = register(server, "twice", json!({})).await;
        let text = "Request body and headers contain authorization information";
        let both = [GRANT, ("client_id", client.id.as_str()), ("client_secret", &client.secret)];
        client.token(server, &both).await.check_error(400, "invalid_request", text);
        let two_ids = [GRANT, ("client_id", "another_client_id")];
        client.token(server, &two_ids).await.check_error(400, "invalid_request", text);
    })
    .await;
}

#[tokio::test]
async fn a_public_client_needs_no_secret_but_a_wrong_one_is_wrong() {
    on_sqlite("", async |server| {
        let client = register(server, "public", json!({ "bypassClientCredentials": true })).await;
        let user = [("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD)];
        let send = async |server: &Server, more: &[(&str, &str)]| {
            let form: Vec<_> = [&user[..], &[("client_id", client.id.as_str())], more].concat();
            server.post("/oauth2/token").form(&form).call().await.status
        };
        assert_eq!(send(server, &[]).await, 200);
        assert_eq!(send(server, &[("client_secret", &client.secret)]).await, 200);
        assert_eq!(send(server, &[("client_secret", "wrong")]).await, 401);
        // Without its secret it has nothing of its own to show: RFC 6749 section 4.4.
        let alone = server.post("/oauth2/token").form(&[GRANT, ("client_id", &client.id)]).call().await;
        alone.check_error(
            400,
            "unauthorized_client",
            "The authenticated client is not authorized to use this authorization grant type",
        );
        assert_eq!(client.token(server, &[GRANT]).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_secret_in_the_header_may_hold_a_colon() {
    on_sqlite("", async |server| {
        let preset = json!({ "ext_param_client_id": "client_with_colon", "ext_param_client_secret": "a:b:c" });
        let client = register(server, "colon", preset).await;
        assert_eq!(client.token(server, &[GRANT]).await.status, 200);
    })
    .await;
}

/// CONSUMER_SECRET may be NULL or empty.
#[tokio::test]
async fn a_secret_that_is_empty_is_none() {
    on_every_engine("", async |server| {
        let preset = json!({ "ext_param_client_id": "without_a_secret" });
        let mut client = register(server, "no-secret", preset).await;
        let write = server.app().store.write::<_, StoreError, _>(|conn| {
            Box::pin(async move {
                let key = ConsumerKey::from("without_a_secret");
                let client = claviger_store::clients::find(conn, &key).await?.unwrap();
                claviger_store::clients::update_secret(conn, &client, &Secret::new("")).await?;
                let now = claviger::app::SystemClock.now();
                conn.emit(Event::ClientChanged { consumer_key: key }, now).await.map(|_| ())
            })
        });
        write.await.unwrap();
        client.secret = String::new();
        let reply = client.token(server, &[GRANT]).await;
        reply.check_error(401, "invalid_client", "Client Authentication failed.");
    })
    .await;
}
