//! Claviger as a library: every feature and server of the program. `main.rs` only starts it.
//!
//! Data flows one way: `route -> feature -> store`. The parts meet in [`server`] and nowhere else.

pub mod app;
pub mod cache;
pub mod cleaner;
pub mod cli;
pub mod config;
pub mod data_api;
pub mod events;
pub mod files;
pub mod gateway_feed;
pub mod gateway_role;
pub mod health;
pub mod http;
pub mod log;
pub mod notifications;
pub mod oauth;
pub mod ops;
pub mod portal;
pub mod portal_scopes;
pub mod server;
pub mod startup;
pub mod user_info;
pub mod users;
