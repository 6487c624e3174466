//! Wall-clock times that MySQL's sessions do not have.
//!
//! A TIMESTAMP column of MySQL takes a wall clock in the session's zone. We leave that zone as the server gives it (database.md
//! 1.4) and write another zone's wall clock into it, which is read back as it was written - but for the hour by which the
//! session's clock is put forward once a year: in strict mode it is an error, otherwise silently another time. The server
//! does not say which zone `SYSTEM` is, so its clock is measured.

use crate::db::Pool;
use crate::error::StoreError;
use chrono::{DateTime, NaiveDateTime};
use sqlx::{MySqlPool, Row as _};

/// First instant that is looked at, in seconds since 1970: nobody writes earlier ones. (2024-01-01)
const FIRST_S: i64 = 1_704_067_200;
/// Where TIMESTAMP columns end: 2038-01-19.
const LAST_S: i64 = i32::MAX as i64;
/// Distance of the first looks: no zone changes its clock twice in it without being seen. (Morocco does within a month.)
const STEP_S: i64 = 12 * 86_400;
/// Looks in one statement.
const PROBES: usize = 40;
const PROBE: &str = "SELECT FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), \
                     FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), \
                     FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), \
                     FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), \
                     FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), \
                     FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), \
                     FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?), FROM_UNIXTIME(?)";

/// Wall-clock times that a session's clock never shows, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gaps(Vec<Gap>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    /// The first time that is not shown.
    from: NaiveDateTime,
    /// The first that is shown again.
    to: NaiveDateTime,
}

impl Gaps {
    /// How wide the gap is that a wall clock lies in; 0 outside.
    pub(crate) fn width_ms_at(&self, wall: NaiveDateTime) -> i64 {
        let index = self.0.partition_point(|gap| gap.to <= wall);
        let gap = self.0.get(index).filter(|gap| gap.from <= wall);
        gap.map_or(0, |gap| (gap.to - gap.from).num_milliseconds())
    }

    /// The first gap that has not ended.
    pub(crate) fn next(&self, wall: NaiveDateTime) -> Option<(NaiveDateTime, NaiveDateTime)> {
        self.0.iter().find(|gap| gap.to > wall).map(|gap| (gap.from, gap.to))
    }
}

/// Measures a database's session clock; only MySQL has one that matters.
pub(crate) async fn measure(pool: &Pool) -> Result<Gaps, StoreError> {
    match pool {
        Pool::MySql(pool) => measure_on(pool).await,
        Pool::Sqlite(_) | Pool::Postgres(_) => Ok(Gaps::default()),
    }
}

async fn measure_on(pool: &MySqlPool) -> Result<Gaps, StoreError> {
    let mut gaps = Vec::new();
    let mut from_s = FIRST_S;
    let mut before = None;
    while from_s < LAST_S {
        for (at_s, offset_s) in look(pool, from_s, STEP_S).await? {
            if let Some((earlier_s, earlier_offset_s)) = before
                && earlier_offset_s < offset_s
            {
                gaps.push(search(pool, (earlier_s, earlier_offset_s), (at_s, offset_s)).await?);
            }
            before = Some((at_s, offset_s));
        }
        from_s += STEP_S * i64::try_from(PROBES).unwrap_or(1);
    }
    Ok(Gaps(gaps))
}

/// Finds the second at which the clock is put forward.
async fn search(pool: &MySqlPool, before: (i64, i64), after: (i64, i64)) -> Result<Gap, StoreError> {
    let (mut low, mut high) = (before, after);
    while high.0 - low.0 > 1 {
        let step_s = ((high.0 - low.0) / i64::try_from(PROBES).unwrap_or(1)).max(1);
        for (at_s, offset_s) in look(pool, low.0 + step_s, step_s).await? {
            if at_s >= high.0 {
                break;
            }
            if offset_s >= after.1 {
                high = (at_s, offset_s);
                break;
            }
            low = (at_s, offset_s);
        }
    }
    let wall = |at_s: i64, offset_s: i64| {
        let shown = DateTime::from_timestamp_secs(at_s.saturating_add(offset_s));
        shown.map(|time| time.naive_utc()).ok_or_else(|| StoreError::Corrupt("a session clock out of range".into()))
    };
    Ok(Gap { from: wall(high.0, before.1)?, to: wall(high.0, high.1)? })
}

/// Instants and how far ahead of UTC the session's clock is then, in seconds.
async fn look(pool: &MySqlPool, from_s: i64, step_s: i64) -> Result<Vec<(i64, i64)>, StoreError> {
    let instants: Vec<i64> = (0..).map(|index| from_s + index * step_s).take(PROBES).collect();
    let mut query = sqlx::query(PROBE);
    for instant in &instants {
        // Beyond the end of its calendar the server says NULL or another time.
        query = query.bind((*instant).min(LAST_S));
    }
    let row = query.fetch_one(pool).await?;
    let mut looks = Vec::new();
    for (column, instant) in instants.into_iter().enumerate().filter(|(_, instant)| *instant <= LAST_S) {
        if let Some(shown) = row.try_get_unchecked::<Option<NaiveDateTime>, _>(column)? {
            looks.push((instant, shown.and_utc().timestamp() - instant));
        }
    }
    Ok(looks)
}
