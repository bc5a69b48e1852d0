#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| xorum_tests::fuzz::run("storage_log_entries", bytes));
