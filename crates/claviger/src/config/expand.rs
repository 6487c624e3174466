//! References inside texts: `$ref{a.b}`, `$env{NAME}`, `$sys{name}` and `${name}` (configuration.md 1.2 rule 5, 1.3).
//!
//! Owns: finding, following and bounding references. Leaves to others: the meaning of the expanded text. The
//! environment is a function given from outside. Messages name keys and references, never values.

use super::ports;
use super::schema::{Kind, Schema};
use std::cell::Cell;
use toml::de::{DeTable, DeValue};

/// Longest expanded text.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Longest reference, with its braces.
const NAME_BYTES_MAX: usize = 256;
/// Longest chain of keys that refer to each other.
const CHAIN_MAX: usize = 16;
/// References followed for one file.
const REFERENCES_MAX: u32 = 10_000;

/// An expanded text, and whether a secret key's value went into it.
pub(super) struct Expanded {
    pub(super) text: String,
    pub(super) has_secret: bool,
}

/// What references are resolved against.
pub(super) struct Expander<'a> {
    pub(super) root: &'a DeTable<'a>,
    pub(super) schema: &'a Schema,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// Offset given on the command line.
    pub(super) port_offset: Option<u16>,
    followed: Cell<u32>,
}

impl<'a> Expander<'a> {
    pub(super) fn new(
        root: &'a DeTable<'a>,
        schema: &'a Schema,
        env: &'a dyn Fn(&str) -> Option<String>,
        port_offset: Option<u16>,
    ) -> Self {
        Self { root, schema, env, port_offset, followed: Cell::new(0) }
    }

    /// Expands the text of the key `path`. The error is a message for the user.
    pub(super) fn expand(&self, path: &str, text: &str) -> Result<Expanded, String> {
        self.expand_in(text, &mut vec![path.to_owned()])
    }

    fn expand_in(&self, text: &str, chain: &mut Vec<String>) -> Result<Expanded, String> {
        let mut out = Expanded { text: String::with_capacity(text.len()), has_secret: false };
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.text.push_str(&rest[..at]);
            rest = &rest[at..];
            let Some((kind, name, length)) = reference(rest) else {
                out.text.push('$');
                rest = &rest[1..];
                continue;
            };
            let value = self.resolve(kind, name, chain)?;
            out.has_secret |= value.has_secret;
            out.text.push_str(&value.text);
            if out.text.len() > TEXT_BYTES_MAX {
                return Err(format!("the references make the text longer than {TEXT_BYTES_MAX} bytes"));
            }
            rest = &rest[length..];
        }
        out.text.push_str(rest);
        Ok(out)
    }

    fn resolve(&self, kind: &str, name: &str, chain: &mut Vec<String>) -> Result<Expanded, String> {
        self.followed.set(self.followed.get() + 1);
        if self.followed.get() > REFERENCES_MAX {
            return Err(format!("more than {REFERENCES_MAX} references in one file"));
        }
        match kind {
            "ref" => self.resolve_key(name, chain),
            "env" => (self.env)(name)
                .map(|text| Expanded { text, has_secret: false })
                .ok_or_else(|| format!("`$env{{{}}}`: this environment variable is not set", shown(name))),
            "sys" | "" => self.resolve_builtin(kind, name, chain),
            _ => Err(format!(
                "`$secret{{{}}}`: encrypted secrets are not supported yet; use `$env{{NAME}}`",
                shown(name)
            )),
        }
    }

    fn resolve_key(&self, path: &str, chain: &mut Vec<String>) -> Result<Expanded, String> {
        if chain.iter().any(|seen| seen == path) {
            let circle: Vec<String> = chain.iter().chain([&path.to_owned()]).map(|step| shown(step)).collect();
            return Err(format!("`$ref{{{}}}` goes in a circle: {}", shown(path), circle.join(" -> ")));
        }
        if chain.len() >= CHAIN_MAX {
            return Err(format!("`$ref{{{}}}`: more than {CHAIN_MAX} keys refer to each other", shown(path)));
        }
        let Some(key) = self.schema.key(path) else {
            return Err(format!("`$ref{{{}}}` names no known key", shown(path)));
        };
        let mut out = match find(self.root, path) {
            Some(DeValue::String(text)) => {
                chain.push(path.to_owned());
                let out = self.expand_in(text, chain);
                chain.pop();
                out?
            }
            Some(DeValue::Integer(number)) => Expanded { text: number.to_string(), has_secret: false },
            Some(DeValue::Float(number)) => Expanded { text: number.to_string(), has_secret: false },
            Some(DeValue::Boolean(flag)) => Expanded { text: flag.to_string(), has_secret: false },
            Some(DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_)) => {
                return Err(format!("`$ref{{{}}}` is not a text", shown(path)));
            }
            None if key.default.is_empty() => return Err(format!("`$ref{{{}}}`: that key is not set", shown(path))),
            None => {
                chain.push(path.to_owned());
                let out = self.expand_in(key.default, chain);
                chain.pop();
                out?
            }
        };
        out.has_secret |= matches!(key.kind, Kind::Secret | Kind::DatabaseUrl);
        Ok(out)
    }

    /// `$sys{name}` and `${name}`: the system properties that the contract's section 1.3 lists.
    fn resolve_builtin(&self, kind: &str, name: &str, chain: &mut Vec<String>) -> Result<Expanded, String> {
        let fixed = |text: &str| Ok(Expanded { text: text.to_owned(), has_secret: false });
        let port = |base: u16, chain: &mut Vec<String>| {
            let offset = match self.port_offset {
                Some(offset) => offset,
                None => self.resolve_key("server.offset", chain)?.text.trim().parse().unwrap_or(0),
            };
            fixed(&base.saturating_add(offset).to_string())
        };
        match name {
            "carbon.home" => fixed("."),
            "carbon.context" => fixed("/"),
            "carbon.protocol" => fixed("https"),
            "carbon.host" => self.resolve_key("server.hostname", chain),
            "carbon.local.ip" => self.resolve_key("server.node_ip", chain),
            "admin.username" => self.resolve_key("super_admin.username", chain),
            "admin.password" => self.resolve_key("super_admin.password", chain),
            "carbon.management.port" | "mgt.transport.https.port" => port(ports::MANAGEMENT_HTTPS, chain),
            "mgt.transport.http.port" => port(ports::MANAGEMENT_HTTP, chain),
            "https.nio.port" => port(ports::GATEWAY_HTTPS, chain),
            "http.nio.port" => port(ports::GATEWAY_HTTP, chain),
            _ => Err(format!("`${kind}{{{}}}` is not a built-in value; use `$env{{NAME}}`", shown(name))),
        }
    }
}

/// The value that the file gives at a dotted path.
fn find<'a>(root: &'a DeTable<'a>, path: &str) -> Option<&'a DeValue<'a>> {
    let mut segments = path.split('.');
    let mut value = root.get(segments.next()?)?.get_ref();
    for segment in segments {
        value = value.as_table()?.get(segment)?.get_ref();
    }
    Some(value)
}

/// Splits `$kind{name}` off the front: kind, name, length. `None`: the `$` is an ordinary character.
fn reference(text: &str) -> Option<(&str, &str, usize)> {
    // Both searches are short, so that a text full of `$` costs no more than its length.
    let open = text.bytes().take("$secret{".len()).position(|byte| byte == b'{')?;
    let kind = &text[1..open];
    if !matches!(kind, "ref" | "env" | "sys" | "secret" | "") {
        return None;
    }
    let close = open + text[open..].bytes().take(NAME_BYTES_MAX).position(|byte| byte == b'}')?;
    Some((kind, &text[open + 1..close], close + 1))
}

fn shown(name: &str) -> String {
    super::problem::shown_name(name)
}
