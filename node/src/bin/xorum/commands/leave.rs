//! `leave`: answers `OK` when no group has this peer any more; then the program ends.

use xorum_node::error::OpError;

use crate::{output::Answer, store::Store};

/// Leaves every group.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Leave {}

impl Leave {
    /// A client holds nothing, and cannot leave on another's behalf.
    pub(crate) async fn run(self, store: &impl Store, is_client: bool) -> Answer {
        if is_client {
            return OpError::Denied("a client is no member of any group: `leave` at the prompt of the peer".into())
                .into();
        }
        store.leave().await.map_or_else(Answer::from, |()| Answer::Ok)
    }
}
