//! API Manager's notification endpoint, as far as a sender can tell: it notes what is posted and answers as it is told to.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use claviger::http::tls;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Longest wait for an event.
const WAIT: Duration = Duration::from_secs(30);

/// One post and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) status: u16,
}

impl Post {
    /// A member of the event that must be a text.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.body[name].as_str().unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }
}

type Answer = Box<dyn FnMut(&Value) -> u16 + Send>;

struct Shared {
    posts: watch::Sender<Vec<Post>>,
    /// Posts that came, answered or not.
    arrived: watch::Sender<usize>,
    answer: Mutex<Answer>,
    is_held: watch::Sender<bool>,
}

/// The endpoint; it ends with its value.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    /// Without TLS, on loopback. It takes everything.
    pub(crate) async fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), None).await
    }

    /// With the certificate of a directory that nothing else uses, at an address of this host.
    pub(crate) async fn start_at(address: IpAddr, pair: Option<claviger::files::KeyPair>) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = pair.map(|pair| tls::acceptor(pair).unwrap());
        let shared = Arc::new(Shared {
            posts: watch::Sender::new(Vec::new()),
            arrived: watch::Sender::new(0),
            answer: Mutex::new(Box::new(|_| 200)),
            is_held: watch::Sender::new(false),
        });
        let router = Router::new().fallback(take).with_state(shared.clone());
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                stream.set_nodelay(true).unwrap();
                let (router, acceptor) = (router.clone(), acceptor.clone());
                connections.spawn(async move {
                    match acceptor {
                        Some(acceptor) => {
                            // A sender that does not trust us hangs up.
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            serve(router, stream).await;
                        }
                        None => serve(router, stream).await,
                    }
                });
            }
        });
        Self { port, shared, serving }
    }

    /// `[[event_listener]]` for this endpoint, behind a port of loopback.
    pub(crate) fn section_at(port: u16) -> String {
        Self::section_for(&format!("http://127.0.0.1:{port}/internal/data/v1/notify"))
    }

    /// `[[event_listener]]` for an endpoint; properties may follow.
    pub(crate) fn section_for(url: &str) -> String {
        format!(
            "[[event_listener]]\nid = \"token_revocation\"\n\
             type = \"org.wso2.carbon.identity.core.handler.AbstractIdentityHandler\"\n\
             name = \"org.wso2.is.notification.ApimOauthEventInterceptor\"\norder = 1\n\
             [event_listener.properties]\nnotification_endpoint = \"{url}\"\nusername = \"notifier\"\n\
             password = \"planted-notifier-password\"\n'header.X-WSO2-KEY-MANAGER' = \"WSO2-IS\"\n"
        )
    }

    /// Answers with this status from now on.
    pub(crate) fn answer(&self, answer: impl FnMut(&Value) -> u16 + Send + 'static) {
        *self.shared.answer.lock().unwrap() = Box::new(answer);
    }

    /// Answers nobody until it is let go.
    pub(crate) fn hold(&self, is_held: bool) {
        self.shared.is_held.send_replace(is_held);
    }

    /// Everything that was answered, in order.
    pub(crate) fn posts(&self) -> Vec<Post> {
        self.shared.posts.borrow().clone()
    }

    /// What was answered with success.
    pub(crate) fn taken(&self) -> Vec<Post> {
        self.posts().into_iter().filter(|post| post.status == 200).collect()
    }

    /// Waits until so many posts were answered with success.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Post> {
        self.wait_until(WAIT, |posts| posts.iter().filter(|post| post.status == 200).count() >= count).await;
        self.taken()
    }

    /// Waits for what was answered to be as asked.
    pub(crate) async fn wait_until(&self, bound: Duration, mut is_so: impl FnMut(&[Post]) -> bool) {
        let mut posts = self.shared.posts.subscribe();
        // What it gives borrows the posts: who borrows them a second time meanwhile stands behind a post that waits for the first.
        let is_met = tokio::time::timeout(bound, posts.wait_for(|posts| is_so(posts))).await.is_ok();
        assert!(is_met, "not in {bound:?}: {} posts", self.posts().len());
    }

    /// Waits until so many posts have arrived, answered or not.
    pub(crate) async fn wait_for_arrivals(&self, count: usize) {
        let mut arrived = self.shared.arrived.subscribe();
        let is_met = tokio::time::timeout(WAIT, arrived.wait_for(|arrived| *arrived >= count)).await.is_ok();
        assert!(is_met, "{} of {count} posts in {WAIT:?}", *self.shared.arrived.borrow());
    }
}

async fn serve(router: Router, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = TowerToHyperService::new(router);
    let connection = Builder::new(TokioExecutor::new());
    drop(connection.serve_connection(TokioIo::new(stream), service).await);
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let body: Value = serde_json::from_slice(&body).unwrap();
    shared.arrived.send_modify(|arrived| *arrived += 1);
    drop(shared.is_held.subscribe().wait_for(|is_held| !is_held).await);
    let status = (shared.answer.lock().unwrap())(&body);
    shared.posts.send_modify(|posts| posts.push(Post { headers, body, status }));
    StatusCode::from_u16(status).unwrap()
}
