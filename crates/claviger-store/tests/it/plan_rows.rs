//! Some thousand rows in every table that a hot statement reads, so that the planners choose as they would in production.

use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::sql::{Engine, Sql};

/// Rows I = 1..1000, each J = 0..3.
macro_rules! rows {
    ($into:literal, $select:literal) => {
        Sql::new(
            concat!(
                "INSERT INTO ",
                $into,
                " WITH RECURSIVE N(I) AS (SELECT 1 UNION ALL SELECT I + 1 FROM N WHERE I < 1000), \
                 M(J) AS (SELECT 0 UNION ALL SELECT J + 1 FROM M WHERE J < 3) SELECT ",
                $select
            ),
            &[],
        )
    };
}

static FILL: [Sql; 46] = [
    rows!(
        "SP_APP (ID, TENANT_ID, APP_NAME, USER_STORE, USERNAME, AUTH_TYPE, UUID)",
        "100000 + I, -1234, CONCAT('app_', I), 'PRIMARY', 'admin', 'default', CONCAT('provider_', I) FROM N"
    ),
    rows!(
        "IDN_OAUTH_CONSUMER_APPS (ID, CONSUMER_KEY, CONSUMER_SECRET, USERNAME, TENANT_ID, USER_DOMAIN, APP_NAME, OAUTH_VERSION)",
        "100000 + I, CONCAT('key_', I), 'secret', 'admin', -1234, 'PRIMARY', CONCAT('app_', I), 'OAuth-2.0' FROM N"
    ),
    rows!(
        "SP_INBOUND_AUTH (TENANT_ID, INBOUND_AUTH_KEY, INBOUND_AUTH_TYPE, INBOUND_CONFIG_TYPE, APP_ID)",
        "-1234, CONCAT('key_', I), 'oauth2', 'standardAPP', 100000 + I FROM N"
    ),
    rows!(
        "IDN_OIDC_PROPERTY (TENANT_ID, CONSUMER_KEY, PROPERTY_KEY, PROPERTY_VALUE)",
        "-1234, CONCAT('key_', I), CONCAT('property_', J), 'some value' FROM N, M"
    ),
    // Of a client's eight tokens one is ACTIVE for the application, one for a user.
    rows!(
        "IDN_OAUTH2_ACCESS_TOKEN (TOKEN_ID, ACCESS_TOKEN, REFRESH_TOKEN, CONSUMER_KEY_ID, AUTHZ_USER, TENANT_ID, USER_DOMAIN, USER_TYPE, \
         GRANT_TYPE, VALIDITY_PERIOD, TOKEN_SCOPE_HASH, TOKEN_STATE, TOKEN_STATE_ID, SUBJECT_IDENTIFIER, ACCESS_TOKEN_HASH, \
         REFRESH_TOKEN_HASH, IDP_ID, TOKEN_BINDING_REF)",
        "CONCAT('token_', I, '_', J), CONCAT('a_', I, '_', J), CONCAT('r_', I, '_', J), 100000 + I, 'admin', -1234, 'PRIMARY', 'APPLICATION', \
         'client_credentials', 3600000, CONCAT('hash_', J), CASE J WHEN 0 THEN 'ACTIVE' ELSE 'INACTIVE' END, \
         CASE J WHEN 0 THEN 'NONE' ELSE CONCAT('id_', J) END, 'admin', CONCAT('access_', I, '_', J), CONCAT('refresh_', I, '_', J), 1, 'NONE' \
         FROM N, M"
    ),
    rows!(
        "IDN_OAUTH2_ACCESS_TOKEN (TOKEN_ID, ACCESS_TOKEN, REFRESH_TOKEN, CONSUMER_KEY_ID, AUTHZ_USER, TENANT_ID, USER_DOMAIN, USER_TYPE, \
         GRANT_TYPE, VALIDITY_PERIOD, TOKEN_SCOPE_HASH, TOKEN_STATE, TOKEN_STATE_ID, SUBJECT_IDENTIFIER, ACCESS_TOKEN_HASH, \
         REFRESH_TOKEN_HASH, IDP_ID, TOKEN_BINDING_REF)",
        "CONCAT('utoken_', I, '_', J), CONCAT('ua_', I, '_', J), CONCAT('ur_', I, '_', J), 100000 + I, CONCAT('user_', I), -1234, 'PRIMARY', \
         'APPLICATION_USER', 'password', 3600000, CONCAT('hash_', J), CASE J WHEN 1 THEN 'ACTIVE' ELSE 'EXPIRED' END, \
         CASE J WHEN 1 THEN 'NONE' ELSE CONCAT('id_', J) END, CONCAT('user_', I), CONCAT('uaccess_', I, '_', J), \
         CONCAT('urefresh_', I, '_', J), 1, 'NONE' FROM N, M"
    ),
    rows!(
        "IDN_OAUTH2_ACCESS_TOKEN_SCOPE (TOKEN_ID, TOKEN_SCOPE, TENANT_ID)",
        "CONCAT('token_', I, '_', J), 'default', -1234 FROM N, M"
    ),
    rows!(
        "IDN_OAUTH2_ACCESS_TOKEN_SCOPE (TOKEN_ID, TOKEN_SCOPE, TENANT_ID)",
        "CONCAT('utoken_', I, '_', J), 'openid', -1234 FROM N, M"
    ),
    rows!(
        "UM_USER (UM_ID, UM_USER_ID, UM_USER_NAME, UM_USER_PASSWORD, UM_CHANGED_TIME, UM_TENANT_ID)",
        "100000 + I, CONCAT('uuid_', I), CONCAT('user_', I), 'digest', CURRENT_TIMESTAMP, -1234 FROM N"
    ),
    rows!(
        "UM_USER_ATTRIBUTE (UM_ATTR_NAME, UM_ATTR_VALUE, UM_PROFILE_ID, UM_USER_ID, UM_TENANT_ID)",
        "'mail', 'somebody@example.org', 'default', 100000 + I, -1234 FROM N"
    ),
    rows!(
        "IDN_IDENTITY_USER_DATA (TENANT_ID, USER_NAME, DATA_KEY, DATA_VALUE)",
        "-1234, CONCAT('user_', I), 'http://wso2.org/claims/identity/accountLocked', 'false' FROM N"
    ),
    rows!("UM_ROLE (UM_ID, UM_ROLE_NAME, UM_TENANT_ID)", "100000 + I, CONCAT('role_', I), -1234 FROM N WHERE I < 100"),
    rows!("UM_USER_ROLE (UM_ROLE_ID, UM_USER_ID, UM_TENANT_ID)", "100001 + I % 90 + J, 100000 + I, -1234 FROM N, M"),
    rows!(
        "UM_HYBRID_ROLE (UM_ID, UM_ROLE_NAME, UM_TENANT_ID)",
        "100000 + I, CONCAT('Application/app_', I), -1234 FROM N"
    ),
    rows!(
        "UM_HYBRID_USER_ROLE (UM_USER_NAME, UM_ROLE_ID, UM_TENANT_ID, UM_DOMAIN_ID)",
        "CONCAT('user_', I), 100000 + I, -1234, \
         (SELECT UM_DOMAIN_ID FROM UM_DOMAIN WHERE UM_DOMAIN_NAME = 'PRIMARY' AND UM_TENANT_ID = -1234) FROM N"
    ),
    rows!(
        "UM_PERMISSION (UM_ID, UM_RESOURCE_ID, UM_ACTION, UM_TENANT_ID)",
        "100000 + I, CONCAT('/permission/some/', I), 'ui.execute', -1234 FROM N WHERE I < 300"
    ),
    rows!(
        "UM_ROLE_PERMISSION (UM_PERMISSION_ID, UM_ROLE_NAME, UM_IS_ALLOWED, UM_TENANT_ID, UM_DOMAIN_ID)",
        "100000 + I, CONCAT('role_', J), 1, -1234, \
         (SELECT UM_DOMAIN_ID FROM UM_DOMAIN WHERE UM_DOMAIN_NAME = 'PRIMARY' AND UM_TENANT_ID = -1234) FROM N, M WHERE I < 300"
    ),
    rows!(
        "UM_TENANT (UM_ID, UM_DOMAIN_NAME, UM_CREATED_DATE)",
        "I, CONCAT('domain_', I), CURRENT_TIMESTAMP FROM N WHERE I < 20"
    ),
    rows!(
        "IDN_OAUTH2_SCOPE (SCOPE_ID, NAME, DISPLAY_NAME, TENANT_ID, SCOPE_TYPE)",
        "100000 + I, CONCAT('scope_', I), 'a scope', -1234, 'OAUTH2' FROM N WHERE I < 500"
    ),
    rows!(
        "IDN_OAUTH2_SCOPE_BINDING (SCOPE_ID, SCOPE_BINDING, BINDING_TYPE)",
        "100000 + I, CONCAT('role_', J), 'DEFAULT' FROM N, M WHERE I < 500"
    ),
    rows!("CLV_EVENT (PAYLOAD, CREATED_AT)", "'{\"type\":\"keys_changed\"}', 1000 * I + J FROM N, M"),
    rows!(
        "CLV_CODE_CONTEXT (CODE_ID, AUTH_TIME, NONCE)",
        "CONCAT('code_', N.I, '_', O.I), N.I, 'nonce' FROM N, N O WHERE O.I < 30"
    ),
    rows!("CLV_HOLDER (NAME, HOLDER, BEAT)", "CONCAT('lease_', I), 'node', I FROM N"),
    rows!(
        "CLV_NOTIFICATION (LISTENER, LANE, EVENT_ID, CONSUMER_KEY, BODY, CREATED_AT, EXPIRES_AT, DIED_AT)",
        "CONCAT('listener_', J % 2), CONCAT('lane_', I), 'event', CONCAT('key_', I), '{}', I, 1000 + I, \
         CASE WHEN J < 2 THEN 0 ELSE 1 + I END FROM N, M"
    ),
    rows!(
        "CLV_REVOCATION (KIND, SUBJECT, REVOKED_BEFORE, EXPIRES_AT)",
        "'TOKEN', CONCAT('subject_', I, '_', J), I, 10 + 10 * I + J FROM N, M"
    ),
    rows!(
        "IDN_OAUTH2_AUTHORIZATION_CODE (CODE_ID, AUTHORIZATION_CODE, CONSUMER_KEY_ID, TIME_CREATED, VALIDITY_PERIOD, STATE, TOKEN_ID, IDP_ID, \
         AUTHORIZATION_CODE_HASH)",
        "CONCAT('code_', N.I, '_', O.I), 'code', 100000 + N.I, CURRENT_TIMESTAMP, 300000, 'INACTIVE', CONCAT('utoken_', N.I, '_', O.I), 1, \
         CONCAT('code_hash_', N.I, '_', O.I) FROM N, N O WHERE O.I < 30"
    ),
    rows!(
        "IDN_OAUTH2_AUTHZ_CODE_SCOPE (CODE_ID, SCOPE, TENANT_ID)",
        "CONCAT('code_', N.I, '_', O.I), 'openid', -1234 FROM N, N O WHERE O.I < 30"
    ),
    rows!(
        "IDN_AUTH_SESSION_STORE (SESSION_ID, SESSION_TYPE, OPERATION, TIME_CREATED, TENANT_ID, EXPIRY_TIME)",
        "CONCAT('session_', N.I), 'AppAuthFrameworkSessionContextCache', 'STORE', O.I, -1234, N.I FROM N, N O WHERE O.I < 30"
    ),
    rows!(
        "IDN_OAUTH2_ACCESS_TOKEN_AUDIT (TOKEN_ID, CONSUMER_KEY_ID, TENANT_ID, TOKEN_STATE, INVALIDATED_TIME)",
        "CONCAT('audit_', I, '_', J), 100000 + I, -1234, 'EXPIRED', CURRENT_TIMESTAMP FROM N, M"
    ),
    rows!(
        "AM_REVOKED_JWT (UUID, SIGNATURE, EXPIRY_TIMESTAMP, TENANT_ID)",
        "CONCAT('uuid_', N.I, '_', O.I), CONCAT('jti_', N.I, '_', O.I), N.I, -1234 FROM N, N O WHERE O.I < 30"
    ),
    rows!(
        "AM_SUBSCRIBER (SUBSCRIBER_ID, USER_ID, TENANT_ID, DATE_SUBSCRIBED)",
        "100000 + I, CONCAT('user_', I), -1234, CURRENT_TIMESTAMP FROM N"
    ),
    rows!(
        "AM_APPLICATION (APPLICATION_ID, NAME, SUBSCRIBER_ID, CREATED_TIME, UUID)",
        "100000 + I, CONCAT('app_', I), 100000 + I, CURRENT_TIMESTAMP, CONCAT('application_', I) FROM N"
    ),
    rows!(
        "AM_APPLICATION_ATTRIBUTES (APPLICATION_ID, NAME, VALUE, TENANT_ID)",
        "100000 + I, CONCAT('name_', J), 'some value', -1234 FROM N, M"
    ),
    rows!(
        "AM_APPLICATION_KEY_MAPPING (UUID, APPLICATION_ID, CONSUMER_KEY, KEY_TYPE, STATE, KEY_MANAGER)",
        "CONCAT('mapping_', I), 100000 + I, CONCAT('key_', I), 'PRODUCTION', 'COMPLETED', 'Resident Key Manager' FROM N"
    ),
    rows!("AM_APP_KEY_DOMAIN_MAPPING (CONSUMER_KEY, AUTHZ_DOMAIN)", "CONCAT('key_', I), 'ALL' FROM N"),
    rows!(
        "AM_API (API_ID, API_PROVIDER, API_NAME, API_VERSION, CONTEXT, CONTEXT_TEMPLATE, CREATED_TIME)",
        "100000 + I, CONCAT('provider_', I), CONCAT('api_', I), '1.0.0', CONCAT('/context_', I, '/1.0.0'), CONCAT('/context_', I), \
         CURRENT_TIMESTAMP FROM N"
    ),
    rows!(
        "AM_API_URL_MAPPING (URL_MAPPING_ID, API_ID, HTTP_METHOD, AUTH_SCHEME, URL_PATTERN)",
        "100000 + 10 * I + J, 100000 + I, 'GET', 'Any', CONCAT('/path_', J) FROM N, M"
    ),
    rows!(
        "AM_API_RESOURCE_SCOPE_MAPPING (SCOPE_NAME, URL_MAPPING_ID, TENANT_ID)",
        "CONCAT('scope_', I), 100000 + 10 * I + J, -1234 FROM N, M"
    ),
    rows!(
        "AM_SUBSCRIPTION (TIER_ID, API_ID, APPLICATION_ID, SUB_STATUS, CREATED_TIME, UUID)",
        "'Gold', 100000 + I, 100001 + (I + J) % 1000, 'UNBLOCKED', CURRENT_TIMESTAMP, CONCAT('subscription_', I, '_', J) FROM N, M"
    ),
    rows!(
        "REG_PATH (REG_PATH_ID, REG_PATH_VALUE, REG_PATH_PARENT_ID, REG_TENANT_ID)",
        "100000 + I, CONCAT('/collection_', I), 1, -1234 FROM N"
    ),
    rows!("REG_CONTENT (REG_CONTENT_ID, REG_TENANT_ID)", "100000 + I, -1234 FROM N"),
    rows!(
        "REG_RESOURCE (REG_VERSION, REG_PATH_ID, REG_NAME, REG_MEDIA_TYPE, REG_CREATOR, REG_CREATED_TIME, REG_LAST_UPDATED_TIME, \
         REG_CONTENT_ID, REG_TENANT_ID, REG_UUID)",
        "100000 + I, 100000 + I, 'api', CONCAT('type_', I % 7), 'ann', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 100000 + I, -1234, \
         CONCAT('uuid_', I) FROM N"
    ),
    rows!(
        "REG_PROPERTY (REG_ID, REG_NAME, REG_VALUE, REG_TENANT_ID)",
        "100000 + 10 * I + J, CONCAT('name_', J), 'some value', -1234 FROM N, M"
    ),
    rows!(
        "REG_RESOURCE_PROPERTY (REG_PROPERTY_ID, REG_VERSION, REG_PATH_ID, REG_RESOURCE_NAME, REG_TENANT_ID)",
        "100000 + 10 * I + J, 100000 + I, 100000 + I, 'api', -1234 FROM N, M"
    ),
    rows!(
        "REG_TAG (REG_ID, REG_TAG_NAME, REG_USER_ID, REG_TAGGED_TIME, REG_TENANT_ID)",
        "100000 + I, 'tag', 'ann', CURRENT_TIMESTAMP, -1234 FROM N"
    ),
    rows!(
        "REG_RESOURCE_TAG (REG_TAG_ID, REG_VERSION, REG_PATH_ID, REG_RESOURCE_NAME, REG_TENANT_ID)",
        "100000 + I, NULL, 100000 + I, 'api', -1234 FROM N"
    ),
];

/// What the servers do by themselves after a while. SQLite keeps no statistics unless asked, and nobody asks.
static ANALYZE: Sql = Sql::new(
    "ANALYZE",
    &[(
        Engine::MySql,
        "ANALYZE TABLE SP_APP, SP_INBOUND_AUTH, IDN_OAUTH_CONSUMER_APPS, IDN_OIDC_PROPERTY, IDN_OAUTH2_ACCESS_TOKEN, \
         IDN_OAUTH2_ACCESS_TOKEN_SCOPE, IDN_IDENTITY_USER_DATA, UM_USER, UM_USER_ATTRIBUTE, UM_ROLE, UM_USER_ROLE, UM_HYBRID_ROLE, UM_HYBRID_USER_ROLE, UM_PERMISSION, UM_ROLE_PERMISSION, \
         UM_TENANT, UM_DOMAIN, IDP, IDN_OAUTH2_SCOPE, IDN_OAUTH2_SCOPE_BINDING, \
         IDN_OAUTH2_AUTHORIZATION_CODE, IDN_OAUTH2_AUTHZ_CODE_SCOPE, IDN_AUTH_SESSION_STORE, AM_REVOKED_JWT, CLV_CODE_CONTEXT, CLV_EVENT, CLV_HOLDER, \
         CLV_NOTIFICATION, CLV_REVOCATION, \
         IDN_OAUTH2_ACCESS_TOKEN_AUDIT, AM_SUBSCRIBER, AM_APPLICATION, \
         AM_APPLICATION_ATTRIBUTES, AM_APPLICATION_KEY_MAPPING, AM_APP_KEY_DOMAIN_MAPPING, AM_API, AM_API_URL_MAPPING, \
         AM_API_RESOURCE_SCOPE_MAPPING, AM_SUBSCRIPTION, REG_PATH, REG_CONTENT, REG_RESOURCE, REG_PROPERTY, REG_RESOURCE_PROPERTY, REG_TAG, \
         REG_RESOURCE_TAG",
    )],
);

/// Fills the tables.
pub(crate) async fn fill(store: &Store) {
    add(store, &FILL.iter().collect::<Vec<_>>()).await;
}

/// Further rows, and what the planner then knows of them.
pub(crate) async fn add(store: &Store, statements: &[&'static Sql]) {
    let statements = statements.to_vec();
    store
        .write::<(), StoreError, _>(move |conn| {
            let statements = statements.clone();
            Box::pin(async move {
                for statement in statements {
                    if let Err(error) = conn.execute(statement, &[]).await {
                        panic!("{}: {error:?}", statement.on(conn.engine()));
                    }
                }
                Ok(())
            })
        })
        .await
        .unwrap();
    if store.engine() != Engine::Sqlite {
        store.reader().await.unwrap().rows(&ANALYZE, &[]).await.unwrap();
    }
}
