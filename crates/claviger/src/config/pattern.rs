//! Regular expressions of the configuration and of registrations: always for a whole text, in time that grows with the text alone.
//!
//! The syntax is Java's for everything that WSO2's files and documents use. Look-around and back references are not there: they
//! make the time of a match depend on what a client sends.

use regex::bytes::{Regex, RegexBuilder};
use std::borrow::Cow;

/// Longest expression.
const TEXT_BYTES_MAX: usize = 4096;
/// Largest compiled expression of the configuration.
const COMPILED_BYTES_MAX: usize = 256 * 1024;
/// Largest one of a registration, which is compiled whenever it is asked: the column's 2,048 characters, each a state of 32 bytes,
/// and as much again. A repetition may stand for many.
const REGISTERED_BYTES_MAX: usize = 128 * 1024;

/// Whose expression it is.
#[derive(Clone, Copy)]
enum Source {
    Configuration,
    Registration,
}

/// An expression that has to match a whole text.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// Compiles an expression of the configuration. The error is a message of one line.
    pub fn new(text: &str) -> Result<Self, String> {
        Self::of(text, Source::Configuration)
    }

    /// Compiles an expression of the configuration for paths as they are served: a tenant's domain, right behind `/t/`, has small
    /// letters there, also where an expression that begins with it writes it out in capitals.
    pub fn of_paths(text: &str) -> Result<Self, String> {
        let pattern = Self::new(text)?;
        let lower = with_lower_tenant(text);
        if lower == text { Ok(pattern) } else { Ok(Self { text: text.to_owned(), ..Self::new(&lower)? }) }
    }

    /// Compiles an expression that a client registered, for texts in ASCII: its classes of letters have no others, and it may
    /// become half as large as one of the configuration.
    pub fn registered(text: &str) -> Result<Self, String> {
        Self::of(text, Source::Registration)
    }

    fn of(text: &str, source: Source) -> Result<Self, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("an expression is longer than {TEXT_BYTES_MAX} bytes"));
        }
        // By itself first: `a)|(b` must not close the group around it.
        compile(text, source)?;
        Ok(Self { text: text.to_owned(), regex: compile(&format!("^(?:{text})$"), source)? })
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Does it match all of the text?
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text.as_bytes())
    }
}

/// The expression with the domain in small letters where it begins with a tenant's path, as far as the domain is written out: up
/// to the first character that gives it another meaning (a quantifier, an alternative, a class, another escape).
fn with_lower_tenant(text: &str) -> Cow<'_, str> {
    const BEGINNINGS: [&str; 4] = ["", "^", "(.*)", ".*"];
    let Some((start, rest)) = text.split_once("/t/").filter(|(start, _)| BEGINNINGS.contains(start)) else {
        return Cow::Borrowed(text);
    };
    let mut end = 0;
    while let Some(letter) = rest[end..].chars().next() {
        end += match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => 1,
            '\\' if rest[end + 1..].starts_with(['.', '-']) => 2,
            _ => break,
        };
    }
    Cow::Owned(format!("{start}/t/{}{}", rest[..end].to_ascii_lowercase(), &rest[end..]))
}

fn compile(text: &str, source: Source) -> Result<Regex, String> {
    let (bytes_max, is_unicode) = match source {
        Source::Configuration => (COMPILED_BYTES_MAX, true),
        Source::Registration => (REGISTERED_BYTES_MAX, false),
    };
    let mut builder = RegexBuilder::new(text);
    let built = builder.unicode(is_unicode).size_limit(bytes_max).dfa_size_limit(bytes_max).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "the expression is too large".to_owned(),
        // Several lines with the expression and a caret; the last one says what is wrong.
        error => {
            let text = error.to_string();
            text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_for_the_whole_text() {
        let table = [
            ("(.*)/register", "/dcr/register", true),
            ("(.*)/register", "/dcr/register/x", false),
            ("a|ab", "ab", true),
            ("a|b", "xb", false),
            ("(.)/claims(.)", "x/claims/", true),
            ("(.)/claims(.)", "/claims", false),
            ("^openid$", "openid", true),
            ("", "", true),
            ("", "x", false),
            ("^device_.*", "device_", true),
            ("a\nb", "a\nb", true),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(Pattern::new(pattern).unwrap().is_match(text), expected, "{pattern} {text}");
        }
        assert!(!Pattern::new("a").unwrap().is_match("a\n"));
    }

    #[test]
    fn a_tenant_in_a_pattern_of_paths_has_small_letters() {
        let table = [
            ("/t/ACME.com/Api", "/t/acme.com/Api", true),
            ("/t/ACME.com/Api", "/t/acme.com/api", false),
            (r"(.*)/t/Acme\.Com(.*)", "/t/acme.com/x", true),
            (r"(.*)/t/Acme\.Com(.*)", "/t/acmexcom/x", false),
            ("^/t/ACME(.*)|(.*)isThrottled", "/t/acme/x", true),
            ("^/t/ACME(.*)|(.*)isThrottled", "/throttle/data/v1/isThrottled", true),
            ("/t/.*Q1w2", "/t/acme.com/register/Q1w2", true),
            ("/t/.*Q1w2", "/t/acme.com/register/q1w2", false),
            ("/t/ACME", "/t/acme", true),
            ("/x/t/ACME/a", "/x/t/ACME/a", true),
            (r"/t/\S+/a", "/t/acme/a", true),
            ("/t/[^/]+/A", "/t/acme/A", true),
            (r"/t/[A-Z]+/a", "/t/A/a", true),
        ];
        for (pattern, text, expected) in table {
            let compiled = Pattern::of_paths(pattern).unwrap();
            assert_eq!((compiled.is_match(text), compiled.text()), (expected, pattern), "{pattern} {text}");
        }
    }

    #[test]
    fn a_registered_pattern_is_smaller_and_of_ascii() {
        let check = |text: &str| (Pattern::new(text).is_ok(), Pattern::registered(text).is_ok());
        assert_eq!(check(&"a".repeat(2_048)), (true, true));
        assert_eq!(check("a{5000}"), (true, false));
        assert_eq!(check("[a-z]{200}b"), (true, true));
        let letters = r"https://\w+\.example/.*";
        for text in ["https://a_1.example/", "https://a.example/b?c=d"] {
            assert!(Pattern::registered(letters).unwrap().is_match(text), "{text}");
        }
        assert!(!Pattern::registered(letters).unwrap().is_match("https://\u{e4}.example/"));
        assert!(Pattern::new(letters).unwrap().is_match("https://\u{e4}.example/"));
    }

    #[test]
    fn what_cannot_be_compiled_is_told_in_a_line() {
        for pattern in ["a)|(b", "(", "(?=a)b", r"(a)\1", "x{1000}{1000}{1000}", &"a".repeat(TEXT_BYTES_MAX + 1)] {
            let message = Pattern::new(pattern).unwrap_err();
            assert!(!message.is_empty() && !message.contains('\n') && message.len() < 200, "{message}");
        }
    }
}
