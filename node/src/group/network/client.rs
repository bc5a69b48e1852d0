//! One replica as openraft speaks to it.

use std::{future::Future, marker::PhantomData, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::Stream;
use openraft::{
    OptionalSend, RPCTypes, RaftNetworkV2,
    base::{BoxFuture, BoxStream},
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{Backoff, RPCOption},
    raft::{SnapshotResponse, StreamAppendResult, TransferLeaderResponse},
    type_config::alias::SnapshotOf,
};
use parking_lot::Mutex;
use serde::Serialize;
use xorum_behaviours::wire::{
    EncodeError, GroupAnswer, GroupId, GroupMessage, GroupMessageKind, Origin, PeerAnswer, PeerRequest, ReplicaId,
    ReplicaNumber,
};

use super::{
    GroupWatch,
    append::{self, AppendStream},
    matched::Matched,
    timeouts::{self, Limits, Purpose},
    transmit,
};
use crate::group::{
    messenger::{AskError, Messenger},
    raft::{AppendRequest, AppendResponse, TransferRequest, TypeConfig, Vote, VoteRequest, VoteResponse},
    seam::{self, Violation},
    snapshot::SnapshotSource,
};

/// From whom to whom, and by what way.
pub(super) struct Route<M> {
    pub(super) group: GroupId,
    pub(super) origin: Origin,
    pub(super) me: ReplicaId,
    pub(super) target: ReplicaId,
    pub(super) purpose: Purpose,
    pub(super) limits: Limits,
    pub(super) messenger: M,
    pub(super) watch: Arc<dyn GroupWatch>,
    pub(super) matched: Arc<Mutex<Matched>>,
}

/// One replica as openraft speaks to it.
pub struct Client<M, S> {
    route: Arc<Route<M>>,
    snapshots: PhantomData<fn() -> S>,
}

impl<M, S> Client<M, S> {
    pub(super) fn new(route: Route<M>) -> Self {
        Self { route: Arc::new(route), snapshots: PhantomData }
    }

    #[cfg(test)]
    pub(super) const fn route(&self) -> &Arc<Route<M>> {
        &self.route
    }
}

impl<M: Messenger> Route<M> {
    /// Asks the other replica and waits at most `within` for Raft's answer.
    pub(super) async fn ask(
        &self,
        kind: GroupMessageKind,
        body: Vec<u8>,
        within: Duration,
    ) -> Result<Bytes, RPCError<TypeConfig>> {
        let message = GroupMessage {
            group: self.group,
            origin: self.origin,
            from: self.me.number,
            to: self.target.number,
            kind,
            body: body.into(),
        };
        let asked = self.messenger.ask(self.target.peer, PeerRequest::Group(message), within);
        let answer = match tokio::time::timeout(within, asked).await {
            Ok(answer) => answer.map_err(|error| self.failed(error))?,
            Err(_) => return Err(self.timed_out(action(kind), within).into()),
        };
        match answer {
            PeerAnswer::Group(GroupAnswer::Raft(body)) => Ok(body),
            PeerAnswer::Group(GroupAnswer::NotYet) => Err(unreachable("not seeded yet").into()),
            PeerAnswer::Group(GroupAnswer::Gone(dead)) | PeerAnswer::Gone(dead) => Err(self.gone(dead).into()),
            PeerAnswer::Group(GroupAnswer::Refused(why)) | PeerAnswer::Refused(why) => Err(refused(&why).into()),
            PeerAnswer::Group(GroupAnswer::Busy) | PeerAnswer::Busy => Err(unreachable("busy").into()),
            _ => Err(self.violated(Violation::UnexpectedAnswer).into()),
        }
    }

    /// An answer that is none: nothing sent is worth a wait, a connection that broke is worth a try at once.
    pub(super) fn failed(&self, error: AskError) -> RPCError<TypeConfig> {
        match error {
            AskError::NotSent(_) => Unreachable::new(&error).into(),
            AskError::MaybeSent(_) => NetworkError::new(&error).into(),
            AskError::Malformed(why) => self.violated(Violation::Malformed(why)).into(),
        }
    }

    pub(super) fn timed_out(&self, action: RPCTypes, timeout: Duration) -> Timeout<TypeConfig> {
        Timeout { action, id: self.me, target: self.target, timeout }
    }

    /// The target's peer says that numbers up to `dead` are dead: so is the target, unless the answer is wrong.
    pub(super) fn gone(&self, dead: ReplicaNumber) -> Unreachable<TypeConfig> {
        if dead < self.target.number {
            return self.violated(Violation::UnexpectedAnswer);
        }
        self.watch.gone(self.target, dead);
        unreachable(format_args!("{} is gone", self.target))
    }

    pub(super) fn violated(&self, why: Violation) -> Unreachable<TypeConfig> {
        if why.is_misbehaviour() {
            self.watch.misbehaved(self.target, &why);
        }
        unreachable(why)
    }

    /// Sends one append. One that is longer than a message may be is cut, and its answer says so.
    pub(super) async fn append(
        &self,
        mut request: AppendRequest,
        option: &RPCOption,
    ) -> Result<AppendResponse, RPCError<TypeConfig>> {
        let sent_all = request.entries.len();
        let body = loop {
            match seam::encode(&request) {
                Err(EncodeError::TooLong { .. }) if request.entries.len() > 1 => {
                    request.entries.truncate(request.entries.len() / 2);
                }
                encoded => break encoded.map_err(unsendable)?,
            }
        };
        let sent = append::sent(&request);
        let within = self.limits.append(self.purpose, option, body.len());
        let answer = self.ask(GroupMessageKind::Append, body, within).await?;
        let floor = self.matched.lock().floor(&sent.vote);
        let response = seam::answer_append(&answer, &sent, floor, self.me).map_err(|why| self.violated(why))?;
        let accepted = match response {
            AppendResponse::Success => sent.last,
            AppendResponse::PartialSuccess(part) => part,
            AppendResponse::Conflict | AppendResponse::HigherVote(_) => return Ok(response),
        };
        self.matched.lock().record(sent.vote, accepted, request.leader_commit);
        if request.entries.len() < sent_all { Ok(AppendResponse::PartialSuccess(accepted)) } else { Ok(response) }
    }

    async fn ask_vote(
        &self,
        kind: GroupMessageKind,
        request: &VoteRequest,
        option: &RPCOption,
    ) -> Result<Bytes, RPCError<TypeConfig>> {
        self.ask(kind, encode(request)?, option.hard_ttl()).await
    }
}

impl<M: Messenger, S: SnapshotSource> RaftNetworkV2<TypeConfig> for Client<M, S> {
    type SnapshotData = S;

    async fn append_entries(
        &mut self,
        rpc: AppendRequest,
        option: RPCOption,
    ) -> Result<AppendResponse, RPCError<TypeConfig>> {
        self.route.append(rpc, &option).await
    }

    fn stream_append<'s, I>(
        &'s mut self,
        input: I,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>, RPCError<TypeConfig>>,
    >
    where
        I: Stream<Item = AppendRequest> + OptionalSend + Unpin + 'static,
    {
        let stream: BoxStream<'s, _> = Box::pin(AppendStream::new(self.route.clone(), input, option));
        Box::pin(std::future::ready(Ok(stream)))
    }

    async fn vote(&mut self, rpc: VoteRequest, option: RPCOption) -> Result<VoteResponse, RPCError<TypeConfig>> {
        let answer = self.route.ask_vote(GroupMessageKind::Vote, &rpc, &option).await?;
        Ok(seam::answer_vote(&answer, &rpc, self.route.me).map_err(|why| self.route.violated(why))?)
    }

    async fn pre_vote(&mut self, rpc: VoteRequest, option: RPCOption) -> Result<VoteResponse, RPCError<TypeConfig>> {
        let answer = self.route.ask_vote(GroupMessageKind::PreVote, &rpc, &option).await?;
        Ok(seam::answer_pre_vote(&answer, &rpc, self.route.me).map_err(|why| self.route.violated(why))?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, S>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = transmit::send(&self.route, vote, snapshot.meta, snapshot.snapshot, &option) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferRequest,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let body = encode(&req)?;
        let answer = self.route.ask(GroupMessageKind::TransferLeader, body, option.hard_ttl()).await?;
        Ok(seam::answer_transfer(&answer).map_err(|why| self.route.violated(why))?)
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(timeouts::backoff()))
    }
}

const fn action(kind: GroupMessageKind) -> RPCTypes {
    match kind {
        GroupMessageKind::Append => RPCTypes::AppendEntries,
        GroupMessageKind::Vote | GroupMessageKind::PreVote => RPCTypes::Vote,
        GroupMessageKind::TransferLeader => RPCTypes::TransferLeader,
    }
}

pub(super) fn unreachable(why: impl ToString) -> Unreachable<TypeConfig> {
    Unreachable::from_string(why)
}

/// The other side's own words, cut: they go to the log.
pub(super) fn refused(why: &str) -> Unreachable<TypeConfig> {
    const MAX_CHARS: usize = 200;
    unreachable(format_args!("refused: {}", why.chars().take(MAX_CHARS).collect::<String>().escape_debug()))
}

fn encode<T: Serialize>(body: &T) -> Result<Vec<u8>, RPCError<TypeConfig>> {
    seam::encode(body).map_err(unsendable)
}

fn unsendable(error: EncodeError) -> RPCError<TypeConfig> {
    Unreachable::new(&error).into()
}

#[cfg(test)]
mod tests {
    use xorum_behaviours::wire::ReplicaNumber;

    use super::*;
    use crate::group::{
        network::testing::{Far, client, leader, raft_answer, success, wish},
        seam::testing::{blank, log_id, put, replica},
    };

    fn request(entries: Vec<crate::group::raft::Entry>) -> AppendRequest {
        AppendRequest { vote: leader(), prev_log_id: Some(log_id(1, 4)), entries, leader_commit: None }
    }

    /// Answers what is asked next.
    async fn answer(far: &mut Far, answer: Result<PeerAnswer, AskError>) {
        far.raft.recv().await.expect("the client asks").answer.send(answer).expect("the client waits");
    }

    #[tokio::test]
    async fn who_cannot_be_reached_grants_neither_vote_nor_pre_vote() {
        let vote = VoteRequest::new(Vote::new(2, replica(1)), None);
        for pre_vote in [false, true] {
            let (mut client, mut far) = client(Purpose::Replication);
            let asked = async {
                if pre_vote {
                    client.pre_vote(vote.clone(), wish(5_000)).await
                } else {
                    client.vote(vote.clone(), wish(5_000)).await
                }
            };
            let (outcome, ()) = tokio::join!(asked, answer(&mut far, Err(AskError::NotSent("no route".into()))));
            assert!(matches!(outcome, Err(RPCError::Unreachable(_))), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn a_vote_that_nobody_answers_times_out() {
        let (mut client, _far) = client(Purpose::Replication);
        let outcome = client.vote(VoteRequest::new(Vote::new(2, replica(1)), None), wish(20)).await;
        assert!(matches!(outcome, Err(RPCError::Timeout(_))), "{outcome:?}");
    }

    #[tokio::test]
    async fn what_is_not_raft_s_answer_is_unreachable_and_only_the_dead_are_told_of() {
        for told in [GroupAnswer::NotYet, GroupAnswer::Busy, GroupAnswer::Refused("no".into())] {
            let (mut client, mut far) = client(Purpose::Replication);
            let asked = client.append_entries(request(vec![]), wish(50));
            let (outcome, ()) = tokio::join!(asked, answer(&mut far, Ok(PeerAnswer::Group(told))));
            assert!(matches!(outcome, Err(RPCError::Unreachable(_))), "{outcome:?}");
            assert!(far.told.gone.lock().is_empty() && far.told.misbehaved.lock().is_empty());
        }
        let (mut client, mut far) = client(Purpose::Replication);
        let asked = client.append_entries(request(vec![]), wish(50));
        let gone = Ok(PeerAnswer::Group(GroupAnswer::Gone(ReplicaNumber(5))));
        let (outcome, ()) = tokio::join!(asked, answer(&mut far, gone));
        assert!(matches!(outcome, Err(RPCError::Unreachable(_))), "{outcome:?}");
        assert_eq!(*far.told.gone.lock(), [(replica(2), ReplicaNumber(5))]);
    }

    #[tokio::test]
    async fn an_answer_of_another_kind_is_unreachable_and_told_of() {
        let answers = [
            Ok(PeerAnswer::Member(true)),
            Ok(PeerAnswer::Group(GroupAnswer::Gone(ReplicaNumber(1)))),
            Ok(PeerAnswer::Group(GroupAnswer::Raft(vec![0xff].into()))),
            Err(AskError::Malformed("noise".into())),
        ];
        for told in answers {
            let (mut client, mut far) = client(Purpose::Replication);
            let asked = client.append_entries(request(vec![]), wish(50));
            let (outcome, ()) = tokio::join!(asked, answer(&mut far, told));
            assert!(matches!(outcome, Err(RPCError::Unreachable(_))), "{outcome:?}");
            assert_eq!(far.told.misbehaved.lock().len(), 1);
            assert!(far.told.gone.lock().is_empty());
        }
    }

    #[tokio::test]
    async fn a_follower_whose_log_went_back_is_unreachable_and_told_of() {
        let (mut client, mut far) = client(Purpose::Replication);
        let asked = client.append_entries(request(vec![blank(1, 5)]), wish(50));
        let (outcome, ()) = tokio::join!(asked, answer(&mut far, success()));
        assert!(outcome.expect("accepted").is_success());
        let again = AppendRequest { prev_log_id: Some(log_id(1, 5)), ..request(vec![]) };
        let asked = client.append_entries(again, wish(50));
        let (outcome, ()) = tokio::join!(asked, answer(&mut far, raft_answer(&AppendResponse::Conflict)));
        assert!(matches!(outcome, Err(RPCError::Unreachable(_))), "{outcome:?}");
        let went_back = Violation::LogWentBack { prev: log_id(1, 5), matched: log_id(1, 5) };
        assert_eq!(*far.told.misbehaved.lock(), [(replica(2), went_back)]);
    }

    #[tokio::test]
    async fn an_append_longer_than_a_message_is_cut_and_answered_in_part() {
        static MEBIBYTE: [u8; 1 << 20] = [7; 1 << 20];
        let (mut client, mut far) = client(Purpose::Replication);
        let entries = (5..=12).map(|index| put(1, index, &MEBIBYTE)).collect();
        let asked = client.append_entries(request(entries), wish(50));
        let (outcome, sent) = tokio::join!(asked, async {
            let (sent, answer) = far.append().await;
            answer.send(success()).expect("the client waits");
            sent
        });
        let last = sent.entries.last().expect("some were sent").log_id;
        assert!(sent.entries.len() < 8);
        assert_eq!(outcome.expect("accepted"), AppendResponse::PartialSuccess(Some(last)));
    }
}
