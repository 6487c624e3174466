//! A gateway apart misses nothing: while it cannot reach its control plane, while that is down, while it is down itself.
//! What it knows keeps working meanwhile, what it cannot know is refused, and what happened meanwhile is true afterwards.
//!
//! The cut lasts [`CUT_MS`], or a minute when `CLAVIGER_TEST_LONG` is set.

use super::platform::{
    Application, Backend, CONTROL, Caller, Kind, Link, NEWS_MS_MAX, NOT_SUBSCRIBED, PASSED, Portal, REFUSED, UNCHECKED,
    UNKNOWN, start_gateway,
};
use crate::harness::{Call as _, Directory, Process, Relay, is_long, plain_client};
use claviger::config::ports;
use std::time::{Duration, Instant};

const CUT_MS: u64 = 3_000;
const LONG_CUT_MS: u64 = 60_000;
/// Between two looks at what still works during the cut.
const LOOK_MS: u64 = 100;
const WEATHER: &str = "/weather";
const TIDES: &str = "/tides";
const NEWS: Duration = Duration::from_millis(NEWS_MS_MAX);

fn cut() -> Duration {
    Duration::from_millis(if is_long() { LONG_CUT_MS } else { CUT_MS })
}

/// Control process, relay and gateway, an API, two subscribed applications and their tokens.
struct Scene {
    backend: Backend,
    directory: Directory,
    own: Directory,
    control: Process,
    gateway: Process,
    relay: Relay,
    portal: Portal,
    caller: Caller,
    api: String,
    applications: [Application; 2],
    /// Used at the gateway, and never revoked.
    good: [String; 2],
    /// Used at the gateway; revoked when nobody tells it.
    doomed: [String; 2],
}

/// What happened while the gateway could not hear of it.
struct News {
    newcomer: Application,
    /// Of the newcomer.
    token: String,
    /// Of the known application with opaque tokens.
    opaque: String,
}

impl Scene {
    async fn build() -> Self {
        let (backend, directory, own) = (Backend::start().await, Directory::new(), Directory::new());
        let control = Process::start(&directory, &CONTROL).await;
        let relay = Relay::start(ports::MANAGEMENT_HTTPS + control.offset).await;
        Link::to(&directory, relay.port()).write(&own);
        let gateway = start_gateway(&own).await;
        let (portal, caller) = (Portal::open(&control).await, Caller::of(&gateway));
        let api = portal.publish(WEATHER, &backend).await;
        let applications =
            [portal.application("opaque", Kind::Opaque).await, portal.application("jwt", Kind::Jwt).await];
        let (mut good, mut doomed) = ([const { String::new() }; 2], [const { String::new() }; 2]);
        for (index, application) in applications.iter().enumerate() {
            portal.subscribe(application, &api).await;
            good[index] = portal.token(application, "good").await;
            assert_eq!(good[index].contains('.'), index == 1, "{}", good[index]);
            doomed[index] = portal.token(application, "doomed").await;
            caller.wait_for_service(WEATHER, &good[index]).await;
            assert_eq!(caller.call(WEATHER, &doomed[index]).await, PASSED);
        }
        Self { backend, directory, own, control, gateway, relay, portal, caller, api, applications, good, doomed }
    }

    /// Revokes, publishes and subscribes at the control process.
    async fn change(&self) -> News {
        let portal = &self.portal;
        for (application, token) in self.applications.iter().zip(&self.doomed) {
            portal.revoke(application, token).await;
        }
        let tides = portal.publish(TIDES, &self.backend).await;
        portal.subscribe(&self.applications[0], &tides).await;
        let newcomer = portal.application("newcomer", Kind::Jwt).await;
        portal.subscribe(&newcomer, &self.api).await;
        let token = portal.token(&newcomer, "news").await;
        let opaque = portal.token(&self.applications[0], "news").await;
        News { newcomer, token, opaque }
    }

    /// What is known works, what cannot be known does not.
    async fn check_without_control(&self, news: Option<&News>) {
        for token in &self.good {
            assert_eq!(self.caller.call(WEATHER, token).await, PASSED);
        }
        assert_eq!(self.caller.call(WEATHER, "6f4e8f2c-1d90-4a44-8f38-77a1f0c42b5e").await, UNCHECKED);
        let Some(news) = news else { return };
        assert_eq!(self.caller.call(WEATHER, &news.opaque).await, UNCHECKED);
        assert_eq!(self.caller.call(WEATHER, &news.token).await, NOT_SUBSCRIBED);
        assert_eq!(self.caller.call(TIDES, &self.good[0]).await, UNKNOWN);
    }

    /// Waits until everything that happened has arrived, and checks that it stays so.
    async fn check_news(&self, news: &News, since: Instant, after: &str) {
        let caller = &self.caller;
        for token in &self.doomed {
            // A gateway that has just started knows no API at first.
            caller.wait_for((WEATHER, token), REFUSED, &[PASSED, UNKNOWN], NEWS).await;
        }
        let refused = since.elapsed();
        caller.wait_for((TIDES, &self.good[0]), PASSED, &[UNKNOWN, NOT_SUBSCRIBED], NEWS).await;
        let served = since.elapsed();
        caller.wait_for((WEATHER, &news.token), PASSED, &[NOT_SUBSCRIBED], NEWS).await;
        let subscribed = since.elapsed();
        println!("After {after}: refused after {refused:?}, API after {served:?}, application after {subscribed:?}");
        assert_eq!(caller.call(WEATHER, &news.opaque).await, PASSED);
        for token in &self.good {
            assert_eq!(caller.call(WEATHER, token).await, PASSED);
        }
        for token in &self.doomed {
            assert_eq!(caller.call(WEATHER, token).await, REFUSED);
        }
        // And what happens from now on arrives as ever.
        self.portal.revoke(&news.newcomer, &news.token).await;
        caller.wait_for((WEATHER, &news.token), REFUSED, &[PASSED], NEWS).await;
    }

    /// A value of the gateway's metrics.
    async fn metric(&self, name: &str) -> i64 {
        let page = plain_client().get(format!("{}/metrics", self.gateway.plain())).call().await;
        assert_eq!(page.status, 200, "{page:?}");
        let value = page.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name}: {}", page.body)).parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_loses_nothing() {
    let mut scene = Scene::build().await;
    let fresh = scene.portal.token(&scene.applications[1], "fresh").await;
    scene.relay.cut().await;
    let (started, duration) = (Instant::now(), cut());
    assert_eq!(scene.caller.call(WEATHER, &fresh).await, PASSED, "a JWT of a known issuer needs no control plane");
    let news = scene.change().await;
    let mut looks = tokio::time::interval(Duration::from_millis(LOOK_MS));
    while started.elapsed() < duration {
        scene.check_without_control(Some(&news)).await;
        looks.tick().await;
    }
    let late = scene.portal.token(&scene.applications[1], "late").await;
    assert_eq!(scene.caller.call(WEATHER, &late).await, PASSED);
    let age_s = scene.metric("gateway_follower_page_age_seconds").await;
    assert!(age_s + 1 >= i64::try_from(started.elapsed().as_secs()).unwrap(), "the page is {age_s} s old");
    let mended = Instant::now();
    scene.relay.mend().await;
    scene.check_news(&news, mended, &format!("a cut of {duration:?}")).await;
    assert_eq!(scene.metric("gateway_follower_lag_events").await, 0);
    assert!(scene.metric("gateway_follower_page_age_seconds").await < i64::try_from(CUT_MS / 1000).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_control_process_takes_nothing_with_it() {
    let mut scene = Scene::build().await;
    // Cut first, so that the gateway surely hears of nothing before the end.
    scene.relay.cut().await;
    let news = scene.change().await;
    let (offset, directory) = (scene.control.offset, scene.directory.path().to_owned());
    scene.control.end();
    scene.check_without_control(Some(&news)).await;
    scene.relay.mend().await;
    scene.check_without_control(Some(&news)).await;
    scene.control = Process::try_start(&directory, offset, &CONTROL).await.unwrap();
    let started = Instant::now();
    scene.portal.reconnect();
    scene.check_news(&news, started, "a kill of the control process").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_comes_back_with_everything() {
    let mut scene = Scene::build().await;
    scene.gateway.end();
    let news = scene.change().await;
    scene.gateway = start_gateway(&scene.own).await;
    let started = Instant::now();
    scene.caller = Caller::of(&scene.gateway);
    for token in &scene.doomed {
        scene.caller.wait_for((WEATHER, token), REFUSED, &[UNKNOWN], NEWS).await;
    }
    scene.check_news(&news, started, "a kill of the gateway").await;
}
