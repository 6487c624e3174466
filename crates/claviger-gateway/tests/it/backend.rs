//! A backend that tells what it got, and that can be slow, silent or failing.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};

pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) requests: AtomicUsize,
    /// Pieces of bodies sent to `/upload`, as they come in; an empty piece is the end.
    pub(crate) uploads: Mutex<mpsc::Receiver<Bytes>>,
    uploaded: mpsc::Sender<Bytes>,
    /// What `/download` sends; closing it ends the answer.
    pub(crate) download: std::sync::Mutex<Option<mpsc::Sender<Bytes>>>,
    downloads: Mutex<mpsc::Receiver<Bytes>>,
}

type Body = BoxBody<Bytes, Infallible>;

impl Backend {
    pub(crate) async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (uploaded, uploads) = mpsc::channel(64);
        let (download, downloads) = mpsc::channel(64);
        let backend = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            requests: AtomicUsize::new(0),
            uploads: Mutex::new(uploads),
            uploaded,
            download: std::sync::Mutex::new(Some(download)),
            downloads: Mutex::new(downloads),
        });
        let serving = Arc::clone(&backend);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let backend = Arc::clone(&serving);
                let service = service_fn(move |request| {
                    let backend = Arc::clone(&backend);
                    async move { Ok::<_, Infallible>(backend.answer(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        backend
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/base", self.address)
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let path = request.uri().path().to_owned();
        if path.ends_with("/hang") {
            return std::future::pending().await;
        }
        if path.ends_with("/fail") {
            let mut response = text("the backend's own words");
            *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            response.headers_mut().insert("x-backend", "yes".parse().unwrap());
            response.headers_mut().insert("connection", "x-hop".parse().unwrap());
            response.headers_mut().insert("x-hop", "1".parse().unwrap());
            return response;
        }
        if path.ends_with("/upload") {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                let Ok(Ok(data)) = frame.map(Frame::into_data) else { break };
                self.uploaded.send(data).await.unwrap();
            }
            self.uploaded.send(Bytes::new()).await.unwrap();
            return text("uploaded");
        }
        if path.ends_with("/download") {
            let stream = futures_util::stream::unfold(self, |backend| async move {
                let piece = backend.downloads.lock().await.recv().await?;
                Some((Ok(Frame::data(piece)), backend))
            });
            return Response::new(BodyExt::boxed(StreamBody::new(stream)));
        }
        echo(request).await
    }
}

/// The request in lines, then a blank line and its body.
async fn echo(request: Request<Incoming>) -> Response<Body> {
    let mut lines = vec![format!("{} {}", request.method(), request.uri())];
    for (name, value) in request.headers() {
        lines.push(format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
    }
    let body = request.into_body().collect().await.unwrap().to_bytes();
    lines.push(String::new());
    lines.push(String::from_utf8_lossy(&body).into_owned());
    text(&lines.join("\n"))
}

fn text(text: &str) -> Response<Body> {
    Response::new(Full::new(Bytes::from(text.to_owned())).boxed())
}
