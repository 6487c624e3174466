//! ACTIVE rows of users whom the database does not tell from another: on MySQL `CON_APP_KEY` ignores case and accents
//! (database.md 3.5), so a row of `Carol` stands in the way of every row of `carol`.

use super::{Token, TokenKey, list_active};
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
    let names = std::array::from_fn(|_| key.user.clone());
    let mut found = Vec::new();
    for token in list_active(conn, key, idp, &names).await? {
        let is_over = token.expires_at() <= ended_before;
        // The user's own row, under whatever spelling, is retired by the rules of issuing: its refresh token is carried over.
        if is_over && !users::is_one(conn, (key.tenant, &key.user_domain), (&token.key.user, &key.user), rule).await? {
            found.push(token);
        }
    }
    Ok(found)
}
