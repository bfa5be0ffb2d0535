//! The native module: what Python sees of the engine.
//!
//! Structured values cross as JSON text, rows as Arrow streams.  Every call that works releases the GIL, can be
//! interrupted and cancelled, and fails with a [`error::DeltakeepError`] whose `code` comes from a closed list.

mod capsule;
mod engine;
mod error;
mod rows;
mod runtime;

use pyo3::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The closed list of reason codes with their texts and hints, as JSON.
#[pyfunction]
fn reason_codes() -> PyResult<String> {
    let reasons: Vec<_> = maintenance::Reason::all()
        .iter()
        .map(|reason| serde_json::json!({"code": reason.code(), "message": reason.message(), "hint": reason.hint()}))
        .collect();
    error::to_json(&reasons)
}

/// The functions of the platform with their documentation, tags, planners and hash, as JSON.
#[pyfunction]
#[pyo3(signature = (*, planners=true))]
fn udf_snapshot(planners: bool) -> PyResult<String> {
    error::to_json(&functions::UdfPlanningSnapshot::of_families(planners))
}

/// The names of the steps of the commit protocol, in their order, as JSON.
#[pyfunction]
fn commit_steps() -> PyResult<String> {
    let names: Vec<_> = lake::CommitStep::ALL.iter().map(|step| step.name()).collect();
    error::to_json(&names)
}

/// Versions of the engine and of the libraries that it links, as JSON.
#[pyfunction]
fn versions() -> PyResult<String> {
    error::to_json(&serde_json::json!({
        "deltakeep": env!("CARGO_PKG_VERSION"),
        "engine": ::engine::bundle::engine_version(),
        "datafusion": datafusion::DATAFUSION_VERSION,
        "deltalake": lake::deltalake_version(),
    }))
}

#[pymodule]
#[pyo3(name = "_native")]
fn datafusion_ext(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<engine::Engine>()?;
    module.add_class::<rows::RowStream>()?;
    module.add_class::<capsule::ScalarFunction>()?;
    module.add_class::<capsule::AggregateFunction>()?;
    module.add_class::<capsule::WindowFunction>()?;
    module.add("DeltakeepError", module.py().get_type::<error::DeltakeepError>())?;
    module.add_function(wrap_pyfunction!(capsule::udf_capsules, module)?)?;
    module.add_function(wrap_pyfunction!(udf_snapshot, module)?)?;
    module.add_function(wrap_pyfunction!(reason_codes, module)?)?;
    module.add_function(wrap_pyfunction!(commit_steps, module)?)?;
    module.add_function(wrap_pyfunction!(versions, module)?)?;
    Ok(())
}
