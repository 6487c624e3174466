//! Gateways apart that cannot speak to their control plane, or not yet: what operators see, and what callers get.

use super::platform::{Backend, CONTROL, Caller, Kind, Link, Portal, UNKNOWN, start_gateway};
use crate::harness::{Call as _, Directory, Process, free_offset, plain_client};
use claviger::config::ports;
use std::time::{Duration, Instant};

const TOKEN: &str = "6f4e8f2c-1d90-4a44-8f38-77a1f0c42b5e";
/// Longest end of a control process whose gateways wait for news. It is allowed half a minute for running requests.
const STOP_MS_MAX: u64 = 8_000;

async fn readiness(base: String) -> u16 {
    plain_client().get(format!("{base}/health/ready")).call().await.status
}

#[tokio::test]
async fn a_gateway_starts_before_its_control_process() {
    let (backend, directory, own, offset) = (Backend::start().await, Directory::new(), Directory::new(), free_offset());
    // The first start makes the certificate that the gateway trusts.
    drop(Process::try_start(directory.path(), offset, &CONTROL).await.unwrap());
    Link::to(&directory, ports::MANAGEMENT_HTTPS + offset).write(&own);
    let mut gateway = start_gateway(&own).await;
    gateway.wait_for_log("No snapshot from the control plane: the control plane is not available").await;
    let caller = Caller::of(&gateway);
    assert_eq!(caller.call("/weather", TOKEN).await, UNKNOWN);
    for base in [gateway.gateway(), gateway.plain()] {
        assert_eq!(readiness(base).await, 503, "without data a gateway is not ready");
    }
    let control = Process::try_start(directory.path(), offset, &CONTROL).await.unwrap();
    let portal = Portal::open(&control).await;
    let api = portal.publish("/weather", &backend).await;
    let application = portal.application("umbrella", Kind::Opaque).await;
    portal.subscribe(&application, &api).await;
    let token = portal.token(&application, "first").await;
    caller.wait_for_service("/weather", &token).await;
    for base in [gateway.gateway(), gateway.plain()] {
        assert_eq!(readiness(base).await, 200);
    }
}

#[tokio::test]
async fn what_keeps_a_gateway_from_its_control_process_is_in_its_log() {
    let directory = Directory::new();
    let control = Process::start(&directory, &CONTROL).await;
    let right = || Link::to(&directory, ports::MANAGEMENT_HTTPS + control.offset);
    let wrong_password = Link { password: Some("not the administrator's"), ..right() };
    let wrong_certificate = Link { trusted: None, ..right() };
    for (link, text) in [
        (wrong_password, "No snapshot from the control plane: the control plane refused the gateway's credentials"),
        (wrong_certificate, "invalid peer certificate"),
    ] {
        let own = Directory::new();
        link.write(&own);
        let mut gateway = start_gateway(&own).await;
        gateway.wait_for_log(text).await;
        assert_eq!(Caller::of(&gateway).call("/weather", TOKEN).await, UNKNOWN);
    }
}

#[tokio::test]
async fn a_gateway_does_not_start_without_what_it_needs() {
    let (directory, port) = (Directory::new(), 1);
    let right = || Link { trusted: None, ..Link::to(&directory, port) };
    let missing = directory.path().join("missing.pem");
    for (link, text) in [
        (Link { password: None, ..right() }, "apim.key_manager.password"),
        (Link { trusted: Some(missing), ..right() }, "missing.pem"),
    ] {
        let own = Directory::new();
        link.write(&own);
        let arguments = ["--profile", "gateway"];
        let started = Process::try_start_without_password(own.path(), free_offset(), &arguments).await;
        let Err(ended) = started else { panic!("started without {text}") };
        assert_eq!(ended.code, Some(1), "{}", ended.output);
        assert!(ended.output.contains(text), "{text}: {}", ended.output);
    }
}

#[tokio::test]
async fn gateways_that_wait_for_news_do_not_hold_up_the_end_of_the_control_process() {
    let (directory, own) = (Directory::new(), Directory::new());
    let control = Process::start(&directory, &CONTROL).await;
    Link::to(&directory, ports::MANAGEMENT_HTTPS + control.offset).write(&own);
    let gateway = start_gateway(&own).await;
    let ready = async { while readiness(gateway.gateway()).await != 200 {} };
    tokio::time::timeout(Duration::from_millis(super::platform::NEWS_MS_MAX), ready).await.unwrap();
    let asked = Instant::now();
    control.terminate();
    let ended = control.wait_for_end().await;
    let elapsed = asked.elapsed();
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(elapsed < Duration::from_millis(STOP_MS_MAX), "it took {elapsed:?}");
}
