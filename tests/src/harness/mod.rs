//! Peers as real processes, and waiting for conditions.
