use bytes::Bytes;
use openraft::EntryPayload;
use proptest::prelude::*;
use xorum_behaviours::wire::{GroupAnswer, GroupId, ReplicaId, ReplicaNumber};

use super::{
    testing::{GROUP, ORIGIN, all_of_term_one, blank, log_id, members, nothing, put, replica},
    *,
};
use crate::group::raft::{
    AppendResponse, Entry, LogId, Membership, SnapshotMeta, StoredMembership, Vote, VoteResponse,
};

fn body<T: serde::Serialize>(request: &T) -> Bytes {
    encode(request).expect("it is small").into()
}

/// A message from replica 2 to replica 1.
fn message(kind: GroupMessageKind, body: Bytes) -> GroupMessage {
    GroupMessage { group: GROUP, origin: ORIGIN, from: replica(2).number, to: replica(1).number, kind, body }
}

fn received(kind: GroupMessageKind, body: Bytes, facts: &Facts<'_>) -> Result<Checked, Violation> {
    receive(&message(kind, body), replica(2).peer, facts)
}

fn append(request: &AppendRequest, facts: &Facts<'_>) -> Result<(), Violation> {
    received(GroupMessageKind::Append, body(request), facts).map(drop)
}

fn ask_vote(request: &VoteRequest, facts: &Facts<'_>) -> Result<(), Violation> {
    let vote = received(GroupMessageKind::Vote, body(request), facts).map(drop);
    assert_eq!(vote, received(GroupMessageKind::PreVote, body(request), facts).map(drop), "pre-votes are judged alike");
    vote
}

fn transfer_to_us(request: &TransferRequest, facts: &Facts<'_>) -> Result<(), Violation> {
    received(GroupMessageKind::TransferLeader, body(request), facts).map(drop)
}

fn snapshot_from_two(head: &SnapshotHead, facts: &Facts<'_>) -> Result<(), Violation> {
    let begun = receive_snapshot(GROUP, replica(2).number, replica(1).number, &body(head), replica(2).peer, facts);
    begun.map(drop)
}

/// Entries of `terms` from `first` on, led by replica 2 in term 3.
fn entries(prev: Option<LogId>, entries: Vec<Entry>) -> AppendRequest {
    AppendRequest { vote: Vote::new_committed(3, replica(2)), prev_log_id: prev, entries, leader_commit: None }
}

fn head(last: Option<LogId>, membership: Membership) -> SnapshotHead {
    let meta =
        SnapshotMeta { last_log_id: last, last_membership: StoredMembership::new(Some(log_id(1, 1)), membership) };
    SnapshotHead { vote: Vote::new_committed(3, replica(2)), meta }
}

fn candidate(last: Option<LogId>) -> VoteRequest {
    VoteRequest::new(Vote::new(4, replica(2)), last)
}

/// Facts of replica 1 with ten committed entries of term 1, and a member of a group of three.
fn with_ten(membership: &Membership) -> Facts<'_> {
    Facts {
        vote: Some(Vote::new_committed(1, replica(3))),
        committed: Some(log_id(1, 10)),
        membership: Some(membership),
        ..nothing()
    }
}

#[test]
fn invariant_8_sound_messages_pass() {
    let three = members(&[1, 2, 3]);
    for facts in [nothing(), with_ten(&three)] {
        let mut request = entries(Some(log_id(1, 10)), vec![blank(3, 11), put(3, 12, b"v")]);
        request.leader_commit = Some(log_id(3, 11));
        assert_eq!(append(&request, &facts), Ok(()));
        assert_eq!(append(&entries(None, vec![]), &facts), Ok(()));
        assert_eq!(ask_vote(&candidate(Some(log_id(3, 12))), &facts), Ok(()));
        assert_eq!(snapshot_from_two(&head(Some(log_id(3, 12)), members(&[1, 2])), &facts), Ok(()));
        let transfer = TransferRequest::new(Vote::new_committed(3, replica(2)), replica(3), Some(log_id(3, 12)));
        assert_eq!(transfer_to_us(&transfer, &facts), Ok(()));
    }
    let founding = Entry { log_id: log_id(0, 0), payload: EntryPayload::Membership(members(&[2])) };
    assert_eq!(append(&entries(None, vec![founding, blank(1, 1)]), &nothing()), Ok(()));
}

#[test]
fn invariant_8_a_message_is_for_this_replica_of_this_group_from_another_peer() {
    let sound = message(GroupMessageKind::Append, body(&entries(None, vec![])));
    let facts = Facts { dead: Some(ReplicaNumber(0)), ..nothing() };
    let judged = |message: &GroupMessage| receive(message, replica(2).peer, &facts).map(drop);
    assert_eq!(judged(&sound), Ok(()));
    assert_eq!(judged(&GroupMessage { group: GroupId([8; 32]), ..sound.clone() }), Err(Violation::OtherGroup));
    let dead = judged(&GroupMessage { to: ReplicaNumber(0), ..sound.clone() });
    assert_eq!(dead, Err(Violation::Gone(ReplicaNumber(0))));
    assert_eq!(dead.map_err(|why| why.to_answer()), Err(GroupAnswer::Gone(ReplicaNumber(0))));
    let other = Violation::OtherReplica { named: ReplicaNumber(2), here: ReplicaNumber(1) };
    assert_eq!(judged(&GroupMessage { to: ReplicaNumber(2), ..sound.clone() }), Err(other));
    assert_eq!(receive(&sound, replica(1).peer, &facts).map(drop), Err(Violation::NamesUs));
}

#[test]
fn invariant_8_a_vote_is_for_who_sends_it() {
    let facts = nothing();
    for named in [replica(3), ReplicaId { number: ReplicaNumber(9), ..replica(2) }] {
        let stranger = Err(Violation::NotTheSender(named));
        let led = Vote::new_committed(3, named);
        assert_eq!(append(&AppendRequest { vote: led, ..entries(None, vec![]) }, &facts), stranger);
        assert_eq!(ask_vote(&VoteRequest::new(Vote::new(3, named), None), &facts), stranger);
        let sent = SnapshotHead { vote: led, ..head(Some(log_id(1, 1)), members(&[2])) };
        assert_eq!(snapshot_from_two(&sent, &facts), stranger);
        assert_eq!(transfer_to_us(&TransferRequest::new(led, replica(1), None), &facts), stranger);
    }
}

#[test]
fn invariant_8_nobody_makes_us_lead_by_naming_us() {
    let (facts, ours) = (nothing(), Vote::new_committed(3, replica(1)));
    let names_us = Err(Violation::NamesUs);
    assert_eq!(append(&AppendRequest { vote: ours, ..entries(None, vec![]) }, &facts), names_us);
    assert_eq!(ask_vote(&VoteRequest::new(Vote::new(3, replica(1)), None), &facts), names_us);
    assert_eq!(
        snapshot_from_two(&SnapshotHead { vote: ours, ..head(Some(log_id(1, 1)), members(&[2])) }, &facts),
        names_us
    );
    assert_eq!(transfer_to_us(&TransferRequest::new(ours, replica(1), None), &facts), names_us);
    assert_eq!(ask_vote(&VoteRequest::new(ours, None), &facts), Err(Violation::VoteCommitted));
}

#[test]
fn invariant_8_leaders_hold_a_granted_vote_and_candidates_do_not() {
    let (facts, asked) = (nothing(), Vote::new(3, replica(2)));
    let not_led = Err(Violation::VoteNotCommitted);
    assert_eq!(append(&AppendRequest { vote: asked, ..entries(None, vec![]) }, &facts), not_led);
    assert_eq!(
        snapshot_from_two(&SnapshotHead { vote: asked, ..head(Some(log_id(1, 1)), members(&[2])) }, &facts),
        not_led
    );
    assert_eq!(transfer_to_us(&TransferRequest::new(asked, replica(1), None), &facts), not_led);
    let granted = VoteRequest::new(Vote::new_committed(3, replica(2)), None);
    assert_eq!(ask_vote(&granted, &facts), Err(Violation::VoteCommitted));
}

#[test]
fn invariant_8_a_term_has_one_leader() {
    let facts = Facts { vote: Some(Vote::new_committed(3, replica(1))), ..nothing() };
    assert_eq!(append(&entries(None, vec![]), &facts), Err(Violation::TwoLeaders { term: 3 }));
}

#[test]
fn invariant_8_terms_and_indexes_are_bounded() {
    let facts = nothing();
    let late = VoteRequest::new(Vote::new(MAX_TERM + 1, replica(2)), None);
    assert_eq!(ask_vote(&late, &facts), Err(Violation::TermTooLarge(MAX_TERM + 1)));
    let far = Some(log_id(1, MAX_INDEX + 1));
    let too_far = Err(Violation::IndexTooLarge(MAX_INDEX + 1));
    assert_eq!(append(&entries(far, vec![]), &facts), too_far);
    assert_eq!(append(&AppendRequest { leader_commit: far, ..entries(None, vec![]) }, &facts), too_far);
    assert_eq!(append(&entries(Some(log_id(1, MAX_INDEX)), vec![blank(1, MAX_INDEX + 1)]), &facts), too_far);
    assert_eq!(ask_vote(&candidate(far), &facts), too_far);
    assert_eq!(snapshot_from_two(&head(far, members(&[2])), &facts), too_far);
}

#[test]
fn invariant_8_entries_are_consecutive_in_rising_terms_of_their_leader() {
    let facts = nothing();
    let prev = Some(log_id(2, 4));
    let gap = |expected, found| Err(Violation::NotConsecutive { expected, found });
    assert_eq!(append(&entries(prev, vec![blank(2, 6)]), &facts), gap(5, 6));
    assert_eq!(append(&entries(prev, vec![blank(2, 4)]), &facts), gap(5, 4));
    assert_eq!(append(&entries(prev, vec![blank(2, 5), blank(2, 7)]), &facts), gap(6, 7));
    assert_eq!(append(&entries(None, vec![blank(1, 1)]), &facts), gap(0, 1));
    assert_eq!(append(&entries(prev, vec![blank(1, 5)]), &facts), Err(Violation::TermsFall { index: 5 }));
    let falls = vec![blank(3, 5), blank(2, 6)];
    assert_eq!(append(&entries(prev, falls), &facts), Err(Violation::TermsFall { index: 6 }));
    let above = Err(Violation::TermAboveVote { term: 4, vote: 3 });
    assert_eq!(append(&entries(prev, vec![blank(4, 5)]), &facts), above);
    assert_eq!(append(&entries(Some(log_id(4, 4)), vec![]), &facts), above);
    let commit = AppendRequest { leader_commit: Some(log_id(4, 4)), ..entries(prev, vec![]) };
    assert_eq!(append(&commit, &facts), above);
    assert_eq!(ask_vote(&candidate(Some(log_id(5, 4))), &facts), Err(Violation::TermAboveVote { term: 5, vote: 4 }));
    let transfer = TransferRequest::new(Vote::new_committed(3, replica(2)), replica(1), Some(log_id(4, 4)));
    assert_eq!(transfer_to_us(&transfer, &facts), above);
    assert_eq!(snapshot_from_two(&head(Some(log_id(4, 4)), members(&[2])), &facts), above);
}

#[test]
fn invariant_8_what_contradicts_a_commit_quarantines() {
    let three = members(&[1, 2, 3]);
    let facts = with_ten(&three);
    let at = |index, term| Err(Violation::ContradictsCommit { index, term });
    assert_eq!(append(&entries(Some(log_id(2, 10)), vec![]), &facts), at(10, 2));
    assert_eq!(append(&entries(Some(log_id(0, 4)), vec![]), &facts), at(4, 0));
    assert_eq!(append(&entries(Some(log_id(1, 8)), vec![blank(1, 9), blank(3, 10)]), &facts), at(10, 3));
    assert_eq!(append(&entries(Some(log_id(0, 12)), vec![]), &facts), at(12, 0));
    let commit = AppendRequest { leader_commit: Some(log_id(3, 7)), ..entries(None, vec![]) };
    assert_eq!(append(&commit, &facts), at(7, 3));
    assert_eq!(snapshot_from_two(&head(Some(log_id(3, 10)), members(&[2])), &facts), at(10, 3));
    assert_eq!(snapshot_from_two(&head(Some(log_id(1, 10)), members(&[2])), &facts), Ok(()), "only not needed");
    let quarantine = append(&entries(Some(log_id(2, 10)), vec![]), &facts).expect_err("contradicts");
    assert!(quarantine.is_quarantine());
    let purged = Facts { term_at: &|_| None, ..with_ten(&three) };
    assert_eq!(append(&entries(Some(log_id(1, 4)), vec![]), &purged), Ok(()));
    assert_eq!(append(&entries(Some(log_id(2, 4)), vec![]), &purged), at(4, 2));
}

#[test]
fn what_an_outvoted_leader_says_of_the_log_is_left_to_openraft_to_refuse() {
    let facts = Facts {
        vote: Some(Vote::new_committed(5, replica(3))),
        committed: Some(log_id(5, 10)),
        term_at: &all_of_term_one,
        ..nothing()
    };
    assert_eq!(append(&entries(Some(log_id(3, 10)), vec![blank(3, 11)]), &facts), Ok(()));
    assert_eq!(snapshot_from_two(&head(Some(log_id(3, 10)), members(&[2])), &facts), Ok(()));
}

#[test]
fn invariant_8_memberships_name_voters_within_bounds() {
    let facts = nothing();
    let of = |membership: Membership| {
        let entry = Entry { log_id: log_id(3, 5), payload: EntryPayload::Membership(membership.clone()) };
        let appended = append(&entries(Some(log_id(2, 4)), vec![entry]), &facts);
        assert_eq!(
            appended,
            snapshot_from_two(&head(Some(log_id(3, 5)), membership), &facts),
            "snapshots are judged alike"
        );
        appended
    };
    let set = |numbers: &[u8]| numbers.iter().map(|number| replica(*number)).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(of(Membership::new_with_defaults(vec![set(&[1, 2]), set(&[2, 3])], [replica(4)])), Ok(()));
    let bad = |membership| matches!(of(membership), Err(Violation::BadMembership(_)));
    assert!(bad(Membership::default()));
    assert!(bad(Membership::new_with_defaults(vec![set(&[])], [replica(4)])));
    assert!(bad(Membership::new_with_defaults(vec![set(&[1]), set(&[])], [])));
    assert!(bad(Membership::new_with_defaults(vec![set(&[1]), set(&[2]), set(&[3])], [])));
    let many = (0..=MAX_MEMBERS as u64).map(|number| ReplicaId { number: ReplicaNumber(number), ..replica(2) });
    assert!(bad(Membership::new_with_defaults(vec![set(&[1])], many)));
}

#[test]
fn invariant_8_a_snapshot_ends_at_an_entry_not_before_its_membership() {
    let facts = nothing();
    assert_eq!(snapshot_from_two(&head(None, members(&[2])), &facts), Err(Violation::EmptySnapshot));
    let early = snapshot_from_two(&head(Some(log_id(1, 0)), members(&[2])), &facts);
    assert!(matches!(early, Err(Violation::BadMembership(_))), "{early:?}");
}

#[test]
fn invariant_8_strangers_get_no_vote_but_may_lead() {
    let (two, none) = (members(&[1, 3]), Membership::default());
    let facts = Facts { membership: Some(&two), ..nothing() };
    assert_eq!(ask_vote(&candidate(None), &facts), Err(Violation::Stranger(replica(2))));
    assert_eq!(append(&entries(None, vec![]), &facts), Ok(()));
    assert_eq!(ask_vote(&candidate(None), &Facts { membership: Some(&none), ..nothing() }), Ok(()));
    let renumbered = Membership::new_with_defaults(
        vec![[replica(1), ReplicaId { number: ReplicaNumber(9), ..replica(2) }].into()],
        [],
    );
    let facts = Facts { membership: Some(&renumbered), ..nothing() };
    assert_eq!(ask_vote(&candidate(None), &facts), Err(Violation::Stranger(replica(2))), "an old number is a stranger");
}

#[test]
fn invariant_8_a_candidate_beside_our_commit_gets_no_vote() {
    let three = members(&[1, 2, 3]);
    let facts = with_ten(&three);
    let beside = Violation::LogBesideCommit { index: 10, term: 2 };
    assert_eq!(ask_vote(&candidate(Some(log_id(2, 10))), &facts), Err(beside));
    assert_eq!(ask_vote(&candidate(Some(log_id(1, 9))), &facts), Ok(()), "behind: openraft grants it nothing");
}

fn sent() -> SentAppend {
    SentAppend { vote: Vote::new_committed(3, replica(1)), prev: Some(log_id(2, 4)), last: Some(log_id(3, 8)) }
}

fn append_answer(
    answer: &AppendResponse,
    sent: &SentAppend,
    matched: Option<LogId>,
) -> Result<AppendResponse, Violation> {
    answer_append(&body(answer), sent, matched, replica(1))
}

#[test]
fn invariant_8_an_append_is_answered_within_what_was_sent() {
    assert_eq!(append_answer(&AppendResponse::Success, &sent(), None), Ok(AppendResponse::Success));
    for (part, fits) in [
        (log_id(2, 4), true),
        (log_id(3, 6), true),
        (log_id(3, 8), true),
        (log_id(3, 9), false),
        (log_id(2, 3), false),
        (log_id(2, 9), false),
    ] {
        let answer = AppendResponse::PartialSuccess(Some(part));
        let expected = if fits { Ok(answer.clone()) } else { Err(Violation::PartNotSent) };
        assert_eq!(append_answer(&answer, &sent(), None), expected, "{part}");
    }
    assert_eq!(append_answer(&AppendResponse::PartialSuccess(None), &sent(), None), Err(Violation::PartNotSent));
}

#[test]
fn invariant_8_a_conflict_below_what_matched_is_a_log_that_went_back() {
    let conflict = AppendResponse::Conflict;
    let (prev, below) = (log_id(2, 4), Some(log_id(2, 3)));
    assert_eq!(append_answer(&conflict, &sent(), None), Ok(conflict.clone()));
    assert_eq!(append_answer(&conflict, &sent(), below), Ok(conflict.clone()));
    for matched in [prev, log_id(3, 5)] {
        let back = Err(Violation::LogWentBack { prev, matched });
        assert_eq!(append_answer(&conflict, &sent(), Some(matched)), back);
    }
    let without = SentAppend { prev: None, ..sent() };
    assert_eq!(append_answer(&conflict, &without, None), Err(Violation::ConflictWithoutPrev));
}

#[test]
fn invariant_8_a_higher_vote_is_higher_not_ours_and_never_called_granted() {
    let told = |vote| append_answer(&AppendResponse::HigherVote(vote), &sent(), None);
    let (higher, granted) = (Vote::new(4, replica(2)), Vote::new_committed(4, replica(2)));
    assert_eq!(told(granted), Ok(AppendResponse::HigherVote(higher)));
    for same in [Vote::new_committed(3, replica(2)), Vote::new(2, replica(2)), Vote::new_committed(3, replica(1))] {
        assert_eq!(told(same), Err(Violation::VoteNotHigher));
    }
    assert_eq!(told(Vote::new_committed(4, replica(1))), Err(Violation::Overtaken));
    assert!(!Violation::Overtaken.is_misbehaviour());
    assert_eq!(told(Vote::new(MAX_TERM + 1, replica(2))), Err(Violation::TermTooLarge(MAX_TERM + 1)));
    let answered = |vote: Vote| answer_snapshot(&body(&vote), &sent().vote, replica(1)).map(|answer| answer.vote);
    assert_eq!(answered(sent().vote), Ok(sent().vote));
    assert_eq!(answered(granted), Ok(higher));
    assert_eq!(answered(Vote::new_committed(4, replica(1))), Err(Violation::Overtaken));
    assert_eq!(answered(Vote::new_committed(2, replica(2))), Err(Violation::VoteNotHigher));
}

#[test]
fn invariant_8_a_vote_is_granted_as_asked_for_or_not_at_all() {
    let request = VoteRequest::new(Vote::new(4, replica(1)), Some(log_id(3, 8)));
    let vote = |vote, granted| answer_vote(&body(&VoteResponse::new(vote, None, granted)), &request, replica(1));
    let pre_vote =
        |vote, granted| answer_pre_vote(&body(&VoteResponse::new(vote, None, granted)), &request, replica(1));
    assert!(vote(request.vote, true).is_ok());
    assert_eq!(vote(Vote::new(4, replica(2)), true), Err(Violation::OtherVoteGranted));
    assert!(pre_vote(Vote::new_committed(3, replica(2)), true).is_ok());
    assert_eq!(pre_vote(Vote::new(5, replica(2)), true), Err(Violation::OtherVoteGranted));
    for judged in [vote(Vote::new_committed(9, replica(2)), false), pre_vote(Vote::new_committed(9, replica(2)), false)]
    {
        assert_eq!(judged.map(|response| response.vote), Ok(Vote::new(9, replica(2))));
    }
    for judged in [vote(Vote::new_committed(5, replica(1)), false), pre_vote(Vote::new(5, replica(1)), false)] {
        assert_eq!(judged, Err(Violation::Overtaken));
    }
    let far = VoteResponse::new(request.vote, Some(log_id(1, MAX_INDEX + 1)), false);
    assert_eq!(answer_vote(&body(&far), &request, replica(1)), Err(Violation::IndexTooLarge(MAX_INDEX + 1)));
}

#[test]
fn a_body_longer_than_a_message_carries_is_neither_encoded_nor_decoded() {
    let long = serde_bytes::ByteBuf::from(vec![0; MAX_BODY_BYTES]);
    assert!(encode(&long).is_err());
    assert!(matches!(decode::<AppendRequest>(&vec![0; MAX_BODY_BYTES + 1]), Err(Violation::Malformed(_))));
}

fn kind() -> impl Strategy<Value = GroupMessageKind> {
    use GroupMessageKind::{Append, PreVote, TransferLeader, Vote};
    prop_oneof![Just(Append), Just(Vote), Just(PreVote), Just(TransferLeader)]
}

/// Bodies that are sound, of one kind or another.
fn sound_body() -> impl Strategy<Value = Bytes> {
    let member = Entry { log_id: log_id(3, 13), payload: EntryPayload::Membership(members(&[1, 2, 3])) };
    let request = entries(Some(log_id(1, 10)), vec![blank(3, 11), put(3, 12, b"value"), member]);
    let transfer = TransferRequest::new(Vote::new_committed(3, replica(2)), replica(1), Some(log_id(3, 12)));
    let snapshot = head(Some(log_id(3, 12)), members(&[1, 2]));
    prop::sample::select(vec![
        body(&request),
        body(&candidate(Some(log_id(3, 12)))),
        body(&transfer),
        body(&snapshot),
        body(&AppendResponse::HigherVote(Vote::new(4, replica(2)))),
        body(&VoteResponse::new(Vote::new(4, replica(2)), None, false)),
    ])
}

/// Every way from bytes into openraft; none may panic, and what passes keeps the rules that openraft asserts on.
fn exercise(kind: GroupMessageKind, bytes: &Bytes) -> Result<(), TestCaseError> {
    let three = members(&[1, 2, 3]);
    for facts in [nothing(), with_ten(&three)] {
        match received(kind, bytes.clone(), &facts) {
            Ok(Checked::Append(request)) => {
                prop_assert!(request.vote.committed && request.vote.leader_id.voted_for == replica(2));
                let first = request.entries.first().map(|entry| entry.log_id.index);
                let expected = request.prev_log_id.map_or(0, |prev| prev.index + 1);
                prop_assert!(first.is_none_or(|first| first == expected));
            }
            Ok(Checked::Vote(request) | Checked::PreVote(request)) => {
                prop_assert!(!request.vote.committed && request.vote.leader_id.voted_for == replica(2));
            }
            Ok(Checked::Transfer(request)) => {
                prop_assert_eq!(request.from_leader().leader_id.voted_for, replica(2));
            }
            Err(_) => {}
        }
        let (two, one) = (replica(2), replica(1));
        let _ = receive_snapshot(GROUP, two.number, one.number, bytes, two.peer, &facts);
    }
    let _ = answer_append(bytes, &sent(), Some(log_id(2, 4)), replica(1));
    let _ = answer_vote(bytes, &candidate(None), replica(1));
    let _ = answer_pre_vote(bytes, &candidate(None), replica(1));
    let _ = answer_snapshot(bytes, &sent().vote, replica(1));
    let _ = answer_transfer(bytes);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn invariant_8_arbitrary_bytes_never_panic(kind in kind(), bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        exercise(kind, &bytes.into())?;
    }

    #[test]
    fn invariant_8_mutated_messages_never_panic(
        kind in kind(),
        sound in sound_body(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = sound.to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        exercise(kind, &bytes.into())?;
    }
}
