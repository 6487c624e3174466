//! Table tests of the small types. Vectors are those of contract database.md 3.2.

use crate::entropy::{Entropy, key_text, uuid};
use crate::follow::{Cursor, EventsRequest, GAP_PATIENCE_MS, GAPS_MAX};
use crate::form::{Form, FormError};
use crate::hash::TokenHash;
use crate::ids::EventId;
use crate::jose::{
    JoseError, Jwk, JwkSet, KeyNames, SigningKey, VerifyingKeys, generate_rsa_2048, may_be_access_token,
};
use crate::permission::{Permissions, Roles};
use crate::scope::{ScopeError, Scopes};
use crate::secret::Secret;
use crate::time::{Instants, Timestamp, UnknownZone, Zone};
use crate::user::{LoginName, Username};
use std::cell::Cell;
use std::sync::Mutex;

pub(crate) struct Counting(Mutex<Cell<u8>>);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        let state = self.0.lock().expect("no test panics while holding it");
        for byte in buffer {
            state.set(state.get().wrapping_mul(5).wrapping_add(3));
            *byte = state.get();
        }
    }
}

pub(crate) fn rng() -> Counting {
    Counting(Mutex::new(Cell::new(7)))
}

#[test]
fn scope_hash_follows_the_vectors() {
    let check = |scopes: &str, hash: &str| assert_eq!(Scopes::parse(scopes).unwrap().column_hash(), hash, "{scopes:?}");
    check("default", "c21f969b5f03d33d43e04f8f136e7682");
    check("default am_application_scope", "15703966c63ae7da301cd656ef647fa6");
    check("am_application_scope  default default", "15703966c63ae7da301cd656ef647fa6");
    check("", "d41d8cd98f00b204e9800998ecf8427e");
}

#[test]
fn scopes_outside_the_grammar_are_refused() {
    assert_eq!(Scopes::parse("a\"b"), Err(ScopeError::Character));
    assert_eq!(Scopes::parse("a\\b"), Err(ScopeError::Character));
    assert_eq!(Scopes::parse("caf\u{e9}"), Err(ScopeError::Character));
    assert_eq!(Scopes::parse(&"x".repeat(61)), Err(ScopeError::TooLong));
    assert!(Scopes::parse(&"x".repeat(60)).is_ok());
    let many: Vec<String> = (0..101).map(|n| n.to_string()).collect();
    assert_eq!(Scopes::parse(&many.join(" ")), Err(ScopeError::TooMany));
}

#[test]
fn token_hash_column_follows_the_vector() {
    let column = r#"{"hash":"cc9f33cb7596e6e31c1e4298bbd142afcac9029be7b0a33fb7e6ec30af6cfc04","algorithm":"SHA-256"}"#;
    let hash = TokenHash::of("3a1b2c3d-0000-4000-8000-1234567890ab");
    assert_eq!(hash.to_column(), column);
    assert_eq!(TokenHash::from_column(column), Some(hash));
    assert_eq!(TokenHash::from_column("cc9f"), None);
    let json = serde_json::to_string(&hash).unwrap();
    assert_eq!(serde_json::from_str::<TokenHash>(&json).unwrap(), hash);
}

#[test]
fn forms_refuse_what_could_be_read_in_two_ways() {
    let form = Form::parse(b"grant_type=password&scope=a%20b+c&empty=").unwrap();
    assert_eq!(form.get("grant_type"), Some("password"));
    assert_eq!(form.get("scope"), Some("a b c"));
    assert_eq!(form.get("empty"), None);
    let refused = |body: &[u8], error: FormError| assert_eq!(Form::parse(body).unwrap_err(), error);
    refused(b"a=1&a=1", FormError::Repeated);
    refused(b"a=1&%61=2", FormError::Repeated);
    refused(b"a=%zz", FormError::Malformed);
    refused(b"a=%", FormError::Malformed);
    refused(b"a=%+1", FormError::Malformed);
    refused(b"a=%ff", FormError::Malformed);
    refused(b"a=%00", FormError::Malformed);
    let many: Vec<String> = (0..70).map(|n| format!("p{n}=1")).collect();
    refused(many.join("&").as_bytes(), FormError::TooMany);
}

#[test]
fn user_names_split_at_the_last_at_sign() {
    let check = |text: &str, domain: &str, name: &str, tenant: &str, short: &str| {
        let user = Username::parse(text).unwrap();
        assert_eq!((user.domain.as_str(), user.name.as_str(), user.tenant.as_str()), (domain, name, tenant));
        assert_eq!(user.to_string(), short);
    };
    check("admin", "PRIMARY", "admin", "carbon.super", "admin");
    check("admin@carbon.super", "PRIMARY", "admin", "carbon.super", "admin");
    check("ann@ACME.com", "PRIMARY", "ann", "acme.com", "ann@acme.com");
    check("ann@mail.org@acme.com", "PRIMARY", "ann@mail.org", "acme.com", "ann@mail.org@acme.com");
    check("corp/ann", "CORP", "ann", "carbon.super", "CORP/ann");
    for bad in ["PRIMARY/HR/ann", "primary/x/y@acme.com", "", "@acme.com", "corp/", "/ann", "a\nb", " ann", "ann@"] {
        assert!(Username::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_login_tells_whether_it_names_a_store() {
    for (text, name, has_domain) in [
        ("ann", "ann", false),
        ("ann@abc.com", "ann@abc.com", false),
        ("PRIMARY/ann", "ann", true),
        ("hr/ann@abc.com", "HR/ann@abc.com", true),
        // The tenant is no part of the name.
        ("ann@abc/com", "ann@abc/com", false),
    ] {
        let login = LoginName::parse(text).unwrap();
        assert_eq!((login.username.to_string().as_str(), login.has_domain), (name, has_domain), "{text}");
    }
    assert!(LoginName::parse("hr/").is_err());
}

#[test]
fn permissions_ask_the_deepest_statement_of_each_role() {
    let row = |role: &str, path: &str, allowed| (role.to_owned(), path.to_owned(), allowed);
    let may = |rows: Vec<(String, String, bool)>, path: &str| Permissions::new(rows).may(path);
    assert!(may(vec![row("admin", "/permission", true)], "/permission/admin/manage/identity"));
    assert!(!may(vec![row("admin", "/permission/admin", true)], "/permission/administrator"));
    assert!(!may(vec![row("a", "/permission", true), row("a", "/permission/admin", false)], "/permission/admin/login"));
    assert!(!may(vec![row("a", "/permission", true), row("a", "/permission", false)], "/permission/admin"));
    assert!(may(vec![row("a", "/permission", false), row("b", "/permission/admin", true)], "/Permission/Admin/login"));
    assert!(!may(vec![], "/permission"));
}

#[test]
fn a_follower_asks_for_what_is_missing() {
    let at = Timestamp::from_secs;
    let mut cursor = Cursor::new(EventId(10));
    assert_eq!(cursor.observe(EventId(11), at(0)), Ok(true));
    assert_eq!(cursor.observe(EventId(14), at(1)), Ok(true));
    let request = EventsRequest { after: EventId(14), gaps: vec![EventId(12), EventId(13)] };
    assert_eq!(cursor.request(9), request);
    assert_eq!(cursor.low_watermark(), EventId(11));
    assert_eq!(cursor.observe(EventId(13), at(2)), Ok(true), "a late commit is news");
    assert_eq!(cursor.observe(EventId(13), at(2)), Ok(false), "twice is not");
    assert_eq!(cursor.observe(EventId(5), at(2)), Ok(false));
    let over = at(1).plus_millis(GAP_PATIENCE_MS);
    cursor.answered(&request, over.plus_millis(-1));
    assert_eq!(cursor.low_watermark(), EventId(11), "asked for while it might still come");
    cursor.answered(&EventsRequest { after: EventId(14), gaps: Vec::new() }, over);
    assert_eq!(cursor.low_watermark(), EventId(11), "not asked for");
    cursor.answered(&request, over);
    assert_eq!(cursor.low_watermark(), EventId(14));
    assert!(cursor.observe(EventId(16 + i64::try_from(GAPS_MAX).unwrap()), at(3)).is_err());
}

#[test]
fn a_follower_asks_for_old_gaps_now_and_then() {
    let at = Timestamp::from_millis;
    let ids = |request: EventsRequest| request.gaps.iter().map(|gap| gap.0).collect::<Vec<_>>();
    let mut cursor = Cursor::new(EventId(0));
    cursor.observe(EventId(3), at(0)).unwrap();
    cursor.observe(EventId(5), at(900)).unwrap();
    for now in [900, 950] {
        let request = cursor.request_due(at(now));
        cursor.answered(&request, at(now));
        assert_eq!(ids(request), [1, 2, 4], "young ones every time");
    }
    assert_eq!(ids(cursor.request_due(at(1_500))), [4]);
    assert_eq!(ids(cursor.request_due(at(1_950))), [1, 2, 4], "a second later");
    assert_eq!(ids(cursor.request_due(at(-5_000))), [1, 2, 4], "the clock was set back");
    // Who can ask for a few only takes those that waited longest.
    assert_eq!(ids(cursor.request(3)), [1, 2, 4]);
    let request = cursor.request(2);
    assert_eq!(ids(request.clone()), [1, 2]);
    cursor.answered(&request, at(2_000));
    assert!(ids(cursor.request(2)).contains(&4));
    assert_eq!(cursor.gaps(), 3);
}

#[test]
fn random_texts_have_their_shape() {
    let id = uuid(&rng());
    assert_eq!(id.len(), 36);
    assert_eq!(&id[14..15], "4");
    assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"));
    let key = key_text(&rng(), 28);
    assert!(key.len() == 28 && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{key}");
}

#[test]
fn secrets_do_not_show() {
    let secret = Secret::new("hunter2");
    assert_eq!(format!("{secret:?}"), "Secret(..)");
    assert!(secret.is_equal("hunter2") && !secret.is_equal("hunter3") && !secret.is_equal("hunter"));
}

#[test]
fn a_signed_token_verifies_and_no_altered_one_does() {
    let key = SigningKey::new(&generate_rsa_2048().unwrap(), b"certificate").unwrap();
    let keys = VerifyingKeys::new(&JwkSet { keys: vec![key.public_jwk()] });
    let token = key.sign(r#"{"sub":"admin@carbon.super"}"#);
    assert_eq!(keys.verify(&token).unwrap()["sub"], "admin@carbon.super");
    for index in (0..token.len()).step_by(3) {
        let mut altered = token.clone().into_bytes();
        altered[index] = if altered[index] == b'A' { b'B' } else { b'A' };
        assert!(keys.verify(&String::from_utf8(altered).unwrap()).is_err(), "byte {index}");
    }
    let with_header = |header: &str| {
        let rest = token.split_once('.').unwrap().1;
        format!("{}.{rest}", crate::encode::base64url(header.as_bytes()))
    };
    let kid = &key.kid;
    assert_eq!(keys.verify(&with_header(&format!(r#"{{"alg":"none","kid":"{kid}"}}"#))), Err(JoseError::Header));
    assert_eq!(keys.verify(&with_header(&format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#))), Err(JoseError::Header));
    assert_eq!(keys.verify(&with_header(r#"{"alg":"RS256","kid":"../../etc"}"#)), Err(JoseError::UnknownKey));
    assert_eq!(keys.verify(&with_header(r#"{"alg":"RS256"}"#)), Err(JoseError::UnknownKey));
    let crit = format!(r#"{{"alg":"RS256","kid":"{kid}","crit":["b64"],"b64":false}}"#);
    assert_eq!(keys.verify(&with_header(&crit)), Err(JoseError::Header));
    assert_eq!(keys.verify("a.b"), Err(JoseError::Malformed));
    assert_eq!(keys.verify(&format!("{token}.x")), Err(JoseError::Malformed));
}

#[test]
fn a_key_has_the_names_of_its_release_and_is_known_by_any() {
    let pkcs8 = generate_rsa_2048().unwrap();
    let key = |names| SigningKey::new(&pkcs8, b"certificate").unwrap().named_as(names);
    let header = |token: &str| crate::encode::from_base64url(token.split('.').next().unwrap()).unwrap();
    let (old, new) = (key(KeyNames::Sha1), key(KeyNames::Sha256));
    // printf certificate | sha1sum (sha256sum) | head -c 40 (64) | base64
    let sha1 = "NzM1YWQ1NzFjMTg5ZDdiYTg0NDY0YmY0YTlmMWQyMjgwMTc1YjEyOA";
    let sha256 = "MDNkNjZkZDA4ODM1YzFjYTNmMTI4Y2NlYWNkMWYzMWFjOTQxNjMwOTZiMjBmNDQ1YWU4NDI4NWJjMDgzMmQ3Mg";
    let old_header = format!(r#"{{"x5t":"{sha1}","kid":"{sha1}","alg":"RS256"}}"#);
    let new_header = format!(r#"{{"x5t":"{sha256}","kid":"{sha256}_RS256","alg":"RS256"}}"#);
    assert_eq!([header(&old.sign("{}")), header(&new.sign("{}"))], [old_header.into_bytes(), new_header.into_bytes()]);
    assert_eq!((old.public_jwk().kid.as_str(), new.public_jwk().kid), (sha1, format!("{sha256}_RS256")));
    let between = key(KeyNames::Sha1WithAlgorithm);
    assert_eq!((&between.x5t, &between.kid), (&old.x5t, &format!("{sha1}_RS256")));
    for (signing, checking) in [(&old, &new), (&new, &old), (&between, &old), (&old, &between)] {
        assert_eq!(checking.public_jwks()[0], checking.public_jwk());
        let own = VerifyingKeys::new(&JwkSet { keys: vec![checking.public_jwk()] });
        assert_eq!(own.verify(&signing.sign("{}")), Err(JoseError::UnknownKey));
        let any = VerifyingKeys::new(&JwkSet { keys: checking.public_jwks() });
        assert!(any.verify(&signing.sign("{}")).is_ok());
    }
}

#[test]
fn keys_of_other_kinds_are_left_out() {
    let key = SigningKey::new(&generate_rsa_2048().unwrap(), b"certificate").unwrap();
    let token = key.sign("{}");
    let with = |change: fn(&mut Jwk)| {
        let mut jwk = key.public_jwk();
        change(&mut jwk);
        VerifyingKeys::new(&JwkSet { keys: vec![jwk] }).verify(&token)
    };
    assert!(with(|_| ()).is_ok());
    assert_eq!(with(|jwk| jwk.key_use = Some("enc".into())), Err(JoseError::UnknownKey));
    assert_eq!(with(|jwk| jwk.alg = Some("HS256".into())), Err(JoseError::UnknownKey));
    assert_eq!(with(|jwk| jwk.kty = "oct".into()), Err(JoseError::UnknownKey));
    assert_eq!(with(|jwk| jwk.n = "AAAA".into()), Err(JoseError::UnknownKey));
}

#[test]
fn passwords_follow_the_vectors() {
    use crate::password::{PasswordDigest, PasswordForm, StoredPassword};
    const SALT: &str = "AAECAwQFBgcICQoLDA0ODw==";
    let check = |digest, is_salted, stored: &str| {
        let form = PasswordForm { digest, is_salted };
        let column = StoredPassword { digest: stored.into(), salt: SALT.into() };
        assert!(column.is_match(&Secret::new("admin"), form), "{form:?}");
        assert!(!column.is_match(&Secret::new("admin2"), form), "{form:?}");
        let fresh = StoredPassword::in_form(&Secret::new("s3cret"), form, &rng());
        assert!(fresh.is_match(&Secret::new("s3cret"), form) && !fresh.is_match(&Secret::new("S3cret"), form));
        assert_eq!(fresh.salt.len(), if is_salted { 24 } else { 0 }, "{form:?}");
    };
    // database.md 5.2; the others are `printf '%s' TEXT | openssl dgst -ALGORITHM -binary | base64`.
    check(PasswordDigest::Sha256, true, "4MnJjCYpevdkIed46uWi+mk+ZvFjMASJPmrZIWynBuM=");
    check(PasswordDigest::Sha256, false, "jGl25bVBBBW96Qi9Te4V37Fnqchz/Eu4qB9vKrRIqRg=");
    check(PasswordDigest::Sha1, false, "0DPiKuNIrrVmD8IUCuw1hQxNqZc=");
    check(PasswordDigest::Sha1, true, "+XGFQt0QlYZvjfRCwnbFZIHnNKE=");
    check(PasswordDigest::Md5, false, "ISMvKXpXpadDiUoOSoAfww==");
    check(PasswordDigest::Md5, true, "k8+AKdvPrPQREE0FAlmIng==");
    check(PasswordDigest::Sha384, true, "3CIHh4j2kFkz20vSHDqCxKiLsca4o+xWrycYCG9YxelLQdlS2PG8MnLAiGRK5Kq9");
    check(
        PasswordDigest::Sha512,
        false,
        "x61Ey612Kl2gpFL56FT9weDnpSo4AV8j8+qx2AuTHdRyY036xxzTTrw10Wq3+4qQyB+XURPWx1ONxp3Y3pB37A==",
    );
    check(PasswordDigest::PlainText, false, "admin");
    check(PasswordDigest::PlainText, true, "adminAAECAwQFBgcICQoLDA0ODw==");
    check(PasswordDigest::PlainText, true, "admin");
}

#[test]
fn an_event_of_a_newer_version_is_passed_over() {
    use crate::event::{Event, NumberedEvent};
    let page = r#"[{"id":7,"event":{"type":"moon_landed","where":"Tycho"}},{"id":8,"event":{"type":"keys_changed"}}]"#;
    let page: Vec<NumberedEvent> = serde_json::from_str(page).unwrap();
    assert_eq!((page[0].id, &page[0].event), (EventId(7), &Event::Unknown));
    assert_eq!(page[1].event, Event::KeysChanged);
}

fn zone(name: &str) -> Zone {
    name.parse().unwrap_or_else(|_| panic!("{name}"))
}

fn wall(text: &str) -> chrono::NaiveDateTime {
    chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").unwrap()
}

fn utc(text: &str) -> Timestamp {
    Timestamp::from_millis(chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
}

#[test]
fn wall_clocks_become_instants_across_both_changes() {
    // Zone, wall clock, the instants it stands for.
    let table: &[(&str, &str, &[&str])] = &[
        ("UTC", "2026-03-29 02:30:00.125", &["2026-03-29T02:30:00.125Z"]),
        ("Europe/Berlin", "2026-03-29 01:59:59", &["2026-03-29T00:59:59Z"]),
        ("Europe/Berlin", "2026-03-29 02:00:00", &[]),
        ("Europe/Berlin", "2026-03-29 02:59:59", &[]),
        ("Europe/Berlin", "2026-03-29 03:00:00", &["2026-03-29T01:00:00Z"]),
        ("Europe/Berlin", "2026-10-25 01:59:59", &["2026-10-24T23:59:59Z"]),
        ("Europe/Berlin", "2026-10-25 02:00:00", &["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"]),
        ("Europe/Berlin", "2026-10-25 02:30:00", &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]),
        ("Europe/Berlin", "2026-10-25 03:00:00", &["2026-10-25T02:00:00Z"]),
        ("America/New_York", "2026-11-01 01:30:00", &["2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"]),
        ("America/New_York", "2026-03-08 02:30:00", &[]),
        ("Australia/Lord_Howe", "2026-04-05 01:45:00", &["2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z"]),
        ("Asia/Colombo", "2026-07-01 05:30:00", &["2026-07-01T00:00:00Z"]),
        // Daylight saving time goes on past the last year of 32-bit times.
        ("Europe/Berlin", "2060-07-01 12:00:00", &["2060-07-01T10:00:00Z"]),
        ("+05:30", "2026-03-29 02:30:00", &["2026-03-28T21:00:00Z"]),
        ("GMT-3", "2026-03-29 02:30:00", &["2026-03-29T05:30:00Z"]),
        ("Etc/GMT-3", "2026-03-29 02:30:00", &["2026-03-28T23:30:00Z"]),
    ];
    for (name, text, expected) in table {
        let found = zone(name).to_utc(wall(text));
        let expected = match *expected {
            [] => Instants::None,
            [one] => Instants::One(utc(one)),
            [first, second, ..] => Instants::Two { earliest: utc(first), latest: utc(second) },
        };
        assert_eq!(found, expected, "{name} {text}");
        for at in [found.earliest(), found.latest()].into_iter().flatten() {
            assert_eq!(zone(name).to_wall(at), Some(wall(text)), "{name} {text}");
        }
    }
    assert_eq!(zone("Europe/Berlin").to_wall(Timestamp::NEVER), None);
    assert_eq!(zone("-18:00").to_utc(chrono::NaiveDateTime::MAX), Instants::None);
    assert_eq!(zone("+01:00").to_wall(Timestamp::from_millis(-1)), Some(wall("1970-01-01 00:59:59.999")));
}

#[test]
fn zones_by_name_and_by_offset() {
    let good = [
        ("UTC", "UTC"),
        (" Europe/Berlin ", "Europe/Berlin"),
        ("Z", "UTC"),
        ("+02:00", "+02:00"),
        ("-0530", "-05:30"),
        ("+2", "+02:00"),
        ("UTC+18", "+18:00"),
        ("GMT+01:00", "+01:00"),
    ];
    for (text, shown) in good {
        assert_eq!(text.parse::<Zone>().map(|zone| zone.to_string()), Ok(shown.to_owned()), "{text}");
    }
    let wrong = [
        "",
        "+",
        "-",
        "02:00",
        "+2:0",
        "+02:60",
        "+18:01",
        "+19",
        "+1:00:00",
        "+02000",
        "+\u{661}",
        "+ 2",
        "++2",
        "europe/berlin",
        "Mars/Base",
        "GMT+",
        "\u{e4}",
    ];
    for text in wrong {
        assert_eq!(text.parse::<Zone>(), Err(UnknownZone), "{text}");
    }
    assert!(Zone::names().any(|name| name == "Pacific/Auckland"));
}

#[test]
fn other_kinds_of_tokens_are_told_from_access_tokens() {
    let check = |header: &str, claims: &str, expected: bool| {
        let token = format!(
            "{}.{}.x",
            crate::encode::base64url(header.as_bytes()),
            crate::encode::base64url(claims.as_bytes())
        );
        let claims = serde_json::from_str(claims).unwrap();
        assert_eq!(may_be_access_token(&token, &claims), expected, "{header} {claims:?}");
    };
    let rows = [
        (r#"{"alg":"RS256"}"#, true),
        (r#"{"typ":"JWT"}"#, true),
        (r#"{"typ":"at+jwt"}"#, true),
        (r#"{"typ":"application/at+JWT"}"#, true),
        (r#"{"typ":"logout+jwt"}"#, false),
        (r#"{"typ":"secevent+jwt"}"#, false),
        (r#"{"typ":1}"#, false),
        ("[]", false),
        ("", false),
    ];
    for (header, expected) in rows {
        check(header, "{}", expected);
    }
    for claim in ["nonce", "at_hash", "c_hash", "s_hash", "events"] {
        check(r#"{"alg":"RS256"}"#, &format!(r#"{{"jti":"1","{claim}":"x"}}"#), false);
    }
    check(r#"{"alg":"RS256"}"#, r#"{"jti":"1","azp":"c","aut":"APPLICATION","auth_time":1,"given_name":"n"}"#, true);
}

#[test]
fn a_role_is_found_in_any_case() {
    let roles = Roles::new(vec!["Internal/creator".to_owned(), "admin".to_owned()]);
    let table = [
        ("admin", true),
        ("ADMIN", true),
        ("internal/Creator", true),
        ("creator", false),
        ("", false),
        ("Internal/creator ", false),
    ];
    for (role, expected) in table {
        assert_eq!(roles.has(role), expected, "{role}");
    }
    assert_eq!(roles.join(","), "Internal/creator,admin");
}
