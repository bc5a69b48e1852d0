//! `locate KEY`: answers where the key lives.

use std::ffi::OsString;

use super::bytes;
use crate::{output::Answer, store::Store};

/// Tells where a key lives.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Locate {
    /// The key: up to 1 KiB of any bytes; it need not exist
    #[arg(value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) key: OsString,
}

impl Locate {
    pub(crate) async fn run(self, store: &impl Store) -> Answer {
        store.locate(bytes(self.key)).await.map_or_else(Answer::from, Answer::Located)
    }
}
