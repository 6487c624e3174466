//! The generator and its readers against each other, on the servers that `CLAVIGER_TEST_MYSQL_URL` and
//! `CLAVIGER_TEST_POSTGRES_URL` name (`cargo xtask test` starts both). Each case makes databases of its own.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod audit;
mod catalogue;
mod forward;

use claviger_golden::Engine;

/// When the old servers were stopped.
const NOW_MS: i64 = 1_790_000_000_123;

/// The servers that are there.
#[expect(clippy::disallowed_methods, reason = "the test reads where its servers are")]
fn servers() -> Vec<(Engine, String)> {
    let named = [(Engine::MySql, "CLAVIGER_TEST_MYSQL_URL"), (Engine::Postgres, "CLAVIGER_TEST_POSTGRES_URL")];
    named.into_iter().filter_map(|(engine, name)| Some((engine, std::env::var(name).ok()?))).collect()
}

/// Asks for the whole matrix.
#[expect(clippy::disallowed_methods, reason = "the test reads how long it may take")]
fn is_long() -> bool {
    std::env::var("CLAVIGER_TEST_LONG").is_ok_and(|value| value == "1")
}
