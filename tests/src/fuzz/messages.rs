//! What comes from the network before it is known what it means, and what a person types.

use std::{fmt, str::FromStr};

use serde::{Serialize, de::DeserializeOwned};
use xorum_behaviours::{
    admission, links,
    space::{Position, Prefix},
    wire::{
        self, BulkAnswer, BulkRequest, Genesis, GroupId, MAX_MESSAGE_BYTES, OpAnswer, OpRequest, PeerAnswer,
        PeerRequest,
    },
};

/// What decodes encodes, and is the same when it comes back. It may be longer then: a field that is left out has a
/// default, and is said; but not by much.
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(bytes: &[u8]) {
    let Ok(message) = wire::decode::<T>(bytes) else { return };
    match wire::encode(&message) {
        Ok(encoded) => assert_eq!(wire::decode::<T>(&encoded).as_ref(), Ok(&message)),
        Err(error) => assert!(bytes.len() > MAX_MESSAGE_BYTES / 2, "{error}: {message:?}"),
    }
}

pub(super) fn peer_request(bytes: &[u8]) {
    comes_back::<PeerRequest>(bytes);
}

pub(super) fn peer_answer(bytes: &[u8]) {
    comes_back::<PeerAnswer>(bytes);
}

pub(super) fn op_request(bytes: &[u8]) {
    comes_back::<OpRequest>(bytes);
}

pub(super) fn op_answer(bytes: &[u8]) {
    comes_back::<OpAnswer>(bytes);
}

pub(super) fn bulk_request(bytes: &[u8]) {
    comes_back::<BulkRequest>(bytes);
}

pub(super) fn bulk_answer(bytes: &[u8]) {
    comes_back::<BulkAnswer>(bytes);
}

pub(super) fn genesis(bytes: &[u8]) {
    comes_back::<Genesis>(bytes);
    if let Ok(genesis) = wire::decode::<Genesis>(bytes) {
        let _ = genesis.check();
        let _ = genesis.network_id();
    }
}

/// Frames are the same wherever the stream was cut.
pub(super) fn frame(bytes: &[u8]) {
    let whole = links::decode_frames(bytes, usize::MAX);
    for piece in [1, 7, 4096] {
        assert_eq!(links::decode_frames(bytes, piece), whole, "in pieces of {piece}");
    }
    for (_, body) in whole.iter().flatten() {
        assert!(body.len() <= bytes.len());
    }
}

pub(super) fn admission(bytes: &[u8]) {
    let Ok(message) = admission::recode(bytes) else { return };
    // A refusal's reason is told as another's word, once more each time it is passed on.
    if message.first() != Some(&3) {
        assert_eq!(admission::recode(&message).as_ref(), Ok(&message));
    }
}

fn reads_back<T: FromStr + fmt::Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let said = value.to_string();
        assert_eq!(said.parse::<T>().map(|value| value.to_string()).ok(), Some(said));
    }
}

pub(super) fn space_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    reads_back::<Position>(text);
    reads_back::<Prefix>(text);
    reads_back::<GroupId>(text);
}
