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
//! | `span_overlaps(start, end, other_start, other_end)` | the same of spans of one unit, without making them |
//! | `span_contains(a, b)` | whether `b`, a span or a position, lies within `a` |
//! | `span_contains(start, end, position)` | the same of a position, without making the span |
//! | `span_contains(start, end, other_start, other_end)` | the same of spans of one unit, without making them |
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

use std::slice;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{ScalarValue, exec_err};
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
use crate::span_columns::{A_SPAN, Span, Spans, UNITS, is_span};
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
            Self::Overlaps => "span_overlaps(a, b) or span_overlaps(start, end, other_start, other_end)",
            Self::Contains => {
                "span_contains(a, b), span_contains(start, end, position) or \
                 span_contains(start, end, other_start, other_end)"
            }
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
            // Three arguments are refused below.
            Self::Overlaps | Self::Contains => 2..=4,
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
            (Self::Contains, [start, end, position]) => {
                require_integer(name, "start", start)?;
                require_integer(name, "end", end)?;
                require_integer(name, "position", position)
            }
            (Self::Overlaps | Self::Contains, [start, end, other_start, other_end]) => {
                require_integer(name, "start", start)?;
                require_integer(name, "end", end)?;
                require_integer(name, "other_start", other_start)?;
                require_integer(name, "other_end", other_end)
            }
            (Self::Overlaps, other) => require_count(name, other.len(), 2..=2, self.usage()),
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
                 nothing. Spans in different units are an error; NULL gives NULL. \
                 span_overlaps(start, end, other_start, other_end) is the same of two spans in one unit; the planner \
                 writes calls over span_make so.",
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
                 units are an error; NULL gives NULL. span_contains(start, end, position) and \
                 span_contains(start, end, other_start, other_end) are the same of spans in one unit; the planner \
                 writes calls over span_make so.",
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

    /// What the function says of two spans in each row, which were checked.
    fn compared(&self, a: &Spans<'_>, b: &Spans<'_>, nulls: Option<NullBuffer>, rows: usize) -> ArrayRef {
        // No position is below 0, so a difference does not wrap, and is below 0 exactly if the first is the smaller one.
        let below = |a: i64, b: i64| a.wrapping_sub(b);
        let values = if self.kind == SpanKind::Overlaps {
            let overlap = |a: Span, b: Span| below(a.0, b.1) & below(b.0, a.1) & below(a.0, a.1) & below(b.0, b.1);
            a.signs(b, rows, overlap)
        } else {
            a.signs(b, rows, |a, b| !(below(b.0, a.0) | below(a.1, b.1)))
        };
        Arc::new(BooleanArray::new(values, nulls))
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
            (SpanKind::Contains, [a, b]) if is_integer(&b.data_type()) => {
                contains_positions(&Spans::of_structs(self.name(), "a", a)?, b, rows)?
            }
            (SpanKind::Contains, [start, end, position]) => {
                let spans = Spans::of_arguments("span_make", start, end, None, rows)?;
                spans.check(rows, spans.nulls(rows).as_ref())?;
                contains_positions(&spans, position, rows)?
            }
            (SpanKind::Overlaps | SpanKind::Contains, [a, b]) => {
                let spans = (Spans::of_structs(self.name(), "a", a)?, Spans::of_structs(self.name(), "b", b)?);
                let nulls = check_comparable(self.name(), &spans.0, &spans.1, rows)?;
                self.compared(&spans.0, &spans.1, nulls, rows)
            }
            (SpanKind::Overlaps | SpanKind::Contains, [start, end, other_start, other_end]) => {
                let a = Spans::of_arguments("span_make", start, end, None, rows)?;
                let b = Spans::of_arguments("span_make", other_start, other_end, None, rows)?;
                let (of_a, of_b) = (a.nulls(rows), b.nulls(rows));
                a.check(rows, of_a.as_ref())?;
                b.check(rows, of_b.as_ref())?;
                self.compared(&a, &b, NullBuffer::union(of_a.as_ref(), of_b.as_ref()), rows)
            }
            (SpanKind::Id, [prefix, path, start, end]) => span_ids([prefix, path, start, end], &args.args, rows)?,
            _ => return exec_err!("{} is called {}", self.name(), self.kind.usage()),
        };
        result_of(array, constant)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        if let Some(literal) = folded(self, &args, info) {
            return Ok(ExprSimplifyResult::Simplified(literal));
        }
        // Spans that are only made to be measured or compared.  It stays a call: a malformed span must stay an error.
        let unmade = match (self.kind, args.as_slice()) {
            (SpanKind::Length, [span]) => made(span),
            (SpanKind::Contains, [a, b]) if info.get_data_type(b).is_ok_and(|b| is_integer(&b)) => {
                let made = made(a).filter(|made| unit_of(made).is_some());
                made.map(|made| [&made[..2], slice::from_ref(b)].concat())
            }
            (SpanKind::Overlaps | SpanKind::Contains, [a, b]) => unmade_pair(a, b),
            _ => None,
        };
        if let Some(unmade) = unmade {
            let function = Arc::new(ScalarUDF::new_from_impl(Self::new(self.kind)));
            let call = ScalarFunction::new_udf(function, unmade);
            return Ok(ExprSimplifyResult::Simplified(Expr::ScalarFunction(call)));
        }
        Ok(ExprSimplifyResult::Original(args))
    }
}

fn lengths(spans: &Spans<'_>, rows: usize) -> Result<ArrayRef> {
    let nulls = spans.nulls(rows);
    spans.check(rows, nulls.as_ref())?;
    Ok(Arc::new(Int64Array::try_new(spans.lengths(rows).into(), nulls)?))
}

/// The arguments of `span_make`, if this is a call of it or a constant that it gave.
fn made(span: &Expr) -> Option<Vec<Expr>> {
    match span {
        Expr::ScalarFunction(call) => {
            let function = call.func.inner().downcast_ref::<SpanFunction>()?;
            (function.kind == SpanKind::Make).then(|| call.args.clone())
        }
        Expr::Literal(ScalarValue::Struct(span), _) if span.is_valid(0) => {
            let part = |name| {
                let value = ScalarValue::try_from_array(span.column_by_name(name)?, 0).ok()?;
                (!value.is_null()).then(|| Expr::Literal(value, None))
            };
            ["start", "end", "unit"].into_iter().map(part).collect()
        }
        _ => None,
    }
}

/// The unit of a call of `span_make`, if it is one for all rows.
fn unit_of(made: &[Expr]) -> Option<&str> {
    match made.get(2) {
        None => Some(UNITS[0]),
        Some(Expr::Literal(unit, _)) => unit.try_as_str().flatten().filter(|unit| UNITS.contains(unit)),
        Some(_) => None,
    }
}

/// The starts and ends of two calls of `span_make` in one unit.
fn unmade_pair(a: &Expr, b: &Expr) -> Option<Vec<Expr>> {
    let (a, b) = (made(a)?, made(b)?);
    (unit_of(&a)? == unit_of(&b)?).then(|| [&a[..2], &b[..2]].concat())
}

/// Refuses spans that are malformed or in different units, and gives the NULLs of both.
fn check_comparable(function: &str, a: &Spans<'_>, b: &Spans<'_>, rows: usize) -> Result<Option<NullBuffer>> {
    let nulls = NullBuffer::union(a.nulls(rows).as_ref(), b.nulls(rows).as_ref());
    a.check_positions(rows, nulls.as_ref())?;
    b.check_positions(rows, nulls.as_ref())?;
    if let (Some(of_a), Some(of_b)) = (a.known_unit(), b.known_unit())
        && of_a == of_b
    {
        return Ok(nulls);
    }
    let different = a.unit_differs(b, rows, nulls.as_ref());
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
    Ok(nulls)
}

fn contains_positions(spans: &Spans<'_>, position: &ColumnarValue, rows: usize) -> Result<ArrayRef> {
    // A position is read as the empty span there, which nobody checks.
    let places = Spans::of_arguments("span_contains", position, position, None, rows)?;
    let nulls = NullBuffer::union(spans.nulls(rows).as_ref(), places.nulls(rows).as_ref());
    spans.check(rows, nulls.as_ref())?;
    let contains = |(start, end): Span, (place, _): Span| {
        // Below 0 where both hold: neither bound is below 0, so only a place below 0 could wrap.
        if place < 0 { 0 } else { place.wrapping_sub(end) & !place.wrapping_sub(start) }
    };
    let values = spans.signs(&places, rows, contains);
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
