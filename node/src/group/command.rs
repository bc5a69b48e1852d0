//! What an entry carries and what applying it answers.

use std::fmt;

use libp2p::PeerId;
use serde::{Deserialize, Serialize};
use xorum_behaviours::wire::{Answer, ClientCommand, GroupClock, Refusal, ReplicaNumber};

/// What a log entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The leader's group clock when it was proposed.
    pub clock: GroupClock,
    /// What it does.
    pub body: Body,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// A client's command.
    Client(ClientCommand),
    /// Takes the next replica number, for a replica of this peer.
    Mint {
        /// Whose replica it will name.
        peer: PeerId,
    },
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Client(command) => write!(f, "client {:?} {}", command.id.session, command.id.number),
            Body::Mint { peer } => write!(f, "mint for {peer}"),
        }
    }
}

/// What applying an entry answers to whoever proposed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// A blank or a membership entry.
    Nothing,
    /// A client's command took effect, now or as an earlier copy.
    Answered(Answer),
    /// A client's command had no effect.
    Refused(Refusal),
    /// The number taken.
    Minted(ReplicaNumber),
}
