//! Three peers.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use xorum_node::{Multiaddr, Node, PeerId};
use xorum_tests::harness::{Launch, Process, until};

use crate::{drive::Store, failover};

const PEERS: usize = 3;
const SOON: Duration = Duration::from_secs(60);

/// A network of three peers with one group.
pub struct Cluster {
    peers: Vec<Process>,
    client: Node,
}

impl Cluster {
    /// Starts the peers, and waits until all vote.
    pub async fn start(binary: &Path, dir: &Path) -> Result<Self> {
        let mut peers: Vec<Process> = Vec::new();
        for number in 0..PEERS {
            let launch = Launch::of(binary, dir.join(format!("xorum-{number}")));
            // On one port for good, so that a peer that was killed is found where it was.
            let port = failover::free_port()?;
            let launch = launch.arg("--listen").arg(format!("/ip4/127.0.0.1/tcp/{port}")).arg("--replicas").arg("3");
            let launch = peers.first().into_iter().fold(launch, |launch, first| launch.bootstrap(first.addr()));
            peers.push(launch.start().await?);
        }
        let addrs: Vec<Multiaddr> = peers.iter().map(|peer| peer.addr().clone()).collect();
        let client = addrs.into_iter().fold(Node::builder().client(), |builder, addr| builder.bootstrap(addr));
        let cluster = Self { peers, client: client.start().await? };
        cluster.all_vote().await?;
        Ok(cluster)
    }

    /// One handle of the client library.
    pub async fn store(&self) -> Result<Store> {
        Ok(Store::Xorum(self.client.clone()))
    }

    async fn all_vote(&self) -> Result<()> {
        let all = || async {
            // Of a peer, which has it from its own replica: what the client itself remembers may be older.
            let groups = self.client.groups().await.ok()?;
            let descriptor = &groups.first()?.descriptor;
            (descriptor.voters.len() == PEERS && descriptor.leader.is_some()).then_some(())
        };
        until("all vote", SOON, all).await
    }

    /// Who leads.
    async fn leader(&self) -> Result<PeerId> {
        let leads = || async {
            let groups = self.client.groups().await.ok()?;
            groups.first()?.descriptor.leader
        };
        until("one leads", SOON, leads).await
    }

    /// Resident memory of all peers.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.peers.iter().map(Process::resident_bytes).sum()
    }

    /// Kills the leader; how long until the next write succeeds. The peer is there again afterwards.
    pub async fn fail_over(&mut self) -> Result<f64> {
        let leader = self.leader().await?;
        let at = self.peers.iter().position(|peer| peer.peer_id() == leader).context("the leader is one of them")?;
        self.peers[at].kill().await?;
        let client = self.client.with_timeout(failover::ATTEMPT);
        let seconds = failover::until_written(&mut Store::Xorum(client)).await?;
        self.peers[at].restart().await?;
        self.all_vote().await?;
        failover::settled().await;
        Ok(seconds)
    }
}
