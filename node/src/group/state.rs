//! The state that every replica of a group has in common at one log index, and how an entry changes it.

use openraft::EntryPayload;
use serde::{Deserialize, Serialize};
use xorum_behaviours::{
    space::{Position, Prefix},
    wire::{
        Answer, Bounds, ClientCommand, Epoch, Expected, GroupClock, GroupId, NetworkId, Op, Origin, Refusal,
        ReplicaNumber, Version,
    },
};

use super::{
    command::{Applied, Body},
    raft::{Entry, LogId, StoredMembership},
    sessions::{Sessions, Verdict},
};

/// The part of a group's state that is one small row: all but its sessions and its data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The group.
    pub group: GroupId,
    /// Where it came from.
    pub origin: Origin,
    /// The part of the key space that it owns.
    pub prefix: Prefix,
    /// Rises with each change of membership or prefix.
    pub epoch: Epoch,
    /// The last entry applied.
    pub applied: Option<LogId>,
    /// The membership as of that entry.
    pub membership: StoredMembership,
    /// Counts the group's writes.
    pub revision: Version,
    /// The group clock.
    pub clock: GroupClock,
    /// The replica number that the next mint takes.
    pub next_number: ReplicaNumber,
}

impl Head {
    /// The state of a network's first group before its first entry: the same on every replica of it.
    pub fn founding(network: &NetworkId) -> Self {
        Self {
            group: GroupId(blake3::derive_key("xorum 1 founding group", &network.0)),
            origin: Origin::Founding,
            prefix: Prefix::EMPTY,
            epoch: Epoch(0),
            applied: None,
            membership: StoredMembership::default(),
            revision: Version(0),
            clock: GroupClock(0),
            next_number: ReplicaNumber(ReplicaNumber::FIRST.0 + 1),
        }
    }
}

/// The rows that a group's commands read and write: the group's own, and no others.
pub trait Rows {
    /// Why a row cannot be read; it stops the replica.
    type Error;

    /// The version of a key's last write, if it is there.
    ///
    /// # Errors
    /// When the row cannot be read.
    fn version(&self, position: &Position, key: &[u8]) -> Result<Option<Version>, Self::Error>;

    /// Sets a key.
    fn put(&mut self, position: Position, key: bytes::Bytes, version: Version, value: bytes::Bytes);

    /// Removes a key; `version` is the revision of the removal.
    fn delete(&mut self, position: Position, key: bytes::Bytes, version: Version);
}

/// A group's state without its data.
#[derive(Clone, Debug)]
pub struct GroupState {
    /// All but sessions and data.
    pub head: Head,
    /// Kept answers.
    pub sessions: Sessions,
}

impl GroupState {
    /// Applies one entry.
    ///
    /// # Errors
    /// Only when a row cannot be read; nothing was changed then, and the replica must stop.
    pub fn apply<R: Rows>(&mut self, bounds: &Bounds, entry: Entry, rows: &mut R) -> Result<Applied, R::Error> {
        let applied = match entry.payload {
            EntryPayload::Blank => Applied::Nothing,
            EntryPayload::Membership(membership) => {
                self.head.membership = StoredMembership::new(Some(entry.log_id), membership);
                self.head.epoch.0 += 1;
                Applied::Nothing
            }
            EntryPayload::Normal(command) => {
                let clock = self.head.clock.max(command.clock);
                let applied = match command.body {
                    Body::Client(client) => self.apply_client(bounds, clock, client, rows)?,
                    Body::Mint { .. } => {
                        let number = self.head.next_number;
                        self.head.next_number.0 += 1;
                        Applied::Minted(number)
                    }
                };
                self.sessions.expire(clock);
                self.head.clock = clock;
                applied
            }
        };
        self.head.applied = Some(entry.log_id);
        Ok(applied)
    }

    /// What the state, as it is, says of a command: what applying it next would, short of its effect. One that does
    /// not belong here is told so rather than that there is no room for it.
    pub fn judge(&self, bounds: &Bounds, clock: GroupClock, command: &ClientCommand) -> Verdict {
        match self.sessions.judge(&command.id, clock, bounds) {
            verdict @ (Verdict::Fresh | Verdict::Refused(Refusal::TableFull)) => {
                self.refusal(bounds, &command.op).map_or(verdict, Verdict::Refused)
            }
            verdict => verdict,
        }
    }

    /// Why an operation does not belong here, if it does not.
    fn refusal(&self, bounds: &Bounds, op: &Op) -> Option<Refusal> {
        if !self.head.prefix.contains(&Position::of_key(op.key())) {
            return Some(Refusal::WrongGroup);
        }
        let too_large = op.key().len() > bounds.max_key_bytes as usize
            || op.value().is_some_and(|value| value.len() > bounds.max_value_bytes as usize);
        too_large.then_some(Refusal::TooLarge)
    }

    fn apply_client<R: Rows>(
        &mut self,
        bounds: &Bounds,
        clock: GroupClock,
        command: ClientCommand,
        rows: &mut R,
    ) -> Result<Applied, R::Error> {
        match self.judge(bounds, clock, &command) {
            Verdict::Kept(answer) => return Ok(Applied::Answered(answer)),
            Verdict::Refused(refusal) => return Ok(Applied::Refused(refusal)),
            Verdict::Fresh => {}
        }
        let ClientCommand { id, op } = command;
        let position = Position::of_key(op.key());
        let next = Version(self.head.revision.0 + 1);
        // A row that cannot be read ends the apply: nothing may be changed before.
        let answer = match op {
            Op::Put { key, value } => {
                rows.put(position, key, next, value);
                Answer::Done(next)
            }
            Op::Delete { key } => match rows.version(&position, &key)? {
                None => Answer::NotFound,
                Some(_) => {
                    rows.delete(position, key, next);
                    Answer::Done(next)
                }
            },
            Op::CompareAndSwap { key, expected, value } => {
                let found = rows.version(&position, &key)?;
                if found == expected_version(expected) {
                    rows.put(position, key, next, value);
                    Answer::Done(next)
                } else {
                    Answer::Conflict(found.unwrap_or(Version(0)))
                }
            }
        };
        // Makes the room that the verdict counted on.
        self.sessions.expire(clock);
        if matches!(answer, Answer::Done(_)) {
            self.head.revision = next;
        }
        self.sessions.keep(&id, answer);
        Ok(Applied::Answered(answer))
    }
}

fn expected_version(expected: Expected) -> Option<Version> {
    match expected {
        Expected::Absent | Expected::Version(Version(0)) => None,
        Expected::Version(version) => Some(version),
    }
}

#[cfg(test)]
mod tests;
