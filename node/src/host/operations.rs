//! Serves client operations from what this peer itself holds.

use std::time::Duration;

use tokio::{sync::oneshot, time::timeout};
use xorum_behaviours::{
    space::Position,
    wire::{
        ClientCommand, Consistency, GroupInfo, OpAnswer, OpRequest, PeerInfo, PeerRole, PeerStatus, ReadAnswer,
        ReadRequest, ReplicaRole, Version, WatchAnswer, WatchRequest,
    },
};

use super::{Host, propose::Proposal, read::Round, replica::Replica};

/// The longest that a watch's answer is held back, whatever was asked.
const MAX_WATCH_WAIT: Duration = Duration::from_secs(30);
/// Bytes that a command takes beside its key and value.
const COMMAND_OVERHEAD: usize = 256;
/// The most rows that an answer about peers or groups names.
const MAX_ROWS: usize = 1_024;

impl Host {
    /// Serves one operation; `within` bounds how long a command may be waited for.
    pub async fn serve(&self, request: OpRequest, within: Duration) -> OpAnswer {
        match request {
            OpRequest::Command(command) => self.command(command, within).await,
            OpRequest::Read(read) => self.read(read, within).await,
            // Boxed: the others' future would be as large.
            OpRequest::Watch(watch) => Box::pin(self.watch(watch, within)).await,
            OpRequest::Locate(position) => OpAnswer::Located { route: self.route(&position) },
            OpRequest::Status => OpAnswer::Status(self.status()),
            OpRequest::Peers => OpAnswer::Peers(self.peers()),
            OpRequest::Groups => OpAnswer::Groups(self.groups()),
        }
    }

    async fn command(&self, command: ClientCommand, within: Duration) -> OpAnswer {
        if command.id.number < command.id.watermark {
            return OpAnswer::Invalid("a command's number is below its own watermark".into());
        }
        let position = Position::of_key(command.op.key());
        let Some(replica) = self.owner(&position) else { return self.not_here(&position) };
        if !replica.shared.is_leader() {
            return self.not_here(&position);
        }
        // What waits is bounded in bytes too.
        let bytes = command.op.key().len() + command.op.value().map_or(0, bytes::Bytes::len) + COMMAND_OVERHEAD;
        let Ok(_room) = self.room.try_acquire_many(bytes as u32) else { return OpAnswer::Busy };
        let (reply, answer) = oneshot::channel();
        if replica.proposals.try_send(Proposal { command, reply }).is_err() {
            return OpAnswer::Busy;
        }
        match timeout(within, answer).await {
            Ok(Ok(answer)) => answer,
            // The proposer took it, and what it did with it is not known.
            Ok(Err(_)) | Err(_) => OpAnswer::Unknown,
        }
    }

    async fn read(&self, ReadRequest { key, consistency }: ReadRequest, within: Duration) -> OpAnswer {
        let position = Position::of_key(&key);
        let Some(replica) = self.owner(&position) else { return self.not_here(&position) };
        if consistency == Consistency::Linearizable
            && let Err(refusal) = confirm(&replica, within).await
        {
            return refusal;
        }
        match reading(&replica, &key) {
            Some(mut answer) => {
                if consistency == Consistency::Stale {
                    answer.stale_ms = replica.stale_ms();
                }
                OpAnswer::Read(answer)
            }
            None => self.not_here(&position),
        }
    }

    /// What this peer's own replica, however old, holds of a key; none where it has no replica that owns it.
    pub fn read_stale_here(&self, key: &[u8]) -> Option<ReadAnswer> {
        let replica = self.owner(&Position::of_key(key))?;
        reading(&replica, key).map(|answer| ReadAnswer { stale_ms: replica.stale_ms(), ..answer })
    }

    /// Holds the answer back until the key is other than the watcher knows it, or the wait is over. The state is
    /// confirmed as linearizable at the start; what is applied later is newer.
    async fn watch(&self, watch: WatchRequest, within: Duration) -> OpAnswer {
        let position = Position::of_key(&watch.key);
        let Some(replica) = self.owner(&position) else { return self.not_here(&position) };
        // Registered before the state is read, so that no change falls between.
        let mut changes = replica.shared.view.watch(watch.key.clone());
        if let Err(refusal) = confirm(&replica, within).await {
            return refusal;
        }
        let Some(now) = reading(&replica, &watch.key) else { return self.not_here(&position) };
        let version = now.found.as_ref().map_or(Version(0), |(version, _)| *version);
        if version != watch.seen {
            return OpAnswer::Watch(WatchAnswer { changed: true, found: now.found, revision: now.revision });
        }
        let wait = Duration::from_millis(watch.wait_ms).min(MAX_WATCH_WAIT);
        let answer = match timeout(wait, changes.changed()).await {
            Ok((version, value)) => {
                WatchAnswer { changed: true, revision: version, found: value.map(|value| (version, value)) }
            }
            Err(_) => WatchAnswer { changed: false, found: now.found, revision: now.revision },
        };
        OpAnswer::Watch(answer)
    }

    fn not_here(&self, position: &Position) -> OpAnswer {
        OpAnswer::NotLeader { route: self.route(position) }
    }

    /// This peer, as it sees itself.
    pub fn status(&self) -> PeerStatus {
        let replicas = self.replicas();
        PeerStatus {
            peer: self.local,
            network: self.network,
            replication_factor: self.genesis.replication_factor,
            groups: replicas.len() as u64,
            leads: replicas.iter().filter(|replica| replica.shared.is_leader()).count() as u64,
        }
    }

    /// Whom this peer knows, itself first.
    pub fn peers(&self) -> Vec<PeerInfo> {
        let own = PeerInfo {
            peer: self.local,
            addr: self.listen_addrs().into_iter().next(),
            role: PeerRole::Peer,
            is_self: true,
            heard_ms: Some(0),
        };
        let others = self.book.all().into_iter().map(|(peer, addrs, role, _)| PeerInfo {
            peer,
            addr: addrs.last().cloned(),
            role,
            is_self: false,
            heard_ms: self.links.heard(&peer).map(|ago| ago.as_millis() as u64),
        });
        std::iter::once(own).chain(others).take(MAX_ROWS).collect()
    }

    /// The groups that this peer knows: its own replicas', and those that it has descriptors of.
    pub fn groups(&self) -> Vec<GroupInfo> {
        let replicas = self.replicas();
        let mut rows: Vec<GroupInfo> = replicas.iter().map(|replica| group_info(replica)).collect();
        let held = |group| replicas.iter().any(|replica| replica.shared.group == group);
        let known = self.cache.all().into_iter().filter(|descriptor| !held(descriptor.group));
        rows.extend(known.map(|descriptor| GroupInfo {
            descriptor: (*descriptor).clone(),
            role: ReplicaRole::None,
            keys: None,
            bytes: None,
        }));
        rows.truncate(MAX_ROWS);
        rows
    }
}

async fn confirm(replica: &Replica, within: Duration) -> Result<(), OpAnswer> {
    let not_leader = || OpAnswer::NotLeader { route: Some(replica.shared.route()) };
    if !replica.shared.is_leader() {
        return Err(not_leader());
    }
    let (reply, round) = oneshot::channel();
    if replica.reads.try_send(reply).is_err() {
        return Err(OpAnswer::Busy);
    }
    match timeout(within, round).await {
        Ok(Ok(Round::Confirmed)) => Ok(()),
        Ok(Ok(Round::NotLeader) | Err(_)) | Err(_) => Err(not_leader()),
    }
}

/// Ownership and value from one state (invariant 9); none where the replica does not own the key, or cannot read it.
fn reading(replica: &Replica, key: &[u8]) -> Option<ReadAnswer> {
    match replica.shared.view.read(key) {
        Ok(reading) if reading.owned => {
            Some(ReadAnswer { found: reading.found, revision: reading.revision, stale_ms: 0 })
        }
        Ok(_) => None,
        Err(error) => {
            tracing::error!(group = %replica.shared.group, %error, "a row cannot be read; this replica does not answer");
            None
        }
    }
}

fn group_info(replica: &Replica) -> GroupInfo {
    let usage = replica.shared.view.usage().ok();
    GroupInfo {
        descriptor: (*replica.shared.descriptor()).clone(),
        role: replica.shared.role(),
        keys: usage.map(|usage| usage.keys),
        bytes: usage.map(|usage| usage.bytes),
    }
}
