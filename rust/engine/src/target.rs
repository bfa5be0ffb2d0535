//! The target of a refresh: finding the rows that have to go, and writing what replaces their files.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, UInt32Array};
use datafusion::arrow::compute::{cast, filter_record_batch, take_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::{Column, JoinType, NullEquality, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::functions_aggregate::expr_fn::{max, min, sum};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, cast as cast_expr, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt, stream};
use lake::{DataFile, Lake, PinnedTable, TableSnapshot};

use crate::difference::{Deletions, Matching, RowCounts};
use crate::error::EngineError;
use crate::execution::{Execution, scanned};
use crate::request::FileWork;

const FILE: &str = "__file";
const POSITION: &str = "__position";
const TARGET: &str = "target";
const CHANGE_TYPE: &str = "_change_type";

/// The old content of a view.
pub struct Target {
    /// The lake that it lies in.
    pub lake: Lake,
    /// Its version.
    pub snapshot: Arc<TableSnapshot>,
}

impl Target {
    /// Schema of its rows as scans give them.
    pub fn schema(&self) -> SchemaRef {
        lake::view_typed(&self.snapshot.schema)
    }

    /// Its rows.
    pub fn table(&self) -> Arc<dyn TableProvider> {
        Arc::new(PinnedTable::new(self.lake.clone(), Arc::clone(&self.snapshot)))
    }

    /// Meet the rows of the target with a bag; the bag keeps what has to be added, the result is what has to go.
    ///
    /// `among` narrows the rows that are looked at: none of the others may be in the bag.
    pub async fn matched(
        &self,
        execution: &Execution,
        bag: &mut RowCounts,
        rule: Matching,
        among: Among,
        budget: u64,
    ) -> Result<(Deletions, FileWork)> {
        let table = PinnedTable::new(self.lake.clone(), Arc::clone(&self.snapshot))
            .with_file_column(FILE)
            .with_row_index_column(POSITION);
        let scan = LogicalPlanBuilder::scan(TARGET, provider_as_source(Arc::new(table)), None)?;
        let narrowed = match among {
            Among::All => scan,
            Among::Filter(filter) => scan.filter(filter)?,
            Among::Keys { keys, columns } => {
                let fields = keys.schema();
                let right = LogicalPlanBuilder::scan("keys", provider_as_source(keys), None)?.build()?;
                let pairs: (Vec<Column>, Vec<Column>) = columns
                    .iter()
                    .zip(fields.fields())
                    .map(|(column, key)| {
                        (Column::new(Some(TARGET), column.as_str()), Column::new(Some("keys"), key.name().as_str()))
                    })
                    .unzip();
                scan.join_detailed(right, JoinType::LeftSemi, pairs, None, NullEquality::NullEqualsNull)?
            }
        };
        let names = self
            .snapshot
            .schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .chain([FILE.into(), POSITION.into()]);
        let plan = narrowed.project(names.map(|name| Expr::Column(Column::new(Some(TARGET), name))))?.build()?;
        let physical = execution.physical(&execution.optimize(&plan)?).await?;
        let mut reservation = execution.reserve("rows to take from the target");
        let mut deletions = Deletions::default();
        let mut stream = execution.stream(&physical)?;
        while let Some(batch) = stream.try_next().await? {
            let width = batch.num_columns() - 2;
            let rows = batch.project(&(0..width).collect::<Vec<_>>())?;
            let goes = bag.matched(&rows, rule)?;
            deletions.note(&rows, batch.column(width), batch.column(width + 1), &goes, &mut reservation, budget)?;
        }
        Ok((deletions, scanned(&physical)))
    }

    /// What becomes of the files of `deletions`; the rows that stay are in the schema of the target.
    pub async fn remaining(&self, execution: &Execution, deletions: &Deletions) -> Result<Remaining> {
        let touched: Vec<DataFile> =
            self.snapshot.files.iter().filter(|file| deletions.positions.contains_key(&file.path)).cloned().collect();
        let gone_of = |file: &DataFile| deletions.positions.get(&file.path).map_or(0, |gone| gone.len() as u64);
        let hiding = touched.iter().filter(|file| self.hides(file, gone_of(file)));
        let hidden: BTreeMap<String, roaring::RoaringTreemap> = hiding
            .filter_map(|file| {
                Some((file.path.clone(), deletions.positions.get(&file.path)?.iter().copied().collect()))
            })
            .collect();
        let kept: Vec<DataFile> = touched
            .iter()
            .filter(|file| !hidden.contains_key(&file.path) && file.live_rows() != Some(gone_of(file)))
            .cloned()
            .collect();
        let schema = self.schema();
        if kept.is_empty() {
            let empty = RecordBatchStreamAdapter::new(schema, stream::empty());
            return Ok(Remaining { touched, hidden, rows: Box::pin(empty), plan: None });
        }
        let table = PinnedTable::new(self.lake.clone(), Arc::clone(&self.snapshot))
            .with_files(kept)
            .with_file_column(FILE)
            .with_row_index_column(POSITION);
        let plan = LogicalPlanBuilder::scan(TARGET, provider_as_source(Arc::new(table)), None)?.build()?;
        let columns: Vec<usize> = schema
            .fields()
            .iter()
            .map(|field| plan.schema().index_of_column_by_name(None, field.name()).ok_or_else(|| missing(field.name())))
            .collect::<Result<_>>()?;
        let file = plan.schema().index_of_column_by_name(None, FILE).ok_or_else(|| missing(FILE))?;
        let position = plan.schema().index_of_column_by_name(None, POSITION).ok_or_else(|| missing(POSITION))?;
        let gone: BTreeMap<String, roaring::RoaringTreemap> =
            deletions.positions.iter().map(|(path, list)| (path.clone(), list.iter().copied().collect())).collect();
        let physical = execution.physical(&execution.optimize(&plan)?).await?;
        let kept = execution.stream(&physical)?.map(move |batch| {
            let batch = batch?;
            let stays = stays(batch.column(file), batch.column(position), &gone)?;
            Ok(filter_record_batch(&batch.project(&columns)?, &stays)?)
        });
        let rows = Box::pin(RecordBatchStreamAdapter::new(schema, kept));
        Ok(Remaining { touched, hidden, rows, plan: Some(physical) })
    }

    /// Whether hiding rows of a file costs less than writing the others again, for this refresh and those that read it.
    fn hides(&self, file: &DataFile, gone: u64) -> bool {
        let (Some(rows), Some(live)) = (file.rows, file.live_rows()) else { return false };
        self.snapshot.deletion_vectors() && file.size >= LEAST_HIDING && (rows - live + gone) * HIDDEN_SHARE <= rows
    }
}

/// The size of a file from which on rows of it are hidden, in bytes: a smaller one is written again in the time that a
/// file of deletion vectors takes.
const LEAST_HIDING: u64 = 128 << 10;

/// At most one in so many rows of a file is hidden: every scan reads them.
const HIDDEN_SHARE: u64 = 10;

/// What is left of files that lose rows.
pub struct Remaining {
    /// The files.
    pub touched: Vec<DataFile>,
    /// Those that stay and hide what they lose: physical row numbers by path.
    pub hidden: BTreeMap<String, roaring::RoaringTreemap>,
    /// The rows that stay of the others.
    pub rows: SendableRecordBatchStream,
    /// What reads them; none where nothing stays.
    pub plan: Option<Arc<dyn ExecutionPlan>>,
}

/// Which rows of the target are looked at.
pub enum Among {
    /// All of them.
    All,
    /// Those that satisfy a predicate over its columns.
    Filter(Expr),
    /// Those whose `columns` are among the rows of `keys`, NULL equal to NULL.
    Keys {
        /// The keys, one column each.
        keys: Arc<dyn TableProvider>,
        /// The columns of the target that they stand for.
        columns: Vec<String>,
    },
}

impl Among {
    /// A predicate that all given rows satisfy: the range of each column that has one.
    ///
    /// Rows that are to go lie in these ranges, so that files and row groups outside them are not read.
    pub async fn ranges(execution: &Execution, rows: Vec<RecordBatch>, budget: u64) -> Result<Self> {
        let Some(schema) = rows.first().map(RecordBatch::schema) else { return Ok(Self::All) };
        let ranged: Vec<&Field> =
            schema.fields().iter().map(AsRef::as_ref).filter(|field| has_range(field.data_type())).collect();
        if ranged.is_empty() {
            return Ok(Self::All);
        }
        let mut aggregates = Vec::with_capacity(3 * ranged.len());
        for field in &ranged {
            let column = Expr::Column(Column::new_unqualified(field.name()));
            aggregates.push(min(column.clone()).alias(format!("min {}", field.name())));
            aggregates.push(max(column.clone()).alias(format!("max {}", field.name())));
            aggregates.push(sum(cast_expr(column.is_null(), DataType::Int64)).alias(format!("nulls {}", field.name())));
        }
        let table = MemTable::try_new(Arc::clone(&schema), vec![rows])?;
        let plan = LogicalPlanBuilder::scan("gone", provider_as_source(Arc::new(table)), None)?
            .aggregate(Vec::<Expr>::new(), aggregates)?
            .build()?;
        let collected = execution.collect(&plan, budget).await?;
        let Some(row) = collected.batches.first() else { return Ok(Self::All) };
        let mut predicates = Vec::new();
        for (index, field) in ranged.iter().enumerate() {
            let value = |offset: usize| ScalarValue::try_from_array(row.column(3 * index + offset), 0);
            let (low, high, nulls) = (value(0)?, value(1)?, value(2)?);
            let column = Expr::Column(Column::new(Some(TARGET), field.name()));
            let has_nulls = !matches!(nulls, ScalarValue::Int64(Some(0)));
            let range = (!low.is_null()).then(|| {
                if low == high {
                    column.clone().eq(lit(low.clone()))
                } else {
                    column.clone().gt_eq(lit(low.clone())).and(column.clone().lt_eq(lit(high.clone())))
                }
            });
            predicates.push(match (range, has_nulls) {
                (Some(range), true) => range.or(column.is_null()),
                (Some(range), false) => range,
                (None, _) => column.is_null(),
            });
        }
        Ok(conjunction(predicates).map_or(Self::All, Self::Filter))
    }
}

/// Types whose minimum and maximum bound all rows: floats are left out, because NaN lies outside of any range.
fn has_range(data_type: &DataType) -> bool {
    data_type.is_integer()
        || data_type.is_temporal()
        || matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::Decimal128(..))
}

fn missing(column: &str) -> datafusion::error::DataFusionError {
    EngineError::defect("target scan", format!("column \"{column}\" is missing")).into()
}

fn stays(
    files: &dyn Array,
    positions: &dyn Array,
    gone: &BTreeMap<String, roaring::RoaringTreemap>,
) -> Result<BooleanArray> {
    let files = cast(files, &DataType::Utf8)?;
    let files = files.as_string::<i32>();
    let positions = positions.as_primitive_opt::<Int64Type>().ok_or_else(|| missing(POSITION))?;
    let mut current: Option<(&str, Option<&roaring::RoaringTreemap>)> = None;
    let mut mask = Vec::with_capacity(files.len());
    for index in 0..files.len() {
        let path = files.value(index);
        let rows = match current {
            Some((known, rows)) if known == path => rows,
            _ => {
                let rows = gone.get(path);
                current = Some((path, rows));
                rows
            }
        };
        let position = u64::try_from(positions.value(index)).map_err(|_| missing(POSITION))?;
        mask.push(!rows.is_some_and(|rows| rows.contains(position)));
    }
    Ok(BooleanArray::from(mask))
}

/// A stream of batches that are already there, after another stream of the same columns.
pub fn followed_by(
    first: SendableRecordBatchStream,
    then: Vec<RecordBatch>,
    schema: &SchemaRef,
) -> SendableRecordBatchStream {
    let all = first.chain(stream::iter(then.into_iter().map(Ok)));
    Box::pin(RecordBatchStreamAdapter::new(Arc::clone(schema), all))
}

/// The rows of a weighted stream, each as often as its weight says; the weight column, the last one, is dropped.
pub fn repeated(weighted: SendableRecordBatchStream, schema: SchemaRef) -> SendableRecordBatchStream {
    let repeated = weighted.map(|batch| {
        let batch = batch?;
        let width = batch.num_columns() - 1;
        let rows = batch.project(&(0..width).collect::<Vec<_>>())?;
        let weights = batch
            .column(width)
            .as_primitive_opt::<Int64Type>()
            .ok_or_else(|| EngineError::defect("change plan", "the weight is not an Int64"))?;
        expand(&rows, weights)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, repeated))
}

fn expand(rows: &RecordBatch, weights: &Int64Array) -> Result<RecordBatch> {
    if weights.values().iter().all(|weight| *weight == 1) {
        return Ok(rows.clone());
    }
    let mut indices = Vec::with_capacity(rows.num_rows());
    for (index, weight) in (0_u32..).zip(weights.values()) {
        let times = usize::try_from(*weight)
            .map_err(|_| EngineError::defect("change plan", "a range without deletions gave a negative weight"))?;
        indices.extend(std::iter::repeat_n(index, times));
    }
    Ok(take_record_batch(rows, &UInt32Array::from(indices))?)
}

/// The rows of a change as change files hold them: inserts and deletes with their change type.
pub fn change_records(
    schema: &SchemaRef,
    inserts: &[RecordBatch],
    deletes: &[RecordBatch],
) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(CHANGE_TYPE, DataType::Utf8, false)));
    let with_type = Arc::new(Schema::new(fields));
    let mut batches = Vec::with_capacity(inserts.len() + deletes.len());
    for (change, rows) in [("insert", inserts), ("delete", deletes)] {
        for batch in rows {
            let kinds = StringArray::from_iter_values(std::iter::repeat_n(change, batch.num_rows()));
            let columns = batch.columns().iter().cloned().chain([Arc::new(kinds) as _]).collect();
            batches.push(RecordBatch::try_new(Arc::clone(&with_type), columns)?);
        }
    }
    Ok((with_type, batches))
}
