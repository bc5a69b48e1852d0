//! Joining a network that is not there yet.

use std::{fs, time::Duration};

use anyhow::Result;
use xorum_tests::harness::{Launch, process, turn, until};

const WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_joiner_that_reaches_nobody_says_so_once_unasked_and_joins_when_it_can() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    // On the ports that it keeps, so that it can be bootstrapped from before it is there.
    let founder = Launch::of(process::binary()?, dir.path().join("founder"));
    let mut running = founder.start().await?;
    let addr = running.addr().clone();
    running.kill().await?;

    let joiner = Launch::new(dir.path().join("joiner"))?.bootstrap(&addr);
    let log = joiner.log_path();
    let starting = tokio::spawn(async move { joiner.start().await });
    let said = || fs::read_to_string(&log).unwrap_or_default();
    until("it says that it tries on", WITHIN, || async { said().contains("trying on").then_some(()) }).await?;
    let founder = founder.start().await?;
    assert_eq!(founder.addr(), &addr, "the port is kept");
    let joined = starting.await??;
    assert_ne!(joined.peer_id(), founder.peer_id());
    let said = said();
    assert_eq!(said.lines().count(), 1, "once, and nothing else: {said}");
    assert!(said.contains("no bootstrap address has admitted this peer yet"), "{said}");
    Ok(())
}
