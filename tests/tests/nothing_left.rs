//! What an embedded node leaves behind: nothing. The one test of this file counts the threads of its process, so no
//! other may run in it.
#![allow(missing_docs)]

use std::{fs, path::Path};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::runtime::Handle;
use xorum_node::{Node, error::StartError};
use xorum_tests::harness::{local::SOON, until};

const ROUNDS: u32 = 10;

/// A sole peer on a directory.
async fn start(dir: &Path) -> Result<Node> {
    let node = Node::builder().data_dir(dir).listen("/ip4/127.0.0.1/tcp/0".parse()?).start().await?;
    Ok(node.with_timeout(SOON))
}

/// Threads that are not a node's: the runtime's come and go with blocking work, and libp2p's timers share one for the
/// life of the process, however many nodes there are.
const NOT_OURS: [&str; 2] = ["tokio", "futures-timer"];

/// The threads of this process, by name.
fn threads() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for task in fs::read_dir("/proc/self/task")? {
        // A thread may end between being listed and being looked at.
        let Ok(name) = fs::read_to_string(task?.path().join("comm")) else { continue };
        if !NOT_OURS.iter().any(|other| name.starts_with(other)) {
            names.push(name.trim().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// What ran before any node did.
struct Baseline {
    tasks: usize,
    threads: Vec<String>,
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

impl Baseline {
    fn now() -> Result<Self> {
        Ok(Self { tasks: tasks(), threads: threads()? })
    }

    /// Did all of these threads run before? By name: a thread of the runtime has its maker's until it has its own.
    fn are_all_old(&self, now: Option<Vec<String>>) -> bool {
        now.is_some_and(|now| now.iter().all(|name| self.threads.contains(name)))
    }

    /// Waits until no task is alive that was not before.
    async fn tasks_are_gone(&self) -> Result<()> {
        let gone = || std::future::ready((tasks() <= self.tasks).then_some(()));
        until("no task is left", SOON, gone).await.with_context(|| format!("{} of {}", tasks(), self.tasks))
    }

    /// Waits until no thread runs that did not before.
    async fn threads_are_gone(&self) -> Result<()> {
        let gone = || std::future::ready(self.are_all_old(threads().ok()).then_some(()));
        let waited = until("no thread is left", SOON, gone).await;
        waited.with_context(|| format!("{:?}, and before {:?}", threads(), self.threads))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_rounds_of_start_and_stop_leave_no_task_no_thread_and_no_lock_behind_and_lose_nothing() -> Result<()> {
    let dir = TempDir::new()?;
    let before = Baseline::now()?;
    let mut written = None;
    for round in 0..ROUNDS {
        let node = start(dir.path()).await?;
        check(&node, written).await?;
        assert!(!before.are_all_old(threads().ok()), "a node that runs has threads, and they can be told apart");
        written = Some(round);
        node.put("round", round.to_string()).await?;
        node.shutdown().await;
        before.tasks_are_gone().await.context("after a shutdown")?;
        drop(node);
        // At once: whoever waited for the shutdown and let go of the handle waits for nothing more.
        let again = start(dir.path()).await.context("at once after a shutdown")?;
        check(&again, written).await?;
        again.shutdown().await;
        drop(again);
        before.threads_are_gone().await.context("after a shutdown")?;
    }
    for round in 0..ROUNDS {
        let node = start_after_drop(dir.path()).await?;
        check(&node, written).await?;
        written = Some(ROUNDS + round);
        node.put("round", (ROUNDS + round).to_string()).await?;
        drop(node);
        before.tasks_are_gone().await.context("after a drop")?;
        before.threads_are_gone().await.context("after a drop")?;
    }
    Ok(())
}

/// What an earlier round wrote is there.
async fn check(node: &Node, written: Option<u32>) -> Result<()> {
    let found = node.get("round").await?;
    assert_eq!(found.map(|found| found.value), written.map(|round| round.to_string().into()));
    Ok(())
}

/// Starts a node on a directory whose last node was dropped: it ends while nobody waits for it.
async fn start_after_drop(dir: &Path) -> Result<Node> {
    let free = || async {
        match start(dir).await {
            Err(error) if matches!(error.downcast_ref(), Some(StartError::Locked(_))) => None,
            other => Some(other),
        }
    };
    until("the directory is free", SOON, free).await?
}
