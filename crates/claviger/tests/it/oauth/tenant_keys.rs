//! Tenants' own signing keys, from their key stores in the registry: issue, publication, checks of all kinds, change, trouble.
//!
//! Signatures are checked with the public key that OpenSSL took out of the certificate, and by aws-lc itself.

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, FIRST, KEYSTORE, Options, Process, RENEWED, Registered, Reply, Server,
    TenantStore, claims, databases, insert_tenant, insert_user, on_every_engine, on_sqlite, put_key_store, register,
};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use claviger::app::SystemEntropy;
use claviger_gateway::model::{ApplicationEntry, ApplicationKey};
use claviger_proto::encode::{base64url, from_base64url, hex};
use claviger_proto::entropy::uuid;
use claviger_proto::hash::sha256;
use claviger_proto::ids::{ApplicationId, ApplicationUuid, ConsumerKey, TenantId};
use claviger_proto::jose::JwkSet;
use claviger_proto::time::Clock as _;
use claviger_store::applications::{self, KeyMapping, NewApplication};
use claviger_store::error::StoreError;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;

const BOSS: (&str, &str) = ("boss", "boss's");
const GRANT: (&str, &str) = ("grant_type", "client_credentials");
/// 1024 bits, as the old server of 2.1 made them.
const SHORT: TenantStore = TenantStore {
    file: include_bytes!("../../../../claviger-proto/src/keystore/fixtures/small.jks"),
    password: "wso2carbon",
    alias: "wso2carbon",
    certificate: &[],
    public: &[],
};

/// A tenant with an administrator and a client that gets JWTs.
async fn tenant(server: &Server, domain: &'static str) -> (TenantId, Registered) {
    let tenant = insert_tenant(server, domain).await;
    insert_user(server, tenant, BOSS.0, BOSS.1, &["admin"]).await;
    (tenant, client(server, domain, "JWT").await)
}

async fn client(server: &Server, domain: &str, kind: &str) -> Registered {
    let order = json!({
        "client_name": format!("{kind} of {domain}"), "grant_types": ["client_credentials", "password"], "redirect_uris": [],
        "ext_application_owner": BOSS.0, "token_type_extension": kind,
    });
    let path = format!("/t/{domain}/keymanager-operations/dcr/register");
    let request = server.post(&path).basic_auth(format!("{}@{domain}", BOSS.0), Some(BOSS.1)).json(&order);
    let made = request.call().await;
    assert_eq!(made.status, 201, "{made:?}");
    Registered { id: made.text("client_id"), secret: made.text("client_secret") }
}

async fn jwks(server: &Server, prefix: &str) -> Reply {
    server.get(&format!("{prefix}/oauth2/jwks")).call().await
}

/// The names of published keys.
async fn kids(server: &Server, prefix: &str) -> Vec<String> {
    let reply = jwks(server, prefix).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let kid = |key: &Value| key["kid"].as_str().unwrap().to_owned();
    // Each key by its three names, the present one first.
    reply.json()["keys"].as_array().unwrap().iter().step_by(3).map(kid).collect()
}

/// As IS 5.10 names the key of a certificate (rest-3x.md 1.6.3).
fn kid_of(store: &TenantStore) -> String {
    format!("{}_RS256", base64url(hex(&sha256(store.certificate)).as_bytes()))
}

fn header(jwt: &str) -> Value {
    serde_json::from_slice(&from_base64url(jwt.split('.').next().unwrap()).unwrap()).unwrap()
}

/// Did the key of this store sign the token?
fn is_signed_by(jwt: &str, store: &TenantStore) -> bool {
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, store.public);
    key.verify(signed.as_bytes(), &from_base64url(signature).unwrap()).is_ok()
}

/// Did one of the published keys sign it? By modulus and exponent of the set, and nothing of ours.
async fn is_signed_by_published(server: &Server, prefix: &str, jwt: &str) -> bool {
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let set = jwks(server, prefix).await.json();
    let part = |key: &Value, name: &str| from_base64url(key[name].as_str().unwrap()).unwrap();
    set["keys"].as_array().unwrap().iter().any(|key| {
        let public = aws_lc_rs::signature::RsaPublicKeyComponents { n: part(key, "n"), e: part(key, "e") };
        let signature = from_base64url(signature).unwrap();
        key["kid"] == header(jwt)["kid"]
            && public.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).is_ok()
    })
}

#[tokio::test]
async fn a_tenants_tokens_are_signed_with_its_own_key() {
    on_every_engine(KEYSTORE, async |server| {
        let engine = server.engine;
        let (acme, client) = tenant(server, "acme.com").await;
        let other = tenant(server, "other.com").await.1;
        let of_super = register(server, "of super", json!({ "token_type_extension": "JWT" })).await;
        let servers = kids(server, "").await;
        // Without a key store: the server's, as that of a tenant that never gets one.
        let early = client.issue(server, &[GRANT, ("scope", "early")]).await.text("access_token");
        assert_eq!(
            (kids(server, "/t/acme.com").await, header(&early)["kid"].as_str()),
            (servers.clone(), Some(&*servers[0]))
        );

        put_key_store(server, acme, "acme.com", &FIRST).await;
        assert_eq!(kids(server, "/t/acme.com").await, [kid_of(&FIRST)], "{engine}: the set is right at once");
        assert_eq!(kids(server, "").await, servers, "{engine}");
        assert_eq!(kids(server, "/t/other.com").await, servers, "{engine}");
        let token = client.application_token(server).await;
        let kid = kid_of(&FIRST);
        assert_eq!(
            header(&token),
            json!({ "x5t": kid.strip_suffix("_RS256"), "kid": kid, "alg": "RS256" }),
            "{engine}"
        );
        assert!(is_signed_by(&token, &FIRST), "{engine}");
        assert!(is_signed_by_published(server, "/t/acme.com", &token).await, "{engine}");
        assert!(!is_signed_by_published(server, "", &token).await, "{engine}: the super tenant's keys are others");
        for (other, prefix) in [(&of_super, ""), (&other, "/t/other.com")] {
            let token = other.application_token(server).await;
            assert_eq!(header(&token)["kid"], servers[0], "{engine}");
            assert!(is_signed_by_published(server, prefix, &token).await, "{engine}");
            assert!(server.is_active(&token).await, "{engine}");
        }
        // Its tokens come back as they went, also those from before.
        assert!(server.is_active(&token).await && server.is_active(&early).await, "{engine}");
        let form =
            [("grant_type", "password"), ("username", "boss@acme.com"), ("password", BOSS.1), ("scope", "openid")];
        let of_user = client.issue(server, &form).await.text("access_token");
        assert!(is_signed_by(&of_user, &FIRST), "{engine}");
        let told = server.get("/oauth2/userinfo").bearer_auth(&of_user).call().await;
        assert_eq!(told.status, 200, "{engine}: {told:?}");
        let gone = client.revoke(server, &[("token", &token)]).await;
        assert_eq!((gone.status, gone.header("revokedaccesstoken")), (200, Some(token.as_str())), "{engine}");
        assert!(!server.is_active(&token).await, "{engine}");
        // Gateways are given both; the tenant's API may be called by what was signed before, or by the super tenant's client.
        let accepted = |domain: &str, snapshot: &claviger_gateway::model::Snapshot| {
            let issuer = snapshot.issuers.iter().find(|issuer| issuer.tenant_domain == domain).unwrap();
            // Each by its three names, that of the present release first.
            let kids = |set: &JwkSet| set.keys.iter().map(|key| key.kid.clone()).step_by(3).collect::<Vec<_>>();
            (kids(&issuer.jwks), kids(issuer.tenant_jwks.as_ref().unwrap()))
        };
        let snapshot = server.snapshot().await;
        assert_eq!(accepted("acme.com", &snapshot), (servers.clone(), vec![kid]), "{engine}");
        for domain in ["carbon.super", "other.com"] {
            assert_eq!(accepted(domain, &snapshot), (servers.clone(), Vec::new()), "{engine}");
        }
    })
    .await;
}

/// An application with these clients as its keys.
async fn insert_application(server: &Server, keys: &[(&str, &Registered)]) -> ApplicationId {
    let now = server.clock.now();
    let new_uuid = || uuid(&SystemEntropy::default());
    let mapping = |(key_type, client): &(&str, &Registered)| KeyMapping {
        uuid: Some(new_uuid()),
        consumer_key: Some(ConsumerKey::from(client.id.as_str())),
        key_type: (*key_type).to_owned(),
        state: "COMPLETED".to_owned(),
        create_mode: "MAPPED".to_owned(),
        key_manager: "Resident Key Manager".to_owned(),
        info: None,
    };
    let mappings = Arc::new(keys.iter().map(mapping).collect::<Vec<_>>());
    let id = ApplicationUuid(new_uuid());
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        let (mappings, id) = (mappings.clone(), id.clone());
        Box::pin(async move {
            let new = NewApplication {
                uuid: id,
                name: "of two tenants".to_owned(),
                subscriber_id: applications::insert_subscriber(conn, TenantId::SUPER, "mapper", now).await?,
                owner: "mapper".to_owned(),
                policy: "Unlimited".to_owned(),
                description: None,
                token_type: "JWT".to_owned(),
            };
            let id = applications::insert(conn, &new, now).await?;
            for mapping in &*mappings {
                assert!(applications::insert_key(conn, id, mapping).await?);
            }
            Ok(id)
        })
    });
    write.await.unwrap()
}

/// By that they know for whom a tenant's key counts.
#[tokio::test]
async fn gateways_are_told_whose_a_client_is() {
    on_every_engine("", async |server| {
        let of_acme = tenant(server, "acme.com").await.1;
        let of_super = register(server, "of super", json!({})).await;
        let id = insert_application(server, &[("PRODUCTION", &of_acme), ("SANDBOX", &of_super)]).await;
        let expected = [(of_acme.id.clone(), Some("acme.com".to_owned())), (of_super.id.clone(), None)];
        let told = |application: &ApplicationEntry| {
            let key = |key: &ApplicationKey| (key.consumer_key.to_string(), key.tenant_domain.clone());
            let mut keys: Vec<_> = application.keys.iter().map(key).collect();
            keys.sort_by_key(|(_, domain)| domain.is_none());
            keys
        };
        let snapshot = server.snapshot().await;
        let whole = snapshot.applications.iter().find(|application| application.id == id).unwrap();
        assert_eq!(told(whole), expected, "{}", server.engine);
        let request = server.get(&format!("/internal/claviger/v1/applications/{}", id.0));
        let alone = request.basic_auth(ADMIN, Some(ADMIN_PASSWORD)).call().await;
        assert_eq!(alone.status, 200, "{alone:?}");
        assert_eq!(told(&serde_json::from_str(&alone.body).unwrap()), expected, "{}", server.engine);
    })
    .await;
}

/// With the key of one tenant nobody speaks for another: not with his client's name, not with the name of his token.
#[tokio::test]
async fn the_key_of_a_tenant_counts_for_its_clients_only() {
    const UNSTORED: &str = "[oauth.token_persistence]\npersist_jwt_access_tokens = false\n";
    static WITHOUT_ROWS: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| format!("{KEYSTORE}{UNSTORED}"));
    for sections in [KEYSTORE, WITHOUT_ROWS.as_str()] {
        on_sqlite(sections, async |server| {
            let (acme, of_acme) = tenant(server, "acme.com").await;
            let (other, of_other) = tenant(server, "other.com").await;
            put_key_store(server, acme, "acme.com", &FIRST).await;
            put_key_store(server, other, "other.com", &RENEWED).await;
            let of_super = register(server, "of super", json!({ "token_type_extension": "JWT" })).await;
            let (super_token, acme_token) =
                (of_super.application_token(server).await, of_acme.application_token(server).await);
            let other_token = of_other.application_token(server).await;
            assert!(is_signed_by(&acme_token, &FIRST) && is_signed_by(&other_token, &RENEWED));
            // The key is right, and so is everything else.
            assert!(server.is_active(&FIRST.sign(&claims(&acme_token))).await);
            // An ID token may have a `jti`, and says more than an access token does.
            for claim in ["at_hash", "nonce"] {
                let mut identifying = claims(&acme_token);
                identifying[claim] = json!("x");
                assert!(!server.is_active(&FIRST.sign(&identifying)).await, "{sections}: {claim}");
            }
            let forged_for = async |token: &str, key: &TenantStore| {
                let forged = key.sign(&claims(token));
                let feed = server.request(Method::POST, "/internal/claviger/v1/check-token");
                let verdict = feed.basic_auth(ADMIN, Some(ADMIN_PASSWORD)).form(&[("token", &forged)]).call().await;
                assert_eq!(verdict.json(), json!("Inactive"));
                !server.is_active(&forged).await
            };
            assert!(forged_for(&acme_token, &RENEWED).await, "another tenant's key");
            assert!(forged_for(&other_token, &FIRST).await, "another tenant's key");
            assert!(forged_for(&super_token, &FIRST).await, "for the super tenant");
            // One's own client beside the name and the user of somebody else's token.
            for victim in [&super_token, &other_token] {
                let mut mixed = claims(victim);
                mixed["azp"] = json!(of_acme.id);
                let mixed = FIRST.sign(&mixed);
                assert!(!server.is_active(&mixed).await, "{sections}: the name of another's token");
                let refused = server.get("/oauth2/userinfo").bearer_auth(&mixed).call().await;
                assert_eq!(refused.status, 401, "{refused:?}");
            }
            assert!(server.is_active(&super_token).await && server.is_active(&other_token).await);
            let unnamed = json!({ "iss": claims(&acme_token)["iss"], "jti": "x", "exp": claims(&acme_token)["exp"] });
            assert!(!server.is_active(&FIRST.sign(&unnamed)).await, "no client");
        })
        .await;
    }
}

#[tokio::test]
async fn a_changed_key_store_is_picked_up_and_gateways_are_told() {
    on_every_engine(KEYSTORE, async |server| {
        let engine = server.engine;
        let (acme, client) = tenant(server, "acme.com").await;
        put_key_store(server, acme, "acme.com", &FIRST).await;
        let old = client.issue(server, &[GRANT, ("scope", "old")]).await.text("access_token");
        assert!(is_signed_by(&old, &FIRST) && server.is_active(&old).await, "{engine}");
        let start = server.snapshot().await.as_of.0;
        let events = async || {
            let request = server.get(&format!("/internal/claviger/v1/events?after={start}&wait_ms=0"));
            let page = request.basic_auth(ADMIN, Some(ADMIN_PASSWORD)).call().await;
            assert_eq!(page.status, 200, "{page:?}");
            page.body.matches("keys_changed").count()
        };
        assert_eq!(events().await, 0, "{engine}: nobody knew another");

        put_key_store(server, acme, "acme.com", &RENEWED).await;
        // By nobody's question but the clock's.
        server.clock.advance_s(5);
        let new = client.application_token(server).await;
        assert!(is_signed_by(&new, &RENEWED), "{engine}: {}", header(&new));
        assert_eq!(events().await, 1, "{engine}");
        assert!(server.is_active(&new).await && !server.is_active(&old).await, "{engine}");
        assert_eq!(kids(server, "/t/acme.com").await, [kid_of(&RENEWED)], "{engine}");
        // Back again; who asks for the keys has them, and from then on they sign.
        put_key_store(server, acme, "acme.com", &FIRST).await;
        assert_eq!(kids(server, "/t/acme.com").await, [kid_of(&FIRST)], "{engine}");
        let present = client.application_token(server).await;
        assert!(is_signed_by(&present, &FIRST), "{engine}");
        // A token of a key that this node has not met: another node may have.
        put_key_store(server, acme, "acme.com", &RENEWED).await;
        server.clock.advance_s(1);
        assert!(server.is_active(&RENEWED.sign(&claims(&present))).await, "{engine}");
        assert!(is_signed_by(&client.application_token(server).await, &RENEWED), "{engine}");
    })
    .await;
}

#[tokio::test]
async fn a_key_store_that_cannot_be_read_stops_the_tenants_jwts_and_nothing_else() {
    on_every_engine(KEYSTORE, async |server| {
        let engine = server.engine;
        let (acme, jwt) = tenant(server, "acme.com").await;
        let opaque = client(server, "acme.com", "Default").await;
        let of_super = register(server, "of super", json!({ "token_type_extension": "JWT" })).await;
        let early = jwt.issue(server, &[GRANT, ("scope", "early")]).await.text("access_token");
        put_key_store(server, acme, "acme.com", &TenantStore { password: "another", ..FIRST }).await;
        let set = jwks(server, "/t/acme.com").await;
        assert_eq!((set.status, set.header("retry-after").is_some()), (503, true), "{engine}: {set:?}");
        let refused = jwt.token(server, &[GRANT]).await;
        refused.check_error(503, "temporarily_unavailable", "The signing key of the tenant cannot be read.");
        assert_eq!(server.active_rows(&jwt.id).await, 1, "{engine}: no row without its token");
        assert_eq!(opaque.token(server, &[GRANT]).await.status, 200, "{engine}");
        assert!(server.is_active(&of_super.application_token(server).await).await, "{engine}");
        assert!(server.is_active(&early).await, "{engine}: the server's key is what it was");
        let doubtful = FIRST.sign(&claims(&early));
        assert!(!server.is_active(&doubtful).await, "{engine}: nobody can tell");
        let revoked = jwt.revoke(server, &[("token", &doubtful)]).await;
        assert_eq!(revoked.status, 503, "{engine}: it may be good again: {revoked:?}");
        assert_eq!(server.snapshot().await.issuers.len(), 2, "{engine}: gateways are served");
        // Somebody repairs it.
        put_key_store(server, acme, "acme.com", &FIRST).await;
        server.clock.advance_s(5);
        assert!(is_signed_by(&jwt.application_token(server).await, &FIRST), "{engine}");
        assert_eq!(jwks(server, "/t/acme.com").await.status, 200, "{engine}");
    })
    .await;
}

#[tokio::test]
async fn a_start_says_that_nobody_can_open_key_stores() {
    const WARNING: &str = "the registry holds key stores of 1 tenants, whose passwords the old server's key opens, and neither \
                           [keystore.internal] nor [keystore.primary] names it";
    for database in databases().await {
        let server = Server::start(&database, Options::default()).await;
        let (engine, acme) = (server.engine, insert_tenant(&server, "acme.com").await);
        put_key_store(&server, acme, "acme.com", &FIRST).await;
        insert_tenant(&server, "other.com").await;
        let directory = server.stop_and_keep().await;
        for (section, is_said) in [("", true), (KEYSTORE, false)] {
            let text = format!("{}{section}", database.section());
            std::fs::write(directory.path().join("deployment.toml"), text).unwrap();
            let process = Process::start(&directory, &["--log", "warn"]).await;
            let said = process.kill().output;
            assert_eq!(said.contains(WARNING), is_said, "{engine}: {said}");
        }
        drop(directory);
        database.remove().await;
    }
}

/// As the server's own key of 2.1: good for nothing that others check.
#[tokio::test]
async fn a_key_that_is_too_short_does_not_sign() {
    on_sqlite(KEYSTORE, async |server| {
        let (acme, client) = tenant(server, "acme.com").await;
        put_key_store(server, acme, "acme.com", &SHORT).await;
        assert_eq!(kids(server, "/t/acme.com").await, kids(server, "").await);
        let token = client.application_token(server).await;
        assert!(is_signed_by_published(server, "/t/acme.com", &token).await && server.is_active(&token).await);
    })
    .await;
}

/// The passwords are encrypted with the old server's key, which nobody named.
#[tokio::test]
async fn without_the_old_servers_key_nothing_is_signed_for_a_tenant_that_has_one() {
    on_sqlite("", async |server| {
        let (acme, client) = tenant(server, "acme.com").await;
        put_key_store(server, acme, "acme.com", &FIRST).await;
        let refused = client.token(server, &[GRANT]).await;
        refused.check_error(503, "temporarily_unavailable", "The signing key of the tenant cannot be read.");
    })
    .await;
}
