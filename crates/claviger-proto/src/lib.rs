//! The pure core of Claviger: codecs and the rules of the RFCs and of the WSO2 contracts.
//!
//! Owns: types that are parsed at the edge and checked nowhere else (ids, scopes, secrets, times), JOSE, forms,
//! Java keystores, the forms in which WSO2 stores secrets, permission trees, the events that nodes and gateways follow, and the follower's bookkeeping.
//! Leaves to others: every socket, clock, random source, log line and SQL statement. `now` and `rng` are arguments.

pub mod account;
mod der;
pub mod encode;
pub mod entropy;
pub mod event;
pub mod follow;
pub mod form;
pub mod hash;
pub mod ids;
pub mod jose;
pub mod keystore;
pub mod oauth;
pub mod password;
pub mod permission;
pub mod pkce;
pub mod scope;
pub mod secret;
pub mod stored_form;
pub mod time;
pub mod user;

#[cfg(test)]
mod tests;
