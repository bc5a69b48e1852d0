//! How replicas come to be and end (invariant 4).
//!
//! A replica comes to be by founding, or by a member's message naming its fresh number. It ends by a tombstone, which
//! is durable before anyone is told: on the word of the leader of its group that it is no member, or when a higher
//! number takes the place of one that stopped.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use libp2p::PeerId;
use openraft::EmptyNode;
use xorum_behaviours::wire::{GroupId, Origin, PeerAnswer, PeerRequest, ReplicaNumber};

use super::{Host, messenger::LinksMessenger, replica::Replica};
use crate::{
    group::{messenger::Messenger, state::Head},
    storage::{Condition, ReplicaRecord, StorageError},
};

/// How long a leader may take to say whether a replica is a member.
const MEMBERSHIP_WITHIN: Duration = Duration::from_secs(2);

/// Why there is no replica for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoReplica {
    /// The number, and all up to this one, are dead here.
    Gone(ReplicaNumber),
    /// It waits for the parent's replica here to come to the split.
    NotYet,
    /// It cannot be had; the text says why.
    Refused(String),
}

impl Host {
    /// Starts every replica that the storage has.
    ///
    /// # Errors
    /// When the storage cannot say which those are.
    pub async fn open(self: &Arc<Self>) -> Result<(), StorageError> {
        for record in self.storage.replicas()? {
            match &record.condition {
                Condition::Live => {
                    match self.start_replica(&record).await {
                        Ok(_) => {}
                        Err(error @ StorageError::Corrupt { .. }) => {
                            tracing::error!(target: crate::NOTICE, group = %record.group, %error, "a corrupt replica is quarantined");
                            self.storage.quarantine(&record.group, &error.to_string()).await?;
                        }
                        // Whatever else it is may be mended, and then the replica is as good as before.
                        Err(error) => return Err(error),
                    }
                }
                Condition::Quarantined { reason } => {
                    tracing::warn!(target: crate::NOTICE, group = %record.group, %reason, "a quarantined replica is not started");
                }
            }
        }
        Ok(())
    }

    /// Founds the network's first group on this peer, or goes on where a crash cut that short.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn found(self: &Arc<Self>) -> Result<(), StorageError> {
        let head = Head::founding(&self.network);
        let group = head.group;
        if self.storage.dead_number(&group)?.is_some() {
            return Ok(());
        }
        if self.replica(&group).is_none() {
            if self.storage.replicas()?.iter().any(|record| record.group == group) {
                return Ok(());
            }
            self.storage.create(head, ReplicaNumber::FIRST).await?;
            self.open().await?;
        }
        let Some(replica) = self.replica(&group).filter(|replica| replica.shared.id.number == ReplicaNumber::FIRST)
        else {
            return Ok(());
        };
        let raft = &replica.shared.raft;
        let stopped = |error: &dyn std::fmt::Display| StorageError::stopped(error.to_string());
        if raft.is_initialized().await.map_err(|e| stopped(&e))? {
            return Ok(());
        }
        let members = std::collections::BTreeMap::from([(replica.shared.id, EmptyNode {})]);
        raft.initialize(members).await.map_err(|e| stopped(&e))
    }

    async fn start_replica(self: &Arc<Self>, record: &ReplicaRecord) -> Result<Arc<Replica>, StorageError> {
        let replica = Replica::start(self, record).await?;
        self.replicas.write().insert(record.group, Arc::clone(&replica));
        Ok(replica)
    }

    /// The replica that a member's message names; made if it may be.
    pub(super) async fn replica_for(
        self: &Arc<Self>,
        group: GroupId,
        origin: Origin,
        number: ReplicaNumber,
    ) -> Result<Arc<Replica>, NoReplica> {
        if let Some(replica) = self.replica(&group).filter(|replica| replica.shared.id.number == number) {
            return Ok(replica);
        }
        // It runs to its end also when whoever asked does not wait for it: a replica is made whole, or not at all.
        let host = Arc::clone(self);
        let made = self.tracker.spawn(async move { host.find_or_make(group, origin, number).await });
        made.await.unwrap_or_else(|error| Err(NoReplica::Refused(error.to_string())))
    }

    async fn find_or_make(
        self: &Arc<Self>,
        group: GroupId,
        origin: Origin,
        number: ReplicaNumber,
    ) -> Result<Arc<Replica>, NoReplica> {
        let _one_at_a_time = self.lifecycle.lock().await;
        let refused = |error: StorageError| NoReplica::Refused(error.to_string());
        if let Some(dead) = self.storage.dead_number(&group).map_err(refused)?.filter(|dead| number <= *dead) {
            return Err(NoReplica::Gone(dead));
        }
        if let Some(replica) = self.replica(&group) {
            let held = replica.shared.id.number;
            return match held.cmp(&number) {
                std::cmp::Ordering::Equal => Ok(replica),
                std::cmp::Ordering::Greater => Err(NoReplica::Refused("that replica is not here any more".into())),
                // A working replica that has to be told first that it is out.
                std::cmp::Ordering::Less => {
                    let (host, asker) = (Arc::clone(self), Arc::clone(&replica));
                    self.spawn(async move {
                        host.ask_membership(&asker).await;
                    });
                    Err(NoReplica::Refused("an older replica here still works".into()))
                }
            };
        }
        self.refuse_if_going(number)?;
        let head = self.initial_head(group, origin)?;
        if let Some(stopped) = self.stopped_record(&group).map_err(refused)? {
            if stopped.number >= number {
                // Only what will not come back by itself is gone.
                return Err(match stopped.condition {
                    Condition::Quarantined { .. } => NoReplica::Gone(stopped.number),
                    Condition::Live => NoReplica::Refused("the replica is stopped".into()),
                });
            }
            self.storage.bury(&group, stopped.number).await.map_err(refused)?;
        }
        self.storage.create(head, number).await.map_err(refused)?;
        let record = self.stopped_record(&group).map_err(refused)?;
        let record = record.ok_or_else(|| NoReplica::Refused("the storage lost a new replica".into()))?;
        tracing::info!(%group, %number, "a new replica");
        self.start_replica(&record).await.map_err(refused)
    }

    fn refuse_if_going(&self, number: ReplicaNumber) -> Result<(), NoReplica> {
        match self.going.farewell() {
            xorum_behaviours::wire::Farewell::Stays => Ok(()),
            _ => Err(NoReplica::Refused(format!("this peer is going; replica {number} is not made"))),
        }
    }

    /// The state of an empty replica.
    fn initial_head(&self, group: GroupId, origin: Origin) -> Result<Head, NoReplica> {
        let founding = Head::founding(&self.network);
        match origin {
            Origin::Founding if group == founding.group => Ok(founding),
            Origin::Founding => Err(NoReplica::Refused("that is not this network's first group".into())),
            Origin::Split { .. } => Err(NoReplica::NotYet),
        }
    }

    fn stopped_record(&self, group: &GroupId) -> Result<Option<ReplicaRecord>, StorageError> {
        Ok(self.storage.replicas()?.into_iter().find(|record| record.group == *group))
    }

    /// The number of the group's quarantined replica here, if there is one.
    pub(super) fn quarantined(&self, group: &GroupId) -> Option<ReplicaNumber> {
        let stopped = self.stopped_record(group).ok().flatten()?;
        matches!(stopped.condition, Condition::Quarantined { .. }).then_some(stopped.number)
    }

    /// Ends a replica whose core has ended by itself. It is recorded before anyone is told that it is gone.
    pub(super) fn end_stopped(self: &Arc<Self>, replica: &Arc<Replica>, reason: &str) {
        let (host, stopped, reason) = (Arc::clone(self), Arc::clone(replica), format!("its core stopped: {reason}"));
        self.spawn(async move { host.quarantine(&stopped, &reason).await });
    }

    /// Is there no replica here, running or not?
    pub(super) fn holds_nothing(&self) -> bool {
        self.storage.replicas().is_ok_and(|records| records.is_empty())
    }

    /// Asks for the replicas here that do not run whether they are still members, and ends those that are not.
    pub(super) async fn bury_stopped(self: &Arc<Self>) {
        let Ok(records) = self.storage.replicas() else { return };
        for record in records {
            if self.replica(&record.group).is_none() && self.is_out(&record.group, record.number, Vec::new()).await {
                let _one_at_a_time = self.lifecycle.lock().await;
                if let Err(error) = self.storage.bury(&record.group, record.number).await {
                    tracing::error!(group = %record.group, %error, "a tombstone cannot be written");
                }
            }
        }
    }

    /// Drops a replica whose core has ended; what it stored stays.
    pub(super) fn forget(&self, group: &GroupId, number: ReplicaNumber) {
        let mut replicas = self.replicas.write();
        if replicas.get(group).is_some_and(|replica| replica.shared.id.number == number) {
            replicas.remove(group);
        }
    }

    /// Asks the group's leader whether a replica is still a member, and ends it when it is not. Says whether it ended.
    pub(super) async fn ask_membership(self: &Arc<Self>, replica: &Arc<Replica>) -> bool {
        if replica.asking.swap(true, Ordering::AcqRel) {
            return false;
        }
        let (group, number) = (replica.shared.group, replica.shared.id.number);
        let members = replica.shared.member_peers().into_iter().collect();
        let ended = self.is_out(&group, number, members).await && self.bury(replica).await;
        replica.asking.store(false, Ordering::Release);
        ended
    }

    /// Does the group's leader say that a replica of this peer is no member?
    async fn is_out(&self, group: &GroupId, number: ReplicaNumber, mut peers: Vec<PeerId>) -> bool {
        let group = *group;
        let told = self.cache.all().into_iter().find(|descriptor| descriptor.group == group);
        if let Some(told) = told {
            // Who leads now, as others tell, is asked first.
            peers.splice(0..0, told.leader.into_iter().chain(told.voters.iter().map(|voter| voter.peer)));
        }
        let messenger = LinksMessenger(self.links.clone());
        let mut asked = std::collections::BTreeSet::new();
        let mut next = 0;
        while let Some(peer) = peers.get(next).copied() {
            next += 1;
            if peer == self.local || !asked.insert(peer) || asked.len() > 16 {
                continue;
            }
            let question = PeerRequest::Membership { group, number };
            match messenger.ask(peer, question, MEMBERSHIP_WITHIN).await {
                Ok(PeerAnswer::Member(true)) => return false,
                Ok(PeerAnswer::Member(false)) => return true,
                Ok(PeerAnswer::NotLeader(Some(route))) => {
                    self.book.learn(&route.addrs);
                    peers.extend(route.descriptor.leader);
                    self.cache.learn(route.descriptor);
                }
                _ => {}
            }
        }
        false
    }

    /// Ends a replica for ever: tombstone first.
    async fn bury(self: &Arc<Self>, replica: &Arc<Replica>) -> bool {
        let _one_at_a_time = self.lifecycle.lock().await;
        let (group, number) = (replica.shared.group, replica.shared.id.number);
        self.forget(&group, number);
        replica.stop().await;
        match self.storage.bury(&group, number).await {
            Ok(()) => {
                tracing::info!(%group, %number, "a replica that is no member any more is gone");
                true
            }
            Err(error) => {
                tracing::error!(%group, %number, %error, "a tombstone cannot be written");
                false
            }
        }
    }

    /// Stops a replica that cannot be trusted any more; its files are kept, and its group gives the seat away.
    pub(super) async fn quarantine(self: &Arc<Self>, replica: &Arc<Replica>, reason: &str) {
        let _one_at_a_time = self.lifecycle.lock().await;
        let (group, number) = (replica.shared.group, replica.shared.id.number);
        if replica.shared.is_sole_voter() {
            // Nobody else has what it holds: as it is, a restart may mend it; given up, it would be gone.
            self.forget(&group, number);
            replica.stop().await;
            tracing::error!(target: crate::NOTICE, %group, reason, "the group's only replica stopped; restart this peer");
            return;
        }
        tracing::error!(target: crate::NOTICE, %group, %number, reason, "a replica is quarantined");
        if self.stopped_record(&group).ok().flatten().is_none_or(|record| record.number != number) {
            return;
        }
        self.forget(&group, number);
        replica.stop().await;
        if let Err(error) = self.storage.quarantine(&group, reason).await {
            tracing::error!(%group, %number, %error, "a quarantine cannot be written");
        }
    }

    /// Stops every replica, then the storage: all that was applied is flushed.
    ///
    /// # Errors
    /// When the last flush fails.
    pub async fn close(&self) -> Result<(), StorageError> {
        let _one_at_a_time = self.lifecycle.lock().await;
        let replicas: Vec<Arc<Replica>> = std::mem::take(&mut *self.replicas.write()).into_values().collect();
        futures::future::join_all(replicas.iter().map(|replica| replica.stop())).await;
        drop(replicas);
        self.token.cancel();
        self.storage.close().await
    }
}
