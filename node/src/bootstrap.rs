//! Reaching the network, and reaching it again: dials the given and the known addresses with backoff and jitter.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use libp2p::Multiaddr;
use parking_lot::Mutex;
use rand::seq::IteratorRandom;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use xorum_behaviours::{
    admission::{AdmissionError, Gate},
    wire::{NetworkId, PeerAddrs},
};

use crate::{
    NOTICE,
    error::StartError,
    peers::PeerBook,
    swarm::{DialReport, Handle},
};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// How long a peer that knows its network waits for a word of those that it was told to bootstrap from.
const GREET_WITHIN: Duration = Duration::from_secs(2);
/// The most known addresses that one round dials.
const MAX_DIALS: usize = 32;

/// What reaching the network takes.
pub(crate) struct Bootstrap {
    pub(crate) gate: Gate,
    pub(crate) handle: Handle,
    pub(crate) book: Arc<PeerBook>,
    /// Addresses that a person gave: from these, and no others, a joiner learns its network.
    pub(crate) given: Vec<Multiaddr>,
    /// Addresses known from an earlier run.
    pub(crate) known: Vec<Multiaddr>,
    pub(crate) reports: mpsc::Receiver<DialReport>,
    /// Turns true when the network has been learned, or refused.
    pub(crate) learned: watch::Receiver<bool>,
    pub(crate) refused: Arc<Mutex<Option<StartError>>>,
}

/// Reached: what keeps a peer connected from then on.
pub(crate) struct Reached(Bootstrap);

impl Bootstrap {
    /// Dials; when the peer has no network yet, dials on until one admits it.
    ///
    /// # Errors
    /// When every given address refused for good, or the network learned is not the one that was asked for.
    pub(crate) async fn first_contact(self, must_learn: bool) -> Result<Reached, StartError> {
        for addr in &self.given {
            self.gate.expect_bootstrap(addr);
        }
        if must_learn {
            return self.contact(None).await;
        }
        self.greet().await
    }

    /// Dials once, and listens for a moment to what comes of it. A peer that knows its network serves it whether or not
    /// it reaches others now; only if all that it was told to bootstrap from are of another network was that a mistake.
    async fn greet(mut self) -> Result<Reached, StartError> {
        self.dial_all().await;
        if self.given.is_empty() {
            return Ok(Reached(self));
        }
        let patience = Instant::now() + GREET_WITHIN;
        let mut refusals = BTreeMap::new();
        let mut unheard = self.given.len() + self.known.len().min(MAX_DIALS);
        while unheard > 0 && !self.is_reached() {
            match tokio::time::timeout_at(patience, self.reports.recv()).await {
                Ok(Some(DialReport::Failed { refused, .. })) => refusals.extend(refused),
                Ok(Some(DialReport::Connected)) => {}
                Ok(None) => return Err(StartError::Stopped),
                Err(_) => break,
            }
            if let Some(error) = self.all_refused(&refusals) {
                return Err(error);
            }
            unheard -= 1;
        }
        Ok(Reached(self))
    }

    /// Dials on until a peer admits this client, for a while.
    ///
    /// # Errors
    /// As [`Self::first_contact`], and when nobody answered in time.
    pub(crate) async fn contact_within(self, within: Duration) -> Result<Reached, StartError> {
        for addr in &self.given {
            self.gate.expect_bootstrap(addr);
        }
        self.contact(Some(within)).await
    }

    async fn contact(mut self, within: Option<Duration>) -> Result<Reached, StartError> {
        let deadline = within.map(|within| Instant::now() + within);
        let mut pause = FIRST_PAUSE;
        let mut refusals: BTreeMap<Multiaddr, AdmissionError> = BTreeMap::new();
        let mut last = "no answer".to_owned();
        let mut said = false;
        loop {
            self.dial_all().await;
            let until = Instant::now() + pause.mul_f64(rand::random_range(0.5..1.0));
            let until = deadline.map_or(until, |deadline| until.min(deadline));
            loop {
                if let Some(error) = self.refused.lock().take() {
                    return Err(error);
                }
                if self.is_reached() {
                    return Ok(Reached(self));
                }
                tokio::select! {
                    changed = self.learned.changed() => if changed.is_err() { return Err(StartError::Stopped) },
                    report = self.reports.recv() => match report {
                        Some(DialReport::Connected) => {}
                        Some(DialReport::Failed { refused, reason }) => {
                            last = reason;
                            refusals.extend(refused);
                            if let Some(error) = self.all_refused(&refusals) {
                                return Err(error);
                            }
                        }
                        None => return Err(StartError::Stopped),
                    },
                    () = tokio::time::sleep_until(until) => break,
                }
            }
            if let (Some(deadline), Some(waited)) = (deadline, within)
                && Instant::now() >= deadline
            {
                return Err(StartError::NoAnswer { waited, reason: last });
            }
            if !said && within.is_none() {
                said = true;
                tracing::warn!(target: NOTICE, reason = last, "no bootstrap address has admitted this peer yet; trying on");
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    fn is_reached(&self) -> bool {
        self.gate.genesis().is_some() && !self.book.connected_peers().is_empty()
    }

    /// The error that ends the process: every given address refused for a reason that waiting does not mend.
    fn all_refused(&self, refusals: &BTreeMap<Multiaddr, AdmissionError>) -> Option<StartError> {
        let of = |addr: &Multiaddr| refusals.iter().find(|(refused, _)| same_place(refused, addr)).map(|(_, why)| why);
        let mut found = None;
        for addr in &self.given {
            found = match of(addr)? {
                AdmissionError::WrongNetwork { theirs } => {
                    Some(StartError::WrongNetwork { addr: addr.clone(), theirs: *theirs, ours: self.network()? })
                }
                error @ AdmissionError::Version { .. } => {
                    Some(StartError::UnsupportedVersion { addr: addr.clone(), reason: error.to_string() })
                }
                _ => return None,
            };
        }
        found
    }

    fn network(&self) -> Option<NetworkId> {
        self.gate.genesis()?.network_id().ok()
    }

    async fn dial_all(&self) {
        // Others each time: the first ones may all be dead.
        let known = self.known.iter().choose_multiple(&mut rand::rng(), MAX_DIALS);
        for addr in self.given.iter().chain(known) {
            self.handle.dial(addr.clone()).await;
        }
    }
}

impl Reached {
    /// Dials again, in growing pauses, whenever no peer is connected.
    pub(crate) async fn stay_connected(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let woken = tokio::time::timeout(pause.mul_f64(rand::random_range(0.5..1.0)), self.0.reports.recv()).await;
            if let Ok(None) = woken {
                return;
            }
            if !self.0.book.connected_peers().is_empty() {
                pause = FIRST_PAUSE;
                continue;
            }
            if woken.is_err() {
                let told = self.0.book.to_keep().into_iter();
                let addrs = |told: PeerAddrs| {
                    let peer = told.peer;
                    told.addrs.into_iter().filter_map(move |addr| addr.with_p2p(peer).ok())
                };
                self.0.known = told.flat_map(addrs).collect();
                self.0.dial_all().await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
        }
    }
}

/// Do two addresses name one place, whatever peer they name?
fn same_place(a: &Multiaddr, b: &Multiaddr) -> bool {
    let place = |addr: &Multiaddr| -> Vec<String> {
        let parts = addr.iter().filter(|part| !matches!(part, libp2p::multiaddr::Protocol::P2p(_)));
        parts.map(|part| part.to_string()).collect()
    };
    place(a) == place(b)
}
