//! The conversation on the first substream: Hello, Hello, Proof, Proof, or a refusal in place of any.
//!
//! The side with the lesser peer id speaks first, whoever dialed: with hole punching both dial. The proof of who speaks
//! second is the last message, so when it is out nothing can come on another substream that was not admitted.

use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt};

use super::{
    AdmissionError, Gate,
    gate::{Network, id_of},
    message::{Claim, Hello, Message, receive, send},
};
use crate::wire::{Genesis, PeerRole};

/// How long a side that refuses waits for the other to have read why.
const LINGER: Duration = Duration::from_secs(1);

/// Which side of the conversation this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    First,
    Second,
}

/// What to do with who introduced itself properly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Admit,
    /// Admit it, and make this the own network.
    Learn(Genesis),
}

/// Tells the other side why it is refused, and waits for a moment until it has read that.
pub(super) async fn refuse<T: AsyncRead + AsyncWrite + Unpin>(stream: &mut T, error: AdmissionError) {
    let told = async {
        if send(stream, &Message::Refuse(error)).await.is_ok() {
            let _ = stream.close().now_or_never();
            let mut rest = [0; 256];
            while !matches!(stream.read(&mut rest).await, Ok(0) | Err(_)) {}
        }
    };
    let _ = tokio::time::timeout(LINGER, told).await;
}

/// Holds the conversation; what the other side is.
pub(super) async fn converse<T: AsyncRead + AsyncWrite + Unpin>(
    gate: &Gate,
    stream: &mut T,
    turn: Turn,
    may_learn: bool,
) -> Result<PeerRole, AdmissionError> {
    let network = gate.network()?;
    let ours = Message::Hello(Box::new(introduce(gate.role(), network.as_ref())));
    let theirs = match turn {
        Turn::First => {
            send(stream, &ours).await?;
            receive_hello(stream).await?
        }
        Turn::Second => {
            // Answered even when it is refused, so that the other side can name the reason itself.
            let theirs = receive_hello(stream).await;
            send(stream, &ours).await?;
            theirs?
        }
    };
    let verdict = judge(network.as_ref(), &theirs, may_learn)?;
    if turn == Turn::First {
        send(stream, &Message::Proof(Vec::new())).await?;
    }
    receive_proof(stream).await?;
    if let Verdict::Learn(genesis) = verdict {
        gate.learn(genesis).await?;
    }
    if turn == Turn::Second {
        send(stream, &Message::Proof(Vec::new())).await?;
    }
    let _ = stream.close().now_or_never();
    Ok(theirs.role)
}

fn introduce(role: PeerRole, network: Option<&Network>) -> Hello {
    Hello {
        role,
        claim: network.map_or(Claim::Any, |network| Claim::Network(network.id)),
        genesis: network.filter(|network| network.tell).map(|network| network.genesis.clone()),
        nonce: rand::random(),
    }
}

async fn receive_hello<T: AsyncRead + Unpin>(stream: &mut T) -> Result<Hello, AdmissionError> {
    match receive(stream).await? {
        Message::Hello(hello) => Ok(*hello),
        _ => Err(AdmissionError::Malformed("it did not introduce itself first".to_owned())),
    }
}

async fn receive_proof<T: AsyncRead + Unpin>(stream: &mut T) -> Result<(), AdmissionError> {
    match receive(stream).await? {
        Message::Proof(proof) if proof.is_empty() => Ok(()),
        Message::Proof(_) => Err(AdmissionError::WrongKey),
        _ => Err(AdmissionError::Malformed("no proof after its introduction".to_owned())),
    }
}

/// The rules of admission.
pub(super) fn judge(ours: Option<&Network>, theirs: &Hello, may_learn: bool) -> Result<Verdict, AdmissionError> {
    if let Some(genesis) = &theirs.genesis {
        let malformed = |text: String| AdmissionError::Malformed(text);
        genesis.check().map_err(|e| malformed(e.to_string()))?;
        if theirs.claim != Claim::Network(id_of(genesis)?) {
            return Err(malformed("its network's record is not of the network that it names".to_owned()));
        }
    }
    match (ours, theirs.claim) {
        (None, Claim::Any) => Err(AdmissionError::NoNetworkYet),
        (None, Claim::Network(_)) if !may_learn => Err(AdmissionError::NoNetworkYet),
        (None, Claim::Network(_)) => match &theirs.genesis {
            Some(genesis) => Ok(Verdict::Learn(genesis.clone())),
            None => Err(AdmissionError::WrongKey),
        },
        (Some(_), Claim::Any) => Ok(Verdict::Admit),
        (Some(ours), Claim::Network(theirs)) if ours.id == theirs => Ok(Verdict::Admit),
        (Some(_), Claim::Network(theirs)) => Err(AdmissionError::WrongNetwork { theirs }),
    }
}
