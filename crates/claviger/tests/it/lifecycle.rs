//! Starting and ending the program: what operators see when something is in the way, and what clients lose when it ends.

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Database, Directory, Options, Process, Server, databases, free_offset,
    plain_client, registration,
};
use claviger::config::ports;
use claviger::files::{ADMIN_PASSWORD_FILE, SIGNING_FILE, TLS_FILE};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Longest time in which a port must close after the signal.
const CLOSE_MS_MAX: u64 = 10_000;

fn write_config(directory: &Directory, text: &str) {
    std::fs::write(directory.path().join("deployment.toml"), text).unwrap();
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A request whose head the server has read: it asked for the rest.
async fn half_sent(address: SocketAddr, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /oauth2/introspect HTTP/1.1\r\nhost: x\r\nauthorization: Basic {}\r\nexpect: 100-continue\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
        claviger_proto::encode::base64(format!("{ADMIN}:{ADMIN_PASSWORD}").as_bytes()),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&body.as_bytes()[..body.len() / 2]).await.unwrap();
    stream
}

async fn wait_until_refused(address: SocketAddr) {
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    let bound = Duration::from_millis(CLOSE_MS_MAX);
    tokio::time::timeout(bound, refused).await.expect("the port closes soon after the signal");
}

#[tokio::test]
async fn sigterm_lets_running_requests_finish() {
    let directory = Directory::new();
    let process = Process::start(&directory, &[]).await;
    let (address, body) = (process.plain_address(), "token=something");
    let mut slow = half_sent(address, body).await;
    // An idle connection must not hold the end up.
    let _idle = TcpStream::connect(address).await.unwrap();
    process.terminate();
    wait_until_refused(address).await;
    slow.write_all(&body.as_bytes()[body.len() / 2..]).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with(r#"{"active":false}"#), "{answer}");
    let ended = process.wait_for_end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
}

#[tokio::test]
async fn a_request_that_never_finishes_is_cut_at_the_deadline() {
    let directory = Directory::new();
    write_config(&directory, "[server]\nshutdown_deadline_s = 1\n");
    let process = Process::start(&directory, &[]).await;
    let mut slow = half_sent(process.plain_address(), "token=something").await;
    process.terminate();
    let ended = process.wait_for_end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(ended.output.contains("deadline"), "{}", ended.output);
    let mut rest = Vec::new();
    drop(slow.read_to_end(&mut rest).await);
    assert!(rest.is_empty(), "a half request has no answer");
}

#[tokio::test]
async fn one_server_per_data_directory() {
    let directory = Directory::new();
    let first = Process::start(&directory, &[]).await;
    let second = Process::try_start(directory.path(), free_offset(), &[]).await;
    let Err(refused) = second else { panic!("two servers run on one data directory") };
    assert_eq!(refused.code, Some(1), "{}", refused.output);
    assert!(refused.output.contains("is in use by another server (process "), "{}", refused.output);
    assert!(refused.output.contains("--data-dir"), "what to do: {}", refused.output);
    // The first one is not disturbed, and its end frees the directory.
    let live = plain_client().get(format!("{}/health/ready", first.plain())).call().await;
    assert_eq!(live.status, 200);
    first.kill();
    drop(Process::start(&directory, &[]).await);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    for base in [ports::MANAGEMENT_HTTPS, ports::MANAGEMENT_HTTP, ports::GATEWAY_HTTPS, ports::GATEWAY_HTTP] {
        let (directory, offset) = (Directory::new(), free_offset());
        let port = base + offset;
        let _taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.unwrap();
        let Err(refused) = Process::try_start(directory.path(), offset, &[]).await else {
            panic!("started on a taken port {base}")
        };
        assert_eq!(refused.code, Some(1), "{}", refused.output);
        assert!(refused.output.contains(&format!("0.0.0.0:{port} cannot be opened")), "{}", refused.output);
        assert!(refused.output.contains("--port-offset"), "what to do: {}", refused.output);
        let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
        assert!(left.is_empty(), "a start that fails at its ports leaves nothing behind: {left:?}");
    }
}

#[tokio::test]
async fn a_broken_configuration_is_refused_with_its_place() {
    let directory = Directory::new();
    for (text, place, what) in [
        ("[server]\nhostname = \"x\n", "deployment.toml:2:", ""),
        ("[server]\n\noffsett = 1\n", "deployment.toml:3:", "offsett"),
        ("[oauth]\ntimestamp_skew = \"soon\"\n", "deployment.toml:2:", "timestamp_skew"),
        ("[database.shared_db]\ntype = \"oracle\"\n", "deployment.toml:2:", "not supported"),
    ] {
        write_config(&directory, text);
        let Err(refused) = Process::try_start(directory.path(), free_offset(), &[]).await else {
            panic!("started with {text:?}")
        };
        assert_eq!(refused.code, Some(3), "{text}: {}", refused.output);
        assert!(refused.output.contains(place) && refused.output.contains(what), "{text}: {}", refused.output);
    }
    let missing = Process::try_start(directory.path(), free_offset(), &["--config", "/nowhere/x.toml"]).await;
    let Err(refused) = missing else { panic!("started without its configuration") };
    assert_eq!(refused.code, Some(3), "{}", refused.output);
    assert!(refused.output.contains("/nowhere/x.toml"), "{}", refused.output);
}

#[tokio::test]
async fn an_unreachable_database_is_named() {
    // A port that nobody listens on: bound and given back.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let planted = "planted-database-password";
    for (scheme, label) in [("mysql", "mysql"), ("postgresql", "postgresql")] {
        let directory = Directory::new();
        write_config(
            &directory,
            &format!(
                "[database.shared_db]\nurl = \"jdbc:{scheme}://127.0.0.1:{port}/keys\"\nusername = \"u\"\n\
                 password = \"{planted}\"\n[database.shared_db.pool_options]\nmax_wait = 2000\n"
            ),
        );
        let Err(refused) = Process::try_start(directory.path(), free_offset(), &[]).await else {
            panic!("started without its database")
        };
        assert_eq!(refused.code, Some(1), "{}", refused.output);
        let text = format!("the database {label} 127.0.0.1:{port}/keys of [database.shared_db] cannot be opened");
        assert!(refused.output.contains(&text), "{}", refused.output);
        assert!(!refused.output.contains(planted), "{}", refused.output);
    }
    let directory = Directory::new();
    write_config(&directory, "[database.shared_db]\ntype = \"sqlite\"\nname = \"no/such/directory/x.sqlite\"\n");
    let Err(refused) = Process::try_start(directory.path(), free_offset(), &[]).await else {
        panic!("started without a directory for its database")
    };
    assert_eq!(refused.code, Some(1), "{}", refused.output);
    assert!(
        refused.output.contains("no/such/directory/x.sqlite of [database.shared_db] cannot be opened"),
        "{}",
        refused.output
    );
}

#[tokio::test]
async fn a_missing_database_on_a_server_is_named() {
    for database in databases().await {
        if !database.is_shared() {
            continue;
        }
        let section = database.section();
        database.remove().await;
        let directory = Directory::new();
        write_config(&directory, &section);
        let Err(refused) = Process::try_start(directory.path(), free_offset(), &[]).await else {
            panic!("started without its database")
        };
        assert_eq!(refused.code, Some(1), "{}", refused.output);
        assert!(refused.output.contains("cannot be opened"), "{}", refused.output);
    }
}

#[tokio::test]
async fn the_first_start_makes_up_a_password_that_works() {
    let directory = Directory::new();
    let mut offset = free_offset();
    let process = loop {
        match Process::try_start_without_password(directory.path(), offset, &[]).await {
            Ok(process) => break process,
            Err(ended) => assert!(ended.is_port_taken(), "{ended:?}"),
        }
        offset = free_offset();
    };
    let file = directory.path().join(ADMIN_PASSWORD_FILE);
    let password = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    assert!(password.len() >= 20, "too short to be safe");
    for name in [ADMIN_PASSWORD_FILE, SIGNING_FILE, TLS_FILE] {
        assert_eq!(mode(&directory.path().join(name)), 0o600, "{name}");
    }
    let ask = async |process: &Process, password: &str| {
        let request = plain_client().post(format!("{}/oauth2/introspect", process.plain()));
        request.basic_auth(ADMIN, Some(password)).form(&[("token", "x")]).call().await.status
    };
    assert_eq!(ask(&process, &password).await, 200);
    assert_eq!(ask(&process, "admin").await, 401);
    assert_eq!(ask(&process, ADMIN_PASSWORD).await, 401);
    let ended = process.kill();
    assert!(ended.output.contains(ADMIN_PASSWORD_FILE), "the operator is told where: {}", ended.output);
    assert!(!ended.output.contains(&password), "and not what");
    // A later start changes nothing, whatever password is configured then.
    let process = Process::start(&directory, &[]).await;
    assert_eq!(ask(&process, &password).await, 200);
    assert_eq!(ask(&process, ADMIN_PASSWORD).await, 401);
}

#[tokio::test]
async fn what_was_made_survives_a_restart() {
    let directory = Directory::new();
    let process = Process::start(&directory, &[]).await;
    let http = plain_client();
    let request = http.post(format!("{}/keymanager-operations/dcr/register", process.plain()));
    let preset = json!({ "ext_param_client_id": "restart_client_1", "ext_param_client_secret": "restart_secret" });
    let request = request.basic_auth(ADMIN, Some(ADMIN_PASSWORD)).json(&registration("restart", preset));
    assert_eq!(request.call().await.status, 201);
    let token = async |process: &Process| {
        let request = http.post(format!("{}/oauth2/token", process.plain()));
        let request = request.basic_auth("restart_client_1", Some("restart_secret"));
        request.form(&[("grant_type", "client_credentials")]).call().await.text("access_token")
    };
    let keys = async |process: &Process| http.get(format!("{}/oauth2/jwks", process.plain())).call().await.body;
    let (first_token, first_keys) = (token(&process).await, keys(&process).await);
    process.terminate();
    assert_eq!(process.wait_for_end().await.code, Some(0));
    let process = Process::start(&directory, &[]).await;
    assert_eq!(token(&process).await, first_token, "the active token is handed out again");
    assert_eq!(keys(&process).await, first_keys, "the signing key stays");
}

#[tokio::test]
async fn nodes_may_start_together_on_an_empty_database() {
    for database in databases().await {
        if database.is_shared() {
            let start = async |database: &Database| Server::start(database, Options::default()).await;
            let (a, b) = tokio::join!(start(&database), start(&database));
            let made = [&a, &b].iter().filter(|server| server.has_made_administrator()).count();
            assert_eq!(made, 1, "{}", a.engine);
            for server in [&a, &b] {
                let request = server.post("/oauth2/introspect").basic_auth(ADMIN, Some(ADMIN_PASSWORD));
                assert_eq!(request.form(&[("token", "x")]).call().await.status, 200, "{}", server.engine);
            }
            a.stop().await;
            b.stop().await;
        }
        database.remove().await;
    }
}
