//! The macros of a project: `CREATE FUNCTION` statements, checked and put in order, each over those before it.
//!
//! In an expression an argument is written as its bare name, as `$name` or by its position as `$1`; all three mean the
//! same.  Nothing else has a name there: a macro sees its arguments, calls functions, and reads no relation.
//!
//! Invariant: a macro's hash covers its arguments, its type, its expression with every macro in it put in its place,
//! and the hash of every function that it calls, so that two macros with equal hashes compute the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{DdlStatement, Expr, LogicalPlan, ScalarUDF};
use futures::executor::block_on;
use serde::{Deserialize, Serialize};

use crate::macro_function::{MacroFunction, is_taken};
use crate::macro_statement::{MacroStatement, parse};
use crate::snapshot::{FunctionSnapshot, PlatformSnapshot};

/// The text of a macro, and the name that its file gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MacroSource {
    /// The name of the file without its suffix.
    pub name: String,
    /// One `CREATE FUNCTION` statement.
    pub text: String,
}

/// A macro that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacroProblem {
    /// The name that its file gives it.
    pub name: String,
    /// What is wrong; a place in the text is told as `line 2, column 7`.
    pub message: String,
}

/// Macros that can be called.
#[derive(Clone, Debug, Default)]
pub struct Macros {
    functions: BTreeMap<String, Macro>,
}

#[derive(Clone, Debug)]
struct Macro {
    function: Arc<ScalarUDF>,
    snapshot: FunctionSnapshot,
    calls: BTreeSet<String>,
}

impl Macros {
    /// Makes the macros of a project; `platform` is what is installed in `state`.
    ///
    /// # Errors
    /// Every problem of every text: what is no macro, names that are taken, circles.
    pub fn define(
        state: &SessionState,
        platform: &PlatformSnapshot,
        sources: &[MacroSource],
    ) -> Result<Self, Vec<MacroProblem>> {
        let mut problems = Vec::new();
        let mut statements: BTreeMap<String, MacroStatement> = BTreeMap::new();
        for source in sources {
            let parsed = parse(state, &source.text)
                .and_then(|statement| named_like_its_file(&source.name, statement))
                .and_then(|statement| free(state, &statements, statement));
            match parsed {
                Ok(statement) => {
                    statements.insert(source.name.clone(), statement);
                }
                Err(message) => problems.push(MacroProblem { name: source.name.clone(), message }),
            }
        }
        let mut macros = Self::default();
        let mut state = state.clone();
        for name in in_order(&statements, &mut problems) {
            // A macro over one that has a problem is told of only once that is mended.
            if let Some(statement) = statements.remove(&name)
                && statement
                    .calls
                    .iter()
                    .filter(|called| sources.iter().any(|source| source.name == **called))
                    .all(|called| macros.functions.contains_key(called))
            {
                match macros.make(&mut state, platform, statement) {
                    Ok(made) => {
                        macros.functions.insert(name, made);
                    }
                    Err(message) => problems.push(MacroProblem { name, message }),
                }
            }
        }
        if problems.is_empty() { Ok(macros) } else { Err(problems) }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// Makes the macros known to a session.
    ///
    /// # Errors
    /// DataFusion's, if the session takes no functions.
    pub fn register(&self, state: &mut SessionState) -> datafusion::error::Result<()> {
        for member in self.functions.values() {
            state.register_udf(Arc::clone(&member.function))?;
        }
        Ok(())
    }

    /// What each of them is, by name.
    pub fn snapshots(&self) -> impl Iterator<Item = &FunctionSnapshot> {
        self.functions.values().map(|member| &member.snapshot)
    }

    /// The macros among these names and all that they call, with their hashes.
    pub fn reachable<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut open: Vec<&str> = names.into_iter().collect();
        while let Some(name) = open.pop() {
            if let Some((name, member)) = self.functions.get_key_value(name)
                && found.insert(name.clone(), member.snapshot.hash.clone()).is_none()
            {
                open.extend(member.calls.iter().map(String::as_str));
            }
        }
        found
    }

    fn make(
        &self,
        state: &mut SessionState,
        platform: &PlatformSnapshot,
        statement: MacroStatement,
    ) -> Result<Macro, String> {
        let MacroStatement { statement, calls, description, .. } = statement;
        let plan = block_on(state.statement_to_plan(statement)).map_err(|error| error.strip_backtrace())?;
        let LogicalPlan::Ddl(DdlStatement::CreateFunction(create)) = plan else {
            return Err("it is not planned as a function".to_owned());
        };
        let function = MacroFunction::new(*create, description).map_err(|error| plan_message(&error))?;
        let called = functions_of(function.expression());
        let function = Arc::new(ScalarUDF::new_from_impl(function));
        let snapshot = FunctionSnapshot::of_macro(&function, &called, platform);
        state.register_udf(Arc::clone(&function)).map_err(|error| error.strip_backtrace())?;
        let calls = calls.into_iter().filter(|name| self.functions.contains_key(name)).collect();
        Ok(Macro { function, snapshot, calls })
    }
}

/// The message of an error without the words that only say that it is one of planning.
fn plan_message(error: &datafusion::error::DataFusionError) -> String {
    let text = error.strip_backtrace();
    text.strip_prefix("Error during planning: ").unwrap_or(&text).to_owned()
}

fn named_like_its_file(file: &str, statement: MacroStatement) -> Result<MacroStatement, String> {
    if statement.name == file {
        return Ok(statement);
    }
    Err(format!("it defines \"{}\"; a file defines the function that it is named for, \"{file}\"", statement.name))
}

fn free(
    state: &SessionState,
    others: &BTreeMap<String, MacroStatement>,
    statement: MacroStatement,
) -> Result<MacroStatement, String> {
    if is_taken(state, &statement.name) {
        return Err(format!(
            "the name \"{}\" is taken by a function of the engine; rename the file and the function",
            statement.name
        ));
    }
    if others.contains_key(&statement.name) {
        return Err(format!("the name \"{}\" is taken by another file", statement.name));
    }
    Ok(statement)
}

/// The names so that each comes after those that it calls; circles are problems and are left out.
fn in_order(statements: &BTreeMap<String, MacroStatement>, problems: &mut Vec<MacroProblem>) -> Vec<String> {
    let mut order = Vec::new();
    let mut path = Vec::new();
    let mut seen = BTreeSet::new();
    for name in statements.keys() {
        visit(name, statements, &mut path, &mut seen, &mut order, problems);
    }
    order
}

fn visit<'a>(
    name: &'a str,
    statements: &'a BTreeMap<String, MacroStatement>,
    path: &mut Vec<&'a str>,
    seen: &mut BTreeSet<&'a str>,
    order: &mut Vec<String>,
    problems: &mut Vec<MacroProblem>,
) {
    if let Some(start) = path.iter().position(|other| *other == name) {
        let circle: Vec<&str> = path[start..].iter().copied().chain([name]).collect();
        let message = format!("functions call each other in a circle: {}", circle.join(" -> "));
        problems.push(MacroProblem { name: name.to_owned(), message });
        return;
    }
    if !seen.insert(name) {
        return;
    }
    path.push(name);
    for called in &statements[name].calls {
        if let Some((called, _)) = statements.get_key_value(called) {
            visit(called, statements, path, seen, order, problems);
        }
    }
    path.pop();
    order.push(name.to_owned());
}

/// Every function that an expression calls, as `(kind, name)`.
fn functions_of(expression: &Expr) -> BTreeSet<(&'static str, String)> {
    let mut found = BTreeSet::new();
    // The visitor does not fail.
    let _ = expression.apply(|part| {
        match part {
            Expr::ScalarFunction(function) => {
                found.insert(("scalar", function.func.name().to_owned()));
            }
            Expr::HigherOrderFunction(function) => {
                found.insert(("higher_order", function.name().to_owned()));
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}
