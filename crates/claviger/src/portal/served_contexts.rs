//! No API is served under a context that lies in another API's.
//!
//! A gateway takes the longest context that begins a path, so a context inside another one takes calls away from it. What is
//! compared is what gateways serve: the context with its version, and without it for a default version. Versions of one API
//! (same provider and name) may lie in each other: that is what a default version does. Where an old server let an API
//! lie in another one, a new version with the same template may lie there too. Follows portal-gateway-3x.md 2.4, 6.3.

use super::context::default_context;
use super::error::PortalError;
use claviger_store::apis as rows;
use claviger_store::conn::Conn;

/// Are these contexts free for the API of this provider and name? Looks at every row: the caller changes an API, which is rare.
/// `template` is the context with its placeholder, as the rows have it.
pub async fn check_free(
    conn: &mut Conn,
    (provider, name): (&str, &str),
    template: &str,
    wanted: &[String],
) -> Result<(), PortalError> {
    let (own, others): (Vec<_>, Vec<_>) =
        rows::list(conn).await?.into_iter().partition(|row| row.provider == provider && row.name == name);
    for other in others {
        // Without its version it may not be served; that is only looked up where it matters.
        let contexts = [other.context.clone(), default_context(&other.context_template)];
        if !is_any_overlapping(wanted, &contexts) {
            continue;
        }
        let mut ours = Vec::new();
        for version in own.iter().filter(|version| version.context_template == template) {
            ours.extend(served(conn, version).await?);
        }
        for their in served(conn, &other).await? {
            // Only the very context in which another version lies already, and never that context itself.
            let is_continued = ours.iter().any(|version| is_inside(version, &their));
            let is_taken = |own: &&String| is_overlapping(own, &their) && !(is_continued && is_inside(own, &their));
            if let Some(taken) = wanted.iter().find(is_taken) {
                return Err(PortalError::ContextTaken(taken.clone()));
            }
        }
    }
    Ok(())
}

/// The contexts under which gateways serve a version.
async fn served(conn: &mut Conn, row: &rows::ApiRow) -> Result<Vec<String>, PortalError> {
    let default = rows::find_default(conn, &row.name, &row.provider).await?;
    let is_default = [default.version, default.published].contains(&Some(row.version.clone()));
    let default = is_default.then(|| default_context(&row.context_template));
    Ok([Some(row.context.clone()), default].into_iter().flatten().collect())
}

fn is_any_overlapping(some: &[String], others: &[String]) -> bool {
    some.iter().any(|one| others.iter().any(|other| is_overlapping(one, other)))
}

fn is_inside(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}

/// Is one the other, or inside it? Rows of old may lack a context; an empty one is served nowhere.
fn is_overlapping(one: &str, other: &str) -> bool {
    !one.is_empty() && !other.is_empty() && (one == other || is_inside(one, other) || is_inside(other, one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps() {
        let check = |one: &str, other: &str, expected: bool| {
            assert_eq!((is_overlapping(one, other), is_overlapping(other, one)), (expected, expected), "{one} {other}");
        };
        check("/a/1", "/a/1", true);
        check("/a/1", "/a/1/x/2", true);
        check("/a/1", "/a/10", false);
        check("/a/1", "/b/1", false);
        check("/a/1", "", false);
    }
}
