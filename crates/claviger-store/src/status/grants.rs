//! May the account make tables? Asked without making one.

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::{Engine, Family};

use super::catalogue;

/// `None` when the account's rights come from a role.
pub(super) async fn may_create(conn: &mut Conn, database: &str) -> Result<Option<bool>, StoreError> {
    let answers = catalogue::grants(conn).await?;
    Ok(match conn.engine_of(Family::Identity) {
        Engine::Sqlite => Some(true),
        Engine::Postgres => answers.first().map(|answer| answer == "true"),
        Engine::MySql => may_create_by(&answers, database),
    })
}

/// Reads `SHOW GRANTS`.
fn may_create_by(grants: &[String], database: &str) -> Option<bool> {
    let mut has_role = false;
    for grant in grants {
        let Some((privileges, rest)) = grant.strip_prefix("GRANT ").and_then(|grant| grant.split_once(" ON ")) else {
            has_role = true;
            continue;
        };
        let may = privileges.split(',').map(str::trim).any(|it| it == "CREATE" || it.starts_with("ALL PRIVILEGES"));
        let target = rest.split_once(" TO ").map_or(rest, |(target, _)| target);
        if may && is_about(target, database) {
            return Some(true);
        }
    }
    (!has_role).then_some(false)
}

/// `*.*`, or the name with wildcards: `%` and `_` stand for others unless a backslash is before them.
fn is_about(target: &str, database: &str) -> bool {
    if target == "*.*" {
        return true;
    }
    let Some(name) = target.strip_suffix(".*") else { return false };
    let name = name.trim_matches('`').replace("``", "`");
    matches(&name.chars().collect::<Vec<_>>(), &database.chars().collect::<Vec<_>>())
}

fn matches(pattern: &[char], name: &[char]) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['%', rest @ ..] => (0..=name.len()).any(|skipped| matches(rest, &name[skipped..])),
        ['_', rest @ ..] => !name.is_empty() && matches(rest, &name[1..]),
        ['\\', letter, rest @ ..] | [letter, rest @ ..] => name.first() == Some(letter) && matches(rest, &name[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_read() {
        let check = |grants: &[&str], expected: Option<bool>| {
            let grants: Vec<String> = grants.iter().map(|grant| (*grant).to_owned()).collect();
            assert_eq!(may_create_by(&grants, "am_db"), expected, "{grants:?}");
        };
        let usage = "GRANT USAGE ON *.* TO `km`@`%` IDENTIFIED BY PASSWORD 'x'";
        check(&[usage], Some(false));
        check(&[usage, "GRANT SELECT, INSERT, UPDATE, DELETE ON `am_db`.* TO `km`@`%`"], Some(false));
        check(&[usage, "GRANT SELECT, CREATE ON `am\\_db`.* TO `km`@`%`"], Some(true));
        check(&[usage, "GRANT ALL PRIVILEGES ON `am%`.* TO `km`@`%` WITH GRANT OPTION"], Some(true));
        check(&[usage, "GRANT ALL PRIVILEGES ON `amxdb`.* TO `km`@`%`"], Some(false));
        check(&[usage, "GRANT CREATE ON `am_db`.`T` TO `km`@`%`"], Some(false));
        check(&["GRANT ALL PRIVILEGES ON *.* TO `root`@`%`"], Some(true));
        check(&["GRANT `owner` TO `km`@`%`", usage], None);
    }
}
