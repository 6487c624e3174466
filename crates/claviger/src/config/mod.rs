//! deployment.toml: from text to a typed, checked `Config` (configuration.md 1.1-1.6 and the sections of 2 that `keys` lists).
//!
//! Owns: the known keys, strict checking with places and advice, references, units, database URLs. Leaves to others:
//! reading the file and the real environment (`cli`), making keys and certificates (`files`), acting on any value.
//! Unlike the contract's rule for unknown keys, an unknown key is an error here: a misspelt security setting must not
//! pass unseen.

pub mod database;
pub mod keys;
pub mod model;
pub mod pattern;
pub mod ports;
pub mod profile;
pub mod schema;
pub mod user_store;

mod check;
mod expand;
mod fill;
mod problem;
mod reference;
mod syntax;

#[cfg(test)]
mod tests;

pub use model::Config;
pub use problem::{Note, Problems};
pub use reference::reference;

use expand::Expander;
use problem::{Problem, Source};
use schema::Schema;
use std::path::PathBuf;
use toml::de::DeTable;

/// Largest file that is read.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// A configuration and what the operator should know about it.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Keys without effect and the like, in file order.
    pub notes: Vec<Note>,
}

/// What a file is read against besides its text. The program looks at its surroundings once and hands them in.
pub struct Host<'a> {
    /// Looks an environment variable up.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Port offset of the command line, which wins over the file's and moves `${...port}` as well.
    pub port_offset: Option<u16>,
    /// Where /etc/localtime points to; tells the zone when `TZ` does not.
    pub localtime: Option<PathBuf>,
}

/// Reads a file's text. `env` looks an environment variable up.
pub fn load(text: &str, file_name: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
    load_on(&Host { env, port_offset: None, localtime: None }, text, file_name)
}

/// As `load`, on a given host.
pub fn load_on(host: &Host<'_>, text: &str, file_name: &str) -> Result<Loaded, Problems> {
    let mut source = Source { file_name, text, masks: Vec::new() };
    if let Err(problem) = syntax::check_size(text) {
        return Err(Source { file_name, text: "", masks: Vec::new() }.render(vec![problem]));
    }
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        source.masks = syntax::masks(text, &errors);
        return Err(source.render(errors.iter().map(syntax::problem).collect()));
    }
    let schema = Schema::new(keys::KEYS);
    source.masks = check::masks(root.get_ref(), &schema);
    let expander = Expander::new(root.get_ref(), &schema, host.env, host.port_offset);
    let mut checked = check::check(root.get_ref(), &schema, &expander, &source);
    let config = fill::fill(&mut checked, &schema, &expander, &source, host.localtime.as_deref());
    if checked.problems.is_empty() {
        checked.notes.sort_by_key(|note| note.line);
        Ok(Loaded { config, notes: checked.notes })
    } else {
        Err(source.render(checked.problems))
    }
}
