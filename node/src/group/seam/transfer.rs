//! A leader hands over (§3.10 of the Raft dissertation).

use xorum_behaviours::wire::ReplicaId;

use super::{Facts, Violation, limits, vote};
use crate::group::raft::TransferRequest;

/// Only the leader itself may end its leadership, and only with a log that it can hold.
pub(super) fn check(request: &TransferRequest, sender: ReplicaId, facts: &Facts<'_>) -> Result<(), Violation> {
    vote::of_leader(request.from_leader(), sender, facts)?;
    request.last_log_id().map_or(Ok(()), |last| limits::log_id_under(last, request.from_leader()))
}
