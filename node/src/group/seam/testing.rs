//! Builders for tests: short names for replicas, votes and entries.

use libp2p::identity::Keypair;
use openraft::{EntryPayload, type_config::alias::CommittedLeaderIdOf};
use xorum_behaviours::wire::{
    ClientCommand, CommandId, CommandNumber, GroupClock, GroupId, Op, Origin, ReplicaId, ReplicaNumber, SessionId,
};

use super::Facts;
use crate::group::{
    command::{Body, Command},
    raft::{Entry, LogId, Membership, TypeConfig},
};

pub(crate) const GROUP: GroupId = GroupId([7; 32]);
pub(crate) const ORIGIN: Origin = Origin::Founding;

/// The same replica for the same number, each of a peer of its own.
pub(crate) fn replica(number: u8) -> ReplicaId {
    let keys = Keypair::ed25519_from_bytes([number; 32]).expect("32 bytes are a key");
    ReplicaId { peer: keys.public().to_peer_id(), number: ReplicaNumber(number.into()) }
}

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: CommittedLeaderIdOf::<TypeConfig>::new(term), index }
}

pub(crate) fn blank(term: u64, index: u64) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Blank }
}

pub(crate) fn put(term: u64, index: u64, value: &'static [u8]) -> Entry {
    let id = CommandId {
        session: SessionId([1; 16]),
        number: CommandNumber(index),
        watermark: CommandNumber(0),
        expires: GroupClock(1_000),
    };
    let op = Op::Put { key: (&b"key"[..]).into(), value: value.into() };
    let command = Command { clock: GroupClock(index), body: Body::Client(ClientCommand { id, op }) };
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(command) }
}

pub(crate) fn members(numbers: &[u8]) -> Membership {
    let voters = numbers.iter().map(|number| replica(*number)).collect();
    Membership::new_with_defaults(vec![voters], [])
}

/// Terms of a log whose every entry is of term 1.
pub(crate) fn all_of_term_one(_: u64) -> Option<u64> {
    Some(1)
}

/// Facts of replica 1, which knows nothing.
pub(crate) fn nothing() -> Facts<'static> {
    Facts {
        group: GROUP,
        me: replica(1),
        vote: None,
        committed: None,
        membership: None,
        dead: None,
        term_at: &all_of_term_one,
    }
}
