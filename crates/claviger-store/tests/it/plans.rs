//! The hot statements stay on their indexes: each one's plan, on each engine, over tables with some thousand rows.
//!
//! A statement that reads a table from end to end says here why it may. No index is ours to add: WSO2's tables are as they
//! are (a stock 3.2 schema has no index on the columns named in the reasons).

use crate::database::on_every_engine;
use crate::plan_rows;
use claviger_store::db::Store;
use claviger_store::error::StoreError;
use claviger_store::sql::{Engine, Sql};
use claviger_store::value::Arg;
use std::collections::{BTreeSet, HashMap};

/// A statement on a hot path.
struct Hot {
    name: &'static str,
    args: &'static [Arg<'static>],
    /// Tables (by their alias) that may be read from end to end, and why.
    accepted: &'static [(&'static str, &'static str)],
}

const fn hot(name: &'static str, args: &'static [Arg<'static>]) -> Hot {
    Hot { name, args, accepted: &[] }
}

const fn scanning(
    name: &'static str,
    args: &'static [Arg<'static>],
    accepted: &'static [(&'static str, &'static str)],
) -> Hot {
    Hot { name, args, accepted }
}

const fn int(value: i64) -> Arg<'static> {
    Arg::Int(Some(value))
}

const fn text(value: &'static str) -> Arg<'static> {
    Arg::Text(Some(value))
}

const TENANT: Arg<'static> = int(-1234);
const CLIENT: Arg<'static> = int(100_500);
const CLIENT_KEY: Arg<'static> = text("key_500");
const USER: Arg<'static> = text("user_500");
const ACCOUNT: Arg<'static> = text("http://wso2.org/claims/identity/accountLocked");
const FACTS: [Arg<'static>; 8] = [TENANT, USER, ACCOUNT, text("b"), text("c"), text("d"), text("e"), text("f")];
/// As many as one statement looks up.
const GAPS: [Arg<'static>; 50] = [int(700); 50];
const NOTIFICATIONS: [Arg<'static>; 64] = [int(700); 64];
/// A name, and places for more.
const NAMES: [Arg<'static>; 51] = names();
const TOKENS: [Arg<'static>; 50] = [text("token_500_0"); 50];
const CLEANED: [Arg<'static>; 100] = [text("token_500_0"); 100];
const CLEANED_AT: [Arg<'static>; 101] = with_first(Arg::Time(None));
const CLEANED_BEFORE: [Arg<'static>; 101] = with_last([int(20)]);
const CLEANED_REVOCATIONS: [Arg<'static>; 102] = with_last([text("TOKEN"), int(20)]);
const CLEANED_SESSIONS: [Arg<'static>; 104] = with_last([int(20), int(30), int(40), int(50)]);
const CLEANED_EVENTS: [Arg<'static>; 100] = [int(500); 100];

const fn names() -> [Arg<'static>; 51] {
    let mut all = [Arg::Text(None); 51];
    all[0] = USER;
    all[50] = TENANT;
    all
}

const fn with_first(first: Arg<'static>) -> [Arg<'static>; 101] {
    let mut all = [text("token_500_0"); 101];
    all[0] = first;
    all
}

const fn with_last<const LAST: usize, const ALL: usize>(last: [Arg<'static>; LAST]) -> [Arg<'static>; ALL] {
    let mut all = [text("token_500_0"); ALL];
    let mut index = 0;
    while index < LAST {
        all[ALL - LAST + index] = last[index];
        index += 1;
    }
    all
}

const CLIENTS: [Arg<'static>; 16] = {
    let mut clients = [CLIENT; 16];
    let mut index = 0;
    let mut id = 100_500;
    while index < clients.len() {
        clients[index] = int(id);
        index += 1;
        id += 1;
    }
    clients
};
const RETIRED: [Arg<'static>; 17] = {
    let mut args = [text("token_500_0"); 17];
    args[0] = text("REVOKED");
    args
};

const REVOKED_USERS: [Arg<'static>; 17] = {
    let mut args = [text("subject_500_0"); 17];
    args[0] = text("USER");
    args
};

/// The arguments of `FIND_ACTIVE_OF` for as many keys as there are clients.
const fn active_of<const KEYS: usize, const ALL: usize>(users: [Arg<'static>; 4]) -> [Arg<'static>; ALL] {
    let mut args = [text("hash_1"); ALL];
    let mut key = 0;
    while key < KEYS {
        let place = 9 * key;
        args[place] = CLIENTS[key];
        let mut name = 0;
        while name < users.len() {
            args[place + 1 + name] = users[name];
            name += 1;
        }
        args[place + 5] = TENANT;
        args[place + 6] = text("PRIMARY");
        args[place + 7] = text("APPLICATION_USER");
        key += 1;
    }
    args
}
const ACTIVE_OF_FEW: [Arg<'static>; 36] = active_of::<4, 36>([USER; 4]);
const ACTIVE_OF_CLIENTS: [Arg<'static>; 144] = active_of::<16, 144>([USER; 4]);
const ACTIVE_OF_USERS: [Arg<'static>; 144] =
    active_of::<16, 144>([USER, text("user_501"), text("user_502"), text("user_503")]);

const PER_TENANT: &str =
    "some hundred rows per tenant at most, nothing but the tenant is indexed, and the answer is cached";
const UNINDEXED_AUDIT: &str =
    "it has neither key nor index; old rows stand at its beginning, and reading ends when there are enough";
const ALL_WANTED: &str = "every row is asked for: what a gateway takes at its start";
const FEW: &str = "a row per domain or tenant: a page or two";

const HOT: &[Hot] = &[
    // Tokens: everything that touches IDN_OAUTH2_ACCESS_TOKEN (see `no_statement_on_tokens_is_forgotten`).
    hot("tokens::FIND_BY_ACCESS", &[text("access_500_0")]),
    hot("tokens::FIND_BY_REFRESH", &[text("refresh_500_0"), CLIENT]),
    hot(
        "tokens::FIND_ACTIVE",
        &[CLIENT, USER, USER, USER, USER, TENANT, text("PRIMARY"), text("hash_1"), text("APPLICATION_USER"), int(1)],
    ),
    hot("tokens::together::FIND_ACTIVE_OF", &ACTIVE_OF_CLIENTS),
    hot("tokens::together::FIND_ACTIVE_OF", &ACTIVE_OF_USERS),
    hot("tokens::together::FIND_ACTIVE_OF_FEW", &ACTIVE_OF_FEW),
    hot("tokens::together::RETIRE_ALL", &RETIRED),
    hot("tokens::FIND_UNHASHED", &[]),
    hot("tokens::FIND_UNHASHED_BY_ACCESS", &[text("token text")]),
    hot("tokens::FIND_UNHASHED_BY_REFRESH", &[text("refresh text"), CLIENT]),
    hot("tokens::FIND_BY_ID", &[text("token_500_0")]),
    hot("tokens::LIST_ACTIVE_OF_CLIENT", &[CLIENT, int(500)]),
    hot("tokens::LIST_IDS_OF_CLIENT", &[CLIENT, int(5_000)]),
    hot("tokens::DELETE_TOKENS", &TOKENS),
    hot("tokens::of_user::LIST_CLIENTS", &[USER, USER, USER, USER, TENANT, text("PRIMARY"), int(0), int(500)]),
    hot("tokens::of_user::LIST", &[CLIENT, USER, USER, USER, USER, TENANT, text("PRIMARY"), text("token_5"), int(100)]),
    hot("tokens::RETIRE", &[text("REVOKED"), text("some-id"), text("token_500_0"), text("ACTIVE")]),
    hot("status::rows::FIND_NEWEST_TOKEN", &[]),
    scanning("tokens::FIND_LOCAL_IDP", &[TENANT], &[("IDP", FEW)]),
    scanning("tenants::FIND_LOCAL_IDP", &[TENANT], &[("IDP", FEW)]),
    // Codes.
    hot("codes::FIND", &[text("code_hash_500_0"), CLIENT]),
    hot("codes::FIND_CONTEXT", &[text("code_500_0")]),
    hot("codes::FIND_AUTH_TIME", &[text("utoken_500_0"), CLIENT]),
    hot("codes::FIND_TOKEN", &[text("code_500_0")]),
    hot("codes::CONSUME", &[text("token_500_0"), text("code_500_0")]),
    hot("codes::END_ALL", &[CLIENT]),
    hot("codes::LIST_OF_USER", &[USER, USER, USER, USER, TENANT, text("PRIMARY"), text("code_5"), int(100)]),
    hot("codes::END", &[text("REVOKED"), text("code_500_0")]),
    hot("codes::MOVE_TOKEN", &[text("token_500_1"), text("token_500_0"), CLIENT]),
    // Clients.
    hot("clients::FIND_BY_KEY", &[CLIENT_KEY]),
    hot("clients::LOCK_CLIENT", &[CLIENT]),
    hot("clients::SHARE_CLIENT", &[CLIENT]),
    hot("clients::LOCK_FREE_CLIENTS", &CLIENTS),
    hot("clients::LIST_BY_ID", &CLIENTS),
    hot("clients::FIND_PROVIDER", &[text("app_500"), TENANT, CLIENT_KEY]),
    scanning(
        "clients::FIND_RENAMED_PROVIDER",
        &[CLIENT_KEY, TENANT],
        &[("I", "INBOUND_AUTH_KEY has no index; asked only when FIND_PROVIDER found nothing")],
    ),
    hot("clients::FIND_PROVIDER_BY_NAME", &[text("app_500"), TENANT]),
    hot(
        "clients::UPDATE_CLIENT",
        &[text("app"), text("url"), text("password"), text("0"), text("0"), int(1), int(2), int(3), int(4), CLIENT],
    ),
    hot("clients::UPDATE_SECRET", &[text("secret"), CLIENT]),
    hot("clients::BLOCK_CLIENT", &[CLIENT]),
    hot("clients::DELETE_PROPERTIES", &[CLIENT_KEY, TENANT, text("tokenType")]),
    // Users.
    scanning(
        "users::FIND_USER",
        &[USER, TENANT],
        &[(
            "UM_USER",
            "3.2 keeps UM_USER_NAME without an index (older releases have one); logins and roles are cached",
        )],
    ),
    scanning(
        "users::FIND_NAMED",
        &NAMES,
        &[(
            "UM_USER",
            "as FIND_USER; one such statement at a time asks for up to 50 names (`names_are_found_by_an_index`)",
        )],
    ),
    scanning(
        "users::FIND_SPELLED",
        &NAMES,
        &[("UM_USER", "no release has an index on LOWER(name); one such statement at a time asks for up to 50 names")],
    ),
    scanning(
        "users::LIST_STORE_ROLES",
        &[int(100_500), TENANT],
        &[("R", "the roles of a tenant are few, and a join may well read them all; cached")],
    ),
    scanning("users::LIST_HYBRID_ROLES", &[USER, TENANT, text("PRIMARY")], &[("D", FEW)]),
    scanning(
        "users::LIST_ROLE_PERMISSIONS",
        &[TENANT, text("ui.execute")],
        &[("RP", "all of a tenant's rows are asked for"), ("P", "all of a tenant's rows are asked for"), ("D", FEW)],
    ),
    hot("users::FIND_HYBRID_ROLE", &[text("Application/app_500"), TENANT]),
    scanning(
        "users::FIND_USER_ANY_CASE",
        &[USER, TENANT],
        &[("UM_USER", "no index knows small letters; asked only for a name that FIND_USER did not find, and cached")],
    ),
    scanning(
        "users::LIST_HYBRID_ROLES_ANY_CASE",
        &[USER, TENANT, text("PRIMARY")],
        &[
            ("UR", "no index knows small letters; asked where names are compared without regard to case, and cached"),
            ("R", "the roles of a tenant are few, and a join may well read them all"),
            ("D", FEW),
        ],
    ),
    hot("account_locks::LIST", &FACTS),
    hot("account_locks::HOLD", &FACTS),
    hot("account_locks::UPDATE", &[text("1"), TENANT, USER, ACCOUNT]),
    scanning(
        "account_locks::LIST_ANY_CASE",
        &FACTS,
        &[(
            "IDN_IDENTITY_USER_DATA",
            "no index knows small letters; asked where the collation tells case apart, and cached",
        )],
    ),
    hot(
        "account_locks::LIST_ATTRIBUTES",
        &[int(100_500), TENANT, text("mail"), text("b"), text("c"), text("d"), text("e"), text("f")],
    ),
    scanning("users::FIND_ROLE", &[text("role_5"), TENANT], &[("UM_ROLE", "the roles of a tenant are few")]),
    scanning("users::FIND_DOMAIN", &[text("PRIMARY"), TENANT], &[("UM_DOMAIN", FEW)]),
    hot("users::FIND_HYBRID_USER_ROLE", &[USER, int(100_500), TENANT, int(1)]),
    scanning("tenants::FIND_BY_DOMAIN", &[text("domain_5"), Arg::Bool(true)], &[("UM_TENANT", FEW)]),
    scanning("tenants::FIND_BY_ID", &[int(5)], &[("UM_TENANT", FEW)]),
    // Scopes.
    scanning("scopes::LIST_BINDINGS", &[text("scope_50"), TENANT], &[("S", PER_TENANT)]),
    scanning("scopes::FIND_SCOPE", &[text("scope_50"), TENANT], &[("IDN_OAUTH2_SCOPE", PER_TENANT)]),
    // Events and revocations.
    hot("events::LIST_AFTER", &[int(3990), int(500)]),
    hot("events::LIST_GAPS", &GAPS),
    hot("events::LIST_IDS", &[int(100), int(5_000)]),
    hot("events::FIND_BOUNDS", &[]),
    scanning(
        "events::FIND_LAST_BEFORE",
        &[int(3_990_000)],
        &[(
            "CLV_EVENT",
            "read backwards from its end, up to the first that is old enough; only where a follower starts",
        )],
    ),
    hot("revocations::FIND", &[text("TOKEN"), text("subject_500_0")]),
    hot("revocations::FIND_BEFORE", &[text("CLIENT"), text("subject_500_0")]),
    hot("revocations::LIST_BEFORE", &REVOKED_USERS),
    hot("revocations::FIND_JWT", &[text("uuid_500_0")]),
    hot("revocations::LIST_JWTS", &[text("uuid_500_0"), int(20), int(2_000)]),
    hot("revocations::UPDATE", &[int(5), int(5), int(6), int(6), text("TOKEN"), text("subject_500_0")]),
    hot("revocations::LIST", &[text("TOKEN"), text("subject_500_0"), int(20), int(2_000)]),
    // Leases: their signs of life.
    hot("leases::FIND", &[text("lease_500")]),
    hot("leases::BEAT", &[text("lease_500"), text("node")]),
    hot("leases::TAKE_OVER", &[text("other"), text("lease_500"), text("node"), int(500)]),
    hot("leases::GIVE_BACK", &[text("lease_500"), text("node")]),
    // Notifications.
    hot("notifications::LIST", &[text("listener_1"), int(0), int(500)]),
    hot("notifications::FIND_OLDEST", &[text("listener_1")]),
    hot("notifications::LIST_DEAD", &[text("listener_1"), int(100)]),
    hot("notifications::LIST_SENDABLE", &[text("listener_1"), int(64)]),
    hot("notifications::BURY", &[int(5), text("a reason"), int(500)]),
    hot("notifications::REVIVE", &NOTIFICATIONS),
    hot("notifications::DELETE", &NOTIFICATIONS),
    // Cleaning: pages by key, removals by key.
    hot("cleaning::tokens::LIST", &[text("token_500_0"), int(1_000)]),
    hot("cleaning::tokens::LOCK", &CLEANED),
    hot("cleaning::tokens::LIST_BESIDE", &CLEANED),
    hot("cleaning::tokens::COPY_TO_AUDIT", &CLEANED_AT),
    hot("cleaning::tokens::DELETE", &CLEANED),
    hot("cleaning::rest::LIST_CODES", &[text("code_500_0"), int(1_000)]),
    hot("cleaning::rest::LOCK_CODES", &CLEANED),
    hot("cleaning::rest::LIST_TOKENS", &CLEANED),
    hot("cleaning::rest::LIST_CONTEXTS", &[text("code_500_0"), int(1_000)]),
    hot("cleaning::rest::LIST_THEIR_CODES", &CLEANED),
    hot("cleaning::rest::DELETE_CONTEXTS", &CLEANED),
    scanning(
        "cleaning::rest::DELETE_CODES",
        &CLEANED,
        &[(
            "IDN_OIDC_REQ_OBJECT_REFERENCE",
            "the cascade: CODE_ID leads no index but MySQL's own for the foreign key; a row per OpenID request object, often none",
        )],
    ),
    scanning(
        "cleaning::rest::COUNT_SOME_AUDIT",
        &[Arg::Time(None), int(1_000)],
        &[
            ("IDN_OAUTH2_ACCESS_TOKEN_AUDIT", UNINDEXED_AUDIT),
            ("A", "a page of the above"),
            ("<DERIVED2>", "MariaDB's name for A"),
        ],
    ),
    scanning(
        "cleaning::rest::DELETE_AUDIT",
        &[Arg::Time(None), int(100)],
        &[("IDN_OAUTH2_ACCESS_TOKEN_AUDIT", UNINDEXED_AUDIT)],
    ),
    hot("cleaning::rest::LIST_SESSIONS", &[text("session_500"), int(100)]),
    hot("cleaning::rest::DELETE_SESSIONS", &CLEANED_SESSIONS),
    hot("cleaning::rest::LIST_REVOKED_JWTS", &[text("uuid_500_0"), int(1_000)]),
    hot("cleaning::rest::DELETE_REVOKED_JWTS", &CLEANED_BEFORE),
    hot("cleaning::log::LIST_REVOCATIONS", &[int(0), int(20), int(1_000)]),
    hot("cleaning::log::DELETE_REVOCATIONS", &CLEANED_REVOCATIONS),
    hot("cleaning::log::LIST_EVENTS", &[int(0), int(3990), int(1_000)]),
    hot("cleaning::log::DELETE_EVENTS", &CLEANED_EVENTS),
    hot("cleaning::log::LIST_NOTIFICATIONS", &[int(0), int(1_000)]),
    hot("cleaning::log::DELETE_NOTIFICATIONS", &CLEANED_EVENTS),
    // Applications, subscriptions.
    hot("applications::FIND_OF_KEY", &[CLIENT_KEY]),
    hot("applications::LIST_KEYS_OF_CLIENT", &[CLIENT_KEY]),
    hot("applications::FIND_BY_UUID", &[text("application_500")]),
    hot("applications::FIND_BY_ID", &[int(100_500)]),
    scanning(
        "applications::LIST_OF_SUBSCRIBER",
        &[int(100_500), int(100)],
        &[("A", "SUBSCRIBER_ID leads no index but MySQL's own for the foreign key; a page of the developer portal")],
    ),
    hot("applications::LIST_ATTRIBUTES", &[int(100_500)]),
    hot("applications::LIST_KEYS", &[int(100_500)]),
    hot("applications::FIND_SUBSCRIBERS", &[USER, USER, USER, USER, TENANT]),
    hot("applications::FIND_DOMAIN", &[CLIENT_KEY]),
    hot("applications::LOCK", &[text("application_500")]),
    hot("subscriptions::FIND", &[text("subscription_500_0")]),
    hot("subscriptions::LIST_OF_APPLICATION", &[int(100_500)]),
    hot("subscriptions::LIST_OF_API", &[int(100_500)]),
    hot("subscriptions::UPDATE_STATUS", &[text("BLOCKED"), USER, Arg::Time(None), text("subscription_500_0")]),
    hot(
        "subscriptions::UPDATE_TIER",
        &[text("Gold"), text(""), text("UNBLOCKED"), USER, Arg::Time(None), text("subscription_500_0")],
    ),
    hot("subscriptions::DELETE", &[text("subscription_500_0")]),
    hot("subscriptions::DELETE_OF_API", &[int(100_500)]),
    // What a gateway takes at its start, or after a long cut.
    scanning("subscriptions::LIST_ALL", &[], &[("S", ALL_WANTED), ("A", ALL_WANTED)]),
    scanning("applications::LIST_ALL", &[], &[("A", ALL_WANTED), ("S", ALL_WANTED)]),
    scanning("applications::LIST_ALL_KEYS", &[], &[("AM_APPLICATION_KEY_MAPPING", ALL_WANTED)]),
    scanning("apis::LIST_APIS", &[], &[("AM_API", ALL_WANTED)]),
    hot("feed::LIST_ALL_MAPPINGS", &[int(109_000), int(2_000)]),
    scanning("feed::LIST_ALL_RESOURCE_SCOPES", &[], &[("AM_API_RESOURCE_SCOPE_MAPPING", ALL_WANTED)]),
    scanning("feed::LIST_ALL_PRODUCT_MAPPINGS", &[], &[("AM_API_PRODUCT_MAPPING", ALL_WANTED)]),
    scanning("feed::LIST_ALL_DEFAULTS", &[], &[("AM_API_DEFAULT_VERSION", ALL_WANTED)]),
    scanning("feed::LIST_ALL_GROUPS", &[], &[("AM_APPLICATION_GROUP_MAPPING", ALL_WANTED)]),
    scanning("feed::LIST_ALL_ATTRIBUTES", &[], &[("AM_APPLICATION_ATTRIBUTES", ALL_WANTED)]),
    // APIs and their artifacts.
    hot("apis::LIST_BY_CONTEXT", &[text("/context_500/1.0.0")]),
    hot("apis::FIND_API", &[text("provider_500"), text("api_500"), text("1.0.0")]),
    hot("apis::FIND_API_BY_ID", &[int(100_500)]),
    scanning(
        "apis::LIST_MAPPINGS",
        &[int(100_500)],
        &[(
            "S",
            "URL_MAPPING_ID leads no index but MySQL's own for the foreign key; asked when an API changed or is shown",
        )],
    ),
    scanning(
        "apis::LIST_NEIGHBOURS",
        &[text("api_500"), text("/context_500")],
        &[("AM_API", "once per new API; neither the name nor the template leads an index")],
    ),
    hot("registry::FIND_PATH", &[text("/collection_500"), TENANT]),
    hot("registry::LOCK_PATH", &[text("/collection_500"), TENANT]),
    hot("registry::FIND_RESOURCE", &[text("/collection_500"), TENANT, text("api")]),
    hot("registry::FIND_RESOURCE_BY_UUID", &[text("uuid_500"), TENANT]),
    hot("registry::LIST_PROPERTIES", &[TENANT, int(100_500), text("api")]),
    hot("registry::LIST_VERSION_PROPERTIES", &[TENANT, int(100_500)]),
    hot("key_stores::FIND_MARK", &[text("/collection_500"), TENANT, text("api")]),
    hot("key_stores::LIST_MARKS", &[text("/collection_500")]),
    hot("registry::LIST_TAGS", &[TENANT, int(100_500), text("api")]),
];

/// Statements on IDN_OAUTH2_ACCESS_TOKEN that have no plan to speak of.
const WITHOUT_PLAN: &[&str] = &[
    "tokens::insert::INSERT_TOKEN",
    "tokens::insert::INSERT_4_TOKENS",
    "tokens::insert::INSERT_16_TOKENS",
    // An operator's `claviger db status` counts; it is no server's work.
    "status::rows::COUNT_DUPLICATES",
    "status::rows::COUNT_WITHOUT_HASH",
    "status::rows::COUNT_WITHOUT_PROVIDER",
    "status::rows::COUNT_ZERO_TIMES",
];

fn by_name() -> HashMap<&'static str, &'static Sql> {
    claviger_store::statements().map(|(name, sql)| (name.trim_start_matches("claviger_store::"), sql)).collect()
}

#[tokio::test]
async fn hot_statements_use_an_index() {
    on_every_engine(|store| async move {
        plan_rows::fill(&store).await;
        let surprises = surprises(&store).await;
        assert!(surprises.is_empty(), "on {:?}:\n{}", store.engine(), surprises.join("\n"));
    })
    .await;
}

async fn surprises(store: &Store) -> Vec<String> {
    let statements = by_name();
    let mut surprises = Vec::new();
    let mut conn = store.reader().await.unwrap();
    for hot in HOT {
        let sql = statements.get(hot.name).unwrap_or_else(|| panic!("no statement {}", hot.name));
        let plan = conn.explain(sql, hot.args).await.unwrap_or_else(|error| panic!("{}: {error:?}", hot.name));
        assert!(!plan.lines.is_empty(), "{}", hot.name);
        for table in plan.scanned.iter().filter(|table| !hot.accepted.iter().any(|(name, _)| name == table)) {
            surprises.push(format!("{} scans {table}: {:#?}", hot.name, plan.lines));
        }
    }
    surprises
}

/// Releases before 3.1, and databases that came from there, have a unique key on the names.
#[tokio::test]
async fn names_are_found_by_an_index() {
    static ADD_KEY: Sql = Sql::new("CREATE UNIQUE INDEX IDX_NAMES ON UM_USER (UM_USER_NAME, UM_TENANT_ID)", &[]);
    on_every_engine(|store| async move {
        let add = store.write::<_, StoreError, _>(|conn| Box::pin(async move { conn.execute(&ADD_KEY, &[]).await }));
        add.await.unwrap();
        plan_rows::fill(&store).await;
        let statements = by_name();
        let mut conn = store.reader().await.unwrap();
        // SQLite hears of the index when a statement runs, not when it is explained.
        conn.rows(statements["users::FIND_USER"], &[USER, TENANT]).await.unwrap();
        for (name, args) in [("users::FIND_USER", &[USER, TENANT][..]), ("users::FIND_NAMED", &NAMES)] {
            if store.engine() == Engine::Postgres && name == "users::FIND_NAMED" {
                // It rather reads a table of a thousand rows than look into the index fifty times.
                continue;
            }
            let plan = conn.explain(statements[name], args).await.unwrap();
            assert!(plan.scanned.is_empty(), "{:?} {name}: {:?}", store.engine(), plan.lines);
        }
    })
    .await;
}

/// A client with thousands of tokens, dead ones with the usual scopes and ACTIVE ones with scopes of their own, is looked up by
/// an index that tells them apart, and nothing else is read for the sake of many rows that an engine expects.
#[tokio::test]
async fn many_tokens_of_one_client_do_not_matter() {
    static MANY_OF_ONE: Sql = Sql::new(
        "INSERT INTO IDN_OAUTH2_ACCESS_TOKEN (TOKEN_ID, ACCESS_TOKEN, CONSUMER_KEY_ID, AUTHZ_USER, TENANT_ID, USER_DOMAIN, USER_TYPE, \
         GRANT_TYPE, VALIDITY_PERIOD, TOKEN_SCOPE_HASH, TOKEN_STATE, TOKEN_STATE_ID, SUBJECT_IDENTIFIER, ACCESS_TOKEN_HASH, IDP_ID, \
         TOKEN_BINDING_REF) WITH RECURSIVE N(I) AS (SELECT 1 UNION ALL SELECT I + 1 FROM N WHERE I < 1000), \
         M(J) AS (SELECT 0 UNION ALL SELECT J + 1 FROM M WHERE J < 19) \
         SELECT CONCAT('many_', I, '_', J), CONCAT('m_', I, '_', J), 100500, 'user_500', -1234, 'PRIMARY', 'APPLICATION_USER', 'password', \
         3600000, CASE WHEN J < 9 THEN CONCAT('own_', I, '_', J) ELSE 'hash_1' END, CASE WHEN J < 9 THEN 'ACTIVE' ELSE 'EXPIRED' END, \
         CASE WHEN J < 9 THEN 'NONE' ELSE CONCAT('id_', I, '_', J) END, 'user_500', CONCAT('many_', I, '_', J), 1, 'NONE' FROM N, M",
        &[],
    );
    static SCOPES: Sql = Sql::new(
        "INSERT INTO IDN_OAUTH2_ACCESS_TOKEN_SCOPE (TOKEN_ID, TOKEN_SCOPE, TENANT_ID) \
         SELECT TOKEN_ID, 'default', -1234 FROM IDN_OAUTH2_ACCESS_TOKEN WHERE GRANT_TYPE = 'password' AND TOKEN_ID LIKE 'many%'",
        &[],
    );
    /// Words of a search by the hash of the scopes: the index's name, or the column's.
    const HASH_INDEXES: [&str; 4] =
        ["CON_APP_KEY", "IDX_AT_CKID_AU_TID_UD_TSH_TS", "TOKEN_SCOPE_HASH=?", "token_scope_hash)::text ="];
    /// Does a line of a plan say how rows of IDN_OAUTH2_ACCESS_TOKEN are found?
    fn is_search(engine: Engine, line: &str) -> bool {
        match engine {
            Engine::Sqlite => line.starts_with("SEARCH T "),
            Engine::MySql => line.starts_with("T:"),
            Engine::Postgres => line.contains("Index Cond") && line.contains("consumer_key_id ="),
        }
    }
    on_every_engine(|store| async move {
        plan_rows::fill(&store).await;
        plan_rows::add(&store, &[&MANY_OF_ONE, &SCOPES]).await;
        let statements = by_name();
        let mut conn = store.reader().await.unwrap();
        for name in ["tokens::FIND_ACTIVE", "tokens::together::FIND_ACTIVE_OF", "tokens::together::FIND_ACTIVE_OF_FEW"]
        {
            let hot = HOT.iter().find(|hot| hot.name == name).unwrap();
            let plan = conn.explain(statements[name], hot.args).await.unwrap();
            let mut searches = plan.lines.iter().filter(|line| is_search(store.engine(), line)).peekable();
            let all_use_the_hash =
                searches.peek().is_some() && searches.all(|line| HASH_INDEXES.iter().any(|of| line.contains(of)));
            assert!(plan.scanned.is_empty() && all_use_the_hash, "{:?} {name}: {:#?}", store.engine(), plan.lines);
        }
    })
    .await;
}

/// The tests above are worth nothing if a scan looks like something else to them.
#[tokio::test]
async fn a_scan_is_seen() {
    static BY_SUBJECT: Sql =
        Sql::new("SELECT TOKEN_ID FROM IDN_OAUTH2_ACCESS_TOKEN T WHERE T.SUBJECT_IDENTIFIER = ?", &[]);
    static ALL: Sql = Sql::new("SELECT UM_USER_PASSWORD FROM UM_USER", &[]);
    on_every_engine(|store| async move {
        plan_rows::fill(&store).await;
        let mut conn = store.reader().await.unwrap();
        for (sql, args, name) in [(&BY_SUBJECT, &[USER][..], "T"), (&ALL, &[], "UM_USER")] {
            let plan = conn.explain(sql, args).await.unwrap();
            assert_eq!(plan.scanned, [name], "{:?} {:?}", store.engine(), plan.lines);
        }
    })
    .await;
}

#[test]
fn no_statement_on_tokens_is_forgotten() {
    let listed: BTreeSet<&str> = HOT.iter().map(|hot| hot.name).chain(WITHOUT_PLAN.iter().copied()).collect();
    for (name, sql) in by_name() {
        let names_tokens = [Engine::Sqlite, Engine::MySql, Engine::Postgres]
            .iter()
            .any(|engine| sql.tables(*engine).any(|table| table == "IDN_OAUTH2_ACCESS_TOKEN"));
        assert!(
            !names_tokens || listed.contains(name),
            "{name} reads or writes tokens and is not in the list of plans"
        );
    }
}
