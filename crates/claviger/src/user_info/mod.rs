//! `/keymanager-operations/user-info`: the claims of a user, which API-M puts into the token for a backend (contract rest-3x.md
//! 2.5, 2.6). `claims` finds them, `dialects` has the ones that a tenant has without having stored any.

mod claims;
mod dialects;

use crate::app::App;
use crate::http::access::{Caller, Rule};
use crate::http::extract::{Unreadable, Whole};
use crate::http::routes::Routes;
use crate::http::{json, reply};
use axum::extract::{RawQuery, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use claviger_proto::user::{PRIMARY, Username};
use claviger_store::error::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The local dialect, which is meant when none is named.
const LOCAL: &str = "http://wso2.org/claims";

/// The routes of this folder. The first one's rule in the old server's list could never match (rest-3x.md 6.1).
pub fn routes(routes: Routes) -> Routes {
    const LIST_USERS: Rule = Rule::Permission("/permission/admin/manage/identity/usermgt/list");
    routes.add(Method::GET, "/keymanager-operations/user-info/claims", LIST_USERS, read).add(
        Method::POST,
        "/keymanager-operations/user-info/claims/generate",
        LIST_USERS,
        generate,
    )
}

/// The claims of a user by their names in OpenID Connect; `None` when there is no such user.
pub(crate) async fn openid_claims(
    app: &App,
    username: &Username,
) -> Result<Option<BTreeMap<String, String>>, StoreError> {
    claims::find(app, username, dialects::OPENID).await
}

/// Why there are no claims to show.
#[derive(Debug, thiserror::Error)]
enum ClaimsError {
    #[error("{0}")]
    BadRequest(&'static str),
    #[error("Requested user {0} does not exist.")]
    UnknownUser(String),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    Store(#[from] StoreError),
}

async fn read(State(app): State<Arc<App>>, caller: Caller, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let parameter = |name: &str| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes()).filter(|(own, _)| own == name);
        pairs.next().map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
    };
    let result = async {
        let missing = ClaimsError::BadRequest("username not found in the request parameters");
        let mut user = parameter("username").ok_or(missing)?;
        if let Some(domain) = parameter("domain") {
            // Whatever stands in the name already: so does upstream, here and not below.
            user = format!("{domain}/{user}");
        }
        let dialect = parameter("dialect");
        let found = find(&app, &caller, &user, dialect.as_deref()).await?;
        found.ok_or(ClaimsError::UnknownUser(user))
    };
    answer(result.await)
}

/// What API-M asks with. `accessToken` and `bindFederatedUserClaims` concern users of other identity providers, of whom there
/// are none.
#[derive(Deserialize)]
struct Question {
    username: Option<String>,
    domain: Option<String>,
    dialect: Option<String>,
}

async fn generate(State(app): State<Arc<App>>, caller: Caller, body: Result<Whole, Unreadable>) -> Response {
    let result = async {
        let no_payload = || ClaimsError::BadRequest("Payload not found in Request body");
        let question: Option<Question> = json::object_or_null(&body?.0).map_err(|_| no_payload())?;
        let question = question.ok_or_else(no_payload)?;
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let missing = ClaimsError::BadRequest("username not found in the request body");
        let mut user = given(question.username).ok_or(missing)?;
        if let Some(domain) = given(question.domain)
            && !user.contains('/')
            && !domain.eq_ignore_ascii_case(PRIMARY)
        {
            user = format!("{domain}/{user}");
        }
        let dialect = given(question.dialect);
        // From connector 1.4 on an unknown user has no claims and is no error: he may be one of another identity provider.
        Ok(find(&app, &caller, &user, dialect.as_deref()).await?.unwrap_or_default())
    };
    answer(result.await)
}

/// The claims of a user of the caller's tenant; `None` when there is no such user.
async fn find(
    app: &App,
    caller: &Caller,
    user: &str,
    dialect: Option<&str>,
) -> Result<Option<BTreeMap<String, String>>, StoreError> {
    let own_tenant = &caller.principal.username.tenant;
    let Ok(mut username) = Username::parse(user) else { return Ok(None) };
    if !user.contains('@') {
        username.tenant.clone_from(own_tenant);
    }
    if username.tenant != *own_tenant {
        return Ok(None);
    }
    claims::find(app, &username, dialect.unwrap_or(LOCAL)).await
}

fn answer(result: Result<BTreeMap<String, String>, ClaimsError>) -> Response {
    #[derive(Serialize)]
    struct ClaimBody<'a> {
        uri: &'a str,
        value: &'a str,
    }
    #[derive(Serialize)]
    struct ClaimList<'a> {
        count: usize,
        list: Vec<ClaimBody<'a>>,
    }
    match result {
        Ok(claims) => {
            let list: Vec<_> = claims.iter().map(|(uri, value)| ClaimBody { uri, value }).collect();
            reply::json_private(StatusCode::OK, &ClaimList { count: list.len(), list })
        }
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &ClaimsError) -> Response {
    #[derive(Serialize)]
    struct Fault<'a> {
        code: &'a str,
        message: &'a str,
        description: &'a str,
    }
    let (status, message) = match error {
        ClaimsError::BadRequest(_) => (StatusCode::BAD_REQUEST, "Bad request"),
        ClaimsError::UnknownUser(_) => (StatusCode::NOT_FOUND, "User not found"),
        ClaimsError::Unreadable(error) => (error.status(), "Bad request"),
        ClaimsError::Store(error) => return reply::store_failure(error),
    };
    let code = status.canonical_reason().unwrap_or_default();
    reply::json_private(status, &Fault { code, message, description: &error.to_string() })
}
