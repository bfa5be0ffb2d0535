//! The text of a macro as a statement that DataFusion plans: every argument is a placeholder by position.
//!
//! DataFusion plans `$1` and `$name` in the expression of a function, but not the bare name, which it takes for a
//! column.  Here all three become `$1`; what is none of them is refused with its place in the text.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::execution::session_state::SessionState;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, ArgMode, CreateFunction, CreateFunctionBody, Expr, FunctionArg, FunctionArguments, FunctionReturnType,
    Ident, ObjectName, Query, Spanned, Statement as SqlStatement, Subscript, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::dialect_from_str;

/// A statement that can be planned.
#[derive(Debug)]
pub struct MacroStatement {
    /// The name of the function.
    pub name: String,
    /// The statement, with placeholders in place of arguments.
    pub statement: Statement,
    /// The names of all functions that it calls.
    pub calls: BTreeSet<String>,
    /// What its leading comment says.
    pub description: Option<String>,
}

/// Reads one `CREATE FUNCTION` statement.
///
/// # Errors
/// What is wrong and what to write instead.
pub fn parse(state: &SessionState, text: &str) -> Result<MacroStatement, String> {
    let options = &state.config_options().sql_parser;
    let dialect =
        dialect_from_str(options.dialect).ok_or_else(|| format!("there is no SQL dialect \"{}\"", options.dialect))?;
    let mut statements = DFParserBuilder::new(text)
        .with_dialect(dialect.as_ref())
        .with_recursion_limit(options.recursion_limit.get())
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| error.strip_backtrace())?;
    let Some(statement) = statements.pop_front() else {
        return Err("there is no statement; write one CREATE FUNCTION".to_owned());
    };
    if let Some(second) = statements.front() {
        return Err(format!("there is a second statement{}; a file defines one function", place_of_statement(second)));
    }
    let Statement::Statement(inner) = statement else {
        return Err("it is not CREATE FUNCTION; a file defines one function".to_owned());
    };
    let SqlStatement::CreateFunction(create) = *inner else {
        let word = inner_first_word(&inner);
        return Err(format!("{word} is not CREATE FUNCTION; a file defines one function"));
    };
    let (create, name, calls) = with_placeholders(create)?;
    Ok(MacroStatement {
        name,
        statement: Statement::Statement(Box::new(SqlStatement::CreateFunction(create))),
        calls,
        description: leading_comment(text),
    })
}

/// The name as a call finds it: in lower case unless it is quoted.
pub fn normalized(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The name of a function that has no schema.
pub fn function_name(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(normalized),
        _ => None,
    }
}

fn with_placeholders(mut create: CreateFunction) -> Result<(CreateFunction, String, BTreeSet<String>), String> {
    require_plain(&create)?;
    let name = function_name(&create.name)
        .ok_or_else(|| format!("the name \"{}\" has a schema; write one word", create.name))?;
    let mut arguments: Vec<String> = Vec::new();
    for (position, argument) in create.args.iter_mut().flatten().enumerate() {
        let number = position + 1;
        if !matches!(argument.mode, None | Some(ArgMode::In)) {
            return Err(format!("argument {number} has a mode; a function only takes values"));
        }
        let Some(ident) = &mut argument.name else {
            return Err(format!("argument {number} has no name; write a name and a type"));
        };
        if argument.default_expr.is_some() {
            return Err(format!("argument \"{}\" has a default; write every argument in the call", ident.value));
        }
        // The parser keeps the quotes of an argument's name as part of it.
        let quoted = ident.value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let argument_name = quoted.map_or_else(|| ident.value.to_lowercase(), |inside| inside.replace("\"\"", "\""));
        if arguments.contains(&argument_name) {
            return Err(format!("two arguments are called \"{argument_name}\"; give each a name of its own"));
        }
        ident.value.clone_from(&argument_name);
        arguments.push(argument_name);
    }
    if !matches!(create.return_type, Some(FunctionReturnType::DataType(_))) {
        return Err("its type is missing; write RETURNS and the type of one value".to_owned());
    }
    let Some(CreateFunctionBody::Return(body)) = &mut create.function_body else {
        return Err("its expression is missing; write RETURN and an expression".to_owned());
    };
    let mut arguments = Arguments { names: &arguments, calls: BTreeSet::new() };
    if let ControlFlow::Break(message) = body.visit(&mut arguments) {
        return Err(message);
    }
    let calls = arguments.calls;
    Ok((create, name, calls))
}

/// Refuses everything that a macro has no use for.
fn require_plain(create: &CreateFunction) -> Result<(), String> {
    let refused = [
        (
            create.or_replace || create.or_alter,
            "OR REPLACE",
            "a function is there as long as its file is; write CREATE FUNCTION",
        ),
        (create.temporary, "TEMPORARY", "a function is there as long as its file is; write CREATE FUNCTION"),
        (create.if_not_exists, "IF NOT EXISTS", "a function is there as long as its file is; write CREATE FUNCTION"),
        (create.behavior.is_some(), "IMMUTABLE, STABLE or VOLATILE", "that follows from the expression"),
        (create.called_on_null.is_some(), "what to do with NULL", "that follows from the expression"),
        (
            create.language.as_ref().is_some_and(|language| !language.value.eq_ignore_ascii_case("sql")),
            "another LANGUAGE",
            "write an SQL expression",
        ),
        (
            create.parallel.is_some()
                || create.security.is_some()
                || create.using.is_some()
                || create.determinism_specifier.is_some()
                || create.options.is_some()
                || create.remote_connection.is_some()
                || !create.set_params.is_empty(),
            "options",
            "write only arguments, RETURNS and RETURN",
        ),
    ];
    match refused.into_iter().find(|(found, _, _)| *found) {
        Some((_, what, instead)) => Err(format!("it says {what}; {instead}")),
        None => Ok(()),
    }
}

/// Turns arguments into placeholders and notes the functions that are called.
struct Arguments<'a> {
    names: &'a [String],
    calls: BTreeSet<String>,
}

impl Arguments<'_> {
    fn placeholder(&self, ident: &Ident) -> Result<Expr, String> {
        let name = normalized(ident);
        self.numbered(&name).ok_or_else(|| {
            format!(
                "there is no argument \"{name}\"{}; {}",
                place(ident.span.start.line, ident.span.start.column),
                self.known()
            )
        })
    }

    fn numbered(&self, name: &str) -> Option<Expr> {
        let position = self.names.iter().position(|other| other == name)?;
        Some(Expr::value(Value::Placeholder(format!("${}", position + 1))))
    }

    fn known(&self) -> String {
        if self.names.is_empty() {
            return "the function has none".to_owned();
        }
        let names: Vec<String> = self.names.iter().map(|name| format!("\"{name}\"")).collect();
        format!("a function sees its arguments only: {}", names.join(", "))
    }

    fn replace(&self, expr: &mut Expr) -> Result<(), String> {
        match expr {
            Expr::Identifier(ident) => *expr = self.placeholder(ident)?,
            Expr::CompoundIdentifier(parts) => {
                let (first, fields) = parts.split_first().ok_or("an empty name")?;
                *expr = Expr::CompoundFieldAccess {
                    root: Box::new(self.placeholder(first)?),
                    access_chain: fields.iter().map(field_access).collect(),
                };
            }
            Expr::Value(value) => {
                if let Value::Placeholder(text) = &value.value {
                    let start = value.span.start;
                    let name = text.strip_prefix('$').unwrap_or(text);
                    let found = match name.parse::<usize>() {
                        Ok(number) => (1..=self.names.len())
                            .contains(&number)
                            .then(|| Expr::value(Value::Placeholder(text.clone()))),
                        Err(_) => self.numbered(name).or_else(|| self.numbered(&name.to_lowercase())),
                    };
                    *expr = found.ok_or_else(|| {
                        format!("there is no argument {text}{}; {}", place(start.line, start.column), self.known())
                    })?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl VisitorMut for Arguments<'_> {
    type Break = String;

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<String> {
        ControlFlow::Break("it holds a query; a function sees its arguments only".to_owned())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<String> {
        match expr {
            Expr::Function(function) => {
                self.calls.extend(function_name(&function.name));
                if let FunctionArguments::List(list) = &mut function.args {
                    list.args.iter_mut().for_each(name_by_word);
                }
            }
            Expr::CompoundFieldAccess { access_chain, .. } => {
                for access in access_chain {
                    if let AccessExpr::Dot(Expr::Identifier(field)) = access {
                        *access = field_access(field);
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<String> {
        match self.replace(expr) {
            Ok(()) => ControlFlow::Continue(()),
            Err(message) => ControlFlow::Break(message),
        }
    }
}

/// The name of an argument in a call is no expression, whatever the dialect makes of it.
fn name_by_word(argument: &mut FunctionArg) {
    if let FunctionArg::ExprNamed { name: Expr::Identifier(name), arg, operator } = argument {
        *argument = FunctionArg::Named { name: name.clone(), arg: arg.clone(), operator: operator.clone() };
    }
}

/// `.field` as `['field']`, which holds no name that could be taken for an argument.
fn field_access(field: &Ident) -> AccessExpr {
    AccessExpr::Subscript(Subscript::Index { index: Expr::value(Value::SingleQuotedString(normalized(field))) })
}

fn place(line: u64, column: u64) -> String {
    if line == 0 { String::new() } else { format!(" at line {line}, column {column}") }
}

fn place_of_statement(statement: &Statement) -> String {
    match statement {
        Statement::Statement(inner) => {
            let start = inner.span().start;
            place(start.line, start.column)
        }
        _ => String::new(),
    }
}

fn inner_first_word(statement: &SqlStatement) -> String {
    let text = statement.to_string();
    text.split_whitespace().next().unwrap_or("this").to_uppercase()
}

/// The text of the comments before the statement.
fn leading_comment(text: &str) -> Option<String> {
    let mut words: Vec<&str> = Vec::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix("--") {
            let (line, next) = after.split_once('\n').unwrap_or((after, ""));
            words.extend(line.split_whitespace());
            rest = next.trim_start();
        } else if let Some((inside, next)) = rest.strip_prefix("/*").and_then(|after| after.split_once("*/")) {
            words.extend(inside.split_whitespace());
            rest = next.trim_start();
        } else {
            break;
        }
    }
    (!words.is_empty()).then(|| words.join(" "))
}
