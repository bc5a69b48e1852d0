use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use xorum_behaviours::wire::{CommandId, CommandNumber, SessionId};

use super::*;
use crate::group::{
    command::Command,
    seam::testing::{log_id, members, replica},
};

const BOUNDS: Bounds = Bounds { max_key_bytes: 8, max_value_bytes: 16, max_sessions: 3, max_answers: 4 };

/// Rows in memory, and every effect that there was on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Store {
    rows: BTreeMap<Bytes, (Version, Bytes)>,
    effects: Vec<(Bytes, Version, Option<Bytes>)>,
    broken: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Broken;

impl Rows for Store {
    type Error = Broken;

    fn version(&self, _: &Position, key: &[u8]) -> Result<Option<Version>, Broken> {
        if self.broken { Err(Broken) } else { Ok(self.rows.get(key).map(|(version, _)| *version)) }
    }

    fn put(&mut self, _: Position, key: Bytes, version: Version, value: Bytes) {
        self.rows.insert(key.clone(), (version, value.clone()));
        self.effects.push((key, version, Some(value)));
    }

    fn delete(&mut self, _: Position, key: Bytes, version: Version) {
        self.rows.remove(&key);
        self.effects.push((key, version, None));
    }
}

/// A replica: its state, its rows, and where its log ends.
#[derive(Clone)]
struct Replica {
    state: GroupState,
    store: Store,
    index: u64,
}

impl Replica {
    fn of(prefix: Prefix) -> Self {
        let head = Head { prefix, ..Head::founding(&NetworkId([3; 32])) };
        Self { state: GroupState { head, sessions: Sessions::default() }, store: Store::default(), index: 0 }
    }

    fn new() -> Self {
        Self::of(Prefix::EMPTY)
    }

    fn entry(
        &mut self,
        payload: EntryPayload<Command, xorum_behaviours::wire::ReplicaId, openraft::EmptyNode>,
    ) -> Applied {
        self.index += 1;
        let entry = Entry { log_id: log_id(1, self.index), payload };
        self.state.apply(&BOUNDS, entry, &mut self.store).expect("the rows can be read")
    }

    fn apply(&mut self, command: Command) -> Applied {
        self.entry(EntryPayload::Normal(command))
    }

    fn client(&mut self, clock: u64, id: CommandId, op: Op) -> Applied {
        self.apply(client(clock, id, op))
    }

    /// The replica as it comes back from its records, as a snapshot or the disk holds them.
    fn restarted(&self) -> Self {
        let head = xorum_behaviours::wire::encode(&self.state.head).expect("it is small");
        let head = xorum_behaviours::wire::decode(&head).expect("what we encode can be decoded");
        let records = self.state.sessions.iter().map(|(id, record)| (*id, record.clone()));
        let sessions = Sessions::from_records(records);
        Self { state: GroupState { head, sessions }, ..self.clone() }
    }

    fn seen(&self) -> (&Head, Vec<(&SessionId, &crate::group::sessions::SessionRecord)>, &Store) {
        (&self.state.head, self.state.sessions.iter().collect(), &self.store)
    }
}

fn client(clock: u64, id: CommandId, op: Op) -> Command {
    Command { clock: GroupClock(clock), body: Body::Client(ClientCommand { id, op }) }
}

fn id(session: u8, number: u64, watermark: u64, expires: u64) -> CommandId {
    CommandId {
        session: SessionId([session; 16]),
        number: CommandNumber(number),
        watermark: CommandNumber(watermark),
        expires: GroupClock(expires),
    }
}

fn key(n: u8) -> Bytes {
    vec![b'k', n].into()
}

fn put(n: u8, value: &str) -> Op {
    Op::Put { key: key(n), value: value.to_owned().into() }
}

fn done(version: u64) -> Applied {
    Applied::Answered(Answer::Done(Version(version)))
}

#[test]
fn a_key_is_put_swapped_and_removed_with_rising_versions() {
    let mut replica = Replica::new();
    let swap = |expected| Op::CompareAndSwap { key: key(1), expected, value: "new".into() };
    let conflict = |version| Applied::Answered(Answer::Conflict(Version(version)));
    assert_eq!(replica.client(0, id(1, 1, 1, 9), put(1, "old")), done(1));
    assert_eq!(replica.client(0, id(1, 2, 2, 9), swap(Expected::Absent)), conflict(1));
    assert_eq!(replica.client(0, id(1, 3, 3, 9), swap(Expected::Version(Version(1)))), done(2));
    assert_eq!(replica.client(0, id(1, 4, 4, 9), Op::Delete { key: key(1) }), done(3));
    assert_eq!(replica.client(0, id(1, 5, 5, 9), Op::Delete { key: key(1) }), Applied::Answered(Answer::NotFound));
    assert_eq!(replica.client(0, id(1, 6, 6, 9), swap(Expected::Version(Version(1)))), conflict(0));
    assert_eq!(replica.client(0, id(1, 7, 7, 9), swap(Expected::Version(Version(0)))), done(4));
    assert_eq!(replica.state.head.revision, Version(4));
}

#[test]
fn invariant_2_an_entry_outside_the_prefix_has_no_effect() {
    let (zero, one) = Prefix::EMPTY.halves().expect("the whole space has halves");
    let (mut left, mut right) = (Replica::of(zero), Replica::of(one));
    for n in 0..32 {
        let command = client(5, id(1, 1 + u64::from(n), 1 + u64::from(n), 9), put(n, "value"));
        let (here, owner, other) =
            if zero.contains(&Position::of_key(&key(n))) { (&mut left, zero, one) } else { (&mut right, one, zero) };
        assert!(owner.contains(&Position::of_key(&key(n))) && !other.contains(&Position::of_key(&key(n))));
        assert!(matches!(here.apply(command.clone()), Applied::Answered(Answer::Done(_))));
        let elsewhere = if owner == zero { &mut right } else { &mut left };
        let before = elsewhere.clone();
        assert_eq!(elsewhere.apply(command), Applied::Refused(Refusal::WrongGroup));
        assert_eq!(elsewhere.store, before.store);
        assert!(elsewhere.state.sessions.iter().eq(before.state.sessions.iter()), "and leaves no session");
        assert_eq!(elsewhere.state.head.revision, before.state.head.revision);
    }
    assert!(!left.store.rows.is_empty() && !right.store.rows.is_empty());
}

#[test]
fn what_is_too_large_has_no_effect() {
    let mut replica = Replica::new();
    let long_key = Op::Put { key: vec![b'k'; 9].into(), value: "v".into() };
    for op in [long_key, put(1, "seventeen letters")] {
        assert_eq!(replica.client(0, id(1, 1, 1, 9), op), Applied::Refused(Refusal::TooLarge));
    }
    assert!(replica.store.effects.is_empty() && replica.state.sessions.is_empty());
}

#[test]
fn a_command_for_another_group_is_told_so_also_where_there_is_no_room() {
    let (zero, _) = Prefix::EMPTY.halves().expect("the whole space has halves");
    let mut replica = Replica::of(zero);
    let owned: Vec<u8> = (0..=255).filter(|n| zero.contains(&Position::of_key(&key(*n)))).take(4).collect();
    let foreign = (0..=255).find(|n| !zero.contains(&Position::of_key(&key(*n)))).expect("half of them");
    for (session, n) in (1..).zip(&owned[..3]) {
        assert!(matches!(replica.client(0, id(session, 1, 1, 9), put(*n, "v")), Applied::Answered(_)));
    }
    let full = Applied::Refused(Refusal::TableFull);
    assert_eq!(replica.client(0, id(9, 1, 1, 9), put(owned[3], "v")), full);
    assert_eq!(replica.client(0, id(9, 1, 1, 9), put(foreign, "v")), Applied::Refused(Refusal::WrongGroup));
}

#[test]
fn a_row_that_cannot_be_read_changes_nothing() {
    let mut replica = Replica::new();
    replica.client(0, id(1, 1, 1, 9), put(1, "value"));
    replica.store.broken = true;
    let before = replica.clone();
    let command = client(50, id(2, 1, 1, 99), Op::Delete { key: key(1) });
    let entry = Entry { log_id: log_id(1, 2), payload: EntryPayload::Normal(command) };
    assert_eq!(replica.state.apply(&BOUNDS, entry, &mut replica.store), Err(Broken));
    assert_eq!(replica.seen(), before.seen());
}

#[test]
fn the_clock_never_goes_back_and_only_commands_move_it() {
    let mut replica = Replica::new();
    for (clock, after) in [(5, 5), (3, 5), (8, 8)] {
        replica.apply(Command { clock: GroupClock(clock), body: Body::Mint { peer: replica_peer() } });
        assert_eq!(replica.state.head.clock, GroupClock(after));
    }
    replica.entry(EntryPayload::Blank);
    assert_eq!(replica.state.head.clock, GroupClock(8));
    // A command is judged at the clock after it, not at the one it carries.
    assert_eq!(replica.client(1, id(1, 1, 1, 7), put(1, "v")), Applied::Refused(Refusal::Expired));
}

fn replica_peer() -> libp2p::PeerId {
    replica(1).peer
}

#[test]
fn invariant_4_a_minted_number_is_never_used_twice() {
    let mut group = Replica::new();
    let mut used = BTreeSet::from([ReplicaNumber::FIRST]);
    for round in 0..100 {
        let minted = group.apply(Command { clock: GroupClock(round), body: Body::Mint { peer: replica_peer() } });
        let Applied::Minted(number) = minted else { panic!("{minted:?}") };
        assert!(used.insert(number), "{number} again");
        if round % 7 == 0 {
            group = group.restarted();
        }
    }
}

#[test]
fn each_membership_raises_the_epoch() {
    let mut group = Replica::new();
    group.entry(EntryPayload::Membership(members(&[1])));
    group.entry(EntryPayload::Membership(members(&[1, 2, 3])));
    assert_eq!(group.state.head.epoch, Epoch(2));
    assert_eq!(group.state.head.membership.log_id(), &Some(log_id(1, 2)));
    assert_eq!(group.state.head.applied, Some(log_id(1, 2)));
}

/// A command that a session issues; every copy is the same.
#[derive(Clone, Debug)]
struct Issued {
    id: CommandId,
    op: Op,
}

/// The commands of three sessions, each number once, with watermarks that never pass what is still sent.
fn issued() -> impl Strategy<Value = Vec<Issued>> {
    let one = (0u64..4, 0u64..120, 0u8..4, 0u8..3);
    prop::collection::vec(prop::collection::vec(one, 1..12), 1..=4).prop_map(|sessions| {
        let mut all = Vec::new();
        for (session, commands) in (1u8..).zip(sessions) {
            let mut watermark = 1;
            for (number, (step, expires, n, kind)) in (1u64..).zip(commands) {
                watermark = (watermark + step).min(number);
                // The value tells whose effect it is.
                let value = format!("{session}-{number}");
                let op = match kind {
                    0 => Op::CompareAndSwap { key: key(n), expected: Expected::Absent, value: value.into() },
                    1 => Op::Delete { key: key(n) },
                    _ => put(n, &value),
                };
                all.push(Issued { id: id(session, number, watermark, expires), op });
            }
        }
        all
    })
}

/// Which of the commands arrives, and how far the leader's clock went on before it.
fn arrivals() -> impl Strategy<Value = Vec<(prop::sample::Index, u64)>> {
    prop::collection::vec(
        (any::<prop::sample::Index>(), prop_oneof![4 => Just(0u64), 2 => 1u64..5, 1 => 20u64..60]),
        1..200,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Copies arrive in any order, any number of times, at any time.
    #[test]
    fn invariant_6_a_retried_command_is_applied_at_most_once(issued in issued(), arrivals in arrivals()) {
        let mut replica = Replica::new();
        let mut answers: BTreeMap<(SessionId, CommandNumber), Answer> = BTreeMap::new();
        let mut clock = 0;
        for (which, ahead) in arrivals {
            clock += ahead;
            let Issued { id, op } = which.get(&issued).clone();
            let effects = replica.store.effects.len();
            let applied = replica.client(clock, id, op);
            let effect = replica.store.effects.len() - effects;
            match applied {
                Applied::Answered(answer) => {
                    let first = answers.insert((id.session, id.number), answer);
                    prop_assert_eq!(first.unwrap_or(answer), answer, "a copy is told what the first was");
                    let may_have_effect = first.is_none() && matches!(answer, Answer::Done(_));
                    prop_assert_eq!(effect, usize::from(may_have_effect));
                }
                Applied::Refused(_) => prop_assert_eq!(effect, 0),
                other => prop_assert!(false, "{:?}", other),
            }
            prop_assert!(replica.state.sessions.len() <= BOUNDS.max_sessions as usize);
            for (_, record) in replica.state.sessions.iter() {
                prop_assert!(record.answers.len() <= BOUNDS.max_answers as usize);
            }
        }
        let mut values = BTreeSet::new();
        for value in replica.store.effects.iter().filter_map(|(_, _, value)| value.as_ref()) {
            prop_assert!(values.insert(value), "two effects of one command");
        }
    }

    #[test]
    fn versions_never_go_back(issued in issued(), arrivals in arrivals()) {
        let mut replica = Replica::new();
        let mut clock = 0;
        for (which, ahead) in arrivals {
            clock += ahead;
            let Issued { id, op } = which.get(&issued).clone();
            replica.client(clock, id, op);
        }
        let versions: Vec<_> = replica.store.effects.iter().map(|(_, version, _)| *version).collect();
        prop_assert!(versions.is_sorted_by(|a, b| a < b), "{:?}", versions);
        prop_assert_eq!(versions.last().copied().unwrap_or(Version(0)), replica.state.head.revision);
    }

    /// One replica applies everything, another comes back from its records now and then, as after a restart or a
    /// snapshot: both are the same at every index, and so is what they answer.
    #[test]
    fn replicas_that_apply_the_same_entries_are_the_same(
        issued in issued(),
        arrivals in arrivals(),
        restarts in prop::collection::vec(any::<bool>(), 200),
    ) {
        let (mut one, mut other) = (Replica::new(), Replica::new());
        let mut clock = 0;
        for ((which, ahead), restart) in arrivals.into_iter().zip(restarts) {
            clock += ahead;
            let Issued { id, op } = which.get(&issued).clone();
            if restart {
                other = other.restarted();
            }
            prop_assert_eq!(one.client(clock, id, op.clone()), other.client(clock, id, op));
            prop_assert_eq!(one.seen(), other.seen());
        }
    }

    /// What the leader tells before it proposes is what apply says at that clock.
    #[test]
    fn the_leaders_judgement_is_that_of_apply(issued in issued(), arrivals in arrivals()) {
        let mut replica = Replica::new();
        let mut clock = 0;
        for (which, ahead) in arrivals {
            clock += ahead;
            let Issued { id, op } = which.get(&issued).clone();
            let command = ClientCommand { id, op };
            let judged = replica.state.judge(&BOUNDS, GroupClock(clock), &command);
            let applied = replica.client(clock, command.id, command.op);
            match judged {
                Verdict::Kept(answer) => prop_assert_eq!(applied, Applied::Answered(answer)),
                Verdict::Refused(refusal) => prop_assert_eq!(applied, Applied::Refused(refusal)),
                Verdict::Fresh => prop_assert!(matches!(applied, Applied::Answered(_))),
            }
        }
    }
}
