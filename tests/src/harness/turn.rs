//! Turns: peers are processes, and a small machine bears only some at a time.

use anyhow::{Context, Result};
use tokio::sync::{Semaphore, SemaphorePermit};

/// As many tests of one test binary start processes at a time.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Waits until this test may start processes; its turn ends when what is returned is dropped.
///
/// # Errors
/// Never while the test runs.
pub async fn turn() -> Result<SemaphorePermit<'static>> {
    TURNS.acquire().await.context("no turns any more")
}
