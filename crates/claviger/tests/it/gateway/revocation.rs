//! How soon a revoked token is refused: from the 200 of the revocation to the first refusal, at the gateway of the same
//! process and at a gateway in another one, for a thousand tokens whose good verdict both gateways have cached. And how soon
//! a published API is served and a new subscription counts.

use super::platform::{
    Application, Backend, Caller, Kind, Link, NEWS_MS_MAX, NOT_SUBSCRIBED, PASSED, Portal, REFUSED, UNKNOWN,
    start_gateway,
};
use crate::harness::{Directory, Process};
use claviger::config::ports;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use std::fmt;
use std::time::Duration;

const TOKENS: usize = 1_000;
/// Requests at once while tokens are issued and used.
const LANES: usize = 16;
/// Of a hundred revocations ninety-nine are effective everywhere after this time.
const P99_MS_MAX: u64 = 100;
/// No revocation takes longer.
const MAX_MS_MAX: u64 = 5_000;
/// APIs published and applications subscribed.
const CHANGES: usize = 20;
const CONTEXT: &str = "/weather";

/// Measured times, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<Duration> = times.collect();
        times.sort_unstable();
        Self(times)
    }

    fn quantile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent).div_ceil(100) - 1]
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |percent| self.quantile(percent).as_secs_f64() * 1000.0;
        write!(f, "{} times: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", self.0.len(), ms(50), ms(99), ms(100))
    }
}

struct Issued<'a> {
    application: &'a Application,
    token: String,
}

/// Tokens of two applications in turn, each used once at every gateway.
async fn issue<'a>(portal: &Portal, applications: &'a [Application], gateways: &[Caller]) -> Vec<Issued<'a>> {
    let one = async |number: usize| {
        let application = &applications[number % applications.len()];
        let token = portal.token(application, &format!("s{number}")).await;
        for gateway in gateways {
            assert_eq!(gateway.call(CONTEXT, &token).await, PASSED, "token {number}");
        }
        Issued { application, token }
    };
    futures_util::stream::iter(0..TOKENS).map(one).buffered(LANES).collect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_token_is_refused_within_100_ms() {
    let (backend, directory, own) = (Backend::start().await, Directory::new(), Directory::new());
    let all = Process::start(&directory, &["--log", "warn"]).await;
    Link::to(&directory, ports::MANAGEMENT_HTTPS + all.offset).write(&own);
    let apart = start_gateway(&own).await;
    let portal = Portal::open(&all).await;
    let api = portal.publish(CONTEXT, &backend).await;
    let applications = [portal.application("opaque", Kind::Opaque).await, portal.application("jwt", Kind::Jwt).await];
    let gateways = [Caller::of(&all), Caller::of(&apart)];
    for (application, is_jwt) in applications.iter().zip([false, true]) {
        portal.subscribe(application, &api).await;
        let token = portal.token(application, "first").await;
        assert_eq!(token.contains('.'), is_jwt, "{token}");
        for gateway in &gateways {
            gateway.wait_for_service(CONTEXT, &token).await;
        }
    }
    let tokens = issue(&portal, &applications, &gateways).await;
    let mut times = [Vec::with_capacity(TOKENS), Vec::with_capacity(TOKENS)];
    for Issued { application, token } in &tokens {
        portal.revoke(application, token).await;
        let bound = Duration::from_millis(MAX_MS_MAX);
        // In the process of the revocation the token is dead when the answer is there; elsewhere the news is on its way.
        let waits = gateways.iter().zip([&[][..], &[PASSED]]);
        let waits = waits.map(|(gateway, allowed)| gateway.wait_for((CONTEXT, token), REFUSED, allowed, bound));
        for (times, elapsed) in times.iter_mut().zip(join_all(waits).await) {
            times.push(elapsed);
        }
    }
    for Issued { token, .. } in &tokens {
        for gateway in &gateways {
            assert_eq!(gateway.call(CONTEXT, token).await, REFUSED, "refused once, refused for ever");
        }
    }
    for (name, times) in ["gateway of the same process", "gateway apart"].iter().zip(times) {
        for (kind, turn) in [("opaque", 0), ("JWT", 1)] {
            let times = Times::of(times.iter().skip(turn).step_by(2).copied());
            println!("From revocation to refusal, {name}, {kind}: {times}");
        }
        let times = Times::of(times.into_iter());
        println!("From revocation to refusal, {name}: {times}");
        assert!(times.quantile(99) < Duration::from_millis(P99_MS_MAX), "{name}: {times}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publications_and_subscriptions_arrive() {
    let (backend, directory, own) = (Backend::start().await, Directory::new(), Directory::new());
    let all = Process::start(&directory, &["--log", "warn"]).await;
    Link::to(&directory, ports::MANAGEMENT_HTTPS + all.offset).write(&own);
    let apart = start_gateway(&own).await;
    let portal = Portal::open(&all).await;
    let gateways = [Caller::of(&all), Caller::of(&apart)];
    let stranger = "6f4e8f2c-1d90-4a44-8f38-77a1f0c42b5e";
    let mut times: [[Vec<Duration>; 2]; 2] = Default::default();
    for number in 0..CHANGES {
        let context = format!("/weather{number}");
        let api = portal.publish(&context, &backend).await;
        let bound = Duration::from_millis(NEWS_MS_MAX);
        // The API is there when the token is what is wrong.
        let waits = gateways.iter().map(|gateway| gateway.wait_for((&context, stranger), REFUSED, &[UNKNOWN], bound));
        let [here, apart] = &mut times[0];
        for (times, elapsed) in [here, apart].into_iter().zip(join_all(waits).await) {
            times.push(elapsed);
        }
        let application = portal.application(&format!("app{number}"), Kind::Jwt).await;
        let token = portal.token(&application, "first").await;
        for gateway in &gateways {
            assert_eq!(gateway.call(&context, &token).await, NOT_SUBSCRIBED);
        }
        portal.subscribe(&application, &api).await;
        let waits = gateways.iter().map(|gateway| gateway.wait_for_service(&context, &token));
        let [here, apart] = &mut times[1];
        for (times, elapsed) in [here, apart].into_iter().zip(join_all(waits).await) {
            times.push(elapsed);
        }
    }
    for (change, [here, apart]) in ["publication to service", "subscription to first 200"].iter().zip(times) {
        println!("From {change}, gateway of the same process: {}", Times::of(here.into_iter()));
        println!("From {change}, gateway apart: {}", Times::of(apart.into_iter()));
    }
}
