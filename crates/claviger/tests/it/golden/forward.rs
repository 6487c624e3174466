//! The forward leg: what the old server left works, through the public wire.

use super::configuration::signing_key;
use super::tenant_key;
use crate::harness::{Registered, Reply, Server, claims};
use claviger_golden::golden::Golden;
use claviger_golden::manifest::{Client, Manifest, State, Token, User};
use claviger_golden::options::Form;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What the program gave away and an old server must find.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) issued: Vec<Issued>,
    /// Access tokens that are over: revoked or replaced.
    pub(super) dead: Vec<String>,
    /// Clients and their secrets.
    pub(super) clients: Vec<(Registered, String)>,
    /// Client ids that are gone.
    pub(super) gone: Vec<String>,
    /// Client ids with a code that nobody has used, and its verifier.
    pub(super) codes: Vec<(String, String, String)>,
}

/// A token that the program issued.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    pub(super) client: Registered,
    /// As presented.
    pub(super) access: String,
    pub(super) refresh: Option<String>,
    /// As rows have it: the token, or a JWT's `jti`.
    pub(super) identifier: String,
    pub(super) user: String,
    pub(super) scopes: BTreeSet<String>,
}

impl Issued {
    pub(super) fn new(client: &Registered, user: &str, reply: &Reply) -> Self {
        let access = reply.text("access_token");
        let identifier =
            if access.contains('.') { claims(&access)["jti"].as_str().unwrap().to_owned() } else { access.clone() };
        Self {
            client: client.clone(),
            identifier,
            refresh: reply.json()["refresh_token"].as_str().map(str::to_owned),
            user: user.to_owned(),
            scopes: words(&reply.json()["scope"]),
            access,
        }
    }
}

/// Checks everything of the manifest that the program has a wire for.
pub(super) async fn check(golden: &Golden, server: &Server) -> Ledger {
    let mut ledger = Ledger::default();
    check_tokens(golden, server).await;
    check_clients(golden, server).await;
    check_same_again(golden, server, &mut ledger).await;
    check_refresh(golden, server, &mut ledger).await;
    check_codes(golden, server, &mut ledger).await;
    check_users(golden, server).await;
    check_scopes(golden, server).await;
    tenant_key::check(golden, server).await;
    settle(server, &mut ledger).await;
    ledger
}

pub(super) fn registered(client: &Client) -> Registered {
    Registered { id: client.key.clone(), secret: client.secret.clone() }
}

fn client_of<'a>(manifest: &'a Manifest, token: &Token) -> &'a Client {
    manifest.clients.iter().find(|client| client.key == token.client).unwrap()
}

/// `carol@carbon.super`, `EXAMPLE/dave@carbon.super`.
fn full_name(manifest: &Manifest, store: &str, user: &str, tenant_id: i64) -> String {
    let store = if store == "PRIMARY" { String::new() } else { format!("{store}/") };
    format!("{store}{user}@{}", manifest.tenant(tenant_id).unwrap().domain)
}

pub(super) fn words(scope: &Value) -> BTreeSet<String> {
    scope.as_str().unwrap_or_default().split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The token as its user holds it: a JWT was signed by the old server.
fn presented(golden: &Golden, server: &Server, token: &Token) -> String {
    if !token.is_jwt {
        return token.access.clone();
    }
    let claims = json!({
        "sub": token.subject, "aud": token.client, "nbf": token.issued_ms / 1000, "azp": token.client,
        "scope": token.scopes.join(" "), "iss": format!("{}/oauth2/token", server.base_path),
        "exp": token.expires_ms.unwrap() / 1000, "iat": token.issued_ms / 1000, "jti": token.access,
    });
    signing_key(golden.options.release).sign(&claims.to_string())
}

async fn check_tokens(golden: &Golden, server: &Server) {
    let manifest = &golden.manifest;
    for token in &manifest.tokens {
        let told = server.introspect(&presented(golden, server, token)).await;
        let name = token.name;
        assert_eq!(told["active"], token.is_active, "{name}: {told}");
        if token.is_jwt {
            assert!(!server.is_active(&token.access).await, "{name}: a jti is no token");
        }
        if !token.is_active {
            continue;
        }
        assert_eq!(told["client_id"], token.client, "{name}");
        assert_eq!(told["username"], full_name(manifest, &token.store, &token.user, token.tenant_id), "{name}");
        assert_eq!(words(&told["scope"]), token.scopes.iter().cloned().collect(), "{name}");
        assert_eq!(told["iat"], token.issued_ms.div_euclid(1000), "{name}");
        assert_eq!(told["exp"], token.expires_ms.map_or(i64::MAX, |end| end.div_euclid(1000)), "{name}");
    }
}

async fn check_clients(golden: &Golden, server: &Server) {
    for client in &golden.manifest.clients {
        let right = registered(client);
        // A refresh token that is none: the answer tells whether the client was let in.
        let reply = right.refresh(server, "none").await;
        let is_in = reply.json()["error_description"] == "Persisted access token data not found";
        assert_eq!(is_in, client.is_active, "{}: {reply:?}", client.name);
        let wrong = Registered { secret: format!("{}x", client.secret), ..right };
        let reply = wrong.refresh(server, "none").await;
        assert_eq!((reply.status, reply.text("error").as_str()), (401, "invalid_client"), "{reply:?}");
    }
}

/// A request like an earlier one meets its live token.
async fn check_same_again(golden: &Golden, server: &Server, ledger: &mut Ledger) {
    let manifest = &golden.manifest;
    for name in ["app_live", "user_live", "user_scoped", "tenant_user", "tenant_app", "never_ending"] {
        let token = manifest.token(name).unwrap();
        let client = registered(client_of(manifest, token));
        let (user, scope) = (full_name(manifest, "PRIMARY", &token.user, token.tenant_id), token.scopes.join(" "));
        let mut form = vec![("grant_type", token.grant), ("scope", &scope)];
        if token.grant == "password" {
            let user = &manifest.user(&token.user, token.tenant_id).unwrap();
            form.push(("password", user.password.as_ref().unwrap()));
        }
        if token.grant == "password" {
            form.push(("username", &user));
        }
        let reply = client.issue(server, &form).await;
        let issued = Issued::new(&client, &token.user, &reply);
        assert_eq!(issued.scopes, token.scopes.iter().cloned().collect(), "{name}");
        let is_known_again = !matches!(golden.options.form, Form::Hashed);
        assert_eq!(issued.access == token.access, is_known_again, "{name}: {reply:?}");
        if !is_known_again {
            ledger.dead.push(token.access.clone());
            assert!(!server.is_active(&token.access).await, "{name}: replaced");
        } else if token.grant == "password" {
            assert_eq!(issued.refresh, token.refresh, "{name}");
        }
        let active = golden.old_server().active_of_client(&token.client).await.unwrap();
        let like = |found: &&claviger_golden::old_server::FoundToken| {
            (found.user.as_str(), found.user_type.as_str()) == (token.user.as_str(), token.user_type)
                && found.scopes == issued.scopes
        };
        assert_eq!(active.iter().filter(like).count(), 1, "{name}");
        assert!(server.is_active(&issued.access).await, "{name}");
        if !is_known_again {
            // Those that are handed out again are refreshed below.
            ledger.issued.push(issued);
        }
    }
}

/// Tells those that were replaced later, for the same client, user and scopes, from those that are alive.
async fn settle(server: &Server, ledger: &mut Ledger) {
    let mut alive = Vec::new();
    for issued in std::mem::take(&mut ledger.issued) {
        if server.is_active(&issued.access).await { alive.push(issued) } else { ledger.dead.push(issued.identifier) }
    }
    assert!(alive.len() > 8, "{alive:?}");
    ledger.issued = alive;
}

/// Good refresh tokens work once, the others never.
async fn check_refresh(golden: &Golden, server: &Server, ledger: &mut Ledger) {
    let manifest = &golden.manifest;
    let replaced = |token: &Token| ledger.dead.contains(&token.access);
    // Of `client_credentials` nobody knows the refresh token. The older of two twins is replaced with the newer. A token
    // without scopes comes back with `default`, in place of one that is refreshed before.
    let is_told =
        |token: &&Token| token.grant != "client_credentials" && token.name != "twin_older" && !replaced(token);
    let (last, first): (Vec<_>, Vec<_>) =
        manifest.tokens.iter().filter(is_told).partition(|token| token.name == "without_scopes");
    let mut used = BTreeSet::new();
    for token in first.into_iter().chain(last) {
        let Some(refresh) = token.refresh.as_ref().filter(|refresh| !used.contains(*refresh)) else { continue };
        let (name, client) = (token.name, registered(client_of(manifest, token)));
        let reply = client.refresh(server, refresh).await;
        if token.store != "PRIMARY" {
            // There is nobody to ask whether the user is still there.
            reply.check_error(400, "invalid_grant", "The user of the refresh token may not log in any more");
            continue;
        }
        assert_eq!(reply.status == 200, token.is_refreshable, "{name}: {reply:?}");
        if !token.is_refreshable {
            continue;
        }
        used.insert(refresh.clone());
        let issued = Issued::new(&client, &token.user, &reply);
        let scopes = if token.scopes.is_empty() { vec!["default".to_owned()] } else { token.scopes.clone() };
        assert_eq!(issued.scopes, scopes.into_iter().collect(), "{name}");
        assert_eq!(issued.access.contains('.'), token.is_jwt, "{name}");
        assert!(!server.is_active(&presented(golden, server, token)).await, "{name}: replaced");
        assert_eq!(client.refresh(server, refresh).await.status, 400, "{name}: used");
        if token.state == State::Active {
            ledger.dead.push(token.access.clone());
        }
        ledger.dead.retain(|dead| *dead != issued.identifier);
        ledger.issued.push(issued);
    }
}

/// Codes are good for us as they are for the old server, once; who comes with a used one ends its token.
async fn check_codes(golden: &Golden, server: &Server, ledger: &mut Ledger) {
    let (manifest, old) = (&golden.manifest, golden.old_server());
    let mut redeemed = 0;
    for code in &manifest.codes {
        let client = registered(manifest.clients.iter().find(|client| client.key == code.client).unwrap());
        let before = old.code(&code.client, &code.value).await.unwrap().unwrap();
        let mut form =
            vec![("grant_type", "authorization_code"), ("code", &code.value), ("redirect_uri", &code.callback)];
        form.extend(code.verifier.as_deref().map(|verifier| ("code_verifier", verifier)));
        let reply = client.token(server, &form).await;
        assert_eq!(reply.status == 200, code.is_redeemable, "{}: {reply:?}", code.name);
        let after = old.code(&code.client, &code.value).await.unwrap().unwrap();
        let active = old.active_of_client(&code.client).await.unwrap();
        let is_active = active.iter().any(|token| Some(&token.id) == after.token_id.as_ref());
        match code.state {
            State::Inactive => {
                assert_eq!((&after.token_id, is_active), (&before.token_id, false), "{}", code.name);
            }
            State::Active if code.is_redeemable => {
                assert_eq!((after.state.as_str(), is_active), ("INACTIVE", true), "{}", code.name);
                let issued = Issued::new(&client, &code.user, &reply);
                assert!(issued.scopes.iter().all(|scope| code.scopes.contains(scope)), "{issued:?}");
                ledger.dead.retain(|dead| *dead != issued.identifier);
                ledger.issued.push(issued);
                redeemed += 1;
            }
            State::Active => assert_eq!(after.state, "EXPIRED", "{}", code.name),
            _ => assert_eq!(after, before, "{}", code.name),
        }
    }
    assert_eq!(redeemed, 2);
}

async fn log_in(golden: &Golden, server: &Server, user: &User, password: &str, scope: &str) -> Reply {
    let manifest = &golden.manifest;
    let client = manifest.client(if user.tenant_id == -1234 { "app" } else { "tenant" }).unwrap();
    let name = full_name(manifest, "PRIMARY", &user.name, user.tenant_id);
    // The super tenant's domain is left out as a rule.
    let name = name.strip_suffix("@carbon.super").unwrap_or(&name);
    let form = [("grant_type", "password"), ("username", name), ("password", password), ("scope", scope)];
    registered(client).token(server, &form).await
}

async fn check_users(golden: &Golden, server: &Server) {
    for user in &golden.manifest.users {
        let Some(password) = &user.password else { continue };
        let reply = log_in(golden, server, user, password, "").await;
        assert_eq!(reply.status == 200, !user.is_login_over && !user.is_barred, "{}: {reply:?}", user.name);
        if reply.status == 200 {
            let told = server.introspect(&reply.text("access_token")).await;
            let name = full_name(&golden.manifest, "PRIMARY", &user.name, user.tenant_id);
            assert_eq!(told["username"], name, "{told}");
        }
        if user.is_login_over {
            // It was good once, and that it was used then does not make it good now.
            server.clock.advance_s(-2 * 3600);
            assert_eq!(log_in(golden, server, user, password, "").await.status, 200);
            server.clock.advance_s(2 * 3600);
            assert_eq!(log_in(golden, server, user, password, "").await.status, 400);
        }
        for wrong in [format!("{password}x"), password.to_uppercase() + "X"] {
            let reply = log_in(golden, server, user, &wrong, "").await;
            assert_eq!((reply.status, reply.text("error").as_str()), (400, "invalid_grant"), "{}", user.name);
        }
    }
}

/// A scope that is bound to roles is for those who have one.
async fn check_scopes(golden: &Golden, server: &Server) {
    let manifest = &golden.manifest;
    let mut granted_to = 0;
    for scope in &manifest.scopes {
        let may_log_in = |user: &&User| user.tenant_id == scope.tenant_id && !user.is_login_over && !user.is_barred;
        for user in manifest.users.iter().filter(may_log_in) {
            let Some(password) = &user.password else { continue };
            let reply = log_in(golden, server, user, password, &scope.name).await;
            assert_eq!(reply.status, 200, "{} {}: {reply:?}", user.name, scope.name);
            let is_entitled = scope.roles.is_empty() || scope.roles.iter().any(|role| user.roles.contains(role));
            let expected = if is_entitled { &scope.name } else { "default" };
            assert_eq!(reply.text("scope"), expected, "{} {}", user.name, scope.name);
            granted_to += usize::from(is_entitled);
        }
    }
    assert!(granted_to > 6, "{granted_to}");
}
