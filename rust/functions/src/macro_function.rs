//! A macro: a function that is an expression over its arguments.
//!
//! A call of it becomes that expression while planning (`simplify`), so that a stored plan calls built-in functions
//! and those of the platform only and can be run by a session that never heard of the macro.
//!
//! Invariant: the expression calls no macro; those that it was written with were put in their places when it was made.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, plan_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::context::{FunctionFactory, RegisterFunction};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::{Cast, Placeholder, ScalarFunction};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, CreateFunction, DocSection, Documentation, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

const SECTION: DocSection = DocSection {
    include: true,
    label: "Functions of the Project",
    description: Some("Expressions that a project gives a name to."),
};

/// Makes macros of `CREATE FUNCTION name(argument type, …) RETURNS type RETURN expression`.
///
/// DataFusion plans `$1` and `$name` in the expression; [`crate::macros::Macros`] also takes the bare name.
#[derive(Debug)]
pub struct MacroFactory;

#[async_trait]
impl FunctionFactory for MacroFactory {
    async fn create(&self, state: &SessionState, statement: CreateFunction) -> Result<RegisterFunction> {
        let name = &statement.name;
        if statement.or_replace || statement.temporary {
            return plan_err!("function \"{name}\" can be neither replaced nor temporary; give it a name of its own");
        }
        if is_taken(state, name) {
            return plan_err!("function \"{name}\" has a name that is taken; give it a name of its own");
        }
        let function = MacroFunction::new(statement, None)?;
        Ok(RegisterFunction::Scalar(Arc::new(ScalarUDF::new_from_impl(function))))
    }
}

/// Whether a session has a function with this name.
pub fn is_taken(state: &SessionState, name: &str) -> bool {
    state.scalar_functions().contains_key(name)
        || state.aggregate_functions().contains_key(name)
        || state.window_functions().contains_key(name)
        || state.higher_order_functions().contains_key(name)
}

/// An expression with typed arguments.
#[derive(PartialEq, Eq, Hash)]
pub struct MacroFunction {
    name: String,
    signature: Signature,
    argument_types: Vec<DataType>,
    return_type: DataType,
    /// Over `$1`, `$2`, …, with every coercion made, of the return type.
    expression: Expr,
    documentation: Documentation,
}

impl fmt::Debug for MacroFunction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "MacroFunction({} := {})", self.name, self.expression)
    }
}

impl MacroFunction {
    /// Makes the macro of a planned statement.
    ///
    /// # Errors
    /// A planning error that says what of the statement a macro cannot have.
    pub fn new(statement: CreateFunction, description: Option<String>) -> Result<Self> {
        let name = statement.name;
        let mut names = Vec::new();
        let mut types = Vec::new();
        for (position, argument) in statement.args.unwrap_or_default().into_iter().enumerate() {
            let Some(argument_name) = argument.name else {
                return plan_err!("argument {} has no name; write name and type", position + 1);
            };
            if argument.default_expr.is_some() {
                return plan_err!(
                    "argument \"{}\" has a default; write every argument in the call",
                    argument_name.value
                );
            }
            names.push(argument_name.value);
            types.push(argument.data_type);
        }
        let Some(return_type) = statement.return_type else {
            return plan_err!("its type is missing; write RETURNS and a type");
        };
        let Some(body) = statement.params.function_body else {
            return plan_err!("its expression is missing; write RETURN and an expression");
        };
        let expression = coerced(expanded(body)?, &return_type)?;
        let mut signature = if types.is_empty() {
            Signature::nullary(volatility(&expression))
        } else {
            // The declared types are what is listed; whatever can be assigned to them is cast when the call is replaced.
            let forms = vec![TypeSignature::Exact(types.clone()), TypeSignature::Any(types.len())];
            Signature::one_of(forms, volatility(&expression))
        };
        signature.parameter_names = Some(names.clone());
        let mut documentation = Documentation::builder(
            SECTION,
            description.unwrap_or_else(|| "An expression of the project.".to_owned()),
            format!("{name}({})", names.join(", ")),
        );
        for (argument, data_type) in names.iter().zip(&types) {
            documentation = documentation.with_argument(argument, data_type.to_string());
        }
        let documentation = documentation.build();
        Ok(Self { name, signature, argument_types: types, return_type, expression, documentation })
    }

    /// The expression over `$1`, `$2`, ….
    pub fn expression(&self) -> &Expr {
        &self.expression
    }

    /// The expression over the arguments of a call, each as the type that the macro declares.
    ///
    /// # Errors
    /// A planning error if that would compute a volatile argument more than once, or never.
    fn expand(&self, arguments: Vec<Expr>, schema: &DFSchema) -> Result<Expr> {
        let arguments = arguments
            .into_iter()
            .zip(&self.argument_types)
            .map(|(argument, declared)| {
                let found = argument.get_type(schema)?;
                Ok(if found == *declared {
                    argument
                } else {
                    Expr::Cast(Cast::new(Box::new(argument), declared.clone()))
                })
            })
            .collect::<Result<Vec<Expr>>>()?;
        for (position, argument) in arguments.iter().enumerate() {
            let uses = self.uses(position)?;
            if uses != 1 && argument.is_volatile() {
                return plan_err!(
                    "function \"{}\" uses its argument {} {uses} times, so it cannot be given {argument}, which differs \
                     with each use; compute it in a subquery first",
                    self.name,
                    position + 1
                );
            }
        }
        let expression = self.expression.clone().transform_up(|part| match &part {
            Expr::Placeholder(placeholder) => {
                let argument =
                    position_of(placeholder).and_then(|position| arguments.get(position)).ok_or_else(|| {
                        plan_datafusion_err!("function \"{}\" has no argument {}", self.name, placeholder.id)
                    })?;
                Ok(Transformed::yes(argument.clone()))
            }
            _ => Ok(Transformed::no(part)),
        })?;
        Ok(expression.data)
    }

    fn names(&self) -> &[String] {
        self.signature.parameter_names.as_deref().unwrap_or_default()
    }

    fn uses(&self, position: usize) -> Result<usize> {
        let mut count = 0;
        self.expression.apply(|part| {
            if let Expr::Placeholder(placeholder) = part
                && position_of(placeholder) == Some(position)
            {
                count += 1;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(count)
    }
}

impl ScalarUDFImpl for MacroFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        for ((argument, found), declared) in self.names().iter().zip(arg_types).zip(&self.argument_types) {
            if !is_assignable(found, declared) {
                return plan_err!(
                    "{}: argument \"{argument}\" is {declared}, to which {found} is not assigned; write CAST",
                    self.name
                );
            }
        }
        Ok(self.return_type.clone())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        plan_err!("function \"{}\" is an expression that takes the place of its call while planning", self.name)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(ExprSimplifyResult::Simplified(self.expand(args, info.schema())?))
    }
}

/// The position of an argument, from 0.
fn position_of(placeholder: &Placeholder) -> Option<usize> {
    placeholder.id.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
}

/// The expression with every call of a macro replaced by what it stands for.
fn expanded(body: Expr) -> Result<Expr> {
    let body = body.transform_up(|part| {
        require_expression_of_one_row(&part)?;
        let Expr::ScalarFunction(ScalarFunction { func, args }) = &part else {
            return Ok(Transformed::no(part));
        };
        let Some(inner) = func.inner().downcast_ref::<MacroFunction>() else {
            return Ok(Transformed::no(part));
        };
        let call = coerce(Expr::ScalarFunction(ScalarFunction { func: Arc::clone(func), args: args.clone() }))?;
        let arguments = match call {
            Expr::ScalarFunction(call) => call.args,
            _ => args.clone(),
        };
        inner.expand(arguments, &DFSchema::empty()).map(Transformed::yes)
    })?;
    Ok(body.data)
}

/// Refuses what is not computed from the values of one row.
fn require_expression_of_one_row(part: &Expr) -> Result<()> {
    match part {
        Expr::AggregateFunction(function) => {
            plan_err!(
                "it calls the aggregate function \"{}\"; only values of one row can be computed",
                function.func.name()
            )
        }
        Expr::WindowFunction(_) => plan_err!("it calls a window function; only values of one row can be computed"),
        Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) => {
            plan_err!("it holds a query; a function sees its arguments only")
        }
        Expr::Unnest(_) => plan_err!("it unnests a list; only one value can be computed"),
        Expr::Column(column) => {
            plan_err!("it names the column \"{}\"; a function sees its arguments only", column.name)
        }
        Expr::Placeholder(placeholder) if placeholder.field.is_none() => {
            plan_err!("there is no argument {}", placeholder.id)
        }
        _ => Ok(()),
    }
}

fn coerce(expression: Expr) -> Result<Expr> {
    ExprSimplifier::new(SimplifyContext::builder().build()).coerce(expression, &DFSchema::empty())
}

/// The expression with every coercion made, as the return type.
fn coerced(expression: Expr, return_type: &DataType) -> Result<Expr> {
    let expression = coerce(expression)?;
    let found = expression.get_type(&DFSchema::empty())?;
    if found == *return_type {
        return Ok(expression);
    }
    if !is_assignable(&found, return_type) {
        return plan_err!(
            "its expression has type {found}, which is not assigned to {return_type}; write CAST or another RETURNS"
        );
    }
    Ok(Expr::Cast(Cast::new(Box::new(expression), return_type.clone())))
}

/// Whether a value is stored into a column of the type without being asked to, as the SQL standard has it: numbers as
/// numbers, texts as texts, moments as moments, and nested values part by part.
fn is_assignable(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Date32, Date64, Dictionary, FixedSizeList, LargeList, LargeUtf8, List, Map, Null, Struct, Timestamp, Utf8,
        Utf8View,
    };
    match (from, to) {
        (Dictionary(_, values), _) => is_assignable(values, to),
        (Null, _)
        | (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View)
        | (Date32 | Date64 | Timestamp(_, _), Date32 | Date64 | Timestamp(_, _)) => true,
        (List(from) | LargeList(from) | FixedSizeList(from, _), List(to) | LargeList(to))
        | (Map(from, _), Map(to, _)) => is_assignable(from.data_type(), to.data_type()),
        (Struct(from), Struct(to)) => {
            from.len() == to.len()
                && from
                    .iter()
                    .zip(to)
                    .all(|(from, to)| from.name() == to.name() && is_assignable(from.data_type(), to.data_type()))
        }
        (from, to) => from == to || (from.is_numeric() && to.is_numeric()),
    }
}

/// The volatility of an expression: that of the most volatile function in it.
fn volatility(expression: &Expr) -> Volatility {
    let mut found = Volatility::Immutable;
    // The visitor does not fail.
    let _ = expression.apply(|part| {
        if let Expr::ScalarFunction(function) = part {
            match function.func.signature().volatility {
                Volatility::Volatile => found = Volatility::Volatile,
                Volatility::Stable if found == Volatility::Immutable => found = Volatility::Stable,
                _ => {}
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}
