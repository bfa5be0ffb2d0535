//! Rewrite tags: what a function is about, and which planning rules that switches on.
//!
//! A domain planner is a named set of planning rules.  It is on when a function with one of its tags is installed, so
//! the snapshot alone tells which rules shaped a plan.

use std::collections::{BTreeMap, BTreeSet};

use crate::PlatformFunction;
use crate::snapshot::FunctionSnapshot;

/// Functions that make identifiers.
pub const ID: &str = "id";
/// Functions that hash values.
pub const HASH: &str = "hash";
/// Functions about ranges of positions in a text.
pub const SPAN: &str = "span";
/// Functions whose positions have a unit: bytes, UTF-16 code units or code points.
pub const POSITION_ENCODING: &str = "position_encoding";
/// Functions that bring texts into a canonical form.
pub const STRING_NORM: &str = "string_norm";
/// Functions about names of symbols.
pub const SYMBOL: &str = "symbol";
/// Functions about values that hold values.
pub const NESTED: &str = "nested";
/// Functions about maps.
pub const MAP: &str = "map";
/// Functions about lists.
pub const LIST: &str = "list";
/// Functions about structs.
pub const STRUCT: &str = "struct";
/// Functions that make one value of a group.
pub const AGGREGATE: &str = "aggregate";
/// Functions whose result does not depend on the order of rows, where that of their relatives does.
pub const DETERMINISTIC: &str = "deterministic";
/// Functions about changes of a table.
pub const INCREMENTAL: &str = "incremental";
/// Functions about Delta's change data feed.
pub const CDF: &str = "cdf";
/// Functions about Delta tables.
pub const DELTA: &str = "delta";

/// Every tag.
pub const ALL: &[&str] = &[
    ID,
    HASH,
    SPAN,
    POSITION_ENCODING,
    STRING_NORM,
    SYMBOL,
    NESTED,
    MAP,
    LIST,
    STRUCT,
    AGGREGATE,
    DETERMINISTIC,
    INCREMENTAL,
    CDF,
    DELTA,
];

/// A named set of planning rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainPlanner {
    /// Its name, as plans and diagnostics show it.
    pub name: &'static str,
    /// The tags that switch it on.
    pub tags: &'static [&'static str],
    /// Raised with every change of a rule, because a rule changes plans.
    pub version: u32,
}

impl DomainPlanner {
    /// Name and version, as in `"change_types@1"`.
    pub fn identity(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// The functions whose tags switch it on, sorted.
    pub fn switched_on_by(&self, functions: &[FunctionSnapshot]) -> Vec<String> {
        let names: BTreeSet<&String> = functions
            .iter()
            .filter(|function| function.rewrite_tags.iter().any(|tag| self.tags.contains(&tag.as_str())))
            .map(|function| &function.name)
            .collect();
        names.into_iter().cloned().collect()
    }
}

/// Every domain planner that there is.
///
/// - `change_types`: calls over literals are folded while planning (`simplify` of that family).
/// - `exact_sums`: sums of floats in views become exact ([`exact_rewrite`](crate::exact_rewrite)).
/// - `identifiers`: ids and hashes of literals are folded (`simplify`).
/// - `nested`: cleaning a list or a map that is clean already is left out (`simplify`); a field of a struct that is only
///   picked for it is read from the struct itself ([`FieldOfPicked`](crate::nested::FieldOfPicked)).
/// - `spans`: operators over spans ([`crate::planner`]); the length of a span that is only made for it needs no span.
/// - `strings`: normalizing what is normal already is left out, literals are folded (`simplify`).
const DOMAIN_PLANNERS: &[DomainPlanner] = &[
    DomainPlanner { name: "change_types", tags: &[CDF], version: 1 },
    DomainPlanner { name: "exact_sums", tags: &[DETERMINISTIC], version: 1 },
    DomainPlanner { name: "identifiers", tags: &[ID], version: 1 },
    DomainPlanner { name: "nested", tags: &[NESTED], version: 2 },
    DomainPlanner { name: "spans", tags: &[SPAN], version: 1 },
    DomainPlanner { name: "strings", tags: &[STRING_NORM], version: 1 },
];

/// Tags with the names of the functions that carry them, both sorted.
pub fn rewrite_tag_index(functions: &[FunctionSnapshot]) -> BTreeMap<String, Vec<String>> {
    let mut index: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for function in functions {
        for tag in &function.rewrite_tags {
            index.entry(tag.clone()).or_default().insert(function.name.clone());
        }
    }
    index.into_iter().map(|(tag, names)| (tag, names.into_iter().collect())).collect()
}

/// The domain planners that the tags of these functions switch on.
pub fn planners_for(functions: &[PlatformFunction]) -> Vec<DomainPlanner> {
    DOMAIN_PLANNERS
        .iter()
        .filter(|planner| functions.iter().any(|function| function.tags.iter().any(|tag| planner.tags.contains(tag))))
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PlatformOptions, families, install};
    use datafusion::execution::session_state::SessionStateBuilder;

    #[test]
    fn the_index_names_functions_by_tag() {
        let mut state = SessionStateBuilder::new().with_default_features().build();
        let snapshot = install(&mut state, &PlatformOptions::default()).unwrap();
        assert_eq!(snapshot.functions.rewrite_tags[CDF], ["cdf_change_rank", "cdf_is_delete", "cdf_is_upsert"]);
    }

    #[test]
    fn a_planner_needs_a_function_with_its_tag() {
        assert_eq!(planners_for(&[]), []);
        assert_eq!(planners_for(&families())[0].identity(), "change_types@1");
    }
}
