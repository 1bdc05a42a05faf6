//! Tests of nano.
