//! Design decision D2: late numbers, failed fetches, lost events, a control plane that comes and goes.

use crate::authentication::{claims, issuer};
use crate::world::{World, active, application};
use claviger_gateway::GatewayConfig;
use claviger_gateway::model::{ApiStatus, SubscriptionStatus};
use claviger_proto::event::Event;
use claviger_proto::follow::GAP_PATIENCE_MS;
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::{ApiId, ApplicationId, EventId};
use claviger_proto::jose::{SigningKey, generate_rsa_2048};
use claviger_proto::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

fn revoke(token: &str) -> Event {
    Event::TokenRevoked { token: TokenHash::of(token), expires_at: Timestamp::NEVER }
}

#[tokio::test]
async fn changes_arrive() {
    let world = World::start().await;
    world.control.state().apis.get_mut(&ApiId(1)).unwrap().status = ApiStatus::Blocked;
    world.control.emit(101, Event::ApiChanged { api_id: ApiId(1) });
    world.until(|progress| progress.after == 101 && progress.pending == 0).await;
    assert_eq!(world.call("GET", "/weather/open", &[]).await.code(), (503, "700700"));
    world.control.state().apis.remove(&ApiId(1));
    world.control.emit(102, Event::ApiChanged { api_id: ApiId(1) });
    world.until(|progress| progress.after == 102 && progress.pending == 0).await;
    assert_eq!(world.call("GET", "/weather/open", &[]).await.code(), (404, "404"));
}

#[tokio::test]
async fn an_applications_keys_and_subscriptions_follow() {
    let world = World::start().await;
    assert_eq!(world.get("/weather/city/1", "token-prod-1").await.status, 200);
    let change = |id, entry: Option<_>| {
        let mut state = world.control.state();
        match entry {
            Some(entry) => state.applications.insert(ApplicationId(1), entry),
            None => state.applications.remove(&ApplicationId(1)),
        };
        drop(state);
        world.control.emit(id, Event::ApplicationChanged { application_id: ApplicationId(1) });
    };
    change(101, Some(application(1, Some(SubscriptionStatus::Blocked))));
    world.until(|progress| progress.after == 101 && progress.pending == 0).await;
    assert_eq!(world.get("/weather/city/1", "token-prod-1").await.code(), (401, "900907"));
    // One key is removed, the other stays.
    let mut fewer = application(1, Some(SubscriptionStatus::Unblocked));
    fewer.keys.truncate(1);
    change(102, Some(fewer));
    world.until(|progress| progress.after == 102 && progress.pending == 0).await;
    assert_eq!(world.get("/weather/city/1", "token-prod-1").await.status, 200);
    assert_eq!(world.get("/weather/city/1", "token-sand-1").await.code(), (403, "900908"));
    change(103, None);
    world.until(|progress| progress.after == 103 && progress.pending == 0).await;
    assert_eq!(world.get("/weather/city/1", "token-prod-1").await.code(), (403, "900908"));
}

#[tokio::test]
async fn a_number_that_commits_late_is_not_skipped() {
    let world = World::start().await;
    world.control.emit(103, revoke("token-sand-1"));
    world.until(|progress| progress.after == 103).await;
    world.control.until(|state| state.gaps_asked == [EventId(101), EventId(102)]).await;
    world.control.emit(102, revoke("token-prod-1"));
    let pages = world.progress.borrow().pages;
    world.until(|progress| progress.pages > pages).await;
    assert_eq!(world.get("/weather/city/1", "token-prod-1").await.code(), (401, "900901"));
    // A step of the clock is no time that has gone by.
    world.clock.advance(10 * GAP_PATIENCE_MS);
    for id in [104, 105] {
        world.control.emit(id, Event::KeysChanged);
        world.until(|progress| progress.after == id).await;
    }
    assert_eq!(world.control.state().gaps_asked, [EventId(101)]);
    // A number that was rolled back is forgotten when nobody could commit it any more as it was asked for.
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(GAP_PATIENCE_MS.unsigned_abs())).await;
    for id in [106, 107] {
        world.control.emit(id, Event::KeysChanged);
        world.until(|progress| progress.after == id).await;
    }
    world.control.until(|state| state.gaps_asked.is_empty()).await;
}

#[tokio::test]
async fn a_fetch_that_fails_is_repeated_and_holds_up_no_revocation() {
    let world = World::start().await;
    {
        let mut state = world.control.state();
        state.api_failures = 2;
        state.apis.get_mut(&ApiId(1)).unwrap().status = ApiStatus::Blocked;
    }
    world.control.emit(101, Event::ApiChanged { api_id: ApiId(1) });
    world.until(|progress| progress.after == 101 && progress.pending == 1).await;
    world.control.emit(102, revoke("token-prod-1"));
    world.until(|progress| progress.after == 102).await;
    world.until(|progress| progress.pending == 0).await;
    assert_eq!(world.control.state().api_failures, 0);
    assert_eq!(world.call("GET", "/weather/open", &[]).await.code(), (503, "700700"));
}

#[tokio::test]
async fn a_fetch_that_hangs_holds_up_no_revocation() {
    let world = World::start().await;
    let hold = Arc::new(Semaphore::new(0));
    world.control.state().api_hold = Some(Arc::clone(&hold));
    world.control.emit(101, Event::ApiChanged { api_id: ApiId(1) });
    world.control.until(|state| state.api_fetches == 1).await;
    world.control.emit(102, revoke("token-prod-1"));
    world.until(|progress| progress.after == 102 && progress.pending == 1).await;
    assert_eq!(world.get("/weather/city/1", "token-prod-1").await.code(), (401, "900901"));
    // What changes while it is being fetched is fetched again.
    world.control.state().apis.get_mut(&ApiId(1)).unwrap().status = ApiStatus::Blocked;
    world.control.emit(103, Event::ApiChanged { api_id: ApiId(1) });
    world.until(|progress| progress.after == 103).await;
    hold.add_permits(2);
    world.until(|progress| progress.pending == 0).await;
    assert_eq!(world.call("GET", "/weather/open", &[]).await.code(), (503, "700700"));
    assert_eq!(world.control.state().api_fetches, 2);
}

/// Nobody says that a key was withdrawn: its event was lost, or nobody wrote one.
#[tokio::test]
async fn a_withdrawn_key_is_missed_without_its_event() {
    let withdrawn = SigningKey::new(&generate_rsa_2048().unwrap(), b"withdrawn").unwrap();
    let world = World::start_with(GatewayConfig::default(), |control| {
        control.state().issuers = vec![issuer(&[&withdrawn])];
    })
    .await;
    let token = withdrawn.sign(&claims("known", ""));
    assert_eq!(world.get("/weather/city/1", &token).await.status, 200);
    world.control.state().issuers = vec![issuer(&[])];
    // A page before its time asks for nothing.
    world.control.emit(101, revoke("another"));
    world.until(|progress| progress.after == 101 && progress.pending == 0).await;
    assert_eq!(world.control.state().issuer_fetches, 0);
    tokio::time::pause();
    tokio::time::advance(Duration::from_mins(1)).await;
    tokio::time::resume();
    world.control.emit(102, revoke("a third"));
    world.control.until(|state| state.issuer_fetches == 1).await;
    world.until(|progress| progress.after == 102 && progress.pending == 0).await;
    assert_eq!(world.get("/weather/city/1", &token).await.code(), (401, "900901"));
}

#[tokio::test]
async fn a_lost_log_is_made_good_by_a_snapshot() {
    let world = World::start().await;
    {
        let mut state = world.control.state();
        state.snapshots_demanded = 1;
        state.as_of = 500;
        state.apis.get_mut(&ApiId(1)).unwrap().status = ApiStatus::Blocked;
        state.applications.remove(&ApplicationId(1));
        state.applications.insert(ApplicationId(8), application(8, Some(SubscriptionStatus::Unblocked)));
        state.tokens.insert("token-prod-8".to_owned(), active("prod-8"));
    }
    world.gateway.apply_revocations(&[revoke("token-prod-8")]);
    // The pending page is answered: too old.
    world.control.wake();
    world.until(|progress| progress.snapshots == 2 && progress.after == 500).await;
    assert_eq!(world.call("GET", "/weather/open", &[]).await.code(), (503, "700700"));
    world.control.state().apis.get_mut(&ApiId(1)).unwrap().status = ApiStatus::Published;
    world.control.emit(501, Event::ApiChanged { api_id: ApiId(1) });
    world.until(|progress| progress.after == 501 && progress.pending == 0).await;
    assert_eq!(world.get("/weather/city/1", "token-prod-1").await.code(), (403, "900908"));
    // A revocation outlives a snapshot that does not know it yet.
    assert_eq!(world.get("/weather/city/1", "token-prod-8").await.code(), (401, "900901"));
}

#[tokio::test]
async fn too_many_missing_numbers_are_made_good_by_a_snapshot() {
    let world = World::start().await;
    world.control.state().as_of = 1_000_000;
    world.control.emit(1_000_000, revoke("token-prod-1"));
    world.until(|progress| progress.snapshots == 2 && progress.after == 1_000_000).await;
    assert_eq!(world.get("/weather/city/1", "token-prod-1").await.code(), (401, "900901"));
}

#[tokio::test]
async fn a_control_plane_that_comes_late_is_waited_for() {
    let world = World::start_without_snapshot(GatewayConfig::default(), |control| control.state().is_down = true).await;
    assert_eq!(world.call("GET", "/weather/open", &[]).await.code(), (404, "404"));
    world.control.state().is_down = false;
    world.until(|progress| progress.snapshots == 1).await;
    assert_eq!(world.call("GET", "/weather/open", &[]).await.status, 200);
    // It goes away, things happen, it comes back.
    world.control.state().is_down = true;
    world.control.wake();
    world.control.state().is_down = false;
    world.control.emit(101, revoke("token-prod-1"));
    world.until(|progress| progress.after == 101).await;
    assert_eq!(world.get("/weather/city/1", "token-prod-1").await.code(), (401, "900901"));
}

#[tokio::test]
async fn lag_and_age_are_on_the_page_of_metrics() {
    let world = World::start().await;
    world.control.emit(101, revoke("token-prod-1"));
    world.until(|progress| progress.pages == 1).await;
    world.clock.advance(7_000);
    let metrics = world.metrics();
    for line in ["gateway_follower_lag_events 0", "gateway_follower_page_age_seconds 7", "gateway_revoked_tokens 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
}
