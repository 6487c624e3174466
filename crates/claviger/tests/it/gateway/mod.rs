//! Gateways at work: real processes, a real backend, APIs and applications made over the portal's REST.
//!
//! `revocation` measures how soon a revoked token is refused; `cut` shows that a gateway apart misses nothing while it or its
//! control plane is away; `feed` what it is told; `start` what operators see when the two cannot speak. `platform` builds the scene, `relay` stands
//! between the processes and can be cut.

mod cut;
mod feed;
mod platform;
mod relay;
mod revocation;
mod start;
