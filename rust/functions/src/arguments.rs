//! How scalar functions say what they take, refuse what they do not take, and fold calls over literals.
//!
//! A signature lists typed forms, which is what `information_schema` shows, and then lets everything through: the
//! planner's own refusal says neither which argument is wrong nor why, ours does.  So no argument is cast before a
//! function sees it, and a function reads every representation itself.
//!
//! Invariant: what [`require_count`] and the checks of types let pass while planning, the function can evaluate.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::types::logical_string;
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    Coercion, ColumnarValue, EncodingPreservation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
    TypeSignature, TypeSignatureClass, Volatility,
};

use crate::text_arrays::is_text;

/// A string of any representation, in a typed form of a signature.
pub(crate) fn string() -> Coercion {
    Coercion::new_exact(TypeSignatureClass::Native(logical_string()))
        .with_encoding_preservation(EncodingPreservation::dictionary())
}

/// An integer of any width, in a typed form of a signature.
pub(crate) fn integer() -> Coercion {
    Coercion::new_exact(TypeSignatureClass::Integer)
}

/// The signature of an immutable function with these typed forms and argument names.
///
/// The names of a function with any number of arguments cover its first ones.
pub(crate) fn listed(forms: Vec<TypeSignature>, names: &[&str]) -> Signature {
    listed_of_any(forms, TypeSignature::VariadicAny, names)
}

/// The signature of an immutable function of values of `any` type, with typed forms as samples of them.
pub(crate) fn listed_of_any(mut forms: Vec<TypeSignature>, any: TypeSignature, names: &[&str]) -> Signature {
    forms.push(any);
    let mut signature = Signature::one_of(forms, Volatility::Immutable);
    signature.parameter_names = Some(names.iter().map(ToString::to_string).collect());
    signature
}

/// Refuses a call with too few or too many arguments while planning.
pub(crate) fn require_count(function: &str, given: usize, allowed: RangeInclusive<usize>, usage: &str) -> Result<()> {
    if allowed.contains(&given) {
        return Ok(());
    }
    let (least, most) = allowed.into_inner();
    let wanted = match most {
        usize::MAX => format!("at least {least} arguments"),
        most if most == least => format!("{least} argument{}", if least == 1 { "" } else { "s" }),
        most => format!("{least} to {most} arguments"),
    };
    plan_err!("{function} takes {wanted}, not {given}; it is called {usage}")
}

/// Refuses an argument that is no string while planning.
pub(crate) fn require_text(function: &str, argument: &str, data_type: &DataType) -> Result<()> {
    if is_text(data_type) {
        return Ok(());
    }
    wrong_type(function, argument, "a string", data_type)
}

/// Refuses an argument that is no integer while planning.
pub(crate) fn require_integer(function: &str, argument: &str, data_type: &DataType) -> Result<()> {
    if is_integer(data_type) {
        return Ok(());
    }
    wrong_type(function, argument, "an integer", data_type)
}

/// Integers of any width, also as a dictionary; NULL too.
pub(crate) fn is_integer(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_integer(values),
        other => other.is_integer() || other.is_null(),
    }
}

/// The refusal of an argument for its type.
pub(crate) fn wrong_type<T>(function: &str, argument: &str, wanted: &str, given: &DataType) -> Result<T> {
    plan_err!("{function}: argument \"{argument}\" is {wanted}, not {given}; cast it or pass another one")
}

/// Whether one of the arguments can be NULL.
pub(crate) fn any_nullable(fields: &[FieldRef]) -> bool {
    fields.iter().any(|field| field.is_nullable())
}

/// The rows that a call is evaluated for, and whether all its arguments are scalars: then it is one row.
pub(crate) fn rows_of(args: &ScalarFunctionArgs) -> (usize, bool) {
    let constant = args.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
    (if constant { 1 } else { args.number_rows }, constant)
}

/// The result of a call: a scalar if all its arguments were.
pub(crate) fn result_of(array: ArrayRef, constant: bool) -> Result<ColumnarValue> {
    debug_assert!(!constant || array.len() == 1);
    if constant { Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)) } else { Ok(array.into()) }
}

/// Where in a batch a value is wrong, for an error; rows count from 1, and a scalar has no row.
pub(crate) fn place(row: usize, constant: bool) -> String {
    if constant { String::new() } else { format!(" in row {} of the batch", row + 1) }
}

/// The literal that a call over literals gives, unless the call is an error: that stays where it is evaluated.
pub(crate) fn folded(function: &dyn ScalarUDFImpl, args: &[Expr], info: &SimplifyContext) -> Option<Expr> {
    let values: Vec<&ScalarValue> = args
        .iter()
        .map(|argument| match argument {
            Expr::Literal(value, None) => Some(value),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let arg_fields: Vec<FieldRef> = values
        .iter()
        .map(|value| Arc::new(Field::new("literal", value.data_type(), value.is_null())) as FieldRef)
        .collect();
    let scalar_arguments: Vec<Option<&ScalarValue>> = values.iter().copied().map(Some).collect();
    let return_field = function
        .return_field_from_args(ReturnFieldArgs { arg_fields: &arg_fields, scalar_arguments: &scalar_arguments })
        .ok()?;
    let call = ScalarFunctionArgs {
        args: values.into_iter().cloned().map(ColumnarValue::Scalar).collect(),
        arg_fields,
        number_rows: 1,
        return_field,
        config_options: Arc::clone(info.config_options()),
    };
    match function.invoke_with_args(call).ok()? {
        ColumnarValue::Scalar(value) => Some(Expr::Literal(value, None)),
        ColumnarValue::Array(_) => None,
    }
}
