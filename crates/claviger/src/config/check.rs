//! Reads a file against the table of known keys: every unknown key and every wrong value becomes a problem with its
//! place, and what is right becomes typed values by path.
//!
//! Owns: the walk, the conversion of single values, "did you mean", which bytes must be masked. Leaves to others: what
//! values mean together (`fill`), references (`expand`), rendering (`problem`).

use super::expand::{Expanded, Expander};
use super::problem::{Note, Problem, Source, shown_name};
use super::reference::type_name;
use super::schema::{Effect, Key, Kind, Schema, TableKind, Unit};
use claviger_proto::secret::Secret;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// Tables inside tables; the known keys need five.
const DEPTH_MAX: usize = 12;
/// Problems after which unknown names are no longer compared with all known ones.
const ADVICE_MAX: usize = 500;
/// Elements of a list or of an array of tables.
const ELEMENTS_MAX: usize = 1_000;
/// Longest duration: a hundred years.
const DURATION_MILLIS_MAX: i64 = 100 * 366 * 86_400_000;

/// A checked value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Secret(Secret),
    Flag(bool),
    Number(i64),
    Never,
    Texts(Vec<String>),
    Properties(Vec<Property>),
}

/// One entry of a table of properties; the names of tables inside it stand before its own, with dots.
#[derive(Clone, Debug)]
pub(super) struct Property {
    pub(super) name: String,
    /// The text with its references resolved, or why they cannot be: whether that matters the section knows.
    pub(super) text: Result<Secret, String>,
    /// Did another secret go into it?
    pub(super) has_secret: bool,
    pub(super) span: Range<usize>,
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) value: Value,
    pub(super) span: Range<usize>,
}

/// The result of the walk.
#[derive(Default)]
pub(super) struct Checked {
    /// By path with indexes: `apim.gateway.environment[0].name`.
    pub(super) leaves: BTreeMap<String, Leaf>,
    /// Headings of tables that are present, by path.
    pub(super) tables: BTreeMap<String, Range<usize>>,
    /// Number of elements of each array of tables.
    pub(super) lengths: BTreeMap<String, usize>,
    pub(super) problems: Vec<Problem>,
    pub(super) notes: Vec<Note>,
}

/// The walk's constant surroundings.
struct Walk<'a> {
    schema: &'a Schema,
    expander: &'a Expander<'a>,
    source: &'a Source<'a>,
}

/// Checks a whole document.
pub(super) fn check(root: &DeTable<'_>, schema: &Schema, expander: &Expander<'_>, source: &Source<'_>) -> Checked {
    let mut checked = Checked::default();
    Walk { schema, expander, source }.table(root, &Place::default(), &mut checked);
    checked
}

/// Where the walk is: the path in the table of keys and the path with indexes.
#[derive(Clone, Default)]
struct Place {
    schema: String,
    concrete: String,
    depth: usize,
}

impl Place {
    fn child(&self, name: &str) -> Self {
        let join = |prefix: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        Self { schema: join(&self.schema), concrete: join(&self.concrete), depth: self.depth + 1 }
    }

    fn element(&self, index: usize) -> Self {
        Self {
            schema: format!("{}[]", self.schema),
            concrete: format!("{}[{index}]", self.concrete),
            depth: self.depth,
        }
    }
}

impl Walk<'_> {
    fn table(&self, table: &DeTable<'_>, place: &Place, out: &mut Checked) {
        for (name, value) in table {
            let span = name.span();
            let name = name.get_ref().as_ref();
            let here = place.child(name);
            // A quoted name with a dot must not be taken for a path.
            let has_plain_name = !name.contains(['.', '[', ']']);
            if here.depth > DEPTH_MAX {
                out.problems.push(Problem::new(Some(span), "tables are nested too deeply"));
            } else if let Some(key) = self.schema.key(&here.schema).filter(|_| has_plain_name) {
                self.leaf(key, &here, &span, value, out);
            } else if let Some(kind) = self.schema.table(&here.schema).filter(|_| has_plain_name) {
                self.subtable(kind, &here, &span, value, out);
            } else {
                let is_table = matches!(value.get_ref(), DeValue::Table(_));
                let problem = unknown(name, place, span, is_table);
                let help = if out.problems.len() < ADVICE_MAX { self.advice(name, place) } else { String::new() };
                out.problems.push(problem.help(help));
            }
        }
    }

    fn subtable(
        &self,
        kind: TableKind,
        here: &Place,
        span: &Range<usize>,
        value: &Spanned<DeValue<'_>>,
        out: &mut Checked,
    ) {
        match (kind, value.get_ref()) {
            (TableKind::Table, DeValue::Table(table)) => {
                out.tables.insert(here.concrete.clone(), span.clone());
                self.table(table, here, out);
            }
            (TableKind::Array, DeValue::Array(items)) => {
                if items.len() > ELEMENTS_MAX {
                    out.problems.push(Problem::new(Some(span.clone()), format!("more than {ELEMENTS_MAX} elements")));
                    return;
                }
                out.lengths.insert(here.concrete.clone(), items.len());
                for (index, item) in items.iter().enumerate() {
                    let element = here.element(index);
                    match item.get_ref() {
                        DeValue::Table(table) => {
                            out.tables.insert(element.concrete.clone(), span.clone());
                            self.table(table, &element, out);
                        }
                        other => out.problems.push(wrong_type(item.span(), &here.schema, "a table", other)),
                    }
                }
            }
            (TableKind::Array, DeValue::Table(_)) => out.problems.push(
                Problem::new(Some(span.clone()), format!("`{}` is a list of tables", here.schema))
                    .help(format!("write `[[{}]]`", here.schema)),
            ),
            (TableKind::Table, other) => out.problems.push(wrong_type(value.span(), &here.schema, "a table", other)),
            (TableKind::Array, other) => {
                out.problems.push(wrong_type(value.span(), &here.schema, "a list of tables", other));
            }
        }
    }

    fn leaf(&self, key: &Key, here: &Place, name: &Range<usize>, value: &Spanned<DeValue<'_>>, out: &mut Checked) {
        let span = value.span();
        let converted = match self.convert(key, here, value) {
            Ok(converted) => converted,
            Err(problem) => return out.problems.push(problem),
        };
        let mut path = here.concrete.clone();
        match key.effect {
            Effect::Applied => {}
            Effect::None(why) => {
                let line = Some(self.source.line_of(span.start));
                out.notes.push(Note {
                    line,
                    is_warning: false,
                    text: format!("`{path}` is accepted without effect: {why}"),
                });
                return;
            }
            Effect::Alias(name) => {
                let end = path.rfind('.').map_or(0, |at| at + 1);
                path.replace_range(end.., name);
            }
        }
        if out.leaves.insert(path.clone(), Leaf { value: converted, span }).is_some() {
            out.problems.push(
                Problem::new(Some(name.clone()), format!("`{path}` is given twice, under two spellings"))
                    .help("remove one"),
            );
        }
    }

    /// The nearest name at this place, or a key of the same name elsewhere.
    fn advice(&self, name: &str, place: &Place) -> String {
        let elsewhere = || self.schema.keys().map(|(path, _)| path).find(|path| path.rsplit('.').next() == Some(name));
        match nearest(name, self.schema.children(&place.schema)).or_else(elsewhere) {
            Some(near) => format!("did you mean `{near}`?"),
            None => String::new(),
        }
    }

    /// One value in its key's type.
    fn convert(&self, key: &Key, here: &Place, value: &Spanned<DeValue<'_>>) -> Result<Value, Problem> {
        let span = value.span();
        let wrong = || wrong_type(span.clone(), &here.schema, &type_name(key.kind), value.get_ref());
        let at = |message: String| Problem::new(Some(span.clone()), format!("`{}`: {message}", here.schema));
        match (key.kind, value.get_ref()) {
            (Kind::Texts, DeValue::Array(items)) => {
                if items.len() > ELEMENTS_MAX {
                    return Err(at(format!("more than {ELEMENTS_MAX} elements")));
                }
                let mut texts = Vec::with_capacity(items.len());
                for item in items {
                    let DeValue::String(text) = item.get_ref() else {
                        return Err(wrong_type(item.span(), &here.schema, "a list of texts", item.get_ref()));
                    };
                    let expanded = self.expanded(key, here, text);
                    texts.push(expanded.map_err(|message| Problem::new(Some(item.span()), message))?);
                }
                Ok(Value::Texts(texts))
            }
            (Kind::Properties, DeValue::Table(table)) => {
                let mut properties = Vec::new();
                self.properties(table, here, "", &mut properties)?;
                Ok(Value::Properties(properties))
            }
            (kind, DeValue::String(text)) => {
                let text =
                    self.expanded(key, here, text).map_err(|message| Problem::new(Some(span.clone()), message))?;
                from_text(kind, &text).map_err(at)
            }
            (Kind::Flag, DeValue::Boolean(flag)) => Ok(Value::Flag(*flag)),
            (Kind::OneOf(_), DeValue::Boolean(flag)) => from_text(key.kind, &flag.to_string()).map_err(at),
            (Kind::Integer { min, max }, DeValue::Integer(number)) => {
                whole(number).and_then(|number| in_range(number, min, max)).map_err(at)
            }
            (Kind::Duration { unit, min, may_be_never }, DeValue::Integer(number)) => {
                whole(number).and_then(|number| duration(number, unit, min, may_be_never)).map_err(at)
            }
            _ => Err(wrong()),
        }
    }

    /// The entries of a table of properties and of the tables inside it.
    fn properties(
        &self,
        table: &DeTable<'_>,
        here: &Place,
        prefix: &str,
        out: &mut Vec<Property>,
    ) -> Result<(), Problem> {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            let place = here.child(&shown_name(key.get_ref()));
            if place.depth > DEPTH_MAX {
                return Err(Problem::new(Some(key.span()), "tables are nested too deeply"));
            }
            if out.len() >= ELEMENTS_MAX {
                return Err(Problem::new(Some(key.span()), format!("more than {ELEMENTS_MAX} elements")));
            }
            let text = match value.get_ref() {
                DeValue::Table(inner) => {
                    self.properties(inner, &place, &format!("{name}."), out)?;
                    continue;
                }
                DeValue::String(text) => self.expander.expand(&place.concrete, text),
                DeValue::Integer(number) => {
                    whole(number).map(|number| Expanded { text: number.to_string(), has_secret: false })
                }
                DeValue::Boolean(flag) => Ok(Expanded { text: flag.to_string(), has_secret: false }),
                other => Err(format!("expected text, found {}", other.type_str())),
            };
            let has_secret = text.as_ref().is_ok_and(|expanded| expanded.has_secret);
            let text = text.map(|expanded| Secret::new(expanded.text));
            out.push(Property { name, text, has_secret, span: value.span() });
        }
        Ok(())
    }

    fn expanded(&self, key: &Key, here: &Place, text: &str) -> Result<String, String> {
        let expanded =
            self.expander.expand(&here.concrete, text).map_err(|message| format!("`{}`: {message}", here.schema))?;
        if expanded.has_secret && !matches!(key.kind, Kind::Secret | Kind::DatabaseUrl) {
            return Err(format!("`{}`: a secret may only go into a secret key", here.schema));
        }
        Ok(expanded.text)
    }
}

fn unknown(name: &str, place: &Place, span: Range<usize>, is_table: bool) -> Problem {
    let name = shown_name(name);
    let path = if place.schema.is_empty() { name } else { format!("{}.{name}", place.schema) };
    Problem::new(Some(span), format!("unknown {} `{path}`", if is_table { "section" } else { "key" }))
}

/// The default of a key, converted; `None` when it has none or refers to a key that is itself wrong.
pub(super) fn default_value(key: &Key, path: &str, expander: &Expander<'_>) -> Option<Value> {
    if key.default.is_empty() {
        return None;
    }
    from_text(key.kind, &expander.expand(path, key.default).ok()?.text).ok()
}

/// A text in a kind's type. The error is a message without the value.
fn from_text(kind: Kind, text: &str) -> Result<Value, String> {
    match kind {
        Kind::Text | Kind::DatabaseUrl => Ok(Value::Text(text.to_owned())),
        Kind::Secret => Ok(Value::Secret(Secret::new(text))),
        Kind::HttpUrl => http_url(text),
        Kind::Flag => match text.trim() {
            "true" => Ok(Value::Flag(true)),
            "false" => Ok(Value::Flag(false)),
            _ => Err("expected true or false".to_owned()),
        },
        Kind::Integer { min, max } => {
            let number = text.trim().parse().map_err(|_| format!("expected a {}", type_name(kind)))?;
            in_range(number, min, max)
        }
        Kind::Duration { unit, min, may_be_never } => duration_text(text.trim(), unit, min, may_be_never),
        Kind::OneOf(words) => words
            .iter()
            .find(|word| word.eq_ignore_ascii_case(text.trim()))
            .map(|word| Value::Text((*word).to_owned()))
            .ok_or_else(|| format!("expected {}", type_name(kind))),
        Kind::Properties => Err("expected a table".to_owned()),
        Kind::Texts => Ok(Value::Texts(
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        )),
    }
}

pub(super) fn http_url(text: &str) -> Result<Value, String> {
    let url = url::Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("expected an http or https URL".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials do not belong into this URL".to_owned());
    }
    Ok(Value::Text(text.to_owned()))
}

fn whole(number: &DeInteger<'_>) -> Result<i64, String> {
    i64::from_str_radix(number.as_str(), number.radix()).map_err(|_| "the number is too large".to_owned())
}

fn in_range(number: i64, min: i64, max: i64) -> Result<Value, String> {
    if (min..=max).contains(&number) { Ok(Value::Number(number)) } else { Err(format!("expected {min} to {max}")) }
}

fn duration(number: i64, unit: Unit, min: i64, may_be_never: bool) -> Result<Value, String> {
    let max = DURATION_MILLIS_MAX / unit.millis();
    if number < 0 && may_be_never { Ok(Value::Never) } else { in_range(number, min, max) }
}

/// `15`, `15m`, `1d`, `-1` in the wanted unit (configuration.md 1.4).
pub(super) fn duration_text(text: &str, unit: Unit, min: i64, may_be_never: bool) -> Result<Value, String> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let bad = || "expected a duration such as 30s, 15m, 12h or 1d".to_owned();
    let number: i64 = number.trim().parse().map_err(|_| bad())?;
    let scale = match suffix {
        "" => return duration(number, unit, min, may_be_never),
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    let millis = number.checked_mul(scale).ok_or_else(bad)?;
    if millis % unit.millis() != 0 {
        return Err(format!("expected whole {}", unit.name()));
    }
    duration(millis / unit.millis(), unit, min, may_be_never)
}

fn wrong_type(span: Range<usize>, path: &str, expected: &str, found: &DeValue<'_>) -> Problem {
    Problem::new(Some(span), format!("`{path}`: expected {expected}, found {}", found.type_str()))
}

/// The byte ranges of all values that must not be shown: secrets, URLs that may hold one, and whatever stands under a
/// name that is not known (it may be a misspelt secret).
pub(super) fn masks(root: &DeTable<'_>, schema: &Schema) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    masks_in(root, schema, &Place::default(), &mut out);
    out
}

fn masks_in(table: &DeTable<'_>, schema: &Schema, place: &Place, out: &mut Vec<Range<usize>>) {
    for (name, value) in table {
        let here = place.child(name.get_ref());
        if here.depth > DEPTH_MAX {
            out.push(value.span());
            continue;
        }
        let is_public = schema.key(&here.schema).is_some_and(|key| match (key.kind, value.get_ref()) {
            (Kind::Secret | Kind::Properties, _) => false,
            (Kind::DatabaseUrl | Kind::HttpUrl, DeValue::String(text)) => !text.contains(['@', '?', ';']),
            _ => true,
        });
        mask_value(value, schema, &here, is_public, out);
    }
}

fn mask_value(
    value: &Spanned<DeValue<'_>>,
    schema: &Schema,
    here: &Place,
    is_public: bool,
    out: &mut Vec<Range<usize>>,
) {
    match value.get_ref() {
        DeValue::Table(table) => masks_in(table, schema, here, out),
        DeValue::Array(items) => {
            let mut element = here.element(0);
            for item in items {
                element.depth += 1;
                if element.depth <= DEPTH_MAX {
                    mask_value(item, schema, &element, is_public, out);
                } else {
                    out.push(item.span());
                }
                element.depth -= 1;
            }
        }
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            if !is_public {
                out.push(value.span());
            }
        }
    }
}

/// The candidate nearest to a misspelt name, if one is near enough.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_ascii_lowercase();
    if wanted.len() > 64 {
        return None;
    }
    candidates
        .map(|candidate| (distance(&wanted, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(wanted.len()) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edit distance (insert, delete, replace, swap of neighbours).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut current = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = previous[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            current[j] = replace.min(previous[j] + 1).min(current[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                current[j] = current[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous[b.len()]
}
