//! `peers`: a line a peer, closed by `END`.

use crate::{output::Answer, store::Store};

/// Lists the peers known.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Peers {}

impl Peers {
    pub(crate) async fn run(self, store: &impl Store) -> Answer {
        store.peers().await.map_or_else(Answer::from, Answer::Peers)
    }
}
