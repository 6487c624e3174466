//! The data plane: a reverse proxy that lets through only calls with a valid token of a subscribed application.
//!
//! A request passes named phases in one order: listen, route, authenticate, limit, rewrite, forward, record
//! (ARCHITECTURE.md shows the picture). This crate owns them, and the copy of the control plane's data they read
//! (`catalog`). It leaves to the program: where that data comes from ([`control::ControlPlane`] has one implementation
//! for the same process and one for another), the database, and the configuration file. There is no SQL here and no crate
//! that could speak it.
//!
//! The program makes one [`Gateway`], runs [`Gateway::run_follower`] once, and hands every accepted stream to
//! [`Gateway::serve_connection`].

mod api;
mod authenticate;
mod body;
mod catalog;
pub mod config;
pub mod connection;
pub mod control;
mod cors;
mod credential;
mod fault;
mod follow;
mod forward;
mod framing;
mod gateway;
mod guard;
mod limit;
mod listen;
pub mod model;
pub mod path;
mod record;
pub mod remote;
mod resource;
mod rewrite;
mod route;
pub mod upstream;
mod verdict;

pub use config::GatewayConfig;
pub use follow::Progress;
pub use gateway::Gateway;
pub use listen::Scheme;

#[cfg(test)]
mod tests;
