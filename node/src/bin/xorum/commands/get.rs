//! `get KEY [--stale] [--meta]`: answers the value, or `(not found)`.

use std::ffi::OsString;

use super::bytes;
use crate::{output::Answer, store::Store};

/// Reads a value.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Get {
    /// The key: up to 1 KiB of any bytes; one that looks like an option stands after `--`
    #[arg(value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) key: OsString,
    /// Read what the nearest replica has applied, which may lack the newest writes
    #[arg(long)]
    pub(crate) stale: bool,
    /// Print the version too, and of a stale read for how many milliseconds, at most, it missed writes
    #[arg(long)]
    pub(crate) meta: bool,
}

impl Get {
    pub(crate) async fn run(self, store: &impl Store) -> Answer {
        let key = bytes(self.key);
        let read = if self.stale {
            store.get_stale(key).await.map(|read| (read.found, Some(read.stale)))
        } else {
            store.get(key).await.map(|found| (found, None))
        };
        match read {
            Ok((Some(found), stale)) => Answer::Value { found, stale, meta: self.meta },
            Ok((None, _)) => Answer::NotFound,
            Err(error) => error.into(),
        }
    }
}
