//! The data plane: a reverse proxy that lets through only calls with a valid token of a subscribed application.
//!
//! A request passes named phases in one order: listen, route, authenticate, limit, rewrite, forward, record
//! (ARCHITECTURE.md shows the picture). This crate owns them, and the copy of the control plane's data they read
//! ([`catalog`]). It leaves to the program: where that data comes from ([`control::ControlPlane`] has one implementation
//! for the same process and one for another), the database, and the configuration file. There is no SQL here and no crate
//! that could speak it.

pub mod control;
pub mod model;
