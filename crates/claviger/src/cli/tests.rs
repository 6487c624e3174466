//! Tests of the command line.

use super::*;
use crate::config::database::DatabaseUrl;
use std::sync::atomic::{AtomicU32, Ordering};

fn env(name: &str) -> Option<String> {
    match name {
        "CLAVIGER_DATA_DIR" => Some("from-env".to_owned()),
        "CLAVIGER_PORT_OFFSET" => Some("4".to_owned()),
        "CLAVIGER_PROFILE" => Some("gateway".to_owned()),
        "CLAVIGER_CONFIG" => Some(String::new()),
        _ => None,
    }
}

fn words(line: &str) -> Vec<&str> {
    std::iter::once("claviger").chain(line.split_whitespace()).collect()
}

fn serve(line: &str, env: &dyn Fn(&str) -> Option<String>) -> Serve {
    match parse(words(line), env).unwrap() {
        Action::Serve(serve) => serve,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_command_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn serve_is_the_default_and_options_stand_on_both_sides() {
    let nothing = |_: &str| None;
    let plain = serve("", &nothing);
    assert_eq!(plain, serve("serve", &nothing));
    assert_eq!(plain.data_dir, Path::new("claviger-data"));
    assert_eq!((plain.config_file, plain.port_offset, plain.profile), (None, None, None));
    assert_eq!((plain.log_format, plain.log_filter.as_str()), (LogFormat::Text, "info"));
    let options = "--config a.toml --data-dir d --port-offset 2 --profile portal,gateway --log-format json --log debug";
    let full = serve(options, &nothing);
    assert_eq!(full, serve(&format!("{options} serve"), &nothing));
    assert_eq!(full, serve(&format!("serve {options}"), &nothing));
    assert_eq!(full.profile.unwrap().to_string(), "gateway,portal");
    assert_eq!(serve("--port-offset 1 serve --port-offset 2", &nothing).port_offset, Some(2));
}

#[test]
fn environment_stands_in_for_options_only() {
    let from_env = serve("", &env);
    assert_eq!(from_env.data_dir, Path::new("from-env"));
    assert_eq!((from_env.port_offset, from_env.config_file), (Some(4), None));
    assert_eq!(from_env.profile.unwrap().to_string(), "gateway");
    let given = serve("--data-dir d --port-offset 5 serve --profile all", &env);
    assert_eq!((given.data_dir.as_path(), given.port_offset), (Path::new("d"), Some(5)));
    assert_eq!(given.profile, Some(Profile::ALL));
    let wrong = |name: &str| (name == "CLAVIGER_PORT_OFFSET").then(|| "x".to_owned());
    assert!(parse(words(""), &wrong).unwrap_err().to_string().contains("CLAVIGER_PORT_OFFSET: expected 0 to 50000"));
}

#[test]
fn wrong_lines_end_with_the_usage_code() {
    for line in [
        "--port-offset 50001",
        "--port-offset -1",
        "--profile gatewy",
        "fly",
        "config",
        "config check",
        "--log-format xml",
    ] {
        let error = parse(words(line), &|_| None).unwrap_err();
        assert_eq!(error.exit_code(), i32::from(EXIT_USAGE), "{line}");
    }
    assert_eq!(parse(words("--help"), &|_| None).unwrap_err().exit_code(), i32::from(EXIT_OK));
}

#[test]
fn config_commands() {
    assert_eq!(parse(words("config check f.toml"), &|_| None).unwrap(), Action::ConfigCheck("f.toml".into()));
    assert_eq!(parse(words("config keys"), &|_| None).unwrap(), Action::ConfigKeys);
    let mut out = Vec::new();
    assert_eq!(config_keys(&mut out).unwrap(), EXIT_OK);
    assert!(String::from_utf8(out).unwrap().contains("| `hostname` |"));
}

#[test]
fn database_commands_take_the_options_of_the_server() {
    let cases = [
        ("db clean --data-dir d", DbAction::Clean { is_dry_run: false }),
        ("--data-dir d db clean --dry-run", DbAction::Clean { is_dry_run: true }),
        ("db status --data-dir d", DbAction::Status),
        ("--data-dir d db create", DbAction::Create),
        ("db create --print --data-dir d", DbAction::Print { is_all: false }),
        ("db create --data-dir d --print --all", DbAction::Print { is_all: true }),
    ];
    for (line, expected) in cases {
        let Action::Db(options, action) = parse(words(line), &|_| None).unwrap() else { panic!("{line}") };
        assert_eq!((options.data_dir.as_path(), action), (Path::new("d"), expected));
    }
    for line in ["db", "db create --all"] {
        assert_eq!(parse(words(line), &|_| None).unwrap_err().exit_code(), i32::from(EXIT_USAGE), "{line}");
    }
}

#[test]
fn commands_on_users_take_the_options_of_the_server() {
    let roles = |add: &[&str], remove: &[&str]| {
        let owned = |roles: &[&str]| roles.iter().map(|role| (*role).to_owned()).collect();
        Verb::Roles { add: owned(add), remove: owned(remove) }
    };
    let cases = [
        ("user lock HR/ann@acme.com --data-dir d", "HR/ann@acme.com", Verb::Lock),
        ("--data-dir d user unlock ann", "ann", Verb::Unlock),
        ("user disable ann --data-dir d", "ann", Verb::Disable),
        ("user enable ann --data-dir d", "ann", Verb::Enable),
        ("user delete --data-dir d ann", "ann", Verb::Delete),
        ("user password ann --data-dir d", "ann", Verb::Password),
        ("user roles ann --add a --data-dir d --add b", "ann", roles(&["a", "b"], &[])),
        ("--data-dir d user roles ann --remove a", "ann", roles(&[], &["a"])),
    ];
    for (line, name, verb) in cases {
        let Action::User(options, action) = parse(words(line), &|_| None).unwrap() else { panic!("{line}") };
        assert_eq!(options.data_dir, Path::new("d"), "{line}");
        assert_eq!(action, UserAction { name: name.to_owned(), verb }, "{line}");
    }
    // A password is no argument: others see those.
    for line in ["user", "user lock", "user roles ann", "user password ann secret", "user burn ann"] {
        assert_eq!(parse(words(line), &|_| None).unwrap_err().exit_code(), i32::from(EXIT_USAGE), "{line}");
    }
}

#[test]
fn an_h2_database_that_is_found_and_filled_is_not_replaced() {
    let home = std::env::temp_dir().join(format!("claviger-h2-{}", std::process::id()));
    let (conf, data, old) = (home.join("repository/conf"), home.join("data"), home.join("repository/database"));
    for dir in [&conf, &data, &old] {
        std::fs::create_dir_all(dir).unwrap();
    }
    let file = conf.join("deployment.toml");
    let text = "[database.apim_db]\ntype = 'h2'\nurl = 'jdbc:h2:./repository/database/WSO2AM_DB;AUTO_SERVER=TRUE'\n\
                [database.shared_db]\nurl = 'jdbc:h2:repository/database/WSO2SHARED_DB'\n\
                [[datasource]]\nid = 'WSO2_CARBON_DB'\nurl = 'jdbc:h2:repository/database/WSO2CARBON_DB'\n";
    std::fs::write(&file, text).unwrap();
    let load = |more: &str| {
        let line = format!("--config {} --data-dir {} {more}", file.display(), data.display());
        load_config(&serve(&line, &|_| None), &|_| None).map(|(config, ..)| config)
    };
    // Nobody's data: the embedded database stands in, whatever else is there.
    std::fs::write(old.join("WSO2CARBON_DB.mv.db"), "data").unwrap();
    std::fs::write(old.join("WSO2AM_DB.mv.db"), "").unwrap();
    std::fs::create_dir(old.join("WSO2AM_DB.h2.db")).unwrap();
    assert!(matches!(load("").unwrap().databases.api.url, DatabaseUrl::Sqlite { .. }));
    // What lies where nobody looks cannot be located.
    std::fs::write(home.join("repository/WSO2AM_DB.mv.db"), "data").unwrap();
    assert!(load("").is_ok());
    for (name, section) in [("WSO2SHARED_DB.h2.db", "database.shared_db"), ("WSO2AM_DB.mv.db", "database.apim_db")] {
        let file = old.join(name);
        std::fs::write(&file, "data").unwrap();
        let error = load("").unwrap_err();
        let said = error.to_string();
        assert!(said.contains(section) && said.contains(name) && said.contains("PostgreSQL"), "{said}");
        assert_eq!(error.exit_code(), EXIT_CONFIG);
        assert!(load("--profile gateway").is_ok(), "a gateway alone opens no database");
        std::fs::remove_file(&file).unwrap();
    }
    std::fs::remove_dir_all(&home).unwrap();
}

#[test]
fn the_file_of_the_data_directory_is_read_and_the_command_line_wins() {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("claviger-cli-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let dir = std::env::temp_dir().join(name);
    let serve = |line: &str| serve(&format!("--data-dir {} {line}", dir.display()), &|_| None);
    let (config, notes, file) = load_config(&serve(""), &|_| None).unwrap();
    assert!(notes.is_empty() && file.is_none());
    assert_eq!(config.databases.identity.url.label(), format!("sqlite {}", dir.join("claviger.sqlite").display()));

    std::fs::create_dir(&dir).unwrap();
    let path = dir.join("deployment.toml");
    std::fs::write(&path, "\u{feff}[server]\noffset = 1\nserver_role = 'gateway-worker'\nmode = 'ha'\n").unwrap();
    let (config, notes, file) = load_config(&serve(""), &|_| None).unwrap();
    assert_eq!((config.server.offset, notes.len(), file), (1, 1, Some(path.clone())));
    assert_eq!(config.server.profile.to_string(), "gateway");
    let (config, _, _) = load_config(&serve("--port-offset 9 --profile portal"), &|_| None).unwrap();
    assert_eq!(config.server.base_path, "https://localhost:9452");
    assert_eq!((config.server.offset, config.server.profile.to_string()), (9, "portal".to_owned()));
    let mut out = Vec::new();
    assert_eq!(config_check(&path, &|_| None, &mut out).unwrap(), EXIT_OK);

    std::fs::write(&path, "[server]\noffst = 1\n").unwrap();
    let mut out = Vec::new();
    assert_eq!(config_check(&path, &|_| None, &mut out).unwrap(), EXIT_CONFIG);
    assert!(String::from_utf8(out).unwrap().contains("did you mean `offset`?"));
    assert!(matches!(load_config(&serve(""), &|_| None), Err(ConfigError::Problems(_))));
    let error = load_config(&serve("--config /nowhere/x.toml"), &|_| None).unwrap_err();
    assert!(error.to_string().contains("/nowhere/x.toml") && error.exit_code() == EXIT_CONFIG);
    std::fs::remove_dir_all(&dir).unwrap();
}
