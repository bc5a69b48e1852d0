//! `groups`: a line a group, closed by `END`.

use crate::{output::Answer, store::Store};

/// Lists the groups known.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Groups {}

impl Groups {
    pub(crate) async fn run(self, store: &impl Store) -> Answer {
        store.groups().await.map_or_else(Answer::from, Answer::Groups)
    }
}
