//! The HTTP client of the tests and what every feature says on the wire.

use super::{ADMIN, Server};
use claviger_gateway::model::Snapshot;
use claviger_proto::hash::TokenHash;
use claviger_proto::time::Timestamp;
use reqwest::{Certificate, Client, ClientBuilder, Method, RequestBuilder, redirect};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A client that trusts this certificate only. It has HTTP/1.1 connections of its own for parallel requests.
pub(crate) fn client(certificate_pem: &[u8]) -> Client {
    builder(certificate_pem).http1_only().build().unwrap()
}

/// As [`client`], with HTTP/2.
pub(crate) fn http2_client(certificate_pem: &[u8]) -> Client {
    builder(certificate_pem).build().unwrap()
}

/// A client for plain ports.
pub(crate) fn plain_client() -> Client {
    Client::builder().no_proxy().http1_only().redirect(redirect::Policy::none()).build().unwrap()
}

fn builder(certificate_pem: &[u8]) -> ClientBuilder {
    let certificate = Certificate::from_pem(certificate_pem).unwrap();
    Client::builder().tls_certs_only([certificate]).no_proxy().redirect(redirect::Policy::none())
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A member of the JSON body that must be a text.
    pub(crate) fn text(&self, name: &str) -> String {
        let json = self.json();
        json[name].as_str().unwrap_or_else(|| panic!("no {name}: {self:?}")).to_owned()
    }

    /// Checks status, `error` and `error_description` of an OAuth error.
    #[track_caller]
    pub(crate) fn check_error(&self, status: u16, error: &str, description: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.json(), json!({ "error": error, "error_description": description }), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
    }
}

/// Sends a request.
pub(crate) trait Call {
    /// The whole answer; a broken connection is a failed test.
    async fn call(self) -> Reply;
    /// The whole answer, or `None` for a broken connection.
    async fn try_call(self) -> Option<Reply>;
}

impl Call for RequestBuilder {
    async fn call(self) -> Reply {
        read(self).await.unwrap()
    }

    async fn try_call(self) -> Option<Reply> {
        read(self).await.ok()
    }
}

async fn read(request: RequestBuilder) -> Result<Reply, reqwest::Error> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let text = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    Ok(Reply { status, headers, body: String::from_utf8_lossy(&response.bytes().await?).into_owned() })
}

/// Where requests go: a server in this process, or the built program.
pub(crate) trait Origin: Sync {
    /// A request to the management port.
    fn request(&self, method: Method, path: &str) -> RequestBuilder;

    /// The administrator's password.
    fn admin_password(&self) -> &str;

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }
}

impl<T: Origin> Origin for &T {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        (**self).request(method, path)
    }

    fn admin_password(&self) -> &str {
        (**self).admin_password()
    }
}

/// What introspection says of a token, asked by the administrator.
pub(crate) async fn introspect(origin: &impl Origin, token: &str) -> Value {
    let request = origin.post("/oauth2/introspect").basic_auth(ADMIN, Some(origin.admin_password()));
    let reply = request.form(&[("token", token)]).call().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// A figure of `GET /metrics`; 0 when it is not there.
pub(crate) async fn metric(origin: &impl Origin, name: &str) -> u64 {
    let reply = origin.get("/metrics").call().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let line = reply.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.map_or(0, |figure| figure.parse().unwrap())
}

/// A registered client.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// Registers a client as the administrator. `more` is laid over a plain registration of every grant.
pub(crate) async fn register(server: &impl Origin, name: &str, more: Value) -> Registered {
    let request = server.post("/keymanager-operations/dcr/register").basic_auth(ADMIN, Some(server.admin_password()));
    let reply = request.json(&registration(name, more)).call().await;
    assert_eq!(reply.status, 201, "{reply:?}");
    Registered { id: reply.text("client_id"), secret: reply.text("client_secret") }
}

/// The body of a registration.
pub(crate) fn registration(name: &str, more: Value) -> Value {
    let mut body = json!({
        "client_name": name,
        "grant_types": ["client_credentials", "password", "refresh_token"],
        "redirect_uris": [],
        "ext_application_owner": ADMIN,
    });
    let Value::Object(more) = more else { panic!("more fields are an object") };
    body.as_object_mut().unwrap().extend(more);
    body
}

impl Registered {
    /// A token request with the credentials in the header.
    pub(crate) async fn token(&self, server: &impl Origin, form: &[(&str, &str)]) -> Reply {
        server.post("/oauth2/token").basic_auth(&self.id, Some(&self.secret)).form(form).call().await
    }

    /// As [`Self::token`], for requests that must succeed.
    #[track_caller]
    pub(crate) fn issue<'a>(
        &'a self,
        server: &'a impl Origin,
        form: &'a [(&'a str, &'a str)],
    ) -> impl Future<Output = Reply> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let reply = self.token(server, form).await;
            assert_eq!(reply.status, 200, "at {caller}: {reply:?}");
            reply
        }
    }

    /// An application token.
    pub(crate) async fn application_token(&self, server: &impl Origin) -> String {
        self.issue(server, &[("grant_type", "client_credentials")]).await.text("access_token")
    }

    /// A revocation with the credentials in the header.
    pub(crate) async fn revoke(&self, server: &impl Origin, form: &[(&str, &str)]) -> Reply {
        server.post("/oauth2/revoke").basic_auth(&self.id, Some(&self.secret)).form(form).call().await
    }

    /// A login of the administrator.
    pub(crate) async fn log_in(&self, server: &impl Origin, scope: &str) -> Reply {
        let form =
            [("grant_type", "password"), ("username", ADMIN), ("password", server.admin_password()), ("scope", scope)];
        self.issue(server, &form).await
    }

    /// A use of a refresh token.
    pub(crate) async fn refresh(&self, server: &impl Origin, token: &str) -> Reply {
        self.token(server, &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    /// A change of the registration by the administrator.
    pub(crate) async fn change(&self, server: &impl Origin, body: &Value) -> Reply {
        let request = server.request(Method::PUT, &self.path()).basic_auth(ADMIN, Some(server.admin_password()));
        request.json(body).call().await
    }

    /// A new secret by the administrator.
    pub(crate) async fn renew_secret(&self, server: &impl Origin) -> Reply {
        let path = format!("{}/regenerate-consumer-secret", self.path());
        server.post(&path).basic_auth(ADMIN, Some(server.admin_password())).call().await
    }

    /// A deletion by the administrator.
    pub(crate) async fn delete(&self, server: &impl Origin) -> Reply {
        server.request(Method::DELETE, &self.path()).basic_auth(ADMIN, Some(server.admin_password())).call().await
    }

    fn path(&self) -> String {
        format!("/keymanager-operations/dcr/register/{}", self.id)
    }
}

/// What gateways know is dead.
pub(crate) struct Told(Snapshot);

impl Told {
    pub(crate) async fn by(server: &Server) -> Self {
        Self(server.snapshot().await)
    }

    /// Is the token with this name (opaque text or `jti`) on the list?
    pub(crate) fn has_token(&self, identifier: &str) -> bool {
        let token = TokenHash::of(identifier);
        self.0.revoked_tokens.iter().any(|revoked| revoked.token == token)
    }

    /// Is a JWT dead because all of its client's up to some instant are?
    pub(crate) fn has_client_of(&self, jwt: &str) -> bool {
        let claims = claims(jwt);
        let issued_at = Timestamp::from_secs(claims["iat"].as_i64().unwrap());
        let mut revoked = self.0.revoked_clients.iter();
        revoked.any(|revoked| claims["azp"] == revoked.consumer_key.as_str() && issued_at < revoked.before)
    }

    /// Does a gateway refuse this access token?
    pub(crate) fn is_dead(&self, token: &str) -> bool {
        if token.contains('.') {
            self.has_token(claims(token)["jti"].as_str().unwrap()) || self.has_client_of(token)
        } else {
            self.has_token(token)
        }
    }
}

/// The claims of a JWT, unverified.
pub(crate) fn claims(jwt: &str) -> Value {
    Value::Object(claviger_proto::jose::unverified_claims(jwt).unwrap())
}

/// The status of a request that is written by hand: a client's library would put the path right.
pub(crate) async fn raw_status(port: u16, method: &Method, path: &str, (user, password): (&str, &str)) -> u16 {
    let credentials = claviger_proto::encode::base64(format!("{user}:{password}").as_bytes());
    let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {credentials}\r\n");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("{method} {path}: {answer}"))
}
