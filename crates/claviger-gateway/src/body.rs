//! The bodies that stream through the gateway, in both directions, never collected.
//!
//! Owns: how long a sender is waited for (security.md 4.5, slow body), and holding the in-flight permit until the last
//! piece of a backend's answer is gone. Leaves to hyper: framing; to `connection`: readers that do not read.

use crate::framing::HeadFault;
use crate::limit::{self, Permit};
use crate::rewrite;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A request's body as it came.
pub(crate) struct RequestBody {
    pub(crate) incoming: Incoming,
    /// What is wrong with the head it came with.
    pub(crate) head_fault: Option<HeadFault>,
}

/// A body made here, or one that is passed on.
pub(crate) enum ProxyBody {
    /// Made here; taken when sent.
    Own(Option<Bytes>),
    /// Passed on from the other side.
    Streamed(Box<Streamed>),
}

pub(crate) struct Streamed {
    incoming: Incoming,
    /// Of an answer; given back when the body is dropped.
    permit: Option<Permit>,
    idle_timeout: Duration,
    /// A client has the time-out for its whole body, beside what the bytes that it sends need at the least rate. A backend
    /// has it anew for each piece: an answer may come as slowly as there is news.
    is_paced: bool,
    /// How long the sender may still be waited for.
    credit: Duration,
    /// Set up only when a piece is not there at once.
    idle: Option<Pin<Box<Sleep>>>,
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The sender broke off or violated the framing.
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
    /// Nothing, or not enough, came for the idle time-out.
    #[error("the next piece of the body did not come in time")]
    Idle,
}

impl ProxyBody {
    /// A body of known bytes.
    pub(crate) fn own(bytes: impl Into<Bytes>) -> Self {
        Self::Own(Some(bytes.into()).filter(|bytes| !bytes.is_empty()))
    }

    /// The body of an answer.
    pub(crate) fn streamed(incoming: Incoming, idle_timeout: Duration) -> Self {
        Self::passed_on(incoming, idle_timeout, false)
    }

    /// The body of a request.
    pub(crate) fn received(body: RequestBody, idle_timeout: Duration) -> Self {
        Self::passed_on(body.incoming, idle_timeout, true)
    }

    fn passed_on(incoming: Incoming, idle_timeout: Duration, is_paced: bool) -> Self {
        if incoming.is_end_stream() {
            return Self::own(Bytes::new());
        }
        let credit = idle_timeout;
        Self::Streamed(Box::new(Streamed { incoming, permit: None, idle_timeout, is_paced, credit, idle: None }))
    }

    /// The same body. One that is passed on holds the permit to its end; one that was made here holds nobody up, however
    /// slowly it is taken.
    pub(crate) fn with_permit(mut self, permit: Option<Permit>) -> Self {
        if let Self::Streamed(streamed) = &mut self {
            streamed.permit = permit;
        }
        self
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(streamed) => streamed.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_none(),
            Self::Streamed(streamed) => streamed.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Streamed(streamed) => streamed.incoming.size_hint(),
        }
    }
}

impl Streamed {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) {
            let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
            self.take_credit(bytes);
            let frame = frame.map(|frame| frame.map(without_hop_by_hop).map_err(BodyError::Broken));
            return Poll::Ready(frame);
        }
        let credit = self.credit;
        let idle = self.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep(credit)));
        idle.as_mut().poll(context).map(|()| Some(Err(BodyError::Idle)))
    }

    /// The wait is over, and so many bytes have come.
    fn take_credit(&mut self, bytes: usize) {
        let idle = self.idle.take();
        if !self.is_paced {
            return;
        }
        let left = idle.map_or(self.credit, |idle| idle.deadline().saturating_duration_since(Instant::now()));
        self.credit = self.idle_timeout.min(left + limit::body_time(bytes));
    }
}

/// Trailers are headers too; HTTP/2 ends a stream over what concerns one connection of HTTP/1.
fn without_hop_by_hop(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        rewrite::remove_hop_by_hop(trailers);
    }
    frame
}
