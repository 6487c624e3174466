//! Instants as the wall-clock text that an old server writes (contract database.md 1.4).

use crate::Engine;
use chrono::{DateTime, Datelike as _, NaiveDate};

/// The zone of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum WallClock {
    /// Token times with PostgreSQL, and with MySQL through Connector/J 8.
    Utc,
    /// A zone that is always that many seconds ahead of UTC: the JVM's, with Connector/J 5.1.
    Ahead(i32),
    /// Central European time: UTC+1, and UTC+2 from the last Sunday of March to the last of October, 01:00 UTC.
    CentralEurope,
}

impl WallClock {
    /// An instant in milliseconds since 1970 as `YYYY-MM-DD HH:MM:SS`, with milliseconds where the engine keeps them.
    pub fn text(self, instant_ms: i64, engine: Engine) -> String {
        let local = instant_ms + i64::from(self.seconds_ahead(instant_ms)) * 1000;
        let time = DateTime::from_timestamp_millis(local).expect("the times of a test lie within chrono's years");
        let format = if engine == Engine::MySql { "%Y-%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M:%S%.3f" };
        time.format(format).to_string()
    }

    /// The instant of a text that [`Self::text`] wrote. Of the two in the hour that comes twice, the earlier.
    pub fn instant_ms(self, text: &str) -> Option<i64> {
        let format = "%Y-%m-%d %H:%M:%S%.f";
        let local = chrono::NaiveDateTime::parse_from_str(text, format).ok()?.and_utc().timestamp_millis();
        let offsets = match self {
            Self::Utc => [0, 0],
            Self::Ahead(seconds) => [seconds, seconds],
            Self::CentralEurope => [7200, 3600],
        };
        let candidates = offsets.map(|offset| (offset, local - i64::from(offset) * 1000));
        candidates.into_iter().find(|(offset, instant)| self.seconds_ahead(*instant) == *offset).map(|(_, it)| it)
    }

    fn seconds_ahead(self, instant_ms: i64) -> i32 {
        match self {
            Self::Utc => 0,
            Self::Ahead(seconds) => seconds,
            Self::CentralEurope => {
                let year = DateTime::from_timestamp_millis(instant_ms).expect("as above").year();
                let summer = last_sunday_ms(year, 3)..last_sunday_ms(year, 10);
                if summer.contains(&instant_ms) { 7200 } else { 3600 }
            }
        }
    }
}

/// 01:00 UTC of the last Sunday of a month with 31 days.
fn last_sunday_ms(year: i32, month: u32) -> i64 {
    let last = NaiveDate::from_ymd_opt(year, month, 31).expect("March and October have 31 days");
    let sunday = last - chrono::Days::new(u64::from(last.weekday().num_days_from_sunday()));
    sunday.and_hms_opt(1, 0, 0).expect("an hour of the day").and_utc().timestamp_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_instants() {
        // 2026-03-29 is the last Sunday of its March, 2026-10-25 of its October.
        let before_march = 1_774_745_999_123; // 2026-03-29 00:59:59.123 UTC
        let check = |clock: WallClock, instant: i64, text: &str| {
            assert_eq!(clock.text(instant, Engine::Postgres), text);
            assert_eq!(clock.instant_ms(text), Some(instant), "{text}");
        };
        check(WallClock::Utc, before_march, "2026-03-29 00:59:59.123");
        check(WallClock::Ahead(-3600 * 5), before_march, "2026-03-28 19:59:59.123");
        check(WallClock::CentralEurope, before_march, "2026-03-29 01:59:59.123");
        check(WallClock::CentralEurope, before_march + 1000, "2026-03-29 03:00:00.123");
        assert_eq!(WallClock::Utc.text(before_march, Engine::MySql), "2026-03-29 00:59:59");
        let before_october = 1_792_889_999_000; // 2026-10-25 00:59:59 UTC
        check(WallClock::CentralEurope, before_october, "2026-10-25 02:59:59.000");
        assert_eq!(WallClock::CentralEurope.text(before_october + 1000, Engine::MySql), "2026-10-25 02:00:00");
        assert_eq!(WallClock::CentralEurope.instant_ms("2026-03-29 02:30:00"), None, "an hour that is not");
    }
}
