//! One or two nodes of an installation: processes of the built program, each with a zone and a directory of its own, by one clock
//! that the test sets.

use super::clock::Clock;
use super::{Promise, Zones};
use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Database, Directory, Node, Origin as _, Post, Process, Receiver,
};
use claviger::files::{SIGNING_CERTIFICATE_FILE, SIGNING_FILE};
use std::path::Path;
use std::time::Duration;

/// The name of both.
const BASE_PATH: &str = "https://keys.example.org";
/// The second node's zone. Nothing stored depends on it: the file names the zone of the first.
const READER_ZONE: &str = "Asia/Kolkata";
/// Longest wait for an event.
const TOLD: Duration = Duration::from_secs(30);

async fn start_node(clock: &Clock, zone: &str, directory: &Directory) -> Node {
    Node::new(Process::start_as(&|| clock.command(zone), directory, &["--log", "warn"]).await)
}

/// What a command of the program said and wrote, and whether it succeeded.
fn run(clock: &Clock, directory: &Path, arguments: &[&str]) -> (bool, String) {
    let output = clock.command(READER_ZONE).args(arguments).arg("--data-dir").arg(directory).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), text)
}

/// The ends of what gateways of API Manager are told under this name.
pub(super) async fn listed_ends(node: &Node, name: &str) -> Vec<i64> {
    let request = node.get("/internal/data/v1/revokedjwt").basic_auth(ADMIN, Some(ADMIN_PASSWORD));
    let reply = request.call().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let listed = reply.json();
    let found = listed.as_array().unwrap().iter().filter(|row| row["jwt_signature"] == name);
    found.map(|row| row["expiry_time"].as_i64().unwrap()).collect()
}

/// The nodes, and who is told of dead tokens.
pub(super) struct Installation {
    pub(super) zones: Zones,
    pub(super) has_jwt_rows: bool,
    pub(super) issuer: Node,
    /// Where two may share the database.
    reader: Option<Node>,
    receiver: Receiver,
    directories: [Directory; 2],
    /// Goes after those who go by it.
    pub(super) clock: Clock,
}

impl Installation {
    pub(super) async fn start(clock: Clock, database: &Database, zones: Zones, has_jwt_rows: bool) -> Self {
        zones.set_session(database).await;
        let (receiver, directories) = (Receiver::start().await, [Directory::new(), Directory::new()]);
        // The embedded database is cleaned by its own process, the others by a command.
        let text = format!(
            "{}[server]\nbase_path = \"{BASE_PATH}\"\n[cleanup]\nenable = {}\ninterval_s = 1\nshare_percent = 100\n\
             [oauth.token_persistence]\npersist_jwt_access_tokens = {has_jwt_rows}\n{}[db]\ntoken_time_zone = \"{}\"\n",
            database.section(),
            !database.is_shared(),
            Receiver::section_at(receiver.port),
            zones.token
        );
        let write = |directory: &Directory, more: &str| {
            std::fs::write(directory.path().join("deployment.toml"), format!("{text}{more}")).unwrap();
        };
        // The first node takes the zone of its host for the other times, the second is told.
        write(&directories[0], "");
        write(&directories[1], &format!("local_time_zone = \"{}\"\n", zones.host));
        let issuer = start_node(&clock, zones.host, &directories[0]).await;
        let reader = if database.is_shared() {
            for file in [SIGNING_FILE, SIGNING_CERTIFICATE_FILE] {
                std::fs::copy(directories[0].path().join(file), directories[1].path().join(file)).unwrap();
            }
            Some(start_node(&clock, READER_ZONE, &directories[1]).await)
        } else {
            None
        };
        Self { zones, has_jwt_rows, issuer, reader, receiver, directories, clock }
    }

    pub(super) fn reader(&self) -> &Node {
        self.reader.as_ref().unwrap_or(&self.issuer)
    }

    /// Waits for what API Manager is told of a token's end, which happened just now.
    pub(super) async fn wait_until_told(&self, promise: &Promise, place: &str) {
        let name = promise.identifier();
        let is_it = |post: &Post| post.status == 200 && post.body["accessToken"] == name.as_str();
        self.receiver.wait_until(TOLD, |posts| posts.iter().any(is_it)).await;
        let post = self.receiver.posts().into_iter().find(is_it).unwrap();
        let end = post.body["expiryTime"].as_i64().unwrap();
        assert_eq!(end, promise.end_ms, "{place}: {post:?}");
        assert_eq!(post.body["timeStamp"], self.clock.now_ms(), "{place}: {post:?}");
    }

    /// Waits for the event that every JWT of a client is dead that was issued before an instant, which it gives.
    pub(super) async fn wait_until_told_of_client(&self, client_id: &str, place: &str) -> i64 {
        let is_it =
            |post: &Post| post.body["type"] == "consumer_app_revocation_event" && post.body["consumerKey"] == client_id;
        self.receiver.wait_until(TOLD, |posts| posts.iter().any(is_it)).await;
        let post = self.receiver.posts().into_iter().find(is_it).unwrap();
        assert_eq!(post.body["timeStamp"], self.clock.now_ms(), "{place}: {post:?}");
        post.body["revocationTime"].as_i64().unwrap()
    }

    /// `claviger db clean`, beside the nodes: did it succeed, and what did it say?
    pub(super) async fn clean(&self, database: &Database) -> (bool, String) {
        set_clock(database, self.clock.now_ms()).await;
        run(&self.clock, self.directories[1].path(), &["db", "clean"])
    }
}

/// Lets PostgreSQL answer our questions for the time as we say: nobody cleans whose clock is not the server's. (The functions of
/// MySQL cannot be replaced.)
async fn set_clock(database: &Database, at_ms: i64) {
    let Database::Postgres { name, .. } = database else { return };
    let function = format!(
        "CREATE OR REPLACE FUNCTION public.clock_timestamp() RETURNS TIMESTAMPTZ LANGUAGE sql VOLATILE AS \
         'SELECT to_timestamp({at_ms} / 1000.0)'"
    );
    database.execute(&function).await;
    database.execute(&format!("ALTER DATABASE {name} SET search_path TO public, pg_catalog")).await;
}
