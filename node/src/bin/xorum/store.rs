//! What commands need of a node, so that they can be tried without one.

use bytes::Bytes;
use futures::{future::Future, stream::BoxStream};
use xorum_node::{
    Node,
    api::{Change, Expected, GroupInfo, Location, PeerInfo, PeerStatus, StaleRead, Swap, Version, Versioned},
    error::OpError,
};

/// The operations of a [`Node`]; see there.
pub(crate) trait Store: Clone + Send + Sync + 'static {
    fn put(&self, key: Bytes, value: Bytes) -> impl Future<Output = Result<Version, OpError>> + Send;
    fn get(&self, key: Bytes) -> impl Future<Output = Result<Option<Versioned>, OpError>> + Send;
    fn get_stale(&self, key: Bytes) -> impl Future<Output = Result<StaleRead, OpError>> + Send;
    fn delete(&self, key: Bytes) -> impl Future<Output = Result<Option<Version>, OpError>> + Send;
    fn compare_and_swap(
        &self,
        key: Bytes,
        expected: Expected,
        value: Bytes,
    ) -> impl Future<Output = Result<Swap, OpError>> + Send;
    fn watch(&self, key: Bytes) -> BoxStream<'static, Result<Change, OpError>>;
    fn locate(&self, key: Bytes) -> impl Future<Output = Result<Location, OpError>> + Send;
    fn status(&self) -> impl Future<Output = Result<PeerStatus, OpError>> + Send;
    fn peers(&self) -> impl Future<Output = Result<Vec<PeerInfo>, OpError>> + Send;
    fn groups(&self) -> impl Future<Output = Result<Vec<GroupInfo>, OpError>> + Send;
    fn leave(&self) -> impl Future<Output = Result<(), OpError>> + Send;
}

impl Store for Node {
    async fn put(&self, key: Bytes, value: Bytes) -> Result<Version, OpError> {
        Node::put(self, key, value).await
    }

    async fn get(&self, key: Bytes) -> Result<Option<Versioned>, OpError> {
        Node::get(self, key).await
    }

    async fn get_stale(&self, key: Bytes) -> Result<StaleRead, OpError> {
        Node::get_stale(self, key).await
    }

    async fn delete(&self, key: Bytes) -> Result<Option<Version>, OpError> {
        Node::delete(self, key).await
    }

    async fn compare_and_swap(&self, key: Bytes, expected: Expected, value: Bytes) -> Result<Swap, OpError> {
        Node::compare_and_swap(self, key, expected, value).await
    }

    fn watch(&self, key: Bytes) -> BoxStream<'static, Result<Change, OpError>> {
        Node::watch(self, key)
    }

    async fn locate(&self, key: Bytes) -> Result<Location, OpError> {
        Node::locate(self, key).await
    }

    async fn status(&self) -> Result<PeerStatus, OpError> {
        Node::status(self).await
    }

    async fn peers(&self) -> Result<Vec<PeerInfo>, OpError> {
        Node::peers(self).await
    }

    async fn groups(&self) -> Result<Vec<GroupInfo>, OpError> {
        Node::groups(self).await
    }

    async fn leave(&self) -> Result<(), OpError> {
        Node::leave(self).await
    }
}
