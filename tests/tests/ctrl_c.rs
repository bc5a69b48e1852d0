//! Ctrl-C and SIGTERM: a peer stops in time, with status 0, and what it acknowledged is there at the next start.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tokio::time::Instant;
use xorum_tests::harness::{Talk, ran, turn, until};

/// The promised 3 s, and what a busy machine may add.
const STOPS_WITHIN: Duration = Duration::from_secs(4);
const WITHIN: Duration = Duration::from_secs(60);

async fn peer(dir: &Path, bootstrap: &[&str]) -> Result<(Talk, String)> {
    let dir = dir.display().to_string();
    Talk::peer(["--data-dir", &dir].into_iter().chain(bootstrap.iter().copied())).await
}

/// Waits until the key's group has this many voters, as a peer sees it.
async fn voters(talk: &mut Talk, wanted: usize) -> Result<String> {
    let began = Instant::now();
    loop {
        let located = talk.ask("locate k").await?;
        let voters = located.rsplit_once("voters=").map_or(0, |(_, voters)| voters.split(',').count());
        if voters == wanted {
            return Ok(located);
        }
        ensure!(began.elapsed() < WITHIN, "never {wanted} voters: {located}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_peer_told_to_stop_stops_in_time_and_keeps_what_it_acknowledged() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    for (signal, key) in [(Signal::SIGINT, "interrupted"), (Signal::SIGTERM, "terminated")] {
        let (mut talk, _) = peer(dir.path(), &[]).await?;
        for number in 0..100 {
            let answer = talk.ask(&format!("put {key}{number} {number}")).await?;
            ensure!(answer.starts_with("OK version="), "{answer}");
        }
        talk.signal(signal)?;
        let (status, said) = talk.ended(STOPS_WITHIN).await?;
        assert_eq!((status.code(), said), (Some(0), Vec::new()), "{signal}");
    }
    let (mut talk, _) = peer(dir.path(), &[]).await?;
    for key in ["interrupted", "terminated"] {
        for number in 0..100 {
            assert_eq!(talk.ask(&format!("get {key}{number}")).await?, number.to_string());
        }
    }
    Ok(())
}

#[tokio::test]
async fn each_of_three_is_stopped_in_turn_and_the_others_serve_on() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let dirs = [0, 1, 2].map(|number| dir.path().join(number.to_string()));
    let (mut first, addr) = peer(&dirs[0], &[]).await?;
    let (second, _) = peer(&dirs[1], &["--bootstrap", &addr]).await?;
    let (third, third_addr) = peer(&dirs[2], &["--bootstrap", &addr]).await?;
    voters(&mut first, 3).await?;
    ensure!(first.ask("put k v").await?.starts_with("OK version="));
    until("the third has it too", WITHIN, || async {
        let got = ran(["get", "k", "--stale", "--bootstrap", &third_addr]).await.ok()?;
        (got.stdout == "v\n").then_some(())
    })
    .await?;

    // Who leads hands over; two of three serve on, and the last of them still knows.
    let leaves = [(first, &[][..]), (second, &["--stale"][..])];
    for (mut stopped, how) in leaves {
        stopped.signal(Signal::SIGINT)?;
        let (status, _) = stopped.ended(STOPS_WITHIN).await?;
        assert_eq!(status.code(), Some(0));
        let got = ran(["get", "k", "--bootstrap", &third_addr].iter().chain(how)).await?;
        assert_eq!(got.stdout, "v\n", "{got:?}");
    }
    drop(third);
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let dirs = [0, 1, 2].map(|number| dir.path().join(number.to_string()));
    let (mut first, addr) = peer(&dirs[0], &[]).await?;
    let (second, second_addr) = peer(&dirs[1], &["--bootstrap", &addr]).await?;
    let (third, third_addr) = peer(&dirs[2], &["--bootstrap", &addr]).await?;
    let located = voters(&mut first, 3).await?;
    let leader = located.split(' ').find_map(|field| field.strip_prefix("leader=")).context("no leader")?;
    let peers = [(first, addr), (second, second_addr), (third, third_addr)];
    let (mut leading, following): (Vec<_>, Vec<_>) = peers.into_iter().partition(|(_, addr)| addr.ends_with(leader));
    let (mut leading, _) = leading.pop().context("one of them leads")?;
    // It finds nobody to hand over to, and waits.
    for (follower, _) in &following {
        follower.signal(Signal::SIGSTOP)?;
    }
    let began = Instant::now();
    while leading.is_running()? && began.elapsed() < STOPS_WITHIN {
        leading.signal(Signal::SIGINT)?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(leading.ended(STOPS_WITHIN).await?.0.code(), Some(130));
    Ok(())
}

#[tokio::test]
async fn a_client_and_a_joiner_that_reaches_nobody_stop_too() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let (_peer, addr) = peer(&dir.path().join("peer"), &[]).await?;
    let mut client = Talk::start(["connect", "--bootstrap", &addr])?;
    assert_eq!(client.ask("get k").await?, "(not found)");
    client.signal(Signal::SIGINT)?;
    assert_eq!(client.ended(STOPS_WITHIN).await?.0.code(), Some(0));

    let joiner_dir = dir.path().join("joiner");
    let joiner = joiner_dir.to_str().context("a path")?;
    let mut joiner = Talk::start(["run", "--bootstrap", "/ip4/127.0.0.1/tcp/1", "--data-dir", joiner])?;
    // Once it has made its identity it is dialing.
    until("it dials", WITHIN, || async { joiner_dir.join("identity").exists().then_some(()) }).await?;
    joiner.signal(Signal::SIGTERM)?;
    let (status, said) = joiner.ended(STOPS_WITHIN).await?;
    assert_eq!((status.code(), said), (Some(0), Vec::new()));
    Ok(())
}
