//! Sessions, bundles, lineage, scan planning, running a refresh.
//!
//! A view goes through here once when its definition changes ([`compile::compile`]: text or bytes in, a
//! [`bundle::PlanBundle`] out) and then, bundle and pins in hand, once for every refresh.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

pub mod audit;
pub mod binding;
pub mod bundle;
pub mod canonical;
mod change_plans;
mod change_types;
mod changes;
mod commit;
pub mod compile;
mod cross_joins;
mod dataframe_plan;
mod deep_stack;
mod difference;
pub mod digest;
pub mod error;
mod execution;
mod feeds;
mod given_up;
pub mod handover;
pub mod identity;
mod inputs;
pub mod lineage;
pub mod observe;
mod optimizing;
pub mod output_types;
mod patient_pool;
mod plan_shape;
pub mod planning;
mod progress;
pub mod query;
mod recent;
pub mod records;
pub mod refresh;
pub mod relation_source;
pub mod request;
mod rewritten_files;
mod row_order;
mod scan_units;
pub mod session;
mod set_operations;
pub mod sql;
mod sub_queries;
mod target;
mod templates;
mod volatility;

#[cfg(test)]
mod compile_tests;
#[cfg(test)]
mod dataframe_tests;
#[cfg(test)]
mod exact_sums_tests;
#[cfg(test)]
mod function_tests;
#[cfg(test)]
mod row_order_tests;
#[cfg(test)]
mod tpch;

pub use bundle::{InputSchema, PlanBundle, PlanEncoding, decode_plan};
pub use compile::{CompileOptions, Definition, compile};
pub use error::{EngineError, Result};
pub use lineage::Lineage;
pub use session::{EngineOptions, EngineSession};
