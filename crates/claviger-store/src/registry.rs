//! The registry: REG_PATH, REG_RESOURCE, REG_CONTENT, REG_PROPERTY, REG_TAG, REG_LOG (contract database.md 6,
//! portal-gateway-3x.md 5.3).
//!
//! A collection is a path; a resource is a name in a collection. A write replaces the resource's row and content, as the
//! product does, so REG_VERSION tells a change. Properties and tags are linked by path and name (3.x) and read by version
//! too (2.x). Leaves to the caller: what the bytes mean.

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::queries;
use crate::value::Row;
use claviger_proto::entropy::{Entropy, uuid};
use claviger_proto::ids::TenantId;
use claviger_proto::time::Timestamp;
use std::collections::{BTreeMap, HashMap};

queries! {
    FIND_PATH = "SELECT REG_PATH_ID FROM REG_PATH WHERE REG_PATH_VALUE = ? AND REG_TENANT_ID = ? ORDER BY REG_PATH_ID";
    INSERT_PATH = "INSERT INTO REG_PATH (REG_PATH_VALUE, REG_PATH_PARENT_ID, REG_TENANT_ID) VALUES (?, ?, ?)",
        Postgres = "INSERT INTO REG_PATH (REG_PATH_VALUE, REG_PATH_PARENT_ID, REG_TENANT_ID) VALUES (?, ?, ?) RETURNING REG_PATH_ID";
    LOCK_PATH = "UPDATE REG_PATH SET REG_PATH_VALUE = REG_PATH_VALUE WHERE REG_PATH_VALUE = ? AND REG_TENANT_ID = ?";
    LIST_SUBTREE = "SELECT REG_PATH_ID, REG_PATH_VALUE FROM REG_PATH WHERE REG_TENANT_ID = ? AND REG_PATH_VALUE LIKE ? ORDER BY REG_PATH_ID DESC";
    DELETE_PATH = "DELETE FROM REG_PATH WHERE REG_PATH_ID = ? AND REG_TENANT_ID = ?";
    FIND_RESOURCE = "SELECT R.REG_PATH_ID, P.REG_PATH_VALUE, R.REG_NAME, R.REG_VERSION, R.REG_UUID, R.REG_MEDIA_TYPE, R.REG_CREATOR, \
                     R.REG_CREATED_TIME, R.REG_LAST_UPDATED_TIME, C.REG_CONTENT_DATA, R.REG_CONTENT_ID FROM REG_PATH P \
                     JOIN REG_RESOURCE R ON R.REG_PATH_ID = P.REG_PATH_ID AND R.REG_TENANT_ID = P.REG_TENANT_ID \
                     JOIN REG_CONTENT C ON C.REG_CONTENT_ID = R.REG_CONTENT_ID AND C.REG_TENANT_ID = R.REG_TENANT_ID \
                     WHERE P.REG_PATH_VALUE = ? AND P.REG_TENANT_ID = ? AND R.REG_NAME = ? ORDER BY R.REG_VERSION DESC";
    FIND_RESOURCE_BY_UUID = "SELECT R.REG_PATH_ID, P.REG_PATH_VALUE, R.REG_NAME, R.REG_VERSION, R.REG_UUID, R.REG_MEDIA_TYPE, R.REG_CREATOR, \
                     R.REG_CREATED_TIME, R.REG_LAST_UPDATED_TIME, C.REG_CONTENT_DATA, R.REG_CONTENT_ID FROM REG_RESOURCE R \
                     JOIN REG_PATH P ON P.REG_PATH_ID = R.REG_PATH_ID AND P.REG_TENANT_ID = R.REG_TENANT_ID \
                     JOIN REG_CONTENT C ON C.REG_CONTENT_ID = R.REG_CONTENT_ID AND C.REG_TENANT_ID = R.REG_TENANT_ID \
                     WHERE R.REG_UUID = ? AND R.REG_TENANT_ID = ? ORDER BY R.REG_VERSION DESC";
    LIST_BY_MEDIA_TYPE = "SELECT R.REG_PATH_ID, P.REG_PATH_VALUE, R.REG_NAME, R.REG_VERSION, R.REG_UUID, R.REG_MEDIA_TYPE, R.REG_CREATOR, \
                     R.REG_CREATED_TIME, R.REG_LAST_UPDATED_TIME, C.REG_CONTENT_DATA, R.REG_CONTENT_ID FROM REG_RESOURCE R \
                     JOIN REG_PATH P ON P.REG_PATH_ID = R.REG_PATH_ID AND P.REG_TENANT_ID = R.REG_TENANT_ID \
                     JOIN REG_CONTENT C ON C.REG_CONTENT_ID = R.REG_CONTENT_ID AND C.REG_TENANT_ID = R.REG_TENANT_ID \
                     WHERE R.REG_MEDIA_TYPE = ? AND R.REG_TENANT_ID = ? ORDER BY R.REG_CREATED_TIME, R.REG_UUID LIMIT ?";
    LIST_VERSIONS = "SELECT REG_VERSION, REG_CONTENT_ID, REG_NAME FROM REG_RESOURCE WHERE REG_PATH_ID = ? AND REG_TENANT_ID = ?";
    FIND_COLLECTION_ROW = "SELECT REG_VERSION FROM REG_RESOURCE WHERE REG_PATH_ID = ? AND REG_TENANT_ID = ? AND REG_NAME IS NULL";
    INSERT_RESOURCE = "INSERT INTO REG_RESOURCE (REG_PATH_ID, REG_NAME, REG_MEDIA_TYPE, REG_CREATOR, REG_CREATED_TIME, REG_LAST_UPDATOR, \
                       REG_LAST_UPDATED_TIME, REG_CONTENT_ID, REG_TENANT_ID, REG_UUID) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    DELETE_RESOURCE = "DELETE FROM REG_RESOURCE WHERE REG_VERSION = ? AND REG_TENANT_ID = ?";
    INSERT_CONTENT = "INSERT INTO REG_CONTENT (REG_CONTENT_DATA, REG_TENANT_ID) VALUES (?, ?)",
        Postgres = "INSERT INTO REG_CONTENT (REG_CONTENT_DATA, REG_TENANT_ID) VALUES (?, ?) RETURNING REG_CONTENT_ID";
    DELETE_CONTENT = "DELETE FROM REG_CONTENT WHERE REG_CONTENT_ID = ? AND REG_TENANT_ID = ?";
    LIST_PROPERTIES = "SELECT P.REG_ID, P.REG_NAME, P.REG_VALUE FROM REG_RESOURCE_PROPERTY L \
                       JOIN REG_PROPERTY P ON P.REG_ID = L.REG_PROPERTY_ID AND P.REG_TENANT_ID = L.REG_TENANT_ID \
                       WHERE L.REG_TENANT_ID = ? AND L.REG_PATH_ID = ? AND L.REG_RESOURCE_NAME = ?";
    LIST_VERSION_PROPERTIES = "SELECT P.REG_ID, P.REG_NAME, P.REG_VALUE FROM REG_RESOURCE_PROPERTY L \
                       JOIN REG_PROPERTY P ON P.REG_ID = L.REG_PROPERTY_ID AND P.REG_TENANT_ID = L.REG_TENANT_ID \
                       WHERE L.REG_TENANT_ID = ? AND L.REG_VERSION = ?";
    LIST_MEDIA_TYPE_PROPERTIES = "SELECT R.REG_UUID, P.REG_NAME, P.REG_VALUE FROM REG_RESOURCE R \
                       JOIN REG_RESOURCE_PROPERTY L ON L.REG_PATH_ID = R.REG_PATH_ID AND L.REG_RESOURCE_NAME = R.REG_NAME AND L.REG_TENANT_ID = R.REG_TENANT_ID \
                       JOIN REG_PROPERTY P ON P.REG_ID = L.REG_PROPERTY_ID AND P.REG_TENANT_ID = L.REG_TENANT_ID \
                       WHERE R.REG_MEDIA_TYPE = ? AND R.REG_TENANT_ID = ?";
    LIST_MEDIA_TYPE_PLACES = "SELECT R.REG_UUID, P.REG_PATH_VALUE FROM REG_RESOURCE R \
                       JOIN REG_PATH P ON P.REG_PATH_ID = R.REG_PATH_ID AND P.REG_TENANT_ID = R.REG_TENANT_ID \
                       WHERE R.REG_MEDIA_TYPE = ? AND R.REG_TENANT_ID = ? ORDER BY R.REG_VERSION";
    LIST_MEDIA_TYPE_PROPERTY = "SELECT R.REG_UUID, P.REG_VALUE FROM REG_RESOURCE R \
                       JOIN REG_RESOURCE_PROPERTY L ON L.REG_PATH_ID = R.REG_PATH_ID AND L.REG_RESOURCE_NAME = R.REG_NAME AND L.REG_TENANT_ID = R.REG_TENANT_ID \
                       JOIN REG_PROPERTY P ON P.REG_ID = L.REG_PROPERTY_ID AND P.REG_TENANT_ID = L.REG_TENANT_ID \
                       WHERE R.REG_MEDIA_TYPE = ? AND R.REG_TENANT_ID = ? AND P.REG_NAME = ?";
    LIST_MEDIA_TYPE_TAGS = "SELECT R.REG_UUID, T.REG_TAG_NAME FROM REG_RESOURCE R \
                       JOIN REG_RESOURCE_TAG L ON L.REG_PATH_ID = R.REG_PATH_ID AND L.REG_RESOURCE_NAME = R.REG_NAME AND L.REG_TENANT_ID = R.REG_TENANT_ID \
                       JOIN REG_TAG T ON T.REG_ID = L.REG_TAG_ID AND T.REG_TENANT_ID = L.REG_TENANT_ID \
                       WHERE R.REG_MEDIA_TYPE = ? AND R.REG_TENANT_ID = ? ORDER BY T.REG_ID";
    INSERT_PROPERTY = "INSERT INTO REG_PROPERTY (REG_NAME, REG_VALUE, REG_TENANT_ID) VALUES (?, ?, ?)",
        Postgres = "INSERT INTO REG_PROPERTY (REG_NAME, REG_VALUE, REG_TENANT_ID) VALUES (?, ?, ?) RETURNING REG_ID";
    LINK_PROPERTY = "INSERT INTO REG_RESOURCE_PROPERTY (REG_PROPERTY_ID, REG_PATH_ID, REG_RESOURCE_NAME, REG_TENANT_ID) VALUES (?, ?, ?, ?)";
    UNLINK_PROPERTY = "DELETE FROM REG_RESOURCE_PROPERTY WHERE REG_PROPERTY_ID = ? AND REG_TENANT_ID = ?";
    DELETE_PROPERTY = "DELETE FROM REG_PROPERTY WHERE REG_ID = ? AND REG_TENANT_ID = ?";
    LIST_TAGS = "SELECT T.REG_ID, T.REG_TAG_NAME FROM REG_RESOURCE_TAG L \
                 JOIN REG_TAG T ON T.REG_ID = L.REG_TAG_ID AND T.REG_TENANT_ID = L.REG_TENANT_ID \
                 WHERE L.REG_TENANT_ID = ? AND L.REG_PATH_ID = ? AND L.REG_RESOURCE_NAME = ? ORDER BY T.REG_ID";
    INSERT_TAG = "INSERT INTO REG_TAG (REG_TAG_NAME, REG_USER_ID, REG_TAGGED_TIME, REG_TENANT_ID) VALUES (?, ?, ?, ?)",
        Postgres = "INSERT INTO REG_TAG (REG_TAG_NAME, REG_USER_ID, REG_TAGGED_TIME, REG_TENANT_ID) VALUES (?, ?, ?, ?) RETURNING REG_ID";
    LINK_TAG = "INSERT INTO REG_RESOURCE_TAG (REG_TAG_ID, REG_PATH_ID, REG_RESOURCE_NAME, REG_TENANT_ID) VALUES (?, ?, ?, ?)";
    UNLINK_TAG = "DELETE FROM REG_RESOURCE_TAG WHERE REG_TAG_ID = ? AND REG_TENANT_ID = ?";
    DELETE_TAG = "DELETE FROM REG_TAG WHERE REG_ID = ? AND REG_TENANT_ID = ?";
    INSERT_ASSOCIATION = "INSERT INTO REG_ASSOCIATION (REG_SOURCEPATH, REG_TARGETPATH, REG_ASSOCIATION_TYPE, REG_TENANT_ID) VALUES (?, ?, ?, ?)";
    DELETE_ASSOCIATIONS = "DELETE FROM REG_ASSOCIATION WHERE REG_TENANT_ID = ? AND REG_TARGETPATH = ?";
    INSERT_LOG = "INSERT INTO REG_LOG (REG_PATH, REG_USER_ID, REG_LOGGED_TIME, REG_ACTION, REG_ACTION_DATA, REG_TENANT_ID) VALUES (?, ?, ?, ?, NULL, ?)";
}

/// REG_CREATOR, REG_LAST_UPDATOR and REG_USER_ID are this wide.
const USER_LENGTH_MAX: usize = 31;
const LOG_ADD: i64 = 0;
const LOG_UPDATE: i64 = 1;
const LOG_DELETE: i64 = 7;

/// A resource with its content.
#[derive(Clone, Debug)]
pub struct Resource {
    /// REG_PATH_ID of its collection.
    pub path_id: i64,
    /// Path of its collection.
    pub collection: String,
    /// Its name there.
    pub name: String,
    /// REG_VERSION: another one after every change.
    pub version: i64,
    /// REG_UUID.
    pub uuid: String,
    /// Media type.
    pub media_type: Option<String>,
    /// REG_CREATOR.
    pub creator: String,
    /// Creation.
    pub created: Timestamp,
    /// Last change.
    pub updated: Timestamp,
    /// The bytes.
    pub content: Vec<u8>,
    pub(crate) content_id: i64,
}

/// A resource to write.
#[derive(Clone, Copy, Debug)]
pub struct NewResource<'a> {
    /// Tenant.
    pub tenant: TenantId,
    /// Collection path; made when it is not there.
    pub collection: &'a str,
    /// Name in the collection.
    pub name: &'a str,
    /// Media type.
    pub media_type: &'a str,
    /// REG_UUID of a new resource; an existing one keeps its own.
    pub uuid: &'a str,
    /// The bytes.
    pub content: &'a [u8],
    /// Who writes.
    pub user: &'a str,
    /// When.
    pub now: Timestamp,
}

/// A resource by collection and name. The collation may find another spelling; that is a miss.
pub async fn find(
    conn: &mut Conn,
    tenant: TenantId,
    collection: &str,
    name: &str,
) -> Result<Option<Resource>, StoreError> {
    let rows = conn.rows(&FIND_RESOURCE, &[collection.into(), tenant.into(), name.into()]).await?;
    for row in &rows {
        let resource = decode(row)?;
        if resource.collection == collection && resource.name == name {
            return Ok(Some(resource));
        }
    }
    Ok(None)
}

/// A resource by its UUID.
pub async fn find_by_uuid(conn: &mut Conn, tenant: TenantId, uuid: &str) -> Result<Option<Resource>, StoreError> {
    let rows = conn.rows(&FIND_RESOURCE_BY_UUID, &[uuid.into(), tenant.into()]).await?;
    for row in &rows {
        let resource = decode(row)?;
        if resource.uuid == uuid {
            return Ok(Some(resource));
        }
    }
    Ok(None)
}

/// Resources of one media type, oldest first.
pub async fn list_by_media_type(
    conn: &mut Conn,
    tenant: TenantId,
    media_type: &str,
    limit: i64,
) -> Result<Vec<Resource>, StoreError> {
    let rows = conn.rows(&LIST_BY_MEDIA_TYPE, &[media_type.into(), tenant.into(), limit.into()]).await?;
    rows.iter().map(decode).collect()
}

/// Properties and tags of every resource of one media type, by the resource's UUID.
pub async fn list_labels(
    conn: &mut Conn,
    tenant: TenantId,
    media_type: &str,
) -> Result<HashMap<String, Labels>, StoreError> {
    let mut labels: HashMap<String, Labels> = HashMap::new();
    for row in conn.rows(&LIST_MEDIA_TYPE_PROPERTIES, &[media_type.into(), tenant.into()]).await? {
        let (name, value) = (row.text(1)?, row.opt_text(2)?.unwrap_or_default());
        labels.entry(row.text(0)?).or_default().properties.insert(name, value);
    }
    for row in conn.rows(&LIST_MEDIA_TYPE_TAGS, &[media_type.into(), tenant.into()]).await? {
        labels.entry(row.text(0)?).or_default().tags.push(row.text(1)?);
    }
    Ok(labels)
}

/// Where every resource of one media type is and what a property of it says, without its content: the UUID and the value by
/// the resource's collection. Of several in one collection the newest counts.
pub async fn list_places(
    conn: &mut Conn,
    tenant: TenantId,
    media_type: &str,
    property: &str,
) -> Result<HashMap<String, (String, Option<String>)>, StoreError> {
    let mut values: HashMap<String, String> = HashMap::new();
    for row in conn.rows(&LIST_MEDIA_TYPE_PROPERTY, &[media_type.into(), tenant.into(), property.into()]).await? {
        if let Some(value) = row.opt_text(1)? {
            values.insert(row.text(0)?, value);
        }
    }
    let mut places = HashMap::new();
    for row in conn.rows(&LIST_MEDIA_TYPE_PLACES, &[media_type.into(), tenant.into()]).await? {
        let uuid = row.text(0)?;
        let value = values.remove(&uuid);
        places.insert(row.text(1)?, (uuid, value));
    }
    Ok(places)
}

/// What hangs on a resource beside its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// Properties.
    pub properties: BTreeMap<String, String>,
    /// Tags in the order they were given.
    pub tags: Vec<String>,
}

/// Takes a lock on a collection's path until the transaction ends. Call it before anything is read in the transaction, so
/// that what is read is no older than the lock. False when the path does not exist.
pub async fn lock(conn: &mut Conn, tenant: TenantId, collection: &str) -> Result<bool, StoreError> {
    Ok(conn.execute(&LOCK_PATH, &[collection.into(), tenant.into()]).await? > 0)
}

/// The REG_PATH_ID of a collection; it and its parents are made when they are not there.
pub async fn ensure_collection(
    conn: &mut Conn,
    tenant: TenantId,
    collection: &str,
    user: &str,
    rng: &dyn Entropy,
    now: Timestamp,
) -> Result<i64, StoreError> {
    if let Some(id) = find_path(conn, tenant, collection).await? {
        return Ok(id);
    }
    let mut id = -1;
    let ends = collection.match_indices('/').map(|(index, _)| index).skip(1).chain([collection.len()]);
    for path in std::iter::once("/").chain(ends.map(|end| &collection[..end])) {
        id = match find_path(conn, tenant, path).await? {
            Some(found) => found,
            None => insert_collection(conn, tenant, path, id, &new_row(user, &uuid(rng), now)).await?,
        };
    }
    Ok(id)
}

struct NewRow<'a> {
    user: &'a str,
    uuid: String,
    now: Timestamp,
}

fn new_row<'a>(user: &'a str, uuid: &str, now: Timestamp) -> NewRow<'a> {
    NewRow { user: short_user(user), uuid: uuid.to_owned(), now }
}

async fn insert_collection(
    conn: &mut Conn,
    tenant: TenantId,
    path: &str,
    parent: i64,
    row: &NewRow<'_>,
) -> Result<i64, StoreError> {
    let id =
        conn.insert(&INSERT_PATH, &[path.into(), parent.into(), tenant.into()]).await.map_err(StoreError::or_repeat)?;
    let none: Option<&str> = None;
    let args = [
        id.into(),
        none.into(),
        none.into(),
        row.user.into(),
        row.now.into(),
        row.user.into(),
        row.now.into(),
        None::<i64>.into(),
        tenant.into(),
        (&row.uuid).into(),
    ];
    conn.execute(&INSERT_RESOURCE, &args).await?;
    Ok(id)
}

/// Writes a resource, keeping creator, creation time and UUID of one that is there. Returns its REG_PATH_ID.
pub async fn put(conn: &mut Conn, new: &NewResource<'_>, rng: &dyn Entropy) -> Result<i64, StoreError> {
    let path_id = ensure_collection(conn, new.tenant, new.collection, new.user, rng, new.now).await?;
    lock(conn, new.tenant, new.collection).await?;
    let before = find(conn, new.tenant, new.collection, new.name).await?;
    if let Some(before) = &before {
        conn.execute(&DELETE_RESOURCE, &[before.version.into(), new.tenant.into()]).await?;
        conn.execute(&DELETE_CONTENT, &[before.content_id.into(), new.tenant.into()]).await?;
    }
    let content = conn.insert(&INSERT_CONTENT, &[new.content.into(), new.tenant.into()]).await?;
    let user = short_user(new.user);
    let args = [
        path_id.into(),
        new.name.into(),
        new.media_type.into(),
        before.as_ref().map_or(user, |it| &it.creator).into(),
        before.as_ref().map_or(new.now, |it| it.created).into(),
        user.into(),
        new.now.into(),
        content.into(),
        new.tenant.into(),
        before.as_ref().map_or(new.uuid, |it| &it.uuid).into(),
    ];
    conn.execute(&INSERT_RESOURCE, &args).await?;
    let action = if before.is_some() { LOG_UPDATE } else { LOG_ADD };
    log(conn, new.tenant, &format!("{}/{}", new.collection, new.name), user, action, new.now).await?;
    Ok(path_id)
}

/// Properties of a resource, linked by path and name or, in older databases, by version.
pub async fn properties(
    conn: &mut Conn,
    tenant: TenantId,
    resource: &Resource,
) -> Result<BTreeMap<String, String>, StoreError> {
    let mut properties = BTreeMap::new();
    let rows = conn.rows(&LIST_VERSION_PROPERTIES, &[tenant.into(), resource.version.into()]).await?;
    let by_path = [tenant.into(), resource.path_id.into(), (&resource.name).into()];
    for row in rows.iter().chain(&conn.rows(&LIST_PROPERTIES, &by_path).await?) {
        properties.insert(row.text(1)?, row.opt_text(2)?.unwrap_or_default());
    }
    Ok(properties)
}

/// Replaces the properties of a resource; only what differs is written.
pub async fn set_properties(
    conn: &mut Conn,
    tenant: TenantId,
    (path_id, name): (i64, &str),
    properties: &BTreeMap<String, String>,
) -> Result<(), StoreError> {
    if let Some((key, _)) =
        properties.iter().find(|(key, value)| key.chars().count() > 100 || value.chars().count() > 1000)
    {
        tracing::debug!(property = %key, "a property is wider than its column");
        return Err(StoreError::TooLong("a property"));
    }
    let mut missing = properties.clone();
    for row in conn.rows(&LIST_PROPERTIES, &[tenant.into(), path_id.into(), name.into()]).await? {
        let (id, key, value) = (row.int(0)?, row.text(1)?, row.opt_text(2)?.unwrap_or_default());
        if missing.get(&key) == Some(&value) {
            missing.remove(&key);
        } else {
            conn.execute(&UNLINK_PROPERTY, &[id.into(), tenant.into()]).await?;
            conn.execute(&DELETE_PROPERTY, &[id.into(), tenant.into()]).await?;
        }
    }
    for (key, value) in &missing {
        let id = conn.insert(&INSERT_PROPERTY, &[key.into(), value.into(), tenant.into()]).await?;
        conn.execute(&LINK_PROPERTY, &[id.into(), path_id.into(), name.into(), tenant.into()]).await?;
    }
    Ok(())
}

/// Tags of a resource in the order they were given.
pub async fn tags(conn: &mut Conn, tenant: TenantId, resource: &Resource) -> Result<Vec<String>, StoreError> {
    let args = [tenant.into(), resource.path_id.into(), (&resource.name).into()];
    let rows = conn.rows(&LIST_TAGS, &args).await?;
    rows.iter().map(|row| row.text(1)).collect()
}

/// Replaces the tags of a resource; only what differs is written.
pub async fn set_tags(
    conn: &mut Conn,
    tenant: TenantId,
    (path_id, name): (i64, &str),
    tags: &[String],
    user: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    if tags.iter().any(|tag| tag.chars().count() > 500) {
        return Err(StoreError::TooLong("a tag"));
    }
    let mut kept = Vec::new();
    for row in conn.rows(&LIST_TAGS, &[tenant.into(), path_id.into(), name.into()]).await? {
        let (id, tag) = (row.int(0)?, row.text(1)?);
        if tags.contains(&tag) && !kept.contains(&tag) {
            kept.push(tag);
        } else {
            conn.execute(&UNLINK_TAG, &[id.into(), tenant.into()]).await?;
            conn.execute(&DELETE_TAG, &[id.into(), tenant.into()]).await?;
        }
    }
    for tag in tags.iter().filter(|tag| !kept.contains(*tag)) {
        let id = conn.insert(&INSERT_TAG, &[tag.into(), short_user(user).into(), now.into(), tenant.into()]).await?;
        conn.execute(&LINK_TAG, &[id.into(), path_id.into(), name.into(), tenant.into()]).await?;
    }
    Ok(())
}

/// Notes that a resource or collection provides another (`provides`).
pub async fn associate(
    conn: &mut Conn,
    tenant: TenantId,
    source: &str,
    target: &str,
    kind: &str,
) -> Result<(), StoreError> {
    conn.execute(&INSERT_ASSOCIATION, &[source.into(), target.into(), kind.into(), tenant.into()]).await?;
    Ok(())
}

/// Deletes a collection with everything below it.
pub async fn delete_tree(
    conn: &mut Conn,
    tenant: TenantId,
    collection: &str,
    user: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut paths = Vec::new();
    // `_` and `%` of the path itself match more than they should; the exact comparison below sorts that out.
    let below = format!("{collection}/");
    for row in conn.rows(&LIST_SUBTREE, &[tenant.into(), format!("{below}%").as_str().into()]).await? {
        let (id, path) = (row.int(0)?, row.text(1)?);
        if path.starts_with(&below) {
            paths.push((id, path));
        }
    }
    if let Some(id) = find_path(conn, tenant, collection).await? {
        paths.push((id, collection.to_owned()));
    }
    // Longest first: children before their parents.
    paths.sort_by_key(|(_, path)| std::cmp::Reverse(path.len()));
    for (id, path) in &paths {
        for row in conn.rows(&LIST_VERSIONS, &[(*id).into(), tenant.into()]).await? {
            let (version, content, name) = (row.int(0)?, row.opt_int(1)?, row.opt_text(2)?);
            if let Some(name) = name {
                set_properties(conn, tenant, (*id, &name), &BTreeMap::new()).await?;
                set_tags(conn, tenant, (*id, &name), &[], user, now).await?;
                let target = format!("{path}/{name}");
                conn.execute(&DELETE_ASSOCIATIONS, &[tenant.into(), (&target).into()]).await?;
            }
            conn.execute(&DELETE_RESOURCE, &[version.into(), tenant.into()]).await?;
            if let Some(content) = content {
                conn.execute(&DELETE_CONTENT, &[content.into(), tenant.into()]).await?;
            }
        }
        conn.execute(&DELETE_PATH, &[(*id).into(), tenant.into()]).await?;
    }
    log(conn, tenant, collection, short_user(user), LOG_DELETE, now).await
}

async fn log(
    conn: &mut Conn,
    tenant: TenantId,
    path: &str,
    user: &str,
    action: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    conn.execute(&INSERT_LOG, &[path.into(), user.into(), now.into(), action.into(), tenant.into()]).await?;
    Ok(())
}

async fn find_path(conn: &mut Conn, tenant: TenantId, path: &str) -> Result<Option<i64>, StoreError> {
    let row = conn.row(&FIND_PATH, &[path.into(), tenant.into()]).await?;
    row.map(|row| row.int(0)).transpose()
}

fn short_user(user: &str) -> &str {
    user.char_indices().nth(USER_LENGTH_MAX).map_or(user, |(end, _)| &user[..end])
}

fn decode(row: &Row) -> Result<Resource, StoreError> {
    Ok(Resource {
        path_id: row.int(0)?,
        collection: row.text(1)?,
        name: row.text(2)?,
        version: row.int(3)?,
        uuid: row.text(4)?,
        media_type: row.opt_text(5)?,
        creator: row.text(6)?,
        created: row.time(7)?,
        updated: row.time(8)?,
        content: row.opt_bytes(9)?.unwrap_or_default(),
        content_id: row.int(10)?,
    })
}
