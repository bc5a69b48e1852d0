//! A peer as a process of its own: the real binary on a data directory.

use std::{
    env,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};
use xorum_node::{Multiaddr, PeerId};

/// How long a peer may take until it is ready, or gone after it was killed.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The lines of a peer's log that are shown when a test fails.
const LOG_LINES_SHOWN: usize = 80;

/// How to start a peer; it can be started again and again.
#[derive(Clone, Debug)]
pub struct Launch {
    binary: PathBuf,
    data_dir: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl Launch {
    /// The binary under test on a data directory, on a loopback port that the system chooses.
    ///
    /// # Errors
    /// When there is no binary: see [`binary`].
    pub fn new(data_dir: impl Into<PathBuf>) -> Result<Self> {
        Ok(Self::of(binary()?, data_dir).arg("--listen").arg("/ip4/127.0.0.1/tcp/0"))
    }

    /// Any binary, told `run --no-repl --data-dir …`.
    pub fn of(binary: impl Into<PathBuf>, data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        let args = ["run".into(), "--no-repl".into(), "--data-dir".into(), data_dir.clone().into_os_string()];
        Self { binary: binary.into(), data_dir, args: args.into(), env: Vec::new() }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// One more address to bootstrap from.
    #[must_use]
    pub fn bootstrap(self, addr: &Multiaddr) -> Self {
        self.arg("--bootstrap").arg(addr.to_string())
    }

    /// One more environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Where the peer's log goes: beside its data directory, appended to at each start.
    pub fn log_path(&self) -> PathBuf {
        let mut name = self.data_dir.clone().into_os_string();
        name.push(".log");
        name.into()
    }

    /// Starts it and waits for its `ready` line.
    ///
    /// # Errors
    /// When it ends, or says something else, or nothing for 30 s; the error carries the end of its log.
    pub async fn start(&self) -> Result<Process> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).context("the peer's log")?;
        let stdout_log = log.try_clone().context("the peer's log")?;
        let mut child = Command::new(&self.binary)
            .args(&self.args)
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let ready = timeout(READY_WITHIN, lines.next_line()).await;
        let (peer, addrs) = match ready.map_err(|_| anyhow!("not ready within {READY_WITHIN:?}")) {
            Ok(Ok(Some(line))) => parse_ready(&line),
            Ok(Ok(None)) => {
                Err(anyhow!("it ended before it was ready: {:?}", timeout(READY_WITHIN, child.wait()).await))
            }
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(error),
        }
        .with_context(|| format!("{}\n{}", self.log_path().display(), log_tail(&self.log_path())))?;
        tokio::spawn(drain(lines, stdout_log));
        Ok(Process { launch: self.clone(), child, peer, addrs })
    }
}

/// A running peer; killed when dropped. When a test fails, the end of its log is shown.
#[derive(Debug)]
pub struct Process {
    launch: Launch,
    child: Child,
    peer: PeerId,
    addrs: Vec<Multiaddr>,
}

impl Process {
    /// Its id, as it said.
    pub const fn peer_id(&self) -> PeerId {
        self.peer
    }

    /// Where it listens, as it said: each ends in its id.
    pub fn addrs(&self) -> &[Multiaddr] {
        &self.addrs
    }

    /// The first of [`Self::addrs`].
    pub fn addr(&self) -> &Multiaddr {
        &self.addrs[0]
    }

    /// How it was started.
    pub const fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Ends it as `kill -9` does, and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be.
    pub async fn kill(&mut self) -> Result<()> {
        timeout(READY_WITHIN, self.child.kill()).await.context("still there after kill -9")?.context("kill -9")
    }

    /// Holds it, as `kill -STOP` does, until [`Self::resume`]; it does not notice.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Asks it to stop, as `kill` does, and waits until it has.
    ///
    /// # Errors
    /// When it does not within `within`.
    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.ended(within).await
    }

    /// Asks it to stop, as Ctrl-C does, and waits until it has.
    ///
    /// # Errors
    /// When it does not within `within`.
    pub async fn interrupt(&mut self, within: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGINT)?;
        self.ended(within).await
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it does not within `within`.
    pub async fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let ended = timeout(within, self.child.wait()).await;
        Ok(ended.with_context(|| format!("{} still runs after {within:?}", self.peer))??)
    }

    /// Starts it again on its directory, killing it first if it still runs.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        *self = self.launch.start().await?;
        Ok(())
    }

    /// Its resident memory, in bytes.
    ///
    /// # Errors
    /// When it has ended, or the system has no `/proc`.
    pub fn resident_bytes(&self) -> Result<u64> {
        resident_bytes(self.pid()?)
    }

    fn pid(&self) -> Result<u32> {
        self.child.id().with_context(|| format!("{} has ended", self.peer))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid()?)?);
        kill(pid, signal).with_context(|| format!("{signal} to {}", self.peer))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.launch.log_path();
            eprintln!("--- {} {}\n{}", self.peer, log.display(), log_tail(&log));
        }
    }
}

/// The binary under test: `XORUM_BIN`, or `xorum` of the profile that this test was built with. It builds nothing.
///
/// # Errors
/// When there is none.
pub fn binary() -> Result<PathBuf> {
    if let Some(given) = env::var_os("XORUM_BIN") {
        return Ok(given.into());
    }
    // target/<profile>/deps/<this test>
    let test = env::current_exe().context("where this test is")?;
    let found = test.ancestors().skip(1).take(2).map(|dir| dir.join("xorum")).find(|path| path.is_file());
    found.with_context(|| format!("no xorum beside {}: `cargo build` it first, or set XORUM_BIN", test.display()))
}

/// The resident memory of a process, in bytes.
pub(super) fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")).context("no VmRSS in its status")?;
    Ok(kib.trim().parse::<u64>()? * 1024)
}

/// Reads `ready peer=<PeerId> addr=<multiaddr> addr=…`.
fn parse_ready(line: &str) -> Result<(PeerId, Vec<Multiaddr>)> {
    let mut words = line.split(' ');
    let (Some("ready"), Some(peer)) = (words.next(), words.next().and_then(|word| word.strip_prefix("peer="))) else {
        bail!("no ready line: {line:?}");
    };
    let peer: PeerId = peer.parse().with_context(|| format!("no peer id: {line:?}"))?;
    let mut addrs = Vec::new();
    for word in words {
        let addr = word.strip_prefix("addr=").with_context(|| format!("no addr= in {word:?}"))?;
        if !addr.ends_with(&format!("/p2p/{peer}")) {
            bail!("{addr} does not end in /p2p/{peer}");
        }
        addrs.push(addr.parse().with_context(|| format!("no multiaddr: {addr:?}"))?);
    }
    if addrs.is_empty() {
        bail!("no address: {line:?}");
    }
    Ok((peer, addrs))
}

/// Keeps what else it says on stdout in its log, so that it never blocks.
async fn drain(mut lines: Lines<BufReader<ChildStdout>>, mut log: File) {
    while let Ok(Some(line)) = lines.next_line().await {
        if io::Write::write_all(&mut log, format!("stdout: {line}\n").as_bytes()).is_err() {
            return;
        }
    }
}

fn log_tail(path: &Path) -> String {
    let log = fs::read(path).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::{super::until, *};

    const WITHIN: Duration = Duration::from_secs(30);

    /// A stand-in for the binary: a script, run by the shell, that gets the same arguments.
    fn stand_in(dir: &Path, script: &str) -> Result<Launch> {
        let path = dir.join("stand-in");
        fs::write(&path, script)?;
        Ok(Launch::of("/bin/sh", dir.join("peer")).prefixed(path))
    }

    impl Launch {
        fn prefixed(mut self, script: PathBuf) -> Self {
            self.args.insert(0, script.into_os_string());
            self
        }
    }

    fn ready(peer: &PeerId) -> String {
        format!(
            "ready peer={peer} addr=/ip4/127.0.0.1/tcp/4001/p2p/{peer} addr=/ip4/127.0.0.1/udp/4001/quic-v1/p2p/{peer}"
        )
    }

    #[tokio::test]
    async fn a_peer_is_started_killed_and_started_again_with_the_same_arguments() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let peer = PeerId::random();
        let script = format!("echo \"$@\" >&2; echo {:?}; while :; do sleep 1; done", ready(&peer));
        let launch = stand_in(dir.path(), &script)?.bootstrap(&"/ip4/127.0.0.1/tcp/1".parse()?);
        let mut process = launch.start().await?;
        assert_eq!(process.peer_id(), peer);
        assert_eq!(process.addrs().len(), 2);
        assert!(process.resident_bytes()? > 10_000);
        let first = process.pid()?;
        process.restart().await?;
        assert_ne!(process.pid()?, first);
        let data_dir = dir.path().join("peer");
        let told = format!("run --no-repl --data-dir {} --bootstrap /ip4/127.0.0.1/tcp/1\n", data_dir.display());
        assert_eq!(fs::read_to_string(launch.log_path())?, told.repeat(2));
        process.kill().await?;
        assert!(process.resident_bytes().is_err(), "it is gone");
        Ok(())
    }

    #[tokio::test]
    async fn a_peer_is_held_let_go_on_and_asked_to_stop() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let script = format!("trap 'exit 7' TERM; echo {:?}; while :; do sleep 0.01; done", ready(&PeerId::random()));
        let mut process = stand_in(dir.path(), &script)?.start().await?;
        let path = format!("/proc/{}/stat", process.pid()?);
        let state = || fs::read_to_string(&path).ok().and_then(|stat| stat.split(") ").nth(1)?.chars().next());
        process.pause()?;
        until("it is held", WITHIN, || async { (state() == Some('T')).then_some(()) }).await?;
        process.resume()?;
        until("it goes on", WITHIN, || async { (state() != Some('T')).then_some(()) }).await?;
        assert_eq!(process.terminate(WITHIN).await?.code(), Some(7));
        assert!(process.pause().is_err(), "it has ended");
        Ok(())
    }

    #[tokio::test]
    async fn a_peer_that_is_held_dies_when_it_is_dropped() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let script = format!("echo {:?}; while :; do sleep 1; done", ready(&PeerId::random()));
        let process = stand_in(dir.path(), &script)?.start().await?;
        let pid = process.pid()?;
        process.pause()?;
        drop(process);
        let gone = || async {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        };
        until("it is gone", WITHIN, gone).await
    }

    #[tokio::test]
    async fn a_peer_that_does_not_start_says_why() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let launch = stand_in(dir.path(), "echo 'the disk is full' >&2; exit 1")?;
        let error = format!("{:#}", launch.start().await.expect_err("it ends"));
        assert!(error.contains("the disk is full") && error.contains("ended before it was ready"), "{error}");
        Ok(())
    }

    #[tokio::test]
    async fn a_peer_that_was_killed_did_not_exit() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let script = format!("echo {:?}; kill -9 $$", ready(&PeerId::random()));
        let mut process = stand_in(dir.path(), &script)?.start().await?;
        assert_eq!(process.ended(WITHIN).await?.signal(), Some(9));
        Ok(())
    }

    #[test]
    fn only_a_ready_line_is_one() {
        let peer = PeerId::random();
        assert_eq!(parse_ready(&ready(&peer)).ok().map(|(peer, addrs)| (peer, addrs.len())), Some((peer, 2)));
        let other = ready(&PeerId::random()).replace("ready peer=", "ready peer=x");
        let no_addr = format!("ready peer={peer}");
        let not_its_own = format!("ready peer={peer} addr=/ip4/127.0.0.1/tcp/4001/p2p/{}", PeerId::random());
        for line in ["", "ERR internal", &other, &no_addr, &not_its_own] {
            assert!(parse_ready(line).is_err(), "{line}");
        }
    }
}
