//! `put KEY VALUE`: answers `OK version=N`.

use std::ffi::OsString;

use super::bytes;
use crate::{output::Answer, store::Store};

/// Writes a value.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Put {
    /// The key: up to 1 KiB of any bytes
    #[arg(value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) key: OsString,
    /// The value: up to 1 MiB of any bytes; may be empty
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    pub(crate) value: OsString,
}

impl Put {
    pub(crate) async fn run(self, store: &impl Store) -> Answer {
        store.put(bytes(self.key), bytes(self.value)).await.map_or_else(Answer::from, Answer::Written)
    }
}
