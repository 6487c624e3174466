//! What a user holds: the tokens that may still be used or refreshed, client by client, when all of them are to end.
//!
//! A user's rows are found under his name and, where names compare without regard to case, under the usual spellings of it, which
//! an old server wrote; on MySQL under every spelling. Whether a row is really his is the caller's to ask ([`is_of`]).
//!
//! From the tables of 2.6 on an index begins with the user. Those of 2.1 have none: there [`list_clients`] reads the table once, without a
//! lock, and [`list`] uses the index that begins with the client.

use super::{Token, decode, select_tokens, spellings};
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Sql, queries};
use crate::users;
use crate::value::{Arg, Row};
use claviger_proto::ids::{ConsumerKeyId, TenantId, TokenId};
use claviger_proto::user::{NameRule, PRIMARY};

/// Clients that one statement lists.
const CLIENTS_MAX: i64 = 500;

queries! {
    LIST_CLIENTS = "SELECT DISTINCT T.CONSUMER_KEY_ID FROM IDN_OAUTH2_ACCESS_TOKEN T \
                    WHERE T.AUTHZ_USER IN (?, ?, ?, ?) AND T.TENANT_ID = ? AND T.USER_DOMAIN = ? \
                    AND T.TOKEN_STATE IN ('ACTIVE', 'EXPIRED') AND T.CONSUMER_KEY_ID > ? ORDER BY T.CONSUMER_KEY_ID LIMIT ?";
    // The order is that of the key, and not said so: to follow the key's index would be to read everybody's tokens.
    LIST = select_tokens!(
        "NULL",
        "IDN_OAUTH2_ACCESS_TOKEN T JOIN IDN_OAUTH_CONSUMER_APPS C ON C.ID = T.CONSUMER_KEY_ID ",
        "WHERE T.CONSUMER_KEY_ID = ? AND T.AUTHZ_USER IN (?, ?, ?, ?) AND T.TENANT_ID = ? AND T.USER_DOMAIN = ? \
         AND T.TOKEN_STATE IN ('ACTIVE', 'EXPIRED') AND CONCAT(T.TOKEN_ID, '') > ? ORDER BY CONCAT(T.TOKEN_ID, '') LIMIT ?");
}

/// Whose tokens.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The user's tenant.
    pub tenant: TenantId,
    /// User-store domain, upper case.
    pub domain: String,
    /// The user's name as his table spells it.
    pub name: String,
    /// Which spellings name one user in his store.
    pub rule: NameRule,
}

impl Holder {
    /// The names under which rows of his are looked for. Users of other stores are told apart there alone.
    pub(crate) fn names(&self) -> [String; 4] {
        let rule = if self.domain == PRIMARY { self.rule } else { NameRule::Exact };
        spellings(&self.name, rule)
    }
}

/// Does a name in a row mean this user?
pub async fn is_of(conn: &mut Conn, holder: &Holder, name: &str) -> Result<bool, StoreError> {
    users::is_one(conn, (holder.tenant, &holder.domain), (name, &holder.name), holder.rule).await
}

/// Some of the clients that have ACTIVE or EXPIRED rows under the user's names, in the order of their ids, behind one; none when
/// there are no more.
pub async fn list_clients(
    conn: &mut Conn,
    holder: &Holder,
    after: ConsumerKeyId,
) -> Result<Vec<ConsumerKeyId>, StoreError> {
    let rows = rows_of(conn, &LIST_CLIENTS, &[], holder, [after.into(), CLIENTS_MAX.into()]).await?;
    rows.iter().map(|row| row.int(0).map(ConsumerKeyId)).collect()
}

/// Some ACTIVE and EXPIRED rows of a client under the user's names, without their scopes, in the order of their ids, behind one;
/// fewer than asked for when there are no more.
pub async fn list(
    conn: &mut Conn,
    client: ConsumerKeyId,
    holder: &Holder,
    after: &TokenId,
    rows_max: usize,
) -> Result<Vec<Token>, StoreError> {
    let limit = i64::try_from(rows_max).unwrap_or(i64::MAX);
    let rows = rows_of(conn, &LIST, &[client.into()], holder, [after.into(), limit.into()]).await?;
    decode(conn, &rows)
}

/// The rows of a query whose places are some arguments, the user's four names, his tenant and domain, and the place in the list.
pub(crate) async fn rows_of(
    conn: &mut Conn,
    sql: &'static Sql,
    before: &[Arg<'_>],
    holder: &Holder,
    page: [Arg<'_>; 2],
) -> Result<Vec<Row>, StoreError> {
    let names = holder.names();
    let own = std::array::from_fn(|_| holder.name.clone());
    let mut found = Err(StoreError::Unwritable(None));
    // A spelling that the column cannot hold is nobody's; the others may be there.
    for names in [&names, &own] {
        let mut all = before.to_vec();
        all.extend(names.iter().map(Arg::from));
        all.push(holder.tenant.into());
        all.push((&holder.domain).into());
        all.extend(page);
        found = conn.rows_of_any(sql, &all).await;
        if !matches!(found, Err(StoreError::Unwritable(_))) {
            break;
        }
    }
    found
}
