//! The order in which appends are sent and answered.
//!
//! openraft takes the answer to one append for an answer to every younger one that was *pulled* from `input` and ends
//! at the same entry, that is, to an append without entries. Were a younger one pulled while an older is in flight, a
//! read that arrived in between would be confirmed by an answer from before it: a stale read. So:
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures::poll;
    use openraft::RaftNetworkV2;

    use super::*;
    use crate::group::{
        messenger::AskError,
        network::{
            testing::{Counts, Far, Input, client, input, leader, raft_answer, success, wish},
            timeouts::Purpose,
        },
        raft::Vote,
        seam::testing::{blank, log_id, replica},
    };

    /// An append of the entries after `prev` up to `last`, all of term 1.
    fn append(prev: u64, last: u64) -> AppendRequest {
        AppendRequest {
            vote: leader(),
            prev_log_id: Some(log_id(1, prev)),
            entries: (prev + 1..=last).map(|index| blank(1, index)).collect(),
            leader_commit: None,
        }
    }

    fn accepted(result: Option<Item>) -> u64 {
        let end = result.expect("a result").expect("an answer").expect("a success");
        end.expect("an entry").index
    }

    struct Rig {
        stream: AppendStream<crate::group::network::testing::Line, Input>,
        give: futures::channel::mpsc::UnboundedSender<AppendRequest>,
        counts: Arc<Counts>,
        far: Far,
    }

    fn rig() -> Rig {
        let (client, far) = client(Purpose::Replication);
        let (give, input, counts) = input();
        let stream = AppendStream::new(client.route().clone(), input, wish(50));
        Rig { stream, give, counts, far }
    }

    impl Rig {
        fn give(&self, request: AppendRequest) {
            self.give.unbounded_send(request).expect("the stream is there");
        }

        /// Polls the stream once; it must have nothing to say.
        async fn nothing_yet(&mut self) {
            assert!(poll!(self.stream.next()).is_pending());
        }
    }

    #[tokio::test]
    async fn input_is_not_polled_before_the_stream_is() {
        let rig = rig();
        rig.give(append(1, 2));
        assert_eq!(rig.counts.polled(), 0);
    }

    #[tokio::test]
    async fn input_is_not_polled_while_an_append_is_in_flight_nor_before_its_result_was_returned() {
        let mut rig = rig();
        rig.give(append(1, 2));
        rig.give(append(2, 3));
        rig.nothing_yet().await;
        let (first, answer) = rig.far.append().await;
        assert_eq!(first.entries.len(), 1);
        let polled = rig.counts.polled();
        rig.nothing_yet().await;
        assert!(rig.far.arrived().is_none());
        answer.send(success()).expect("the client waits");
        assert_eq!(accepted(rig.stream.next().await), 2);
        assert_eq!((rig.counts.polled(), rig.counts.pulled()), (polled, 1));
        rig.nothing_yet().await;
        assert_eq!(rig.counts.pulled(), 2);
        assert_eq!(rig.far.append().await.0.prev_log_id, Some(log_id(1, 2)));
    }

    #[tokio::test]
    async fn an_append_without_entries_is_held_and_sent_if_nothing_comes() {
        let mut rig = rig();
        rig.give(append(4, 4));
        let begun = Instant::now();
        rig.nothing_yet().await;
        let Rig { stream, far, counts, .. } = &mut rig;
        let (_, answer) = tokio::select! {
            biased;
            arrived = far.append() => arrived,
            _ = stream.next() => panic!("a result without an answer"),
        };
        assert!(begun.elapsed() >= HOLD);
        let polled = counts.polled();
        assert!(poll!(stream.next()).is_pending());
        assert_eq!(counts.polled(), polled, "once sent, it is in flight like any other");
        answer.send(success()).expect("the client waits");
        assert_eq!(accepted(stream.next().await), 4);
    }

    #[tokio::test]
    async fn a_held_append_goes_with_its_successor_and_both_results_come_with_no_pull_between() {
        let mut rig = rig();
        rig.give(append(4, 4));
        rig.give(append(4, 6));
        rig.give(append(6, 7));
        rig.nothing_yet().await;
        let (sent, answer) = rig.far.append().await;
        assert_eq!((sent.entries.len(), rig.counts.pulled()), (2, 2));
        answer.send(success()).expect("the client waits");
        assert_eq!(accepted(rig.stream.next().await), 4);
        assert_eq!(rig.counts.pulled(), 2);
        assert_eq!(accepted(rig.stream.next().await), 6);
        assert_eq!(rig.counts.pulled(), 2);
        rig.nothing_yet().await;
        assert_eq!(rig.counts.pulled(), 3);
    }

    #[tokio::test]
    async fn two_appends_without_entries_are_one_message_with_the_later_commit() {
        let mut rig = rig();
        rig.give(append(4, 4));
        rig.give(AppendRequest { leader_commit: Some(log_id(1, 4)), ..append(4, 4) });
        rig.nothing_yet().await;
        let (sent, answer) = rig.far.append().await;
        assert_eq!(sent.leader_commit, Some(log_id(1, 4)));
        answer.send(success()).expect("the client waits");
        assert_eq!(accepted(rig.stream.next().await), 4);
        assert_eq!(accepted(rig.stream.next().await), 4);
        rig.nothing_yet().await;
        assert!(rig.far.arrived().is_none());
    }

    #[tokio::test]
    async fn a_held_append_at_the_end_of_input_is_sent_at_once() {
        let mut rig = rig();
        rig.give(append(4, 4));
        rig.give.close_channel();
        rig.nothing_yet().await;
        let (_, answer) = rig.far.arrived().expect("sent by the first poll");
        answer.send(success()).expect("the client waits");
        assert_eq!(accepted(rig.stream.next().await), 4);
        assert!(rig.stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_failure_of_a_merged_append_is_returned_once_and_ends_the_stream() {
        for answer in [Err(AskError::MaybeSent("cut".into())), raft_answer(&AppendResponse::Conflict)] {
            let mut rig = rig();
            rig.give(append(4, 4));
            rig.give(append(4, 6));
            rig.nothing_yet().await;
            let conflict = answer.is_ok();
            rig.far.append().await.1.send(answer).expect("the client waits");
            match rig.stream.next().await.expect("a result") {
                Err(RPCError::Network(_)) => assert!(!conflict),
                Ok(Err(StreamAppendError::Conflict(at))) => assert!(conflict && at == log_id(1, 4)),
                other => panic!("{other:?}"),
            }
            assert!(rig.stream.next().await.is_none());
            assert_eq!(rig.counts.pulled(), 2);
        }
    }

    #[tokio::test]
    async fn an_append_accepted_in_part_ends_the_stream_after_its_result() {
        let mut rig = rig();
        rig.give(append(4, 6));
        rig.nothing_yet().await;
        let part = raft_answer(&AppendResponse::PartialSuccess(Some(log_id(1, 5))));
        rig.far.append().await.1.send(part).expect("the client waits");
        assert_eq!(accepted(rig.stream.next().await), 5);
        assert!(rig.stream.next().await.is_none());
    }

    #[tokio::test]
    async fn an_append_that_does_not_continue_a_held_one_ends_the_stream_unsent() {
        let mut rig = rig();
        rig.give(append(4, 4));
        rig.give(AppendRequest { vote: Vote::new_committed(2, replica(1)), ..append(4, 5) });
        assert!(matches!(rig.stream.next().await, Some(Err(RPCError::Network(_)))));
        assert!(rig.stream.next().await.is_none());
        assert!(rig.far.arrived().is_none());
    }

    #[tokio::test]
    async fn a_heartbeat_that_is_not_answered_times_out() {
        let (mut client, mut far) = client(Purpose::Heartbeat);
        let beat = futures::stream::iter([append(4, 4)]);
        let mut answers = client.stream_append(beat, wish(20)).await.expect("no connection is made");
        assert!(matches!(answers.next().await, Some(Err(RPCError::Timeout(_)))));
        assert!(answers.next().await.is_none());
        assert!(far.arrived().is_some());
    }
}
