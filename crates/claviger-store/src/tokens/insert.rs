//! New rows. Any number of them goes in by few statements: each statement has a place for one, four or sixteen rows.

use super::{ENDLESS_MS, Token, stored_scopes};
use crate::capability::Capability;
use crate::conn::Conn;
use crate::error::{StoreError, check_widths};
use crate::sql::{Engine, Sql, queries, repeated};
use crate::value::Arg;
use claviger_proto::ids::{ConsumerKeyId, TenantId, TokenId};
use claviger_proto::time::Timestamp;

/// An INSERT of tokens and one of scopes with as many rows.
macro_rules! insert_tokens {
    ($rows:tt) => {
        concat!(
            "INSERT INTO IDN_OAUTH2_ACCESS_TOKEN (TOKEN_ID, ACCESS_TOKEN, REFRESH_TOKEN, CONSUMER_KEY_ID, AUTHZ_USER, TENANT_ID, \
             USER_DOMAIN, USER_TYPE, GRANT_TYPE, TIME_CREATED, REFRESH_TOKEN_TIME_CREATED, VALIDITY_PERIOD, \
             REFRESH_TOKEN_VALIDITY_PERIOD, TOKEN_SCOPE_HASH, TOKEN_STATE, TOKEN_STATE_ID, SUBJECT_IDENTIFIER\
             [token_hash:, ACCESS_TOKEN_HASH, REFRESH_TOKEN_HASH][idp_id:, IDP_ID][token_binding:, TOKEN_BINDING_REF]) VALUES ",
            repeated!(
                $rows,
                "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'ACTIVE', 'NONE', ?[token_hash:, ?, ?][idp_id:, ?][token_binding:, 'NONE'])"
            )
        )
    };
}

macro_rules! insert_scopes {
    ($rows:tt) => {
        concat!(
            "INSERT INTO IDN_OAUTH2_ACCESS_TOKEN_SCOPE (TOKEN_ID, TOKEN_SCOPE, TENANT_ID) VALUES ",
            repeated!($rows, "(?, ?, ?)")
        )
    };
}

queries! {
    INSERT_TOKEN = insert_tokens!(1);
    INSERT_4_TOKENS = insert_tokens!(4);
    INSERT_16_TOKENS = insert_tokens!(16);
    INSERT_SCOPE = insert_scopes!(1);
    INSERT_4_SCOPES = insert_scopes!(4);
    INSERT_16_SCOPES = insert_scopes!(16);
}

/// An ACTIVE pair as the columns are to hold it.
pub struct NewRow {
    id: TokenId,
    access: String,
    refresh: Option<String>,
    client: ConsumerKeyId,
    user: String,
    tenant: TenantId,
    user_domain: String,
    user_type: &'static str,
    grant: String,
    created: Timestamp,
    refresh_created: Timestamp,
    validity_ms: i64,
    refresh_validity_ms: i64,
    scope_hash: String,
    subject: String,
    access_hash: String,
    refresh_hash: Option<String>,
    idp: Option<i64>,
    scopes: Vec<String>,
}

impl NewRow {
    /// The row of a pair, which takes the place of another, made at `replaced`: of two rows with the same refresh token the newer
    /// counts, so this one's time stays behind the other's also where it cannot be said exactly.
    /// [`StoreError::TooLong`] when a column does not hold its part (database.md 1.6).
    pub fn new(conn: &Conn, token: &Token, idp: Option<i64>, replaced: Option<Timestamp>) -> Result<Self, StoreError> {
        let key = &token.key;
        let identifier =
            token.identifier.as_ref().ok_or_else(|| StoreError::Corrupt("a new token has no text".into()))?;
        let access = conn.forms().column(identifier)?;
        let refresh = token.refresh.as_ref().map(|refresh| conn.forms().column(refresh)).transpose()?;
        let text_max = if conn.capabilities().has(Capability::TokenHash) { 2048 } else { 255 };
        check_widths(&[
            ("the user name", key.user.as_str(), 100),
            ("the user store's domain", &key.user_domain, 50),
            ("the subject", &token.subject, 255),
            ("the grant", &token.grant, 50),
            ("the token", &access, text_max),
            ("the refresh token", refresh.as_deref().unwrap_or_default(), text_max),
        ])?;
        let scopes: Vec<String> = stored_scopes(conn.engine(), &key.scopes).map(str::to_owned).collect();
        for scope in &scopes {
            check_widths(&[("a scope", scope, 60)])?;
        }
        let (created, validity_ms) = said_behind(conn, token, replaced);
        let (refresh_created, refresh_validity_ms) = said(conn, token.refresh_created, token.refresh_validity_ms);
        Ok(Self {
            id: token.id.clone(),
            access,
            refresh,
            client: key.consumer_key_id,
            user: key.user.clone(),
            tenant: key.tenant,
            user_domain: key.user_domain.clone(),
            user_type: key.user_type.as_word(),
            grant: token.grant.clone(),
            created,
            refresh_created,
            validity_ms,
            refresh_validity_ms,
            scope_hash: key.scopes.column_hash(),
            subject: token.subject.clone(),
            access_hash: conn.forms().hash(identifier.expose()),
            refresh_hash: token.refresh.as_ref().map(|refresh| conn.forms().hash(refresh.expose())),
            idp,
            scopes,
        })
    }

    fn args(&self) -> [Arg<'_>; 18] {
        [
            (&self.id).into(),
            (&self.access).into(),
            (&self.refresh).into(),
            self.client.into(),
            (&self.user).into(),
            self.tenant.into(),
            (&self.user_domain).into(),
            self.user_type.into(),
            (&self.grant).into(),
            self.created.into(),
            self.refresh_created.into(),
            self.validity_ms.into(),
            self.refresh_validity_ms.into(),
            (&self.scope_hash).into(),
            (&self.subject).into(),
            (&self.access_hash).into(),
            (&self.refresh_hash).into(),
            self.idp.into(),
        ]
    }

    fn scope_args(&self) -> impl Iterator<Item = [Arg<'_>; 3]> {
        self.scopes.iter().map(|scope| [(&self.id).into(), scope.into(), self.tenant.into()])
    }
}

/// A column of MySQL holds whole seconds.
fn whole(conn: &Conn, time: Timestamp) -> Timestamp {
    if conn.engine() == Engine::MySql { time.truncated_to_secs() } else { time }
}

/// What the columns cannot say moves back, and the life is longer by as much: the ends stay.
pub(crate) fn said(conn: &Conn, time: Timestamp, life_ms: i64) -> (Timestamp, i64) {
    let said = conn.token_time(whole(conn, time));
    let is_endless = !(0..ENDLESS_MS).contains(&life_ms);
    (said, if is_endless { life_ms } else { life_ms.saturating_add(time.millis_since(said)) })
}

/// [`said`] of a token that takes the place of another.
fn said_behind(conn: &Conn, token: &Token, replaced: Option<Timestamp>) -> (Timestamp, i64) {
    let (created, validity_ms) = said(conn, token.created, token.validity_ms);
    if let Some(behind) = replaced.map(|replaced| replaced.plus_millis(1_000))
        && created < behind
        && created < whole(conn, token.created)
        && conn.token_time(behind) == behind
    {
        // That it is a second behind the other is worth more than that its end is exact.
        let is_endless = !(0..ENDLESS_MS).contains(&validity_ms);
        return (behind, if is_endless { validity_ms } else { token.expires_at().millis_since(behind).max(1) });
    }
    (created, validity_ms)
}

/// Inserts an ACTIVE pair. Another ACTIVE row for the same key is [`StoreError::Conflict`] where the tables' own key says so
/// (`Capability::ActiveKey`).
pub async fn insert(conn: &mut Conn, token: &Token, idp: Option<i64>) -> Result<(), StoreError> {
    let row = NewRow::new(conn, token, idp, None)?;
    insert_rows(conn, &[row]).await
}

/// [`insert`] of any number of pairs.
pub async fn insert_rows(conn: &mut Conn, rows: &[NewRow]) -> Result<(), StoreError> {
    let tokens: Vec<_> = rows.iter().map(NewRow::args).collect();
    insert_all(conn, [&INSERT_16_TOKENS, &INSERT_4_TOKENS, &INSERT_TOKEN], &tokens).await?;
    let scopes: Vec<_> = rows.iter().flat_map(NewRow::scope_args).collect();
    insert_all(conn, [&INSERT_16_SCOPES, &INSERT_4_SCOPES, &INSERT_SCOPE], &scopes).await
}

/// Inserts rows by statements for sixteen, four and one of them.
pub(crate) async fn insert_all<const WIDTH: usize>(
    conn: &mut Conn,
    [sixteen, four, one]: [&'static Sql; 3],
    rows: &[[Arg<'_>; WIDTH]],
) -> Result<(), StoreError> {
    let mut rest = rows;
    while !rest.is_empty() {
        let (statement, count) = match rest.len() {
            16.. => (sixteen, 16),
            4..16 => (four, 4),
            _ => (one, 1),
        };
        let (some, later) = rest.split_at(count);
        conn.execute(statement, some.as_flattened()).await?;
        rest = later;
    }
    Ok(())
}
