//! A program that embeds a node: what it can do with it. What is left when it is gone: `nothing_left.rs`.
#![allow(missing_docs)]

use std::path::Path;

use anyhow::{Context, Result};
use futures::{StreamExt, stream::BoxStream};
use tempfile::TempDir;
use tokio::time::timeout;
use xorum_node::{
    Node,
    api::{Change, Expected, Swap},
    error::{OpError, StartError},
};
use xorum_tests::harness::{
    Local,
    local::{SOON, still},
    until,
};

/// A sole peer on a directory.
async fn node(dir: &Path) -> Result<Node> {
    let node = Node::builder().data_dir(dir).listen("/ip4/127.0.0.1/tcp/0".parse()?).start().await?;
    Ok(node.with_timeout(SOON))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_node_does_all_that_its_handle_promises() -> Result<()> {
    let dir = TempDir::new()?;
    let node = node(dir.path()).await?;
    assert_eq!(node.get("k").await?, None);
    let first = node.put("k", "one").await?;
    let read = node.get("k").await?.context("it was just put")?;
    assert_eq!((read.version, &read.value[..]), (first, &b"one"[..]));

    assert_eq!(node.compare_and_swap("k", Expected::Absent, "two").await?, Swap::Conflict(first));
    let Swap::Done(second) = node.compare_and_swap("k", Expected::Version(first), "two").await? else {
        anyhow::bail!("it is as expected");
    };
    assert!(second > first);
    let third = node.delete("k").await?.context("it was there")?;
    assert!(third > second);
    assert_eq!(node.delete("k").await?, None);
    let stale = node.get_stale("k").await?;
    assert_eq!(stale.found, None);

    let status = node.status().await?;
    assert_eq!((status.peer, status.groups, status.leads), (node.peer_id(), 1, 1));
    assert_eq!(node.peers().await?.first().map(|peer| (peer.peer, peer.is_self)), Some((node.peer_id(), true)));
    assert_eq!(node.locate("k").await?.descriptor.leader, Some(node.peer_id()));
    assert!(matches!(node.put(vec![0; 1 << 20], "v").await, Err(OpError::TooLarge { .. })));
    assert!(matches!(node.leave().await, Err(OpError::Denied(_))), "the only peer cannot leave");
    node.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_is_out_of_the_group_and_the_others_go_on() -> Result<()> {
    let mut local = Local::start(3, still).await?;
    let leader = local.leader().await?;
    local.node(leader)?.with_timeout(SOON).put("k", "v").await?;
    let leaver = (leader + 1) % 3;
    let id = local.node(leaver)?.peer_id();
    local.node(leaver)?.with_timeout(SOON).leave().await?;
    local.stop(leaver).await?;
    let (_, node) = local.running().next().context("two are left")?;
    let out = || async {
        let groups = node.groups().await.ok()?;
        groups.iter().all(|group| group.descriptor.voters.iter().all(|seat| seat.peer != id)).then_some(())
    };
    until("it has no seat", SOON, out).await?;
    assert_eq!(node.with_timeout(SOON).get("k").await?.map(|found| found.value), Some("v".into()));
    node.with_timeout(SOON).put("k", "w").await?;
    local.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_is_refused_and_free_at_once_after_a_shutdown() -> Result<()> {
    let dir = TempDir::new()?;
    let first = node(dir.path()).await?;
    let second = node(dir.path()).await.map(|_| ());
    let refused = second.expect_err("it is in use");
    assert!(matches!(refused.downcast_ref(), Some(StartError::Locked(_))), "{refused}");
    first.shutdown().await;
    drop(first);
    node(dir.path()).await?.shutdown().await;
    Ok(())
}

/// The next change that a watcher is told.
async fn next(watch: &mut BoxStream<'static, Result<Change, OpError>>) -> Result<Change> {
    Ok(timeout(SOON, watch.next()).await.context("no change is told")?.context("the watch has ended")??)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_the_newest_always_and_never_an_older_after_a_newer_across_a_change_of_leaders() -> Result<()> {
    let mut local = Local::start(3, |_| {}).await?;
    let leader = local.leader().await?;
    let (watcher, writer) = ((leader + 1) % 3, (leader + 2) % 3);
    local.node(watcher)?.with_timeout(SOON).put("k", "start").await?;
    let watched = local.node(watcher)?.with_timeout(SOON).watch("k");
    let writer = local.node(writer)?.with_timeout(SOON);
    let told = tokio::spawn(async move {
        let mut watched = watched;
        let mut told: Vec<Change> = Vec::new();
        loop {
            let change = next(&mut watched).await?;
            let last = change.value.as_deref() == Some(b"end");
            told.push(change);
            if last {
                return Ok::<_, anyhow::Error>(told);
            }
        }
    });
    let mut written = Vec::new();
    for count in 0..60u32 {
        if count == 20 {
            local.stop(leader).await?;
        }
        // A write of unknown outcome may be told or not; it is not in the list.
        if let Ok(version) = writer.put("k", format!("{count}")).await {
            written.push((version, format!("{count}")));
        }
    }
    let end = until("the last write is done", SOON, || async { writer.put("k", "end").await.ok() }).await?;
    let told = timeout(SOON, told).await.context("the newest is not told")???;
    assert!(told.is_sorted_by(|a, b| a.version < b.version), "{told:?}");
    assert_eq!(told.last().map(|change| change.version), Some(end));
    for change in &told {
        let Some((_, value)) = written.iter().find(|(version, _)| *version == change.version) else { continue };
        assert_eq!(change.value.as_deref(), Some(value.as_bytes()));
    }
    local.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_is_told_as_a_change_without_a_value() -> Result<()> {
    let dir = TempDir::new()?;
    let node = node(dir.path()).await?;
    let mut watched = node.watch("k");
    let removal = tokio::spawn(async move {
        loop {
            let change = next(&mut watched).await?;
            if change.value.is_none() {
                return Ok::<_, anyhow::Error>(change.version);
            }
        }
    });
    // A watch tells what happens after its first look: write until it has looked and told.
    let mut removed = Vec::new();
    while !removal.is_finished() {
        node.put("k", "v").await?;
        removed.extend(node.delete("k").await?);
    }
    assert!(removed.contains(&removal.await??));
    node.shutdown().await;
    Ok(())
}
