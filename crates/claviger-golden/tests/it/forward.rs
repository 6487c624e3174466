//! What the filler wrote, an old server of that release finds, in every release, engine, form and layout.

use crate::{NOW_MS, is_long, servers};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use claviger_golden::golden::Golden;
use claviger_golden::manifest::{State, User};
use claviger_golden::options::{Cipher, Layout, Options, matrix};
use claviger_golden::{Engine, Release};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Stands for an installation's key: the shape of each release's ciphertext, with the bytes turned round for a block of RSA.
struct TurnedRound;

impl Cipher for TurnedRound {
    fn encrypt(&self, release: Release, plain: &str) -> String {
        let turned: Vec<u8> = plain.bytes().rev().collect();
        match release {
            Release::V2_1 => STANDARD.encode(turned),
            _ => STANDARD.encode(serde_json::json!({ "c": STANDARD.encode(turned), "tpd": "SHA-1" }).to_string()),
        }
    }

    fn decrypt(&self, stored: &str) -> Option<String> {
        let bytes = STANDARD.decode(stored).ok()?;
        let turned = match serde_json::from_slice::<serde_json::Value>(&bytes) {
            Ok(object) if object.is_object() => STANDARD.decode(object.get("c")?.as_str()?).ok()?,
            _ => bytes,
        };
        String::from_utf8(turned.into_iter().rev().collect()).ok()
    }
}

#[tokio::test]
async fn an_old_server_finds_what_it_left() {
    for (engine, url) in servers() {
        for options in matrix(engine, NOW_MS, is_long(), |_| Arc::new(TurnedRound)) {
            let told = format!("{engine:?} {options:?}");
            eprintln!("{told}");
            let golden = Golden::create(engine, &url, options).await.unwrap();
            check_clients(&golden).await;
            check_no_clients(&golden).await;
            check_users(&golden).await;
            check_tokens(&golden).await;
            check_codes(&golden).await;
            check_apis(&golden).await;
            check_audit(&golden).await;
            assert_eq!(golden.catalogue_changes(|_| false).await.unwrap(), Vec::<String>::new());
            golden.drop_databases().await.unwrap();
        }
    }
}

/// Nothing is left to chance: one seed, one manifest; another, others' secrets.
#[tokio::test]
async fn a_seed_decides_everything() {
    for (engine, url) in servers().into_iter().filter(|(engine, _)| *engine == Engine::Postgres) {
        let mut manifests = Vec::new();
        for seed in [1, 1, 2] {
            let options = Options { layout: Layout::One, seed, ..Options::new(Release::V2_6, NOW_MS) };
            let golden = Golden::create(engine, &url, options).await.unwrap();
            manifests.push(serde_json::to_value(&golden.manifest).unwrap());
            golden.drop_databases().await.unwrap();
        }
        assert_eq!(manifests[0], manifests[1]);
        assert_ne!(manifests[0], manifests[2]);
        assert!(manifests[0]["tokens"].as_array().unwrap().len() > 20);
    }
}

async fn check_clients(golden: &Golden) {
    let (server, manifest) = (golden.old_server(), &golden.manifest);
    for expected in &manifest.clients {
        let found = server.client(&expected.key).await.unwrap().unwrap();
        assert_eq!(found.app_name, expected.app_name);
        assert_eq!((&found.owner, found.tenant_id), (&expected.owner, expected.tenant_id));
        assert_eq!((&found.callback, &found.grants), (&expected.callback, &expected.grants));
        assert_eq!((found.is_pkce_mandatory, found.is_active), (expected.is_pkce_mandatory, expected.is_active));
        assert_eq!(found.lifetimes_s, (manifest.release >= Release::V2_6).then_some(expected.lifetimes_s));
        assert_eq!(found.properties.is_empty(), manifest.release == Release::V2_1 || expected.name == "old");
        let is_jwt = found.properties.get("tokenType").is_some_and(|kind| kind.as_deref() == Some("JWT"));
        assert_eq!(is_jwt, expected.is_jwt);
        let application = found.application.map(|(name, key_type, _)| (name, key_type));
        assert_eq!(application, expected.application);
        assert_eq!(server.check_client(&expected.key, &expected.secret).await.unwrap(), expected.is_active);
        assert!(!server.check_client(&expected.key, "wrong").await.unwrap());
        let is_plain = found.secret_column == expected.secret;
        assert_eq!(is_plain, manifest.form == "plain", "{}", found.secret_column);
        let other_case: String = expected.key.chars().map(turned).collect();
        assert_eq!(server.client(&other_case).await.unwrap(), None, "client ids are compared exactly");
    }
}

async fn check_no_clients(golden: &Golden) {
    for (key, secret) in &golden.manifest.no_clients {
        assert!(!golden.old_server().check_client(key, secret).await.unwrap());
    }
    assert!(!golden.manifest.no_clients.is_empty());
}

fn turned(letter: char) -> char {
    if letter.is_ascii_lowercase() { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
}

async fn check_users(golden: &Golden) {
    let (server, manifest) = (golden.old_server(), &golden.manifest);
    for tenant in &manifest.tenants {
        assert_eq!(server.tenant_id(&tenant.domain).await.unwrap(), Some(tenant.id));
        let configuration = server.tenant_configuration(tenant.id).await.unwrap().unwrap();
        let configuration: serde_json::Value = serde_json::from_slice(&configuration).unwrap();
        assert!(configuration["RESTAPIScopes"]["Scope"].is_array());
    }
    for user in &manifest.users {
        if let Some(password) = &user.password {
            let may = |password: String| async move {
                server.check_password(&user.name, user.tenant_id, &password, manifest.now_ms).await.unwrap()
            };
            assert_eq!(may(password.clone()).await, !user.is_login_over && !user.is_barred, "{}", user.name);
            assert!(!may(format!("{password}x")).await);
            let found = server.attributes(&user.name, user.tenant_id).await.unwrap();
            assert_eq!(found, user.attributes.iter().cloned().collect());
            if manifest.release >= Release::V3_1 {
                assert_eq!(server.user_uuid(&user.name, user.tenant_id).await.unwrap(), user.uuid);
            }
        }
        check_roles(golden, user).await;
    }
}

async fn check_roles(golden: &Golden, user: &User) {
    let server = golden.old_server();
    let mut roles: BTreeSet<String> = user.roles.iter().cloned().collect();
    roles.insert("Internal/everyone".to_owned());
    assert_eq!(server.roles(&user.name, &user.store, user.tenant_id).await.unwrap(), roles, "{}", user.name);
    for (permissions, expected) in [(&user.may, true), (&user.may_not, false)] {
        for permission in permissions {
            let found = server.is_permitted(&user.name, &user.store, user.tenant_id, permission).await.unwrap();
            assert_eq!(found, expected, "{} {permission}", user.name);
        }
    }
}

async fn check_tokens(golden: &Golden) {
    let (server, manifest) = (golden.old_server(), &golden.manifest);
    for expected in &manifest.tokens {
        let name = expected.name;
        let found = server.token(&expected.access).await.unwrap();
        assert_eq!(found.is_some(), expected.is_found_by_old_server, "{name}");
        let Some(found) = found else { continue };
        assert_eq!((&found.id, &found.client), (&expected.id, &expected.client), "{name}");
        assert_eq!((&found.user, &found.store, found.tenant_id), (&expected.user, &expected.store, expected.tenant_id));
        assert_eq!((found.user_type.as_str(), found.grant.as_str()), (expected.user_type, expected.grant), "{name}");
        assert_eq!(found.subject, expected.subject, "{name}");
        assert_eq!(found.scopes, expected.scopes.iter().cloned().collect(), "{name}");
        assert_eq!(found.state, expected.state.text(), "{name}");
        assert_eq!((found.issued_ms, found.expires_ms), (expected.issued_ms, expected.expires_ms), "{name}");
        let refresh = (expected.refresh_issued_ms, expected.refresh_expires_ms);
        assert_eq!((found.refresh_issued_ms, found.refresh_expires_ms), refresh, "{name}");
        assert_eq!(found.is_active(manifest.now_ms), expected.is_active, "{name}");
        assert_eq!(found.access_column == expected.access, manifest.form == "plain", "{name}");
        if let Some(refresh) = &expected.refresh {
            let found = server.refresh(&expected.client, refresh, manifest.now_ms).await.unwrap().unwrap();
            assert_eq!(found.is_good, expected.is_refreshable, "{name}: {found:?}");
            let other = manifest.clients.iter().find(|client| client.key != expected.client).unwrap();
            assert_eq!(server.refresh(&other.key, refresh, manifest.now_ms).await.unwrap(), None, "another client's");
        }
        if expected.state == State::Active {
            let latest = server.latest_active(&found).await.unwrap().unwrap();
            let is_elder = expected.name == "twin_older";
            assert_eq!(latest.id == found.id, !is_elder, "{name}: {latest:?}");
        }
    }
    if manifest.release >= Release::V3_0 {
        let listed = server.revoked_jwts(manifest.now_ms).await.unwrap();
        let is_jti = listed.contains(&manifest.token("jwt_revoked").unwrap().access);
        assert_eq!((listed.len(), is_jti), (1, manifest.release == Release::V3_2));
    }
    let is_of = |client: &str, user: &str| {
        let of_both = |token: &&claviger_golden::manifest::Token| {
            token.state == State::Active && (token.client == client || token.user == user)
        };
        manifest.tokens.iter().filter(of_both).count()
    };
    let client = &manifest.client("app").unwrap().key;
    assert_eq!(server.active_of_client(client).await.unwrap().len(), is_of(client, ""));
    assert_eq!(server.active_of_user("carol", "PRIMARY", -1234).await.unwrap().len(), is_of("", "carol"));
    assert_eq!(server.active_of_user("dave", "PRIMARY", -1234).await.unwrap(), [], "dave is of another store");
    assert_eq!(server.token("no such token").await.unwrap(), None);
}

async fn check_codes(golden: &Golden) {
    let (server, manifest) = (golden.old_server(), &golden.manifest);
    for expected in &manifest.codes {
        let found = server.code(&expected.client, &expected.value).await.unwrap().unwrap();
        assert_eq!((found.state.as_str(), &found.callback), (expected.state.text(), &expected.callback));
        assert_eq!(found.scopes, expected.scopes.iter().cloned().collect(), "{}", expected.name);
        assert_eq!((&found.user, found.tenant_id), (&expected.user, expected.tenant_id));
        assert_eq!((found.expires_ms, &found.token_id), (expected.expires_ms, &expected.token_id), "{}", expected.name);
        let is_redeemable = found.is_redeemable(manifest.now_ms, expected.verifier.as_deref());
        assert_eq!(is_redeemable, expected.is_redeemable, "{}", expected.name);
        assert!(expected.verifier.is_none() || !found.is_redeemable(manifest.now_ms, Some("guessed")));
    }
}

async fn check_apis(golden: &Golden) {
    let (server, manifest) = (golden.old_server(), &golden.manifest);
    for expected in &manifest.subscriptions {
        let call = (&expected.client, &expected.context, &expected.version);
        let verdict = server.check_subscription(call.0, call.1, call.2).await.unwrap();
        assert_eq!(verdict, expected.verdict, "{expected:?}");
        if let Some(found) = server.subscription(call.0, call.1, call.2).await.unwrap() {
            assert_eq!((&found.tier, &found.subscriber), (&expected.tier, &expected.subscriber));
            assert_eq!((&found.application, &found.key_type), (&expected.application, &expected.key_type));
        }
    }
    for scope in &manifest.scopes {
        let roles: BTreeSet<String> = scope.roles.iter().cloned().collect();
        let found = server.scope(&scope.name, scope.tenant_id).await.unwrap().unwrap();
        assert_eq!(found, (scope.display_name.clone(), roles.clone()));
        for resource in &scope.resources {
            let found = server.scopes_of_resource(resource).await.unwrap();
            assert_eq!(found, [(scope.name.clone(), roles.clone())].into_iter().collect(), "{resource:?}");
        }
    }
    let open = ["/news/1.0.0", "1.0.0", "/items", "POST"].map(str::to_owned);
    assert!(server.scopes_of_resource(&open).await.unwrap().is_empty());
}

/// The audit says what the manifest says, and notices damage.
async fn check_audit(golden: &Golden) {
    let (server, manifest) = (golden.old_server(), &golden.manifest);
    let mut expected: Vec<&str> = Vec::new();
    expected
        .extend(manifest.tokens.iter().filter(|token| !token.is_found_by_old_server).map(|token| token.id.as_str()));
    let complaints = server.complaints(manifest.now_ms).await.unwrap();
    let of_twins: Vec<&str> =
        manifest.tokens.iter().filter(|token| token.name.starts_with("twin_")).map(|token| token.id.as_str()).collect();
    let is_about = |ids: &[&str], line: &str| ids.iter().any(|id| line.starts_with(id));
    assert_eq!(
        complaints.iter().filter(|line| is_about(&of_twins, line)).count(),
        of_twins.len() / 2,
        "{complaints:?}"
    );
    let others: Vec<_> = complaints.iter().filter(|line| !is_about(&of_twins, line)).collect();
    assert!(others.iter().all(|line| is_about(&expected, line)), "{others:?}");
    assert!(expected.iter().all(|id| complaints.iter().any(|line| line.starts_with(id))), "{complaints:?}");

    let token = &manifest.token("user_live").unwrap().id;
    let damage = format!(
        "UPDATE IDN_OAUTH2_ACCESS_TOKEN SET TOKEN_STATE_ID = 'X', TIME_CREATED = TIME_CREATED WHERE TOKEN_ID = '{token}'"
    );
    assert_eq!(golden.databases.identity.run(&damage).await.unwrap(), 1);
    let now = server.complaints(manifest.now_ms).await.unwrap();
    assert_eq!(now.len(), complaints.len() + 1, "{now:?}");
}
