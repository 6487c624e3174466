//! Deny by default: every management path with every method, asked by everybody whom it is not for, with tenants in the path and
//! in the header, and in every spelling. The cases are made from `Running.routes`; no route is named here.

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Database, Options, Reply, Server, insert_tenant, insert_user, on_sqlite,
    raw_status,
};
use claviger::http::access::Rule;
use claviger::http::routes::RouteEntry;
use claviger::http::tenant;
use claviger::server::Listeners;
use claviger_proto::ids::TenantId;
use futures_util::future::join_all;
use reqwest::Method;
use std::collections::BTreeMap;

const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS];
/// Paths that answer nobody without credentials, routes or not (rest-3x.md 6.1).
const CLOSED: [&str; 4] = ["/keymanager-operations/", "/api/", "/internal/", "/oauth2/introspect"];
/// Paths served below a tenant, as the contract's list has them for what is here (rest-3x.md 6.3).
const OF_TENANTS: [&str; 4] =
    ["/oauth2/", "/keymanager-operations/", "/api/identity/oauth2/dcr/v1.1/", "/api/identity/oauth2/v1.0/"];

const PLAIN: Option<(&str, &str)> = Some(("plain", "p"));
const SUPER: Option<(&str, &str)> = Some((ADMIN, ADMIN_PASSWORD));
const WRONG: Option<(&str, &str)> = Some((ADMIN, "wrong"));
const BOSS: Option<(&str, &str)> = Some(("boss@acme.com", "b"));
const CLERK: Option<(&str, &str)> = Some(("clerk@acme.com", "c"));

/// Somebody whom nothing guarded by a permission is for.
struct Stranger {
    who: Option<(&'static str, &'static str)>,
    header: &'static str,
    prefix: &'static str,
    /// What a permission's route answers him.
    refusal: u16,
}

const fn stranger(
    who: Option<(&'static str, &'static str)>,
    header: &'static str,
    prefix: &'static str,
    refusal: u16,
) -> Stranger {
    Stranger { who, header, prefix, refusal }
}

const STRANGERS: [Stranger; 17] = [
    stranger(None, "", "", 401),
    stranger(None, "acme.com", "", 401),
    stranger(WRONG, "", "", 401),
    stranger(PLAIN, "", "", 403),
    stranger(SUPER, "nowhere.com", "", 401),
    stranger(BOSS, "", "", 401),
    stranger(BOSS, "carbon.super", "", 401),
    stranger(BOSS, "other.com", "", 401),
    stranger(None, "", "/t/acme.com", 401),
    stranger(WRONG, "acme.com", "/t/acme.com", 401),
    stranger(CLERK, "", "/t/acme.com", 403),
    stranger(BOSS, "other.com", "/t/acme.com", 401),
    stranger(BOSS, "", "/t/other.com", 401),
    stranger(BOSS, "acme.com", "/t/carbon.super", 401),
    stranger(SUPER, "", "/t/acme.com", 401),
    stranger(SUPER, "other.com", "/t/acme.com", 401),
    stranger(SUPER, "nowhere.com", "/t/nowhere.com", 404),
];

impl Stranger {
    /// Is he nobody, whatever he asks for?
    fn is_nobody(&self) -> bool {
        self.who.is_none() || self.who == WRONG
    }

    /// What he is answered at a path that has this rule for the method, or none. `None`: the route lets him in, or is open.
    fn expected(&self, path: &str, method: &Method, rule: Option<Rule>) -> Option<u16> {
        let is_below = |starts: &[&str]| starts.iter().any(|start| path.starts_with(start));
        if !self.prefix.is_empty() && (!is_below(&OF_TENANTS) || self.prefix == "/t/nowhere.com") {
            return Some(404);
        }
        let Some(rule) = rule else {
            let is_closed = is_below(&CLOSED) && method != Method::OPTIONS;
            return Some(if is_closed && self.is_nobody() { 401 } else { 405 });
        };
        match rule {
            Rule::Permission(_) => Some(self.refusal),
            Rule::Portal(scopes) if !scopes.is_empty() && self.who == PLAIN => Some(401),
            Rule::Portal(_) | Rule::BasicUser => self.is_nobody().then_some(401),
            Rule::TenantAdministrator => (self.is_nobody() || self.who == PLAIN || self.who == CLERK).then_some(401),
            Rule::PortalOrAnonymous => (self.who == WRONG).then_some(401),
            Rule::Public(_) | Rule::OAuthClient | Rule::LoopbackOrPermission(_) => None,
        }
    }

    async fn ask(&self, server: &Server, method: &Method, path: &str) -> Reply {
        let mut request = server.request(method.clone(), &format!("{}{path}", self.prefix));
        if let Some((user, password)) = self.who {
            request = request.basic_auth(user, Some(password));
        }
        if !self.header.is_empty() {
            request = request.header("x-wso2-tenant", self.header);
        }
        request.call().await
    }
}

/// A refusal is the rules' or the router's own: no handler had a part in it.
fn is_before_handlers(reply: &Reply, method: &Method) -> bool {
    let is_of_container = reply.header("www-authenticate").is_some_and(|value| value.starts_with("realm user"));
    let texts = ["Unauthenticated request", "has no such method", "is not available", "invalid tenant domain"];
    is_of_container || method == Method::HEAD || texts.iter().any(|text| reply.body.contains(text))
}

/// The path with something in place of each placeholder.
fn concrete(entry: &RouteEntry) -> String {
    let fill = |part: &'static str| if part.starts_with('{') { "b3JkZXJz" } else { part };
    entry.path.split('/').map(fill).collect::<Vec<_>>().join("/")
}

/// The rule of each method of each path.
fn rules(server: &Server) -> BTreeMap<String, Vec<(Method, Rule)>> {
    let mut paths: BTreeMap<String, Vec<(Method, Rule)>> = BTreeMap::new();
    for entry in server.routes() {
        paths.entry(concrete(entry)).or_default().push((entry.method.clone(), entry.rule));
    }
    paths
}

async fn insert_people(server: &Server) {
    insert_user(server, TenantId::SUPER, "plain", "p", &[]).await;
    let acme = insert_tenant(server, "acme.com").await;
    insert_user(server, acme, "boss", "b", &["admin"]).await;
    insert_user(server, acme, "clerk", "c", &[]).await;
    insert_tenant(server, "other.com").await;
}

#[tokio::test]
async fn every_path_and_method_refuses_whom_it_is_not_for() {
    assert_eq!(tenant::PREFIXES, OF_TENANTS, "the list of the contract");
    on_sqlite("", async |server| {
        insert_people(server).await;
        let mut refused = 0;
        for (path, own) in &rules(server) {
            let rule_of = |method: &Method| own.iter().find(|(known, _)| known == method).map(|(_, rule)| *rule);
            for method in &METHODS {
                // A route's GET answers HEAD too.
                let by_get = if *method == Method::HEAD { rule_of(&Method::GET) } else { None };
                let rule = rule_of(method).or(by_get);
                let asked = STRANGERS.iter().map(|stranger| async move {
                    let expected = stranger.expected(path, method, rule)?;
                    Some((stranger, expected, stranger.ask(server, method, path).await))
                });
                for (stranger, expected, reply) in join_all(asked).await.into_iter().flatten() {
                    let Stranger { who, header, prefix, .. } = stranger;
                    let case = format!("{who:?} {header:?} {method} {prefix}{path}");
                    assert_eq!(reply.status, expected, "{case}: {reply:?}");
                    assert!(is_before_handlers(&reply, method), "{case}: {reply:?}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 3_000, "{refused}");
    })
    .await;
}

/// Nothing but the path as the list has it leads to a handler, for the administrator either.
#[tokio::test]
async fn no_other_spelling_leads_to_a_handler() {
    let listeners = Listeners::ephemeral().await.unwrap();
    let port = listeners.management_http.as_ref().unwrap().local_addr().unwrap().port();
    let server = Server::start(&Database::Sqlite, Options { listeners: Some(listeners), ..Options::default() }).await;
    let mut asked = 0;
    for entry in server.routes() {
        let path = concrete(entry);
        let (first, rest) = path[1..].split_at(1);
        let escaped = first.as_bytes()[0];
        // An escaped dot is one that hides something.
        let by_escape = if first == "." { 400 } else { 404 };
        let inner = path[1..].find('/').map_or(path.len(), |at| at + 1);
        let (head, tail) = path.split_at(inner);
        let spellings = [
            (format!("/{path}"), 400),
            (format!("/.{path}"), 400),
            (format!("/x/..{path}"), 400),
            (format!("/%2e{path}"), 400),
            (format!("/x/%2E%2e{path}"), 400),
            (format!("/%252e%252e{path}"), 400),
            (format!("/t/carbon.super/{path}"), 400),
            (format!("/t/carbon.super/..{path}"), 400),
            (format!("{path};x=1"), 400),
            (format!("{head};x{tail}"), 400),
            (format!("{path}/."), 400),
            (format!("{path}/.."), 400),
            (format!("{path}%00"), 400),
            (format!("{path}%2f"), 400),
            (format!("{path}%5c"), 400),
            (format!("{path}%c0%ae"), 400),
            (format!("{head}%2F{}", tail.trim_start_matches('/')), 400),
            (format!("/%{escaped:02x}{rest}"), by_escape),
            (format!("/%{escaped:02X}{rest}"), by_escape),
            (format!("/{}{rest}", first.to_uppercase()), 404),
            (path.to_uppercase(), 404),
        ];
        for (spelling, expected) in spellings {
            // Some begin with what has no other case.
            if spelling != path {
                let status = raw_status(port, &entry.method, &spelling, (ADMIN, ADMIN_PASSWORD)).await;
                assert_eq!(status, expected, "{} {spelling}", entry.method);
                asked += 1;
            }
        }
    }
    assert!(asked > 1_000, "{asked}");
    server.stop().await;
}
