//! A walk over everything that is registered: what holds for one function holds for all of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::util::pretty::pretty_format_batches;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::ReturnFieldArgs;
use datafusion::optimizer::Optimizer;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::snapshot::UdfPlanningSnapshot;
use crate::{Function, PlatformFunction, PlatformOptions, families, install, tags};

/// A session with the platform; `simplify` false leaves out the rule that calls `simplify` and folds literals.
fn session(simplify: bool) -> SessionContext {
    let mut builder = SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_information_schema(true).with_target_partitions(2))
        .with_default_features();
    if !simplify {
        let rules = Optimizer::new().rules.into_iter().filter(|rule| rule.name() != "simplify_expressions").collect();
        builder = builder.with_optimizer_rules(rules);
    }
    let mut state = builder.build();
    install(&mut state, &PlatformOptions::default()).unwrap();
    SessionContext::new_with_state(state)
}

async fn rows(context: &SessionContext, query: &str) -> Vec<RecordBatch> {
    let frame = context.sql(query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
    frame.collect().await.unwrap_or_else(|error| panic!("{query}: {error}"))
}

async fn texts(context: &SessionContext, query: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for batch in rows(context, query).await {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| arrow::compute::cast(column, &DataType::Utf8).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let values = columns.iter().map(|column| {
                let column = column.as_string::<i32>();
                if column.is_null(row) { String::new() } else { column.value(row).to_owned() }
            });
            found.push(values.collect());
        }
    }
    found
}

/// The queries of an example with the tables printed below them.
fn examples(function: &PlatformFunction) -> Vec<(String, String)> {
    let name = function.function.name();
    let text = function.function.documentation().unwrap().sql_example.clone().unwrap();
    let inside = text
        .split_once("```sql\n")
        .and_then(|(_, rest)| rest.split_once("```"))
        .map_or_else(|| panic!("the example of {name} is no ```sql block"), |(inside, _)| inside);
    let mut found: Vec<(String, String)> = Vec::new();
    for line in inside.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        if let Some(query) = line.strip_prefix("> ") {
            found.push((query.to_owned(), String::new()));
        } else {
            let (query, table) = found.last_mut().unwrap_or_else(|| panic!("the example of {name} has no query"));
            let part = if line.starts_with(['+', '|']) { table } else { query };
            part.push_str(line);
            part.push('\n');
        }
    }
    assert!(!found.is_empty(), "the example of {name} has no query");
    for (query, table) in &found {
        assert!(query.contains(name), "the example of {name} does not call it: {query}");
        assert!(!table.is_empty(), "the example of {name} prints no result for {query}");
    }
    found
}

async fn printed(context: &SessionContext, query: &str) -> String {
    let frame = context.sql(query.trim_end().trim_end_matches(';')).await;
    let frame = frame.unwrap_or_else(|error| panic!("{query}: {error}"));
    let batches = frame.collect().await.unwrap_or_else(|error| panic!("{query}: {error}"));
    let table = pretty_format_batches(&batches).unwrap().to_string();
    let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

#[tokio::test]
async fn every_example_prints_what_its_documentation_says() {
    let context = session(true);
    for function in families() {
        for (query, table) in examples(&function) {
            let found = printed(&context, &query).await;
            assert_eq!(found, table, "{}: {query}\n{found}", function.function.name());
        }
    }
}

#[tokio::test]
async fn simplification_changes_no_result() {
    let context = session(false);
    for function in families() {
        for (query, table) in examples(&function) {
            let found = printed(&context, &query).await;
            assert_eq!(found, table, "without simplification, {}: {query}\n{found}", function.function.name());
        }
    }
}

#[test]
fn every_argument_is_named_and_documented() {
    for function in families() {
        let name = function.function.name();
        let signature = function.function.signature();
        let documented: Vec<&String> = function
            .function
            .documentation()
            .unwrap()
            .arguments
            .as_ref()
            .unwrap()
            .iter()
            .map(|(name, _)| name)
            .collect();
        let names = signature.parameter_names.as_ref().unwrap();
        assert_eq!(documented, names.iter().collect::<Vec<_>>(), "{name}");
        let distinct: BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{name} names an argument twice");
    }
}

#[test]
fn every_tag_is_known_and_names_are_unique() {
    let mut names = BTreeSet::new();
    for function in families() {
        for name in function.function.names() {
            assert!(names.insert(name.to_owned()), "\"{name}\" is used twice");
        }
        for tag in function.tags {
            assert!(tags::ALL.contains(tag), "{}: \"{tag}\" is no tag", function.function.name());
        }
        assert!(function.version > 0 && !function.return_rule.is_empty(), "{}", function.function.name());
    }
}

#[test]
fn return_types_and_return_fields_agree() {
    for function in families() {
        let name = function.function.name();
        for types in function.function.signature().type_signature.get_example_types() {
            let fields: Vec<FieldRef> =
                types.iter().map(|data_type| Arc::new(Field::new("a", data_type.clone(), true))).collect();
            let (plain, field) = match &function.function {
                Function::Scalar(function) => (
                    function.return_type(&types),
                    function.return_field_from_args(ReturnFieldArgs {
                        arg_fields: &fields,
                        scalar_arguments: &vec![None; fields.len()],
                    }),
                ),
                Function::Aggregate(function) => (function.return_type(&types), function.return_field(&fields)),
                Function::Window(_) => continue,
            };
            // Some types need a literal argument, which neither of the two is given here.
            if let (Ok(plain), Ok(field)) = (&plain, &field) {
                assert_eq!(plain, field.data_type(), "{name} of {types:?}");
            }
            assert_eq!(plain.is_ok(), field.is_ok(), "{name} of {types:?}: {plain:?} {field:?}");
        }
    }
}

#[tokio::test]
async fn information_schema_shows_what_the_snapshot_says() {
    let context = session(true);
    let snapshot = UdfPlanningSnapshot::of_families(true);
    for function in &snapshot.functions {
        let name = &function.name;
        let documentation = function.documentation.as_ref().unwrap();
        let shown = texts(
            &context,
            &format!(
                "SELECT DISTINCT function_type, is_deterministic, description, syntax_example \
                 FROM information_schema.routines WHERE routine_name = '{name}'"
            ),
        )
        .await;
        let expected = vec![vec![
            function.kind.to_uppercase(),
            (function.volatility == "immutable").to_string(),
            documentation.description.clone(),
            documentation.syntax.clone(),
        ]];
        assert_eq!(shown, expected, "{name}");
        let shown = texts(
            &context,
            &format!(
                "SELECT DISTINCT ordinal_position, parameter_name FROM information_schema.parameters \
                 WHERE specific_name = '{name}' AND parameter_mode = 'IN' ORDER BY ordinal_position"
            ),
        )
        .await;
        assert_eq!(shown.is_empty(), documentation.arguments.is_empty(), "parameters of {name}: {shown:?}");
        for row in shown {
            let position: usize = row[0].parse().unwrap();
            let expected = documentation.arguments.get(position - 1).map_or("", |(argument, _)| argument.as_str());
            assert_eq!(row[1], expected, "argument {position} of {name}");
        }
    }
}
