//! What a PostgreSQL session is told once: that our statements are short.

use sqlx::PgConnection;

/// A server expects many rows where a condition's parts depend on each other (a client, its user, its scopes), and would then
/// compile the statement or share it between processes: some milliseconds, for a handful of rows. A server before 11 knows
/// nothing of the first.
const SETTINGS: &str = "SELECT set_config(name, CASE name WHEN 'jit' THEN 'off' ELSE '0' END, false) FROM pg_settings \
                        WHERE name IN ('jit', 'max_parallel_workers_per_gather')";

/// Neither compiles nor shares out what this session asks for.
pub(crate) async fn expect(link: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(SETTINGS).execute(link).await.map(drop)
}
