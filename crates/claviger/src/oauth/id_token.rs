//! ID tokens: who the user of a token is, and how he logged in (OpenID Connect Core sections 2, 3.1.3.6 and 12.2; contract
//! rest-3x.md 1.7). One is made with every answer of a grant that may have it, also beside an opaque token that is handed out
//! again. What the scopes open of a user's attributes is told by `userinfo`, not here.

use crate::oauth::OAuth;
use crate::oauth::grant::subject_of_row;
use crate::oauth::issue::Order;
use crate::oauth::present::EXP_S_MAX;
use claviger_proto::encode::base64url;
use claviger_proto::hash::sha256;
use claviger_proto::jose::SigningKey;
use claviger_proto::time::Timestamp;
use claviger_store::tokens::Token;
use serde::Serialize;

/// The scope that asks for one.
pub(super) const OPENID: &str = "openid";
/// What an ID token may say, for discovery.
pub(super) const CLAIMS: [&str; 11] =
    ["iss", "sub", "aud", "azp", "exp", "nbf", "iat", "auth_time", "nonce", "amr", "at_hash"];
/// A password was shown (RFC 8176 section 2): nobody logs in here in another way.
const PASSWORD: [&str; 1] = ["pwd"];

/// Members that are unknown are left out.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: Audience<'a>,
    azp: &'a str,
    exp: i64,
    nbf: i64,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amr: Option<[&'static str; 1]>,
    at_hash: String,
}

/// One audience is a text, as in access tokens.
#[derive(Serialize)]
#[serde(untagged)]
enum Audience<'a> {
    One(&'a str),
    Several(Vec<&'a str>),
}

/// Makes and signs the ID token that goes out with an access token, which `at_hash` ties to it. Key managers and
/// gateways tell ID tokens from access tokens by that claim (`jose::may_be_access_token`).
pub(super) fn make(oauth: &OAuth, key: &SigningKey, order: &Order, token: &Token, access_token: &str) -> String {
    let (client, now) = (&order.client.client, oauth.clock.now());
    let own_s = client.settings.lifetimes.id_s;
    // Zero means the server's (database.md 2.2), and nothing else is a life.
    let life_s = if own_s > 0 { own_s } else { oauth.settings.id_s };
    let id = client.key.as_str();
    let login = order.authorized.login.as_ref();
    // An old server may have written the row that is handed out again, and userinfo tells what stands there.
    let sub = subject_of_row(&token.subject, &order.authorized.username);
    let claims = Claims {
        iss: &oauth.settings.issuer,
        sub: &sub,
        aud: audience(id, &client.audiences),
        azp: id,
        exp: now.plus_millis(life_s.saturating_mul(1000)).as_secs().min(EXP_S_MAX),
        nbf: now.as_secs(),
        iat: now.as_secs(),
        auth_time: login.and_then(|login| login.at).map(Timestamp::as_secs),
        nonce: login.and_then(|login| login.nonce.as_deref()),
        amr: login.map(|_| PASSWORD),
        at_hash: at_hash(access_token),
    };
    key.sign(&serde_json::to_string(&claims).expect("texts and numbers always serialise"))
}

/// The client first.
fn audience<'a>(client: &'a str, others: &'a [String]) -> Audience<'a> {
    let mut all = vec![client];
    all.extend(others.iter().map(String::as_str).filter(|other| *other != client));
    if all.len() == 1 { Audience::One(client) } else { Audience::Several(all) }
}

/// The left half of the digest that belongs to RS256 (OpenID Connect Core section 3.1.3.6).
fn at_hash(access_token: &str) -> String {
    base64url(&sha256(access_token.as_bytes())[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_an_access_token() {
        // OpenID Connect Core appendix A.4.
        assert_eq!(at_hash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"), "77QmUPtjPfzWtF2AnpK9RQ");
    }

    #[test]
    fn one_audience_is_a_text() {
        let check = |others: &[&str], expected: &str| {
            let others: Vec<String> = others.iter().map(|other| (*other).to_owned()).collect();
            assert_eq!(serde_json::to_string(&audience("me", &others)).unwrap(), expected);
        };
        check(&[], r#""me""#);
        check(&["me"], r#""me""#);
        check(&["https://a.example", "me", "b"], r#"["me","https://a.example","b"]"#);
    }
}
