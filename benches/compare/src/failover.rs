//! How long it takes until a write succeeds again.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use tokio::time::{sleep, timeout};

use crate::drive::Store;

/// How long one attempt to write may take before the next is made.
pub const ATTEMPT: Duration = Duration::from_millis(500);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a failover may take.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
/// Between two trials: what was restarted has caught up.
const SETTLE: Duration = Duration::from_secs(2);

/// Writes until a write succeeds; the seconds that it took.
pub async fn until_written(store: &mut Store) -> Result<f64> {
    let began = Instant::now();
    while began.elapsed() < GIVE_UP_AFTER {
        let written = store.put("failover".to_owned(), b"after".to_vec());
        if let Ok(Ok(())) = timeout(ATTEMPT, written).await {
            return Ok(began.elapsed().as_secs_f64());
        }
        sleep(PAUSE).await;
    }
    bail!("no write succeeds for {GIVE_UP_AFTER:?}")
}

/// Gives a cluster whose member was restarted the time to be itself again.
pub async fn settled() {
    sleep(SETTLE).await;
}

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
