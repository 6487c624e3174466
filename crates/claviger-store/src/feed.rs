//! What gateways of API-M load at their start, of all APIs and applications at once: url mappings, scopes of resources, default
//! versions, groups and attributes of applications (contract rest-3x.md 5.4, database.md 4).
//!
//! Whole tables, each read by one statement or by pages of its key: a gateway of 10,000 APIs must not cost 10,000 statements.
//! The same rows of one API or application are [`crate::apis`]' and [`crate::applications`]'.

use crate::apis::UrlMapping;
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::queries;
use claviger_proto::ids::{ApiId, ApplicationId};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Rows read by one statement.
const PAGE_MAX: usize = 2_000;

queries! {
    LIST_ALL_MAPPINGS = "SELECT URL_MAPPING_ID, API_ID, HTTP_METHOD, URL_PATTERN, AUTH_SCHEME, THROTTLING_TIER FROM AM_API_URL_MAPPING \
                         WHERE URL_MAPPING_ID > ? ORDER BY URL_MAPPING_ID LIMIT ?";
    LIST_ALL_RESOURCE_SCOPES = "SELECT URL_MAPPING_ID, SCOPE_NAME FROM AM_API_RESOURCE_SCOPE_MAPPING";
    LIST_ALL_PRODUCT_MAPPINGS = "SELECT API_ID, URL_MAPPING_ID FROM AM_API_PRODUCT_MAPPING";
    LIST_PRODUCT_RESOURCES = "SELECT U.URL_MAPPING_ID, U.API_ID, U.HTTP_METHOD, U.URL_PATTERN, U.AUTH_SCHEME, U.THROTTLING_TIER, S.SCOPE_NAME \
                         FROM AM_API_PRODUCT_MAPPING P JOIN AM_API_URL_MAPPING U ON U.URL_MAPPING_ID = P.URL_MAPPING_ID \
                         LEFT JOIN AM_API_RESOURCE_SCOPE_MAPPING S ON S.URL_MAPPING_ID = U.URL_MAPPING_ID \
                         WHERE P.API_ID = ? ORDER BY U.URL_MAPPING_ID, S.SCOPE_NAME";
    LIST_ALL_DEFAULTS = "SELECT API_PROVIDER, API_NAME, PUBLISHED_DEFAULT_API_VERSION FROM AM_API_DEFAULT_VERSION";
    LIST_ALL_GROUPS = "SELECT APPLICATION_ID, GROUP_ID FROM AM_APPLICATION_GROUP_MAPPING ORDER BY APPLICATION_ID, GROUP_ID";
    LIST_GROUPS = "SELECT APPLICATION_ID, GROUP_ID FROM AM_APPLICATION_GROUP_MAPPING WHERE APPLICATION_ID = ? ORDER BY GROUP_ID";
    LIST_ALL_ATTRIBUTES = "SELECT APPLICATION_ID, NAME, VALUE FROM AM_APPLICATION_ATTRIBUTES";
}

/// The resources of every API and API product, in definition order.
pub async fn list_url_mappings(conn: &mut Conn) -> Result<HashMap<ApiId, Vec<UrlMapping>>, StoreError> {
    let mut scopes: HashMap<i64, Vec<String>> = HashMap::new();
    for row in conn.rows(&LIST_ALL_RESOURCE_SCOPES, &[]).await? {
        scopes.entry(row.int(0)?).or_default().push(row.text(1)?);
    }
    let mut products: HashMap<i64, Vec<ApiId>> = HashMap::new();
    for row in conn.rows(&LIST_ALL_PRODUCT_MAPPINGS, &[]).await? {
        if let (Some(api), Some(mapping)) = (row.opt_int(0)?, row.opt_int(1)?) {
            products.entry(mapping).or_default().push(ApiId(api));
        }
    }
    let mut mappings: HashMap<ApiId, Vec<UrlMapping>> = HashMap::new();
    let page_max = i64::try_from(PAGE_MAX).unwrap_or(i64::MAX);
    let mut after = i64::MIN;
    loop {
        let page = conn.rows(&LIST_ALL_MAPPINGS, &[after.into(), page_max.into()]).await?;
        for row in &page {
            let id = row.int(0)?;
            after = id;
            let mut scopes = scopes.remove(&id).unwrap_or_default();
            scopes.sort_unstable();
            let mapping = UrlMapping {
                id,
                verb: row.opt_text(2)?.unwrap_or_default(),
                pattern: row.opt_text(3)?.unwrap_or_default(),
                auth_scheme: row.opt_text(4)?.unwrap_or_default(),
                policy: row.opt_text(5)?.unwrap_or_default(),
                scopes,
            };
            for product in products.remove(&id).unwrap_or_default() {
                mappings.entry(product).or_default().push(mapping.clone());
            }
            mappings.entry(ApiId(row.int(1)?)).or_default().push(mapping);
        }
        if page.len() < PAGE_MAX {
            return Ok(mappings);
        }
    }
}

/// The resources of one API product, which are those of other APIs.
pub async fn list_product_resources(conn: &mut Conn, product: ApiId) -> Result<Vec<UrlMapping>, StoreError> {
    let mut mappings: Vec<UrlMapping> = Vec::new();
    for row in conn.rows(&LIST_PRODUCT_RESOURCES, &[product.into()]).await? {
        let id = row.int(0)?;
        let scope = row.opt_text(6)?;
        match mappings.last_mut() {
            Some(last) if last.id == id => last.scopes.extend(scope),
            _ => mappings.push(UrlMapping {
                id,
                verb: row.opt_text(2)?.unwrap_or_default(),
                pattern: row.opt_text(3)?.unwrap_or_default(),
                auth_scheme: row.opt_text(4)?.unwrap_or_default(),
                policy: row.opt_text(5)?.unwrap_or_default(),
                scopes: scope.into_iter().collect(),
            }),
        }
    }
    Ok(mappings)
}

/// The published default versions, each as (provider, name, version).
pub async fn list_published_defaults(conn: &mut Conn) -> Result<HashSet<(String, String, String)>, StoreError> {
    let mut found = HashSet::new();
    for row in conn.rows(&LIST_ALL_DEFAULTS, &[]).await? {
        if let Some(version) = row.opt_text(2)? {
            found.insert((row.text(0)?, row.text(1)?, version));
        }
    }
    Ok(found)
}

/// The groups that applications are shared with: of one, or of every one.
pub async fn list_groups(
    conn: &mut Conn,
    one: Option<ApplicationId>,
) -> Result<HashMap<ApplicationId, Vec<String>>, StoreError> {
    let rows = match one {
        Some(id) => conn.rows(&LIST_GROUPS, &[id.into()]).await?,
        None => conn.rows(&LIST_ALL_GROUPS, &[]).await?,
    };
    let mut groups: HashMap<ApplicationId, Vec<String>> = HashMap::new();
    for row in &rows {
        groups.entry(ApplicationId(row.int(0)?)).or_default().push(row.text(1)?);
    }
    Ok(groups)
}

/// The custom attributes of every application.
pub async fn list_attributes(conn: &mut Conn) -> Result<HashMap<ApplicationId, BTreeMap<String, String>>, StoreError> {
    let mut attributes: HashMap<ApplicationId, BTreeMap<String, String>> = HashMap::new();
    for row in conn.rows(&LIST_ALL_ATTRIBUTES, &[]).await? {
        let of_application = attributes.entry(ApplicationId(row.int(0)?)).or_default();
        of_application.insert(row.text(1)?, row.opt_text(2)?.unwrap_or_default());
    }
    Ok(attributes)
}
