//! Access to a field of a struct that is only picked for it: `struct_pick(s, 'a', 'b')['a']` is `s['a']`.
//!
//! Then the other fields are not read at all.  A NULL struct has the fields that it shows without picking, in both
//! forms.

use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::functions::core::getfield::GetFieldFunc;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;

use super::call_of;
use super::struct_pick::StructPick;

/// The rewrite, which the domain planner `nested` installs.
#[derive(Debug)]
pub struct FieldOfPicked;

impl FunctionRewrite for FieldOfPicked {
    fn name(&self) -> &'static str {
        "field_of_picked"
    }

    fn rewrite(&self, expr: Expr, _schema: &DFSchema, _config: &ConfigOptions) -> Result<Transformed<Expr>> {
        let Some((_, [of, name, ..])) = call_of::<GetFieldFunc>(&expr) else {
            return Ok(Transformed::no(expr));
        };
        // A name that is not picked is an error, and stays one.
        let source = match call_of::<StructPick>(of) {
            Some((_, [source, names @ ..])) if names.contains(name) => source.clone(),
            _ => return Ok(Transformed::no(expr)),
        };
        let Expr::ScalarFunction(mut access) = expr else {
            return Ok(Transformed::no(expr));
        };
        access.args[0] = source;
        Ok(Transformed::yes(Expr::ScalarFunction(access)))
    }
}
