//! The resources of one API, compiled for matching.
//!
//! Owns: portal-gateway-3x.md 6.2: exact, longest `/*`, `*.ext`, templates in definition order, and our own rule that a
//! template is preferred to a bare `/*`. One trailing slash never changes the resource (a policy must not be avoided with
//! it). Leaves to `path`: refusing ambiguous paths; to `route`: what the answer to a missing resource is.

use crate::config::ResourceMatching;
use crate::model::Resource;
use http::Method;
use std::collections::HashMap;

/// Resources of an API by verb.
#[derive(Debug, Default)]
pub(crate) struct ResourceTable {
    resources: Vec<Resource>,
    verbs: Vec<VerbTable>,
}

/// What a path and a verb lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Index of the resource.
    Resource(usize),
    /// Another verb has the path.
    OtherVerb,
    /// No verb has the path.
    Nothing,
}

/// Patterns of one verb; the numbers are indexes of resources.
#[derive(Debug)]
struct VerbTable {
    verb: Method,
    exact: HashMap<String, usize>,
    /// `/a/*` as `/a`, longest first.
    prefixes: Vec<(String, usize)>,
    bare: Option<usize>,
    /// `*.ext` as `.ext`.
    extensions: Vec<(String, usize)>,
    templates: Vec<(Vec<Segment>, usize)>,
}

/// One segment of a template.
#[derive(Debug, PartialEq, Eq)]
enum Segment {
    /// Exactly this text.
    Literal(String),
    /// `{x}`: one segment that is not empty.
    Any,
    /// Texts with a variable between each two: `{id}.json`, `v{n}`.
    Mixed(Vec<String>),
    /// `{+x}`, `{x*}`: one segment or more.
    Many,
    /// A final `*`: whatever follows, also nothing.
    Tail,
}

impl ResourceTable {
    /// Compiles the resources of an API. Verbs that are no HTTP method are left out.
    pub(crate) fn new(resources: Vec<Resource>) -> Self {
        let mut verbs: Vec<VerbTable> = Vec::new();
        for (index, resource) in resources.iter().enumerate() {
            let Ok(verb) = Method::from_bytes(resource.verb.as_bytes()) else { continue };
            let at = verbs.iter().position(|table| table.verb == verb).unwrap_or_else(|| {
                verbs.push(VerbTable::new(verb));
                verbs.len() - 1
            });
            verbs[at].add(&resource.pattern, index);
        }
        for table in &mut verbs {
            table.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.matches('/').count()));
        }
        Self { resources, verbs }
    }

    /// The resource with an index that [`ResourceTable::find`] gave.
    pub(crate) fn get(&self, index: usize) -> &Resource {
        &self.resources[index]
    }

    /// Finds the resource for a verb and the decoded path behind the API's context.
    pub(crate) fn find(&self, verb: &Method, path: &str, matching: ResourceMatching) -> Found {
        let path = without_trailing_slash(path);
        let own = self.verbs.iter().find(|table| table.verb == *verb);
        if let Some(index) = own.and_then(|table| table.find(path, matching)) {
            return Found::Resource(index);
        }
        let has_other = self.verbs.iter().any(|table| table.find(path, matching).is_some());
        if has_other { Found::OtherVerb } else { Found::Nothing }
    }

    /// The verbs that have a path, in definition order (for CORS).
    pub(crate) fn verbs_of<'a>(
        &'a self,
        path: &'a str,
        matching: ResourceMatching,
    ) -> impl Iterator<Item = &'a Method> {
        let path = without_trailing_slash(path);
        self.verbs.iter().filter(move |table| table.find(path, matching).is_some()).map(|table| &table.verb)
    }
}

impl VerbTable {
    fn new(verb: Method) -> Self {
        Self {
            verb,
            exact: HashMap::new(),
            prefixes: Vec::new(),
            bare: None,
            extensions: Vec::new(),
            templates: Vec::new(),
        }
    }

    /// Files a pattern. Of two equal patterns the first counts.
    fn add(&mut self, pattern: &str, index: usize) {
        let rooted = if pattern.starts_with('/') { pattern.to_owned() } else { format!("/{pattern}") };
        if rooted.contains('{') {
            self.templates.push((template(&rooted), index));
        } else if rooted == "/*" {
            self.bare.get_or_insert(index);
        } else if let Some(prefix) = rooted.strip_suffix("/*") {
            self.prefixes.push((prefix.to_owned(), index));
        } else if let Some(extension) = rooted.strip_prefix("/*") {
            self.extensions.push((extension.to_owned(), index));
        } else {
            self.exact.entry(without_trailing_slash(&rooted).to_owned()).or_insert(index);
        }
    }

    fn find(&self, path: &str, matching: ResourceMatching) -> Option<usize> {
        if let Some(index) = self.exact.get(path) {
            return Some(*index);
        }
        let under =
            |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if let Some((_, index)) = self.prefixes.iter().find(|(prefix, _)| under(prefix)) {
            return Some(*index);
        }
        let by_template =
            || self.templates.iter().find(|(template, _)| is_match(template, path)).map(|(_, index)| *index);
        if self.bare.is_some() {
            return match matching {
                ResourceMatching::Upstream => self.bare,
                ResourceMatching::Specific => by_template().or(self.bare),
            };
        }
        let by_extension = self.extensions.iter().find(|(extension, _)| path.ends_with(extension.as_str()));
        by_extension.map(|(_, index)| *index).or_else(by_template)
    }
}

/// `/a/` is `/a`, and no path is `/`.
fn without_trailing_slash(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some("") | None if path.is_empty() => "/",
        Some("") | None => path,
        Some(rest) => rest,
    }
}

fn template(pattern: &str) -> Vec<Segment> {
    // A query template (`{?x}`) says nothing about the path.
    let path = pattern.split("{?").next().unwrap_or(pattern);
    let mut segments: Vec<Segment> = without_trailing_slash(path).split('/').skip(1).map(segment).collect();
    if segments.last() == Some(&Segment::Literal("*".to_owned())) {
        segments.pop();
        segments.push(Segment::Tail);
    }
    segments
}

fn segment(text: &str) -> Segment {
    let is_variable = |text: &str| text.starts_with('{') && text.find('}') == Some(text.len() - 1);
    if is_variable(text) {
        return if text.starts_with("{+") || text.ends_with("*}") { Segment::Many } else { Segment::Any };
    }
    let mut texts = Vec::new();
    let mut rest = text;
    while let Some((before, (_, after))) =
        rest.split_once('{').and_then(|(before, inside)| inside.split_once('}').map(|inside| (before, inside)))
    {
        texts.push(before.to_owned());
        rest = after;
    }
    if texts.is_empty() {
        return Segment::Literal(text.to_owned());
    }
    texts.push(rest.to_owned());
    Segment::Mixed(texts)
}

/// Matches segment by segment. When a piece does not fit, the last `{+x}` takes one segment more; an earlier one never
/// has to, so the work is bounded by segments times template.
fn is_match(template: &[Segment], path: &str) -> bool {
    let segment_count = if path == "/" { 0 } else { usize::MAX };
    let mut names = path.split('/').skip(1).take(segment_count);
    let mut at = 0;
    let mut retry = None;
    loop {
        let is_fit = match (template.get(at), names.next()) {
            (Some(Segment::Tail), _) | (None, None) => return true,
            // Taking more segments cannot give the rest of the template one to match.
            (Some(_), None) => return false,
            (Some(Segment::Many), Some(name)) if !name.is_empty() => {
                retry = Some((at + 1, names.clone()));
                true
            }
            (Some(segment), Some(name)) => segment.is_fit(name),
            (None, Some(_)) => false,
        };
        if is_fit {
            at += 1;
            continue;
        }
        let Some((after_many, mut taken)) = retry else { return false };
        if taken.next().is_none() {
            return false;
        }
        at = after_many;
        names = taken.clone();
        retry = Some((after_many, taken));
    }
}

impl Segment {
    fn is_fit(&self, name: &str) -> bool {
        match self {
            Self::Literal(text) => name == text,
            Self::Any | Self::Many => !name.is_empty(),
            Self::Mixed(texts) => is_mixed_match(texts, name),
            Self::Tail => true,
        }
    }
}

/// Each variable takes at least one character; the shortest fit is tried first, which is enough when only the last text
/// is bound to the end.
fn is_mixed_match(texts: &[String], segment: &str) -> bool {
    let (Some((first, others)), Some(last)) = (texts.split_first(), texts.last()) else { return false };
    let Some(mut rest) = segment.strip_prefix(first.as_str()) else { return false };
    let middle = &others[..others.len().saturating_sub(1)];
    for text in middle {
        let Some((start, _)) = rest.char_indices().nth(1) else { return false };
        let Some(at) = rest[start..].find(text.as_str()) else { return false };
        rest = &rest[start + at + text.len()..];
    }
    rest.strip_suffix(last.as_str()).is_some_and(|variable| !variable.is_empty())
}
