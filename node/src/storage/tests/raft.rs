//! Real openraft cores on storage: writes, restarts, and a member brought in by a snapshot.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use openraft::{
    Config, EmptyNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2, SnapshotPolicy,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::SnapshotResponse,
};
use parking_lot::Mutex;
use tempfile::TempDir;
use xorum_behaviours::wire::{Answer, ReplicaId, Version};

use super::rig::{DEADLINE, NUMBER, config, directory, group, head, put};
use crate::{
    group::{
        command::{Applied, Command},
        raft::{AppendRequest, AppendResponse, Entry, TypeConfig, Vote, VoteRequest, VoteResponse},
    },
    storage::{Snapshot, SnapshotData, StateMachine, Storage, StorageConfig, View},
};

type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// A member: its storage, and its core.
struct Member {
    dir: TempDir,
    storage: Storage,
    raft: Raft,
    view: View,
}

/// Who can be reached: calls go straight to their cores.
type Reachable = Arc<Mutex<BTreeMap<ReplicaId, (Raft, Storage)>>>;

#[derive(Clone)]
struct Network(Reachable);

struct Line {
    to: ReplicaId,
    reachable: Reachable,
}

impl Line {
    fn far(&self) -> Result<(Raft, Storage), Unreachable<TypeConfig>> {
        let far = self.reachable.lock().get(&self.to).cloned();
        far.ok_or_else(|| Unreachable::new(&std::io::Error::other("is down")))
    }
}

fn broken(error: &(impl std::error::Error + 'static)) -> Unreachable<TypeConfig> {
    Unreachable::new(error)
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Line;

    async fn new_client(&mut self, target: ReplicaId, _node: &EmptyNode) -> Line {
        Line { to: target, reachable: self.0.clone() }
    }
}

impl RaftNetworkV2<TypeConfig> for Line {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendRequest,
        _: RPCOption,
    ) -> Result<AppendResponse, RPCError<TypeConfig>> {
        Ok(self.far()?.0.append_entries(request).await.map_err(|error| broken(&error))?)
    }

    async fn vote(&mut self, request: VoteRequest, _: RPCOption) -> Result<VoteResponse, RPCError<TypeConfig>> {
        Ok(self.far()?.0.vote(request).await.map_err(|error| broken(&error))?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let (raft, storage) = self.far()?;
        let SnapshotData::Outgoing(mut outgoing) = snapshot.snapshot else { panic!("what is sent goes out") };
        let mut staging = storage.stage(&group(1)).await.map_err(|error| broken(&error))?;
        loop {
            let rows = outgoing.next_rows(500).map_err(|error| broken(&error))?;
            if rows.is_empty() {
                break;
            }
            staging.push(rows).await.map_err(|error| broken(&error))?;
        }
        let staged = staging.finish().await.map_err(|error| broken(&error))?;
        let snapshot = Snapshot { meta: snapshot.meta, snapshot: SnapshotData::Staged(staged) };
        Ok(raft.install_full_snapshot(vote, snapshot).await.map_err(|error| broken(&error))?)
    }
}

/// Three members, each in a directory of its own.
struct Cluster {
    reachable: Reachable,
    members: BTreeMap<u64, Member>,
}

impl Cluster {
    async fn found() -> Self {
        let mut cluster = Self { reachable: Reachable::default(), members: BTreeMap::new() };
        for n in 1..=3 {
            cluster.start(n, directory()).await;
        }
        let all: BTreeMap<_, _> = (1..=3).map(|n| (ReplicaId::from(n), EmptyNode {})).collect();
        cluster.members[&1].raft.initialize(all).await.expect("is initialized");
        cluster
    }

    async fn start(&mut self, n: u64, dir: TempDir) {
        let storage_config = StorageConfig { flush_interval: Duration::from_millis(20), ..config() };
        let storage = Storage::open(dir.path(), storage_config).expect("opens");
        if storage.replicas().expect("lists").is_empty() {
            storage.create(head(1), NUMBER).await.expect("is made");
        }
        let replica = storage.replica(&group(1)).expect("opens");
        let raft_config = Config {
            heartbeat_interval: 50,
            election_timeout_min: 200,
            election_timeout_max: 400,
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: 0,
            enable_leader_restore: Some(false),
            ..Config::default()
        };
        let id = ReplicaId::from(n);
        let network = Network(self.reachable.clone());
        let raft = Raft::new(id, Arc::new(raft_config), network, replica.log, replica.machine).await.expect("starts");
        self.reachable.lock().insert(id, (raft.clone(), storage.clone()));
        self.members.insert(n, Member { dir, storage, raft, view: replica.view });
    }

    /// Stops a member; its directory.
    async fn stop(&mut self, n: u64) -> TempDir {
        self.reachable.lock().remove(&ReplicaId::from(n));
        let Member { dir, storage, raft, view } = self.members.remove(&n).expect("is there");
        raft.shutdown().await.expect("shuts down");
        storage.close().await.expect("closes");
        drop((storage, raft, view));
        dir
    }

    /// Writes until a leader has taken it; the version written.
    async fn write(&self, n: u64) -> Version {
        let entry: Entry = put(n, &format!("k{}", n % 13), &n.to_string());
        let openraft::EntryPayload::Normal(command) = entry.payload else { panic!("a command") };
        let command = Command { clock: xorum_behaviours::wire::GroupClock(1), ..command };
        let written = async {
            loop {
                for member in self.members.values() {
                    if let Ok(written) = member.raft.client_write(command.clone()).await {
                        let Applied::Answered(Answer::Done(version)) = written.data else {
                            panic!("answered {:?}", written.data)
                        };
                        return version;
                    }
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, written).await.expect("is written")
    }

    /// Waits until a member has applied that revision.
    async fn caught_up(&self, n: u64, revision: Version) {
        let view = &self.members[&n].view;
        let reached = async {
            while view.head().revision < revision {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, reached).await.expect("catches up");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_all_that_it_acknowledged_through_restarts_of_every_member() {
    let mut cluster = Cluster::found().await;
    let mut written = 0;
    for round in 0..3 {
        for n in 1..=3 {
            for _ in 0..10 {
                written += 1;
                assert_eq!(cluster.write(written).await, Version(written), "every write is applied once");
            }
            let dir = cluster.stop(n).await;
            written += 1;
            cluster.write(written).await;
            cluster.start(n, dir).await;
        }
        for n in 1..=3 {
            cluster.caught_up(n, Version(written)).await;
            let raft = &cluster.members[&n].raft;
            let durable = cluster.members[&n].view.durable_applied().map_or(0, |id| id.index);
            raft.trigger().snapshot().await.expect("is asked for");
            raft.trigger().purge_log(durable).await.expect("is asked for");
        }
        let states: Vec<_> = cluster.members.values().map(|member| member.view.usage()).collect();
        assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "round {round}: {states:?}");
    }
    for (n, key) in (0..13).map(|n| (written - (written - n) % 13, format!("k{n}"))) {
        let found = cluster.members[&2].view.read(key.as_bytes()).expect("reads").found;
        assert_eq!(found, Some((Version(n), n.to_string().into())), "{key}");
    }
    for n in 1..=3 {
        cluster.stop(n).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lags_behind_the_purged_log_is_brought_in_by_a_snapshot() {
    let mut cluster = Cluster::found().await;
    cluster.write(1).await;
    let dir = cluster.stop(3).await;
    for n in 2..=60 {
        cluster.write(n).await;
    }
    for n in 1..=2 {
        cluster.caught_up(n, Version(60)).await;
        let raft = &cluster.members[&n].raft;
        let applied = cluster.members[&n].view.head().applied.expect("something is applied").index;
        raft.trigger().snapshot().await.expect("is asked for");
        raft.wait(Some(DEADLINE))
            .metrics(|metrics| metrics.snapshot.is_some_and(|id| id.index >= applied), "a snapshot is built")
            .await
            .expect("is built");
        raft.trigger().purge_log(applied).await.expect("is asked for");
        raft.wait(Some(DEADLINE))
            .metrics(|metrics| metrics.purged.is_some_and(|id| id.index >= applied), "the log is purged")
            .await
            .expect("is purged");
    }
    cluster.start(3, dir).await;
    cluster.caught_up(3, Version(60)).await;
    let follower = &cluster.members[&3];
    assert_eq!(follower.view.usage(), cluster.members[&1].view.usage());
    assert!(follower.storage.replicas().expect("lists")[0].store.0 > 1, "it has switched to a store of its own");

    let dir = cluster.stop(3).await;
    cluster.start(3, dir).await;
    assert_eq!(cluster.members[&3].view.head().revision, Version(60), "what was installed is there after a restart");
    cluster.write(61).await;
    cluster.caught_up(3, Version(61)).await;
    for n in 1..=3 {
        cluster.stop(n).await;
    }
}
