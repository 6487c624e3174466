//! What each session of the pool is told once: how long the server waits with it, and that its statements are short.
//!
//! A process that stands still or loses its network does not end its session: the server would keep the locks of its transaction
//! for hours, and the clients that it holds could neither get tokens nor lose them. Nor may it go on later and commit:
//! others have given up looking for its events by then (claviger-proto `follow`).

use crate::db::WRITE_MS_MAX;
use crate::galera;
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;

/// A transaction without a statement for longer than a write may take is undone by the server.
const IDLE_MS_MAX: u64 = WRITE_MS_MAX + 5_000;

/// Settings of PostgreSQL, as far as the server knows them (`jit` since 11). It expects many rows where the parts of a condition
/// depend on each other (a client, its user, its scopes), and would then compile the statement or share it between processes:
/// some milliseconds, for a handful of rows.
const POSTGRES: &str = "SELECT set_config(name, CASE name WHEN 'jit' THEN 'off' WHEN 'max_parallel_workers_per_gather' THEN '0' \
                        WHEN 'lock_timeout' THEN $1 ELSE $2 END, false) FROM pg_settings WHERE name IN ('jit', \
                        'max_parallel_workers_per_gather', 'lock_timeout', 'idle_in_transaction_session_timeout')";

/// MariaDB's; MySQL has nothing like it but the life of idle sessions, which the pool's are too.
const KNOWS_IDLE_TRANSACTIONS: &str = "SHOW VARIABLES LIKE 'idle_transaction_timeout'";

/// Tells a new session of a PostgreSQL server.
pub(crate) async fn tell_postgres(link: &mut PgConnection) -> Result<(), sqlx::Error> {
    let settings = sqlx::query(POSTGRES).bind(WRITE_MS_MAX.to_string()).bind(IDLE_MS_MAX.to_string()).persistent(false);
    settings.execute(link).await.map(drop)
}

/// Tells a new session of a MariaDB or MySQL server.
pub(crate) async fn tell_mysql(link: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    galera::read_latest(link).await?;
    let known = sqlx::query_as::<_, (String, String)>(KNOWS_IDLE_TRANSACTIONS).fetch_optional(&mut *link).await?;
    let idle = known.map(|_| format!(", SESSION idle_transaction_timeout = {}", IDLE_MS_MAX / 1000));
    let text = format!("SET SESSION innodb_lock_wait_timeout = {}{}", WRITE_MS_MAX / 1000, idle.unwrap_or_default());
    sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(link).await.map(drop)
}
