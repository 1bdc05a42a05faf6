//! Cases.
use crate::conformance::Case;
/// The cases of this family.
pub fn cases() -> Vec<Case> {
    vec![]
}
