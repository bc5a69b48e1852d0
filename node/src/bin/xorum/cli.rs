//! The command line.
//!
//! Flags carry no default of their own: it would hide what the environment and the file say (see
//! [`Settings`]).

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use xorum_node::Multiaddr;

use crate::{
    bench::Load,
    commands,
    settings::{LogFormat, Settings, multiaddr, timeout},
};

const AFTER_HELP: &str = "\
Every setting can also be given by environment, as XORUM_DATA_DIR or XORUM_BOOTSTRAP (lists separated by commas), or in
the TOML file that --config names, as `data-dir = \"…\"`. Flags win over the environment, the environment over the file.

Exit status: 0 done, 1 an error, 2 wrong usage, 3 get or del of nothing, 4 outcome of a write unknown, 5 cas conflict.";

/// Xorum: a decentralised, strongly consistent key-value network.
///
/// Without a subcommand it runs a peer, as `xorum run` does.
#[derive(Clone, Debug, PartialEq, Parser)]
#[command(name = "xorum", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
    /// How to run when no subcommand is given.
    #[command(flatten)]
    pub(crate) run: Run,
}

/// A subcommand.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub(crate) enum Action {
    /// Run a peer with a prompt on its terminal
    #[command(after_help = AFTER_HELP)]
    Run(Run),
    /// Open a prompt as a client of a running network; keeps no data
    Connect(Client),
    /// Write a value
    Put(OneShot<commands::Put>),
    /// Read a value
    Get(OneShot<commands::Get>),
    /// Remove a key
    Del(OneShot<commands::Del>),
    /// Write a value if the key's version is the expected one (compare-and-swap)
    Cas(OneShot<commands::Cas>),
    /// Print each change of a key until interrupted
    Watch(OneShot<commands::Watch>),
    /// Describe the peer that this client is connected to
    Status(OneShot<commands::Status>),
    /// List the peers that the connected peer knows
    Peers(OneShot<commands::Peers>),
    /// List the groups that the connected peer knows
    Groups(OneShot<commands::Groups>),
    /// Tell where a key lives: its position, its group and that group's voters
    Locate(OneShot<commands::Locate>),
    /// Measure a running network under load
    Bench(OneShot<Load>),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Make the data directory a new peer's: what is in it is moved aside
    ResetIdentity {
        /// The data directory [default: `xorum` in the platform's data directory]
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
}

/// Flags of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Read settings that are not given otherwise from this TOML file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Flags of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Client {
    /// Reach the network by this peer; may be repeated [env: XORUM_BOOTSTRAP]
    ///
    /// As the peer prints it: `/ip4/192.0.2.1/tcp/4001/p2p/<PeerId>`. XORUM_BOOTSTRAP holds several separated by commas.
    #[arg(long, value_name = "MULTIADDR", value_parser = multiaddr)]
    pub(crate) bootstrap: Vec<Multiaddr>,
    /// Give an operation up after this long, such as 500ms; at most 10m [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = timeout)]
    pub(crate) timeout: Option<Duration>,
    /// Print one JSON object a result
    #[arg(long)]
    pub(crate) json: bool,
    /// Read settings that are not given otherwise from this TOML file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How log lines are written to stderr [default: text]
    ///
    /// RUST_LOG says which lines, such as `info` or `xorum_node=debug`; without it there are hardly any.
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub(crate) log_format: Option<LogFormat>,
}

/// One command, and the client that does it.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct OneShot<C: Args> {
    #[command(flatten)]
    pub(crate) command: C,
    #[command(flatten)]
    pub(crate) client: Client,
}

impl Client {
    /// What its flags set.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            bootstrap: self.bootstrap.clone(),
            timeout: self.timeout,
            log_format: self.log_format,
            ..Settings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"xorum").chain(args))
    }

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_and_every_command_has_help() {
        let command = Cli::command();
        for command in std::iter::once(&command).chain(command.get_subcommands()) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
        }
    }

    #[test]
    fn no_subcommand_means_run() {
        let bare = parse(&["--data-dir", "d", "--replicas", "3", "--open"]).expect("good flags");
        let named = parse(&["run", "--data-dir", "d", "--replicas", "3", "--open"]).expect("good flags");
        assert_eq!(bare.action, None);
        assert_eq!(named.action, Some(Action::Run(bare.run)));
    }

    #[test]
    fn one_shot_values_are_taken_as_they_are() {
        let cli = parse(&["put", "-k", "--value=\\n", "--timeout", "500ms", "--json"]).expect("good flags");
        let Some(Action::Put(put)) = cli.action else { panic!("{:?}", cli.action) };
        assert_eq!(put.command, commands::Put { key: "-k".into(), value: "--value=\\n".into() });
        assert_eq!(put.client.timeout, Some(Duration::from_millis(500)));
        assert!(put.client.json);
        let cli = parse(&["get", "--json", "--", "--json"]).expect("good flags");
        let Some(Action::Get(get)) = cli.action else { panic!("{:?}", cli.action) };
        assert_eq!(get.command.key, "--json");
        let cli = parse(&["put", "k", ""]).expect("good flags");
        let Some(Action::Put(put)) = cli.action else { panic!("{:?}", cli.action) };
        assert_eq!(put.command.value, "");
    }

    #[test]
    fn wrong_usage_names_the_flag_and_the_text() {
        for (args, flag, text) in [
            (&["--listen", "here"][..], "--listen", "here"),
            (&["get", "k", "--bootstrap", "there"], "--bootstrap", "there"),
            (&["run", "--replicas", "4"], "--replicas", "4"),
            (&["get", "k", "--timeout", "11m"], "--timeout", "11m"),
            (&["run", "--profile", "man"], "--profile", "man"),
        ] {
            let error = parse(args).expect_err("wrong usage");
            assert_eq!(error.exit_code(), 2);
            let said = error.to_string();
            assert!(said.contains(flag) && said.contains(text), "{said}");
        }
    }
}
