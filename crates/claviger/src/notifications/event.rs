//! What API Manager is told, as it reads it (rest-3x.md 5.2): the one place where bodies are made.

use claviger_proto::ids::{ConsumerKey, TenantId};
use claviger_proto::oauth::TokenType;
use claviger_proto::time::Timestamp;
use serde::Serialize;

/// What every event says: whose it is, and its own name, which stays the same however often it is sent.
#[derive(Clone, Copy)]
pub(super) struct Envelope<'a> {
    /// A UUID.
    pub(super) event_id: &'a str,
    pub(super) now: Timestamp,
    pub(super) tenant: TenantId,
    /// Never empty: the receiver fails without it.
    pub(super) tenant_domain: &'a str,
}

/// A dead token.
#[derive(Clone, Copy)]
pub(super) struct DeadToken<'a> {
    /// The `jti` of a JWT, the text of an opaque token.
    pub(super) identifier: &'a str,
    pub(super) expires_at: Timestamp,
    /// The user without domain and tenant.
    pub(super) user: &'a str,
    pub(super) consumer_key: &'a ConsumerKey,
    pub(super) token_type: TokenType,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Common<'a> {
    event_id: &'a str,
    time_stamp: i64,
    r#type: &'static str,
    tenant_id: i64,
    tenant_domain: &'a str,
    properties: Properties,
}

#[derive(Serialize)]
struct Properties {}

impl<'a> Common<'a> {
    fn new(envelope: Envelope<'a>, r#type: &'static str) -> Self {
        Self {
            event_id: envelope.event_id,
            time_stamp: envelope.now.as_millis(),
            r#type,
            tenant_id: envelope.tenant.0,
            tenant_domain: envelope.tenant_domain,
            properties: Properties {},
        }
    }
}

/// `token_revocation`. A token that never ends has the largest number as its end.
pub(super) fn token_revocation(envelope: Envelope<'_>, token: DeadToken<'_>) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        access_token: &'a str,
        expiry_time: i64,
        user: &'a str,
        consumer_key: &'a str,
        token_type: &'static str,
        #[serde(flatten)]
        common: Common<'a>,
    }
    json(&Body {
        access_token: token.identifier,
        expiry_time: token.expires_at.as_millis(),
        user: token.user,
        consumer_key: token.consumer_key.as_str(),
        token_type: match token.token_type {
            TokenType::Jwt => "JWT",
            TokenType::Opaque => "Default",
        },
        common: Common::new(envelope, "token_revocation"),
    })
}

/// `consumer_app_revocation_event`: every token that the client was issued before an instant is dead. API Manager 4.3 and later
/// know it.
pub(super) fn client_revocation(envelope: Envelope<'_>, consumer_key: &ConsumerKey, before: Timestamp) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        consumer_key: &'a str,
        revocation_time: i64,
        #[serde(flatten)]
        common: Common<'a>,
    }
    json(&Body {
        consumer_key: consumer_key.as_str(),
        revocation_time: before.as_millis(),
        common: Common::new(envelope, "consumer_app_revocation_event"),
    })
}

/// `subject_entity_revocation_event` for a user: every token that he was issued before an instant is dead. API Manager 4.3 and later
/// know it.
pub(super) fn user_revocation(envelope: Envelope<'_>, entity: &str, before: Timestamp) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        entity_id: &'a str,
        entity_type: &'static str,
        revocation_time: i64,
        #[serde(flatten)]
        common: Common<'a>,
    }
    json(&Body {
        entity_id: entity,
        entity_type: "USER_ID",
        revocation_time: before.as_millis(),
        common: Common::new(envelope, "subject_entity_revocation_event"),
    })
}

fn json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("texts and numbers always serialise")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVELOPE: Envelope<'static> = Envelope {
        event_id: "6b3c0d1e-8f77-4d0e-b1f9-1b2c3d4e5f60",
        now: Timestamp::from_millis(1_700_000_123_456),
        tenant: TenantId::SUPER,
        tenant_domain: "carbon.super",
    };

    /// The example of rest-3x.md 5.2, letter by letter.
    #[test]
    fn bodies_are_those_of_the_connector() {
        let key = ConsumerKey::from("pQ3xk2n_7TfYb0s1mWcR9eHuLw8a");
        let token = DeadToken {
            identifier: "0b7a1c4e-2d53-4a61-9f0e-5c8d7e1f2a3b",
            expires_at: Timestamp::from_millis(1_700_003_600_000),
            user: "bob",
            consumer_key: &key,
            token_type: TokenType::Jwt,
        };
        assert_eq!(
            token_revocation(ENVELOPE, token),
            "{\"accessToken\":\"0b7a1c4e-2d53-4a61-9f0e-5c8d7e1f2a3b\",\"expiryTime\":1700003600000,\"user\":\"bob\",\
             \"consumerKey\":\"pQ3xk2n_7TfYb0s1mWcR9eHuLw8a\",\"tokenType\":\"JWT\",\
             \"eventId\":\"6b3c0d1e-8f77-4d0e-b1f9-1b2c3d4e5f60\",\"timeStamp\":1700000123456,\"type\":\"token_revocation\",\
             \"tenantId\":-1234,\"tenantDomain\":\"carbon.super\",\"properties\":{}}"
        );
        let endless = DeadToken { expires_at: Timestamp::NEVER, token_type: TokenType::Opaque, ..token };
        let body: serde_json::Value = serde_json::from_str(&token_revocation(ENVELOPE, endless)).unwrap();
        assert_eq!((&body["expiryTime"], &body["tokenType"]), (&i64::MAX.into(), &"Default".into()));
        assert_eq!(
            client_revocation(ENVELOPE, &key, Timestamp::from_secs(1_700_000_124)),
            "{\"consumerKey\":\"pQ3xk2n_7TfYb0s1mWcR9eHuLw8a\",\"revocationTime\":1700000124000,\
             \"eventId\":\"6b3c0d1e-8f77-4d0e-b1f9-1b2c3d4e5f60\",\"timeStamp\":1700000123456,\
             \"type\":\"consumer_app_revocation_event\",\"tenantId\":-1234,\"tenantDomain\":\"carbon.super\",\"properties\":{}}"
        );
        assert_eq!(
            user_revocation(ENVELOPE, "bob", Timestamp::from_secs(1_700_000_124)),
            "{\"entityId\":\"bob\",\"entityType\":\"USER_ID\",\"revocationTime\":1700000124000,\
             \"eventId\":\"6b3c0d1e-8f77-4d0e-b1f9-1b2c3d4e5f60\",\"timeStamp\":1700000123456,\
             \"type\":\"subject_entity_revocation_event\",\"tenantId\":-1234,\"tenantDomain\":\"carbon.super\",\"properties\":{}}"
        );
    }
}
