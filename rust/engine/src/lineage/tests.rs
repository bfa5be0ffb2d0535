//! Lineage says where values and rows come from.

use arrow::datatypes::DataType;

use super::*;
use crate::compile::{CompileOptions, Definition, compile};
use crate::session::{EngineOptions, EngineSession};
use crate::tpch::table;

fn lineage(text: &str) -> Lineage {
    let inputs = [
        table(
            "orders",
            &[
                ("id", DataType::Int64),
                ("customer", DataType::Int64),
                ("amount", DataType::Int64),
                ("day", DataType::Date32),
                ("note", DataType::Utf8),
            ],
        ),
        table("customers", &[("id", DataType::Int64), ("name", DataType::Utf8), ("vip", DataType::Boolean)]),
    ];
    let session = EngineSession::new(EngineOptions::default()).unwrap();
    let definition = Definition::Sql(text.to_owned());
    compile(&session, "v", &definition, &inputs, &CompileOptions::default()).unwrap().lineage
}

fn shown(columns: &[InputColumn]) -> Vec<String> {
    columns.iter().map(|column| format!("{}.{}", column.relation, column.column)).collect()
}

fn output(lineage: &Lineage, name: &str) -> Vec<String> {
    let output = lineage.outputs.iter().find(|output| output.name == name).unwrap();
    output.sources.iter().map(|source| format!("{:?} {}.{}", source.how, source.relation, source.column)).collect()
}

#[test]
fn columns_are_copied_computed_or_aggregated() {
    let lineage = lineage(
        "SELECT c.name AS who, upper(c.name) || o.note AS label, sum(o.amount) AS total, 1 AS one \
         FROM orders o JOIN customers c ON o.customer = c.id WHERE c.vip AND o.day > date '2024-01-01' \
         GROUP BY c.name, o.note",
    );
    assert_eq!(output(&lineage, "who"), ["Copied customers.name"]);
    assert_eq!(output(&lineage, "label"), ["Computed customers.name", "Computed orders.note"]);
    assert_eq!(output(&lineage, "total"), ["Aggregated orders.amount"]);
    assert_eq!(output(&lineage, "one"), Vec::<String>::new());
    assert_eq!(shown(&lineage.filtered_by), ["customers.vip", "orders.day"]);
    assert_eq!(shown(&lineage.joined_on), ["customers.id", "orders.customer"]);
    assert_eq!(shown(&lineage.grouped_by), ["customers.name", "orders.note"]);
    let names: Vec<&str> = lineage.functions.iter().map(|function| function.name.as_str()).collect();
    assert!(names.contains(&"sum") && names.contains(&"upper"), "{names:?}");
}

#[test]
fn only_columns_that_are_read_are_required() {
    let lineage = lineage("SELECT id FROM orders WHERE amount > 5");
    assert_eq!(lineage.relations.len(), 1);
    assert_eq!(lineage.relations[0].columns, ["id", "amount"]);
}

#[test]
fn joins_have_kinds_keys_and_sides() {
    let lineage =
        lineage("SELECT o.id FROM orders o LEFT JOIN customers c ON o.customer = c.id AND c.vip AND c.name <> o.note");
    let join = &lineage.joins[0];
    assert_eq!(join.kind, "left");
    assert!(join.left.contains("orders") && join.right.contains("customers"));
    assert_eq!(shown(&join.keys[0].left), ["orders.customer"]);
    assert_eq!(shown(&join.keys[0].right), ["customers.id"]);
    assert_eq!(shown(&join.condition), ["customers.name", "orders.note"]);
}

#[test]
fn predicates_belong_to_scans_and_can_be_read_back() {
    let lineage = lineage(
        "SELECT id, note FROM orders WHERE amount > 100 AND day = date '2024-05-01' \
         UNION ALL SELECT id, note FROM orders WHERE note = 'x'",
    );
    let scans = &lineage.relations[0].scans;
    assert_eq!(scans.len(), 2);
    let displayed: Vec<Vec<&str>> =
        scans.iter().map(|scan| scan.predicates.iter().map(|predicate| predicate.display.as_str()).collect()).collect();
    assert_eq!(displayed[0].len(), 2, "{displayed:?}");
    assert!(displayed[0][0].contains("amount > Int64(100)"), "{displayed:?}");
    assert_eq!(scans[0].predicates[0].columns.iter().collect::<Vec<_>>(), ["amount"]);
    let session = EngineSession::new(EngineOptions::default()).unwrap();
    let expressions = predicate_expressions(&session.task_context(), &scans[0]).unwrap();
    assert_eq!(expressions[0].to_string(), displayed[0][0]);
}

#[test]
fn a_condition_above_an_outer_join_is_no_predicate_of_a_scan() {
    let lineage = lineage("SELECT o.id FROM orders o LEFT JOIN customers c ON o.customer = c.id WHERE c.name IS NULL");
    let customers = lineage.relations.iter().find(|relation| relation.relation == "customers").unwrap();
    assert_eq!(customers.scans[0].predicates, []);
}

#[test]
fn subqueries_are_listed() {
    let lineage = lineage("SELECT id FROM orders WHERE amount > (SELECT max(id) FROM customers)");
    assert_eq!(lineage.relations.len(), 2);
    let scalar = lineage.subqueries.iter().any(|query| query.kind == "scalar");
    assert!(scalar || !lineage.joins.is_empty());
    assert!(
        shown(&lineage.filtered_by).contains(&"orders.amount".to_owned())
            || shown(&lineage.joined_on).contains(&"orders.amount".to_owned())
    );
}

#[test]
fn windows_group_and_order() {
    let lineage = lineage("SELECT id, lag(amount) OVER (PARTITION BY customer ORDER BY day) AS previous FROM orders");
    let previous = output(&lineage, "previous");
    assert!(previous.contains(&"Aggregated orders.amount".to_owned()), "{previous:?}");
    assert_eq!(shown(&lineage.grouped_by), ["orders.customer"]);
    // Rows that tie are ordered by all that is read of them.
    assert_eq!(shown(&lineage.ordered_by), ["orders.amount", "orders.day", "orders.id"]);
}

#[test]
fn recursion_reads_its_relations_once_each() {
    let lineage = lineage(
        "WITH RECURSIVE chain AS (SELECT id, customer FROM orders WHERE amount = 0 UNION ALL \
         SELECT o.id, o.customer FROM orders o JOIN chain ON o.customer = chain.id) SELECT id FROM chain",
    );
    assert_eq!(lineage.relations.len(), 1);
    assert_eq!(lineage.relations[0].relation, "orders");
    assert!(output(&lineage, "id").contains(&"Computed orders.id".to_owned()));
}
