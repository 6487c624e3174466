//! From checked values to `Config`: what keys mean together (class names, key files, environments).
//!
//! Owns: rules that need more than one key. Leaves to others: single values (`check`), the databases
//! (`roles`, `database`, `zones`), `keystores` and `stored` forms.

mod access;
mod database;
mod keystores;
mod listeners;
mod roles;
mod stored;
mod zones;

use super::check::{Checked, Leaf, Value, default_value};
use super::expand::Expander;
use super::model::{
    AccessTokenType, ApimOAuth, Cleanup, Config, Cors, Environment, Events, Gateway, KeyManager, Lifetime, Limits,
    OAuth, PlainHttp, ResourceMatching, Server, SuperAdmin,
};
use super::problem::{Note, Problem, Source};
use super::profile::Profile;
use super::schema::Schema;
use claviger_proto::account::LockRule;
use claviger_proto::password::{PasswordDigest, PasswordForm};
use claviger_proto::secret::Secret;
use claviger_proto::user::NameRule;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::path::Path;

/// The password that WSO2's files ship with.
const DEFAULT_PASSWORD: &str = "admin";

/// Fills the configuration. Problems go to `checked`; with any of them the result is not used.
pub(super) fn fill(
    checked: &mut Checked,
    schema: &Schema,
    expander: &Expander<'_>,
    source: &Source<'_>,
    localtime: Option<&Path>,
) -> Config {
    let mut values = Values {
        checked,
        schema,
        expander,
        source,
        localtime,
        #[cfg(test)]
        read: Vec::new(),
    };
    let config = values.config();
    #[cfg(test)]
    super::tests::note_read(&values.read);
    config
}

struct Values<'a> {
    checked: &'a mut Checked,
    schema: &'a Schema,
    expander: &'a Expander<'a>,
    source: &'a Source<'a>,
    /// Where the host's /etc/localtime points to.
    localtime: Option<&'a Path>,
    #[cfg(test)]
    read: Vec<String>,
}

impl Values<'_> {
    /// The value of a key, or its default.
    fn value(&mut self, path: &str) -> Option<Value> {
        let schema_path = without_indexes(path);
        #[cfg(test)]
        self.read.push(schema_path.clone());
        let key = self.schema.key(&schema_path).expect("only paths of the table of keys are read: a test loads all");
        match self.checked.leaves.get(path) {
            Some(leaf) => Some(leaf.value.clone()),
            None => default_value(key, path, self.expander),
        }
    }

    fn text(&mut self, path: &str) -> String {
        self.text_if_set(path).unwrap_or_default()
    }

    fn text_if_set(&mut self, path: &str) -> Option<String> {
        match self.value(path) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn secret(&mut self, path: &str) -> Option<Secret> {
        match self.value(path) {
            Some(Value::Secret(secret)) => Some(secret),
            _ => None,
        }
    }

    fn flag(&mut self, path: &str) -> bool {
        matches!(self.value(path), Some(Value::Flag(true)))
    }

    fn texts(&mut self, path: &str) -> Vec<String> {
        match self.value(path) {
            Some(Value::Texts(texts)) => texts,
            _ => Vec::new(),
        }
    }

    fn signed(&mut self, path: &str) -> i64 {
        match self.value(path) {
            Some(Value::Number(number)) => number,
            _ => 0,
        }
    }

    /// A number whose row keeps it within the target type; `None` when it does not.
    fn number<T: TryFrom<i64> + Default>(&mut self, path: &str) -> T {
        T::try_from(self.signed(path)).unwrap_or_default()
    }

    fn lifetime(&mut self, path: &str) -> Lifetime {
        match self.value(path) {
            Some(Value::Number(seconds)) => Lifetime::Seconds(seconds),
            _ => Lifetime::Never,
        }
    }

    /// The first choice stands for words that were already reported.
    fn choice<T: Copy>(&mut self, path: &str, choices: &[(&str, T)]) -> T {
        let word = self.text(path);
        choices.iter().find(|(name, _)| *name == word).unwrap_or(&choices[0]).1
    }

    fn span(&self, path: &str) -> Option<Range<usize>> {
        let leaf = self.checked.leaves.get(path).map(|leaf: &Leaf| leaf.span.clone());
        leaf.or_else(|| self.checked.tables.get(path).cloned())
    }

    fn problem(&mut self, path: &str, message: impl Into<String>, help: &str) {
        let span = self.span(path).or_else(|| path.rsplit_once('.').and_then(|(table, _)| self.span(table)));
        self.checked.problems.push(Problem::new(span, message).help(help));
    }

    fn note(&mut self, path: &str, is_warning: bool, text: impl Into<String>) {
        let line = self.span(path).map(|span| self.source.line_of(span.start));
        self.checked.notes.push(Note { line, is_warning, text: text.into() });
    }

    fn config(&mut self) -> Config {
        let server = self.server();
        let super_admin = self.super_admin(server.bind_address);
        Config {
            super_admin,
            password_form: self.password_form(),
            name_rule: self.name_rule(),
            lock_rule: self.lock_rule(),
            are_accounts_in_attributes: self.are_accounts_in_attributes(),
            databases: self.databases(),
            keystore: self.keystores(),
            oauth: self.oauth(),
            key_manager: KeyManager {
                service_url: self.text("apim.key_manager.service_url"),
                username: self.text("apim.key_manager.username"),
                password: self.secret("apim.key_manager.password"),
            },
            apim_oauth: ApimOAuth {
                is_outbound_auth_header_enabled: self.flag("apim.oauth_config.enable_outbound_auth_header"),
                allowed_scopes: self.patterns(&["apim.oauth_config.allowed_scopes", "oauth.allowed_scopes"]),
            },
            environments: self.environments(),
            cors: Cors {
                is_enabled: self.flag("apim.cors.enable"),
                allow_origins: self.texts("apim.cors.allow_origins"),
                allow_methods: self.texts("apim.cors.allow_methods"),
                allow_headers: self.texts("apim.cors.allow_headers"),
                is_credentials_allowed: self.flag("apim.cors.allow_credentials"),
            },
            gateway: self.gateway(),
            cleanup: self.cleanup(),
            listeners: self.listeners(),
            events: Events {
                retention_days: self.number("events.retention_days"),
                poll_interval_ms: self.number("events.poll_interval_ms"),
                slow_poll_interval_ms: self.number("events.slow_poll_interval_ms"),
            },
            limits: Limits {
                body_bytes_max: self.number("limits.body_bytes_max"),
                connections_max: self.number("limits.connections_max"),
                request_timeout_s: self.number("limits.request_timeout_s"),
            },
            access_rules: self.access_rules(),
            tenant_paths: self.tenant_paths(),
            server,
        }
    }

    fn server(&mut self) -> Server {
        let bind_text = self.text("server.bind_address");
        let bind_address = bind_text.parse().unwrap_or_else(|_| {
            self.problem("server.bind_address", "`server.bind_address`: expected an IPv4 or IPv6 address", "");
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        });
        let hostname = self.text("server.hostname");
        if !is_host_name(&hostname) {
            self.problem(
                "server.hostname",
                "`server.hostname`: expected a host name or an address",
                "no scheme, port or path",
            );
        }
        let role = self.text("server.server_role");
        let file_offset = self.number("server.offset");
        Server {
            hostname,
            node_ip: self.text("server.node_ip"),
            base_path: self.text("server.base_path").trim_end_matches('/').to_owned(),
            offset: self.expander.port_offset.unwrap_or(file_offset),
            profile: role.parse().unwrap_or(Profile::ALL),
            bind_address,
            plain_http: self.choice(
                "server.plain_http",
                &[("loopback", PlainHttp::Loopback), ("all", PlainHttp::All), ("off", PlainHttp::Off)],
            ),
            shutdown_deadline_s: self.number("server.shutdown_deadline_s"),
            home: self.text_if_set("server.home").unwrap_or_default().into(),
        }
    }

    fn super_admin(&mut self, bind_address: IpAddr) -> SuperAdmin {
        let password = self.secret("super_admin.password");
        let is_default_allowed = self.flag("super_admin.allow_default_password") || bind_address.is_loopback();
        if !is_default_allowed && password.as_ref().is_some_and(|password| password.is_equal(DEFAULT_PASSWORD)) {
            self.problem(
                "super_admin.password",
                "`super_admin.password`: the well-known default password on a public address",
                "choose another, remove the key to have one made up, or set `super_admin.allow_default_password = true`",
            );
        }
        SuperAdmin {
            username: self.text("super_admin.username"),
            password,
            admin_role: self.text("super_admin.admin_role"),
            is_account_created: self.flag("super_admin.create_admin_account"),
        }
    }

    fn password_form(&mut self) -> PasswordForm {
        let digest = self.choice(
            "user_store.properties.PasswordDigest",
            &[
                ("SHA-256", PasswordDigest::Sha256),
                ("SHA-384", PasswordDigest::Sha384),
                ("SHA-512", PasswordDigest::Sha512),
                ("SHA-1", PasswordDigest::Sha1),
                ("MD5", PasswordDigest::Md5),
                ("PLAIN_TEXT", PasswordDigest::PlainText),
            ],
        );
        PasswordForm { digest, is_salted: self.flag("user_store.properties.StoreSaltedPassword") }
    }

    fn name_rule(&mut self) -> NameRule {
        if self.flag("user_store.properties.CaseInsensitiveUsername") { NameRule::AnyCase } else { NameRule::Exact }
    }

    fn lock_rule(&mut self) -> Option<LockRule> {
        let path = |name: &str| format!("identity_mgt.account_locking.{name}");
        let is_enabled = self.flag(&path("enable_account_locking"));
        let rule = LockRule {
            attempts_max: self.number(&path("allowed_failed_attempts")),
            minutes: self.number(&path("auto_unlock_after")),
            ratio: u32::try_from(self.signed(&path("auto_unlock_time_increment_ratio")).max(1)).unwrap_or(u32::MAX),
        };
        is_enabled.then_some(rule)
    }

    fn are_accounts_in_attributes(&mut self) -> bool {
        let class = self.text("event.default_listener.governance_identity_store.data_store");
        class.trim().rsplit('.').next() == Some("UserStoreBasedIdentityDataStore")
    }

    fn cleanup(&mut self) -> Cleanup {
        let days = match self.value("cleanup.audit_retention_days") {
            Some(Value::Number(days)) => u32::try_from(days).ok(),
            _ => None,
        };
        Cleanup {
            is_enabled: self.flag("cleanup.enable"),
            are_tokens_cleaned: self.flag("oauth.token_cleanup.enable"),
            is_audit_kept: self.flag("oauth.token_cleanup.retain_access_tokens_for_auditing"),
            audit_retention_days: days,
            interval_s: self.number("cleanup.interval_s"),
            share_percent: self.number("cleanup.share_percent"),
            time_budget_ms: self.number("cleanup.time_budget_ms"),
        }
    }

    fn oauth(&mut self) -> OAuth {
        OAuth {
            timestamp_skew_s: self.signed("oauth.timestamp_skew"),
            code_validity_s: self.signed("oauth.token_validation.authorization_code_validity"),
            app_access_token_validity: self.lifetime("oauth.token_validation.app_access_token_validity"),
            user_access_token_validity: self.lifetime("oauth.token_validation.user_access_token_validity"),
            refresh_token_validity: self.lifetime("oauth.token_validation.refresh_token_validity"),
            id_token_validity_s: self.signed("oauth.oidc.token_validation.id_token_validity"),
            issuer: self.text_if_set("oauth.oidc.id_token.issuer").filter(|issuer| !issuer.is_empty()),
            is_refresh_token_renewed: self.flag("oauth.token_renewal.renew_refresh_token"),
            is_access_token_renewed_per_request: self.flag("oauth.token_renewal.renew_access_token_per_request"),
            access_token_type: self.access_token_type(),
            is_jwt_persisted: self.flag("oauth.token_persistence.persist_jwt_access_tokens"),
            stored: self.stored_forms(),
        }
    }

    /// `access_token_type` wins over the issuer's class, which is how upstream's derived values work (1.2 rule 4).
    fn access_token_type(&mut self) -> AccessTokenType {
        let class = self.text_if_set("oauth.extensions.token_generator");
        let by_class = match class.as_deref().map(|class| class.rsplit('.').next().unwrap_or(class)) {
            None | Some("APIMTokenIssuer") => AccessTokenType::PerApplication,
            Some("OauthTokenIssuerImpl") => AccessTokenType::Opaque,
            Some("JWTTokenIssuer") => AccessTokenType::SelfContained,
            Some(_) => {
                let path = "oauth.extensions.token_generator";
                self.problem(
                    path,
                    format!("`{path}`: this class is not known"),
                    "expected OauthTokenIssuerImpl, JWTTokenIssuer or APIMTokenIssuer",
                );
                AccessTokenType::PerApplication
            }
        };
        match self.text_if_set("oauth.token_generation.access_token_type").as_deref() {
            Some("opaque") => AccessTokenType::Opaque,
            Some("self_contained") => AccessTokenType::SelfContained,
            Some("per_application") => AccessTokenType::PerApplication,
            _ => by_class,
        }
    }

    fn gateway(&mut self) -> Gateway {
        Gateway {
            resource_matching: self.choice(
                "gateway.resource_matching",
                &[("specific", ResourceMatching::Specific), ("upstream", ResourceMatching::Upstream)],
            ),
            is_backend_fault_a_gateway_status: self.flag("gateway.backend_fault_as_gateway_status"),
            endpoint_timeout_ms: self.number("gateway.endpoint_timeout_ms"),
            in_flight_requests_max: self.number("gateway.in_flight_requests_max"),
        }
    }

    fn environments(&mut self) -> Vec<Environment> {
        let array = "apim.gateway.environment";
        let count = self.checked.lengths.get(array).copied().unwrap_or(0);
        let mut out: Vec<Environment> = Vec::with_capacity(count.max(1));
        for index in 0..count {
            let environment = self.environment(&format!("{array}[{index}]"));
            if environment.name.is_empty() {
                self.problem(&format!("{array}[{index}]"), "an environment needs a `name`", "");
            } else if out.iter().any(|other| other.name == environment.name) {
                self.problem(&format!("{array}[{index}].name"), "two environments have this name", "");
            }
            out.push(environment);
        }
        if out.is_empty() {
            let mut environment = self.environment(&format!("{array}[0]"));
            "Production and Sandbox".clone_into(&mut environment.name);
            out.push(environment);
        }
        out
    }

    fn environment(&mut self, prefix: &str) -> Environment {
        let path = |name: &str| format!("{prefix}.{name}");
        let list = |text: String| text.split(',').map(|url| url.trim().to_owned()).collect();
        Environment {
            name: self.text(&path("name")),
            kind: self.text(&path("type")),
            http_endpoints: list(self.text(&path("http_endpoint"))),
            https_endpoints: list(self.text(&path("https_endpoint"))),
        }
    }
}

/// `a.b[3].c` as `a.b[].c`.
fn without_indexes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut is_index = false;
    for letter in path.chars() {
        is_index &= letter != ']';
        if !is_index {
            out.push(letter);
        }
        is_index |= letter == '[';
    }
    out
}

fn is_host_name(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
        || (!text.is_empty()
            && text.len() <= 253
            && text.split('.').all(|label| {
                !label.is_empty()
                    && label.len() <= 63
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            }))
}
