//! Maps, lists and structs: access with a default, canonical forms, parts of a struct.

use crate::PlatformFunction;

/// The functions of this family.
pub fn functions() -> Vec<PlatformFunction> {
    Vec::new()
}
