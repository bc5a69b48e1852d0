//! The public handle: a peer, or a client, of one network.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use libp2p::{Multiaddr, PeerId};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use xorum_behaviours::{
    links,
    space::Position,
    wire::{Answer, Consistency, Op, OpAnswer, OpRequest},
};

use crate::{
    Builder,
    api::{
        Change, DEFAULT_TIMEOUT, Expected, GroupInfo, Location, MAX_TIMEOUT, PeerInfo, PeerStatus, StaleRead, Swap,
        Version, Versioned,
    },
    config::Config,
    data_dir::DataDir,
    error::{OpError, StartError},
    host::Host,
    peers::PeerBook,
    router::Router,
    start, swarm,
};

/// How long handing over may take before a peer stops all the same.
const HAND_OVER_WITHIN: Duration = Duration::from_millis(1_800);
/// How long a peer may take to stop.
const STOP_WITHIN: Duration = Duration::from_millis(2_800);

/// A running peer, or client: a handle that is cheap to clone.
///
/// When the last clone is dropped, or [`Node::shutdown`] is called on one, all that it started ends.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let node = xorum_node::Node::builder().data_dir("/tmp/xorum-example").start().await?;
/// let version = node.put("greeting", "hello").await?;
/// let read = node.get("greeting").await?.ok_or("nobody removed it")?;
/// assert_eq!((read.version, &read.value[..]), (version, &b"hello"[..]));
/// node.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Node {
    inner: Arc<Inner>,
    timeout: Duration,
}

/// What all clones of a handle share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) local: PeerId,
    pub(crate) host: Option<Arc<Host>>,
    pub(crate) router: Router,
    pub(crate) links: links::Client,
    pub(crate) swarm: swarm::Handle,
    pub(crate) book: Arc<PeerBook>,
    pub(crate) data_dir: Option<Arc<DataDir>>,
    pub(crate) token: CancellationToken,
    pub(crate) tracker: TaskTracker,
}

impl Inner {
    /// Turns to some when the storage has failed.
    fn storage_failed(&self) -> tokio::sync::watch::Receiver<Option<crate::storage::StorageError>> {
        match &self.host {
            Some(host) => host.storage_failed(),
            None => tokio::sync::watch::channel(None).1,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Tasks end by the token; a store that was not closed is as after a crash, and nothing acknowledged is lost.
        self.token.cancel();
    }
}

impl Node {
    /// Sets a peer or a client up, step by step.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts a peer or a client.
    ///
    /// A peer is started once it listens, its storage is open and, on a joiner's first start, it has been admitted; it
    /// does not wait for a quorum. A client is started once a peer has admitted it.
    ///
    /// # Errors
    /// As [`StartError`] tells.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let inner = Arc::new(start::start(config).await?);
        Ok(Self { inner, timeout: DEFAULT_TIMEOUT })
    }

    /// Its id.
    pub fn peer_id(&self) -> PeerId {
        self.inner.local
    }

    /// Where it listens, each ending in `/p2p/<its id>`.
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        let addrs = self.inner.swarm.listen_addrs().into_iter();
        addrs.filter_map(|addr| addr.with_p2p(self.inner.local).ok()).collect()
    }

    /// A handle whose operations have another deadline: at most [`MAX_TIMEOUT`].
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { inner: Arc::clone(&self.inner), timeout: timeout.min(MAX_TIMEOUT) }
    }

    /// Sets a key.
    ///
    /// # Errors
    /// As [`OpError`] tells: whether it may have been applied, too.
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<Version, OpError> {
        let op = Op::Put { key: key.into(), value: value.into() };
        match self.inner.router.command(op, self.timeout).await? {
            Answer::Done(version) => Ok(version),
            other => Err(unexpected(&other)),
        }
    }

    /// Reads a key: sees every write acknowledged before it began, whichever peer is asked.
    ///
    /// # Errors
    /// As [`OpError`] tells.
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<Versioned>, OpError> {
        let answer = self.inner.router.read(key.into(), Consistency::Linearizable, self.timeout).await?;
        Ok(answer.found.map(|(version, value)| Versioned { version, value }))
    }

    /// Reads a key from any replica, however old, and says for how long it may have missed writes.
    ///
    /// # Errors
    /// As [`OpError`] tells.
    pub async fn get_stale(&self, key: impl Into<Bytes>) -> Result<StaleRead, OpError> {
        let answer = self.inner.router.read(key.into(), Consistency::Stale, self.timeout).await?;
        Ok(StaleRead {
            found: answer.found.map(|(version, value)| Versioned { version, value }),
            stale: Duration::from_millis(answer.stale_ms),
        })
    }

    /// Removes a key; none when there was nothing to remove.
    ///
    /// # Errors
    /// As [`OpError`] tells.
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<Option<Version>, OpError> {
        match self.inner.router.command(Op::Delete { key: key.into() }, self.timeout).await? {
            Answer::Done(version) => Ok(Some(version)),
            Answer::NotFound => Ok(None),
            other @ Answer::Conflict(_) => Err(unexpected(&other)),
        }
    }

    /// Sets a key if it is as expected.
    ///
    /// # Errors
    /// As [`OpError`] tells.
    pub async fn compare_and_swap(
        &self,
        key: impl Into<Bytes>,
        expected: Expected,
        value: impl Into<Bytes>,
    ) -> Result<Swap, OpError> {
        let op = Op::CompareAndSwap { key: key.into(), expected, value: value.into() };
        match self.inner.router.command(op, self.timeout).await? {
            Answer::Done(version) => Ok(Swap::Done(version)),
            Answer::Conflict(version) => Ok(Swap::Conflict(version)),
            other @ Answer::NotFound => Err(unexpected(&other)),
        }
    }

    /// The changes of a key from now on: never an older version after a newer, perhaps not each one, the newest
    /// always. It goes on through elections and moves, and ends only with an error.
    pub fn watch(&self, key: impl Into<Bytes>) -> BoxStream<'static, Result<Change, OpError>> {
        let (node, key) = (self.clone(), key.into());
        let watched = stream::unfold(WatchState::Start, move |state| {
            let (node, key) = (node.clone(), key.clone());
            async move {
                let stopped = node.inner.token.clone();
                tokio::select! {
                    next = node.next_change(key, state) => next,
                    () = stopped.cancelled() => {
                        let message = "this node has been shut down".into();
                        Some((Err(OpError::Unavailable { message, group: None }), WatchState::Ended))
                    }
                }
            }
        });
        watched.boxed()
    }

    async fn next_change(&self, key: Bytes, state: WatchState) -> Option<(Result<Change, OpError>, WatchState)> {
        let (mut seen, mut revision) = match state {
            WatchState::Ended => return None,
            WatchState::Seen { version, revision } => (version, revision),
            WatchState::Start => match self.first_look(key.clone()).await {
                Ok(seen) => seen,
                Err(error) => return Some((Err(error), WatchState::Ended)),
            },
        };
        loop {
            let answer = match self.inner.router.watch(key.clone(), seen, revision).await {
                Ok(answer) => answer,
                Err(error) => return Some((Err(error), WatchState::Ended)),
            };
            // A peer that lags behind the one asked before has nothing new.
            if !answer.changed || answer.revision < revision {
                continue;
            }
            revision = answer.revision;
            let version = answer.found.as_ref().map_or(Version(0), |(version, _)| *version);
            if version == seen {
                continue;
            }
            seen = version;
            let change = match answer.found {
                Some((version, value)) => Change { version, value: Some(value) },
                None => Change { version: revision, value: None },
            };
            return Some((Ok(change), WatchState::Seen { version: seen, revision }));
        }
    }

    /// The state that changes are told from: retried until the group answers.
    async fn first_look(&self, key: Bytes) -> Result<(Version, Version), OpError> {
        loop {
            match self.inner.router.read(key.clone(), Consistency::Linearizable, self.timeout).await {
                Ok(answer) => return Ok((answer.found.map_or(Version(0), |(version, _)| version), answer.revision)),
                Err(OpError::Unavailable { .. } | OpError::TimeoutNotApplied { .. } | OpError::Busy(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Where a key lives.
    ///
    /// # Errors
    /// When nobody who answers in time knows.
    pub async fn locate(&self, key: impl Into<Bytes>) -> Result<Location, OpError> {
        let key = key.into();
        self.inner.router.check_sizes(&key, None)?;
        let position = Position::of_key(&key);
        let descriptor = self.inner.router.locate(position, self.timeout).await?;
        Ok(Location { position, descriptor: (*descriptor).clone() })
    }

    /// This peer, as it sees itself; of a client: the peer that it asks.
    ///
    /// # Errors
    /// Of a client, when no peer answers in time.
    pub async fn status(&self) -> Result<PeerStatus, OpError> {
        match self.inspect(OpRequest::Status).await? {
            OpAnswer::Status(status) => Ok(status),
            _ => Err(no_answer()),
        }
    }

    /// The peers that this peer knows; of a client: the peer that it asks.
    ///
    /// # Errors
    /// Of a client, when no peer answers in time.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, OpError> {
        match self.inspect(OpRequest::Peers).await? {
            OpAnswer::Peers(peers) => Ok(peers),
            _ => Err(no_answer()),
        }
    }

    /// The groups that this peer knows; of a client: the peer that it asks.
    ///
    /// # Errors
    /// Of a client, when no peer answers in time.
    pub async fn groups(&self) -> Result<Vec<GroupInfo>, OpError> {
        match self.inspect(OpRequest::Groups).await? {
            OpAnswer::Groups(groups) => Ok(groups),
            _ => Err(no_answer()),
        }
    }

    async fn inspect(&self, request: OpRequest) -> Result<OpAnswer, OpError> {
        match &self.inner.host {
            Some(host) => Ok(host.serve(request, self.timeout).await),
            None => self.inner.router.ask_any(request, self.timeout).await,
        }
    }

    /// Hands over all that this peer holds and leaves every group. The node goes on running: shut it down afterwards.
    ///
    /// # Errors
    /// `denied` of a client, and of a network's only peer; `unavailable` when no removal was proposed in any group;
    /// `outcome-unknown` when one may have been. After an error the peer stays.
    pub async fn leave(&self) -> Result<(), OpError> {
        match &self.inner.host {
            Some(host) => host.leave(self.timeout).await,
            None => Err(OpError::Denied("a client holds nothing to hand over".into())),
        }
    }

    /// Hands leadership over, flushes and stops; within 3 s. The data directory is free for another once the last clone of
    /// the handle, and the streams made from it, are dropped too.
    pub async fn shutdown(&self) {
        let stopping = async {
            if let Some(host) = &self.inner.host {
                host.hand_over(HAND_OVER_WITHIN).await;
                tracing::debug!("handed over");
                if let Err(error) = host.close().await {
                    tracing::error!(%error, "the last flush failed; what was acknowledged is in the log");
                }
            }
            tracing::debug!("storage is closed");
            self.keep_peers();
            self.inner.token.cancel();
            self.inner.tracker.close();
            self.inner.tracker.wait().await;
            tracing::debug!("all tasks have ended");
        };
        if tokio::time::timeout(STOP_WITHIN, stopping).await.is_err() {
            tracing::warn!("stopped without having ended in order");
            self.inner.token.cancel();
        }
    }

    fn keep_peers(&self) {
        if let Some(dir) = &self.inner.data_dir
            && let Err(error) = dir.set_peers(&self.inner.book.to_keep())
        {
            tracing::warn!(%error, "addresses of known peers are not kept");
        }
    }

    /// Resolves when the node has ended by [`Node::shutdown`], or cannot go on.
    ///
    /// # Errors
    /// When its storage failed: it serves nothing more, and should be shut down.
    pub async fn stopped(&self) -> Result<(), StartError> {
        let Some(dir) = &self.inner.data_dir else {
            self.inner.token.cancelled().await;
            return Ok(());
        };
        let mut failed = self.inner.storage_failed();
        tokio::select! {
            () = self.inner.token.cancelled() => Ok(()),
            error = failed.wait_for(Option::is_some) => match error.as_deref() {
                Ok(Some(error)) => Err(StartError::Storage { path: dir.store(), reason: error.to_string() }),
                Ok(None) | Err(_) => Ok(()),
            },
        }
    }

    /// Is a peer connected at this moment?
    pub fn is_connected(&self) -> bool {
        self.inner.book.connected_peers().iter().any(|peer| self.inner.links.is_connected(peer))
    }
}

/// What a watcher knows.
enum WatchState {
    Start,
    Seen { version: Version, revision: Version },
    Ended,
}

fn unexpected(answer: &Answer) -> OpError {
    OpError::Internal(format!("an answer to another kind of command: {answer:?}"))
}

fn no_answer() -> OpError {
    OpError::Internal("the peer asked does not answer this".into())
}
