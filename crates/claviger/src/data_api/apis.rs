//! `/apis`: what AM_API, its resources and the registry say of APIs (rest-3x.md 5.4).
//!
//! The tables of 3.2 have neither UUID nor state of an API; both come from the registry, by two statements for a tenant. Every API
//! is listed, as 3.2 does: what a gateway serves is decided by what was deployed on it. `gatewayLabel` and `expand` of 4.x
//! change nothing: there are no revisions, and resources are always told.

use super::{Listing, Params, Request};
use crate::portal::apis as portal_apis;
use crate::portal::artifact_map::{self, MEDIA_TYPE};
use crate::portal::error::PortalError;
use axum::response::Response;
use claviger_proto::ids::{ApiId, TenantId};
use claviger_store::apis::{self as rows, ApiRow, UrlMapping};
use claviger_store::conn::Conn;
use claviger_store::error::StoreError;
use claviger_store::{feed, registry};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap, HashSet};

/// AM_API.API_TYPE of an API product.
const PRODUCT: &str = "APIProduct";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiParams {
    /// API_ID, or the UUID (4.x).
    api_id: Option<String>,
    /// With the version in it.
    context: Option<String>,
    version: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiView {
    api_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
    provider: String,
    name: String,
    version: String,
    context: String,
    policy: Option<String>,
    api_type: String,
    /// `PUBLISHED` and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    is_default_version: bool,
    organization: String,
    url_mappings: Vec<UrlMappingView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UrlMappingView {
    auth_scheme: String,
    throttling_policy: String,
    http_method: String,
    url_pattern: String,
    scopes: Vec<String>,
}

impl From<UrlMapping> for UrlMappingView {
    fn from(mapping: UrlMapping) -> Self {
        Self {
            auth_scheme: mapping.auth_scheme,
            throttling_policy: mapping.policy,
            http_method: mapping.verb,
            url_pattern: mapping.pattern,
            scopes: mapping.scopes,
        }
    }
}

/// What the registry adds to a row.
#[derive(Clone, Debug, Default)]
struct Label {
    uuid: Option<String>,
    status: Option<String>,
}

/// `GET /apis`.
pub(super) async fn list(request: Request, Params(params): Params<ApiParams>) -> Response {
    let found = find(&request, &params).await;
    request.answer(found.map(Listing::from)).await
}

async fn find(request: &Request, params: &ApiParams) -> Result<Vec<ApiView>, StoreError> {
    let mut conn = request.app.store.reader().await?;
    let text = |param: &Option<String>| param.clone().filter(|text| !text.is_empty());
    let (id, context, version) = (text(&params.api_id), text(&params.context), text(&params.version));
    let named = match (id, context) {
        (Some(id), _) => find_named(&mut conn, request, &id).await?,
        (None, Some(context)) => rows::list_by_context(&mut conn, &context).await?,
        (None, None) => return list_all(&mut conn, request, version.as_deref()).await,
    };
    let tenants = Tenants::new(request.searched_tenants(&mut conn).await?);
    let mut views = Vec::new();
    for row in named {
        let Some((_, domain)) = tenants.of(&row) else { continue };
        if version.as_ref().is_some_and(|version| *version != row.version) {
            continue;
        }
        let label = label_of(&mut conn, &row).await?;
        let mappings = if row.kind.eq_ignore_ascii_case(PRODUCT) {
            feed::list_product_resources(&mut conn, row.id).await?
        } else {
            rows::list_url_mappings(&mut conn, row.id).await?
        };
        let default = rows::find_default(&mut conn, &row.name, &row.provider).await?;
        let is_default = default.published.as_deref() == Some(row.version.as_str());
        views.push(view(row, label, domain, is_default, mappings));
    }
    Ok(views)
}

/// The row with this number, or of the API with this UUID.
async fn find_named(conn: &mut Conn, request: &Request, id: &str) -> Result<Vec<ApiRow>, StoreError> {
    if let Ok(number) = id.parse() {
        return Ok(rows::find_by_id(conn, ApiId(number)).await?.into_iter().collect());
    }
    for (tenant, _) in request.searched_tenants(conn).await? {
        if let Some(row) = find_by_uuid(conn, tenant, id).await? {
            return Ok(vec![row]);
        }
    }
    Ok(Vec::new())
}

/// The row of the API whose artifact has this UUID.
pub(super) async fn find_by_uuid(conn: &mut Conn, tenant: TenantId, uuid: &str) -> Result<Option<ApiRow>, StoreError> {
    match portal_apis::find(conn, tenant, uuid).await {
        Ok(api) => Ok(api.map(|api| api.row)),
        Err(PortalError::Store(error)) => Err(error),
        Err(error) => {
            tracing::warn!(uuid, %error, "an API cannot be read");
            Ok(None)
        }
    }
}

async fn list_all(conn: &mut Conn, request: &Request, version: Option<&str>) -> Result<Vec<ApiView>, StoreError> {
    let tenants = Tenants::new(request.listed_tenants(conn).await?);
    let mut listed = rows::list(conn).await?;
    listed.retain(|row| version.is_none_or(|version| version == row.version));
    let mut labels = Labels::load(conn, listed.iter().filter_map(|row| tenants.of(row))).await?;
    let mut mappings = feed::list_url_mappings(conn).await?;
    let defaults = feed::list_published_defaults(conn).await?;
    let mut views = Vec::new();
    for row in listed {
        let Some((tenant, domain)) = tenants.of(&row) else { continue };
        let label = labels.take(tenant, &row);
        let mappings = mappings.remove(&row.id).unwrap_or_default();
        let is_default = defaults.contains(&(row.provider.clone(), row.name.clone(), row.version.clone()));
        views.push(view(row, label, domain, is_default, mappings));
    }
    Ok(views)
}

fn view(row: ApiRow, label: Label, domain: &str, is_default: bool, mappings: Vec<UrlMapping>) -> ApiView {
    ApiView {
        api_id: row.id.0,
        uuid: label.uuid,
        provider: row.provider,
        name: row.name,
        version: row.version,
        context: row.context,
        policy: row.tier,
        api_type: row.kind,
        status: label.status,
        is_default_version: is_default,
        organization: domain.to_owned(),
        url_mappings: mappings.into_iter().map(UrlMappingView::from).collect(),
    }
}

/// The tenants that a request is about, by their domains.
pub(super) struct Tenants(HashMap<String, TenantId>);

impl Tenants {
    pub(super) fn new(tenants: Vec<(TenantId, String)>) -> Self {
        Self(tenants.into_iter().map(|(id, domain)| (domain, id)).collect())
    }

    /// The tenant of an API when it is one of these. Its provider says it; one whose name ends like a mail address is of the super
    /// tenant, unless the context says otherwise.
    pub(super) fn of(&self, row: &ApiRow) -> Option<(TenantId, &str)> {
        let domain = portal_apis::domain_of(&row.provider);
        let found = self.0.get_key_value(&domain).or_else(|| {
            let is_tenants = row.context.starts_with("/t/");
            self.0.get_key_value(claviger_proto::ids::SUPER_TENANT_DOMAIN).filter(|_| !is_tenants)
        });
        found.map(|(domain, id)| (*id, domain.as_str()))
    }
}

/// UUIDs and states of the APIs of some tenants.
struct Labels(HashMap<TenantId, HashMap<String, (String, Option<String>)>>);

impl Labels {
    /// Those of the tenants that are named, once each.
    async fn load<'a>(conn: &mut Conn, tenants: impl Iterator<Item = (TenantId, &'a str)>) -> Result<Self, StoreError> {
        let tenants: BTreeSet<TenantId> = tenants.map(|(tenant, _)| tenant).collect();
        let mut places = HashMap::new();
        for tenant in tenants {
            let found = registry::list_places(conn, tenant, MEDIA_TYPE, artifact_map::LIFECYCLE_STATE).await?;
            places.insert(tenant, found);
        }
        Ok(Self(places))
    }

    fn take(&mut self, tenant: TenantId, row: &ApiRow) -> Label {
        let collection = artifact_map::collection(&row.provider, &row.name, &row.version);
        let found = self.0.get_mut(&tenant).and_then(|places| places.remove(&collection));
        let Some((uuid, state)) = found else { return Label::default() };
        Label { uuid: Some(uuid), status: state.map(|state| state.to_ascii_uppercase()) }
    }
}

async fn label_of(conn: &mut Conn, row: &ApiRow) -> Result<Label, StoreError> {
    match portal_apis::find_by_row(conn, row).await {
        Ok(None) => Ok(Label::default()),
        Ok(Some(api)) => Ok(Label { status: Some(api.object.status().upper().to_owned()), uuid: Some(api.uuid.0) }),
        Err(PortalError::Store(error)) => Err(error),
        Err(error) => {
            tracing::warn!(api_id = row.id.0, %error, "an API's artifact cannot be read");
            Ok(Label::default())
        }
    }
}

/// Tenant and UUID of APIs, for subscriptions to them.
pub(super) struct Known {
    apis: HashMap<ApiId, (TenantId, Option<String>)>,
}

impl Known {
    /// Those of some APIs: of one by itself, of more by reading all APIs of their tenants.
    pub(super) async fn load(conn: &mut Conn, tenants: &Tenants, wanted: &[ApiId]) -> Result<Self, StoreError> {
        let mut apis = HashMap::new();
        if let [one] = wanted {
            if let Some(row) = rows::find_by_id(conn, *one).await?
                && let Some((tenant, _)) = tenants.of(&row)
            {
                let uuid = label_of(conn, &row).await?.uuid;
                apis.insert(row.id, (tenant, uuid));
            }
            return Ok(Self { apis });
        }
        let mut listed = rows::list(conn).await?;
        let wanted: HashSet<ApiId> = wanted.iter().copied().collect();
        listed.retain(|row| wanted.contains(&row.id));
        let mut labels = Labels::load(conn, listed.iter().filter_map(|row| tenants.of(row))).await?;
        for row in listed {
            if let Some((tenant, _)) = tenants.of(&row) {
                let label = labels.take(tenant, &row);
                apis.insert(row.id, (tenant, label.uuid));
            }
        }
        Ok(Self { apis })
    }

    pub(super) fn tenant(&self, id: ApiId) -> Option<TenantId> {
        self.apis.get(&id).map(|(tenant, _)| *tenant)
    }

    pub(super) fn uuid(&self, id: ApiId) -> Option<String> {
        self.apis.get(&id)?.1.clone()
    }
}
