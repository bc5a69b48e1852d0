//! A network of real peers, and what its group looks like from outside.

use std::{
    collections::BTreeSet,
    env,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use tempfile::TempDir;
use tokio::sync::SemaphorePermit;
use xorum_behaviours::space::Position;
use xorum_node::{Multiaddr, Node, PeerId, api::Descriptor};

use super::{Launch, Process, process::binary, turn, until};

/// How long a network may take to come to a state.
const WITHIN: Duration = Duration::from_secs(60);

/// Keeps the directories of a test, logs included, when it is set.
const KEEP: &str = "XORUM_KEEP_TEST_DIRS";

/// Real peers of one network, on kept loopback ports. All are killed when it is dropped.
#[derive(Debug)]
pub struct Network {
    /// The peers, in the order in which they were started; the first founded the network.
    pub peers: Vec<Process>,
    args: Vec<String>,
    dir: TempDir,
    _turn: SemaphorePermit<'static>,
}

impl Network {
    /// Waits for a turn and founds a network with these arguments of `xorum run`.
    ///
    /// # Errors
    /// When the peer does not start.
    pub async fn found(args: &[&str]) -> Result<Self> {
        let turn = turn().await?;
        let mut dir = tempfile::tempdir()?;
        if env::var_os(KEEP).is_some() {
            dir.disable_cleanup(true);
            eprintln!("peers in {}", dir.path().display());
        }
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut network = Self { peers: Vec::new(), args, dir, _turn: turn };
        let founder = network.launch(0)?.start().await?;
        network.peers.push(founder);
        Ok(network)
    }

    /// Founds a network and lets others join it, all at once.
    ///
    /// # Errors
    /// When a peer does not start.
    pub async fn of(count: usize, args: &[&str]) -> Result<Self> {
        let mut network = Self::found(args).await?;
        network.join(count.saturating_sub(1)).await?;
        Ok(network)
    }

    /// Lets more peers join, all at once, by the first.
    ///
    /// # Errors
    /// When one does not start.
    pub async fn join(&mut self, count: usize) -> Result<()> {
        let addr = self.peers[0].addr();
        let launches = (0..count).map(|more| Ok(self.launch(self.peers.len() + more)?.bootstrap(addr)));
        let launches: Vec<Launch> = launches.collect::<Result<_>>()?;
        self.peers.extend(try_join_all(launches.iter().map(Launch::start)).await?);
        Ok(())
    }

    fn launch(&self, at: usize) -> Result<Launch> {
        let launch = Launch::of(binary()?, self.data_dir(at));
        Ok(self.args.iter().fold(launch, |launch, arg| launch.arg(arg)))
    }

    /// Where a peer's data is.
    pub fn data_dir(&self, at: usize) -> PathBuf {
        self.dir.path().join(format!("peer-{at}"))
    }

    /// Every peer's id.
    pub fn ids(&self) -> BTreeSet<PeerId> {
        self.peers.iter().map(Process::peer_id).collect()
    }

    /// The peers' ids but for some.
    pub fn ids_without(&self, absent: &[PeerId]) -> BTreeSet<PeerId> {
        self.ids().into_iter().filter(|id| !absent.contains(id)).collect()
    }

    /// Where in [`Self::peers`] one is.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn position(&self, id: PeerId) -> Result<usize> {
        self.peers.iter().position(|peer| peer.peer_id() == id).with_context(|| format!("{id} is no peer of this test"))
    }

    /// A client that knows one peer, to begin with.
    ///
    /// # Errors
    /// When the peer does not answer.
    pub async fn client(&self, at: usize) -> Result<Node> {
        client(self.peers[at].addr()).await
    }

    /// Kills some at once, as `kill -9` does.
    ///
    /// # Errors
    /// When one cannot be.
    pub async fn kill(&mut self, victims: &[PeerId]) -> Result<()> {
        let victims = self.peers.iter_mut().filter(|peer| victims.contains(&peer.peer_id()));
        try_join_all(victims.map(Process::kill)).await?;
        Ok(())
    }

    /// Starts some again at once, on their directories.
    ///
    /// # Errors
    /// When one does not start.
    pub async fn restart(&mut self, which: &[PeerId]) -> Result<()> {
        let which = self.peers.iter_mut().filter(|peer| which.contains(&peer.peer_id()));
        try_join_all(which.map(Process::restart)).await?;
        Ok(())
    }
}

/// A client that knows one address, to begin with, and is patient.
///
/// # Errors
/// When nobody answers there.
pub async fn client(addr: &Multiaddr) -> Result<Node> {
    let client = Node::builder().client().bootstrap(addr.clone()).connect_timeout(WITHIN).start().await?;
    Ok(client.with_timeout(WITHIN))
}

/// The group, as the first peer that answers tells it.
pub async fn group(client: &Node) -> Option<Descriptor> {
    client.groups().await.ok()?.into_iter().next().map(|group| group.descriptor)
}

/// Waits until exactly these peers are the group's voters and one of them leads.
///
/// # Errors
/// When that does not come to be; the error says what it was last.
pub async fn voters_are(client: &Node, wanted: &BTreeSet<PeerId>) -> Result<Descriptor> {
    let last = Mutex::new(None);
    let look = || async {
        let group = group(client).await;
        last.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&group);
        let voters: BTreeSet<PeerId> = group.as_ref()?.voters.iter().map(|voter| voter.peer).collect();
        group.filter(|group| voters == *wanted && group.leader.is_some_and(|leader| wanted.contains(&leader)))
    };
    let settled = until("the voters are those wanted", WITHIN, look).await;
    settled.with_context(|| format!("wanted {wanted:?}, last was {last:?}"))
}

/// Of these peers, so many that are closest to the group's anchor.
pub fn closest(group: &Descriptor, peers: impl IntoIterator<Item = PeerId>, count: usize) -> BTreeSet<PeerId> {
    let anchor = group.prefix.anchor();
    let mut peers: Vec<PeerId> = peers.into_iter().collect();
    peers.sort_by_key(|peer| Position::of_peer(peer).distance(&anchor));
    peers.into_iter().take(count).collect()
}
