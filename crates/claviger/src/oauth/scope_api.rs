//! `/api/identity/oauth2/v1.0/scopes`: the scopes of a tenant and the roles that they are bound to, as API-M registers them for
//! the resources of its APIs (contract rest-3x.md 3.3). Which of them a token gets is `scope_policy`'s.

use crate::app::App;
use crate::http::access::Caller;
use crate::http::extract::{Path, Unreadable, Whole};
use crate::http::json::{self, Object};
use crate::http::reply::{self, UNWRITABLE};
use crate::http::routes::Routes;
use axum::extract::{RawQuery, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use claviger_proto::scope::{SCOPE_LENGTH_MAX, Scopes};
use claviger_store::error::{StoreError, WriteError};
use claviger_store::scopes::{self, Kind, Scope};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;

/// Most scopes in an answer that no page was asked of.
const SCOPES_MAX: i64 = 10_000;
/// Most scopes of a page.
const PAGE_MAX: usize = 30;
/// Most roles of a scope.
const ROLES_MAX: usize = 500;
/// The one type of binding that has a meaning here: a role.
const ROLE: &str = "DEFAULT";

/// The routes of this file.
pub fn routes(routes: Routes) -> Routes {
    use super::{CREATE, DELETE, UPDATE, VIEW};
    const SCOPES: &str = "/api/identity/oauth2/v1.0/scopes";
    const SCOPE: &str = "/api/identity/oauth2/v1.0/scopes/name/{name}";
    routes
        .add(Method::POST, SCOPES, CREATE, create)
        .add(Method::GET, SCOPES, VIEW, list)
        .add(Method::GET, SCOPE, VIEW, read)
        .add(Method::HEAD, SCOPE, VIEW, look)
        .add(Method::PUT, SCOPE, UPDATE, update)
        .add(Method::DELETE, SCOPE, DELETE, delete)
}

/// A scope in a request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ScopeBody {
    name: Option<String>,
    display_name: Option<String>,
    description: Option<String>,
    bindings: Option<Vec<String>>,
    scope_bindings: Option<Vec<Object<BindingBody>>>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct BindingBody {
    binding_type: String,
    #[serde(default)]
    binding: Vec<String>,
}

/// Why a scope could not be read or written.
#[derive(Debug, thiserror::Error)]
enum ScopeError {
    #[error("Scope Name is not specified.")]
    NameMissing,
    #[error("Scope Display Name is not specified.")]
    DisplayNameMissing,
    #[error("Scope {0} is not found.")]
    NotFound(String),
    #[error("Scope with the name {0} already exists in the system. Please use a different scope name.")]
    Taken(String),
    #[error("Scope is not specified.")]
    Missing,
    #[error("Scope name: {0} contains white spaces.")]
    WhiteSpace(String),
    #[error("Invalid request: {0}")]
    Invalid(String),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for ScopeError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TooLong(what) => Self::Invalid(format!("{what} is too long")),
            StoreError::Unwritable(_) => Self::Invalid(UNWRITABLE.to_owned()),
            error => Self::Store(error),
        }
    }
}

impl WriteError for ScopeError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

async fn create(State(app): State<Arc<App>>, caller: Caller, body: Result<Whole, Unreadable>) -> Response {
    let result = async {
        let body = parse(&body?.0)?;
        let name = body.name.clone().filter(|name| !name.trim().is_empty()).ok_or(ScopeError::NameMissing)?;
        let scope = body.into_scope(name)?;
        let (tenant, written) = (caller.principal.tenant, scope.clone());
        let write = app.store.write(move |conn| {
            let scope = written.clone();
            Box::pin(async move {
                scopes::lock(conn, tenant).await?;
                if scopes::is_registered(conn, tenant, &scope.name, Kind::WithOpenId).await? {
                    return Err(ScopeError::Taken(scope.name));
                }
                match scopes::put(conn, tenant, &scope).await {
                    // A name that the table takes for the same, on MySQL.
                    Err(StoreError::Conflict(_)) => Err(ScopeError::Taken(scope.name)),
                    other => Ok(other?),
                }
            })
        });
        write.await?;
        audit(&caller, &scope.name, "scope registered");
        Ok(scope)
    };
    let result: Result<Scope, ScopeError> = result.await;
    let location = result.as_ref().ok().and_then(|scope| location(&app.oauth.settings.base_url, &scope.name));
    let mut response = answer(StatusCode::CREATED, result);
    if let Some(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

async fn list(State(app): State<Arc<App>>, caller: Caller, RawQuery(query): RawQuery) -> Response {
    let result = async {
        let query = Query::parse(query.as_deref())?;
        let mut conn = app.store.reader().await?;
        let mut found = scopes::list(&mut conn, caller.principal.tenant, query.kind, SCOPES_MAX).await?;
        if let Some(names) = &query.names {
            found.retain(|scope| names.contains(&scope.name));
        }
        Ok(match query.page {
            None => found,
            Some((start, count)) => found.into_iter().skip(start).take(count).collect(),
        })
    };
    let result: Result<Vec<Scope>, ScopeError> = result.await;
    match result {
        Ok(found) => reply::json(StatusCode::OK, &found.iter().map(show).collect::<Vec<_>>()),
        Err(error) => refuse(&error),
    }
}

async fn read(State(app): State<Arc<App>>, caller: Caller, name: Result<Path<String>, Unreadable>) -> Response {
    let result = async {
        let Path(name) = name?;
        let mut conn = app.store.reader().await?;
        let found = scopes::find(&mut conn, caller.principal.tenant, &name).await?;
        found.ok_or(ScopeError::NotFound(name))
    };
    answer(StatusCode::OK, result.await)
}

/// Whether there is one: 200 or 404 without a body.
async fn look(
    State(app): State<Arc<App>>,
    caller: Caller,
    name: Result<Path<String>, Unreadable>,
    RawQuery(query): RawQuery,
) -> Response {
    let result = async {
        let kind = Query::parse(query.as_deref())?.kind;
        let mut conn = app.store.reader().await?;
        Ok(scopes::is_registered(&mut conn, caller.principal.tenant, &name?.0, kind).await?)
    };
    let result: Result<bool, ScopeError> = result.await;
    match result {
        Ok(true) => reply::empty(StatusCode::OK),
        Ok(false) => reply::empty(StatusCode::NOT_FOUND),
        Err(error) => refuse(&error),
    }
}

async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    name: Result<Path<String>, Unreadable>,
    body: Result<Whole, Unreadable>,
) -> Response {
    let result = async {
        let scope = parse(&body?.0)?.into_scope(name?.0)?;
        let (tenant, written) = (caller.principal.tenant, scope.clone());
        let write = app.store.write(move |conn| {
            let scope = written.clone();
            Box::pin(async move {
                scopes::lock(conn, tenant).await?;
                if !scopes::is_registered(conn, tenant, &scope.name, Kind::OAuth).await? {
                    return Err(ScopeError::NotFound(scope.name));
                }
                Ok(scopes::put(conn, tenant, &scope).await?)
            })
        });
        write.await?;
        audit(&caller, &scope.name, "scope changed");
        Ok(scope)
    };
    answer(StatusCode::OK, result.await)
}

async fn delete(State(app): State<Arc<App>>, caller: Caller, name: Result<Path<String>, Unreadable>) -> Response {
    let name = match name {
        Ok(Path(name)) => name,
        Err(error) => return refuse(&error.into()),
    };
    let (tenant, written) = (caller.principal.tenant, name.clone());
    let write = app.store.write(move |conn| {
        let name = written.clone();
        Box::pin(async move {
            scopes::lock(conn, tenant).await?;
            if !scopes::is_registered(conn, tenant, &name, Kind::OAuth).await? {
                return Err(ScopeError::NotFound(name));
            }
            Ok(scopes::delete(conn, tenant, &name).await?)
        })
    });
    match write.await {
        Ok(()) => {
            audit(&caller, &name, "scope deleted");
            // Its own document says 204; API-M takes nothing but 200.
            reply::empty(StatusCode::OK)
        }
        Err(error) => refuse(&error),
    }
}

fn audit(caller: &Caller, scope: &str, what: &'static str) {
    tracing::info!(target: "audit", scope, by = caller.principal.username.with_tenant(), "{what}");
}

fn parse(body: &[u8]) -> Result<ScopeBody, ScopeError> {
    if body.trim_ascii().is_empty() {
        return Err(ScopeError::Missing);
    }
    let parsed: Option<ScopeBody> =
        json::object_or_null(body).map_err(|error| ScopeError::Invalid(format!("the body is no scope: {error}")))?;
    parsed.ok_or(ScopeError::Missing)
}

impl ScopeBody {
    /// The scope to write. Roles stand in `bindings` or, as the only type, in `scopeBindings`.
    fn into_scope(self, name: String) -> Result<Scope, ScopeError> {
        if name.contains(char::is_whitespace) {
            return Err(ScopeError::WhiteSpace(name));
        }
        if !Scopes::parse(&name).is_ok_and(|parsed| parsed.contains(&name)) {
            let text = format!("a scope has at most {SCOPE_LENGTH_MAX} characters of RFC 6749 section 3.3");
            return Err(ScopeError::Invalid(text));
        }
        let display_name = self.display_name.filter(|text| !text.trim().is_empty());
        let display_name = display_name.ok_or(ScopeError::DisplayNameMissing)?;
        let mut roles = self.bindings.unwrap_or_default();
        for Object(binding) in self.scope_bindings.unwrap_or_default() {
            // A scope whose bindings say nothing to us would be everybody's.
            if binding.binding_type != ROLE {
                return Err(ScopeError::Invalid(format!("bindings of type {} are not known", binding.binding_type)));
            }
            roles.extend(binding.binding);
        }
        let mut seen = HashSet::new();
        let mut roles: Vec<String> = roles.into_iter().map(|role| role.trim().to_owned()).collect();
        roles.retain(|role| !role.is_empty() && seen.insert(role.to_lowercase()));
        // Where roles stand in one column, commas part them.
        if roles.len() > ROLES_MAX || roles.iter().any(|role| role.contains(',')) {
            return Err(ScopeError::Invalid(format!("bindings are at most {ROLES_MAX} names of roles")));
        }
        Ok(Scope { name, display_name, description: self.description, roles })
    }
}

/// What a list was asked for.
struct Query {
    kind: Kind,
    names: Option<HashSet<String>>,
    /// From which scope on, counted from 0, and how many.
    page: Option<(usize, usize)>,
}

impl Query {
    fn parse(text: Option<&str>) -> Result<Self, ScopeError> {
        let (mut query, mut start, mut count) = (Self { kind: Kind::OAuth, names: None, page: None }, None, None);
        let number = |name: &str, value: &str| {
            value.parse::<i64>().map_err(|_| ScopeError::Invalid(format!("{name} is not a number")))
        };
        for (name, value) in url::form_urlencoded::parse(text.unwrap_or_default().as_bytes()) {
            match name.as_ref() {
                "includeOIDCScopes" if value.eq_ignore_ascii_case("true") => query.kind = Kind::WithOpenId,
                "requestedScopes" => query.names = Some(value.split_whitespace().map(str::to_owned).collect()),
                "startIndex" => start = Some(number(&name, &value)?),
                "count" => count = Some(number(&name, &value)?),
                _ => {}
            }
        }
        if start.is_some() || count.is_some() {
            // The first scope is number 1.
            let start = usize::try_from(start.unwrap_or(1).max(1) - 1).unwrap_or(usize::MAX);
            let count = usize::try_from(count.unwrap_or(0)).unwrap_or(0);
            query.page = Some((start, if count == 0 { PAGE_MAX } else { count.min(PAGE_MAX) }));
        }
        Ok(query)
    }
}

fn location(base_url: &str, name: &str) -> Option<HeaderValue> {
    let mut url = url::Url::parse(base_url).ok()?;
    url.path_segments_mut().ok()?.extend(["api", "identity", "oauth2", "v1.0", "scopes", "name", name]);
    HeaderValue::from_str(url.as_str()).ok()
}

/// A scope as this wire shows it; `bindings` is an array also when there are none.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownScope<'a> {
    name: &'a str,
    display_name: &'a str,
    description: &'a str,
    bindings: &'a [String],
    scope_bindings: Vec<BindingBody>,
}

fn show(scope: &Scope) -> ShownScope<'_> {
    let binding = BindingBody { binding_type: ROLE.to_owned(), binding: scope.roles.clone() };
    ShownScope {
        name: &scope.name,
        display_name: &scope.display_name,
        description: scope.description.as_deref().unwrap_or_default(),
        bindings: &scope.roles,
        scope_bindings: if scope.roles.is_empty() { Vec::new() } else { vec![binding] },
    }
}

fn answer(status: StatusCode, result: Result<Scope, ScopeError>) -> Response {
    match result {
        Ok(scope) => reply::json(status, &show(&scope)),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &ScopeError) -> Response {
    #[derive(Serialize)]
    struct Fault<'a> {
        code: &'a str,
        message: &'a str,
        description: &'a str,
    }
    let (status, code) = match error {
        ScopeError::NameMissing => (StatusCode::BAD_REQUEST, "41001"),
        ScopeError::DisplayNameMissing => (StatusCode::BAD_REQUEST, "41002"),
        ScopeError::NotFound(_) => (StatusCode::NOT_FOUND, "41003"),
        ScopeError::Taken(_) => (StatusCode::CONFLICT, "41004"),
        ScopeError::Missing => (StatusCode::BAD_REQUEST, "41005"),
        ScopeError::WhiteSpace(_) => (StatusCode::BAD_REQUEST, "41006"),
        ScopeError::Invalid(_) => (StatusCode::BAD_REQUEST, "41007"),
        ScopeError::Unreadable(error) => (error.status(), "41007"),
        ScopeError::Store(error) => return reply::store_failure(error),
    };
    let message = status.canonical_reason().unwrap_or_default();
    reply::json(status, &Fault { code, message, description: &error.to_string() })
}
