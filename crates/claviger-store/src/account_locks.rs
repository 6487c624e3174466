//! Locks and disablings of users' accounts where an old server keeps them (contract users-ldap.md 3.6): rows of
//! IDN_IDENTITY_USER_DATA, and with 5.3, as it is configured, attributes of the user. No table says how it was configured
//! (`UserStoreBasedIdentityDataStore` or `JDBCIdentityDataStore`; which one came with it, the public sources do not agree on): what
//! either says counts there, and what we say is said in both.

use crate::capability::Capability;
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Sql, queries};
use crate::users::{User, is_case_ignored};
use crate::value::Row;
use claviger_proto::account::{AccountFact, AccountState};
use claviger_proto::ids::TenantId;
use claviger_proto::user::{NameRule, PRIMARY};
use std::collections::BTreeSet;

queries! {
    LIST = "SELECT USER_NAME, DATA_KEY, DATA_VALUE FROM IDN_IDENTITY_USER_DATA WHERE TENANT_ID = ? AND USER_NAME = ? \
            AND DATA_KEY IN (?, ?, ?)";
    LIST_ANY_CASE = "SELECT USER_NAME, DATA_KEY, DATA_VALUE FROM IDN_IDENTITY_USER_DATA WHERE TENANT_ID = ? \
                     AND LOWER(USER_NAME) = LOWER(?) AND DATA_KEY IN (?, ?, ?)";
    FIND_COLLATION = "SELECT 'BINARY' FROM IDN_IDENTITY_USER_DATA LIMIT 1",
        MySql = "SELECT COLLATION(USER_NAME) FROM IDN_IDENTITY_USER_DATA LIMIT 1";
    DELETE = "DELETE FROM IDN_IDENTITY_USER_DATA WHERE TENANT_ID = ? AND USER_NAME = ? AND DATA_KEY = ?";
    INSERT = "INSERT INTO IDN_IDENTITY_USER_DATA (TENANT_ID, USER_NAME, DATA_KEY, DATA_VALUE) VALUES (?, ?, ?, ?)";
    LIST_ATTRIBUTES = "SELECT UM_ATTR_NAME, UM_ATTR_VALUE FROM UM_USER_ATTRIBUTE WHERE UM_USER_ID = ? AND UM_TENANT_ID = ? \
                       AND UM_PROFILE_ID = 'default' AND UM_ATTR_NAME IN (?, ?, ?)";
    DELETE_ATTRIBUTE = "DELETE FROM UM_USER_ATTRIBUTE WHERE UM_USER_ID = ? AND UM_TENANT_ID = ? AND UM_PROFILE_ID = 'default' \
                        AND UM_ATTR_NAME = ?";
    INSERT_ATTRIBUTE = "INSERT INTO UM_USER_ATTRIBUTE (UM_USER_ID, UM_TENANT_ID, UM_PROFILE_ID, UM_ATTR_NAME, UM_ATTR_VALUE) \
                        VALUES (?, ?, 'default', ?, ?)";
}

const FACTS: [AccountFact; 3] = [AccountFact::Locked, AccountFact::UnlockTime, AccountFact::Disabled];

/// DATA_KEY: the URI of the local claim.
const fn key(fact: AccountFact) -> &'static str {
    match fact {
        AccountFact::Locked => "http://wso2.org/claims/identity/accountLocked",
        AccountFact::UnlockTime => "http://wso2.org/claims/identity/unlockTime",
        AccountFact::Disabled => "http://wso2.org/claims/identity/accountDisabled",
    }
}

/// UM_ATTR_NAME.
const fn attribute(fact: AccountFact) -> &'static str {
    match fact {
        AccountFact::Locked => "accountLock",
        AccountFact::UnlockTime => "unlockTime",
        AccountFact::Disabled => "accountDisabled",
    }
}

/// May an old server of these tables keep the facts with the user's attributes? Their place is then the user's store.
pub fn may_be_attributes(conn: &Conn) -> bool {
    !conn.capabilities().has(Capability::TokenHash)
}

/// What the rows say of a user of a store, and under which spellings of his name they stand: all that the old server takes for his,
/// by the column's equality or, as the rule says, without regard to case. It asks nobody whether another user is called so.
pub async fn find(
    conn: &mut Conn,
    tenant: TenantId,
    (domain, name): (&str, &str),
    rule: NameRule,
) -> Result<(AccountState, Vec<String>), StoreError> {
    let prefix = prefix(domain);
    let sql = if rule == NameRule::Exact { &LIST } else { any_case(conn).await? };
    let stored = format!("{prefix}{name}");
    let [locked, unlock, disabled] = FACTS.map(key);
    let args = [tenant.into(), (&stored).into(), locked.into(), unlock.into(), disabled.into()];
    let (mut spellings, mut facts) = (BTreeSet::new(), Vec::new());
    for row in conn.rows(sql, &args).await? {
        let spelled = row.text(0)?;
        if let Some((_, own)) = spelled.split_at_checked(prefix.len()) {
            spellings.insert(own.to_owned());
        }
        facts.extend(fact_of(&row, 1, key)?);
    }
    let facts = facts.iter().map(|(fact, text): &(AccountFact, String)| (*fact, text.as_str()));
    Ok((AccountState::read(facts), spellings.into_iter().collect()))
}

/// What the attributes of a user say, of the store behind the connection.
pub async fn find_in_attributes(conn: &mut Conn, tenant: TenantId, user: &User) -> Result<AccountState, StoreError> {
    let [locked, unlock, disabled] = FACTS.map(attribute);
    let args = [user.id.into(), tenant.into(), locked.into(), unlock.into(), disabled.into()];
    let mut facts = Vec::new();
    for row in conn.rows(&LIST_ATTRIBUTES, &args).await? {
        facts.extend(fact_of(&row, 0, attribute)?);
    }
    Ok(AccountState::read(facts.iter().map(|(fact, text)| (*fact, text.as_str()))))
}

/// What rows and, where they count, attributes say of a user of the primary store.
pub async fn find_of_primary(
    conn: &mut Conn,
    tenant: TenantId,
    user: &User,
    rule: NameRule,
) -> Result<AccountState, StoreError> {
    let (rows, _) = find(conn, tenant, (PRIMARY, &user.name), rule).await?;
    if !may_be_attributes(conn) {
        return Ok(rows);
    }
    Ok(rows.or(find_in_attributes(conn, tenant, user).await?))
}

/// Writes a fact about a user of a store as a row.
pub async fn set(
    conn: &mut Conn,
    tenant: TenantId,
    (domain, name): (&str, &str),
    (fact, value): (AccountFact, &str),
) -> Result<(), StoreError> {
    let stored = format!("{}{name}", prefix(domain));
    let row = [tenant.into(), (&stored).into(), key(fact).into(), value.into()];
    conn.execute(&DELETE, &row[..3]).await?;
    conn.execute(&INSERT, &row).await?;
    Ok(())
}

/// Writes a fact about a user of the primary store with his attributes.
pub async fn set_attribute(
    conn: &mut Conn,
    tenant: TenantId,
    user: &User,
    (fact, value): (AccountFact, &str),
) -> Result<(), StoreError> {
    let row = [user.id.into(), tenant.into(), attribute(fact).into(), value.into()];
    conn.execute(&DELETE_ATTRIBUTE, &row[..3]).await?;
    conn.execute(&INSERT_ATTRIBUTE, &row).await?;
    Ok(())
}

/// The fact of a row with its name at a place and its text behind it.
fn fact_of(
    row: &Row,
    at: usize,
    name: fn(AccountFact) -> &'static str,
) -> Result<Option<(AccountFact, String)>, StoreError> {
    let stored = row.text(at)?;
    let fact = FACTS.into_iter().find(|fact| name(*fact).eq_ignore_ascii_case(&stored));
    Ok(fact.zip(row.opt_text(at + 1)?))
}

/// What stands before the names of a store's users.
fn prefix(domain: &str) -> String {
    if domain.eq_ignore_ascii_case(PRIMARY) { String::new() } else { format!("{}/", domain.to_uppercase()) }
}

/// The statement that finds the rows of every spelling. Where equality tells case apart it reads those of the whole tenant.
async fn any_case(conn: &mut Conn) -> Result<&'static Sql, StoreError> {
    Ok(if is_case_ignored(conn, &FIND_COLLATION).await? { &LIST } else { &LIST_ANY_CASE })
}
