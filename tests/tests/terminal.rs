//! The prompt driven as a terminal.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use expectrl::{
    Eof, Expect, Needle, Regex, Session,
    process::unix::{PtyStream, UnixProcess, WaitStatus},
};
use tokio::time::sleep;
use xorum_tests::harness::{Talk, command, ran, turn};

/// How long the terminal may take to show what is waited for.
const WITHIN: Duration = Duration::from_secs(60);
/// The promised 3 s, and what a busy machine may add.
const STOPS_WITHIN: Duration = Duration::from_secs(4);

const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";
const UP: &str = "\u{1b}[A";

/// A person's terminal with the binary in it; hung up when dropped.
struct Screen(Session<UnixProcess, PtyStream>);

impl Screen {
    /// A peer on a directory.
    fn peer(dir: &Path, args: &[&str], log: &str) -> Result<Self> {
        let data_dir = dir.display().to_string();
        let all = [&["run", "--listen", "/ip4/127.0.0.1/tcp/0", "--data-dir", &data_dir], args].concat();
        Self::of(&all, log, dir)
    }

    /// Any program of the binary; a client keeps its history below `state`.
    fn of(args: &[&str], log: &str, state: &Path) -> Result<Self> {
        let mut command: Command = command(args)?.into_std();
        command.stdin(Stdio::inherit());
        command.env("TERM", "xterm").env("NO_COLOR", "1").env("RUST_LOG", log).env("XDG_STATE_HOME", state);
        Ok(Self(Session::spawn(command)?))
    }

    fn types(&mut self, keys: &str) -> Result<()> {
        Ok(self.0.send(keys)?)
    }

    /// Waits until it shows something after what was waited for last; all that it showed up to there.
    async fn shows(&mut self, what: impl Needle + std::fmt::Debug) -> Result<String> {
        let began = Instant::now();
        loop {
            let found = self.0.check(&what).with_context(|| format!("waiting for {what:?}"))?;
            if !found.is_empty() {
                return Ok(String::from_utf8_lossy(found.as_bytes()).into_owned());
            }
            ensure!(began.elapsed() < WITHIN, "it never showed {what:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the program ends; its status.
    async fn ends(&mut self, within: Duration) -> Result<i32> {
        let began = Instant::now();
        loop {
            // What it still shows is taken, so that it is not held up; at the end there is no more.
            let _ = self.0.check(Eof);
            match self.0.get_process().status()? {
                WaitStatus::Exited(_, code) => return Ok(code),
                WaitStatus::StillAlive => {}
                other => bail!("it ended otherwise: {other:?}"),
            }
            ensure!(began.elapsed() < within, "it still runs after {within:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The address in a ready line.
fn addr_in(shown: &str) -> Result<&str> {
    shown.split_once(" addr=").and_then(|(_, rest)| rest.split_whitespace().next()).context("no address")
}

#[tokio::test]
async fn a_person_puts_and_gets_at_the_prompt_and_quits() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let mut screen = Screen::peer(dir.path(), &[], "")?;
    let shown = screen.shows("xorum> ").await?;
    assert!(shown.contains("ready peer="), "{shown}");
    screen.types("put k hello\r")?;
    screen.shows(Regex(r"OK version=\d+\r\n")).await?;
    screen.shows("xorum> ").await?;
    screen.types("get k\r")?;
    screen.shows("\nhello\r\n").await?;
    screen.types("nonsense\r")?;
    screen.shows("ERR invalid ").await?;
    screen.types("quit\r")?;
    screen.shows("OK\r\n").await?;
    assert_eq!(screen.ends(STOPS_WITHIN).await?, 0);
    Ok(())
}

#[tokio::test]
async fn tab_completes_a_command_and_its_options() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let mut screen = Screen::peer(dir.path(), &[], "")?;
    screen.shows("xorum> ").await?;
    screen.types("pu\tk v\r")?;
    screen.shows(Regex(r"OK version=\d+\r\n")).await?;
    screen.types("get k --m\t\r")?;
    screen.shows(Regex(r"\nversion=\d+ value=v\r\n")).await?;
    screen.types("sta\t\r")?;
    screen.shows(Regex(r"\npeer=\w+ network=\w+ ")).await?;
    Ok(())
}

#[tokio::test]
async fn what_was_typed_is_kept_for_the_next_run_and_nobody_else_reads_it() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let mut screen = Screen::peer(dir.path(), &[], "")?;
    screen.shows("xorum> ").await?;
    screen.types("put k remembered\r")?;
    screen.shows("OK version=").await?;
    screen.types("quit\r")?;
    assert_eq!(screen.ends(STOPS_WITHIN).await?, 0);
    let history = dir.path().join("history");
    assert_eq!(fs::metadata(&history)?.permissions().mode() & 0o777, 0o600);

    let mut screen = Screen::peer(dir.path(), &[], "")?;
    screen.shows("xorum> ").await?;
    screen.types(UP)?;
    screen.shows("quit").await?;
    screen.types(UP)?;
    screen.shows("put k remembered").await?;
    screen.types("\r")?;
    screen.shows("OK version=").await?;
    Ok(())
}

#[tokio::test]
async fn a_log_line_leaves_the_line_being_typed_whole() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let mut screen = Screen::peer(dir.path(), &[], "off,xorum_node::swarm=debug")?;
    let shown = screen.shows("xorum> ").await?;
    let addr = addr_in(&shown)?;
    screen.types("put half-ty")?;
    screen.shows("-ty").await?;
    // A client that comes and goes is worth a line.
    assert_eq!(ran(["get", "k", "--bootstrap", addr]).await?.code, Some(3));
    screen.shows(Regex(r"connected[^\n]*\n")).await?;
    screen.shows("xorum> put half-ty").await?;
    screen.types("ped whole\r")?;
    screen.shows("OK version=").await?;
    assert_eq!(ran(["get", "half-typed", "--bootstrap", addr]).await?.stdout, "whole\n");
    Ok(())
}

#[tokio::test]
async fn ctrl_c_and_ctrl_d_at_the_prompt_end_it_in_time() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    for key in [CTRL_C, CTRL_D] {
        let mut screen = Screen::peer(dir.path(), &[], "")?;
        screen.shows("xorum> ").await?;
        screen.types("put k kept\r")?;
        screen.shows("OK version=").await?;
        screen.shows("xorum> ").await?;
        screen.types(key)?;
        assert_eq!(screen.ends(STOPS_WITHIN).await?, 0, "{key:?}");
    }
    let mut screen = Screen::peer(dir.path(), &[], "")?;
    screen.shows("xorum> ").await?;
    screen.types("put half-typed")?;
    screen.shows("-typed").await?;
    screen.types(CTRL_C)?;
    assert_eq!(screen.ends(STOPS_WITHIN).await?, 0, "in the middle of a line");
    Ok(())
}

#[tokio::test]
async fn ctrl_c_ends_a_watch_and_the_prompt_is_back() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let mut screen = Screen::peer(dir.path(), &[], "")?;
    let shown = screen.shows("xorum> ").await?;
    let addr = addr_in(&shown)?;
    let writes = Talk::start(["connect", "--bootstrap", addr])?.repeat("put k v");
    screen.types("watch k\r")?;
    screen.shows(Regex(r"\nversion=\d+ value=v\r\n")).await?;
    screen.types(CTRL_C)?;
    screen.shows("xorum> ").await?;
    drop(writes);
    screen.types("get k\r")?;
    screen.shows("\nv\r\n").await?;
    Ok(())
}

#[tokio::test]
async fn a_client_has_the_same_prompt() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let (_peer, addr) = Talk::peer([Path::new("--no-repl"), Path::new("--data-dir"), dir.path()]).await?;
    let mut screen = Screen::of(&["connect", "--bootstrap", &addr], "", dir.path())?;
    screen.shows("xorum> ").await?;
    screen.types("put k v\r")?;
    screen.shows("OK version=").await?;
    screen.types(CTRL_D)?;
    assert_eq!(screen.ends(STOPS_WITHIN).await?, 0);
    Ok(())
}

#[tokio::test]
async fn leave_at_the_prompt_answers_and_ends_the_peer() -> Result<()> {
    let (_turn, dir) = (turn().await?, tempfile::tempdir()?);
    let (mut stays, addr) = Talk::peer([Path::new("--data-dir"), &dir.path().join("stays")]).await?;
    let mut screen = Screen::peer(&dir.path().join("leaves"), &["--bootstrap", &addr, "--timeout", "60s"], "")?;
    screen.shows("xorum> ").await?;
    screen.types("put k v\r")?;
    screen.shows("OK version=").await?;
    screen.types("leave\r")?;
    screen.shows("OK\r\n").await?;
    assert_eq!(screen.ends(STOPS_WITHIN).await?, 0);
    assert_eq!(stays.ask("get k").await?, "v");
    Ok(())
}
