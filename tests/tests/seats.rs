//! Who gets the seats when peers die, come back and are spare.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use xorum_node::{
    Node, PeerId,
    api::{Descriptor, Version},
};
use xorum_tests::harness::{Network, Talk, closest, group, until, voters_are};

const WITHIN: Duration = Duration::from_secs(60);

/// Peers that are silent for two seconds are dead, and closer newcomers wait no longer.
const HASTY: [&str; 4] = ["--replace-after", "2s", "--settle-after", "2s"];

fn hasty(replicas: &'static str) -> Vec<&'static str> {
    [&["--replicas", replicas], &HASTY[..]].concat()
}

/// Waits until the voters are, of these live peers, those that are closest.
async fn closest_are_voters(client: &Node, alive: &BTreeSet<PeerId>, count: usize) -> Result<Descriptor> {
    let any = until("the group is known", WITHIN, || group(client)).await?;
    voters_are(client, &closest(&any, alive.iter().copied(), count)).await
}

async fn write(client: &Node, name: &str) -> Result<BTreeMap<String, Version>> {
    let mut written = BTreeMap::new();
    for n in 0..20 {
        let key = format!("{name}-{n}");
        written.insert(key.clone(), client.put(key, name.to_owned()).await?);
    }
    Ok(written)
}

async fn read_back(client: &Node, written: &BTreeMap<String, Version>) -> Result<()> {
    for (key, version) in written {
        let read = client.get(key.clone()).await?.with_context(|| format!("{key} is lost"))?;
        assert_eq!(read.version, *version, "{key}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_peer_is_replaced_by_the_next_closest_live_peer() -> Result<()> {
    let mut network = Network::of(4, &hasty("3")).await?;
    let before = closest_are_voters(&network.client(0).await?, &network.ids(), 3).await?;
    let spare =
        *network.ids().iter().find(|id| before.voters.iter().all(|voter| voter.peer != **id)).context("four")?;
    let client = network.client(network.position(spare)?).await?;
    let written = write(&client, "before").await?;

    let dead = before.leader.context("it has a leader")?;
    network.kill(&[dead]).await?;
    let after = closest_are_voters(&client, &network.ids_without(&[dead]), 3).await?;
    ensure!(after.voters.iter().any(|voter| voter.peer == spare), "the spare is no voter");
    for kept in after.voters.iter().filter(|voter| voter.peer != spare) {
        ensure!(before.voters.contains(kept), "{kept} was not there before");
    }
    // With another gone the spare has to vote, and to know everything.
    let other = after.voters.iter().map(|voter| voter.peer).find(|peer| *peer != spare).context("three")?;
    network.kill(&[other]).await?;
    read_back(&client, &written).await?;
    write(&client, "after").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_takes_over() -> Result<()> {
    let mut network = Network::of(7, &hasty("5")).await?;
    let before = closest_are_voters(&network.client(0).await?, &network.ids(), 5).await?;
    let spares = network.ids_without(&before.voters.iter().map(|voter| voter.peer).collect::<Vec<_>>());
    let client = network.client(network.position(*spares.first().context("two spares")?)?).await?;
    let mut written = write(&client, "before").await?;

    // One after the other, the leader first: so each time four of five remain, or three and a spare.
    let mut dead = Vec::new();
    let mut last = before;
    for _ in 0..2 {
        let victim = last.leader.filter(|leader| !spares.contains(leader));
        let victim = victim.or_else(|| last.voters.iter().map(|voter| voter.peer).find(|peer| !spares.contains(peer)));
        dead.push(victim.context("a voter that was no spare")?);
        network.kill(&dead).await?;
        last = closest_are_voters(&client, &network.ids_without(&dead), 5).await?;
        read_back(&client, &written).await?;
        written.extend(write(&client, &format!("without-{}", dead.len())).await?);
    }
    ensure!(spares.iter().all(|spare| last.voters.iter().any(|voter| voter.peer == *spare)), "both spares vote");
    Ok(())
}

/// A client that puts again and again, and counts; its first error ends it.
struct Putter {
    count: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Putter {
    fn start(node: Node) -> Self {
        let (count, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (counter, stopped) = (Arc::clone(&count), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                node.put("put-again-and-again", "value").await?;
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        Self { count, stop, task }
    }

    async fn progress(&self, count: u64) -> Result<()> {
        let wanted = self.count.load(Ordering::Relaxed) + count;
        let enough =
            || async { (self.count.load(Ordering::Relaxed) >= wanted || self.task.is_finished()).then_some(()) };
        until("puts succeed", WITHIN, enough).await
    }

    async fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

/// Starts a peer whose own word is wanted: its prompt is a pipe.
async fn talk(data_dir: &Path) -> Result<Talk> {
    let mut talk = Talk::start(["run".as_ref(), "--data-dir".as_ref(), data_dir.as_os_str()])?;
    let ready = talk.line().await?;
    ensure!(ready.starts_with("ready "), "{ready}");
    Ok(talk)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_peer_that_comes_back_is_a_new_replica_and_disturbs_nobody() -> Result<()> {
    // Nobody is displaced by one that is closer: only the dead lose their seats.
    let settings = ["--replicas", "3", "--replace-after", "2s", "--settle-after", "1h"];
    let mut network = Network::of(3, &settings).await?;
    let first = voters_are(&network.client(0).await?, &network.ids()).await?;
    network.join(1).await?;
    let spare = network.peers[3].peer_id();
    let leader = first.leader.context("it has a leader")?;
    let removed = first.voters.iter().copied().find(|voter| voter.peer != leader).context("three")?;
    let client = network.client(3).await?;
    network.kill(&[removed.peer]).await?;
    let without = voters_are(&client, &network.ids_without(&[removed.peer])).await?;
    ensure!(without.voters.iter().any(|voter| voter.peer == spare), "{without:?}");

    // It comes back, believing that it votes, and is told otherwise. Meanwhile every put succeeds.
    let putter = Putter::start(network.client(3).await?);
    putter.progress(20).await?;
    let before = until("the group is known", WITHIN, || group(&client)).await?;
    let mut back = talk(&network.data_dir(network.position(removed.peer)?)).await?;
    let mut is_told = false;
    let deadline = tokio::time::Instant::now() + WITHIN;
    while !is_told {
        ensure!(tokio::time::Instant::now() < deadline, "it still believes that it has a replica");
        putter.progress(1).await?;
        let groups = back.ask_all("groups").await?;
        is_told = groups.iter().all(|line| line.contains(" role=none "));
    }
    putter.progress(100).await?;
    let after = until("the group is known", WITHIN, || group(&client)).await?;
    assert_eq!((after.term, after.leader, &after.voters), (before.term, before.leader, &before.voters));
    putter.end().await?;

    // Once a seat is vacant it is wanted, under a number never used before.
    let dead = after.voters.iter().map(|voter| voter.peer).find(|peer| Some(*peer) != after.leader && *peer != spare);
    let dead = dead.context("three")?;
    network.kill(&[dead]).await?;
    let last = voters_are(&client, &network.ids_without(&[dead])).await?;
    let seat = last.voters.iter().find(|voter| voter.peer == removed.peer).context("its seat")?;
    let highest = first.voters.iter().chain(&after.voters).map(|voter| voter.number).max().context("three")?;
    ensure!(seat.number > highest, "{seat} after {highest:?}");
    assert_eq!(back.ask("put last word").await?.split('=').next(), Some("OK version"));
    Ok(())
}
