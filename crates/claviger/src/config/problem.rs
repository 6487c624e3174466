//! Problems and notes with their place in the file, rendered with the source line and an underline.
//!
//! Owns: line and column, masking of secrets, clipping of long lines. The rendered text is made at once, so that no
//! source text (which may hold passwords) is kept in an error. Leaves to others: what is wrong.

use std::fmt;
use std::ops::Range;

/// Most problems that are listed; the rest is counted.
const PROBLEMS_MAX: usize = 100;
/// Characters of a source line that are shown.
const LINE_CHARS_MAX: usize = 140;
/// Bytes on either side of the mark that are looked at.
const WINDOW_BYTES: usize = 600;
/// Characters of a foreign name that are repeated in a message.
const NAME_CHARS_MAX: usize = 64;

/// Something wrong, at a byte range of the file (`None`: the file as a whole).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) span: Option<Range<usize>>,
    pub(super) message: String,
    pub(super) help: String,
}

impl Problem {
    pub(super) fn new(span: Option<Range<usize>>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: String::new() }
    }

    /// The same with a short advice beside the underline.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
}

/// Everything wrong with one file. `Display` is what the user sees; it holds no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Problems {
    rendered: Vec<String>,
    more: usize,
    file_name: String,
}

impl Problems {
    /// Number of problems found.
    pub fn count(&self) -> usize {
        self.rendered.len() + self.more
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for text in &self.rendered {
            writeln!(f, "{text}")?;
        }
        if self.more > 0 {
            writeln!(f, "... and {} more\n", self.more)?;
        }
        let count = self.count();
        write!(f, "{count} problem{} in {}", if count == 1 { "" } else { "s" }, self.file_name)
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Problems {}

/// Something the operator should know although the file is fine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Line in the file, from 1; `None`: no single place.
    pub line: Option<usize>,
    /// Whether it deserves a warning rather than an info line.
    pub is_warning: bool,
    /// What.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_warning { "warning: " } else { "note: " })?;
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.text)
    }
}

/// The file with the byte ranges that must not be shown.
pub(super) struct Source<'a> {
    pub(super) file_name: &'a str,
    pub(super) text: &'a str,
    pub(super) masks: Vec<Range<usize>>,
}

impl Source<'_> {
    /// Renders problems in file order.
    pub(super) fn render(&self, mut problems: Vec<Problem>) -> Problems {
        problems.sort_by_key(|problem| problem.span.as_ref().map_or(usize::MAX, |span| span.start));
        problems.dedup();
        let more = problems.len().saturating_sub(PROBLEMS_MAX);
        let rendered = problems.iter().take(PROBLEMS_MAX).map(|problem| self.render_one(problem)).collect();
        Problems { rendered, more, file_name: shown_name(self.file_name) }
    }

    /// Line number (from 1) of a byte offset.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.text[..offset.min(self.text.len())].matches('\n').count() + 1
    }

    fn render_one(&self, problem: &Problem) -> String {
        let file = shown_name(self.file_name);
        let Some(span) = &problem.span else {
            let help = if problem.help.is_empty() { String::new() } else { format!("  = {}\n", problem.help) };
            return format!("error: {}\n  --> {file}\n{help}", problem.message);
        };
        let mut start = span.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        let column = self.text[line_start..start].chars().count() + 1;
        let number = self.line_of(start).to_string();
        let (shown, underline) = self.excerpt(line_start..line_end, start..span.end.clamp(start, line_end));
        let pad = " ".repeat(number.len());
        format!(
            "error: {}\n {pad}--> {file}:{number}:{column}\n {pad} |\n {number} | {shown}\n {pad} | {}\n",
            problem.message,
            format!("{underline} {}", problem.help).trim_end()
        )
    }

    /// The part of a line that is looked at, so that the work does not grow with the line.
    fn window(&self, line: &Range<usize>, mark: usize) -> Range<usize> {
        let boundary = |mut at: usize| {
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = boundary(mark.saturating_sub(WINDOW_BYTES).max(line.start));
        start..boundary(mark.saturating_add(WINDOW_BYTES).min(line.end))
    }

    /// The line with masks applied and clipped around `marked`, and the carets below it.
    fn excerpt(&self, line: Range<usize>, marked: Range<usize>) -> (String, String) {
        let window = self.window(&line, marked.start);
        let masks: Vec<&Range<usize>> =
            self.masks.iter().filter(|mask| mask.start < window.end && window.start < mask.end).collect();
        let mut cells: Vec<(char, bool)> = Vec::new();
        let mut after_mask = None;
        let mut offset = window.start;
        while offset < window.end {
            if let Some(mask) = masks.iter().find(|mask| mask.contains(&offset)) {
                let is_marked = marked.start < mask.end && mask.start < marked.end;
                cells.extend("********".chars().map(|star| (star, is_marked)));
                offset = mask.end.min(window.end);
                after_mask = Some(cells.len());
                continue;
            }
            let Some(letter) = self.text[offset..].chars().next() else { break };
            let shown = if letter == '\t' || letter == '\r' {
                ' '
            } else if letter.is_control() {
                '\u{fffd}'
            } else {
                letter
            };
            cells.push((shown, marked.contains(&offset)));
            offset += letter.len_utf8();
        }
        // A comment behind a secret may repeat it.
        if let Some(from) = after_mask
            && let Some(comment) = cells[from..].iter().position(|cell| cell.0 == '#')
        {
            cells.truncate(from + comment);
        }
        let first = cells.iter().position(|cell| cell.1).unwrap_or(cells.len());
        let skipped = if first < LINE_CHARS_MAX { 0 } else { first - LINE_CHARS_MAX / 2 };
        let is_clipped = skipped > 0 || window.start > line.start;
        let shown_cells = &cells[skipped..cells.len().min(skipped + LINE_CHARS_MAX)];
        let mut shown: String = shown_cells.iter().map(|cell| cell.0).collect();
        let mut under: String = shown_cells.iter().map(|cell| if cell.1 { '^' } else { ' ' }).collect();
        if !under.contains('^') {
            under = format!("{}^", " ".repeat(first - skipped));
        }
        if is_clipped {
            shown.insert_str(0, "... ");
            under.insert_str(0, "    ");
        }
        if skipped + LINE_CHARS_MAX < cells.len() {
            shown.push_str(" ...");
        }
        (shown.trim_end().to_owned(), under.trim_end().to_owned())
    }
}

/// A name from outside as it may stand in a message: short and without control characters.
pub(super) fn shown_name(name: &str) -> String {
    let mut text: String =
        name.chars().take(NAME_CHARS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if name.chars().nth(NAME_CHARS_MAX).is_some() {
        text.push_str("...");
    }
    text
}
