//! A bare hyper server: the request-rate ceiling that our cached paths are compared with, and the backend and
//! authoriser of the gateway benchmarks. `hyper-hello ADDRESS THREADS BODY_BYTES`; answers anything with 200.

use anyhow::{Context as _, Result};
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use tokio::net::{TcpListener, TcpStream};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, threads, body_bytes] = arguments.as_slice() else {
        anyhow::bail!("usage: hyper-hello ADDRESS THREADS BODY_BYTES");
    };
    let threads: usize = threads.parse().context("THREADS")?;
    let body = Bytes::from(vec![b'x'; body_bytes.parse().context("BODY_BYTES")?]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(serve(address, body))
}

async fn serve(address: &str, body: Bytes) -> Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| address.to_owned())?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(answer(stream, body.clone()));
    }
}

async fn answer(stream: TcpStream, body: Bytes) {
    let service = service_fn(move |_: Request<Incoming>| {
        let mut response = Response::new(Full::new(body.clone()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        async move { Ok::<_, Infallible>(response) }
    });
    // A client that goes away in the middle is no concern of a baseline.
    let _ = hyper::server::conn::http1::Builder::new()
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
