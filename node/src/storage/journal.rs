//! Cuts the torn tail of the engine's journal, and tells it from corruption, before the engine sees it.
//!
//! The engine takes whatever it cannot read for the end of its journal, and drops what follows: a flipped bit would
//! silently undo acknowledged writes, votes among them. Or it refuses to open, where a batch was torn so that its end
//! is on the disk and its middle is not. But the writer begins a batch only when the one before it is durable: so what
//! a crash tears is the last batch only, and a whole batch behind one that is not is corruption.
//!
//! The format is that of the engine's version 3 (`fjall/src/journal/entry.rs`), whose exact version is pinned:
//! a batch is a start (tag 1, count of items u32, sequence number u64), items (tag 2, kind u8, compression u8,
//! keyspace u64, key length u16, value length u32, stored value length u32, key, stored value) and an end (tag 3,
//! XXH3 of the items u64, magic), all little-endian. Files are made full of zeros.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_64;

use super::error::StorageError;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const MAGIC: &[u8] = b"FJL\x03";

/// Looks through the journals in a directory, and cuts the newest where it is torn.
///
/// # Errors
/// [`StorageError::Corrupt`] when a journal is broken elsewhere than in its last batch; nothing was changed then.
pub(super) fn cut_torn_tail(dir: &Path) -> Result<(), StorageError> {
    let mut journals = journals(dir)?;
    let newest = journals.pop();
    for (_, path) in &journals {
        if let Tail::Torn(at) | Tail::Corrupt(at) = check(&fs::read(path)?) {
            return Err(corrupt(path, at));
        }
    }
    let Some((_, path)) = newest else { return Ok(()) };
    match check(&fs::read(&path)?) {
        Tail::Whole => Ok(()),
        Tail::Corrupt(at) => Err(corrupt(&path, at)),
        Tail::Torn(at) => {
            tracing::warn!(journal = %path.display(), at, "cutting a write that a crash cut short");
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(at as u64)?;
            Ok(file.sync_all()?)
        }
    }
}

fn corrupt(path: &Path, at: usize) -> StorageError {
    StorageError::corrupt(format!("journal {}", path.display()), format_args!("the write at byte {at} is broken"))
}

/// The journals in a directory, oldest first.
fn journals(dir: &Path) -> Result<Vec<(u64, PathBuf)>, StorageError> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let id = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let (Some(id), true) = (id, path.extension().is_some_and(|extension| extension == "jnl")) {
            journals.push((id, path));
        }
    }
    journals.sort_unstable();
    Ok(journals)
}

/// How a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    /// With a whole batch, or zeros.
    Whole,
    /// With a part of a batch, from this byte on.
    Torn(usize),
    /// There is a whole batch behind one that is broken at this byte.
    Corrupt(usize),
}

/// Where a torn journal is to be cut; none when it is whole. The error is where it is corrupt.
pub(super) fn tail(journal: &[u8]) -> Result<Option<usize>, usize> {
    match check(journal) {
        Tail::Whole => Ok(None),
        Tail::Torn(at) => Ok(Some(at)),
        Tail::Corrupt(at) => Err(at),
    }
}

fn check(journal: &[u8]) -> Tail {
    let mut at = 0;
    let mut newest = None;
    while let Some(batch) = read_batch(journal, at) {
        at = batch.end;
        newest = Some(batch.sequence);
    }
    if is_zero(&journal[at..]) {
        return Tail::Whole;
    }
    let later = |from: usize| {
        journal[from] == START
            && read_batch(journal, from).is_some_and(|batch| newest.is_none_or(|newest| batch.sequence > newest))
    };
    if (at + 1..journal.len()).any(later) { Tail::Corrupt(at) } else { Tail::Torn(at) }
}

/// Compares by chunks: most of a fresh journal is zeros, 64 MiB of them.
fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

/// A whole batch.
struct Batch {
    sequence: u64,
    /// The first byte behind it.
    end: usize,
}

fn read_batch(journal: &[u8], at: usize) -> Option<Batch> {
    let mut reader = Reader { journal, at };
    if reader.take::<1>()? != [START] {
        return None;
    }
    let count = u32::from_le_bytes(reader.take()?);
    let sequence = u64::from_le_bytes(reader.take()?);
    let items = reader.at;
    for _ in 0..count {
        let [tag, _kind, _compression] = reader.take()?;
        if tag != ITEM {
            return None;
        }
        let _keyspace = reader.take::<8>()?;
        let key_bytes = u16::from_le_bytes(reader.take()?);
        let _value_bytes = reader.take::<4>()?;
        let stored_bytes = u32::from_le_bytes(reader.take()?);
        reader.skip(usize::from(key_bytes) + stored_bytes as usize)?;
    }
    let hash = xxh3_64(journal.get(items..reader.at)?);
    let whole = reader.take::<1>()? == [END]
        && u64::from_le_bytes(reader.take()?) == hash
        && reader.take::<{ MAGIC.len() }>()? == *MAGIC;
    (whole && count > 0).then_some(Batch { sequence, end: reader.at })
}

struct Reader<'a> {
    journal: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = *self.journal.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(taken)
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes).filter(|at| *at <= self.journal.len())?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::engine::{Engine, Row, Space};

    /// A journal as the engine writes it, and where each of its batches ends.
    fn written() -> (Vec<u8>, Vec<usize>) {
        let dir = tempfile::tempdir().expect("a directory");
        let engine = Engine::open(dir.path(), 1 << 20).expect("opens");
        for i in 0..5u8 {
            let rows = (0..=i).map(|j| Row::put(Space::Data, [i, j], vec![1; 3000]));
            engine.commit(rows).expect("commits");
        }
        drop(engine);
        let (_, path) = journals(dir.path()).expect("lists").pop().expect("a journal");
        let mut bytes = fs::read(path).expect("reads");
        let mut ends = Vec::new();
        let mut at = 0;
        while let Some(batch) = read_batch(&bytes, at) {
            at = batch.end;
            ends.push(at);
        }
        assert!(bytes[at..].iter().all(|byte| *byte == 0), "all that the engine wrote is understood");
        bytes.truncate(at);
        (bytes, ends)
    }

    #[test]
    fn every_batch_that_the_engine_writes_is_understood() {
        let (bytes, ends) = written();
        assert!(ends.len() >= 6, "five commits and the format's: {}", ends.len());
        assert_eq!(check(&bytes), Tail::Whole);
        assert_eq!(check(&[bytes, vec![0; 4096]].concat()), Tail::Whole);
    }

    #[test]
    fn a_cut_anywhere_is_a_torn_tail() {
        let (bytes, ends) = written();
        for cut in (0..bytes.len()).step_by(97).chain(ends.iter().map(|end| end - 1)) {
            let whole = ends.iter().copied().filter(|end| *end <= cut).max().unwrap_or(0);
            let torn = if whole == cut { Tail::Whole } else { Tail::Torn(whole) };
            assert_eq!(check(&bytes[..cut]), torn, "cut at {cut}");
        }
    }

    #[test]
    fn a_hole_in_the_last_batch_is_a_torn_tail_and_in_any_other_corruption() {
        let (bytes, ends) = written();
        let last = ends[ends.len() - 2];
        for hole in (0..bytes.len() - 64).step_by(61) {
            let mut broken = bytes.clone();
            broken[hole..hole + 64].iter_mut().for_each(|byte| *byte = !*byte);
            let begin = ends.iter().copied().filter(|end| *end <= hole).max().unwrap_or(0);
            let expected = if begin >= last { Tail::Torn(begin) } else { Tail::Corrupt(begin) };
            // A hole over the last but one batch's end reaches into the last: then nothing whole is behind it.
            if hole < last && hole + 64 > last {
                continue;
            }
            assert_eq!(check(&broken), expected, "hole at {hole}");
        }
    }
}
