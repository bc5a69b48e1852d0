//! Replicas of one group, with real cores, that speak through the network and the seam in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::RangeBounds,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{Stream, TryStreamExt, future};
use libp2p::PeerId;
use openraft::{
    Config, EntryPayload, LogState, Raft, RaftLogReader, RaftSnapshotBuilder, ReadPolicy, SnapshotPolicy,
    async_runtime::WatchReceiver,
    entry::RaftEntry,
    errors::{ClientWriteError, RaftError},
    storage::{EntryResponder, IOFlushed, RaftLogStorage, RaftStateMachine},
    type_config::alias::SnapshotOf,
};
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, watch};
use xorum_behaviours::{
    space::Position,
    wire::{
        self, Bounds, BulkAnswer, BulkRequest, ClientCommand, CommandId, CommandNumber, GroupClock, GroupMessage,
        NetworkId, Op, PeerAnswer, PeerRequest, ReplicaId, ReplicaNumber, SessionId, SnapshotRow, TransferId, Version,
    },
};

use super::{GroupWatch, Limits, Network};
use crate::group::{
    command::{Applied, Body, Command},
    deliver::{deliver, install},
    messenger::{AskError, Messenger},
    raft::{Entry, LogId, Membership, SnapshotMeta, StoredMembership, TypeConfig, Vote},
    seam::{self, Checked, Facts, Violation, testing::*},
    sessions::Sessions,
    snapshot::{SnapshotError, SnapshotSink, SnapshotSource},
    state::{GroupState, Head, Rows},
    transfer::{Ended, Receiver},
};

const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Disk {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    log: BTreeMap<u64, Entry>,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Disk>>);

impl RaftLogReader<TypeConfig> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + std::fmt::Debug + Send>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        Ok(self.0.lock().log.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.0.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let disk = self.0.lock();
        let last = disk.log.values().next_back().map(|entry| entry.log_id).or(disk.purged);
        Ok(LogState { last_purged_log_id: disk.purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.0.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.0.lock().committed = committed;
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        self.0.lock().log.extend(entries.into_iter().map(|entry| (entry.index(), entry)));
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.0.lock().log.retain(|index, _| last.is_some_and(|last| *index <= last.index));
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.log.retain(|index, _| *index > upto.index);
        disk.purged = Some(upto);
        Ok(())
    }
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Keys(BTreeMap<Bytes, (Version, Bytes)>);

impl Rows for Keys {
    type Error = io::Error;

    fn version(&self, _: &Position, key: &[u8]) -> io::Result<Option<Version>> {
        Ok(self.0.get(key).map(|(version, _)| *version))
    }

    fn put(&mut self, _: Position, key: Bytes, version: Version, value: Bytes) {
        self.0.insert(key, (version, value));
    }

    fn delete(&mut self, _: Position, key: Bytes, _: Version) {
        self.0.remove(&key);
    }
}

struct Applying {
    state: GroupState,
    keys: Keys,
}

#[derive(Clone)]
struct Machine(Arc<Mutex<Applying>>);

/// Rows on their way out, or staged.
#[derive(Default)]
struct Parcel(Vec<SnapshotRow>);

impl SnapshotSource for Parcel {
    fn next_rows(&mut self, _: usize) -> Result<Vec<SnapshotRow>, SnapshotError> {
        let rest = self.0.split_off(self.0.len().min(8));
        Ok(std::mem::replace(&mut self.0, rest))
    }
}

impl SnapshotSink for Parcel {
    type Done = Self;

    async fn push(&mut self, rows: Vec<SnapshotRow>) -> Result<(), SnapshotError> {
        self.0.extend(rows);
        Ok(())
    }

    async fn finish(self) -> Result<Self, SnapshotError> {
        Ok(self)
    }
}

fn row<T: serde::Serialize>(key: Bytes, value: &T) -> SnapshotRow {
    SnapshotRow { key, value: wire::encode(value).expect("it is small").into() }
}

fn read<T: serde::de::DeserializeOwned>(row: &SnapshotRow) -> T {
    wire::decode(&row.value).expect("what we encode can be decoded")
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = Parcel;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, Parcel>> {
        let applying = self.0.lock();
        let head = &applying.state.head;
        let mut rows = vec![row(Bytes::new(), head)];
        rows.extend(applying.keys.0.iter().map(|(key, found)| row(key.clone(), found)));
        let meta = SnapshotMeta { last_log_id: head.applied, last_membership: head.membership.clone() };
        Ok(openraft::Snapshot { meta, snapshot: Parcel(rows) })
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Parcel;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let head = &self.0.lock().state.head;
        Ok((head.applied, head.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + Send,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let applied = {
                let Applying { state, keys } = &mut *self.0.lock();
                state.apply(&Bounds::default(), entry, keys)?
            };
            if let Some(responder) = responder {
                responder.send(applied);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, _: &SnapshotMeta, parcel: Parcel) -> io::Result<()> {
        let mut applying = self.0.lock();
        applying.state.head = read(&parcel.0[0]);
        applying.keys.0 = parcel.0[1..].iter().map(|row| (row.key.clone(), read(row))).collect();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<TypeConfig, Parcel>>> {
        self.build_snapshot().await.map(Some)
    }
}

struct Member {
    id: ReplicaId,
    raft: Raft<TypeConfig, Machine>,
    log: Log,
    machine: Machine,
    receiver: AsyncMutex<Receiver<Parcel>>,
}

#[derive(Default)]
struct Hub {
    members: Mutex<BTreeMap<PeerId, Arc<Member>>>,
    /// Peers that nobody reaches and who reach nobody.
    cut: Mutex<BTreeSet<PeerId>>,
    gate: watch::Sender<Gate>,
    violations: Mutex<Vec<Violation>>,
    snapshots: Mutex<Vec<ReplicaId>>,
}

/// How a peer is kept from hearing how its entries were taken, as one is that was stopped.
#[derive(Default)]
struct Gate {
    stopped: Option<PeerId>,
    /// Does it send no more either?
    silent: bool,
    /// Whose answers reach it nevertheless.
    released: BTreeSet<PeerId>,
}

impl Hub {
    fn is_silent(&self, peer: PeerId) -> bool {
        let gate = self.gate.borrow();
        gate.silent && gate.stopped == Some(peer)
    }

    /// Waits until an answer of `of` may reach `peer`.
    async fn let_through(&self, peer: PeerId, of: PeerId) {
        let mut gate = self.gate.subscribe();
        let open = gate.wait_for(|gate| gate.stopped != Some(peer) || gate.released.contains(&of)).await;
        open.expect("the gate is part of the hub");
    }
}

impl GroupWatch for Hub {
    fn gone(&self, replica: ReplicaId, _: ReplicaNumber) {
        panic!("{replica} is not gone");
    }

    fn misbehaved(&self, _: ReplicaId, why: &Violation) {
        self.violations.lock().push(why.clone());
    }
}

#[derive(Clone)]
struct Wire {
    me: PeerId,
    hub: Arc<Hub>,
}

impl Wire {
    fn reach(&self, to: PeerId) -> Result<Arc<Member>, AskError> {
        let cut = self.hub.cut.lock();
        let apart = [to, self.me].iter().any(|peer| cut.contains(peer) || self.hub.is_silent(*peer));
        let there = if apart { None } else { self.hub.members.lock().get(&to).cloned() };
        there.ok_or_else(|| AskError::NotSent("cut off".into()))
    }

    fn violated(&self, why: &Violation) -> String {
        self.hub.violations.lock().push(why.clone());
        why.to_string()
    }
}

impl Messenger for Wire {
    async fn ask(&self, to: PeerId, request: PeerRequest, _: Duration) -> Result<PeerAnswer, AskError> {
        let there = self.reach(to)?;
        let PeerRequest::Group(message) = request else { return Err(AskError::NotSent("not of a group".into())) };
        let judged = there.judge(&message, self.me);
        let carries_entries = matches!(&judged, Ok(Checked::Append(request)) if !request.entries.is_empty());
        let answer = match judged {
            Ok(checked) => {
                deliver(&there.raft, checked).await.map_err(|stopped| AskError::MaybeSent(stopped.to_string()))?
            }
            Err(why) => {
                self.violated(&why);
                why.to_answer()
            }
        };
        if carries_entries {
            self.hub.let_through(self.me, to).await;
        }
        Ok(PeerAnswer::Group(answer))
    }

    async fn bulk(&self, to: PeerId, request: BulkRequest, _: Duration) -> Result<BulkAnswer, AskError> {
        let there = self.reach(to)?;
        let mut receiver = there.receiver.lock().await;
        let (sender, now) = (self.hub.members.lock()[&self.me].id, Instant::now());
        let broken = |error: SnapshotError| AskError::MaybeSent(error.to_string());
        match request {
            BulkRequest::Begin { transfer, group, from, to, head, .. } => {
                let judged = there.with_facts(|facts| seam::receive_snapshot(group, from, to, &head, self.me, facts));
                match judged {
                    Ok(head) => Ok(receiver.begin(transfer, sender, head, Parcel::default(), now)),
                    Err(why) => Ok(BulkAnswer::Refused(self.violated(&why))),
                }
            }
            BulkRequest::Rows { transfer, sequence, rows } => {
                receiver.rows(transfer, sender, sequence, rows, now).await.map_err(broken)
            }
            BulkRequest::End { transfer, chunks, rows } => {
                match receiver.end(transfer, sender, chunks, rows, now).await.map_err(broken)? {
                    Ended::Answer(answer) => Ok(answer),
                    Ended::Install(arrived) => {
                        let arrived = *arrived;
                        if let Err(why) = there.with_facts(|facts| seam::check_snapshot(&arrived.head, sender, facts)) {
                            return Ok(BulkAnswer::Refused(self.violated(&why)));
                        }
                        self.hub.snapshots.lock().push(there.id);
                        let installed = install(&there.raft, arrived.head.vote, arrived.head.meta, arrived.data).await;
                        let answer = installed.map_err(|stopped| AskError::MaybeSent(stopped.to_string()))?;
                        finished(&mut receiver, transfer, &answer, now);
                        Ok(answer)
                    }
                }
            }
        }
    }
}

fn finished(receiver: &mut Receiver<Parcel>, transfer: TransferId, answer: &BulkAnswer, now: Instant) {
    let body = if let BulkAnswer::Installed(body) = answer { Some(body.clone()) } else { None };
    receiver.installed(transfer, body, now);
}

impl Member {
    fn with_facts<T>(&self, judge: impl FnOnce(&Facts<'_>) -> T) -> T {
        let log = self.log.clone();
        let (vote, committed, newest) = {
            let disk = log.0.lock();
            let newest = disk.log.values().rev().find_map(|entry| match &entry.payload {
                EntryPayload::Membership(membership) => Some(membership.clone()),
                _ => None,
            });
            (disk.vote, disk.committed, newest)
        };
        let applied = self.machine.0.lock().state.head.membership.membership().clone();
        let membership: Membership = newest.unwrap_or(applied);
        let term_at = move |index: u64| log.0.lock().log.get(&index).map(|entry| entry.log_id.leader_id.term);
        judge(&Facts {
            group: GROUP,
            me: self.id,
            vote,
            committed,
            membership: Some(&membership),
            dead: None,
            term_at: &term_at,
        })
    }

    fn judge(&self, message: &GroupMessage, from: PeerId) -> Result<Checked, Violation> {
        self.with_facts(|facts| seam::receive(message, from, facts))
    }

    fn keys(&self) -> Keys {
        self.machine.0.lock().keys.clone()
    }

    fn command(number: u64) -> Command {
        let id = CommandId {
            session: SessionId([1; 16]),
            number: CommandNumber(number),
            watermark: CommandNumber(number.saturating_sub(64)),
            expires: GroupClock(60_000),
        };
        let op = Op::Put { key: format!("key {number}").into(), value: vec![7; 64].into() };
        Command { clock: GroupClock(1), body: Body::Client(ClientCommand { id, op }) }
    }

    /// Writes once, whatever comes of it.
    async fn try_put(&self, number: u64) -> Option<Applied> {
        self.raft.client_write(Self::command(number)).await.ok().map(|written| written.data)
    }

    async fn put(&self, number: u64) -> Applied {
        // A new leader refuses until a quorum has answered it once; a refused command was not proposed.
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.raft.client_write(Self::command(number)).await {
                Ok(written) => return written.data,
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) if Instant::now() < deadline => {
                    self.raft.trigger().heartbeat().await.expect("running");
                    tokio::task::yield_now().await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

async fn join(hub: &Arc<Hub>, number: u8) -> Arc<Member> {
    let id = replica(number);
    let config = Config {
        heartbeat_interval: 50,
        election_timeout_min: 200,
        election_timeout_max: 400,
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        ..Default::default()
    };
    let (log, machine) = (Log::default(), {
        let state = GroupState { head: Head::founding(&NetworkId([3; 32])), sessions: Sessions::default() };
        Machine(Arc::new(Mutex::new(Applying { state, keys: Keys::default() })))
    });
    let wire = Wire { me: id.peer, hub: hub.clone() };
    // Answers are held back for as long as an election takes.
    let limits = Limits { append: DEADLINE, ..Limits::default() };
    let network = Network::<_, Parcel>::new(GROUP, ORIGIN, id, wire, hub.clone()).with_limits(limits);
    let config = Arc::new(config.validate().expect("a sound configuration"));
    let raft = Raft::new(id, config, network, log.clone(), machine.clone()).await.expect("a core");
    let member = Arc::new(Member { id, raft, log, machine, receiver: AsyncMutex::default() });
    hub.members.lock().insert(id.peer, member.clone());
    member
}

async fn leads(member: &Member, leader: &Member) {
    let wait = member.raft.wait(Some(DEADLINE));
    wait.metrics(|metrics| metrics.current_leader == Some(leader.id), "a leader").await.expect("in time");
}

async fn same_keys(members: &[&Arc<Member>]) {
    let keys = members[0].keys();
    let applied = members[0].machine.0.lock().state.head.applied.map(|id| id.index);
    for member in members {
        member.raft.wait(Some(DEADLINE)).applied_index_at_least(applied, "all applied").await.expect("in time");
        assert_eq!(member.keys(), keys);
    }
}

/// A group of three that replica 1 founded and leads.
async fn three() -> (Arc<Hub>, Arc<Member>, Arc<Member>, Arc<Member>) {
    let hub = Arc::new(Hub::default());
    let one = join(&hub, 1).await;
    one.raft.initialize(BTreeMap::from([(one.id, openraft::EmptyNode {})])).await.expect("founded");
    leads(&one, &one).await;
    one.put(1).await;
    let (two, three) = (join(&hub, 2).await, join(&hub, 3).await);
    for learner in [&two, &three] {
        one.raft.add_learner(learner.id, openraft::EmptyNode {}, true).await.expect("a learner");
    }
    one.raft.change_membership([one.id, two.id, three.id], true).await.expect("three voters");
    (hub, one, two, three)
}

/// Founding, growth, writes, a snapshot to a newcomer, a hand-over and a cut, as openraft does them: nothing of it may
/// be refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_group_breaks_no_rule_of_the_seam() {
    let (hub, one, two, three) = three().await;
    let written = future::join_all((2..=60).map(|number| one.put(number))).await;
    assert!(written.iter().all(|applied| matches!(applied, Applied::Answered(_))));
    same_keys(&[&one, &two, &three]).await;

    let end = one.machine.0.lock().state.head.applied.expect("applied");
    one.raft.trigger().snapshot().await.expect("running");
    one.raft.wait(Some(DEADLINE)).snapshot(end, "built").await.expect("in time");
    one.raft.trigger().purge_log(end.index).await.expect("running");
    one.raft.wait(Some(DEADLINE)).purged(Some(end), "purged").await.expect("in time");
    let four = join(&hub, 4).await;
    one.raft.add_learner(four.id, openraft::EmptyNode {}, true).await.expect("a learner");
    same_keys(&[&one, &four]).await;
    assert_eq!(*hub.snapshots.lock(), [four.id]);

    one.raft.trigger().transfer_leader(two.id).await.expect("running");
    leads(&two, &two).await;
    two.put(61).await;
    let read = two.raft.get_read_linearizer(ReadPolicy::ReadIndex).await.expect("a quorum answers");
    read.await_ready(&two.raft).await.expect("applied");

    hub.cut.lock().insert(two.id.peer);
    let others = [&one, &three];
    let elected = |member: Arc<Member>, of: BTreeSet<ReplicaId>| async move {
        let wait = member.raft.wait(Some(DEADLINE));
        wait.metrics(move |metrics| metrics.current_leader.is_some_and(|id| of.contains(&id)), "another leader").await
    };
    let of = BTreeSet::from([one.id, three.id]);
    let led = elected(one.clone(), of).await.expect("in time").current_leader.expect("a leader");
    let leader = others.into_iter().find(|member| member.id == led).expect("one of the others").clone();
    leads(&leader, &leader).await;
    leader.put(62).await;
    hub.cut.lock().clear();
    leads(&two, &leader).await;
    same_keys(&[&leader, &one, &two, &three, &four]).await;
    assert_eq!(leader.keys().0.len(), 62);
    assert_eq!(*hub.violations.lock(), []);
    for member in [one, two, three, four] {
        member.raft.shutdown().await.expect("it stops");
    }
}

/// The leader is stopped with answers under way, another is elected and writes, and the old one goes on: no answer from
/// before its read confirms that. What one follower answers moves the commit, for which an append without entries
/// is due to the other; that other's answer, also from before the read, must not count for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_is_not_confirmed_by_an_answer_from_before_it() {
    let (hub, one, two, three) = three().await;
    same_keys(&[&one, &two, &three]).await;
    let stopped = Gate { stopped: Some(one.id.peer), ..Gate::default() };
    hub.gate.send_replace(stopped);
    let writer = one.clone();
    let write = tokio::spawn(async move { writer.try_put(2).await });
    let written = one
        .raft
        .wait(Some(DEADLINE))
        .metrics(|metrics| metrics.last_log_index > metrics.last_applied.map(|id| id.index), "written")
        .await;
    let index = written.expect("in time").last_log_index;
    for follower in [&two, &three] {
        follower.raft.wait(Some(DEADLINE)).log_index_at_least(index, "it has the entry").await.expect("in time");
    }
    hub.gate.send_modify(|gate| gate.silent = true);
    let elected = two.raft.wait(Some(DEADLINE));
    let elected =
        elected.metrics(|metrics| metrics.current_leader.is_some_and(|id| id.number != ReplicaNumber(1)), "elected");
    let campaign = async {
        while two.raft.metrics().borrow_watched().current_leader == Some(one.id) {
            two.raft.trigger().elect(false).await.expect("running");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (led, ()) = tokio::join!(elected, campaign);
    let leader = if led.expect("in time").current_leader == Some(two.id) { &two } else { &three };
    leader.put(3).await;

    let mut read = Box::pin(one.raft.get_read_linearizer(ReadPolicy::ReadIndex));
    assert!(futures::poll!(&mut read).is_pending());
    // The core takes its messages in order: the read has begun when this is answered.
    one.raft.with_raft_state(|_| ()).await.expect("running");
    hub.gate.send_modify(|gate| gate.released.extend([two.id.peer]));
    one.raft.wait(Some(DEADLINE)).committed_index_at_least(index, "one answer is a quorum").await.expect("in time");
    // Gives whoever would pull the append that tells the commit the time to do so.
    for _ in 0..200 {
        one.raft.with_raft_state(|_| ()).await.expect("running");
    }
    hub.gate.send_modify(|gate| gate.released.extend([three.id.peer]));
    assert!(read.await.is_err(), "the write of another leader would not be seen");
    drop(write);
    for member in [one, two, three] {
        member.raft.shutdown().await.expect("it stops");
    }
}
