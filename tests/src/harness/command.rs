//! Single commands: the real binary run to its end.

use std::{ffi::OsStr, process::Stdio, time::Duration};

use anyhow::{Context, Result};
use tokio::{process::Command, time::timeout};

use super::process::binary;

/// How long a command may take: far more than any deadline that it is given.
const WITHIN: Duration = Duration::from_secs(60);

/// The variables that would change what the binary does.
const VARIABLES: [&str; 17] = [
    "RUST_LOG",
    "XORUM_BOOTSTRAP",
    "XORUM_CACHE_BYTES",
    "XORUM_CONFIG",
    "XORUM_DATA_DIR",
    "XORUM_LISTEN",
    "XORUM_LOG_FORMAT",
    "XORUM_NETWORK",
    "XORUM_NO_REPL",
    "XORUM_OPEN",
    "XORUM_PROFILE",
    "XORUM_REPLACE_AFTER",
    "XORUM_REPLICAS",
    "XORUM_SETTLE_AFTER",
    "XORUM_SPLIT_BYTES",
    "XORUM_THREADS",
    "XORUM_TIMEOUT",
];

/// What a program that ran to its end left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its status; none when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// The binary under test with arguments, in an environment that sets nothing of it; killed when dropped.
///
/// # Errors
/// When there is no binary.
pub fn command(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    Ok(command)
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started, or has not ended after a minute.
pub async fn finish(command: &mut Command) -> Result<Ran> {
    let output = timeout(WITHIN, command.output()).await.with_context(|| format!("{command:?} does not end"))??;
    let text = |bytes| String::from_utf8(bytes).context("not UTF-8");
    Ok(Ran { code: output.status.code(), stdout: text(output.stdout)?, stderr: text(output.stderr)? })
}

/// Runs the binary under test to its end.
///
/// # Errors
/// As [`command`] and [`finish`].
pub async fn ran(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Ran> {
    finish(&mut command(args)?).await
}
