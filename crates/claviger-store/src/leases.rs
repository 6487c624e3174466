//! CLV_LEASE: who of several nodes does a piece of work that one is enough for. A row per piece of work names its holder and
//! until when; it is taken by one conditional UPDATE, so it holds on a Galera cluster too, where `GET_LOCK` is each member's.
//!
//! A lease spares work, it protects nothing: a holder that was stopped for a while may wake up beside its successor. What is
//! done under it must be right when two do it at once.

use crate::conn::Conn;
use crate::error::StoreError;
use crate::sql::queries;
use claviger_proto::time::Timestamp;

/// How far the clocks of two nodes may be apart: a lease is taken over this much after its end.
pub const CLOCKS_APART_MS_MAX: i64 = 60_000;

queries! {
    TAKE = "UPDATE CLV_LEASE SET HOLDER = ?, EXPIRES_AT = ? WHERE NAME = ? AND (HOLDER = ? OR EXPIRES_AT < ?)";
    FIND = "SELECT HOLDER FROM CLV_LEASE WHERE NAME = ?";
    INSERT = "INSERT INTO CLV_LEASE (NAME, HOLDER, EXPIRES_AT) VALUES (?, ?, ?)";
    GIVE_BACK = "UPDATE CLV_LEASE SET EXPIRES_AT = 0 WHERE NAME = ? AND HOLDER = ?";
}

/// Takes a lease, or keeps it, until an instant; false when another node has it.
pub async fn take(
    conn: &mut Conn,
    name: &str,
    holder: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<bool, StoreError> {
    let ended_before = now.plus_millis(-CLOCKS_APART_MS_MAX).as_millis();
    let end = until.as_millis().into();
    let args = [holder.into(), end, name.into(), holder.into(), ended_before.into()];
    if conn.execute(&TAKE, &args).await? == 1 {
        return Ok(true);
    }
    if conn.row(&FIND, &[name.into()]).await?.is_some() {
        return Ok(false);
    }
    let inserted = conn.execute(&INSERT, &[name.into(), holder.into(), end]).await;
    inserted.map_err(StoreError::or_repeat)?;
    Ok(true)
}

/// Lets the next node take the lease at once.
pub async fn give_back(conn: &mut Conn, name: &str, holder: &str) -> Result<(), StoreError> {
    conn.execute(&GIVE_BACK, &[name.into(), holder.into()]).await?;
    Ok(())
}
