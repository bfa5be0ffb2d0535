//! Our functions for a `SessionContext` of the PyPI package `datafusion`, as PyCapsules.

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;
use datafusion_ffi::udf::FFI_ScalarUDF;
use functions::Function;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

/// A scalar function that another DataFusion can import.
#[pyclass(frozen, module = "datafusion_ext")]
pub struct ScalarFunction {
    function: Arc<ScalarUDF>,
}

#[pymethods]
impl ScalarFunction {
    /// Its name in SQL.
    #[getter]
    fn name(&self) -> &str {
        self.function.name()
    }

    /// The function behind DataFusion's foreign function interface.
    fn __datafusion_scalar_udf__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let function = FFI_ScalarUDF::from(Arc::clone(&self.function));
        PyCapsule::new_with_value(py, function, c"datafusion_scalar_udf")
    }
}

/// Every scalar function of the platform.
#[pyfunction]
pub fn udf_capsules() -> Vec<ScalarFunction> {
    functions::families()
        .into_iter()
        .filter_map(|member| match member.function {
            Function::Scalar(function) => Some(ScalarFunction { function }),
            Function::Aggregate(_) | Function::Window(_) => None,
        })
        .collect()
}
