//! `status`: describes the peer, in a line closed by `END`.

use crate::{output::Answer, store::Store};

/// Describes the peer.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Status {}

impl Status {
    pub(crate) async fn run(self, store: &impl Store) -> Answer {
        store.status().await.map_or_else(Answer::from, Answer::Status)
    }
}
