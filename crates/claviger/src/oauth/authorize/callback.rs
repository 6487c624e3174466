//! Which redirect URIs an application has registered: one, or `regexp=` with an expression that must match as a whole
//! (contract rest-3x.md 1.8, oauth-oidc.md 4.2 row 9).
//!
//! A registration of several URIs stores them unescaped, `regexp=(a|b)`. Read as an expression its dots and question marks
//! would match more than was registered; so an alternative that is a plain URI is compared as a text.

use crate::config::pattern::Pattern;
use crate::oauth::dcr::{EXPRESSION, check_uri};
use url::{Host, Url};

/// Longest redirect URI: the width of CALLBACK_URL.
const URI_LENGTH_MAX: usize = 2048;

/// Where an answer goes: the URI that the request names if it is registered, else the registered one if there is just one.
pub(super) fn resolve(stored: &str, named: Option<&str>) -> Option<String> {
    let uri = match named {
        Some(uri) => Some(uri).filter(|uri| is_registered(stored, uri)),
        None => Some(stored).filter(|stored| !stored.starts_with(EXPRESSION) && is_safe(stored)),
    };
    uri.map(str::to_owned)
}

/// May an answer go to this URI?
pub(super) fn is_registered(stored: &str, uri: &str) -> bool {
    if !is_safe(uri) {
        return false;
    }
    let Some(expression) = stored.strip_prefix(EXPRESSION) else { return stored == uri };
    let list = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    match list.filter(|list| is_list(list)) {
        Some(list) => list.split('|').any(|one| one == uri || !is_literal(one) && matches_whole(one, uri)),
        None => matches_whole(expression, uri),
    }
}

/// Is what stands in the brackets a list of alternatives, each of which can be read by itself?
fn is_list(inner: &str) -> bool {
    let is_whole = |one: &str| one.matches('[').count() == one.matches(']').count() && !one.ends_with('\\');
    !inner.starts_with('?') && !inner.contains(['(', ')']) && inner.split('|').all(is_whole)
}

/// A URI in one spelling only: no browser may take a part of it for something else than we do.
fn is_safe(uri: &str) -> bool {
    let is_clean = |byte: u8| matches!(byte, 0x21..=0x7e) && !matches!(byte, b'"' | b'<' | b'>' | b'\\');
    (1..=URI_LENGTH_MAX).contains(&uri.len()) && uri.bytes().all(is_clean) && check_uri(uri).is_ok()
}

/// Is an alternative a URI and no expression? A dot or a question mark may stand in both.
pub(in crate::oauth) fn is_literal(alternative: &str) -> bool {
    // The brackets of an IPv6 address are no set of characters.
    let host = Url::parse(alternative).ok().filter(|url| matches!(url.host(), Some(Host::Ipv6(_))));
    let host = host.as_ref().and_then(Url::host_str).unwrap_or_default();
    let rest = alternative.replacen(host, "", 1);
    let is_expression =
        rest.contains(['*', '[', ']', '{', '}', '^', '$', '\\']) || rest.contains(".+") || rest.ends_with('?');
    !is_expression && is_safe(alternative)
}

/// In time that grows with the length of both, whatever the expression. One that cannot be read matches nothing.
fn matches_whole(expression: &str, uri: &str) -> bool {
    match Pattern::registered(expression) {
        Ok(pattern) => pattern.is_match(uri),
        Err(error) => {
            tracing::warn!(%error, "the callback expression of an application cannot be read: it matches nothing");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_uris_and_no_others() {
        let check = |stored: &str, uri: &str, expected: bool| {
            assert_eq!(is_registered(stored, uri), expected, "{stored} {uri}");
        };
        let one = "https://app.example/cb?a=1";
        check(one, one, true);
        for other in ["https://app.example/cb", "https://app.example/cb?a=1&b=2", "https://APP.example/cb?a=1", ""] {
            check(one, other, false);
        }
        let two = "regexp=(https://a.example/cb|https://b.example/cb?x=1)";
        check(two, "https://a.example/cb", true);
        check(two, "https://b.example/cb?x=1", true);
        for other in [
            "https://aXexample/cb",
            "https://b.example/cbx=1",
            "https://b.example/cx=1",
            "https://a.example/cb|https://b.example/cb?x=1",
            "https://a.example/cb/../evil",
            "https://a.example/cb#x",
            "https://a.example/cb ",
            "https://evil.example/?https://a.example/cb",
            "regexp=(https://a.example/cb|https://b.example/cb?x=1)",
        ] {
            check(two, other, false);
        }
        let with_address = "regexp=(https://app.example/cb|http://[::1]:3000/cb)";
        check(with_address, "https://app.example/cb", true);
        check(with_address, "http://[::1]:3000/cb", true);
        for other in ["https://app-example/cb", "http://1:3000/cb", "http://[::2]:3000/cb"] {
            check(with_address, other, false);
        }
        let cut_nowhere = r"regexp=(?i:https://app\.example/cb|https://b\.example/[a|b]+)";
        check(cut_nowhere, "https://APP.example/cb", true);
        check(cut_nowhere, "https://b.example/ab", true);
        check(r"regexp=(https://b\.example/[x|y]|https://c\.example)", "https://b.example/y", true);
        let long = format!("https://app.example/{}", "a".repeat(1_900));
        check(&format!("regexp={}.*", long.replace('.', r"\.")), &format!("{long}/b"), true);
        // One that is an expression makes none of its neighbours.
        let mixed = "regexp=(https://app.example/cb|https://other.example/[a-z]+)";
        check(mixed, "https://other.example/abc", true);
        check(mixed, "https://app-example/cb", false);
        let escaped = r"regexp=(https://m\.example/callback|https://m2\.example/callback)";
        check(escaped, "https://m2.example/callback", true);
        check(escaped, "https://mXexample/callback", false);
        check(escaped, "https://m2.example/callback2", false);
        check("regexp=https?://app.example/(a|b)*", "http://app.example/abba", true);
        check("regexp=https?://app.example/(a|b)*", "http://app.example/abc", false);
        check("regexp=a|https://b.example/cb", "https://b.example/cb.evil", false);
        // Only what begins with the word is an expression.
        check("https://.*", "https://evil.example/", false);
    }

    #[test]
    fn what_a_browser_reads_in_another_way_is_refused() {
        let any = "regexp=.*example/cb";
        assert!(is_registered(any, "https://a.example/cb"));
        for uri in [
            "javascript:alert(1)//example/cb",
            "data:text/html,example/cb",
            "https://user@a.example/cb",
            "https://user:password@a.example/cb",
            "https://evil.com\\.a.example/cb",
            "https://a.example/cb\n",
            "/relative/example/cb",
            "https://a.\u{e4}.example/cb",
            "https://a.example/<b>example/cb",
        ] {
            assert!(!is_registered(any, uri), "{uri}");
        }
    }

    #[test]
    fn hostile_and_broken_expressions_end_soon_and_match_nothing() {
        let long = format!("https://{}", "a".repeat(2000));
        assert!(!is_registered("regexp=https://(a*)*(a*)*(a*)*b", &long));
        for broken in [
            "regexp=(",
            "regexp=https://a.example/cb)|(x",
            "regexp=(((a{1000}){1000}){1000})",
            r"regexp=(a)\1",
            "regexp=",
        ] {
            assert!(!is_registered(broken, "https://a.example/cb"), "{broken}");
        }
    }

    #[test]
    fn who_names_none_gets_the_only_one() {
        let one = "https://app.example/cb";
        assert_eq!(resolve(one, None).as_deref(), Some(one));
        assert_eq!(resolve("regexp=(https://a.example/cb|https://b.example/cb)", None), None);
        assert_eq!(resolve("", None), None);
        assert_eq!(resolve("javascript:alert(1)", None), None);
        assert_eq!(resolve(one, Some("https://other.example/cb")), None);
    }
}
