//! `watch KEY [--count N]`: answers `version=N value=…` or `version=N deleted` for each change.

use std::{ffi::OsString, io};

use futures::StreamExt;

use super::bytes;
use crate::{
    output::{Answer, Output},
    store::Store,
};

/// Prints each change of a key.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Watch {
    /// The key: up to 1 KiB of any bytes; one that looks like an option stands after `--`
    #[arg(value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) key: OsString,
    /// End after this many changes [default: watch until interrupted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

impl Watch {
    /// Prints until `count` changes were seen. The error that ended it earlier is returned, not printed; the outer
    /// error is the output's.
    pub(crate) async fn run(self, store: &impl Store, output: &mut Output) -> io::Result<Option<Answer>> {
        let mut changes = store.watch(bytes(self.key));
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 {
            match changes.next().await {
                Some(Ok(change)) => output.print(&Answer::Changed(change))?,
                Some(Err(error)) => return Ok(Some(error.into())),
                None => return Ok(None),
            }
            left -= 1;
        }
        Ok(None)
    }
}
