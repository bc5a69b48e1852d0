//! Tests of storage as a whole.
