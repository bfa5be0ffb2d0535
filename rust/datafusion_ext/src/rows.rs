//! The rows of a query that runs, as Python takes them: batch by batch.

use std::sync::Arc;

use arrow_pyarrow::ToPyArrow;
use engine::query::Rows;
use pyo3::prelude::*;

use crate::runtime::Tasks;

/// An iterator over the record batches of a query.
///
/// Each step releases the GIL, can be interrupted and cancelled, and fails as the call of an engine does.  Dropping it
/// ends the query.
#[pyclass(frozen, module = "datafusion_ext")]
pub struct RowStream {
    // The rows go before the threads that compute them.
    rows: Arc<Rows>,
    tasks: Arc<Tasks>,
}

impl RowStream {
    /// The rows of a query that was started by `tasks`.
    pub fn new(rows: Rows, tasks: Arc<Tasks>) -> Self {
        Self { rows: Arc::new(rows), tasks }
    }
}

#[pymethods]
impl RowStream {
    /// Their schema, a `pyarrow.Schema`.
    #[getter]
    fn schema<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.rows.schema().to_pyarrow(py)
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let rows = Arc::clone(&self.rows);
        let batch = self.tasks.wait(py, async move { rows.next().await })?;
        batch.map(|batch| batch.to_pyarrow(py)).transpose()
    }
}
