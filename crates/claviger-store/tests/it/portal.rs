//! The portal's tables: registry, APIs, applications, subscriptions, policies, scopes.

use crate::database::{Random, on_every_engine};
use claviger_proto::entropy::uuid;
use claviger_proto::ids::{ApplicationUuid, SUPER_TENANT_DOMAIN, SubscriptionUuid, TenantId};
use claviger_proto::time::Timestamp;
use claviger_proto::user::{NameRule, Username};
use claviger_store::apis::{self, DefaultVersion, NewApi, StateChange, UrlMapping};
use claviger_store::applications::{self, KeyMapping, NewApplication, Registration};
use claviger_store::conn::Conn;
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::policies::{self, Level};
use claviger_store::registry::{self, NewResource};
use claviger_store::scopes::{self, Scope};
use claviger_store::subscriptions::{self, NewSubscription};
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;

const NOW: Timestamp = Timestamp::from_secs(1_767_694_000);
const T: TenantId = TenantId::SUPER;

async fn write<R: Send + 'static>(
    store: &Store,
    work: impl for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<R, StoreError>> + Send + Sync + 'static,
) -> R {
    store.write(work).await.unwrap()
}

fn resource<'a>(collection: &'a str, name: &'a str, content: &'a [u8]) -> NewResource<'a> {
    let user = "a-user-with-a-name-longer-than-thirty-one";
    NewResource { tenant: T, collection, name, media_type: "x/api", uuid: "uuid-1", content, user, now: NOW }
}

#[tokio::test]
async fn a_resource_is_replaced_and_its_tree_deleted() {
    on_every_engine(|store| async move {
        write(&store, |conn| {
            Box::pin(async move {
                let path = registry::put(conn, &resource("/_system/x_y/w/1", "api", b"one"), &Random).await?;
                let properties =
                    BTreeMap::from([("STATUS".to_owned(), "CREATED".to_owned()), ("gone".into(), "1".into())]);
                registry::set_properties(conn, T, (path, "api"), &properties).await?;
                registry::set_tags(conn, T, (path, "api"), &["a".into(), "b".into()], "ann", NOW).await?;
                registry::put(conn, &resource("/_system/xzy/w/1", "api", b"other"), &Random).await
            })
        })
        .await;
        let mut conn = store.reader().await.unwrap();
        let first = registry::find(&mut conn, T, "/_system/x_y/w/1", "api").await.unwrap().unwrap();
        assert_eq!((first.content.as_slice(), first.uuid.as_str(), first.created), (&b"one"[..], "uuid-1", NOW));
        assert_eq!(first.creator.len(), 31);
        drop(conn);
        write(&store, |conn| {
            Box::pin(async move {
                let new = NewResource { uuid: "uuid-2", ..resource("/_system/x_y/w/1", "api", b"two") };
                let path = registry::put(conn, &new, &Random).await?;
                let properties = BTreeMap::from([("STATUS".to_owned(), "PUBLISHED".to_owned())]);
                registry::set_properties(conn, T, (path, "api"), &properties).await?;
                registry::set_tags(conn, T, (path, "api"), &["b".into(), "c".into()], "ann", NOW).await
            })
        })
        .await;
        let mut conn = store.reader().await.unwrap();
        let second =
            registry::find_by_uuid(&mut conn, T, "uuid-1").await.unwrap().unwrap_or_else(|| panic!("the uuid stays"));
        assert!(second.version != first.version && second.content == b"two", "{second:?}");
        let properties = registry::properties(&mut conn, T, &second).await.unwrap();
        assert_eq!(properties, BTreeMap::from([("STATUS".to_owned(), "PUBLISHED".to_owned())]));
        assert_eq!(registry::tags(&mut conn, T, &second).await.unwrap(), ["b", "c"]);
        let labels = registry::list_labels(&mut conn, T, "x/api").await.unwrap();
        assert_eq!((&labels["uuid-1"].properties, labels["uuid-1"].tags.len()), (&properties, 2));
        assert_eq!(registry::list_by_media_type(&mut conn, T, "x/api", 10).await.unwrap().len(), 2);
        drop(conn);
        write(&store, |conn| Box::pin(registry::delete_tree(conn, T, "/_system/x_y/w", "ann", NOW))).await;
        let mut conn = store.reader().await.unwrap();
        assert!(registry::find(&mut conn, T, "/_system/x_y/w/1", "api").await.unwrap().is_none());
        let other = registry::find(&mut conn, T, "/_system/xzy/w/1", "api").await.unwrap();
        assert!(other.is_some(), "a path that only matches the pattern stays");
        drop(conn);
        write(&store, |conn| {
            Box::pin(async move { registry::put(conn, &resource("/_system/x_y/w/1", "api", b"new"), &Random).await })
        })
        .await;
    })
    .await;
}

fn new_api(name: &str, version: &str) -> NewApi {
    NewApi {
        provider: "ann".into(),
        name: name.into(),
        version: version.into(),
        context: format!("/w/{version}"),
        context_template: "/w".into(),
        tier: None,
        kind: "HTTP".into(),
        user: "ann".into(),
    }
}

fn mapping(verb: &str, scopes: &[&str]) -> UrlMapping {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let (auth_scheme, policy) = ("Any".to_owned(), "Unlimited".to_owned());
    UrlMapping { id: 0, verb: verb.into(), pattern: "/city/{id}".into(), auth_scheme, policy, scopes }
}

#[tokio::test]
async fn an_api_with_its_satellites() {
    on_every_engine(|store| async move {
        let id = write(&store, |conn| {
            Box::pin(async move {
                let id = apis::insert(conn, &new_api("Weather", "1.0.0"), NOW).await?;
                apis::replace_url_mappings(conn, id, T, &[mapping("GET", &["a", "b"]), mapping("PUT", &[])]).await?;
                let created = StateChange { before: None, after: "CREATED".into(), user: "ann".into(), time: NOW };
                apis::insert_state(conn, id, T, &created).await?;
                let default = DefaultVersion { version: Some("1.0.0".into()), published: None };
                apis::set_default(conn, "Weather", "ann", &default).await?;
                apis::update(conn, id, Some("10KPerMin"), "bob", NOW.plus_millis(5000)).await?;
                Ok(id)
            })
        })
        .await;
        let mut conn = store.reader().await.unwrap();
        let row = apis::find(&mut conn, "ann", "Weather", "1.0.0").await.unwrap().unwrap();
        assert_eq!((row.id, row.tier.as_deref(), row.created), (id, Some("10KPerMin"), Some(NOW)));
        assert!(apis::find(&mut conn, "ann", "WEATHER", "1.0.0").await.unwrap().is_none());
        assert_eq!(apis::list_neighbours(&mut conn, "WEATHER", "/none").await.unwrap().len(), 1);
        assert_eq!(apis::list_neighbours(&mut conn, "x", "/w").await.unwrap().len(), 1);
        let mappings = apis::list_url_mappings(&mut conn, id).await.unwrap();
        assert_eq!(mappings.len(), 2);
        assert_eq!(mappings[0].scopes, ["a", "b"]);
        assert_eq!(
            apis::list_scope_users(&mut conn, T, "a").await.unwrap(),
            [(id, "Weather".to_owned(), "ann".to_owned())]
        );
        assert_eq!(apis::list_states(&mut conn, id).await.unwrap()[0].after, "CREATED");
        assert_eq!(apis::find_default(&mut conn, "Weather", "ann").await.unwrap().version.as_deref(), Some("1.0.0"));
        drop(conn);
        let taken = store
            .write(|conn| Box::pin(async move { apis::insert(conn, &new_api("Weather", "1.0.0"), NOW).await }))
            .await;
        assert!(matches!(taken, Err(StoreError::Conflict(_))), "{taken:?}");
        write(&store, move |conn| {
            Box::pin(async move {
                apis::replace_url_mappings(conn, id, T, &[mapping("DELETE", &["b"])]).await?;
                let left = apis::list_url_mappings(conn, id).await?;
                assert_eq!((left.len(), left[0].verb.as_str()), (1, "DELETE"));
                apis::delete(conn, id).await
            })
        })
        .await;
        let mut conn = store.reader().await.unwrap();
        assert!(apis::find_by_id(&mut conn, id).await.unwrap().is_none());
        assert!(apis::list_scope_users(&mut conn, T, "b").await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_application_with_keys_and_subscriptions() {
    on_every_engine(|store| async move {
        let (application, subscription) = write(&store, |conn| {
            Box::pin(async move {
                let api = apis::insert(conn, &new_api("Weather", "1.0.0"), NOW).await?;
                let subscriber = applications::insert_subscriber(conn, T, "bob", NOW).await?;
                let bob = Username::primary("bob", SUPER_TENANT_DOMAIN);
                assert_eq!(applications::find_subscribers(conn, T, &bob, NameRule::Exact).await?, [subscriber]);
                let new = NewApplication {
                    uuid: ApplicationUuid(uuid(&Random)),
                    name: "App".into(),
                    subscriber_id: subscriber,
                    owner: "bob".into(),
                    policy: "10PerMin".into(),
                    description: None,
                    token_type: "JWT".into(),
                };
                let id = applications::insert(conn, &new, NOW).await?;
                assert!(applications::lock(conn, &new.uuid).await?);
                let attributes = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
                applications::set_attributes(conn, id, T, &attributes).await?;
                let key = KeyMapping {
                    uuid: Some(uuid(&Random)),
                    consumer_key: Some("Key_1".into()),
                    key_type: "PRODUCTION".into(),
                    state: "COMPLETED".into(),
                    create_mode: "CREATED".into(),
                    key_manager: "Resident Key Manager".into(),
                    info: Some(b"{}".to_vec()),
                };
                assert!(applications::insert_key(conn, id, &key).await?);
                assert!(!applications::insert_key(conn, id, &key).await?, "once for each type and key manager");
                let application = applications::find(conn, &new.uuid).await?.unwrap();
                let registration = Registration {
                    workflow: uuid(&Random),
                    scopes: "default".into(),
                    inputs: "{}".into(),
                    validity_s: 3600,
                };
                let target = ("PRODUCTION", "Resident Key Manager");
                applications::insert_registration(conn, &application, target, &registration).await?;
                let subscription = NewSubscription {
                    uuid: SubscriptionUuid(uuid(&Random)),
                    api_id: api,
                    application_id: id,
                    policy: "Gold".into(),
                    status: "UNBLOCKED".into(),
                    user: "bob".into(),
                };
                subscriptions::insert(conn, &subscription, NOW).await?;
                Ok((application, subscription))
            })
        })
        .await;
        let mut conn = store.reader().await.unwrap();
        assert_eq!(
            (application.owner.as_str(), application.tenant, application.status.as_str()),
            ("bob", T, "APPROVED")
        );
        assert_eq!(applications::list_keys(&mut conn, application.id).await.unwrap().len(), 1);
        assert_eq!(applications::list_all_keys(&mut conn).await.unwrap()[0].0, application.id);
        assert_eq!(applications::find_by_key(&mut conn, &"Key_1".into()).await.unwrap(), Some(application.id));
        assert_eq!(applications::attributes(&mut conn, application.id).await.unwrap()["a"], "b");
        let found = subscriptions::find(&mut conn, &subscription.uuid).await.unwrap().unwrap();
        assert_eq!((found.policy.as_str(), found.status.as_str()), ("Gold", "UNBLOCKED"));
        assert_eq!(subscriptions::list_of_api(&mut conn, found.api_id).await.unwrap(), std::slice::from_ref(&found));
        assert_eq!(subscriptions::list_of_application(&mut conn, application.id).await.unwrap(), [found]);
        drop(conn);
        let (application_id, application_name) = (application.id, application.uuid.clone());
        write(&store, move |conn| {
            let (subscription, mut application) = (subscription.uuid.clone(), application.clone());
            Box::pin(async move {
                subscriptions::set_status(conn, &subscription, "BLOCKED", "ann", NOW).await?;
                subscriptions::set_policy(conn, &subscription, ("Silver", "UNBLOCKED"), "bob", NOW).await?;
                let found = subscriptions::find(conn, &subscription).await?.unwrap();
                assert_eq!((found.policy.as_str(), found.status.as_str()), ("Silver", "UNBLOCKED"));
                application.name = "Renamed".into();
                applications::update(conn, &application, "bob", NOW).await?;
                assert_eq!(applications::find_by_id(conn, application.id).await?.unwrap().name, "Renamed");
                applications::delete(conn, application.id).await
            })
        })
        .await;
        let mut conn = store.reader().await.unwrap();
        assert!(applications::find(&mut conn, &application_name).await.unwrap().is_none());
        assert!(subscriptions::list_of_application(&mut conn, application_id).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn policies_key_managers_and_scopes() {
    on_every_engine(|store| async move {
        let mut conn = store.reader().await.unwrap();
        let gold = policies::list(&mut conn, T, Level::Subscription).await.unwrap();
        let gold = gold.iter().find(|policy| policy.name == "Gold").unwrap();
        assert_eq!((gold.quota, gold.is_stopping_on_quota, gold.time_unit.as_str()), (5000, true, "min"));
        assert_eq!(policies::list(&mut conn, T, Level::Api).await.unwrap().len(), 4);
        assert_eq!(policies::list(&mut conn, T, Level::Application).await.unwrap().len(), 4);
        let managers = policies::list_key_managers(&mut conn, "carbon.super").await.unwrap();
        assert!(managers[0].is_enabled && managers[0].name == "Resident Key Manager");
        drop(conn);
        write(&store, |conn| {
            Box::pin(async move {
                let roles = vec!["admin".to_owned(), "Internal/creator".into()];
                let mut scope = Scope { name: "wx_read".into(), display_name: "read".into(), description: None, roles };
                scopes::put(conn, T, &scope).await?;
                assert_eq!(scopes::find(conn, T, "wx_read").await?.unwrap().roles.len(), 2);
                scope.roles = vec!["admin".into(), "ADMIN".into()];
                scopes::put(conn, T, &scope).await?;
                assert_eq!(scopes::find_roles(conn, T, "wx_read").await?, Some(vec!["admin".to_owned()]));
                assert!(scopes::find(conn, T, "WX_READ").await?.is_none());
                assert!(!scopes::is_shared(conn, T, "wx_read").await?);
                scopes::delete(conn, T, "wx_read").await?;
                assert_eq!(scopes::find_roles(conn, T, "wx_read").await?, None);
                Ok(())
            })
        })
        .await;
    })
    .await;
}
