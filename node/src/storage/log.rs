//! A replica's log, vote and committed id, as openraft wants them.
//!
//! What is appended is readable at once, from a tail in memory; it is durable when the writer says so. Of what is
//! durable the tail keeps the newest `log_cache_bytes`; what is older is read from the engine, as of one moment.

use std::{
    cmp::Ordering,
    collections::VecDeque,
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use futures::{Stream, TryStreamExt, stream};
use openraft::{
    OptionalSend, RaftLogReader,
    storage::{IOFlushed, LogState, RaftLogStorage},
};
use parking_lot::Mutex;
use xorum_behaviours::wire::{self, GroupId, ReplicaNumber};

use super::{
    Shared,
    engine::{Engine, Frozen, Row, Space},
    error::StorageError,
    keys,
    run::{self, Run},
    tail::{Kept, Tail, limited, next_index},
    writer::{Fence, Write},
};
use crate::group::raft::{Entry, LogId, TypeConfig, Vote};

/// The most bytes of entries that [`RaftLogReader::limited_get_log_entries`] gives, but for a single larger entry.
const MAX_READ_BYTES: usize = 1024 * 1024;

/// A replica's log.
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
    group: GroupId,
    number: ReplicaNumber,
    fence: Fence,
    tail: Arc<Mutex<Tail>>,
}

impl LogStore {
    /// The term of an entry, where it is among those kept in memory.
    pub fn term_in_memory(&self, index: u64) -> Option<u64> {
        self.tail.lock().term_at(index)
    }

    /// Bytes of all entries appended since the log was opened.
    pub fn appended_bytes(&self) -> u64 {
        self.tail.lock().appended_bytes
    }

    /// Reads what the engine holds of a replica's log. Nothing of it may be waiting in the writer.
    pub(super) fn open(
        shared: Arc<Shared>,
        group: GroupId,
        number: ReplicaNumber,
        fence: Fence,
    ) -> Result<Self, StorageError> {
        let engine = &shared.engine;
        let vote = read(engine, &keys::vote(&group, number), "a vote")?;
        let committed = read(engine, &keys::committed(&group, number), "a committed id")?;
        let purged = read::<LogId>(engine, &keys::purged(&group, number), "a purged id")?;
        let frozen = engine.frozen();
        remove_purged(&shared, &frozen, &group, number, purged)?;
        let last = end_entry(&frozen, &group, number, purged, true)?.or(purged);
        let first = end_entry(&frozen, &group, number, purged, false)?;
        let tail = Tail {
            vote,
            committed,
            purged,
            first: first.map_or(next_index(last), |id| id.index),
            last,
            kept: VecDeque::new(),
            kept_bytes: 0,
            appended_bytes: 0,
            runs: VecDeque::new(),
            unknown_below: next_index(last),
            durable_end: next_index(last),
            truncations: 0,
        };
        Ok(Self { shared, group, number, fence, tail: Arc::new(Mutex::new(tail)) })
    }

    fn key(&self, index: u64) -> Vec<u8> {
        keys::entry(&self.group, self.number, index)
    }

    fn write(&self, write: Write) {
        self.shared.writer.submit(write.fenced(&self.fence));
    }

    /// The entries from `start` to before `end`, as many as there are; but no more than `max_bytes`, once there is one.
    fn entries(&self, start: u64, end: u64, max_bytes: usize) -> Result<Vec<Entry>, StorageError> {
        let (start, middle, frozen, kept) = {
            let tail = self.tail.lock();
            let start = start.max(tail.first);
            let end = end.min(tail.end()).max(start);
            let middle = tail.first_kept().clamp(start, end);
            let skipped = middle.saturating_sub(tail.first_kept()) as usize;
            let kept = limited(tail.kept.iter().skip(skipped).take((end - middle) as usize), max_bytes);
            if start == middle {
                return Ok(kept.into_iter().map(|(entry, _)| entry).collect());
            }
            // What is below the kept entries is durable, and stays as it is in this view.
            (start, middle, self.shared.engine.frozen(), kept)
        };
        let (mut entries, mut bytes) = self.stored(&frozen, start, middle, max_bytes)?;
        if entries.len() as u64 == middle - start {
            for (entry, entry_bytes) in kept {
                bytes = entry_bytes.saturating_add(bytes);
                if bytes > max_bytes {
                    break;
                }
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    fn stored(
        &self,
        frozen: &Frozen,
        start: u64,
        end: u64,
        max_bytes: usize,
    ) -> Result<(Vec<Entry>, usize), StorageError> {
        // A run is under the index of its last entry: the first row from here on is the one that holds `start`.
        let range = (Bound::Included(self.key(start)), Bound::Included(self.key(u64::MAX)));
        let (mut entries, mut bytes, mut next) = (Vec::new(), 0, start);
        'rows: for row in frozen.range(Space::Log, range) {
            let (key, value) = row?;
            for (entry, length) in run::decode(&key, &value)? {
                match entry.log_id.index.cmp(&next) {
                    Ordering::Less => continue,
                    Ordering::Greater => break 'rows,
                    Ordering::Equal if next == end => break 'rows,
                    Ordering::Equal => {}
                }
                if !entries.is_empty() && bytes + length > max_bytes {
                    return Ok((entries, bytes));
                }
                bytes += length;
                next += 1;
                entries.push(entry);
            }
            if next == end {
                break;
            }
        }
        if next != end {
            return Err(StorageError::corrupt("the log", format_args!("entry {next} is missing")));
        }
        Ok((entries, bytes))
    }

    /// The row that holds what a truncation keeps of the run that it cuts. Where that run began is not known: as many
    /// entries are written as a run can have.
    fn last_run(&self, end: u64) -> Result<Option<Row>, StorageError> {
        let kept = self.entries(end.saturating_sub(run::MAX_ENTRIES as u64), end, usize::MAX)?;
        let mut run = Run::default();
        for entry in &kept {
            run.push(&wire::encode(entry)?);
        }
        let last = kept.last().map(|entry| entry.log_id.index);
        Ok(last.zip(run.take()).map(|(last, value)| Row::put(Space::Log, self.key(last), value)))
    }
}

fn read<T: serde::de::DeserializeOwned>(engine: &Engine, key: &[u8], what: &str) -> Result<Option<T>, StorageError> {
    engine.get(Space::Raft, key)?.map(|value| wire::decode(&value).map_err(StorageError::undecodable(what))).transpose()
}

/// A purge records what it purges first, and may then have been cut short: finishes it.
fn remove_purged(
    shared: &Shared,
    frozen: &Frozen,
    group: &GroupId,
    number: ReplicaNumber,
    purged: Option<LogId>,
) -> Result<(), StorageError> {
    let Some(purged) = purged else { return Ok(()) };
    let range =
        (Bound::Included(keys::entry(group, number, 0)), Bound::Included(keys::entry(group, number, purged.index)));
    let mut rows = Vec::new();
    for row in frozen.range(Space::Log, range) {
        rows.push(Row::remove(Space::Log, row?.0.to_vec()));
    }
    if !rows.is_empty() {
        shared.writer.submit(Write::lazy(rows));
    }
    Ok(())
}

/// The first entry behind what is purged, or the last.
fn end_entry(
    frozen: &Frozen,
    group: &GroupId,
    number: ReplicaNumber,
    purged: Option<LogId>,
    last: bool,
) -> Result<Option<LogId>, StorageError> {
    let range = (
        Bound::Included(keys::entry(group, number, next_index(purged))),
        Bound::Included(keys::entry(group, number, u64::MAX)),
    );
    let mut rows = frozen.range(Space::Log, range);
    let Some(row) = (if last { rows.next_back() } else { rows.next() }) else { return Ok(None) };
    let (key, value) = row?;
    let entries = run::decode(&key, &value)?;
    let mut ids = entries.iter().map(|(entry, _)| entry.log_id).filter(|id| id.index >= next_index(purged));
    Ok(if last { ids.next_back() } else { ids.next() })
}

/// What a range of indexes is, as the first and the end.
fn bounds_of(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        // What waits to be applied may be more than should be in memory at once. The reader does not look for entries
        // that were purged before they were applied, so that is looked for here.
        let (start, end) = bounds_of(&range);
        let log = self.clone();
        let chunks = stream::try_unfold(start, move |next| {
            let read = log.entries(next, end, MAX_READ_BYTES);
            std::future::ready(read.map_err(io::Error::from).and_then(|entries| {
                let Some(first) = entries.first() else { return Ok(None) };
                if first.log_id.index != next {
                    let reason = format_args!("entry {next} is missing");
                    return Err(StorageError::corrupt("the log", reason).into());
                }
                let after = next + entries.len() as u64;
                Ok(Some((stream::iter(entries.into_iter().map(Ok)), after)))
            }))
        });
        chunks.try_flatten()
    }

    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (start, end) = bounds_of(&range);
        Ok(self.entries(start, end, usize::MAX)?)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        Ok(self.entries(start, end, MAX_READ_BYTES)?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.tail.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let tail = self.tail.lock();
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: tail.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let row = Row::put(
            Space::Raft,
            keys::vote(&self.group, self.number),
            wire::encode(vote).map_err(StorageError::from)?,
        );
        self.shared.writer.write(Write::synced(vec![row]).fenced(&self.fence)).await?;
        self.tail.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let key = keys::committed(&self.group, self.number);
        let row = match &committed {
            Some(id) => Row::put(Space::Raft, key, wire::encode(id).map_err(StorageError::from)?),
            None => Row::remove(Space::Raft, key),
        };
        self.tail.lock().committed = committed;
        self.write(Write::lazy(vec![row]));
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.tail.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter();
        let (mut rows, mut runs) = (Vec::new(), Vec::new());
        let mut kept: Vec<Kept> = Vec::with_capacity(entries.size_hint().0);
        let (mut run, mut encoded) = (Run::default(), Vec::new());
        let mut end_run = |run: &mut Run, kept: &[Kept]| {
            let last = kept.last().map(|kept| kept.entry.log_id.index);
            if let Some((last, value)) = last.zip(run.take()) {
                rows.push(Row::put(Space::Log, self.key(last), value));
                runs.push(last);
            }
        };
        for entry in entries {
            encoded.clear();
            encoded = wire::encode_into(encoded, &entry).map_err(StorageError::from)?;
            if !run.has_room(encoded.len()) {
                end_run(&mut run, &kept);
            }
            run.push(&encoded);
            kept.push(Kept { bytes: encoded.len(), entry });
        }
        end_run(&mut run, &kept);
        // Between taking its place in the tail and in the queue, nothing may break off.
        let write = self.shared.writer.room_for(Write::synced(rows).fenced(&self.fence)).await;
        let (end, truncations) = {
            let mut tail = self.tail.lock();
            for kept in kept {
                tail.push(kept)?;
            }
            tail.runs.extend(runs);
            (tail.end(), tail.truncations)
        };
        let tail = self.tail.clone();
        let max_bytes = self.shared.config.log_cache_bytes;
        let done = move |result: Result<(), StorageError>| {
            if result.is_ok() {
                let mut tail = tail.lock();
                if tail.truncations == truncations {
                    tail.durable_end = end;
                    tail.shrink(max_bytes);
                }
            }
            callback.io_completed(result.map_err(io::Error::from));
        };
        self.shared.writer.submit(write.then(done));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let cut = next_index(last);
        let kept = if cut < self.tail.lock().end() { self.last_run(cut)? } else { None };
        let (start, end) = {
            let mut tail = self.tail.lock();
            let end = tail.end();
            let start = cut.clamp(tail.first, end);
            for _ in start..end {
                tail.pop_back();
            }
            tail.last = if start == end { tail.last } else { last.max(tail.purged) };
            tail.first = tail.first.min(tail.end());
            tail.durable_end = tail.durable_end.min(start);
            tail.truncations += 1;
            while tail.runs.pop_back_if(|run| *run >= start).is_some() {}
            if kept.is_some() {
                // What is kept of the run that is cut is under its own last index now.
                tail.runs.push_back(start - 1);
            }
            (start, end)
        };
        let removed = (start..end).map(|index| Row::remove(Space::Log, self.key(index)));
        self.write(Write::synced(removed.chain(kept).collect()));
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let (runs, unknown_below) = {
            let mut tail = self.tail.lock();
            if tail.purged.is_some_and(|purged| purged >= upto) {
                return Ok(());
            }
            while tail.first_kept() <= upto.index && !tail.kept.is_empty() {
                tail.pop_front();
            }
            tail.purged = Some(upto);
            if tail.last.is_none_or(|last| last.index <= upto.index) {
                tail.last = Some(upto);
                tail.durable_end = tail.durable_end.max(upto.index + 1);
            }
            tail.first = tail.first.max(upto.index + 1);
            let mut runs = Vec::new();
            while let Some(run) = tail.runs.pop_front_if(|run| *run <= upto.index) {
                runs.push(run);
            }
            let unknown_below = tail.unknown_below.min(upto.index + 1);
            if unknown_below == tail.unknown_below {
                tail.unknown_below = 0;
            }
            (runs, unknown_below)
        };
        let row = Row::put(
            Space::Raft,
            keys::purged(&self.group, self.number),
            wire::encode(&upto).map_err(StorageError::from)?,
        );
        let mut rows = vec![row];
        if unknown_below > 0 {
            let range = (Bound::Included(self.key(0)), Bound::Excluded(self.key(unknown_below)));
            for row in self.shared.engine.frozen().range(Space::Log, range) {
                // A copy: the key itself would hold the block that it was read from.
                rows.push(Row::remove(Space::Log, row.map_err(io::Error::from)?.0.to_vec()));
            }
        }
        rows.extend(runs.into_iter().map(|run| Row::remove(Space::Log, self.key(run))));
        self.write(Write::lazy(rows));
        Ok(())
    }
}
