//! `db.token_time_zone` and `db.local_time_zone`: in which zones the wall clocks of the WSO2 tables are (database.md 1.4).
//!
//! Owns: names, the zone of this host, the signs of an old driver that stored something else than UTC. Leaves to others:
//! the arithmetic (`claviger_proto::time`), looking at the host (`cli`).

use super::Values;
use super::database::Section;
use crate::config::check::nearest;
use crate::config::database::DatabaseUrl;
use claviger_proto::time::Zone;

const TOKEN: &str = "db.token_time_zone";
const LOCAL: &str = "db.local_time_zone";

impl Values<'_> {
    /// The zone of the token tables, which stand in the database of `section`.
    pub(super) fn token_time_zone(&mut self, section: Option<&Section>) -> Zone {
        if let Some(section) = section
            && !self.is_token_time_zone_set()
        {
            self.note_old_driver(section);
        }
        self.zone(TOKEN).unwrap_or(Zone::UTC)
    }

    /// Does the file name it, be it "UTC"?
    pub(super) fn is_token_time_zone_set(&self) -> bool {
        self.checked.leaves.contains_key(TOKEN)
    }

    /// The zone of all other wall clocks; by default that of this host. `is_on_server`: somebody else may have written.
    pub(super) fn local_time_zone(&mut self, is_on_server: bool) -> Zone {
        if let Some(zone) = self.zone(LOCAL) {
            return zone;
        }
        let found = match (self.expander.env)("TZ") {
            Some(text) => zone_of_host(&text),
            None => None,
        };
        let link = self.localtime.and_then(|link| link.to_str());
        found.or_else(|| link.and_then(zone_of_host)).unwrap_or_else(|| {
            if is_on_server && !self.checked.leaves.contains_key(LOCAL) {
                let text =
                    format!("the time zone of this host is not known by name, UTC is assumed; `{LOCAL}` sets it");
                self.note(LOCAL, false, text);
            }
            Zone::UTC
        })
    }

    fn zone(&mut self, path: &str) -> Option<Zone> {
        let text = self.text_if_set(path)?;
        text.parse().map_or_else(
            |error| {
                let near = nearest_zone(text.trim()).map(|near| format!("did you mean `{near}`?"));
                self.problem(path, format!("`{path}`: {error}"), &near.unwrap_or_default());
                None
            },
            Some,
        )
    }

    /// MySQL's Java driver stored local time in its fifth generation and may store that of `serverTimezone`.
    fn note_old_driver(&mut self, section: &Section) {
        let is_mysql = matches!(section.database.as_ref().map(|database| &database.url), Some(DatabaseUrl::MySql(_)));
        if !is_mysql || section.clock.is_legacy == Some(false) {
            return;
        }
        let server_zone = section.clock.server_zone.as_deref();
        let is_utc = server_zone.is_some_and(|zone| matches!(zone, "UTC" | "GMT" | "Z" | "Etc/UTC" | "+00:00"));
        let (path, sign) = match server_zone {
            Some(zone) if !is_utc => (format!("{}.url", section.path), format!("`serverTimezone={zone}`")),
            _ if section.has_old_driver => {
                (format!("{}.driver", section.path), "the driver class of Connector/J 5".to_owned())
            }
            _ if section.clock.is_legacy == Some(true) => {
                (format!("{}.url", section.path), "`useLegacyDatetimeCode=true`".to_owned())
            }
            _ => return,
        };
        let text = format!(
            "[{}] has {sign}: the old server may have stored token times in its own zone instead of UTC; \
             `{TOKEN}` names it (setting it, also to \"UTC\", ends this warning)",
            section.name
        );
        self.note(&path, true, text);
    }
}

/// The name that was probably meant: one that is nearly the same, or the same place in another part of the world.
fn nearest_zone(text: &str) -> Option<&'static str> {
    let place = |name: &str| name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    nearest(text, Zone::names()).or_else(|| Zone::names().find(|name| place(name) == place(text)))
}

/// The zone behind a `TZ` variable (`Europe/Berlin`, `:Europe/Berlin`, a zone file) or the target of /etc/localtime.
fn zone_of_host(text: &str) -> Option<Zone> {
    let text = text.trim().trim_start_matches(':');
    if text.is_empty() {
        return Some(Zone::UTC);
    }
    let name = text.rsplit_once("zoneinfo/").map_or(text, |(_, name)| name);
    let name = ["posix/", "right/"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    // `UTC-2` means two hours east in POSIX and two hours west in Java, so a bare offset tells nothing here.
    let is_offset = name.contains(['+', '-']) && !name.contains('/');
    if is_offset { None } else { name.parse().ok() }
}
