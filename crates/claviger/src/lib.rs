//! Claviger as a library: every feature and server of the program. `main.rs` only starts it.

pub mod cli;
pub mod config;
pub mod files;
pub mod portal;
