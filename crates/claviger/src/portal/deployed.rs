//! The portal's APIs as gateways serve them: what the control plane's feed reads.
//!
//! Owns: which APIs are on a gateway (state, environments, default version). The mapping itself is
//! [`super::deployment`]'s; the feed's transport and its caches are the program's.

use super::apis::{self, LoadedApi};
use super::deployment::{Identity, deployment};
use super::error::PortalError;
use claviger_gateway::model::ApiDeployment;
use claviger_store::apis::{self as rows, ApiRow};
use claviger_store::conn::Conn;

/// The API of a row; `None` when it is on no gateway.
pub async fn of_row(conn: &mut Conn, row: &ApiRow) -> Result<Option<ApiDeployment>, PortalError> {
    match apis::find_by_row(conn, row).await? {
        Some(api) => map(conn, &api).await,
        None => Ok(None),
    }
}

async fn map(conn: &mut Conn, api: &LoadedApi) -> Result<Option<ApiDeployment>, PortalError> {
    if !api.stored.is_on_a_gateway() {
        return Ok(None);
    }
    let default = rows::find_default(conn, &api.row.name, &api.row.provider).await?;
    let tenant_domain = apis::domain_of(&api.row.provider);
    let identity = Identity {
        id: api.row.id,
        uuid: &api.uuid,
        tenant_domain: &tenant_domain,
        context: &api.context,
        is_published_default: default.published.as_deref() == Some(api.row.version.as_str()),
    };
    Ok(deployment(&api.object, &identity))
}
