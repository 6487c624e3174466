//! Reading whole APIs: the artifact, the definition and the AM_ rows as one thing, and who sees which.
//!
//! Writing is [`super::api_write`]'s. Follows portal-gateway-3x.md 2.2, 5.1-5.4.

use super::api_object::{AccessControl, ApiObject, ApiScope, AuthType, Operation, Scope};
use super::api_rules::Neighbour;
use super::artifact_map::{self, MEDIA_TYPE, StoredApi};
use super::context::ApiContext;
use super::error::PortalError;
use super::openapi;
use super::openapi_read::Definition;
use super::search::Query;
use super::state::{Actor, Portal};
use claviger_proto::ids::{ApiUuid, TenantId};
use claviger_proto::time::Timestamp;
use claviger_proto::user::Username;
use claviger_store::apis::{self as rows, ApiRow, UrlMapping};
use claviger_store::conn::Conn;
use claviger_store::error::StoreError;
use claviger_store::{registry, scopes};
use std::collections::{BTreeSet, HashMap};

/// Name of the artifact's resource.
pub(super) const ARTIFACT: &str = "api";
/// Name of the definition's resource.
pub(super) const DEFINITION: &str = "swagger.json";
/// Most APIs of a tenant that a list looks at.
const APIS_MAX: i64 = 10_000;
/// Collection of all providers; its row is the lock under which a tenant's APIs are changed.
pub(super) const PROVIDERS: &str = "/_system/governance/apimgt/applicationdata/provider";

/// An API as stored, complete.
#[derive(Clone)]
pub struct LoadedApi {
    /// Registry UUID.
    pub uuid: ApiUuid,
    /// Its row.
    pub row: ApiRow,
    /// Artifact, properties, tags.
    pub stored: StoredApi,
    /// The object, with operations and scopes, secrets included.
    pub object: ApiObject,
    /// Context forms.
    pub context: ApiContext,
    /// The definition.
    pub definition: Definition,
    /// Collection of the artifact.
    pub collection: String,
}

/// What a list shows without reading operations and definitions.
#[derive(Clone)]
pub struct ListedApi {
    /// Registry UUID.
    pub uuid: ApiUuid,
    /// Its row.
    pub row: ApiRow,
    /// The object, with the artifact's operations only.
    pub object: ApiObject,
    /// Context forms.
    pub context: ApiContext,
}

/// An API by its UUID in a tenant; `None` when there is no artifact or no row (an artifact without a row is skipped). Rows
/// are not kept apart by tenant: only one whose provider is of this tenant belongs to the artifact.
pub async fn find(conn: &mut Conn, tenant: TenantId, uuid: &str) -> Result<Option<LoadedApi>, PortalError> {
    let Some(resource) = registry::find_by_uuid(conn, tenant, uuid).await? else { return Ok(None) };
    if resource.media_type.as_deref() != Some(MEDIA_TYPE) {
        return Ok(None);
    }
    let properties = registry::properties(conn, tenant, &resource).await?;
    let tags = registry::tags(conn, tenant, &resource).await?;
    let stored = artifact_map::from_rows(&String::from_utf8_lossy(&resource.content), properties, tags)?;
    let (mut object, context) = artifact_map::decode(&stored);
    let provider = object.provider.clone().unwrap_or_default();
    if tenant_of(conn, &provider).await? != tenant {
        return Ok(None);
    }
    let Some(row) = rows::find(conn, &provider, &object.name, &object.version).await? else { return Ok(None) };
    object.operations = operations(rows::list_url_mappings(conn, row.id).await?);
    object.api_throttling_policy.clone_from(&row.tier);
    let definition = match registry::find(conn, tenant, &resource.collection, DEFINITION).await? {
        Some(file) => Definition::parse(&String::from_utf8_lossy(&file.content)).ok(),
        None => None,
    };
    let definition = definition.unwrap_or_else(|| openapi::create(&object));
    object.scopes = load_scopes(conn, tenant, &object.operations, &definition).await?;
    fill_server_made(&mut object, &resource.uuid, &row);
    let uuid = ApiUuid(resource.uuid);
    Ok(Some(LoadedApi { uuid, row, stored, object, context, definition, collection: resource.collection }))
}

/// The APIs of a tenant whose artifact and row both exist, oldest first.
pub async fn list(conn: &mut Conn, tenant: TenantId) -> Result<Vec<ListedApi>, PortalError> {
    let mut labels = registry::list_labels(conn, tenant, MEDIA_TYPE).await?;
    let mut tenants: HashMap<String, TenantId> = HashMap::new();
    let mut by_name: HashMap<_, ApiRow> = HashMap::new();
    for row in rows::list(conn).await? {
        let domain = domain_of(&row.provider);
        let of_row = match tenants.get(&domain) {
            Some(known) => *known,
            None => tenant_of(conn, &row.provider).await?,
        };
        tenants.insert(domain, of_row);
        if of_row == tenant {
            by_name.insert((row.provider.clone(), row.name.clone(), row.version.clone()), row);
        }
    }
    let mut listed = Vec::new();
    for resource in registry::list_by_media_type(conn, tenant, MEDIA_TYPE, APIS_MAX).await? {
        let own = labels.remove(&resource.uuid).unwrap_or_default();
        let stored = artifact_map::from_rows(&String::from_utf8_lossy(&resource.content), own.properties, own.tags);
        let Ok(stored) = stored else {
            tracing::warn!(uuid = %resource.uuid, "an API artifact cannot be read and is left out of lists");
            continue;
        };
        let (mut object, context) = artifact_map::decode(&stored);
        let provider = object.provider.clone().unwrap_or_default();
        let Some(row) = by_name.get(&(provider, object.name.clone(), object.version.clone())) else { continue };
        object.api_throttling_policy.clone_from(&row.tier);
        fill_server_made(&mut object, &resource.uuid, row);
        listed.push(ListedApi { uuid: ApiUuid(resource.uuid), row: row.clone(), object, context });
    }
    Ok(listed)
}

/// Finds the API of a row: the artifact in its provider's collection.
pub async fn find_by_row(conn: &mut Conn, row: &ApiRow) -> Result<Option<LoadedApi>, PortalError> {
    let tenant = tenant_of(conn, &row.provider).await?;
    let collection = artifact_map::collection(&row.provider, &row.name, &row.version);
    match registry::find(conn, tenant, &collection, ARTIFACT).await? {
        Some(resource) => find(conn, tenant, &resource.uuid).await,
        None => Ok(None),
    }
}

/// The tenant of a provider.
pub async fn tenant_of(conn: &mut Conn, provider: &str) -> Result<TenantId, StoreError> {
    let found = claviger_store::tenants::find_by_domain(conn, &domain_of(provider)).await?;
    Ok(found.unwrap_or(TenantId::SUPER))
}

/// The tenant domain of a provider or subscriber.
pub fn domain_of(user: &str) -> String {
    Username::parse(user).map_or_else(|_| claviger_proto::ids::SUPER_TENANT_DOMAIN.to_owned(), |name| name.tenant)
}

/// May the publisher's user see this API (access control)?
pub fn is_visible_to_publisher(portal: &Portal, actor: &Actor, object: &ApiObject) -> bool {
    object.access_control == AccessControl::None
        || portal.is_admin(actor)
        || object.provider.as_deref() == Some(actor.name().as_str())
        || object.access_control_roles.iter().any(|role| actor.has_role(role))
}

/// One API for a publisher, by UUID; invisible ones do not exist.
pub async fn find_for_publisher(
    portal: &Portal,
    conn: &mut Conn,
    actor: &Actor,
    uuid: &str,
) -> Result<LoadedApi, PortalError> {
    let found = find(conn, actor.tenant, uuid).await?;
    found.filter(|api| is_visible_to_publisher(portal, actor, &api.object)).ok_or_else(|| PortalError::no_api(uuid))
}

/// APIs for a publisher that fit a query.
pub async fn list_for_publisher(portal: &Portal, actor: &Actor, query: &Query) -> Result<Vec<ListedApi>, PortalError> {
    let mut conn = portal.store.reader().await?;
    let mut apis = list(&mut conn, actor.tenant).await?;
    apis.retain(|api| is_visible_to_publisher(portal, actor, &api.object) && query.matches(&api.object));
    Ok(apis)
}

/// Rows that may stand in the way of a name, version and context: same name in this tenant, or same template.
pub async fn neighbours(
    conn: &mut Conn,
    object: &ApiObject,
    context: &ApiContext,
    tenant_domain: &str,
) -> Result<Vec<Neighbour>, StoreError> {
    let found = rows::list_neighbours(conn, &object.name, &context.row_template).await?;
    let in_the_way = found
        .into_iter()
        .filter(|row| row.context_template == context.row_template || domain_of(&row.provider) == tenant_domain);
    Ok(in_the_way
        .map(|row| Neighbour { name: row.name, version: row.version, row_template: row.context_template })
        .collect())
}

fn operations(mappings: Vec<UrlMapping>) -> Vec<Operation> {
    mappings
        .into_iter()
        .map(|mapping| Operation {
            id: Some(mapping.id.to_string()),
            target: mapping.pattern,
            verb: mapping.verb,
            auth_type: AuthType::parse(&mapping.auth_scheme),
            throttling_policy: Some(mapping.policy),
            scopes: mapping.scopes,
            ..Operation::default()
        })
        .collect()
}

/// The definition's scopes, with the key manager's texts and roles where it knows them.
async fn load_scopes(
    conn: &mut Conn,
    tenant: TenantId,
    operations: &[Operation],
    definition: &Definition,
) -> Result<Vec<ApiScope>, PortalError> {
    let mut found = definition.declared_scopes();
    let used: BTreeSet<&String> = operations.iter().flat_map(|operation| &operation.scopes).collect();
    for name in used {
        if !found.iter().any(|entry| entry.scope.name == *name) {
            let scope = Scope { name: name.clone(), ..Scope::default() };
            found.push(ApiScope { scope, shared: false });
        }
    }
    for entry in &mut found {
        entry.shared = scopes::is_shared(conn, tenant, &entry.scope.name).await?;
        if let Some(known) = scopes::find(conn, tenant, &entry.scope.name).await? {
            entry.scope.display_name = Some(known.display_name);
            entry.scope.description = known.description.or(entry.scope.description.take());
            entry.scope.bindings = known.roles;
        }
    }
    Ok(found)
}

fn fill_server_made(object: &mut ApiObject, uuid: &str, row: &ApiRow) {
    object.id = Some(uuid.to_owned());
    object.provider = Some(row.provider.clone());
    object.created_time = row.created.map(api_time);
    object.last_updated_time = row.updated.or(row.created).map(api_time);
}

/// `yyyy-MM-dd HH:mm:ss.S`.
fn api_time(time: Timestamp) -> String {
    let utc = chrono::DateTime::from_timestamp_millis(time.as_millis()).unwrap_or_default();
    format!("{}.{}", utc.format("%Y-%m-%d %H:%M:%S"), utc.timestamp_subsec_millis() / 100)
}
