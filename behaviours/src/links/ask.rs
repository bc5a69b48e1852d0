//! The asking side of a stream: one task writes what waits in a lane and reads the answers.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncWrite};

use super::{
    Class,
    error::StreamError,
    frame::{Decoder, Outbox},
    in_flight::InFlight,
    peers::{Peer, Peers},
};

/// Rounds of reading and writing after which the task lets others run.
const ROUNDS: usize = 32;

/// Serves the lane of `peer` and `class` until the stream ends or breaks the protocol, or the lane is stopped. The
/// requests in flight are lost then; what waits goes to the next stream.
pub(super) async fn ask<T: AsyncRead + AsyncWrite + Unpin>(
    stream: T,
    peers: Arc<Peers>,
    peer: Arc<Peer>,
    class: Class,
    in_flight: usize,
) -> StreamError {
    let mut asker = Asker {
        stream,
        peers,
        peer,
        class,
        decoder: Decoder::default(),
        outbox: Outbox::default(),
        in_flight: InFlight::new(in_flight),
    };
    let error = poll_fn(|cx| asker.poll(cx)).await;
    asker.in_flight.lose_all();
    asker.peer.lane(class).detach();
    error
}

struct Asker<T> {
    stream: T,
    peers: Arc<Peers>,
    peer: Arc<Peer>,
    class: Class,
    decoder: Decoder,
    outbox: Outbox,
    in_flight: InFlight,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Asker<T> {
    /// Answers are read first: each may let its asker add a request that then leaves in the same write.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        for _ in 0..ROUNDS {
            let read = match self.read(cx) {
                Ok(read) => read,
                Err(error) => return Poll::Ready(error),
            };
            let lane = self.peer.lane(self.class);
            if !lane.take(cx.waker(), &mut self.outbox, &mut self.in_flight) {
                return Poll::Ready(StreamError::Ended);
            }
            let had_room = self.outbox.has_room();
            let drained = match self.write(cx) {
                Ok(drained) => drained,
                Err(error) => return Poll::Ready(error),
            };
            let more_to_take = drained && !had_room;
            if !read && !more_to_take {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// True if anything was read.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, StreamError> {
        match self.decoder.poll_fill(cx, &mut self.stream) {
            Poll::Ready(Ok(0) | Err(_)) => Err(StreamError::Ended),
            Poll::Ready(Ok(_)) => {
                self.peers.touch(&self.peer);
                while let Some(frame) = self.decoder.next()? {
                    let ticket = self.in_flight.remove(frame.correlation).ok_or(StreamError::UnknownCorrelation)?;
                    ticket.answer(frame.body);
                }
                Ok(true)
            }
            Poll::Pending => Ok(false),
        }
    }

    /// True if nothing is left to write.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, StreamError> {
        if self.outbox.is_idle() {
            return Ok(true);
        }
        match self.outbox.poll_drain(cx, &mut self.stream) {
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Ready(Err(_)) => Err(StreamError::Ended),
            Poll::Pending => Ok(false),
        }
    }
}
