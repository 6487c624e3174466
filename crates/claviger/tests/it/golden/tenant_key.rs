//! The key store of a tenant, which the old server left in the registry: what the tenant's gateways trust signs its tokens.

use super::configuration::{InstallationKey, deployment};
use super::{NOW_MS, server_url};
use crate::harness::{Call as _, Registered, Server};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use claviger::cli::db;
use claviger::config;
use claviger_golden::golden::Golden;
use claviger_golden::options::{Cipher, Layout, Options};
use claviger_golden::{Engine, Release};
use claviger_proto::encode::{base64url, from_base64url, hex};
use claviger_proto::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;

/// Checks the tenant that has one.
pub(super) async fn check(golden: &Golden, server: &Server) {
    let manifest = &golden.manifest;
    let tenant = manifest.tenants.iter().find(|tenant| tenant.key.is_some()).unwrap();
    let (domain, key) = (&tenant.domain, tenant.key.as_ref().unwrap());
    // By this name the old server's tokens call it: API Manager's gateways and others may have it under that.
    let thumbprint = |algorithm| base64url(hex(digest(algorithm, key.certificate).as_ref()).as_bytes());
    let (sha1, sha256) = (thumbprint(&SHA1_FOR_LEGACY_USE_ONLY), thumbprint(&SHA256));
    let kid = match golden.options.release {
        Release::V2_1 | Release::V2_6 => sha1.clone(),
        Release::V3_0 => format!("{sha1}_RS256"),
        Release::V3_1 | Release::V3_2 => format!("{sha256}_RS256"),
    };
    let set = server.get(&format!("/t/{domain}/oauth2/jwks")).call().await;
    assert_eq!(set.status, 200, "{set:?}");
    let published = set.json()["keys"].as_array().unwrap().clone();
    let published: Vec<_> = published.iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(published[0], kid, "{:?}", golden.options);
    // And by every other name that living tokens may have for it.
    let any = [sha1.clone(), format!("{sha1}_RS256"), format!("{sha256}_RS256")];
    assert!(published.len() == 3 && any.iter().all(|kid| published.contains(&kid.as_str())), "{published:?}");
    if golden.options.release == Release::V2_1 {
        // Its tables know no kinds of tokens: all are opaque there.
        return;
    }
    let boss = manifest.user("admin", tenant.id).unwrap();
    let order = json!({
        "client_name": "signed_by_the_tenant", "grant_types": ["client_credentials"], "redirect_uris": [],
        "ext_application_owner": boss.name, "token_type_extension": "JWT",
    });
    let path = format!("/t/{domain}/keymanager-operations/dcr/register");
    let request = server.post(&path).basic_auth(format!("{}@{domain}", boss.name), boss.password.as_ref());
    let made = request.json(&order).call().await;
    assert_eq!(made.status, 201, "{made:?}");
    let client = Registered { id: made.text("client_id"), secret: made.text("client_secret") };
    let token = client.application_token(server).await;
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let header = from_base64url(signed.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(header["kid"], kid, "{:?}", golden.options);
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public);
    let checked = public.verify(signed.as_bytes(), &from_base64url(signature).unwrap());
    assert!(checked.is_ok(), "{:?}", golden.options);
    assert!(server.is_active(&token).await, "{:?}", golden.options);
    // Nothing of it is left for the way back. The administrator of the tenant deletes, and no other.
    let one = format!("{path}/{}", client.id);
    let gone =
        server.request(Method::DELETE, &one).basic_auth(format!("{}@{domain}", boss.name), boss.password.as_ref());
    assert_eq!(gone.call().await.status, 204);
}

/// The key of another installation opens none of its tenants' passwords.
#[tokio::test]
async fn status_names_the_tenant_whose_key_store_does_not_sign() {
    for engine in [Engine::MySql, Engine::Postgres] {
        let Some(url) = server_url(engine) else { continue };
        let release = Release::V2_6;
        let cipher: Arc<dyn Cipher> = Arc::new(InstallationKey::of(release));
        let options = Options { layout: Layout::One, cipher: Some(cipher), ..Options::new(release, NOW_MS) };
        let golden = Golden::create(engine, &url, options).await.unwrap();
        let right = deployment(&golden);
        let of_another = right.replace("keys.jks", "small.jks").replace("store-secret", "wso2carbon");
        let of_another = of_another.replace("rsa-secret", "wso2carbon");
        let domain = &golden.manifest.tenants.iter().find(|tenant| tenant.key.is_some()).unwrap().domain;
        for (text, is_named) in [(right, false), (of_another, true)] {
            let config = config::load(&text, "deployment.toml", &|_| None).unwrap().config;
            let mut out = Vec::new();
            let now = Timestamp::from_millis(golden.manifest.now_ms);
            let code = db::status(&config, now, &mut out).await.unwrap();
            let out = String::from_utf8(out).unwrap();
            let line = format!("warning: the key store of the tenant {domain} does not sign: its property `password`");
            assert_eq!((code, out.contains(&line)), (0, is_named), "{engine:?}: {out}");
            assert_eq!(out.contains("names the key that encrypted the password"), is_named, "{engine:?}: {out}");
        }
        golden.drop_databases().await.unwrap();
    }
}
