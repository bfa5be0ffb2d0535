//! The target of a refresh: finding the rows that have to go, and writing what replaces their files.

use std::collections::{BTreeMap, HashSet};
use std::slice;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use datafusion::arrow::compute::{cast, concat_batches, filter_record_batch, take_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::{Column, JoinType, NullEquality, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt, stream};
use lake::{CHANGE_TYPE, DataFile, Lake, PinnedTable, TableSnapshot};

use crate::difference::{Deletions, Matching, RowCounts};
use crate::error::EngineError;
use crate::execution::{Execution, grow, scanned};
use crate::request::FileWork;

const FILE: &str = "__file";
const POSITION: &str = "__position";
const TARGET: &str = "target";

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
        let filtered = match among.filter {
            None => scan,
            Some(filter) => scan.filter(filter)?,
        };
        let narrowed = match among.keys {
            None => filtered,
            Some(Keys { rows: keys, columns }) => {
                let fields = keys.schema();
                let right = LogicalPlanBuilder::scan("keys", provider_as_source(keys), None)?.build()?;
                let pairs: (Vec<Column>, Vec<Column>) = columns
                    .iter()
                    .zip(fields.fields())
                    .map(|(column, key)| {
                        (Column::new(Some(TARGET), column.as_str()), Column::new(Some("keys"), key.name().as_str()))
                    })
                    .unzip();
                filtered.join_detailed(right, JoinType::LeftSemi, pairs, None, NullEquality::NullEqualsNull)?
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

/// Which rows of the target are looked at: all, if nothing is said.
#[derive(Default)]
pub struct Among {
    /// A predicate over its columns that they satisfy.
    filter: Option<Expr>,
    /// Columns that they have in common with other rows.
    keys: Option<Keys>,
}

/// Rows of keys, NULL equal to NULL.
struct Keys {
    /// One column for each of `columns`.
    rows: Arc<dyn TableProvider>,
    /// The columns of the target that they stand for.
    columns: Vec<String>,
}

/// The rows of a target from which on it costs less to look for single values than to look at all rows.
const MANY_ROWS: u64 = 50_000;

impl Among {
    /// Those whose `columns` are among the rows of `keys`.
    pub fn keys(keys: Arc<dyn TableProvider>, columns: Vec<String>) -> Self {
        Self { filter: None, keys: Some(Keys { rows: keys, columns }) }
    }

    /// Those that can be equal to given rows: each column lies in the range that these have in it, so that files and
    /// row groups outside are not read, and the column that tells most of them apart has one of their values, so that
    /// the other columns are read for few rows.
    ///
    /// What it looks at is charged to `held`: fails with `budget_exceeded` when that is too much.
    pub fn equal_to(
        rows: &[RecordBatch],
        target: &TableSnapshot,
        held: &mut MemoryReservation,
        budget: u64,
    ) -> Result<Self> {
        let Some(schema) = rows.first().map(RecordBatch::schema) else { return Ok(Self::default()) };
        let ranged = schema.fields().iter().enumerate().filter(|(_, field)| has_range(field.data_type()));
        let ranged: Vec<usize> = ranged.map(|(position, _)| position).collect();
        let parts = rows.iter().map(|batch| batch.project(&ranged)).collect::<Result<Vec<_>, _>>()?;
        let schema = Arc::new(schema.project(&ranged)?);
        // Once joined, and once more as the rows of one column after the other.
        grow(held, 2 * parts.iter().map(RecordBatch::get_array_memory_size).sum::<usize>(), budget)?;
        let rows = concat_batches(&schema, &parts)?;
        let mut predicates = Vec::new();
        let mut telling: Option<(usize, &Field)> = None;
        for (field, column) in schema.fields().iter().zip(rows.columns()) {
            let spread = Spread::of(column)?;
            if telling.is_none_or(|(most, _)| spread.distinct > most) {
                telling = Some((spread.distinct, field));
            }
            predicates.push(spread.predicate(&Expr::Column(Column::new(Some(TARGET), field.name()))));
        }
        let mut among = Self { filter: conjunction(predicates), keys: None };
        if let Some((_, field)) = telling.filter(|(distinct, _)| *distinct > 1)
            && target.rows().is_none_or(|rows| rows >= MANY_ROWS)
        {
            let values = rows.project(&[schema.index_of(field.name())?])?;
            let values = MemTable::try_new(values.schema(), vec![vec![values]])?;
            among.keys = Some(Keys { rows: Arc::new(values), columns: vec![field.name().clone()] });
        }
        Ok(among)
    }
}

/// What the values of a column are.
struct Spread {
    /// The smallest and the greatest; none where all are NULL.
    range: Option<(ScalarValue, ScalarValue)>,
    nulls: bool,
    /// How many there are.
    distinct: usize,
}

impl Spread {
    fn of(column: &ArrayRef) -> Result<Self> {
        let converter = RowConverter::new(vec![SortField::new(column.data_type().clone())])?;
        let rows = converter.convert_columns(slice::from_ref(column))?;
        let valid = || (0..column.len()).filter(|row| column.is_valid(*row));
        let ends = (valid().min_by_key(|row| rows.row(*row)), valid().max_by_key(|row| rows.row(*row)));
        let value = |row| ScalarValue::try_from_array(column, row);
        Ok(Self {
            range: if let (Some(low), Some(high)) = ends { Some((value(low)?, value(high)?)) } else { None },
            nulls: column.null_count() > 0,
            distinct: rows.iter().collect::<HashSet<_>>().len(),
        })
    }

    /// That a column lies within them.
    fn predicate(self, column: &Expr) -> Expr {
        let range = self.range.map(|(low, high)| {
            if low == high {
                column.clone().eq(lit(low))
            } else {
                column.clone().gt_eq(lit(low)).and(column.clone().lt_eq(lit(high)))
            }
        });
        match (range, self.nulls) {
            (Some(range), true) => range.or(column.clone().is_null()),
            (Some(range), false) => range,
            (None, _) => column.clone().is_null(),
        }
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
