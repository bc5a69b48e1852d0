use proptest::prelude::*;
use xorum_behaviours::wire::Version;

use super::*;

const BOUNDS: Bounds = Bounds { max_key_bytes: 16, max_value_bytes: 16, max_sessions: 2, max_answers: 3 };

fn id(session: u8, number: u64, watermark: u64, expires: u64) -> CommandId {
    CommandId {
        session: SessionId([session; 16]),
        number: CommandNumber(number),
        watermark: CommandNumber(watermark),
        expires: GroupClock(expires),
    }
}

fn judge(sessions: &Sessions, id: &CommandId, clock: u64) -> Verdict {
    sessions.judge(id, GroupClock(clock), &BOUNDS)
}

/// Keeps an answer that tells which command it is of.
fn keep(sessions: &mut Sessions, id: &CommandId) {
    sessions.keep(id, Answer::Done(Version(id.number.0)));
}

#[test]
fn a_kept_answer_is_given_whatever_else_would_refuse() {
    let mut sessions = Sessions::default();
    keep(&mut sessions, &id(1, 5, 1, 1_000));
    keep(&mut sessions, &id(1, 6, 5, 2_000));
    assert_eq!(judge(&sessions, &id(1, 5, 1, 1_000), 1_500), Verdict::Kept(Answer::Done(Version(5))));
}

#[test]
fn the_watermark_forgets_answers_and_refuses_their_commands() {
    let mut sessions = Sessions::default();
    keep(&mut sessions, &id(1, 1, 1, 1_000));
    keep(&mut sessions, &id(1, 2, 2, 1_000));
    assert_eq!(judge(&sessions, &id(1, 1, 1, 1_000), 0), Verdict::Refused(Refusal::BelowWatermark));
    let record = sessions.get(&SessionId([1; 16])).expect("a session");
    assert_eq!(record.answers.keys().collect::<Vec<_>>(), [&CommandNumber(2)]);
    assert_eq!(judge(&sessions, &id(2, 1, 2, 1_000), 0), Verdict::Refused(Refusal::BelowWatermark));
}

#[test]
fn a_late_copy_with_a_lower_watermark_does_not_bring_the_watermark_back() {
    let mut sessions = Sessions::default();
    keep(&mut sessions, &id(1, 9, 8, 1_000));
    keep(&mut sessions, &id(1, 8, 1, 1_000));
    assert_eq!(sessions.get(&SessionId([1; 16])).map(|record| record.watermark), Some(CommandNumber(8)));
    assert_eq!(judge(&sessions, &id(1, 7, 1, 1_000), 0), Verdict::Refused(Refusal::BelowWatermark));
}

#[test]
fn a_command_is_taken_at_its_expiry_and_refused_after_and_when_too_far_ahead() {
    let sessions = Sessions::default();
    assert_eq!(judge(&sessions, &id(1, 1, 1, 500), 500), Verdict::Fresh);
    assert_eq!(judge(&sessions, &id(1, 1, 1, 499), 500), Verdict::Refused(Refusal::Expired));
    assert_eq!(judge(&sessions, &id(1, 1, 1, MAX_EXPIRES_AHEAD_MS), 0), Verdict::Fresh);
    let far = Verdict::Refused(Refusal::ExpiresTooFarAhead);
    assert_eq!(judge(&sessions, &id(1, 1, 1, MAX_EXPIRES_AHEAD_MS + 1), 0), far);
    assert_eq!(judge(&sessions, &id(1, 1, 1, u64::MAX), 0), far);
}

#[test]
fn a_full_table_refuses_new_sessions_and_evicts_none() {
    let mut sessions = Sessions::default();
    keep(&mut sessions, &id(1, 1, 1, 100));
    keep(&mut sessions, &id(2, 1, 1, 200));
    assert_eq!(judge(&sessions, &id(3, 1, 1, 300), 100), Verdict::Refused(Refusal::TableFull));
    assert_eq!(judge(&sessions, &id(1, 2, 1, 300), 100), Verdict::Fresh, "a session that is there has its place");
    assert_eq!(judge(&sessions, &id(3, 1, 1, 300), 101), Verdict::Fresh, "one may be forgotten now");
    assert_eq!(sessions.len(), 2);
}

#[test]
fn a_session_with_as_many_answers_as_may_be_must_move_its_watermark() {
    let mut sessions = Sessions::default();
    for number in 1..=3 {
        keep(&mut sessions, &id(1, number, 1, 1_000));
    }
    assert_eq!(judge(&sessions, &id(1, 4, 1, 1_000), 0), Verdict::Refused(Refusal::TableFull));
    assert_eq!(judge(&sessions, &id(1, 4, 2, 1_000), 0), Verdict::Fresh);
}

#[test]
fn a_session_is_forgotten_when_its_largest_expiry_has_passed_and_not_before() {
    let mut sessions = Sessions::default();
    keep(&mut sessions, &id(1, 1, 1, 900));
    keep(&mut sessions, &id(1, 2, 1, 300));
    sessions.expire(GroupClock(900));
    assert_eq!(judge(&sessions, &id(1, 2, 1, 300), 900), Verdict::Kept(Answer::Done(Version(2))));
    sessions.expire(GroupClock(901));
    assert!(sessions.is_empty());
    assert_eq!(judge(&sessions, &id(1, 1, 1, 900), 901), Verdict::Refused(Refusal::Expired));
}

proptest! {
    /// The leader asks before a record that is past its time was forgotten, apply after.
    #[test]
    fn a_verdict_is_the_same_before_and_after_what_has_expired_is_forgotten(
        kept in prop::collection::vec((1u8..4, 1u64..8, 0u64..8, 0u64..50), 0..12),
        asked in (1u8..5, 1u64..8, 0u64..8, 0u64..100),
        clock in 0u64..100,
    ) {
        let mut sessions = Sessions::default();
        for (session, number, watermark, expires) in kept {
            keep(&mut sessions, &id(session, number, watermark, expires));
        }
        let (session, number, watermark, expires) = asked;
        let asked = id(session, number, watermark, expires);
        let before = judge(&sessions, &asked, clock);
        sessions.expire(GroupClock(clock));
        prop_assert_eq!(judge(&sessions, &asked, clock), before);
    }

    /// What is written down of each change is the table.
    #[test]
    fn the_changes_told_rebuild_the_table(
        steps in prop::collection::vec((1u8..4, 1u64..8, 0u64..8, 0u64..100, any::<bool>()), 0..40),
    ) {
        let mut sessions = Sessions::default();
        let mut written: BTreeMap<SessionId, SessionRecord> = BTreeMap::new();
        for (session, number, watermark, expires, flush) in steps {
            keep(&mut sessions, &id(session, number, watermark, expires));
            sessions.expire(GroupClock(expires / 2));
            if flush {
                for (session, record) in sessions.take_dirty() {
                    match record {
                        Some(record) => written.insert(session, record),
                        None => written.remove(&session),
                    };
                }
                prop_assert!(sessions.iter().eq(written.iter()));
                let rebuilt = Sessions::from_records(written.clone());
                prop_assert_eq!(&rebuilt.by_expiry, &sessions.by_expiry);
            }
        }
    }
}
