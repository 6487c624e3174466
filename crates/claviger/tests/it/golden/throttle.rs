//! `/throttle/data/v1` on the tables of the releases whose gateways ask for it (soap-thrift-2x.md 9.1, Appendix D).

use super::{name, server_url, start};
use crate::harness::{Call as _, Reply, Server};
use claviger_golden::golden::Golden;
use claviger_golden::options::{Layout, Options};
use claviger_golden::{Engine, Release};
use serde_json::json;

const ROWS: [&str; 7] = [
    "INSERT INTO AM_BLOCK_CONDITIONS (TYPE, VALUE, ENABLED, DOMAIN, UUID) VALUES ('API', '/weather/1.0.0', 'true', 'carbon.super', 'b1')",
    "INSERT INTO AM_BLOCK_CONDITIONS (TYPE, VALUE, ENABLED, DOMAIN, UUID) VALUES ('APPLICATION', 'bob:Mobile', 'TRUE', 'carbon.super', 'b2')",
    "INSERT INTO AM_BLOCK_CONDITIONS (TYPE, VALUE, ENABLED, DOMAIN, UUID) VALUES ('USER', 'alice@carbon.super', 'true', 'carbon.super', 'b3')",
    "INSERT INTO AM_BLOCK_CONDITIONS (TYPE, VALUE, ENABLED, DOMAIN, UUID) VALUES ('USER', 'eve', 'false', 'carbon.super', 'b4')",
    "INSERT INTO AM_POLICY_GLOBAL (NAME, KEY_TEMPLATE, TENANT_ID, UUID) VALUES ('r1', '$apiContext', -1234, 'g1')",
    "INSERT INTO AM_POLICY_GLOBAL (NAME, KEY_TEMPLATE, TENANT_ID, UUID) VALUES ('r2', '$userId:$apiContext', -1234, 'g2')",
    "INSERT INTO AM_POLICY_GLOBAL (NAME, KEY_TEMPLATE, TENANT_ID, UUID) VALUES ('r3', '$apiContext', -1234, 'g3')",
];

async fn ask(server: &Server, path: &str) -> Reply {
    server.get(path).basic_auth("admin", Some(&server.admin_password)).call().await
}

#[tokio::test]
async fn old_gateways_load_in_the_form_of_their_release() {
    for engine in [Engine::MySql, Engine::Postgres] {
        let Some(url) = server_url(engine) else { continue };
        for (release, address) in [
            (Release::V2_1, "10.1.2.3"),
            (Release::V3_0, "10.1.2.3"),
            (Release::V3_1, r#"{"fixedIp":"10.1.2.3","invert":false}"#),
        ] {
            let options = Options { layout: Layout::One, ..Options::new(release, super::NOW_MS) };
            let golden = Golden::create(engine, &url, options).await.unwrap();
            let block = format!(
                "INSERT INTO AM_BLOCK_CONDITIONS (TYPE, VALUE, ENABLED, DOMAIN, UUID) VALUES ('IP', '{address}', 'true', 'carbon.super', 'b5')"
            );
            for row in ROWS.iter().copied().chain([block.as_str()]) {
                golden.databases.api_manager.run(row).await.unwrap();
            }
            let server = start(&golden).await;
            check(&server, release, name(engine)).await;
            server.stop().await;
            golden.drop_databases().await.unwrap();
        }
    }
}

async fn check(server: &Server, release: Release, engine: &str) {
    let blocks = ask(server, "/throttle/data/v1/block").await;
    assert_eq!(blocks.status, 200, "{engine} {release:?}: {blocks:?}");
    let mut blocks = blocks.json();
    let addresses = blocks["ip"].take();
    let expected = json!({ "api": ["/weather/1.0.0"], "application": ["bob:Mobile"], "ip": null,
                           "user": ["alice@carbon.super"], "custom": [] });
    assert_eq!(blocks, expected, "{engine} {release:?}");
    if release == Release::V3_1 {
        let (kind, address) = (&addresses[0]["type"], &addresses[0]["fixedIp"]);
        assert_eq!((kind, address), (&json!("IP"), &json!("10.1.2.3")), "{engine} {addresses}");
        assert_eq!(addresses[0]["tenantDomain"], "carbon.super", "{engine} {addresses}");
    } else {
        assert_eq!(addresses, json!(["carbon.super:10.1.2.3"]), "{engine} {release:?}");
    }
    let templates = ask(server, "/throttle/data/v1/keyTemplates").await;
    assert_eq!(templates.json(), json!(["$apiContext", "$userId:$apiContext"]), "{engine} {release:?}");
    assert_eq!(ask(server, "/throttle/data/v1/throttle?query=x").await.json(), json!([]), "{engine} {release:?}");
    assert_eq!(ask(server, "/throttle/data/v1/throttleAsString?query=x").await.json(), json!(""));
    let revoked = ask(server, "/throttle/data/v1/revokedjwt").await;
    if release == Release::V2_1 {
        assert_eq!(revoked.status, 404, "{engine} {revoked:?}");
    } else {
        let revoked = revoked.json();
        let rows = revoked.as_array().unwrap();
        assert!(!rows.is_empty(), "{engine} {release:?}: the old server left one");
        assert!(rows.iter().all(|row| row["jwt_signature"].is_string() && row["expiry_time"].is_i64()), "{rows:?}");
    }
    // What came with 3.2 is not there.
    for path in ["/apis", "/block", "/keymanagers", "/revokedjwt"] {
        let reply = ask(server, &format!("/internal/data/v1{path}")).await;
        assert_eq!(reply.status, 501, "{engine} {release:?} {path}: {reply:?}");
        assert!(reply.text("description").contains("API-M 3.2"), "{reply:?}");
    }
    let stranger = server.get("/throttle/data/v1/block").call().await;
    let expected =
        json!({ "code": 401, "message": "", "description": "Unauthenticated request", "moreInfo": "", "error": [] });
    assert_eq!((stranger.status, stranger.json()), (401, expected), "{engine} {release:?}");
}
