//! The checks are checked: right histories are accepted, and each kind of wrong one is not.

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Answer::{self, Absent, Conflict, Done, Found},
    Op, Operation, Outcome, Recorder,
    linearizable::{self, Verdict},
    register::Register,
    versions::{self, Violation},
};

fn value(of: u64) -> Bytes {
    Bytes::from(format!("v{of}"))
}

fn put(of: u64) -> Op {
    Op::Put(value(of))
}

/// An operation that was told a result, from one time to another.
fn told(op: Op, answer: Answer, invoked: u64, returned: u64) -> Operation {
    Operation { process: 0, key: Bytes::from_static(b"k"), op, invoked, returned, outcome: Outcome::Ok(answer) }
}

fn ended(op: Op, outcome: Outcome, invoked: u64) -> Operation {
    Operation { outcome, ..told(op, Absent, invoked, u64::MAX) }
}

fn explained(history: &[Operation]) -> bool {
    match linearizable::check(history) {
        Ok(()) => true,
        Err(Verdict::NotLinearizable { .. }) => false,
        Err(Verdict::Undecided { .. }) => panic!("too large"),
    }
}

#[test]
fn a_read_may_see_either_side_of_a_write_under_way() {
    for seen in [Absent, Found(1, value(1))] {
        let history = [told(put(1), Done(1), 0, 10), told(Op::Get, seen, 5, 6)];
        assert!(explained(&history) && versions::check(&history).is_ok());
    }
}

#[test]
fn a_stale_read_is_found() {
    let history = [told(put(1), Done(1), 0, 1), told(put(2), Done(2), 2, 3), told(Op::Get, Found(1, value(1)), 4, 5)];
    assert!(!explained(&history));
    assert!(matches!(versions::check(&history), Err(Violation::WentBack(..))));
}

#[test]
fn a_read_that_is_older_than_one_before_it_is_found_while_the_write_is_under_way() {
    let history = [
        told(put(1), Done(1), 0, 1),
        told(put(2), Done(2), 2, 100),
        told(Op::Get, Found(2, value(2)), 4, 5),
        told(Op::Get, Found(1, value(1)), 6, 7),
    ];
    assert!(!explained(&history));
    assert!(matches!(versions::check(&history), Err(Violation::WentBack(..))));
}

#[test]
fn a_lost_write_is_found() {
    let history = [told(put(1), Done(1), 0, 1), told(Op::Get, Absent, 2, 3)];
    assert!(!explained(&history));
    assert!(matches!(versions::check(&history), Err(Violation::Lost(..))));
}

#[test]
fn a_write_applied_twice_is_found() {
    let history = [told(put(1), Done(1), 0, 1), told(put(2), Done(2), 2, 3), told(Op::Get, Found(3, value(1)), 4, 5)];
    assert!(!explained(&history), "the first write shows again, as a newer one");
    let history = [
        told(put(1), Done(1), 0, 10),
        told(Op::Get, Found(1, value(1)), 2, 3),
        told(Op::Get, Found(2, value(1)), 4, 5),
    ];
    assert!(!explained(&history));
}

#[test]
fn an_unknown_write_applied_twice_is_found() {
    let history = [
        ended(put(1), Outcome::Unknown, 0),
        told(Op::Get, Found(1, value(1)), 1, 2),
        told(put(2), Done(2), 3, 4),
        told(Op::Get, Found(3, value(1)), 5, 6),
    ];
    assert!(!explained(&history));
}

#[test]
fn two_swaps_of_one_version_that_both_succeed_are_found() {
    let history = [
        told(put(1), Done(1), 0, 1),
        told(Op::Cas(1, value(2)), Done(2), 2, 10),
        told(Op::Cas(1, value(3)), Done(3), 2, 10),
    ];
    assert!(!explained(&history));
}

#[test]
fn two_writes_of_one_version_are_found() {
    let history = [told(put(1), Done(1), 0, 10), told(put(2), Done(1), 0, 10)];
    assert!(!explained(&history));
    assert!(matches!(versions::check(&history), Err(Violation::SameVersion(..))));
}

#[test]
fn writes_ordered_against_real_time_are_found() {
    let history = [told(put(1), Done(5), 0, 1), told(put(2), Done(4), 2, 3)];
    assert!(!explained(&history));
    assert!(matches!(versions::check(&history), Err(Violation::WentBack(..))));
}

#[test]
fn a_value_that_nobody_wrote_is_found() {
    let history = [told(put(1), Done(1), 0, 1), told(Op::Get, Found(1, value(2)), 2, 3)];
    assert!(!explained(&history));
    assert!(matches!(versions::check(&history), Err(Violation::OtherValue(..))));
    assert!(!explained(&[told(Op::Get, Found(1, value(2)), 2, 3)]));
}

#[test]
fn a_write_that_failed_and_shows_is_found() {
    let failed = ended(put(1), Outcome::Failed, 0);
    assert!(!explained(&[failed.clone(), told(Op::Get, Found(1, value(1)), 2, 3)]));
    assert!(explained(&[failed, told(Op::Get, Absent, 2, 3)]));
}

#[test]
fn an_unknown_write_may_show_late_or_never_but_not_before_it_was_invoked() {
    let unknown = |invoked| ended(put(1), Outcome::Unknown, invoked);
    assert!(explained(&[unknown(0), told(Op::Get, Absent, 2, 3), told(Op::Get, Found(1, value(1)), 4, 5)]));
    assert!(explained(&[unknown(0), told(Op::Get, Absent, 2, 3)]));
    assert!(!explained(&[unknown(4), told(Op::Get, Found(1, value(1)), 2, 3)]));
    assert!(!explained(&[unknown(0), told(Op::Get, Found(1, value(1)), 2, 3), told(Op::Get, Absent, 4, 5)]));
}

#[test]
fn a_removal_hides_what_was_written_before_it_only() {
    let removed = [told(put(1), Done(1), 0, 1), told(Op::Delete, Done(2), 2, 3), told(Op::Get, Absent, 4, 5)];
    assert!(explained(&removed) && versions::check(&removed).is_ok());
    let back = [&removed[..], &[told(Op::Get, Found(1, value(1)), 6, 7)]].concat();
    assert!(!explained(&back));
    let later = [told(put(1), Done(1), 0, 1), told(Op::Get, Absent, 2, 3), told(Op::Delete, Done(2), 4, 5)];
    assert!(!explained(&later));
    assert!(matches!(versions::check(&later), Err(Violation::Lost(..))));
}

#[test]
fn a_conflict_must_name_what_was_there() {
    let conflict = |found| [told(put(1), Done(3), 0, 1), told(Op::Cas(2, value(2)), Conflict(found), 2, 3)];
    assert!(explained(&conflict(3)));
    assert!(!explained(&conflict(0)) && !explained(&conflict(2)) && !explained(&conflict(4)));
}

#[test]
fn keys_are_judged_apart() {
    let other = |operation: Operation| Operation { key: Bytes::from_static(b"other"), ..operation };
    let history = [told(put(1), Done(1), 0, 1), other(told(Op::Get, Absent, 2, 3))];
    assert!(explained(&history) && versions::check(&history).is_ok());
}

#[test]
fn a_verdict_shows_where_no_operation_fits() {
    let history = [told(put(1), Done(1), 0, 1), told(Op::Get, Absent, 2, 3), told(Op::Get, Absent, 8, 9)];
    let Err(Verdict::NotLinearizable { placed, stuck, .. }) = linearizable::check(&history) else {
        panic!("it is wrong");
    };
    assert_eq!((&placed[..], &stuck[..]), (&history[..1], &history[1..2]));
}

#[test]
fn what_is_dropped_before_it_ends_is_unknown() {
    let recorder = Recorder::default();
    recorder.invoke(1, "a", put(1)).end(Outcome::Ok(Done(1)));
    drop(recorder.invoke(2, "a", put(2)));
    let history = recorder.history();
    assert_eq!(history[0].outcome, Outcome::Ok(Done(1)));
    assert_eq!(history[1].outcome, Outcome::Unknown);
    assert!(history[0].invoked <= history[0].returned && history[0].returned <= history[1].invoked);
}

/// What an operation does to a real register, at one moment. It is written apart from [`Register`].
fn apply(real: &mut (u64, Option<(u64, Bytes)>), op: &Op) -> Answer {
    let (revision, current) = real;
    let found = current.as_ref().map_or(0, |(version, _)| *version);
    let written = match op {
        Op::Get => return current.clone().map_or(Absent, |(version, value)| Found(version, value)),
        Op::Delete if current.is_none() => return Absent,
        Op::Cas(expected, _) if *expected != found => return Conflict(found),
        Op::Delete => None,
        Op::Put(value) | Op::Cas(_, value) => Some(value.clone()),
    };
    // Other keys of the group take versions too.
    *revision += 1 + *revision % 3;
    *current = written.map(|value| (*revision, value));
    Done(*revision)
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Get),
        3 => (0u64..4).prop_map(put),
        1 => Just(Op::Delete),
        2 => (0u64..12, 0u64..4).prop_map(|(expected, of)| Op::Cas(expected, value(of))),
    ]
}

/// One client's operation: what, how long before and after its moment it is under way, and whether its end is lost
/// (and then, whether it took effect).
fn any_call() -> impl Strategy<Value = (Op, u64, u64, Option<bool>)> {
    let lost = prop_oneof![8 => Just(None), 1 => any::<bool>().prop_map(Some)];
    (any_op(), 0u64..60, 0u64..60, lost)
}

/// The history of a real register under such calls, whose moments come ten apart.
fn right(calls: &[(Op, u64, u64, Option<bool>)]) -> Vec<Operation> {
    let mut real = (0, None);
    let mut history = Vec::new();
    for (moment, (op, before, after, lost)) in (10u64..).step_by(10).zip(calls) {
        let invoked = moment.saturating_sub(*before);
        history.push(match lost {
            None => told(op.clone(), apply(&mut real, op), invoked, moment + after),
            Some(applied) => {
                if *applied {
                    apply(&mut real, op);
                }
                ended(op.clone(), Outcome::Unknown, invoked)
            }
        });
    }
    history
}

/// Is there an order, by trying them all?
fn explained_by_any_order(left: &[Operation], state: &Register) -> bool {
    let done = left.iter().all(|each| !matches!(each.outcome, Outcome::Ok(_)));
    done || (0..left.len()).any(|next| {
        let may_be_next = left.iter().all(|other| other.returned >= left[next].invoked);
        let state = state.step(&left[next].op, &left[next].outcome);
        let others = [&left[..next], &left[next + 1..]].concat();
        may_be_next && state.is_some_and(|state| explained_by_any_order(&others, &state))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_a_real_register_does_is_accepted(calls in prop::collection::vec(any_call(), 0..60)) {
        let history = right(&calls);
        prop_assert!(explained(&history), "{:?}", linearizable::check(&history));
        prop_assert_eq!(versions::check(&history), Ok(()));
    }

    #[test]
    fn a_read_changed_to_what_nobody_wrote_is_found(
        calls in prop::collection::vec(any_call(), 1..40), which: usize, change in 0..3,
    ) {
        let mut history = right(&calls);
        let mut reads: Vec<_> = history.iter_mut().filter_map(|each| match &mut each.outcome {
            Outcome::Ok(Found(version, value)) => Some((version, value)),
            _ => None,
        }).collect();
        if reads.is_empty() {
            return Ok(());
        }
        let which = which % reads.len();
        let (version, value) = &mut reads[which];
        match change {
            0 => **value = Bytes::from_static(b"never written"),
            1 => **version += 1_000_000,
            _ => **version = 0,
        }
        if change == 1 && calls.iter().any(|(_, _, _, lost)| lost.is_some()) {
            // A write whose end was lost may be that one.
            return Ok(());
        }
        prop_assert!(!explained(&history));
    }

    #[test]
    fn the_search_agrees_with_trying_every_order(
        calls in prop::collection::vec((any_call(), 0u64..4, any::<bool>()), 0..7),
    ) {
        // Right histories with some answers exchanged for others.
        let mut history = right(&calls.iter().map(|(call, ..)| call.clone()).collect::<Vec<_>>());
        for (operation, (_, other, exchange)) in history.iter_mut().zip(&calls) {
            if let (true, Outcome::Ok(answer)) = (*exchange, &mut operation.outcome) {
                *answer = match (answer.clone(), other) {
                    (Found(version, _), 0) => Found(version, value(*other)),
                    (Found(version, value), _) => Found(version + other, value),
                    (Done(version), _) => Done(version.saturating_sub(*other)),
                    (_, 0) => Absent,
                    (_, other) => Found(*other, value(*other)),
                };
            }
        }
        prop_assert_eq!(explained(&history), explained_by_any_order(&history, &Register::default()), "{:?}", history);
    }
}

#[test]
fn a_long_history_of_many_clients_is_judged_quickly() {
    let call = |n: u64, lost| {
        let op = match n % 3 {
            0 => put(n),
            1 => Op::Get,
            _ => Op::Cas(n, value(n)),
        };
        (op, n * 7 % 90, n * 13 % 90, (lost && n.is_multiple_of(499)).then_some(n.is_multiple_of(2)))
    };
    let history = right(&(0..5_000).map(|n| call(n, true)).collect::<Vec<_>>());
    assert!(explained(&history) && versions::check(&history).is_ok());

    let mut history = right(&(0..5_000).map(|n| call(n, false)).collect::<Vec<_>>());
    let last = history.iter().map(|each| each.returned).max().expect("an end");
    history.push(told(Op::Get, Found(1, value(0)), last + 1, last + 2));
    assert!(!explained(&history));
    assert!(matches!(versions::check(&history), Err(Violation::WentBack(..))));
}

#[test]
fn operations_that_meet_at_one_moment_are_concurrent() {
    let history = [told(put(1), Done(1), 0, 5), told(Op::Get, Absent, 5, 6)];
    assert!(explained(&history) && versions::check(&history).is_ok());
}

#[test]
fn an_unknown_write_may_show_after_its_client_gave_up() {
    let given_up = Operation { returned: 1, ..ended(put(1), Outcome::Unknown, 0) };
    let history = [given_up, told(Op::Get, Absent, 2, 3), told(Op::Get, Found(1, value(1)), 4, 5)];
    assert!(explained(&history) && versions::check(&history).is_ok());
}

#[test]
fn a_conflict_with_the_very_version_that_was_expected_is_found() {
    assert!(!explained(&[told(put(1), Done(3), 0, 1), told(Op::Cas(3, value(2)), Conflict(3), 2, 3)]));
}

#[test]
fn a_write_under_the_version_that_was_read_before_it_is_found() {
    let history =
        [ended(put(1), Outcome::Unknown, 0), told(Op::Get, Found(5, value(1)), 1, 2), told(put(2), Done(5), 3, 4)];
    assert!(!explained(&history));
    assert!(versions::check(&history).is_err());
    let history =
        [ended(put(1), Outcome::Unknown, 0), told(Op::Get, Found(5, value(1)), 1, 2), told(put(1), Done(5), 3, 4)];
    assert!(matches!(versions::check(&history), Err(Violation::WentBack(..))));
}

#[test]
fn a_removal_from_before_a_write_does_not_explain_that_it_is_lost() {
    let history = [
        told(put(1), Done(1), 0, 1),
        told(Op::Delete, Done(2), 2, 3),
        told(put(3), Done(3), 4, 5),
        told(Op::Get, Absent, 6, 7),
    ];
    assert!(!explained(&history));
    assert!(matches!(versions::check(&history), Err(Violation::Lost(..))));
}
