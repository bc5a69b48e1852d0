//! Three members.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result};
use etcd_client::Client;
use tokio::process::{Child, Command};
use xorum_tests::harness::until;

use crate::{drive::Store, failover};

const MEMBERS: usize = 3;
const SOON: Duration = Duration::from_secs(60);

/// One member.
struct Member {
    endpoint: String,
    args: Vec<String>,
    log: PathBuf,
    process: Option<Child>,
}

/// A cluster of three members.
pub struct Cluster {
    binary: PathBuf,
    members: Vec<Member>,
}

impl Cluster {
    /// Starts the members, and waits until one leads.
    pub async fn start(binary: &Path, dir: &Path) -> Result<Self> {
        let mut ports = Vec::new();
        for _ in 0..MEMBERS {
            ports.push((failover::free_port()?, failover::free_port()?));
        }
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let peers: Vec<String> = (0..).zip(&ports).map(|(at, (_, peer))| format!("m{at}={}", url(*peer))).collect();
        let peers = peers.join(",");
        let member = |(at, (client, peer)): (usize, &(u16, u16))| {
            let data = dir.join(format!("etcd-{at}"));
            let (name, client, peer) = (format!("m{at}"), url(*client), url(*peer));
            let options = [
                ("--name", name.as_str()),
                ("--data-dir", &data.to_string_lossy()),
                ("--listen-client-urls", &client),
                ("--advertise-client-urls", &client),
                ("--listen-peer-urls", &peer),
                ("--initial-advertise-peer-urls", &peer),
                ("--initial-cluster", &peers),
                ("--log-level", "error"),
            ];
            let args = options.iter().flat_map(|(option, value)| [(*option).to_owned(), (*value).to_owned()]).collect();
            Member { endpoint: client, args, log: dir.join(format!("etcd-{at}.log")), process: None }
        };
        let members = ports.iter().enumerate().map(member).collect();
        let mut cluster = Self { binary: binary.to_owned(), members };
        for at in 0..MEMBERS {
            cluster.spawn(at)?;
        }
        cluster.leader().await?;
        Ok(cluster)
    }

    fn spawn(&mut self, at: usize) -> Result<()> {
        let member = &mut self.members[at];
        let log = File::options().create(true).append(true).open(&member.log)?;
        let mut command = Command::new(&self.binary);
        command.args(&member.args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        member.process = Some(command.spawn().with_context(|| self.binary.display().to_string())?);
        Ok(())
    }

    /// Which member leads, by its own word.
    async fn leader(&self) -> Result<usize> {
        let leads = || async {
            for (at, member) in self.members.iter().enumerate().filter(|(_, member)| member.process.is_some()) {
                let Ok(mut client) = Client::connect([&member.endpoint], None).await else { continue };
                let Ok(status) = client.status().await else { continue };
                let own = status.header().map(etcd_client::ResponseHeader::member_id);
                if own == Some(status.leader()) {
                    return Some(at);
                }
            }
            None
        };
        until("a member leads", SOON, leads).await
    }

    /// So many connections to the leader.
    pub async fn store(&self, connections: usize) -> Result<Store> {
        let endpoint = &self.members[self.leader().await?].endpoint;
        let mut clients = Vec::new();
        for _ in 0..connections.max(1) {
            clients.push(Client::connect([endpoint], None).await?);
        }
        Ok(Store::Etcd(clients))
    }

    /// Resident memory of all members.
    pub fn resident_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for id in self.members.iter().filter_map(|member| member.process.as_ref()?.id()) {
            let status = fs::read_to_string(format!("/proc/{id}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in its status")?;
            bytes += line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024;
        }
        Ok(bytes)
    }

    /// Kills the leader; how long until the next write succeeds. The member is there again afterwards.
    pub async fn fail_over(&mut self) -> Result<f64> {
        let leader = self.leader().await?;
        // Connected before, to those that stay: finding them is no part of what is measured.
        let mut others = Vec::new();
        for (at, member) in self.members.iter().enumerate() {
            if at != leader {
                others.push(member.endpoint.clone());
            }
        }
        let mut store = Store::Etcd(vec![Client::connect(&others, None).await?]);
        store.put("failover".to_owned(), b"before".to_vec()).await?;
        let mut process = self.members[leader].process.take().context("it runs")?;
        process.kill().await?;
        let seconds = failover::until_written(&mut store).await?;
        self.spawn(leader)?;
        self.is_healthy(leader).await?;
        failover::settled().await;
        Ok(seconds)
    }

    async fn is_healthy(&self, at: usize) -> Result<()> {
        let endpoint = &self.members[at].endpoint;
        let healthy = || async {
            let mut client = Client::connect([endpoint], None).await.ok()?;
            client.get("failover", None).await.ok().map(drop)
        };
        until("the member is there again", SOON, healthy).await
    }
}
