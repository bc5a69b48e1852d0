//! Is there one order of a key's operations that its register and real time explain?
//!
//! The search is Wing and Gong's (JPDC 1993): of the operations that no other one, still to be placed, ended before,
//! try each as the next, and go back where none fits. As Lowe does (CCPE 2017, §4), it remembers every pair of
//! operations placed and state reached, and never goes on from the same pair twice.

use std::collections::HashSet;

use bytes::Bytes;

use super::{Op, Operation, Outcome, by_key, register::Register};

/// How much the pairs of one key may take before the search gives up, in words of 64 bits: 256 MiB.
const MAX_WORDS: usize = 32 << 20;

/// Why a history is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No order explains it.
    NotLinearizable {
        /// The key.
        key: Bytes,
        /// The most operations that could be placed, in an order that explains them.
        placed: Vec<Operation>,
        /// The operations one of which had to come next, and none could.
        stuck: Vec<Operation>,
    },
    /// The search grew too large: fewer clients a key, or fewer operations of unknown outcome, are needed.
    Undecided {
        /// The key.
        key: Bytes,
    },
}

/// Checks each key of a history by itself.
///
/// # Errors
/// When some key's operations cannot be explained, or were too many to tell.
pub fn check(history: &[Operation]) -> Result<(), Verdict> {
    by_key(history).into_iter().try_for_each(|(key, operations)| Search::new(key, operations).run())
}

/// Where the list of operations begins and ends.
const END: usize = usize::MAX;

/// One operation placed, and how to go back behind it.
struct Placed {
    index: usize,
    before: Register,
    /// Could it be placed without loss, so that nothing else need be tried in its stead?
    free: bool,
}

struct Search {
    key: Bytes,
    /// By time of invocation; only what may have had an effect or was told a result.
    operations: Vec<Operation>,
    /// Linked lists of the operations not placed, in that order; the last element is the head.
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Operations with a result that are not placed.
    required: usize,
    placed: Vec<Placed>,
    set: Box<[u64]>,
    state: Register,
    seen: HashSet<(Box<[u64]>, Register)>,
}

impl Search {
    fn new(key: Bytes, mut operations: Vec<Operation>) -> Self {
        operations.retain(|each| match each.outcome {
            Outcome::Ok(_) => true,
            Outcome::Failed => false,
            Outcome::Unknown => each.op != Op::Get,
        });
        for unknown in operations.iter_mut().filter(|each| each.outcome == Outcome::Unknown) {
            unknown.returned = u64::MAX;
        }
        operations.sort_by_key(|each| each.invoked);
        let count = operations.len();
        let head = count;
        let next = (0..=count).map(|i| if i == head { 0 } else { i + 1 });
        let next = next.map(|i| if i == count { END } else { i }).collect();
        let previous = (0..=count).map(|i| i.checked_sub(1).unwrap_or(head)).collect();
        let required = operations.iter().filter(|each| each.outcome != Outcome::Unknown).count();
        let set = vec![0; count.div_ceil(64)].into_boxed_slice();
        let (placed, state, seen) = (Vec::new(), Register::default(), HashSet::new());
        Self { key, operations, next, previous, required, placed, set, state, seen }
    }

    fn run(mut self) -> Result<(), Verdict> {
        let mut best: Vec<usize> = Vec::new();
        let mut after = None;
        while self.required > 0 {
            if self.seen.len() * (self.set.len() + 1) > MAX_WORDS {
                return Err(Verdict::Undecided { key: self.key });
            }
            if let Some((index, state)) = self.candidate(after) {
                if self.is_new(index, &state) {
                    self.place(index, state);
                    after = None;
                    if self.placed.len() > best.len() {
                        best = self.placed.iter().map(|placed| placed.index).collect();
                    }
                    continue;
                }
                if !self.is_free(index, &state) {
                    after = Some(self.rank(index));
                    continue;
                }
            }
            match self.take_back() {
                Some(index) => after = Some(self.rank(index)),
                None => return Err(self.verdict(&best)),
            }
        }
        Ok(())
    }

    /// The order in which operations are tried: those that were told a result before those that may never happen.
    fn rank(&self, index: usize) -> (bool, usize) {
        (self.operations[index].outcome == Outcome::Unknown, index)
    }

    /// Can it be placed without loss, so that nothing else need be tried in its stead? Who was told a result and
    /// leaves the state as it was can only be in the way of others later.
    fn is_free(&self, index: usize, state: &Register) -> bool {
        self.operations[index].outcome != Outcome::Unknown && *state == self.state
    }

    fn is_new(&mut self, index: usize, state: &Register) -> bool {
        let mut set = self.set.clone();
        set[index / 64] |= 1 << (index % 64);
        self.seen.insert((set, state.clone()))
    }

    /// The operation to try next, and the state that it leads to: a free one, or else the first ranked past `after`.
    fn candidate(&self, after: Option<(bool, usize)>) -> Option<(usize, Register)> {
        let mut first: Option<(usize, Register)> = None;
        let mut deadline = u64::MAX;
        let mut index = self.next[self.operations.len()];
        while index != END && self.operations[index].invoked <= deadline {
            let operation = &self.operations[index];
            deadline = deadline.min(operation.returned);
            if let Some(state) = self.state.step(&operation.op, &operation.outcome) {
                if self.is_free(index, &state) {
                    return Some((index, state));
                }
                let rank = self.rank(index);
                if after.is_none_or(|after| rank > after)
                    && first.as_ref().is_none_or(|(first, _)| rank < self.rank(*first))
                {
                    first = Some((index, state));
                }
            }
            index = self.next[index];
        }
        first
    }

    fn place(&mut self, index: usize, state: Register) {
        let free = self.is_free(index, &state);
        self.required -= usize::from(self.operations[index].outcome != Outcome::Unknown);
        let before = std::mem::replace(&mut self.state, state);
        self.set[index / 64] |= 1 << (index % 64);
        let (previous, next) = (self.previous[index], self.next[index]);
        self.next[previous] = next;
        if next != END {
            self.previous[next] = previous;
        }
        self.placed.push(Placed { index, before, free });
    }

    /// Takes back the last operation in whose stead another may be tried, and all after it.
    fn take_back(&mut self) -> Option<usize> {
        while let Some(Placed { index, before, free }) = self.placed.pop() {
            self.state = before;
            self.set[index / 64] &= !(1 << (index % 64));
            self.required += usize::from(self.operations[index].outcome != Outcome::Unknown);
            let (previous, next) = (self.previous[index], self.next[index]);
            self.next[previous] = index;
            if next != END {
                self.previous[next] = index;
            }
            if !free {
                return Some(index);
            }
        }
        None
    }

    fn verdict(self, best: &[usize]) -> Verdict {
        let left: Vec<&Operation> = (0..self.operations.len())
            .filter(|index| !best.contains(index))
            .map(|index| &self.operations[index])
            .collect();
        let deadline = left.iter().map(|each| each.returned).min().unwrap_or(u64::MAX);
        let stuck = left.into_iter().filter(|each| each.invoked <= deadline).cloned().collect();
        let placed = best.iter().map(|index| self.operations[*index].clone()).collect();
        Verdict::NotLinearizable { key: self.key, placed, stuck }
    }
}
