//! The identity of the function platform: what is registered, as canonical JSON and as hashes.
//!
//! Two hashes with two jobs.  `snapshot_hash` covers our functions with their documentation, tags and planners.
//! `registry_hash` covers every function of the session, built-in ones too, by name and signature; the parts of it
//! ([`registry`]) tell which function made a difference.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Documentation, ScalarUDF, Signature, Volatility};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::macro_function::MacroFunction;
use crate::tags::{DomainPlanner, rewrite_tag_index};
use crate::{Function, NullBehaviour, PlatformFunction};

/// The documentation of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionDocumentation {
    /// The family, as a heading.
    pub section: String,
    /// What the family is about.
    pub section_description: String,
    /// What it does.
    pub description: String,
    /// How it is written.
    pub syntax: String,
    /// A query with its result.
    pub example: Option<String>,
    /// Argument names with their meaning.
    pub arguments: Vec<(String, String)>,
}

/// One function of the platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionSnapshot {
    /// The name under which it is called.
    pub name: String,
    /// `scalar`, `aggregate` or `window`; `macro` for an expression of a project.
    pub kind: String,
    /// Other names for it, sorted.
    pub aliases: Vec<String>,
    /// The types that it takes.
    pub signature: String,
    /// The names of its arguments.
    pub argument_names: Vec<String>,
    /// How its type follows from its arguments.
    pub return_rule: String,
    /// `immutable`, `stable` or `volatile`.
    pub volatility: String,
    /// What it does with NULL.
    pub null_behaviour: NullBehaviour,
    /// Tags that rewrites and domain planners go by, sorted.
    pub rewrite_tags: Vec<String>,
    /// Its documentation.
    pub documentation: Option<FunctionDocumentation>,
    /// Raised with every change of what it returns.
    pub version: u32,
    /// sha256 over all that is above except the documentation, hex.
    pub hash: String,
}

/// The identity of the platform at planning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdfPlanningSnapshot {
    /// The functions, by kind and name.
    pub functions: Vec<FunctionSnapshot>,
    /// Tags with the functions that carry them.
    pub rewrite_tags: BTreeMap<String, Vec<String>>,
    /// The domain planners that are on, sorted.
    pub domain_planners: Vec<String>,
    /// The functions that switched each of them on, by the planner's identity.
    pub domain_planner_functions: BTreeMap<String, Vec<String>>,
    /// sha256 over the canonical JSON of all that is above, hex.
    pub snapshot_hash: String,
}

/// What [`crate::install`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformSnapshot {
    /// Our functions.
    #[serde(flatten)]
    pub functions: UdfPlanningSnapshot,
    /// Every function of the session by `kind:name`, with the hash of its signature.
    pub registry: BTreeMap<String, String>,
    /// sha256 over the registry, hex.
    pub registry_hash: String,
}

impl PlatformSnapshot {
    pub(crate) fn new(functions: &[PlatformFunction], planners: &[DomainPlanner], state: &SessionState) -> Self {
        let registry = registry(state);
        Self { functions: UdfPlanningSnapshot::new(functions, planners), registry_hash: hash_json(&registry), registry }
    }

    /// The hash of a function that a plan may call: ours with its version, a built-in one by its signature.
    pub fn function_hash(&self, kind: &str, name: &str) -> Option<&str> {
        self.functions
            .functions
            .iter()
            .find(|function| function.kind == kind && function.name == name)
            .map(|function| function.hash.as_str())
            .or_else(|| self.registry.get(&format!("{kind}:{name}")).map(String::as_str))
    }
}

impl UdfPlanningSnapshot {
    /// The snapshot of everything that the platform has, as a session with all of it shows it; without `planners`, as
    /// one whose domain planners are switched off does.
    pub fn of_families(planners: bool) -> Self {
        let families = crate::families();
        let planners = if planners { crate::tags::planners_for(&families) } else { Vec::new() };
        Self::new(&families, &planners)
    }

    pub(crate) fn new(functions: &[PlatformFunction], planners: &[DomainPlanner]) -> Self {
        let mut snapshots: Vec<FunctionSnapshot> = functions.iter().map(FunctionSnapshot::new).collect();
        snapshots.sort_by(|left, right| (&left.kind, &left.name).cmp(&(&right.kind, &right.name)));
        let mut domain_planners: Vec<String> = planners.iter().map(DomainPlanner::identity).collect();
        domain_planners.sort();
        let rewrite_tags = rewrite_tag_index(&snapshots);
        let domain_planner_functions =
            planners.iter().map(|planner| (planner.identity(), planner.switched_on_by(&snapshots))).collect();
        Self {
            snapshot_hash: hash_json(&(&snapshots, &rewrite_tags, &domain_planners)),
            functions: snapshots,
            rewrite_tags,
            domain_planners,
            domain_planner_functions,
        }
    }

    /// The snapshot as canonical JSON: fixed order, no white space.
    pub fn canonical_json(&self) -> String {
        canonical_json(self)
    }
}

impl FunctionSnapshot {
    fn new(function: &PlatformFunction) -> Self {
        let signature = function.function.signature();
        let mut aliases = function.function.aliases().to_vec();
        aliases.sort();
        let mut rewrite_tags: Vec<String> = function.tags.iter().map(ToString::to_string).collect();
        rewrite_tags.sort();
        let mut snapshot = Self {
            name: function.function.name().to_owned(),
            kind: function.function.kind().to_owned(),
            aliases,
            signature: signature_text(signature),
            argument_names: signature.parameter_names.clone().unwrap_or_default(),
            return_rule: function.return_rule.to_owned(),
            volatility: volatility_text(signature.volatility).to_owned(),
            null_behaviour: function.null_behaviour,
            rewrite_tags,
            documentation: None,
            version: function.version,
            hash: String::new(),
        };
        snapshot.hash = hash_json(&snapshot);
        snapshot.documentation = function.function.documentation().map(documentation_text);
        snapshot
    }
}

impl FunctionSnapshot {
    /// The snapshot of a macro; `called` are the functions that its expression calls, as `(kind, name)`.
    pub fn of_macro(
        function: &Arc<ScalarUDF>,
        called: &BTreeSet<(&'static str, String)>,
        platform: &PlatformSnapshot,
    ) -> Self {
        let signature = function.signature();
        let hashes: BTreeMap<&str, Option<&str>> =
            called.iter().map(|(kind, name)| (name.as_str(), platform.function_hash(kind, name))).collect();
        let tags: BTreeSet<String> = platform
            .functions
            .functions
            .iter()
            .filter(|other| called.contains(&("scalar", other.name.clone())))
            .flat_map(|other| other.rewrite_tags.iter().cloned())
            .collect();
        let mut snapshot = Self {
            name: function.name().to_owned(),
            kind: "macro".to_owned(),
            aliases: Vec::new(),
            signature: signature_text(signature),
            argument_names: signature.parameter_names.clone().unwrap_or_default(),
            return_rule: function.return_type(&[]).map(|data_type| data_type.to_string()).unwrap_or_default(),
            volatility: volatility_text(signature.volatility).to_owned(),
            null_behaviour: NullBehaviour::Handles,
            rewrite_tags: tags.into_iter().collect(),
            documentation: None,
            version: 1,
            hash: String::new(),
        };
        let expression = function
            .inner()
            .downcast_ref::<MacroFunction>()
            .map(|function| function.expression().to_string())
            .unwrap_or_default();
        // Callers may name arguments, so a new name is a new macro.
        snapshot.hash = hash_json(&(&snapshot, expression, hashes));
        snapshot.documentation = function.documentation().map(documentation_text);
        snapshot
    }
}

impl Function {
    /// The name under which the function is called.
    pub fn name(&self) -> &str {
        match self {
            Self::Scalar(function) => function.name(),
            Self::Aggregate(function) => function.name(),
            Self::Window(function) => function.name(),
        }
    }

    /// `scalar`, `aggregate` or `window`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Scalar(_) => "scalar",
            Self::Aggregate(_) => "aggregate",
            Self::Window(_) => "window",
        }
    }

    /// Other names for the function.
    pub fn aliases(&self) -> &[String] {
        match self {
            Self::Scalar(function) => function.aliases(),
            Self::Aggregate(function) => function.aliases(),
            Self::Window(function) => function.aliases(),
        }
    }

    /// The name and the other names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name()).chain(self.aliases().iter().map(String::as_str))
    }

    /// The types that the function takes.
    pub fn signature(&self) -> &Signature {
        match self {
            Self::Scalar(function) => function.signature(),
            Self::Aggregate(function) => function.signature(),
            Self::Window(function) => function.signature(),
        }
    }

    /// The documentation of the function.
    pub fn documentation(&self) -> Option<&Documentation> {
        match self {
            Self::Scalar(function) => function.documentation(),
            Self::Aggregate(function) => function.documentation(),
            Self::Window(function) => function.documentation(),
        }
    }
}

/// Every function of a session by `kind:name` with a hash of its name, other names, signature and volatility.
///
/// A name under which another function is known (an alias) is listed too, with the hash of that function.
pub fn registry(state: &SessionState) -> BTreeMap<String, String> {
    let mut registry = BTreeMap::new();
    let mut add = |kind: &str, registered: &str, function: &Function| {
        let mut aliases = function.aliases().to_vec();
        aliases.sort();
        let hash = hash_json(&(
            kind,
            function.name(),
            aliases,
            signature_text(function.signature()),
            volatility_text(function.signature().volatility),
        ));
        registry.insert(format!("{kind}:{registered}"), hash);
    };
    for (name, function) in state.scalar_functions() {
        add("scalar", name, &Function::Scalar(Arc::clone(function)));
    }
    for (name, function) in state.aggregate_functions() {
        add("aggregate", name, &Function::Aggregate(Arc::clone(function)));
    }
    for (name, function) in state.window_functions() {
        add("window", name, &Function::Window(Arc::clone(function)));
    }
    for (name, function) in state.higher_order_functions() {
        let hash = hash_json(&("higher_order", function.name(), format!("{:?}", function.signature())));
        registry.insert(format!("higher_order:{name}"), hash);
    }
    registry
}

/// sha256 of the canonical JSON of a value, hex.
pub fn hash_json<T: Serialize>(value: &T) -> String {
    hex(&Sha256::digest(canonical_json(value).as_bytes()))
}

/// JSON with fields and keys in a fixed order and without white space.
///
/// Structures keep the order of their fields and maps are B-trees, so plain serialization is canonical.
fn canonical_json<T: Serialize>(value: &T) -> String {
    // Our values have string keys only, the one thing that could fail.
    serde_json::to_string(value).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn signature_text(signature: &Signature) -> String {
    format!("{:?}", signature.type_signature)
}

fn volatility_text(volatility: Volatility) -> &'static str {
    match volatility {
        Volatility::Immutable => "immutable",
        Volatility::Stable => "stable",
        Volatility::Volatile => "volatile",
    }
}

fn documentation_text(documentation: &Documentation) -> FunctionDocumentation {
    FunctionDocumentation {
        section: documentation.doc_section.label.to_owned(),
        section_description: documentation.doc_section.description.unwrap_or_default().to_owned(),
        description: documentation.description.clone(),
        syntax: documentation.syntax_example.clone(),
        example: documentation.sql_example.clone(),
        arguments: documentation.arguments.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families;

    #[test]
    fn a_new_version_changes_the_hash_and_documentation_does_not() {
        let function = families().remove(0);
        let first = FunctionSnapshot::new(&function);
        let newer = FunctionSnapshot::new(&PlatformFunction { version: function.version + 1, ..function.clone() });
        assert_ne!(first.hash, newer.hash);
        assert!(first.documentation.is_some());
        let hashed =
            |documentation| hash_json(&FunctionSnapshot { hash: String::new(), documentation, ..first.clone() });
        assert_eq!(hashed(None), first.hash);
    }

    #[test]
    fn the_snapshot_survives_json() {
        let snapshot = UdfPlanningSnapshot::new(&families(), &[]);
        let read: UdfPlanningSnapshot = serde_json::from_str(&snapshot.canonical_json()).unwrap();
        assert_eq!(read, snapshot);
        assert_eq!(read.canonical_json(), snapshot.canonical_json());
    }
}
