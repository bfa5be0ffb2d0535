//! The functions as DataFusion sees them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::plan_err;
use datafusion::common::types::{NativeType, logical_float64};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Coercion, Documentation, GroupsAccumulator, ReversedUDAF, Signature,
    TypeSignatureClass, Volatility,
};

use super::accumulator::{DistinctAccumulator, ExactAccumulator};
use super::groups::ExactGroups;
use super::moments::{Everything, Products, Squares, Values};
use super::statistic::{Needs, Statistic};

/// A number that is added as a float.
pub(super) fn number() -> Coercion {
    Coercion::new_implicit(
        TypeSignatureClass::Native(logical_float64()),
        vec![TypeSignatureClass::Float, TypeSignatureClass::Integer, TypeSignatureClass::Decimal],
        NativeType::Float64,
    )
}

/// One function of the family.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ExactFunction {
    statistic: Statistic,
    signature: Signature,
    documentation: Documentation,
}

impl ExactFunction {
    pub fn new(statistic: Statistic) -> Self {
        let names = statistic.argument_names();
        let mut signature = Signature::coercible(vec![number(); names.len()], Volatility::Immutable);
        signature.parameter_names = Some(names.iter().map(ToString::to_string).collect());
        Self { statistic, signature, documentation: statistic.documentation() }
    }
}

impl AggregateUDFImpl for ExactFunction {
    fn name(&self) -> &str {
        self.statistic.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let statistic = self.statistic;
        Ok(match (statistic.needs(), args.is_distinct) {
            (Needs::Values, false) => Box::new(ExactAccumulator::<Values>::new(statistic)),
            (Needs::Squares, false) => Box::new(ExactAccumulator::<Squares>::new(statistic)),
            (Needs::Products, false) => Box::new(ExactAccumulator::<Products>::new(statistic)),
            (Needs::Everything, false) => Box::new(ExactAccumulator::<Everything>::new(statistic)),
            (Needs::Values, true) => Box::new(DistinctAccumulator::<Values>::new(statistic)),
            (Needs::Squares, true) => Box::new(DistinctAccumulator::<Squares>::new(statistic)),
            (Needs::Products | Needs::Everything, true) => {
                return plan_err!(
                    "{} does not know DISTINCT; take the distinct pairs in a sub-query below it",
                    statistic.name()
                );
            }
        })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if args.is_distinct {
            let value = Field::new_list_field(DataType::Float64, true);
            return Ok(vec![Arc::new(Field::new_list(format_state_name(args.name, "distinct"), value, true))]);
        }
        let moments = Field::new(format_state_name(args.name, "moments"), DataType::LargeBinary, true);
        let row = self
            .statistic
            .argument_names()
            .iter()
            .map(|argument| Arc::new(Field::new(format_state_name(args.name, argument), DataType::Float64, true)));
        Ok([Arc::new(moments)].into_iter().chain(row).collect())
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let statistic = self.statistic;
        Ok(match statistic.needs() {
            Needs::Values => Box::new(ExactGroups::<Values>::new(statistic)),
            Needs::Squares => Box::new(ExactGroups::<Squares>::new(statistic)),
            Needs::Products => Box::new(ExactGroups::<Products>::new(statistic)),
            Needs::Everything => Box::new(ExactGroups::<Everything>::new(statistic)),
        })
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}
