//! Regular expressions of the configuration: always for a whole text, in time that grows with the text alone.
//!
//! The syntax is Java's for everything that WSO2's files and documents use. Look-around and back references are not there: they
//! make the time of a match depend on what a client sends.

use regex::{Regex, RegexBuilder};

/// Longest expression.
const TEXT_BYTES_MAX: usize = 4096;
/// Largest compiled expression.
const COMPILED_BYTES_MAX: usize = 256 * 1024;

/// An expression that has to match a whole text.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl Pattern {
    /// Compiles an expression. The error is a message of one line.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("an expression is longer than {TEXT_BYTES_MAX} bytes"));
        }
        // By itself first: `a)|(b` must not close the group around it.
        compile(text)?;
        Ok(Self { text: text.to_owned(), regex: compile(&format!("^(?:{text})$"))? })
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Does it match all of the text?
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

fn compile(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).build();
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
    fn what_cannot_be_compiled_is_told_in_a_line() {
        for pattern in ["a)|(b", "(", "(?=a)b", r"(a)\1", "x{1000}{1000}{1000}", &"a".repeat(TEXT_BYTES_MAX + 1)] {
            let message = Pattern::new(pattern).unwrap_err();
            assert!(!message.is_empty() && !message.contains('\n') && message.len() < 200, "{message}");
        }
    }
}
