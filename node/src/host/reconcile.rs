//! The loop that brings a group's seats to where they are wanted: it looks, plans one step, carries it out, and looks
//! again. Only a leader plans; a follower only makes sure that it still belongs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use libp2p::PeerId;
use openraft::{EmptyNode, EntryPayload, raft::Precondition};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, timeout},
};
use xorum_behaviours::{
    space::Position,
    wire::{Farewell, PeerRequest, ReplicaId, ReplicaNumber},
};

use super::{
    Host,
    messenger::LinksMessenger,
    replica::Replica,
    survey::{self, Report},
};
use crate::{
    group::{
        command::{Applied, Body, Command},
        messenger::Messenger,
        network::GroupWatch,
        raft::{LogId, Membership},
        seam::Violation,
    },
    placement::{Action, PeerView, PlacementConfig, ReplicaView, View, liveness, plan},
};

/// How often a leader looks when nothing calls for it.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often Kademlia is asked for the peers closest to the anchor…
const ASK_KADEMLIA_EVERY: Duration = Duration::from_secs(10);
/// …and while there are fewer voters than wanted.
const ASK_KADEMLIA_SHORT_EVERY: Duration = Duration::from_secs(2);
/// How often everyone near is told the descriptor, changed or not.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// How long the answer to such a telling is awaited.
const TELL_WITHIN: Duration = Duration::from_secs(2);
/// How long a step may take to be committed before the loop looks again.
const STEP_WITHIN: Duration = Duration::from_secs(2);
/// The most steps from one look to the next pause.
const MAX_STEPS: usize = 16;
/// The most peers beside the members that are looked at: the closest ones.
const MAX_CANDIDATES: usize = 32;
/// How often in a leadership a peer may lose a replica before it is left alone for a while…
const MAX_GONES: u32 = 2;
/// …which is this long.
const SHUN_FOR: Duration = Duration::from_secs(60);
/// How far back the end of the log is remembered, to tell who catches up.
const LAG_WINDOW: Duration = Duration::from_millis(200);
/// A replica whose log is at most this many entries behind is caught up: what is missing is under way.
const CAUGHT_UP_ENTRIES: u64 = 1_000;
/// How long a peer that has left may take to stop.
const STOPS_WITHIN: Duration = Duration::from_secs(3);
/// How long without a leader before a replica asks whether it still belongs, at the least.
const DOUBT_AFTER: Duration = Duration::from_secs(2);

/// What openraft's network noticed of other replicas.
#[derive(Debug)]
pub(super) enum Notice {
    /// Dead for ever, up to this number.
    Gone(ReplicaId, ReplicaNumber),
    /// Its log is not sound.
    Misbehaved(ReplicaId, String),
}

/// Hands what the network notices to the loop; what does not fit is noticed again.
#[derive(Debug)]
pub(super) struct Watcher(pub(super) mpsc::Sender<Notice>);

impl GroupWatch for Watcher {
    fn gone(&self, replica: ReplicaId, dead: ReplicaNumber) {
        let _ = self.0.try_send(Notice::Gone(replica, dead));
    }

    fn misbehaved(&self, replica: ReplicaId, why: &Violation) {
        let _ = self.0.try_send(Notice::Misbehaved(replica, why.to_string()));
    }
}

/// What a leader remembers from look to look. Its clocks start anew with each leadership.
struct Leadership {
    term: u64,
    since: Instant,
    reports: BTreeMap<ReplicaId, Report>,
    alive_since: BTreeMap<PeerId, Instant>,
    gone: BTreeMap<PeerId, ReplicaNumber>,
    removed_as_dead: BTreeSet<PeerId>,
    /// Who said that it leaves, and when last.
    leavers: BTreeMap<PeerId, Instant>,
    fresh: BTreeMap<PeerId, ReplicaNumber>,
    closest: BTreeSet<PeerId>,
    asked_kademlia: Option<Instant>,
    /// When the newest look began: only what was answered since is fresh.
    looked: Instant,
    /// The end of the log a while ago: who has not matched that much is not catching up.
    lagged: Option<(Instant, u64)>,
    /// How far each learner was, and since when it has not been further.
    learners: BTreeMap<ReplicaId, (u64, Instant)>,
    /// Peers that were given a seat and made nothing of it, and until when they are left alone.
    shunned: BTreeMap<PeerId, Instant>,
    /// How often a peer said that what it was given is gone.
    gones: BTreeMap<PeerId, u32>,
    /// The membership that was planned with.
    planned: Option<LogId>,
    told: BTreeMap<PeerId, (u64, Instant)>,
}

impl Leadership {
    fn new(term: u64) -> Self {
        Self {
            term,
            since: Instant::now(),
            reports: BTreeMap::new(),
            alive_since: BTreeMap::new(),
            gone: BTreeMap::new(),
            removed_as_dead: BTreeSet::new(),
            leavers: BTreeMap::new(),
            fresh: BTreeMap::new(),
            closest: BTreeSet::new(),
            asked_kademlia: None,
            looked: Instant::now(),
            lagged: None,
            learners: BTreeMap::new(),
            shunned: BTreeMap::new(),
            gones: BTreeMap::new(),
            planned: None,
            told: BTreeMap::new(),
        }
    }

    /// Leaves a peer alone for a while: others get the seat.
    fn shun(&mut self, peer: PeerId) {
        tracing::warn!(%peer, "a peer makes nothing of its seat; it is left alone for a while");
        self.gones.remove(&peer);
        self.shunned.insert(peer, Instant::now() + SHUN_FOR);
    }

    /// Is it still to be expected that one that left, and is no member any more, is heard?
    fn leaves(&self, peer: &PeerId, hear_within: Duration) -> bool {
        self.leavers.get(peer).is_some_and(|told| told.elapsed() < STOPS_WITHIN + hear_within)
    }

    fn note(&mut self, notice: Notice) {
        match notice {
            Notice::Gone(replica, dead) => {
                let known = self.gone.insert(replica.peer, dead.max(*self.gone.get(&replica.peer).unwrap_or(&dead)));
                if known.is_none_or(|known| known < dead) {
                    let times = self.gones.entry(replica.peer).or_default();
                    *times += 1;
                    if *times > MAX_GONES {
                        self.shun(replica.peer);
                    }
                }
            }
            Notice::Misbehaved(replica, why) => {
                tracing::warn!(%replica, why, "a replica that is not sound; its seat is given away");
                let gone = self.gone.entry(replica.peer).or_insert(replica.number);
                *gone = replica.number.max(*gone);
            }
        }
    }
}

impl Leadership {
    /// Where the log ended a while ago; at first, where it ends now.
    fn end_a_while_ago(&mut self, last: u64) -> u64 {
        match self.lagged {
            Some((at, end)) if at.elapsed() < LAG_WINDOW => end,
            Some((_, end)) => {
                self.lagged = Some((Instant::now(), last));
                end
            }
            None => {
                self.lagged = Some((Instant::now(), last));
                last
            }
        }
    }

    /// Notes how far learners are; one that gets no further for long is given up, and its peer left alone.
    fn note_learners(&mut self, now: impl Iterator<Item = (ReplicaId, u64)>, last: u64, stuck_after: Duration) {
        let before = std::mem::take(&mut self.learners);
        let mut stuck = Vec::new();
        for (learner, matched) in now {
            let since = match before.get(&learner) {
                Some((then, since)) if *then == matched && matched < last => *since,
                _ => Instant::now(),
            };
            if since.elapsed() > stuck_after {
                stuck.push(learner);
            }
            self.learners.insert(learner, (matched, since));
        }
        for learner in stuck {
            self.learners.remove(&learner);
            self.shun(learner.peer);
            let gone = self.gone.entry(learner.peer).or_insert(learner.number);
            *gone = learner.number.max(*gone);
        }
    }
}

/// How long a learner may get no further before it is given up.
fn stuck_after(host: &Host) -> Duration {
    3 * host.genesis.timings.placement.replace_after()
}

/// Runs for as long as the replica does.
pub(super) async fn run(host: Arc<Host>, replica: Arc<Replica>, mut notices: mpsc::Receiver<Notice>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut leadership: Option<Leadership> = None;
    let mut doubted = Instant::now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = replica.nudge.notified() => {}
            Some(notice) = notices.recv() => {
                if let Some(leadership) = &mut leadership {
                    leadership.note(notice);
                }
            }
        }
        let (term, leads) = replica.shared.term();
        if !leads {
            leadership = None;
            if replica.shared.leaderless_for() > DOUBT_AFTER.max(4 * host.election_max())
                && doubted.elapsed() > DOUBT_AFTER
            {
                doubted = Instant::now();
                let (host, replica) = (Arc::clone(&host), Arc::clone(&replica));
                // It may end this very loop: so it must not run in it.
                let token = host.token.clone();
                host.clone().tracker.spawn(async move {
                    tokio::select! {
                        _ = host.ask_membership(&replica) => {}
                        () = token.cancelled() => {}
                    }
                });
            }
            continue;
        }
        if leadership.as_ref().is_none_or(|leadership| leadership.term != term) {
            leadership = Some(Leadership::new(term));
        }
        if let Some(leadership) = &mut leadership {
            steps(&host, &replica, leadership).await;
        }
    }
}

/// Looks and steps until nothing is to be done, or something has to be waited for.
async fn steps(host: &Arc<Host>, replica: &Arc<Replica>, leadership: &mut Leadership) {
    let config = PlacementConfig::from(&host.genesis);
    for _ in 0..MAX_STEPS {
        look(host, replica, leadership).await;
        // Who says goodbye from here on waits until this step is done.
        let _step = replica.farewells.step().await;
        let view = view(host, replica, leadership);
        tell(host, replica, leadership, &view);
        let action = plan(&view, &config);
        tracing::trace!(group = %replica.shared.group, ?action, "planned");
        if !act(host, replica, leadership, &view, &config, action).await {
            return;
        }
    }
}

/// Asks Kademlia, now and then, and the members, each time.
async fn look(host: &Arc<Host>, replica: &Replica, leadership: &mut Leadership) {
    let shared = &replica.shared;
    leadership.looked = Instant::now();
    leadership.shunned.retain(|_, until| *until > Instant::now());
    let short = shared.descriptor().voters.len() < usize::from(host.genesis.replication_factor);
    let every = if short { ASK_KADEMLIA_SHORT_EVERY } else { ASK_KADEMLIA_EVERY };
    if leadership.asked_kademlia.is_none_or(|asked| asked.elapsed() > every) {
        leadership.asked_kademlia = Some(Instant::now());
        let anchor = shared.descriptor().prefix.anchor();
        let closest = host.swarm.closest(anchor, host.election_max()).await;
        if !closest.is_empty() {
            leadership.closest = closest.into_iter().collect();
        }
    }
    let members: Vec<ReplicaId> = (shared.metrics().membership_config.membership().nodes())
        .map(|(id, _)| *id)
        .filter(|id| *id != shared.id)
        .collect();
    let about = peers_to_look_at(host, replica, leadership);
    host.presence.watch(about.iter().copied());
    let about: Vec<PeerId> = about.into_iter().collect();
    let answered = survey::ask(host, shared, leadership.term, members.clone(), &about, host.election_max()).await;
    for (member, report) in answered {
        if let Report::Gone(dead) = report {
            leadership.note(Notice::Gone(member, dead));
        }
        match survey::farewell(Some(&report), None, Duration::ZERO) {
            Farewell::Leaving => leadership.leavers.insert(member.peer, Instant::now()),
            Farewell::Stays | Farewell::Stopping => leadership.leavers.remove(&member.peer),
        };
        leadership.reports.insert(member, report);
    }
    leadership.reports.retain(|member, _| members.contains(member));
}

/// The members' peers, and the candidates that are closest to the anchor.
fn peers_to_look_at(host: &Host, replica: &Replica, leadership: &Leadership) -> BTreeSet<PeerId> {
    let anchor = replica.shared.descriptor().prefix.anchor();
    let mut candidates: Vec<PeerId> = host.book.connected_peers();
    candidates.extend(leadership.closest.iter().copied());
    // Who is heard comes first: peers long gone must not crowd them out.
    let heard = |peer: &PeerId| host.links.heard(peer).is_some_and(|ago| ago <= host.presence.hear_within());
    candidates.sort_by_key(|peer| (!heard(peer), anchor.distance(&Position::of_peer(peer))));
    candidates.dedup();
    candidates.truncate(MAX_CANDIDATES);
    let mut peers = replica.shared.member_peers();
    peers.extend(candidates);
    peers.insert(host.local);
    peers
}

/// Everything that the leader knows, as of now.
fn view(host: &Host, replica: &Replica, leadership: &mut Leadership) -> View {
    let shared = &replica.shared;
    let metrics = shared.metrics();
    let effective = metrics.membership_config.membership();
    let head = shared.view.head();
    let committed = metrics.membership_config.log_id() == metrics.committed_membership_config.log_id()
        && metrics.membership_config.log_id() == head.membership.log_id();
    let own_entry_applied = head.applied.is_some_and(|id| **id.committed_leader_id() == leadership.term);
    let membership_index = metrics.membership_config.log_id().map_or(0, |id| id.index);
    let last = metrics.last_log_index.unwrap_or(0);
    let a_while_ago = leadership.end_a_while_ago(last);
    let matched_by = |id: &ReplicaId| {
        let matched = metrics.replication.as_ref().and_then(|all| all.get(id).copied()).flatten();
        matched.map_or(0, |id| id.index)
    };
    leadership.planned = *metrics.membership_config.log_id();
    leadership.note_learners(effective.learner_ids().map(|id| (id, matched_by(&id))), last, stuck_after(host));
    let replicas = effective
        .nodes()
        .map(|(id, _)| {
            let matched = matched_by(id);
            let probed = matches!(leadership.reports.get(id), Some(Report::Answered { answer, at })
                if *at >= leadership.looked
                    && answer.last_log.is_some_and(|log| log.index == last)
                    && answer.farewell == Farewell::Stays);
            let progress = ReplicaView {
                caught_up: matched >= a_while_ago && last.saturating_sub(matched) <= CAUGHT_UP_ENTRIES,
                knows_membership: matched >= membership_index,
                probed_at_last_log: probed,
            };
            (*id, progress)
        })
        .collect();
    let peers = peers_to_look_at(host, replica, leadership);
    let peers: BTreeMap<PeerId, PeerView> =
        peers.into_iter().map(|peer| (peer, peer_view(host, replica, leadership, peer))).collect();
    leadership.alive_since.retain(|peer, _| peers.contains_key(peer));
    View {
        anchor: head.prefix.anchor(),
        local: shared.id,
        voters: effective.get_joint_config().clone(),
        learners: effective.learner_ids().collect(),
        own_entry_applied,
        membership_committed: committed,
        fresh: leadership.fresh.clone(),
        replicas,
        peers,
    }
}

fn peer_view(host: &Host, replica: &Replica, leadership: &mut Leadership, peer: PeerId) -> PeerView {
    let position = Position::of_peer(&peer);
    let age = leadership.since.elapsed();
    if peer == host.local {
        return PeerView {
            position,
            silent_for: Duration::ZERO,
            alive: true,
            alive_for: age,
            farewell: host.going.farewell(),
            gone: None,
            removed_as_dead: false,
            leads: host.status().leads,
        };
    }
    let hear_within = host.presence.hear_within();
    let never = Duration::MAX;
    let by_leader = host.links.heard(&peer).unwrap_or(never);
    let by_others = heard_by_others(host, replica, leadership, peer);
    let silent_for = liveness::silence(by_leader, by_others.clone()).min(age);
    let shunned = leadership.shunned.contains_key(&peer);
    let alive = liveness::heard(by_leader, by_others, hear_within) && !shunned;
    let alive_for = match alive {
        true => leadership.alive_since.entry(peer).or_insert_with(Instant::now).elapsed(),
        false => {
            leadership.alive_since.remove(&peer);
            Duration::ZERO
        }
    };
    let own_report = leadership.reports.iter().filter(|(id, _)| id.peer == peer).map(|(_, report)| report).next_back();
    PeerView {
        position,
        silent_for,
        alive,
        alive_for,
        farewell: match own_report {
            None if leadership.leaves(&peer, hear_within) => Farewell::Leaving,
            report => survey::farewell(report, replica.farewells.of(&peer), STOPS_WITHIN + hear_within),
        },
        gone: leadership.gone.get(&peer).copied(),
        removed_as_dead: leadership.removed_as_dead.contains(&peer),
        leads: match own_report {
            Some(Report::Answered { answer, .. }) => answer.leads,
            _ => 0,
        },
    }
}

/// How long ago each other voter that the leader hears heard a peer.
fn heard_by_others(host: &Host, replica: &Replica, leadership: &Leadership, peer: PeerId) -> Vec<Duration> {
    let voters = replica.shared.descriptor();
    let judges = voters.voters.iter().filter(|voter| voter.peer != peer && voter.peer != host.local);
    judges
        .filter(|voter| host.links.heard(&voter.peer).is_some_and(|ago| ago <= host.presence.hear_within()))
        .filter_map(|voter| match leadership.reports.get(voter)? {
            Report::Answered { answer, at } => {
                let told = answer.heard.iter().find(|heard| heard.peer == peer)?;
                Some(told.heard_ms.map_or(Duration::MAX, |ms| Duration::from_millis(ms).saturating_add(at.elapsed())))
            }
            Report::Gone(_) => None,
        })
        .collect()
}

/// Tells the descriptor to whoever is near and has not heard it, or not for long.
fn tell(host: &Arc<Host>, replica: &Replica, leadership: &mut Leadership, view: &View) {
    let route = replica.shared.route();
    let epoch = route.descriptor.epoch.0;
    for (peer, seen) in &view.peers {
        let known = leadership.told.get(peer).is_some_and(|(told, at)| *told == epoch && at.elapsed() < TELL_EVERY);
        if *peer == host.local || !seen.alive || known {
            continue;
        }
        leadership.told.insert(*peer, (epoch, Instant::now()));
        send_descriptor(host, *peer, route.clone());
    }
    leadership.told.retain(|peer, _| view.peers.contains_key(peer));
}

fn send_descriptor(host: &Arc<Host>, peer: PeerId, route: xorum_behaviours::wire::Route) {
    let messenger = LinksMessenger(host.links.clone());
    host.spawn(async move {
        // Nobody depends on it: whoever misses it asks.
        let _ = messenger.ask(peer, PeerRequest::Tell(route), TELL_WITHIN).await;
    });
}

/// Carries one action out. Says whether to look again at once.
async fn act(
    host: &Arc<Host>,
    replica: &Arc<Replica>,
    leadership: &mut Leadership,
    view: &View,
    config: &PlacementConfig,
    action: Action,
) -> bool {
    let group = replica.shared.group;
    let mut configs = view.voters.clone();
    let mut nodes: BTreeSet<ReplicaId> = view.learners.iter().chain(configs.iter().flatten()).copied().collect();
    match action {
        Action::Nothing | Action::Wait(_) => return false,
        Action::Mint { peer } => return mint(replica, leadership, peer).await,
        Action::TransferLeadership { to } => {
            tracing::info!(%group, %to, "handing leadership over");
            if replica.shared.raft.trigger().transfer_leader(to).await.is_err() {
                return false;
            }
            let led = |metrics: &openraft::RaftMetrics<_>| metrics.current_leader != Some(replica.shared.id);
            let _ = replica.shared.raft.wait(Some(host.election_max())).metrics(led, "another to lead").await;
            return false;
        }
        Action::FinishJoint => {
            configs = configs.pop().into_iter().collect();
        }
        Action::AddLearner { replica } => {
            tracing::info!(%group, %replica, "adding a learner");
            leadership.fresh.remove(&replica.peer);
            nodes.insert(replica);
        }
        Action::ChangeVoters { add, remove } => {
            tracing::info!(%group, ?add, ?remove, "changing voters");
            for removed in &remove {
                if view.is_dead(removed, config) {
                    leadership.removed_as_dead.insert(removed.peer);
                }
                note_own_removal(replica, removed);
            }
            for added in &add {
                leadership.removed_as_dead.remove(&added.peer);
            }
            let seated = configs.last().cloned().unwrap_or_default();
            let next = seated.difference(&remove).chain(&add).copied().collect();
            configs.push(next);
        }
        Action::RemoveLearner { replica: learner } => {
            tracing::info!(%group, %learner, "removing a learner");
            note_own_removal(replica, &learner);
            nodes.remove(&learner);
            let removed = write_membership(replica, leadership, configs, nodes).await;
            if removed {
                send_descriptor(host, learner.peer, replica.shared.route());
            }
            return removed;
        }
    }
    write_membership(replica, leadership, configs, nodes).await
}

fn note_own_removal(replica: &Replica, removed: &ReplicaId) {
    if *removed == replica.shared.id {
        replica.removals.may_be_proposed();
    }
}

/// Takes a replica number by a committed command of its own, before any entry uses it.
async fn mint(replica: &Replica, leadership: &mut Leadership, peer: PeerId) -> bool {
    let Some(clock) = replica.shared.leader_clock() else { return false };
    let written = replica.shared.raft.client_write(Command { clock, body: Body::Mint { peer } });
    match timeout(STEP_WITHIN, written).await {
        Ok(Ok(response)) => match response.data {
            Applied::Minted(number) => {
                leadership.fresh.insert(peer, number);
                true
            }
            _ => false,
        },
        // A number that was minted all the same is wasted.
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Writes one membership entry behind the one that was looked at.
async fn write_membership(
    replica: &Replica,
    leadership: &Leadership,
    configs: Vec<BTreeSet<ReplicaId>>,
    nodes: BTreeSet<ReplicaId>,
) -> bool {
    let shared = &replica.shared;
    let nodes: BTreeMap<ReplicaId, EmptyNode> = nodes.into_iter().map(|id| (id, EmptyNode {})).collect();
    let membership = match Membership::new(configs, nodes) {
        Ok(membership) => membership,
        Err(error) => {
            tracing::error!(group = %shared.group, %error, "a planned membership is none");
            return false;
        }
    };
    let behind = Precondition::LastMembershipLogId { last_membership_log_id: leadership.planned };
    match timeout(STEP_WITHIN, shared.raft.append_membership(membership, EntryPayload::Blank, [behind])).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            tracing::debug!(group = %shared.group, %error, "a membership entry was not written");
            false
        }
        Err(_) => false,
    }
}
