//! A pinned version of a table as a DataFusion table.
//!
//! A scan is a plain `DataSourceExec` over `ParquetSource`, so that DataFusion's own rules see and push into it:
//! projections, limits, static and dynamic filters, splitting of files.  Files are chosen by partition values and by the
//! statistics of the log; deletion vectors are row selections of their files.  The equation: the scan gives the rows
//! that are live at the version, restricted to the files it was given, and a filter that it reports as exact is applied.

use std::collections::HashMap;
use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result as EngineResult;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::scalar::ScalarValue;
use futures::{StreamExt, TryStreamExt};
use parquet::arrow::RowNumber;
use roaring::RoaringTreemap;

use crate::deletion_vectors::{all_but, deleted_rows, only};
use crate::error::{LakeError, Result};
use crate::file_statistics::{file_statistics, merged};
use crate::float_pruning::FloatSafeAdapterFactory;
use crate::lake::Lake;
use crate::partition_values::{damaged, file_partition_values};
use crate::pinned_reader::{PinnedReaderFactory, object_meta};
use crate::pinned_schema::view_typed;
use crate::pruning::{is_partition_filter, prune_with};
use crate::table::{DataFile, FileKey, TableSnapshot};

/// Deletion vectors and footers that are read at once while planning.
const READS_AT_ONCE: usize = 16;

/// A pinned version of a table, or some files of it.  Cheap to clone.
#[derive(Clone)]
pub struct PinnedTable {
    lake: Lake,
    snapshot: Arc<TableSnapshot>,
    files: Arc<Vec<DataFile>>,
    /// Files of which only these rows are read, whatever their deletion vectors say.
    chosen_rows: Arc<HashMap<FileKey, Arc<RoaringTreemap>>>,
    stored_columns: Vec<FieldRef>,
    file_column: Option<String>,
    row_index_column: Option<String>,
    schema: SchemaRef,
    layout: TableSchema,
}

impl Debug for PinnedTable {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PinnedTable")
            .field("uri", &self.snapshot.location.uri)
            .field("version", &self.snapshot.version)
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

impl PinnedTable {
    /// All live rows of `snapshot`.
    pub fn new(lake: Lake, snapshot: Arc<TableSnapshot>) -> Self {
        let files = Arc::clone(&snapshot.files);
        let schema = Arc::new(Schema::empty());
        Self {
            lake,
            files,
            chosen_rows: Arc::default(),
            stored_columns: Vec::new(),
            file_column: None,
            row_index_column: None,
            layout: TableSchema::from(&schema),
            schema,
            snapshot,
        }
        .with_layout()
    }

    /// Only the rows of `files`, which may also be files of another version of the table.
    #[must_use]
    pub fn with_files(mut self, files: Vec<DataFile>) -> Self {
        self.files = Arc::new(files);
        self
    }

    /// The same table without a row, which keeps no list of files alive.
    #[must_use]
    pub fn without_files(&self) -> Self {
        let snapshot =
            TableSnapshot { files: Arc::default(), transactions: Arc::default(), ..(*self.snapshot).clone() };
        Self { snapshot: Arc::new(snapshot), files: Arc::default(), chosen_rows: Arc::default(), ..self.clone() }
    }

    /// Adds a last column (`Utf8`, not NULL) with the path of each row's file, as in [`DataFile::path`].
    #[must_use]
    pub fn with_file_column(mut self, name: &str) -> Self {
        self.file_column = Some(name.to_owned());
        self.with_layout()
    }

    /// Adds a last column (`Int64`, not NULL) with the physical number of each row in its file, from 0.
    #[must_use]
    pub fn with_row_index_column(mut self, name: &str) -> Self {
        self.row_index_column = Some(name.to_owned());
        self.with_layout()
    }

    /// Adds a column that the files hold beside the table's own.
    #[must_use]
    pub(crate) fn with_stored_column(mut self, name: &str, data_type: DataType) -> Self {
        self.stored_columns.push(Arc::new(Field::new(name, data_type, true)));
        self.with_layout()
    }

    /// Reads only the given rows of some files, by their physical numbers.
    #[must_use]
    pub fn with_chosen_rows(mut self, rows: HashMap<FileKey, Arc<RoaringTreemap>>) -> Self {
        self.chosen_rows = Arc::new(rows);
        self
    }

    /// How many rows there are without a filter, where the log tells of every file.
    pub fn rows(&self) -> Option<u64> {
        self.files.iter().map(|file| self.live_rows(file)).sum()
    }

    /// The files that are scanned if no filter excludes them.
    pub fn files(&self) -> &Arc<Vec<DataFile>> {
        &self.files
    }

    /// The version that is scanned.
    pub fn snapshot(&self) -> &Arc<TableSnapshot> {
        &self.snapshot
    }

    /// Makes the table's store known to `runtime`, which running a plan of this table needs.
    ///
    /// Planning a scan does it for the runtime of its session.  Tables with different options of their stores are
    /// registered under different URLs.
    pub fn register_store(&self, runtime: &RuntimeEnv) -> Result<()> {
        let (url, store) = self.lake.object_store(&self.snapshot.location)?;
        runtime.register_object_store(url.as_ref(), store);
        Ok(())
    }

    /// Works out what is presented and how the columns lie in the scan: of the file, constant, virtual.
    fn with_layout(mut self) -> Self {
        let table = view_typed(&self.snapshot.schema);
        let mut presented: Vec<FieldRef> = table.fields().iter().cloned().collect();
        presented.extend(self.stored_columns.iter().cloned());
        let in_file = presented
            .iter()
            .filter(|field| !self.snapshot.partition_columns.contains(field.name()))
            .cloned()
            .collect::<Vec<_>>();
        let mut constant = self
            .snapshot
            .partition_columns
            .iter()
            .filter_map(|name| table.field_with_name(name).ok())
            .map(|field| Arc::new(field.clone()))
            .collect::<Vec<FieldRef>>();
        if let Some(name) = &self.file_column {
            let field: FieldRef = Arc::new(Field::new(name, DataType::Utf8, false));
            presented.push(Arc::clone(&field));
            constant.push(field);
        }
        let mut builder = TableSchema::builder(Arc::new(Schema::new(in_file))).with_table_partition_cols(constant);
        if let Some(name) = &self.row_index_column {
            let field: FieldRef = Arc::new(Field::new(name, DataType::Int64, false).with_extension_type(RowNumber));
            presented.push(Arc::clone(&field));
            builder = builder.with_virtual_columns(vec![field]);
        }
        self.layout = builder.build();
        self.schema = Arc::new(Schema::new(presented));
        self
    }

    fn constant_columns(&self) -> Vec<String> {
        let mut names = self.snapshot.partition_columns.clone();
        names.extend(self.file_column.clone());
        names
    }

    /// Positions in the scan of the presented columns in `projection`.
    fn positions(&self, projection: Option<&Vec<usize>>) -> EngineResult<Vec<usize>> {
        let layout = self.layout.table_schema();
        let position = |presented: usize| Ok(layout.index_of(self.schema.field(presented).name())?);
        match projection {
            Some(columns) => columns.iter().copied().map(position).collect(),
            None => (0..self.schema.fields().len()).map(position).collect(),
        }
    }

    /// The files that may hold rows that meet `filters`, as positions.
    fn candidates(&self, state: &dyn Session, filters: &[Expr]) -> EngineResult<Vec<usize>> {
        let judged: Vec<Expr> = filters.iter().filter(|filter| !self.mentions_row_index(filter)).cloned().collect();
        let result = prune_with(
            &self.files,
            &self.schema,
            &self.snapshot.partition_columns,
            self.file_column.as_deref(),
            &judged,
            &|filter, schema| state.create_physical_expr(filter, schema),
        )?;
        Ok(result.kept)
    }

    fn mentions_row_index(&self, filter: &Expr) -> bool {
        self.row_index_column
            .as_ref()
            .is_some_and(|name| filter.column_refs().iter().any(|column| column.name == *name))
    }

    /// The files up to the one with which `limit` rows are reached, where that is certain.
    fn up_to_limit(&self, candidates: Vec<usize>, filters: &[Expr], limit: Option<usize>) -> Vec<usize> {
        let constant = self.constant_columns();
        let Some(limit) = limit.and_then(|limit| u64::try_from(limit).ok()) else {
            return candidates;
        };
        if !filters.iter().all(|filter| is_partition_filter(filter, &constant)) {
            return candidates;
        }
        let mut reached = 0_u64;
        let mut needed = Vec::new();
        for position in candidates {
            if reached >= limit {
                break;
            }
            let file = &self.files[position];
            reached = reached.saturating_add(self.live_rows(file).unwrap_or(0));
            needed.push(position);
        }
        needed
    }

    /// Rows that the scan gives of a file, if known.
    fn live_rows(&self, file: &DataFile) -> Option<u64> {
        match self.chosen_rows.get(&file.key()) {
            Some(rows) => Some(rows.len()),
            None => file.live_rows(),
        }
    }

    async fn partitioned_file(
        &self,
        file: &DataFile,
        reader: &PinnedReaderFactory,
        wanted: &[bool],
    ) -> Result<PartitionedFile> {
        let location = Lake::object_path(&self.snapshot.location, &file.path)?;
        let mut constants = file_partition_values(file, self.layout.table_schema(), &self.snapshot.partition_columns)
            .map_err(|detail| damaged(&self.snapshot.location.uri, self.snapshot.version, detail))?;
        if self.file_column.is_some() {
            constants.push(ScalarValue::Utf8(Some(file.path.clone())));
        }
        let statistics = file_statistics(
            file,
            self.layout.table_schema(),
            self.layout.file_schema().fields().len(),
            &constants,
            self.live_rows(file),
            wanted,
        );
        // Not by `with_statistics`, which takes partition values for never NULL.
        let mut partitioned =
            PartitionedFile::new_from_meta(object_meta(location.clone(), file)).with_partition_values(constants);
        partitioned.statistics = Some(Arc::new(statistics));
        let chosen = self.chosen_rows.get(&file.key());
        if chosen.is_none() && file.deletion_vector.is_none() {
            return Ok(partitioned);
        }
        let rows = match file.rows {
            Some(rows) => rows,
            None => reader.count_rows(location, file).await?,
        };
        let rows =
            usize::try_from(rows).map_err(|_| LakeError::invalid(format!("file '{}' has too many rows", file.path)))?;
        let selection = match chosen {
            Some(chosen) => only(chosen, rows),
            None => all_but(&*deleted_rows(&self.lake, &self.snapshot, file).await?, rows),
        };
        Ok(partitioned.with_extension(ParquetRowSelection::new(selection)))
    }
}

#[async_trait]
impl TableProvider for PinnedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> EngineResult<Vec<TableProviderFilterPushDown>> {
        let constant = self.constant_columns();
        Ok(filters
            .iter()
            .map(|filter| {
                if filter.is_volatile() || self.mentions_row_index(filter) {
                    TableProviderFilterPushDown::Unsupported
                } else if is_partition_filter(filter, &constant) {
                    TableProviderFilterPushDown::Exact
                } else {
                    TableProviderFilterPushDown::Inexact
                }
            })
            .collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        let positions = self.positions(projection)?;
        let candidates = self.candidates(state, filters)?;
        let candidates = self.up_to_limit(candidates, filters, limit);
        if candidates.is_empty() {
            let layout = self.layout.table_schema();
            return Ok(Arc::new(EmptyExec::new(Arc::new(layout.project(&positions)?))));
        }
        self.register_store(state.runtime_env())?;
        let (store_url, store) = self.lake.object_store(&self.snapshot.location)?;
        let reader = Arc::new(PinnedReaderFactory {
            uri: self.snapshot.location.uri.clone(),
            version: self.snapshot.version,
            store_name: store_url.as_str().to_owned(),
            store,
            footers: state.runtime_env().cache_manager.get_file_metadata_cache(),
        });
        let wanted = self.wanted(&positions, filters);
        let files: Vec<PartitionedFile> = futures::stream::iter(candidates)
            .map(|position| self.partitioned_file(&self.files[position], &reader, &wanted))
            .buffered(READS_AT_ONCE)
            .try_collect()
            .await?;

        let layout = self.layout.table_schema();
        let all_statistics = files.iter().filter_map(|file| file.statistics.as_ref());
        let statistics = merged(all_statistics, layout)?;
        let groups = balanced(files, state.config().target_partitions())
            .into_iter()
            .map(|group| {
                let statistics = merged(group.iter().filter_map(|file| file.statistics.as_ref()), layout)?;
                Ok(FileGroup::new(group).with_statistics(Arc::new(statistics)))
            })
            .collect::<EngineResult<Vec<_>>>()?;

        let mut options = state.default_table_options().parquet;
        // Old Spark files hold timestamps as INT96, which are instants in UTC.
        if options.global.coerce_int96.is_none() {
            options.global.coerce_int96 = Some("us".to_owned());
            options.global.coerce_int96_tz = Some("UTC".to_owned());
        }
        let row_filter = options.global.pushdown_filters;
        let source = ParquetSource::new(self.layout.clone())
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(reader);
        let config = FileScanConfigBuilder::new(store_url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_limit(limit)
            .with_expr_adapter(Some(Arc::new(FloatSafeAdapterFactory { row_filter })))
            .with_projection_indices(Some(positions))?
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

impl PinnedTable {
    /// Which columns of the scan are read or filtered, so that no others' statistics are looked up.
    fn wanted(&self, positions: &[usize], filters: &[Expr]) -> Vec<bool> {
        let layout = self.layout.table_schema();
        let mut wanted = vec![false; layout.fields().len()];
        for position in positions {
            wanted[*position] = true;
        }
        for filter in filters {
            for column in filter.column_refs() {
                if let Ok(position) = layout.index_of(&column.name) {
                    wanted[position] = true;
                }
            }
        }
        wanted
    }
}

/// Spreads files over at most `groups` groups of about equal bytes, always the same way; order is kept inside a group.
fn balanced(files: Vec<PartitionedFile>, groups: usize) -> Vec<Vec<PartitionedFile>> {
    let groups = groups.clamp(1, files.len().max(1));
    let mut by_size: Vec<usize> = (0..files.len()).collect();
    by_size.sort_by_key(|position| (std::cmp::Reverse(files[*position].object_meta.size), *position));
    let mut bytes = vec![0_u64; groups];
    let mut group_of = vec![0; files.len()];
    for position in by_size {
        let lightest = (0..groups).min_by_key(|group| (bytes[*group], *group)).unwrap_or(0);
        // A file costs something even if it is empty, so that equal files go round.
        bytes[lightest] += files[position].object_meta.size.max(1);
        group_of[position] = lightest;
    }
    let mut spread: Vec<Vec<PartitionedFile>> = vec![Vec::new(); groups];
    for (file, group) in files.into_iter().zip(group_of) {
        spread[group].push(file);
    }
    spread.retain(|group| !group.is_empty());
    spread
}
