//! Spans: half-open ranges of positions in a text, their algebra and their ids.
//!
//! A span is a struct `{start: Int64, end: Int64, unit: Utf8}` with `0 <= start <= end`; it covers the positions from
//! `start` up to and without `end`.  The unit says what is counted: `byte` (of UTF-8), `utf16` (code units) or
//! `codepoint`.  Functions take every struct that has these three fields, integers and strings of any representation.
//!
//! | function | result |
//! |---|---|
//! | `span_make(start, end[, col_unit])` | the span; `byte` unless a unit is given |
//! | `span_len(span)` | `end - start` |
//! | `span_len(start, end[, col_unit])` | the same of `span_make(start, end[, col_unit])`, without making the span |
//! | `span_overlaps(a, b)` | whether a position is in both |
//! | `span_contains(a, b)` | whether `b`, a span or a position, lies within `a` |
//! | `span_id(prefix, path, start, end)` | `stable_id_parts(prefix, path, start, end)` of a valid span |
//!
//! - **Empty spans** are places between positions.  They have length 0 and overlap nothing, not even themselves.  A
//!   span contains an empty one that touches it: `a.start <= p <= a.end`; an empty span contains itself and nothing
//!   else.  It is the rule of a span within a span, `a.start <= b.start and b.end <= a.end`, without an exception.
//! - **A position** is contained if `a.start <= p < a.end`; it is counted in the unit of the span.
//! - **NULL** in any argument, or in a field of a span, gives NULL, and nothing else about that row is looked at.
//! - **Malformed spans** (a start below 0 or behind the end, an unknown unit) are errors in every function, wherever the
//!   struct comes from; so are two spans in different units, because their positions cannot be compared.  Errors name
//!   the function, the argument and the row.
//!
//! The fields are nullable in the type, and NULL where the span is, because access to a field (`span['start']`) shows
//! the field's own NULLs.
//!
//! Invariant: every span that `span_make` gives is accepted by all the others.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, TypeSignature,
};

use crate::arguments::{
    any_nullable, folded, integer, is_integer, listed, place, require_count, require_integer, require_text, result_of,
    rows_of, string, wrong_type,
};
use crate::identifiers::{Messages, Scheme, ids};
pub use crate::span_columns::span_type;
use crate::span_columns::{A_SPAN, Spans, is_span, positions};
use crate::tags::{HASH, ID, POSITION_ENCODING, SPAN};
use crate::text_arrays::Texts;
use crate::{Function, NullBehaviour, PlatformFunction};

const SECTION: DocSection = DocSection {
    include: true,
    label: "Span Functions",
    description: Some("Half-open ranges of positions in a text, counted in bytes, UTF-16 code units or code points."),
};

/// The functions of this family.
pub fn functions() -> Vec<PlatformFunction> {
    [SpanKind::Make, SpanKind::Length, SpanKind::Overlaps, SpanKind::Contains, SpanKind::Id]
        .into_iter()
        .map(|kind| PlatformFunction {
            function: Function::Scalar(Arc::new(ScalarUDF::new_from_impl(SpanFunction::new(kind)))),
            tags: if kind == SpanKind::Id { &[SPAN, POSITION_ENCODING, ID, HASH] } else { &[SPAN, POSITION_ENCODING] },
            null_behaviour: NullBehaviour::Propagates,
            return_rule: kind.return_rule(),
            version: 1,
        })
        .collect()
}

/// What a function says about spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum SpanKind {
    Make,
    Length,
    Overlaps,
    Contains,
    Id,
}

impl SpanKind {
    fn name(self) -> &'static str {
        match self {
            Self::Make => "span_make",
            Self::Length => "span_len",
            Self::Overlaps => "span_overlaps",
            Self::Contains => "span_contains",
            Self::Id => "span_id",
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Self::Make => "span_make(start, end[, col_unit])",
            Self::Length => "span_len(span) or span_len(start, end[, col_unit])",
            Self::Overlaps => "span_overlaps(a, b)",
            Self::Contains => "span_contains(a, b)",
            Self::Id => "span_id(prefix, path, start, end)",
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Make => span_type(),
            Self::Length => DataType::Int64,
            Self::Overlaps | Self::Contains => DataType::Boolean,
            Self::Id => DataType::Utf8,
        }
    }

    fn return_rule(self) -> &'static str {
        match self {
            Self::Make => "Struct{start: Int64, end: Int64, unit: Utf8}, nullable if an argument is",
            Self::Length => "Int64, nullable",
            Self::Overlaps | Self::Contains => "Boolean, nullable",
            Self::Id => "Utf8, nullable if an argument is",
        }
    }

    fn signature(self) -> Signature {
        let span = span_type();
        match self {
            Self::Make => listed(
                vec![
                    TypeSignature::Coercible(vec![integer(), integer()]),
                    TypeSignature::Coercible(vec![integer(), integer(), string()]),
                ],
                &["start", "end", "col_unit"],
            ),
            Self::Length => listed(vec![TypeSignature::Exact(vec![span])], &["span"]),
            Self::Overlaps => listed(vec![TypeSignature::Exact(vec![span.clone(), span])], &["a", "b"]),
            Self::Contains => listed(
                vec![
                    TypeSignature::Exact(vec![span.clone(), span.clone()]),
                    TypeSignature::Exact(vec![span, DataType::Int64]),
                ],
                &["a", "b"],
            ),
            Self::Id => listed(
                vec![TypeSignature::Coercible(vec![string(), string(), integer(), integer()])],
                &["prefix", "path", "start", "end"],
            ),
        }
    }

    fn require(self, arg_types: &[DataType]) -> Result<()> {
        let name = self.name();
        let allowed = match self {
            Self::Make => 2..=3,
            Self::Length => 1..=3,
            Self::Overlaps | Self::Contains => 2..=2,
            Self::Id => 4..=4,
        };
        require_count(name, arg_types.len(), allowed, self.usage())?;
        let require_span = |argument: &str, data_type: &DataType| {
            if is_span(data_type) { Ok(()) } else { wrong_type(name, argument, A_SPAN, data_type) }
        };
        match (self, arg_types) {
            (Self::Length, [span]) => require_span("span", span),
            (Self::Make | Self::Length, [start, end, rest @ ..]) => {
                require_integer(name, "start", start)?;
                require_integer(name, "end", end)?;
                rest.iter().try_for_each(|unit| require_text(name, "col_unit", unit))
            }
            (Self::Overlaps, [a, b]) => {
                require_span("a", a)?;
                require_span("b", b)
            }
            (Self::Contains, [a, b]) => {
                require_span("a", a)?;
                if is_span(b) || is_integer(b) {
                    return Ok(());
                }
                wrong_type(name, "b", &format!("{A_SPAN} or an integer"), b)
            }
            (_, [prefix, path, start, end]) => {
                require_text(name, "prefix", prefix)?;
                require_text(name, "path", path)?;
                require_integer(name, "start", start)?;
                require_integer(name, "end", end)
            }
            _ => Ok(()),
        }
    }

    fn documentation(self) -> Documentation {
        match self {
            Self::Make => Documentation::builder(
                SECTION,
                "Makes the span of the positions from start up to and without end. start may equal end (an empty span) \
                 but not be behind it, and neither may be below 0: errors that name argument and row. NULL in any \
                 argument gives NULL. Fields are read as span['start'], span['end'] and span['unit'].",
                "span_make(start, end[, col_unit])",
            )
            .with_sql_example(
                "```sql\n> SELECT span_make(3, 8) AS span, span_make(3, 8, 'utf16')['unit'] AS unit;\n\
                 +--------------------------------+-------+\n\
                 | span                           | unit  |\n\
                 +--------------------------------+-------+\n\
                 | {start: 3, end: 8, unit: byte} | utf16 |\n\
                 +--------------------------------+-------+\n```",
            )
            .with_argument("start", "The first position: an integer that is not below 0.")
            .with_argument("end", "The position behind the last one: an integer that is not below start.")
            .with_argument("col_unit", "What is counted: byte (the default), utf16 or codepoint.")
            .build(),
            Self::Length => Documentation::builder(
                SECTION,
                "Gives the number of positions of a span, in its unit. span_len(start, end[, col_unit]) is the same of \
                 span_make(start, end[, col_unit]); the planner writes the latter as the former. A malformed span is an \
                 error; NULL gives NULL.",
                "span_len(span)",
            )
            .with_sql_example(
                "```sql\n> SELECT span_len(span_make(3, 8)) AS five, span_len(span_make(3, 3)) AS empty;\n\
                 +------+-------+\n| five | empty |\n+------+-------+\n| 5    | 0     |\n+------+-------+\n```",
            )
            .with_argument("span", "A span, as of span_make.")
            .build(),
            Self::Overlaps => Documentation::builder(
                SECTION,
                "Whether a position is in both spans. Spans that only touch do not overlap, and an empty span overlaps \
                 nothing. Spans in different units are an error; NULL gives NULL.",
                "span_overlaps(a, b)",
            )
            .with_sql_example(
                "```sql\n> SELECT span_overlaps(span_make(0, 4), span_make(3, 8)) AS overlap, \
                 span_overlaps(span_make(0, 4), span_make(4, 8)) AS touch;\n\
                 +---------+-------+\n| overlap | touch |\n+---------+-------+\n| true    | false |\n\
                 +---------+-------+\n```",
            )
            .with_argument("a", "A span, as of span_make.")
            .with_argument("b", "Another one, in the same unit.")
            .build(),
            Self::Contains => Documentation::builder(
                SECTION,
                "Whether a span or a position lies within a span: a.start <= b.start and b.end <= a.end, or \
                 a.start <= b < a.end for a position. An empty span is contained where it touches. Spans in different \
                 units are an error; NULL gives NULL.",
                "span_contains(a, b)",
            )
            .with_sql_example(
                "```sql\n> SELECT span_contains(span_make(0, 8), span_make(3, 8)) AS within, \
                 span_contains(span_make(0, 8), 8) AS behind;\n\
                 +--------+--------+\n| within | behind |\n+--------+--------+\n| true   | false  |\n\
                 +--------+--------+\n```",
            )
            .with_argument("a", "A span, as of span_make.")
            .with_argument("b", "Another one in the same unit, or a position: an integer.")
            .build(),
            Self::Id => Documentation::builder(
                SECTION,
                "Identifies a span in a text: stable_id_parts(prefix, path, start, end), for a valid span. Every part is \
                 required: NULL in any argument gives NULL. The unit is no part; the spans of one path should have one.",
                "span_id(prefix, path, start, end)",
            )
            .with_sql_example(
                "```sql\n> SELECT span_id('span', 'src/a.py', 3, 8) AS id;\n\
                 +---------------------------------------+\n\
                 | id                                    |\n\
                 +---------------------------------------+\n\
                 | span:cbf7f6967a3e777acd7c64aa00e16782 |\n\
                 +---------------------------------------+\n```",
            )
            .with_argument("prefix", "What kind of thing is identified: a string of any encoding.")
            .with_argument("path", "The text that the span is in: a string of any encoding.")
            .with_argument("start", "The first position: an integer that is not below 0.")
            .with_argument("end", "The position behind the last one: an integer that is not below start.")
            .build(),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SpanFunction {
    kind: SpanKind,
    signature: Signature,
    documentation: Documentation,
}

impl SpanFunction {
    fn new(kind: SpanKind) -> Self {
        Self { kind, signature: kind.signature(), documentation: kind.documentation() }
    }
}

impl ScalarUDFImpl for SpanFunction {
    fn name(&self) -> &str {
        self.kind.name()
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

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.kind.require(arg_types)?;
        Ok(self.kind.data_type())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let data_type = self.return_type(&types)?;
        let nullable = match self.kind {
            SpanKind::Make | SpanKind::Id => any_nullable(args.arg_fields),
            // A field of a span can be NULL where the span is not.
            SpanKind::Length | SpanKind::Overlaps | SpanKind::Contains => true,
        };
        Ok(Arc::new(Field::new(self.name(), data_type, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (rows, constant) = rows_of(&args);
        let array = match (self.kind, args.args.as_slice()) {
            (SpanKind::Length, [span]) => lengths(&Spans::of_structs("span_len", "span", span)?, rows)?,
            (SpanKind::Make, [start, end, unit @ ..]) => {
                Spans::of_arguments("span_make", start, end, unit.first(), rows)?.into_structs(rows)?
            }
            // Errors are those of the span that is not made, so that rewriting a call changes no error.
            (SpanKind::Length, [start, end, unit @ ..]) => {
                lengths(&Spans::of_arguments("span_make", start, end, unit.first(), rows)?, rows)?
            }
            (SpanKind::Overlaps, [a, b]) => compared(self.name(), a, b, rows, |a, b| a.0.max(b.0) < a.1.min(b.1))?,
            (SpanKind::Contains, [a, b]) if is_integer(&b.data_type()) => contains_positions(a, b, rows)?,
            (SpanKind::Contains, [a, b]) => compared(self.name(), a, b, rows, |a, b| a.0 <= b.0 && b.1 <= a.1)?,
            (SpanKind::Id, [prefix, path, start, end]) => span_ids([prefix, path, start, end], &args.args, rows)?,
            _ => return exec_err!("{} is called {}", self.name(), self.kind.usage()),
        };
        result_of(array, constant)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        if let Some(literal) = folded(self, &args, info) {
            return Ok(ExprSimplifyResult::Simplified(literal));
        }
        // The length of a span that is only made for it.  It stays a call: a malformed span must stay an error.
        if self.kind == SpanKind::Length
            && let [Expr::ScalarFunction(made)] = args.as_slice()
            && made.func.inner().downcast_ref::<Self>().is_some_and(|made| made.kind == SpanKind::Make)
        {
            let length = Arc::new(ScalarUDF::new_from_impl(Self::new(SpanKind::Length)));
            let call = ScalarFunction::new_udf(length, made.args.clone());
            return Ok(ExprSimplifyResult::Simplified(Expr::ScalarFunction(call)));
        }
        Ok(ExprSimplifyResult::Original(args))
    }
}

fn lengths(spans: &Spans<'_>, rows: usize) -> Result<ArrayRef> {
    let nulls = spans.nulls(rows);
    spans.check(rows, nulls.as_ref())?;
    let length = |row| {
        let (start, end) = spans.at(row);
        // Only where the row is NULL can the positions be anything.
        end.wrapping_sub(start)
    };
    Ok(Arc::new(Int64Array::try_new((0..rows).map(length).collect(), nulls)?))
}

/// Compares two spans, given as start and end, in each row.
fn compared(
    function: &str,
    a: &ColumnarValue,
    b: &ColumnarValue,
    rows: usize,
    test: impl Fn((i64, i64), (i64, i64)) -> bool,
) -> Result<ArrayRef> {
    let (a, b) = (Spans::of_structs(function, "a", a)?, Spans::of_structs(function, "b", b)?);
    let nulls = NullBuffer::union(a.nulls(rows).as_ref(), b.nulls(rows).as_ref());
    a.check_positions(rows, nulls.as_ref())?;
    b.check_positions(rows, nulls.as_ref())?;
    let differs = |row: &usize| a.unit(*row) != b.unit(*row) && nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row));
    let compared = if a.one_unit && b.one_unit { rows.min(1) } else { rows };
    let different = (0..compared).find(differs);
    // Where the units are equal, those of one side are known if those of the other are.
    b.check_units(rows, nulls.as_ref())?;
    if let Some(row) = different {
        a.check_units(rows, nulls.as_ref())?;
        return exec_err!(
            "{function}: arguments \"a\" and \"b\" are in different units{}, \"{}\" and \"{}\"; positions of one \
             unit can be compared",
            place(row, a.constant && b.constant),
            a.unit(row),
            b.unit(row)
        );
    }
    let values = BooleanBuffer::collect_bool(rows, |row| test(a.at(row), b.at(row)));
    Ok(Arc::new(BooleanArray::new(values, nulls)))
}

fn contains_positions(spans: &ColumnarValue, position: &ColumnarValue, rows: usize) -> Result<ArrayRef> {
    let spans = Spans::of_structs("span_contains", "a", spans)?;
    let position = positions(&position.to_array(rows)?)?;
    let nulls = NullBuffer::union(spans.nulls(rows).as_ref(), position.nulls());
    spans.check(rows, nulls.as_ref())?;
    let values = BooleanBuffer::collect_bool(rows, |row| {
        let (start, end) = spans.at(row);
        (start..end).contains(&position.value(row))
    });
    Ok(Arc::new(BooleanArray::new(values, nulls)))
}

fn span_ids([prefix, path, start, end]: [&ColumnarValue; 4], parts: &[ColumnarValue], rows: usize) -> Result<ArrayRef> {
    let name = SpanKind::Id.name();
    let (prefixes, paths) = (Texts::new(name, "prefix", prefix)?, Texts::new(name, "path", path)?);
    let spans = Spans::of_arguments(name, start, end, None, rows)?;
    let named = BooleanBuffer::collect_bool(rows, |row| prefixes.get(row).is_some() && paths.get(row).is_some());
    let nulls = NullBuffer::union(spans.nulls(rows).as_ref(), Some(&NullBuffer::new(named)));
    spans.check(rows, nulls.as_ref())?;
    let mut messages = Messages::new(Scheme::PrefixAndParts, parts)?;
    let is_null = |row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
    Ok(Arc::new(ids(&prefixes, &mut messages, rows, is_null)))
}

#[cfg(test)]
#[path = "spans_tests.rs"]
mod tests;
