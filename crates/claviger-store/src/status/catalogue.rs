//! What the catalogues and the servers' settings say.

use super::Finding;
use crate::capability::{Capabilities, Capability};
use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Family, queries};
use std::collections::BTreeMap;

queries! {
    LIST_SETTINGS = "SELECT 'version', sqlite_version() UNION ALL SELECT 'character_set_database', encoding FROM pragma_encoding",
        MySql = "SHOW VARIABLES WHERE Variable_name IN ('version', 'sql_mode', 'time_zone', 'system_time_zone', 'tx_isolation', \
                 'transaction_isolation', 'character_set_database', 'explicit_defaults_for_timestamp')",
        Postgres = "SELECT name, setting FROM pg_settings WHERE name IN ('TimeZone', 'default_transaction_isolation') \
                    UNION ALL SELECT 'version', current_setting('server_version') \
                    UNION ALL SELECT 'character_set_database', current_setting('server_encoding')";
    FIND_DATABASE = "SELECT ''", MySql = "SELECT DATABASE()", Postgres = "SELECT CAST(CURRENT_DATABASE() AS VARCHAR)";
    FIND_COLLATION = "SELECT 'BINARY'",
        MySql = "SELECT collation_name FROM information_schema.columns WHERE table_schema = DATABASE() \
                 AND table_name = 'IDN_OAUTH_CONSUMER_APPS' AND column_name = 'CONSUMER_KEY'",
        Postgres = "SELECT CAST(COALESCE(C.collation_name, D.datcollate) AS VARCHAR) FROM information_schema.columns C, pg_database D \
                    WHERE D.datname = CURRENT_DATABASE() AND C.table_schema = CURRENT_SCHEMA() \
                    AND C.table_name = 'idn_oauth_consumer_apps' AND C.column_name = 'consumer_key'";
    LIST_INDEXES = "SELECT UPPER(M.tbl_name), UPPER(M.name), UPPER(I.name) FROM sqlite_master M JOIN pragma_index_info(M.name) I \
                    WHERE M.type = 'index' AND UPPER(M.tbl_name) IN ('IDN_OAUTH2_ACCESS_TOKEN', 'IDN_OAUTH2_AUTHORIZATION_CODE', \
                    'IDN_SCIM_GROUP') AND I.seqno = 0",
        MySql = "SELECT UPPER(table_name), UPPER(index_name), UPPER(column_name) FROM information_schema.statistics \
                 WHERE table_schema = DATABASE() AND seq_in_index = 1 \
                 AND table_name IN ('IDN_OAUTH2_ACCESS_TOKEN', 'IDN_OAUTH2_AUTHORIZATION_CODE', 'IDN_SCIM_GROUP')",
        Postgres = "SELECT UPPER(T.relname), UPPER(I.relname), UPPER(A.attname) FROM pg_index X \
                    JOIN pg_class T ON T.oid = X.indrelid JOIN pg_class I ON I.oid = X.indexrelid \
                    JOIN pg_attribute A ON A.attrelid = T.oid AND CAST(A.attnum AS TEXT) = split_part(CAST(X.indkey AS TEXT), ' ', 1) \
                    WHERE T.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = CURRENT_SCHEMA()) \
                    AND T.relname IN ('idn_oauth2_access_token', 'idn_oauth2_authorization_code', 'idn_scim_group')";
    LIST_GRANTS = "SELECT 'true'",
        MySql = "SHOW GRANTS",
        Postgres = "SELECT CAST(COALESCE(has_schema_privilege(CURRENT_SCHEMA(), 'CREATE'), FALSE) AS VARCHAR)";
}

/// An index that a 2.6 script loses in utf8mb4 (database.md 1.5).
pub(super) const SCIM_INDEX: &str = "IDX_IDN_SCIM_GROUP_TI_RN_AN";

const TOKEN: &str = "IDN_OAUTH2_ACCESS_TOKEN";
const CODE: &str = "IDN_OAUTH2_AUTHORIZATION_CODE";

/// An index with the column by which it can be searched.
pub(super) struct Index {
    pub(super) table: String,
    pub(super) name: String,
    pub(super) column: String,
}

impl Index {
    pub(super) fn starts_with(&self, table: &str, column: &str) -> bool {
        self.table == table && self.column == column
    }
}

/// A look-up that every request may make: table, column, the capability from which on it is made, the one from which on it
/// is not any more, and the index of the product's script (database.md 3.6).
type LookUp = (&'static str, &'static str, Option<Capability>, Option<Capability>, &'static str);

const LOOK_UPS: &[LookUp] = &[
    (
        TOKEN,
        "ACCESS_TOKEN",
        None,
        Some(Capability::TokenHash),
        "CREATE INDEX IDX_AT ON IDN_OAUTH2_ACCESS_TOKEN (ACCESS_TOKEN)",
    ),
    (
        TOKEN,
        "ACCESS_TOKEN_HASH",
        Some(Capability::TokenHash),
        None,
        "CREATE INDEX IDX_ATH ON IDN_OAUTH2_ACCESS_TOKEN (ACCESS_TOKEN_HASH)",
    ),
    (
        TOKEN,
        "REFRESH_TOKEN_HASH",
        Some(Capability::IdpId),
        None,
        "CREATE INDEX IDX_AT_RTH ON IDN_OAUTH2_ACCESS_TOKEN (REFRESH_TOKEN_HASH)",
    ),
    (
        TOKEN,
        "CONSUMER_KEY_ID",
        None,
        None,
        "CREATE INDEX IDX_AT_CK_AU ON IDN_OAUTH2_ACCESS_TOKEN (CONSUMER_KEY_ID, AUTHZ_USER, TOKEN_STATE, USER_TYPE)",
    ),
    (
        TOKEN,
        "AUTHZ_USER",
        Some(Capability::TokenHash),
        None,
        "CREATE INDEX IDX_AT_TI_UD ON IDN_OAUTH2_ACCESS_TOKEN (AUTHZ_USER, TENANT_ID, TOKEN_STATE, USER_DOMAIN)",
    ),
    (
        CODE,
        "AUTHORIZATION_CODE",
        None,
        Some(Capability::CodeHash),
        "CREATE INDEX IDX_AUTHORIZATION_CODE ON IDN_OAUTH2_AUTHORIZATION_CODE (AUTHORIZATION_CODE, CONSUMER_KEY_ID)",
    ),
    (
        CODE,
        "AUTHORIZATION_CODE_HASH",
        Some(Capability::CodeHash),
        None,
        "CREATE INDEX IDX_AUTHORIZATION_CODE_HASH ON IDN_OAUTH2_AUTHORIZATION_CODE (AUTHORIZATION_CODE_HASH, CONSUMER_KEY_ID)",
    ),
];

/// Look-ups of this layout that no index serves.
pub(super) fn missing_indexes(capabilities: Capabilities, indexes: &[Index]) -> Vec<Finding> {
    let is_made = |(_, _, from, until, _): &&LookUp| {
        from.is_none_or(|it| capabilities.has(it)) && !until.is_some_and(|it| capabilities.has(it))
    };
    let is_unserved = |(table, column, ..): &&LookUp| !indexes.iter().any(|index| index.starts_with(table, column));
    let unserved = LOOK_UPS.iter().filter(is_made).filter(is_unserved);
    unserved.map(|&(table, column, _, _, statement)| Finding::NoIndex { table, column, statement }).collect()
}

/// What a server says about itself and this session, by names that are the same for all engines.
pub(super) async fn settings(conn: &mut Conn, family: Family) -> Result<BTreeMap<String, String>, StoreError> {
    let mut raw = BTreeMap::new();
    for row in conn.rows_in(family, &LIST_SETTINGS, &[]).await? {
        raw.insert(row.text(0)?, row.opt_text(1)?.unwrap_or_default());
    }
    let mut settings = BTreeMap::new();
    let zone = match (raw.get("time_zone").map(String::as_str), raw.get("system_time_zone")) {
        (Some("SYSTEM"), Some(system)) => Some(format!("SYSTEM ({system})")),
        (Some(zone), _) => Some(zone.to_owned()),
        (None, _) => raw.get("TimeZone").cloned(),
    };
    settings.extend(zone.map(|zone| ("zone".to_owned(), zone)));
    for (name, kept) in [
        ("version", "version"),
        ("sql_mode", "sql_mode"),
        ("tx_isolation", "isolation"),
        ("transaction_isolation", "isolation"),
        ("default_transaction_isolation", "isolation"),
        ("character_set_database", "character_set"),
        ("explicit_defaults_for_timestamp", "explicit_defaults"),
    ] {
        settings.extend(raw.remove(name).map(|value| (kept.to_owned(), value)));
    }
    let database = conn.rows_in(family, &FIND_DATABASE, &[]).await?;
    if let Some(row) = database.first() {
        settings.insert("database".to_owned(), row.text(0)?);
    }
    Ok(settings)
}

/// Collation of client ids.
pub(super) async fn collation(conn: &mut Conn, family: Family) -> Result<Option<String>, StoreError> {
    let rows = conn.rows_in(family, &FIND_COLLATION, &[]).await?;
    rows.first().map_or(Ok(None), |row| row.opt_text(0))
}

/// The indexes of the tables that are looked up most.
pub(super) async fn indexes(conn: &mut Conn) -> Result<Vec<Index>, StoreError> {
    let rows = conn.rows_in(Family::Identity, &LIST_INDEXES, &[]).await?;
    rows.iter().map(|row| Ok(Index { table: row.text(0)?, name: row.text(1)?, column: row.text(2)? })).collect()
}

/// What the account may do, in the engine's form.
pub(super) async fn grants(conn: &mut Conn) -> Result<Vec<String>, StoreError> {
    conn.rows_in(Family::Identity, &LIST_GRANTS, &[]).await?.iter().map(|row| row.text(0)).collect()
}
