//! What is unusual about the databases (contract database.md 0, 1.3-1.5, 3.3, 3.5, 3.6, 3.8, 5.1, 7.3, 8), found by reading only.
//!
//! Owns: the findings and how grave each is. Leaves to the program: the words, and what to do about them. Two depths: a look
//! at start reads catalogues, one end of an index and single rows; the full look also counts rows, from end to end.

mod catalogue;
mod grants;
mod rows;

use crate::capability::{self, Capabilities, Capability};
use crate::conn::Conn;
use crate::db::Store;
use crate::error::StoreError;
use crate::schema;
use crate::sql::{Engine, Family, Sql};
use catalogue::Index;
use claviger_proto::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// This module's statements, by module and name.
pub(crate) fn statements() -> impl Iterator<Item = &'static (&'static str, &'static Sql)> {
    catalogue::STATEMENTS.iter().chain(rows::STATEMENTS)
}

/// A stored time may be this far ahead of ours before somebody's clock or zone is taken to be wrong.
const AHEAD_MS_MAX: i64 = 5 * 60_000;
/// Zones differ from UTC by multiples of this.
const ZONE_STEP_MS: i64 = 15 * 60_000;
/// No zone is further ahead of UTC.
const ZONE_MS_MAX: i64 = 18 * 3_600_000;
/// Beside the table of tokens, and no part of it.
const BESIDE_TOKENS: &[&str] = &[
    "IDN_OAUTH2_ACCESS_TOKEN_AUDIT",
    "IDN_OAUTH2_ACCESS_TOKEN_SCOPE",
    "IDN_OAUTH2_ACCESS_TOKEN_SCOPE_AUDIT",
    "IDN_OAUTH2_ACCESS_TOKEN_EXTENDED",
];

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What costs a start a few milliseconds, whatever the number of rows.
    Start,
    /// Everything; tables of tokens and users are read from end to end.
    Full,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Note,
    /// Something works worse, or not for everybody.
    Warning,
    /// The server cannot run on it, or must not.
    Error,
}

/// Something unusual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A table or column of API-M 4.x.
    NewerRelease {
        /// Which.
        proof: String,
    },
    /// The product's tables are in none of the databases.
    Empty,
    /// A family's tables are not in its database.
    NoTables {
        /// Which.
        family: Family,
        /// A family whose database has them.
        elsewhere: Option<Family>,
    },
    /// There are no AM_* tables at all: an identity server's own database.
    NoApiTables,
    /// The columns are those of no release.
    HalfMigrated {
        /// The newest release that has some of them.
        release: &'static str,
        /// Columns of it that are not there.
        missing: Vec<&'static str>,
    },
    /// The database for users has none, another one has.
    UsersElsewhere {
        /// A family that lives in the other one.
        family: Family,
    },
    /// Our own tables are not all there.
    OwnTables {
        /// Which.
        missing: Vec<&'static str>,
        /// May the account make them? `None` when its rights come from a role that we cannot see into.
        may_create: Option<bool>,
    },
    /// CON_APP_KEY does not keep a second active token out.
    ActiveKey,
    /// Keys of CON_APP_KEY with more than one active token.
    DuplicateTokens {
        /// How many keys.
        keys: i64,
    },
    /// Active tokens that name no identity provider.
    TokensWithoutProvider {
        /// How many.
        tokens: i64,
    },
    /// Active tokens without the hash by which they are found.
    TokensWithoutHash {
        /// How many.
        tokens: i64,
    },
    /// Tenants with clients and without an identity provider LOCAL.
    TenantsWithoutProvider {
        /// Their ids.
        tenants: Vec<i64>,
    },
    /// A frequent look-up has no index.
    NoIndex {
        /// Table.
        table: &'static str,
        /// First column.
        column: &'static str,
        /// The statement of the product's script that makes it.
        statement: &'static str,
    },
    /// A part of the product's script that a database in utf8mb4 refuses.
    NotMade {
        /// The table or index.
        name: &'static str,
    },
    /// Client ids compare without regard to case.
    CaseInsensitive {
        /// Their collation.
        collation: String,
    },
    /// The newest token was issued in our future.
    TimesAhead {
        /// By so many seconds.
        ahead_s: i64,
        /// The zone in which it would not be; `None` when there is none.
        zone: Option<String>,
    },
    /// Times `0000-00-00 00:00:00`.
    ZeroTimes {
        /// Rows that have one.
        rows: i64,
    },
    /// Tables of tokens for single user stores.
    Partitions {
        /// Which.
        tables: Vec<String>,
    },
    /// Users whose UM_USER_ID is `NONE`.
    UsersWithoutId {
        /// How many.
        users: i64,
    },
    /// The server cuts texts to their column's width without an error.
    NotStrict {
        /// A family that lives there.
        family: Family,
    },
    /// MySQL 5.
    OldServer {
        /// Its version.
        version: String,
        /// A family that lives there.
        family: Family,
    },
}

impl Finding {
    /// How grave it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::NewerRelease { .. }
            | Self::NoTables { .. }
            | Self::HalfMigrated { .. }
            | Self::UsersElsewhere { .. }
            | Self::OwnTables { may_create: Some(false), .. } => Severity::Error,
            Self::DuplicateTokens { .. }
            | Self::TokensWithoutProvider { .. }
            | Self::TokensWithoutHash { .. }
            | Self::TenantsWithoutProvider { .. }
            | Self::NoIndex { .. }
            | Self::NotMade { .. }
            | Self::TimesAhead { .. }
            | Self::ZeroTimes { .. }
            | Self::Partitions { .. }
            | Self::UsersWithoutId { .. }
            | Self::NotStrict { .. }
            | Self::OldServer { .. } => Severity::Warning,
            Self::Empty
            | Self::NoApiTables
            | Self::OwnTables { .. }
            | Self::ActiveKey
            | Self::CaseInsensitive { .. } => Severity::Note,
        }
    }
}

/// One database.
#[derive(Clone, Debug)]
pub struct DatabaseStatus {
    /// The families that are configured to live there.
    pub families: Vec<Family>,
    /// Its engine.
    pub engine: Engine,
    /// The server's own word for its version.
    pub version: String,
    /// Tables found of each family.
    pub holds: Vec<(Family, usize)>,
    /// Our own tables found.
    pub own: usize,
    /// Character set of the database.
    pub character_set: String,
    /// Collation of client ids where the database has them.
    pub collation: Option<String>,
    /// Isolation of transactions, unless the statement says otherwise.
    pub isolation: Option<String>,
    /// Zone of the sessions.
    pub session_zone: Option<String>,
    /// The next wall clock that sessions skip, and the one after it.
    pub next_gap: Option<(String, String)>,
    /// `explicit_defaults_for_timestamp` (MySQL).
    pub explicit_defaults: Option<String>,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Status {
    /// Each database once, the identity family's first; none at start.
    pub databases: Vec<DatabaseStatus>,
    /// What they can hold.
    pub capabilities: Capabilities,
    /// What is unusual, the gravest first.
    pub findings: Vec<Finding>,
}

/// A database while it is looked at.
struct Seen {
    family: Family,
    engine: Engine,
    settings: BTreeMap<String, String>,
    tables: BTreeSet<String>,
    columns: BTreeSet<String>,
}

impl Seen {
    fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    fn has(&self, family: Family) -> bool {
        self.tables.contains(proof(family))
    }
}

/// The table that is there when a family is.
const fn proof(family: Family) -> &'static str {
    match family {
        Family::Identity => "IDN_OAUTH2_ACCESS_TOKEN",
        Family::Api => "AM_API",
        Family::User => "UM_USER",
        Family::Registry => "REG_RESOURCE",
    }
}

/// Looks at the databases and changes nothing. `now` is compared with stored times. At start, what the databases can hold is
/// known already ([`schema::prepare`]), and nobody asks for the details of each.
pub async fn look(store: &Store, now: Timestamp, depth: Depth) -> Result<Status, StoreError> {
    let capabilities = if depth == Depth::Full { store.detect().await? } else { store.capabilities() };
    let mut conn = store.reader().await?;
    let mut seen = Vec::new();
    for family in store.families_of_databases() {
        seen.push(Seen {
            family,
            engine: conn.engine_of(family),
            settings: catalogue::settings(&mut conn, family).await?,
            tables: schema::tables(&mut conn, family).await?,
            columns: capability::columns(&mut conn, family).await?,
        });
    }
    let mut findings = find(&mut conn, &seen, now, depth).await?;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity()));
    let mut databases = Vec::new();
    for it in seen.iter().filter(|_| depth == Depth::Full) {
        databases.push(describe(store, &mut conn, it, now).await?);
    }
    Ok(Status { databases, capabilities, findings })
}

async fn describe(store: &Store, conn: &mut Conn, seen: &Seen, now: Timestamp) -> Result<DatabaseStatus, StoreError> {
    let of = |family: Family| {
        let is_of = |name: &&String| !name.starts_with("CLV_") && Family::of_product_table(name) == Some(family);
        (family, seen.tables.iter().filter(is_of).count())
    };
    let has_clients = seen.tables.contains("IDN_OAUTH_CONSUMER_APPS");
    let gap = store.next_gap(seen.family, now).map(|(from, to)| (from.to_string(), to.to_string()));
    Ok(DatabaseStatus {
        families: store.families_beside(seen.family).collect(),
        engine: seen.engine,
        version: seen.setting("version").unwrap_or_default().to_owned(),
        holds: Family::ALL.into_iter().map(of).filter(|(_, tables)| *tables > 0).collect(),
        own: seen.tables.iter().filter(|name| name.starts_with("CLV_")).count(),
        character_set: seen.setting("character_set").unwrap_or_default().to_owned(),
        collation: if has_clients { catalogue::collation(conn, seen.family).await? } else { None },
        isolation: seen.setting("isolation").map(str::to_owned),
        session_zone: seen.setting("zone").map(str::to_owned),
        next_gap: gap,
        explicit_defaults: seen.setting("explicit_defaults").map(str::to_owned),
    })
}

async fn find(conn: &mut Conn, seen: &[Seen], now: Timestamp, depth: Depth) -> Result<Vec<Finding>, StoreError> {
    let of = |conn: &Conn, family: Family| {
        let index = conn.database_of(family);
        seen.iter().find(|it| conn.database_of(it.family) == index).expect("each family has a database")
    };
    if let Some(proof) = capability::newer(&of(conn, Family::Api).columns) {
        return Ok(vec![Finding::NewerRelease { proof }]);
    }
    let mut found = servers(seen);
    if seen.iter().all(|it| Family::ALL.into_iter().all(|family| !it.has(family))) {
        found.push(Finding::Empty);
        return Ok(found);
    }
    for family in Family::ALL.into_iter().filter(|family| !of(conn, *family).has(*family)) {
        let elsewhere = seen.iter().find(|it| it.has(family)).map(|it| it.family);
        found.push(match (family, elsewhere) {
            (Family::Api, None) => Finding::NoApiTables,
            _ => Finding::NoTables { family, elsewhere },
        });
    }
    if let Some((release, missing)) =
        capability::half_migrated(conn.capabilities(), &of(conn, Family::Identity).columns)
    {
        found.push(Finding::HalfMigrated { release, missing });
    }
    if of(conn, Family::User).has(Family::User) {
        let own = conn.database_of(Family::User);
        let others = seen.iter().filter(|it| it.has(Family::User) && conn.database_of(it.family) != own);
        let others: Vec<Family> = others.map(|it| it.family).collect();
        if !others.is_empty() && !rows::has_users(conn, Family::User).await? {
            for family in others {
                if rows::has_users(conn, family).await? {
                    found.push(Finding::UsersElsewhere { family });
                }
            }
        }
        if depth == Depth::Full && conn.capabilities().has(Capability::UserId) {
            let users = rows::users_without_id(conn).await?;
            found.extend((users > 0).then_some(Finding::UsersWithoutId { users }));
        }
    }
    let identity = of(conn, Family::Identity);
    if identity.has(Family::Identity) {
        of_identity(conn, identity, now, depth, &mut found).await?;
    }
    Ok(found)
}

/// What concerns a server, whatever it holds.
fn servers(seen: &[Seen]) -> Vec<Finding> {
    let mut found = Vec::new();
    for it in seen.iter().filter(|it| it.engine == Engine::MySql) {
        let version = it.setting("version").unwrap_or_default();
        if version.starts_with("5.") && !version.contains("MariaDB") {
            found.push(Finding::OldServer { version: version.to_owned(), family: it.family });
        }
        let is_strict = |mode: &str| mode == "STRICT_TRANS_TABLES" || mode == "STRICT_ALL_TABLES";
        if !it.setting("sql_mode").unwrap_or_default().split(',').any(is_strict) {
            found.push(Finding::NotStrict { family: it.family });
        }
    }
    found
}

async fn of_identity(
    conn: &mut Conn,
    seen: &Seen,
    now: Timestamp,
    depth: Depth,
    found: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    let missing: Vec<&'static str> = schema::own_tables().filter(|name| !seen.tables.contains(*name)).collect();
    if !missing.is_empty() {
        let database = seen.setting("database").unwrap_or_default();
        found.push(Finding::OwnTables { missing, may_create: grants::may_create(conn, database).await? });
    }
    let partitions: Vec<String> = seen.tables.iter().filter(|name| is_partition(name)).cloned().collect();
    found.extend((!partitions.is_empty()).then_some(Finding::Partitions { tables: partitions }));
    let capabilities = conn.capabilities();
    let indexes = catalogue::indexes(conn).await?;
    found.extend(catalogue::missing_indexes(capabilities, &indexes));
    if !seen.tables.contains("IDN_RECOVERY_DATA") {
        found.push(Finding::NotMade { name: "IDN_RECOVERY_DATA" });
    }
    let has_index = |name: &str| indexes.iter().any(|index: &Index| index.name == name);
    let is_wide = seen.setting("character_set") == Some("utf8mb4");
    if is_wide && capabilities.has(Capability::TokenHash) && !has_index(catalogue::SCIM_INDEX) {
        found.push(Finding::NotMade { name: catalogue::SCIM_INDEX });
    }
    if !capabilities.has(Capability::ActiveKey) {
        found.push(Finding::ActiveKey);
    }
    let collation = catalogue::collation(conn, Family::Identity).await?;
    if let Some(collation) = collation.filter(|name| name.ends_with("_ci")) {
        found.push(Finding::CaseInsensitive { collation });
    }
    let is_newest_cheap = indexes.iter().any(|index| index.starts_with(proof(Family::Identity), "TIME_CREATED"));
    if depth == Depth::Full || is_newest_cheap {
        found.extend(ahead(conn, now).await?);
    }
    if depth == Depth::Full {
        found.extend(rows::findings(conn).await?);
    }
    Ok(())
}

fn is_partition(table: &str) -> bool {
    let is_beside = BESIDE_TOKENS
        .iter()
        .any(|known| table.strip_prefix(known).is_some_and(|rest| rest.is_empty() || known.ends_with("_SCOPE")));
    table.starts_with("IDN_OAUTH2_ACCESS_TOKEN_") && !is_beside
}

/// Is the newest token of the future? What an old server wrote last cannot be, unless it wrote in another zone.
async fn ahead(conn: &mut Conn, now: Timestamp) -> Result<Option<Finding>, StoreError> {
    let Some((newest, wall)) = rows::newest_token(conn).await? else { return Ok(None) };
    let ahead_ms = newest.millis_since(now);
    if ahead_ms <= AHEAD_MS_MAX {
        return Ok(None);
    }
    let distance_ms = wall.millis_since(now);
    let steps = distance_ms.div_euclid(ZONE_STEP_MS) + i64::from(distance_ms.rem_euclid(ZONE_STEP_MS) > 0);
    let offset_minutes = (steps * ZONE_STEP_MS).abs() / 60_000;
    let sign = if steps < 0 { '-' } else { '+' };
    let zone = format!("{sign}{:02}:{:02}", offset_minutes / 60, offset_minutes % 60);
    let is_a_zone = distance_ms.abs() <= ZONE_MS_MAX;
    Ok(Some(Finding::TimesAhead { ahead_s: ahead_ms / 1_000, zone: is_a_zone.then_some(zone) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mysql(version: &str, sql_mode: &str) -> Vec<Finding> {
        let settings = [("version", version), ("sql_mode", sql_mode)].map(|(name, value)| (name.into(), value.into()));
        servers(&[Seen {
            family: Family::User,
            engine: Engine::MySql,
            settings: settings.into(),
            tables: BTreeSet::new(),
            columns: BTreeSet::new(),
        }])
    }

    #[test]
    fn servers_that_truncate_or_are_old_are_named() {
        let family = Family::User;
        assert_eq!(mysql("8.0.36", "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES"), []);
        assert_eq!(mysql("10.11.19-MariaDB", "STRICT_ALL_TABLES"), []);
        assert_eq!(mysql("5.5.68-MariaDB", ""), [Finding::NotStrict { family }]);
        let old = Finding::OldServer { version: "5.7.44-log".into(), family };
        assert_eq!(mysql("5.7.44-log", "NO_ENGINE_SUBSTITUTION"), [old, Finding::NotStrict { family }]);
    }

    #[test]
    fn partitions_are_told_from_the_tables_beside() {
        for table in BESIDE_TOKENS.iter().chain(&["IDN_OAUTH2_ACCESS_TOKEN", "IDN_OAUTH2_ACCESS_TOKEN_SCOPE_A"]) {
            assert!(!is_partition(table), "{table}");
        }
        assert!(is_partition("IDN_OAUTH2_ACCESS_TOKEN_A") && is_partition("IDN_OAUTH2_ACCESS_TOKEN_AD"));
    }
}
