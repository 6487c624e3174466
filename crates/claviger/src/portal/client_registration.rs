//! `POST /client-registration/v0.17/register`: credentials for callers of the portal APIs (rest-3x.md 3.2).

use super::body::parse_body;
use super::error::{Finding, PortalError};
use super::key_manager::{ClientInfo, ClientOrder};
use super::reply::json;
use super::state::{Actor, Portal};
use crate::http::access::Rule;
use crate::http::extract::Whole;
use crate::http::routes::Routes;
use axum::extract::State;
use axum::response::Response;
use claviger_proto::ids::TenantId;
use claviger_proto::secret::Secret;
use claviger_proto::user::Username;
use claviger_store::users;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json as object};

/// The route of this file.
pub fn routes(routes: Routes) -> Routes {
    routes.add(Method::POST, "/client-registration/v0.17/register", Rule::BasicUser, register)
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct RegistrationBody {
    client_name: String,
    owner: String,
    grant_type: String,
    callback_url: Option<String>,
    saas_app: bool,
    token_type: Option<String>,
    token_scope: Option<Value>,
}

async fn register(State(portal): State<Portal>, actor: Actor, Whole(body): Whole) -> Result<Response, PortalError> {
    let body: RegistrationBody = parse_body(&body)?;
    let fields = [("clientName", &body.client_name), ("owner", &body.owner), ("grantType", &body.grant_type)];
    let findings: Vec<Finding> = fields
        .iter()
        .filter(|(_, value)| value.trim().is_empty())
        .map(|(name, _)| Finding::field(name, "must not be null"))
        .collect();
    if !findings.is_empty() {
        return Err(PortalError::Invalid(findings));
    }
    let unknown_owner = || PortalError::BadRequest(format!("'{}' is not a user", body.owner));
    let owner = Username::parse(&body.owner).map_err(|_| unknown_owner())?;
    let found = portal.users.find_even_barred(&owner).await?;
    let owner = found.as_ref().map_or(owner, |user| user.username.clone());
    let is_super_admin = actor.tenant == TenantId::SUPER && portal.is_admin(&actor);
    if owner != actor.username && !is_super_admin {
        let text = format!("Logged in user '{}' and application owner '{}' should be same.", actor.name(), body.owner);
        return Err(PortalError::BadRequest(text));
    }
    let tenant = found.ok_or_else(unknown_owner)?.tenant;
    if let Some(client) = portal.key_manager().find_by_name(tenant, &body.client_name).await? {
        let mut conn = portal.store.reader().await?;
        let is_own = users::is_meant(&mut conn, tenant, &client.owner, &owner, actor.name_rule).await?;
        drop(conn);
        if !is_own {
            return Err(PortalError::ForbiddenBecause("Access is forbidden to the application".to_owned()));
        }
        return Ok(json(StatusCode::OK, &show(&client, false)));
    }
    let callback = body.callback_url.filter(|url| !url.is_empty()).unwrap_or_default();
    let needs_callback = |grant: &&str| matches!(*grant, "authorization_code" | "implicit");
    let grants = body.grant_type.split_whitespace().filter(|grant| !callback.is_empty() || !needs_callback(grant));
    let order = ClientOrder {
        owner,
        name: body.client_name,
        grants: grants.map(str::to_owned).collect(),
        callback,
        token_type: if body.token_type.as_deref() == Some("JWT") { "JWT" } else { "DEFAULT" }.to_owned(),
        is_saas: body.saas_app,
        application_token_s: None,
    };
    let client = portal.key_manager().register(order).await?;
    Ok(json(StatusCode::OK, &show(&client, true)))
}

fn show(client: &ClientInfo, is_new: bool) -> Value {
    let grants = client.grants.join(" ");
    let details = if is_new {
        object!({"grant_types": grants, "redirect_uris": client.callback, "client_name": client.name})
    } else {
        object!({"grant_types": grants})
    };
    object!({
        "clientId": client.key, "clientName": client.name, "callBackURL": client.callback,
        "clientSecret": client.secret.as_ref().map(Secret::expose), "isSaasApplication": client.is_saas, "appOwner": client.owner,
        "jsonString": details.to_string(), "jsonAppAttribute": "{}", "applicationUUID": null,
        "tokenType": client.token_type,
    })
}
