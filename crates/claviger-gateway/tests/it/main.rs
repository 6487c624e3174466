//! The gateway as its callers, backends and control plane see it: real sockets on port 0, a clock of the test.

#![expect(clippy::unwrap_used, reason = "a helper of a test that fails is a failed test")]

mod authentication;
mod backend;
mod control;
mod follower;
mod forwarding;
mod framing;
mod peers;
mod remote;
mod routing;
mod tenant_keys;
mod world;
