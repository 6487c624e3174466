//! The portal over HTTP: its routes on a router, a SQLite database, a key manager of paper.

mod devportal;
mod harness;
mod ownership;
mod program;
mod publisher;
