//! Gateways at work: real processes, a real backend, APIs and applications made over the portal's REST.
//!
//! `revocation` measures how soon a revoked token is refused; `cut` shows that a gateway apart misses nothing while it or its
//! control plane is away, `outage` that one beside its control plane needs no database for what it knows; `feed` what a gateway
//! is told; `start` what operators see when the two cannot speak. `platform` builds the scene.

mod cut;
mod feed;
mod outage;
mod platform;
mod revocation;
mod start;
