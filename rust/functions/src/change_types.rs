//! What the change types of Delta's change data feed mean, as functions for plans and for users' own queries.
//!
//! `_change_type` is one of four words.  Applied to a bag of rows each of them adds or takes one row:
//!
//! | change type | `cdf_change_rank` | `cdf_is_upsert` | `cdf_is_delete` | rows |
//! |---|---|---|---|---|
//! | `update_preimage` | 0 | false | false | -1 |
//! | `delete` | 1 | false | true | -1 |
//! | `insert` | 2 | true | false | +1 |
//! | `update_postimage` | 3 | true | false | +1 |
//!
//! - The rank orders the changes of one commit to one key so that the last one is the state after it.
//! - An upsert carries a row that is there after the commit; its weight is +1, that of every other change -1.
//! - A delete is a key that is gone after the commit.  An `update_preimage` is none: its key lives on in the
//!   `update_postimage`, and whoever merges by key must not delete it.
//!
//! NULL gives NULL.  Any other word is an error that names it: a change that is not understood must not be dropped.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, GenericStringArray, Int32Array, OffsetSizeTrait, StringViewArray,
    new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::types::logical_string;
use datafusion::common::utils::take_function_args;
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    Coercion, ColumnarValue, DocSection, Documentation, EncodingPreservation, Expr, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignatureClass, Volatility,
};

use crate::arguments::place;
use crate::tags::{CDF, DELTA, INCREMENTAL};
use crate::{Function, NullBehaviour, PlatformFunction};

const SECTION: DocSection = DocSection {
    include: true,
    label: "Change Data Functions",
    description: Some("What the change types of a Delta change data feed mean."),
};

/// The functions of this family.
pub fn functions() -> Vec<PlatformFunction> {
    [Meaning::Rank, Meaning::Upsert, Meaning::Delete]
        .into_iter()
        .map(|meaning| PlatformFunction {
            function: Function::Scalar(Arc::new(ScalarUDF::new_from_impl(ChangeTypeFunction::new(meaning)))),
            tags: &[INCREMENTAL, CDF, DELTA],
            null_behaviour: NullBehaviour::Propagates,
            return_rule: meaning.return_rule(),
            version: 1,
        })
        .collect()
}

/// Which question about a change type a function answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Meaning {
    Rank,
    Upsert,
    Delete,
}

impl Meaning {
    fn name(self) -> &'static str {
        match self {
            Self::Rank => "cdf_change_rank",
            Self::Upsert => "cdf_is_upsert",
            Self::Delete => "cdf_is_delete",
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Rank => DataType::Int32,
            Self::Upsert | Self::Delete => DataType::Boolean,
        }
    }

    fn return_rule(self) -> &'static str {
        match self {
            Self::Rank => "Int32, nullable if the argument is",
            Self::Upsert | Self::Delete => "Boolean, nullable if the argument is",
        }
    }

    fn constant(self, value: &ScalarValue) -> Result<ScalarValue> {
        if *value == ScalarValue::Null {
            return self.scalar(None);
        }
        let Some(change_type) = value.try_as_str() else {
            return exec_err!("{}: argument \"change_type\" is a string, not {}", self.name(), value.data_type());
        };
        self.scalar(change_type)
    }

    fn scalar(self, change_type: Option<&str>) -> Result<ScalarValue> {
        let rank = change_type.map(|word| rank_of(word.as_bytes()));
        if let Some((UNKNOWN, word)) = rank.zip(change_type) {
            return self.unknown(word, "");
        }
        Ok(match self {
            Self::Rank => ScalarValue::Int32(rank.map(i32::from)),
            Self::Upsert => ScalarValue::Boolean(rank.map(is_upsert)),
            Self::Delete => ScalarValue::Boolean(rank.map(is_delete)),
        })
    }

    /// The answers for words of these ranks; a word of a row that has none is an error.
    fn array<'a>(self, ranks: &[u8], nulls: Option<NullBuffer>, word: impl Fn(usize) -> &'a str) -> Result<ArrayRef> {
        let is_used = |row: &usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row));
        // Most batches have none, and a search for one byte is quick.
        if ranks.contains(&UNKNOWN)
            && let Some(row) = (0..ranks.len()).filter(|row| ranks[*row] == UNKNOWN).find(is_used)
        {
            return self.unknown(word(row), &place(row, false));
        }
        let answers = |answer: fn(u8) -> bool| BooleanBuffer::collect_bool(ranks.len(), |row| answer(ranks[row]));
        Ok(match self {
            Self::Rank => Arc::new(Int32Array::new(ranks.iter().map(|rank| i32::from(*rank)).collect(), nulls)),
            Self::Upsert => Arc::new(BooleanArray::new(answers(is_upsert), nulls)),
            Self::Delete => Arc::new(BooleanArray::new(answers(is_delete), nulls)),
        })
    }

    fn unknown<T>(self, word: &str, place: &str) -> Result<T> {
        exec_err!(
            "{}: argument \"change_type\" is \"{word}\"{place}; the change types are update_preimage, delete, insert and \
             update_postimage",
            self.name()
        )
    }

    fn documentation(self) -> Documentation {
        let name = self.name();
        let (description, values) = match self {
            Self::Rank => (
                "Orders the change types of one commit: update_preimage 0, delete 1, insert 2, update_postimage 3. \
                 Of the changes of a key the one with the highest rank is its state after the commit. NULL gives \
                 NULL; any other value is an error.",
                ["2", "1"],
            ),
            Self::Upsert => (
                "True for insert and update_postimage: the row is there after the commit. NULL gives NULL; any \
                 other value is an error.",
                ["true", "false"],
            ),
            Self::Delete => (
                "True for delete: the row is gone after the commit. It is false for update_preimage, whose key \
                 lives on in the update_postimage. NULL gives NULL; any other value is an error.",
                ["false", "true"],
            ),
        };
        let [first, second] = values;
        let line = format!("+-{}-+-{}-+", "-".repeat(first.len()), "-".repeat(second.len()));
        let head = format!("| {:first$} | {:second$} |", "a", "b", first = first.len(), second = second.len());
        let example = format!(
            "```sql\n> SELECT {name}('insert') AS a, {name}('delete') AS b;\n{line}\n{head}\n{line}\n\
             | {first} | {second} |\n{line}\n```"
        );
        Documentation::builder(SECTION, description, format!("{name}(change_type)"))
            .with_sql_example(example)
            .with_argument("change_type", "The `_change_type` of a change data feed: a string of any encoding.")
            .build()
    }
}

/// The rank of a word that is no change type.
const UNKNOWN: u8 = u8::MAX;

fn rank_of(word: &[u8]) -> u8 {
    match word {
        b"update_preimage" => 0,
        b"delete" => 1,
        b"insert" => 2,
        b"update_postimage" => 3,
        _ => UNKNOWN,
    }
}

/// The ranks of words given as views: short words lie in their views, and long ones are mostly views of one text, so
/// that nearly all are told by comparing numbers.
fn ranks_of_views(words: &StringViewArray) -> Vec<u8> {
    let (insert, delete) = (inline_view("insert"), inline_view("delete"));
    // No word has these views: a length of zero goes with zeros behind it.
    let (mut preimage, mut postimage) = (u128::MAX << 32, u128::MAX << 32);
    let rank = |(row, view): (usize, &u128)| {
        let view = *view;
        // Sums instead of branches: the words of a feed come in no order that could be foreseen.
        let known = u8::from(view == preimage)
            + 2 * u8::from(view == delete)
            + 3 * u8::from(view == insert)
            + 4 * u8::from(view == postimage);
        if known != 0 {
            return known - 1;
        }
        let rank = rank_of(words.value(row).as_bytes());
        match rank {
            0 => preimage = view,
            3 => postimage = view,
            _ => {}
        }
        rank
    };
    words.views().iter().enumerate().map(rank).collect()
}

/// The view of a word of at most 12 bytes: its length, then its bytes.
fn inline_view(word: &str) -> u128 {
    let mut bytes = [0; 16];
    bytes[0] = u8::try_from(word.len()).unwrap_or(u8::MAX);
    bytes[4..4 + word.len()].copy_from_slice(word.as_bytes());
    u128::from_le_bytes(bytes)
}

fn is_upsert(rank: u8) -> bool {
    rank >= 2
}

fn is_delete(rank: u8) -> bool {
    rank == 1
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ChangeTypeFunction {
    meaning: Meaning,
    signature: Signature,
    documentation: Documentation,
}

impl ChangeTypeFunction {
    fn new(meaning: Meaning) -> Self {
        let mut signature = Signature::coercible(
            vec![
                Coercion::new_exact(TypeSignatureClass::Native(logical_string()))
                    .with_encoding_preservation(EncodingPreservation::dictionary()),
            ],
            Volatility::Immutable,
        );
        signature.parameter_names = Some(vec!["change_type".to_owned()]);
        Self { meaning, signature, documentation: meaning.documentation() }
    }
}

impl ScalarUDFImpl for ChangeTypeFunction {
    fn name(&self) -> &str {
        self.meaning.name()
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

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.meaning.data_type())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.meaning.data_type(), nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [change_type] = take_function_args(self.name(), args.args)?;
        match change_type {
            ColumnarValue::Scalar(value) => Ok(ColumnarValue::Scalar(self.meaning.constant(&value)?)),
            ColumnarValue::Array(array) => Ok(ColumnarValue::Array(invoke_array(self.meaning, &array)?)),
        }
    }

    fn simplify(&self, args: Vec<Expr>, _info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        // A wrong literal stays a call: it is an error only where it is evaluated.
        if let [Expr::Literal(value, None)] = args.as_slice()
            && let Ok(folded) = self.meaning.constant(value)
        {
            return Ok(ExprSimplifyResult::Simplified(Expr::Literal(folded, None)));
        }
        Ok(ExprSimplifyResult::Original(args))
    }
}

fn invoke_array(meaning: Meaning, array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Utf8 => invoke_strings(meaning, array.as_string::<i32>()),
        DataType::LargeUtf8 => invoke_strings(meaning, array.as_string::<i64>()),
        DataType::Utf8View => {
            let words = array.as_string_view();
            meaning.array(&ranks_of_views(words), words.nulls().cloned(), |row| words.value(row))
        }
        DataType::Null => Ok(new_null_array(&meaning.data_type(), array.len())),
        // Dictionaries may hold words that no row uses; only words of rows can be errors.
        DataType::Dictionary(_, values) => invoke_array(meaning, &cast(array, values)?),
        other => exec_err!("{}: argument \"change_type\" is a string, not {other}", meaning.name()),
    }
}

fn invoke_strings<O: OffsetSizeTrait>(meaning: Meaning, words: &GenericStringArray<O>) -> Result<ArrayRef> {
    let ranks: Vec<u8> = (0..words.len()).map(|row| rank_of(words.value(row).as_bytes())).collect();
    meaning.array(&ranks, words.nulls().cloned(), |row| words.value(row))
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, LargeStringArray, StringArray};
    use arrow::datatypes::Int32Type;
    use datafusion::config::ConfigOptions;

    use super::*;

    const WORDS: [Option<&str>; 5] =
        [Some("update_preimage"), Some("delete"), Some("insert"), Some("update_postimage"), None];

    fn invoke(name: &str, argument: ColumnarValue) -> Result<ColumnarValue> {
        let function = functions()
            .into_iter()
            .find_map(|function| match function.function {
                Function::Scalar(scalar) if scalar.name() == name => Some(scalar),
                _ => None,
            })
            .unwrap();
        let field: FieldRef = Arc::new(Field::new("c", argument.data_type(), true));
        let return_field = function
            .return_field_from_args(ReturnFieldArgs { arg_fields: &[Arc::clone(&field)], scalar_arguments: &[None] })?;
        let number_rows = match &argument {
            ColumnarValue::Array(array) => array.len(),
            ColumnarValue::Scalar(_) => 1,
        };
        function.invoke_with_args(ScalarFunctionArgs {
            args: vec![argument],
            arg_fields: vec![field],
            number_rows,
            return_field,
            config_options: Arc::new(ConfigOptions::default()),
        })
    }

    fn encodings(words: &[Option<&str>]) -> Vec<ArrayRef> {
        let words = words.to_vec();
        vec![
            Arc::new(StringArray::from(words.clone())),
            Arc::new(LargeStringArray::from(words.clone())),
            Arc::new(StringViewArray::from(words.clone())),
            Arc::new(words.into_iter().collect::<DictionaryArray<Int32Type>>()),
        ]
    }

    #[test]
    fn every_word_in_every_encoding() {
        for array in encodings(&WORDS) {
            let ColumnarValue::Array(rank) =
                invoke("cdf_change_rank", ColumnarValue::Array(Arc::clone(&array))).unwrap()
            else {
                panic!("an array gives an array");
            };
            let ranks: Vec<_> = rank.as_primitive::<Int32Type>().iter().collect();
            assert_eq!(ranks, [Some(0), Some(1), Some(2), Some(3), None]);

            let ColumnarValue::Array(upsert) =
                invoke("cdf_is_upsert", ColumnarValue::Array(Arc::clone(&array))).unwrap()
            else {
                panic!("an array gives an array");
            };
            let upserts: Vec<_> = upsert.as_boolean().iter().collect();
            assert_eq!(upserts, [Some(false), Some(false), Some(true), Some(true), None]);

            let ColumnarValue::Array(delete) = invoke("cdf_is_delete", ColumnarValue::Array(array)).unwrap() else {
                panic!("an array gives an array");
            };
            let deletes: Vec<_> = delete.as_boolean().iter().collect();
            assert_eq!(deletes, [Some(false), Some(true), Some(false), Some(false), None]);
        }
    }

    #[test]
    fn scalars_of_every_encoding() {
        let word = || Some("insert".to_owned());
        for value in [
            ScalarValue::Utf8(word()),
            ScalarValue::LargeUtf8(word()),
            ScalarValue::Utf8View(word()),
            ScalarValue::Dictionary(Box::new(DataType::Int32), Box::new(ScalarValue::Utf8(word()))),
        ] {
            let ColumnarValue::Scalar(rank) = invoke("cdf_change_rank", ColumnarValue::Scalar(value)).unwrap() else {
                panic!("a scalar gives a scalar");
            };
            assert_eq!(rank, ScalarValue::Int32(Some(2)));
        }
        let ColumnarValue::Scalar(rank) =
            invoke("cdf_change_rank", ColumnarValue::Scalar(ScalarValue::Utf8(None))).unwrap()
        else {
            panic!("a scalar gives a scalar");
        };
        assert_eq!(rank, ScalarValue::Int32(None));
    }

    #[test]
    fn an_unknown_word_is_named_with_the_function() {
        for name in ["cdf_change_rank", "cdf_is_upsert", "cdf_is_delete"] {
            let array: ArrayRef = Arc::new(StringArray::from(vec!["insert", "upsert"]));
            let message = invoke(name, ColumnarValue::Array(array)).unwrap_err().to_string();
            let expected = format!("{name}: argument \"change_type\" is \"upsert\" in row 2 of the batch;");
            assert!(message.contains(&expected), "{message}");
        }
    }

    #[test]
    fn views_have_the_ranks_of_their_words() {
        let words = ["update_preimage", "delete", "update_postimage", "insert", "", "inserts", "update_preimagE"];
        let mut views = arrow::array::StringViewBuilder::new().with_fixed_block_size(64);
        for row in 0..words.len() * 40 {
            views.append_value(words[row * row % words.len()]);
        }
        // The same words once more, as views of the texts that are there already.
        let views = views.finish();
        let rows = Int32Array::from_iter_values((0..1000).map(|row| row * 37 % 280));
        for views in [arrow::compute::take(&views, &rows, None).unwrap(), Arc::new(views) as ArrayRef] {
            let views = views.as_string_view();
            let expected: Vec<u8> = views.iter().map(|word| rank_of(word.unwrap().as_bytes())).collect();
            assert_eq!(ranks_of_views(views), expected);
        }
    }

    #[test]
    fn a_word_that_only_the_dictionary_holds_is_no_error() {
        let words: DictionaryArray<Int32Type> = [Some("odd"), Some("insert")].into_iter().collect();
        let rows: ArrayRef = Arc::new(words.slice(1, 1));
        invoke("cdf_is_upsert", ColumnarValue::Array(rows)).unwrap();
    }

    #[test]
    fn literals_fold_and_wrong_ones_stay() {
        let function = ChangeTypeFunction::new(Meaning::Upsert);
        let info = SimplifyContext::default();
        let fold = |word: &str| function.simplify(vec![Expr::Literal(ScalarValue::from(word), None)], &info).unwrap();
        assert!(matches!(
            fold("insert"),
            ExprSimplifyResult::Simplified(Expr::Literal(ScalarValue::Boolean(Some(true)), None))
        ));
        assert!(matches!(fold("odd"), ExprSimplifyResult::Original(_)));
    }

    #[tokio::test]
    async fn they_plan_run_and_are_documented_in_sql() {
        let context = datafusion::prelude::SessionContext::new_with_config(
            datafusion::prelude::SessionConfig::new().with_information_schema(true),
        );
        crate::install(&mut context.state_ref().write(), &crate::PlatformOptions::default()).unwrap();
        let batches = context
            .sql(
                "SELECT cdf_change_rank(c) AS rank, cdf_is_delete(change_type => c) AS gone \
                 FROM (VALUES ('delete'), (NULL), ('update_preimage')) AS t(c)",
            )
            .await
            .unwrap()
            .collect()
            .await
            .unwrap();
        datafusion::assert_batches_eq!(
            [
                "+------+-------+",
                "| rank | gone  |",
                "+------+-------+",
                "| 1    | true  |",
                "|      |       |",
                "| 0    | false |",
                "+------+-------+",
            ],
            &batches
        );
        let shown = context.sql("SHOW FUNCTIONS LIKE 'cdf_%'").await.unwrap().collect().await.unwrap();
        let rows: usize = shown.iter().map(arrow::array::RecordBatch::num_rows).sum();
        assert!(rows >= 3, "information_schema shows {rows} signatures");
    }
}
