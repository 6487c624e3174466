//! Time zones of stored wall clocks (contract database.md 1.4): an old server's driver wrote local time without a zone.
//!
//! Owns: names and fixed offsets, wall clock to instant and back, including both changes of daylight saving time.
//! Leaves to others: which zone a column is in (the configuration), and what a wall clock inside a gap stands for.

use super::Timestamp;
use chrono::{DateTime, FixedOffset, MappedLocalTime, NaiveDateTime, Offset as _, TimeZone as _};
use chrono_tz::{TZ_VARIANTS, Tz};
use std::fmt;
use std::str::FromStr;

/// Largest distance from UTC, seconds; that of Java's `ZoneOffset`.
const OFFSET_SECS_MAX: i32 = 18 * 3600;

/// A time zone: one of the IANA database, or a fixed distance from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(Rule);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Named(Tz),
    Fixed(FixedOffset),
}

/// The instants at which a zone's clocks show one wall-clock time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instants {
    /// The ordinary case.
    One(Timestamp),
    /// Clocks were turned back over it, so they showed it twice.
    Two {
        /// Before they were turned back.
        earliest: Timestamp,
        /// Afterwards.
        latest: Timestamp,
    },
    /// Clocks were put forward over it and never showed it, or it is outside the calendar.
    None,
}

impl Instants {
    /// The first such instant.
    pub const fn earliest(self) -> Option<Timestamp> {
        match self {
            Instants::One(at) | Instants::Two { earliest: at, .. } => Some(at),
            Instants::None => None,
        }
    }

    /// The last such instant.
    pub const fn latest(self) -> Option<Timestamp> {
        match self {
            Instants::One(at) | Instants::Two { latest: at, .. } => Some(at),
            Instants::None => None,
        }
    }
}

/// A text that is neither a zone's name nor an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time zone; expected a name such as Europe/Berlin, or an offset such as +02:00")]
pub struct UnknownZone;

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Zone = Zone(Rule::Named(Tz::UTC));

    /// The names that are understood, in alphabetical order.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TZ_VARIANTS.iter().map(|zone| zone.name())
    }

    /// Which instants a wall clock stands for, to the millisecond.
    pub fn to_utc(self, wall: NaiveDateTime) -> Instants {
        let at = |offset: FixedOffset| {
            let utc = wall.checked_sub_offset(offset)?;
            Some(Timestamp::from_millis(utc.and_utc().timestamp_millis()))
        };
        let offsets = match self.0 {
            Rule::Fixed(offset) => MappedLocalTime::Single(offset),
            Rule::Named(zone) => zone.offset_from_local_datetime(&wall).map(|offset| offset.fix()),
        };
        match offsets {
            MappedLocalTime::Single(offset) => at(offset).map_or(Instants::None, Instants::One),
            MappedLocalTime::Ambiguous(one, other) => match (at(one), at(other)) {
                (Some(one), Some(other)) => Instants::Two { earliest: one.min(other), latest: one.max(other) },
                (Some(at), None) | (None, Some(at)) => Instants::One(at),
                (None, None) => Instants::None,
            },
            MappedLocalTime::None => Instants::None,
        }
    }

    /// What clocks show at an instant; `None` outside the calendar, as for `Timestamp::NEVER`.
    pub fn to_wall(self, utc: Timestamp) -> Option<NaiveDateTime> {
        let utc = DateTime::from_timestamp_millis(utc.as_millis())?.naive_utc();
        let offset = match self.0 {
            Rule::Fixed(offset) => offset,
            Rule::Named(zone) => zone.offset_from_utc_datetime(&utc).fix(),
        };
        utc.checked_add_offset(offset)
    }
}

impl FromStr for Zone {
    type Err = UnknownZone;

    /// An IANA name in its exact spelling, `Z`, or an offset: `+02:00`, `-0530`, also after `UTC` or `GMT` as Java writes
    /// it. (The IANA names `Etc/GMT-2` count the other way and are left to the database.)
    fn from_str(text: &str) -> Result<Self, UnknownZone> {
        let text = text.trim();
        if let Ok(zone) = text.parse::<Tz>() {
            return Ok(Zone(Rule::Named(zone)));
        }
        if text == "Z" {
            return Ok(Zone::UTC);
        }
        let offset = ["UTC", "GMT"].iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
        let offset_s = offset_secs(offset).filter(|secs| secs.abs() <= OFFSET_SECS_MAX).ok_or(UnknownZone)?;
        FixedOffset::east_opt(offset_s).map(|offset| Zone(Rule::Fixed(offset))).ok_or(UnknownZone)
    }
}

/// Seconds east of UTC of `+2`, `+02`, `+0200` or `+02:00`.
fn offset_secs(text: &str) -> Option<i32> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some((hours, minutes)) if minutes.len() == 2 => (hours, minutes),
        Some(_) => return None,
        None if digits.len() == 4 => digits.split_at_checked(2)?,
        None => (digits, "00"),
    };
    let number = |text: &str| {
        let is_plain = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_plain { text.parse::<i32>().ok() } else { None }
    };
    let minutes = number(minutes).filter(|minutes| *minutes < 60)?;
    Some(sign * (number(hours)? * 3600 + minutes * 60))
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Rule::Named(zone) => f.write_str(zone.name()),
            Rule::Fixed(offset) => write!(f, "{offset}"),
        }
    }
}
