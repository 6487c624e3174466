//! The backward leg: an old server finds every row that the program wrote.

use super::forward::{Issued, Ledger};
use crate::harness::{ADMIN, Browser, Registered, Server, register, registration};
use claviger_golden::Release;
use claviger_golden::golden::Golden;
use claviger_golden::manifest::Token;
use serde_json::json;

const CALLBACK: &str = "https://coded.example/cb";
/// RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Everything that the key manager's wire writes.
pub(super) async fn write(golden: &Golden, server: &Server, ledger: &mut Ledger) {
    write_clients(golden, server, ledger).await;
    rename(server, ledger).await;
    revoke(golden, server, ledger).await;
}

async fn write_clients(golden: &Golden, server: &Server, ledger: &mut Ledger) {
    let client = register(server, "weather_board", json!({})).await;
    // Readers of old do not ask for the type of user: its own scopes keep it apart from the owner's token.
    let form = [("grant_type", "client_credentials"), ("scope", "am_application_scope default")];
    let application = client.issue(server, &form).await;
    let application = Issued::new(&client, ADMIN, &application);
    let user = client.log_in(server, "default").await;
    let user = Issued::new(&client, ADMIN, &user);
    // The newest row counts, and some tables keep whole seconds.
    server.clock.advance_s(1);
    let refreshed = client.refresh(server, user.refresh.as_ref().unwrap()).await;
    assert_eq!(refreshed.status, 200, "{refreshed:?}");
    ledger.dead.push(user.identifier);
    ledger.issued.push(Issued::new(&client, ADMIN, &refreshed));
    let revoked = client.log_in(server, "weather_admin").await;
    let revoked = Issued::new(&client, ADMIN, &revoked);
    assert_eq!(client.revoke(server, &[("token", &revoked.access)]).await.status, 200);
    ledger.dead.push(revoked.identifier);
    ledger.issued.push(application);
    ledger.clients.push((client, "weather_board".to_owned()));

    let more = json!({ "redirect_uris": [CALLBACK], "grant_types": ["authorization_code", "client_credentials"] });
    let client = register(server, "coded", more).await;
    let request = [
        ("response_type", "code"),
        ("client_id", client.id.as_str()),
        ("redirect_uri", CALLBACK),
        ("scope", "weather_forecast default"),
        ("state", "s"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    let code = Browser::new(server).code(&request, (ADMIN, &server.admin_password)).await;
    ledger.codes.push((client.id.clone(), code, VERIFIER.to_owned()));
    ledger.clients.push((client, "coded".to_owned()));

    let client = register(server, "renewed", json!({})).await;
    let before = client.issue(server, &[("grant_type", "client_credentials")]).await;
    ledger.dead.push(Issued::new(&client, ADMIN, &before).identifier);
    let secret = client.renew_secret(server).await.text("client_secret");
    let renewed = Registered { id: client.id.clone(), secret };
    let after = renewed.issue(server, &[("grant_type", "client_credentials")]).await;
    ledger.issued.push(Issued::new(&renewed, ADMIN, &after));
    ledger.clients.push((renewed, "renewed".to_owned()));
    assert_eq!(client.token(server, &[("grant_type", "client_credentials")]).await.status, 401);

    let client = register(server, "short_lived", json!({})).await;
    client.application_token(server).await;
    assert_eq!(client.delete(server).await.status, 204);
    ledger.gone.push(client.id);

    // A client of the old server gets a new secret too.
    let known = golden.manifest.client("sandbox").unwrap();
    let client = super::forward::registered(known);
    for token in ledger.issued.extract_if(.., |issued| issued.client.id == client.id) {
        ledger.dead.push(token.identifier);
    }
    let reply = client.renew_secret(server).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let renewed = Registered { id: client.id, secret: reply.text("client_secret") };
    ledger.clients.push((renewed, known.app_name.clone()));
}

/// A client that gets another name, with its service provider and its owner's role.
async fn rename(server: &Server, ledger: &mut Ledger) {
    let client = register(server, "pets", json!({})).await;
    let reply = client.change(server, &registration("animals", json!({}))).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    ledger.issued.push(Issued::new(&client, ADMIN, &client.log_in(server, "open_scope").await));
    ledger.clients.push((client, "animals".to_owned()));
}

/// Revocation by refresh token, and of a JWT, of which gateways are told.
async fn revoke(golden: &Golden, server: &Server, ledger: &mut Ledger) {
    let manifest = &golden.manifest;
    let key_of = |name: &str| manifest.client(name).map(|client| client.key.clone());
    let opaque =
        ledger.issued.extract_if(.., |issued| Some(&issued.client.id) == key_of("old").as_ref()).next().unwrap();
    let by_refresh = [("token", opaque.refresh.as_deref().unwrap()), ("token_type_hint", "refresh_token")];
    assert_eq!(opaque.client.revoke(server, &by_refresh).await.status, 200);
    assert!(!server.is_active(&opaque.access).await);
    ledger.dead.push(opaque.identifier);
    let Some(key) = key_of("jwt") else { return };
    let jwt = ledger.issued.extract_if(.., |issued| issued.client.id == key).next().unwrap();
    assert!(server.is_active(&jwt.access).await);
    assert_eq!(jwt.client.revoke(server, &[("token", &jwt.access)]).await.status, 200);
    assert!(!server.is_active(&jwt.access).await);
    let told = match manifest.release {
        Release::V2_1 | Release::V2_6 => None,
        Release::V3_0 | Release::V3_1 => jwt.access.rsplit('.').next().map(str::to_owned),
        Release::V3_2 => Some(jwt.identifier.clone()),
    };
    if let Some(told) = told {
        let listed = golden.old_server().revoked_jwts(manifest.now_ms).await.unwrap();
        assert!(listed.contains(&told), "{told}: {listed:?}");
    }
    ledger.dead.push(jwt.identifier);
}

/// The reads of an old server.
pub(super) async fn check(golden: &Golden, ledger: &Ledger) {
    let (old, now) = (golden.old_server(), golden.manifest.now_ms);
    for issued in &ledger.issued {
        let found = old.token(&issued.identifier).await.unwrap();
        let found = found.unwrap_or_else(|| panic!("the old server does not find {issued:?}"));
        assert!(found.is_active(now), "{found:?}");
        assert_eq!((&found.client, &found.user, &found.scopes), (&issued.client.id, &issued.user, &issued.scopes));
        assert_eq!(old.latest_active(&found).await.unwrap().map(|latest| latest.id), Some(found.id.clone()));
        if let Some(refresh) = &issued.refresh {
            let refresh = old.refresh(&issued.client.id, refresh, now).await.unwrap().unwrap();
            assert!(refresh.is_good, "{refresh:?}");
            assert_eq!(refresh.token.id, found.id);
        }
    }
    for dead in &ledger.dead {
        let found = old.token(dead).await.unwrap();
        assert!(found.as_ref().is_none_or(|token| !token.is_active(now)), "{found:?}");
    }
    for (client, code, verifier) in &ledger.codes {
        let found =
            old.code(client, code).await.unwrap().unwrap_or_else(|| panic!("the old server cannot find {code}"));
        assert!(found.is_redeemable(now, Some(verifier)) && !found.is_redeemable(now, Some("x")), "{found:?}");
        assert_eq!((found.callback.as_str(), found.user.as_str(), found.tenant_id), (CALLBACK, ADMIN, -1234));
        assert_eq!(found.scopes.iter().collect::<Vec<_>>(), ["default", "weather_forecast"]);
        // Made a few seconds after the swap.
        assert!((300_000..=310_000).contains(&(found.expires_ms - now)), "{found:?}");
    }
    for (client, name) in &ledger.clients {
        let found = old.client(&client.id).await.unwrap().unwrap();
        assert_eq!(&found.app_name, name);
        assert!(found.is_active && found.grants.iter().any(|grant| grant == "client_credentials"), "{found:?}");
        assert!(old.check_client(&client.id, &client.secret).await.unwrap(), "{name}");
        assert!(!old.check_client(&client.id, "wrong").await.unwrap(), "{name}");
        let roles = old.roles(&found.owner, &found.store, found.tenant_id).await.unwrap();
        assert!(roles.contains(&format!("Application/{name}")), "{roles:?}");
    }
    for client in &ledger.gone {
        assert_eq!(old.client(client).await.unwrap(), None);
    }
    let complaints = old.complaints(now).await.unwrap();
    // Rows that came from an older release already were like that.
    let is_old = |line: &&String| {
        let is_it = |token: &Token| !token.is_found_by_old_server && line.starts_with(&token.id);
        golden.manifest.tokens.iter().any(is_it)
    };
    let new: Vec<_> = complaints.iter().filter(|line| !is_old(line)).collect();
    assert!(new.is_empty(), "{new:?}");
    let changes = golden.catalogue_changes(|table| table.starts_with("CLV_")).await.unwrap();
    assert_eq!(changes, Vec::<String>::new());
}
