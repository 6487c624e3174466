//! Which data source holds which tables, and what is said about them: the files of the seeds, retyped.

use super::{bad, env, good, read};
use crate::config::{Host, load_on};
use std::path::PathBuf;

/// Identity database in the old API-M database, registry and users apart (seed 000).
const SEED_000: &str = r#"
[database.identity_db]
type = "mysql"
url = "jdbc:mysql://localhost:3306/am_db"
username = "wso2carbon"
password = "wso2carbon"
[database.shared_db]
type = "mysql"
url = "jdbc:mysql://localhost:3306/reg_db"
username = "wso2carbon"
password = "wso2carbon"
[database.user]
type = "mysql"
url = "jdbc:mysql://localhost:3306/um_db"
username = "wso2carbon"
password = "wso2carbon"
"#;

/// The data sources of master-datasources.xml under their own names (seed 004; 001 and 003 name the same three).
const SEED_004: &str = r#"
[[datasource]]
id = "WSO2AM_DB"
url = "jdbc:mysql://db.mysql-wso2.com:3306/apimgtdb?autoReconnect=true"
username = "user"
password = "password"
driver = "com.mysql.jdbc.Driver"
validationQuery = "SELECT 1"
[datasource.pool_options]
maxActive = 50
maxWait = 60000
testOnBorrow = true
validationInterval = 30000
[[datasource]]
id = "jdbc/WSO2UM_DB"
url = "jdbc:mysql://db.mysql-wso2.com:3306/userdb?autoReconnect=true"
username = "user"
password = "password"
[[datasource]]
id = "WSO2REG_DB"
url = "jdbc:mysql://db.mysql-wso2.com:3306/regdb?autoReconnect=true"
username = "user"
password = "password"
"#;

/// Identity, API-M, user and registry: `section=database`, as short as it can be told.
fn roles(text: &str) -> String {
    let databases = good(text).databases;
    let shown = databases.all().map(|(_, database)| {
        let label = database.url.label();
        let name = database.url.server().map_or(label.as_str(), |server| server.name.as_str());
        format!("{}={name}", database.name)
    });
    shown.join(" ")
}

fn notes(text: &str) -> Vec<String> {
    read(text).unwrap().notes.iter().map(ToString::to_string).collect()
}

/// A section `[database.<name>]` with the MySQL database of the same name.
fn mysql(section: &str) -> String {
    format!("[{section}]\ntype='mysql'\nname='{}'\nusername='u'\n", section.trim_start_matches("database."))
}

#[test]
fn each_family_of_tables_has_its_database() {
    let [apim, identity, shared, user] =
        ["database.apim_db", "database.identity_db", "database.shared_db", "database.user"].map(mysql);
    let embedded = "embedded database=sqlite claviger.sqlite";
    let users = "[realm_manager]\ndata_source = 'WSO2USER_DB'\n";
    let table = [
        (String::new(), [embedded; 4].join(" ")),
        (
            format!("{SEED_000}{users}"),
            "database.identity_db=am_db database.identity_db=am_db database.user=um_db database.shared_db=reg_db"
                .to_owned(),
        ),
        (
            SEED_000.to_owned(),
            "database.identity_db=am_db database.identity_db=am_db database.shared_db=reg_db database.shared_db=reg_db"
                .to_owned(),
        ),
        (
            format!(
                "{SEED_004}[realm_manager]\ndata_source='jdbc/WSO2UM_DB'\n[governance_data]\ndata_source='jdbc/WSO2REG_DB'"
            ),
            "datasource WSO2AM_DB=apimgtdb datasource WSO2AM_DB=apimgtdb datasource WSO2UM_DB=userdb \
             datasource WSO2REG_DB=regdb"
                .to_owned(),
        ),
        // The names of the data sources play the parts of the sections.
        (
            SEED_004.to_owned(),
            "datasource WSO2AM_DB=apimgtdb datasource WSO2AM_DB=apimgtdb datasource WSO2REG_DB=regdb \
             datasource WSO2REG_DB=regdb"
                .to_owned(),
        ),
        (apim.clone(), ["database.apim_db=apim_db"; 4].join(" ")),
        (shared.clone(), ["database.shared_db=shared_db"; 4].join(" ")),
        (
            format!("{apim}{shared}"),
            "database.apim_db=apim_db database.apim_db=apim_db database.shared_db=shared_db database.shared_db=shared_db"
                .to_owned(),
        ),
        (
            format!("{apim}{identity}{shared}"),
            "database.identity_db=identity_db database.apim_db=apim_db database.shared_db=shared_db \
             database.shared_db=shared_db"
                .to_owned(),
        ),
        (
            format!("{apim}{identity}[identity]\ndata_source='jdbc/WSO2AM_DB'\n"),
            ["database.apim_db=apim_db"; 4].join(" "),
        ),
        (
            format!("{apim}{identity}[apim.datasource]\nname='jdbc/WSO2IdentityDB'\n"),
            ["database.identity_db=identity_db"; 4].join(" "),
        ),
        (
            format!("{apim}{user}{users}"),
            "database.apim_db=apim_db database.apim_db=apim_db database.user=user database.user=user".to_owned(),
        ),
        (
            format!("{apim}{shared}{user}{users}[governance_data]\ndata_source='user'\n"),
            "database.apim_db=apim_db database.apim_db=apim_db database.user=user database.user=user".to_owned(),
        ),
        (
            "[[datasource]]\nid='Own'\nurl='jdbc:postgresql://db/own'\nusername='u'\n[identity]\ndata_source='jdbc/Own'"
                .to_owned(),
            ["datasource Own=own"; 4].join(" "),
        ),
        ("[database.apim_db]\ntype='h2'\n[database.shared_db]\ntype='H2'".to_owned(), {
            let [api, shared] = ["apim_db", "shared_db"].map(|name| format!("database.{name}=sqlite claviger.sqlite"));
            format!("{api} {api} {shared} {shared}")
        }),
    ];
    for (text, expected) in table {
        assert_eq!(roles(&text), expected, "{text}");
    }
}

#[test]
fn a_whole_old_set_up_is_told_each_thing_once() {
    let mounts = "[realm_manager]\ndata_source='jdbc/WSO2UM_DB'\n[governance_data]\ndata_source='jdbc/WSO2REG_DB'\n\
                  [config_data]\ndata_source='jdbc/WSO2REG_DB'\n[db]\nlocal_time_zone='UTC'\n";
    let expected = [
        "note: line 4: `datasource[0].url`: the parameter `autoReconnect` has no effect: a lost connection is always \
         replaced before the next use (also in `datasource[1].url`, `datasource[2].url`)",
        "warning: line 7: [datasource WSO2AM_DB] has the driver class of Connector/J 5: the old server may have stored \
         token times in its own zone instead of UTC; `db.token_time_zone` names it (setting it, also to \"UTC\", ends \
         this warning)",
        "note: line 8: `datasource[0].validationQuery` is accepted without effect: the database driver is built in",
        "note: line 13: `datasource[0].pool_options.validationInterval` is accepted without effect: the connection pool \
         manages this itself",
    ];
    assert_eq!(notes(&format!("{SEED_004}{mounts}")), expected);
}

#[test]
fn the_same_database_is_one_connection_and_one_pool() {
    let databases = good(
        "[database.identity_db]\nurl='jdbc:mysql://DB:3306/am'\nusername='first'\npool_options.max_active=7\n\
         [database.apim_db]\nurl='jdbc:mysql://db/am?useSSL=true'\nusername='second'\npool_options.max_active=9\n",
    )
    .databases;
    let user = |database: &crate::config::model::Database| database.url.server().unwrap().user.clone();
    assert_eq!((user(&databases.identity), user(&databases.api)), ("first".to_owned(), "first".to_owned()));
    assert_eq!((databases.identity.pool.connections_max, databases.api.pool), (7, databases.identity.pool));
    assert_eq!(databases.api.name, "database.apim_db");
}

#[test]
fn every_engine_and_pool_key_is_understood_in_both_spellings() {
    let kinds = [
        ("mysql", "mysql"),
        ("mariadb", "mysql"),
        ("postgre", "postgresql"),
        ("PostgreSQL", "postgresql"),
        ("sqlite", "sqlite"),
        ("h2", "sqlite"),
    ];
    for (word, engine) in kinds {
        for spelling in [
            "maxActive=3\npool_options.maxWait=4\npool_options.minIdle=1",
            "max_active=3\npool_options.max_wait=4\npool_options.min_idle=1",
        ] {
            let text = format!(
                "[[datasource]]\nid='WSO2AM_DB'\ntype='{word}'\nhostname='db'\nport=1\nname='n'\nusername='u'\npool_options.{spelling}"
            );
            let database = good(&text).databases.user;
            assert!(database.url.label().starts_with(engine), "{word}: {}", database.url.label());
            let pool = database.pool;
            assert_eq!((pool.connections_max, pool.acquire_timeout_ms, pool.connections_idle_min), (3, 4, 1), "{text}");
        }
    }
    for word in ["oracle", "mssql", "db2", "informix", ""] {
        let message = bad(&format!("[database.apim_db]\ntype='{word}'\nname='n'"));
        assert!(message.contains("supported are MySQL, MariaDB, PostgreSQL and SQLite"), "{message}");
        assert!(message.ends_with("1 problem in deployment.toml"), "{message}");
    }
}

#[test]
fn names_of_data_sources_must_exist_and_be_unique() {
    let table = [
        (
            "[realm_manager]\ndata_source='WSO2USER_DB'",
            "`realm_manager.data_source`: [database.user] is not configured",
        ),
        ("[identity]\ndata_source='jdbc/WSO2AM_DB'", "`identity.data_source`: [database.apim_db] is not configured"),
        ("[identity]\ndata_source='x'", "no data source is configured"),
        ("[[datasource]]\nid='Owner'\nurl='sqlite:a'\n[identity]\ndata_source='Ownr'", "did you mean `Owner`?"),
        ("[[datasource]]\nid='Owner'\nurl='sqlite:a'\n[identity]\ndata_source='zzz'", "configured are Owner"),
        ("[[datasource]]\nid='Owner'\nurl='sqlite:a'", "no data source holds the identity tables"),
        ("[[datasource]]\nurl='sqlite:a'", "a `[[datasource]]` needs an `id`"),
        ("[[datasource]]\nid='a'\n[[datasource]]\nid='jdbc/a'", "[datasource a] is a data source of this name already"),
        (
            "[[datasource]]\nid='WSO2AM_DB'\n[database.apim_db]\nurl='sqlite:a'",
            "[database.apim_db] is a data source of this name already",
        ),
        ("[[datasource]]\nid='WSO2AM_DB'\ntype='mysql'", "[datasource WSO2AM_DB] needs `name` or `url`"),
    ];
    for (text, expected) in table {
        let message = bad(text);
        assert!(message.contains(expected), "{text}\n{message}");
    }
}

#[test]
fn what_is_not_used_is_said_once() {
    let local = "[database.local]\ntype='h2'\nurl='jdbc:h2:./repository/database/WSO2CARBON_DB'\n[database.config]\ntype='oracle'\n";
    let table: Vec<(String, &[&str])> = vec![
        (
            SEED_000.to_owned(),
            &["warning: line 12: [database.user] is not used, users are looked for in [database.shared_db]; if they are in \
               [database.user], add to [realm_manager]: data_source = \"WSO2USER_DB\""],
        ),
        (format!("{SEED_000}[realm_manager]\ndata_source='WSO2USER_DB'"), &[]),
        (
            format!("{}{}", mysql("database.apim_db"), mysql("database.user").replace("name='user'", "name='apim_db'")),
            &["note: line 5: [database.user] is not used: no tables are looked for in it"],
        ),
        (
            local.to_owned(),
            &[
                "note: line 1: [database.local] is not needed: nothing is kept per node",
                "note: line 4: [database.config] is not needed: all registry data come from `governance_data`'s database",
            ],
        ),
        (
            format!("{SEED_000}[realm_manager]\ndata_source='WSO2USER_DB'\n[config_data]\ndata_source='WSO2USER_DB'"),
            &["warning: line 20: `config_data.data_source`: tenants' configuration is read from [database.shared_db], not \
               from [database.user]"],
        ),
        (
            format!("{}{}[config_data]\ndata_source='WSO2CONFIG_DB'", mysql("database.apim_db"), mysql("database.config")),
            &["warning: line 10: `config_data.data_source`: tenants' configuration is read from [database.apim_db], not from \
               [database.config]"],
        ),
        (
            format!("{}{}[identity]\ndata_source='WSO2AM_DB'", mysql("database.apim_db"), mysql("database.identity_db")),
            &["note: line 5: [database.identity_db] is not used: no tables are looked for in it"],
        ),
        (
            "[database.identity_db]\nurl='jdbc:mysql://db/am'\nusername='a'\n[database.apim_db]\nurl='jdbc:mysql://db/am'\nusername='b'".to_owned(),
            &["warning: line 4: [database.apim_db] has another user; that of [database.identity_db] is used"],
        ),
    ];
    for (text, expected) in table {
        let host = Host { env: &env, port_offset: None, localtime: Some("/usr/share/zoneinfo/UTC".into()) };
        let loaded = load_on(&host, &text, "f").unwrap_or_else(|problems| panic!("{text}\n{problems}"));
        let notes: Vec<String> = loaded.notes.iter().map(ToString::to_string).collect();
        assert_eq!(notes, expected, "{text}");
    }
}

#[test]
fn parameters_without_effect_are_named_once_and_tuning_not_at_all() {
    let query = "autoReconnect=true&amp;useSSL=false&amp;cachePrepStmts=true&amp;serverTimezone=UTC&amp;rewriteBatchedStatements=true";
    let text = format!(
        "[database.apim_db]\nurl='jdbc:mysql://db/am?{query}'\nusername='u'\n\
         [database.shared_db]\nurl='jdbc:mysql://db/reg?{query}&mystery=1'\nusername='u'\ndb.local_time_zone='UTC'"
    )
    .replace("\ndb.local_time_zone", "\n[db]\nlocal_time_zone");
    assert_eq!(
        notes(&text),
        [
            "note: line 2: `database.apim_db.url`: the parameter `autoReconnect` has no effect: a lost connection is always \
             replaced before the next use (also in `database.shared_db.url`)",
            "note: line 2: `database.apim_db.url`: the parameter `serverTimezone` has no effect: `db.token_time_zone` and \
             `db.local_time_zone` say how times are stored (also in `database.shared_db.url`)",
            "warning: line 5: `database.shared_db.url`: the parameter `mystery` is not understood and has no effect",
        ]
    );
}

#[test]
fn signs_of_an_old_driver_point_to_the_token_time_zone() {
    let sign = |url: &str, rest: &str| {
        let text = format!("[database.apim_db]\nurl='{url}'\nusername='u'\n{rest}");
        notes(&text).into_iter().filter(|note| note.contains("may have stored token times")).collect::<Vec<_>>()
    };
    let old = "driver='com.mysql.jdbc.Driver'\n";
    let table = [
        ("jdbc:mysql://db/am", "", false),
        ("jdbc:mysql://db/am", old, true),
        ("jdbc:mysql://db/am?useLegacyDatetimeCode=false", old, false),
        ("jdbc:mysql://db/am?useLegacyDatetimeCode=true", "", true),
        ("jdbc:mysql://db/am?serverTimezone=Asia/Colombo", "", true),
        ("jdbc:mysql://db/am?serverTimezone=UTC", "", false),
        ("jdbc:mysql://db/am", "driver='com.mysql.jdbc.Driver'\n[db]\ntoken_time_zone='UTC'\n", false),
        ("jdbc:mysql://db/am", "driver='com.mysql.cj.jdbc.Driver'\n", false),
        ("jdbc:postgresql://db/am", old, false),
    ];
    for (url, rest, is_told) in table {
        let found = sign(url, rest);
        assert_eq!(found.len(), usize::from(is_told), "{url} {rest}: {found:?}");
        assert!(found.iter().all(|note| note.starts_with("warning: line ") && note.contains("db.token_time_zone")));
    }
}

#[test]
fn zones_come_from_the_file_then_from_the_host() {
    // The keys, TZ, the link of /etc/localtime, the two zones, whether the host's zone is unknown.
    let berlin = "/usr/share/zoneinfo/Europe/Berlin";
    let table = [
        ("", None, None, "UTC UTC", true),
        ("", None, Some(berlin), "UTC Europe/Berlin", false),
        ("", Some(":Asia/Tokyo"), Some(berlin), "UTC Asia/Tokyo", false),
        ("", Some("/usr/share/zoneinfo/posix/Asia/Tokyo"), None, "UTC Asia/Tokyo", false),
        ("", Some(""), Some(berlin), "UTC UTC", false),
        ("", Some("UTC-2"), None, "UTC UTC", true),
        ("", Some("CET-1CEST,M3.5.0,M10.5.0/3"), None, "UTC UTC", true),
        ("", None, Some("../usr/share/zoneinfo/America/New_York"), "UTC America/New_York", false),
        ("local_time_zone='+05:30'\n", Some("Asia/Tokyo"), None, "UTC +05:30", false),
        ("token_time_zone='Asia/Colombo'\nlocal_time_zone='UTC'\n", None, None, "Asia/Colombo UTC", false),
    ];
    for (keys, tz, link, expected, is_unknown) in table {
        let env = |name: &str| if name == "TZ" { tz.map(str::to_owned) } else { None };
        let host = Host { env: &env, port_offset: None, localtime: link.map(PathBuf::from) };
        let text = format!("[database.apim_db]\nurl='jdbc:mysql://db/am'\nusername='u'\n[db]\n{keys}");
        let loaded = load_on(&host, &text, "f").unwrap();
        let databases = loaded.config.databases;
        assert_eq!(format!("{} {}", databases.token_time_zone, databases.local_time_zone), expected, "{tz:?} {link:?}");
        assert_eq!(databases.is_token_time_zone_set, keys.contains("token_time_zone"), "{keys}");
        let is_told = loaded.notes.iter().any(|note| note.text.contains("the time zone of this host is not known"));
        assert_eq!(is_told, is_unknown, "{tz:?} {link:?}");
    }
    // Nobody else wrote into an embedded database.
    assert!(notes("").is_empty());
    for (wrong, meant) in [("Europe/Colombo", "Asia/Colombo"), ("berlin", "Europe/Berlin"), ("utc", "UTC")] {
        let message = bad(&format!("[db]\ntoken_time_zone='{wrong}'"));
        assert!(message.contains(&format!("did you mean `{meant}`?")), "{message}");
    }
    let message = bad("[db]\ntoken_time_zone='Europe/Berln'\nlocal_time_zone='+25:00'");
    assert!(
        message.contains("did you mean `Europe/Berlin`?") && message.contains("expected a name such as"),
        "{message}"
    );
    assert!(message.ends_with("2 problems in deployment.toml"), "{message}");
}
