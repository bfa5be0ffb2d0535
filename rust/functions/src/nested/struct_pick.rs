//! `struct_pick`: a struct of some of the fields of another one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature,
};

use super::{SECTION, call_of, map_column};
use crate::arguments::listed;
use crate::tags::{NESTED, STRUCT};
use crate::{Function, NullBehaviour, PlatformFunction};

const NAME: &str = "struct_pick";

/// The functions of this file.
pub(super) fn functions() -> Vec<PlatformFunction> {
    vec![PlatformFunction {
        function: Function::Scalar(Arc::new(ScalarUDF::new_from_impl(StructPick::new()))),
        tags: &[NESTED, STRUCT],
        null_behaviour: NullBehaviour::Propagates,
        return_rule: "a Struct of the named fields of \"struct\" with their types, nullability and metadata, in the \
                      order of the names; nullable if \"struct\" is",
        version: 1,
    }]
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct StructPick {
    signature: Signature,
    documentation: Documentation,
}

impl StructPick {
    fn new() -> Self {
        let fields = vec![Field::new("name", DataType::Utf8, true), Field::new("line", DataType::Int64, true)];
        let sample = DataType::Struct(fields.into());
        let signature = listed(vec![TypeSignature::Exact(vec![sample, DataType::Utf8])], &["struct", "field"]);
        let documentation = Documentation::builder(
            SECTION,
            "A struct of the named fields of a struct, in the order of the names. Names are literals and are matched \
             exactly; an unknown name or one that is given twice is a planning error. A NULL struct gives NULL.",
            "struct_pick(struct, field[, ..., field])",
        )
        .with_sql_example(
            "```sql\n> SELECT struct_pick({'kind': 'call', 'line': 7, 'name': 'f'}, 'name', 'kind') AS s;\n\
             +-----------------------+\n| s                     |\n+-----------------------+\n\
             | {name: f, kind: call} |\n+-----------------------+\n```",
        )
        .with_argument("struct", "The struct to pick from.")
        .with_argument("field", "The name of a field, as a string literal; one or more.")
        .build();
        Self { signature, documentation }
    }
}

fn struct_fields(data_type: &DataType) -> Result<&Fields> {
    match data_type {
        DataType::Struct(fields) => Ok(fields),
        other => plan_err!("{NAME}: argument \"struct\" must be a struct, not {other}"),
    }
}

/// Where the named fields are in the struct.
fn positions<'a>(fields: &Fields, names: impl Iterator<Item = Option<&'a ScalarValue>>) -> Result<Vec<usize>> {
    let mut positions = Vec::new();
    for name in names {
        let Some(name) = name.and_then(|name| name.try_as_str().flatten()) else {
            return plan_err!(
                "{NAME}: argument \"field\" must be a string literal, because the type of the result follows from it"
            );
        };
        let Some(position) = fields.iter().position(|field| field.name() == name) else {
            let known: Vec<String> = fields.iter().map(|field| format!("\"{}\"", field.name())).collect();
            return plan_err!("{NAME}: the struct has no field \"{name}\"; there are {}", known.join(", "));
        };
        if positions.contains(&position) {
            return plan_err!("{NAME}: argument \"field\" names \"{name}\" twice");
        }
        positions.push(position);
    }
    if positions.is_empty() {
        return plan_err!("{NAME}: argument \"field\" is missing; name at least one field");
    }
    Ok(positions)
}

impl ScalarUDFImpl for StructPick {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn is_strict(&self) -> bool {
        true
    }

    /// Types alone do not tell the names, so this knows the answer only where there is one choice.
    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let [of, names @ ..] = arg_types else {
            return plan_err!("{NAME}: argument \"struct\" is missing");
        };
        match (struct_fields(of)?.len(), names.len()) {
            (_, 0) => plan_err!("{NAME}: argument \"field\" is missing; name at least one field"),
            (1, 1) => Ok(of.clone()),
            _ => plan_err!("{NAME}: the type of the result follows from the names, so ask for it with the arguments"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let ([of, ..], [_, names @ ..]) = (args.arg_fields, args.scalar_arguments) else {
            return plan_err!("{NAME}: argument \"struct\" is missing");
        };
        let fields = struct_fields(of.data_type())?;
        let positions = positions(fields, names.iter().copied())?;
        let picked: Fields = positions.into_iter().map(|position| Arc::clone(&fields[position])).collect();
        let field = Field::new(NAME, DataType::Struct(picked), of.is_nullable());
        Ok(Arc::new(field.with_metadata(of.metadata().clone())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(of) = args.args.first() else {
            return exec_err!("{NAME}: argument \"struct\" is missing");
        };
        // The names were literals when the call was planned, and are in the type of its result; a call from another
        // DataFusion brings them as columns.
        let of_type = of.data_type();
        let (fields, wanted) = (struct_fields(&of_type)?, struct_fields(args.return_field.data_type())?);
        let names: Vec<ScalarValue> = wanted.iter().map(|field| ScalarValue::from(field.name().as_str())).collect();
        let positions = positions(fields, names.iter().map(Some))?;
        map_column(of, |array| pick(array, &positions))
    }

    fn simplify(&self, args: Vec<Expr>, _info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        // The names of the inner call do not matter: each of ours is one of them.
        let inner = args.first().and_then(call_of::<Self>).and_then(|(_, arguments)| arguments.first()).cloned();
        match (inner, args) {
            (Some(of), mut args) => {
                args[0] = of;
                let function = ScalarUDF::new_from_impl(Self::new());
                Ok(ExprSimplifyResult::Simplified(function.call(args)))
            }
            (None, args) => Ok(ExprSimplifyResult::Original(args)),
        }
    }
}

fn pick(array: &ArrayRef, positions: &[usize]) -> Result<ArrayRef> {
    let of = array.as_struct();
    let fields: Fields = positions.iter().map(|&position| Arc::clone(&of.fields()[position])).collect();
    let columns = positions.iter().map(|&position| Arc::clone(of.column(position))).collect();
    Ok(Arc::new(StructArray::try_new(fields, columns, of.nulls().cloned())?))
}
