//! Applications of the developer portal: AM_SUBSCRIBER, AM_APPLICATION, AM_APPLICATION_ATTRIBUTES, and their keys in
//! AM_APPLICATION_REGISTRATION, AM_APPLICATION_KEY_MAPPING, AM_APP_KEY_DOMAIN_MAPPING (contract database.md 2.5, 4.5;
//! portal-gateway-3x.md 3.3, 3.4).

use crate::conn::Conn;
use crate::error::{self, StoreError};
use crate::sql::queries;
use crate::tokens::usual_spellings;
use crate::users;
use crate::value::{Arg, Row};
use claviger_proto::ids::{ApplicationId, ApplicationUuid, ConsumerKey, TenantId};
use claviger_proto::time::Timestamp;
use claviger_proto::user::{NameRule, Username};
use std::collections::BTreeMap;

queries! {
    FIND_SUBSCRIBERS = "SELECT SUBSCRIBER_ID, USER_ID FROM AM_SUBSCRIBER WHERE USER_ID IN (?, ?, ?, ?) AND TENANT_ID = ? \
                        ORDER BY SUBSCRIBER_ID";
    FIND_SUBSCRIBERS_ANY_CASE = "SELECT SUBSCRIBER_ID, USER_ID FROM AM_SUBSCRIBER WHERE LOWER(USER_ID) = LOWER(?) AND TENANT_ID = ? \
                        ORDER BY SUBSCRIBER_ID";
    INSERT_SUBSCRIBER = "INSERT INTO AM_SUBSCRIBER (USER_ID, TENANT_ID, EMAIL_ADDRESS, DATE_SUBSCRIBED, CREATED_BY, CREATED_TIME, UPDATED_TIME) \
                         VALUES (?, ?, ?, ?, ?, ?, ?)",
        Postgres = "INSERT INTO AM_SUBSCRIBER (USER_ID, TENANT_ID, EMAIL_ADDRESS, DATE_SUBSCRIBED, CREATED_BY, CREATED_TIME, UPDATED_TIME) \
                         VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING SUBSCRIBER_ID";
    FIND_BY_UUID = "SELECT A.APPLICATION_ID, A.UUID, A.NAME, S.USER_ID, S.TENANT_ID, A.APPLICATION_TIER, A.DESCRIPTION, A.APPLICATION_STATUS, \
                    A.TOKEN_TYPE, A.GROUP_ID, A.SUBSCRIBER_ID, A.CREATED_TIME FROM AM_APPLICATION A \
                    JOIN AM_SUBSCRIBER S ON S.SUBSCRIBER_ID = A.SUBSCRIBER_ID WHERE A.UUID = ?";
    FIND_BY_ID = "SELECT A.APPLICATION_ID, A.UUID, A.NAME, S.USER_ID, S.TENANT_ID, A.APPLICATION_TIER, A.DESCRIPTION, A.APPLICATION_STATUS, \
                    A.TOKEN_TYPE, A.GROUP_ID, A.SUBSCRIBER_ID, A.CREATED_TIME FROM AM_APPLICATION A \
                    JOIN AM_SUBSCRIBER S ON S.SUBSCRIBER_ID = A.SUBSCRIBER_ID WHERE A.APPLICATION_ID = ?";
    LIST_OF_SUBSCRIBER = "SELECT A.APPLICATION_ID, A.UUID, A.NAME, S.USER_ID, S.TENANT_ID, A.APPLICATION_TIER, A.DESCRIPTION, A.APPLICATION_STATUS, \
                    A.TOKEN_TYPE, A.GROUP_ID, A.SUBSCRIBER_ID, A.CREATED_TIME FROM AM_APPLICATION A \
                    JOIN AM_SUBSCRIBER S ON S.SUBSCRIBER_ID = A.SUBSCRIBER_ID WHERE A.SUBSCRIBER_ID = ? ORDER BY A.APPLICATION_ID LIMIT ?";
    LIST_ALL = "SELECT A.APPLICATION_ID, A.UUID, A.NAME, S.USER_ID, S.TENANT_ID, A.APPLICATION_TIER, A.DESCRIPTION, A.APPLICATION_STATUS, \
                    A.TOKEN_TYPE, A.GROUP_ID, A.SUBSCRIBER_ID, A.CREATED_TIME FROM AM_APPLICATION A \
                    JOIN AM_SUBSCRIBER S ON S.SUBSCRIBER_ID = A.SUBSCRIBER_ID ORDER BY A.APPLICATION_ID";
    INSERT = "INSERT INTO AM_APPLICATION (NAME, SUBSCRIBER_ID, APPLICATION_TIER, CALLBACK_URL, DESCRIPTION, APPLICATION_STATUS, GROUP_ID, CREATED_BY, \
              CREATED_TIME, UPDATED_TIME, UUID, TOKEN_TYPE) VALUES (?, ?, ?, '', ?, ?, '', ?, ?, ?, ?, ?)",
        Postgres = "INSERT INTO AM_APPLICATION (NAME, SUBSCRIBER_ID, APPLICATION_TIER, CALLBACK_URL, DESCRIPTION, APPLICATION_STATUS, GROUP_ID, CREATED_BY, \
              CREATED_TIME, UPDATED_TIME, UUID, TOKEN_TYPE) VALUES (?, ?, ?, '', ?, ?, '', ?, ?, ?, ?, ?) RETURNING APPLICATION_ID";
    UPDATE = "UPDATE AM_APPLICATION SET NAME = ?, APPLICATION_TIER = ?, DESCRIPTION = ?, TOKEN_TYPE = ?, UPDATED_BY = ?, UPDATED_TIME = ?, \
              CREATED_TIME = CREATED_TIME WHERE APPLICATION_ID = ?";
    LOCK = "UPDATE AM_APPLICATION SET NAME = NAME, CREATED_TIME = CREATED_TIME WHERE UUID = ?";
    DELETE = "DELETE FROM AM_APPLICATION WHERE APPLICATION_ID = ?";
    DELETE_SUBSCRIPTIONS = "DELETE FROM AM_SUBSCRIPTION WHERE APPLICATION_ID = ?";
    DELETE_REGISTRATIONS = "DELETE FROM AM_APPLICATION_REGISTRATION WHERE APP_ID = ?";
    DELETE_GROUPS = "DELETE FROM AM_APPLICATION_GROUP_MAPPING WHERE APPLICATION_ID = ?";
    LIST_ATTRIBUTES = "SELECT NAME, VALUE FROM AM_APPLICATION_ATTRIBUTES WHERE APPLICATION_ID = ?";
    INSERT_ATTRIBUTE = "INSERT INTO AM_APPLICATION_ATTRIBUTES (APPLICATION_ID, NAME, VALUE, TENANT_ID) VALUES (?, ?, ?, ?)";
    DELETE_ATTRIBUTES = "DELETE FROM AM_APPLICATION_ATTRIBUTES WHERE APPLICATION_ID = ?";
    LIST_KEYS = "SELECT UUID, CONSUMER_KEY, KEY_TYPE, STATE, CREATE_MODE, KEY_MANAGER, APP_INFO FROM AM_APPLICATION_KEY_MAPPING WHERE APPLICATION_ID = ?";
    LIST_ALL_KEYS = "SELECT UUID, CONSUMER_KEY, KEY_TYPE, STATE, CREATE_MODE, KEY_MANAGER, APP_INFO, APPLICATION_ID FROM AM_APPLICATION_KEY_MAPPING";
    LIST_KEYS_OF_CLIENT = "SELECT UUID, CONSUMER_KEY, KEY_TYPE, STATE, CREATE_MODE, KEY_MANAGER, APP_INFO, APPLICATION_ID \
                  FROM AM_APPLICATION_KEY_MAPPING WHERE CONSUMER_KEY = ?";
    FIND_OF_KEY = "SELECT APPLICATION_ID, CONSUMER_KEY FROM AM_APPLICATION_KEY_MAPPING WHERE CONSUMER_KEY = ?";
    INSERT_KEY = "INSERT INTO AM_APPLICATION_KEY_MAPPING (UUID, APPLICATION_ID, CONSUMER_KEY, KEY_TYPE, STATE, CREATE_MODE, APP_INFO, KEY_MANAGER) \
                  VALUES (?, ?, ?, ?, 'COMPLETED', ?, ?, ?)";
    UPDATE_KEY_INFO = "UPDATE AM_APPLICATION_KEY_MAPPING SET APP_INFO = ? WHERE APPLICATION_ID = ? AND KEY_TYPE = ? AND KEY_MANAGER = ?";
    DELETE_KEY = "DELETE FROM AM_APPLICATION_KEY_MAPPING WHERE APPLICATION_ID = ? AND KEY_TYPE = ? AND KEY_MANAGER = ?";
    DELETE_KEYS = "DELETE FROM AM_APPLICATION_KEY_MAPPING WHERE APPLICATION_ID = ?";
    DELETE_REGISTRATION = "DELETE FROM AM_APPLICATION_REGISTRATION WHERE APP_ID = ? AND TOKEN_TYPE = ? AND KEY_MANAGER = ?";
    INSERT_REGISTRATION = "INSERT INTO AM_APPLICATION_REGISTRATION (SUBSCRIBER_ID, WF_REF, APP_ID, TOKEN_TYPE, TOKEN_SCOPE, INPUTS, ALLOWED_DOMAINS, \
                           VALIDITY_PERIOD, KEY_MANAGER) VALUES (?, ?, ?, ?, ?, ?, 'ALL', ?, ?)",
        Postgres = "INSERT INTO AM_APPLICATION_REGISTRATION (SUBSCRIBER_ID, WF_REF, APP_ID, TOKEN_TYPE, TOKEN_SCOPE, INPUTS, ALLOWED_DOMAINS, \
                           VALIDITY_PERIOD, KEY_MANAGER) VALUES (?, ?, ?, ?, ?, ?, 'ALL', ?, ?) RETURNING REG_ID";
    FIND_DOMAIN = "SELECT AUTHZ_DOMAIN FROM AM_APP_KEY_DOMAIN_MAPPING WHERE CONSUMER_KEY = ?";
    INSERT_DOMAIN = "INSERT INTO AM_APP_KEY_DOMAIN_MAPPING (CONSUMER_KEY, AUTHZ_DOMAIN) VALUES (?, 'ALL')";
    DELETE_DOMAIN = "DELETE FROM AM_APP_KEY_DOMAIN_MAPPING WHERE CONSUMER_KEY = ?";
}

/// An application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// APPLICATION_ID.
    pub id: ApplicationId,
    /// UUID.
    pub uuid: ApplicationUuid,
    /// NAME.
    pub name: String,
    /// AM_SUBSCRIBER.USER_ID.
    pub owner: String,
    /// AM_SUBSCRIBER.TENANT_ID.
    pub tenant: TenantId,
    /// APPLICATION_TIER.
    pub policy: String,
    /// DESCRIPTION.
    pub description: Option<String>,
    /// APPLICATION_STATUS.
    pub status: String,
    /// `JWT`, `OAUTH`, `DEFAULT`.
    pub token_type: String,
    /// GROUP_ID.
    pub group: Option<String>,
    /// SUBSCRIBER_ID.
    pub subscriber_id: i64,
}

/// An application to insert. It is approved at once: there is no workflow.
#[derive(Clone, Debug)]
pub struct NewApplication {
    /// UUID.
    pub uuid: ApplicationUuid,
    /// NAME.
    pub name: String,
    /// SUBSCRIBER_ID.
    pub subscriber_id: i64,
    /// Who creates it.
    pub owner: String,
    /// APPLICATION_TIER.
    pub policy: String,
    /// DESCRIPTION.
    pub description: Option<String>,
    /// TOKEN_TYPE.
    pub token_type: String,
}

/// A row of AM_APPLICATION_KEY_MAPPING.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMapping {
    /// UUID.
    pub uuid: Option<String>,
    /// CONSUMER_KEY; none while a registration waits.
    pub consumer_key: Option<ConsumerKey>,
    /// `PRODUCTION` or `SANDBOX`.
    pub key_type: String,
    /// STATE.
    pub state: String,
    /// `CREATED` or `MAPPED`.
    pub create_mode: String,
    /// Name of the key manager (later releases: its UUID).
    pub key_manager: String,
    /// APP_INFO, JSON.
    pub info: Option<Vec<u8>>,
}

/// A request for keys, as AM_APPLICATION_REGISTRATION keeps it.
#[derive(Clone, Debug)]
pub struct Registration {
    /// WF_REF.
    pub workflow: String,
    /// TOKEN_SCOPE, at most 1500 characters.
    pub scopes: String,
    /// INPUTS, JSON, at most 1000 characters.
    pub inputs: String,
    /// VALIDITY_PERIOD, in seconds.
    pub validity_s: i64,
}

/// The numbers of a user's rows, the one under exactly his name first. A row in another spelling is his when the rule and the
/// users' names say so: an old server made one for every spelling that he typed (database.md 5.3). The usual spellings are
/// found by the index; only where none is there, every row is looked at.
pub async fn find_subscribers(
    conn: &mut Conn,
    tenant: TenantId,
    user: &Username,
    rule: NameRule,
) -> Result<Vec<i64>, StoreError> {
    let name = user.to_string();
    let typed = |name: String| Username { name, ..user.clone() }.to_string();
    let [lower, upper, capitalised] = match rule {
        NameRule::Exact => std::array::from_fn(|_| name.clone()),
        NameRule::AnyCase => usual_spellings(&user.name).map(typed),
    };
    let args = [(&name).into(), (&lower).into(), (&upper).into(), (&capitalised).into(), tenant.into()];
    let mut rows = conn.rows_of_any(&FIND_SUBSCRIBERS, &args).await?;
    if rows.is_empty() && rule == NameRule::AnyCase {
        rows = conn.rows(&FIND_SUBSCRIBERS_ANY_CASE, &[(&name).into(), tenant.into()]).await?;
    }
    let mut found = Vec::new();
    for row in &rows {
        let (id, stored) = (row.int(0)?, row.text(1)?);
        if stored == name {
            found.insert(0, id);
        } else if users::is_meant(conn, tenant, &stored, user, rule).await? {
            found.push(id);
        }
    }
    Ok(found)
}

/// Inserts a subscriber. A user who is there already (also one differing in case only, on MySQL) is a conflict.
pub async fn insert_subscriber(
    conn: &mut Conn,
    tenant: TenantId,
    user: &str,
    now: Timestamp,
) -> Result<i64, StoreError> {
    if user.chars().count() > 50 {
        return Err(StoreError::TooLong("the subscriber's name"));
    }
    let args = [user.into(), tenant.into(), "".into(), now.into(), user.into(), now.into(), now.into()];
    conn.insert(&INSERT_SUBSCRIBER, &args).await
}

/// An application by its UUID.
pub async fn find(conn: &mut Conn, uuid: &ApplicationUuid) -> Result<Option<Application>, StoreError> {
    for row in conn.rows(&FIND_BY_UUID, &[uuid.into()]).await? {
        let application = decode(&row)?;
        if application.uuid == *uuid {
            return Ok(Some(application));
        }
    }
    Ok(None)
}

/// An application by its number.
pub async fn find_by_id(conn: &mut Conn, id: ApplicationId) -> Result<Option<Application>, StoreError> {
    conn.row(&FIND_BY_ID, &[id.into()]).await?.map(|row| decode(&row)).transpose()
}

/// A subscriber's applications, oldest first.
pub async fn list(conn: &mut Conn, subscriber_id: i64, limit: i64) -> Result<Vec<Application>, StoreError> {
    conn.rows(&LIST_OF_SUBSCRIBER, &[subscriber_id.into(), limit.into()]).await?.iter().map(decode).collect()
}

/// Every application of every tenant.
pub async fn list_all(conn: &mut Conn) -> Result<Vec<Application>, StoreError> {
    conn.rows(&LIST_ALL, &[]).await?.iter().map(decode).collect()
}

/// Takes a lock on an application until the transaction ends. Call it before anything is read in the transaction.
pub async fn lock(conn: &mut Conn, uuid: &ApplicationUuid) -> Result<bool, StoreError> {
    Ok(conn.execute(&LOCK, &[uuid.into()]).await? > 0)
}

/// Inserts an application. A name that the subscriber has is [`StoreError::Conflict`].
pub async fn insert(conn: &mut Conn, new: &NewApplication, now: Timestamp) -> Result<ApplicationId, StoreError> {
    check_widths(&new.name, new.description.as_deref())?;
    error::check_widths(&[
        ("the policy's name", &new.policy, 50),
        ("the user name", &new.owner, 100),
        ("the token type", &new.token_type, 10),
    ])?;
    let args = [
        (&new.name).into(),
        new.subscriber_id.into(),
        (&new.policy).into(),
        (&new.description).into(),
        "APPROVED".into(),
        (&new.owner).into(),
        now.into(),
        now.into(),
        (&new.uuid).into(),
        (&new.token_type).into(),
    ];
    Ok(ApplicationId(conn.insert(&INSERT, &args).await?))
}

/// Changes name, policy, description and token type. A name that the subscriber has is [`StoreError::Conflict`].
pub async fn update(conn: &mut Conn, application: &Application, user: &str, now: Timestamp) -> Result<(), StoreError> {
    check_widths(&application.name, application.description.as_deref())?;
    error::check_widths(&[
        ("the policy's name", &application.policy, 50),
        ("the user name", user, 100),
        ("the token type", &application.token_type, 10),
    ])?;
    let args = [
        (&application.name).into(),
        (&application.policy).into(),
        (&application.description).into(),
        (&application.token_type).into(),
        user.into(),
        now.into(),
        application.id.into(),
    ];
    conn.execute(&UPDATE, &args).await?;
    Ok(())
}

/// Deletes an application with its subscriptions, key mappings, registrations and attributes. Its clients at the key
/// managers are the caller's.
pub async fn delete(conn: &mut Conn, id: ApplicationId) -> Result<(), StoreError> {
    for key in list_keys(conn, id).await? {
        if let Some(key) = &key.consumer_key {
            conn.execute(&DELETE_DOMAIN, &[key.into()]).await?;
        }
    }
    let statements =
        [&DELETE_SUBSCRIPTIONS, &DELETE_REGISTRATIONS, &DELETE_KEYS, &DELETE_GROUPS, &DELETE_ATTRIBUTES, &DELETE];
    for statement in statements {
        conn.execute(statement, &[id.into()]).await?;
    }
    Ok(())
}

/// Custom attributes of an application.
pub async fn attributes(conn: &mut Conn, id: ApplicationId) -> Result<BTreeMap<String, String>, StoreError> {
    let rows = conn.rows(&LIST_ATTRIBUTES, &[id.into()]).await?;
    rows.iter().map(|row| Ok((row.text(0)?, row.opt_text(1)?.unwrap_or_default()))).collect()
}

/// Replaces the custom attributes of an application.
pub async fn set_attributes(
    conn: &mut Conn,
    id: ApplicationId,
    tenant: TenantId,
    attributes: &BTreeMap<String, String>,
) -> Result<(), StoreError> {
    conn.execute(&DELETE_ATTRIBUTES, &[id.into()]).await?;
    for (name, value) in attributes {
        if name.chars().count() > 255 || value.chars().count() > 1024 {
            return Err(StoreError::TooLong("an attribute"));
        }
        conn.execute(&INSERT_ATTRIBUTE, &[id.into(), name.into(), value.into(), tenant.into()]).await?;
    }
    Ok(())
}

/// The keys of an application.
pub async fn list_keys(conn: &mut Conn, id: ApplicationId) -> Result<Vec<KeyMapping>, StoreError> {
    conn.rows(&LIST_KEYS, &[id.into()]).await?.iter().map(decode_key).collect()
}

/// Every key of every application.
pub async fn list_all_keys(conn: &mut Conn) -> Result<Vec<(ApplicationId, KeyMapping)>, StoreError> {
    let rows = conn.rows(&LIST_ALL_KEYS, &[]).await?;
    rows.iter().map(|row| Ok((ApplicationId(row.int(7)?), decode_key(row)?))).collect()
}

/// The mappings of one client, which several key managers may know by the same id.
pub async fn list_keys_of_client(
    conn: &mut Conn,
    key: &ConsumerKey,
) -> Result<Vec<(ApplicationId, KeyMapping)>, StoreError> {
    let mut found = Vec::new();
    for row in conn.rows(&LIST_KEYS_OF_CLIENT, &[key.into()]).await? {
        let mapping = decode_key(&row)?;
        if mapping.consumer_key.as_ref() == Some(key) {
            found.push((ApplicationId(row.int(7)?), mapping));
        }
    }
    Ok(found)
}

/// The application that a client belongs to.
pub async fn find_by_key(conn: &mut Conn, key: &ConsumerKey) -> Result<Option<ApplicationId>, StoreError> {
    for row in conn.rows(&FIND_OF_KEY, &[key.into()]).await? {
        if row.opt_text(1)?.as_deref() == Some(key.as_str()) {
            return Ok(Some(ApplicationId(row.int(0)?)));
        }
    }
    Ok(None)
}

/// Inserts a completed key mapping with its domain row. False when one of the same type and key manager is there
/// (a migrated table has no primary key, database.md 7.3: call it under the application's lock).
pub async fn insert_key(conn: &mut Conn, id: ApplicationId, key: &KeyMapping) -> Result<bool, StoreError> {
    let is_taken = |it: &KeyMapping| it.key_type == key.key_type && it.key_manager == key.key_manager;
    if list_keys(conn, id).await?.iter().any(is_taken) {
        return Ok(false);
    }
    let consumer_key = key.consumer_key.as_ref().map(ConsumerKey::as_str);
    let args = [
        (&key.uuid).into(),
        id.into(),
        consumer_key.into(),
        (&key.key_type).into(),
        (&key.create_mode).into(),
        Arg::Bytes(key.info.as_deref()),
        (&key.key_manager).into(),
    ];
    conn.execute(&INSERT_KEY, &args).await?;
    if let Some(key) = consumer_key
        && conn.row(&FIND_DOMAIN, &[key.into()]).await?.is_none()
    {
        conn.execute(&INSERT_DOMAIN, &[key.into()]).await?;
    }
    Ok(true)
}

/// Notes new client information.
pub async fn set_key_info(conn: &mut Conn, id: ApplicationId, key: &KeyMapping, info: &[u8]) -> Result<(), StoreError> {
    conn.execute(&UPDATE_KEY_INFO, &[info.into(), id.into(), (&key.key_type).into(), (&key.key_manager).into()])
        .await?;
    Ok(())
}

/// Deletes a key mapping with its registration and domain rows.
pub async fn delete_key(conn: &mut Conn, id: ApplicationId, key: &KeyMapping) -> Result<(), StoreError> {
    let args = [id.into(), (&key.key_type).into(), (&key.key_manager).into()];
    conn.execute(&DELETE_REGISTRATION, &args).await?;
    conn.execute(&DELETE_KEY, &args).await?;
    if let Some(key) = &key.consumer_key {
        conn.execute(&DELETE_DOMAIN, &[key.into()]).await?;
    }
    Ok(())
}

/// Notes the request for a key.
pub async fn insert_registration(
    conn: &mut Conn,
    application: &Application,
    (key_type, key_manager): (&str, &str),
    registration: &Registration,
) -> Result<i64, StoreError> {
    let widths = [("the scopes", registration.scopes.as_str(), 1500), ("the inputs", &registration.inputs, 1000)];
    error::check_widths(&widths)?;
    conn.execute(&DELETE_REGISTRATION, &[application.id.into(), key_type.into(), key_manager.into()]).await?;
    let args = [
        application.subscriber_id.into(),
        (&registration.workflow).into(),
        application.id.into(),
        key_type.into(),
        (&registration.scopes).into(),
        (&registration.inputs).into(),
        registration.validity_s.into(),
        key_manager.into(),
    ];
    conn.insert(&INSERT_REGISTRATION, &args).await
}

fn check_widths(name: &str, description: Option<&str>) -> Result<(), StoreError> {
    if name.chars().count() > 100 {
        return Err(StoreError::TooLong("the application name"));
    }
    if description.is_some_and(|text| text.chars().count() > 512) {
        return Err(StoreError::TooLong("the application description"));
    }
    Ok(())
}

fn decode(row: &Row) -> Result<Application, StoreError> {
    Ok(Application {
        id: ApplicationId(row.int(0)?),
        uuid: ApplicationUuid(row.opt_text(1)?.unwrap_or_default()),
        name: row.opt_text(2)?.unwrap_or_default(),
        owner: row.text(3)?,
        tenant: TenantId(row.int(4)?),
        policy: row.opt_text(5)?.unwrap_or_else(|| "Unlimited".to_owned()),
        description: row.opt_text(6)?,
        status: row.opt_text(7)?.unwrap_or_default(),
        token_type: row.opt_text(8)?.unwrap_or_else(|| "DEFAULT".to_owned()),
        group: row.opt_text(9)?.filter(|group| !group.is_empty()),
        subscriber_id: row.int(10)?,
    })
}

fn decode_key(row: &Row) -> Result<KeyMapping, StoreError> {
    Ok(KeyMapping {
        uuid: row.opt_text(0)?,
        consumer_key: row.opt_text(1)?.filter(|key| !key.is_empty()).map(ConsumerKey),
        key_type: row.text(2)?,
        state: row.opt_text(3)?.unwrap_or_default(),
        create_mode: row.opt_text(4)?.unwrap_or_else(|| "CREATED".to_owned()),
        key_manager: row.opt_text(5)?.unwrap_or_else(|| "Resident Key Manager".to_owned()),
        info: row.opt_bytes(6)?,
    })
}
