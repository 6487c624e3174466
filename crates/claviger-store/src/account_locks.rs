//! Locks and disablings of users' accounts, and what is counted of their wrong passwords, where an old server keeps them (contract
//! users-ldap.md 3.6): rows of IDN_IDENTITY_USER_DATA, and with 5.3, as it is configured, attributes of the user. No table says how
//! it was configured (`UserStoreBasedIdentityDataStore` or `JDBCIdentityDataStore`; which one came with it, the public sources do not
//! agree on): what either says counts there, and what we say is said in both.

use crate::capability::{Capabilities, Capability};
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Engine, Sql, queries};
use crate::users::{User, is_case_ignored};
use crate::value::{Arg, Row};
use claviger_proto::account::{AccountFact, AccountState};
use claviger_proto::ids::TenantId;
use claviger_proto::user::{NameRule, PRIMARY};
use std::collections::BTreeSet;

queries! {
    LIST = "SELECT USER_NAME, DATA_KEY, DATA_VALUE FROM IDN_IDENTITY_USER_DATA WHERE TENANT_ID = ? AND USER_NAME = ? \
            AND DATA_KEY IN (?, ?, ?, ?, ?, ?)";
    LIST_ANY_CASE = "SELECT USER_NAME, DATA_KEY, DATA_VALUE FROM IDN_IDENTITY_USER_DATA WHERE TENANT_ID = ? \
                     AND LOWER(USER_NAME) = LOWER(?) AND DATA_KEY IN (?, ?, ?, ?, ?, ?)";
    FIND_COLLATION = "SELECT 'BINARY' FROM IDN_IDENTITY_USER_DATA LIMIT 1",
        MySql = "SELECT COLLATION(USER_NAME) FROM IDN_IDENTITY_USER_DATA LIMIT 1";
    HOLD = "SELECT DATA_KEY FROM IDN_IDENTITY_USER_DATA WHERE TENANT_ID = ? AND USER_NAME = ? \
            AND DATA_KEY IN (?, ?, ?, ?, ?, ?) FOR UPDATE",
        Sqlite = "SELECT DATA_KEY FROM IDN_IDENTITY_USER_DATA WHERE TENANT_ID = ? AND USER_NAME = ? \
                  AND DATA_KEY IN (?, ?, ?, ?, ?, ?)";
    UPDATE = "UPDATE IDN_IDENTITY_USER_DATA SET DATA_VALUE = ? WHERE TENANT_ID = ? AND USER_NAME = ? AND DATA_KEY = ?";
    INSERT = "INSERT INTO IDN_IDENTITY_USER_DATA (TENANT_ID, USER_NAME, DATA_KEY, DATA_VALUE) VALUES (?, ?, ?, ?)";
    LIST_ATTRIBUTES = "SELECT UM_ATTR_NAME, UM_ATTR_VALUE FROM UM_USER_ATTRIBUTE WHERE UM_USER_ID = ? AND UM_TENANT_ID = ? \
                       AND UM_PROFILE_ID = 'default' AND UM_ATTR_NAME IN (?, ?, ?, ?, ?, ?)";
    DELETE_ATTRIBUTE = "DELETE FROM UM_USER_ATTRIBUTE WHERE UM_USER_ID = ? AND UM_TENANT_ID = ? AND UM_PROFILE_ID = 'default' \
                        AND UM_ATTR_NAME = ?";
    INSERT_ATTRIBUTE = "INSERT INTO UM_USER_ATTRIBUTE (UM_USER_ID, UM_TENANT_ID, UM_PROFILE_ID, UM_ATTR_NAME, UM_ATTR_VALUE) \
                        VALUES (?, ?, 'default', ?, ?)";
}

const FACTS: [AccountFact; 6] = [
    AccountFact::Locked,
    AccountFact::UnlockTime,
    AccountFact::Disabled,
    AccountFact::FailedAttempts,
    AccountFact::Lockouts,
    AccountFact::AttemptsBeforeSuccess,
];

/// DATA_KEY: the URI of the local claim.
const fn key(fact: AccountFact) -> &'static str {
    match fact {
        AccountFact::Locked => "http://wso2.org/claims/identity/accountLocked",
        AccountFact::UnlockTime => "http://wso2.org/claims/identity/unlockTime",
        AccountFact::Disabled => "http://wso2.org/claims/identity/accountDisabled",
        AccountFact::FailedAttempts => "http://wso2.org/claims/identity/failedLoginAttempts",
        AccountFact::Lockouts => "http://wso2.org/claims/identity/failedLoginLockoutCount",
        AccountFact::AttemptsBeforeSuccess => "http://wso2.org/claims/identity/failedLoginAttemptsBeforeSuccess",
    }
}

/// UM_ATTR_NAME.
const fn attribute(fact: AccountFact) -> &'static str {
    match fact {
        AccountFact::Locked => "accountLock",
        AccountFact::UnlockTime => "unlockTime",
        AccountFact::Disabled => "accountDisabled",
        AccountFact::FailedAttempts => "failedLoginAttempts",
        AccountFact::Lockouts => "failedLockoutCount",
        AccountFact::AttemptsBeforeSuccess => "failedLoginAttemptsBeforeSuccess",
    }
}

/// May an old server of these tables keep the facts with the user's attributes? Their place is then the user's store.
pub fn may_be_attributes(capabilities: Capabilities) -> bool {
    !capabilities.has(Capability::TokenHash)
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
    let (mut spellings, mut facts) = (BTreeSet::new(), Vec::new());
    for row in conn.rows(sql, &arguments(&[tenant.into(), (&stored).into()], key)).await? {
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
    let mut facts = Vec::new();
    for row in conn.rows(&LIST_ATTRIBUTES, &arguments(&[user.id.into(), tenant.into()], attribute)).await? {
        facts.extend(fact_of(&row, 0, attribute)?);
    }
    Ok(AccountState::read(facts.iter().map(|(fact, text)| (*fact, text.as_str()))))
}

/// What rows and, where they count, attributes say of a user of the primary store.
pub async fn find_of_primary(
    conn: &mut Conn,
    tenant: TenantId,
    user: &User,
    (rule, are_attributes_too): (NameRule, bool),
) -> Result<AccountState, StoreError> {
    let (rows, _) = find(conn, tenant, (PRIMARY, &user.name), rule).await?;
    if !are_attributes_too {
        return Ok(rows);
    }
    Ok(rows.or(find_in_attributes(conn, tenant, user).await?))
}

/// What is said of a user, held until the end of the transaction: whoever writes it holds it first, so that two who count together
/// count two. A row that is not there cannot be held; of two who make it the later one's write is repeated, and finds it.
pub struct Held {
    tenant: TenantId,
    /// What the rows are to say it under, with the facts that are there.
    rows: Vec<(String, Vec<AccountFact>)>,
    /// Whose attributes say it too.
    user: Option<User>,
    /// What it says.
    pub state: AccountState,
}

/// Holds what is said of a user of a store, in every place where [`find`] and [`find_in_attributes`] look; `user`: where attributes say
/// it too, and the store is the primary one.
pub async fn hold(
    conn: &mut Conn,
    tenant: TenantId,
    (domain, name): (&str, &str),
    rule: NameRule,
    user: Option<&User>,
) -> Result<Held, StoreError> {
    let (_, mut names) = find(conn, tenant, (domain, name), rule).await?;
    if !names.iter().any(|spelled| spelled == name) {
        names.push(name.to_owned());
        // Everybody holds them in one order, or two would wait for each other.
        names.sort_unstable();
    }
    let mut held = Held { tenant, rows: Vec::new(), user: user.cloned(), state: AccountState::default() };
    let mut seen = BTreeSet::new();
    for name in names {
        let stored = format!("{}{name}", prefix(domain));
        let args = arguments(&[tenant.into(), (&stored).into()], key);
        let (mut spellings, mut facts) = (BTreeSet::new(), Vec::new());
        for row in hold_rows(conn, &args).await? {
            spellings.insert(row.text(0)?);
            facts.extend(fact_of(&row, 1, key)?);
        }
        // Where the column's equality ignores case, one spelling stands for all.
        let is_held = seen.contains(&stored) || (!spellings.is_empty() && spellings.is_subset(&seen));
        seen.extend(spellings);
        if is_held {
            continue;
        }
        held.state = held.state.or(AccountState::read(facts.iter().map(|(fact, text)| (*fact, text.as_str()))));
        held.rows.push((stored, facts.into_iter().map(|(fact, _)| fact).collect()));
    }
    if let Some(user) = &held.user {
        held.state = held.state.or(find_in_attributes(conn, tenant, user).await?);
    }
    Ok(held)
}

/// Holds the rows of one name, and reads them by a statement of its own: the holding one may have begun before what it waited for.
async fn hold_rows(conn: &mut Conn, args: &[Arg<'_>]) -> Result<Vec<Row>, StoreError> {
    if conn.engine() == Engine::Sqlite {
        return conn.rows(&LIST, args).await;
    }
    let held = conn.rows(&HOLD, args).await?.len();
    let rows = conn.rows(&LIST, args).await?;
    // Some were made in between, and are not held.
    if rows.len() > held { Err(StoreError::Repeat(None)) } else { Ok(rows) }
}

impl Held {
    /// Writes facts in every place.
    pub async fn write(&self, conn: &mut Conn, facts: &[(AccountFact, String)]) -> Result<(), StoreError> {
        for (fact, value) in facts {
            for (name, present) in &self.rows {
                let row = [self.tenant.into(), name.into(), key(*fact).into(), value.into()];
                let is_there =
                    present.contains(fact) && conn.execute(&UPDATE, &[row[3], row[0], row[1], row[2]]).await? > 0;
                if !is_there {
                    conn.execute(&INSERT, &row).await.map_err(StoreError::or_repeat)?;
                }
            }
            if let Some(user) = &self.user {
                let row = [user.id.into(), self.tenant.into(), attribute(*fact).into(), value.into()];
                conn.execute(&DELETE_ATTRIBUTE, &row[..3]).await?;
                conn.execute(&INSERT_ATTRIBUTE, &row).await?;
            }
        }
        Ok(())
    }
}

/// What a statement is given for its first places and for the names of all facts.
fn arguments<'a>(first: &[Arg<'a>; 2], name: fn(AccountFact) -> &'static str) -> Vec<Arg<'a>> {
    first.iter().copied().chain(FACTS.map(|fact| name(fact).into())).collect()
}

/// The fact of a row with its name at a place and its text behind it, which may be missing: the row is there.
fn fact_of(
    row: &Row,
    at: usize,
    name: fn(AccountFact) -> &'static str,
) -> Result<Option<(AccountFact, String)>, StoreError> {
    let stored = row.text(at)?;
    let fact = FACTS.into_iter().find(|fact| name(*fact).eq_ignore_ascii_case(&stored));
    Ok(fact.zip(Some(row.opt_text(at + 1)?.unwrap_or_default())))
}

/// What stands before the names of a store's users.
fn prefix(domain: &str) -> String {
    if domain.eq_ignore_ascii_case(PRIMARY) { String::new() } else { format!("{}/", domain.to_uppercase()) }
}

/// The statement that finds the rows of every spelling. Where equality tells case apart it reads those of the whole tenant.
async fn any_case(conn: &mut Conn) -> Result<&'static Sql, StoreError> {
    Ok(if is_case_ignored(conn, &FIND_COLLATION).await? { &LIST } else { &LIST_ANY_CASE })
}
