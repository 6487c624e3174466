//! AM_SUBSCRIPTION (contract database.md 4.5; portal-gateway-3x.md 2.6, 3.6).
//!
//! No unique key protects (application, API): the caller locks the application ([`crate::applications::lock`]) and looks
//! first. Every row and every join names its API and its application.

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::queries;
use crate::value::Row;
use claviger_proto::ids::{ApiId, ApplicationId, ApplicationUuid, SubscriptionUuid};
use claviger_proto::time::Timestamp;

queries! {
    FIND = "SELECT S.SUBSCRIPTION_ID, S.UUID, S.API_ID, S.APPLICATION_ID, A.UUID, S.TIER_ID, S.TIER_ID_PENDING, S.SUB_STATUS, S.CREATED_TIME \
            FROM AM_SUBSCRIPTION S JOIN AM_APPLICATION A ON A.APPLICATION_ID = S.APPLICATION_ID WHERE S.UUID = ?";
    LIST_OF_APPLICATION = "SELECT S.SUBSCRIPTION_ID, S.UUID, S.API_ID, S.APPLICATION_ID, A.UUID, S.TIER_ID, S.TIER_ID_PENDING, S.SUB_STATUS, S.CREATED_TIME \
            FROM AM_SUBSCRIPTION S JOIN AM_APPLICATION A ON A.APPLICATION_ID = S.APPLICATION_ID \
            WHERE S.APPLICATION_ID = ? AND S.SUBS_CREATE_STATE = 'SUBSCRIBE' ORDER BY S.SUBSCRIPTION_ID";
    LIST_OF_API = "SELECT S.SUBSCRIPTION_ID, S.UUID, S.API_ID, S.APPLICATION_ID, A.UUID, S.TIER_ID, S.TIER_ID_PENDING, S.SUB_STATUS, S.CREATED_TIME \
            FROM AM_SUBSCRIPTION S JOIN AM_APPLICATION A ON A.APPLICATION_ID = S.APPLICATION_ID \
            WHERE S.API_ID = ? AND S.SUBS_CREATE_STATE = 'SUBSCRIBE' ORDER BY S.SUBSCRIPTION_ID";
    LIST_ALL = "SELECT S.SUBSCRIPTION_ID, S.UUID, S.API_ID, S.APPLICATION_ID, A.UUID, S.TIER_ID, S.TIER_ID_PENDING, S.SUB_STATUS, S.CREATED_TIME \
            FROM AM_SUBSCRIPTION S JOIN AM_APPLICATION A ON A.APPLICATION_ID = S.APPLICATION_ID \
            WHERE S.SUBS_CREATE_STATE = 'SUBSCRIBE' ORDER BY S.SUBSCRIPTION_ID";
    INSERT = "INSERT INTO AM_SUBSCRIPTION (TIER_ID, TIER_ID_PENDING, API_ID, APPLICATION_ID, SUB_STATUS, SUBS_CREATE_STATE, CREATED_BY, CREATED_TIME, \
              UPDATED_TIME, UUID) VALUES (?, ?, ?, ?, ?, 'SUBSCRIBE', ?, ?, ?, ?)",
        Postgres = "INSERT INTO AM_SUBSCRIPTION (TIER_ID, TIER_ID_PENDING, API_ID, APPLICATION_ID, SUB_STATUS, SUBS_CREATE_STATE, CREATED_BY, CREATED_TIME, \
              UPDATED_TIME, UUID) VALUES (?, ?, ?, ?, ?, 'SUBSCRIBE', ?, ?, ?, ?) RETURNING SUBSCRIPTION_ID";
    UPDATE_STATUS = "UPDATE AM_SUBSCRIPTION SET SUB_STATUS = ?, UPDATED_BY = ?, UPDATED_TIME = ?, CREATED_TIME = CREATED_TIME WHERE UUID = ?";
    UPDATE_TIER = "UPDATE AM_SUBSCRIPTION SET TIER_ID = ?, TIER_ID_PENDING = ?, SUB_STATUS = ?, UPDATED_BY = ?, UPDATED_TIME = ?, \
                   CREATED_TIME = CREATED_TIME WHERE UUID = ?";
    DELETE = "DELETE FROM AM_SUBSCRIPTION WHERE UUID = ?";
    DELETE_OF_API = "DELETE FROM AM_SUBSCRIPTION WHERE API_ID = ?";
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// SUBSCRIPTION_ID.
    pub id: i64,
    /// UUID.
    pub uuid: SubscriptionUuid,
    /// The API.
    pub api_id: ApiId,
    /// The application.
    pub application_id: ApplicationId,
    /// The application's UUID.
    pub application_uuid: ApplicationUuid,
    /// TIER_ID.
    pub policy: String,
    /// TIER_ID_PENDING.
    pub pending_policy: Option<String>,
    /// SUB_STATUS.
    pub status: String,
}

/// A subscription to insert.
#[derive(Clone, Debug)]
pub struct NewSubscription {
    /// UUID.
    pub uuid: SubscriptionUuid,
    /// The API.
    pub api_id: ApiId,
    /// The application.
    pub application_id: ApplicationId,
    /// TIER_ID.
    pub policy: String,
    /// SUB_STATUS.
    pub status: String,
    /// CREATED_BY.
    pub user: String,
}

/// A subscription by its UUID.
pub async fn find(conn: &mut Conn, uuid: &SubscriptionUuid) -> Result<Option<Subscription>, StoreError> {
    let row = conn.row(&FIND, &[uuid.into()]).await?;
    let found = row.map(|row| decode(&row)).transpose()?;
    Ok(found.filter(|subscription| subscription.uuid == *uuid))
}

/// An application's subscriptions, oldest first.
pub async fn list_of_application(conn: &mut Conn, id: ApplicationId) -> Result<Vec<Subscription>, StoreError> {
    conn.rows(&LIST_OF_APPLICATION, &[id.into()]).await?.iter().map(decode).collect()
}

/// An API's subscriptions, oldest first.
pub async fn list_of_api(conn: &mut Conn, id: ApiId) -> Result<Vec<Subscription>, StoreError> {
    conn.rows(&LIST_OF_API, &[id.into()]).await?.iter().map(decode).collect()
}

/// Every subscription of every tenant.
pub async fn list_all(conn: &mut Conn) -> Result<Vec<Subscription>, StoreError> {
    conn.rows(&LIST_ALL, &[]).await?.iter().map(decode).collect()
}

/// Inserts a subscription.
pub async fn insert(conn: &mut Conn, new: &NewSubscription, now: Timestamp) -> Result<i64, StoreError> {
    if new.policy.chars().count() > 50 {
        return Err(StoreError::TooLong("the policy's name"));
    }
    let args = [
        (&new.policy).into(),
        (&new.policy).into(),
        new.api_id.into(),
        new.application_id.into(),
        (&new.status).into(),
        (&new.user).into(),
        now.into(),
        now.into(),
        (&new.uuid).into(),
    ];
    conn.insert(&INSERT, &args).await
}

/// Sets the status.
pub async fn set_status(
    conn: &mut Conn,
    uuid: &SubscriptionUuid,
    status: &str,
    user: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    conn.execute(&UPDATE_STATUS, &[status.into(), user.into(), now.into(), uuid.into()]).await?;
    Ok(())
}

/// Moves a subscription to another policy.
pub async fn set_policy(
    conn: &mut Conn,
    uuid: &SubscriptionUuid,
    (policy, status): (&str, &str),
    user: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    if policy.chars().count() > 50 {
        return Err(StoreError::TooLong("the policy's name"));
    }
    let args = [policy.into(), policy.into(), status.into(), user.into(), now.into(), uuid.into()];
    conn.execute(&UPDATE_TIER, &args).await?;
    Ok(())
}

/// Deletes a subscription.
pub async fn delete(conn: &mut Conn, uuid: &SubscriptionUuid) -> Result<(), StoreError> {
    conn.execute(&DELETE, &[uuid.into()]).await?;
    Ok(())
}

/// Deletes an API's subscriptions.
pub async fn delete_of_api(conn: &mut Conn, id: ApiId) -> Result<(), StoreError> {
    conn.execute(&DELETE_OF_API, &[id.into()]).await?;
    Ok(())
}

fn decode(row: &Row) -> Result<Subscription, StoreError> {
    Ok(Subscription {
        id: row.int(0)?,
        uuid: SubscriptionUuid(row.opt_text(1)?.unwrap_or_default()),
        api_id: ApiId(row.int(2)?),
        application_id: ApplicationId(row.int(3)?),
        application_uuid: ApplicationUuid(row.opt_text(4)?.unwrap_or_default()),
        policy: row.opt_text(5)?.unwrap_or_default(),
        pending_policy: row.opt_text(6)?,
        status: row.opt_text(7)?.unwrap_or_default(),
    })
}
