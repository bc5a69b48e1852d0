//! Five peers in one process, over real loopback sockets and real directories, with a prompt for trying things out.
//!
//! `cargo run -p xorum-examples --bin local_cluster`, then `put k v`, `kill 2`, `get k`, `start 2`, `list`. In a pipe
//! it takes a command a line.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::PathBuf,
    thread,
};

use anyhow::{Context, bail};
use tokio::sync::mpsc;
use xorum_node::{Multiaddr, Node};

const PEERS: usize = 5;

const HELP: &str = "\
put KEY VALUE   write, by the first peer that runs
get KEY         read
del KEY         remove
list            the peers, and what they lead
groups          the groups, as the first peer that runs sees them
kill N          drop peer N at once, without handing anything over
stop N          shut peer N down in order
start N         start peer N again, on its own directory
quit            stop all";

/// The peers, by number from 1; one that does not run has no node.
struct Cluster {
    dir: PathBuf,
    nodes: Vec<Option<Node>>,
}

impl Cluster {
    /// The first founds a network, the others join by it.
    async fn start(dir: PathBuf) -> anyhow::Result<Self> {
        let mut cluster = Self { dir, nodes: vec![None; PEERS] };
        for number in 1..=PEERS {
            println!("{}", cluster.start_peer(number).await?);
        }
        Ok(cluster)
    }

    async fn start_peer(&mut self, number: usize) -> anyhow::Result<String> {
        if self.seat(number)?.is_some() {
            bail!("peer {number} runs already");
        }
        let dir = self.dir.join(format!("peer-{number}"));
        let builder = Node::builder().data_dir(dir).network("local-cluster");
        let node = self.addrs().into_iter().fold(builder, |builder, addr| builder.bootstrap(addr)).start().await?;
        let said = format!("peer {number} is {}", node.peer_id());
        *self.seat(number)? = Some(node);
        Ok(said)
    }

    fn seat(&mut self, number: usize) -> anyhow::Result<&mut Option<Node>> {
        let peers = self.nodes.len();
        number
            .checked_sub(1)
            .and_then(|at| self.nodes.get_mut(at))
            .with_context(|| format!("there is no peer {number}: they are 1 to {peers}"))
    }

    /// Takes a peer out; dropping what is returned kills it.
    fn take(&mut self, number: usize) -> anyhow::Result<Node> {
        self.seat(number)?.take().with_context(|| format!("peer {number} does not run"))
    }

    fn running(&self) -> anyhow::Result<&Node> {
        self.nodes.iter().flatten().next().context("no peer runs: `start 1`")
    }

    fn addrs(&self) -> Vec<Multiaddr> {
        self.nodes.iter().flatten().flat_map(Node::listen_addrs).collect()
    }

    async fn list(&self) -> String {
        let mut lines = Vec::new();
        for (number, node) in (1..).zip(&self.nodes) {
            lines.push(match node {
                None => format!("{number} -"),
                Some(node) => match node.status().await {
                    Ok(status) => format!("{number} {} groups={} leads={}", status.peer, status.groups, status.leads),
                    Err(error) => format!("{number} {} {error}", node.peer_id()),
                },
            });
        }
        lines.join("\n")
    }

    async fn groups(&self) -> anyhow::Result<String> {
        let mut lines = Vec::new();
        for group in self.running()?.groups().await? {
            let numbers: Vec<_> = group.descriptor.voters.iter().map(|seat| self.number_of(seat.peer)).collect();
            let leader = group.descriptor.leader.map_or("-".to_owned(), |leader| self.number_of(leader));
            lines.push(format!("prefix {} leader {leader} voters {}", group.prefix(), numbers.join(" ")));
        }
        Ok(lines.join("\n"))
    }

    /// A peer's number; its id when it does not run.
    fn number_of(&self, peer: xorum_node::PeerId) -> String {
        let runs_as = |node: &Option<Node>| node.as_ref().is_some_and(|node| node.peer_id() == peer);
        self.nodes.iter().position(runs_as).map_or_else(|| peer.to_string(), |at| (at + 1).to_string())
    }

    /// Does one command; what it returns is printed.
    async fn answer(&mut self, line: &str) -> anyhow::Result<String> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["put", key, value] => {
                let version = self.running()?.put(key.to_owned(), value.to_owned()).await?;
                Ok(format!("OK version={version}"))
            }
            ["get", key] => Ok(match self.running()?.get(key.to_owned()).await? {
                Some(found) => String::from_utf8_lossy(&found.value).into_owned(),
                None => "(not found)".to_owned(),
            }),
            ["del", key] => Ok(match self.running()?.delete(key.to_owned()).await? {
                Some(version) => format!("OK version={version}"),
                None => "(not found)".to_owned(),
            }),
            ["list"] => Ok(self.list().await),
            ["groups"] => self.groups().await,
            ["kill", number] => {
                let _killed = self.take(number.parse()?)?;
                Ok(format!("peer {number} is dead"))
            }
            ["stop", number] => {
                self.take(number.parse()?)?.shutdown().await;
                Ok(format!("peer {number} has stopped"))
            }
            ["start", number] => self.start_peer(number.parse()?).await,
            ["help"] => Ok(HELP.to_owned()),
            _ => bail!("unknown command: `help` lists them"),
        }
    }

    async fn stop(self) {
        futures::future::join_all(self.nodes.iter().flatten().map(Node::shutdown)).await;
    }
}

/// Lines of stdin, read on a thread of their own; with a prompt at a terminal.
fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn prompt() -> io::Result<()> {
    if io::stdin().is_terminal() {
        print!("cluster> ");
        io::stdout().flush()?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    println!("starting {PEERS} peers in {}", dir.path().display());
    let mut cluster = Cluster::start(dir.path().to_owned()).await?;
    let mut lines = lines();
    loop {
        prompt()?;
        let line = tokio::select! {
            line = lines.recv() => line,
            _ = tokio::signal::ctrl_c() => None,
        };
        match line.as_deref().map(str::trim) {
            None | Some("quit") => break,
            Some("") => {}
            Some(line) => match cluster.answer(line).await {
                Ok(answer) => println!("{answer}"),
                Err(error) => println!("ERR {error:#}"),
            },
        }
    }
    cluster.stop().await;
    Ok(())
}
