//! Tests of the configuration. Rendered problems are files in tests/golden/config; `UPDATE_GOLDEN=1` rewrites them.

mod access;
mod databases;
mod listeners;
mod stored;

use super::check::{Value, duration_text, nearest};
use super::database::{DatabaseTls, DatabaseUrl, UrlError, parse_url};
use super::keys::KEYS;
use super::model::{AccessTokenType, Lifetime, PlainHttp};
use super::pattern::Pattern;
use super::profile::{Profile, Role};
use super::schema::{Effect, Schema, Unit};
use super::{Config, Host, Loaded, Problems, load, load_on, ports, reference};
use std::cell::RefCell;
use std::path::Path;

thread_local! {
    static READ: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// `fill` reports here which keys it has read.
pub(super) fn note_read(paths: &[String]) {
    READ.with_borrow_mut(|read| read.extend_from_slice(paths));
}

fn env(name: &str) -> Option<String> {
    match name {
        "HOST" => Some("am.example.com".to_owned()),
        "DB_PASSWORD" => Some("hunter2".to_owned()),
        "OFFSET" => Some("3".to_owned()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Loaded, Problems> {
    load(text, "deployment.toml", &env)
}

fn good(text: &str) -> Config {
    read(text).unwrap().config
}

fn bad(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

/// Compares with a golden file, or rewrites it.
#[expect(clippy::disallowed_methods, reason = "golden files are rewritten on demand of the developer")]
fn check_golden(path: &Path, text: &str) {
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        std::fs::write(path, text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert!(golden == text, "{} differs; UPDATE_GOLDEN=1 rewrites it. Now:\n{text}", path.display());
}

#[test]
fn problems_render_as_in_the_golden_files_and_show_no_secret() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config");
    let mut count = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let problems = load(&text, path.file_name().unwrap().to_str().unwrap(), &env).unwrap_err();
            let shown = problems.to_string();
            for secret in ["hunter", "12345"] {
                assert!(!shown.contains(secret), "{shown}");
                assert!(!format!("{problems:?}").contains(secret));
            }
            check_golden(&path.with_extension("txt"), &format!("{shown}\n"));
            count += 1;
        }
    }
    assert_eq!(count, 6);
}

#[test]
fn reference_is_up_to_date() {
    check_golden(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md"), &reference());
}

#[test]
fn every_row_is_used() {
    READ.with_borrow_mut(Vec::clear);
    let text = "[database.apim_db]\ntype='mysql'\nname='a'\nusername='u'\n[[datasource]]\nid='x'\n[keystore.tls]\nfile_name='a.pem'\n[truststore]\nfile_name='b.pem'\n\
                [[event_listener]]\nid='x'\nname='com.example.Other'\n[[resource.access_control]]\ncontext='x'";
    good(text);
    let read = READ.with_borrow(Vec::clone);
    let schema = Schema::new(KEYS);
    for (path, key) in schema.keys() {
        // Of the databases only the one in use is read; the others have the same code.
        let is_database = path.starts_with("database.") || path.starts_with("datasource[].");
        let is_other_database = is_database && !path.starts_with("database.apim_db") && path != "datasource[].id";
        if key.effect == Effect::Applied && !is_other_database {
            assert!(read.iter().any(|seen| seen == path), "{path} is in the table and never read");
        }
        if let Effect::Alias(name) = key.effect {
            let (table, _) = path.rsplit_once('.').unwrap();
            assert_eq!(schema.key(&format!("{table}.{name}")).unwrap().effect, Effect::Applied, "{path}");
        }
    }
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = Config::default_for(Path::new("/data"));
    assert_eq!(config.server.hostname, "localhost");
    assert_eq!(config.server.base_path, "https://localhost:9443");
    assert_eq!(config.server.bind_address.to_string(), "0.0.0.0");
    assert_eq!(config.server.plain_http, PlainHttp::Loopback);
    assert_eq!(config.server.profile, Profile::ALL);
    assert_eq!(config.super_admin.username, "admin");
    assert!(config.super_admin.password.is_none());
    assert_eq!(config.databases.identity.url.label(), "sqlite /data/claviger.sqlite");
    assert_eq!(config.databases.identity.pool.connections_max, 50);
    assert_eq!(config.databases.identity.pool.acquire_timeout_ms, 60_000);
    assert_eq!(config.oauth.app_access_token_validity, Lifetime::Seconds(3600));
    assert_eq!(config.oauth.refresh_token_validity, Lifetime::Seconds(86_400));
    assert_eq!(config.oauth.access_token_type, AccessTokenType::PerApplication);
    let allowed: Vec<&str> = config.apim_oauth.allowed_scopes.iter().map(Pattern::text).collect();
    assert_eq!(allowed, ["^device_.*", "openid"]);
    assert_eq!(config.key_manager.service_url, "https://localhost:9443/services/");
    assert_eq!(config.environments[0].https_endpoints, ["https://localhost:8243"]);
    assert_eq!(config.limits.body_bytes_max, 10 * 1024 * 1024);
    assert_eq!(config.port(ports::GATEWAY_HTTP), 8280);
}

#[test]
fn offset_moves_ports_and_placeholders_and_the_command_line_wins() {
    let text = "server.offset = '1'\n[[apim.gateway.environment]]\nname='a'\nhttp_endpoint='http://h:${http.nio.port}'";
    let config = good(text);
    assert_eq!(config.port(ports::MANAGEMENT_HTTPS), 9444);
    assert_eq!(config.server.base_path, "https://localhost:9444");
    assert_eq!(config.environments[0].http_endpoints, ["http://h:8281"]);
    let config = load_on(&Host { env: &env, port_offset: Some(7), localtime: None }, text, "f").unwrap().config;
    assert_eq!(config.port(ports::GATEWAY_HTTPS), 8250);
    assert_eq!(config.environments[0].http_endpoints, ["http://h:8287"]);
}

#[test]
fn references_resolve_inside_texts_and_recursively() {
    let config = good(
        "[server]\nhostname = '$env{HOST}'\noffset = '$env{OFFSET}'\nbase_path = 'https://$ref{server.hostname}:${carbon.management.port}/'\n\
         [super_admin]\npassword = '$env{DB_PASSWORD}$'\nadmin_role = 'a$b{c}$ref{super_admin.username}'\n\
         [apim.key_manager]\npassword = '$ref{super_admin.password}'\nservice_url = '$ref{server.base_path}x'",
    );
    assert_eq!(config.server.base_path, "https://am.example.com:9446");
    assert_eq!(config.key_manager.service_url, "https://am.example.com:9446/x");
    assert_eq!(config.key_manager.password.unwrap().expose(), "hunter2$");
    assert_eq!(config.super_admin.admin_role, "a$b{c}admin");
}

#[test]
fn a_secret_goes_into_secret_keys_only() {
    let text = "super_admin.password = 'hunter2'\nsuper_admin.username = '$ref{super_admin.password}'";
    assert!(bad(text).contains("a secret may only go into a secret key"));
    assert!(bad("super_admin.password = 'x'\nserver.node_ip = '${admin.password}'").contains("a secret may only"));
}

#[test]
fn references_are_bounded() {
    let text = [
        format!("super_admin.username = '{}'", "$ref{super_admin.admin_role}".repeat(100)),
        format!("super_admin.admin_role = '{}'", "$ref{server.hostname}".repeat(100)),
        format!("server.hostname = '{}'", "$ref{server.node_ip}".repeat(100)),
    ]
    .join("\n");
    let message = bad(&text);
    assert!(message.contains("longer than 65536 bytes") || message.contains("more than 10000 references"), "{message}");
    good(&format!("super_admin.username = '{}'", "$".repeat(900_000)));
}

#[test]
fn durations_convert_to_the_unit_of_their_key() {
    let table = [
        ("15m", Unit::Seconds, Some(900)),
        ("900s", Unit::Seconds, Some(900)),
        ("1d", Unit::Seconds, Some(86_400)),
        ("2h", Unit::Seconds, Some(7_200)),
        ("15", Unit::Seconds, Some(15)),
        ("15", Unit::Millis, Some(15)),
        ("15s", Unit::Millis, Some(15_000)),
        ("1500ms", Unit::Seconds, None),
        ("48h", Unit::Days, Some(2)),
        ("36h", Unit::Days, None),
        ("0", Unit::Seconds, None),
        ("", Unit::Seconds, None),
        ("m", Unit::Seconds, None),
        ("1w", Unit::Seconds, None),
        ("9223372036854775807d", Unit::Seconds, None),
        ("40000d", Unit::Seconds, None),
    ];
    for (text, unit, expected) in table {
        let found = match duration_text(text, unit, 1, true) {
            Ok(Value::Number(number)) => Some(number),
            _ => None,
        };
        assert_eq!(found, expected, "{text} {unit:?}");
    }
    assert!(matches!(duration_text("-1", Unit::Seconds, 1, true), Ok(Value::Never)));
    assert!(duration_text("-1", Unit::Seconds, 1, false).is_err());
}

#[test]
fn database_urls_in_all_forms() {
    let table = [
        ("jdbc:mysql://db:3307/am?autoReconnect=true&useSSL=false", "mysql db:3307/am", Some(DatabaseTls::Disable)),
        (
            "jdbc:mysql://db/am?useSSL=true&amp;verifyServerCertificate=true",
            "mysql db:3306/am",
            Some(DatabaseTls::VerifyCa),
        ),
        ("jdbc:mariadb://[::1]:3306/am?sslMode=verify-full", "mysql ::1:3306/am", Some(DatabaseTls::VerifyFull)),
        ("mysql://u:p%40ss@db/am", "mysql db:3306/am", Some(DatabaseTls::Prefer)),
        ("jdbc:postgresql://db/am?ssl=true", "postgresql db:5432/am", Some(DatabaseTls::VerifyFull)),
        ("jdbc:postgresql://db:6432/am?sslmode=require", "postgresql db:6432/am", Some(DatabaseTls::Require)),
        ("jdbc:postgresql:am", "postgresql localhost:5432/am", Some(DatabaseTls::Prefer)),
        ("jdbc:postgresql:///am", "postgresql localhost:5432/am", Some(DatabaseTls::Prefer)),
        ("postgres://u@db/am", "postgresql db:5432/am", Some(DatabaseTls::Prefer)),
        ("sqlite:a/b.db", "sqlite a/b.db", None),
        ("sqlite:///a/b.db", "sqlite /a/b.db", None),
        ("jdbc:sqlite:b.db", "sqlite b.db", None),
        ("jdbc:h2:./repository/database/WSO2AM_DB;AUTO_SERVER=TRUE", "sqlite claviger.sqlite", None),
    ];
    for (text, label, tls) in table {
        let parsed = parse_url(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(parsed.url.label(), label, "{text}");
        assert_eq!(parsed.url.server().map(|server| server.tls), tls, "{text}");
        let unknown: Vec<_> = parsed.without_effect.iter().filter(|parameter| parameter.why.is_none()).collect();
        assert!(unknown.is_empty(), "{text}: {unknown:?}");
    }
    let files = [
        ("jdbc:h2:./repository/database/WSO2AM_DB;AUTO_SERVER=TRUE", Some("./repository/database/WSO2AM_DB")),
        ("jdbc:h2:${carbon.home}/repository/database/X", Some("repository/database/X")),
        ("jdbc:h2:file:~/am", Some("~/am")),
        ("jdbc:h2:mem:am;DB_CLOSE_DELAY=-1", None),
        ("jdbc:sqlite:b.db", None),
    ];
    for (text, file) in files {
        assert_eq!(parse_url(text).unwrap().h2_file.as_deref(), file.map(std::path::Path::new), "{text}");
    }
    let refused = [
        ("jdbc:h2:tcp://db/am", UrlError::Engine),
        ("jdbc:oracle:thin:@db:1521/x", UrlError::Engine),
        ("jdbc:sqlserver://db:1433;databaseName=x", UrlError::Engine),
        ("mongodb://db/x", UrlError::Engine),
        ("jdbc:mysql://a,b/x", UrlError::SeveralHosts),
        ("jdbc:mysql:loadbalance://a,b/x", UrlError::SeveralHosts),
        ("jdbc:mysql://db", UrlError::Name),
        ("jdbc:mysql://db:port/x", UrlError::Malformed),
        ("sqlite::memory:", UrlError::Memory),
        ("jdbc:postgresql://db/x?sslmode=perhaps", UrlError::Parameter("sslmode")),
        ("nothing", UrlError::Malformed),
        ("", UrlError::Malformed),
        ("j\u{e4}dbc", UrlError::Malformed),
    ];
    for (text, error) in refused {
        assert_eq!(parse_url(text).unwrap_err(), error, "{text}");
    }
}

#[test]
fn database_passwords_are_in_no_debug_text() {
    for text in ["mysql://u:hunter2@db/am", "jdbc:postgresql://db/am?user=u&password=hunter2"] {
        let parsed = parse_url(text).unwrap();
        assert_eq!(parsed.url.server().unwrap().password.as_ref().unwrap().expose(), "hunter2");
        assert!(!format!("{parsed:?}").contains("hunter"));
    }
    let text =
        "super_admin.password='hunter2'\n[database.apim_db]\ntype='mysql'\nname='x'\nusername='u'\npassword='hunter2'";
    assert!(!format!("{:?}", read(text).unwrap()).contains("hunter"));
}

#[test]
fn database_url_wins_over_parts_and_keys_over_its_credentials() {
    let config = good(
        "[database.apim_db]\ntype='mysql'\nhostname='no'\nname='no'\nurl='jdbc:mysql://db/am?user=x&password=y'\n\
         username='u'\npassword='$env{DB_PASSWORD}'\npool_options.maxActive='7'\npool_options.max_wait=5\n\
         [database.shared_db]\ntype='mariadb'\nhostname='DB'\nport='3306'\nname='am'\nusername='u'\n\
         [realm_manager]\ndata_source='jdbc/WSO2AM_DB'",
    );
    let DatabaseUrl::MySql(server) = &config.databases.identity.url else {
        panic!("{:?}", config.databases.identity.url)
    };
    assert_eq!((server.host.as_str(), server.user.as_str()), ("db", "u"));
    assert_eq!(server.password.as_ref().unwrap().expose(), "hunter2");
    assert_eq!(config.databases.identity.pool.connections_max, 7);
    assert_eq!(config.databases.identity.pool.acquire_timeout_ms, 5);
}

#[test]
fn keys_without_effect_are_noted_with_their_line() {
    let loaded = read(
        "[database.apim_db]\ntype = 'h2'\nurl = 'jdbc:h2:./x'\ndriver = 'org.h2.Driver'\n\
         [database.shared_db]\nurl = 'sqlite:claviger.sqlite?cache=shared'",
    )
    .unwrap();
    let notes: Vec<String> = loaded.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "note: line 2: [database.apim_db]: H2 means the embedded SQLite file claviger.sqlite",
            "note: line 4: `database.apim_db.driver` is accepted without effect: the database driver is built in",
            "warning: line 6: `database.shared_db.url`: the parameter `cache` is not understood and has no effect",
        ]
    );
}

#[test]
fn access_token_type_by_word_and_by_class() {
    let table = [
        ("", AccessTokenType::PerApplication),
        ("oauth.token_generation.access_token_type='self_contained'", AccessTokenType::SelfContained),
        (
            "oauth.extensions.token_generator='org.wso2.carbon.identity.oauth2.token.OauthTokenIssuerImpl'",
            AccessTokenType::Opaque,
        ),
        (
            "oauth.extensions.token_generator='org.wso2.carbon.apimgt.keymgt.issuers.APIMTokenIssuer'",
            AccessTokenType::PerApplication,
        ),
        (
            "oauth.extensions.token_generator='JWTTokenIssuer'\noauth.token_generation.access_token_type='opaque'",
            AccessTokenType::Opaque,
        ),
    ];
    for (text, expected) in table {
        assert_eq!(good(text).oauth.access_token_type, expected, "{text}");
    }
    assert!(bad("oauth.extensions.token_generator='com.example.Own'").contains("class is not known"));
}

#[test]
fn what_tokens_are_signed_with_is_not_to_be_chosen() {
    assert_eq!(good("oauth.oidc.id_token.issuer = ''").oauth.issuer, None);
    assert_eq!(good("oauth.oidc.id_token.issuer = 'https://id'").oauth.issuer.as_deref(), Some("https://id"));
    good("oauth.oidc.id_token.signature_algorithm = 'SHA256withRSA'\noauth.oidc.user_info.response_type = 'json'");
    assert!(bad("oauth.oidc.id_token.signature_algorithm = 'none'").contains("SHA256withRSA"));
    assert!(bad("oauth.oidc.user_info.response_type = 'jwt'").contains("json"));
}

#[test]
fn default_password_needs_loopback_or_a_switch() {
    let text = "super_admin.password = 'admin'\n";
    assert!(bad(text).contains("well-known default password"));
    good(&format!("{text}server.bind_address = '127.0.0.1'"));
    good(&format!("{text}super_admin.allow_default_password = true"));
}

#[test]
fn profile_words() {
    let table = [("all", 4), ("key-manager,gateway", 2), ("api-store , api-publisher", 1), ("control-plane", 3)];
    for (text, count) in table {
        assert_eq!(text.parse::<Profile>().unwrap().roles().count(), count, "{text}");
    }
    assert_eq!("gateway-worker".parse::<Profile>().unwrap().roles().next(), Some(Role::Gateway));
    for text in ["", "gateway,", "gatewy"] {
        assert!(text.parse::<Profile>().is_err(), "{text}");
    }
    assert_eq!(good("server.server_role='api-key-manager'").server.profile.to_string(), "key-manager");
}

#[test]
fn nearest_name() {
    let names = ["hostname", "node_ip", "offset", "maxActive"];
    let table = [
        ("hostnam", Some("hostname")),
        ("ofsfet", Some("offset")),
        ("MAXACTIVE", Some("maxActive")),
        ("xyz", None),
        ("", None),
    ];
    for (name, expected) in table {
        assert_eq!(nearest(name, names.into_iter()), expected, "{name}");
    }
}

#[test]
fn hostile_files_end_quickly_in_a_short_message() {
    let deep_key = format!("{}x = 1", "a.".repeat(100_000));
    let deep_tables = format!("x = {}1{}", "{a = ".repeat(50_000), "}".repeat(50_000));
    let deep_arrays = format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let path = "a.".repeat(15);
    let deepest = format!("[{path}a]\nx = {}1{}", format!("{{{path}a = ").repeat(79), "}".repeat(79));
    let huge = "#".repeat(super::FILE_BYTES_MAX + 1);
    let many = (0..60_000).map(|n| format!("key{n} = 1")).collect::<Vec<_>>().join("\n");
    let long_line = format!("x = [{}]", "'hunter2', ".repeat(80_000));
    let dollars = format!("super_admin.usernam = '{}'", "$ref{".repeat(150_000));
    let hidden = format!("[server]\n\"host\\u001b[2Jname\" = 1\nhostname = {}", "'".repeat(100));
    for text in [deep_key, deep_tables, deep_arrays, deepest, huge, many, long_line, dollars, hidden] {
        let message = bad(&text);
        assert!(message.len() < 60_000, "{} bytes for {:.40}", message.len(), text);
        assert!(!message.contains("hunter") && !message.contains('\u{1b}'), "{message:.2000}");
    }
}
