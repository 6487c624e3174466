//! Creating the tables: the complete WSO2 3.2 layout (`ddl/`, generated from the contract's facts) in an empty database,
//! and our own `CLV_*` tables beside WSO2's. A WSO2 table is never altered.
//!
//! MySQL commits every CREATE TABLE by itself, so a start that ends in the middle leaves some tables behind. CLV_SETUP says
//! how far a start came: it is made first, and empty once the first rows are written too.

use crate::capability::{self, Layout};
use crate::conn::Conn;
use crate::db::Store;
use crate::error::{StoreError, WriteError};
use crate::sql::{Engine, Family, queries};
use std::collections::BTreeSet;
use std::sync::Arc;

queries! {
    LIST_TABLES = "SELECT UPPER(name) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
        MySql = "SELECT UPPER(table_name) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'",
        Postgres = "SELECT UPPER(table_name) FROM information_schema.tables WHERE table_schema = CURRENT_SCHEMA() \
                    AND table_type = 'BASE TABLE'";
    FIND_STEP = "SELECT STEP FROM CLV_SETUP";
    INSERT_STEP = "INSERT INTO CLV_SETUP (STEP) VALUES (?)";
    UPDATE_STEP = "UPDATE CLV_SETUP SET STEP = ?";
    DELETE_STEP = "DELETE FROM CLV_SETUP";
}

/// Tables are being made.
const TABLES: &str = "TABLES";
/// Tables of the identity script are being made; those of users and registry were there.
const IDENTITY_TABLES: &str = "TABLES_ID";
/// All tables are there, the first rows are not.
const ROWS: &str = "ROWS";

const WSO2_SQLITE: &str = include_str!("../ddl/sqlite.sql");
const WSO2_MYSQL: &str = include_str!("../ddl/mysql.sql");
const WSO2_POSTGRES: &str = include_str!("../ddl/postgres.sql");

const SETUP: &str = "CLV_SETUP";
const LEASES: &str = "CLV_HOLDER";

/// Name, and the statement on SQLite, MySQL and PostgreSQL.
type OwnTable = (&'static str, &'static str, &'static str, &'static str);

/// Our own tables, one row per table and engine. Released statements never change; later versions add new ones.
/// On MySQL their character set is their own: a WSO2 database is often latin1, and keys compare exactly.
const OWN_TABLES: &[OwnTable] = &[
    (
        SETUP,
        "CREATE TABLE CLV_SETUP (STEP VARCHAR(10) NOT NULL)",
        "CREATE TABLE CLV_SETUP (STEP VARCHAR(10) NOT NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
        "CREATE TABLE CLV_SETUP (STEP VARCHAR(10) NOT NULL)",
    ),
    (
        "CLV_EVENT",
        "CREATE TABLE CLV_EVENT (ID INTEGER PRIMARY KEY AUTOINCREMENT, PAYLOAD TEXT NOT NULL, CREATED_AT INTEGER NOT NULL)",
        "CREATE TABLE CLV_EVENT (ID BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, PAYLOAD TEXT NOT NULL, CREATED_AT BIGINT NOT NULL) \
         ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
        "CREATE TABLE CLV_EVENT (ID BIGSERIAL PRIMARY KEY, PAYLOAD TEXT NOT NULL, CREATED_AT BIGINT NOT NULL)",
    ),
    (
        "CLV_REVOCATION",
        "CREATE TABLE CLV_REVOCATION (KIND TEXT NOT NULL, SUBJECT TEXT NOT NULL, REVOKED_BEFORE INTEGER NOT NULL, \
         EXPIRES_AT INTEGER NOT NULL, PRIMARY KEY (KIND, SUBJECT)); \
         CREATE INDEX IDX_CLV_REVOCATION_EXPIRES ON CLV_REVOCATION (EXPIRES_AT)",
        "CREATE TABLE CLV_REVOCATION (KIND VARCHAR(10) NOT NULL, SUBJECT VARCHAR(255) NOT NULL, REVOKED_BEFORE BIGINT NOT NULL, \
         EXPIRES_AT BIGINT NOT NULL, PRIMARY KEY (KIND, SUBJECT), KEY IDX_CLV_REVOCATION_EXPIRES (EXPIRES_AT)) \
         ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
        "CREATE TABLE CLV_REVOCATION (KIND VARCHAR(10) NOT NULL, SUBJECT VARCHAR(255) NOT NULL, REVOKED_BEFORE BIGINT NOT NULL, \
         EXPIRES_AT BIGINT NOT NULL, PRIMARY KEY (KIND, SUBJECT)); \
         CREATE INDEX IDX_CLV_REVOCATION_EXPIRES ON CLV_REVOCATION (EXPIRES_AT)",
    ),
    (
        LEASES,
        "CREATE TABLE CLV_HOLDER (NAME TEXT NOT NULL PRIMARY KEY, HOLDER TEXT NOT NULL, BEAT INTEGER NOT NULL)",
        "CREATE TABLE CLV_HOLDER (NAME VARCHAR(50) NOT NULL PRIMARY KEY, HOLDER VARCHAR(50) NOT NULL, BEAT BIGINT NOT NULL) \
         ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
        "CREATE TABLE CLV_HOLDER (NAME VARCHAR(50) NOT NULL PRIMARY KEY, HOLDER VARCHAR(50) NOT NULL, BEAT BIGINT NOT NULL)",
    ),
    (
        "CLV_NOTIFICATION",
        "CREATE TABLE CLV_NOTIFICATION (ID INTEGER PRIMARY KEY AUTOINCREMENT, LISTENER TEXT NOT NULL, LANE TEXT NOT NULL, \
         EVENT_ID TEXT NOT NULL, CONSUMER_KEY TEXT NOT NULL, BODY TEXT NOT NULL, CREATED_AT INTEGER NOT NULL, \
         EXPIRES_AT INTEGER NOT NULL, DIED_AT INTEGER NOT NULL, REASON TEXT); \
         CREATE INDEX IDX_CLV_NOTIFICATION ON CLV_NOTIFICATION (LISTENER, DIED_AT, ID)",
        "CREATE TABLE CLV_NOTIFICATION (ID BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, LISTENER VARCHAR(100) NOT NULL, \
         LANE VARCHAR(300) NOT NULL, EVENT_ID VARCHAR(36) NOT NULL, CONSUMER_KEY VARCHAR(255) NOT NULL, BODY TEXT NOT NULL, \
         CREATED_AT BIGINT NOT NULL, EXPIRES_AT BIGINT NOT NULL, DIED_AT BIGINT NOT NULL, REASON VARCHAR(400), \
         KEY IDX_CLV_NOTIFICATION (LISTENER, DIED_AT, ID)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
        "CREATE TABLE CLV_NOTIFICATION (ID BIGSERIAL PRIMARY KEY, LISTENER VARCHAR(100) NOT NULL, LANE VARCHAR(300) NOT NULL, \
         EVENT_ID VARCHAR(36) NOT NULL, CONSUMER_KEY VARCHAR(255) NOT NULL, BODY TEXT NOT NULL, CREATED_AT BIGINT NOT NULL, \
         EXPIRES_AT BIGINT NOT NULL, DIED_AT BIGINT NOT NULL, REASON VARCHAR(400)); \
         CREATE INDEX IDX_CLV_NOTIFICATION ON CLV_NOTIFICATION (LISTENER, DIED_AT, ID)",
    ),
    (
        "CLV_CODE_CONTEXT",
        "CREATE TABLE CLV_CODE_CONTEXT (CODE_ID TEXT NOT NULL PRIMARY KEY, AUTH_TIME INTEGER NOT NULL, NONCE TEXT)",
        "CREATE TABLE CLV_CODE_CONTEXT (CODE_ID VARCHAR(255) NOT NULL PRIMARY KEY, AUTH_TIME BIGINT NOT NULL, NONCE VARCHAR(512)) \
         ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
        "CREATE TABLE CLV_CODE_CONTEXT (CODE_ID VARCHAR(255) NOT NULL PRIMARY KEY, AUTH_TIME BIGINT NOT NULL, NONCE VARCHAR(512))",
    ),
];

/// What [`prepare`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// The databases were empty: all tables were made, and [`crate::seed`] must fill in the first rows.
    Created,
    /// The WSO2 tables were there.
    Found,
}

/// Why the tables cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Neither empty nor a database of the product.
    #[error(
        "the database of the {} tables holds {found} of the product's tables ({first} is one) but not {proof}: give an empty \
         database, or one that has them all", family.name()
    )]
    Incomplete {
        /// Whose database.
        family: Family,
        /// How many there are.
        found: usize,
        /// One of them.
        first: String,
        /// The table that is missed.
        proof: &'static str,
    },
    /// One database of several is empty.
    #[error(
        "there are other tables of the product, but the database of the {} tables has no {proof}: name the database that the old \
         server uses for them", family.name()
    )]
    Missing {
        /// Whose database.
        family: Family,
        /// The table that is missed.
        proof: &'static str,
    },
    /// A database of a release that we do not know.
    #[error(
        "the database is of API-M 4.x ({proof} is there), which this version cannot share: name the databases of a release from \
         2.1 to 3.2"
    )]
    Newer {
        /// The table or column that shows it.
        proof: String,
    },
    /// Somebody else's database.
    #[error(
        "the database of the {} tables holds none of the product's tables but others ({first} is one): give an empty database, or \
         the old server's", family.name()
    )]
    Strange {
        /// Whose database.
        family: Family,
        /// A table in it.
        first: String,
    },
    /// The account may not make tables.
    #[error(
        "the database account may not make our own tables beside the product's: let an administrator run what \
         `claviger db create --print` prints, or grant CREATE"
    )]
    Denied(#[source] StoreError),
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl WriteError for PrepareError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            Self::Incomplete { .. }
            | Self::Strange { .. }
            | Self::Missing { .. }
            | Self::Newer { .. }
            | Self::Denied(_) => None,
        }
    }
}

/// Makes the tables that are missing - all of them in empty databases, only our own beside existing WSO2 tables - and finds
/// out what the databases can hold. One node at a time, behind [`Store::lock_start`].
pub async fn prepare(store: &Store) -> Result<Prepared, PrepareError> {
    let parts = Arc::new(parts(store));
    let (prepared, layout) = if store.engine() == Engine::MySql {
        // No transaction holds CREATE TABLE there, and the bound of a write would stop a slow server half-way.
        prepare_on(&mut store.reader().await?, &parts).await?
    } else {
        let work = store.write(move |conn| {
            let parts = parts.clone();
            Box::pin(async move { prepare_on(conn, &parts).await })
        });
        work.await?
    };
    let capabilities = match layout {
        Some(layout) => store.use_layout(&layout).await?,
        None => store.detect().await?,
    };
    if prepared == Prepared::Found {
        let release = capabilities.release().unwrap_or("of no release: half migrated?");
        tracing::info!(release, "the layout of the database was found");
    }
    Ok(prepared)
}

/// Notes that the first rows are written; call it in their transaction.
pub(crate) async fn finish(conn: &mut Conn) -> Result<(), StoreError> {
    conn.execute(&DELETE_STEP, &[]).await?;
    Ok(())
}

/// Tells the first start, in a database whose tables were made by the printed statements, to fill in the first rows.
pub const ROWS_ARE_MISSING: &str = "INSERT INTO CLV_SETUP (STEP) VALUES ('ROWS')";

/// The statements that make our own tables, for an administrator who makes them in our place.
pub fn own_statements(engine: Engine) -> impl Iterator<Item = &'static str> {
    OWN_TABLES.iter().map(move |table| of_engine(table, engine))
}

/// The names of our own tables.
pub(crate) fn own_tables() -> impl Iterator<Item = &'static str> {
    OWN_TABLES.iter().map(|(name, ..)| *name)
}

/// The statements that make all tables of some families in an empty database.
pub fn statements(engine: Engine, families: &[Family]) -> impl Iterator<Item = &'static str> {
    let kinds: Vec<Kind> = families.iter().map(|family| Kind::of(*family)).collect();
    all_statements(engine).filter(move |statement| kinds.contains(&Kind::of_statement(statement)))
}

/// The two scripts of the product: one makes the IDN_* and AM_* tables, the other UM_* and REG_*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Identity,
    Shared,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Identity, Self::Shared];

    fn of(family: Family) -> Self {
        match family {
            Family::Identity | Family::Api => Self::Identity,
            Family::User | Family::Registry => Self::Shared,
        }
    }

    fn of_statement(statement: &str) -> Self {
        Self::of(Family::of_table(subject(statement)))
    }

    /// The table that is there when the script has run.
    const fn proof(self) -> &'static str {
        match self {
            Self::Identity => "IDN_OAUTH2_ACCESS_TOKEN",
            Self::Shared => "UM_USER",
        }
    }
}

/// One database, with the scripts that it needs.
struct Part {
    /// The first family that lives there.
    family: Family,
    kinds: BTreeSet<Kind>,
}

/// The identity family's database comes first.
fn parts(store: &Store) -> Vec<Part> {
    let of = |family: Family| Part { family, kinds: store.families_beside(family).map(Kind::of).collect() };
    store.families_of_databases().into_iter().map(of).collect()
}

/// Also the columns that are there, unless tables of the product were made.
async fn prepare_on(conn: &mut Conn, parts: &[Part]) -> Result<(Prepared, Option<Layout>), PrepareError> {
    let (layout, api) = (capability::layout(conn).await?, conn.database_of(Family::Api));
    let newer =
        layout.iter().filter(|(database, _)| *database == api).find_map(|(_, columns)| capability::newer(columns));
    if let Some(proof) = newer {
        return Err(PrepareError::Newer { proof });
    }
    let mut missing: Vec<(Family, Kind)> = Vec::new();
    let own = tables(conn, Family::Identity).await?;
    let step = if own.contains(SETUP) { step(conn).await? } else { None };
    let is_resumed = matches!(step.as_deref(), Some(TABLES | IDENTITY_TABLES));
    let (mut has_identity, mut has_shared) = (false, false);
    for part in parts {
        let found = tables(conn, part.family).await?;
        for kind in &part.kinds {
            if is_resumed {
                if *kind == Kind::Identity || step.as_deref() == Some(TABLES) {
                    missing.push((part.family, *kind));
                }
            } else if !found.contains(kind.proof()) {
                let of_kind = all_statements(conn.engine_of(part.family)).filter(|it| Kind::of_statement(it) == *kind);
                let some: Vec<&str> = of_kind.filter_map(table_made).filter(|name| found.contains(*name)).collect();
                if let Some(first) = some.first() {
                    return Err(PrepareError::Incomplete {
                        family: part.family,
                        found: some.len(),
                        first: (*first).to_owned(),
                        proof: kind.proof(),
                    });
                }
                // PostGIS makes the one.
                let engine = conn.engine_of(part.family);
                let is_ours = |name: &&String| {
                    name.starts_with("CLV_")
                        || *name == "SPATIAL_REF_SYS"
                        || all_statements(engine).filter_map(table_made).any(|made| made == name.as_str())
                };
                let is_product = Kind::ALL.iter().any(|kind| found.contains(kind.proof()));
                if let Some(first) = found.iter().find(|name| !is_ours(name)).filter(|_| !is_product) {
                    return Err(PrepareError::Strange { family: part.family, first: first.clone() });
                }
                missing.push((part.family, *kind));
            } else {
                has_identity |= *kind == Kind::Identity;
                has_shared |= *kind == Kind::Shared;
            }
        }
    }
    let is_identity_missing = missing.iter().any(|(_, kind)| *kind == Kind::Identity);
    // Databases are made together. Beside an old server's users clients and tokens may be new; nothing else is made beside
    // what is there.
    let is_left_out = |(_, kind): &&(Family, Kind)| match kind {
        Kind::Identity => has_identity,
        Kind::Shared => !is_identity_missing || has_shared,
    };
    if let Some((family, kind)) = missing.iter().find(is_left_out).filter(|_| !is_resumed) {
        return Err(PrepareError::Missing { family: *family, proof: kind.proof() });
    }
    make_own(conn, &own).await?;
    if missing.is_empty() {
        let prepared = if step.as_deref() == Some(ROWS) { Prepared::Created } else { Prepared::Found };
        return Ok((prepared, Some(layout)));
    }
    if !is_resumed {
        let step = if has_shared { IDENTITY_TABLES } else { TABLES };
        conn.execute(&INSERT_STEP, &[step.into()]).await?;
    }
    for part in parts {
        let is_wanted = |statement: &&str| missing.contains(&(part.family, Kind::of_statement(statement)));
        let wanted: Vec<&str> = all_statements(conn.engine_of(part.family)).filter(is_wanted).collect();
        if is_resumed {
            // Only MySQL keeps what an interrupted start made; we made it, and it holds nothing yet.
            for statement in wanted {
                conn.command_unless_there(part.family, statement).await?;
            }
        } else if !wanted.is_empty() {
            conn.script_in(part.family, wanted.join(";\n")).await?;
        }
    }
    conn.execute(&UPDATE_STEP, &[ROWS.into()]).await?;
    Ok((Prepared::Created, None))
}

pub(crate) async fn tables(conn: &mut Conn, family: Family) -> Result<BTreeSet<String>, StoreError> {
    conn.rows_in(family, &LIST_TABLES, &[]).await?.iter().map(|row| row.text(0)).collect()
}

/// Makes the table of leases, which a Galera cluster needs before one node makes the others. Several may try at once.
pub(crate) async fn make_leases(conn: &mut Conn) -> Result<(), StoreError> {
    if tables(conn, Family::Identity).await?.contains(LEASES) {
        return Ok(());
    }
    let table = OWN_TABLES.iter().find(|(name, ..)| *name == LEASES).expect("it is in the list");
    conn.command_unless_there(Family::Identity, of_engine(table, conn.engine())).await
}

async fn make_own(conn: &mut Conn, tables: &BTreeSet<String>) -> Result<(), PrepareError> {
    for table in OWN_TABLES.iter().filter(|(name, ..)| !tables.contains(*name)) {
        match conn.command(of_engine(table, conn.engine())).await {
            Err(error) if error.is_denied() => return Err(PrepareError::Denied(error)),
            done => done?,
        }
    }
    Ok(())
}

fn of_engine((_, sqlite, mysql, postgres): &OwnTable, engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => sqlite,
        Engine::MySql => mysql,
        Engine::Postgres => postgres,
    }
}

async fn step(conn: &mut Conn) -> Result<Option<String>, StoreError> {
    conn.row(&FIND_STEP, &[]).await?.map(|row| row.text(0)).transpose()
}

/// The statements of the product's two scripts.
fn all_statements(engine: Engine) -> impl Iterator<Item = &'static str> {
    let script = match engine {
        Engine::Sqlite => WSO2_SQLITE,
        Engine::MySql => WSO2_MYSQL,
        Engine::Postgres => WSO2_POSTGRES,
    };
    let without_comment = |statement: &'static str| {
        let is_comment = |line: &&str| line.starts_with("--");
        statement.lines().find(is_comment).map_or(statement, |line| statement[line.len()..].trim_start()).trim()
    };
    script.split(";\n").map(without_comment).filter(|statement| !statement.is_empty())
}

/// The table or sequence that a statement of the scripts is about.
fn subject(statement: &str) -> &str {
    let mut words = statement.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    match (words.next(), words.next()) {
        (Some("CREATE"), Some("TABLE" | "SEQUENCE")) => words.next().unwrap_or_default(),
        _ => words.skip_while(|word| *word != "ON").nth(1).unwrap_or_default(),
    }
}

/// The table that a statement makes.
fn table_made(statement: &str) -> Option<&str> {
    statement.starts_with("CREATE TABLE ").then(|| subject(statement))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_make_the_same_tables() {
        let of = |engine| {
            all_statements(engine).filter_map(table_made).map(str::to_ascii_uppercase).collect::<BTreeSet<_>>()
        };
        let sqlite = of(Engine::Sqlite);
        assert!(sqlite.len() >= 200 && sqlite.contains("IDN_OAUTH2_ACCESS_TOKEN"), "{}", sqlite.len());
        assert_eq!((&of(Engine::MySql), &of(Engine::Postgres)), (&sqlite, &sqlite));
    }

    #[test]
    fn every_statement_of_the_scripts_is_about_something() {
        for engine in [Engine::Sqlite, Engine::MySql, Engine::Postgres] {
            for statement in all_statements(engine) {
                let subject = subject(statement);
                assert!(statement.starts_with("CREATE ") && subject.contains('_') || subject == "IDP", "{statement}");
            }
            let shared = statements(engine, &[Family::User]).filter_map(table_made).collect::<Vec<_>>();
            assert!(
                shared.contains(&"REG_LOG") && shared.contains(&"UM_USER") && !shared.contains(&"IDP"),
                "{shared:?}"
            );
        }
    }
}
