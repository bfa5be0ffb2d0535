//! Rewrites of calls to cheaper ones with the same result, before anything is optimized.
//!
//! A function is idempotent if applying it to its own result changes nothing.  `f(f(x))` is then `f(x)`, which appears
//! when a view cleans what another one has cleaned, or when cleaning is wrapped into functions of a project.

use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;

/// Functions of one argument that are idempotent, with the functions whose results they leave as they are.
///
/// `utf8_normalize` is not among them: with case folding it is not idempotent for every text (The Unicode Standard,
/// section 5.18).
const IDEMPOTENT: &[(&str, &[&str])] = &[
    ("utf8_null_if_blank", &["utf8_null_if_blank"]),
    ("list_compact", &["list_compact"]),
    ("list_unique_sorted", &["list_unique_sorted"]),
    ("map_normalize", &["map_normalize"]),
];

/// Removes calls of functions that leave their argument as it is.
#[derive(Debug)]
pub struct IdempotentCalls;

impl FunctionRewrite for IdempotentCalls {
    fn name(&self) -> &'static str {
        "idempotent_calls"
    }

    fn rewrite(&self, expr: Expr, _schema: &DFSchema, _config: &ConfigOptions) -> Result<Transformed<Expr>> {
        match expr {
            Expr::ScalarFunction(ScalarFunction { func, mut args })
                if args.len() == 1 && leaves_as_it_is(func.name(), &args[0]) =>
            {
                Ok(Transformed::yes(args.remove(0)))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

fn leaves_as_it_is(name: &str, argument: &Expr) -> bool {
    let Expr::ScalarFunction(inner) = argument else {
        return false;
    };
    inner.args.len() == 1
        && IDEMPOTENT.iter().any(|(outer, inners)| *outer == name && inners.contains(&inner.func.name()))
}
