//! A step of an API's lifecycle with all that follows from it, in one transaction (portal-gateway-3x.md 2.7).
//!
//! The table of states is [`super::lifecycle`]'s; what may be published is decided by [`super::api_rules`] and
//! [`super::deployment`]. There is no approval workflow: every step takes effect at once.

use super::api_write::{Writer, lock_and_find};
use super::apis::{LoadedApi, find, find_by_row};
use super::error::PortalError;
use super::lifecycle::{Checklist, DEPRECATE_OLD_VERSIONS, REQUIRE_RESUBSCRIPTION, State};
use super::state::{Actor, Portal};
use super::{api_rules, artifact_map, deployment};
use claviger_proto::entropy::uuid;
use claviger_proto::event::Event;
use claviger_proto::ids::SubscriptionUuid;
use claviger_proto::time::Timestamp;
use claviger_store::apis::{self as rows, ApiRow, StateChange};
use claviger_store::conn::Conn;
use claviger_store::subscriptions::{self, NewSubscription};
use serde_json::{Value, json};
use std::sync::Arc;

/// Performs an action and returns the answer of `change-lifecycle`.
pub async fn act(
    portal: &Portal,
    actor: &Actor,
    api: &str,
    action: &str,
    checklist: Checklist,
) -> Result<Value, PortalError> {
    let step = Arc::new(Step {
        portal: portal.clone(),
        actor: actor.clone(),
        uuid: api.to_owned(),
        action: action.to_owned(),
        checklist,
        now: portal.clock.now(),
    });
    let written = portal.store.write(move |conn| {
        let step = step.clone();
        Box::pin(async move { step.write(conn).await })
    });
    let after = written.await?;
    let mut conn = portal.store.reader().await?;
    let lifecycle_state = state(&mut conn, &after).await?;
    Ok(json!({"workflowStatus": "APPROVED", "jsonPayload": "", "lifecycleState": lifecycle_state}))
}

/// Answer of `lifecycle-state`.
pub async fn state(conn: &mut Conn, api: &LoadedApi) -> Result<Value, PortalError> {
    let state = api.object.status();
    let has_older = !older_versions(conn, &api.row).await?.is_empty();
    let items: Vec<Value> = if state.has_checklist() && has_older {
        let item = |name: &str| json!({"name": name, "value": false, "requiredStates": [State::Published.title()]});
        vec![item(DEPRECATE_OLD_VERSIONS), item(REQUIRE_RESUBSCRIPTION)]
    } else {
        Vec::new()
    };
    let transitions: Vec<Value> =
        state.actions().iter().map(|action| json!({"event": action, "targetState": ""})).collect();
    Ok(json!({"state": state.title(), "checkItems": items, "availableTransitions": transitions}))
}

/// Answer of `lifecycle-history`.
pub async fn history(conn: &mut Conn, api: &LoadedApi) -> Result<Value, PortalError> {
    let list: Vec<Value> = rows::list_states(conn, api.row.id)
        .await?
        .into_iter()
        .map(|change| {
            json!({"previousState": change.before, "postState": change.after, "user": change.user,
                   "updatedTime": rfc3339(change.time)})
        })
        .collect();
    Ok(json!({"count": list.len(), "list": list}))
}

/// `2026-01-05T10:11:12.000Z`.
pub fn rfc3339(time: Timestamp) -> String {
    let utc = chrono::DateTime::from_timestamp_millis(time.as_millis()).unwrap_or_default();
    utc.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// Versions of the same API that were created earlier, newest last.
async fn older_versions(conn: &mut Conn, row: &ApiRow) -> Result<Vec<ApiRow>, PortalError> {
    let mut versions = rows::list_neighbours(conn, &row.name, "").await?;
    versions.retain(|other| other.provider == row.provider && other.name == row.name && other.id < row.id);
    versions.sort_by_key(|other| other.id);
    Ok(versions)
}

struct Step {
    portal: Portal,
    actor: Actor,
    uuid: String,
    action: String,
    checklist: Checklist,
    now: Timestamp,
}

impl Step {
    async fn write(&self, conn: &mut Conn) -> Result<LoadedApi, PortalError> {
        let tenant = self.actor.tenant;
        let uuid = self.uuid.as_str();
        let mut api = lock_and_find(conn, &self.portal, &self.actor, uuid).await?;
        let id = api.row.id;
        let from = api.object.status();
        let to = from.after(&self.action)?;
        if to == State::Published {
            api_rules::check_publish(&api.object)?;
            deployment::check_deployable(&api.object)?;
        }
        if from != to || to == State::Published {
            self.move_to(conn, &mut api, to).await?;
        }
        if to == State::Published && from.has_checklist() {
            self.follow_publication(conn, &api).await?;
        }
        if to == State::Retired {
            self.drop_subscriptions(conn, &api).await?;
        }
        conn.emit(Event::ApiChanged { api_id: id }, self.now).await?;
        find(conn, tenant, uuid).await?.ok_or_else(|| PortalError::no_api(uuid))
    }

    /// Artifact, property, history and default version of one API.
    async fn move_to(&self, conn: &mut Conn, api: &mut LoadedApi, to: State) -> Result<(), PortalError> {
        let from = api.object.status();
        artifact_map::set_state(&mut api.stored, to);
        api.object.life_cycle_status = Some(to.upper().to_owned());
        let writer = Writer { portal: &self.portal, actor: &self.actor, id: api.row.id, now: self.now };
        writer.put_artifact(conn, &api.collection, api.uuid.as_str(), &api.stored).await?;
        writer.put_default(conn, &api.object).await?;
        if from != to {
            let (before, after) = (Some(from.upper().to_owned()), to.upper().to_owned());
            let change = StateChange { before, after, user: self.actor.name(), time: self.now };
            rows::insert_state(conn, api.row.id, self.actor.tenant, &change).await?;
        }
        Ok(())
    }

    /// The first publication: older versions and their subscriptions.
    async fn follow_publication(&self, conn: &mut Conn, api: &LoadedApi) -> Result<(), PortalError> {
        let older = older_versions(conn, &api.row).await?;
        if let Some(latest) = older.last().filter(|_| !self.checklist.is_resubscription_required) {
            self.copy_subscriptions(conn, latest, api).await?;
        }
        if self.checklist.is_deprecating_old {
            for row in &older {
                let Some(mut other) = find_by_row(conn, row).await? else { continue };
                if other.object.status() == State::Published {
                    self.move_to(conn, &mut other, State::Deprecated).await?;
                    conn.emit(Event::ApiChanged { api_id: row.id }, self.now).await?;
                }
            }
        }
        Ok(())
    }

    async fn copy_subscriptions(&self, conn: &mut Conn, from: &ApiRow, to: &LoadedApi) -> Result<(), PortalError> {
        let present = subscriptions::list_of_api(conn, to.row.id).await?;
        for old in subscriptions::list_of_api(conn, from.id).await? {
            let is_there = present.iter().any(|it| it.application_id == old.application_id);
            let is_alive =
                matches!(old.status.as_str(), "UNBLOCKED" | "TIER_UPDATE_PENDING" | "BLOCKED" | "PROD_ONLY_BLOCKED");
            if is_there || !is_alive || !to.object.policies.contains(&old.policy) {
                continue;
            }
            let new = NewSubscription {
                uuid: SubscriptionUuid(uuid(&*self.portal.rng)),
                api_id: to.row.id,
                application_id: old.application_id,
                policy: old.policy,
                status: old.status,
                user: self.actor.name(),
            };
            subscriptions::insert(conn, &new, self.now).await?;
            conn.emit(Event::ApplicationChanged { application_id: old.application_id }, self.now).await?;
        }
        Ok(())
    }

    async fn drop_subscriptions(&self, conn: &mut Conn, api: &LoadedApi) -> Result<(), PortalError> {
        let gone = subscriptions::list_of_api(conn, api.row.id).await?;
        subscriptions::delete_of_api(conn, api.row.id).await?;
        for subscription in gone {
            let application_id = subscription.application_id;
            conn.emit(Event::ApplicationChanged { application_id }, self.now).await?;
        }
        Ok(())
    }
}
