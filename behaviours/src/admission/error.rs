//! Why a connection did not come to be, and how to find that in the swarm's errors.

use std::{error::Error, io};

use libp2p::{
    Multiaddr, TransportError,
    swarm::{DialError, ListenError},
};

use crate::wire::{NetworkId, PROTOCOL_VERSION};

/// Why two sides do not admit each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdmissionError {
    /// It is of another network.
    #[error("it is of another network, {theirs}")]
    WrongNetwork {
        /// Its network.
        theirs: NetworkId,
    },
    /// One side has no network yet and may not learn it from the other: both have none, or it was not that side which
    /// dialed, to a bootstrap address.
    #[error("no network yet")]
    NoNetworkYet,
    /// It speaks another version of the protocol.
    #[error("it speaks version {theirs} of the protocol, and this side {PROTOCOL_VERSION}")]
    Version {
        /// Its version.
        theirs: u16,
    },
    /// It did not prove to know the network's key.
    #[error("it does not know the network's key")]
    WrongKey,
    /// It does not speak the admission protocol.
    #[error("it does not speak xorum's protocol: {0}")]
    Malformed(String),
    /// It said nothing in time.
    #[error("it did not introduce itself in time")]
    TimedOut,
    /// It is this peer itself.
    #[error("it is this peer itself")]
    SelfDial,
    /// It refused, for this reason.
    #[error("it refused: {0}")]
    Refused(String),
    /// The network's genesis record could not be kept.
    #[error("the network's record could not be kept: {0}")]
    Learn(String),
    /// The connection ended meanwhile.
    #[error("the connection ended before it was admitted: {0}")]
    Closed(String),
}

/// What the transport reports, so that the reason is a level of its own in the chain of errors: wrappers on the way up
/// show only their content's source.
#[derive(Debug, thiserror::Error)]
#[error("not admitted")]
pub struct NotAdmitted(#[source] pub(super) AdmissionError);

/// Why a dial was not admitted, if that is why it failed; with several addresses, of the first that says.
pub fn cause(error: &DialError) -> Option<AdmissionError> {
    causes(error).next().map(|(_, cause)| cause)
}

/// Why each address of a dial was not admitted, of those where that is why it failed.
pub fn causes(error: &DialError) -> impl Iterator<Item = (&Multiaddr, AdmissionError)> {
    let attempts = match error {
        DialError::Transport(attempts) => attempts.as_slice(),
        _ => &[],
    };
    attempts.iter().filter_map(|(address, error)| Some((address, transport_cause(error)?)))
}

/// Why an inbound connection was not admitted, if that is why it failed.
pub fn inbound_cause(error: &ListenError) -> Option<AdmissionError> {
    match error {
        ListenError::Transport(error) => transport_cause(error),
        _ => None,
    }
}

fn transport_cause(error: &TransportError<io::Error>) -> Option<AdmissionError> {
    let TransportError::Other(error) = error else { return None };
    let mut error: &(dyn Error + 'static) = error;
    loop {
        if let Some(cause) = error.downcast_ref::<AdmissionError>() {
            return Some(cause.clone());
        }
        // An `io::Error` hides what it holds: its source is that of its content.
        error = match error.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref()?,
            None => error.source()?,
        };
    }
}
