//! Reading tables by SQL, for people: views, datasets and the tables of the project's own records.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{MemorySchemaProvider, TableProvider};
use datafusion::common::TableReference;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use lake::{PinnedTable, TableLocation, Version};
use serde::Deserialize;

use crate::error::EngineError;
use crate::refresh::lake_error;
use crate::session::{CATALOG, EngineSession, SCHEMA};

/// A table and the name that a query knows it by.
#[derive(Clone, Debug, Deserialize)]
pub struct NamedTable {
    /// Its name, `relation` or `schema.relation`.
    pub name: String,
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
    /// Most rows to return.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// The rows of a query.
pub struct Rows {
    /// Their schema.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
}

/// Run a query that only reads.
pub async fn query(session: &EngineSession, request: &QueryRequest) -> Result<Rows, EngineError> {
    run(session, request).await.map_err(|error| EngineError::execution("query", error))
}

async fn run(session: &EngineSession, request: &QueryRequest) -> Result<Rows> {
    let context = session.planning_context();
    register(session, &context, &request.tables, &request.sql).await?;
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
    let mut stream = frame.execute_stream().await?;
    let schema = stream.schema();
    let mut batches = Vec::new();
    while let Some(batch) = stream.try_next().await? {
        batches.push(batch);
    }
    Ok(Rows { schema, batches })
}

/// Whether a node does anything beyond giving rows.
fn acts(node: &LogicalPlan) -> bool {
    matches!(node, LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Copy(_) | LogicalPlan::Statement(_))
}

/// Register the tables that the statement names; the others are not opened.
async fn register(session: &EngineSession, context: &SessionContext, tables: &[NamedTable], sql: &str) -> Result<()> {
    let state = context.state();
    let dialect = state.config().options().sql_parser.dialect;
    let named: Vec<TableReference> = match state.sql_to_statement(sql, &dialect) {
        Ok(statement) => state.resolve_table_references(&statement)?,
        Err(error) => return Err(EngineError::planning("query", error).into()),
    };
    let known: BTreeMap<&str, &NamedTable> = tables.iter().map(|table| (table.name.as_str(), table)).collect();
    let all = named.iter().any(|name| name.schema() == Some("information_schema"));
    for (name, table) in known {
        let reference = TableReference::parse_str(name);
        let wanted = named.iter().any(|other| {
            other.table() == reference.table()
                && other.schema().unwrap_or(SCHEMA) == reference.schema().unwrap_or(SCHEMA)
        });
        if !(wanted || all) {
            continue;
        }
        session.register_store(&table.table)?;
        let snapshot = match session.lake().snapshot(&table.table, table.version).await {
            Ok(snapshot) => snapshot,
            // A view that was never refreshed, or records that were never written, when everything is listed.
            Err(lake::LakeError::NotATable { .. }) if !wanted => continue,
            Err(error) => return Err(lake_error(error)),
        };
        let provider: Arc<dyn TableProvider> = Arc::new(PinnedTable::new(session.lake().clone(), snapshot));
        if let Some(schema) = reference.schema() {
            let catalog = context.catalog(CATALOG);
            if let Some(catalog) = catalog
                && catalog.schema(schema).is_none()
            {
                catalog.register_schema(schema, Arc::new(MemorySchemaProvider::new()))?;
            }
        }
        context.register_table(reference, provider)?;
    }
    Ok(())
}
