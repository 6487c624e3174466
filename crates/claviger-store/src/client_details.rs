//! What a client has beside what every token request needs: the properties of its service provider (SP_METADATA), its logout
//! address (IDN_OIDC_PROPERTY), and its owner (contract rest-3x.md 2.1, 2.4; database.md 2.1-2.3).

use crate::capability::Capability;
use crate::clients::{self, Client};
use crate::conn::Conn;
use crate::error::{self, StoreError};
use crate::sql::queries;
use crate::users;

queries! {
    LIST_METADATA = "SELECT NAME, VALUE FROM SP_METADATA WHERE SP_ID = ? ORDER BY ID";
    DELETE_METADATA = "DELETE FROM SP_METADATA WHERE SP_ID = ? AND NAME = ?";
    INSERT_METADATA = "INSERT INTO SP_METADATA (SP_ID, NAME, VALUE, DISPLAY_NAME, TENANT_ID) VALUES (?, ?, ?, ?, ?)";
    UPDATE_OWNER = "UPDATE IDN_OAUTH_CONSUMER_APPS SET USERNAME = ?, USER_DOMAIN = ? WHERE ID = ?";
    UPDATE_PROVIDER_OWNER = "UPDATE SP_APP SET USERNAME = ?, USER_STORE = ? WHERE ID = ?";
}

const DISPLAY_NAME: &str = "DisplayName";
/// Begins the name of a property that assigns a scope; its value is the scope.
const SCOPE_PREFIX: &str = "app_scopes_";
const LOGOUT_URI: &str = "backChannelLogoutURL";

/// What a registration may set; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Name that people are shown.
    pub display_name: Option<String>,
    /// Scopes assigned to the application: all of them.
    pub scopes: Option<Vec<String>>,
    /// Where the server says that a session is over.
    pub logout_uri: Option<String>,
}

/// Scopes assigned to the application.
pub async fn find_scopes(conn: &mut Conn, client: &Client) -> Result<Vec<String>, StoreError> {
    match clients::find_provider(conn, client).await? {
        Some(provider) => Ok(list_scopes(conn, provider.id).await?.into_iter().map(|(_, scope)| scope).collect()),
        None => Ok(Vec::new()),
    }
}

/// (property, scope) of each assigned scope.
async fn list_scopes(conn: &mut Conn, provider: i64) -> Result<Vec<(String, String)>, StoreError> {
    let mut scopes = Vec::new();
    for row in conn.rows(&LIST_METADATA, &[provider.into()]).await? {
        let name = row.text(0)?;
        if name.starts_with(SCOPE_PREFIX) {
            scopes.push((name, row.text(1)?));
        }
    }
    Ok(scopes)
}

/// Writes details of a client that is held.
pub async fn put(conn: &mut Conn, client: &Client, details: &Details) -> Result<(), StoreError> {
    check_widths(details)?;
    if let Some(uri) = &details.logout_uri
        && conn.capabilities().has(Capability::OidcProperty)
    {
        clients::write_property(conn, client.tenant, &client.key, (LOGOUT_URI, Some(uri))).await?;
    }
    if details.display_name.is_none() && details.scopes.is_none() {
        return Ok(());
    }
    let Some(provider) = clients::find_provider(conn, client).await? else { return Ok(()) };
    if let Some(name) = &details.display_name {
        conn.execute(&DELETE_METADATA, &[provider.id.into(), DISPLAY_NAME.into()]).await?;
        insert(conn, client, provider.id, (DISPLAY_NAME, name)).await?;
    }
    if let Some(scopes) = &details.scopes {
        for (property, _) in list_scopes(conn, provider.id).await? {
            conn.execute(&DELETE_METADATA, &[provider.id.into(), (&property).into()]).await?;
        }
        for (index, scope) in scopes.iter().enumerate() {
            // The table's key does not tell upper from lower case on MySQL.
            if !scopes[..index].iter().any(|other| other.eq_ignore_ascii_case(scope)) {
                insert(conn, client, provider.id, (&format!("{SCOPE_PREFIX}{scope}"), scope)).await?;
            }
        }
    }
    Ok(())
}

async fn insert(
    conn: &mut Conn,
    client: &Client,
    provider: i64,
    (name, value): (&str, &str),
) -> Result<(), StoreError> {
    let args = [provider.into(), name.into(), value.into(), name.into(), client.tenant.into()];
    conn.execute(&INSERT_METADATA, &args).await.map(|_| ())
}

fn check_widths(details: &Details) -> Result<(), StoreError> {
    let display_name = details.display_name.as_deref().unwrap_or_default();
    let logout_uri = details.logout_uri.as_deref().unwrap_or_default();
    error::check_widths(&[("the display name", display_name, 255), ("the logout URI", logout_uri, 2047)])?;
    for scope in details.scopes.iter().flatten() {
        error::check_widths(&[("an application scope", scope, 255 - SCOPE_PREFIX.len())])?;
    }
    Ok(())
}

/// Gives a client that is held another owner of the same tenant: the OAuth application, its service provider and the role
/// `Application/<name>`, which the owner before loses.
pub async fn change_owner(conn: &mut Conn, client: &Client, name: &str, domain: &str) -> Result<(), StoreError> {
    error::check_widths(&[("the owner's name", name, 255), ("the owner's domain", domain, 50)])?;
    conn.execute(&UPDATE_OWNER, &[name.into(), domain.into(), client.id.into()]).await?;
    if let Some(provider) = clients::find_provider(conn, client).await? {
        conn.execute(&UPDATE_PROVIDER_OWNER, &[name.into(), domain.into(), provider.id.into()]).await?;
        let role = clients::role_of(&provider.name);
        users::remove_hybrid_role(conn, client.tenant, (&client.owner_domain, &client.owner), &role).await?;
        users::add_hybrid_role_in(conn, client.tenant, (domain, name), &role).await?;
    }
    Ok(())
}
