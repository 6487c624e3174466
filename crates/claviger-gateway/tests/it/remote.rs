//! The control plane over the network: paths, credentials, statuses and bounds, against a server of the test.

use crate::world::{START, World, active, tls};
use bytes::Bytes;
use claviger_gateway::control::{ControlError, ControlPlane, EventPage};
use claviger_gateway::model::{Snapshot, TokenVerdict};
use claviger_gateway::remote::{RemoteControlPlane, RemoteError};
use claviger_proto::event::{Event, NumberedEvent};
use claviger_proto::follow::EventsRequest;
use claviger_proto::ids::{ApiId, ApplicationId, EventId};
use claviger_proto::secret::Secret;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use url::Url;

/// Answers each request with the next prepared answer and notes what was asked.
struct Server {
    asked: Mutex<Vec<String>>,
    answers: Mutex<Vec<(StatusCode, String)>>,
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let authorization = request.headers()["authorization"].to_str().unwrap().to_owned();
        let line = format!("{} {}", request.method(), request.uri());
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let asked = format!("{line} [{authorization}] {}", String::from_utf8_lossy(&body));
        self.asked.lock().unwrap().push(asked.trim_end().to_owned());
        let (status, body) = self.answers.lock().unwrap().remove(0);
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response
    }

    fn next(&self, status: StatusCode, body: impl Into<String>) {
        self.answers.lock().unwrap().push((status, body.into()));
    }

    fn asked(&self) -> String {
        self.asked.lock().unwrap().pop().expect("something was asked")
    }
}

async fn start() -> (Arc<Server>, RemoteControlPlane) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let server = Arc::new(Server { asked: Mutex::default(), answers: Mutex::default() });
    let serving = Arc::clone(&server);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = Arc::clone(&serving);
            let service = service_fn(move |request| {
                let server = Arc::clone(&server);
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let remote = RemoteControlPlane::new(&base, "gateway", &Secret::new("pass:word"), tls()).unwrap();
    (server, remote)
}

const CREDENTIALS: &str = "[Basic Z2F0ZXdheTpwYXNzOndvcmQ=]";

#[tokio::test]
async fn every_question_has_its_path() {
    let (server, remote) = start().await;
    let world = World::start().await;
    let (api, application) = {
        let state = world.control.state();
        (state.apis[&ApiId(1)].clone(), state.applications[&ApplicationId(1)].clone())
    };
    let snapshot = Snapshot {
        as_of: EventId(7),
        apis: vec![api.clone()],
        applications: vec![application.clone()],
        issuers: Vec::new(),
        revoked_tokens: Vec::new(),
        revoked_clients: Vec::new(),
        revoked_users: Vec::new(),
    };
    server.next(StatusCode::OK, serde_json::to_string(&snapshot).unwrap());
    let answer = remote.snapshot().await.unwrap();
    assert_eq!(
        (answer.as_of, answer.apis, answer.applications),
        (EventId(7), vec![api.clone()], vec![application.clone()])
    );
    assert_eq!(server.asked(), format!("GET /internal/claviger/v1/snapshot {CREDENTIALS}"));

    server.next(StatusCode::OK, serde_json::to_string(&api).unwrap());
    assert_eq!(remote.api(ApiId(1)).await.unwrap(), Some(api));
    assert_eq!(server.asked(), format!("GET /internal/claviger/v1/apis/1 {CREDENTIALS}"));
    server.next(StatusCode::NOT_FOUND, "");
    assert_eq!(remote.api(ApiId(2)).await.unwrap(), None);

    server.next(StatusCode::OK, serde_json::to_string(&application).unwrap());
    assert_eq!(remote.application(ApplicationId(1)).await.unwrap(), Some(application));
    assert_eq!(server.asked(), format!("GET /internal/claviger/v1/applications/1 {CREDENTIALS}"));

    server.next(StatusCode::OK, "[]");
    assert_eq!(remote.issuers().await.unwrap(), Vec::new());
    assert_eq!(server.asked(), format!("GET /internal/claviger/v1/issuers {CREDENTIALS}"));

    let events = vec![NumberedEvent { id: EventId(9), event: Event::KeysChanged }];
    let page = EventPage { events, last: EventId(9) };
    server.next(StatusCode::OK, serde_json::to_string(&page).unwrap());
    let request = EventsRequest { after: EventId(8), gaps: vec![EventId(3), EventId(5)] };
    assert_eq!(remote.events(request, 250).await.unwrap(), page);
    assert_eq!(server.asked(), format!("GET /internal/claviger/v1/events?after=8&gaps=3,5&wait_ms=250 {CREDENTIALS}"));

    let verdict = TokenVerdict::Active(active("prod-1"));
    server.next(StatusCode::OK, serde_json::to_string(&verdict).unwrap());
    assert_eq!(remote.check_token("a+b&c=d").await.unwrap(), verdict);
    assert_eq!(server.asked(), format!("POST /internal/claviger/v1/check-token {CREDENTIALS} token=a%2Bb%26c%3Dd"));
    assert_eq!(active("prod-1").issued_at, START.plus_millis(-1_000));
}

#[tokio::test]
async fn statuses_mean_what_they_say() {
    let (server, remote) = start().await;
    let request = || EventsRequest { after: EventId(1), gaps: Vec::new() };
    server.next(StatusCode::GONE, "");
    assert!(matches!(remote.events(request(), 0).await, Err(ControlError::SnapshotNeeded)));
    server.next(StatusCode::UNAUTHORIZED, "");
    assert!(matches!(remote.snapshot().await, Err(ControlError::Refused)));
    server.next(StatusCode::NOT_IMPLEMENTED, "");
    assert!(matches!(remote.snapshot().await, Err(ControlError::Unsupported)));
    server.next(StatusCode::BAD_GATEWAY, "");
    assert!(matches!(remote.check_token("t").await, Err(ControlError::Unavailable(_))));
    server.next(StatusCode::FOUND, "");
    assert!(matches!(remote.issuers().await, Err(ControlError::Malformed(_))));
    server.next(StatusCode::NOT_FOUND, "");
    assert!(matches!(remote.check_token("t").await, Err(ControlError::Malformed(_))), "not the same as inactive");
    server.next(StatusCode::OK, "{\"secret\":\"s3cret\"");
    let error = remote.issuers().await.unwrap_err();
    assert!(matches!(error, ControlError::Malformed(_)) && !error.to_string().contains("s3cret"), "{error}");
    // More than a mebibyte for one object is refused.
    server.next(StatusCode::OK, " ".repeat(1024 * 1024 + 1));
    assert!(matches!(remote.api(ApiId(1)).await, Err(ControlError::Unavailable(_))));
    // Issuers are as many as tenants.
    server.next(StatusCode::OK, format!("{}[]", " ".repeat(1024 * 1024 + 1)));
    assert_eq!(remote.issuers().await.unwrap(), []);
    let many = EventsRequest { after: EventId(1), gaps: (2..600).map(EventId).collect() };
    assert!(matches!(remote.events(many, 0).await, Err(ControlError::SnapshotNeeded)));
}

#[tokio::test]
async fn credentials_do_not_travel_in_the_clear() {
    let new =
        |base: &str| RemoteControlPlane::new(&Url::parse(base).unwrap(), "u", &Secret::new("p"), tls()).map(|_| ());
    assert!(matches!(new("http://control.example:9443"), Err(RemoteError::NotHttps)));
    assert!(matches!(new("http://192.0.2.1"), Err(RemoteError::NotHttps)));
    assert!(new("https://control.example:9443").is_ok());
    assert!(new("http://127.0.0.1:9763").is_ok() && new("http://[::1]:9763").is_ok());
}
