//! The server under test: our release build, started in a directory of its own and set up over its REST interfaces
//! (contract/rest-3x.md sections 3.2 and 4; contract/portal-gateway-3x.md sections 1.1, 2.2, 2.7, 3.3-3.6).

use super::{
    Bench,
    http::{Body, Request, Response, basic},
    load::SERVER_CPU,
};
use crate::{process, servers};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Where the server looks for its configuration, below its data directory.
const CONFIGURATION_FILE: &str = "deployment.toml";
/// The server's ports before the offset: management HTTP and HTTPS, gateway HTTP and HTTPS, LDAP, Thrift.
const PORTS: [u16; 6] = [MANAGEMENT_HTTP, 9443, GATEWAY_HTTP, 8243, 10389, 10397];
const MANAGEMENT_HTTP: u16 = 9763;
const GATEWAY_HTTP: u16 = 8280;
const OFFSET_ATTEMPTS: usize = 50;
const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// How long a published API or a new subscription may take to reach the gateway.
const GATEWAY_LIMIT: Duration = Duration::from_secs(15);
/// Between two tries of a cold start; the measure is no finer than this.
const COLD_POLL: Duration = Duration::from_millis(2);

/// A data directory, its configuration and its ports; running or not.
pub(crate) struct Subject {
    directory: PathBuf,
    /// The cores it runs on.
    cores: &'static str,
    offset: u16,
    password: String,
    child: Option<Child>,
}

/// An OAuth client of the server.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Client {
    pub(crate) fn basic(&self) -> String {
        basic(&self.id, &self.secret)
    }
}

/// Which kind of access token a client gets: the value of `token_type_extension`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Jwt,
    Opaque,
}

impl Subject {
    /// Makes the directory and starts the server in it; returns when its management port answers.
    pub(crate) fn start(bench: &mut Bench, name: &str, configuration: &str) -> Result<Self> {
        Self::start_on(SERVER_CPU, bench, name, configuration)
    }

    /// [`Self::start`] on these cores, as taskset names them.
    pub(crate) fn start_on(cores: &'static str, bench: &mut Bench, name: &str, configuration: &str) -> Result<Self> {
        let directory = bench.directory.join(name);
        fs::create_dir(&directory)?;
        fs::write(directory.join(CONFIGURATION_FILE), configuration)?;
        let password = servers::random_hex(12)?;
        let mut subject = Self { directory, cores, offset: free_offset()?, password, child: None };
        subject.spawn(bench)?;
        subject.wait_until_ready()?;
        Ok(subject)
    }

    /// Stops and starts the server, with another configuration.
    pub(crate) fn restart(&mut self, bench: &mut Bench, configuration: &str) -> Result<()> {
        self.stop()?;
        fs::write(self.directory.join(CONFIGURATION_FILE), configuration)?;
        self.start_again(bench)
    }

    /// Starts the server after [`Self::stop`].
    pub(crate) fn start_again(&mut self, bench: &mut Bench) -> Result<()> {
        self.spawn(bench)?;
        self.wait_until_ready()
    }

    /// A second node on the same databases, with the same keys and configuration; running.
    pub(crate) fn beside(&self, bench: &mut Bench, name: &str) -> Result<Self> {
        let directory = bench.directory.join(name);
        process::capture(Command::new("cp").arg("-a").arg(&self.directory).arg(&directory))?;
        let mut node =
            Self { directory, cores: self.cores, offset: free_offset()?, password: self.password.clone(), child: None };
        node.start_again(bench)?;
        Ok(node)
    }

    fn spawn(&mut self, bench: &mut Bench) -> Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.directory.with_extension("log"))?;
        let mut command = Command::new("taskset");
        command.args(["-c", self.cores]).arg(process::target_directory().join("release/claviger"));
        command.arg("serve").arg("--data-dir").arg(&self.directory).arg("--port-offset").arg(self.offset.to_string());
        command.env("CLAVIGER_ADMIN_PASSWORD", &self.password).current_dir(&self.directory);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(bench.guard.spawn(&mut command, "TERM")?);
        Ok(())
    }

    /// Ready is when the token endpoint refuses an unknown client as OAuth says.
    fn wait_until_ready(&mut self) -> Result<()> {
        process::poll("the first answer of the server", START_LIMIT, || {
            self.check_alive()?;
            let request = self.form("/oauth2/token", None, "grant_type=client_credentials");
            Ok(request.send().ok().filter(|response| (400..500).contains(&response.status)).map(|_| ()))
        })
        .with_context(|| self.log_tail())
    }

    fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.as_mut().context("the server was not started")?.try_wait()? {
            bail!("the server ended with {status}");
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.directory.with_extension("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!(
            "the server's log ends:\n{}",
            lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n")
        )
    }

    pub(crate) fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        process::signal_group(child.id(), "TERM")?;
        process::poll("the server's end after SIGTERM", STOP_LIMIT, || Ok(child.try_wait()?)).map(|_| ())
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("the server was not started")?.id())
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What is added to each of the server's ports.
    pub(crate) fn offset(&self) -> u16 {
        self.offset
    }

    pub(crate) fn management_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.management())
    }

    pub(crate) fn gateway_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.gateway())
    }

    pub(crate) fn management(&self) -> u16 {
        MANAGEMENT_HTTP + self.offset
    }

    fn gateway(&self) -> u16 {
        GATEWAY_HTTP + self.offset
    }

    pub(crate) fn admin(&self) -> String {
        basic("admin", &self.password)
    }

    fn form<'a>(&self, path: &'a str, authorization: Option<&'a str>, form: &'a str) -> Request<'a> {
        Request { port: self.management(), method: "POST", path, authorization, body: Body::Form(form) }
    }

    fn post(&self, path: &str, authorization: &str, body: &Value, statuses: &[u16]) -> Result<Value> {
        let body = if body.is_null() { Body::None } else { Body::Json(body) };
        let request =
            Request { port: self.management(), method: "POST", path, authorization: Some(authorization), body };
        request.json(statuses)
    }

    /// Registers a client_credentials client at the key manager's own interface.
    pub(crate) fn register(&self, name: &str, kind: TokenKind) -> Result<Client> {
        let extension = if kind == TokenKind::Jwt { "JWT" } else { "Default" };
        let body = json!({"client_name": name, "grant_types": ["client_credentials"], "redirect_uris": [],
            "token_type_extension": extension, "ext_application_owner": "admin"});
        let answer = self.post("/keymanager-operations/dcr/register", &self.admin(), &body, &[200, 201])?;
        Ok(Client { id: text(&answer, "client_id")?, secret: text(&answer, "client_secret")? })
    }

    /// One access token for a client.
    pub(crate) fn token(&self, client: &Client) -> Result<String> {
        let basic = client.basic();
        let answer = self.form("/oauth2/token", Some(&basic), "grant_type=client_credentials").json(&[200])?;
        text(&answer, "access_token")
    }

    /// Whether introspection calls a token active.
    pub(crate) fn is_active(&self, token: &str) -> Result<bool> {
        let answer = self.form("/oauth2/introspect", Some(&self.admin()), &format!("token={token}")).json(&[200])?;
        answer.get("active").and_then(Value::as_bool).with_context(|| format!("no `active` in {answer}"))
    }

    /// From starting the process to the first token, in milliseconds. The server must have been stopped.
    pub(crate) fn cold_start_ms(&mut self, bench: &mut Bench, client: &Client) -> Result<f64> {
        let basic = client.basic();
        let started = Instant::now();
        self.spawn(bench)?;
        loop {
            let answer = self.form("/oauth2/token", Some(&basic), "grant_type=client_credentials").send();
            if answer.is_ok_and(|response| response.status == 200) {
                return Ok(started.elapsed().as_secs_f64() * 1000.0);
            }
            self.check_alive().with_context(|| self.log_tail())?;
            if started.elapsed() > START_LIMIT {
                bail!("no token within {} s\n{}", START_LIMIT.as_secs(), self.log_tail());
            }
            process::pause(COLD_POLL);
        }
    }

    /// Publishes an API with a secured and an open resource before `backend`, subscribes two applications, and
    /// returns a JWT and an opaque token that may call it.
    pub(crate) fn publish(&self, backend: u16) -> Result<Published> {
        let bearer = self.portal_bearer()?;
        let endpoint = format!("http://127.0.0.1:{backend}");
        let operation = |target: &str, kind: &str| json!({"target": target, "verb": "GET", "authType": kind, "throttlingPolicy": "Unlimited"});
        let api = json!({"name": "Bench", "context": "/bench", "version": "1.0.0", "policies": ["Unlimited"],
            "transport": ["http", "https"], "securityScheme": ["oauth2"], "gatewayEnvironments": ["Production and Sandbox"],
            "endpointConfig": {"endpoint_type": "http", "production_endpoints": {"url": endpoint}},
            "operations": [operation("/secured", "Application & Application User"), operation("/open", "None")]});
        let api = text(&self.post("/api/am/publisher/v1/apis", &bearer, &api, &[201])?, "id")?;
        let publish = format!("/api/am/publisher/v1/apis/change-lifecycle?apiId={api}&action=Publish");
        self.post(&publish, &bearer, &Value::Null, &[200])?;

        let client = self.application_client(&bearer, "bench-jwt", &api)?;
        let jwt = self.token(&client)?;
        // The portal's keys are for JWTs; the key manager's own interface makes one a client for opaque tokens.
        let client = self.application_client(&bearer, "bench-opaque", &api)?;
        let path = format!("/keymanager-operations/dcr/register/{}", client.id);
        let (admin, change) = (self.admin(), json!({"token_type_extension": "Default"}));
        let request = Request {
            port: self.management(),
            method: "PUT",
            path: &path,
            authorization: Some(&admin),
            body: Body::Json(&change),
        };
        request.json(&[200])?;
        let opaque = self.token(&client)?;
        let published = Published { jwt: format!("Bearer {jwt}"), opaque: format!("Bearer {opaque}") };
        self.wait_for_gateway(&published)?;
        Ok(published)
    }

    /// A subscribed application with production keys.
    fn application_client(&self, bearer: &str, name: &str, api: &str) -> Result<Client> {
        let application = self.subscribed_application(bearer, name, api)?;
        let keys = json!({"keyType": "PRODUCTION", "grantTypesToBeSupported": ["client_credentials"],
            "callbackUrl": "", "scopes": [], "validityTime": "3600", "additionalProperties": {}});
        let path = format!("/api/am/store/v1/applications/{application}/generate-keys");
        let keys = self.post(&path, bearer, &keys, &[200])?;
        Ok(Client { id: text(&keys, "consumerKey")?, secret: text(&keys, "consumerSecret")? })
    }

    fn portal_bearer(&self) -> Result<String> {
        let registration = json!({"clientName": "bench-portal", "owner": "admin", "saasApp": true,
            "grantType": "password refresh_token"});
        let answer = self.post("/client-registration/v0.17/register", &self.admin(), &registration, &[200, 201])?;
        let client = Client { id: text(&answer, "clientId")?, secret: text(&answer, "clientSecret")? };
        let scopes =
            "apim:api_view%20apim:api_create%20apim:api_publish%20apim:subscribe%20apim:app_manage%20apim:sub_manage";
        let form = format!("grant_type=password&username=admin&password={}&scope={scopes}", self.password);
        let answer = self.form("/oauth2/token", Some(&client.basic()), &form).json(&[200])?;
        Ok(format!("Bearer {}", text(&answer, "access_token")?))
    }

    fn subscribed_application(&self, bearer: &str, name: &str, api: &str) -> Result<String> {
        let application = json!({"name": name, "throttlingPolicy": "Unlimited", "tokenType": "JWT"});
        let answer = self.post("/api/am/store/v1/applications", bearer, &application, &[201])?;
        let id = text(&answer, "applicationId")?;
        let subscription = json!({"applicationId": id, "apiId": api, "throttlingPolicy": "Unlimited"});
        self.post("/api/am/store/v1/subscriptions", bearer, &subscription, &[201])?;
        Ok(id)
    }

    /// Until both tokens pass; then makes sure that the secured resource is indeed secured.
    fn wait_for_gateway(&self, published: &Published) -> Result<()> {
        let call = |path: &str, authorization: Option<&str>| -> Result<Response> {
            Request { port: self.gateway(), method: "GET", path, authorization, body: Body::None }.send()
        };
        for (path, authorization) in
            [(OPEN, None), (SECURED, Some(published.jwt.as_str())), (SECURED, Some(published.opaque.as_str()))]
        {
            let mut last = String::new();
            process::poll("200 from the gateway", GATEWAY_LIMIT, || {
                let response = call(path, authorization)?;
                last = format!(
                    "{path} answered {}: {}",
                    response.status,
                    response.body.chars().take(300).collect::<String>()
                );
                Ok((response.status == 200).then_some(()))
            })
            .with_context(|| last.clone())?;
        }
        let status = call(SECURED, None)?.status;
        anyhow::ensure!(status == 401, "the secured resource answers {status} without a token");
        Ok(())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("xtask: {error:#}");
        }
    }
}

/// The two resources of the published API.
pub(crate) const SECURED: &str = "/bench/1.0.0/secured";
pub(crate) const OPEN: &str = "/bench/1.0.0/open";

/// Authorization values that may call the published API.
pub(crate) struct Published {
    pub(crate) jwt: String,
    pub(crate) opaque: String,
}

fn text(value: &Value, name: &str) -> Result<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned).with_context(|| format!("no `{name}` in {value}"))
}

/// An offset under which all the server's ports are free.
fn free_offset() -> Result<u16> {
    for _ in 0..OFFSET_ATTEMPTS {
        let Some(offset) = servers::free_port()?.checked_sub(MANAGEMENT_HTTP) else { continue };
        let is_free =
            |port: &u16| port.checked_add(offset).is_some_and(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
        if PORTS.iter().all(is_free) {
            return Ok(offset);
        }
    }
    bail!("no port offset with all ports free in {OFFSET_ATTEMPTS} tries")
}
