//! Every decoder of what comes from the network, the disk or a person, as functions of bytes that must not panic.
//!
//! `fuzz/` feeds them to a fuzzer, a target each; the test `fuzz_corpus` replays what is in `fuzz/corpus`. A target
//! also checks what is true of all that decodes: that it encodes, and comes back the same.

mod disk;
mod messages;
mod raft;
pub mod seeds;

/// One target: its name, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All of them. The names are those of the binaries and folders in `fuzz/`.
pub const TARGETS: &[Target] = &[
    ("admission", messages::admission),
    ("bulk_answer", messages::bulk_answer),
    ("bulk_request", messages::bulk_request),
    ("frame", messages::frame),
    ("genesis", messages::genesis),
    ("op_answer", messages::op_answer),
    ("op_request", messages::op_request),
    ("peer_answer", messages::peer_answer),
    ("peer_request", messages::peer_request),
    ("space_text", messages::space_text),
    ("seam_answer", raft::seam_answer),
    ("seam_receive", raft::seam_receive),
    ("seam_snapshot", raft::seam_snapshot),
    ("storage_journal", disk::journal),
    ("storage_log_entries", disk::log_entries),
    ("storage_row", disk::row),
];

/// Runs a target.
///
/// # Panics
/// When there is no such target, and when the target finds something.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    let Some((_, run)) = target else { panic!("there is no target {name}") };
    run(bytes);
}
