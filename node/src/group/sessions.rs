//! Exactly once: each session's kept answers (after RIFL, Lee et al., SOSP 2015, §3).
//!
//! A command is named by its session and number. Applying keeps its answer until the session's watermark passes the
//! number, and the session's record until the largest `expires` seen in it has passed. So a copy that comes later
//! finds the answer, or is refused as below the watermark, or as expired; it is never applied again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use xorum_behaviours::wire::{Answer, Bounds, CommandId, CommandNumber, GroupClock, Refusal, SessionId};

/// How far ahead of the group clock `expires` may lie, in milliseconds: the longest operation deadline, and a minute.
pub const MAX_EXPIRES_AHEAD_MS: u64 = 11 * 60 * 1000;

/// What a group remembers of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The lowest number that the session may still send.
    pub watermark: CommandNumber,
    /// The largest `expires` seen.
    pub expires: GroupClock,
    /// The answers not yet passed by the watermark.
    pub answers: BTreeMap<CommandNumber, Answer>,
}

/// What the table says of a command before it is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An earlier copy was applied; this is its answer.
    Kept(Answer),
    /// It may not be applied.
    Refused(Refusal),
    /// It is new.
    Fresh,
}

/// All sessions of one group.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    records: BTreeMap<SessionId, SessionRecord>,
    /// Records by when they may be forgotten.
    by_expiry: BTreeSet<(GroupClock, SessionId)>,
    /// Sessions changed or forgotten since [`Self::take_dirty`].
    dirty: BTreeSet<SessionId>,
}

impl Sessions {
    /// The table that holds these records.
    pub fn from_records(records: impl IntoIterator<Item = (SessionId, SessionRecord)>) -> Self {
        let records: BTreeMap<_, _> = records.into_iter().collect();
        let by_expiry = records.iter().map(|(id, record)| (record.expires, *id)).collect();
        Self { records, by_expiry, dirty: BTreeSet::new() }
    }

    /// Judges a command at a group clock, in the order in which every replica and the leader ask: kept answer,
    /// watermark, `expires`, room. A record whose time has passed counts as forgotten, whether it is yet or not.
    pub fn judge(&self, id: &CommandId, clock: GroupClock, bounds: &Bounds) -> Verdict {
        let record = self.records.get(&id.session).filter(|record| record.expires >= clock);
        if let Some(answer) = record.and_then(|record| record.answers.get(&id.number)) {
            return Verdict::Kept(*answer);
        }
        if id.number < id.watermark.max(record.map_or(CommandNumber(0), |record| record.watermark)) {
            return Verdict::Refused(Refusal::BelowWatermark);
        }
        if id.expires < clock {
            return Verdict::Refused(Refusal::Expired);
        }
        if id.expires.0 - clock.0 > MAX_EXPIRES_AHEAD_MS {
            return Verdict::Refused(Refusal::ExpiresTooFarAhead);
        }
        let full = match record {
            None => self.records.len() - self.expired(clock) >= bounds.max_sessions as usize,
            Some(record) => record.answers.range(id.watermark..).count() >= bounds.max_answers as usize,
        };
        if full { Verdict::Refused(Refusal::TableFull) } else { Verdict::Fresh }
    }

    /// How many records count as forgotten at a group clock.
    fn expired(&self, clock: GroupClock) -> usize {
        self.by_expiry.iter().take_while(|(expires, _)| *expires < clock).count()
    }

    /// Keeps the answer of a command that was judged fresh and has been applied.
    pub fn keep(&mut self, id: &CommandId, answer: Answer) {
        let record = self.records.entry(id.session).or_default();
        if id.watermark > record.watermark {
            record.watermark = id.watermark;
            record.answers = record.answers.split_off(&id.watermark);
        }
        record.answers.insert(id.number, answer);
        if id.expires > record.expires {
            self.by_expiry.remove(&(record.expires, id.session));
            record.expires = id.expires;
        }
        self.by_expiry.insert((record.expires, id.session));
        self.dirty.insert(id.session);
    }

    /// Forgets the sessions whose largest `expires` has passed.
    pub fn expire(&mut self, clock: GroupClock) {
        while let Some(&(expires, session)) = self.by_expiry.first() {
            if expires >= clock {
                return;
            }
            self.by_expiry.pop_first();
            self.records.remove(&session);
            self.dirty.insert(session);
        }
    }

    /// One session's record.
    pub fn get(&self, session: &SessionId) -> Option<&SessionRecord> {
        self.records.get(session)
    }

    /// Every session's record.
    pub fn iter(&self) -> impl Iterator<Item = (&SessionId, &SessionRecord)> {
        self.records.iter()
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The sessions changed since this was last called, each with its record, or none where it was forgotten.
    pub fn take_dirty(&mut self) -> Vec<(SessionId, Option<SessionRecord>)> {
        std::mem::take(&mut self.dirty).into_iter().map(|id| (id, self.records.get(&id).cloned())).collect()
    }
}

#[cfg(test)]
mod tests;
