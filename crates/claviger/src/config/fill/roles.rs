//! Which data source holds which tables (configuration.md 2.2; database.md 1.1).
//!
//! Owns: names of data sources, the rules that pick one per family of tables, what is noted about unused and repeated
//! ones. Leaves to others: reading one section (`fill::database`), time zones (`fill::zones`).

use super::Values;
use super::database::Section;
use crate::config::check::nearest;
use crate::config::database::DatabaseUrl;
use crate::config::model::{Database, Databases};
use crate::config::problem::shown_name;
use crate::config::schema::DATA_SOURCES as SECTIONS;
use std::collections::BTreeMap;

/// The name that WSO2's own files give where nothing is configured; it need not exist.
const SHIPPED: &str = "SHARED_DB";

/// A data source of the file.
struct Source {
    /// Its path: `database.apim_db`, `datasource[0]`.
    path: String,
    /// Its name in messages.
    label: String,
    /// Its names: what other keys may call it.
    names: Vec<String>,
    /// The section, unless it is a `[[datasource]]`.
    fixed: Option<&'static str>,
    /// Its content, once somebody needed it.
    section: Option<Section>,
    is_used: bool,
}

impl Values<'_> {
    /// The four roles, in the order identity, API-M, user, registry.
    pub(super) fn databases(&mut self) -> Databases {
        let mut sources = self.sources();
        let identity = self.named("identity.data_source", &sources);
        let api = self.named("apim.datasource.name", &sources);
        let user = self.named("realm_manager.data_source", &sources);
        let registry = self.named("governance_data.data_source", &sources);
        let tenant_configuration = self.named("config_data.data_source", &sources);
        let by_section = |section: &str| by_section(&sources, section);
        let identity =
            identity.or_else(|| ["identity_db", "apim_db", "shared_db", "user"].into_iter().find_map(by_section));
        let api = api.or_else(|| by_section("apim_db")).or(identity);
        let user = user.or_else(|| by_section("shared_db")).or(identity);
        let registry = registry.or_else(|| by_section("shared_db")).or(user);
        let chosen = [identity, api, user, registry];
        let candidate = sources.iter().find(|source| !matches!(source.fixed, Some("config" | "local")));
        if let (None, Some(candidate)) = (identity, candidate) {
            let path = candidate.path.clone();
            self.problem(
                &path,
                "no data source holds the identity tables",
                "set `identity.data_source` to the name of one",
            );
        }
        for index in chosen.into_iter().flatten() {
            sources[index].is_used = true;
        }
        for source in &mut sources {
            if source.is_used || source.fixed == Some("user") {
                source.section = Some(self.database_section(&source.path, &source.label));
            }
        }
        let [identity, api, user, registry] = self.unified(chosen, &sources);
        self.note_tenant_configuration(tenant_configuration, chosen[3], &sources);
        self.note_unused(&sources, tenant_configuration, &user);
        self.note_parameters(&sources);
        let token_section = chosen[0].and_then(|index| sources[index].section.as_ref());
        let is_on_server = [&identity, &api, &user, &registry].iter().any(|database| database.url.server().is_some());
        let token_time_zone = self.token_time_zone(token_section);
        let local_time_zone = self.local_time_zone(is_on_server);
        let is_token_time_zone_set = self.is_token_time_zone_set();
        Databases { identity, api, user, registry, token_time_zone, is_token_time_zone_set, local_time_zone }
    }

    /// All data sources of the file, the fixed sections first.
    fn sources(&mut self) -> Vec<Source> {
        let mut sources: Vec<Source> = Vec::new();
        for (section, names) in SECTIONS {
            let path = format!("database.{section}");
            if self.checked.tables.contains_key(&path) {
                let names = names.iter().chain([&section]).map(|name| (*name).to_owned()).collect();
                let label = path.clone();
                sources.push(Source { path, label, names, fixed: Some(section), section: None, is_used: false });
            }
        }
        let count = self.checked.lengths.get("datasource").copied().unwrap_or(0);
        for index in 0..count {
            let path = format!("datasource[{index}]");
            let id = self.text(&format!("{path}.id"));
            let id = plain_name(&id).to_owned();
            if id.is_empty() {
                self.problem(&path, "a `[[datasource]]` needs an `id`", "");
            } else if let Some(other) = sources.iter().find(|source| source.names.contains(&id)) {
                let message = format!("[{}] is a data source of this name already", other.label);
                self.problem(&format!("{path}.id"), message, "choose another, or remove one of the two");
            }
            let label = format!("datasource {}", shown_name(&id));
            sources.push(Source { path, label, names: vec![id], fixed: None, section: None, is_used: false });
        }
        sources
    }

    /// The data source that the key `path` names; `None` when it is not set, or wrong (and reported).
    fn named(&mut self, path: &str, sources: &[Source]) -> Option<usize> {
        let name = self.text_if_set(path)?;
        let name = plain_name(&name);
        let found = sources.iter().position(|source| source.names.iter().any(|known| known == name));
        let known = SECTIONS.iter().find(|(section, names)| *section == name || names.contains(&name));
        let as_section = found.or_else(|| known.and_then(|(section, _)| by_section(sources, section)));
        if as_section.is_some() || name == SHIPPED {
            return as_section;
        }
        if let Some((section, _)) = known {
            self.problem(path, format!("`{path}`: [database.{section}] is not configured"), "");
            return None;
        }
        let configured: Vec<&str> =
            sources.iter().filter_map(|source| source.names.first().map(String::as_str)).collect();
        let all = sources.iter().flat_map(|source| &source.names).map(String::as_str);
        let help = match nearest(name, all) {
            Some(near) => format!("did you mean `{near}`?"),
            None if configured.is_empty() => "no data source is configured".to_owned(),
            None => format!("configured are {}", configured.join(", ")),
        };
        self.problem(path, format!("`{path}`: no such data source"), &help);
        None
    }

    /// The four databases; the same database is the same connection and pool.
    fn unified(&mut self, chosen: [Option<usize>; 4], sources: &[Source]) -> [Database; 4] {
        let mut seen: Vec<Database> = Vec::new();
        chosen.map(|index| {
            let source = index.map(|index| &sources[index]);
            let found = source.and_then(|source| source.section.as_ref()).and_then(|section| section.database.clone());
            let Some(mut database) = found else {
                let pool = self.pool("database.apim_db");
                let name = "embedded database".to_owned();
                return Database { name, url: DatabaseUrl::default(), h2_file: None, pool };
            };
            match seen.iter().find(|other| other.url.is_same_database(&database.url)) {
                Some(first) => {
                    let user = |url: &DatabaseUrl| url.server().map(|server| server.user.clone());
                    if user(&first.url) != user(&database.url) && !seen.iter().any(|other| other.name == database.name)
                    {
                        let text = format!("[{}] has another user; that of [{}] is used", database.name, first.name);
                        self.note(&source.map(|source| source.path.clone()).unwrap_or_default(), true, text);
                    }
                    let (name, h2_file) = (std::mem::take(&mut database.name), database.h2_file.take());
                    database = Database { name, h2_file, ..first.clone() };
                    seen.push(database.clone());
                }
                None => seen.push(database.clone()),
            }
            database
        })
    }

    /// Tenants' keys and configuration come from one registry here.
    fn note_tenant_configuration(&mut self, named: Option<usize>, registry: Option<usize>, sources: &[Source]) {
        if let Some(named) = named
            && Some(named) != registry
        {
            let registry = registry.map_or("the embedded database", |index| &sources[index].label);
            let text = format!(
                "`config_data.data_source`: tenants' configuration is read from [{registry}], not from [{}]",
                sources[named].label
            );
            self.note("config_data.data_source", true, text);
        }
    }

    fn note_unused(&mut self, sources: &[Source], tenant_configuration: Option<usize>, user: &Database) {
        for (index, source) in sources.iter().enumerate() {
            if source.is_used || tenant_configuration == Some(index) {
                continue;
            }
            let label = &source.label;
            let own = source.section.as_ref().and_then(|section| section.database.as_ref());
            let (is_warning, text) = match source.fixed {
                Some("local") => (false, format!("[{label}] is not needed: nothing is kept per node")),
                Some("config") => (
                    false,
                    format!("[{label}] is not needed: all registry data come from `governance_data`'s database"),
                ),
                Some("user") if own.is_some_and(|own| !own.url.is_same_database(&user.url)) => {
                    let text = format!(
                        "[{label}] is not used, users are looked for in [{}]; if they are in [{label}], \
                         add to [realm_manager]: data_source = \"WSO2USER_DB\"",
                        user.name
                    );
                    (true, text)
                }
                _ => (false, format!("[{label}] is not used: no tables are looked for in it")),
            };
            self.note(&source.path, is_warning, text);
        }
    }

    /// Each parameter without effect once, where it stands first.
    fn note_parameters(&mut self, sources: &[Source]) {
        let mut places: BTreeMap<&str, (Option<&'static str>, Vec<String>)> = BTreeMap::new();
        for source in sources {
            for parameter in source.section.iter().flat_map(|section| &section.parameters) {
                let (_, paths) = places.entry(&parameter.name).or_insert((parameter.why, Vec::new()));
                let path = format!("{}.url", source.path);
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
        }
        for (name, (why, paths)) in places {
            let Some((first, others)) = paths.split_first() else { continue };
            let also = match others {
                [] => String::new(),
                others => format!(" (also in `{}`)", others.join("`, `")),
            };
            let text = match why {
                Some(why) => format!("`{first}`: the parameter `{name}` has no effect: {why}{also}"),
                None => format!("`{first}`: the parameter `{name}` is not understood and has no effect{also}"),
            };
            self.note(first, why.is_none(), text);
        }
    }
}

/// The source that plays a fixed section's part: the section, or a `[[datasource]]` with one of its names.
fn by_section(sources: &[Source], section: &str) -> Option<usize> {
    let (_, names) = SECTIONS.iter().find(|(known, _)| *known == section)?;
    let is_fixed = |source: &Source| source.fixed == Some(section);
    let has_name = |source: &Source| source.names.iter().any(|name| names.contains(&name.as_str()));
    sources.iter().position(is_fixed).or_else(|| sources.iter().position(has_name))
}

/// A data source's name without the `jdbc/` of its JNDI form.
fn plain_name(name: &str) -> &str {
    let name = name.trim();
    name.strip_prefix("jdbc/").unwrap_or(name)
}
