//! CLV_REVOCATION: what gateways must refuse, as long as it matters. Written in the transaction of the revocation; JWTs
//! also get their AM_REVOKED_JWT row, which an API-M gateway reads at its start (database.md 4.4).

use crate::capability::Capability;
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::queries;
use crate::value::Row;
use claviger_proto::encode::{from_hex, hex};
use claviger_proto::event::Event;
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::{ConsumerKey, TenantId};
use claviger_proto::time::Timestamp;

const TOKEN: &str = "TOKEN";
const CLIENT: &str = "CLIENT";
/// Rows read by one statement.
const PAGE_MAX: usize = 2_000;

queries! {
    INSERT = "INSERT INTO CLV_REVOCATION (KIND, SUBJECT, REVOKED_BEFORE, EXPIRES_AT) VALUES (?, ?, ?, ?)";
    UPDATE = "UPDATE CLV_REVOCATION SET REVOKED_BEFORE = CASE WHEN REVOKED_BEFORE < ? THEN ? ELSE REVOKED_BEFORE END, \
              EXPIRES_AT = CASE WHEN EXPIRES_AT < ? THEN ? ELSE EXPIRES_AT END WHERE KIND = ? AND SUBJECT = ?";
    FIND = "SELECT EXPIRES_AT FROM CLV_REVOCATION WHERE KIND = ? AND SUBJECT = ?";
    FIND_BEFORE = "SELECT REVOKED_BEFORE FROM CLV_REVOCATION WHERE KIND = ? AND SUBJECT = ?";
    LIST = "SELECT SUBJECT, REVOKED_BEFORE, EXPIRES_AT FROM CLV_REVOCATION WHERE KIND = ? AND SUBJECT > ? AND EXPIRES_AT > ? \
            ORDER BY SUBJECT LIMIT ?";
    INSERT_JWT = "INSERT INTO AM_REVOKED_JWT (UUID, SIGNATURE, EXPIRY_TIMESTAMP, TENANT_ID, TOKEN_TYPE, TIME_CREATED) \
                  VALUES (?, ?, ?, ?, 'JWT', ?)";
}

/// A JWT's row in AM_REVOKED_JWT.
pub struct RevokedJwt<'a> {
    /// Random UUID of the row.
    pub uuid: &'a str,
    /// The `jti`.
    pub jti: &'a str,
    /// The third part of the JWT, where it is known: the gateways of 3.0 and 3.1 look for it and not for the `jti`.
    pub signature: Option<&'a str>,
    /// Tenant of the user.
    pub tenant_id: TenantId,
}

/// Records a dead token and emits its event.
pub async fn insert_token(
    conn: &mut Conn,
    token: TokenHash,
    expires_at: Timestamp,
    jwt: Option<RevokedJwt<'_>>,
    now: Timestamp,
) -> Result<(), StoreError> {
    upsert(conn, TOKEN, &hex(&token.0), now, expires_at).await?;
    let capabilities = conn.capabilities();
    let named = |jwt: &RevokedJwt<'_>| {
        if capabilities.has(Capability::KeyManager) {
            Some(jwt.jti.to_owned())
        } else {
            jwt.signature.map(str::to_owned)
        }
    };
    let jwt = jwt.filter(|_| capabilities.has(Capability::RevokedJwt));
    if let Some((jwt, name)) = jwt.and_then(|jwt| named(&jwt).map(|name| (jwt, name))) {
        let args = [jwt.uuid.into(), (&name).into(), expires_at.as_millis().into(), jwt.tenant_id.into(), now.into()];
        conn.execute(&INSERT_JWT, &args).await?;
    }
    conn.emit(Event::TokenRevoked { token, expires_at }, now).await?;
    Ok(())
}

/// Records that every self-contained token of a client issued before an instant is dead, and emits the event.
pub async fn insert_client(
    conn: &mut Conn,
    consumer_key: &ConsumerKey,
    before: Timestamp,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    upsert(conn, CLIENT, consumer_key.as_str(), before, expires_at).await?;
    conn.emit(Event::ClientRevoked { consumer_key: consumer_key.clone(), before }, now).await?;
    Ok(())
}

/// A revocation only ever grows: whoever comes later with an earlier instant takes nothing back.
async fn upsert(
    conn: &mut Conn,
    kind: &str,
    subject: &str,
    before: Timestamp,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    let (before, end) = (before.as_millis().into(), expires_at.as_millis().into());
    if conn.execute(&UPDATE, &[before, before, end, end, kind.into(), subject.into()]).await? == 0 {
        let inserted = conn.execute(&INSERT, &[kind.into(), subject.into(), before, end]).await;
        inserted.map_err(StoreError::or_repeat)?;
    }
    Ok(())
}

/// Tokens that must still be refused at `now`, with their ends.
pub async fn list_tokens(conn: &mut Conn, now: Timestamp) -> Result<Vec<(TokenHash, Timestamp)>, StoreError> {
    let rows = list(conn, TOKEN, now).await?;
    rows.iter()
        .map(|row| {
            let subject = row.text(0)?;
            let hash = from_hex(&subject).and_then(|bytes| bytes.try_into().ok());
            let hash = hash.ok_or_else(|| StoreError::Corrupt("CLV_REVOCATION.SUBJECT is not a digest".into()))?;
            Ok((TokenHash(hash), Timestamp::from_millis(row.int(2)?)))
        })
        .collect()
}

/// Clients whose older tokens must still be refused at `now`, with the instant before which they were issued.
pub async fn list_clients(conn: &mut Conn, now: Timestamp) -> Result<Vec<(ConsumerKey, Timestamp)>, StoreError> {
    let rows = list(conn, CLIENT, now).await?;
    rows.iter().map(|row| Ok((ConsumerKey(row.text(0)?), Timestamp::from_millis(row.int(1)?)))).collect()
}

/// All rows of a kind that still matter, read page by page.
async fn list(conn: &mut Conn, kind: &str, now: Timestamp) -> Result<Vec<Row>, StoreError> {
    let mut rows: Vec<Row> = Vec::new();
    let mut after = String::new();
    loop {
        let page_max = i64::try_from(PAGE_MAX).unwrap_or(i64::MAX);
        let args = [kind.into(), (&after).into(), now.as_millis().into(), page_max.into()];
        let page = conn.rows(&LIST, &args).await?;
        let is_last = page.len() < PAGE_MAX;
        rows.extend(page);
        match rows.last() {
            Some(last) if !is_last => after = last.text(0)?,
            _ => return Ok(rows),
        }
    }
}

/// The instant before which a client's self-contained tokens are dead.
pub async fn find_client(conn: &mut Conn, consumer_key: &ConsumerKey) -> Result<Option<Timestamp>, StoreError> {
    let row = conn.row(&FIND_BEFORE, &[CLIENT.into(), consumer_key.into()]).await?;
    row.map(|row| Ok(Timestamp::from_millis(row.int(0)?))).transpose()
}

/// Is this token on the list?
pub async fn is_token_revoked(conn: &mut Conn, token: TokenHash) -> Result<bool, StoreError> {
    Ok(conn.row(&FIND, &[TOKEN.into(), (&hex(&token.0)).into()]).await?.is_some())
}
