//! How much a group holds.

use serde::{Deserialize, Serialize};

/// How much a group holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// How many keys there are.
    pub keys: u64,
    /// The bytes of all keys and values.
    pub bytes: u64,
}

/// What a data row holds beside the value: the version.
const VERSION_BYTES: usize = 8;

impl Usage {
    /// Counts the change of one key's row, given the row's bytes before and after, where there is one.
    pub(super) fn replace(&mut self, key_bytes: usize, before: Option<usize>, after: Option<usize>) {
        let held = |row_bytes: usize| (key_bytes + row_bytes.saturating_sub(VERSION_BYTES)) as u64;
        if let Some(row_bytes) = before {
            self.keys = self.keys.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(held(row_bytes));
        }
        if let Some(row_bytes) = after {
            self.keys += 1;
            self.bytes += held(row_bytes);
        }
    }
}
