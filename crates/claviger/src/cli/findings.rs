//! The words for what the store found: one line of what, one line of advice (docs/databases.md lists them).

use crate::config::model::{Database, Databases};
use claviger_store::sql::Family;
use claviger_store::status::{Finding, Severity};

/// Tenants that a line names.
const TENANTS_MAX: usize = 10;

/// How messages call a severity.
pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// The configured database of a family.
pub fn of_family(databases: &Databases, family: Family) -> &Database {
    match family {
        Family::Identity => &databases.identity,
        Family::Api => &databases.api,
        Family::User => &databases.user,
        Family::Registry => &databases.registry,
    }
}

/// What was found.
pub fn what(finding: &Finding, databases: &Databases) -> String {
    let label = |family: Family| of_family(databases, family).url.label();
    match finding {
        Finding::NewerRelease { proof } => format!("the database is of API-M 4.x: {proof} is there"),
        Finding::Empty => "no database holds the product's tables yet".to_owned(),
        Finding::NoTables { family, elsewhere } => {
            let elsewhere = elsewhere.map(|other| format!("; {} has them", label(other))).unwrap_or_default();
            format!("the {} tables are not in {}{elsewhere}", family.name(), label(*family))
        }
        Finding::NoApiTables => "there are no AM_* tables: key validation and the portal are off".to_owned(),
        Finding::HalfMigrated { release, missing } => {
            format!("the tables are of no release: parts of {release} are there, but not {}", missing.join(", "))
        }
        Finding::UsersElsewhere { family } => {
            format!("UM_USER of {} is empty, and that of {} is not", label(Family::User), label(*family))
        }
        Finding::OwnTables { missing, may_create } => {
            let may = match may_create {
                Some(true) => "the account may make them",
                Some(false) => "the account may not make them",
                None => "whether the account may make them cannot be seen",
            };
            format!("our own tables {} are missing; {may}", missing.join(", "))
        }
        Finding::ActiveKey => "the key CON_APP_KEY does not keep a second active token out".to_owned(),
        Finding::DuplicateTokens { keys } => {
            format!("{keys} combinations of client, user and scopes have more than one active token")
        }
        Finding::TokensWithoutProvider { tokens } => {
            format!("{tokens} active tokens name no identity provider (IDP_ID is NULL or -1)")
        }
        Finding::TokensWithoutHash { tokens } => format!("{tokens} active tokens have no ACCESS_TOKEN_HASH"),
        Finding::TenantsWithoutProvider { tenants } => {
            let named: Vec<String> = tenants.iter().take(TENANTS_MAX).map(i64::to_string).collect();
            let more = if tenants.len() > TENANTS_MAX { " and others" } else { "" };
            format!("tenants with clients and without an identity provider LOCAL: {}{more}", named.join(", "))
        }
        Finding::NoIndex { table, column, .. } => format!("no index of {table} begins with {column}"),
        Finding::NotMade { name } => format!("{name} is missing, as after a creation script in utf8mb4"),
        Finding::CaseInsensitive { collation } => format!("client ids compare without regard to case ({collation})"),
        Finding::TimesAhead { ahead_s, .. } => {
            format!("the newest token was issued {} from now", duration(*ahead_s))
        }
        Finding::ZeroTimes { rows } => format!("{rows} tokens have the time 0000-00-00 00:00:00"),
        Finding::Partitions { tables } => format!("tokens of single user stores are in {}", tables.join(", ")),
        Finding::UsersWithoutId { users } => format!("{users} users have the UM_USER_ID NONE"),
        Finding::NotStrict { family } => format!("sql_mode of {} has no strict mode", label(*family)),
        Finding::OldServer { version, family } => format!("{} is MySQL {version}", label(*family)),
    }
}

/// What to do about it.
pub fn advice(finding: &Finding) -> String {
    let text = match finding {
        Finding::NewerRelease { .. } => "name the databases of a release from 2.1 to 3.2; nothing was changed",
        Finding::Empty => "the first start or `claviger db create` makes them; an old installation: check the names",
        Finding::NoTables { .. } => "name the database that the old server uses for them",
        Finding::NoApiTables => {
            "as it should be beside an identity server's own database; else name [database.apim_db]"
        }
        Finding::HalfMigrated { .. } => "finish the product's migration, or go back to the backup before it",
        Finding::UsersElsewhere { .. } => {
            "[database.user] and [database.shared_db] may be swapped, or [realm_manager] data_source is missing; a start is refused"
        }
        Finding::OwnTables { may_create: Some(true), .. } => "the next start makes them",
        Finding::OwnTables { .. } => {
            "let an administrator run what `claviger db create --print` prints, or grant CREATE"
        }
        Finding::ActiveKey => "stock on PostgreSQL up to 2.6; our nodes lock instead and need no change",
        Finding::DuplicateTokens { .. } => "the newest of each counts; the others end with their own lifetime",
        Finding::TokensWithoutProvider { .. } => {
            "we accept them, an old server does not see them: run the data step of its migration before going back"
        }
        Finding::TokensWithoutHash { .. } => {
            "we find them by their text, an old server does not: run the data step of its migration before going back"
        }
        Finding::TenantsWithoutProvider { .. } => {
            "our start makes the super tenant's; for others log in to the old server once as their administrator"
        }
        Finding::NoIndex { statement, .. } => return format!("let an administrator run: {statement}"),
        Finding::NotMade { .. } => {
            "we do not need it; the old server does: make it by hand with a shorter key or in latin1"
        }
        Finding::CaseInsensitive { .. } => "as the product's scripts make it; we compare again exactly",
        Finding::TimesAhead { zone, .. } => {
            return match zone {
                Some(zone) => {
                    let setting = "set db.token_time_zone to the zone of the old server's JVM";
                    format!("{setting} (its offset fits {zone}), or put the clocks right")
                }
                None => "no time zone explains it: put the clocks of the servers right".to_owned(),
            };
        }
        Finding::ZeroTimes { .. } => "we read them as unset; the tokens cannot be used again",
        Finding::Partitions { .. } => "we read IDN_OAUTH2_ACCESS_TOKEN only: these users must log in again",
        Finding::UsersWithoutId { .. } => "give each a UUID: the old server cannot add a second such user to a tenant",
        Finding::NotStrict { .. } => "add STRICT_TRANS_TABLES to sql_mode: other writers' texts are cut in silence",
        Finding::OldServer { .. } => "it gets no fixes any more: plan MySQL 8 or MariaDB 10.6 and later",
    };
    text.to_owned()
}

fn duration(seconds: i64) -> String {
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    if hours > 0 { format!("{hours} h {minutes} min") } else { format!("{minutes} min") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../../../docs/databases.md");

    fn all() -> Vec<Finding> {
        let statement = "CREATE INDEX IDX_ATH ON IDN_OAUTH2_ACCESS_TOKEN (ACCESS_TOKEN_HASH)";
        let own = |may_create| Finding::OwnTables { missing: vec!["CLV_EVENT"], may_create };
        let family = Family::User;
        vec![
            Finding::NewerRelease { proof: "AM_REVISION".into() },
            Finding::Empty,
            Finding::NoTables { family, elsewhere: None },
            Finding::NoApiTables,
            Finding::HalfMigrated { release: "3.1", missing: vec!["SP_APP.UUID"] },
            Finding::UsersElsewhere { family: Family::Registry },
            own(Some(true)),
            own(Some(false)),
            own(None),
            Finding::ActiveKey,
            Finding::DuplicateTokens { keys: 1 },
            Finding::TokensWithoutProvider { tokens: 1 },
            Finding::TokensWithoutHash { tokens: 1 },
            Finding::TenantsWithoutProvider { tenants: vec![-1234] },
            Finding::NoIndex { table: "IDN_OAUTH2_ACCESS_TOKEN", column: "ACCESS_TOKEN_HASH", statement },
            Finding::NotMade { name: "IDN_RECOVERY_DATA" },
            Finding::CaseInsensitive { collation: "latin1_swedish_ci".into() },
            Finding::TimesAhead { ahead_s: 19_800, zone: Some("+05:30".into()) },
            Finding::ZeroTimes { rows: 1 },
            Finding::Partitions { tables: vec!["IDN_OAUTH2_ACCESS_TOKEN_A".into()] },
            Finding::UsersWithoutId { users: 1 },
            Finding::NotStrict { family },
            Finding::OldServer { version: "5.7.44".into(), family },
        ]
    }

    #[test]
    fn the_document_has_each_advice_with_its_severity() {
        for finding in all() {
            let row = format!("| {} | {} |", severity(finding.severity()), advice(&finding));
            // Whether the right is missing or cannot be seen, the advice is the same.
            let is_unseen = matches!(finding, Finding::OwnTables { may_create: None, .. });
            assert!(is_unseen || DOCUMENT.lines().any(|line| line.ends_with(&row)), "{row}");
        }
        let rows = DOCUMENT
            .lines()
            .filter(|line| ["| error |", "| warning |", "| note |"].iter().any(|severity| line.contains(severity)));
        // Two of ours share theirs, and tenants' key stores (`key_stores`) have one.
        assert_eq!(rows.count(), all().len(), "a row for each finding");
    }

    #[test]
    fn lines_are_short_and_name_no_credentials() {
        let databases = crate::config::load("", "(test)", &|_| None).unwrap().config.databases;
        for finding in all() {
            let what = what(&finding, &databases);
            assert!(!what.contains('\n') && what.len() < 200, "{what}");
        }
        let many = Finding::TenantsWithoutProvider { tenants: (1..=11).collect() };
        assert!(what(&many, &databases).ends_with("9, 10 and others"));
    }
}
