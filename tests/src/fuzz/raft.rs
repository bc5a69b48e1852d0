//! Bodies of Raft's messages and answers, through the seam.

use std::sync::LazyLock;

use libp2p::{PeerId, identity::Keypair};
use openraft::{EntryPayload, type_config::alias::CommittedLeaderIdOf};
use xorum_behaviours::wire::{GroupId, GroupMessage, GroupMessageKind, Origin, ReplicaId, ReplicaNumber};
use xorum_node::group::{
    raft::{LogId, Membership, TypeConfig, Vote, VoteRequest},
    seam::{self, Checked, Facts, MAX_INDEX, MAX_TERM, SentAppend},
};

pub(super) const GROUP: GroupId = GroupId([7; 32]);

/// Made once: a fuzzer has no time to make keys.
static REPLICAS: LazyLock<[ReplicaId; 5]> = LazyLock::new(|| {
    [0, 1, 2, 3, 4].map(|number| {
        let keys = Keypair::ed25519_from_bytes([number; 32]);
        let peer = keys.map_or_else(|_| PeerId::random(), |keys| keys.public().to_peer_id());
        ReplicaId { peer, number: ReplicaNumber(number.into()) }
    })
});

/// The same replica for the same number up to 4, each of a peer of its own.
pub(super) fn replica(number: usize) -> ReplicaId {
    REPLICAS[number]
}

pub(super) fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: CommittedLeaderIdOf::<TypeConfig>::new(term), index }
}

fn members() -> Membership {
    Membership::new_with_defaults(vec![[1, 2, 3].map(replica).into()], [])
}

fn of_term_one(_: u64) -> Option<u64> {
    Some(1)
}

/// What a replica knows, of four kinds: nothing; a group of three with ten entries committed; that and a purged log;
/// that and a vote for another.
fn facts(kind: u8, membership: &Membership) -> Facts<'_> {
    let nothing = Facts {
        group: GROUP,
        me: replica(1),
        vote: None,
        committed: None,
        membership: None,
        dead: None,
        term_at: &of_term_one,
    };
    if kind.is_multiple_of(4) {
        return nothing;
    }
    let known = Facts {
        vote: Some(Vote::new_committed(1, replica(3))),
        committed: Some(log_id(1, 10)),
        membership: Some(membership),
        ..nothing
    };
    match kind % 4 {
        1 => known,
        2 => Facts { term_at: &|_| None, ..known },
        _ => Facts { vote: Some(Vote::new(5, replica(3))), ..known },
    }
}

fn is_bounded(id: &LogId) {
    assert!(id.index <= MAX_INDEX && id.leader_id.term <= MAX_TERM, "{id}");
}

/// The first byte says which message and what is known, the rest is the body. What passes is within bounds and in
/// order.
pub(super) fn seam_receive(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else { return };
    let kind = match first % 4 {
        0 => GroupMessageKind::Append,
        1 => GroupMessageKind::Vote,
        2 => GroupMessageKind::PreVote,
        _ => GroupMessageKind::TransferLeader,
    };
    let membership = members();
    let facts = facts(first / 4, &membership);
    let sender = replica(2);
    let message = GroupMessage {
        group: GROUP,
        origin: Origin::Founding,
        from: sender.number,
        to: facts.me.number,
        kind,
        body: body.to_vec().into(),
    };
    match seam::receive(&message, sender.peer, &facts) {
        Ok(Checked::Append(request)) => {
            assert!(request.vote.committed && request.vote.leader_id.voted_for == sender);
            request.prev_log_id.iter().chain(&request.leader_commit).for_each(is_bounded);
            let mut last = request.prev_log_id;
            for entry in &request.entries {
                is_bounded(&entry.log_id);
                assert_eq!(entry.log_id.index, last.map_or(0, |last| last.index + 1));
                assert!(last.is_none_or(|last| last.leader_id.term <= entry.log_id.leader_id.term));
                if let EntryPayload::Membership(membership) = &entry.payload {
                    assert!(membership.get_joint_config().iter().all(|set| !set.is_empty()));
                }
                last = Some(entry.log_id);
            }
        }
        Ok(Checked::Vote(request) | Checked::PreVote(request)) => {
            assert!(!request.vote.committed && request.vote.leader_id.voted_for == sender);
            assert!(request.vote.leader_id.term <= MAX_TERM);
            request.last_log_id.iter().for_each(is_bounded);
        }
        Ok(Checked::Transfer(request)) => assert_eq!(request.from_leader().leader_id.voted_for, sender),
        Err(violation) => drop(violation.to_answer()),
    }
}

/// The first byte says what is known, the rest is the head of a snapshot.
pub(super) fn seam_snapshot(bytes: &[u8]) {
    let Some((first, head)) = bytes.split_first() else { return };
    let membership = members();
    let facts = facts(*first, &membership);
    let sender = replica(2);
    let received = seam::receive_snapshot(GROUP, sender.number, facts.me.number, head, sender.peer, &facts);
    if let Ok(head) = received {
        assert!(head.meta.last_log_id.is_some());
        head.meta.last_log_id.iter().for_each(is_bounded);
        assert_eq!(seam::check_snapshot(&head, sender, &facts), Ok(()), "what is known did not change");
    }
}

/// The first byte says to what it is the answer, the rest is the body.
pub(super) fn seam_answer(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else { return };
    let (me, vote) = (replica(1), Vote::new(3, replica(1)));
    let request = VoteRequest::new(vote, Some(log_id(1, 10)));
    let led = Vote::new_committed(3, me);
    let sent = SentAppend { vote: led, prev: Some(log_id(1, 10)), last: Some(log_id(3, 12)) };
    let judged = match first % 6 {
        0 => seam::answer_append(body, &sent, None, me).err(),
        1 => seam::answer_append(body, &sent, Some(log_id(1, 9)), me).err(),
        2 => seam::answer_vote(body, &request, me).err(),
        3 => seam::answer_pre_vote(body, &request, me).err(),
        4 => seam::answer_snapshot(body, &led, me).err(),
        _ => seam::answer_transfer(body).err(),
    };
    drop(judged.map(|violation| (violation.is_misbehaviour(), violation.to_string())));
}
