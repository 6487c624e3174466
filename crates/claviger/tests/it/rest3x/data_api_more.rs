//! What gateways load beside the statements 49 and 50: conditions, key managers, whose objects they are, and what is not here.

use super::data_api::Kind::{Flag, List, Map, Number, Text};
use super::data_api::{ADMINISTRATOR, DATA, ask, build, check, execute, list, load, only};
use crate::harness::{ADMIN, ADMIN_PASSWORD, Call as _, insert_tenant, insert_user, on_every_engine, on_sqlite};
use claviger_proto::ids::TenantId;
use claviger_store::sql::Sql;
use serde_json::{Value, json};

const BOSS: (&str, &str) = ("boss@acme.com", "boss's");

static THROTTLING: [Sql; 8] = [
    Sql::new(
        "INSERT INTO AM_BLOCK_CONDITIONS (TYPE, VALUE, ENABLED, DOMAIN, UUID) VALUES ('API', '/weather/2.0.0', 'TRUE', 'carbon.super', 'u1')",
        &[],
    ),
    Sql::new(
        "INSERT INTO AM_BLOCK_CONDITIONS (TYPE, VALUE, ENABLED, DOMAIN, UUID) VALUES ('USER', 'bob@acme.com', 'true', 'acme.com', 'u2')",
        &[],
    ),
    Sql::new(
        "INSERT INTO AM_BLOCK_CONDITIONS (TYPE, VALUE, ENABLED, DOMAIN, UUID) VALUES ('APPLICATION', 'ann:Old', 'false', 'carbon.super', 'u3')",
        &[],
    ),
    Sql::new(
        "INSERT INTO AM_BLOCK_CONDITIONS (TYPE, VALUE, ENABLED, DOMAIN, UUID) VALUES ('IP', '{\"fixedIp\":\"10.1.1.5\",\"invert\":true}', 'true', 'carbon.super', 'u4')",
        &[],
    ),
    Sql::new(
        "INSERT INTO AM_BLOCK_CONDITIONS (TYPE, VALUE, ENABLED, DOMAIN, UUID) VALUES ('IPRANGE', '{\"startingIp\":\"10.1.1.1\",\"endingIp\":\"10.1.1.9\",\"invert\":false}', 'true', 'carbon.super', 'u5')",
        &[],
    ),
    Sql::new(
        "INSERT INTO AM_BLOCK_CONDITIONS (TYPE, VALUE, ENABLED, DOMAIN, UUID) VALUES ('SUBSCRIPTION', '/weather/2.0.0:2.0.0:ann-Mobile:PRODUCTION', 'true', 'carbon.super', 'u6')",
        &[],
    ),
    Sql::new(
        "INSERT INTO AM_BLOCK_CONDITIONS (TYPE, VALUE, ENABLED, DOMAIN, UUID) VALUES ('IP', '10.9.9.9', 'true', 'carbon.super', 'u7')",
        &[],
    ),
    Sql::new(
        "INSERT INTO AM_POLICY_GLOBAL (NAME, KEY_TEMPLATE, TENANT_ID, UUID) VALUES ('rule', '$userId:$apiContext', -1234, 'u8')",
        &[],
    ),
];

static CONDITIONS: [Sql; 6] = [
    Sql::new(
        "INSERT INTO AM_CONDITION_GROUP (CONDITION_GROUP_ID, POLICY_ID, QUOTA_TYPE, QUOTA, QUOTA_UNIT, UNIT_TIME, TIME_UNIT) \
              SELECT 901, POLICY_ID, 'bandwidthVolume', 500, 'MB', 1, 'hour' FROM AM_API_THROTTLE_POLICY WHERE NAME = '10KPerMin' AND TENANT_ID = -1234",
        &[],
    ),
    Sql::new(
        "INSERT INTO AM_IP_CONDITION (STARTING_IP, ENDING_IP, CONDITION_GROUP_ID) VALUES ('10.0.0.1', '10.0.0.9', 901)",
        &[],
    ),
    Sql::new(
        "INSERT INTO AM_HEADER_FIELD_CONDITION (CONDITION_GROUP_ID, HEADER_FIELD_NAME, HEADER_FIELD_VALUE) VALUES (901, 'X-Kind', 'slow')",
        &[],
    ),
    Sql::new(
        "INSERT INTO AM_QUERY_PARAMETER_CONDITION (CONDITION_GROUP_ID, PARAMETER_NAME, PARAMETER_VALUE) VALUES (901, 'q', 'v')",
        &[],
    ),
    Sql::new(
        "INSERT INTO AM_JWT_CLAIM_CONDITION (CONDITION_GROUP_ID, CLAIM_URI, CLAIM_ATTRIB) VALUES (901, 'sub', 'bob')",
        &[],
    ),
    Sql::new("INSERT INTO AM_IP_CONDITION (SPECIFIC_IP, CONDITION_GROUP_ID) VALUES ('10.0.0.5', 901)", &[]),
];

#[tokio::test]
async fn deny_conditions_templates_and_condition_groups() {
    on_every_engine("", async |server| {
        execute(server, &THROTTLING).await;
        execute(server, &CONDITIONS).await;
        insert_tenant(server, "acme.com").await;
        let blocks = load(server, "", "/block").await;
        assert_eq!(blocks["api"], json!(["/weather/2.0.0"]), "{}", server.engine);
        assert_eq!((&blocks["application"], &blocks["custom"]), (&json!([]), &json!([])), "{}", server.engine);
        assert_eq!(blocks["user"], json!(["bob@acme.com"]), "{}", server.engine);
        assert_eq!(blocks["subscription"], json!(["/weather/2.0.0:2.0.0:ann-Mobile:PRODUCTION"]));
        let addresses: Vec<Value> = blocks["ip"].as_array().unwrap().clone();
        for it in &addresses { check(it, &[("id", Number), ("type", Text), ("invert", Flag), ("tenantDomain", Text)]); }
        let seen = |index: usize, name: &str| addresses[index][name].clone();
        assert_eq!((seen(0, "type"), seen(0, "fixedIp"), seen(0, "invert")), (json!("IP"), json!("10.1.1.5"), json!(true)));
        assert_eq!((seen(1, "type"), seen(1, "startingIp"), seen(1, "endingIp")), (json!("IPRANGE"), json!("10.1.1.1"), json!("10.1.1.9")));
        assert_eq!((seen(2, "type"), seen(2, "fixedIp"), seen(2, "invert")), (json!("IP"), json!("10.9.9.9"), json!(false)));
        let of_tenant = load(server, "acme.com", "/block").await;
        assert_eq!((&of_tenant["api"], &of_tenant["user"]), (&json!([]), &json!(["bob@acme.com"])));
        assert_eq!(load(server, "", "/keyTemplates").await, json!(["$userId:$apiContext"]));
        // The tables of 3.2 are newer than 3.1, whose addresses are objects.
        let request = server.get("/throttle/data/v1/block").basic_auth(ADMIN, Some(ADMIN_PASSWORD));
        let old = request.call().await.json();
        assert_eq!((old["ip"].clone(), old.get("subscription")), (json!(addresses), None), "{}", server.engine);

        let rules = list(server, "carbon.super", "/global-policies").await;
        assert_eq!((&rules[0]["name"], &rules[0]["keyTemplate"]), (&json!("rule"), &json!("$userId:$apiContext")));
        let policies = list(server, "carbon.super", "/api-policies").await;
        for policy in &policies {
            check(policy, &[("conditionGroups", List), ("applicableLevel", Text)]);
            assert_eq!(policy["name"] == "10KPerMin", policy["conditionGroups"] != json!([]), "{}: {policy}", server.engine);
        }
        let group = &only(&policies, "name", &json!("10KPerMin"))["conditionGroups"][0];
        assert_eq!(group["defaultLimit"]["bandwidth"], json!({"timeUnit": "hour", "unitTime": 1, "dataAmount": 500, "dataUnit": "MB"}));
        assert_eq!(group["conditionGroupId"], 901);
        let named = |kind: &str, name: &str, value: &str| json!({ "conditionType": kind, "name": name, "value": value, "isInverted": true });
        let expected = [
            named("IPRange", "10.0.0.1", "10.0.0.9"),
            named("IPSpecific", "IPSpecific", "10.0.0.5"),
            named("Header", "X-Kind", "slow"),
            named("JWTClaims", "sub", "bob"),
            named("QueryParameterType", "q", "v"),
        ];
        assert_eq!(group["condition"], json!(expected), "{}", server.engine);
    })
    .await;
}

static KEY_MANAGERS: [Sql; 2] = [
    Sql::new(
        "INSERT INTO AM_KEY_MANAGER (UUID, NAME, TYPE, CONFIGURATION, TENANT_DOMAIN) VALUES \
              ('km-1', 'Other', 'WSO2-IS', '{\"issuer\":\"https://is/token\",\"self_validate_jwt\":true}', 'carbon.super')",
        &[],
    ),
    Sql::new(
        "INSERT INTO AM_KEY_MANAGER (UUID, NAME, TYPE, CONFIGURATION, TENANT_DOMAIN) VALUES \
              ('km-2', 'Resident Key Manager', 'default', '{\"issuer\":\"https://old/token\",\"scopes_claim\":\"scp\",\"Password\":\"x\"}', 'acme.com')",
        &[],
    ),
];

static KEY_OF_UUID: [Sql; 1] = [Sql::new("UPDATE AM_APPLICATION_KEY_MAPPING SET KEY_MANAGER = 'km-1'", &[])];

#[tokio::test]
async fn key_managers_say_how_tokens_are_checked() {
    on_every_engine("", async |server| {
        execute(server, &KEY_MANAGERS).await;
        insert_tenant(server, "acme.com").await;
        let managers = load(server, "carbon.super", "/keymanagers").await;
        let managers = managers.as_array().unwrap();
        let members = [
            ("name", Text),
            ("type", Text),
            ("enabled", Flag),
            ("tenantDomain", Text),
            ("tokenType", Text),
            ("configuration", Map),
        ];
        for it in managers {
            check(it, &members);
        }
        let other = only(managers, "name", &json!("Other"));
        assert_eq!(
            (&other["type"], &other["configuration"]["issuer"]),
            (&json!("WSO2-IS"), &json!("https://is/token"))
        );
        let resident = only(managers, "name", &json!("Resident Key Manager"));
        let configuration = &resident["configuration"];
        // A gateway casts: flags are booleans, the mappings a list.
        check(configuration, &[("self_validate_jwt", Flag), ("claim_mappings", List), ("grant_types", List)]);
        assert_eq!(configuration["issuer"], format!("{}/oauth2/token", server.base_path), "{}", server.engine);
        assert_eq!(
            (&configuration["certificate_type"], &configuration["consumer_key_claim"]),
            (&json!("JWKS"), &json!("azp"))
        );
        let jwks = configuration["certificate_value"].as_str().unwrap();
        let keys = server.get(jwks.strip_prefix(&server.base_path).unwrap()).call().await.json();
        assert_eq!(keys["keys"][0]["use"], "sig");
        // The row of an old server says what it may; not who issues, and no password.
        let old = load(server, "acme.com", "/keymanagers").await;
        let configuration = &old[0]["configuration"];
        assert_eq!((&configuration["scopes_claim"], &configuration["Password"]), (&json!("scp"), &Value::Null));
        assert_eq!(configuration["issuer"], format!("{}/oauth2/token", server.base_path), "{}", server.engine);
        assert_eq!(old[0]["tenantDomain"], "acme.com");
        // Gateways look for a key manager's name, whatever the row of the key says.
        build(server).await;
        execute(server, &KEY_OF_UUID).await;
        assert_eq!(list(server, "", "/application-key-mappings").await[0]["keyManager"], "Other", "{}", server.engine);
    })
    .await;
}

#[tokio::test]
async fn a_tenant_sees_its_own() {
    on_sqlite("", async |server| {
        let scene = build(server).await;
        let tenant = insert_tenant(server, "acme.com").await;
        insert_user(server, tenant, "boss", BOSS.1, &["admin"]).await;
        insert_user(server, tenant, "bob", "bob's", &["Internal/subscriber"]).await;
        insert_user(server, TenantId::SUPER, "plain", "p", &[]).await;
        let body = json!({ "name": "theirs", "throttlingPolicy": "Unlimited" });
        let request = server.post("/api/am/store/v1/applications").basic_auth(BOSS.0, Some(BOSS.1)).json(&body);
        assert_eq!(request.call().await.status, 201);
        for (who, tenant) in [(BOSS, ""), (BOSS, "acme.com"), (BOSS, "ACME.com"), (ADMINISTRATOR, "acme.com")] {
            let reply = ask(server, who, tenant, "/applications").await;
            let json = reply.json();
            assert_eq!(reply.status, 200, "{tenant}: {reply:?}");
            for application in json["list"].as_array().unwrap() {
                assert_eq!(application["organization"], "acme.com", "{tenant}");
            }
            only(json["list"].as_array().unwrap(), "name", &json!("theirs"));
            for path in ["/apis", "/subscriptions", "/application-key-mappings", "/scopes"] {
                assert_eq!(ask(server, who, tenant, path).await.json()["count"], 0, "{path} {tenant}");
            }
            for policy in ask(server, who, tenant, "/application-policies").await.json()["list"].as_array().unwrap() {
                assert_eq!(policy["tenantDomain"], "acme.com");
            }
        }
        // Objects that are named are no way round it.
        let subscription = list(server, "", "/subscriptions").await.remove(0);
        let (api_id, application_id) = (&subscription["apiId"], &subscription["appId"]);
        for path in [
            format!("/applications?appId={application_id}"),
            "/apis?context=/weather/2.0.0&version=2.0.0".to_owned(),
            format!("/apis?apiId={}", scene.api_uuid),
            format!("/apis?apiId={api_id}"),
            format!("/subscriptions?apiId={api_id}&appId={application_id}"),
            format!("/subscriptions?apiUUID={}", scene.api_uuid),
            format!("/subscriptions?applicationUUID={}", scene.application_uuid),
            format!("/application-key-mappings?consumerKey={}", scene.consumer_key),
        ] {
            assert_eq!(ask(server, ADMINISTRATOR, "", &path).await.json()["count"], 1, "{path}");
            let reply = ask(server, BOSS, "", &path).await;
            assert_eq!((reply.status, &reply.json()["count"]), (200, &json!(0)), "{path}: {reply:?}");
        }
        for tenant in ["carbon.super", "other.com", "ALL", "*"] {
            assert_eq!(ask(server, BOSS, tenant, "/apis").await.status, 401, "{tenant}");
        }
        for who in [("bob@acme.com", "bob's"), ("plain", "p"), (ADMIN, "wrong")] {
            let reply = ask(server, who, "", "/apis").await;
            assert_eq!((reply.status, reply.text("description").as_str()), (401, "Unauthenticated request"), "{who:?}");
        }
        assert_eq!(server.get("/throttle/data/v1/block").call().await.status, 401);
        let unknown = ask(server, ADMINISTRATOR, "nowhere.com", "/apis").await;
        let error = unknown.json();
        assert_eq!((unknown.status, &error["code"]), (404, &json!(404)), "{unknown:?}");
        check(&error, &[("message", Text), ("fields", Text), ("description", Text)]);
        let of_all = list(server, "ALL", "/applications").await;
        assert_eq!(
            (
                &only(&of_all, "name", &json!("Mobile"))["organization"],
                &only(&of_all, "name", &json!("theirs"))["organization"]
            ),
            (&json!("carbon.super"), &json!("acme.com"))
        );
    })
    .await;
}

static CERTIFICATE: [Sql; 1] = [Sql::new(
    "INSERT INTO AM_CERTIFICATE_METADATA (TENANT_ID, ALIAS, END_POINT) VALUES (-1234, 'a', 'https://b1')",
    &[],
)];

#[tokio::test]
async fn what_is_not_here_is_not_an_empty_list() {
    on_sqlite("", async |server| {
        for path in [
            "/synapse-artifacts?apiId=x&gatewayLabel=y&gatewayInstruction=Publish",
            "/gateway-synapse-artifacts?gatewayLabel=x",
            "/synapse-attributes?apiName=x&tenantDomain=y&version=z",
            "/runtime-artifacts?type=Synapse",
            "/runtime-metadata",
        ] {
            let reply = ask(server, ADMINISTRATOR, "carbon.super", path).await;
            assert_eq!(reply.status, 404, "{path}: {reply:?}");
            assert!(reply.text("description").contains("artifacts"), "{path}: {reply:?}");
        }
        assert!(list(server, "carbon.super", "/webhooks-subscriptions").await.is_empty());
        assert!(list(server, "carbon.super", "/endpoint-certificates").await.is_empty());
        execute(server, &CERTIFICATE).await;
        assert_eq!(ask(server, ADMINISTRATOR, "carbon.super", "/endpoint-certificates").await.status, 404);
        let request = server.get(&format!("{DATA}/applications?appId=x"));
        let malformed = request.basic_auth(ADMIN, Some(ADMIN_PASSWORD)).call().await;
        assert_eq!((malformed.status, &malformed.json()["code"]), (400, &json!(400)), "{malformed:?}");
    })
    .await;
}
