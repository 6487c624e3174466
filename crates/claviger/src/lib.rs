//! The program's features, each in a folder of its own.

pub mod portal;
