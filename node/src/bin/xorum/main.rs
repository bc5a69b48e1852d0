//! The `xorum` command: a peer with a prompt, a client with one, single commands, a load generator.
//!
//! - [`cli`] and [`settings`]: flags, environment, file, and what they set.
//! - [`run`]: `run` and `connect`; [`prompt`] brings lines from a terminal or a pipe, [`session`] answers them;
//!   [`words`] splits them and [`commands`] has a file for each command.
//! - [`oneshot`]: the same commands, one a process. [`mod@bench`]: load. [`reset`]: a new identity.
//! - [`output`]: answers as lines or JSON. [`usage`], [`logging`], [`signals`], [`exit`]: what they say.
//!
//! Stdout carries the ready line and answers, and nothing else.

mod bench;
mod cli;
mod commands;
mod exit;
#[cfg(test)]
mod fixtures;
mod logging;
mod oneshot;
mod output;
mod prompt;
mod reset;
mod run;
mod session;
mod settings;
mod signals;
mod store;
mod usage;
mod words;

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::{CommandFactory, Parser};
use clap_complete::Shell;

use crate::{
    cli::{Action, Cli, Run},
    exit::Exit,
    logging::Route,
    settings::{Settings, SettingsError},
};

fn main() {
    let exit = match Cli::try_parse() {
        Ok(cli) => start(cli).unwrap_or_else(|error| {
            complain(&error.to_string());
            if error.is::<SettingsError>() || error.is::<Usage>() { Exit::Usage } else { Exit::Error }
        }),
        Err(error) if error.use_stderr() => {
            complain(&format!("{}; see --help", usage::one_line(&error)));
            Exit::Usage
        }
        Err(help) => {
            // Whoever asked for help and does not read it needs none.
            let _ = help.print();
            Exit::Done
        }
    };
    // At once: a thread that waits for stdin would hold a return from main up.
    std::process::exit(exit as i32)
}

/// One line on stderr; where that cannot be written there is nobody to tell.
fn complain(text: &str) {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let _ = writeln!(io::stderr(), "xorum: {}", lines.join(" "));
}

/// Wrong usage that only shows after the command line was understood.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

fn start(Cli { action, run }: Cli) -> anyhow::Result<Exit> {
    match action.unwrap_or(Action::Run(run)) {
        Action::Completions { shell } => print_completions(shell),
        Action::ResetIdentity { data_dir } => reset_identity(data_dir),
        action => {
            let (flags, config) = settings_of(&action);
            let settings = Settings::gather(flags, config, |name| std::env::var_os(name))?;
            let route = Route::default();
            logging::start(settings.log_format, &route).map_err(Usage)?;
            let runtime = match settings.threads() {
                1 => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
                threads => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?,
            };
            runtime.block_on(act(action, settings, route))
        }
    }
}

/// The flags of an action that are settings, and the file that it names.
fn settings_of(action: &Action) -> (Settings, Option<PathBuf>) {
    let client = match action {
        Action::Run(Run { settings, config }) => return (settings.clone(), config.clone()),
        Action::Completions { .. } | Action::ResetIdentity { .. } => return Default::default(),
        Action::Connect(client) => client,
        Action::Put(one) => &one.client,
        Action::Get(one) => &one.client,
        Action::Del(one) => &one.client,
        Action::Cas(one) => &one.client,
        Action::Watch(one) => &one.client,
        Action::Status(one) => &one.client,
        Action::Peers(one) => &one.client,
        Action::Groups(one) => &one.client,
        Action::Locate(one) => &one.client,
        Action::Bench(one) => &one.client,
    };
    (client.settings(), client.config.clone())
}

async fn act(action: Action, settings: Settings, route: Route) -> anyhow::Result<Exit> {
    let is_peer = matches!(action, Action::Run(_));
    if !is_peer && settings.bootstrap.is_empty() {
        let usage = "no peer to ask: give one with --bootstrap, or several in XORUM_BOOTSTRAP separated by commas";
        return Err(Usage(usage.to_owned()).into());
    }
    match action {
        Action::Run(_) => run::run(&settings, route).await,
        Action::Connect(client) => run::connect(&settings, &client, route).await,
        Action::Put(one) => oneshot::run(&settings, one).await,
        Action::Get(one) => oneshot::run(&settings, one).await,
        Action::Del(one) => oneshot::run(&settings, one).await,
        Action::Cas(one) => oneshot::run(&settings, one).await,
        Action::Watch(one) => oneshot::run(&settings, one).await,
        Action::Status(one) => oneshot::run(&settings, one).await,
        Action::Peers(one) => oneshot::run(&settings, one).await,
        Action::Groups(one) => oneshot::run(&settings, one).await,
        Action::Locate(one) => oneshot::run(&settings, one).await,
        Action::Bench(one) => bench::run(&settings, one).await,
        Action::Completions { shell } => print_completions(shell),
        Action::ResetIdentity { data_dir } => reset_identity(data_dir),
    }
}

fn print_completions(shell: Shell) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "xorum", &mut script);
    match io::stdout().write_all(&script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Done),
    }
}

fn reset_identity(data_dir: Option<PathBuf>) -> anyhow::Result<Exit> {
    let flags = Settings { data_dir, ..Settings::default() };
    let dir = Settings::gather(flags, None, |name| std::env::var_os(name))?.data_dir()?;
    let aside = reset::reset(&dir)?;
    writeln!(
        io::stdout(),
        "OK moved={}\n{} is a new peer's at its next start: give --bootstrap to join the network again.\n\
         Delete what was moved when the network has replaced the old peer.",
        output::quote(aside.as_os_str().as_encoded_bytes()),
        dir.display(),
    )?;
    Ok(Exit::Done)
}
