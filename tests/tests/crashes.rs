//! Peers are killed and held while clients go on.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use rand::Rng as _;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use xorum_node::{
    Node, PeerId,
    api::{Expected, Version},
    error::OpError,
};
use xorum_tests::{
    harness::{Network, client, until, voters_are},
    history::{Answer, Op, Operation, Outcome, Recorder, linearizable, versions},
};

const WITHIN: Duration = Duration::from_secs(60);

/// Clients at work, until they are told to stop.
struct Clients {
    tasks: JoinSet<Result<()>>,
    stop: watch::Sender<bool>,
    succeeded: Arc<AtomicU64>,
    recorder: Recorder,
}

impl Clients {
    fn new() -> Self {
        let (stop, _) = watch::channel(false);
        Self { tasks: JoinSet::new(), stop, succeeded: Arc::default(), recorder: Recorder::default() }
    }

    /// One more, that does what `next` says, one operation after another.
    fn add(
        &mut self,
        process: u64,
        node: Node,
        mut next: impl FnMut(Option<&Outcome>) -> (Bytes, Op) + Send + 'static,
    ) {
        let (stop, recorder, succeeded) = (self.stop.subscribe(), self.recorder.clone(), Arc::clone(&self.succeeded));
        self.tasks.spawn(async move {
            let mut last = None;
            while !*stop.borrow() {
                let (key, op) = next(last.as_ref());
                let invocation = recorder.invoke(process, key.clone(), op.clone());
                let outcome = Outcome::from(perform(&node, key, op).await);
                if matches!(outcome, Outcome::Ok(_)) {
                    succeeded.fetch_add(1, Ordering::Relaxed);
                }
                invocation.end(outcome.clone());
                last = Some(outcome);
            }
            Ok(())
        });
    }

    /// Waits until so many more operations have succeeded.
    async fn progress(&self, what: &str, count: u64) -> Result<()> {
        let wanted = self.succeeded.load(Ordering::Relaxed) + count;
        let enough = || async { (self.succeeded.load(Ordering::Relaxed) >= wanted).then_some(()) };
        until(&format!("{count} operations succeed {what}"), WITHIN, enough).await
    }

    async fn history(mut self) -> Result<Vec<Operation>> {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(self.recorder.history())
    }
}

async fn perform(node: &Node, key: Bytes, op: Op) -> Result<Answer, OpError> {
    Ok(match op {
        Op::Get => node.get(key).await?.into(),
        Op::Put(value) => node.put(key, value).await?.into(),
        Op::Delete => node.delete(key).await?.into(),
        Op::Cas(0, value) => node.compare_and_swap(key, Expected::Absent, value).await?.into(),
        Op::Cas(version, value) => node.compare_and_swap(key, Expected::Version(Version(version)), value).await?.into(),
    })
}

/// A mix of everything on a few keys; swaps expect what was told last, of whichever key.
fn anything(process: u64, keys: u64) -> impl FnMut(Option<&Outcome>) -> (Bytes, Op) + Send {
    let (mut count, mut version) = (0, 0);
    move |last| {
        match last {
            Some(Outcome::Ok(Answer::Done(told) | Answer::Found(told, _) | Answer::Conflict(told))) => version = *told,
            Some(Outcome::Ok(Answer::Absent)) => version = 0,
            _ => {}
        }
        count += 1;
        let value = Bytes::from(format!("{process}-{count}"));
        let op = match rand::rng().random_range(0..10) {
            0..4 => Op::Get,
            4..7 => Op::Put(value),
            7 => Op::Delete,
            _ => Op::Cas(version, value),
        };
        (Bytes::from(format!("key-{}", rand::rng().random_range(0..keys))), op)
    }
}

fn judge(history: &[Operation]) -> Result<()> {
    versions::check(history).map_err(|violation| anyhow!("{violation:#?}"))?;
    linearizable::check(history).map_err(|verdict| anyhow!("{verdict:#?}"))
}

async fn leader(client: &Node, voters: &BTreeSet<PeerId>) -> Result<PeerId> {
    voters_are(client, voters).await?.leader.context("it has a leader")
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_the_leader_during_concurrent_writes_is_linearizable() -> Result<()> {
    let mut network = Network::of(3, &["--replicas", "3"]).await?;
    let voters = network.ids();
    leader(&network.client(0).await?, &voters).await?;
    let mut clients = Clients::new();
    for process in 0..6 {
        let node = network.client(process as usize % 3).await?.with_timeout(Duration::from_secs(5));
        clients.add(process, node, anything(process, 3));
    }
    clients.progress("before any kill", 200).await?;
    for kill in ["after the first kill", "after the second kill"] {
        let killed = leader(&network.client(0).await?, &voters).await?;
        network.kill(&[killed]).await?;
        clients.progress(kill, 200).await?;
        network.restart(&[killed]).await?;
        clients.progress("after it is back", 200).await?;
    }
    let history = clients.history().await?;
    ensure!(history.iter().any(|each| matches!(each.outcome, Outcome::Ok(Answer::Found(..)))), "no read found a value");
    judge(&history)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_survives_kill_9_of_all_at_once() -> Result<()> {
    let mut network = Network::of(3, &["--replicas", "3"]).await?;
    let ids: Vec<PeerId> = network.ids().into_iter().collect();
    leader(&network.client(0).await?, &network.ids()).await?;
    let mut clients = Clients::new();
    for process in 0..6 {
        let node = network.client(process as usize % 3).await?.with_timeout(Duration::from_secs(1));
        let mut count = 0;
        clients.add(process, node, move |_| {
            count += 1;
            (Bytes::from(format!("{process}-{count}")), Op::Put(Bytes::from(format!("value of {process}-{count}"))))
        });
    }
    clients.progress("before the kill", 300).await?;
    network.kill(&ids).await?;
    let history = clients.history().await?;
    network.restart(&ids).await?;

    let client = network.client(1).await?;
    let mut acknowledged = 0;
    for write in &history {
        let (Op::Put(value), Outcome::Ok(Answer::Done(version))) = (&write.op, &write.outcome) else { continue };
        let read = client.get(write.key.clone()).await?;
        let read = read.with_context(|| format!("{write:?} was acknowledged and is lost"))?;
        assert_eq!((read.version.0, &read.value), (*version, value));
        acknowledged += 1;
    }
    ensure!(acknowledged >= 300, "only {acknowledged} were acknowledged");
    client.put("after", "all").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn any_two_of_five_may_die() -> Result<()> {
    // Long enough that nobody's seat is given away.
    let mut network = Network::of(5, &["--replicas", "5", "--replace-after", "10m"]).await?;
    let voters = network.ids();
    let before = voters_are(&network.client(0).await?, &voters).await?;
    let first = before.leader.context("it has a leader")?;
    let other = *voters.iter().find(|voter| **voter != first).context("five")?;
    let alive: Vec<PeerId> = network.ids_without(&[first, other]).into_iter().collect();

    let client = network.client(network.position(alive[0])?).await?;
    for n in 0..50 {
        client.put(format!("before-{n}"), format!("{n}")).await?;
    }
    network.kill(&[first, other]).await?;
    // One election, not a wait for the dead in each operation.
    let going_on = async {
        for n in 0..50 {
            client.put(format!("without-{n}"), format!("{n}")).await?;
            client.get(format!("before-{n}")).await?.context("it is there")?;
        }
        anyhow::Ok(())
    };
    timeout(WITHIN, going_on).await.context("reads and writes crawl")??;
    network.restart(&[first, other]).await?;

    // With another two gone, nothing goes on unless these have caught up and vote.
    let survivor = network.client(network.position(alive[2])?).await?;
    network.kill(&alive[..2]).await?;
    for n in 0..50 {
        survivor.put(format!("with-{n}"), format!("{n}")).await?;
        let read = survivor.get(format!("without-{n}")).await?.context("it is there")?;
        assert_eq!(read.value, format!("{n}"));
    }
    network.restart(&alive[..2]).await?;
    let after = voters_are(&survivor, &voters).await?;
    assert_eq!(after.voters.iter().collect::<BTreeSet<_>>(), before.voters.iter().collect(), "their old numbers");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_leader_does_not_serve_stale_reads() -> Result<()> {
    let network = Network::of(3, &["--replicas", "3", "--replace-after", "10m"]).await?;
    let voters = network.ids();
    let mut clients = Clients::new();
    let writers = [network.client(0).await?, network.client(1).await?, network.client(2).await?];
    writers[0].put("key", "first").await?;
    for round in 0..5 {
        let held = leader(&writers[0], &voters).await?;
        let held = network.position(held)?;
        // Readers that know only the leader, and ask it.
        let reader = client(network.peers[held].addr()).await?;
        for reads in 0..32 {
            clients.add(reads, reader.clone(), |_| (Bytes::from_static(b"key"), Op::Get));
        }
        clients.progress("before the leader is held", 200).await?;
        network.peers[held].pause()?;
        // Acknowledged although the leader is held: so another leads.
        let writer = &writers[(held + 1) % 3];
        for write in 0..2 {
            let value = Bytes::from(format!("{round}-{write}"));
            let invocation = clients.recorder.invoke(1_000, "key", Op::Put(value.clone()));
            let outcome = Outcome::from(writer.put("key", value).await.map(Answer::from));
            ensure!(matches!(outcome, Outcome::Ok(_)), "{outcome:?}");
            invocation.end(outcome);
        }
        network.peers[held].resume()?;
        clients.progress("after the leader goes on", 200).await?;
        let history = clients.history().await?;
        versions::check(&history).map_err(|violation| anyhow!("round {round}: {violation:#?}"))?;
        clients = Clients::new();
    }
    Ok(())
}
