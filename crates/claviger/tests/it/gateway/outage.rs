//! The database of the control plane goes away: the gateway of the same process lets through what it knows.

use super::platform::{Backend, Caller, Kind, PASSED, Portal, UNCHECKED};
use crate::harness::{Directory, Process, Relay, databases};
use std::time::Duration;

const WEATHER: &str = "/weather";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_with_a_known_verdict_need_no_database() {
    for database in databases().await {
        if !database.is_shared() {
            continue;
        }
        let (backend, directory, mut relay) =
            (Backend::start().await, Directory::new(), Relay::start(database.port()).await);
        let text = format!("{}max_wait = 500\n", database.section_at(relay.port()));
        std::fs::write(directory.path().join("deployment.toml"), text).unwrap();
        let process = Process::start(&directory, &["--log", "error"]).await;
        let (portal, caller) = (Portal::open(&process).await, Caller::of(&process));
        let api = portal.publish(WEATHER, &backend).await;
        let mut known = Vec::new();
        for (name, kind) in [("opaque", Kind::Opaque), ("jwt", Kind::Jwt)] {
            let application = portal.application(name, kind).await;
            portal.subscribe(&application, &api).await;
            let token = portal.token(&application, "known").await;
            caller.wait_for_service(WEATHER, &token).await;
            known.push((token, application));
        }
        let unknown = portal.token(&known[0].1, "unknown").await;
        relay.cut().await;
        for (token, _) in known.iter().cycle().take(20) {
            assert_eq!(caller.call(WEATHER, token).await, PASSED, "{}", database.engine());
        }
        assert_eq!(caller.call(WEATHER, "6f4e8f2c-1d90-4a44-8f38-77a1f0c42b5e").await, UNCHECKED);
        relay.mend().await;
        let back = Duration::from_secs(2);
        caller.wait_for((WEATHER, &unknown), PASSED, &[UNCHECKED], back).await;
        drop(process);
        database.remove().await;
    }
}
