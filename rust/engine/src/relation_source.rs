//! Schema-only relations: the leaves of a plan that is compiled or stored, but not bound to a version.
//!
//! Such a leaf knows its name and its columns.  It can be planned over and stored, and it refuses to run: a plan that
//! was not bound must never look like one over an empty table.

use std::collections::BTreeMap;
use std::fmt::Formatter;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{TableReference, not_impl_err, plan_datafusion_err, project_schema};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use datafusion_proto::logical_plan::LogicalExtensionCodec;

use crate::error::EngineError;

/// A relation of which only name and schema are known.
#[derive(Clone, Debug)]
pub struct RelationTable {
    relation: String,
    schema: SchemaRef,
}

impl RelationTable {
    /// A relation with the types of a scan: strings and binary columns are view typed.
    pub fn new(relation: &str, schema: &Schema) -> Self {
        Self { relation: relation.to_owned(), schema: planning_schema(schema) }
    }

    /// Its name.
    pub fn relation(&self) -> &str {
        &self.relation
    }
}

/// The schema under which a table with the given schema is planned: that of its pinned scan.
pub fn planning_schema(schema: &Schema) -> SchemaRef {
    lake::view_typed(schema)
}

/// A schema without metadata, so that comments on columns do not become part of a plan.
pub fn plain_schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), field.data_type().clone(), field.is_nullable()))
        .collect();
    Arc::new(Schema::new(fields))
}

#[async_trait]
impl TableProvider for RelationTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = project_schema(&self.schema, projection)?;
        Ok(Arc::new(RelationExec::new(&self.relation, schema)))
    }
}

/// The physical form of an unbound relation, for displays.
#[derive(Debug)]
struct RelationExec {
    relation: String,
    properties: Arc<PlanProperties>,
}

impl RelationExec {
    fn new(relation: &str, schema: SchemaRef) -> Self {
        Self {
            relation: relation.to_owned(),
            properties: Arc::new(PlanProperties::new(
                EquivalenceProperties::new(schema),
                Partitioning::UnknownPartitioning(1),
                EmissionType::Incremental,
                Boundedness::Bounded,
            )),
        }
    }
}

impl DisplayAs for RelationExec {
    fn fmt_as(&self, format: DisplayFormatType, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        let columns: Vec<&str> = self
            .properties
            .equivalence_properties()
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(formatter, "RelationExec: relation={}, columns=[{}]", self.relation, columns.join(", "))
            }
            DisplayFormatType::TreeRender => write!(formatter, "relation={}", self.relation),
        }
    }
}

impl ExecutionPlan for RelationExec {
    fn name(&self) -> &'static str {
        "RelationExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        Err(EngineError::defect(
            format!("relation \"{}\"", self.relation),
            "a plan was run before its relations were bound to versions",
        )
        .into())
    }
}

/// Stores leaves by their names and gives them back over the relations that it knows.
#[derive(Debug)]
pub struct RelationCodec {
    relations: BTreeMap<String, Arc<RelationTable>>,
}

impl RelationCodec {
    /// A codec that knows the given relations; encoding needs none.
    pub fn new(relations: impl IntoIterator<Item = Arc<RelationTable>>) -> Self {
        Self { relations: relations.into_iter().map(|relation| (relation.relation().to_owned(), relation)).collect() }
    }
}

impl LogicalExtensionCodec for RelationCodec {
    fn try_decode(&self, _bytes: &[u8], _inputs: &[LogicalPlan], _context: &TaskContext) -> Result<Extension> {
        not_impl_err!("a stored plan has no operators that DataFusion does not know")
    }

    fn try_encode(&self, node: &Extension, _bytes: &mut Vec<u8>) -> Result<()> {
        not_impl_err!("operator {} cannot be stored", node.node.name())
    }

    fn try_decode_table_provider(
        &self,
        bytes: &[u8],
        table: &TableReference,
        _schema: SchemaRef,
        _context: &TaskContext,
    ) -> Result<Arc<dyn TableProvider>> {
        let relation = String::from_utf8_lossy(bytes);
        let found = self
            .relations
            .get(relation.as_ref())
            .ok_or_else(|| plan_datafusion_err!("there is no relation \"{relation}\" for table {table}"))?;
        Ok(Arc::clone(found) as Arc<dyn TableProvider>)
    }

    fn try_encode_table_provider(
        &self,
        table: &TableReference,
        provider: Arc<dyn TableProvider>,
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        let Some(relation) = provider.downcast_ref::<RelationTable>() else {
            return not_impl_err!("{table} is not a relation of the project and cannot be part of a view");
        };
        bytes.extend_from_slice(relation.relation().as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use datafusion::prelude::SessionContext;
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn an_unbound_relation_refuses_to_run() {
        let schema = Schema::new(vec![Field::new("id", DataType::Int64, true)]);
        let context = SessionContext::new();
        context.register_table("orders", Arc::new(RelationTable::new("orders", &schema))).unwrap();
        let plan = block_on(async {
            let frame = context.sql("SELECT id FROM orders").await?;
            frame.create_physical_plan().await
        })
        .unwrap();
        let error = plan.execute(0, context.task_ctx()).err().unwrap();
        assert!(error.to_string().contains("orders"), "{error}");
    }
}
