//! `help [COMMAND]`: lists the commands, or explains one; closed by `END`. Made from the grammar itself.

use clap::{Arg, Command, CommandFactory};

use super::Spoken;
use crate::output::{Answer, Failure};

/// Lists the commands, or explains one.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Help {
    /// The command to explain [default: list all]
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Option<String>,
}

impl Help {
    pub(crate) fn run(self) -> Answer {
        match self.command {
            None => Answer::Help(list()),
            Some(name) => match find(&name) {
                Some(command) => Answer::Help(explain(&command)),
                None => Failure::invalid(format!("unknown command {name:?}: `help` lists the commands")).into(),
            },
        }
    }
}

/// The grammar of one command.
pub(crate) fn find(name: &str) -> Option<Command> {
    Spoken::command().find_subcommand(name).cloned()
}

/// The names of all commands.
pub(crate) fn names() -> Vec<String> {
    Spoken::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

/// The options of a command, as they are typed.
pub(crate) fn options(name: &str) -> Vec<String> {
    let Some(command) = find(name) else { return Vec::new() };
    options_of(&command).filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect()
}

fn options_of(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_positional())
}

/// Does the command take options?
pub(crate) fn has_options(name: &str) -> bool {
    !options(name).is_empty()
}

/// What follows a command's name: `KEY VALUE`.
pub(crate) fn parameters(name: &str) -> Vec<String> {
    let Some(command) = find(name) else { return Vec::new() };
    let positional = command.get_positionals().map(|arg| {
        let value = value_name(arg);
        if arg.is_required_set() { value } else { format!("[{value}]") }
    });
    let options = options_of(&command).map(|arg| format!("[{}]", option(arg)));
    positional.chain(options).collect()
}

/// `--count N`, or `--stale`.
fn option(arg: &Arg) -> String {
    let long = arg.get_long().unwrap_or_default();
    if arg.get_action().takes_values() { format!("--{long} {}", value_name(arg)) } else { format!("--{long}") }
}

fn value_name(arg: &Arg) -> String {
    arg.get_value_names().map(|names| names.join(" ")).unwrap_or_default()
}

/// How a command is used: `put KEY VALUE`.
pub(crate) fn usage(name: &str) -> String {
    std::iter::once(name.to_owned()).chain(parameters(name)).collect::<Vec<_>>().join(" ")
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn list() -> String {
    let mut lines: Vec<_> = Spoken::command()
        .get_subcommands()
        .map(|command| format!("{:<30} {}", usage(command.get_name()), about(command)))
        .collect();
    lines.push(
        "Keys and values are separated by blanks. Between double quotes \\\" \\\\ \\n \\r \\t \\0 \\xNN \\u{N} are escapes."
            .to_owned(),
    );
    lines.join("\n")
}

fn explain(command: &Command) -> String {
    let mut lines = vec![usage(command.get_name()), format!("  {}", about(command))];
    for arg in command.get_arguments() {
        let name = if arg.is_positional() { value_name(arg) } else { option(arg) };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        lines.push(format!("  {name:<12} {help}"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_every_command_with_its_usage() {
        let list = list();
        for name in names() {
            assert!(list.lines().any(|line| line.starts_with(&usage(&name))), "{name}");
            assert!(!about(&find(&name).expect("a command")).is_empty(), "{name}");
        }
        assert!(list.lines().all(|line| line != "END"));
        assert_eq!(usage("get"), "get KEY [--stale] [--meta]");
        assert_eq!(usage("watch"), "watch KEY [--count N]");
    }

    #[test]
    fn every_parameter_is_explained() {
        for name in names() {
            let command = find(&name).expect("a command");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{name} {}", arg.get_id());
            }
        }
    }
}
