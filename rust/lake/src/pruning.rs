//! Which files can hold a row that meets a filter, told from partition values and the statistics of the log alone.
//!
//! The one promise: a file that is left out holds no row that meets all filters.  Statistics are bounds, NULL counts are
//! used only where they hold whether or not rows are hidden by a deletion vector, and floats are judged as
//! [`crate::float_pruning`] says.

use std::collections::HashSet;
use std::fmt::{Display, Formatter};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringViewArray, UInt32Array, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema};
use datafusion::error::{DataFusionError, Result as EngineResult};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::{PhysicalExpr, conjunction, create_physical_expr};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::scalar::ScalarValue;

use crate::float_pruning::hide_unsafe_floats;
use crate::partition_values::partition_arrays;
use crate::pinned_schema::view_typed;
use crate::statistics::ColumnStatistics;
use crate::table::DataFile;

/// Why a file holds no row that meets the filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// Its partition values do not meet them.
    PartitionValues,
    /// Its statistics exclude them.
    Statistics,
}

impl Display for SkipReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::PartitionValues => "partition values do not meet the filter",
            Self::Statistics => "statistics exclude the filter",
        })
    }
}

/// Which of a list of files have to be read, as positions in the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneResult {
    /// Files that may hold rows that meet the filters, in order.
    pub kept: Vec<usize>,
    /// Files that do not, in order, with the reason.
    pub skipped: Vec<(usize, SkipReason)>,
}

/// Finds the files that can hold rows that meet all `filters`.
///
/// `schema` is the table's, with `partition_columns` among its fields.  A filter that cannot be judged keeps every file;
/// columns may be qualified by a table's name.
pub fn prune(files: &[DataFile], schema: &Schema, partition_columns: &[String], filters: &[Expr]) -> PruneResult {
    let attempt = prune_with(files, schema, partition_columns, None, filters, &default_physical_expr);
    attempt.unwrap_or_else(|_| PruneResult { kept: (0..files.len()).collect(), skipped: Vec::new() })
}

/// How a filter is made executable against a schema.
pub(crate) type MakeExecutable<'a> = &'a dyn Fn(Expr, &DFSchema) -> EngineResult<Arc<dyn PhysicalExpr>>;

/// As [`prune`], with the caller's session, and with an error where a filter over partition values cannot be evaluated.
///
/// `file_column` is the column of `schema` that holds the path of each row's file, if there is one.
pub(crate) fn prune_with(
    files: &[DataFile],
    schema: &Schema,
    partition_columns: &[String],
    file_column: Option<&str>,
    filters: &[Expr],
    executable: MakeExecutable<'_>,
) -> EngineResult<PruneResult> {
    let mut result = PruneResult { kept: (0..files.len()).collect(), skipped: Vec::new() };
    if filters.is_empty() || files.is_empty() {
        return Ok(result);
    }
    let schema = view_typed(schema);
    let mut constant_columns = partition_columns.to_vec();
    let filters = filters.iter().cloned().map(unnormalize_col).collect::<Vec<_>>();
    let mut values = partition_arrays(files, &schema, partition_columns).map_err(DataFusionError::Execution)?;
    if let Some(name) = file_column {
        let paths = StringViewArray::from_iter_values(files.iter().map(|file| &file.path));
        constant_columns.push(name.to_owned());
        values.push(Arc::new(paths));
    }

    let (by_partition, _): (Vec<&Expr>, Vec<&Expr>) =
        filters.iter().partition(|filter| is_partition_filter(filter, &constant_columns));
    let matching = matching_partitions(&schema, &constant_columns, &values, &by_partition, executable, files.len())?;
    result.kept = matching.iter().map(|file| *file as usize).collect();

    let remaining = PrunableFiles {
        files: result.kept.iter().map(|file| &files[*file]).collect(),
        schema: Arc::clone(&schema),
        constant_columns: &constant_columns,
        constants: values
            .iter()
            .map(|array| arrow::compute::take(array, &UInt32Array::from(matching.clone()), None))
            .collect::<Result<_, _>>()?,
    };
    let possible = remaining.judge(&filters, executable);
    let mut kept = Vec::with_capacity(result.kept.len());
    let mut excluded = HashSet::new();
    for (file, possible) in result.kept.iter().zip(possible) {
        if possible {
            kept.push(*file);
        } else {
            excluded.insert(*file);
        }
    }
    let survivors: HashSet<usize> = kept.iter().copied().collect();
    result.skipped = (0..files.len())
        .filter(|file| !survivors.contains(file))
        .map(|file| {
            let reason = if excluded.contains(&file) { SkipReason::Statistics } else { SkipReason::PartitionValues };
            (file, reason)
        })
        .collect();
    result.kept = kept;
    Ok(result)
}

/// Whether partition values alone decide the filter, the same way every time.
pub(crate) fn is_partition_filter(filter: &Expr, partition_columns: &[String]) -> bool {
    !filter.is_volatile()
        && !filter.exists_subquery()
        && filter.column_refs().iter().all(|column| partition_columns.contains(&column.name))
}

trait ExistsSubquery {
    fn exists_subquery(&self) -> bool;
}

impl ExistsSubquery for Expr {
    fn exists_subquery(&self) -> bool {
        use datafusion::common::tree_node::TreeNode;
        self.exists(|node| {
            Ok(matches!(
                node,
                Expr::Exists(_)
                    | Expr::InSubquery(_)
                    | Expr::ScalarSubquery(_)
                    | Expr::OuterReferenceColumn(_, _)
                    | Expr::Placeholder(_)
            ))
        })
        .unwrap_or(true)
    }
}

/// Positions of the files whose partition values make every filter true.  Filters are evaluated one after the other over
/// what the ones before left, so that a guard such as `part <> 0` protects a division in the next.
fn matching_partitions(
    schema: &SchemaRef,
    partition_columns: &[String],
    values: &[ArrayRef],
    filters: &[&Expr],
    executable: MakeExecutable<'_>,
    files: usize,
) -> EngineResult<Vec<u32>> {
    let all = || (0..u32::try_from(files).unwrap_or(u32::MAX)).collect::<Vec<_>>();
    if filters.is_empty() {
        return Ok(all());
    }
    let position = Field::new("", DataType::UInt32, false);
    let mut fields = vec![Arc::new(position)];
    for name in partition_columns {
        fields.push(Arc::new(schema.field_with_name(name)?.clone().with_nullable(true)));
    }
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from(all()))];
    arrays.extend(values.iter().cloned());
    let batch_schema = Arc::new(Schema::new(fields));
    let df_schema = DFSchema::try_from(Arc::clone(&batch_schema))?;
    let mut batch = RecordBatch::try_new(batch_schema, arrays)?;
    for filter in filters {
        let expr = executable((*filter).clone(), &df_schema)?;
        let outcome = expr.evaluate(&batch)?.into_array(batch.num_rows())?;
        let outcome = arrow::compute::cast(&outcome, &DataType::Boolean)?;
        let outcome = outcome.as_boolean();
        let chosen: UInt32Array = (0..outcome.len())
            .filter(|row| outcome.is_valid(*row) && outcome.value(*row))
            .map(|row| u32::try_from(row).unwrap_or(u32::MAX))
            .collect();
        batch = take_record_batch(&batch, &chosen)?;
    }
    Ok(batch.column(0).as_primitive::<arrow::datatypes::UInt32Type>().values().to_vec())
}

/// Makes a filter executable without a session: types are coerced, nothing else changes.
fn default_physical_expr(filter: Expr, schema: &DFSchema) -> EngineResult<Arc<dyn PhysicalExpr>> {
    let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
    let filter = ExprSimplifier::new(context).coerce(filter, schema)?;
    create_physical_expr(&filter, schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())
}

/// Files as containers whose statistics are known.
struct PrunableFiles<'a> {
    files: Vec<&'a DataFile>,
    schema: SchemaRef,
    constant_columns: &'a [String],
    constants: Vec<ArrayRef>,
}

impl PrunableFiles<'_> {
    /// For each file, whether it may hold a row that meets all filters; whatever cannot be judged is possible.
    fn judge(&self, filters: &[Expr], executable: MakeExecutable<'_>) -> Vec<bool> {
        let all = || vec![true; self.files.len()];
        let Ok(df_schema) = DFSchema::try_from(Arc::clone(&self.schema)) else {
            return all();
        };
        let predicates: Vec<_> = filters
            .iter()
            .filter(|filter| !filter.is_volatile())
            .filter_map(|filter| executable(filter.clone(), &df_schema).ok())
            .collect();
        if predicates.is_empty() {
            return all();
        }
        hide_unsafe_floats(&conjunction(predicates), &self.schema, false)
            .and_then(|predicate| {
                PruningPredicateBuilder::new().with_file_schema(Arc::clone(&self.schema)).try_build(predicate)
            })
            .and_then(|predicate| predicate.prune(self))
            .unwrap_or_else(|_| all())
    }

    fn bounds(&self, column: &Column, side: fn(&ColumnStatistics) -> &Option<ScalarValue>) -> Option<ArrayRef> {
        if let Some(values) = self.constants_of(column) {
            return Some(Arc::clone(values));
        }
        let data_type = self.schema.field_with_name(&column.name).ok()?.data_type();
        let unknown = ScalarValue::try_from(data_type).ok()?;
        let values = self.files.iter().map(|file| {
            file.columns
                .get(&column.name)
                .and_then(|statistics| side(statistics).as_ref())
                .and_then(|value| value.cast_to(data_type).ok())
                .unwrap_or_else(|| unknown.clone())
        });
        ScalarValue::iter_to_array(values).ok()
    }

    fn constants_of(&self, column: &Column) -> Option<&ArrayRef> {
        let position = self.constant_columns.iter().position(|name| *name == column.name)?;
        self.constants.get(position)
    }
}

impl PruningStatistics for PrunableFiles<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |statistics| &statistics.min)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |statistics| &statistics.max)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        if let Some(values) = self.constants_of(column) {
            let counts: UInt64Array = self
                .files
                .iter()
                .enumerate()
                .map(|(file, data)| if values.is_null(file) { data.rows } else { Some(0) })
                .collect();
            return Some(Arc::new(counts));
        }
        let counts: UInt64Array = self.files.iter().map(|file| usable_null_count(file, &column.name)).collect();
        Some(Arc::new(counts))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let rows: UInt64Array = self.files.iter().map(|file| file.rows).collect();
        Some(Arc::new(rows))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// The NULL count where it holds for the live rows too: with wide bounds only "none" and "all" do.
fn usable_null_count(file: &DataFile, column: &str) -> Option<u64> {
    let count = file.columns.get(column)?.null_count?;
    (file.tight_bounds || count == 0 || Some(count) == file.rows).then_some(count)
}
