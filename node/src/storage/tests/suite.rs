//! openraft's own suite.

use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use tempfile::TempDir;

use super::rig::{directory, one_replica};
use crate::{
    group::raft::TypeConfig,
    storage::{LogStore, StateMachine, Storage},
};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, (Storage, TempDir)> for Builder {
    async fn build(&self) -> Result<((Storage, TempDir), LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = directory();
        let (storage, replica) = one_replica(dir.path()).await;
        Ok(((storage, dir), replica.log, replica.machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_suite_passes() {
    Suite::test_all(Builder).await.expect("the suite passes");
}
