//! The audit of an old server's rows notices each kind of damage.

use crate::{NOW_MS, servers};
use claviger_golden::Release;
use claviger_golden::golden::Golden;
use claviger_golden::options::{Layout, Options};

/// An UPDATE that leaves the time alone, whatever the column does by itself.
const TOKEN: &str = "IDN_OAUTH2_ACCESS_TOKEN SET TIME_CREATED = TIME_CREATED,";
const CODE: &str = "IDN_OAUTH2_AUTHORIZATION_CODE SET TIME_CREATED = TIME_CREATED,";
/// A damage and the words that must name it.
const OF_TOKENS: &[(&str, &str)] = &[
    ("TOKEN_STATE_ID = 'X'", "TOKEN_STATE_ID is NONE"),
    ("TOKEN_STATE = 'GONE'", "a state nobody knows"),
    ("USER_TYPE = 'USER'", "a user type nobody knows"),
    ("USER_DOMAIN = 'Primary'", "USER_DOMAIN is not in upper case"),
    ("AUTHZ_USER = 'EXAMPLE/carol'", "AUTHZ_USER with a domain"),
    ("REFRESH_TOKEN_TIME_CREATED = '2037-01-01 00:00:00'", "a time that is still to come"),
    ("ACCESS_TOKEN_HASH = 'x'", "a hash that is not the value's"),
    ("REFRESH_TOKEN = NULL", "a hash of nothing"),
    ("TOKEN_SCOPE_HASH = 'x'", "TOKEN_SCOPE_HASH is not that of the scopes"),
    ("IDP_ID = -1", "no identity provider LOCAL of the tenant"),
    ("SUBJECT_IDENTIFIER = NULL", "a column that readers rely on is NULL"),
];
const OF_CODES: &[(&str, &str)] = &[
    ("STATE = 'ACTIVE'", "a code that was used and is ACTIVE"),
    ("AUTHORIZATION_CODE = 'x'", "a hash that is not the value's"),
    ("CALLBACK_URL = NULL", "a column that readers rely on is NULL"),
    ("IDP_ID = -1", "no identity provider LOCAL of the tenant"),
    ("VALIDITY_PERIOD = 1, TIME_CREATED = '2037-01-01 00:00:00'", "a time that is still to come, or none"),
];

#[tokio::test]
async fn damage_is_noticed() {
    for (engine, url) in servers() {
        let options = Options { layout: Layout::One, ..Options::new(Release::V3_1, NOW_MS) };
        let golden = Golden::create(engine, &url, options).await.unwrap();
        let manifest = &golden.manifest;
        let token = &manifest.token("user_live").unwrap().id;
        let app = manifest.client("app").unwrap();
        let mut damages: Vec<(String, &str)> = Vec::new();
        for (damage, words) in OF_TOKENS {
            damages.push((format!("UPDATE {TOKEN} {damage} WHERE TOKEN_ID = '{token}'"), words));
        }
        for (damage, words) in OF_CODES {
            let damage = match damage.split_once("TIME_CREATED = ") {
                Some((_, time)) => format!("UPDATE IDN_OAUTH2_AUTHORIZATION_CODE SET TIME_CREATED = {time}"),
                None => format!("UPDATE {CODE} {damage}"),
            };
            damages.push((format!("{damage} WHERE STATE = 'INACTIVE' OR TOKEN_ID IS NOT NULL"), words));
        }
        let other = &manifest.token("replaced").unwrap().id;
        let active = format!("UPDATE {TOKEN} TOKEN_STATE = 'ACTIVE' WHERE TOKEN_ID = '{other}'");
        let other = &manifest.token("user_scoped").unwrap().id;
        let foreign = format!("UPDATE IDN_OAUTH2_ACCESS_TOKEN_SCOPE SET TENANT_ID = -1 WHERE TOKEN_ID = '{other}'");
        let inbound = format!("DELETE FROM SP_INBOUND_AUTH WHERE INBOUND_AUTH_KEY = '{}'", app.key);
        let name = &manifest.client("sandbox").unwrap().app_name;
        let role = format!("DELETE FROM UM_HYBRID_ROLE WHERE UM_ROLE_NAME = 'Application/{name}'");
        let domains = format!("DELETE FROM AM_APP_KEY_DOMAIN_MAPPING WHERE CONSUMER_KEY = '{}'", app.key);
        let unknown = "UPDATE AM_APPLICATION_KEY_MAPPING SET CONSUMER_KEY = 'x' WHERE KEY_TYPE = 'SANDBOX'".to_owned();
        damages.extend([
            (active, "ACTIVE beside"),
            (foreign, "is of another tenant"),
            (inbound, "a client without its service provider"),
            (domains, "a key of an application without domains"),
            (unknown, "a key of an application without its client"),
            (role, "a service provider without its role"),
        ]);
        let mut known = golden.old_server().complaints(manifest.now_ms).await.unwrap();
        for (damage, words) in damages {
            assert!(golden.databases.identity.run(&damage).await.unwrap() > 0, "{damage}");
            let found = golden.old_server().complaints(manifest.now_ms).await.unwrap();
            let is_new = |line: &&String| !known.contains(*line) && line.contains(words);
            assert!(found.iter().any(|line| is_new(&line)), "{engine:?}, after {damage}: {found:#?}");
            known = found;
        }
        golden.drop_databases().await.unwrap();
    }
}
