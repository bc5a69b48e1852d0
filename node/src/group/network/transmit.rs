//! A snapshot, sent in chunks.
//!
//! Chunks go one after the other, each answered before the next leaves; the next one's rows are read meanwhile. They
//! are numbered, so that one whose answer was lost is sent again: the receiver stores it once. A transfer that breaks
//! off is begun anew by openraft, after its backoff, under a new name.

use std::{sync::Arc, time::Duration};

use openraft::{
    RPCTypes, StorageError, errors::StreamingError, network::RPCOption, raft::SnapshotResponse,
    type_config::TypeConfigExt,
};
use tokio::{task, time};
use xorum_behaviours::wire::{BulkAnswer, BulkRequest, SnapshotRow, TransferId};

use super::{
    client::{Route, refused, unreachable},
    timeouts,
};
use crate::group::{
    messenger::{AskError, Messenger},
    raft::{SnapshotMeta, TypeConfig, Vote},
    seam::{self, SnapshotHead, Violation},
    snapshot::{SnapshotError, SnapshotSource},
};

/// About how many bytes of keys and values a chunk has.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;

/// How often one chunk stays unanswered before the transfer breaks off.
const TRIES: usize = 4;

type Failure = StreamingError<TypeConfig>;

/// Sends a snapshot and waits until it is installed.
pub(super) async fn send<M: Messenger, S: SnapshotSource>(
    route: &Arc<Route<M>>,
    vote: Vote,
    meta: SnapshotMeta,
    source: S,
    option: &RPCOption,
) -> Result<SnapshotResponse<TypeConfig>, Failure> {
    let head = seam::encode(&SnapshotHead { vote, meta }).map_err(unreachable)?;
    let transfer = TransferId(rand::random());
    let begin = BulkRequest::Begin {
        transfer,
        group: route.group,
        origin: route.origin,
        from: route.me.number,
        to: route.target.number,
        head: head.into(),
    };
    let mut reading = read(source);
    let chunk_limit = route.limits.chunk(option, CHUNK_BYTES);
    if let Some(installed) = ask(route, begin, chunk_limit).await? {
        return judge(route, &vote, &installed);
    }
    let (mut chunks, mut rows_sent) = (0, 0);
    loop {
        let (source, rows) = reading.await.map_err(|error| lost(SnapshotError::Storage(error.to_string())))?;
        let rows = rows.map_err(lost)?;
        if rows.is_empty() {
            break;
        }
        reading = read(source);
        rows_sent += rows.len() as u64;
        let request = BulkRequest::Rows { transfer, sequence: chunks, rows };
        if let Some(installed) = ask(route, request, chunk_limit).await? {
            return judge(route, &vote, &installed);
        }
        chunks += 1;
    }
    let end = BulkRequest::End { transfer, chunks, rows: rows_sent };
    match ask(route, end, route.limits.install(option)).await? {
        Some(installed) => judge(route, &vote, &installed),
        None => Err(route.violated(Violation::UnexpectedAnswer).into()),
    }
}

type Chunk<S> = (S, Result<Vec<SnapshotRow>, SnapshotError>);

/// Reads the next rows where blocking does not hold others up.
fn read<S: SnapshotSource>(mut source: S) -> task::JoinHandle<Chunk<S>> {
    task::spawn_blocking(move || {
        let rows = source.next_rows(CHUNK_BYTES);
        (source, rows)
    })
}

/// What cannot be read here stops this replica.
fn lost(error: SnapshotError) -> Failure {
    StorageError::read_snapshot(None, TypeConfig::err_from_error(&error)).into()
}

fn judge<M: Messenger>(route: &Route<M>, vote: &Vote, body: &[u8]) -> Result<SnapshotResponse<TypeConfig>, Failure> {
    Ok(seam::answer_snapshot(body, vote, route.me).map_err(|why| route.violated(why))?)
}

/// Sends one message of the transfer, and again while the other side is busy or where only the answer may have been
/// lost: Raft's answer if the transfer is over, none if it goes on.
async fn ask<M: Messenger>(
    route: &Route<M>,
    request: BulkRequest,
    within: Duration,
) -> Result<Option<bytes::Bytes>, Failure> {
    let deadline = time::Instant::now() + within;
    let mut waits = timeouts::backoff();
    let mut tries = 0;
    loop {
        let asked = route.messenger.bulk(route.target.peer, request.clone(), within);
        let failure: Failure = match time::timeout(within, asked).await {
            Ok(Ok(BulkAnswer::Continue)) => return Ok(None),
            Ok(Ok(BulkAnswer::Installed(body))) => return Ok(Some(body)),
            Ok(Ok(BulkAnswer::NotYet)) => return Err(unreachable("not seeded yet").into()),
            Ok(Ok(BulkAnswer::Gone(dead))) => return Err(route.gone(dead).into()),
            Ok(Ok(BulkAnswer::Refused(why))) => return Err(refused(&why).into()),
            Ok(Err(AskError::Malformed(why))) => return Err(route.violated(Violation::Malformed(why)).into()),
            Ok(Ok(BulkAnswer::Busy)) if time::Instant::now() < deadline => unreachable("busy").into(),
            Ok(Ok(BulkAnswer::Busy)) => return Err(unreachable("busy").into()),
            Ok(Err(error)) => {
                tries += 1;
                StreamingError::from(route.failed(error))
            }
            Err(_) => {
                tries += 1;
                route.timed_out(RPCTypes::InstallSnapshot, within).into()
            }
        };
        match waits.next() {
            Some(wait) if tries < TRIES => time::sleep(wait).await,
            _ => return Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::{RaftNetworkV2, errors::ReplicationClosed};
    use xorum_behaviours::wire::ReplicaNumber;

    use super::*;
    use crate::group::{
        network::{
            testing::{Far, client, leader, rows, snapshot, wish},
            timeouts::Purpose,
        },
        seam::testing::{log_id, replica},
    };

    async fn answered(far: &mut Far, answer: Result<BulkAnswer, AskError>) -> BulkRequest {
        let asked = far.bulk.recv().await.expect("the client sends");
        asked.answer.send(answer).expect("the client waits");
        asked.request
    }

    fn installed(vote: Vote) -> Result<BulkAnswer, AskError> {
        Ok(BulkAnswer::Installed(seam::encode(&vote).expect("it is small").into()))
    }

    #[tokio::test]
    async fn a_snapshot_goes_in_order_and_a_chunk_whose_answer_was_lost_goes_again() {
        let (mut client, mut far) = client(Purpose::Replication);
        let sent = client.full_snapshot(leader(), snapshot(rows(3), None), std::future::pending(), wish(200));
        let far_end = async {
            let BulkRequest::Begin { transfer, head, to, .. } = answered(&mut far, Ok(BulkAnswer::Continue)).await
            else {
                panic!("it begins with its head")
            };
            let head: SnapshotHead = seam::decode(&head).expect("a head");
            assert_eq!((head.vote, head.meta.last_log_id, to), (leader(), Some(log_id(1, 5)), ReplicaNumber(2)));
            let lost = Err(AskError::MaybeSent("cut".into()));
            let answers = [
                Ok(BulkAnswer::Continue),
                lost,
                Ok(BulkAnswer::Busy),
                Ok(BulkAnswer::Continue),
                Ok(BulkAnswer::Continue),
            ];
            for (answer, expected) in answers.into_iter().zip([0, 1, 1, 1, 2]) {
                let request = answered(&mut far, answer).await;
                let row = rows(3)[expected as usize].clone();
                assert_eq!(request, BulkRequest::Rows { transfer, sequence: expected, rows: vec![row] });
            }
            let end = answered(&mut far, installed(leader())).await;
            assert_eq!(end, BulkRequest::End { transfer, chunks: 3, rows: 3 });
        };
        let (outcome, ()) = tokio::join!(sent, far_end);
        assert_eq!(outcome.expect("installed").vote, leader());
    }

    #[tokio::test]
    async fn a_snapshot_that_is_cancelled_stops_at_once() {
        let (mut client, mut far) = client(Purpose::Replication);
        let (cancel, cancelled) = tokio::sync::oneshot::channel::<()>();
        let cancelled = async move {
            let _ = cancelled.await;
            ReplicationClosed::new("stopped")
        };
        let sent = client.full_snapshot(leader(), snapshot(rows(1), None), cancelled, wish(200));
        let (outcome, _asked) = tokio::join!(sent, async {
            let asked = far.bulk.recv().await.expect("it begins");
            cancel.send(()).expect("the client waits");
            asked
        });
        assert!(matches!(outcome, Err(StreamingError::Closed(_))), "{outcome:?}");
    }

    #[tokio::test]
    async fn rows_that_cannot_be_read_are_a_storage_error() {
        let (mut client, mut far) = client(Purpose::Replication);
        let broken = snapshot(rows(1), Some(SnapshotError::Storage("torn".into())));
        let sent = client.full_snapshot(leader(), broken, std::future::pending(), wish(200));
        let (outcome, ()) = tokio::join!(sent, async {
            answered(&mut far, Ok(BulkAnswer::Continue)).await;
            answered(&mut far, Ok(BulkAnswer::Continue)).await;
        });
        assert!(matches!(outcome, Err(StreamingError::StorageError(_))), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_transfer_breaks_off_where_the_other_side_is_not_ready_refuses_or_is_gone() {
        let answers = [
            Ok(BulkAnswer::NotYet),
            Ok(BulkAnswer::Refused("no".into())),
            Ok(BulkAnswer::Gone(ReplicaNumber(2))),
            installed(Vote::new_committed(0, replica(3))),
        ];
        for answer in answers {
            let (mut client, mut far) = client(Purpose::Replication);
            let gone = matches!(answer, Ok(BulkAnswer::Gone(_)));
            let bad = matches!(answer, Ok(BulkAnswer::Installed(_)));
            let sent = client.full_snapshot(leader(), snapshot(rows(1), None), std::future::pending(), wish(200));
            let (outcome, _) = tokio::join!(sent, answered(&mut far, answer));
            assert!(matches!(outcome, Err(StreamingError::Unreachable(_))), "{outcome:?}");
            assert_eq!((far.told.gone.lock().len() == 1, far.told.misbehaved.lock().len() == 1), (gone, bad));
        }
    }

    #[tokio::test]
    async fn a_higher_vote_told_after_a_snapshot_is_handed_on_without_being_called_granted() {
        let (mut client, mut far) = client(Purpose::Replication);
        let sent = client.full_snapshot(leader(), snapshot(rows(0), None), std::future::pending(), wish(200));
        let (outcome, ()) = tokio::join!(sent, async {
            answered(&mut far, Ok(BulkAnswer::Continue)).await;
            answered(&mut far, installed(Vote::new_committed(3, replica(2)))).await;
        });
        assert_eq!(outcome.expect("answered").vote, Vote::new(3, replica(2)));
    }
}
