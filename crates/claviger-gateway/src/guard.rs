//! The stream between a connection and hyper.
//!
//! Owns: the time-outs that hyper does not have (security.md 4.5): for a head that has begun, for the first bytes of a
//! connection, and for a peer that does not read. Leaves to `framing`: what the bytes say; to hyper: the time-out of a
//! connection between two requests.

use crate::connection::Bounds;
use crate::framing::{Framing, HeadWatch, Waiting};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A stream with the watch over heads and the time-outs in it.
#[derive(Debug)]
pub struct GuardedStream<I> {
    io: I,
    heads: HeadWatch,
    head_timeout: Duration,
    /// Runs from the beginning of the connection, later from the beginning of a head that did not come in one piece.
    head_stall: Option<Pin<Box<Sleep>>>,
    write_timeout: Duration,
    /// Set up only when the peer does not take what we write.
    write_stall: Option<Pin<Box<Sleep>>>,
}

impl<I> GuardedStream<I> {
    pub(crate) fn new(io: I, framing: Framing, bounds: &Bounds) -> Self {
        Self {
            io,
            heads: HeadWatch::new(framing),
            head_timeout: bounds.head,
            head_stall: Some(Box::pin(tokio::time::sleep(bounds.head))),
            write_timeout: bounds.body,
            write_stall: None,
        }
    }

    /// Turns a wait for a head that takes too long into an error.
    fn guard_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.heads.wait() {
            Waiting::Elsewhere => self.head_stall = None,
            Waiting::FirstHead => {}
            Waiting::RestOfHead => {
                let timeout = self.head_timeout;
                self.head_stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
            }
        }
        let Some(stall) = &mut self.head_stall else { return Poll::Pending };
        stall.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Turns a write that waits too long into an error.
    fn guard_write<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.write_stall = None;
            return outcome;
        }
        let timeout = self.write_timeout;
        let stall = self.write_stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        stall.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for GuardedStream<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.io).poll_read(context, buffer);
        if outcome.is_pending() {
            return self.guard_read(context);
        }
        self.heads.read(&buffer.filled()[before..]);
        outcome
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for GuardedStream<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(context, bytes);
        self.guard_write(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(context, pieces);
        self.guard_write(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(context);
        self.guard_write(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
