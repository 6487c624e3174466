//! What is left of a request's body when its answer is ready.
//!
//! hyper ends an HTTP/1 connection behind an answer that came before the end of the body, without a word of it, and resets the
//! stream of HTTP/2. RFC 9112 section 9.6 and RFC 9113 section 8.1 let a server do so, but a client may lose the answer, or
//! send its next request into a connection that is gone. So the rest is read and thrown away where that is little effort;
//! else HTTP/1 hears `Connection: close`.

use axum::body::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;

/// Longest reading of a rest: an answer waits for it.
const READ_MS_MAX: u64 = 1_000;

/// A body that comes back when its reader drops it before its end.
pub struct Lent<B: Unpin> {
    body: Option<B>,
    is_begun: bool,
    back: Option<oneshot::Sender<Rest<B>>>,
}

/// What came back.
pub struct Rest<B> {
    body: B,
    is_begun: bool,
}

/// Lends a body; what of it is not read can be asked for when its reader is gone.
pub fn lend<B: Unpin>(body: B) -> (Lent<B>, oneshot::Receiver<Rest<B>>) {
    let (back, rest) = oneshot::channel();
    (Lent { body: Some(body), is_begun: false, back: Some(back) }, rest)
}

impl<B: Body<Data = Bytes> + Unpin> Rest<B> {
    /// Reads the rest and throws it away; false when that would take too many bytes or too long. A client that waits for its
    /// `100 Continue` is not asked for a body that nobody wants.
    pub async fn is_read_out(self, bytes_max: u64, is_waited_for: bool) -> bool {
        let Self { mut body, is_begun } = self;
        if body.is_end_stream() {
            return true;
        }
        if is_waited_for && !is_begun || body.size_hint().lower() > bytes_max {
            return false;
        }
        let mut bytes: u64 = 0;
        let read = async {
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if bytes > bytes_max {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(Duration::from_millis(READ_MS_MAX), read).await.unwrap_or(false)
    }
}

impl<B: Body + Unpin> Body for Lent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.get_mut();
        this.is_begun = true;
        this.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl<B: Unpin> Drop for Lent<B> {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take()) {
            // Nobody waits for the rest of a request that was given up.
            drop(back.send(Rest { body, is_begun: self.is_begun }));
        }
    }
}
