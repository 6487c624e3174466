//! Statement 46 for users, and point 7 of what is told: an administrator changes a user by `claviger user`, and what the user holds
//! ends on every node, for gateways and for API Manager (rest-3x.md 5.2, 8.6; users-ldap.md 4.4).

use super::codes::CALLBACK;
use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Browser, Call as _, Database, Directory, Home, Node, Options, Origin as _, Post, Process,
    Receiver, Registered, Reply, Server, becomes_false, claims, databases, insert_tenant, insert_user, register,
    user_databases,
};
use claviger::files::{SIGNING_CERTIFICATE_FILE, SIGNING_FILE};
use claviger_gateway::model::Snapshot;
use claviger_proto::ids::TenantId;
use claviger_proto::user::NameRule;
use claviger_store::{revocations, user_admin, users};
use serde_json::json;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Longest wait for an event.
const TOLD: Duration = Duration::from_secs(30);
pub(super) const PASSWORD: &str = "first password";
pub(super) const NEXT_PASSWORD: &str = "second password";

/// What a command said, and its exit code.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    error: String,
}

/// `claviger user` on a node's directory.
fn claviger_user(directory: &Path, arguments: &[&str], input: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
    command.env_clear().arg("user").args(arguments).arg("--data-dir").arg(directory);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that refuses at once reads nothing.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let done = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: done.status.code(), out: text(done.stdout), error: text(done.stderr) }
}

/// The users whose JWTs a gateway refuses that starts now.
async fn revoked_users(node: &Node) -> Vec<String> {
    let request = node.get("/internal/claviger/v1/snapshot").basic_auth(ADMIN, Some(ADMIN_PASSWORD));
    let reply = request.call().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let snapshot: Snapshot = serde_json::from_str(&reply.body).unwrap();
    snapshot.revoked_users.into_iter().map(|revoked| revoked.subject).collect()
}

/// Two nodes on one database, or one on SQLite, with users that were there before, and API Manager's endpoint.
struct Installation {
    engine: &'static str,
    nodes: Vec<Node>,
    directories: Vec<Directory>,
    receiver: Receiver,
    /// Names with their UM_USER_ID.
    uuids: Vec<(&'static str, String)>,
}

impl Installation {
    async fn start(database: &Database, people: &'static [&'static str]) -> Self {
        let server = Server::start(database, Options::default()).await;
        let mut uuids = Vec::new();
        for name in people {
            insert_user(&server, TenantId::SUPER, name, PASSWORD, &["Internal/subscriber"]).await;
            let mut conn = server.app().store.reader().await.unwrap();
            let user = users::find(&mut conn, TenantId::SUPER, name, NameRule::Exact).await.unwrap().unwrap();
            uuids.push((*name, user_admin::find_uuid(&mut conn, TenantId::SUPER, &user).await.unwrap().unwrap()));
        }
        let first = server.stop_and_keep().await;
        let receiver = Receiver::start().await;
        let text = format!(
            "{}[server]\nbase_path = \"https://keys.example.org\"\n[oauth.token_persistence]\npersist_jwt_access_tokens = false\n\
             [identity_mgt.account_locking]\nenable_account_locking = true\nallowed_failed_attempts = 3\n{}",
            database.section(),
            Receiver::section_at(receiver.port)
        );
        let mut directories = vec![first];
        if database.is_shared() {
            let second = Directory::new();
            for file in [SIGNING_FILE, SIGNING_CERTIFICATE_FILE] {
                std::fs::copy(directories[0].path().join(file), second.path().join(file)).unwrap();
            }
            directories.push(second);
        }
        for directory in &directories {
            std::fs::write(directory.path().join("deployment.toml"), &text).unwrap();
        }
        let mut installation = Self { engine: database.engine(), nodes: Vec::new(), directories, receiver, uuids };
        installation.start_nodes().await;
        installation
    }

    async fn start_nodes(&mut self) {
        for directory in &self.directories {
            self.nodes.push(Node::new(Process::start(directory, &["--log", "warn"]).await));
        }
    }

    async fn stop_nodes(&mut self) {
        for node in self.nodes.drain(..) {
            let ended = node.end().await;
            assert_eq!(ended.code, Some(0), "{}", ended.output);
        }
    }

    /// Runs `claviger user`; the embedded database's server stops for it.
    async fn user(&mut self, arguments: &[&str], input: &str) -> Ran {
        let is_alone = self.directories.len() == 1;
        if is_alone {
            self.stop_nodes().await;
        }
        let ran = claviger_user(self.directories[0].path(), arguments, input);
        if is_alone {
            self.start_nodes().await;
        }
        ran
    }

    fn uuid(&self, name: &str) -> String {
        self.uuids.iter().find(|(own, _)| *own == name).unwrap().1.clone()
    }

    fn first(&self) -> &Node {
        &self.nodes[0]
    }

    /// As [`Self::user`], which must succeed, with its line in the audit log.
    async fn change(&mut self, arguments: &[&str], input: &str) {
        let ran = self.user(arguments, input).await;
        let what = format!("{} {arguments:?}: {ran:?}", self.engine);
        assert_eq!(ran.code, Some(0), "{what}");
        let line = ran.error.lines().find(|line| line.contains("audit") && line.contains("user administration"));
        assert!(line.is_some_and(|line| line.contains("outcome=\"done\"")), "{what}");
        assert!(!ran.error.contains(PASSWORD) && !ran.error.contains(NEXT_PASSWORD), "{what}");
    }

    /// Is the token active nowhere, soon?
    async fn ends(&self, token: &str) {
        for (number, node) in self.nodes.iter().enumerate() {
            assert!(becomes_false(async || node.is_active(token).await).await, "{} on node {number}", self.engine);
        }
    }

    async fn lives(&self, token: &str) {
        for (number, node) in self.nodes.iter().enumerate() {
            assert!(node.is_active(token).await, "{} on node {number}", self.engine);
        }
    }
}

/// Clients of every kind.
struct Clients {
    opaque: Registered,
    jwt: Registered,
    /// Its JWTs have no row: nothing refreshes them.
    rowless: Registered,
    /// What it was issued is EXPIRED, because it gets another type by now.
    changed: Registered,
    code: Registered,
}

impl Clients {
    async fn register(node: &Node, name: &str) -> Self {
        let of = async |kind: &str, more| register(node, &format!("{name}-{kind}"), more).await;
        Self {
            opaque: of("opaque", json!({})).await,
            jwt: of("jwt", json!({ "token_type_extension": "JWT" })).await,
            rowless: of("rowless", json!({ "token_type_extension": "JWT", "grant_types": ["password"] })).await,
            changed: of("changed", json!({})).await,
            code: of("code", json!({ "grant_types": ["authorization_code"], "redirect_uris": [CALLBACK] })).await,
        }
    }
}

/// What a user holds.
struct Held {
    opaque: Reply,
    jwt: Reply,
    rowless: Reply,
    /// Of an EXPIRED row.
    old: Reply,
    code: String,
}

async fn log_in(node: &Node, client: &Registered, name: &str, password: &str) -> Reply {
    client.token(node, &[("grant_type", "password"), ("username", name), ("password", password)]).await
}

impl Held {
    async fn by(installation: &Installation, clients: &Clients, name: &str) -> Self {
        let node = installation.first();
        let get = async |client| {
            let reply = log_in(node, client, name, PASSWORD).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            reply
        };
        let old = get(&clients.changed).await;
        let reply = clients.changed.change(node, &json!({ "token_type_extension": "JWT" })).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let request = [
            ("response_type", "code"),
            ("client_id", clients.code.id.as_str()),
            ("redirect_uri", CALLBACK),
            ("state", "s"),
            ("scope", "read"),
        ];
        let code = Browser::new(node).code(&request, (name, PASSWORD)).await;
        let held = Self {
            opaque: get(&clients.opaque).await,
            jwt: get(&clients.jwt).await,
            rowless: get(&clients.rowless).await,
            old,
            code,
        };
        for pair in [&held.opaque, &held.jwt, &held.rowless] {
            installation.lives(&pair.text("access_token")).await;
        }
        held
    }

    /// Nothing of it is good for anything, on any node.
    async fn check_over(&self, installation: &Installation, clients: &Clients) {
        for pair in [&self.opaque, &self.jwt, &self.rowless] {
            installation.ends(&pair.text("access_token")).await;
        }
        let refreshes = [(&clients.opaque, &self.opaque), (&clients.jwt, &self.jwt), (&clients.changed, &self.old)];
        for node in &installation.nodes {
            for (client, pair) in refreshes {
                let reply = client.refresh(node, &pair.text("refresh_token")).await;
                assert_eq!((reply.status, reply.text("error").as_str()), (400, "invalid_grant"), "{reply:?}");
            }
            let form = [("grant_type", "authorization_code"), ("code", self.code.as_str()), ("redirect_uri", CALLBACK)];
            let reply = clients.code.token(node, &form).await;
            assert_eq!((reply.status, reply.text("error").as_str()), (400, "invalid_grant"), "{reply:?}");
        }
    }

    /// The tokens that are told one by one: those with rows that were active.
    fn told(&self) -> [String; 2] {
        let jti = claims(&self.jwt.text("access_token"))["jti"].as_str().unwrap().to_owned();
        [self.opaque.text("access_token"), jti]
    }
}

/// Whatever is refused for other reasons: the rows say it too, to an old server as well. (SQLite's belong to its server.)
async fn check_no_row_lives(database: &Database, name: &str) {
    if !database.is_shared() {
        return;
    }
    let tokens = database.ask("SELECT AUTHZ_USER, TOKEN_STATE FROM IDN_OAUTH2_ACCESS_TOKEN").await.unwrap();
    let codes = database.ask("SELECT AUTHZ_USER, STATE FROM IDN_OAUTH2_AUTHORIZATION_CODE").await.unwrap();
    for (rows, count) in [(tokens, 3), (codes, 1)] {
        let states: Vec<&str> = rows.iter().filter(|row| row[0] == name).map(|row| row[1].as_str()).collect();
        assert_eq!(states, vec!["REVOKED"; count], "{} {name}", database.engine());
    }
}

fn has_told_user(posts: &[Post], entity: &str) -> bool {
    posts.iter().any(|post| {
        post.body["type"] == "subject_entity_revocation_event"
            && post.body["entityType"] == "USER_ID"
            && post.body["entityId"] == entity
            && post.body["tenantDomain"] == "carbon.super"
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn checklist_46_what_a_user_holds_ends_with_an_administrators_act() {
    for database in databases().await {
        let mut installation = Installation::start(&database, &["ann", "bob", "cid", "dan", "eve"]).await;
        let acts = [("ann", "password"), ("bob", "roles"), ("cid", "delete"), ("dan", "lock"), ("eve", "disable")];
        for (name, act) in acts {
            let is_shut_out = matches!(act, "delete" | "lock" | "disable");
            let what = format!("{} {act}", installation.engine);
            let clients = Clients::register(installation.first(), name).await;
            let held = Held::by(&installation, &clients, name).await;
            match act {
                "password" => installation.change(&["password", name], &format!("{NEXT_PASSWORD}\n")).await,
                "roles" => installation.change(&["roles", name, "--remove", "Internal/subscriber"], "").await,
                _ => installation.change(&[act, name], "").await,
            }
            check_no_row_lives(&database, name).await;
            held.check_over(&installation, &clients).await;
            let entity = installation.uuid(name);
            let is_told = |posts: &[Post]| {
                let told = |token: &String| posts.iter().any(|post| post.body["accessToken"] == *token);
                held.told().iter().all(told) && has_told_user(posts, &entity)
            };
            installation.receiver.wait_until(TOLD, is_told).await;
            let subject = format!("{name}@carbon.super");
            for node in &installation.nodes {
                assert!(revoked_users(node).await.contains(&subject), "{what}");
            }
            // What he is by now he may be at once.
            let (old, new) = (PASSWORD, if act == "password" { NEXT_PASSWORD } else { PASSWORD });
            for node in &installation.nodes {
                for client in [&clients.opaque, &clients.rowless] {
                    let reply = log_in(node, client, name, new).await;
                    assert_eq!(reply.status, if is_shut_out { 400 } else { 200 }, "{what}: {reply:?}");
                    if !is_shut_out {
                        installation.lives(&reply.text("access_token")).await;
                    }
                }
                if act == "password" {
                    assert_eq!(log_in(node, &clients.opaque, name, old).await.status, 400, "{what}");
                }
            }
            // What ended stays so when he is let in again.
            let back = match act {
                "lock" => "unlock",
                "disable" => "enable",
                _ => continue,
            };
            installation.change(&[back, name], "").await;
            for node in &installation.nodes {
                let is_out = async || log_in(node, &clients.opaque, name, PASSWORD).await.status != 200;
                assert!(becomes_false(is_out).await, "{what}");
            }
            held.check_over(&installation, &clients).await;
        }
        installation.stop_nodes().await;
        database.remove().await;
    }
}

/// Checks that nothing was done, and why.
fn check_refused(ran: &Ran, why: &str) {
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains(why) || ran.error.contains(why), "{why}: {ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn checklist_46_another_role_ends_nothing_and_some_acts_are_refused() {
    for database in databases().await {
        let mut installation = Installation::start(&database, &["ann", "tim"]).await;
        let clients = Clients::register(installation.first(), "ann").await;
        let held = Held::by(&installation, &clients, "ann").await;
        installation.change(&["roles", "ann", "--add", "Internal/creator", "--add", "admin"], "").await;
        // It counts: only an administrator may ask this.
        let is_unknown = async || {
            let request = installation.first().get("/internal/claviger/v1/notifications");
            request.basic_auth("ann", Some(PASSWORD)).call().await.status != 200
        };
        assert!(becomes_false(is_unknown).await, "{}", installation.engine);
        let directory = installation.directories[0].path().to_owned();
        if database.is_shared() {
            let run = |arguments: &[&str], input: &str| claviger_user(&directory, arguments, input);
            check_refused(&run(&["delete", "admin"], ""), "is the administrator of the configuration");
            check_refused(&run(&["delete", "Admin"], ""), "is the administrator of the configuration");
            check_refused(&run(&["lock", "admin"], ""), "is the administrator of the configuration");
            check_refused(&run(&["disable", "admin"], ""), "is the administrator of the configuration");
            check_refused(&run(&["delete", "nobody"], ""), "there is no user nobody@carbon.super");
            check_refused(&run(&["password", "ann"], "\n"), "the password is empty");
            check_refused(&run(&["password", "ann"], ""), "the password is empty");
            check_refused(&run(&["roles", "ann", "--remove", "nothing"], ""), "there is no role nothing");
            check_refused(&run(&["roles", "ann", "--remove", "Internal/everyone"], ""), "every user has the role");
            check_refused(&run(&["delete", "ann@"], ""), "is not a user's name");
            assert_eq!(run(&["roles", "ann"], "").code, Some(2));
        } else {
            check_refused(&claviger_user(&directory, &["delete", "ann"], ""), "is in use by another server");
        }
        for pair in [&held.opaque, &held.jwt, &held.rowless] {
            installation.lives(&pair.text("access_token")).await;
        }
        let reply = clients.changed.refresh(installation.first(), &held.old.text("refresh_token")).await;
        assert_eq!(reply.status, 200, "{}: {reply:?}", installation.engine);
        // Of two administrators one may go, of one none. Who is locked is none.
        installation.change(&["roles", "tim", "--add", "admin"], "").await;
        installation.change(&["lock", "tim"], "").await;
        installation.change(&["roles", "admin", "--remove", "admin"], "").await;
        let ran = installation.user(&["roles", "ann", "--remove", "admin"], "").await;
        check_refused(&ran, "is the last user with the role admin");
        for act in ["delete", "lock", "disable"] {
            let ran = installation.user(&[act, "ann"], "").await;
            check_refused(&ran, "is the last user with the role admin");
        }
        installation.change(&["unlock", "tim"], "").await;
        installation.change(&["lock", "ann"], "").await;
        installation.stop_nodes().await;
        database.remove().await;
    }
}

/// A lock after wrong passwords is ended by hand, and nothing is left of them.
#[tokio::test(flavor = "multi_thread")]
async fn an_unlock_forgets_wrong_passwords() {
    for database in databases().await {
        let mut installation = Installation::start(&database, &["ann"]).await;
        let client = register(installation.first(), "unlock", json!({})).await;
        for _ in 0..3 {
            assert_eq!(
                log_in(installation.first(), &client, "ann", "wrong").await.status,
                400,
                "{}",
                database.engine()
            );
        }
        assert_eq!(log_in(installation.first(), &client, "ann", PASSWORD).await.status, 400, "{}", database.engine());
        installation.change(&["unlock", "ann"], "").await;
        if database.is_shared() {
            let facts = database.ask("SELECT DATA_KEY, DATA_VALUE FROM IDN_IDENTITY_USER_DATA").await.unwrap();
            assert!(
                facts.len() > 3 && facts.iter().all(|fact| ["0", "false"].contains(&fact[1].as_str())),
                "{facts:?}"
            );
        }
        for node in &installation.nodes {
            let is_out = async || log_in(node, &client, "ann", PASSWORD).await.status != 200;
            assert!(becomes_false(is_out).await, "{}", database.engine());
        }
        installation.stop_nodes().await;
        database.remove().await;
    }
}

/// Killed when the user is shut out and his tokens are not yet looked for: the second run does the rest.
#[tokio::test(flavor = "multi_thread")]
async fn checklist_46_a_deletion_that_was_killed_is_finished_by_the_next() {
    for database in databases().await {
        if database.is_shared() {
            let mut installation = Installation::start(&database, &["ann"]).await;
            installation.change(&["roles", "ann", "--add", "admin"], "").await;
            let clients = Clients::register(installation.first(), "ann").await;
            let held = Held::by(&installation, &clients, "ann").await;
            let held_clients = database.hold_clients().await;
            let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
            command.env_clear().args(["user", "delete", "ann", "--data-dir"]).arg(installation.directories[0].path());
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let is_known = async || {
                let request = installation.first().get("/internal/claviger/v1/notifications");
                request.basic_auth("ann", Some(PASSWORD)).call().await.status != 401
            };
            assert!(becomes_false(is_known).await, "{}", installation.engine);
            assert!(child.try_wait().unwrap().is_none(), "it waits for the clients");
            child.kill().unwrap();
            child.wait().unwrap();
            drop(held_clients);
            // The rows of his tokens were not looked for, and are worth nothing.
            let reply = clients.opaque.refresh(installation.first(), &held.opaque.text("refresh_token")).await;
            assert_eq!(reply.status, 400, "{}: {reply:?}", installation.engine);
            for node in &installation.nodes {
                let is_active = async || node.is_active(&held.opaque.text("access_token")).await;
                assert!(becomes_false(is_active).await, "{}", installation.engine);
            }
            // Who goes is no administrator any more.
            let ran = installation.user(&["roles", "admin", "--remove", "admin"], "").await;
            check_refused(&ran, "is the last user with the role admin");
            installation.change(&["delete", "ann"], "").await;
            held.check_over(&installation, &clients).await;
            let ran = installation.user(&["delete", "ann"], "").await;
            check_refused(&ran, "there is no user ann@carbon.super");
            installation.stop_nodes().await;
        }
        database.remove().await;
    }
}

/// Of a user whose store is only read an account is locked in our own tables; the rest is that store's.
#[tokio::test(flavor = "multi_thread")]
async fn checklist_46_a_user_of_a_secondary_store_is_locked() {
    const HR: &[(TenantId, &str, &str, &[&str])] = &[(TenantId::SUPER, "ann", PASSWORD, &[])];
    let stores = Box::pin(user_databases([HR])).await;
    for (database, [hr]) in databases().await.into_iter().zip(stores) {
        if database.is_shared() {
            let (home, directory) = (Home::new(), Directory::new());
            home.write(TenantId::SUPER, "hr", &hr.properties(None));
            let options = Options { home: Some(home.path().to_owned()), ..Options::default() };
            let server = Box::pin(Server::start(&database, options)).await;
            insert_user(&server, TenantId::SUPER, "ann", PASSWORD, &[]).await;
            let text = format!("{}[server]\nhome = \"{}\"\n", database.section(), home.path().display());
            std::fs::write(directory.path().join("deployment.toml"), text).unwrap();
            let run = |arguments: &[&str]| claviger_user(directory.path(), arguments, NEXT_PASSWORD);
            let client = register(&server, "shop", json!({})).await;
            let log_in = async |name| {
                let form = [("grant_type", "password"), ("username", name), ("password", PASSWORD)];
                client.token(&server, &form).await
            };
            let (of_hr, of_primary) = (log_in("HR/ann").await.text("access_token"), log_in("PRIMARY/ann").await);
            let of_primary = of_primary.text("access_token");
            for arguments in
                [&["password", "HR/ann"][..], &["delete", "HR/ann"], &["roles", "HR/ann", "--add", "admin"]]
            {
                check_refused(&run(arguments), "is a user of a secondary user store");
            }
            assert!(server.is_active(&of_hr).await, "{}", server.engine);
            let ran = run(&["lock", "hr/ann"]);
            assert_eq!(ran.code, Some(0), "{ran:?}");
            assert!(becomes_false(async || server.is_active(&of_hr).await).await, "{}", server.engine);
            assert!(server.is_active(&of_primary).await, "{}: his namesake's", server.engine);
            assert_eq!(log_in("HR/ann").await.status, 400, "{}", server.engine);
            let ran = run(&["unlock", "HR/ann"]);
            assert_eq!(ran.code, Some(0), "{ran:?}");
            // The server's clock stood still meanwhile.
            server.clock.advance_s(60);
            assert!(becomes_false(async || log_in("HR/ann").await.status != 200).await, "{}", server.engine);
            server.stop().await;
        }
        for database in [database, hr.database] {
            database.remove().await;
        }
    }
}

/// A name of the super tenant's may read as another tenant's user, whose tokens are nobody's to end.
#[tokio::test(flavor = "multi_thread")]
async fn checklist_46_a_name_with_an_at_sign_is_nobody_elses() {
    for database in databases().await {
        if database.is_shared() {
            let directory = Directory::new();
            let server = Server::start(&database, Options::default()).await;
            let tenant = insert_tenant(&server, "x.org").await;
            for name in ["ann@x.org", "bob@x.org"] {
                insert_user(&server, TenantId::SUPER, name, PASSWORD, &[]).await;
            }
            insert_user(&server, tenant, "ann", PASSWORD, &[]).await;
            std::fs::write(directory.path().join("deployment.toml"), database.section()).unwrap();
            for name in ["ann@x.org@carbon.super", "bob@x.org@carbon.super"] {
                let ran = claviger_user(directory.path(), &["lock", name], "");
                assert_eq!(ran.code, Some(0), "{ran:?}");
            }
            let mut conn = server.app().store.reader().await.unwrap();
            for (subject, is_revoked) in [
                ("ann@x.org@carbon.super", true),
                ("ann@x.org", false),
                ("bob@x.org@carbon.super", true),
                // As gateways read it, and nobody else is called so.
                ("bob@x.org", true),
            ] {
                let found = revocations::find_user(&mut conn, subject).await.unwrap();
                assert_eq!(found.is_some(), is_revoked, "{subject} on {}", server.engine);
            }
            drop(conn);
            server.stop().await;
        }
        database.remove().await;
    }
}
