//! Exact sums as values: what a table keeps of its groups, so that changes are added and no row is read again.
//!
//! ```text
//! state(rows) + state(changes, weights) = state(rows after the changes)         exact_state_merge adds
//! ```
//!
//! A state has the byte of its [kind](Needs) and then the [bytes of moments](super::moments), which are canonical: equal
//! bags of rows have equal states, whatever was added and taken away on the way, and so a state can be compared as any
//! other value.  A row of weight *w* counts *w* times; of weight -1 it is taken away.  A state of no rows is no NULL, so
//! that a state that lost all its rows is the state of no rows again.
//!
//! | function | of | gives |
//! |---|---|---|
//! | `exact_sum_state(x, weight)` | rows | the state for `sum` and `avg` |
//! | `exact_var_state(x, weight)` | rows | that for variances and standard deviations |
//! | `exact_covar_state(y, x, weight)` | rows | that for covariances and sums and means of pairs |
//! | `exact_regr_state(y, x, weight)` | rows | that for correlation and regression |
//! | `exact_state_merge(state)` | states of one kind | the state of all their rows |
//! | `exact_state_value(state, statistic)` | a state | the number, as the exact function over the rows would give it |

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::types::{NativeType, logical_binary, logical_int64};
use datafusion::common::utils::take_function_args;
use datafusion::common::{ScalarValue, exec_datafusion_err, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Coercion, ColumnarValue, Documentation, EmitTo, GroupsAccumulator,
    ReversedUDAF, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignatureClass, Volatility,
};

use super::function::number;
use super::groups::{STATE_BYTES, for_each_row};
use super::moments::{Everything, Moments, Products, Squares, Values};
use super::statistic::{Needs, SECTION, Statistic};
use crate::aggregates::kept;
use crate::aggregates::single_group::{Peek, SingleGroup};
use crate::arguments::{place, result_of, rows_of, string};
use crate::tags::{AGGREGATE, DETERMINISTIC, INCREMENTAL};
use crate::text_arrays::Texts;
use crate::{Function, NullBehaviour, PlatformFunction};

/// Adds states.
pub const MERGE: &str = "exact_state_merge";
/// Makes a number of a state.
pub const VALUE: &str = "exact_state_value";

/// The functions of this file.
pub(super) fn functions() -> Vec<PlatformFunction> {
    let aggregate = |function, null_behaviour, return_rule| PlatformFunction {
        function: Function::Aggregate(Arc::new(function)),
        tags: &[AGGREGATE, DETERMINISTIC, INCREMENTAL],
        null_behaviour,
        return_rule,
        version: 1,
    };
    let mut all: Vec<PlatformFunction> = Needs::ALL
        .into_iter()
        .map(|needs| aggregate(state_function(needs), NullBehaviour::Skips, "Binary, never NULL"))
        .collect();
    all.push(aggregate(AggregateUDF::new_from_impl(Merge::new()), NullBehaviour::Skips, "Binary, nullable"));
    all.push(PlatformFunction {
        function: Function::Scalar(Arc::new(ScalarUDF::new_from_impl(Value::new()))),
        tags: &[AGGREGATE, DETERMINISTIC, INCREMENTAL],
        null_behaviour: NullBehaviour::Propagates,
        return_rule: "Float64, nullable",
        version: 1,
    });
    all
}

/// How an exact function is kept: the function that makes its states, and what the states are asked for.
///
/// `None` for a function that is none of the exact ones.
pub fn kept_as(function: &str) -> Option<(Arc<AggregateUDF>, &'static str)> {
    let statistic = Statistic::ALL.into_iter().find(|statistic| statistic.name() == function)?;
    Some((Arc::new(state_function(statistic.needs())), statistic.word()))
}

/// Whether a function makes states of rows.
pub fn makes_states(function: &str) -> bool {
    Needs::ALL.into_iter().any(|needs| needs.state_name() == function)
}

/// The function that adds states.
pub fn merge() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(Merge::new()))
}

/// The function that makes a number of a state.
pub fn value() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Value::new()))
}

fn state_function(needs: Needs) -> AggregateUDF {
    AggregateUDF::new_from_impl(State::new(needs))
}

impl Needs {
    const ALL: [Self; 4] = [Self::Values, Self::Squares, Self::Products, Self::Everything];

    /// The first byte of a state.
    fn code(self) -> u8 {
        match self {
            Self::Values => 1,
            Self::Squares => 2,
            Self::Products => 3,
            Self::Everything => 4,
        }
    }

    fn state_name(self) -> &'static str {
        match self {
            Self::Values => "exact_sum_state",
            Self::Squares => "exact_var_state",
            Self::Products => "exact_covar_state",
            Self::Everything => "exact_regr_state",
        }
    }

    fn words(self) -> String {
        let words: Vec<&str> =
            Statistic::ALL.into_iter().filter(|one| one.needs() == self).map(Statistic::word).collect();
        words.join(", ")
    }
}

fn damaged(function: &str) -> datafusion::error::DataFusionError {
    exec_datafusion_err!("{function}: the bytes are no state that exact_sum_state and its relatives make")
}

/// Moments of the kind that the bytes of a state tell.
#[derive(Clone, Debug)]
enum Kept {
    Values(Values),
    Squares(Box<Squares>),
    Products(Box<Products>),
    Everything(Box<Everything>),
}

/// Does the same with moments of each kind.
macro_rules! of_each {
    ($kept:expr, $moments:ident => $done:expr) => {
        match $kept {
            Kept::Values($moments) => $done,
            Kept::Squares($moments) => $done,
            Kept::Products($moments) => $done,
            Kept::Everything($moments) => $done,
        }
    };
}

impl Kept {
    /// Moments of no rows.
    fn new(needs: Needs) -> Self {
        match needs {
            Needs::Values => Self::Values(Values::default()),
            Needs::Squares => Self::Squares(Box::default()),
            Needs::Products => Self::Products(Box::default()),
            Needs::Everything => Self::Everything(Box::default()),
        }
    }

    fn needs(&self) -> Needs {
        match self {
            Self::Values(_) => Needs::Values,
            Self::Squares(_) => Needs::Squares,
            Self::Products(_) => Needs::Products,
            Self::Everything(_) => Needs::Everything,
        }
    }

    /// The kind of a state and the bytes of its moments.
    fn parts(state: &[u8]) -> Option<(Needs, &[u8])> {
        let (code, moments) = state.split_first()?;
        Some((Needs::ALL.into_iter().find(|needs| needs.code() == *code)?, moments))
    }

    fn read(state: &[u8]) -> Option<Self> {
        let (needs, bytes) = Self::parts(state)?;
        let mut kept = Self::new(needs);
        of_each!(&mut kept, moments => moments.merge(bytes))?;
        Some(kept)
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.needs().code());
        of_each!(self, moments => moments.encode(bytes));
    }

    fn value(&self, statistic: Statistic) -> Option<f64> {
        of_each!(self, moments => moments.value(statistic))
    }

    fn heap_bytes(&self) -> usize {
        let boxed = match self {
            Self::Values(_) => 0,
            Self::Squares(_) => size_of::<Squares>(),
            Self::Products(_) => size_of::<Products>(),
            Self::Everything(_) => size_of::<Everything>(),
        };
        boxed + of_each!(self, moments => moments.heap_bytes())
    }
}

/// Makes states of weighted rows.
#[derive(Debug, PartialEq, Eq, Hash)]
struct State {
    needs: Needs,
    signature: Signature,
    documentation: Documentation,
}

impl State {
    fn new(needs: Needs) -> Self {
        let weight = Coercion::new_implicit(
            TypeSignatureClass::Native(logical_int64()),
            vec![TypeSignatureClass::Integer],
            NativeType::Int64,
        );
        let names = needs.argument_names();
        let arguments = names.iter().map(|_| number()).chain([weight]).collect();
        let mut signature = Signature::coercible(arguments, Volatility::Immutable);
        signature.parameter_names = Some(names.iter().chain(&["weight"]).map(ToString::to_string).collect());
        Self { needs, signature, documentation: documentation(needs) }
    }
}

fn documentation(needs: Needs) -> Documentation {
    let name = needs.state_name();
    let names = needs.argument_names().join(", ");
    let (rows, statistic, result) = match needs {
        Needs::Values => ("(1e16, 1), (1.0, 1), (1e16, -1)", "sum", "1.0"),
        Needs::Squares => ("(1.0, 1), (3.0, 1), (9.0, 1), (9.0, -1)", "var_pop", "1.0"),
        Needs::Products => ("(3.0, 1.0, 1), (5.0, 2.0, 2), (7.0, 3.0, 1)", "covar_pop", "1.0"),
        Needs::Everything => ("(3.0, 1.0, 1), (5.0, 2.0, 1), (7.0, 3.0, 1)", "regr_slope", "2.0"),
    };
    let example = format!(
        "```sql\n> SELECT {VALUE}({name}({names}, weight), '{statistic}') AS result FROM (VALUES {rows}) AS t({names}, \
         weight);\n+--------+\n| result |\n+--------+\n| {result}    |\n+--------+\n```"
    );
    let builder = Documentation::builder(
        SECTION,
        format!(
            "The exact sums that {} are made of, as bytes that can be kept, added by `{MERGE}` and asked by `{VALUE}`. \
             A row of weight w counts w times, and one of weight -1 is taken away. Rows with a NULL are skipped. Equal \
             bags of rows have equal bytes; the state of no rows is no NULL.",
            needs.words()
        ),
        format!("{name}({names}, weight)"),
    )
    .with_sql_example(example);
    needs
        .with_arguments(builder)
        .with_argument("weight", "How often each row counts, an integer; 1 for rows as they are.")
        .build()
}

impl AggregateUDFImpl for State {
    fn name(&self) -> &str {
        self.needs.state_name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn default_value(&self, _data_type: &DataType) -> Result<ScalarValue> {
        let mut bytes = Vec::new();
        Kept::new(self.needs).encode(&mut bytes);
        Ok(ScalarValue::Binary(Some(bytes)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "state"), DataType::Binary, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        refuse_distinct(self.name(), args.is_distinct)?;
        Ok(match self.needs {
            Needs::Values => single::<Values>(self.needs),
            Needs::Squares => single::<Squares>(self.needs),
            Needs::Products => single::<Products>(self.needs),
            Needs::Everything => single::<Everything>(self.needs),
        })
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        refuse_distinct(self.name(), args.is_distinct)?;
        Ok(match self.needs {
            Needs::Values => Box::new(StateGroups::<Values>::new(self.needs)),
            Needs::Squares => Box::new(StateGroups::<Squares>::new(self.needs)),
            Needs::Products => Box::new(StateGroups::<Products>::new(self.needs)),
            Needs::Everything => Box::new(StateGroups::<Everything>::new(self.needs)),
        })
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// The only group of an aggregate without groups, which has a row of whatever rows there are.
fn single<M: Moments>(needs: Needs) -> Box<dyn Accumulator> {
    let mut groups = StateGroups::<M>::new(needs);
    groups.groups.push(M::default());
    Box::new(SingleGroup::new(groups))
}

fn refuse_distinct(function: &str, distinct: bool) -> Result<()> {
    if distinct {
        return exec_err!("{function} does not know DISTINCT; take the distinct rows in a sub-query below it");
    }
    Ok(())
}

/// The moments of groups; their states are what the function returns.
#[derive(Debug)]
struct StateGroups<M> {
    needs: Needs,
    groups: Vec<M>,
    /// Bytes that groups hold on the heap.
    heap: usize,
}

impl<M: Moments> StateGroups<M> {
    fn new(needs: Needs) -> Self {
        Self { needs, groups: Vec::new(), heap: 0 }
    }

    fn encoded(&self, groups: &[M]) -> ArrayRef {
        encoded(groups, |moments, bytes| {
            bytes.push(self.needs.code());
            moments.encode(bytes);
            true
        })
    }
}

/// The states of groups, as `encode` appends their bytes; NULL where it says that there is none.
fn encoded<G>(groups: &[G], encode: impl Fn(&G, &mut Vec<u8>) -> bool) -> ArrayRef {
    let mut states = BinaryBuilder::with_capacity(groups.len(), groups.len() * STATE_BYTES);
    let mut bytes = Vec::new();
    for group in groups {
        bytes.clear();
        let some = encode(group, &mut bytes);
        states.append_option(some.then_some(&bytes));
    }
    Arc::new(states.finish())
}

impl<M: Moments> Peek for StateGroups<M> {
    fn peek(&mut self) -> Result<ArrayRef> {
        Ok(self.encoded(&self.groups))
    }

    fn peek_state(&mut self) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.peek()?])
    }
}

impl<M: Moments> GroupsAccumulator for StateGroups<M> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let Some((weights, rows)) = values.split_last() else { return Err(damaged(self.needs.state_name())) };
        let weights = weights.as_primitive::<Int64Type>();
        self.groups.resize(total_num_groups, M::default());
        let (groups, mut grown) = (&mut self.groups, 0);
        for_each_row(rows, opt_filter, |row, value| {
            if weights.is_valid(row) {
                grown += groups[group_indices[row]].add_weighted(value, weights.value(row));
            }
        });
        self.heap += grown;
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let emitted = emit_to.take_needed(&mut self.groups);
        self.heap -= emitted.iter().map(Moments::heap_bytes).sum::<usize>();
        Ok(self.encoded(&emitted))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.groups.resize(total_num_groups, M::default());
        let states = values[0].as_binary::<i32>();
        for (state, group) in states.iter().zip(group_indices) {
            let Some(state) = state else { continue };
            let moments = Kept::parts(state).filter(|(needs, _)| *needs == self.needs).map(|(_, moments)| moments);
            let grown = moments.and_then(|moments| self.groups[*group].merge(moments));
            self.heap += grown.ok_or_else(|| damaged(self.needs.state_name()))?;
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values[0].len();
        let mut groups = Self::new(self.needs);
        groups.update_batch(values, &(0..rows).collect::<Vec<_>>(), opt_filter, rows)?;
        groups.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<M>() + self.heap
    }
}

/// Adds states.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Merge {
    signature: Signature,
    documentation: Documentation,
}

impl Merge {
    fn new() -> Self {
        let state = Coercion::new_exact(TypeSignatureClass::Native(logical_binary()));
        let mut signature = Signature::coercible(vec![state], Volatility::Immutable);
        signature.parameter_names = Some(vec!["state".to_owned()]);
        let documentation = Documentation::builder(
            SECTION,
            "The state of all rows of states of one kind, as `exact_sum_state` and its relatives make them. NULLs are \
             skipped; it is NULL for no states. Bytes that are no state are an error, and so are states of two kinds.",
            format!("{MERGE}(state)"),
        )
        .with_sql_example(format!(
            "```sql\n> SELECT {VALUE}({MERGE}(state), 'avg') AS result FROM (SELECT exact_sum_state(x, 1) AS state FROM \
             (VALUES ('a', 0.1), ('b', 0.2), ('b', 0.3)) AS t(k, x) GROUP BY k);\n+--------+\n| result |\n+--------+\n\
             | 0.2    |\n+--------+\n```"
        ))
        .with_argument("state", "The states.")
        .build();
        Self { signature, documentation }
    }
}

impl AggregateUDFImpl for Merge {
    fn name(&self) -> &str {
        MERGE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "state"), DataType::Binary, true))])
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(SingleGroup::new(MergeGroups { groups: vec![None], heap: 0 })))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        refuse_distinct(MERGE, args.is_distinct)?;
        Ok(Box::new(MergeGroups { groups: Vec::new(), heap: 0 }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// The added states of groups; none where there was no state.
#[derive(Debug)]
struct MergeGroups {
    groups: Vec<Option<Kept>>,
    /// Bytes that groups hold on the heap.
    heap: usize,
}

impl MergeGroups {
    fn add(&mut self, group: usize, state: &[u8]) -> Result<()> {
        let (needs, bytes) = Kept::parts(state).ok_or_else(|| damaged(MERGE))?;
        let group = &mut self.groups[group];
        let before = group.as_ref().map_or(0, Kept::heap_bytes);
        let kept = group.get_or_insert_with(|| Kept::new(needs));
        if kept.needs() != needs {
            let (one, other) = (kept.needs().state_name(), needs.state_name());
            return exec_err!("{MERGE}: states of {one} and of {other} cannot be added");
        }
        of_each!(&mut *kept, moments => moments.merge(bytes)).ok_or_else(|| damaged(MERGE))?;
        let after = kept.heap_bytes();
        self.heap = self.heap + after - before;
        Ok(())
    }

    fn encoded(groups: &[Option<Kept>]) -> ArrayRef {
        encoded(groups, |kept, bytes| kept.as_ref().map(|kept| kept.encode(bytes)).is_some())
    }
}

impl Peek for MergeGroups {
    fn peek(&mut self) -> Result<ArrayRef> {
        Ok(Self::encoded(&self.groups))
    }

    fn peek_state(&mut self) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.peek()?])
    }
}

impl GroupsAccumulator for MergeGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize(total_num_groups, None);
        let states = as_binary(&values[0])?;
        let wanted = opt_filter.map(kept);
        let wanted = |row: usize| wanted.as_ref().is_none_or(|rows| rows.value(row));
        for (row, (state, group)) in states.as_binary::<i32>().iter().zip(group_indices).enumerate() {
            if let Some(state) = state.filter(|_| wanted(row)) {
                self.add(*group, state)?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let emitted = emit_to.take_needed(&mut self.groups);
        self.heap -= emitted.iter().flatten().map(Kept::heap_bytes).sum::<usize>();
        Ok(Self::encoded(&emitted))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.update_batch(values, group_indices, None, total_num_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values[0].len();
        let mut groups = Self { groups: Vec::new(), heap: 0 };
        groups.update_batch(values, &(0..rows).collect::<Vec<_>>(), opt_filter, rows)?;
        groups.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<Option<Kept>>() + self.heap
    }
}

/// Binary of any representation as the plain one.
fn as_binary(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(if *array.data_type() == DataType::Binary { Arc::clone(array) } else { cast(array, &DataType::Binary)? })
}

/// Makes a number of a state.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Value {
    signature: Signature,
    documentation: Documentation,
}

impl Value {
    fn new() -> Self {
        let state = Coercion::new_exact(TypeSignatureClass::Native(logical_binary()));
        let mut signature = Signature::coercible(vec![state, string()], Volatility::Immutable);
        signature.parameter_names = Some(vec!["state".to_owned(), "statistic".to_owned()]);
        let documentation = Documentation::builder(
            SECTION,
            format!(
                "The number that an exact function gives for the rows of a state, bit for bit. The statistic is one that \
                 the state has the sums for: {}. NULL where the function is, and if an argument is NULL.",
                Needs::ALL.map(|needs| format!("{} of `{}`", needs.words(), needs.state_name())).join("; ")
            ),
            format!("{VALUE}(state, statistic)"),
        )
        .with_sql_example(format!(
            "```sql\n> SELECT {VALUE}(exact_sum_state(x, 1), 'sum') AS result FROM (VALUES (1e16), (1.0), (-1e16)) AS \
             t(x);\n+--------+\n| result |\n+--------+\n| 1.0    |\n+--------+\n```"
        ))
        .with_argument("state", "The state.")
        .with_argument("statistic", "What is asked for, as text.")
        .build();
        Self { signature, documentation }
    }
}

impl ScalarUDFImpl for Value {
    fn name(&self) -> &str {
        VALUE
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

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (rows, constant) = rows_of(&args);
        let [state, statistic] = take_function_args(VALUE, &args.args)?;
        let states = as_binary(&state.to_array(rows)?)?;
        let statistics = Texts::new(VALUE, "statistic", statistic)?;
        let mut values = Vec::with_capacity(rows);
        for (row, state) in states.as_binary::<i32>().iter().enumerate() {
            values.push(match (state, statistics.get(row)) {
                (Some(state), Some(word)) => {
                    let statistic = asked(state, word)
                        .map_err(|what| exec_datafusion_err!("{VALUE}: {what}{}", place(row, constant)))?;
                    statistic.0.value(statistic.1)
                }
                _ => None,
            });
        }
        result_of(Arc::new(Float64Array::from(values)), constant)
    }
}

/// A state and the statistic that a word asks it for; what is wrong with them.
fn asked(state: &[u8], word: &str) -> std::result::Result<(Kept, Statistic), String> {
    let kept = Kept::read(state)
        .ok_or_else(|| "argument \"state\" is no state that exact_sum_state and its relatives make".to_owned())?;
    let needs = kept.needs();
    let statistic = Statistic::ALL.into_iter().find(|one| one.needs() == needs && one.word() == word);
    match statistic {
        Some(statistic) => Ok((kept, statistic)),
        None => Err(format!(
            "argument \"statistic\" is one of {} for states of {}, not '{word}'",
            needs.words(),
            needs.state_name()
        )),
    }
}

#[cfg(test)]
#[path = "states_tests.rs"]
mod tests;
