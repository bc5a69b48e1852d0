//! Operations as clients saw them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use xorum_node::{
    api::{Swap, Version, Versioned},
    error::OpError,
};

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Read.
    Get,
    /// Write.
    Put(Bytes),
    /// Remove.
    Delete,
    /// Write if the version is this one; 0 is absent.
    Cas(u64, Bytes),
}

/// What a client was told when it was told a result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// A write took effect at this version.
    Done(u64),
    /// A read found this version and value.
    Found(u64, Bytes),
    /// There was nothing to read or remove.
    Absent,
    /// A compare-and-swap found this version instead; 0 is absent.
    Conflict(u64),
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With a result.
    Ok(Answer),
    /// It had no effect, nor ever will have.
    Failed,
    /// It may take effect, at any time after it was invoked, or never.
    Unknown,
}

/// One operation on one key. Times are nanoseconds of one monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked; for a person who reads the history.
    pub process: u64,
    /// The key.
    pub key: Bytes,
    /// What was asked.
    pub op: Op,
    /// Not later than it was sent.
    pub invoked: u64,
    /// Not earlier than its end was known.
    pub returned: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// A history by key: linearizability is local (Herlihy and Wing, TOPLAS 1990, §3.1), so each may be judged alone.
pub fn by_key(history: &[Operation]) -> BTreeMap<Bytes, Vec<Operation>> {
    let mut keys = BTreeMap::<Bytes, Vec<Operation>>::new();
    for operation in history {
        keys.entry(operation.key.clone()).or_default().push(operation.clone());
    }
    keys
}

/// Records what concurrent clients do. A cheap clone of a handle.
#[derive(Clone, Debug)]
pub struct Recorder {
    start: Instant,
    done: Arc<Mutex<Vec<Operation>>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { start: Instant::now(), done: Arc::default() }
    }
}

impl Recorder {
    /// Says that an operation is about to be sent.
    #[must_use = "without its end the operation's outcome is unknown"]
    pub fn invoke(&self, process: u64, key: impl Into<Bytes>, op: Op) -> Invocation {
        let operation = Operation {
            process,
            key: key.into(),
            op,
            invoked: self.now(),
            returned: u64::MAX,
            outcome: Outcome::Unknown,
        };
        Invocation { recorder: self.clone(), operation }
    }

    /// What was recorded so far.
    pub fn history(&self) -> Vec<Operation> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// An operation under way. One that is dropped, as with its client, ends unknown.
#[derive(Debug)]
pub struct Invocation {
    recorder: Recorder,
    operation: Operation,
}

impl Invocation {
    /// Says how it ended.
    pub fn end(mut self, outcome: Outcome) {
        self.operation.outcome = outcome;
    }
}

impl Drop for Invocation {
    fn drop(&mut self) {
        self.operation.returned = self.recorder.now();
        self.recorder.done.lock().unwrap_or_else(PoisonError::into_inner).push(self.operation.clone());
    }
}

impl From<Result<Answer, OpError>> for Outcome {
    fn from(result: Result<Answer, OpError>) -> Self {
        match result {
            Ok(answer) => Self::Ok(answer),
            Err(OpError::OutcomeUnknown { .. } | OpError::Internal(_)) => Self::Unknown,
            Err(_) => Self::Failed,
        }
    }
}

impl From<Version> for Answer {
    fn from(version: Version) -> Self {
        Self::Done(version.0)
    }
}

impl From<Option<Version>> for Answer {
    fn from(removed: Option<Version>) -> Self {
        removed.map_or(Self::Absent, Self::from)
    }
}

impl From<Option<Versioned>> for Answer {
    fn from(found: Option<Versioned>) -> Self {
        found.map_or(Self::Absent, |found| Self::Found(found.version.0, found.value))
    }
}

impl From<Swap> for Answer {
    fn from(swap: Swap) -> Self {
        match swap {
            Swap::Done(version) => Self::Done(version.0),
            Swap::Conflict(version) => Self::Conflict(version.0),
        }
    }
}
