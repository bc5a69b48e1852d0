//! Which group a snapshot that comes in is of: its chunks name the transfer alone.

use std::collections::BTreeMap;

use libp2p::PeerId;
use parking_lot::Mutex;
use xorum_behaviours::wire::{GroupId, TransferId};

/// The most transfers of one sender that are remembered; an older one is told to begin again.
const MAX_OF_A_SENDER: usize = 64;
/// The most senders that are remembered; beyond it the one with the lowest id begins again.
const MAX_SENDERS: usize = 1_024;

/// The transfers under way, by sender.
#[derive(Debug, Default)]
pub(super) struct Transfers(Mutex<BTreeMap<PeerId, Vec<(TransferId, GroupId)>>>);

impl Transfers {
    pub(super) fn begin(&self, from: PeerId, transfer: TransferId, group: GroupId) {
        let mut senders = self.0.lock();
        if senders.len() >= MAX_SENDERS && !senders.contains_key(&from) {
            senders.pop_first();
        }
        let of_sender = senders.entry(from).or_default();
        // A new transfer to a group ends an older one.
        of_sender.retain(|(_, other)| *other != group);
        if of_sender.len() >= MAX_OF_A_SENDER {
            of_sender.remove(0);
        }
        of_sender.push((transfer, group));
    }

    pub(super) fn group(&self, from: PeerId, transfer: TransferId) -> Option<GroupId> {
        let senders = self.0.lock();
        senders.get(&from)?.iter().find(|(known, _)| *known == transfer).map(|(_, group)| *group)
    }
}
