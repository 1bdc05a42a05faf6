//! Conformance.
/// x
pub struct Case;
