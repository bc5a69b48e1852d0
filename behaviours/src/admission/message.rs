//! What the two sides say: `[length u32][kind u8][payload]`, integers big-endian, on the connection's first substream.
//!
//! A hello's payload begins with the version, which every version reads, so that two versions can tell each other apart
//! whatever follows. A refusal is a code and a text for a person.

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use serde::{Deserialize, Serialize};

use super::AdmissionError;
use crate::wire::{self, Genesis, NetworkId, PROTOCOL_VERSION, PeerRole};

/// The longest message, kind included. A hello with the longest genesis record is far shorter.
pub(super) const MAX_BYTES: usize = 8 * 1024;
/// The longest text of a refusal, in bytes.
const MAX_TEXT_BYTES: usize = 256;

const HELLO: u8 = 1;
const PROOF: u8 = 2;
const REFUSE: u8 = 3;

const CODE_OTHER: u8 = 0;
const CODE_NO_NETWORK_YET: u8 = 1;
const CODE_WRONG_KEY: u8 = 2;
const CODE_TIMED_OUT: u8 = 3;

/// Of which network a side says to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Claim {
    /// It has none yet and means to learn.
    Any,
    /// This one.
    Network(NetworkId),
}

/// How a side introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) role: PeerRole,
    pub(super) claim: Claim,
    /// The record of the network that it claims, where whoever reaches it may know it.
    pub(super) genesis: Option<Genesis>,
    /// Makes the proof one of this handshake.
    #[serde(with = "serde_bytes")]
    pub(super) nonce: [u8; 32],
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Hello(Box<Hello>),
    /// Empty on an open network.
    Proof(Vec<u8>),
    Refuse(AdmissionError),
}

impl Message {
    /// Kind and payload.
    pub(super) fn encode(&self) -> Result<Vec<u8>, AdmissionError> {
        Ok(match self {
            Self::Hello(hello) => {
                let mut bytes = vec![HELLO];
                bytes.extend_from_slice(&PROTOCOL_VERSION.to_be_bytes());
                wire::encode_into(bytes, hello.as_ref()).map_err(|e| AdmissionError::Malformed(e.to_string()))?
            }
            Self::Proof(proof) => [&[PROOF], proof.as_slice()].concat(),
            Self::Refuse(error) => {
                let code = match error {
                    AdmissionError::NoNetworkYet => CODE_NO_NETWORK_YET,
                    AdmissionError::WrongKey => CODE_WRONG_KEY,
                    AdmissionError::TimedOut => CODE_TIMED_OUT,
                    _ => CODE_OTHER,
                };
                let text = error.to_string();
                let end = text.floor_char_boundary(MAX_TEXT_BYTES);
                [&[REFUSE, code], &text.as_bytes()[..end]].concat()
            }
        })
    }

    /// Reads kind and payload.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, AdmissionError> {
        let malformed = |text: &str| AdmissionError::Malformed(text.to_owned());
        match bytes {
            [HELLO, high, low, body @ ..] => {
                let theirs = u16::from_be_bytes([*high, *low]);
                if theirs != PROTOCOL_VERSION {
                    return Err(AdmissionError::Version { theirs });
                }
                let hello = wire::decode(body).map_err(|e| AdmissionError::Malformed(e.to_string()))?;
                Ok(Self::Hello(Box::new(hello)))
            }
            [PROOF, proof @ ..] => Ok(Self::Proof(proof.to_vec())),
            [REFUSE, code, text @ ..] => Ok(Self::Refuse(match *code {
                CODE_NO_NETWORK_YET => AdmissionError::NoNetworkYet,
                CODE_WRONG_KEY => AdmissionError::WrongKey,
                CODE_TIMED_OUT => AdmissionError::TimedOut,
                _ => AdmissionError::Refused(printable(text)),
            })),
            _ => Err(malformed("a message of no known kind")),
        }
    }
}

/// A stranger's text, as it may be shown on a terminal.
fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(MAX_TEXT_BYTES)]);
    text.chars().filter(|c| !c.is_control()).collect()
}

fn closed(error: &std::io::Error) -> AdmissionError {
    AdmissionError::Closed(error.to_string())
}

/// Writes and flushes one message.
pub(super) async fn send<W: AsyncWrite + Unpin>(stream: &mut W, message: &Message) -> Result<(), AdmissionError> {
    let bytes = message.encode()?;
    let framed = [&(bytes.len() as u32).to_be_bytes(), bytes.as_slice()].concat();
    stream.write_all(&framed).await.map_err(|e| closed(&e))?;
    stream.flush().await.map_err(|e| closed(&e))
}

/// Reads one message; a refusal is an error.
pub(super) async fn receive<R: AsyncRead + Unpin>(stream: &mut R) -> Result<Message, AdmissionError> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.map_err(|e| closed(&e))?;
    let bytes = u32::from_be_bytes(length) as usize;
    if bytes > MAX_BYTES {
        return Err(AdmissionError::Malformed(format!("a message of {bytes} bytes")));
    }
    let mut message = vec![0; bytes];
    stream.read_exact(&mut message).await.map_err(|e| closed(&e))?;
    match Message::decode(&message)? {
        Message::Refuse(error) => Err(error),
        message => Ok(message),
    }
}

/// Decodes one message, and encodes it again.
///
/// # Errors
/// When the bytes are no message.
#[doc(hidden)]
pub fn recode(bytes: &[u8]) -> Result<Vec<u8>, AdmissionError> {
    Message::decode(bytes)?.encode()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Access, Bounds, Timings};

    fn genesis() -> Genesis {
        Genesis {
            nonce: [7; 32],
            label: "l".repeat(Genesis::MAX_LABEL_BYTES),
            access: Access::Open,
            replication_factor: 5,
            split_bytes: u64::MAX,
            timings: Timings::WAN,
            bounds: Bounds::default(),
        }
    }

    #[test]
    fn a_hello_with_the_longest_record_fits_and_comes_back() {
        let claim = Claim::Network(NetworkId([9; 32]));
        let hello = Hello { role: PeerRole::Peer, claim, genesis: Some(genesis()), nonce: [1; 32] };
        let message = Message::Hello(Box::new(hello));
        let bytes = message.encode().expect("can be encoded");
        assert!(bytes.len() < MAX_BYTES / 2, "{} bytes", bytes.len());
        assert_eq!(Message::decode(&bytes), Ok(message));
    }

    #[test]
    fn another_version_is_told_whatever_follows_it() {
        assert_eq!(Message::decode(&[HELLO, 0, 77, 1, 2, 3]), Err(AdmissionError::Version { theirs: 77 }));
    }

    #[test]
    fn a_refusal_keeps_its_reason_and_loses_what_could_harm_a_terminal() {
        let reason = AdmissionError::Refused("\u{1b}[2Jno".to_owned());
        let bytes = Message::Refuse(reason).encode().expect("can be encoded");
        assert_eq!(
            Message::decode(&bytes),
            Ok(Message::Refuse(AdmissionError::Refused("it refused: [2Jno".to_owned())))
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(message) = Message::decode(&bytes) {
                prop_assert!(message.encode().is_ok());
            }
            let mut hello = vec![HELLO, 0, 1];
            hello.extend_from_slice(&bytes);
            let _ = Message::decode(&hello);
        }
    }
}
