//! Security.md 4.2: the key of a tenant is good for its own clients. Who found it out speaks for nobody else's.

use crate::authentication::{KEYS, claims, issuer};
use crate::world::{World, active};
use claviger_gateway::GatewayConfig;
use claviger_gateway::model::{ApplicationEntry, Issuer};
use claviger_proto::event::Event;
use claviger_proto::ids::{ApiId, ApplicationId, ConsumerKey};
use claviger_proto::jose::{JwkSet, SigningKey};

const TENANT: &str = "acme.com";

/// The first key counts for everybody's clients, the second for this tenant's.
fn issuer_of_tenant() -> Issuer {
    let own = JwkSet { keys: vec![KEYS[1].public_jwk()] };
    Issuer { tenant_domain: TENANT.to_owned(), tenant_jwks: Some(own), ..issuer(&[&KEYS[0]]) }
}

/// One API of the tenant. Of its callers one is the tenant's, one another's, and of the third nobody has said.
async fn world_of_tenant(issuer: Issuer) -> World {
    World::start_with(GatewayConfig::default(), |control| {
        let mut state = control.state();
        state.issuers = vec![issuer];
        TENANT.clone_into(&mut state.apis.get_mut(&ApiId(1)).unwrap().tenant_domain);
        let application = state.applications.get_mut(&ApplicationId(1)).unwrap();
        application.keys[0].tenant_domain = Some(TENANT.to_owned());
        application.keys[1].tenant_domain = Some("other.com".to_owned());
    })
    .await
}

fn signed(key: &SigningKey, jti: &str, client: &str) -> String {
    key.sign(&claims(jti, "").replace("prod-1", client))
}

#[tokio::test]
async fn a_tenants_key_counts_for_its_own_clients() {
    let world = world_of_tenant(issuer_of_tenant()).await;
    let call = async |token: String| world.get("/weather/city/1", &token).await.code().0;
    assert_eq!(call(signed(&KEYS[1], "own", "prod-1")).await, 200);
    for client in ["prod-1", "sand-1", "prod-6"] {
        assert_eq!(call(signed(&KEYS[0], client, client)).await, 200, "{client}: everybody's key");
    }
    assert_eq!(world.control.state().token_checks, 0);
    for (number, client) in ["sand-1", "prod-6", "nobody"].into_iter().enumerate() {
        assert_eq!(call(signed(&KEYS[1], "forged", client)).await, 401, "{client}");
        assert_eq!(
            world.control.state().token_checks,
            1 + u32::try_from(number).unwrap(),
            "{client}: who knows is asked"
        );
    }
    // Of whom this gateway has not heard the key manager may have.
    let late = signed(&KEYS[1], "late", "prod-6");
    world.control.state().tokens.insert(late.clone(), active("prod-6"));
    assert_eq!(call(late).await, 200);
}

#[tokio::test]
async fn a_client_that_is_another_tenants_now_is_not_the_first_ones() {
    let world = world_of_tenant(issuer_of_tenant()).await;
    let before = signed(&KEYS[1], "before", "prod-1");
    assert_eq!(world.get("/weather/city/1", &before).await.status, 200);
    world.control.state().applications.get_mut(&ApplicationId(1)).unwrap().keys[0].tenant_domain = None;
    // A registration under the old name, and no word of the application.
    world.control.emit(101, Event::ClientChanged { consumer_key: ConsumerKey::from("prod-1") });
    world.until(|progress| progress.after == 101 && progress.pending == 0).await;
    for token in [&before, &signed(&KEYS[1], "after", "prod-1")] {
        assert_eq!(world.get("/weather/city/1", token).await.code(), (401, "900901"), "what was judged before, too");
    }
}

/// Its list of keys may hold any tenant's.
#[tokio::test]
async fn an_older_control_plane_is_asked_about_every_key() {
    let mixed = Issuer { tenant_jwks: None, ..issuer(&[&KEYS[0], &KEYS[1]]) };
    let world = world_of_tenant(Issuer { tenant_domain: TENANT.to_owned(), ..mixed }).await;
    let known = signed(&KEYS[0], "known", "prod-1");
    world.control.state().tokens.insert(known.clone(), active("prod-1"));
    assert_eq!(world.get("/weather/city/1", &known).await.status, 200);
    for key in &*KEYS {
        assert_eq!(world.get("/weather/city/1", &signed(key, "unknown", "prod-1")).await.code(), (401, "900901"));
    }
    assert_eq!(world.control.state().token_checks, 3);
}

/// The key of another tenant's client is not among those of the API's tenant, so nothing here shows that it changed.
#[tokio::test]
async fn what_the_key_manager_said_of_a_jwt_ends_with_a_change_of_keys() {
    let world = world_of_tenant(issuer_of_tenant()).await;
    let foreign = signed(&KEYS[1], "of another tenant", "sand-1");
    world.control.state().tokens.insert(foreign.clone(), active("sand-1"));
    for token in [&*foreign, "token-prod-1"] {
        assert_eq!(world.get("/weather/city/1", token).await.status, 200);
    }
    world.control.state().tokens.clear();
    assert_eq!(world.get("/weather/city/1", &foreign).await.status, 200, "it is remembered");
    world.control.emit(101, Event::KeysChanged);
    world.until(|progress| progress.after == 101 && progress.pending == 0).await;
    assert_eq!(world.get("/weather/city/1", &foreign).await.code(), (401, "900901"));
    assert_eq!(world.get("/weather/city/1", "token-prod-1").await.status, 200, "an opaque token has no key");
    // The same when the event is lost and the list of issuers shows it.
    let again = signed(&KEYS[1], "again", "sand-1");
    world.control.state().tokens.insert(again.clone(), active("sand-1"));
    assert_eq!(world.get("/weather/city/1", &again).await.status, 200);
    {
        let mut state = world.control.state();
        state.tokens.clear();
        state.issuers.push(issuer(&[&KEYS[1]]));
        state.snapshots_demanded = 1;
        state.as_of = 200;
    }
    world.control.wake();
    world.until(|progress| progress.snapshots == 2).await;
    assert_eq!(world.get("/weather/city/1", &again).await.code(), (401, "900901"));
}

/// What an older control plane writes is read, and says nothing of tenants.
#[test]
fn what_an_older_control_plane_does_not_say_is_unknown() {
    let old = r#"{"key_manager":"k","tenant_domain":"acme.com","issuer":"i","jwks":{"keys":[]},"consumer_key_claim":"azp",
                  "scopes_claim":"scope"}"#;
    assert_eq!(serde_json::from_str::<Issuer>(old).unwrap().tenant_jwks, None);
    let old = r#"{"id":1,"uuid":"u","name":"n","owner":"o","policy":"p","subscriptions":[],
                  "keys":[{"consumer_key":"c","key_type":"PRODUCTION","key_manager":"k"}]}"#;
    assert_eq!(serde_json::from_str::<ApplicationEntry>(old).unwrap().keys[0].tenant_domain, None);
}
