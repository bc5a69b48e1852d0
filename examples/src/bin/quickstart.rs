//! Embeds a peer in a program: founds a network of one, writes, reads, swaps, and watches a key.
//!
//! `cargo run -p xorum-examples --bin quickstart`

use anyhow::Context;
use futures::StreamExt;
use xorum_node::{
    Node,
    api::{Expected, Swap},
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // A real program keeps its directory: it is the peer's identity and all that it stores.
    let dir = tempfile::tempdir()?;
    let node = Node::builder().data_dir(dir.path()).start().await?;
    println!("peer {}", node.peer_id());
    for addr in node.listen_addrs() {
        println!("others can join it with --bootstrap {addr}");
    }

    let version = node.put("greeting", "hello").await?;
    println!("put greeting at version {version}");

    let found = node.get("greeting").await?.context("what was just written is there")?;
    println!("got {:?}", found.value);

    match node.compare_and_swap("greeting", Expected::Version(found.version), "good day").await? {
        Swap::Done(version) => println!("swapped at version {version}"),
        Swap::Conflict(version) => println!("somebody else wrote version {version} meanwhile"),
    }

    let mut changes = node.watch("greeting");
    let writer = node.clone();
    let written = tokio::spawn(async move { writer.put("greeting", "good night").await });
    while let Some(change) = changes.next().await {
        let change = change?;
        println!("watched version {}: {:?}", change.version, change.value);
        if change.value.as_deref() == Some(b"good night") {
            break;
        }
    }
    written.await??;

    node.delete("greeting").await?;
    println!("deleted; now it is {:?}", node.get("greeting").await?);

    node.shutdown().await;
    Ok(())
}
