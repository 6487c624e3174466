//! `/applications`, `/subscriptions`, `/application-key-mappings` (rest-3x.md 5.4).
//!
//! An application is its subscriber's tenant's. A subscription is told to both sides' tenants: a gateway of the API's needs it as
//! much as one of the application's.

use super::apis::{self, Known, Tenants};
use super::{Listing, Params, Request};
use axum::response::Response;
use claviger_proto::ids::{ApiId, ApplicationId, ApplicationUuid, ConsumerKey, TenantId};
use claviger_store::applications::{self as rows, Application, KeyMapping};
use claviger_store::conn::Conn;
use claviger_store::error::StoreError;
use claviger_store::subscriptions::{self, Subscription};
use claviger_store::{feed, policies};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApplicationParams {
    /// APPLICATION_ID; 0 and less is as if it were left out.
    app_id: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApplicationView {
    uuid: String,
    id: i64,
    name: String,
    sub_id: i64,
    sub_name: String,
    policy: String,
    token_type: String,
    organization: String,
    group_ids: Vec<GroupView>,
    attributes: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupView {
    group_id: String,
    application_id: i64,
}

/// `GET /applications`.
pub(super) async fn list(request: Request, Params(params): Params<ApplicationParams>) -> Response {
    let found = find_applications(&request, params.app_id.filter(|id| *id > 0).map(ApplicationId)).await;
    request.answer(found.map(Listing::from)).await
}

async fn find_applications(request: &Request, one: Option<ApplicationId>) -> Result<Vec<ApplicationView>, StoreError> {
    let mut conn = request.app.store.reader().await?;
    let tenants = if one.is_some() {
        request.searched_tenants(&mut conn).await?
    } else {
        request.listed_tenants(&mut conn).await?
    };
    let domains: HashMap<TenantId, String> = tenants.into_iter().collect();
    let (applications, mut attributes) = match one {
        Some(id) => {
            let attributes = HashMap::from([(id, rows::attributes(&mut conn, id).await?)]);
            (rows::find_by_id(&mut conn, id).await?.into_iter().collect(), attributes)
        }
        None => (rows::list_all(&mut conn).await?, feed::list_attributes(&mut conn).await?),
    };
    let mut groups = feed::list_groups(&mut conn, one).await?;
    let view = |application: Application| {
        let domain = domains.get(&application.tenant)?;
        let id = application.id;
        let mut of_application = groups.remove(&id).unwrap_or_default();
        of_application.extend(application.group.filter(|group| !of_application.contains(group)));
        let group = |group_id| GroupView { group_id, application_id: id.0 };
        Some(ApplicationView {
            uuid: application.uuid.0,
            id: id.0,
            name: application.name,
            sub_id: application.subscriber_id,
            sub_name: application.owner,
            policy: application.policy,
            token_type: application.token_type,
            organization: domain.clone(),
            group_ids: of_application.into_iter().map(group).collect(),
            attributes: attributes.remove(&id).unwrap_or_default(),
        })
    };
    Ok(applications.into_iter().filter_map(view).collect())
}

#[derive(Deserialize)]
pub(super) struct SubscriptionParams {
    #[serde(rename = "apiId")]
    api_id: Option<i64>,
    #[serde(rename = "appId")]
    app_id: Option<i64>,
    #[serde(rename = "apiUUID")]
    api_uuid: Option<String>,
    #[serde(rename = "applicationUUID")]
    application_uuid: Option<String>,
}

#[derive(Serialize)]
struct SubscriptionView {
    /// A number in 3.2 and in 4.x; the gateways' own objects take it as a text too.
    #[serde(rename = "subscriptionId")]
    id: i64,
    #[serde(rename = "subscriptionUUID")]
    uuid: String,
    #[serde(rename = "policyId")]
    policy: String,
    #[serde(rename = "apiId")]
    api_id: i64,
    #[serde(rename = "apiUUID", skip_serializing_if = "Option::is_none")]
    api_uuid: Option<String>,
    #[serde(rename = "appId")]
    app_id: i64,
    #[serde(rename = "applicationUUID")]
    application_uuid: String,
    #[serde(rename = "subscriptionState")]
    state: String,
}

/// `GET /subscriptions`.
pub(super) async fn list_subscriptions(request: Request, Params(params): Params<SubscriptionParams>) -> Response {
    let found = find_subscriptions(&request, &params).await;
    request.answer(found.map(Listing::from)).await
}

/// The API and the application that a query names; `None` when it names one that is not there.
async fn named(
    conn: &mut Conn,
    request: &Request,
    params: &SubscriptionParams,
) -> Result<Option<(Option<ApiId>, Option<ApplicationId>)>, StoreError> {
    let text = |param: &Option<String>| param.clone().filter(|text| !text.is_empty());
    let mut api = params.api_id.map(ApiId);
    if let (None, Some(uuid)) = (api, text(&params.api_uuid)) {
        for (tenant, _) in request.searched_tenants(conn).await? {
            if let Some(row) = apis::find_by_uuid(conn, tenant, &uuid).await? {
                api = Some(row.id);
                break;
            }
        }
        if api.is_none() {
            return Ok(None);
        }
    }
    let mut application = params.app_id.map(ApplicationId);
    if let (None, Some(uuid)) = (application, text(&params.application_uuid)) {
        application = rows::find(conn, &ApplicationUuid(uuid)).await?.map(|found| found.id);
        if application.is_none() {
            return Ok(None);
        }
    }
    Ok(Some((api, application)))
}

async fn find_subscriptions(
    request: &Request,
    params: &SubscriptionParams,
) -> Result<Vec<SubscriptionView>, StoreError> {
    let mut conn = request.app.store.reader().await?;
    let Some((api, application)) = named(&mut conn, request, params).await? else { return Ok(Vec::new()) };
    let is_named = api.is_some() || application.is_some();
    let tenants =
        if is_named { request.searched_tenants(&mut conn).await? } else { request.listed_tenants(&mut conn).await? };
    let mut found = match (api, application) {
        (_, Some(id)) => subscriptions::list_of_application(&mut conn, id).await?,
        (Some(id), None) => subscriptions::list_of_api(&mut conn, id).await?,
        (None, None) => subscriptions::list_all(&mut conn).await?,
    };
    found.retain(|subscription| api.is_none_or(|id| id == subscription.api_id));
    // The API may be another tenant's than the application: its UUID is told all the same.
    let every = Tenants::new(claviger_store::tenants::list(&mut conn).await?);
    let mut wanted: Vec<ApiId> = found.iter().map(|subscription| subscription.api_id).collect();
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let known = Known::load(&mut conn, &every, &wanted).await?;
    let subscribers = match found.as_slice() {
        [one] => rows::find_by_id(&mut conn, one.application_id).await?.into_iter().collect(),
        _ => rows::list_all(&mut conn).await?,
    };
    let subscribers: HashMap<ApplicationId, TenantId> = subscribers.into_iter().map(|it| (it.id, it.tenant)).collect();
    let is_asked = |tenant: Option<&TenantId>| tenant.is_some_and(|tenant| tenants.iter().any(|(id, _)| id == tenant));
    let concerns = |subscription: &Subscription| {
        is_asked(subscribers.get(&subscription.application_id)) || is_asked(known.tenant(subscription.api_id).as_ref())
    };
    let view = |subscription: Subscription| SubscriptionView {
        id: subscription.id,
        uuid: subscription.uuid.0,
        policy: subscription.policy,
        api_id: subscription.api_id.0,
        api_uuid: known.uuid(subscription.api_id),
        app_id: subscription.application_id.0,
        application_uuid: subscription.application_uuid.0,
        state: subscription.status,
    };
    Ok(found.into_iter().filter(concerns).map(view).collect())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyParams {
    consumer_key: Option<String>,
    /// The key manager's name (4.x).
    #[serde(rename = "keymanager")]
    key_manager: Option<String>,
}

#[derive(Serialize)]
struct KeyView {
    #[serde(rename = "applicationId")]
    application_id: i64,
    #[serde(rename = "applicationUUID")]
    application_uuid: String,
    #[serde(rename = "consumerKey")]
    consumer_key: ConsumerKey,
    #[serde(rename = "keyType")]
    key_type: String,
    #[serde(rename = "keyManager")]
    key_manager: String,
}

/// `GET /application-key-mappings`.
pub(super) async fn list_keys(request: Request, Params(params): Params<KeyParams>) -> Response {
    let found = find_keys(&request, &params).await;
    request.answer(found.map(Listing::from)).await
}

async fn find_keys(request: &Request, params: &KeyParams) -> Result<Vec<KeyView>, StoreError> {
    let mut conn = request.app.store.reader().await?;
    let one = params.consumer_key.clone().filter(|key| !key.is_empty()).map(ConsumerKey);
    if one.as_ref().is_some_and(|key| !key.as_str().is_ascii()) {
        // Client ids are ASCII; not every database could even look for another.
        return Ok(Vec::new());
    }
    let (found, applications, tenants) = if let Some(key) = &one {
        let found = rows::list_keys_of_client(&mut conn, key).await?;
        let mut applications = Vec::new();
        // A client has a mapping for each key manager that knows it: one as a rule.
        for (id, _) in &found {
            applications.extend(rows::find_by_id(&mut conn, *id).await?);
        }
        (found, applications, request.searched_tenants(&mut conn).await?)
    } else {
        let found = rows::list_all_keys(&mut conn).await?;
        (found, rows::list_all(&mut conn).await?, request.listed_tenants(&mut conn).await?)
    };
    let names = policies::list_key_manager_names(&mut conn).await?;
    let applications: HashMap<ApplicationId, Application> = applications.into_iter().map(|it| (it.id, it)).collect();
    let view = |(id, mapping): (ApplicationId, KeyMapping)| {
        let application = applications.get(&id)?;
        if !tenants.iter().any(|(tenant, _)| *tenant == application.tenant) {
            return None;
        }
        // Gateways look for the name; later updates of 3.2 wrote the UUID (database.md 2.5).
        let key_manager = names.get(&mapping.key_manager).cloned().unwrap_or(mapping.key_manager);
        if params.key_manager.as_ref().is_some_and(|wanted| !wanted.is_empty() && *wanted != key_manager) {
            return None;
        }
        Some(KeyView {
            application_id: id.0,
            application_uuid: application.uuid.0.clone(),
            consumer_key: mapping.consumer_key?,
            key_type: mapping.key_type,
            key_manager,
        })
    };
    Ok(found.into_iter().filter_map(view).collect())
}
