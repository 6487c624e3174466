//! Publisher REST v1: the APIs themselves (portal-gateway-3x.md 2.1-2.8). Settings, policies and subscriptions are
//! [`super::publisher_views`]'s.

use super::api_object::ApiObject;
use super::api_write::{self, Spelling};
use super::apis::{self, ListedApi, LoadedApi};
use super::body::parse_body;
use super::context::ApiContext;
use super::endpoint_secrets::shown;
use super::error::PortalError;
use super::lifecycle::Checklist;
use super::lifecycle_change;
use super::openapi_read::{Definition, validation};
use super::page::{Page, Paging};
use super::params::Params;
use super::reply::{created, json};
use super::search::Query;
use super::state::{Actor, Portal};
use super::{forms, openapi};
use crate::http::access::Rule;
use crate::http::extract::{Multipart, Path, Whole};
use crate::http::routes::Routes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_DISPOSITION, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json as object};

/// The routes of this file.
pub fn routes(routes: Routes) -> Routes {
    const VIEW: Rule = Rule::Portal(&["apim:api_view", "apim:api_import_export"]);
    const VIEW_ONE: Rule = Rule::Portal(&["apim:api_view", "apim:api_import_export", "apim:api_product_import_export"]);
    const CREATE: Rule = Rule::Portal(&["apim:api_create"]);
    const WRITE: Rule = Rule::Portal(&["apim:api_create", "apim:api_publish"]);
    const DELETE: Rule = Rule::Portal(&["apim:api_delete", "apim:api_import_export"]);
    const STEP: Rule = Rule::Portal(&["apim:api_publish", "apim:api_import_export"]);
    routes
        .add(Method::GET, "/api/am/publisher/v1/apis", VIEW, list)
        .add(Method::POST, "/api/am/publisher/v1/apis", CREATE, create)
        .add(Method::POST, "/api/am/publisher/v1/apis/import-openapi", CREATE, import)
        .add(Method::POST, "/api/am/publisher/v1/apis/validate-openapi", CREATE, validate_definition)
        .add(Method::POST, "/api/am/publisher/v1/apis/copy-api", CREATE, copy)
        .add(Method::POST, "/api/am/publisher/v1/apis/validate", CREATE, validate)
        .add(Method::POST, "/api/am/publisher/v1/apis/change-lifecycle", STEP, change_lifecycle)
        .add(Method::GET, "/api/am/publisher/v1/apis/{id}", VIEW_ONE, read)
        .add(Method::PUT, "/api/am/publisher/v1/apis/{id}", WRITE, update)
        .add(Method::DELETE, "/api/am/publisher/v1/apis/{id}", DELETE, delete)
        .add(Method::GET, "/api/am/publisher/v1/apis/{id}/swagger", VIEW, read_definition)
        .add(Method::PUT, "/api/am/publisher/v1/apis/{id}/swagger", CREATE, update_definition)
        .add(Method::GET, "/api/am/publisher/v1/apis/{id}/lifecycle-state", WRITE, lifecycle_state)
        .add(
            Method::GET,
            "/api/am/publisher/v1/apis/{id}/lifecycle-history",
            Rule::Portal(&["apim:api_publish"]),
            lifecycle_history,
        )
}

/// Parameters of lists.
#[derive(Debug, Default, Deserialize)]
pub struct ListParams {
    limit: Option<i64>,
    offset: Option<i64>,
    query: Option<String>,
    #[serde(default)]
    expand: bool,
}

impl ListParams {
    /// `limit` and `offset`.
    pub fn paging(&self) -> Paging {
        Paging { limit: self.limit, offset: self.offset }
    }

    /// The query's text.
    pub fn query(&self) -> &str {
        self.query.as_deref().unwrap_or_default()
    }
}

/// The query string of a link that leads to another page.
pub fn link_query(text: &str) -> String {
    url::form_urlencoded::Serializer::new(String::new()).append_pair("query", text).finish()
}

async fn list(
    State(portal): State<Portal>,
    actor: Actor,
    Params(params): Params<ListParams>,
) -> Result<Response, PortalError> {
    let query = Query::parse(params.query())?;
    let apis = apis::list_for_publisher(&portal, &actor, &query).await?;
    let rest = link_query(params.query());
    let mut page = Page::of(&apis, params.paging(), ("/apis", &rest), list_item);
    if params.expand {
        let mut conn = portal.store.reader().await?;
        for item in &mut page.list {
            let id = item["id"].as_str().unwrap_or_default().to_owned();
            if let Some(api) = apis::find(&mut conn, actor.tenant, &id).await? {
                *item = object!(shown(&api.object));
            }
        }
    }
    Ok(json(StatusCode::OK, &page))
}

fn list_item(api: &ListedApi) -> Value {
    let it = &api.object;
    object!({"id": api.uuid, "name": it.name, "description": it.description, "context": it.context,
             "version": it.version, "provider": it.provider, "type": it.kind, "lifeCycleStatus": it.life_cycle_status,
             "workflowStatus": null, "hasThumbnail": it.has_thumbnail, "securityScheme": it.security_scheme})
}

fn created_api(api: &LoadedApi) -> Response {
    created(&format!("/apis/{}", api.uuid), &shown(&api.object))
}

async fn create(State(portal): State<Portal>, actor: Actor, Whole(body): Whole) -> Result<Response, PortalError> {
    let object: ApiObject = parse_body(&body)?;
    let api = api_write::create(&portal, &actor, object, None, Spelling::Post).await?;
    Ok(created_api(&api))
}

async fn read(State(portal): State<Portal>, actor: Actor, Path(id): Path<String>) -> Result<Response, PortalError> {
    let mut conn = portal.store.reader().await?;
    let api = apis::find_for_publisher(&portal, &mut conn, &actor, &id).await?;
    Ok(json(StatusCode::OK, &shown(&api.object)))
}

async fn update(
    State(portal): State<Portal>,
    actor: Actor,
    Path(id): Path<String>,
    Whole(body): Whole,
) -> Result<Response, PortalError> {
    let object: ApiObject = parse_body(&body)?;
    let api = api_write::update(&portal, &actor, &id, object).await?;
    Ok(json(StatusCode::OK, &shown(&api.object)))
}

async fn delete(State(portal): State<Portal>, actor: Actor, Path(id): Path<String>) -> Result<Response, PortalError> {
    api_write::delete(&portal, &actor, &id).await?;
    Ok(StatusCode::OK.into_response())
}

async fn read_definition(
    State(portal): State<Portal>,
    actor: Actor,
    Path(id): Path<String>,
) -> Result<Response, PortalError> {
    let mut conn = portal.store.reader().await?;
    let api = apis::find_for_publisher(&portal, &mut conn, &actor, &id).await?;
    let mut response = json(StatusCode::OK, &openapi::publisher_view(&api.definition, &api.object, &api.context));
    let name = HeaderValue::from_static("attachment; filename=\"swagger.json\"");
    response.headers_mut().insert(CONTENT_DISPOSITION, name);
    Ok(response)
}

async fn update_definition(
    State(portal): State<Portal>,
    actor: Actor,
    Path(id): Path<String>,
    Multipart(form): Multipart,
) -> Result<Response, PortalError> {
    let parts = forms::read(form).await?;
    let definition = Definition::accept(forms::definition(&parts)?)?;
    let api = api_write::update_definition(&portal, &actor, &id, definition).await?;
    Ok(json(StatusCode::OK, &Value::Object(api.definition.document)))
}

async fn import(
    State(portal): State<Portal>,
    actor: Actor,
    Multipart(form): Multipart,
) -> Result<Response, PortalError> {
    let parts = forms::read(form).await?;
    let definition = Definition::accept(forms::definition(&parts)?)?;
    let properties = parts.get("additionalProperties").ok_or(PortalError::EmptyBody)?;
    let mut object: ApiObject = parse_body(properties.as_bytes())?;
    if object.kind != super::api_object::ApiType::Http {
        return Err(PortalError::BadRequest("The type of an imported API must be HTTP".to_owned()));
    }
    complete_from_definition(&mut object, &definition)?;
    let api = api_write::create(&portal, &actor, object, Some(definition), Spelling::Other).await?;
    Ok(created_api(&api))
}

/// What the properties leave open comes from the document.
fn complete_from_definition(object: &mut ApiObject, definition: &Definition) -> Result<(), PortalError> {
    let info = definition.info();
    let fill = |field: &mut String, value: String| {
        if field.is_empty() {
            *field = value;
        }
    };
    fill(&mut object.name, info.name.split_whitespace().collect());
    fill(&mut object.version, info.version);
    fill(&mut object.context, info.context.unwrap_or_default());
    if object.description.is_none() {
        object.description = Some(info.description).filter(|text| !text.is_empty());
    }
    object.operations = definition.operations();
    if object.operations.is_empty() {
        return Err(PortalError::NoResources);
    }
    object.scopes = definition.scopes();
    if object.endpoint_config.is_none() {
        let production = definition.endpoint_extension("x-wso2-production-endpoints");
        let sandbox = definition.endpoint_extension("x-wso2-sandbox-endpoints");
        let mut config = serde_json::Map::new();
        for (key, url) in [("production_endpoints", production.first()), ("sandbox_endpoints", sandbox.first())] {
            if let Some(url) = url {
                config.insert("endpoint_type".to_owned(), object!("http"));
                config.insert(key.to_owned(), object!({"url": url}));
            }
        }
        object.endpoint_config = (!config.is_empty()).then_some(super::api_object::EndpointConfig(config));
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
struct ValidateDefinition {
    #[serde(default, rename = "returnContent")]
    return_content: bool,
}

async fn validate_definition(
    _actor: Actor,
    Params(params): Params<ValidateDefinition>,
    Multipart(form): Multipart,
) -> Result<Response, PortalError> {
    let parts = forms::read(form).await?;
    Ok(json(StatusCode::OK, &validation(forms::definition(&parts)?, params.return_content)))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Copy {
    api_id: Option<String>,
    new_version: Option<String>,
    #[serde(default)]
    default_version: bool,
}

async fn copy(
    State(portal): State<Portal>,
    actor: Actor,
    Params(params): Params<Copy>,
) -> Result<Response, PortalError> {
    let (Some(id), Some(version)) = (params.api_id, params.new_version) else {
        return Err(PortalError::BadRequest("apiId and newVersion are required".to_owned()));
    };
    let api = api_write::copy(&portal, &actor, &id, (&version, params.default_version)).await?;
    Ok(created_api(&api))
}

#[derive(Debug, Deserialize)]
struct Validate {
    query: Option<String>,
}

/// Is the name or context taken? 200 taken, 404 free.
async fn validate(
    State(portal): State<Portal>,
    actor: Actor,
    Params(params): Params<Validate>,
) -> Result<Response, PortalError> {
    let query = params.query.filter(|text| !text.is_empty());
    let query = query.ok_or_else(|| PortalError::BadRequest("The query should not be empty".to_owned()))?;
    let mut conn = portal.store.reader().await?;
    let domain = actor.tenant_domain();
    let is_taken = if let Some(context) = query.strip_prefix("context:") {
        let wanted = ApiContext::new(context.trim(), "1", domain)?;
        let probe = ApiObject::default();
        let found = apis::neighbours(&mut conn, &probe, &wanted, domain).await?;
        found.iter().any(|other| other.row_template == wanted.row_template)
    } else {
        let name = query.strip_prefix("name:").unwrap_or(&query).trim();
        let rows = claviger_store::apis::list_neighbours(&mut conn, name, "").await?;
        rows.iter().any(|row| row.name.eq_ignore_ascii_case(name) && apis::domain_of(&row.provider) == domain)
    };
    if is_taken { Ok(StatusCode::OK.into_response()) } else { Err(PortalError::NoMatch) }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangeLifecycle {
    api_id: Option<String>,
    action: Option<String>,
    lifecycle_checklist: Option<String>,
}

async fn change_lifecycle(
    State(portal): State<Portal>,
    actor: Actor,
    Params(params): Params<ChangeLifecycle>,
) -> Result<Response, PortalError> {
    let (Some(id), Some(action)) = (params.api_id, params.action) else {
        return Err(PortalError::BadRequest("apiId and action are required".to_owned()));
    };
    let checklist = Checklist::parse(params.lifecycle_checklist.as_deref().unwrap_or_default());
    let answer = lifecycle_change::act(&portal, &actor, &id, &action, checklist).await?;
    Ok(json(StatusCode::OK, &answer))
}

async fn lifecycle_state(
    State(portal): State<Portal>,
    actor: Actor,
    Path(id): Path<String>,
) -> Result<Response, PortalError> {
    let mut conn = portal.store.reader().await?;
    let api = apis::find_for_publisher(&portal, &mut conn, &actor, &id).await?;
    Ok(json(StatusCode::OK, &lifecycle_change::state(&mut conn, &api).await?))
}

async fn lifecycle_history(
    State(portal): State<Portal>,
    actor: Actor,
    Path(id): Path<String>,
) -> Result<Response, PortalError> {
    let mut conn = portal.store.reader().await?;
    let api = apis::find_for_publisher(&portal, &mut conn, &actor, &id).await?;
    Ok(json(StatusCode::OK, &lifecycle_change::history(&mut conn, &api).await?))
}
