//! ACTIVE rows of users whom the database does not tell from another: on MySQL `CON_APP_KEY` ignores case and accents
//! (database.md 3.5), so a row of `Carol` stands in the way of every row of `carol`.

use super::{FIND_ACTIVE, Token, TokenKey, decode, stored_scopes};
use crate::conn::Conn;
use crate::error::StoreError;
use crate::users;
use claviger_proto::time::Timestamp;
use claviger_proto::user::NameRule;

/// The ACTIVE rows that a new one for this key collides with though they are another user's, as far as their access tokens
/// ended before an instant. On MySQL, where the comparison of the look-up is the key's; elsewhere there are none.
pub async fn find_over(
    conn: &mut Conn,
    key: &TokenKey,
    idp: Option<i64>,
    rule: NameRule,
    ended_before: Timestamp,
) -> Result<Vec<Token>, StoreError> {
    let hash = key.scopes.column_hash();
    let user = || (&key.user).into();
    let args = [
        key.consumer_key_id.into(),
        user(),
        user(),
        user(),
        user(),
        key.tenant.into(),
        (&key.user_domain).into(),
        (&hash).into(),
        key.user_type.as_word().into(),
        idp.into(),
    ];
    let rows = conn.rows_planned_anew(&FIND_ACTIVE, &args).await?;
    let scopes = stored_scopes(conn.engine(), &key.scopes).map(str::to_owned).collect();
    let stored = TokenKey { scopes, ..key.clone() };
    let mut found = Vec::new();
    for token in decode(conn, &rows)? {
        let is_same_set = (TokenKey { user: key.user.clone(), ..token.key.clone() }) == stored;
        let is_over = token.expires_at() <= ended_before;
        // The user's own row, under whatever spelling, is retired by the rules of issuing: its refresh token is carried over.
        if is_same_set && is_over && !users::is_one(conn, key.tenant, (&token.key.user, &key.user), rule).await? {
            found.push(token);
        }
    }
    Ok(found)
}
