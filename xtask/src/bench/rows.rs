//! Token rows by the million, as an old installation would have them, made inside the database from a series of numbers: the
//! text, scope and client of each follow from its number, so that any of them can be presented later.

use super::database::Database;
use super::subject::{Client, Subject, TokenKind};
use anyhow::{Context as _, Result, ensure};

/// From this many rows on, indexes are made after the rows.
const BULK_ROWS_MIN: u64 = 500_000;
const DAY_MS: u64 = 86_400_000;

/// What rows are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of twenty, 4 live and ACTIVE, 5 still ACTIVE though their life is over, 7 EXPIRED, 3 REVOKED, 1 INACTIVE: the product
    /// marks a row only when somebody asks for its token again.
    Mixture,
    /// Live and ACTIVE, each with a scope of its own.
    Live,
    /// EXPIRED, three days old.
    Over,
}

/// Clients to whom rows belong, in the order of their ids in the database.
pub(super) struct Owners {
    pub(super) opaque: Vec<Client>,
    pub(super) jwt: Vec<Client>,
    first_id: u64,
}

impl Owners {
    pub(super) fn register(subject: &Subject, database: &Database, opaque: usize, jwt: usize) -> Result<Self> {
        let many = |name: &str, kind: TokenKind, count: usize| -> Result<Vec<Client>> {
            (0..count).map(|number| subject.register(&format!("{name}{number}"), kind)).collect()
        };
        let opaque = many("opaque", TokenKind::Opaque, opaque)?;
        let jwt = many("jwt", TokenKind::Jwt, jwt)?;
        let id = |client: &Client| {
            database.number(&format!("SELECT ID FROM IDN_OAUTH_CONSUMER_APPS WHERE CONSUMER_KEY = '{}'", client.id))
        };
        let first_id = id(opaque.first().context("no client")?)?;
        let last_id = id(jwt.last().or(opaque.last()).context("no client")?)?;
        let all = opaque.len() + jwt.len();
        ensure!(last_id == first_id + u64::try_from(all)? - 1, "the clients' ids have gaps: {first_id} to {last_id}");
        Ok(Self { opaque, jwt, first_id })
    }

    /// The client of a live row.
    pub(super) fn client(&self, number: u64) -> Result<&Client> {
        let index = number % u64::try_from(self.opaque.len())?;
        self.opaque.get(usize::try_from(index)?).context("no such client")
    }
}

/// The text of a row's token.
pub(super) fn token(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// The scope of a live row.
pub(super) fn scope(number: u64) -> String {
    format!("device_{number}")
}

/// The numbers of the live rows of a mixture, in an order that jumps through the whole table.
pub(super) fn live_numbers(rows: u64) -> impl Iterator<Item = u64> {
    let twenties = rows / 20;
    // About the golden section: whatever part of the order is used, it is spread over all rows.
    let stride = (twenties * 618 / 1000..=twenties).find(|stride| gcd(*stride, twenties) == 1).unwrap_or(1);
    (0..twenties).flat_map(move |turn| {
        let before = turn * stride % twenties * 20;
        // Those with the remainders 0 to 3 live, and rows count from 1.
        [1, 2, 3, 20].map(|place| before + place)
    })
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Makes rows with the numbers `first` to `first + count - 1` whose GRANT_TYPE is `mark`. The tables are as they were
/// afterwards but for the rows.
pub(super) fn insert(
    database: &Database,
    owners: &Owners,
    kind: Kind,
    (first, count): (u64, u64),
    mark: &str,
) -> Result<()> {
    let is_bulk = count >= BULK_ROWS_MIN;
    let dialect = if database.is_mariadb() { &MARIADB } else { &POSTGRES };
    let tokens = dialect.tokens(owners, kind, (first, count), mark);
    let scopes = dialect.scopes(kind, (first, count));
    if database.is_mariadb() {
        // Without these checks the first statement on an empty table sorts each index instead of growing it row by row.
        // Sorted pages would be full, and every first insertion into one would split it; grown by random keys they are so full.
        const BULK: &str = "SET GLOBAL innodb_fill_factor = 70; SET unique_checks = 0, foreign_key_checks = 0; ";
        let unchecked = if is_bulk { BULK } else { "" };
        database.ask(&format!("{unchecked}{tokens}; {scopes}"))?;
        if is_bulk {
            database.ask("ANALYZE TABLE IDN_OAUTH2_ACCESS_TOKEN, IDN_OAUTH2_ACCESS_TOKEN_SCOPE")?;
        }
        return Ok(());
    }
    if !is_bulk {
        return database.ask(&format!("{tokens}; {scopes}")).map(drop);
    }
    let indexes = database.ask(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename LIKE 'idn_oauth2_access_token%' \
         AND indexname NOT IN (SELECT conname FROM pg_constraint) ORDER BY indexname",
    )?;
    let mut statements = vec!["SET session_replication_role = replica; SET maintenance_work_mem = '512MB'".to_owned()];
    statements.extend(indexes.lines().filter_map(|line| Some(format!("DROP INDEX {}", line.split_once('\t')?.0))));
    statements.extend([tokens, scopes]);
    statements.extend(indexes.lines().filter_map(|line| Some(line.split_once('\t')?.1.to_owned())));
    database.ask(&statements.join("; "))?;
    database.ask("VACUUM (ANALYZE) IDN_OAUTH2_ACCESS_TOKEN, IDN_OAUTH2_ACCESS_TOKEN_SCOPE").map(drop)
}

/// What differs between the engines. `I` is the number of a row.
struct Dialect {
    number: &'static str,
    /// SHA-256 of the token in hexadecimal digits; `@` stands for its text.
    sha256: &'static str,
    now: &'static str,
    /// An instant `@` seconds before another.
    ago: &'static str,
    series: fn(u64, u64) -> String,
}

const MARIADB: Dialect = Dialect {
    number: "CAST(I AS CHAR)",
    sha256: "SHA2(@, 256)",
    now: "UTC_TIMESTAMP()",
    ago: " - INTERVAL (@) SECOND",
    series: |first, last| format!("(SELECT seq AS I FROM seq_{first}_to_{last}) N"),
};
const POSTGRES: Dialect = Dialect {
    number: "CAST(I AS TEXT)",
    sha256: "ENCODE(SHA256(CAST(@ AS BYTEA)), 'hex')",
    now: "CAST(NOW() AT TIME ZONE 'UTC' AS TIMESTAMP(0))",
    ago: " - (@) * INTERVAL '1 second'",
    series: |first, last| format!("generate_series({first}, {last}) AS N(I)"),
};

impl Dialect {
    /// Whether row `I` lives.
    fn is_live(kind: Kind) -> &'static str {
        match kind {
            Kind::Mixture => "MOD(I, 20) < 4",
            Kind::Live => "1 = 1",
            Kind::Over => "1 = 0",
        }
    }

    fn scope(&self, kind: Kind) -> String {
        // Rows that are ACTIVE must differ in more than their state's id.
        let has_own = if kind == Kind::Mixture { "MOD(I, 20) < 9" } else { Self::is_live(kind) };
        format!("CASE WHEN {has_own} THEN CONCAT('device_', {}) ELSE 'default' END", self.number)
    }

    fn tokens(&self, owners: &Owners, kind: Kind, (first, count): (u64, u64), mark: &str) -> String {
        let (number, is_live, scope) = (self.number, Self::is_live(kind), self.scope(kind));
        let text = format!("CONCAT('00000000-0000-4000-8000-', LPAD({number}, 12, '0'))");
        let hash = self.sha256.replace('@', &text);
        let state = match kind {
            Kind::Mixture => {
                "CASE WHEN MOD(I, 20) < 9 THEN 'ACTIVE' WHEN MOD(I, 20) < 16 THEN 'EXPIRED' WHEN MOD(I, 20) < 19 THEN 'REVOKED' \
                 ELSE 'INACTIVE' END"
            }
            Kind::Live => "'ACTIVE'",
            Kind::Over => "'EXPIRED'",
        };
        let (opaque, all) = (owners.opaque.len(), owners.opaque.len() + owners.jwt.len());
        let client = format!("{} + CASE WHEN {is_live} THEN MOD(I, {opaque}) ELSE MOD(I, {all}) END", owners.first_id);
        // Half of what is over was a user's.
        let user = format!("CASE WHEN {is_live} OR MOD(I, 2) = 0 THEN 'admin' ELSE CONCAT('user', MOD(I, 50000)) END");
        let age = format!("CASE WHEN {is_live} THEN MOD(I, 600) ELSE 259200 + MOD(I, 86400) END");
        let created = format!("{}{}", self.now, self.ago.replace('@', &age));
        let (live_ms, over_ms) = (30 * DAY_MS, 3_600_000);
        format!(
            "INSERT INTO IDN_OAUTH2_ACCESS_TOKEN (TOKEN_ID, ACCESS_TOKEN, CONSUMER_KEY_ID, AUTHZ_USER, TENANT_ID, USER_DOMAIN, \
             USER_TYPE, GRANT_TYPE, VALIDITY_PERIOD, REFRESH_TOKEN_VALIDITY_PERIOD, TOKEN_SCOPE_HASH, TOKEN_STATE, TOKEN_STATE_ID, \
             SUBJECT_IDENTIFIER, ACCESS_TOKEN_HASH, IDP_ID, TIME_CREATED, REFRESH_TOKEN_TIME_CREATED) \
             SELECT MD5({number}), {text}, {client}, {user}, -1234, 'PRIMARY', 'APPLICATION', '{mark}', \
             CASE WHEN {is_live} THEN {live_ms} ELSE {over_ms} END, {DAY_MS}, MD5({scope}), {state}, \
             CASE WHEN {state} = 'ACTIVE' THEN 'NONE' ELSE {text} END, 'admin', \
             CONCAT('{{\"hash\":\"', {hash}, '\",\"algorithm\":\"SHA-256\"}}'), \
             (SELECT MIN(ID) FROM IDP WHERE TENANT_ID = -1234 AND NAME = 'LOCAL'), {created}, {created} FROM {}",
            (self.series)(first, first + count - 1)
        )
    }

    fn scopes(&self, kind: Kind, (first, count): (u64, u64)) -> String {
        format!(
            "INSERT INTO IDN_OAUTH2_ACCESS_TOKEN_SCOPE (TOKEN_ID, TOKEN_SCOPE, TENANT_ID) SELECT MD5({}), {}, -1234 FROM {}",
            self.number,
            self.scope(kind),
            (self.series)(first, first + count - 1)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn live_numbers_are_live_different_and_spread() {
        for rows in [1_000, 100_000, 20_000_060] {
            let numbers: Vec<u64> = live_numbers(rows).take(10_000).collect();
            assert!(numbers.iter().all(|number| number % 20 < 4 && (1..=rows).contains(number)), "{rows}");
            assert_eq!(numbers.len(), numbers.iter().collect::<BTreeSet<_>>().len(), "{rows}");
        }
        assert_eq!(live_numbers(1_000).count(), 200);
        let half = live_numbers(100_000).take(1_000).filter(|number| *number > 50_000).count();
        assert!((300..700).contains(&half), "{half}");
    }

    #[test]
    fn both_engines_make_the_same_columns() {
        let client = || Client { id: String::new(), secret: String::new() };
        let owners = Owners { opaque: vec![client(), client()], jwt: vec![client()], first_id: 5 };
        let columns = |text: &str| text.split_once('(').unwrap().1.split_once(')').unwrap().0.split(", ").count();
        for dialect in [&MARIADB, &POSTGRES] {
            let statement = dialect.tokens(&owners, Kind::Mixture, (11, 10), "bench");
            assert_eq!(columns(&statement), 18);
            assert!(statement.contains("11") && statement.contains("20"), "{statement}");
        }
        assert_eq!(token(7).len(), 36);
        assert_eq!(owners.client(3).unwrap().id, "");
    }
}
