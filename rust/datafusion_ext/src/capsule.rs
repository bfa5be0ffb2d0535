//! Our functions for a `SessionContext` of the PyPI package `datafusion`, as PyCapsules.

use std::sync::Arc;

use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use datafusion_ffi::udaf::FFI_AggregateUDF;
use datafusion_ffi::udf::FFI_ScalarUDF;
use datafusion_ffi::udwf::FFI_WindowUDF;
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

/// An aggregate function that another DataFusion can import.
#[pyclass(frozen, module = "datafusion_ext")]
pub struct AggregateFunction {
    function: Arc<AggregateUDF>,
}

#[pymethods]
impl AggregateFunction {
    /// Its name in SQL.
    #[getter]
    fn name(&self) -> &str {
        self.function.name()
    }

    /// The function behind DataFusion's foreign function interface.
    fn __datafusion_aggregate_udf__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let function = FFI_AggregateUDF::from(Arc::clone(&self.function));
        PyCapsule::new_with_value(py, function, c"datafusion_aggregate_udf")
    }
}

/// A window function that another DataFusion can import.
#[pyclass(frozen, module = "datafusion_ext")]
pub struct WindowFunction {
    function: Arc<WindowUDF>,
}

#[pymethods]
impl WindowFunction {
    /// Its name in SQL.
    #[getter]
    fn name(&self) -> &str {
        self.function.name()
    }

    /// The function behind DataFusion's foreign function interface.
    fn __datafusion_window_udf__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let function = FFI_WindowUDF::from(Arc::clone(&self.function));
        PyCapsule::new_with_value(py, function, c"datafusion_window_udf")
    }
}

/// Every function of the platform, family by family, each as an object of its kind.
#[pyfunction]
pub fn udf_capsules(py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
    functions::families()
        .into_iter()
        .map(|member| {
            Ok(match member.function {
                Function::Scalar(function) => Py::new(py, ScalarFunction { function })?.into_any(),
                Function::Aggregate(function) => Py::new(py, AggregateFunction { function })?.into_any(),
                Function::Window(function) => Py::new(py, WindowFunction { function })?.into_any(),
            })
        })
        .collect()
}
