//! The order in which appends are sent and answered.
//!
//! openraft takes the answer to one append for an answer to every younger one that was *pulled* from `input` and ends
//! at the same entry, that is, to an append without entries. Were a younger one pulled while an older is in flight, a
//! read that arrived in between would be confirmed by an answer from before it: a stale read (DESIGN, Reads). So:
//!
//! - `input` is polled only inside this stream's own `poll_next`, and only when every append pulled before is answered
//!   **and** its result was returned by an earlier `poll_next`. Nothing is spawned, fetched ahead or peeked at.
//! - The one exception: an append without entries is *held* for up to [`HOLD`] before it is sent. If its successor comes
//!   meanwhile, only that is sent, for it says all that the held one does, and its answer, from after both were
//!   pulled, is true of both: on success both results are returned, in order and with no pull between; on failure
//!   only the failure is. The held one is never dropped, nor answered here: leases and reads rest on its answer.
//!
//! openraft sends an append without entries after each commit. Holding it halves the messages of a put.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, future::BoxFuture};
use openraft::{
    errors::{NetworkError, RPCError},
    network::RPCOption,
    raft::{StreamAppendError, StreamAppendResult},
};
use tokio::time::{Instant, Sleep};

use super::client::Route;
use crate::group::{
    messenger::Messenger,
    raft::{AppendRequest, AppendResponse, LogId, TypeConfig},
    seam::SentAppend,
};

/// How long an append without entries waits for a successor to go with.
pub(super) const HOLD: Duration = Duration::from_millis(1);

type Outcome = Result<AppendResponse, RPCError<TypeConfig>>;
type Item = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

/// What is remembered of an append while its answer is awaited.
pub(super) fn sent(request: &AppendRequest) -> SentAppend {
    SentAppend {
        vote: request.vote,
        prev: request.prev_log_id,
        last: request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id),
    }
}

/// Results of the appends that come from `input`, in their order; it ends with the first failure.
pub(super) struct AppendStream<M, I> {
    route: Arc<Route<M>>,
    option: RPCOption,
    input: I,
    input_ended: bool,
    state: State,
    /// Results of what was answered and not yet returned; `input` is not polled while there are any.
    results: VecDeque<Item>,
    hold: Pin<Box<Sleep>>,
}

enum State {
    /// Every append pulled is answered.
    Idle,
    /// One without entries was pulled, and waits for a successor.
    Holding(AppendRequest),
    /// An answer is awaited.
    Sending(InFlight),
    /// No more is pulled.
    Ended,
}

struct InFlight {
    /// Where the append ends that was held and goes with this one.
    held: Option<Option<LogId>>,
    sent: SentAppend,
    outcome: BoxFuture<'static, Outcome>,
}

impl<M: Messenger, I> AppendStream<M, I> {
    pub(super) fn new(route: Arc<Route<M>>, input: I, option: RPCOption) -> Self {
        let hold = Box::pin(tokio::time::sleep(HOLD));
        Self { route, option, input, input_ended: false, state: State::Idle, results: VecDeque::new(), hold }
    }

    fn send(&self, held: Option<&AppendRequest>, request: AppendRequest) -> State {
        let (route, option) = (self.route.clone(), self.option.clone());
        let held = held.map(|held| sent(held).last);
        let sent = sent(&request);
        let outcome = async move { route.append(request, &option).await }.boxed();
        State::Sending(InFlight { held, sent, outcome })
    }

    /// Turns an answer into results, and says how the stream goes on.
    fn settle(&mut self, held: Option<Option<LogId>>, sent: &SentAppend, outcome: Outcome) -> State {
        let accepted = match outcome {
            Ok(AppendResponse::Success) => sent.last,
            Ok(AppendResponse::PartialSuccess(part)) => part,
            Ok(AppendResponse::Conflict) => {
                let conflict = sent.prev.map(|prev| Ok(Err(StreamAppendError::Conflict(prev))));
                let without_prev = || Err(NetworkError::from_string("a conflict without a predecessor").into());
                self.results.push_back(conflict.unwrap_or_else(without_prev));
                return State::Ended;
            }
            Ok(AppendResponse::HigherVote(vote)) => {
                self.results.push_back(Ok(Err(StreamAppendError::HigherVote(vote))));
                return State::Ended;
            }
            Err(error) => {
                self.results.push_back(Err(error));
                return State::Ended;
            }
        };
        self.results.extend(held.map(|end| Ok(Ok(end))));
        self.results.push_back(Ok(Ok(accepted)));
        // What was accepted in part is sent anew by openraft, in another stream.
        if self.input_ended || accepted != sent.last { State::Ended } else { State::Idle }
    }
}

/// Does `next` begin where the held append ends, under the same vote? So it always does; if it did not, its answer
/// would say nothing of the held one.
fn continues(held: &AppendRequest, next: &AppendRequest) -> bool {
    held.vote == next.vote && held.prev_log_id == next.prev_log_id
}

impl<M, I> Stream for AppendStream<M, I>
where
    M: Messenger,
    I: Stream<Item = AppendRequest> + Unpin,
{
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        let this = self.get_mut();
        loop {
            if let Some(result) = this.results.pop_front() {
                return Poll::Ready(Some(result));
            }
            this.state = match std::mem::replace(&mut this.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Idle => match this.input.poll_next_unpin(cx) {
                    Poll::Pending => {
                        this.state = State::Idle;
                        return Poll::Pending;
                    }
                    Poll::Ready(None) => State::Ended,
                    Poll::Ready(Some(request)) if request.entries.is_empty() => {
                        this.hold.as_mut().reset(Instant::now() + HOLD);
                        State::Holding(request)
                    }
                    Poll::Ready(Some(request)) => this.send(None, request),
                },
                State::Holding(held) => match this.input.poll_next_unpin(cx) {
                    Poll::Ready(Some(next)) if continues(&held, &next) => this.send(Some(&held), next),
                    Poll::Ready(Some(_)) => {
                        let broken = NetworkError::from_string("an append that does not continue the one before");
                        this.results.push_back(Err(broken.into()));
                        State::Ended
                    }
                    Poll::Ready(None) => {
                        this.input_ended = true;
                        this.send(None, held)
                    }
                    Poll::Pending if this.hold.as_mut().poll_unpin(cx).is_ready() => this.send(None, held),
                    Poll::Pending => {
                        this.state = State::Holding(held);
                        return Poll::Pending;
                    }
                },
                State::Sending(mut flight) => match flight.outcome.poll_unpin(cx) {
                    Poll::Pending => {
                        this.state = State::Sending(flight);
                        return Poll::Pending;
                    }
                    Poll::Ready(outcome) => this.settle(flight.held, &flight.sent, outcome),
                },
            };
        }
    }
}
