//! Reading tables by SQL, for people: views, datasets and the tables of the project's own records.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{MemTable, MemorySchemaProvider, TableProvider};
use datafusion::common::TableReference;
use datafusion::common::tree_node::TreeNode;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use functions::MacroSource;
use futures::TryStreamExt;
use lake::{LakeError, PinnedTable, TableLocation, Version};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::error::EngineError;
use crate::session::{CATALOG, EngineSession, SCHEMA};

/// What a name stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    /// A Delta table.
    #[default]
    Delta,
    /// A folder of Parquet files, as they are when the query starts; folders in it are not looked into.
    Listing,
}

/// A table and the name that a query knows it by.
#[derive(Clone, Debug, Deserialize)]
pub struct NamedTable {
    /// Its name, `relation` or `schema.relation`.
    pub name: String,
    /// What is there.
    #[serde(default)]
    pub kind: TableKind,
    /// Where it lies.
    #[serde(flatten)]
    pub table: TableLocation,
    /// The version; the newest one if none is given.
    #[serde(default)]
    pub version: Option<Version>,
}

/// A query over named tables.
#[derive(Clone, Debug, Deserialize)]
pub struct QueryRequest {
    /// One statement that returns rows.
    pub sql: String,
    /// The tables that it may read.
    #[serde(default)]
    pub tables: Vec<NamedTable>,
    /// The macros that it may call.
    #[serde(default)]
    pub functions: Vec<MacroSource>,
    /// Most rows to return.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// The rows of a query that runs: computed as they are asked for, and never more of them in memory than operators hold.
pub struct Rows {
    schema: SchemaRef,
    stream: Mutex<SendableRecordBatchStream>,
}

impl Rows {
    /// Their schema.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next rows; none at the end.
    pub async fn next(&self) -> Result<Option<RecordBatch>, EngineError> {
        self.stream.lock().await.try_next().await.map_err(|error| EngineError::execution("query", error))
    }
}

/// Rows in memory, by the name that a query knows them by.
pub type MemoryTables = BTreeMap<String, (SchemaRef, Vec<RecordBatch>)>;

/// Start a query that only reads.
pub async fn query(session: &EngineSession, request: &QueryRequest, memory: MemoryTables) -> Result<Rows, EngineError> {
    run(session, request, memory).await.map_err(|error| EngineError::execution("query", error))
}

async fn run(session: &EngineSession, request: &QueryRequest, memory: MemoryTables) -> Result<Rows> {
    let mut state = session.planning_state();
    session.macros(&request.functions)?.register(&mut state)?;
    let context = SessionContext::new_with_state(state);
    register(session, &context, request, memory).await?;
    let plan = context
        .state()
        .create_logical_plan(&request.sql)
        .await
        .map_err(|error| EngineError::planning("query", error))?;
    // EXPLAIN ANALYZE runs what it explains.
    if plan.exists(|node| Ok(acts(node)))? {
        let message = "only statements that read are possible here: SELECT, EXPLAIN, DESCRIBE, SHOW".to_owned();
        return Err(EngineError::invalid_query("query", message).into());
    }
    let bounded = !matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_));
    let mut frame = context.execute_logical_plan(plan).await?;
    if request.limit.is_some() && bounded {
        frame = frame.limit(0, request.limit)?;
    }
    let stream = frame.execute_stream().await?;
    Ok(Rows { schema: stream.schema(), stream: Mutex::new(stream) })
}

/// Whether a node does anything beyond giving rows.
fn acts(node: &LogicalPlan) -> bool {
    matches!(node, LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Copy(_) | LogicalPlan::Statement(_))
}

/// Register the tables that the statement names; the others are not opened.
async fn register(
    session: &EngineSession,
    context: &SessionContext,
    request: &QueryRequest,
    memory: MemoryTables,
) -> Result<()> {
    let state = context.state();
    let dialect = state.config().options().sql_parser.dialect;
    let named: Vec<TableReference> = match state.sql_to_statement(&request.sql, &dialect) {
        Ok(statement) => state.resolve_table_references(&statement)?,
        Err(error) => return Err(EngineError::planning("query", error).into()),
    };
    let is_named = |reference: &TableReference| {
        named.iter().any(|other| {
            other.table() == reference.table()
                && other.schema().unwrap_or(SCHEMA) == reference.schema().unwrap_or(SCHEMA)
        })
    };
    let all = named.iter().any(|name| name.schema() == Some("information_schema"));
    let known: BTreeMap<&str, &NamedTable> = request.tables.iter().map(|table| (table.name.as_str(), table)).collect();
    for (name, table) in known {
        let reference = TableReference::parse_str(name);
        let wanted = is_named(&reference);
        if !(wanted || all) {
            continue;
        }
        let found = match table.kind {
            TableKind::Delta => pinned(session, table).await,
            TableKind::Listing => folder(session, context, table).await,
        };
        match found {
            Ok(provider) => place(context, reference, provider)?,
            // A view that was never refreshed, or records that were never written, when everything is listed.
            Err(EngineError::Lake(LakeError::NotATable { .. })) if !wanted => {}
            Err(error) => return Err(error.into()),
        }
    }
    for (name, (schema, batches)) in memory {
        let reference = TableReference::parse_str(&name);
        if all || is_named(&reference) {
            place(context, reference, Arc::new(MemTable::try_new(schema, vec![batches])?))?;
        }
    }
    Ok(())
}

fn place(context: &SessionContext, reference: TableReference, table: Arc<dyn TableProvider>) -> Result<()> {
    if let Some(schema) = reference.schema()
        && let Some(catalog) = context.catalog(CATALOG)
        && catalog.schema(schema).is_none()
    {
        catalog.register_schema(schema, Arc::new(MemorySchemaProvider::new()))?;
    }
    context.register_table(reference, table)?;
    Ok(())
}

async fn pinned(session: &EngineSession, table: &NamedTable) -> Result<Arc<dyn TableProvider>, EngineError> {
    session.register_store(&table.table)?;
    let snapshot = session.lake().snapshot(&table.table, table.version).await?;
    Ok(Arc::new(PinnedTable::new(session.lake().clone(), snapshot)))
}

/// The Parquet files of a folder, under the schema that all of them share; a folder without files is an error.
async fn folder(
    session: &EngineSession,
    context: &SessionContext,
    table: &NamedTable,
) -> Result<Arc<dyn TableProvider>, EngineError> {
    let subject = format!("table \"{}\"", table.name);
    if table.version.is_some() {
        let message = format!("{subject} is a folder of files, which has no versions; leave the version out");
        return Err(EngineError::InvalidArgument { message });
    }
    let store = session.register_store(&table.table)?;
    let path = table.table.url()?.path().to_owned();
    let found = async {
        let url = ListingTableUrl::parse(format!("{}{path}", store.as_str().trim_end_matches('/')))?;
        let options = ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet");
        let state = context.state();
        let config = ListingTableConfig::new(url).with_listing_options(options).infer_schema(&state).await?;
        ListingTable::try_new(config)
    };
    let found = found.await.map_err(|error| EngineError::execution(&subject, error))?;
    Ok(Arc::new(found))
}
