//! What is different when a MariaDB server is a member of a Galera cluster. A write is checked against those of the other
//! members at its COMMIT (which may fail as a deadlock does), but locks, `GET_LOCK` among them, are the member's own, and what
//! the others have committed is applied a little later.
//!
//! So connections are told to wait for it, and what must happen once in the cluster is decided by a row ([`crate::leases`]).

use sqlx::mysql::MySqlConnection;

const IS_MEMBER: &str = "SHOW VARIABLES LIKE 'wsrep_on'";
/// Reads, and transactions at their beginning, wait until this member has applied what was committed anywhere before.
const READ_LATEST: &str = "SET SESSION wsrep_sync_wait = 1";

/// Is the server a member of a cluster? MySQL's servers do not know the variable.
pub(crate) async fn is_member(link: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
    let row = sqlx::query_as::<_, (String, String)>(IS_MEMBER).fetch_optional(link).await?;
    Ok(row.is_some_and(|(_, value)| value == "ON"))
}

/// Makes a new connection to a member see what the others have committed: a client that got a token from one process shows it
/// to the next at once. Costs a query per connection, and on a member a message to the group per read.
pub(crate) async fn read_latest(link: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    if is_member(link).await? {
        sqlx::raw_sql(READ_LATEST).execute(link).await?;
    }
    Ok(())
}
