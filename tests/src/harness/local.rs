//! Peers in this process, on real loopback sockets and real directories.
//!
//! It starts and stops quickly and shares the test's runtime; what needs `kill -9` or a pause is for
//! [`process`](super::process).

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use tempfile::TempDir;
use xorum_node::{
    Multiaddr, Node, PeerId,
    config::{Config, Profile, Role},
};

use super::until;

/// How long anything may take that is to happen at all.
pub const SOON: Duration = Duration::from_secs(60);

/// A network of peers, by number from 0. Peers that were started together found a group of them all.
#[derive(Debug)]
pub struct Local {
    dir: TempDir,
    configure: fn(&mut Config),
    seats: Vec<Seat>,
}

#[derive(Debug)]
struct Seat {
    listen: Multiaddr,
    node: Option<Node>,
}

/// Placement that stands still: who is silent keeps its seat, and no newcomer takes one.
pub fn still(config: &mut Config) {
    config.profile = Some(Profile::Wan);
    config.replace_after = Some(Duration::from_secs(3_600));
    config.settle_after = Some(Duration::from_secs(3_600));
}

impl Local {
    /// Starts so many peers, and waits until they all vote.
    ///
    /// # Errors
    /// When one does not start, or they do not come to be one group.
    pub async fn start(peers: usize, configure: fn(&mut Config)) -> Result<Self> {
        let dir = TempDir::new().context("a directory for the peers")?;
        let mut local = Self { dir, configure, seats: Vec::new() };
        for number in 0..peers {
            local.seats.push(Seat { listen: "/ip4/127.0.0.1/tcp/0".parse()?, node: None });
            local.open(number).await?;
        }
        local.voters(peers).await?;
        Ok(local)
    }

    /// Where a peer's state is.
    pub fn data_dir(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("peer-{number}"))
    }

    /// Starts a peer that does not run, on its directory and the port that it had.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn open(&mut self, number: usize) -> Result<()> {
        let seat = self.seats.get(number).context("no such peer")?;
        let mut config = Config::new(Role::Peer { data_dir: self.data_dir(number) });
        config.replicas = Some(3);
        config.listen = vec![seat.listen.clone()];
        config.bootstrap = self.running().flat_map(|(_, node)| node.listen_addrs()).collect();
        (self.configure)(&mut config);
        let node = Node::start(config).await.with_context(|| format!("peer {number}"))?;
        let mut listen = node.listen_addrs().into_iter().next().context("it listens nowhere")?;
        listen.pop();
        let seat = self.seats.get_mut(number).context("no such peer")?;
        *seat = Seat { listen, node: Some(node) };
        Ok(())
    }

    /// The peers that run.
    pub fn running(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.seats.iter().enumerate().filter_map(|(number, seat)| Some((number, seat.node.as_ref()?)))
    }

    /// A peer that runs.
    ///
    /// # Errors
    /// When it does not.
    pub fn node(&self, number: usize) -> Result<&Node> {
        self.seats
            .get(number)
            .and_then(|seat| seat.node.as_ref())
            .with_context(|| format!("peer {number} does not run"))
    }

    /// Takes a peer out: it runs on until what is returned is shut down or dropped.
    ///
    /// # Errors
    /// When it does not run.
    pub fn take(&mut self, number: usize) -> Result<Node> {
        self.seats
            .get_mut(number)
            .and_then(|seat| seat.node.take())
            .with_context(|| format!("peer {number} does not run"))
    }

    /// Shuts a peer down in order.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn stop(&mut self, number: usize) -> Result<()> {
        self.take(number)?.shutdown().await;
        Ok(())
    }

    /// Shuts all down, and starts all again.
    ///
    /// # Errors
    /// When one does not start.
    pub async fn restart(&mut self) -> Result<()> {
        for number in 0..self.seats.len() {
            if self.node(number).is_ok() {
                self.stop(number).await?;
            }
        }
        for number in 0..self.seats.len() {
            self.open(number).await?;
        }
        Ok(())
    }

    /// Waits until the one group has so many voters, as its leader says.
    ///
    /// # Errors
    /// When it does not come to that.
    pub async fn voters(&self, voters: usize) -> Result<()> {
        let enough = || async {
            let leader = self.leader_now().await?;
            let groups = self.node(leader).ok()?.groups().await.ok()?;
            groups.first().filter(|group| group.descriptor.voters.len() == voters).map(|_| ())
        };
        until("all have a vote", SOON, enough).await
    }

    /// Waits until a running peer leads.
    ///
    /// # Errors
    /// When none comes to.
    pub async fn leader(&self) -> Result<usize> {
        until("a peer leads", SOON, || self.leader_now()).await
    }

    /// Who says now that it leads, of the latest term.
    async fn leader_now(&self) -> Option<usize> {
        let mut newest = None;
        for (number, node) in self.running() {
            let leads = node.status().await.ok()?.leads > 0;
            let term = node.groups().await.ok()?.first().map(|group| group.descriptor.term);
            if leads {
                newest = newest.max(Some((term, number)));
            }
        }
        newest.map(|(_, number)| number)
    }

    /// Who runs, by id.
    pub fn peer_ids(&self) -> Vec<PeerId> {
        self.running().map(|(_, node)| node.peer_id()).collect()
    }

    /// Shuts all down.
    pub async fn shutdown(&mut self) {
        for seat in &mut self.seats {
            if let Some(node) = seat.node.take() {
                node.shutdown().await;
            }
        }
    }
}
