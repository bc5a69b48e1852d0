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
    let chunk_limit = timeouts::chunk(option, CHUNK_BYTES);
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
    match ask(route, end, timeouts::install(option)).await? {
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
