//! Writing whole APIs: the artifact, the definition and the AM_ rows in one transaction, with the events of the change.
//!
//! Owns: what is written together, and what a PUT may not change. Reading is [`super::apis`]'s, the rules are
//! [`super::api_rules`]'s, the lifecycle is [`super::lifecycle_change`]'s. Follows portal-gateway-3x.md 2.4, 2.5, 5.1-5.4.

use super::api_object::ApiObject;
use super::api_rules::{self, Facts};
use super::apis::{
    ARTIFACT, DEFINITION, LoadedApi, PROVIDERS, domain_of, find, find_by_row, find_for_publisher, neighbours,
};
use super::artifact::ARTIFACT_BYTES_MAX;
use super::artifact_map::{self, MEDIA_TYPE, StoredApi};
use super::context::ApiContext;
use super::deployment::check_deployable;
use super::endpoint_secrets;
use super::error::PortalError;
use super::lifecycle::State;
use super::openapi;
use super::openapi_read::{DEFINITION_BYTES_MAX, Definition};
use super::served_contexts;
use super::state::{Actor, Portal};
use claviger_proto::entropy;
use claviger_proto::event::Event;
use claviger_proto::ids::ApiId;
use claviger_proto::time::Timestamp;
use claviger_proto::user::Username;
use claviger_store::apis::{self as rows, ApiRow, DefaultVersion, NewApi, StateChange, UrlMapping};
use claviger_store::conn::Conn;
use claviger_store::error::StoreError;
use claviger_store::policies::{self, Level};
use claviger_store::registry::{self, NewResource};
use claviger_store::{roles, subscriptions};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How AUTH_SCHEME is spelled: POST differs from everything else (2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// `Any`, `Application_User`.
    Post,
    /// `Application & Application User`, `Application User`.
    Other,
}

/// Creates an API. A definition given is brought in line with the object; without one a new one is made.
pub async fn create(
    portal: &Portal,
    actor: &Actor,
    mut object: ApiObject,
    definition: Option<Definition>,
    spelling: Spelling,
) -> Result<LoadedApi, PortalError> {
    object.normalise();
    let provider = object.provider.take().filter(|name| !name.is_empty()).unwrap_or_else(|| actor.name());
    check_provider(portal, actor, &provider).await?;
    object.provider = Some(provider);
    let is_prototype = object.life_cycle_status.as_deref() == Some("PROTOTYPED");
    object.life_cycle_status = Some(if is_prototype { State::Prototyped } else { State::Created }.upper().to_owned());
    api_rules::check_fields(&object)?;
    let context = ApiContext::new(&object.context, &object.version, actor.tenant_domain())?;
    let mut definition = definition.unwrap_or_else(|| openapi::create(&object));
    openapi::merge(&mut definition, &object);
    let (portal, actor, now) = (portal.clone(), actor.clone(), portal.clock.now());
    let uuid = entropy::uuid(&*portal.rng);
    let store = portal.store.clone();
    let new =
        Arc::new(NewVersion { portal, actor, uuid, object, context, definition, spelling, copied_from: None, now });
    let written = store.write(move |conn| {
        let new = new.clone();
        Box::pin(async move { new.write(conn).await })
    });
    written.await
}

/// The provider stands in the registry's paths, where `@` is written `-AT-`: a name that holds such signs reads as another.
async fn check_provider(portal: &Portal, actor: &Actor, provider: &str) -> Result<(), PortalError> {
    let refused = |text: String| Err(PortalError::BadRequest(text));
    if provider.contains('/') || provider.contains("-AT-") {
        return refused(format!("'{provider}' cannot be the provider of an API: it contains '/' or '-AT-'"));
    }
    if provider == actor.name() {
        return Ok(());
    }
    if !portal.is_admin(actor) || domain_of(provider) != actor.tenant_domain() {
        return refused("Only an administrator may create an API for another provider of the tenant".to_owned());
    }
    let named = Username::parse(provider).ok().filter(|name| name.to_string() == provider);
    let user = match &named {
        Some(name) => portal.users.find_even_barred(name).await?,
        None => None,
    };
    // The name is written as it was given: another spelling of it would be nobody's.
    if user.is_none_or(|user| Some(&user.username) != named.as_ref()) {
        return refused(format!("The provider '{provider}' is not a user of the tenant"));
    }
    Ok(())
}

/// Copies an API into a new version (2.5): status Created, everything else as it is; subscriptions are not copied here.
pub async fn copy(
    portal: &Portal,
    actor: &Actor,
    uuid_of_old: &str,
    (version, is_default): (&str, bool),
) -> Result<LoadedApi, PortalError> {
    let now = portal.clock.now();
    let new_uuid = entropy::uuid(&*portal.rng);
    let shared = (portal.clone(), actor.clone(), uuid_of_old.to_owned(), version.to_owned(), new_uuid);
    let written = portal.store.write(move |conn| {
        let (portal, actor, uuid_of_old, version, uuid) = shared.clone();
        Box::pin(async move {
            let old = lock_and_find(conn, &portal, &actor, &uuid_of_old).await?;
            let mut object = old.object.clone();
            object.version.clone_from(&version);
            object.life_cycle_status = Some(State::Created.upper().to_owned());
            object.is_default_version = is_default;
            api_rules::check_fields(&object)?;
            let context = ApiContext::from_artifact_template(&old.context.artifact_template, &version);
            context.check_tenant(actor.tenant_domain())?;
            let mut definition = old.definition.clone();
            openapi::set_version(&mut definition, &version);
            let (spelling, copied_from) = (Spelling::Other, Some(old));
            let new = NewVersion { portal, actor, uuid, object, context, definition, spelling, copied_from, now };
            new.write(conn).await
        })
    });
    written.await
}

struct NewVersion {
    portal: Portal,
    actor: Actor,
    uuid: String,
    object: ApiObject,
    context: ApiContext,
    definition: Definition,
    spelling: Spelling,
    copied_from: Option<LoadedApi>,
    now: Timestamp,
}

impl NewVersion {
    async fn write(&self, conn: &mut Conn) -> Result<LoadedApi, PortalError> {
        let (actor, object, now) = (&self.actor, &self.object, self.now);
        // One change at a time in a tenant: names, contexts and scopes have no unique key that says what we mean.
        if !registry::lock(conn, actor.tenant, PROVIDERS).await? {
            let rng = &*self.portal.rng;
            registry::ensure_collection(conn, actor.tenant, PROVIDERS, &actor.name(), rng, now).await?;
        }
        let neighbours = neighbours(conn, object, &self.context, actor.tenant_domain()).await?;
        api_rules::check_unique(object, &self.context, &neighbours)?;
        let provider = object.provider.clone().unwrap_or_default();
        let mut served = vec![self.context.full.clone()];
        served.extend(object.is_default_version.then(|| self.context.default_context()));
        let template = &self.context.row_template;
        served_contexts::check_free(conn, (&provider, &object.name), template, &served).await?;
        let old = self.copied_from.as_ref().map(|old| &old.object);
        check_against_tenant(conn, &self.portal, actor, (object, old)).await?;
        let row = NewApi {
            provider: provider.clone(),
            name: object.name.clone(),
            version: object.version.clone(),
            context: self.context.full.clone(),
            context_template: self.context.row_template.clone(),
            tier: object.api_throttling_policy.clone(),
            kind: object.kind.word().to_owned(),
            user: actor.name(),
        };
        let id = match rows::insert(conn, &row, now).await {
            Err(StoreError::Conflict(_)) => {
                let (name, version) = (object.name.clone(), object.version.clone());
                return Err(PortalError::ApiExists { name, version });
            }
            other => other?,
        };
        let writer = Writer { portal: &self.portal, actor, id, now };
        writer.put_scopes(conn, object, &[]).await?;
        writer.put_resources(conn, object, self.spelling).await?;
        let mut stored = artifact_map::encode(object, &self.context, self.copied_from.as_ref().map(|old| &old.stored));
        stored.artifact.set("overview", "isLatest", "true");
        let collection = artifact_map::collection(&provider, &object.name, &object.version);
        writer.put_artifact(conn, &collection, &self.uuid, &stored).await?;
        if let Some(old) = &self.copied_from {
            let mut stored = old.stored.clone();
            stored.artifact.set("overview", "isLatest", "false");
            writer.put_artifact(conn, &old.collection, old.uuid.as_str(), &stored).await?;
        }
        writer.put_definition(conn, &collection, &entropy::uuid(&*self.portal.rng), &self.definition).await?;
        let source = format!("{PROVIDERS}/{}", artifact_map::registry_provider(&provider));
        registry::associate(conn, actor.tenant, &source, &format!("{collection}/{ARTIFACT}"), "provides").await?;
        let after = object.status().upper().to_owned();
        let change = StateChange { before: None, after, user: actor.name(), time: now };
        rows::insert_state(conn, id, actor.tenant, &change).await?;
        writer.put_default(conn, object).await?;
        conn.emit(Event::ApiChanged { api_id: id }, now).await?;
        let created = find(conn, actor.tenant, &self.uuid).await?;
        created.ok_or_else(|| PortalError::Damaged("the API just written is not there".to_owned()))
    }
}

/// Updates an API from a PUT. What may not change keeps its value silently (2.5).
pub async fn update(portal: &Portal, actor: &Actor, uuid: &str, object: ApiObject) -> Result<LoadedApi, PortalError> {
    change(portal, actor, uuid, Change::Object(Box::new(object))).await
}

/// Replaces the definition: operations, scopes and resources are rebuilt from it (2.8).
pub async fn update_definition(
    portal: &Portal,
    actor: &Actor,
    uuid: &str,
    definition: Definition,
) -> Result<LoadedApi, PortalError> {
    change(portal, actor, uuid, Change::Definition(definition)).await
}

async fn change(portal: &Portal, actor: &Actor, uuid: &str, change: Change) -> Result<LoadedApi, PortalError> {
    let now = portal.clock.now();
    let update = Arc::new(Update { portal: portal.clone(), actor: actor.clone(), uuid: uuid.to_owned(), change, now });
    let written = portal.store.write(move |conn| {
        let update = update.clone();
        Box::pin(async move { update.write(conn).await })
    });
    written.await
}

/// What a client wants changed.
enum Change {
    Object(Box<ApiObject>),
    Definition(Definition),
}

impl Change {
    /// The API after the change.
    fn apply(&self, actor: &Actor, before: &LoadedApi) -> Result<(ApiObject, Definition), PortalError> {
        let (object, mut definition) = match self {
            Self::Object(wanted) => {
                let mut object = wanted.as_ref().clone();
                if !actor.has_scope("apim:api_create") {
                    object = reduced(&before.object, object);
                }
                object.normalise();
                keep_identity(&mut object, &before.object)?;
                endpoint_secrets::keep(&mut object, &before.object)?;
                (object, before.definition.clone())
            }
            Self::Definition(definition) => {
                let mut object = before.object.clone();
                object.operations = definition.operations();
                object.scopes = definition.scopes();
                (object, definition.clone())
            }
        };
        api_rules::check_fields(&object)?;
        api_rules::check_update(&object)?;
        // One that gateways serve already must stay one that they can; what was published elsewhere may be more.
        if object.status().is_deployed() && check_deployable(&before.object).is_ok() {
            check_deployable(&object)?;
        }
        openapi::merge(&mut definition, &object);
        Ok((object, definition))
    }
}

struct Update {
    portal: Portal,
    actor: Actor,
    uuid: String,
    change: Change,
    now: Timestamp,
}

impl Update {
    /// Everything is decided with what stands there under the lock: a blank password, say, keeps the one of this moment.
    async fn write(&self, conn: &mut Conn) -> Result<LoadedApi, PortalError> {
        let (actor, uuid) = (&self.actor, self.uuid.as_str());
        let before = lock_and_find(conn, &self.portal, actor, uuid).await?;
        let (object, definition) = self.change.apply(actor, &before)?;
        let id = before.row.id;
        check_against_tenant(conn, &self.portal, actor, (&object, Some(&before.object))).await?;
        check_products(conn, id, &object).await?;
        if object.is_default_version && !before.object.is_default_version {
            let served = [before.context.default_context()];
            let row = &before.row;
            served_contexts::check_free(conn, (&row.provider, &row.name), &row.context_template, &served).await?;
        }
        let writer = Writer { portal: &self.portal, actor, id, now: self.now };
        writer.put_scopes(conn, &object, &before.object.scopes).await?;
        writer.put_resources(conn, &object, Spelling::Other).await?;
        rows::update(conn, id, object.api_throttling_policy.as_deref(), &actor.name(), self.now).await?;
        let stored = artifact_map::encode(&object, &before.context, Some(&before.stored));
        writer.put_artifact(conn, &before.collection, uuid, &stored).await?;
        let new_uuid = entropy::uuid(&*self.portal.rng);
        writer.put_definition(conn, &before.collection, &new_uuid, &definition).await?;
        writer.put_default(conn, &object).await?;
        conn.emit(Event::ApiChanged { api_id: id }, self.now).await?;
        let after = find(conn, actor.tenant, uuid).await?;
        after.ok_or_else(|| PortalError::Damaged("the API just written is not there".to_owned()))
    }
}

/// An API as it stands once nobody else changes it. Who may see it is asked of what is found then.
pub(super) async fn lock_and_find(
    conn: &mut Conn,
    portal: &Portal,
    actor: &Actor,
    uuid: &str,
) -> Result<LoadedApi, PortalError> {
    registry::lock(conn, actor.tenant, PROVIDERS).await?;
    find_for_publisher(portal, conn, actor, uuid).await
}

/// Deletes an API with its rows and its registry subtree. Subscriptions forbid it.
pub async fn delete(portal: &Portal, actor: &Actor, uuid: &str) -> Result<(), PortalError> {
    let now = portal.clock.now();
    let (shared, actor, uuid) = (portal.clone(), actor.clone(), uuid.to_owned());
    let written = portal.store.write(move |conn| {
        let (portal, actor, uuid) = (shared.clone(), actor.clone(), uuid.clone());
        Box::pin(async move {
            let api = lock_and_find(conn, &portal, &actor, &uuid).await?;
            let id = api.row.id;
            if !subscriptions::list_of_api(conn, id).await?.is_empty() {
                return Err(PortalError::ActiveSubscriptions(uuid));
            }
            if !rows::list_product_uses(conn, id).await?.is_empty() {
                return Err(PortalError::BadRequest("The API is used by an API product".to_owned()));
            }
            let writer = Writer { portal: &portal, actor: &actor, id, now };
            writer.drop_scopes(conn, &api.object, &api.object.scopes).await?;
            rows::delete(conn, id).await?;
            let provider = api.row.provider.as_str();
            let default = rows::find_default(conn, &api.row.name, provider).await?;
            if default.version.as_deref() == Some(api.row.version.as_str()) {
                rows::set_default(conn, &api.row.name, provider, &DefaultVersion::default()).await?;
            }
            registry::delete_tree(conn, actor.tenant, &api.collection, &actor.name(), now).await?;
            conn.emit(Event::ApiChanged { api_id: id }, now).await?;
            Ok(())
        })
    });
    written.await
}

/// The parts of a write, inside its transaction.
pub(super) struct Writer<'a> {
    pub(super) portal: &'a Portal,
    pub(super) actor: &'a Actor,
    pub(super) id: ApiId,
    pub(super) now: Timestamp,
}

impl Writer<'_> {
    pub(super) async fn put_artifact(
        &self,
        conn: &mut Conn,
        collection: &str,
        uuid: &str,
        stored: &StoredApi,
    ) -> Result<(), PortalError> {
        let xml = stored.artifact.encode();
        check_size(xml.len(), ARTIFACT_BYTES_MAX)?;
        let path = self.put(conn, collection, (ARTIFACT, MEDIA_TYPE, uuid), xml.as_bytes()).await?;
        let (tenant, at) = (self.actor.tenant, (path, ARTIFACT));
        registry::set_properties(conn, tenant, at, &stored.properties).await?;
        registry::set_tags(conn, tenant, at, &stored.tags, &self.actor.name(), self.now).await?;
        Ok(())
    }

    async fn put_definition(
        &self,
        conn: &mut Conn,
        collection: &str,
        uuid: &str,
        definition: &Definition,
    ) -> Result<(), PortalError> {
        let text = definition.to_text();
        check_size(text.len(), DEFINITION_BYTES_MAX)?;
        self.put(conn, collection, (DEFINITION, "application/json", uuid), text.as_bytes()).await?;
        Ok(())
    }

    async fn put(
        &self,
        conn: &mut Conn,
        collection: &str,
        (name, media_type, uuid): (&str, &str, &str),
        content: &[u8],
    ) -> Result<i64, PortalError> {
        let user = self.actor.name();
        let (tenant, now) = (self.actor.tenant, self.now);
        let new = NewResource { tenant, collection, name, media_type, uuid, content, user: &user, now };
        Ok(registry::put(conn, &new, &*self.portal.rng).await?)
    }

    /// Resources of the API with their scopes.
    async fn put_resources(&self, conn: &mut Conn, object: &ApiObject, spelling: Spelling) -> Result<(), PortalError> {
        let policy_of_api = object.api_throttling_policy.as_deref();
        let mappings: Vec<UrlMapping> = object
            .operations
            .iter()
            .map(|operation| {
                let policy = policy_of_api.or(operation.throttling_policy.as_deref());
                let auth = operation.auth_type;
                UrlMapping {
                    id: 0,
                    verb: operation.verb.clone(),
                    pattern: operation.target.clone(),
                    auth_scheme: if spelling == Spelling::Post { auth.word_of_post() } else { auth.word() }.to_owned(),
                    policy: policy.unwrap_or(super::api_object::UNLIMITED).to_owned(),
                    scopes: operation.scopes.clone(),
                }
            })
            .collect();
        Ok(rows::replace_url_mappings(conn, self.id, self.actor.tenant, &mappings).await?)
    }

    /// The default version of the API's name (2.7, 5.2).
    pub(super) async fn put_default(&self, conn: &mut Conn, object: &ApiObject) -> Result<(), PortalError> {
        let provider = object.provider.clone().unwrap_or_default();
        let current = rows::find_default(conn, &object.name, &provider).await?;
        let version = Some(object.version.clone());
        let mut wanted = current.clone();
        if object.is_default_version {
            wanted.version.clone_from(&version);
            if object.status().may_be_published_default() {
                wanted.published.clone_from(&version);
            } else if wanted.published == version {
                wanted.published = None;
            }
        } else if current.version == version {
            wanted = DefaultVersion::default();
        }
        if wanted == current {
            return Ok(());
        }
        rows::set_default(conn, &object.name, &provider, &wanted).await?;
        // The version that was the default answers under other URLs now.
        let others = rows::list_neighbours(conn, &object.name, "").await?;
        for other in
            others.iter().filter(|row| row.provider == provider && row.name == object.name && row.id != self.id)
        {
            if current.version.as_deref() == Some(other.version.as_str()) && wanted.version != current.version {
                self.clear_default_flag(conn, other).await?;
            }
            conn.emit(Event::ApiChanged { api_id: other.id }, self.now).await?;
        }
        Ok(())
    }

    async fn clear_default_flag(&self, conn: &mut Conn, row: &ApiRow) -> Result<(), PortalError> {
        if let Some(mut other) = Box::pin(find_by_row(conn, row)).await? {
            other.stored.artifact.set("overview", "isDefaultVersion", "false");
            self.put_artifact(conn, &other.collection, other.uuid.as_str(), &other.stored).await?;
        }
        Ok(())
    }
}

/// What is larger could be written, but not be read back.
fn check_size(bytes: usize, bytes_max: usize) -> Result<(), PortalError> {
    if bytes > bytes_max {
        return Err(PortalError::BadRequest(format!("The API is too large: {bytes} bytes, {bytes_max} are allowed")));
    }
    Ok(())
}

async fn check_against_tenant(
    conn: &mut Conn,
    portal: &Portal,
    actor: &Actor,
    (object, before): (&ApiObject, Option<&ApiObject>),
) -> Result<(), PortalError> {
    let policy_names = |list: Vec<policies::Policy>| list.into_iter().map(|it| it.name).collect::<BTreeSet<_>>();
    let mut api_policies = policy_names(policies::list(conn, actor.tenant, Level::Api).await?);
    let mut subscription_policies = policy_names(policies::list(conn, actor.tenant, Level::Subscription).await?);
    api_policies.insert(super::api_object::UNLIMITED.to_owned());
    if !portal.portal.is_unlimited_offered {
        subscription_policies.remove(super::api_object::UNLIMITED);
    }
    let managers = policies::list_key_managers(conn, actor.tenant_domain()).await?;
    let key_managers = managers.into_iter().filter(|it| it.is_enabled).map(|it| it.name).collect();
    // An API may stay in an environment that is configured no more.
    let mut environments: BTreeSet<String> = portal.portal.environments.iter().map(|it| it.name.clone()).collect();
    environments.extend(before.into_iter().flat_map(|before| before.gateway_environments.iter().cloned()));
    let all_roles = roles::list(conn, actor.tenant).await?;
    let facts = Facts {
        roles: &all_roles,
        caller_roles: &actor.roles.iter().cloned().collect(),
        is_admin: portal.is_admin(actor),
        subscription_policies: &subscription_policies,
        api_policies: &api_policies,
        key_managers: &key_managers,
        environments: &environments,
    };
    api_rules::check(object, &facts)
}

async fn check_products(conn: &mut Conn, id: ApiId, object: &ApiObject) -> Result<(), PortalError> {
    for (_, verb, pattern) in rows::list_product_uses(conn, id).await? {
        if !object.operations.iter().any(|operation| operation.verb == verb && operation.target == pattern) {
            let text = format!("Cannot remove {verb} {pattern}: an API product uses it");
            return Err(PortalError::BadRequest(text));
        }
    }
    Ok(())
}

/// What a token with `api_publish` but not `api_create` may change (2.5).
fn reduced(before: &ApiObject, body: ApiObject) -> ApiObject {
    ApiObject {
        life_cycle_status: body.life_cycle_status,
        enable_store: body.enable_store,
        tags: body.tags,
        policies: body.policies,
        api_throttling_policy: body.api_throttling_policy,
        visibility: body.visibility,
        visible_roles: body.visible_roles,
        gateway_environments: body.gateway_environments,
        deployment_environments: body.deployment_environments,
        subscription_availability: body.subscription_availability,
        additional_properties: body.additional_properties,
        business_information: body.business_information,
        categories: body.categories,
        ..before.clone()
    }
}

/// Overwrites what a PUT cannot change; a status change is an error.
fn keep_identity(object: &mut ApiObject, before: &ApiObject) -> Result<(), PortalError> {
    let is_other = |text: &String| State::parse(text) != Some(before.status());
    if object.life_cycle_status.as_ref().is_some_and(is_other) {
        return Err(PortalError::BadRequest("The lifecycle state is changed with change-lifecycle only".to_owned()));
    }
    object.name.clone_from(&before.name);
    object.version.clone_from(&before.version);
    object.context.clone_from(&before.context);
    object.provider.clone_from(&before.provider);
    object.kind = before.kind;
    object.life_cycle_status.clone_from(&before.life_cycle_status);
    Ok(())
}
