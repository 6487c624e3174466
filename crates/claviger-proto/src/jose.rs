//! JWS compact serialisation (RFC 7515) and JWK sets (RFC 7517) over aws-lc-rs, RS256 only for now.
//!
//! A key is parsed once and kept (design decision D15); the algorithm comes from the key, never from a token's header
//! (security.md 4.2).

use crate::der;
use crate::encode::{base64url, from_base64url, hex};
use crate::hash::{sha1, sha256};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Longest token that is looked at (security.md 4.5).
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Why a token or key was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoseError {
    /// Not three base64url parts of JSON, or too long.
    #[error("not a JWS in compact form")]
    Malformed,
    /// The header names no key of ours.
    #[error("signed with an unknown key")]
    UnknownKey,
    /// Another algorithm than the key's, or an extension that must be understood.
    #[error("the header does not fit the key")]
    Header,
    /// The signature does not verify.
    #[error("the signature is wrong")]
    Signature,
    /// The private key or certificate cannot be read.
    #[error("the key cannot be read")]
    Key,
}

/// How a release of the old server names its key in tokens: `x5t` is base64url of the hexadecimal text of a digest of the
/// certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyNames {
    /// SHA-1, and `kid` is the same: IS 5.6 and 5.7 (JWTTokenIssuer and OAuth2Util of inbound-auth-oauth 6.0.53). The JWTs of
    /// IS 5.4 and 5.5 name no key.
    Sha1,
    /// SHA-1, and `kid` has the algorithm behind it: IS 5.9 (from 6.0.173 to 6.2.108).
    Sha1WithAlgorithm,
    /// SHA-256, and `kid` has the algorithm behind it: from IS 5.10 on (rest-3x.md 1.6.3).
    Sha256,
}

/// A private RSA key with its certificate's names.
pub struct SigningKey {
    pair: RsaKeyPair,
    /// `kid` of the header.
    pub kid: String,
    /// `x5t` of the header.
    pub x5t: String,
    header: String,
    /// Every `kid` that a token of this key may have, whichever release signed it.
    kids: [String; 3],
}

impl SigningKey {
    /// From a PKCS#8 private key and the certificate (both DER), with [`KeyNames::Sha256`].
    pub fn new(pkcs8: &[u8], certificate: &[u8]) -> Result<Self, JoseError> {
        let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| JoseError::Key)?;
        let name = |digest: &[u8]| base64url(hex(digest).as_bytes());
        let (x5t, sha1) = (name(&sha256(certificate)), name(&sha1(certificate)));
        let kids = [format!("{x5t}_RS256"), sha1.clone(), format!("{sha1}_RS256")];
        let (kid, header) = (kids[0].clone(), header_of(&x5t, &kids[0]));
        Ok(Self { pair, kid, x5t, header, kids })
    }

    /// The same key with the names of a release.
    #[must_use]
    pub fn named_as(mut self, names: KeyNames) -> Self {
        let [sha256, sha1, sha1_rs256] = &self.kids;
        (self.x5t, self.kid) = match names {
            KeyNames::Sha1 => (sha1.clone(), sha1.clone()),
            KeyNames::Sha1WithAlgorithm => (sha1.clone(), sha1_rs256.clone()),
            KeyNames::Sha256 => (sha256.trim_end_matches("_RS256").to_owned(), sha256.clone()),
        };
        self.header = header_of(&self.x5t, &self.kid);
        self
    }

    /// Signs claims given as JSON text.
    pub fn sign(&self, claims: &str) -> String {
        let mut token = String::with_capacity(self.header.len() + claims.len() * 4 / 3 + 360);
        token.push_str(&self.header);
        token.push('.');
        token.push_str(&base64url(claims.as_bytes()));
        let mut signature = vec![0_u8; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
            .expect("the buffer has the modulus' length and PKCS#1 v1.5 signing has no other failure");
        token.push('.');
        token.push_str(&base64url(&signature));
        token
    }

    /// A symmetric key that everybody has who holds this one, and nobody else: from the signature of a label, which PKCS#1 v1.5
    /// makes the same each time. No token's signature is one of a label: the first part of a token has no NUL.
    pub fn derived(&self, label: &str) -> [u8; 32] {
        let signed = format!("derived key\0{label}");
        let mut signature = vec![0_u8; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .expect("the buffer has the modulus' length and PKCS#1 v1.5 signing has no other failure");
        sha256(&signature)
    }

    /// The public half under every name that a living token may have for it, the present one first.
    pub fn public_jwks(&self) -> Vec<Jwk> {
        let former = self.kids.iter().filter(|kid| **kid != self.kid);
        let named = |kid: &String| Jwk { kid: kid.clone(), ..self.public_jwk() };
        std::iter::once(self.public_jwk()).chain(former.map(named)).collect()
    }

    /// The public half by its present name.
    pub fn public_jwk(&self) -> Jwk {
        let public = self.pair.public_key();
        Jwk {
            kty: "RSA".to_owned(),
            e: base64url(public.exponent().big_endian_without_leading_zero()),
            key_use: Some("sig".to_owned()),
            kid: self.kid.clone(),
            alg: Some("RS256".to_owned()),
            n: base64url(public.modulus().big_endian_without_leading_zero()),
        }
    }
}

/// The first part of a token; members in the order in which every release writes them, and no `typ`.
fn header_of(x5t: &str, kid: &str) -> String {
    base64url(format!(r#"{{"x5t":"{x5t}","kid":"{kid}","alg":"RS256"}}"#).as_bytes())
}

/// A new RSA-2048 private key as PKCS#8 DER. Takes about 100 ms.
pub fn generate_rsa_2048() -> Result<Vec<u8>, JoseError> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| JoseError::Key)?;
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| JoseError::Key)?;
    Ok(der.as_ref().to_vec())
}

/// One public RSA key of a JWK set, members in the order IS 5.10 sends them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// `RSA`.
    pub kty: String,
    /// Public exponent, base64url.
    #[serde(default)]
    pub e: String,
    /// `sig`.
    #[serde(rename = "use", default, skip_serializing_if = "Option::is_none")]
    pub key_use: Option<String>,
    /// Name of the key.
    #[serde(default)]
    pub kid: String,
    /// `RS256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// Modulus, base64url.
    #[serde(default)]
    pub n: String,
}

/// A JWK set as it is published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwkSet {
    /// The keys.
    pub keys: Vec<Jwk>,
}

/// The keys with which a token of one issuer may be signed, parsed once.
#[derive(Default)]
pub struct VerifyingKeys(HashMap<String, ParsedPublicKey>);

impl VerifyingKeys {
    /// Keeps the RSA signature keys of a set; keys of other types or uses are left out.
    pub fn new(set: &JwkSet) -> Self {
        let mut keys = HashMap::new();
        for jwk in &set.keys {
            let is_usable = jwk.kty == "RSA"
                && jwk.key_use.as_deref() != Some("enc")
                && !matches!(jwk.alg.as_deref(), Some(alg) if alg != "RS256");
            if let (true, Some(key)) = (is_usable, public_key(jwk)) {
                keys.insert(jwk.kid.clone(), key);
            }
        }
        Self(keys)
    }

    /// Checks a token's signature and returns its claims. Times, issuer and state are the caller's to check.
    pub fn verify(&self, token: &str) -> Result<Map<String, Value>, JoseError> {
        let parts = split(token)?;
        let header: Map<String, Value> = parse_json(parts.header)?;
        let kid = header.get("kid").and_then(Value::as_str).ok_or(JoseError::UnknownKey)?;
        let key = self.0.get(kid).ok_or(JoseError::UnknownKey)?;
        if header.get("alg").and_then(Value::as_str) != Some("RS256") || header.contains_key("crit") {
            return Err(JoseError::Header);
        }
        let signature = from_base64url(parts.signature).ok_or(JoseError::Malformed)?;
        key.verify_sig(parts.signed.as_bytes(), &signature).map_err(|_| JoseError::Signature)?;
        parse_json(parts.claims)
    }
}

/// The claims of a token *without* any check of its signature: only to find out whom to ask (its issuer, its `jti`).
pub fn unverified_claims(token: &str) -> Result<Map<String, Value>, JoseError> {
    parse_json(split(token)?.claims)
}

/// May a JWT with these claims, which were verified, be an access token (security.md 4.2)? ID tokens and logout tokens are signed
/// with the same keys and open nothing: each has a claim that no access token has (OpenID Connect Core 2, 3.1.3.6, 3.3.2.11;
/// FAPI 1 `s_hash`; RFC 8417 `events`). So has another kind of token whose header says its type: that is absent in access tokens
/// of IS 5.10 and `JWT` or `at+jwt` elsewhere (rest-3x.md 1.6.3; RFC 9068).
pub fn may_be_access_token(token: &str, claims: &Map<String, Value>) -> bool {
    const OF_OTHERS: [&str; 5] = ["nonce", "at_hash", "c_hash", "s_hash", "events"];
    const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];
    let header = token.split('.').next().and_then(|header| parse_json(header).ok());
    let has_type = match header.as_ref().map(|header| header.get("typ")) {
        None => false,
        Some(None) => true,
        Some(Some(kind)) => kind.as_str().is_some_and(|kind| TYPES.contains(&kind.to_ascii_lowercase().as_str())),
    };
    has_type && !OF_OTHERS.iter().any(|claim| claims.contains_key(*claim))
}

/// Has the text the outer shape of a JWS: exactly two dots (portal-gateway-3x.md 6.5)?
pub fn has_jws_shape(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

struct Parts<'a> {
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
    signed: &'a str,
}

fn split(token: &str) -> Result<Parts<'_>, JoseError> {
    if token.len() > TOKEN_BYTES_MAX || !has_jws_shape(token) {
        return Err(JoseError::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(JoseError::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(JoseError::Malformed)?;
    Ok(Parts { header, claims, signature, signed })
}

fn parse_json(part: &str) -> Result<Map<String, Value>, JoseError> {
    let bytes = from_base64url(part).ok_or(JoseError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| JoseError::Malformed)
}

fn public_key(jwk: &Jwk) -> Option<ParsedPublicKey> {
    let n = from_base64url(&jwk.n)?;
    let e = from_base64url(&jwk.e)?;
    let der = rsa_public_key_der(&n, &e);
    ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).ok()
}

/// RSAPublicKey of RFC 8017 A.1.1: SEQUENCE { modulus INTEGER, exponent INTEGER }.
fn rsa_public_key_der(n: &[u8], e: &[u8]) -> Vec<u8> {
    let body = [der::integer(n), der::integer(e)].concat();
    der::element(der::SEQUENCE, &body)
}
