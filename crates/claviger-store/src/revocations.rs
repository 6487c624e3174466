//! CLV_REVOCATION: what gateways must refuse, as long as it matters. Written in the transaction of the revocation; JWTs
//! also get their AM_REVOKED_JWT row, which an API-M gateway reads at its start (database.md 4.4).

use crate::capability::Capability;
use crate::conn::Conn;
use crate::error::{self, StoreError};
use crate::sql::{queries, repeated};
use crate::tokens::{TOGETHER_MAX, fill};
use crate::value::Row;
use claviger_proto::encode::{from_hex, hex};
use claviger_proto::event::Event;
use claviger_proto::hash::TokenHash;
use claviger_proto::ids::{ConsumerKey, TenantId};
use claviger_proto::time::Timestamp;
use std::collections::HashMap;

const TOKEN: &str = "TOKEN";
const CLIENT: &str = "CLIENT";
const USER: &str = "USER";
/// TOKEN_TYPE of a JWT's row.
const JWT: &str = "JWT";
/// Rows read by one statement.
const PAGE_MAX: usize = 2_000;

queries! {
    INSERT = "INSERT INTO CLV_REVOCATION (KIND, SUBJECT, REVOKED_BEFORE, EXPIRES_AT) VALUES (?, ?, ?, ?)";
    UPDATE = "UPDATE CLV_REVOCATION SET REVOKED_BEFORE = CASE WHEN REVOKED_BEFORE < ? THEN ? ELSE REVOKED_BEFORE END, \
              EXPIRES_AT = CASE WHEN EXPIRES_AT < ? THEN ? ELSE EXPIRES_AT END WHERE KIND = ? AND SUBJECT = ?";
    FIND = "SELECT EXPIRES_AT FROM CLV_REVOCATION WHERE KIND = ? AND SUBJECT = ?";
    FIND_BEFORE = "SELECT REVOKED_BEFORE FROM CLV_REVOCATION WHERE KIND = ? AND SUBJECT = ?";
    LIST_BEFORE = concat!("SELECT SUBJECT, REVOKED_BEFORE FROM CLV_REVOCATION WHERE KIND = ? AND SUBJECT IN (", repeated!(16, "?"), ")");
    LIST = "SELECT SUBJECT, REVOKED_BEFORE, EXPIRES_AT FROM CLV_REVOCATION WHERE KIND = ? AND SUBJECT > ? AND EXPIRES_AT > ? \
            ORDER BY SUBJECT LIMIT ?";
    INSERT_JWT = "INSERT INTO AM_REVOKED_JWT (UUID, SIGNATURE, EXPIRY_TIMESTAMP, TENANT_ID, TOKEN_TYPE, TIME_CREATED) \
                  VALUES (?, ?, ?, ?, ?, ?)";
    FIND_JWT = "SELECT EXPIRY_TIMESTAMP FROM AM_REVOKED_JWT WHERE UUID = ?";
    LIST_JWTS = "SELECT UUID, SIGNATURE, EXPIRY_TIMESTAMP, TENANT_ID FROM AM_REVOKED_JWT WHERE UUID > ? AND EXPIRY_TIMESTAMP > ? \
                 ORDER BY UUID LIMIT ?";
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
        let received =
            Received { event_id: jwt.uuid, token: &name, token_type: JWT, tenant_id: jwt.tenant_id, expires_at };
        insert_row(conn, &received, now).await?;
    }
    conn.emit(Event::TokenRevoked { token, expires_at }, now).await?;
    Ok(())
}

/// A token that a key manager says it has revoked (rest-3x.md 5.2, 5.3).
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The event's id, under which its row stands: an event that comes again finds it.
    pub event_id: &'a str,
    /// The opaque token, or a JWT's `jti`.
    pub token: &'a str,
    /// `JWT`, `Default`.
    pub token_type: &'a str,
    /// Tenant of the token; a stranger's is what its key manager calls it.
    pub tenant_id: TenantId,
    /// End of the token's life.
    pub expires_at: Timestamp,
}

/// Records what a key manager says of a token, and emits the event unless the token is on the list already. The row of the list
/// and the one that old gateways read are looked for one by one: they may live in two databases, and a delivery may have ended
/// between them. False when there was nothing to do.
pub async fn insert_received(conn: &mut Conn, received: &Received<'_>, now: Timestamp) -> Result<bool, StoreError> {
    error::check_widths(&[
        ("the event's id", received.event_id, 255),
        ("the token", received.token, 2048),
        ("the token's type", received.token_type, 15),
    ])?;
    let token = TokenHash::of(received.token);
    let has_row = conn.row(&FIND_JWT, &[received.event_id.into()]).await?.is_some();
    let is_known = is_token_revoked(conn, token).await?;
    // A JWT that was revoked here has its row, under a number of its own; an opaque token has none.
    let is_listed = has_row || (is_known && received.token_type.eq_ignore_ascii_case(JWT));
    if !is_listed {
        insert_row(conn, received, now).await.map_err(StoreError::or_repeat)?;
    }
    if !is_known {
        upsert(conn, TOKEN, &hex(&token.0), now, received.expires_at).await?;
        conn.emit(Event::TokenRevoked { token, expires_at: received.expires_at }, now).await?;
    }
    Ok(!is_listed || !is_known)
}

async fn insert_row(conn: &mut Conn, received: &Received<'_>, now: Timestamp) -> Result<(), StoreError> {
    let args = [
        received.event_id.into(),
        received.token.into(),
        received.expires_at.as_millis().into(),
        received.tenant_id.into(),
        received.token_type.into(),
        now.into(),
    ];
    conn.execute(&INSERT_JWT, &args).await.map(|_| ())
}

/// A row of AM_REVOKED_JWT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedJwt {
    /// SIGNATURE: a `jti`, an opaque token, or before 3.2 the third part of a JWT.
    pub name: String,
    /// EXPIRY_TIMESTAMP.
    pub expires_at: Timestamp,
    /// TENANT_ID.
    pub tenant_id: TenantId,
}

/// The rows of AM_REVOKED_JWT that still matter at `now`, read by pages of the key. None before 3.0.
pub async fn list_jwts(conn: &mut Conn, now: Timestamp) -> Result<Vec<ListedJwt>, StoreError> {
    let mut listed = Vec::new();
    if !conn.capabilities().has(Capability::RevokedJwt) {
        return Ok(listed);
    }
    let page_max = i64::try_from(PAGE_MAX).unwrap_or(i64::MAX);
    let mut after = String::new();
    loop {
        let page = conn.rows(&LIST_JWTS, &[(&after).into(), now.as_millis().into(), page_max.into()]).await?;
        for row in &page {
            listed.push(ListedJwt {
                name: row.text(1)?,
                expires_at: Timestamp::from_millis(row.int(2)?),
                tenant_id: TenantId(row.opt_int(3)?.unwrap_or(-1)),
            });
        }
        match page.last() {
            Some(last) if page.len() == PAGE_MAX => after = last.text(0)?,
            _ => return Ok(listed),
        }
    }
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

/// Records that every token of a user, `[DOMAIN/]user@tenant`, issued before an instant is dead, and emits the event.
pub async fn insert_user(
    conn: &mut Conn,
    subject: &str,
    before: Timestamp,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    error::check_widths(&[("the user's name", subject, 255)])?;
    upsert(conn, USER, subject, before, expires_at).await?;
    conn.emit(Event::UserRevoked { subject: subject.to_owned(), before }, now).await?;
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

/// Users whose older tokens must still be refused at `now`, with the instant before which they were issued.
pub async fn list_users(conn: &mut Conn, now: Timestamp) -> Result<Vec<(String, Timestamp)>, StoreError> {
    let rows = list(conn, USER, now).await?;
    rows.iter().map(|row| Ok((row.text(0)?, Timestamp::from_millis(row.int(1)?)))).collect()
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
    find_before(conn, CLIENT, consumer_key.as_str()).await
}

/// The instant before which a user's tokens are dead.
pub async fn find_user(conn: &mut Conn, subject: &str) -> Result<Option<Timestamp>, StoreError> {
    find_before(conn, USER, subject).await
}

/// [`find_user`] of some users, at most [`TOGETHER_MAX`]; those who are not there were never revoked.
pub async fn find_users(conn: &mut Conn, subjects: &[&str]) -> Result<HashMap<String, Timestamp>, StoreError> {
    assert!(subjects.len() <= TOGETHER_MAX, "the statement has no places for more");
    if subjects.is_empty() {
        return Ok(HashMap::new());
    }
    let mut args = Vec::with_capacity(TOGETHER_MAX + 1);
    args.push(USER.into());
    fill(&mut args, TOGETHER_MAX, subjects.iter().map(|subject| (*subject).into()));
    let rows = conn.rows(&LIST_BEFORE, &args).await?;
    rows.iter().map(|row| Ok((row.text(0)?, Timestamp::from_millis(row.int(1)?)))).collect()
}

async fn find_before(conn: &mut Conn, kind: &str, subject: &str) -> Result<Option<Timestamp>, StoreError> {
    let row = conn.row(&FIND_BEFORE, &[kind.into(), subject.into()]).await?;
    row.map(|row| Ok(Timestamp::from_millis(row.int(0)?))).transpose()
}

/// Is this token on the list?
pub async fn is_token_revoked(conn: &mut Conn, token: TokenHash) -> Result<bool, StoreError> {
    Ok(conn.row(&FIND, &[TOKEN.into(), (&hex(&token.0)).into()]).await?.is_some())
}
