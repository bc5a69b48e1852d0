//! A leader's group clock: milliseconds that the group has been led.

use std::time::Instant;

use parking_lot::Mutex;
use xorum_behaviours::wire::GroupClock;

/// The group clock as this replica, while it leads, tells it.
#[derive(Debug, Default)]
pub struct LeaderClock {
    led: Mutex<Option<Led>>,
}

#[derive(Debug, Clone, Copy)]
struct Led {
    term: u64,
    /// The clock after the first entry of the term was applied…
    base: GroupClock,
    /// …and when that was noticed.
    since: Instant,
}

impl LeaderClock {
    /// The clock now, in a term that this replica leads; none until an entry of that term was applied. `applied` gives
    /// the term of the last applied entry and the clock after it; it is asked once a term.
    pub fn now(&self, term: u64, applied: impl FnOnce() -> Option<(u64, GroupClock)>) -> Option<GroupClock> {
        let mut led = self.led.lock();
        let current = match *led {
            Some(current) if current.term == term => current,
            _ => {
                let (_, base) = applied().filter(|(applied, _)| *applied == term)?;
                *led.insert(Led { term, base, since: Instant::now() })
            }
        };
        Some(GroupClock(current.base.0 + current.since.elapsed().as_millis() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_leader_has_no_clock_before_an_entry_of_its_own_is_applied() {
        let clock = LeaderClock::default();
        assert_eq!(clock.now(2, || Some((1, GroupClock(500)))), None);
        let first = clock.now(2, || Some((2, GroupClock(700)))).expect("its own entry is applied");
        assert!(first >= GroupClock(700));
        assert!(clock.now(2, || None).expect("it is remembered for the term") >= first);
        assert_eq!(clock.now(3, || None), None);
    }
}
