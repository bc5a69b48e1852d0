//! What other peers ask, by class.
//!
//! Every message is decoded, checked and answered here; none is trusted. What breaks a rule gets a typed refusal and
//! has no effect.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use libp2p::PeerId;
use serde::Serialize;
use xorum_behaviours::{
    links::{Class, Service},
    wire::{
        self, BulkAnswer, BulkRequest, Farewell, GroupAnswer, GroupId, GroupMessage, OpAnswer, OpRequest, PeerAnswer,
        PeerRequest, ReplicaId, ReplicaNumber, Route, TransferId,
    },
};

use super::{Host, lifecycle::NoReplica, replica::Replica};
use crate::{
    group::{
        deliver,
        seam::{self, Checked, SnapshotHead},
        transfer::{Arrived, Ended},
    },
    storage::{SnapshotData, StagedSnapshot},
};

/// How long an operation of another peer's client is worked on at most. Whoever waits longer asks again.
const SERVE_WITHIN: Duration = Duration::from_secs(10);
/// How long the leadership that says who is a member may take to be confirmed.
const CONFIRM_WITHIN: Duration = Duration::from_secs(2);

/// Answers for a host once there is one; until then everyone is told that it is busy.
#[derive(Clone, Debug, Default)]
pub struct HostService(Arc<OnceLock<Arc<Host>>>);

impl HostService {
    /// Answers for this host from now on.
    pub fn serve(&self, host: Arc<Host>) {
        // A service has one host for its life.
        let _ = self.0.set(host);
    }
}

impl Service for HostService {
    async fn call(&self, from: PeerId, class: Class, body: Bytes) -> Bytes {
        let host = self.0.get();
        match class {
            Class::Raft => encode(&match (wire::decode::<PeerRequest>(&body), host) {
                (Err(error), _) => PeerAnswer::Refused(error.to_string()),
                (Ok(_), None) => PeerAnswer::Busy,
                // Boxed, so that the future of an operation, of which there are many, is no larger than it must be.
                (Ok(request), Some(host)) => Box::pin(host.peer_request(from, request)).await,
            }),
            Class::Bulk => encode(&match (wire::decode::<BulkRequest>(&body), host) {
                (Err(error), _) => BulkAnswer::Refused(error.to_string()),
                (Ok(_), None) => BulkAnswer::Busy,
                (Ok(request), Some(host)) => Box::pin(host.bulk_request(from, request)).await,
            }),
            Class::Operation => encode(&match (wire::decode::<OpRequest>(&body), host) {
                (Err(error), _) => OpAnswer::Invalid(error.to_string()),
                (Ok(_), None) => OpAnswer::Busy,
                (Ok(request), Some(host)) => host.serve(request, SERVE_WITHIN).await,
            }),
        }
    }
}

/// An answer that cannot be encoded is an empty one, which no asker takes for an answer.
fn encode<T: Serialize>(answer: &T) -> Bytes {
    match wire::encode(answer) {
        Ok(bytes) => bytes.into(),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be encoded");
            Bytes::new()
        }
    }
}

impl Host {
    async fn peer_request(self: &Arc<Self>, from: PeerId, request: PeerRequest) -> PeerAnswer {
        match request {
            PeerRequest::Group(message) => PeerAnswer::Group(self.group_message(from, message).await),
            PeerRequest::Presence => PeerAnswer::Present(self.going.farewell()),
            PeerRequest::Survey(survey) => self.answer_survey(survey).await,
            PeerRequest::Farewell { group, number, farewell } => self.goodbye(from, &group, number, farewell).await,
            PeerRequest::Tell(route) => self.told(route),
            PeerRequest::Membership { group, number } => self.is_member(&group, ReplicaId { peer: from, number }).await,
        }
    }

    async fn group_message(self: &Arc<Self>, from: PeerId, message: GroupMessage) -> GroupAnswer {
        let replica = match self.replica_for(message.group, message.origin, message.to).await {
            Ok(replica) => replica,
            Err(NoReplica::Gone(dead)) => return GroupAnswer::Gone(dead),
            Err(NoReplica::NotYet) => return GroupAnswer::NotYet,
            Err(NoReplica::Refused(why)) => return GroupAnswer::Refused(why),
        };
        let checked = match replica.shared.with_facts(|facts| seam::receive(&message, from, facts)) {
            Ok(checked) => checked,
            Err(violation) => {
                tracing::warn!(group = %message.group, %from, %violation, "a message that breaks a rule");
                let answer = violation.to_answer();
                // Only a member's word can put this replica in doubt, and never the only one that there is.
                if violation.is_quarantine() && replica.shared.may_doubt(&from) {
                    let host = Arc::clone(self);
                    self.spawn(async move { host.quarantine(&replica, &violation.to_string()).await });
                }
                return answer;
            }
        };
        let told = match &checked {
            Checked::Append(request) => Some((request.vote.leader_id.term, request.leader_commit)),
            _ => None,
        };
        match deliver::deliver(&replica.shared.raft, checked).await {
            Ok(answer) => {
                // An append of an older term than ours was refused.
                if let Some((_, committed)) = told.filter(|(term, _)| *term >= replica.shared.term().0) {
                    replica.shared.note_leader(committed);
                }
                answer
            }
            Err(fatal) => GroupAnswer::Refused(fatal.to_string()),
        }
    }

    async fn goodbye(&self, from: PeerId, group: &GroupId, number: ReplicaNumber, farewell: Farewell) -> PeerAnswer {
        let Some(replica) = self.replica(group) else { return PeerAnswer::NotLeader(None) };
        if !replica.shared.is_leader() {
            return PeerAnswer::NotLeader(Some(replica.shared.route()));
        }
        tracing::debug!(%group, %from, %number, ?farewell, "a member goes");
        replica.farewells.note(from, farewell).await;
        replica.nudge.notify_one();
        PeerAnswer::Ok
    }

    fn told(self: &Arc<Self>, route: Route) -> PeerAnswer {
        if !route.descriptor.is_within_bounds() {
            return PeerAnswer::Refused("a descriptor without voters, or with too many".into());
        }
        self.book.learn(&route.addrs);
        let group = route.descriptor.group;
        let here = |replica: &Arc<Replica>| route.descriptor.voters.contains(&replica.shared.id);
        let out = self.replica(&group).filter(|replica| !here(replica) && !replica.shared.is_leader());
        self.cache.learn(route.descriptor.clone());
        if let Some(replica) = out.filter(|replica| replica.shared.leaderless_for() > self.election_max()) {
            let host = Arc::clone(self);
            self.spawn(async move {
                host.ask_membership(&replica).await;
            });
        }
        PeerAnswer::Ok
    }

    /// Says whether a replica is a member, from applied membership after a read index: only a leader can.
    async fn is_member(&self, group: &GroupId, asker: ReplicaId) -> PeerAnswer {
        let Some(replica) = self.replica(group) else { return PeerAnswer::NotLeader(None) };
        if !replica.confirm_leadership(CONFIRM_WITHIN).await {
            return PeerAnswer::NotLeader(Some(replica.shared.route()));
        }
        let head = replica.shared.view.head();
        PeerAnswer::Member(head.membership.membership().get_node(&asker).is_some())
    }

    async fn bulk_request(self: &Arc<Self>, from: PeerId, request: BulkRequest) -> BulkAnswer {
        let now = Instant::now();
        match request {
            BulkRequest::Begin { transfer, group, origin, from: sender, to, head } => {
                let replica = match self.replica_for(group, origin, to).await {
                    Ok(replica) => replica,
                    Err(NoReplica::Gone(dead)) => return BulkAnswer::Gone(dead),
                    Err(NoReplica::NotYet) => return BulkAnswer::NotYet,
                    Err(NoReplica::Refused(why)) => return BulkAnswer::Refused(why),
                };
                let checked =
                    replica.shared.with_facts(|facts| seam::receive_snapshot(group, sender, to, &head, from, facts));
                let head = match checked {
                    Ok(head) => head,
                    Err(violation) => return BulkAnswer::Refused(violation.to_string()),
                };
                let staging = match self.storage.stage(&group).await {
                    Ok(staging) => staging,
                    Err(error) => return BulkAnswer::Refused(error.to_string()),
                };
                self.transfers.begin(from, transfer, group);
                let sender = ReplicaId { peer: from, number: sender };
                replica.receiver.lock().await.begin(transfer, sender, head, staging, now)
            }
            BulkRequest::Rows { transfer, sequence, rows } => {
                let Some((replica, sender)) = self.transfer(from, transfer).await else { return no_transfer() };
                let stored = replica.receiver.lock().await.rows(transfer, sender, sequence, rows, now).await;
                stored.unwrap_or_else(|error| BulkAnswer::Refused(error.to_string()))
            }
            BulkRequest::End { transfer, chunks, rows } => {
                let Some((replica, sender)) = self.transfer(from, transfer).await else { return no_transfer() };
                let ended = replica.receiver.lock().await.end(transfer, sender, chunks, rows, now).await;
                match ended {
                    Ok(Ended::Answer(answer)) => answer,
                    Ok(Ended::Install(arrived)) => {
                        // It is told of its end whether or not the sender still waits.
                        let (host, replica) = (Arc::clone(self), Arc::clone(&replica));
                        let installed = self.tracker.spawn(async move { host.install(&replica, *arrived).await });
                        installed.await.unwrap_or_else(|error| BulkAnswer::Refused(error.to_string()))
                    }
                    Err(error) => BulkAnswer::Refused(error.to_string()),
                }
            }
        }
    }

    async fn transfer(&self, from: PeerId, transfer: TransferId) -> Option<(Arc<Replica>, ReplicaId)> {
        let group = self.transfers.group(from, transfer)?;
        let replica = self.replica(&group)?;
        let sender = replica.receiver.lock().await.sender(transfer).filter(|sender| sender.peer == from)?;
        Some((replica, sender))
    }

    async fn install(&self, replica: &Replica, arrived: Arrived<StagedSnapshot>) -> BulkAnswer {
        let Arrived { transfer, sender, head, data } = arrived;
        let checked = replica.shared.with_facts(|facts| seam::check_snapshot(&head, sender, facts));
        if data.meta() != head.meta {
            replica.receiver.lock().await.installed(transfer, None, Instant::now());
            return BulkAnswer::Refused("its rows are of another state than was announced".into());
        }
        let answer = match checked {
            Ok(()) => {
                let SnapshotHead { vote, meta } = head;
                let installed = deliver::install(&replica.shared.raft, vote, meta, SnapshotData::Staged(data)).await;
                installed.unwrap_or_else(|fatal| BulkAnswer::Refused(fatal.to_string()))
            }
            Err(violation) => BulkAnswer::Refused(violation.to_string()),
        };
        let body = match &answer {
            BulkAnswer::Installed(body) => {
                tracing::info!(group = %replica.shared.group, from = %sender.peer, "restored by a snapshot");
                Some(body.clone())
            }
            _ => None,
        };
        replica.receiver.lock().await.installed(transfer, body, Instant::now());
        answer
    }
}

fn no_transfer() -> BulkAnswer {
    BulkAnswer::Refused("no such transfer".into())
}
