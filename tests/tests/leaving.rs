//! Peers leave for good, or stop for a while.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use xorum_node::{Multiaddr, api::ReplicaRole};
use xorum_tests::harness::{Network, Talk, client, turn, until, voters_are};

const WITHIN: Duration = Duration::from_secs(60);

/// What a stop may take, and what a busy machine adds to it.
const STOPPED_WITHIN: Duration = Duration::from_secs(3 + 3);

/// A peer with a piped prompt, its id, and its address.
async fn peer(data_dir: &std::path::Path, bootstrap: Option<&Multiaddr>) -> Result<(Talk, Multiaddr)> {
    let mut args = vec!["--data-dir".into(), data_dir.as_os_str().to_owned(), "--timeout".into(), "60s".into()];
    if let Some(addr) = bootstrap {
        args.extend(["--bootstrap".into(), addr.to_string().into()]);
    }
    let (talk, addr) = Talk::peer(args).await?;
    Ok((talk, addr.parse()?))
}

fn id(addr: &Multiaddr) -> Result<xorum_node::PeerId> {
    let (_, id) =
        addr.to_string().rsplit_once("/p2p/").map(|(at, id)| (at.to_owned(), id.to_owned())).context("p2p")?;
    Ok(id.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_down_to_one_and_back_to_five() -> Result<()> {
    let _turn = turn().await?;
    let dir = tempfile::tempdir()?;
    let dirs: Vec<_> = (0..5).map(|at| dir.path().join(format!("peer-{at}"))).collect();
    let mut peers = vec![peer(&dirs[0], None).await?];
    for dir in &dirs[1..] {
        let bootstrap = peers[0].1.clone();
        peers.push(peer(dir, Some(&bootstrap)).await?);
    }
    let ids = peers.iter().map(|(_, addr)| id(addr)).collect::<Result<BTreeSet<_>>>()?;
    // Of the one that will be left.
    let last = client(&peers[4].1).await?;
    let first = voters_are(&last, &ids).await?;
    let version = last.put("kept", "through all of it").await?;

    let mut left = ids.clone();
    let mut staying = peers.split_off(4);
    for (mut talk, addr) in peers {
        assert_eq!(talk.ask("leave").await?, "OK");
        let (status, said) = talk.ended(WITHIN).await?;
        ensure!(status.success() && said.is_empty(), "{status} {said:?}");
        left.remove(&id(&addr)?);
        let read = last.get("kept").await?.context("it is there")?;
        assert_eq!((read.version, &read.value[..]), (version, &b"through all of it"[..]));
        last.put(format!("without-{addr}"), "written").await?;
    }
    let alone = voters_are(&last, &left).await?;
    assert_eq!(alone.voters.len(), 1);
    let (only, addr) = &mut staying[0];
    let answer = only.ask("leave").await?;
    ensure!(answer.starts_with("ERR denied "), "{answer}");

    // They join again, as new replicas.
    let mut back = Vec::new();
    for dir in &dirs[..4] {
        back.push(peer(dir, Some(addr)).await?);
    }
    let again = voters_are(&last, &ids).await?;
    for seat in &again.voters {
        let is_new = first.voters.iter().all(|old| old.peer != seat.peer || old.number < seat.number);
        // The one that stayed may have been a learner, and out, for a while as the others went.
        ensure!(is_new || seat.peer == id(addr)?, "{seat} of {:?}", first.voters);
    }
    assert_eq!(back[0].0.ask("get kept").await?, "\"through all of it\"");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_peers_ctrl_c_of_either_the_other_goes_on() -> Result<()> {
    let mut network = Network::of(2, &[]).await?;
    let version = network.client(0).await?.put("kept", "by both").await?;
    // Each in turn, by each signal; the one that stops holds the only vote, or the other does.
    for (stopping, signal) in
        [(1, Signal::SIGINT), (0, Signal::SIGINT), (1, Signal::SIGTERM), (0, Signal::SIGTERM), (1, Signal::SIGINT)]
    {
        let other = network.client(1 - stopping).await?;
        until("one follows the other", WITHIN, || async {
            let mut roles = BTreeSet::new();
            for at in 0..2 {
                let client = network.client(at).await.ok()?;
                roles.extend(client.groups().await.ok()?.iter().map(|group| format!("{:?}", group.role)));
            }
            let follows = [ReplicaRole::Learner, ReplicaRole::Voter].map(|role| format!("{role:?}"));
            follows.iter().any(|role| roles.contains(role)).then_some(())
        })
        .await?;
        other.put("before", format!("{stopping} {signal}")).await?;
        let stopped = match signal {
            Signal::SIGINT => network.peers[stopping].interrupt(STOPPED_WITHIN).await?,
            _ => network.peers[stopping].terminate(STOPPED_WITHIN).await?,
        };
        ensure!(stopped.code() == Some(0), "{stopped}");
        let read = other.get("kept").await.with_context(|| format!("{stopping} stopped by {signal}"))?;
        assert_eq!(read.context("it is there")?.version, version);
        other.put("after", format!("{stopping} {signal}")).await?;
        let read = other.get("before").await?.context("it is there")?;
        assert_eq!(read.value, format!("{stopping} {signal}"));
        network.peers[stopping].restart().await?;
    }
    Ok(())
}
