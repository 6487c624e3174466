//! The management side's HTTP: who may call what ([`access`]) and what the operator asks for beside it ([`rules`]), the list of
//! routes ([`routes`]), the accept loops ([`serve`]), what handlers take of a request ([`extract`], [`json`]), what nobody took
//! of it ([`unread`]), TLS ([`tls`]) and the replies every facade shares ([`reply`]).

pub mod access;
pub mod extract;
pub mod json;
pub mod reply;
pub mod routes;
pub mod rules;
pub mod serve;
pub mod tenant;
pub mod tls;
pub mod unread;
