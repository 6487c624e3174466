//! No secret reaches the log: every flow with planted credentials at the highest log level, over HTTP/1.1 and HTTP/2, then a
//! search through all that the process wrote.

use crate::harness::{
    ADMIN, ADMIN_PASSWORD, Call as _, Directory, Process, Receiver, Reply, hidden, http2_client, plain_client,
    registration, sent_back,
};
use claviger::files::TLS_CERTIFICATE_FILE;
use claviger_proto::encode::base64;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const REGISTER: &str = "/keymanager-operations/dcr/register";
const WRONG: &str = "planted-wrong-password";
const WRONG_SECRET: &str = "planted_wrong_client_secret";
const UNKNOWN_TOKEN: &str = "planted-unknown-token-c0ffee";
/// RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// The flows of one client, and every secret that was sent or received.
struct Flows<'a> {
    http: &'a Client,
    base: String,
    secrets: Vec<String>,
}

impl Flows<'_> {
    fn plant(&mut self, secret: &str) -> String {
        self.secrets.push(secret.to_owned());
        secret.to_owned()
    }

    /// A name and password as they stand in the header.
    fn plant_basic(&mut self, name: &str, secret: &str) {
        self.secrets.push(base64(format!("{name}:{secret}").as_bytes()));
        self.plant(secret);
    }

    async fn call(&mut self, path: &str, basic: Option<(&str, &str)>, form: &[(&str, &str)]) -> Reply {
        let mut request = self.http.post(format!("{}{path}", self.base)).form(form);
        if let Some((name, secret)) = basic {
            self.plant_basic(name, secret);
            request = request.basic_auth(name, Some(secret));
        }
        let reply = request.call().await;
        if let Ok(Value::Object(body)) = serde_json::from_str(&reply.body) {
            for name in ["access_token", "refresh_token", "client_secret"] {
                self.secrets.extend(body.get(name).and_then(Value::as_str).map(str::to_owned));
            }
        }
        reply
    }

    async fn open(&self, path: &str, cookie: &str) -> Reply {
        self.http.get(format!("{}{path}", self.base)).header("cookie", cookie).call().await
    }

    async fn run(&mut self, name: &str, token_type: &str) {
        let (id, secret) = (format!("planted_client_{name}"), self.plant(&format!("planted_secret_{name}")));
        let preset = json!({
            "ext_param_client_id": id, "ext_param_client_secret": secret, "token_type_extension": token_type,
            "redirect_uris": ["https://app.example/cb"],
            "grant_types": ["authorization_code", "client_credentials", "password", "refresh_token"],
        });
        self.plant_basic(ADMIN, ADMIN_PASSWORD);
        let request = self.http.post(format!("{}{REGISTER}", self.base)).basic_auth(ADMIN, Some(ADMIN_PASSWORD));
        assert_eq!(request.json(&registration(name, preset)).call().await.status, 201);
        let client = Some((id.as_str(), secret.as_str()));
        let grant = ("grant_type", "client_credentials");

        // Issue: header, body, wrong secret, garbage in the header.
        let token = self.call("/oauth2/token", client, &[grant]).await.text("access_token");
        let body = [grant, ("client_id", &id), ("client_secret", &secret)];
        assert_eq!(self.call("/oauth2/token", None, &body).await.status, 200);
        assert_eq!(self.call("/oauth2/token", Some((&id, WRONG_SECRET)), &[grant]).await.status, 401);
        let body = [grant, ("client_id", id.as_str()), ("client_secret", WRONG_SECRET)];
        assert_eq!(self.call("/oauth2/token", None, &body).await.status, 401);
        let body = [grant, ("client_secret", WRONG_SECRET), ("client_secret", WRONG_SECRET)];
        assert_eq!(self.call("/oauth2/token", None, &body).await.status, 400);
        let broken = self.http.post(format!("{}/oauth2/token", self.base)).header("authorization", WRONG_SECRET);
        assert_eq!(broken.form(&[grant]).call().await.status, 401);

        // Users: right and wrong password, refresh, replay.
        let user = [("grant_type", "password"), ("username", ADMIN), ("password", ADMIN_PASSWORD)];
        let pair = self.call("/oauth2/token", client, &user).await;
        self.plant(WRONG);
        let wrong = [("grant_type", "password"), ("username", ADMIN), ("password", WRONG)];
        assert_eq!(self.call("/oauth2/token", client, &wrong).await.status, 400);
        let refresh = pair.text("refresh_token");
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
        let second = self.call("/oauth2/token", client, &form).await;
        assert_eq!(second.status, 200, "{second:?}");
        assert_eq!(self.call("/oauth2/token", client, &form).await.status, 400);

        // A code from the login page: password, code, verifier, and what the browser carries.
        self.plant(VERIFIER);
        let asked = format!(
            "{}/oauth2/authorize?response_type=code&client_id={id}&state=s&code_challenge={CHALLENGE}&code_challenge_method=S256",
            self.base
        );
        let begun = self.http.get(asked).call().await;
        let cookie = begun.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        self.plant(cookie.split_once('=').unwrap().1);
        let mut page = self.open(begun.header("location").unwrap(), &cookie).await;
        let key = self.plant(&hidden(&page, "sessionDataKey"));
        for password in [WRONG, ADMIN_PASSWORD] {
            let form = [("sessionDataKey", key.as_str()), ("username", ADMIN), ("password", password)];
            let request = self.http.post(format!("{}/commonauth", self.base)).header("cookie", &cookie).form(&form);
            page = request.call().await;
        }
        while page.status != 200 {
            page = self.open(page.header("location").unwrap(), &cookie).await;
        }
        let key = self.plant(&hidden(&page, "sessionDataKeyConsent"));
        let form = [("sessionDataKeyConsent", key.as_str()), ("consent", "approve")];
        let request = self.http.post(format!("{}/oauth2/authorize", self.base)).header("cookie", &cookie).form(&form);
        let code = self.plant(&sent_back(&request.call().await)["code"]);
        let form = [("grant_type", "authorization_code"), ("code", code.as_str()), ("code_verifier", VERIFIER)];
        assert_eq!(self.call("/oauth2/token", client, &form).await.status, 200);
        assert_eq!(self.call("/oauth2/token", client, &form).await.status, 400);

        // Introspection and revocation of known and unknown tokens, by good and bad callers.
        self.plant(UNKNOWN_TOKEN);
        for token in [token.as_str(), &second.text("access_token"), &second.text("refresh_token"), UNKNOWN_TOKEN] {
            let form = [("token", token)];
            for caller in [Some((ADMIN, ADMIN_PASSWORD)), Some((ADMIN, WRONG)), client, None] {
                self.call("/oauth2/introspect", caller, &form).await;
            }
            assert_eq!(self.call("/oauth2/revoke", None, &form).await.status, 401);
            assert_eq!(self.call("/oauth2/revoke", client, &form).await.status, 200);
        }

        // Registration: read, change with the secret in the body, new secret, delete.
        let own = format!("{REGISTER}/{id}");
        for (method, path, status) in [
            (Method::GET, own.clone(), 200),
            (Method::PUT, own.clone(), 200),
            (Method::POST, format!("{own}/regenerate-consumer-secret"), 200),
            (Method::DELETE, own, 204),
        ] {
            let request = self.http.request(method, format!("{}{path}", self.base));
            let request = request.basic_auth(ADMIN, Some(ADMIN_PASSWORD)).json(&json!({ "client_id": secret }));
            let reply = request.call().await;
            assert_eq!(reply.status, status, "{reply:?}");
            if let Ok(body) = serde_json::from_str::<Value>(&reply.body) {
                self.secrets.extend(body["client_secret"].as_str().map(str::to_owned));
            }
        }
    }
}

/// The secret as it may stand in a form.
fn encoded(secret: &str) -> String {
    url::form_urlencoded::byte_serialize(secret.as_bytes()).collect()
}

/// The secret as a list of bytes shows it.
fn numbers(secret: &str) -> String {
    secret.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ")
}

/// Whoever reads the audit log must not have to guess whose store and tenant a name is of.
fn check_audit(log: &str) {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut told = BTreeSet::new();
    for line in lines.filter(|line| line["target"] == "audit") {
        let fields = line["fields"].as_object().unwrap();
        for name in ["user", "by", "owner"] {
            let Some(user) = fields.get(name) else { continue };
            assert!(user.as_str().unwrap().ends_with("@carbon.super"), "{line}");
            told.insert(fields["message"].as_str().unwrap().to_owned());
        }
    }
    let expected = [
        "authorization code used twice",
        "basic authentication",
        "consent",
        "login page",
        "password grant",
        "token revoked",
    ];
    assert_eq!(told.into_iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn no_secret_is_written_at_any_log_level() {
    for format in ["text", "json"] {
        let directory = Directory::new();
        // API Manager is told of every dead token, and does not take each at once.
        let receiver = Receiver::start().await;
        let mut count = 0;
        receiver.answer(move |_| {
            count += 1;
            if count % 3 == 0 { 500 } else { 200 }
        });
        std::fs::write(directory.path().join("deployment.toml"), Receiver::section_at(receiver.port)).unwrap();
        let process = Process::start(&directory, &["--log", "trace", "--log-format", format]).await;
        let certificate = std::fs::read(directory.path().join(TLS_CERTIFICATE_FILE)).unwrap();
        let (plain, secure) = (plain_client(), http2_client(&certificate));
        let mut secrets = Vec::new();
        for (http, base, name) in [(&plain, process.plain(), "plain"), (&secure, process.secure(), "http2")] {
            for token_type in ["Default", "JWT"] {
                let mut flows = Flows { http, base: base.clone(), secrets: Vec::new() };
                flows.run(&format!("{name}_{token_type}"), token_type).await;
                secrets.append(&mut flows.secrets);
            }
        }
        let told = receiver.wait_for(8).await;
        assert!(told.iter().any(|post| secrets.iter().any(|secret| secret == post.text("accessToken"))));
        let notifier = "planted-notifier-password".to_owned();
        secrets.extend([base64(format!("notifier:{notifier}").as_bytes()), notifier]);
        process.terminate();
        let ended = process.wait_for_end().await;
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        assert!(ended.output.contains("TRACE"), "the log level did not take effect");
        assert!(ended.output.contains("/oauth2/token"), "the flows are in the log");
        if format == "json" {
            check_audit(&ended.output);
        }
        secrets.sort();
        secrets.dedup();
        assert!(secrets.len() > 40, "{} secrets are too few to be all", secrets.len());
        for secret in &secrets {
            for form in [secret.clone(), encoded(secret), base64(secret.as_bytes()), numbers(secret)] {
                let line = ended.output.lines().find(|line| line.contains(&form));
                assert_eq!(line, None, "a secret is in the log, as {form}");
            }
        }
    }
}
