//! The management side's HTTP: who may call what ([`access`]), the list of routes ([`routes`]), the accept loops
//! ([`serve`]), TLS ([`tls`]) and the replies every facade shares ([`reply`]).

pub mod access;
pub mod reply;
pub mod routes;
pub mod serve;
pub mod tenant;
pub mod tls;
pub mod unread;
