//! SQL definitions: text in, a logical plan over schema-only relations out.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::common::TableReference;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Spanned, Statement as SqlStatement, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::dialect_from_str;
use functions::macro_statement::function_name;
use futures::executor::block_on;

use crate::bundle::InputSchema;
use crate::compile::unknown_relation;
use crate::error::{EngineError, Result};
use crate::session::EngineSession;

/// The names of the relations that a query reads, sorted; names of its CTEs are none.
///
/// # Errors
/// `invalid_query` if the text is not exactly one query, or names a relation with a schema.
pub fn relations(session: &EngineSession, subject: &str, text: &str) -> Result<Vec<String>> {
    let state = session.planning_state();
    let statement = parse(&state, subject, text)?;
    referenced(&state, subject, &statement)
}

/// Plans a query over the relations that are registered in the state.
///
/// Returns the plan, and the query without comments and white space, which is what it means.
///
/// # Errors
/// `invalid_query` with a position where there is one; `unknown_relation` with the names that there are.
pub fn plan(state: &SessionState, subject: &str, text: &str, inputs: &[InputSchema]) -> Result<(LogicalPlan, Vec<u8>)> {
    let statement = parse(state, subject, text)?;
    for relation in referenced(state, subject, &statement)? {
        if !inputs.iter().any(|input| input.relation == relation) {
            return Err(unknown_relation(subject, &relation, inputs));
        }
    }
    let meaning = statement.to_string().into_bytes();
    let plan = block_on(state.statement_to_plan(statement)).map_err(|error| EngineError::planning(subject, error))?;
    require_closed(subject, &plan)?;
    Ok((plan, meaning))
}

/// The names of the functions that a query calls, as calls find them.
///
/// # Errors
/// `invalid_query` if the text is not exactly one query.
pub fn called_functions(state: &SessionState, subject: &str, text: &str) -> Result<BTreeSet<String>> {
    struct Search(BTreeSet<String>);
    impl Visitor for Search {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<()> {
            if let SqlExpr::Function(function) = expr {
                self.0.extend(function_name(&function.name));
            }
            ControlFlow::Continue(())
        }
    }
    let mut search = Search(BTreeSet::new());
    if let Statement::Statement(inner) = parse(state, subject, text)? {
        // The search goes on to the end.
        let _ = inner.visit(&mut search);
    }
    Ok(search.0)
}

fn parse(state: &SessionState, subject: &str, text: &str) -> Result<Statement> {
    let options = &state.config_options().sql_parser;
    let dialect = dialect_from_str(options.dialect).ok_or_else(|| EngineError::InvalidArgument {
        message: format!("there is no SQL dialect \"{}\"", options.dialect),
    })?;
    let mut statements = DFParserBuilder::new(text)
        .with_dialect(dialect.as_ref())
        .with_recursion_limit(options.recursion_limit.get())
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| EngineError::planning(subject, error))?;
    let Some(statement) = statements.pop_front() else {
        return Err(EngineError::invalid_query(subject, "there is no query; write one SELECT"));
    };
    if let Some(second) = statements.front() {
        return Err(EngineError::invalid_query(
            subject,
            format!("there is a second statement{}; a view is one query", position(second)),
        ));
    }
    match &statement {
        Statement::Statement(inner) if matches!(inner.as_ref(), SqlStatement::Query(_)) => Ok(statement),
        other => Err(EngineError::invalid_query(
            subject,
            format!("{} is not a query; a view is one SELECT", first_word(other)),
        )),
    }
}

fn position(statement: &Statement) -> String {
    let Statement::Statement(inner) = statement else {
        return String::new();
    };
    let start = inner.span().start;
    if start.line == 0 {
        return String::new();
    }
    format!(" at line {}, column {}", start.line, start.column)
}

fn first_word(statement: &Statement) -> String {
    let text = statement.to_string();
    text.split_whitespace().next().unwrap_or("this").to_uppercase()
}

fn referenced(state: &SessionState, subject: &str, statement: &Statement) -> Result<Vec<String>> {
    if let Some(refusal) = refused_source(statement) {
        return Err(EngineError::invalid_query(subject, refusal));
    }
    let references =
        state.resolve_table_references(statement).map_err(|error| EngineError::planning(subject, error))?;
    let mut names = BTreeSet::new();
    for reference in references {
        match reference {
            TableReference::Bare { table } => {
                names.insert(table.to_string());
            }
            qualified => {
                return Err(EngineError::invalid_query(
                    subject,
                    format!(
                        "relation \"{qualified}\" has a schema; write \"{}\", the name of a dataset or view",
                        qualified.table()
                    ),
                ));
            }
        }
    }
    Ok(names.into_iter().collect())
}

/// Why the first thing that a FROM clause reads, and that no view can, is refused.
fn refused_source(statement: &Statement) -> Option<String> {
    struct Search;
    impl Visitor for Search {
        type Break = String;

        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<String> {
            match factor {
                TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                    ControlFlow::Break(format!(
                        "table function \"{name}\" cannot be read from in a view; for series write SELECT \
                         unnest({name}(…))"
                    ))
                }
                // DataFusion would read the whole relation.
                TableFactor::Table { name, sample: Some(_), .. } => ControlFlow::Break(format!(
                    "TABLESAMPLE of \"{name}\" would give other rows at each run; keep a part of the rows by a condition"
                )),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    let Statement::Statement(inner) = statement else {
        return None;
    };
    inner.visit(&mut Search).break_value()
}

/// A view has no parameters and changes nothing.
fn require_closed(subject: &str, plan: &LogicalPlan) -> Result<()> {
    if matches!(plan, LogicalPlan::Dml(_) | LogicalPlan::Ddl(_) | LogicalPlan::Copy(_) | LogicalPlan::Statement(_)) {
        return Err(EngineError::invalid_query(subject, "it is not a query; a view is one SELECT"));
    }
    let parameters = plan.get_parameter_names().map_err(|error| EngineError::planning(subject, error))?;
    if let Some(parameter) = parameters.iter().min() {
        return Err(EngineError::invalid_query(
            subject,
            format!("parameter {parameter} has no value; write the value into the query"),
        ));
    }
    Ok(())
}
