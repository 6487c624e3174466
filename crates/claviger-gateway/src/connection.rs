//! A connection as a whole: whether anything is asked on it, and whether its peer takes the answers.
//!
//! Owns: an end to what no time-out within a request can end (security.md 4.5): a connection of HTTP/2 on which nothing is
//! asked, a peer that lets an answer wait, and one that does not go when it is told to. An answer of which a piece
//! waits for the window of its stream is not polled again, so the connection looks after its answers, each by itself: a live one
//! does not cover one that stands still. Leaves to hyper: the protocols, and the time-out of HTTP/1 between two requests; to `guard`: the
//! time-outs of the bytes; to `body`: bodies that do not come.

pub use crate::framing::HeadFault;
use crate::framing::{self, Framing};
pub use crate::guard::GuardedStream;
use crate::limit;
use crate::listen::until_shutdown;
use bytes::Bytes;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use hyper_util::server::graceful::GracefulConnection;
use std::fmt::Display;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Longest time between two looks at a connection.
const CHECK_INTERVAL_MAX: Duration = Duration::from_secs(5);
/// How long a connection that was told to end may stay without a request.
const LINGER: Duration = Duration::from_secs(5);
/// Longest piece of an answer: what was given to hyper is out of sight. Over HTTP/2 its usual frame, because hyper keeps all of a
/// piece of which the peer has let one byte through; over HTTP/1 as much as goes into one write.
const PIECE_BYTES_MAX: usize = 16 * 1024;
const HTTP1_PIECE_BYTES_MAX: usize = 128 * 1024;

/// How much a connection may ask of us, and how long its peer is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// From the first byte of a request's head to its end; for the first head from the beginning of the connection.
    pub head: Duration,
    /// Without an open request, over HTTP/2. (HTTP/1 has hyper's `header_read_timeout`.)
    pub idle: Duration,
    /// For a reader of answers in all, beside what the bytes need at the least rate of a body; and for any byte to be taken.
    pub body: Duration,
    /// Header lines of a request.
    pub headers_max: usize,
}

/// A connection that is looked after.
#[derive(Debug)]
pub struct Connection {
    bounds: Bounds,
    framing: Framing,
    activity: Arc<Activity>,
}

/// What is under way on a connection.
#[derive(Debug)]
struct Activity {
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Open requests with their numbers: one over HTTP/1, as many as there may be streams over HTTP/2.
    open: Vec<(u64, Pace)>,
    /// Requests so far.
    begun: u64,
    /// Since when there has been no open request, if there is none.
    idle_since: Instant,
    is_http1: bool,
}

/// Whom an open request waits for, and how long its reader may be waited for.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// For us or a backend.
    Us {
        since: Instant,
        /// What the reader had left then. Whatever we take it gets back.
        credit: Duration,
    },
    /// For the reader, at most until then.
    Reader { until: Instant },
}

impl Pace {
    /// How much longer the reader may be waited for.
    fn credit(self, now: Instant, patience: Duration) -> Duration {
        match self {
            Self::Us { since, credit } => patience.min(credit + now.duration_since(since)),
            Self::Reader { until } => patience.min(until.saturating_duration_since(now)),
        }
    }
}

impl Connection {
    /// A new connection.
    pub fn new(bounds: Bounds) -> Self {
        let state = State { open: Vec::new(), begun: 0, idle_since: Instant::now(), is_http1: false };
        let activity = Arc::new(Activity { patience: bounds.body, state: Mutex::new(state) });
        Self { bounds, framing: Framing::default(), activity }
    }

    /// The connection's stream as hyper is to get it.
    pub fn guard<I>(&self, io: I) -> GuardedStream<I> {
        GuardedStream::new(io, self.framing.clone(), &self.bounds)
    }

    /// hyper has handed over the next request. It is open until what comes back is dropped, or the answer made of it. One with
    /// a fault must be refused.
    pub fn begin<B>(&self, request: &Request<B>) -> (OpenRequest, Option<HeadFault>) {
        let (version, headers) = (request.version(), request.headers());
        let fault = if self.framing.take_head() || !framing::has_plain_coding(headers) {
            Some(HeadFault::Ambiguous)
        } else if !framing::has_host(version, headers) {
            Some(HeadFault::Host)
        } else if headers.len() > self.bounds.headers_max {
            Some(HeadFault::TooManyHeaders)
        } else {
            None
        };
        let mut state = self.activity.state();
        state.begun += 1;
        state.is_http1 = version < Version::HTTP_2;
        let number = state.begun;
        state.open.push((number, Pace::Us { since: Instant::now(), credit: self.bounds.body }));
        drop(state);
        let piece_bytes_max = if version < Version::HTTP_2 { HTTP1_PIECE_BYTES_MAX } else { PIECE_BYTES_MAX };
        (OpenRequest { activity: Arc::clone(&self.activity), number, piece_bytes_max }, fault)
    }

    /// Serves the connection to its end. When `shutdown` becomes true (or its sender is gone), open requests are finished and
    /// no new ones are taken.
    pub async fn serve<C>(&self, connection: C, mut shutdown: watch::Receiver<bool>)
    where
        C: GracefulConnection,
        C::Error: Display,
    {
        let mut connection = pin!(connection);
        let interval = CHECK_INTERVAL_MAX.min(self.bounds.idle).min(self.bounds.body);
        let mut check = pin!(tokio::time::sleep(interval));
        let mut is_ending = false;
        loop {
            let must_end = tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "A connection ended early: {error}");
                    }
                    return;
                }
                () = until_shutdown(&mut shutdown), if !is_ending => true,
                () = check.as_mut() => {
                    let idle = self.activity.idle_time();
                    if self.activity.is_reader_late() || is_ending && idle.is_some_and(|idle| idle >= LINGER) {
                        tracing::debug!("A connection was given up");
                        return;
                    }
                    idle.is_some_and(|idle| idle >= self.bounds.idle)
                }
            };
            if must_end && !is_ending {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
            check.as_mut().reset(Instant::now() + if is_ending { LINGER } else { interval });
        }
    }
}

impl Activity {
    /// How long there has been no open request; none while there is one, and for HTTP/1, where what was given to hyper may
    /// still be on its way and `guard` and hyper see to the end.
    fn idle_time(&self) -> Option<Duration> {
        let state = self.state();
        (state.open.is_empty() && !state.is_http1).then(|| state.idle_since.elapsed())
    }

    fn is_reader_late(&self) -> bool {
        let now = Instant::now();
        self.state().open.iter().any(|(_, pace)| matches!(pace, Pace::Reader { until } if *until <= now))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct OpenRequest {
    activity: Arc<Activity>,
    number: u64,
    piece_bytes_max: usize,
}

impl OpenRequest {
    /// The body of the answer, with an eye on its reader.
    pub fn answer<B>(self, body: B) -> Answer<B> {
        // An answer over HTTP/1 is not polled while the one before it is not taken (pipelining).
        self.wait_for_reader(0);
        Answer { open: self, body, rest: Bytes::new() }
    }

    /// The reader is there, and waits for us.
    fn wait_for_us(&self) {
        self.change(|now, credit| Pace::Us { since: now, credit });
    }

    /// The reader has so many bytes to take before it comes again.
    fn wait_for_reader(&self, bytes: usize) {
        self.change(|now, credit| Pace::Reader { until: now + credit + limit::body_time(bytes) });
    }

    fn change(&self, next: impl FnOnce(Instant, Duration) -> Pace) {
        let now = Instant::now();
        let patience = self.activity.patience;
        if let Some((_, pace)) = self.activity.state().open.iter_mut().find(|(number, _)| *number == self.number) {
            *pace = next(now, pace.credit(now, patience));
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.open.retain(|(number, _)| *number != self.number);
        state.idle_since = Instant::now();
    }
}

/// The body of an answer. Its request is open until it is dropped.
#[derive(Debug)]
pub struct Answer<B> {
    body: B,
    /// Of a piece that was too long for one.
    rest: Bytes,
    open: OpenRequest,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = if self.rest.is_empty() {
            Pin::new(&mut self.body).poll_frame(context)
        } else {
            Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.rest)))))
        };
        let Poll::Ready(Some(Ok(frame))) = frame else {
            self.open.wait_for_us();
            return frame;
        };
        let frame = match frame.into_data() {
            Ok(mut data) => {
                if data.len() > self.open.piece_bytes_max {
                    self.rest = data.split_off(self.open.piece_bytes_max);
                }
                self.open.wait_for_reader(data.len());
                Frame::data(data)
            }
            Err(trailers) => trailers,
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let mut hint = self.body.size_hint();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}
