//! What one key does when operations happen one after the other.

use bytes::Bytes;

use super::{Answer, Op, Outcome};

/// A key's state, as far as the answers so far tell it.
///
/// The version of a write whose answer was lost is not known until somebody reads it; what is known is that it is
/// above every earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Register {
    /// The highest version known of any write, removals included.
    floor: u64,
    /// The value, and its version where that is known.
    value: Option<(Option<u64>, Bytes)>,
}

impl Register {
    /// The state after an operation that ended so takes effect now; none if it cannot have ended so. Of an unknown
    /// outcome: none also if it has no effect now, since then it is as if it never happened.
    pub fn step(&self, op: &Op, outcome: &Outcome) -> Option<Self> {
        match (op, outcome) {
            (_, Outcome::Failed) | (Op::Get, Outcome::Unknown) => None,
            (Op::Get | Op::Delete, Outcome::Ok(Answer::Absent)) => self.value.is_none().then(|| self.clone()),
            (Op::Get, Outcome::Ok(Answer::Found(version, value))) => {
                self.at_version(*version).filter(|state| state.value.as_ref().is_some_and(|(_, is)| is == value))
            }
            (Op::Put(value), outcome) => self.write(Some(value), outcome),
            (Op::Delete, outcome) => self.value.as_ref().and_then(|_| self.write(None, outcome)),
            (Op::Cas(expected, _), Outcome::Ok(Answer::Conflict(found))) => {
                self.at_version(*found).filter(|_| found != expected)
            }
            (Op::Cas(expected, value), outcome) => self.at_version(*expected)?.write(Some(value), outcome),
            (Op::Get, Outcome::Ok(_)) => None,
        }
    }

    /// This state, known to be at a version, 0 being absent; none if it is not.
    fn at_version(&self, version: u64) -> Option<Self> {
        match &self.value {
            None => (version == 0).then(|| self.clone()),
            Some((Some(is), _)) => (*is == version).then(|| self.clone()),
            Some((None, value)) => {
                (version > self.floor).then(|| Self { floor: version, value: Some((Some(version), value.clone())) })
            }
        }
    }

    fn write(&self, value: Option<&Bytes>, outcome: &Outcome) -> Option<Self> {
        let version = match outcome {
            Outcome::Ok(Answer::Done(version)) if *version > self.floor => Some(*version),
            Outcome::Unknown => None,
            _ => return None,
        };
        Some(Self { floor: version.unwrap_or(self.floor), value: value.map(|value| (version, value.clone())) })
    }
}
