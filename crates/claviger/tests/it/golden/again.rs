//! The way back and forth once more: what the old server writes in between, the program sees.

use super::forward::{Issued, Ledger};
use crate::harness::Server;
use claviger_golden::digest::{hash_text, scope_hash};
use claviger_golden::golden::Golden;
use claviger_golden::options::Form;
use claviger_golden::{Release, manifest};

const ACCESS: &str = "2c1f5a0e-7b2d-4c55-9a55-0d6f3c1b7e01";
const REFRESH: &str = "9d0a4f7b-1e35-4b0c-8f0e-5a1d2b3c4d02";
const ID: &str = "5e8d7c6b-3a29-4817-b605-f4e3d2c1b003";
const SCOPE: &str = "seen_in_between";

/// The old server, started again for a while, issues a token and revokes one.
pub(super) async fn write(golden: &Golden, ledger: &mut Ledger) {
    let (manifest, options) = (&golden.manifest, &golden.options);
    let db = &golden.databases.identity;
    let stored = |plain: &str| match &options.form {
        Form::Plain => plain.to_owned(),
        Form::Hashed => hash_text(plain),
        Form::Encrypted(cipher) => cipher.encrypt(options.release, plain),
    };
    let like: &manifest::Token = manifest.token("user_live").unwrap();
    let (mut columns, mut values) = (String::new(), String::new());
    if options.release >= Release::V2_6 {
        columns.push_str(", ACCESS_TOKEN_HASH, REFRESH_TOKEN_HASH");
        values = format!(", '{}', '{}'", hash_text(ACCESS), hash_text(REFRESH));
    }
    for (since, column) in [(Release::V3_0, ", IDP_ID"), (Release::V3_1, ", TOKEN_BINDING_REF")] {
        if options.release >= since {
            columns.push_str(column);
            values.push_str(column);
        }
    }
    let insert = format!(
        "INSERT INTO IDN_OAUTH2_ACCESS_TOKEN (TOKEN_ID, ACCESS_TOKEN, REFRESH_TOKEN, TOKEN_SCOPE_HASH, TOKEN_STATE, TOKEN_STATE_ID, \
         CONSUMER_KEY_ID, AUTHZ_USER, TENANT_ID, USER_DOMAIN, USER_TYPE, GRANT_TYPE, TIME_CREATED, REFRESH_TOKEN_TIME_CREATED, \
         VALIDITY_PERIOD, REFRESH_TOKEN_VALIDITY_PERIOD, SUBJECT_IDENTIFIER{columns}) \
         SELECT '{ID}', '{}', '{}', '{}', 'ACTIVE', 'NONE', \
         CONSUMER_KEY_ID, AUTHZ_USER, TENANT_ID, USER_DOMAIN, USER_TYPE, GRANT_TYPE, TIME_CREATED, REFRESH_TOKEN_TIME_CREATED, \
         VALIDITY_PERIOD, REFRESH_TOKEN_VALIDITY_PERIOD, SUBJECT_IDENTIFIER{values} FROM IDN_OAUTH2_ACCESS_TOKEN WHERE TOKEN_ID = '{}'",
        stored(ACCESS),
        stored(REFRESH),
        scope_hash(&[SCOPE.to_owned()]),
        like.id
    );
    assert_eq!(db.run(&insert).await.unwrap(), 1);
    let scope = format!(
        "INSERT INTO IDN_OAUTH2_ACCESS_TOKEN_SCOPE (TOKEN_ID, TOKEN_SCOPE, TENANT_ID) VALUES ('{ID}', '{SCOPE}', {})",
        like.tenant_id
    );
    assert_eq!(db.run(&scope).await.unwrap(), 1);
    let client = super::forward::registered(manifest.client("app").unwrap());
    let issued = Issued {
        client,
        access: ACCESS.to_owned(),
        refresh: Some(REFRESH.to_owned()),
        identifier: ACCESS.to_owned(),
        user: like.user.clone(),
        scopes: [SCOPE.to_owned()].into(),
    };
    let revoked = ledger.issued.iter().position(|issued| issued.client.id == issued_client(ledger)).unwrap();
    let revoked = ledger.issued.remove(revoked);
    let row = golden.old_server().token(&revoked.identifier).await.unwrap().unwrap();
    let revoke = format!(
        "UPDATE IDN_OAUTH2_ACCESS_TOKEN SET TOKEN_STATE = 'REVOKED', TOKEN_STATE_ID = '{ID}', TIME_CREATED = TIME_CREATED \
         WHERE TOKEN_ID = '{}'",
        row.id
    );
    assert_eq!(db.run(&revoke).await.unwrap(), 1);
    ledger.dead.push(revoked.access);
    ledger.issued.push(issued);
}

/// The client that the program registered first.
fn issued_client(ledger: &Ledger) -> String {
    ledger.clients[0].0.id.clone()
}

/// Everything is as the old server left it, and goes on.
pub(super) async fn check(server: &Server, ledger: &mut Ledger) {
    // The test's server has another port and issuer now: its JWTs are another's.
    for issued in ledger.issued.iter().filter(|issued| !issued.access.contains('.')) {
        assert!(server.is_active(&issued.access).await, "{issued:?}");
    }
    for dead in &ledger.dead {
        assert!(!server.is_active(dead).await, "{dead}");
    }
    let issued = ledger.issued.pop().unwrap();
    let reply = issued.client.refresh(server, issued.refresh.as_ref().unwrap()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let next = Issued::new(&issued.client, &issued.user, &reply);
    assert_eq!(next.scopes, issued.scopes);
    ledger.dead.push(issued.identifier);
    ledger.issued.push(next);
}
