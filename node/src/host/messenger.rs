//! Carries groups' messages over links.

use std::time::Duration;

use libp2p::PeerId;
use serde::{Serialize, de::DeserializeOwned};
use xorum_behaviours::{
    links::{self, Class},
    wire::{self, BulkAnswer, BulkRequest, PeerAnswer, PeerRequest},
};

use crate::group::messenger::{AskError, Messenger};

/// The links to other peers, as groups use them.
#[derive(Clone, Debug)]
pub struct LinksMessenger(pub links::Client);

impl LinksMessenger {
    async fn exchange<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        to: PeerId,
        class: Class,
        request: &Q,
        within: Duration,
    ) -> Result<A, AskError> {
        let body = wire::encode(request).map_err(|e| AskError::NotSent(e.to_string()))?;
        let answer = self.0.request(to, class, body.into(), within).await.map_err(|error| match error.was_sent() {
            true => AskError::MaybeSent(error.to_string()),
            false => AskError::NotSent(error.to_string()),
        })?;
        wire::decode(&answer).map_err(|e| AskError::Malformed(e.to_string()))
    }
}

impl Messenger for LinksMessenger {
    async fn ask(&self, to: PeerId, request: PeerRequest, within: Duration) -> Result<PeerAnswer, AskError> {
        self.exchange(to, Class::Raft, &request, within).await
    }

    async fn bulk(&self, to: PeerId, request: BulkRequest, within: Duration) -> Result<BulkAnswer, AskError> {
        self.exchange(to, Class::Bulk, &request, within).await
    }
}
