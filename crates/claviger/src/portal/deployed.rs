//! The portal's APIs as gateways serve them: what the control plane's feed reads.
//!
//! Owns: which APIs are on a gateway (state, environments, default version). The mapping itself is
//! [`super::deployment`]'s; the feed's transport and its caches are the program's.

use super::apis::{self, LoadedApi};
use super::deployment::{Identity, deployment};
use super::error::PortalError;
use claviger_gateway::model::ApiDeployment;
use claviger_proto::ids::ApiId;
use claviger_store::apis as rows;
use claviger_store::db::Conn;

/// One API; `None` when it does not exist or is on no gateway.
pub async fn find(conn: &mut Conn, id: ApiId) -> Result<Option<ApiDeployment>, PortalError> {
    let Some(row) = rows::find_by_id(conn, id).await? else { return Ok(None) };
    match apis::find_by_row(conn, &row).await? {
        Some(api) => map(conn, &api).await,
        None => Ok(None),
    }
}

/// Every deployed API of every tenant. One that cannot be read is left out, with a line in the log.
pub async fn list(conn: &mut Conn) -> Result<Vec<ApiDeployment>, PortalError> {
    let mut deployed = Vec::new();
    for row in rows::list(conn).await? {
        match find(conn, row.id).await {
            Ok(found) => deployed.extend(found),
            Err(PortalError::Store(error)) => return Err(error.into()),
            Err(error) => tracing::warn!(api_id = row.id.0, %error, "an API cannot be read and is not deployed"),
        }
    }
    Ok(deployed)
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
