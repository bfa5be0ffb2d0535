//! Functions, tags and planning rules that are installed before anything is planned.
//!
//! A family of functions has a file; it lists its members with their tags, and [`families`] lists the families.
//! Installing a session ([`install`]) registers them, switches on the planning rules that their tags ask for, and
//! returns a snapshot whose hash is part of the identity of every plan.
//!
//! Invariant: equal snapshots mean equal meaning.  Whoever changes what a function returns raises its version.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

pub mod aggregates;
mod arguments;
pub mod change_types;
mod common_rows;
mod constant;
pub mod content_digest;
mod distinct_bytes;
pub mod exact_rewrite;
pub mod exact_sums;
pub mod identifiers;
pub mod macro_function;
pub mod macro_statement;
pub mod macros;
pub mod nested;
pub mod planner;
mod qualified_names;
#[cfg(test)]
mod scalar_calls;
pub mod snapshot;
mod span_columns;
pub mod spans;
pub mod strings;
pub mod superaccumulator;
pub mod tags;
mod text_arrays;
mod total_order;
mod unicode_forms;
mod value_bytes;

use std::sync::Arc;

use datafusion::common::{plan_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, TypeSignature, WindowUDF};
use serde::{Deserialize, Serialize};

pub use common_rows::{BagSide, CommonRows, HashedRows, RowPlace};
pub use content_digest::ContentDigest;
pub use distinct_bytes::DistinctBytes;
pub use macro_function::MacroFactory;
pub use macros::{MacroProblem, MacroSource, Macros};
pub use snapshot::{FunctionSnapshot, PlatformSnapshot, UdfPlanningSnapshot, registry};
pub use tags::{DomainPlanner, rewrite_tag_index};

/// A function of the platform, of one of DataFusion's three kinds.
#[derive(Clone, Debug)]
pub enum Function {
    /// A value for each row.
    Scalar(Arc<ScalarUDF>),
    /// A value for each group.
    Aggregate(Arc<AggregateUDF>),
    /// A value for each row, made from its window.
    Window(Arc<WindowUDF>),
}

/// What a function returns when an argument is NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NullBehaviour {
    /// NULL, whatever the other arguments are.
    Propagates,
    /// It ignores rows whose argument is NULL.
    Skips,
    /// It treats NULL as a value and says so in its documentation.
    Handles,
}

/// A function with what the platform knows beyond DataFusion's own interface.
#[derive(Clone, Debug)]
pub struct PlatformFunction {
    /// The function itself.
    pub function: Function,
    /// The tags that rewrites and domain planners go by; never empty.
    pub tags: &'static [&'static str],
    /// What it does with NULL.
    pub null_behaviour: NullBehaviour,
    /// How its type follows from its arguments, in words.
    pub return_rule: &'static str,
    /// Raised with every change of what it returns.
    pub version: u32,
}

/// Which parts of the platform are installed.
#[expect(clippy::struct_excessive_bools, reason = "four independent switches, not the states of one machine")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformOptions {
    /// Register the functions.
    pub enable_udfs: bool,
    /// Make macros of `CREATE FUNCTION`.
    pub enable_function_factory: bool,
    /// Switch on the domain planners that the functions' tags ask for.
    pub enable_expr_planners: bool,
    /// Refuse functions without documentation, tags or argument names, and names that are taken.
    pub strict: bool,
}

impl Default for PlatformOptions {
    fn default() -> Self {
        Self { enable_udfs: true, enable_function_factory: true, enable_expr_planners: true, strict: true }
    }
}

/// Every function of the platform, family by family.
pub fn families() -> Vec<PlatformFunction> {
    [
        identifiers::functions(),
        spans::functions(),
        strings::functions(),
        nested::functions(),
        aggregates::functions(),
        exact_sums::functions(),
        change_types::functions(),
    ]
    .concat()
}

/// Installs the platform in a session and returns its snapshot.
///
/// # Errors
/// A planning error if `strict` and a function is incomplete or its name is taken.
pub fn install(state: &mut SessionState, options: &PlatformOptions) -> Result<PlatformSnapshot> {
    install_functions(state, &families(), options)
}

/// Installs the platform with these functions in place of those of [`families`].
///
/// # Errors
/// As [`install`].
pub fn install_functions(
    state: &mut SessionState,
    functions: &[PlatformFunction],
    options: &PlatformOptions,
) -> Result<PlatformSnapshot> {
    let functions = if options.enable_udfs { functions } else { &[] };
    if options.strict {
        for function in functions {
            require_complete(function)?;
            require_free(state, function)?;
        }
    }
    for function in functions {
        match &function.function {
            Function::Scalar(function) => {
                state.register_udf(Arc::clone(function))?;
            }
            Function::Aggregate(function) => {
                state.register_udaf(Arc::clone(function))?;
            }
            Function::Window(function) => {
                state.register_udwf(Arc::clone(function))?;
            }
        }
    }
    let planners = if options.enable_expr_planners { tags::planners_for(functions) } else { Vec::new() };
    for planner in &planners {
        planner::install(planner, functions, state)?;
    }
    if options.enable_function_factory {
        state.set_function_factory(Arc::new(MacroFactory));
    }
    Ok(PlatformSnapshot::new(functions, &planners, state))
}

/// Fails unless the state has every function of the platform, and exactly as the snapshot has it.
///
/// # Errors
/// The message names the function that is missing or another one.
pub fn require_installed(state: &SessionState, snapshot: &PlatformSnapshot) -> std::result::Result<(), String> {
    let expected = UdfPlanningSnapshot::of_families(true);
    for function in &expected.functions {
        if !snapshot.functions.functions.contains(function) {
            return Err(format!("function \"{}\" was not installed", function.name));
        }
    }
    for planner in &expected.domain_planners {
        if !snapshot.functions.domain_planners.contains(planner) {
            return Err(format!("domain planner \"{planner}\" is switched off"));
        }
    }
    require_registered(state, snapshot)
}

/// Fails unless the state has every function of the snapshot as it was when the snapshot was taken.
///
/// # Errors
/// The message names the function that is missing or another one.
pub fn require_registered(state: &SessionState, snapshot: &PlatformSnapshot) -> std::result::Result<(), String> {
    let registered = registry(state);
    for function in &snapshot.functions.functions {
        let key = format!("{}:{}", function.kind, function.name);
        match registered.get(&key) {
            None => return Err(format!("function \"{}\" is missing", function.name)),
            Some(hash) if Some(hash) != snapshot.registry.get(&key) => {
                return Err(format!("function \"{}\" was replaced by another one", function.name));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn require_complete(function: &PlatformFunction) -> Result<()> {
    let name = function.function.name();
    if function.tags.is_empty() {
        return plan_err!("function \"{name}\" has no rewrite tags");
    }
    if function.function.signature().parameter_names.is_none() {
        return plan_err!("function \"{name}\" does not name its arguments");
    }
    if is_user_defined(&function.function.signature().type_signature) {
        return plan_err!("function \"{name}\" has a signature of its own, which cannot be listed");
    }
    let documentation = function
        .function
        .documentation()
        .ok_or_else(|| plan_datafusion_err!("function \"{name}\" has no documentation"))?;
    if documentation.sql_example.is_none() || documentation.arguments.is_none() {
        return plan_err!("the documentation of function \"{name}\" has no example or no arguments");
    }
    Ok(())
}

fn is_user_defined(signature: &TypeSignature) -> bool {
    match signature {
        TypeSignature::UserDefined => true,
        TypeSignature::OneOf(all) => all.iter().any(is_user_defined),
        _ => false,
    }
}

/// Other names of built-in functions that the platform takes over: its functions give the same results and more.
///
/// `list_compact` is DataFusion's other name for `array_compact`, which forgets metadata and nullability.
const TAKEN_OVER: &[&str] = &["list_compact"];

fn require_free(state: &SessionState, function: &PlatformFunction) -> Result<()> {
    for name in function.function.names() {
        let other_name = state.scalar_functions().get(name).is_some_and(|built_in| built_in.name() != name);
        if other_name && TAKEN_OVER.contains(&name) {
            continue;
        }
        if state.scalar_functions().contains_key(name)
            || state.aggregate_functions().contains_key(name)
            || state.window_functions().contains_key(name)
        {
            return plan_err!("function \"{name}\" of the platform has a name that is taken in this session");
        }
    }
    Ok(())
}

#[cfg(test)]
mod macro_tests;
#[cfg(test)]
mod simplify_tests;
#[cfg(test)]
mod walk_tests;

#[cfg(test)]
mod tests {
    use datafusion::execution::session_state::SessionStateBuilder;

    use super::*;

    fn state() -> SessionState {
        SessionStateBuilder::new().with_default_features().build()
    }

    #[test]
    fn every_function_is_complete() {
        for function in families() {
            require_complete(&function).unwrap();
        }
    }

    #[test]
    fn what_is_incomplete_is_refused_with_its_name() {
        let complete = families().into_iter().find(|function| function.function.name() == "span_len").unwrap();
        require_complete(&complete).unwrap();
        let without_tags = PlatformFunction { tags: &[], ..complete.clone() };
        let bare = PlatformFunction {
            function: Function::Scalar(Arc::new(datafusion::logical_expr::create_udf(
                "bare",
                vec![],
                datafusion::arrow::datatypes::DataType::Utf8,
                datafusion::logical_expr::Volatility::Immutable,
                Arc::new(|arguments: &[datafusion::logical_expr::ColumnarValue]| Ok(arguments[0].clone())),
            ))),
            ..complete.clone()
        };
        for (function, what) in [(without_tags, "\"span_len\" has no rewrite tags"), (bare, "\"bare\" does not name")] {
            let message = require_complete(&function).unwrap_err().to_string();
            assert!(message.contains(what), "{message}");
        }
        assert!(is_user_defined(&TypeSignature::OneOf(vec![TypeSignature::Any(1), TypeSignature::UserDefined])));
    }

    #[tokio::test]
    async fn a_session_without_the_function_factory_makes_no_macros() {
        let create = "CREATE FUNCTION twice(x BIGINT) RETURNS BIGINT RETURN 2 * $1";
        for enable_function_factory in [true, false] {
            let mut state = state();
            install(&mut state, &PlatformOptions { enable_function_factory, ..PlatformOptions::default() }).unwrap();
            let context = datafusion::prelude::SessionContext::new_with_state(state);
            let made = match context.sql(create).await {
                Ok(_) => context.sql("SELECT twice(21)").await.is_ok(),
                Err(_) => false,
            };
            assert_eq!(made, enable_function_factory);
        }
    }

    #[test]
    fn installing_twice_gives_the_same_hashes() {
        let first = install(&mut state(), &PlatformOptions::default()).unwrap();
        let second = install(&mut state(), &PlatformOptions::default()).unwrap();
        assert_eq!(first, second);
        assert_eq!(first.functions.snapshot_hash.len(), 64);
    }

    #[test]
    fn a_name_that_is_taken_is_refused() {
        let mut state = state();
        install(&mut state, &PlatformOptions::default()).unwrap();
        let error = install(&mut state, &PlatformOptions::default()).unwrap_err();
        assert!(error.to_string().contains(families()[0].function.name()), "{error}");
    }

    #[test]
    fn a_session_without_functions_is_told_from_one_with_them() {
        let mut with = state();
        let snapshot = install(&mut with, &PlatformOptions::default()).unwrap();
        require_installed(&with, &snapshot).unwrap();
        let message = require_installed(&state(), &snapshot).unwrap_err();
        assert!(message.contains("missing"), "{message}");

        let options = PlatformOptions { enable_expr_planners: false, ..PlatformOptions::default() };
        let mut without_planners = state();
        let snapshot = install(&mut without_planners, &options).unwrap();
        assert!(require_installed(&without_planners, &snapshot).is_err());
    }

    #[test]
    fn a_replaced_function_is_noticed() {
        let mut state = state();
        let snapshot = install(&mut state, &PlatformOptions::default()).unwrap();
        let other = datafusion::logical_expr::create_udf(
            "cdf_is_delete",
            vec![datafusion::arrow::datatypes::DataType::Utf8],
            datafusion::arrow::datatypes::DataType::Boolean,
            datafusion::logical_expr::Volatility::Volatile,
            Arc::new(|arguments: &[datafusion::logical_expr::ColumnarValue]| Ok(arguments[0].clone())),
        );
        state.register_udf(Arc::new(other)).unwrap();
        let message = require_installed(&state, &snapshot).unwrap_err();
        assert!(message.contains("cdf_is_delete"), "{message}");
    }
}
