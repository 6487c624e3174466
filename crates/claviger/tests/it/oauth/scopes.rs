//! Which scopes are granted (rest-3x.md 1.6.7; portal-gateway-3x.md 1.4).

use crate::harness::{ADMIN, ADMIN_PASSWORD, Registered, Server, insert_user, on_every_engine, on_sqlite, register};
use claviger_proto::ids::TenantId;
use claviger_store::error::StoreError;
use claviger_store::scopes::{self, Scope};
use serde_json::json;

/// Registers a scope that is bound to roles.
async fn bind(server: &Server, name: &str, roles: &[&str]) {
    let roles = roles.iter().map(|role| (*role).to_owned()).collect();
    let scope = Scope { name: name.to_owned(), display_name: name.to_owned(), description: None, roles };
    let write = server.app().store.write::<_, StoreError, _>(move |conn| {
        let scope = scope.clone();
        Box::pin(async move { scopes::put(conn, TenantId::SUPER, &scope).await })
    });
    write.await.unwrap();
}

async fn granted(server: &Server, client: &Registered, user: Option<(&str, &str)>, scope: &str) -> String {
    let mut form = vec![("scope", scope)];
    match user {
        Some((user, password)) => {
            form.extend([("grant_type", "password"), ("username", user), ("password", password)]);
        }
        None => form.push(("grant_type", "client_credentials")),
    }
    client.issue(server, &form).await.text("scope")
}

#[tokio::test]
async fn portal_scopes_need_their_role_with_every_grant() {
    on_sqlite("", async |server| {
        insert_user(server, TenantId::SUPER, "plain", "p", &[]).await;
        insert_user(server, TenantId::SUPER, "dev", "p", &["Internal/subscriber"]).await;
        insert_user(server, TenantId::SUPER, "maker", "p", &["Internal/creator"]).await;
        let all = "apim:api_create apim:api_publish apim:subscribe apim:admin apim:new_thing";
        let client = register(server, "portal-scopes", json!({})).await;
        assert_eq!(granted(server, &client, Some(("plain", "p")), all).await, "default");
        assert_eq!(granted(server, &client, Some(("dev", "p")), all).await, "apim:subscribe");
        assert_eq!(granted(server, &client, Some(("maker", "p")), all).await, "apim:api_create");
        let mut sorted: Vec<&str> = all.split(' ').collect();
        sorted.sort_unstable();
        assert_eq!(granted(server, &client, Some((ADMIN, ADMIN_PASSWORD)), all).await, sorted.join(" "));
        // Holding a client's secret is not holding its owner's roles.
        let owned = register(server, "portal-scopes-of-dev", json!({ "ext_application_owner": "dev" })).await;
        for client in [&owned, &client] {
            assert_eq!(granted(server, client, None, all).await, "default");
            assert_eq!(granted(server, client, None, "APIM:admin Apim:subscribe").await, "default");
        }
        // No spelling gets past the role.
        let odd = "APIM:admin apim:ADMIN Apim:Admin INTERNAL_application_mgt_view Internal_user_mgt_list System";
        for user in ["plain", "dev"] {
            assert_eq!(granted(server, &client, Some((user, "p")), odd).await, "default", "{user}");
        }
    })
    .await;
}

#[tokio::test]
async fn bound_scopes_are_left_out_without_their_role() {
    on_every_engine("", async |server| {
        insert_user(server, TenantId::SUPER, "clerk", "p", &["Internal/subscriber"]).await;
        bind(server, "orders:write", &["internal/SUBSCRIBER", "admin"]).await;
        bind(server, "orders:delete", &["admin"]).await;
        bind(server, "orders:list", &[]).await;
        let client = register(server, "bound", json!({})).await;
        let clerk = Some(("clerk", "p"));
        let all = "orders:write orders:delete orders:list orders:unregistered";
        let got = granted(server, &client, clerk, all).await;
        assert_eq!(got, "orders:list orders:unregistered orders:write", "{}", server.engine);
        let got = granted(server, &client, Some((ADMIN, ADMIN_PASSWORD)), all).await;
        assert_eq!(got, "orders:delete orders:list orders:unregistered orders:write", "{}", server.engine);
        assert_eq!(granted(server, &client, clerk, "orders:delete").await, "default", "{}", server.engine);
        // No collation may take one scope for another.
        assert_eq!(granted(server, &client, clerk, "ORDERS:DELETE").await, "ORDERS:DELETE", "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn what_is_granted_when_nothing_is_asked() {
    on_sqlite("", async |server| {
        let client = register(server, "defaults", json!({})).await;
        assert_eq!(granted(server, &client, None, "").await, "default");
        assert_eq!(granted(server, &client, None, "am_application_scope").await, "am_application_scope");
        assert_eq!(
            granted(server, &client, None, "am_application_scope default").await,
            "am_application_scope default"
        );
        assert_eq!(granted(server, &client, None, "SYSTEM").await, "default");
    })
    .await;
}

#[tokio::test]
async fn internal_scopes_need_the_permission() {
    on_sqlite("", async |server| {
        insert_user(server, TenantId::SUPER, "plain", "p", &["Internal/creator"]).await;
        let client = register(server, "internal", json!({})).await;
        let wanted = "internal_application_mgt_view internal_nothing";
        assert_eq!(granted(server, &client, Some(("plain", "p")), wanted).await, "default");
        let got = granted(server, &client, Some((ADMIN, ADMIN_PASSWORD)), wanted).await;
        assert_eq!(got, "internal_application_mgt_view");
    })
    .await;
}

#[tokio::test]
async fn a_refresh_may_narrow_but_not_widen() {
    on_every_engine("", async |server| {
        let client = register(server, "narrowing", json!({})).await;
        let form = [("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD), ("scope", "a b c")];
        let first = client.issue(server, &form).await;
        let refresh = async |token: &str, scope: &str| {
            let form = [("grant_type", "refresh_token"), ("refresh_token", token), ("scope", scope)];
            client.token(server, &form).await
        };
        let token = first.text("refresh_token");
        refresh(&token, "a d").await.check_error(400, "invalid_scope", "Invalid Scope!");
        let narrowed = refresh(&token, "a b").await;
        assert_eq!((narrowed.status, narrowed.text("scope").as_str()), (200, "a b"), "{}", server.engine);
        let token = narrowed.text("refresh_token");
        refresh(&token, "c").await.check_error(400, "invalid_scope", "Invalid Scope!");
        assert_eq!(refresh(&token, "").await.text("scope"), "a b", "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn a_role_that_was_taken_ends_with_the_next_refresh() {
    on_sqlite("", async |server| {
        insert_user(server, TenantId::SUPER, "former", "p", &["Internal/publisher"]).await;
        let client = register(server, "former-publisher", json!({})).await;
        let form = [("grant_type", "password"), ("username", "former"), ("password", "p")];
        let form = [&form[..], &[("scope", "apim:api_publish x")]].concat();
        let first = client.issue(server, &form).await;
        assert_eq!(first.text("scope"), "apim:api_publish x");
        let now = claviger_proto::time::Clock::now(&*server.clock);
        let write = server.app().store.write::<_, StoreError, _>(move |conn| {
            Box::pin(async move {
                claviger_store::users::delete_hybrid_role(conn, TenantId::SUPER, "publisher").await?;
                let username = claviger_proto::user::Username::parse("former").unwrap().to_string();
                conn.emit(claviger_proto::event::Event::UserChanged { username }, now).await?;
                Ok(())
            })
        });
        write.await.unwrap();
        let form = [("grant_type", "refresh_token"), ("refresh_token", &first.text("refresh_token"))];
        assert_eq!(client.issue(server, &form).await.text("scope"), "x");
    })
    .await;
}

#[tokio::test]
async fn allowed_scopes_need_no_role_and_open_nothing_protected() {
    on_sqlite("", async |server| {
        insert_user(server, TenantId::SUPER, "clerk", "p", &["Internal/subscriber"]).await;
        bind(server, "device_of_admins", &["admin"]).await;
        bind(server, "a_device_of_admins", &["admin"]).await;
        let client = register(server, "devices", json!({})).await;
        let got = granted(server, &client, Some(("clerk", "p")), "device_of_admins a_device_of_admins").await;
        assert_eq!(got, "device_of_admins");
    })
    .await;
    let everything = "[apim.oauth_config]\nallowed_scopes = ['orders:.*']\n[oauth]\nallowed_scopes = '.*'\n";
    on_sqlite(everything, async |server| {
        insert_user(server, TenantId::SUPER, "clerk", "p", &["Internal/subscriber"]).await;
        bind(server, "bound", &["admin"]).await;
        let client = register(server, "everything", json!({})).await;
        let wanted = "bound apim:admin APIM:api_publish internal_application_mgt_view Internal_user_mgt_list SYSTEM x";
        assert_eq!(granted(server, &client, Some(("clerk", "p")), wanted).await, "bound x");
        assert_eq!(granted(server, &client, None, wanted).await, "bound x");
    })
    .await;
    let one = "[apim.oauth_config]\nwhite_listed_scopes = ['orders:.*']\n";
    on_sqlite(one, async |server| {
        insert_user(server, TenantId::SUPER, "clerk", "p", &["Internal/subscriber"]).await;
        bind(server, "orders:write", &["admin"]).await;
        bind(server, "device_x", &["admin"]).await;
        let client = register(server, "orders", json!({})).await;
        assert_eq!(granted(server, &client, Some(("clerk", "p")), "orders:write device_x").await, "orders:write");
    })
    .await;
}

#[tokio::test]
async fn an_application_gets_the_scopes_assigned_to_it() {
    on_every_engine("", async |server| {
        let more = json!({ "application_scopes": ["orders:read", "orders:list"] });
        let client = register(server, "assigned", more).await;
        let all = "am_application_scope device_7 orders:read orders:write";
        let got = async |scopes: &str| granted(server, &client, None, scopes).await;
        assert_eq!(got(all).await, "am_application_scope device_7 orders:read", "{}", server.engine);
        assert_eq!(got("orders:write").await, "default", "{}", server.engine);
        assert_eq!(got("ORDERS:READ").await, "default", "{}", server.engine);
        // Its users have what their roles give them.
        let users = granted(server, &client, Some((ADMIN, ADMIN_PASSWORD)), "orders:write").await;
        assert_eq!(users, "orders:write", "{}", server.engine);
        let change = async |scopes: serde_json::Value| {
            let changed = client.change(server, &json!({ "application_scopes": scopes })).await;
            assert_eq!(changed.status, 200, "{changed:?}");
        };
        change(json!(["orders:write"])).await;
        assert_eq!(got(all).await, "am_application_scope device_7 orders:write", "{}", server.engine);
        // One without assigned scopes is one of an older connector's: it gets what it asks for.
        change(json!([])).await;
        assert_eq!(got(all).await, all, "{}", server.engine);
    })
    .await;
}
