//! The requests of one stream that were begun and have no answer yet.

use std::sync::Arc;

use super::ticket::Ticket;

/// A bounded table from correlation numbers to tickets. A number is a slot (low half) and a count (high half), so that a
/// late or invented answer never meets another request in the same slot.
#[derive(Debug)]
pub(super) struct InFlight {
    slots: Vec<Option<(u64, Arc<Ticket>)>>,
    free: Vec<u32>,
    count: u32,
    bound: usize,
}

impl InFlight {
    pub(super) const fn new(bound: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), count: 0, bound }
    }

    pub(super) const fn has_room(&self) -> bool {
        !self.free.is_empty() || self.slots.len() < self.bound
    }

    /// Keeps a ticket; its correlation number.
    pub(super) fn insert(&mut self, ticket: Arc<Ticket>) -> u64 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        self.count = self.count.wrapping_add(1);
        let correlation = u64::from(self.count) << 32 | u64::from(slot);
        self.slots[slot as usize] = Some((correlation, ticket));
        correlation
    }

    /// The ticket of this number, if it is in flight.
    pub(super) fn remove(&mut self, correlation: u64) -> Option<Arc<Ticket>> {
        let slot = correlation as u32;
        let entry = self.slots.get_mut(slot as usize)?;
        if entry.as_ref().is_none_or(|(of, _)| *of != correlation) {
            return None;
        }
        self.free.push(slot);
        entry.take().map(|(_, ticket)| ticket)
    }

    /// The stream ended.
    pub(super) fn lose_all(&mut self) {
        for (_, ticket) in self.slots.drain(..).flatten() {
            ticket.lose();
        }
        self.free.clear();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.lose_all();
    }
}
