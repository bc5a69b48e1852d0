//! `del KEY`: answers `OK version=N`, or `(not found)`.

use std::ffi::OsString;

use super::bytes;
use crate::{output::Answer, store::Store};

/// Removes a key.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Del {
    /// The key: up to 1 KiB of any bytes
    #[arg(value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) key: OsString,
}

impl Del {
    pub(crate) async fn run(self, store: &impl Store) -> Answer {
        match store.delete(bytes(self.key)).await {
            Ok(Some(version)) => Answer::Written(version),
            Ok(None) => Answer::NotFound,
            Err(error) => error.into(),
        }
    }
}
