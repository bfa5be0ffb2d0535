//! Running a logical plan with a pinned clock, and counting what it read.

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, ScalarUDF};
use datafusion::physical_plan::{ExecutionPlan, execute_stream, execute_stream_partitioned};
use futures::TryStreamExt;

use crate::error::EngineError;
use crate::optimizing::optimize;
use crate::request::FileWork;
use crate::session::EngineSession;

/// One session state with one clock: what a refresh plans and runs in.
pub struct Execution {
    state: SessionState,
}

impl Execution {
    /// A fresh state of `session` in which `now()` is `clock_ms`.
    pub fn new(session: &EngineSession, clock_ms: i64) -> Result<Self> {
        Ok(Self { state: session.execution_state(clock_ms)? })
    }

    /// What a function without arguments gives at the clock of this state, `now()` say.
    pub fn moment(&self, function: &str) -> Result<Expr> {
        let call = self.state.udf(function)?.call(vec![]).alias("moment");
        let plan = self.state.optimize(&LogicalPlanBuilder::empty(true).project([call])?.build()?)?;
        match plan.expressions().into_iter().next().map(Expr::unalias) {
            Some(literal @ Expr::Literal(..)) => Ok(literal),
            _ => Err(EngineError::defect("clock", format!("{function}() has no value")).into()),
        }
    }

    /// A function of the platform, as it is installed.
    pub fn function(&self, name: &str) -> Result<Arc<ScalarUDF>> {
        self.state.udf(name)
    }

    /// The optimized form of a plan.
    pub fn optimize(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        optimize(&self.state, plan)
    }

    /// The physical form of an optimized plan.
    pub async fn physical(&self, optimized: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        self.state.query_planner().create_physical_plan(optimized, &self.state).await
    }

    /// Start a physical plan; its partitions are merged.
    pub fn stream(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<SendableRecordBatchStream> {
        execute_stream(Arc::clone(plan), self.state.task_ctx())
    }

    /// Start a physical plan; each of its partitions is a stream of its own.
    pub fn streams(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<SendableRecordBatchStream>> {
        execute_stream_partitioned(Arc::clone(plan), self.state.task_ctx())
    }

    /// Run a plan and hold its rows, at most `budget` bytes of them.
    ///
    /// Fails with `budget_exceeded` when there is more, or when the pool has no room.
    pub async fn collect(&self, plan: &LogicalPlan, budget: u64) -> Result<Collected> {
        self.collect_optimized(&self.optimize(plan)?, budget).await
    }

    /// As [`Execution::collect`], for a plan that is optimized already.
    pub async fn collect_optimized(&self, optimized: &LogicalPlan, budget: u64) -> Result<Collected> {
        let physical = self.physical(optimized).await?;
        let mut reservation = self.reserve("change set");
        let mut batches = Vec::new();
        let mut rows = 0;
        let mut stream = self.stream(&physical)?;
        while let Some(batch) = stream.try_next().await? {
            if batch.num_rows() == 0 {
                continue;
            }
            rows += batch.num_rows() as u64;
            grow(&mut reservation, batch.get_array_memory_size(), budget)?;
            batches.push(batch);
        }
        let read = scanned(&physical);
        Ok(Collected { batches, rows, read, _reservation: reservation })
    }

    /// An empty claim on the memory pool.
    pub fn reserve(&self, name: &str) -> MemoryReservation {
        MemoryConsumer::new(name).register(&self.state.runtime_env().memory_pool)
    }
}

/// Rows held in memory, charged to the pool until they are dropped.
pub struct Collected {
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// How many.
    pub rows: u64,
    /// What was read for them.
    pub read: FileWork,
    /// The claim on the pool, given back with the rows.
    _reservation: MemoryReservation,
}

impl Collected {
    /// The rows as a table, with the columns and the names of a plan that they came from.
    pub fn table(&self, plan: &LogicalPlan) -> Result<Arc<dyn TableProvider>> {
        let schema = Arc::new(plan.schema().as_arrow().clone());
        let batches = self
            .batches
            .iter()
            .map(|batch| Ok(RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec())?))
            .collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(MemTable::try_new(schema, vec![batches])?))
    }
}

/// Claim `bytes` more; `budget_exceeded` when that is above the budget or the pool is full.
pub fn grow(reservation: &mut MemoryReservation, bytes: usize, budget: u64) -> Result<()> {
    if (reservation.size() + bytes) as u64 > budget {
        return Err(EngineError::BudgetExceeded { bytes: budget }.into());
    }
    let held = reservation.size() as u64;
    reservation.try_grow(bytes).map_err(|_| EngineError::BudgetExceeded { bytes: held }.into())
}

/// What the scans of a plan that ran have read: files opened, bytes fetched, rows decoded.
pub fn scanned(plan: &Arc<dyn ExecutionPlan>) -> FileWork {
    let mut work = FileWork::default();
    if plan.downcast_ref::<DataSourceExec>().is_some()
        && let Some(metrics) = plan.metrics()
    {
        let sum = |name: &str| metrics.sum_by_name(name).map_or(0, |value| value.as_usize() as u64);
        let rows = metrics.output_rows().unwrap_or_default() as u64;
        work = FileWork { files: sum("files_opened"), bytes: sum("bytes_scanned"), rows };
    }
    plan.children().into_iter().fold(work, |total, child| total.plus(scanned(child)))
}
