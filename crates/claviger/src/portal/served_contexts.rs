//! No API is served under a context that lies in another API's.
//!
//! A gateway takes the longest context that begins a path, so a context inside another one takes calls away from it. What is
//! compared is what gateways serve: the context with its version, and without it for a default version. Versions of one API
//! (same provider and name) may lie in each other: that is what a default version does. Follows portal-gateway-3x.md 2.4, 6.3.

use super::context::default_context;
use super::error::PortalError;
use claviger_store::apis as rows;
use claviger_store::db::Conn;

/// Are these contexts free for the API of this provider and name? Looks at every row: the caller changes an API, which is rare.
pub async fn check_free(conn: &mut Conn, (provider, name): (&str, &str), wanted: &[String]) -> Result<(), PortalError> {
    for row in rows::list(conn).await? {
        if row.provider == provider && row.name == name {
            continue;
        }
        let taken = |served: &str| wanted.iter().find(|own| is_overlapping(own, served));
        if let Some(own) = taken(&row.context) {
            return Err(PortalError::ContextTaken(own.clone()));
        }
        if let Some(own) = taken(&default_context(&row.context_template)) {
            let default = rows::find_default(conn, &row.name, &row.provider).await?;
            let is_default = [default.version, default.published].contains(&Some(row.version));
            if is_default {
                return Err(PortalError::ContextTaken(own.clone()));
            }
        }
    }
    Ok(())
}

/// Is one the other, or inside it? Rows of old may lack a context; an empty one is served nowhere.
fn is_overlapping(one: &str, other: &str) -> bool {
    let is_inside = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
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
