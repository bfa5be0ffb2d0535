//! The engine as Python sees it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatchReader;
use arrow::datatypes::SchemaRef;
use arrow::ffi_stream::ArrowArrayStreamReader;
use arrow::record_batch::RecordBatch;
use arrow_pyarrow::PyArrowType;
use engine::compile::Definition;
use engine::query::MemoryTables;
use engine::request::CompileRequest;
use engine::{EngineError, EngineOptions, EngineSession};
use functions::MacroSource;
use lake::TableLocation;
use pyo3::prelude::*;

use crate::error::{from_json, raised, to_json};
use crate::rows::RowStream;
use crate::runtime::Tasks;

/// One engine: threads, memory pool, caches and stores of a process.
///
/// Requests and answers are JSON text; `registry/native.py` has their models.
#[pyclass(frozen, module = "datafusion_ext")]
pub struct Engine {
    tasks: Arc<Tasks>,
    session: Arc<EngineSession>,
}

#[pymethods]
impl Engine {
    /// Make an engine.
    ///
    /// `settings` are DataFusion's, by full name.  Without `memory_limit_bytes` the pool has no limit; without
    /// `spill_directory` data is spilled to the system's temporary folder.  Without `durable` a commit is not forced to
    /// the disk.
    #[new]
    #[pyo3(signature = (*, settings=None, memory_limit_bytes=None, spill_directory=None, target_partitions=None, durable=true))]
    fn new(
        settings: Option<BTreeMap<String, String>>,
        memory_limit_bytes: Option<u64>,
        spill_directory: Option<PathBuf>,
        target_partitions: Option<usize>,
        durable: bool,
    ) -> PyResult<Self> {
        let options = EngineOptions {
            settings: settings.unwrap_or_default(),
            memory_limit_bytes,
            spill_directory,
            target_partitions,
            durable,
            ..EngineOptions::default()
        };
        let session = EngineSession::new(options).map_err(|error| raised(&error))?;
        Ok(Self { tasks: Arc::new(Tasks::new()?), session: Arc::new(session) })
    }

    /// Every setting of the session by name.
    fn settings(&self) -> PyResult<String> {
        to_json(self.session.settings())
    }

    /// The functions that are installed, with their hash, tags and domain planners.
    fn function_snapshot(&self) -> PyResult<String> {
        to_json(self.session.platform())
    }

    /// Bytes that running work holds in the memory pool.
    fn reserved_bytes(&self) -> usize {
        self.session.reserved_bytes()
    }

    /// The state of a table at a version, or at its newest one.
    #[pyo3(signature = (table, version=None))]
    fn table_state(&self, py: Python<'_>, table: &str, version: Option<u64>) -> PyResult<String> {
        let table: TableLocation = from_json(table)?;
        let session = Arc::clone(&self.session);
        let state =
            self.tasks.wait(py, async move { engine::observe::table_state(&session, &table, version).await })?;
        to_json(&state)
    }

    /// Whether the version after `after` is there: one request, nothing is opened.
    fn next_version_exists(&self, py: Python<'_>, table: &str, after: u64) -> PyResult<bool> {
        let table: TableLocation = from_json(table)?;
        self.tasks.look(py, async { Ok(self.session.lake().next_version_exists(&table, after).await?) })
    }

    /// Look at many tables at once: for each, in order, whether its version after the given one is there, or an error.
    fn look(&self, py: Python<'_>, looks: &str) -> PyResult<String> {
        let looks = from_json(looks)?;
        let seen = self.tasks.look(py, async { Ok(engine::observe::look(&self.session, looks).await) })?;
        to_json(&seen)
    }

    /// The newest version, by a listing that starts at `at_least`.
    #[pyo3(signature = (table, at_least=None))]
    fn latest_version(&self, py: Python<'_>, table: &str, at_least: Option<u64>) -> PyResult<u64> {
        let table: TableLocation = from_json(table)?;
        self.tasks.look(py, async { Ok(self.session.lake().latest_version(&table, at_least).await?) })
    }

    /// What tells the table at `version` from another one at the same place.
    fn identity(&self, py: Python<'_>, table: &str, version: u64) -> PyResult<String> {
        let table: TableLocation = from_json(table)?;
        let identity = self.tasks.look(py, async { Ok(self.session.lake().identity(&table, version).await?) })?;
        to_json(&identity)
    }

    /// What happened to a table in a range of versions, and how much of it a view can see.
    fn examine(&self, py: Python<'_>, request: &str) -> PyResult<String> {
        let (request, session) = (from_json(request)?, Arc::clone(&self.session));
        let summary = self.tasks.wait(py, async move { engine::observe::examine(&session, &request).await })?;
        to_json(&summary)
    }

    /// What a view's target says of itself, as it is or as it was: frontier, content key, foreign commits.
    #[pyo3(signature = (table, view_id, version=None))]
    fn target_state(&self, py: Python<'_>, table: &str, view_id: &str, version: Option<u64>) -> PyResult<String> {
        let table: TableLocation = from_json(table)?;
        let (view_id, session) = (view_id.to_owned(), Arc::clone(&self.session));
        let state = self
            .tasks
            .wait(py, async move { engine::observe::target_state(&session, &table, &view_id, version).await })?;
        to_json(&state)
    }

    /// The relations that a query names, without its own common table expressions, sorted; JSON list.
    fn relations(&self, sql: &str) -> PyResult<String> {
        let names = engine::sql::relations(&self.session, "query", sql).map_err(|error| raised(&error))?;
        to_json(&names)
    }

    /// What the macros of a project are, `{"functions": […]}`, or what is wrong with them, `{"problems": […]}`.
    fn define_functions(&self, sources: &str) -> PyResult<String> {
        let sources: Vec<MacroSource> = from_json(sources)?;
        match self.session.define_macros(&sources) {
            Ok(macros) => {
                let functions: Vec<_> = macros.snapshots().collect();
                to_json(&serde_json::json!({"functions": functions, "problems": []}))
            }
            Err(problems) => to_json(&serde_json::json!({"functions": [], "problems": problems})),
        }
    }

    /// Compile a view: its SQL text in the request, or a plan of the PyPI package `datafusion` as bytes.
    #[pyo3(signature = (request, plan=None))]
    fn compile(&self, py: Python<'_>, request: &str, plan: Option<Vec<u8>>) -> PyResult<String> {
        let (request, definition) = definition(request, plan)?;
        let session = Arc::clone(&self.session);
        let bundle = self.tasks.wait(py, async move {
            let inputs = request.input_schemas()?;
            let macros = session.macros(&request.functions)?;
            let options = request.options();
            engine::compile::compile_with_macros(&session, &request.name, &definition, &inputs, &options, &macros)
        })?;
        to_json(&bundle)
    }

    /// The key that is equal as long as compiling again would give the same bundle.
    #[pyo3(signature = (request, plan=None))]
    fn compile_key(&self, request: &str, plan: Option<Vec<u8>>) -> PyResult<String> {
        let (request, definition) = definition(request, plan)?;
        let inputs = request.input_schemas().map_err(|error| raised(&error))?;
        let macros = self.session.macros(&request.functions).map_err(|error| raised(&error))?;
        let options = request.options();
        engine::compile::definition_key_with_macros(
            &self.session,
            &request.name,
            &definition,
            &inputs,
            &options,
            &macros,
        )
        .map_err(|error| raised(&error))
    }

    /// What a refresh would read and write; nothing is written.  What was opened for it waits for that refresh.
    fn plan_refresh(&self, py: Python<'_>, request: &str) -> PyResult<String> {
        let (request, session) = (request.to_owned(), Arc::clone(&self.session));
        let plan = self.tasks.wait(py, async move { engine::handover::plan_refresh(&session, &request).await })?;
        to_json(&plan)
    }

    /// Refresh a view.  `observer` is called with the name of each step before it is taken.
    #[pyo3(signature = (request, observer=None))]
    fn refresh(&self, py: Python<'_>, request: &str, observer: Option<Py<PyAny>>) -> PyResult<String> {
        let (request, session) = (request.to_owned(), Arc::clone(&self.session));
        let result = self.tasks.wait(py, async move {
            let tell = |step: &str| tell(observer.as_ref(), step);
            engine::handover::run_refresh(&session, &request, &tell).await
        })?;
        to_json(&result)
    }

    /// Compare a view's target with its query at the pins, as counted bags.
    fn verify(&self, py: Python<'_>, request: &str) -> PyResult<String> {
        let (request, session) = (from_json(request)?, Arc::clone(&self.session));
        let report = self.tasks.wait(py, async move { engine::audit::verify(&session, &request).await })?;
        to_json(&report)
    }

    /// The digest of a view's query at the pins, as its commits write that of their content.
    fn digest(&self, py: Python<'_>, request: &str) -> PyResult<String> {
        let (request, session) = (from_json(request)?, Arc::clone(&self.session));
        let report = self.tasks.wait(py, async move { engine::digest::digest(&session, &request).await })?;
        to_json(&report)
    }

    /// Start a query that only reads; its rows are computed as they are taken.
    ///
    /// `memory` holds tables that are nowhere else, by name.
    #[pyo3(signature = (request, memory=None))]
    fn query(
        &self,
        py: Python<'_>,
        request: &str,
        memory: Option<BTreeMap<String, PyArrowType<ArrowArrayStreamReader>>>,
    ) -> PyResult<RowStream> {
        let (request, session) = (from_json(request)?, Arc::clone(&self.session));
        let memory = memory
            .unwrap_or_default()
            .into_iter()
            .map(|(name, data)| Ok((name, rows(data.0)?)))
            .collect::<PyResult<MemoryTables>>()?;
        let rows = self.tasks.wait(py, async move { engine::query::query(&session, &request, memory).await })?;
        Ok(RowStream::new(rows, Arc::clone(&self.tasks)))
    }

    /// Append rows to a table of records, which is created if it is not there; the version made.
    ///
    /// `observer` is called with the name of each step of the commit when it is taken.
    #[pyo3(signature = (request, data, observer=None))]
    fn append(
        &self,
        py: Python<'_>,
        request: &str,
        data: PyArrowType<ArrowArrayStreamReader>,
        observer: Option<Py<PyAny>>,
    ) -> PyResult<u64> {
        let (request, session) = (from_json(request)?, Arc::clone(&self.session));
        let (schema, batches) = rows(data.0)?;
        self.tasks.wait(py, async move {
            let tell = |step: &str| tell(observer.as_ref(), step);
            engine::records::append(&session, &request, schema, batches, &tell).await
        })
    }

    /// Merge small files of a table; the version made, or none if there was nothing to do.
    #[pyo3(signature = (table, target_file_size=None))]
    fn compact(&self, py: Python<'_>, table: &str, target_file_size: Option<u64>) -> PyResult<Option<u64>> {
        let table: TableLocation = from_json(table)?;
        let session = Arc::clone(&self.session);
        self.tasks.wait(py, async move { Ok(lake::compact(session.lake(), &table, target_file_size).await?) })
    }

    /// Delete the data files that left a table longer ago than it keeps them; how many went.
    fn vacuum(&self, py: Python<'_>, table: &str) -> PyResult<usize> {
        let table: TableLocation = from_json(table)?;
        let session = Arc::clone(&self.session);
        self.tasks.wait(py, async move { Ok(lake::vacuum(session.lake(), &table).await?) })
    }

    /// End every call that is running now with the code `cancelled`.
    fn cancel(&self) {
        self.tasks.cancel();
    }
}

/// Tell an observer a step.
fn tell(observer: Option<&Py<PyAny>>, step: &str) {
    if let Some(observer) = observer {
        Python::attach(|py| {
            if let Err(error) = observer.call1(py, (step,)) {
                // A failing observer must not decide over a commit that may be made already.
                error.write_unraisable(py, None);
            }
        });
    }
}

/// All rows that Python gave.
fn rows(reader: ArrowArrayStreamReader) -> PyResult<(SchemaRef, Vec<RecordBatch>)> {
    let schema = reader.schema();
    let batches = reader.collect::<Result<_, _>>().map_err(|error| {
        raised(&EngineError::InvalidArgument { message: format!("the rows cannot be read: {error}") })
    })?;
    Ok((schema, batches))
}

fn definition(request: &str, plan: Option<Vec<u8>>) -> PyResult<(CompileRequest, Definition)> {
    let request: CompileRequest = from_json(request)?;
    let definition = match (&request.sql, plan) {
        (Some(sql), None) => Definition::Sql(sql.clone()),
        (None, Some(plan)) => Definition::Proto(plan),
        _ => {
            let message = "a view is either SQL text or the bytes of a plan".to_owned();
            return Err(raised(&EngineError::InvalidArgument { message }));
        }
    };
    Ok((request, definition))
}
