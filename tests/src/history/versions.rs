//! Do versions keep to real time? A check in O(n log n) that finds stale reads and lost or reordered writes in
//! histories of any length; it accepts some that no order explains.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Answer, Op, Operation, Outcome, by_key};

/// What two operations of one key contradict each other in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The second began after the first had ended, and knows less: a lower version, or, of a write, not a higher one.
    WentBack(Box<Operation>, Box<Operation>),
    /// Two writes have one version.
    SameVersion(Box<Operation>, Box<Operation>),
    /// A read found under a write's version another value than was written.
    OtherValue(Box<Operation>, Box<Operation>),
    /// A read or a removal, begun after this write was acknowledged, found nothing, and nothing can have removed it.
    Lost(Box<Operation>, Box<Operation>),
}

/// Checks each key of a history by itself.
///
/// # Errors
/// The first contradiction found.
pub fn check(history: &[Operation]) -> Result<(), Violation> {
    by_key(history).values().try_for_each(|operations| check_key(operations))
}

fn check_key(operations: &[Operation]) -> Result<(), Violation> {
    let told: Vec<&Operation> = operations.iter().filter(|each| matches!(each.outcome, Outcome::Ok(_))).collect();
    let writes = writes_by_version(&told)?;
    for read in &told {
        if let Outcome::Ok(Answer::Found(version, found)) = &read.outcome
            && let Some(write) = writes.get(version)
            && written(&write.op) != Some(found)
        {
            return Err(Violation::OtherValue(Box::new((*write).clone()), Box::new((*read).clone())));
        }
    }
    // Removals that may have been applied, by the time from which they may.
    let mut removals: Vec<(u64, u64)> =
        operations.iter().filter(|each| each.op == Op::Delete).filter_map(removal).collect();
    removals.sort_unstable();
    let highest_so_far = removals.iter().scan(0, |highest, (_, version)| {
        *highest = (*highest).max(*version);
        Some(*highest)
    });
    let highest_so_far: Vec<u64> = highest_so_far.collect();

    let mut by_end = told.clone();
    by_end.sort_by_key(|each| each.returned);
    let mut by_start = told;
    by_start.sort_by_key(|each| each.invoked);
    let mut ended = by_end.into_iter().peekable();
    let mut newest: Option<&Operation> = None;
    for next in by_start {
        while let Some(earlier) = ended.next_if(|earlier| earlier.returned < next.invoked) {
            if newest.is_none_or(|newest| version(earlier) > version(newest)) {
                newest = Some(earlier);
            }
        }
        if let Some(newest) = newest.filter(|newest| version(newest).is_some()) {
            judge(newest, next, &removals, &highest_so_far)?;
        }
    }
    Ok(())
}

/// Judges an operation by the highest version known when it began.
fn judge(newest: &Operation, next: &Operation, removals: &[(u64, u64)], highest: &[u64]) -> Result<(), Violation> {
    let (known, boxed) = (version(newest), || (Box::new(newest.clone()), Box::new(next.clone())));
    let goes_back = match version(next) {
        Some(of_next) if writes(next) => Some(of_next) <= known,
        Some(of_next) => Some(of_next) < known,
        None => {
            let begun = removals.partition_point(|(invoked, _)| *invoked <= next.returned);
            let removed = begun.checked_sub(1).is_some_and(|last| Some(highest[last]) >= known);
            if removed {
                return Ok(());
            }
            let (write, read) = boxed();
            return Err(Violation::Lost(write, read));
        }
    };
    if goes_back {
        let (earlier, later) = boxed();
        return Err(Violation::WentBack(earlier, later));
    }
    Ok(())
}

fn writes_by_version<'a>(told: &[&'a Operation]) -> Result<BTreeMap<u64, &'a Operation>, Violation> {
    let mut by_version = BTreeMap::new();
    for write in told.iter().filter(|each| writes(each)) {
        let version = version(write).unwrap_or_default();
        if let Some(other) = by_version.insert(version, *write) {
            return Err(Violation::SameVersion(Box::new(other.clone()), Box::new((*write).clone())));
        }
    }
    Ok(by_version)
}

/// From when, and at most at which version, a removal may have been applied.
fn removal(operation: &Operation) -> Option<(u64, u64)> {
    match operation.outcome {
        Outcome::Ok(Answer::Done(version)) => Some((operation.invoked, version)),
        Outcome::Unknown => Some((operation.invoked, u64::MAX)),
        _ => None,
    }
}

fn written(op: &Op) -> Option<&Bytes> {
    match op {
        Op::Put(value) | Op::Cas(_, value) => Some(value),
        Op::Get | Op::Delete => None,
    }
}

fn writes(operation: &Operation) -> bool {
    matches!(operation.outcome, Outcome::Ok(Answer::Done(_)))
}

/// The version that the operation made or saw; none when it found nothing.
fn version(operation: &Operation) -> Option<u64> {
    match operation.outcome {
        Outcome::Ok(Answer::Done(version) | Answer::Found(version, _)) => Some(version),
        Outcome::Ok(Answer::Conflict(version)) => Some(version).filter(|version| *version > 0),
        _ => None,
    }
}
