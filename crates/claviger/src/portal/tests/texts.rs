//! What answers say, and what is not lost on the way.

use super::harness::Harness;
use super::publisher::{create, weather};
use claviger_proto::ids::TenantId;
use http::Method;
use serde_json::json;

const APIS: &str = "/api/am/publisher/v1/apis";

#[tokio::test]
async fn wrong_parameters_are_refused_in_the_portals_form() {
    let harness = Harness::new().await;
    for path in
        [format!("{APIS}?limit=x"), "/api/am/store/v1/apis?offset=-x".to_owned(), format!("{APIS}/validate?query=%00")]
    {
        let method = if path.contains("validate") { Method::POST } else { Method::GET };
        let answer = harness.call("creator", method, &path, "").await;
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!(400)), "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_star_stands_for_any_text() {
    let harness = Harness::new().await;
    create(&harness, &weather("1.0.0")).await;
    for (query, count) in [("name:*", 1), ("tag:*", 1), ("label:*", 0), ("name:Wea*", 1)] {
        let list = harness.call("creator", Method::GET, &format!("{APIS}?query={query}"), "").await.body;
        assert_eq!(list["count"], count, "{query}: {list}");
    }
    assert_eq!(harness.call("creator", Method::GET, &format!("{APIS}?query=name:"), "").await.status, 400);
}

#[tokio::test]
async fn an_owner_must_be_a_user() {
    let harness = Harness::new().await;
    for (owner, status) in [("nobody", 400), ("nobody@abc.com", 400), ("creator@abc.com", 200), ("creator", 200)] {
        let body =
            json!({"clientName": format!("of {}", owner.replace('@', " ")), "owner": owner, "grantType": "password"});
        let path = "/client-registration/v0.17/register";
        let answer = harness.call("admin", Method::POST, path, &body.to_string()).await;
        assert_eq!(answer.status, status, "{owner}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_definition_that_cannot_be_read_says_why() {
    let harness = Harness::new().await;
    let path = format!("{APIS}/validate-openapi");
    let broken = format!("openapi: 3.0.1\ninfo: [unclosed\npaths: {}\n", "x".repeat(10_000));
    let answer = harness.form("creator", Method::POST, &path, &[("file", &broken)]).await;
    let text = answer.body["errors"][0]["description"].as_str().unwrap();
    assert!(text.contains("line") && text.chars().count() <= 200, "{text}");
}

#[tokio::test]
async fn a_copy_keeps_what_the_portal_does_not_know() {
    let harness = Harness::new().await;
    let id = create(&harness, &weather("1.0.0")).await;
    let copied = |from: &str, version: &str| format!("{APIS}/copy-api?apiId={from}&newVersion={version}");
    // What a product's portal wrote beside it.
    let uuid = id.clone();
    let written = harness.portal.store.write::<(), crate::portal::error::PortalError, _>(move |conn| {
        let uuid = uuid.clone();
        Box::pin(async move {
            let mut api = crate::portal::apis::find(conn, TenantId::SUPER, &uuid).await?.unwrap();
            api.stored.artifact.set("overview", "thumbnail", "/registry/resource/icon");
            api.stored.artifact.set("overview", "redirectURL", "https://elsewhere");
            let xml = api.stored.artifact.encode();
            let new = claviger_store::registry::NewResource {
                tenant: TenantId::SUPER,
                collection: &api.collection,
                name: "api",
                media_type: "application/vnd.wso2-api+xml",
                uuid: &uuid,
                content: xml.as_bytes(),
                user: "creator",
                now: claviger_proto::time::Timestamp::from_secs(1_767_607_872),
            };
            claviger_store::registry::put(conn, &new, &crate::app::SystemEntropy::default()).await?;
            Ok(())
        })
    });
    written.await.unwrap();
    let second = harness.call("creator", Method::POST, &copied(&id, "2.0.0"), "").await;
    assert_eq!((second.status, &second.body["hasThumbnail"]), (201, &json!(true)), "{}", second.body);
    let third = harness.call("creator", Method::POST, &copied(&id, "3.0.0"), "").await;
    let mut conn = harness.portal.store.reader().await.unwrap();
    let third = third.body["id"].as_str().unwrap();
    let stored = crate::portal::apis::find(&mut conn, TenantId::SUPER, third).await.unwrap().unwrap().stored;
    assert_eq!(stored.artifact.overview("redirectURL"), Some("https://elsewhere"));
    assert_eq!(stored.artifact.overview("isLatest"), Some("true"), "of a copy of one that is not the latest");
}
