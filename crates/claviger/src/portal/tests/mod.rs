//! The portal over HTTP: its routes on a router, a SQLite database, a key manager of paper.

mod bounds;
mod devportal;
mod harness;
mod keys;
mod ownership;
mod program;
mod publisher;
mod texts;
