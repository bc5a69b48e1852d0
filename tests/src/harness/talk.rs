//! The prompt as a pipe: a line in, its answer out.

use std::{
    ffi::OsStr,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{command::command, process::resident_bytes};

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(60);

/// Between a line and its repetition.
const PAUSE: Duration = Duration::from_millis(50);

/// A process of the binary under test that is talked to; killed when dropped.
#[derive(Debug)]
pub struct Talk {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Talk {
    /// Starts it; what it writes to stderr is this process's.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Self> {
        Self::over(&mut command(args)?)
    }

    /// Starts a command that is prepared otherwise.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn over(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        Ok(Self { child, stdin, lines })
    }

    /// Starts a peer that listens on a loopback port of the system's choice, and waits until it is ready; its address.
    ///
    /// # Errors
    /// When it cannot be started, or does not become ready.
    pub async fn peer(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<(Self, String)> {
        let mut talk = Self::over(command(["run", "--listen", "/ip4/127.0.0.1/tcp/0"])?.args(args))?;
        let addr = talk.ready().await?;
        Ok((talk, addr))
    }

    /// Waits until a peer that listens at one address is ready; its address.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn ready(&mut self) -> Result<String> {
        let ready = self.line().await?;
        let addr = ready.split_once(" addr=").with_context(|| format!("not ready: {ready}"))?.1.to_owned();
        ensure!(!addr.contains(' '), "more than one address: {ready}");
        Ok(addr)
    }

    /// The next line that it says.
    ///
    /// # Errors
    /// When it ends, or says nothing for a minute.
    pub async fn line(&mut self) -> Result<String> {
        match timeout(WITHIN, self.lines.next_line()).await.context("it says nothing")?? {
            Some(line) => Ok(line),
            None => bail!("it has ended"),
        }
    }

    /// Types one line.
    ///
    /// # Errors
    /// When it does not take it.
    pub async fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("its input is closed")?;
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(stdin.flush().await?)
    }

    /// Types one line; the first line of the answer.
    ///
    /// # Errors
    /// As [`Self::say`] and [`Self::line`].
    pub async fn ask(&mut self, line: &str) -> Result<String> {
        self.say(line).await?;
        self.line().await
    }

    /// Types one line; the lines of the answer up to `END`, which must come.
    ///
    /// # Errors
    /// As [`Self::say`] and [`Self::line`].
    pub async fn ask_all(&mut self, line: &str) -> Result<Vec<String>> {
        self.say(line).await?;
        let mut answer = Vec::new();
        loop {
            match self.line().await?.as_str() {
                "END" => return Ok(answer),
                other => answer.push(other.to_owned()),
            }
        }
    }

    /// Types a line again and again, until what is returned is dropped.
    pub fn repeat(mut self, line: &'static str) -> JoinSet<Result<()>> {
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                self.ask(line).await?;
                sleep(PAUSE).await;
            }
        });
        task
    }

    /// Ends its input.
    pub fn close(&mut self) {
        self.stdin = None;
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.pid()?)?), signal)?)
    }

    /// Its resident memory, in bytes.
    ///
    /// # Errors
    /// When it has ended, or the system has no `/proc`.
    pub fn resident_bytes(&self) -> Result<u64> {
        resident_bytes(self.pid()?)
    }

    fn pid(&self) -> Result<u32> {
        self.child.id().context("it has ended")
    }

    /// Does it still run?
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits until it ends; its status, and what else it said.
    ///
    /// # Errors
    /// When it does not within `within`.
    pub async fn ended(&mut self, within: Duration) -> Result<(ExitStatus, Vec<String>)> {
        let ended = async {
            let mut said = Vec::new();
            while let Some(line) = self.lines.next_line().await? {
                said.push(line);
            }
            Ok((self.child.wait().await?, said))
        };
        timeout(within, ended).await.with_context(|| format!("it still runs after {within:?}"))?
    }
}
