//! The same work for several tokens by one statement each. A statement has a fixed number of places, which need not all be used.

use super::{Token, TokenKey, TokenState, decode, select_tokens, spellings, stored_scopes};
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Engine, queries, repeated};
use crate::value::{Arg, Row};
use claviger_proto::ids::{TenantId, TokenId};
use claviger_proto::user::NameRule;
use std::collections::BTreeMap;

/// Most tokens of one call.
pub const TOGETHER_MAX: usize = 16;
/// Most tokens of the smaller statement.
const FEW: usize = 4;
/// What stands in a place that is not used, and finds nothing: client, four spellings of the user, tenant, domain, type of the
/// user, hash of the scopes.
const NO_KEY: [Arg<'static>; 9] = {
    let (number, text) = (Arg::Int(None), Arg::Text(None));
    [number, text, text, text, text, number, text, text, text]
};

/// The ACTIVE rows of some keys, each of which is a condition of its own: so the engines look each up by the index of all its
/// columns. Of lists (`IN`) they would look up every combination, or use an index of fewer columns and read all that a client
/// ever had.
macro_rules! are_active {
    ($keys:tt) => {
        concat!(
            "WHERE (",
            repeated!(
                $keys,
                "(T.CONSUMER_KEY_ID = ? AND T.AUTHZ_USER IN (?, ?, ?, ?) AND T.TENANT_ID = ? AND T.USER_DOMAIN = ? \
                 AND T.USER_TYPE = ? AND T.TOKEN_SCOPE_HASH = ? AND T.TOKEN_STATE = 'ACTIVE')",
                " OR "
            ),
            ") [token_binding:AND T.TOKEN_BINDING_REF = 'NONE' ]ORDER BY T.TIME_CREATED DESC, T.TOKEN_ID"
        )
    };
}

macro_rules! find_active_of {
    ($way:ident, $keys:tt) => {
        select_tokens!($way, "S.TOKEN_SCOPE, [idp_id:T.IDP_ID|NULL], T.TOKEN_SCOPE_HASH", are_active!($keys))
    };
}

queries! {
    FIND_ACTIVE_OF = find_active_of!(usual, 16), MySql = find_active_of!(by_key, 16), Postgres = find_active_of!(one_by_one, 16);
    FIND_ACTIVE_OF_FEW = find_active_of!(usual, 4), MySql = find_active_of!(by_key, 4), Postgres = find_active_of!(one_by_one, 4);
    RETIRE_ALL = concat!(
        "UPDATE IDN_OAUTH2_ACCESS_TOKEN SET TOKEN_STATE = ?, TOKEN_STATE_ID = TOKEN_ID WHERE TOKEN_STATE = 'ACTIVE' AND TOKEN_ID IN (",
        repeated!(16, "?"), ")");
}

/// What is ACTIVE for a key.
#[derive(Debug)]
pub enum Active {
    /// Nothing.
    None,
    /// This, the newest.
    Token(Box<Token>),
    /// A row under another spelling of the user's name: [`super::find_active`] finds out whose it is.
    OtherSpelling,
}

/// What is ACTIVE for each of at most [`TOGETHER_MAX`] keys, each with its tenant's resident identity provider.
pub async fn find_active_of(
    conn: &mut Conn,
    keys: &[(&TokenKey, Option<i64>)],
    rule: NameRule,
) -> Result<Vec<Active>, StoreError> {
    assert!(keys.len() <= TOGETHER_MAX, "the statement has no places for more");
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let hashes: Vec<String> = keys.iter().map(|(key, _)| key.scopes.column_hash()).collect();
    let names: Vec<[String; 4]> = keys.iter().map(|(key, _)| spellings(&key.user, rule)).collect();
    let (statement, places) =
        if keys.len() <= FEW { (&FIND_ACTIVE_OF_FEW, FEW) } else { (&FIND_ACTIVE_OF, TOGETHER_MAX) };
    let mut args = Vec::with_capacity(places * NO_KEY.len());
    for (((key, _), names), hash) in keys.iter().zip(&names).zip(&hashes) {
        args.push(Arg::from(key.consumer_key_id));
        args.extend(names.iter().map(Arg::from));
        args.extend::<[Arg<'_>; 4]>([
            key.tenant.into(),
            (&key.user_domain).into(),
            key.user_type.as_word().into(),
            hash.into(),
        ]);
    }
    args.extend(std::iter::repeat_n(NO_KEY, places - keys.len()).flatten());
    let idps: BTreeMap<TenantId, Option<i64>> = keys.iter().map(|(key, idp)| (key.tenant, *idp)).collect();
    let mut rows = Vec::new();
    let mut hash_of: BTreeMap<String, Option<String>> = BTreeMap::new();
    for row in conn.rows_planned_anew(statement, &args).await? {
        if is_residents(&row, &idps)? {
            hash_of.insert(row.text(0)?, row.opt_text(19)?);
            rows.push(row);
        }
    }
    let found = decode(conn, &rows)?;
    let with_hash = |token: Token| (hash_of.remove(&token.id.0).flatten(), token);
    let found: Vec<_> = found.into_iter().map(with_hash).collect();
    let engine = conn.engine();
    Ok(keys.iter().zip(&hashes).map(|((key, _), hash)| pick(engine, key, hash, &found)).collect())
}

fn pick(engine: Engine, key: &TokenKey, hash: &str, found: &[(Option<String>, Token)]) -> Active {
    let scopes = stored_scopes(engine, &key.scopes).map(str::to_owned).collect();
    let stored = TokenKey { scopes, ..key.clone() };
    // The scopes in the rows do not tell `read READ` from `READ` on MySQL; the hash does.
    let of_scopes = || found.iter().filter(|(of, _)| of.as_deref() == Some(hash)).map(|(_, token)| token);
    if let Some(token) = of_scopes().find(|token| token.key == stored) {
        return Active::Token(Box::new(token.clone()));
    }
    let lower = stored.user.to_lowercase();
    let is_like = |token: &Token| {
        token.key.user.to_lowercase() == lower && TokenKey { user: stored.user.clone(), ..token.key.clone() } == stored
    };
    if of_scopes().any(is_like) { Active::OtherSpelling } else { Active::None }
}

/// Was the token made by the tenant's resident identity provider? Rows that name none are (database.md 3.3).
fn is_residents(row: &Row, idps: &BTreeMap<TenantId, Option<i64>>) -> Result<bool, StoreError> {
    let Some(idp) = row.opt_int(18)?.filter(|idp| *idp != -1) else { return Ok(true) };
    let tenant = TenantId(row.opt_int(6)?.unwrap_or(TenantId::SUPER.0));
    Ok(idps.get(&tenant).is_some_and(|resident| *resident == Some(idp)))
}

/// Moves ACTIVE rows, at most [`TOGETHER_MAX`], to another state; false when one of them was no longer ACTIVE. TOKEN_ID serves as
/// TOKEN_STATE_ID: any number of dead rows can stand beside the ACTIVE one.
pub async fn retire_all(conn: &mut Conn, tokens: &[&TokenId], to: TokenState) -> Result<bool, StoreError> {
    assert!(tokens.len() <= TOGETHER_MAX, "the statement has no places for more");
    if tokens.is_empty() {
        return Ok(true);
    }
    let mut args = vec![to.as_word().into()];
    fill(&mut args, TOGETHER_MAX, tokens.iter().map(|id| (*id).into()));
    Ok(conn.execute_planned_anew(&RETIRE_ALL, &args).await? == tokens.len() as u64)
}

/// Takes a set of places: the last argument, of at least one, fills what is left of them.
pub(crate) fn fill<'a>(args: &mut Vec<Arg<'a>>, places: usize, values: impl Iterator<Item = Arg<'a>>) {
    let end = args.len() + places;
    args.extend(values);
    if let Some(last) = args.last().copied() {
        args.resize(end, last);
    }
}
