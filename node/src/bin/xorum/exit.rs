//! How the process ends, for scripts to tell apart.

/// The status of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// An error.
    Error = 1,
    /// Wrong usage, and what breaks a rule or a limit.
    Usage = 2,
    /// A `get` or `del` of nothing.
    NotFound = 3,
    /// A write that may or may not have been applied.
    OutcomeUnknown = 4,
    /// A compare-and-swap that found another version.
    Conflict = 5,
    /// Interrupted with nothing to say: a command that only asks, or a second time, so that nothing was waited for.
    AtOnce = 130,
}

impl Exit {
    /// The status of an operation that failed with this code.
    pub(crate) fn of_code(code: &str) -> Self {
        match code {
            "invalid" | "too-large" => Self::Usage,
            "outcome-unknown" => Self::OutcomeUnknown,
            _ => Self::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn codes_of_failures_map_to_the_documented_statuses() {
        let expected = [
            ("unavailable", 1),
            ("busy", 1),
            ("invalid", 2),
            ("too-large", 2),
            ("denied", 1),
            ("unsupported-version", 1),
            ("timeout-not-applied", 1),
            ("outcome-unknown", 4),
            ("internal", 1),
        ];
        for (code, status) in expected {
            assert_eq!(Exit::of_code(code) as u8, status, "{code}");
        }
    }
}
