//! What a database can hold, found by looking at its columns and never by a version number: migrated databases differ from
//! fresh ones of the same release (contract database.md 7.3 and 8).

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Family, queries};
use std::collections::BTreeSet;

queries! {
    LIST_COLUMNS = "SELECT UPPER(M.name || '.' || P.name) FROM sqlite_master M JOIN pragma_table_info(M.name) P WHERE M.type = 'table' \
                    UNION ALL SELECT 'CON_APP_KEY.TENANT_ID'",
        MySql = "SELECT UPPER(CONCAT(table_name, '.', column_name)) FROM information_schema.columns WHERE table_schema = DATABASE() \
                 AND table_name IN ('IDN_OAUTH2_ACCESS_TOKEN', 'IDN_OAUTH2_AUTHORIZATION_CODE', 'IDN_OAUTH2_ACCESS_TOKEN_AUDIT', \
                 'IDN_OAUTH2_SCOPE', 'IDN_OAUTH2_SCOPE_BINDING', 'IDN_OAUTH_CONSUMER_APPS', 'IDN_OIDC_PROPERTY', \
                 'IDN_OAUTH2_AUTHZ_CODE_SCOPE', 'IDN_OAUTH2_ACCESS_TOKEN_SCOPE', 'IDN_AUTH_SESSION_STORE', 'SP_APP', 'IDP', 'AM_API', \
                 'AM_APPLICATION', 'AM_APPLICATION_ATTRIBUTES', 'AM_APPLICATION_KEY_MAPPING', 'AM_KEY_MANAGER', 'AM_REVOKED_JWT', \
                 'AM_API_CATEGORIES', 'AM_REVISION', 'UM_USER', 'UM_TENANT', 'REG_RESOURCE') \
                 UNION ALL SELECT UPPER(CONCAT(constraint_name, '.', column_name)) FROM information_schema.key_column_usage \
                 WHERE table_schema = DATABASE() AND table_name = 'IDN_OAUTH2_ACCESS_TOKEN' AND constraint_name = 'CON_APP_KEY'",
        // The views of information_schema take ten times as long here.
        Postgres = "SELECT UPPER(C.relname || '.' || A.attname) FROM pg_class C JOIN pg_attribute A ON A.attrelid = C.oid \
                    WHERE C.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = CURRENT_SCHEMA()) \
                    AND C.relkind IN ('r', 'p', 'v', 'f') AND A.attnum > 0 AND NOT A.attisdropped \
                    AND (C.relname LIKE 'idn\\_%' OR C.relname LIKE 'am\\_%' OR C.relname IN ('sp_app', 'idp', 'um_user', 'um_tenant', \
                    'reg_resource')) \
                    UNION ALL SELECT UPPER(K.conname || '.' || A.attname) FROM pg_constraint K JOIN pg_class T ON T.oid = K.conrelid \
                    JOIN pg_attribute A ON A.attrelid = T.oid AND A.attnum = ANY (K.conkey) \
                    WHERE T.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = CURRENT_SCHEMA()) \
                    AND T.relname = 'idn_oauth2_access_token' AND K.conname = 'con_app_key'";
}

/// Declares the capabilities with the column that proves each.
macro_rules! capabilities {
    ($($(#[$meta:meta])* $variant:ident, $name:literal, $family:ident, $column:literal;)*) => {
        /// Something that some releases' databases have and others do not. Statements name them in brackets.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Capability {
            $($(#[$meta])* $variant,)*
        }

        impl Capability {
            /// All of them, oldest first.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in statements and in messages.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The column that proves it.
            pub const fn column(self) -> &'static str {
                match self {
                    $(Self::$variant => $column,)*
                }
            }

            /// The family of tables that has it.
            pub const fn family(self) -> Family {
                match self {
                    $(Self::$variant => Family::$family,)*
                }
            }
        }
    };
}

capabilities! {
    /// Tokens carry the hash of their texts (2.6).
    TokenHash, "token_hash", Identity, "IDN_OAUTH2_ACCESS_TOKEN.ACCESS_TOKEN_HASH";
    /// Codes carry the hash of their text (2.6).
    CodeHash, "code_hash", Identity, "IDN_OAUTH2_AUTHORIZATION_CODE.AUTHORIZATION_CODE_HASH";
    /// A table for tokens that are gone (2.6).
    Audit, "audit", Identity, "IDN_OAUTH2_ACCESS_TOKEN_AUDIT.TOKEN_ID";
    /// Roles of a scope are rows (2.6); before, scopes have SCOPE_KEY and ROLES.
    ScopeBinding, "scope_binding", Identity, "IDN_OAUTH2_SCOPE_BINDING.SCOPE_BINDING";
    /// Applications have lifetimes of their own (2.6).
    AppExpiry, "app_expiry", Identity, "IDN_OAUTH_CONSUMER_APPS.USER_ACCESS_TOKEN_EXPIRE_TIME";
    /// Applications have further properties, the token type among them (2.6).
    OidcProperty, "oidc_property", Identity, "IDN_OIDC_PROPERTY.PROPERTY_KEY";
    /// Sessions say when they end (2.6).
    SessionExpiry, "session_expiry", Identity, "IDN_AUTH_SESSION_STORE.EXPIRY_TIME";
    /// Token and code rows name their identity provider (3.0).
    IdpId, "idp_id", Identity, "IDN_OAUTH2_ACCESS_TOKEN.IDP_ID";
    /// The tables' own key lets one token be active for a client, user and scope set; on PostgreSQL it does so from 3.0 on.
    ActiveKey, "active_key", Identity, "CON_APP_KEY.TENANT_ID";
    /// Tokens may be bound to a browser or certificate (3.1).
    TokenBinding, "token_binding", Identity, "IDN_OAUTH2_ACCESS_TOKEN.TOKEN_BINDING_REF";
    /// Scopes of codes are rows (3.1).
    CodeScopes, "code_scopes", Identity, "IDN_OAUTH2_AUTHZ_CODE_SCOPE.SCOPE";
    /// Scopes and bindings have a type (3.1).
    ScopeType, "scope_type", Identity, "IDN_OAUTH2_SCOPE.SCOPE_TYPE";
    /// Service providers have a UUID (3.1).
    ProviderUuid, "provider_uuid", Identity, "SP_APP.UUID";
    /// Identity providers have a UUID (3.1).
    IdpUuid, "idp_uuid", Identity, "IDP.UUID";
    /// There are AM_* tables at all.
    Api, "api", Api, "AM_API.CONTEXT";
    /// Applications have a token type and attributes (2.6).
    AppTokenType, "app_token_type", Api, "AM_APPLICATION.TOKEN_TYPE";
    /// APIs have a type (3.0).
    ApiType, "api_type", Api, "AM_API.API_TYPE";
    /// Revoked JWTs are listed (3.0).
    RevokedJwt, "revoked_jwt", Api, "AM_REVOKED_JWT.SIGNATURE";
    /// There are categories of APIs (3.1).
    ApiCategory, "api_category", Api, "AM_API_CATEGORIES.UUID";
    /// Keys belong to one of several key managers (3.2).
    KeyManager, "key_manager", Api, "AM_APPLICATION_KEY_MAPPING.KEY_MANAGER";
    /// Users have a UUID (3.1).
    UserId, "user_id", User, "UM_USER.UM_USER_ID";
}

/// What each release added to the identity family's tables.
const IDENTITY_STEPS: &[(&str, &[Capability])] = {
    use Capability as C;
    &[
        ("2.1", &[]),
        (
            "2.6",
            &[C::TokenHash, C::CodeHash, C::Audit, C::ScopeBinding, C::AppExpiry, C::OidcProperty, C::SessionExpiry],
        ),
        ("3.0", &[C::IdpId]),
        ("3.1", &[C::TokenBinding, C::CodeScopes, C::ScopeType, C::ProviderUuid, C::IdpUuid]),
    ]
};

/// What each release added to the AM_ tables.
const API_STEPS: &[(&str, &[Capability])] = &[
    ("2.6", &[Capability::AppTokenType]),
    ("3.0", &[Capability::ApiType, Capability::RevokedJwt]),
    ("3.1", &[Capability::ApiCategory]),
    ("3.2", &[Capability::KeyManager]),
];

/// Columns that came with the one that proves a capability.
const COMPANIONS: &[(Capability, &str)] = &[
    (Capability::TokenHash, "IDN_OAUTH2_ACCESS_TOKEN.REFRESH_TOKEN_HASH"),
    (Capability::AppExpiry, "IDN_OAUTH_CONSUMER_APPS.APP_ACCESS_TOKEN_EXPIRE_TIME"),
    (Capability::AppExpiry, "IDN_OAUTH_CONSUMER_APPS.REFRESH_TOKEN_EXPIRE_TIME"),
    (Capability::IdpId, "IDN_OAUTH2_AUTHORIZATION_CODE.IDP_ID"),
    (Capability::ScopeType, "IDN_OAUTH2_SCOPE_BINDING.BINDING_TYPE"),
];

impl Capability {
    pub(crate) fn named(name: &str) -> Self {
        let found = Self::ALL.iter().find(|capability| capability.name() == name);
        *found.unwrap_or_else(|| panic!("no capability is called {name}"))
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(u32);

impl Capabilities {
    /// Those of 3.2, which the databases we make have.
    pub const ALL: Self = Self((1 << Capability::ALL.len()) - 1);
    /// None.
    pub const NONE: Self = Self(0);

    /// Is it there?
    pub const fn has(self, capability: Capability) -> bool {
        self.0 >> capability as u32 & 1 == 1
    }

    /// The same with one more.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability as u32)
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// What is missing for the newest release, oldest first.
    pub fn missing(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.iter().copied().filter(move |capability| !self.has(*capability))
    }

    /// The release that these capabilities are of, for messages only; `None` for a mixture that no release has.
    pub fn release(self) -> Option<&'static str> {
        let mut expected = Self::NONE;
        let identity = |set: Self| {
            let of_identity = |capability: &&Capability| capability.family() == Family::Identity;
            let of_release = |it: &&Capability| **it != Capability::ActiveKey && of_identity(it);
            Capability::ALL
                .iter()
                .filter(of_release)
                .fold(Self::NONE, |all, it| if set.has(*it) { all.with(*it) } else { all })
        };
        let mut found = None;
        for (release, added) in IDENTITY_STEPS {
            expected = added.iter().fold(expected, |set, capability| set.with(*capability));
            if identity(self) == expected {
                found = Some(*release);
            }
        }
        // 3.1 and 3.2 differ in the AM_ tables only.
        if found == Some("3.1") && self.has(Capability::KeyManager) { Some("3.2") } else { found }
    }
}

/// The columns of a family's database that capabilities are proved by, `TABLE.COLUMN` in upper case.
pub(crate) async fn columns(conn: &mut Conn, family: Family) -> Result<BTreeSet<String>, StoreError> {
    conn.rows_in(family, &LIST_COLUMNS, &[]).await?.iter().map(|row| row.text(0)).collect()
}

/// The table or column that a 4.x release has and none of ours (database.md 8).
pub(crate) fn newer(columns: &BTreeSet<String>) -> Option<String> {
    let is_newer = |column: &&String| column.starts_with("AM_REVISION.") || *column == "AM_API.STATUS";
    let column = columns.iter().find(is_newer)?;
    Some(if column.starts_with("AM_REVISION.") { "AM_REVISION".to_owned() } else { column.clone() })
}

/// The newest release of which there is something, and its columns that are not there; `None` when nothing is missing.
/// `identity` are the columns of the identity family's database.
pub(crate) fn half_migrated(
    found: Capabilities,
    identity: &BTreeSet<String>,
) -> Option<(&'static str, Vec<&'static str>)> {
    let (mut release, mut missing) = ("", Vec::new());
    for steps in [IDENTITY_STEPS, API_STEPS] {
        let reached = steps.iter().rposition(|(_, added)| added.iter().any(|it| found.has(*it)));
        let Some(reached) = reached else { continue };
        let expected = steps[..=reached].iter().flat_map(|(_, added)| *added);
        let before = missing.len();
        missing.extend(expected.filter(|it| !found.has(**it)).map(|it| it.column()));
        if missing.len() > before {
            release = steps[reached].0;
        }
    }
    let of_found = COMPANIONS.iter().filter(|(capability, _)| found.has(*capability));
    let without: Vec<_> = of_found.filter(|(_, column)| !identity.contains(*column)).collect();
    for (capability, column) in without {
        missing.push(column);
        let of = |(_, added): &&(&'static str, &[Capability])| added.contains(capability);
        release = IDENTITY_STEPS.iter().find(of).map_or(release, |(name, _)| *name);
    }
    (!missing.is_empty()).then_some((release, missing))
}

/// The columns of each database, by its place among them.
pub(crate) type Layout = Vec<(usize, BTreeSet<String>)>;

/// Lists the columns of each database once.
pub(crate) async fn layout(conn: &mut Conn) -> Result<Layout, StoreError> {
    let mut layout = Layout::new();
    for family in Family::ALL {
        let database = conn.database_of(family);
        if !layout.iter().any(|(other, _)| *other == database) {
            layout.push((database, columns(conn, family).await?));
        }
    }
    Ok(layout)
}

/// What databases of a layout can hold; `database_of` says where a family lives.
pub(crate) fn found(layout: &Layout, database_of: impl Fn(Family) -> usize) -> Capabilities {
    let is_there = |capability: &&Capability| {
        let database = database_of(capability.family());
        let columns = layout.iter().find(|(other, _)| *other == database).map(|(_, columns)| columns);
        columns.is_some_and(|columns| columns.contains(capability.column()))
    };
    Capability::ALL.iter().filter(is_there).fold(Capabilities::NONE, |found, it| found.with(*it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Engine;

    #[test]
    fn every_proof_is_among_the_columns_that_are_listed() {
        let mysql = LIST_COLUMNS.on(Engine::MySql);
        let postgres = LIST_COLUMNS.on(Engine::Postgres);
        for capability in Capability::ALL {
            let table = capability.column().split('.').next().unwrap();
            if *capability == Capability::ActiveKey {
                continue;
            }
            assert!(mysql.contains(&format!("'{table}'")), "{table}");
            let lower = table.to_lowercase();
            let is_listed =
                lower.starts_with("idn_") || lower.starts_with("am_") || postgres.contains(&format!("'{lower}'"));
            assert!(is_listed, "{table}");
        }
    }

    #[test]
    fn releases_are_told_by_their_columns() {
        assert_eq!(Capabilities::NONE.release(), Some("2.1"));
        assert_eq!(Capabilities::ALL.release(), Some("3.2"));
        assert_eq!(Capabilities::NONE.with(Capability::IdpId).release(), None, "half-migrated");
    }
}
