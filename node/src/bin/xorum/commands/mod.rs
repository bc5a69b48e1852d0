//! The commands, a file each: how each is typed, what it asks of the store, what it answers. The prompt and the
//! command line share them.

mod cas;
mod del;
mod get;
mod groups;
pub(crate) mod help;
mod leave;
mod locate;
mod peers;
mod put;
mod quit;
mod status;
mod watch;

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use bytes::Bytes;
use clap::Parser;

pub(crate) use self::{
    cas::Cas, del::Del, get::Get, groups::Groups, help::Help, leave::Leave, locate::Locate, peers::Peers, put::Put,
    quit::Quit, status::Status, watch::Watch,
};
use crate::{output::Failure, usage::one_line};

/// A command as it is typed at the prompt.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(
    name = "xorum",
    no_binary_name = true,
    disable_help_subcommand = true,
    disable_help_flag = true,
    subcommand_required = true,
    infer_subcommands = false
)]
pub(crate) enum Spoken {
    /// Write a value
    Put(Put),
    /// Read a value
    Get(Get),
    /// Remove a key
    Del(Del),
    /// Write a value if the key's version is the expected one (compare-and-swap)
    Cas(Cas),
    /// Print each change of a key
    Watch(Watch),
    /// Tell where a key lives: its position, its group and that group's voters
    Locate(Locate),
    /// Describe this peer
    Status(Status),
    /// List the peers that this peer knows
    Peers(Peers),
    /// List the groups that this peer knows
    Groups(Groups),
    /// Hand over all that this peer holds, leave every group, and end
    Leave(Leave),
    /// List the commands, or explain one
    Help(Help),
    /// End; a peer hands its leadership over first
    Quit(Quit),
}

impl Spoken {
    /// Understands words. Of a command without options every word is taken as it is, so that any key and value can
    /// be typed; where there are options, `--` ends them.
    pub(crate) fn parse(words: Vec<Vec<u8>>) -> Result<Self, Failure> {
        let mut words: Vec<_> = words.into_iter().map(OsString::from_vec).collect();
        let name = words.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if help::find(&name).is_none() {
            return Err(Failure::invalid(format!("unknown command {name:?}: `help` lists the commands")));
        }
        if !help::has_options(&name) {
            words.insert(1, OsStr::from_bytes(b"--").to_owned());
        }
        Self::try_parse_from(words)
            .map_err(|error| Failure::invalid(format!("{}; usage: {}", one_line(&error), help::usage(&name))))
    }
}

fn bytes(word: OsString) -> Bytes {
    Bytes::from(word.into_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::split;

    fn parse(line: &str) -> Result<Spoken, Failure> {
        Spoken::parse(split(line.as_bytes()).expect("words"))
    }

    #[test]
    fn the_grammar_is_sound() {
        <Spoken as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn any_word_may_be_a_key_or_a_value() {
        let put = |key: &str, value: &str| Ok(Spoken::Put(Put { key: key.into(), value: value.into() }));
        assert_eq!(parse("put --help -v"), put("--help", "-v"));
        assert_eq!(parse("put k --"), put("k", "--"));
        assert_eq!(parse("put -- --"), put("--", "--"));
        assert_eq!(parse(r#"put "" """#), put("", ""));
        assert_eq!(parse("del -h"), Ok(Spoken::Del(Del { key: "-h".into() })));
        let get = |key: &str, stale, meta| Ok(Spoken::Get(Get { key: key.into(), stale, meta }));
        assert_eq!(parse("get -- --stale"), get("--stale", false, false));
        assert_eq!(parse("get --stale -- --"), get("--", true, false));
        assert_eq!(parse("get -k --meta"), get("-k", false, true));
    }

    #[test]
    fn options_stand_before_or_after_the_key() {
        let expected = Ok(Spoken::Get(Get { key: "k".into(), stale: true, meta: true }));
        assert_eq!(parse("get k --stale --meta"), expected);
        assert_eq!(parse("get --meta k --stale"), expected);
    }

    #[test]
    fn what_is_not_understood_is_explained_in_one_line() {
        for (line, message) in [
            ("frobnicate", "unknown command \"frobnicate\": `help` lists the commands"),
            ("put k", "missing <VALUE>; usage: put KEY VALUE"),
            ("put k v w", "unexpected argument 'w' found; usage: put KEY VALUE"),
            (
                "cas k x v",
                "invalid value 'x' for '<EXPECTED>': neither a version nor `absent`; usage: cas KEY EXPECTED VALUE",
            ),
            ("status now", "unexpected argument 'now' found; usage: status"),
        ] {
            assert_eq!(parse(line), Err(Failure::invalid(message)), "{line}");
        }
    }
}
