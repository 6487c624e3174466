//! Portal-gateway-3x.md 6.5 and security.md 4.2: tokens, applications, subscriptions, scopes.

use crate::control::State;
use crate::world::{KEY_MANAGER, START, World, active, api, application};
use claviger_gateway::GatewayConfig;
use claviger_gateway::model::{ActiveToken, Issuer, RevokedToken, RevokedUser, SubscriptionStatus};
use claviger_proto::encode::base64url;
use claviger_proto::event::Event;
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::{ApiId, ApplicationId, ConsumerKey};
use claviger_proto::jose::{JwkSet, SigningKey, generate_rsa_2048};
use claviger_proto::time::Timestamp;
use std::sync::{Arc, LazyLock};
use tokio::sync::Semaphore;

pub(crate) static KEYS: LazyLock<[SigningKey; 2]> = LazyLock::new(|| {
    [b"certificate 1", b"certificate 2"].map(|name| SigningKey::new(&generate_rsa_2048().unwrap(), name).unwrap())
});
const ISSUER: &str = "https://issuer.example/oauth2/token";

pub(crate) fn issuer(keys: &[&SigningKey]) -> Issuer {
    Issuer {
        key_manager: KEY_MANAGER.to_owned(),
        tenant_domain: "carbon.super".to_owned(),
        issuer: ISSUER.to_owned(),
        jwks: JwkSet { keys: keys.iter().map(|key| key.public_jwk()).collect() },
        tenant_jwks: Some(JwkSet::default()),
        consumer_key_claim: "azp".to_owned(),
        scopes_claim: "scope".to_owned(),
    }
}

/// A world whose gateway accepts tokens of the first key.
async fn world_with_issuer() -> World {
    World::start_with(GatewayConfig::default(), |control| control.state().issuers = vec![issuer(&[&KEYS[0]])]).await
}

pub(crate) fn claims(jti: &str, more: &str) -> String {
    let now = START.as_secs();
    format!(
        r#"{{"sub":"user","azp":"prod-1","iss":"{ISSUER}","iat":{now},"nbf":{now},"exp":{},"jti":"{jti}","scope":"read x"{more}}}"#,
        now + 3600
    )
}

#[tokio::test]
async fn every_finding_has_its_code() {
    let world = World::start().await;
    let rows = [
        ("token-prod-1", 200, ""),
        ("token-sand-1", 200, ""),
        ("token-prod-2", 401, "900907"),
        ("token-sand-2", 401, "900907"),
        ("token-prod-3", 401, "900907"),
        ("token-sand-3", 200, ""),
        ("token-prod-4", 401, "900909"),
        ("token-prod-5", 401, "900909"),
        ("token-prod-6", 200, ""),
        ("token-prod-7", 403, "900908"),
        ("unknown", 401, "900901"),
        ("one.dot", 401, "900901"),
        ("three.dots.are.none", 401, "900901"),
        ("a.b.c", 401, "900901"),
    ];
    for (token, status, code) in rows {
        let reply = world.get("/weather/1.0.0/city/1", token).await;
        assert_eq!(reply.code(), (status, code), "{token}: {reply:?}");
        let challenge = reply.header("www-authenticate");
        let expected =
            r#"OAuth2 realm="WSO2 API Manager", error="invalid_token", error_description="The access token expired""#;
        assert_eq!(challenge, (status == 401).then_some(expected), "{token}");
    }
    assert!(world.get("/weather/city/1", "one.dot").await.body.contains("Invalid JWT token"));
    let reply = world.get("/weather/read", "token-prod-1").await;
    assert_eq!(reply.code(), (403, "900910"));
    assert!(reply.body.contains("User is NOT authorized to access the Resource: /read. Scope validation failed."));
    assert_eq!(world.get("/weather/read", "token-reader").await.status, 200);
    let reply = world.get("/weather/1.0.0/city/1", "token-prod-7").await;
    assert!(reply.body.contains("User is NOT authorized to access the Resource. API Subscription validation failed."));
    let reply = world.call("GET", "/weather/city/1", &[("Authorization", "bearer token-prod-1")]).await;
    assert_eq!(reply.code(), (401, "900902"));
    let reply = world.call("GET", "/weather/city/1", &[("Authorization", "Basic YTpi, Bearer token-prod-1")]).await;
    assert!(reply.body.contains("authorization: Basic YTpi\n"), "{reply:?}");
}

#[tokio::test]
async fn keys_reach_the_endpoint_of_their_type() {
    let world = World::start_with(GatewayConfig::default(), |control| {
        let mut state = control.state();
        let url = state.apis[&ApiId(1)].production.clone().unwrap().url;
        let (mut no_production, mut no_sandbox) = (api(2, "/sandbox-only", &url), api(3, "/production-only", &url));
        no_production.production = None;
        no_sandbox.sandbox = None;
        state.apis.extend([(ApiId(2), no_production), (ApiId(3), no_sandbox)]);
        let application = state.applications.get_mut(&ApplicationId(1)).unwrap();
        for api_id in [ApiId(2), ApiId(3)] {
            let mut subscription = application.subscriptions[0].clone();
            subscription.api_id = api_id;
            application.subscriptions.push(subscription);
        }
    })
    .await;
    let first_line = |body: &str| body.lines().next().map(str::to_owned).unwrap_or_default();
    assert_eq!(first_line(&world.get("/weather/city/1", "token-prod-1").await.body), "GET /base/city/1");
    assert_eq!(first_line(&world.get("/weather/city/1", "token-sand-1").await.body), "GET /base/sandbox/city/1");
    let reply = world.get("/sandbox-only/city/1", "token-prod-1").await;
    assert_eq!(
        reply.body,
        "<am:fault xmlns:am=\"http://wso2.org/apimanager\"><am:code>900901</am:code><am:type>Status report</am:type>\
         <am:message>Runtime Error</am:message><am:description>Production key offered to the API with no production \
         endpoint</am:description></am:fault>"
    );
    assert_eq!(reply.status, 403);
    let reply = world.get("/production-only/city/1", "token-sand-1").await;
    assert!(reply.body.contains("Sandbox key offered to the API with no sandbox endpoint"), "{reply:?}");
    assert_eq!(reply.code(), (403, "900901"));
    assert_eq!(world.get("/sandbox-only/city/1", "token-sand-1").await.status, 200);
    // A resource without authentication counts as production.
    assert_eq!(world.call("GET", "/sandbox-only/open", &[]).await.code(), (403, "900901"));
}

#[tokio::test]
async fn an_api_sets_header_key_managers_and_schemes() {
    let world = World::start_with(GatewayConfig::default(), |control| {
        let mut state = control.state();
        let url = state.apis[&ApiId(1)].production.clone().unwrap().url;
        let mut api = |id: i64, context: &str, change: &dyn Fn(&mut claviger_gateway::model::ApiDeployment)| {
            let mut api = api(id, context, &url);
            change(&mut api);
            state.apis.insert(api.id, api);
            let application = state.applications.get_mut(&ApplicationId(1)).unwrap();
            let mut subscription = application.subscriptions[0].clone();
            subscription.api_id = ApiId(id);
            application.subscriptions.push(subscription);
        };
        api(2, "/header", &|api| api.authorization_header = "X-Token".to_owned());
        api(3, "/other-manager", &|api| api.key_managers = vec!["Another".to_owned()]);
        api(4, "/this-manager", &|api| api.key_managers = vec![KEY_MANAGER.to_owned()]);
        api(5, "/mutual", &|api| api.security = vec!["oauth2".to_owned(), "mutualssl_mandatory".to_owned()]);
        api(6, "/key-only", &|api| api.security = vec!["api_key".to_owned()]);
    })
    .await;
    let reply = world.get("/header/city/1", "token-prod-1").await;
    assert_eq!(reply.code(), (401, "900902"));
    assert!(reply.body.contains("'X-Token : Bearer ACCESS_TOKEN'"), "{reply:?}");
    let own = [("X-Token", "Bearer token-prod-1"), ("Authorization", "Basic YTpi")];
    let reply = world.call("GET", "/header/city/1", &own).await;
    assert!(reply.body.contains("authorization: Basic YTpi\n") && !reply.body.contains("x-token"), "{reply:?}");
    assert_eq!(world.get("/other-manager/city/1", "token-prod-1").await.code(), (401, "900901"));
    assert_eq!(world.get("/this-manager/city/1", "token-prod-1").await.status, 200);
    assert_eq!(world.get("/mutual/city/1", "token-prod-1").await.code(), (401, "900902"));
    assert_eq!(world.get("/key-only/city/1", "token-prod-1").await.code(), (401, "900902"));
}

#[tokio::test]
async fn a_resource_without_security_needs_no_token_and_loses_it() {
    let world = World::start().await;
    assert_eq!(world.call("GET", "/weather/open", &[]).await.status, 200);
    let reply = world.get("/weather/open", "whatever").await;
    assert!(reply.status == 200 && !reply.body.contains("authorization"), "{reply:?}");
    assert_eq!(world.control.state().token_checks, 0);
}

#[tokio::test]
async fn an_opaque_token_is_asked_about_once_until_its_verdict_ages() {
    let world = World::start().await;
    for _ in 0..3 {
        assert_eq!(world.get("/weather/city/1", "token-prod-1").await.status, 200);
    }
    assert_eq!(world.control.state().token_checks, 1);
    world.clock.advance(GatewayConfig::default().verdict_age_ms_max);
    assert_eq!(world.get("/weather/city/1", "token-prod-1").await.status, 200);
    assert_eq!(world.control.state().token_checks, 2);
    world.clock.advance(3_600_000);
    assert_eq!(world.get("/weather/city/1", "token-prod-1").await.code(), (401, "900901"));
    assert!(world.metrics().contains("gateway_verdict_hits_total 2"), "{}", world.metrics());
}

#[tokio::test]
async fn a_refused_token_is_asked_about_again_only_after_a_moment() {
    let world = World::start().await;
    for _ in 0..3 {
        assert_eq!(world.get("/weather/city/1", "later").await.code(), (401, "900901"));
    }
    assert_eq!(world.control.state().token_checks, 1);
    world.control.state().tokens.insert("later".to_owned(), active("prod-1"));
    world.clock.advance(GatewayConfig::default().negative_verdict_age_ms_max);
    assert_eq!(world.get("/weather/city/1", "later").await.status, 200);
}

#[tokio::test]
async fn callers_with_one_token_share_one_question() {
    let hold = Arc::new(Semaphore::new(0));
    let world =
        World::start_with(GatewayConfig::default(), |control| control.state().hold = Some(Arc::clone(&hold))).await;
    let calls = futures_util::future::join_all((0..20).map(|_| world.get("/weather/city/1", "token-prod-1")));
    let release = async {
        world.control.until(|state| state.token_checks > 0).await;
        // Everyone is on the way or waiting: in_flight counts them.
        tokio::time::timeout(std::time::Duration::from_secs(10), async {
            while !world.metrics().contains("gateway_requests_in_flight 20") {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        hold.add_permits(1);
    };
    let (replies, ()) = tokio::join!(calls, release);
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!(world.control.state().token_checks, 1);
}

#[tokio::test]
async fn without_a_control_plane_only_known_tokens_pass() {
    let world = world_with_issuer().await;
    let known = KEYS[0].sign(&claims("known", ""));
    assert_eq!(world.get("/weather/city/1", "token-prod-1").await.status, 200);
    world.control.state().is_down = true;
    assert_eq!(world.get("/weather/city/1", "token-prod-1").await.status, 200);
    assert_eq!(world.get("/weather/city/1", &known).await.status, 200, "JWTs need no question");
    let reply = world.get("/weather/city/1", "token-sand-1").await;
    assert_eq!(reply.code(), (500, "900900"));
    assert_eq!(reply.header("activityid"), Some("5a5a5a5a-5a5a-4a5a-9a5a-5a5a5a5a5a5a"));
    assert_eq!(reply.header("www-authenticate"), None);
    // Nothing is remembered of the failure.
    world.control.state().is_down = false;
    assert_eq!(world.get("/weather/city/1", "token-sand-1").await.status, 200);
}

#[tokio::test]
async fn too_many_questions_at_once_are_not_asked() {
    let hold = Arc::new(Semaphore::new(0));
    let config = GatewayConfig { token_checks_max: 1, ..GatewayConfig::default() };
    let world = World::start_with(config, |control| control.state().hold = Some(Arc::clone(&hold))).await;
    let first = world.get("/weather/city/1", "token-prod-1");
    let second = async {
        world.control.until(|state| state.token_checks > 0).await;
        let reply = world.get("/weather/city/1", "token-sand-1").await;
        hold.add_permits(1);
        reply
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!((first.status, second.code()), (200, (500, "900900")));
}

#[tokio::test]
async fn jwts_are_checked_here() {
    let world = world_with_issuer().await;
    let now = START.as_secs();
    let good = claims("good", "");
    let rows = [
        ("good", good.clone(), 200, ""),
        ("no exp", good.replace(&format!(r#""exp":{},"#, now + 3600), ""), 401, "900901"),
        ("exp as text", good.replace(&(now + 3600).to_string(), r#""never""#), 401, "900901"),
        ("expired", good.replace(&(now + 3600).to_string(), &(now - 300).to_string()), 401, "900901"),
        ("expired within the skew", good.replace(&(now + 3600).to_string(), &(now - 299).to_string()), 200, ""),
        ("not yet", good.replace(&format!(r#""nbf":{now}"#), &format!(r#""nbf":{}"#, now + 301)), 401, "900901"),
        (
            "not yet, within the skew",
            good.replace(&format!(r#""nbf":{now}"#), &format!(r#""nbf":{}"#, now + 300)),
            200,
            "",
        ),
        ("no jti", good.replace(r#""jti":"good","#, ""), 401, "900901"),
        ("no client", good.replace("azp", "az"), 401, "900901"),
        ("unknown client", good.replace("prod-1", "nobody"), 403, "900908"),
        ("an ID token", claims("id", r#","nonce":"n""#), 401, "900901"),
        ("a logout token", claims("out", r#","events":{}"#), 401, "900901"),
        ("another issuer", good.replace(ISSUER, "https://evil.example"), 401, "900901"),
    ];
    for (name, claims, status, code) in rows {
        let reply = world.get("/weather/city/1", &KEYS[0].sign(&claims)).await;
        assert_eq!(reply.code(), (status, code), "{name}");
    }
    assert_eq!(world.get("/weather/read", &KEYS[0].sign(&good)).await.status, 200);
    let listed = good.replace(r#""read x""#, r#"["x","read"]"#).replace("good", "listed");
    assert_eq!(world.get("/weather/read", &KEYS[0].sign(&listed)).await.status, 200);
    // Only the token of the unknown issuer was asked about.
    assert_eq!(world.control.state().token_checks, 1);
}

#[tokio::test]
async fn tokens_of_another_type_are_refused() {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
    let pkcs8 = generate_rsa_2048().unwrap();
    let (key, pair) = (SigningKey::new(&pkcs8, b"typed").unwrap(), RsaKeyPair::from_pkcs8(&pkcs8).unwrap());
    let world =
        World::start_with(GatewayConfig::default(), |control| control.state().issuers = vec![issuer(&[&key])]).await;
    for (kind, status, code) in
        [("at+jwt", 200, ""), ("JWT", 200, ""), ("logout+jwt", 401, "900901"), ("secevent+jwt", 401, "900901")]
    {
        let header = format!(r#"{{"typ":"{kind}","kid":"{}","alg":"RS256"}}"#, key.public_jwk().kid);
        let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(claims(kind, "").as_bytes()));
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        let reply = world.get("/weather/city/1", &format!("{signed}.{}", base64url(&signature))).await;
        assert_eq!(reply.code(), (status, code), "{kind}");
    }
}

#[tokio::test]
async fn a_token_with_an_altered_byte_is_another_token() {
    let world = world_with_issuer().await;
    let token = KEYS[0].sign(&claims("altered", ""));
    assert_eq!(world.get("/weather/city/1", &token).await.status, 200);
    let dots: Vec<usize> = token.match_indices('.').map(|(index, _)| index).collect();
    for index in [3, dots[0] + 3, dots[1] - 1, dots[1] + 3, token.len() - 10] {
        let mut altered = token.clone().into_bytes();
        altered[index] = if altered[index] == b'A' { b'B' } else { b'A' };
        let reply = world.get("/weather/city/1", &String::from_utf8(altered).unwrap()).await;
        assert_eq!(reply.code(), (401, "900901"), "byte {index}");
    }
    let (signed, _) = token.rsplit_once('.').unwrap();
    assert_eq!(world.get("/weather/city/1", &format!("{signed}.")).await.status, 401);
    let none = base64url(br#"{"alg":"none"}"#);
    let (_, payload) = signed.split_once('.').unwrap();
    assert_eq!(world.get("/weather/city/1", &format!("{none}.{payload}.")).await.status, 401);
    assert_eq!(world.get("/weather/city/1", &token).await.status, 200);
}

#[tokio::test]
async fn an_unknown_key_makes_the_gateway_fetch_the_issuers_once_a_minute() {
    let world = world_with_issuer().await;
    let unknown = KEYS[1].sign(&claims("new-key", ""));
    for _ in 0..3 {
        assert_eq!(world.get("/weather/city/1", &unknown).await.code(), (401, "900901"));
    }
    assert_eq!(world.control.state().issuer_fetches, 1);
    world.control.state().issuers = vec![issuer(&[&KEYS[0], &KEYS[1]])];
    assert_eq!(world.get("/weather/city/1", &unknown).await.code(), (401, "900901"), "the minute is not over");
    world.clock.advance(GatewayConfig::default().issuer_refetch_interval_ms);
    assert_eq!(world.get("/weather/city/1", &unknown).await.status, 200);
    assert_eq!(world.control.state().issuer_fetches, 2);
}

/// A key of another tenant, say, whose applications may call this one's APIs: the control plane knows whose it is.
#[tokio::test]
async fn the_control_plane_decides_about_a_key_that_stays_unknown() {
    let world = world_with_issuer().await;
    let [known, refused] = ["of-another-tenant", "of-nobody"].map(|jti| KEYS[1].sign(&claims(jti, "")));
    {
        let mut state = world.control.state();
        let like = state.tokens["token-prod-1"].clone();
        state.tokens.insert(known.clone(), like);
    }
    assert_eq!(world.get("/weather/city/1", &known).await.status, 200);
    for _ in 0..2 {
        assert_eq!(world.get("/weather/city/1", &refused).await.code(), (401, "900901"));
    }
    let asked = |state: &State| (state.issuer_fetches, state.token_checks);
    assert_eq!(asked(&world.control.state()), (1, 2), "each answer is remembered");
    // A wrong signature under a known key is nobody's question.
    let (own, foreign) = (KEYS[0].sign(&claims("altered", "")), known.rsplit_once('.').unwrap().1);
    let altered = format!("{}.{foreign}", own.rsplit_once('.').unwrap().0);
    assert_eq!(world.get("/weather/city/1", &altered).await.code(), (401, "900901"));
    assert_eq!(world.control.state().token_checks, 2);
}

#[tokio::test]
async fn a_key_that_is_withdrawn_takes_its_cached_verdicts_along() {
    let world = world_with_issuer().await;
    let token = KEYS[0].sign(&claims("withdrawn", ""));
    assert_eq!(world.get("/weather/city/1", &token).await.status, 200);
    world.control.state().issuers = vec![issuer(&[&KEYS[1]])];
    world.control.emit(101, Event::KeysChanged);
    world.until(|progress| progress.after == 101 && progress.pending == 0).await;
    assert_eq!(world.get("/weather/city/1", &token).await.code(), (401, "900901"));
}

#[tokio::test]
async fn issuers_are_those_of_the_apis_tenant() {
    let world = World::start_with(GatewayConfig::default(), |control| {
        let mut state = control.state();
        state.issuers = vec![issuer(&[&KEYS[0]])];
        let mut foreign = state.apis[&ApiId(1)].clone();
        foreign.id = ApiId(2);
        foreign.context = "/t/acme.com/weather/1.0.0".to_owned();
        foreign.default_context = None;
        foreign.tenant_domain = "acme.com".to_owned();
        state.apis.insert(foreign.id, foreign);
        let application = state.applications.get_mut(&ApplicationId(1)).unwrap();
        let mut subscription = application.subscriptions[0].clone();
        subscription.api_id = ApiId(2);
        application.subscriptions.push(subscription);
    })
    .await;
    let token = KEYS[0].sign(&claims("tenant", ""));
    assert_eq!(world.get("/weather/city/1", &token).await.status, 200);
    assert_eq!(world.get("/t/acme.com/weather/1.0.0/city/1", &token).await.code(), (401, "900901"));
    assert_eq!(world.get("/t/acme.com/weather/1.0.0/city/1", "token-prod-1").await.status, 200);
}

#[tokio::test]
async fn a_revocation_beats_a_cached_verdict() {
    let world = world_with_issuer().await;
    let jwt = KEYS[0].sign(&claims("revoked-jti", ""));
    for token in ["token-prod-1", &jwt] {
        assert_eq!(world.get("/weather/city/1", token).await.status, 200);
    }
    let revoke =
        |identifier| Event::TokenRevoked { token: TokenHash::of(identifier), expires_at: START.plus_millis(3_600_000) };
    // In the same process: at once, without the follower.
    world.gateway.apply_revocations(&[revoke("token-prod-1")]);
    assert_eq!(world.get("/weather/city/1", "token-prod-1").await.code(), (401, "900901"));
    // Through the log.
    world.control.emit(101, revoke("revoked-jti"));
    world.until(|progress| progress.after == 101).await;
    assert_eq!(world.get("/weather/city/1", &jwt).await.code(), (401, "900901"));
    // A cached token of another kind is not touched.
    assert_eq!(world.get("/weather/city/1", "token-sand-1").await.status, 200);
    // The skew lets a JWT live on after its `exp`; so does its revocation.
    world.clock.advance(3_600_000 + 200_000);
    world.control.emit(102, Event::KeysChanged);
    world.until(|progress| progress.after == 102).await;
    assert_eq!(world.get("/weather/city/1", &jwt).await.code(), (401, "900901"));
    assert!(world.metrics().contains("gateway_revoked_tokens 2"), "{}", world.metrics());
    // Long after their end they are forgotten.
    world.clock.advance(3_600_000);
    world.control.emit(103, Event::KeysChanged);
    world.until(|progress| progress.after == 103).await;
    assert!(world.metrics().contains("gateway_revoked_tokens 0"), "{}", world.metrics());
}

#[tokio::test]
async fn a_revocation_beats_an_answer_that_is_on_its_way() {
    let hold = Arc::new(Semaphore::new(0));
    let world =
        World::start_with(GatewayConfig::default(), |control| control.state().hold = Some(Arc::clone(&hold))).await;
    let call = world.get("/weather/city/1", "token-prod-1");
    let revoke = async {
        // The control plane has decided "active"; its answer is on the way.
        world.control.until(|state| state.token_checks > 0).await;
        let event = Event::TokenRevoked { token: TokenHash::of("token-prod-1"), expires_at: Timestamp::NEVER };
        world.gateway.apply_revocations(&[event]);
        hold.add_permits(1);
    };
    let (reply, ()) = tokio::join!(call, revoke);
    assert_eq!(reply.code(), (401, "900901"));
    assert_eq!(world.get("/weather/city/1", "token-prod-1").await.code(), (401, "900901"), "also from the cache");
    assert_eq!(world.control.state().token_checks, 1);
}

#[tokio::test]
async fn a_revoked_client_loses_its_older_jwts_only() {
    let world = world_with_issuer().await;
    let issued_at = |jti: &str, seconds: i64| {
        let now = START.as_secs();
        KEYS[0].sign(&claims(jti, "").replace(&format!(r#""iat":{now}"#), &format!(r#""iat":{}"#, now + seconds)))
    };
    let call = async |token: &str| world.get("/weather/city/1", token).await.status;
    let old = issued_at("old", 0);
    // An issuer that only the control plane knows: a JWT that it was asked about.
    let foreign = KEYS[1].sign(&claims("foreign", "").replace(ISSUER, "https://other.example"));
    world.control.state().tokens.insert(foreign.clone(), active("prod-1"));
    for token in ["token-prod-1", &old, &foreign] {
        assert_eq!(call(token).await, 200);
    }
    let revoke = |seconds: i64| Event::ClientRevoked {
        consumer_key: ConsumerKey::from("prod-1"),
        before: START.plus_millis(1000 * seconds),
    };
    world.gateway.apply_revocations(&[revoke(2)]);
    assert_eq!(call(&old).await, 401);
    assert_eq!(call(&foreign).await, 401, "its verdict was cached");
    assert_eq!(call("token-prod-1").await, 200, "opaque tokens are revoked one by one");
    assert_eq!(call("token-sand-1").await, 200);
    assert_eq!(call(&issued_at("new", 2)).await, 200);
    // An older event that comes late changes nothing.
    world.gateway.apply_revocations(&[revoke(0)]);
    assert_eq!(call(&issued_at("between", 1)).await, 401);
}

#[tokio::test]
async fn a_revoked_user_loses_his_older_tokens_only() {
    let world = world_with_issuer().await;
    let lent = |name: &str, seconds: i64| ActiveToken {
        token: TokenHash::of(name),
        is_users: true,
        issued_at: START.plus_millis(1000 * seconds),
        ..active("prod-1")
    };
    for (name, seconds) in [("lent", 0), ("lent-later", 2)] {
        world.control.state().tokens.insert(name.to_owned(), lent(name, seconds));
    }
    let issued_at = |jti: &str, user: &str, seconds: i64| {
        let now = START.as_secs();
        let claims = claims(jti, "").replace(&format!(r#""iat":{now}"#), &format!(r#""iat":{}"#, now + seconds));
        KEYS[0].sign(&claims.replace(r#""sub":"user""#, &format!(r#""sub":"{user}""#)))
    };
    let call = async |token: &str| world.get("/weather/city/1", token).await.status;
    let spelled = ["user", "user@carbon.super", "primary/user@CARBON.super"];
    let old: Vec<String> = spelled.iter().map(|user| issued_at(user, user, 0)).collect();
    let others = [issued_at("a", "other", 0), issued_at("b", "user@acme.com", 0), issued_at("c", "LDAP/user", 0)];
    for token in old.iter().chain(&others).map(String::as_str).chain(["token-prod-1", "lent", "lent-later"]) {
        assert_eq!(call(token).await, 200);
    }
    let subject = "user@carbon.super".to_owned();
    world.gateway.apply_revocations(&[Event::UserRevoked { subject, before: START.plus_millis(2_000) }]);
    for token in old.iter().map(String::as_str).chain(["lent"]) {
        assert_eq!(call(token).await, 401, "{token}: its verdict was cached");
    }
    for token in others.iter().map(String::as_str).chain(["token-prod-1", "lent-later"]) {
        assert_eq!(call(token).await, 200, "{token}: another user's, an application's own, or a later one");
    }
    assert_eq!(call(&issued_at("new", "user", 2)).await, 200);
}

#[tokio::test]
async fn revoked_users_of_the_snapshot_count() {
    let revoked = RevokedUser { subject: "user@carbon.super".to_owned(), before: START.plus_millis(1_000) };
    let world = World::start_with(GatewayConfig::default(), |control| {
        let mut state = control.state();
        state.issuers = vec![issuer(&[&KEYS[0]])];
        state.revoked_users = vec![revoked];
    })
    .await;
    assert_eq!(world.get("/weather/city/1", &KEYS[0].sign(&claims("old", ""))).await.status, 401);
}

#[tokio::test]
async fn revocations_of_the_snapshot_count() {
    let revoked = RevokedToken { token: TokenHash::of("token-prod-1"), expires_at: Timestamp::NEVER };
    let world =
        World::start_with(GatewayConfig::default(), |control| control.state().revoked_tokens = vec![revoked]).await;
    assert_eq!(world.get("/weather/city/1", "token-prod-1").await.code(), (401, "900901"));
}

#[tokio::test]
async fn an_application_that_is_new_is_looked_for_once() {
    let world = World::start().await;
    // It is there, but its event has not woken the follower.
    {
        let mut state = world.control.state();
        state.applications.insert(ApplicationId(9), application(9, Some(SubscriptionStatus::Unblocked)));
        state.tokens.insert("token-prod-9".to_owned(), active("prod-9"));
        let event = Event::ApplicationChanged { application_id: ApplicationId(9) };
        state.events.push(claviger_proto::event::NumberedEvent { id: claviger_proto::ids::EventId(101), event });
    }
    let calls = (0..5).map(|_| world.get("/weather/city/1", "token-prod-9"));
    assert!(futures_util::future::join_all(calls).await.iter().all(|reply| reply.status == 200));
    assert_eq!(world.progress.borrow().looks, 1);
    // Another unknown one within the second does not make it look again.
    let stranger = active("stranger");
    world.control.state().tokens.insert("stranger".to_owned(), stranger);
    assert_eq!(world.get("/weather/city/1", "stranger").await.code(), (403, "900908"));
    assert_eq!(world.progress.borrow().looks, 1);
}
