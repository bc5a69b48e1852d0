//! Peers find each other and form a group.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use tokio::time::timeout;
use xorum_tests::harness::{Network, voters_are};

/// Five seconds are promised; a busy machine takes longer.
const FORMED_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn three_peers_become_voters_of_one_group() -> Result<()> {
    let network = Network::of(3, &[]).await?;
    let mut clients = Vec::new();
    for at in 0..3 {
        clients.push(network.client(at).await?);
    }
    let ids = network.ids();
    let all_see = try_join_all(clients.iter().map(|client| voters_are(client, &ids)));
    let groups = timeout(FORMED_WITHIN, all_see).await.context("the group is not formed in time")??;
    ensure!(groups.iter().all(|group| group.group == groups[0].group && group.prefix.is_empty()), "{groups:?}");
    for (at, writer) in clients.iter().enumerate() {
        let key = format!("put-at-{at}");
        let version = writer.put(key.clone(), format!("value-{at}")).await?;
        for reader in &clients {
            let read = reader.get(key.clone()).await?.context("it is there")?;
            assert_eq!((read.version, read.value), (version, format!("value-{at}").into()));
        }
    }
    Ok(())
}

/// Loses the founder, by whom the others joined, and starts some of these again, one after another.
async fn restart_without_the_founder(args: &[&str], again: &[usize]) -> Result<()> {
    let mut network = Network::of(3, args).await?;
    let founder = network.peers[0].peer_id();
    let before = network.client(1).await?;
    voters_are(&before, &network.ids()).await?;
    let version = before.put("kept", "here").await?;
    network.kill(&[founder]).await?;
    std::fs::remove_dir_all(network.data_dir(0))?;
    for (turn, at) in again.iter().enumerate() {
        // One that was asked to stop, and then one that was not.
        if turn == 0 {
            network.peers[*at].terminate(Duration::from_secs(30)).await?;
        }
        network.peers[*at].restart().await?;
        let client = network.client(*at).await?;
        let read = client.get("kept").await?.context("it is there")?;
        assert_eq!((read.version, &read.value[..]), (version, &b"here"[..]));
        client.put(format!("after-{at}"), "new").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_peer_finds_its_network_when_the_bootstrap_peer_is_gone() -> Result<()> {
    restart_without_the_founder(&[], &[2, 1]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_restarted_on_another_port_finds_its_network_when_the_bootstrap_peer_is_gone() -> Result<()> {
    restart_without_the_founder(&["--listen", "/ip4/127.0.0.1/tcp/0"], &[2]).await
}
