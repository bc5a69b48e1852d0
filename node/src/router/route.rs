//! The loop that asks, follows redirects, waits and gives up, under one deadline.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use libp2p::PeerId;
use parking_lot::Mutex;
use tokio::time::Instant;
use xorum_behaviours::{
    links::{self, Class, NotSent, RequestError},
    space::Position,
    wire::{
        self, Answer, Bounds, ClientCommand, Consistency, Descriptor, GroupClock, GroupId, Op, OpAnswer, OpRequest,
        RaftTimings, ReadAnswer, ReadRequest, Refusal, Route, WatchAnswer, WatchRequest,
    },
};

use super::{
    DescriptorCache,
    attempt::{self, Next, Obstacle, Step},
    session::{Sessions, Ticket},
};
use crate::{error::OpError, host::Host, peers::PeerBook, swarm};

/// The pause before another copy grows from this…
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// …to this.
const LAST_PAUSE: Duration = Duration::from_millis(100);
/// Redirects that are followed without a pause.
const MAX_FOLLOWED: u32 = 8;
/// How much later than the deadline a command may still be applied by a group whose clock runs behind.
const EXPIRES_SLACK: Duration = Duration::from_secs(2);
/// How long an answer to a watch may be held back.
const WATCH_WAIT: Duration = Duration::from_secs(5);
/// The most peers asked, one after another, who owns a position, before the connected ones are looked at anew.
const MAX_ASKED: usize = 16;

/// Finds groups and talks to them, for this handle's operations.
#[derive(Debug)]
pub struct Router {
    local: PeerId,
    links: links::Client,
    swarm: swarm::Handle,
    host: Option<Arc<Host>>,
    cache: Arc<DescriptorCache>,
    book: Arc<PeerBook>,
    sessions: Sessions,
    clocks: Mutex<std::collections::BTreeMap<GroupId, (GroupClock, Instant)>>,
    bounds: Bounds,
    attempt_timeout: Duration,
}

/// Where one operation stands.
struct Progress {
    position: Position,
    deadline: Instant,
    pause: Duration,
    followed: u32,
    /// Counts the voters that were tried, so that each gets its turn.
    turn: usize,
    group: Option<Arc<Descriptor>>,
    /// Was every voter known here tried in vain? Others may have taken their seats.
    astray: bool,
    /// May any copy have been proposed, with what became of it unknown?
    perhaps_proposed: bool,
    /// Bytes of the value that it carries.
    bytes: usize,
    obstacle: Option<Obstacle>,
}

impl Router {
    /// A router; `host` serves what this peer itself holds, and a client has none.
    pub fn new(
        local: PeerId,
        links: links::Client,
        swarm: swarm::Handle,
        host: Option<Arc<Host>>,
        cache: Arc<DescriptorCache>,
        book: Arc<PeerBook>,
        bounds: Bounds,
        raft: RaftTimings,
    ) -> Self {
        // Long enough that a busy leader answers, short enough that a hung one does not hold an operation for long.
        let attempt_timeout = Duration::from_millis(4 * raft.election_max_ms).max(Duration::from_secs(1));
        let (sessions, clocks) = (Sessions::new(), Mutex::default());
        Self { local, links, swarm, host, cache, book, sessions, clocks, bounds, attempt_timeout }
    }

    /// Applies an operation once.
    ///
    /// # Errors
    /// As [`OpError`] tells: each variant says whether it may have been applied.
    pub async fn command(&self, op: Op, timeout: Duration) -> Result<Answer, OpError> {
        self.check_sizes(op.key(), op.value())?;
        let mut ticket = self.sessions.begin().map_err(|e| OpError::Busy(e.to_string()))?;
        let mut expires = None;
        let mut progress = Progress::new(Position::of_key(op.key()), timeout);
        progress.bytes = op.value().map_or(0, Bytes::len);
        loop {
            let Some(target) = self.target(&mut progress).await else { return Err(self.give_up(progress, true)) };
            // Fixed with the number, once the group whose clock it is on is known.
            let expires_at = *expires.get_or_insert_with(|| self.expires(&progress));
            let command = ClientCommand { id: ticket.id(expires_at), op: op.clone() };
            let within = self.within(&progress, progress.bytes);
            let answer = self.ask(target, OpRequest::Command(command), within).await;
            match &answer {
                Ok(OpAnswer::Refused {
                    refusal: Refusal::Expired | Refusal::ExpiresTooFarAhead, group, clock, ..
                }) => self.set_clock(*group, *clock),
                Ok(OpAnswer::Applied { group, clock, .. } | OpAnswer::Refused { group, clock, .. }) => {
                    self.learn_clock(*group, *clock);
                }
                _ => {}
            }
            match self.step(&mut progress, target, answer).await? {
                None => {}
                Some(Settled::Done(OpAnswer::Applied { answer, .. })) => {
                    self.served(&progress, target);
                    return Ok(answer);
                }
                Some(Settled::Done(_)) => {
                    // Whoever answers nonsense may have proposed it.
                    progress.perhaps_proposed = true;
                    progress.nonsense().await;
                }
                Some(Settled::Rename) => {
                    if !progress.perhaps_proposed {
                        ticket = self.rename(ticket)?;
                        expires = None;
                    }
                }
            }
        }
    }

    /// Reads a key.
    ///
    /// # Errors
    /// As [`OpError`] tells.
    pub async fn read(&self, key: Bytes, consistency: Consistency, timeout: Duration) -> Result<ReadAnswer, OpError> {
        self.check_sizes(&key, None)?;
        let mut progress = Progress::new(Position::of_key(&key), timeout);
        if consistency == Consistency::Stale
            && let Some(host) = &self.host
            && let Some(answer) = host.read_stale_here(&key)
        {
            return Ok(answer);
        }
        loop {
            let Some(target) = self.target(&mut progress).await else { return Err(self.give_up(progress, false)) };
            let request = OpRequest::Read(ReadRequest { key: key.clone(), consistency });
            let answer = self.ask(target, request, self.within(&progress, self.bounds.max_value_bytes as usize)).await;
            match self.step(&mut progress, target, answer).await? {
                Some(Settled::Done(OpAnswer::Read(answer))) => {
                    if consistency == Consistency::Linearizable {
                        self.served(&progress, target);
                    }
                    return Ok(answer);
                }
                Some(_) => progress.nonsense().await,
                None => {}
            }
        }
    }

    /// Waits for the next change of a key, or for a while; whatever it takes to reach the group.
    ///
    /// # Errors
    /// Only when the request itself is at fault.
    pub async fn watch(
        &self,
        key: Bytes,
        seen: wire::Version,
        revision: wire::Version,
    ) -> Result<WatchAnswer, OpError> {
        let mut progress = Progress::new(Position::of_key(&key), WATCH_WAIT);
        loop {
            progress.deadline = Instant::now() + WATCH_WAIT;
            let Some(target) = self.target(&mut progress).await else { continue };
            let request = OpRequest::Watch(WatchRequest {
                key: key.clone(),
                seen,
                seen_revision: revision,
                wait_ms: WATCH_WAIT.as_millis() as u64,
            });
            let within = WATCH_WAIT + self.attempt_timeout;
            let answer = self.ask(target, request, within).await;
            match self.step(&mut progress, target, answer).await? {
                Some(Settled::Done(OpAnswer::Watch(answer))) => return Ok(answer),
                Some(_) => progress.nonsense().await,
                None => {}
            }
        }
    }

    /// Finds the group that owns a position.
    ///
    /// # Errors
    /// When nobody who answers in time knows.
    pub async fn locate(&self, position: Position, timeout: Duration) -> Result<Arc<Descriptor>, OpError> {
        let mut progress = Progress::new(position, timeout);
        match self.target(&mut progress).await {
            Some(_) => progress.group.ok_or_else(|| OpError::Internal("a target without a group".into())),
            None => Err(self.give_up(progress, false)),
        }
    }

    /// Asks a peer that this one is connected to; a client has nobody else to ask about the network.
    ///
    /// # Errors
    /// When none answers in time.
    pub async fn ask_any(&self, request: OpRequest, timeout: Duration) -> Result<OpAnswer, OpError> {
        let deadline = Instant::now() + timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            for peer in self.book.connected_peers().into_iter().take(MAX_ASKED) {
                let within = deadline.saturating_duration_since(Instant::now()).min(self.attempt_timeout);
                match self.ask(peer, request.clone(), within).await {
                    Ok(OpAnswer::Busy | OpAnswer::Unknown) | Err(_) => {}
                    Ok(answer) => return Ok(answer),
                }
            }
            if Instant::now() + pause >= deadline {
                let message = "no peer answers: check that one runs at the bootstrap address".into();
                return Err(OpError::Unavailable { message, group: None });
            }
            tokio::time::sleep(jitter(pause)).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Refuses what no group takes.
    ///
    /// # Errors
    /// Names what is too large.
    pub fn check_sizes(&self, key: &Bytes, value: Option<&Bytes>) -> Result<(), OpError> {
        let check = |what, bytes: usize, limit: u32| {
            let (bytes, limit) = (bytes as u64, u64::from(limit));
            if bytes > limit { Err(OpError::TooLarge { what, bytes, limit }) } else { Ok(()) }
        };
        check("key", key.len(), self.bounds.max_key_bytes)?;
        check("value", value.map_or(0, Bytes::len), self.bounds.max_value_bytes)
    }

    /// Whom to ask next; none when the deadline has passed.
    async fn target(&self, progress: &mut Progress) -> Option<PeerId> {
        loop {
            if Instant::now() >= progress.deadline {
                return None;
            }
            if std::mem::take(&mut progress.astray) {
                self.discover(progress).await;
            }
            let own = self.host.as_ref().and_then(|host| host.descriptor(&progress.position));
            if let Some(descriptor) = self.cache.newest(&progress.position, own) {
                let target = self.pick(&descriptor, progress.turn);
                progress.group = Some(descriptor);
                return Some(target);
            }
            if !self.discover(progress).await {
                progress.obstacle.get_or_insert(Obstacle::Unreachable("no peer that knows the key's group".into()));
                progress.wait().await;
            }
        }
    }

    /// The leader where it is known, at first; then each voter in turn, nearest in the list last tried.
    fn pick(&self, descriptor: &Descriptor, turn: usize) -> PeerId {
        match (descriptor.leader, turn) {
            (Some(leader), 0) => leader,
            // Bounds of a descriptor promise at least one voter.
            _ => descriptor.voters.get(turn % descriptor.voters.len()).map_or(self.local, |voter| voter.peer),
        }
    }

    /// Asks connected peers, the closest first, then those that Kademlia finds closest, who owns the position. Says
    /// whether anyone knew more than is known here.
    async fn discover(&self, progress: &Progress) -> bool {
        let near = |peers: &mut Vec<PeerId>| {
            peers.sort_by_key(|peer| Position::of_peer(peer).distance(&progress.position));
            peers.truncate(MAX_ASKED);
        };
        let mut connected = self.book.connected_peers();
        near(&mut connected);
        if self.ask_where(progress, &connected).await {
            return true;
        }
        let mut found = self.swarm.closest(progress.position, self.within(progress, 0)).await;
        found.retain(|peer| !connected.contains(peer) && *peer != self.local);
        near(&mut found);
        self.ask_where(progress, &found).await
    }

    /// Asks these peers, one after another, who owns the position. Says whether anyone knew more.
    async fn ask_where(&self, progress: &Progress, peers: &[PeerId]) -> bool {
        for &peer in peers {
            let request = OpRequest::Locate(progress.position);
            let answer = self.ask(peer, request, self.within(progress, 0)).await;
            let Ok(OpAnswer::Located { route: Some(route) }) = answer else { continue };
            if route.descriptor.prefix.contains(&progress.position) && self.learn(route) {
                return true;
            }
        }
        false
    }

    async fn ask(&self, peer: PeerId, request: OpRequest, within: Duration) -> Result<OpAnswer, RequestError> {
        if peer == self.local {
            return match &self.host {
                Some(host) => Ok(host.serve(request, within).await),
                None => Err(RequestError::NotSent(NotSent::Unreachable("a client serves nothing".into()))),
            };
        }
        let body = wire::encode(&request)
            .map_err(|e| RequestError::NotSent(NotSent::Unreachable(format!("the request cannot be encoded: {e}"))))?;
        let body = self.links.request(peer, Class::Operation, body.into(), within).await?;
        match wire::decode(&body) {
            Ok(answer) => Ok(answer),
            Err(error) => {
                tracing::warn!(%peer, %error, "an answer that is none");
                // The request was written, and what it did is not known.
                Ok(OpAnswer::Unknown)
            }
        }
    }

    async fn step(
        &self,
        progress: &mut Progress,
        target: PeerId,
        answer: Result<OpAnswer, RequestError>,
    ) -> Result<Option<Settled>, OpError> {
        if answer.is_err()
            && let Some(descriptor) = &progress.group
        {
            self.cache.forget_leader(&descriptor.group, &target);
        }
        let (step, route) = attempt::judge(answer);
        let learned = route.is_some_and(|route| self.learn(route));
        match step {
            Step::Done(answer) => Ok(Some(Settled::Done(answer))),
            Step::Fail(_) if progress.perhaps_proposed => {
                progress.wait().await;
                Ok(None)
            }
            Step::Fail(refusal) => Err(OpError::TooLarge {
                what: if refusal == Refusal::GroupTooLarge { "group" } else { "value" },
                bytes: progress.bytes as u64,
                limit: u64::from(self.bounds.max_value_bytes),
            }),
            Step::Invalid(why) if !progress.perhaps_proposed => Err(OpError::Invalid(why)),
            Step::Invalid(_) => {
                progress.wait().await;
                Ok(None)
            }
            Step::Retry { next, perhaps_proposed, rename, obstacle } => {
                progress.perhaps_proposed |= perhaps_proposed;
                progress.obstacle = Some(obstacle);
                match next {
                    Next::Follow if learned && progress.followed < MAX_FOLLOWED => {
                        progress.followed += 1;
                        progress.turn = 0;
                    }
                    Next::Follow | Next::Elsewhere => {
                        progress.turn += 1;
                        progress.wait().await;
                    }
                    Next::Again => {
                        progress.wait().await;
                    }
                }
                Ok(rename.then_some(Settled::Rename))
            }
        }
    }

    /// Only a leader applies and reads: the next operation asks it first, where nobody was known to lead.
    fn served(&self, progress: &Progress, target: PeerId) {
        if let Some(descriptor) = progress.group.as_ref().filter(|descriptor| descriptor.leader.is_none()) {
            self.cache.remember_leader(&descriptor.group, &target);
        }
    }

    fn learn(&self, route: Route) -> bool {
        self.book.learn(&route.addrs);
        self.learn_clock(route.descriptor.group, route.descriptor.clock);
        self.cache.learn(route.descriptor)
    }

    fn learn_clock(&self, group: GroupId, clock: GroupClock) {
        let now = Instant::now();
        let mut clocks = self.clocks.lock();
        let known = clocks.entry(group).or_insert((clock, now));
        if clock.0 > known.0.0.saturating_add((now - known.1).as_millis() as u64) {
            *known = (clock, now);
        }
        if clocks.len() > 4_096 {
            clocks.pop_first();
        }
    }

    /// Takes a group's word for its clock: it stands still while nobody leads, and an estimate does not.
    fn set_clock(&self, group: GroupId, clock: GroupClock) {
        self.clocks.lock().insert(group, (clock, Instant::now()));
    }

    /// The group clock at the operation's deadline, as far as it can be told from here.
    fn expires(&self, progress: &Progress) -> GroupClock {
        let known = progress.group.as_ref().map(|descriptor| {
            let read = self.clocks.lock().get(&descriptor.group).copied();
            read.unwrap_or((descriptor.clock, Instant::now()))
        });
        let now = Instant::now();
        let clock = known.map_or(0, |(clock, at)| clock.0.saturating_add((now - at).as_millis() as u64));
        let left = progress.deadline.saturating_duration_since(now) + EXPIRES_SLACK;
        GroupClock(clock.saturating_add(left.as_millis() as u64))
    }

    /// A new name, for a command of which no copy may have been proposed.
    fn rename(&self, old: Ticket) -> Result<Ticket, OpError> {
        drop(old);
        self.sessions.begin().map_err(|e| OpError::Busy(e.to_string()))
    }

    /// How long one attempt may take, with this many bytes to carry.
    fn within(&self, progress: &Progress, bytes: usize) -> Duration {
        let carried = Duration::from_micros(bytes as u64);
        progress.deadline.saturating_duration_since(Instant::now()).min(self.attempt_timeout + carried)
    }

    /// What to say at the deadline.
    fn give_up(&self, progress: Progress, writes: bool) -> OpError {
        let group = progress.group.as_ref().map(|descriptor| descriptor.group);
        let what = match (&progress.group, &progress.obstacle) {
            (None, _) => "no peer that answers knows the key's group; check `peers`".to_owned(),
            (Some(descriptor), Some(Obstacle::NoLeader | Obstacle::Unreachable(_))) => self.missing(descriptor),
            (Some(descriptor), Some(Obstacle::Busy)) => format!("group {} is busy; try again", descriptor.group),
            (Some(descriptor), Some(Obstacle::Refused(refusal))) => {
                format!("group {} refused it ({refusal:?}); try again", descriptor.group)
            }
            (Some(descriptor), _) => format!("group {} did not answer in time; try again", descriptor.group),
        };
        if writes && progress.perhaps_proposed {
            let message = format!("it may have been applied, or may be yet: {what}; read the key to find out");
            return OpError::OutcomeUnknown { message, group };
        }
        match progress.obstacle {
            Some(Obstacle::Busy | Obstacle::Refused(Refusal::TableFull)) => OpError::Busy(what),
            Some(Obstacle::NoLeader | Obstacle::Unreachable(_)) => OpError::Unavailable { message: what, group },
            _ => OpError::TimeoutNotApplied { message: what, group },
        }
    }

    /// Names the voters of a group that cannot be heard.
    fn missing(&self, descriptor: &Descriptor) -> String {
        let silent: Vec<String> = (descriptor.voters.iter())
            .filter(|voter| voter.peer != self.local)
            .filter_map(|voter| match self.links.heard(&voter.peer) {
                Some(ago) if ago < self.attempt_timeout => None,
                Some(ago) => Some(format!("{} (not heard for {:.1}s)", voter.peer, ago.as_secs_f64())),
                None => Some(format!("{} (never heard)", voter.peer)),
            })
            .collect();
        let group = descriptor.group;
        match silent.as_slice() {
            [] => format!("group {group} has no leader yet; try again"),
            silent => format!("group {group} has no leader that answers; missing voters: {}", silent.join(", ")),
        }
    }
}

/// An answer that settles a copy, or a refusal that a new name may not meet.
enum Settled {
    Done(OpAnswer),
    Rename,
}

impl Progress {
    fn new(position: Position, timeout: Duration) -> Self {
        Self {
            position,
            deadline: Instant::now() + timeout,
            pause: FIRST_PAUSE,
            followed: 0,
            turn: 0,
            group: None,
            astray: false,
            perhaps_proposed: false,
            bytes: 0,
            obstacle: None,
        }
    }

    /// Somebody answered what is no answer to the request.
    async fn nonsense(&mut self) {
        self.obstacle = Some(Obstacle::Nonsense);
        self.turn += 1;
        self.wait().await;
    }

    /// Pauses before another copy, longer each time, never past the deadline.
    async fn wait(&mut self) {
        tokio::time::sleep_until((Instant::now() + jitter(self.pause)).min(self.deadline)).await;
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        self.followed = 0;
        // After a full round the leader, if one is known by now, gets its turn again.
        let voters = self.group.as_ref().map_or(1, |descriptor| descriptor.voters.len());
        if self.turn > voters {
            self.turn = 0;
            self.astray = true;
        }
    }
}

fn jitter(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..1.0))
}
