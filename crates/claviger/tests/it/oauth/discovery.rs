//! Keys and metadata (rest-3x.md 1.11, 1.13).

use crate::harness::{Call as _, claims, on_sqlite, register};
use serde_json::json;

#[tokio::test]
async fn metadata_names_what_is_there() {
    on_sqlite("", async |server| {
        let token = server.get("/oauth2/token/.well-known/openid-configuration").call().await;
        let other = server.get("/oauth2/oidcdiscovery/.well-known/openid-configuration").call().await;
        assert_eq!((token.status, &token.body), (200, &other.body));
        let metadata = token.json();
        let base = &server.base_path;
        for (name, path) in [
            ("issuer", "/oauth2/token"),
            ("authorization_endpoint", "/oauth2/authorize"),
            ("token_endpoint", "/oauth2/token"),
            ("userinfo_endpoint", "/oauth2/userinfo"),
            ("revocation_endpoint", "/oauth2/revoke"),
            ("introspection_endpoint", "/oauth2/introspect"),
            ("registration_endpoint", "/keymanager-operations/dcr/register"),
            ("jwks_uri", "/oauth2/jwks"),
        ] {
            assert_eq!(metadata[name], format!("{base}{path}"), "{name}");
        }
        for grant in metadata["grant_types_supported"].as_array().unwrap() {
            let form = [("grant_type", grant.as_str().unwrap())];
            let reply = server.post("/oauth2/token").form(&form).call().await;
            assert_ne!(reply.text("error_description"), "Unsupported grant_type value", "{grant}");
        }
        // Every endpoint that is named answers with something else than 404.
        for (name, url) in metadata.as_object().unwrap() {
            let is_endpoint = name.ends_with("_endpoint") || name == "jwks_uri";
            if let (true, Some(path)) = (is_endpoint, url.as_str().and_then(|url| url.strip_prefix(base.as_str()))) {
                assert_ne!(server.get(path).call().await.status, 404, "{name}");
            }
        }
        assert_eq!(server.get("/oauth2/other/.well-known/openid-configuration").call().await.status, 404);
    })
    .await;
}

/// As an old server that was given a name of its own.
#[tokio::test]
async fn the_issuer_may_have_another_name() {
    const NAMED: &str = "https://id.example.com/oauth2/token";
    let sections = "[oauth.oidc.id_token]\nissuer = \"https://id.example.com/oauth2/token\"\nsignature_algorithm = \"SHA256withRSA\"\n\
                    [oauth.oidc.user_info]\nresponse_type = \"json\"\n";
    on_sqlite(sections, async |server| {
        let metadata = server.get("/oauth2/token/.well-known/openid-configuration").call().await.json();
        assert_eq!(metadata["issuer"], NAMED);
        assert_eq!(metadata["token_endpoint"], format!("{}/oauth2/token", server.base_path));
        let client = register(server, "named", json!({ "token_type_extension": "JWT" })).await;
        let reply = client.log_in(server, "openid").await;
        for token in ["access_token", "id_token"] {
            assert_eq!(claims(&reply.text(token))["iss"], NAMED, "{token}");
        }
        assert!(server.is_active(&reply.text("access_token")).await);
        assert_eq!(server.snapshot().await.issuers[0].issuer, NAMED);
    })
    .await;
}

#[tokio::test]
async fn the_published_keys() {
    on_sqlite("", async |server| {
        let reply = server.get("/oauth2/jwks").call().await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
        let keys = reply.json()["keys"].as_array().unwrap().clone();
        // One key, by its present name and two former ones.
        assert_eq!(keys.len(), 3);
        assert!(keys.iter().all(|key| key["n"] == keys[0]["n"]));
        let names: Vec<&String> = keys[0].as_object().unwrap().keys().collect();
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(sorted, ["alg", "e", "kid", "kty", "n", "use"], "no private member may be published");
        assert_eq!(
            (&keys[0]["kty"], &keys[0]["alg"], &keys[0]["use"]),
            (&"RSA".into(), &"RS256".into(), &"sig".into())
        );
        assert_eq!(keys[0]["e"], "AQAB");
    })
    .await;
}
