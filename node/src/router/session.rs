//! The owner's half of "exactly once": numbers, watermark, deadlines (after RIFL, Lee et al., SOSP 2015, §3.2).
//!
//! A session belongs to a handle that programs or people talk to. Each command gets a number once; every copy of it
//! carries the same number and the same `expires`. The watermark is the lowest number that may still be sent: giving a
//! command up moves it, so that a late copy is refused wherever anything newer was applied.
//!
//! A command that waits long holds its session's watermark, and groups keep an answer for each number above it. So a
//! session numbers a bounded span beyond its watermark; the handle then goes on with a new one.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use xorum_behaviours::wire::{CommandId, CommandNumber, GroupClock, SessionId};

/// The most commands of one handle that may be in flight.
pub const MAX_IN_FLIGHT: usize = 4_096;

/// The most numbers of one session from its watermark on: no more than a group keeps answers for.
const MAX_SPAN: u64 = 2_048;

/// A handle's sessions: the one that numbers new commands, and older ones that commands in flight still hold.
#[derive(Debug)]
pub struct Sessions {
    current: Mutex<Arc<Session>>,
    room: Arc<Semaphore>,
}

/// As many commands are in flight as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_IN_FLIGHT} commands of this handle are in flight already: wait for some to end")]
pub struct SessionsFull;

#[derive(Debug)]
struct Session {
    id: SessionId,
    numbers: Mutex<Numbers>,
}

#[derive(Debug)]
struct Numbers {
    next: u64,
    in_flight: BTreeSet<u64>,
}

impl Sessions {
    /// One fresh session.
    pub fn new() -> Self {
        Self { current: Mutex::new(Session::fresh()), room: Arc::new(Semaphore::new(MAX_IN_FLIGHT)) }
    }

    /// Takes the next number; it is in flight until the ticket is dropped.
    ///
    /// # Errors
    /// When as many are in flight as may be.
    pub fn begin(&self) -> Result<Ticket, SessionsFull> {
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| SessionsFull)?;
        let mut current = self.current.lock();
        let number = current.next_number().unwrap_or_else(|| {
            *current = Session::fresh();
            // A fresh session's whole span is free.
            current.next_number().unwrap_or(1)
        });
        Ok(Ticket { session: Arc::clone(&current), number, _room: room })
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    fn fresh() -> Arc<Self> {
        let numbers = Mutex::new(Numbers { next: 1, in_flight: BTreeSet::new() });
        Arc::new(Self { id: SessionId::random(), numbers })
    }

    fn next_number(&self) -> Option<u64> {
        let mut numbers = self.numbers.lock();
        let number = numbers.next;
        if number - numbers.watermark() >= MAX_SPAN {
            return None;
        }
        numbers.next += 1;
        numbers.in_flight.insert(number);
        Some(number)
    }
}

impl Numbers {
    fn watermark(&self) -> u64 {
        self.in_flight.first().copied().unwrap_or(self.next)
    }
}

/// A command's number, in flight. Dropping it gives the command up.
#[derive(Debug)]
pub struct Ticket {
    session: Arc<Session>,
    number: u64,
    _room: OwnedSemaphorePermit,
}

impl Ticket {
    /// The command's name, as the copy that is sent now carries it.
    pub fn id(&self, expires: GroupClock) -> CommandId {
        CommandId {
            session: self.session.id,
            number: CommandNumber(self.number),
            watermark: CommandNumber(self.session.numbers.lock().watermark()),
            expires,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.session.numbers.lock().in_flight.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ticket: &Ticket) -> CommandId {
        ticket.id(GroupClock(0))
    }

    #[test]
    fn the_watermark_is_the_lowest_number_that_may_still_be_sent() {
        let sessions = Sessions::new();
        let first = sessions.begin().expect("there is room");
        let second = sessions.begin().expect("there is room");
        assert_eq!(id(&second).watermark, CommandNumber(1));
        drop(first);
        assert_eq!(id(&second).watermark, CommandNumber(2));
        drop(second);
        let third = sessions.begin().expect("there is room");
        assert_eq!((id(&third).number, id(&third).watermark), (CommandNumber(3), CommandNumber(3)));
    }

    #[test]
    fn a_command_that_waits_does_not_hold_up_the_others() {
        let sessions = Sessions::new();
        let stuck = sessions.begin().expect("there is room");
        for _ in 0..3 * MAX_SPAN {
            let ticket = sessions.begin().expect("there is room");
            assert!(id(&ticket).number.0 - id(&ticket).watermark.0 < MAX_SPAN);
        }
        assert_eq!(id(&stuck).watermark, id(&stuck).number);
    }

    #[test]
    fn a_full_handle_says_so() {
        let sessions = Sessions::new();
        let held: Vec<_> = (0..MAX_IN_FLIGHT).map(|_| sessions.begin().expect("there is room")).collect();
        assert_eq!(sessions.begin().err(), Some(SessionsFull));
        drop(held);
        assert!(sessions.begin().is_ok());
    }
}
