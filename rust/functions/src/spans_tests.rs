use arrow::array::{AsArray, DictionaryArray, Int32Array, StringArray, StructArray, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::Int32Type;
use datafusion::common::ScalarValue;
use proptest::prelude::*;

use super::*;
use crate::scalar_calls::{call, every_representation, plan, query, return_field, rows, session, text};
use crate::span_columns::UNITS;

fn number(value: i64) -> ColumnarValue {
    ColumnarValue::Scalar(ScalarValue::Int64(Some(value)))
}

fn null() -> ColumnarValue {
    ColumnarValue::Scalar(ScalarValue::Null)
}

fn column(array: impl Array + 'static) -> ColumnarValue {
    ColumnarValue::Array(Arc::new(array))
}

fn numbers(values: &[Option<i64>]) -> ColumnarValue {
    column(Int64Array::from(values.to_vec()))
}

fn words(values: &[Option<&str>]) -> ColumnarValue {
    column(StringArray::from(values.to_vec()))
}

fn span(start: i64, end: i64) -> ColumnarValue {
    call("span_make", &[number(start), number(end)], 1).unwrap()
}

/// A struct as anyone can make it, valid or not.
fn structs(start: ColumnarValue, end: ColumnarValue, unit: ColumnarValue, rows: usize) -> ColumnarValue {
    let columns = [("start", start), ("end", end), ("unit", unit)].map(|(name, value)| {
        let array = value.to_array(rows).unwrap();
        (Arc::new(Field::new(name, array.data_type().clone(), true)), array)
    });
    column(StructArray::from(columns.to_vec()))
}

fn test(name: &str, a: &ColumnarValue, b: &ColumnarValue) -> Option<bool> {
    rows(name, &[a.clone(), b.clone()], 1).unwrap().remove(0).map(|value| value == "true")
}

fn message(name: &str, args: &[ColumnarValue], rows: usize) -> String {
    call(name, args, rows).unwrap_err().strip_backtrace()
}

#[test]
fn spans_are_made_with_a_unit_and_null_where_an_argument_is() {
    let starts = numbers(&[Some(3), None, Some(0), Some(5), Some(2)]);
    let ends = numbers(&[Some(8), Some(1), None, Some(5), Some(4)]);
    let units = words(&[Some("byte"), Some("byte"), Some("byte"), Some("codepoint"), None]);
    let made = rows("span_make", &[starts.clone(), ends.clone(), units], 5).unwrap();
    let expected =
        [Some("{start: 3, end: 8, unit: byte}"), None, None, Some("{start: 5, end: 5, unit: codepoint}"), None];
    assert_eq!(made, expected.map(|span| span.map(str::to_owned)));

    let ColumnarValue::Array(defaults) = call("span_make", &[starts, ends], 5).unwrap() else { panic!("an array") };
    for (field, of_row) in [("start", 0), ("end", 1), ("unit", 2)] {
        let column = defaults.as_struct().column_by_name(field).unwrap();
        assert_eq!(column.null_count(), 2, "a field is NULL where its span is: {field} ({of_row})");
    }
    assert_eq!(rows("span_make", &[number(1), number(2), null()], 1).unwrap(), [None]);
    assert_eq!(rows("span_make", &[numbers(&[Some(1), Some(2)]), number(2), null()], 2).unwrap(), [None, None]);
}

#[test]
fn every_representation_of_positions_and_units_is_read() {
    let expected = rows("span_make", &[number(3), number(8), text("utf16")], 1).unwrap();
    let keys = Int32Array::from(vec![0]);
    let dictionary = DictionaryArray::<Int32Type>::new(keys, Arc::new(Int32Array::from(vec![3])));
    for start in [column(dictionary), column(Int32Array::from(vec![3])), column(UInt64Array::from(vec![3])), number(3)]
    {
        for unit in every_representation(&[Some("utf16")]) {
            let unit = ColumnarValue::Array(unit);
            assert_eq!(rows("span_make", &[start.clone(), number(8), unit.clone()], 1).unwrap(), expected);
            let spans = structs(start.clone(), number(8), unit, 1);
            assert_eq!(rows("span_len", std::slice::from_ref(&spans), 1).unwrap(), [Some("5".to_owned())]);
            assert_eq!(test("span_contains", &spans, &number(7)), Some(true));
        }
    }
    let values = call("span_make", &[numbers(&[Some(0), Some(4)]), number(9)], 2).unwrap().to_array(2).unwrap();
    let dictionary = column(DictionaryArray::<Int32Type>::new(Int32Array::from(vec![Some(1), None, Some(0)]), values));
    let lengths = rows("span_len", &[dictionary], 3).unwrap();
    assert_eq!(lengths, [Some("5".to_owned()), None, Some("9".to_owned())]);
}

#[test]
fn a_malformed_span_is_an_error_with_function_argument_and_row() {
    let cases: [(&str, Vec<ColumnarValue>, usize, &str); 10] = [
        (
            "span_make",
            vec![numbers(&[Some(0), Some(-1)]), number(5)],
            2,
            "span_make: argument \"start\" is -1 in row 2 of the batch",
        ),
        (
            "span_make",
            vec![number(5), numbers(&[None, Some(7), Some(2)])],
            3,
            "span_make: argument \"end\" is 2 in row 3 of the batch, before the start 5",
        ),
        ("span_make", vec![number(5), number(2)], 1, "span_make: argument \"end\" is 2, before the start 5"),
        (
            "span_make",
            vec![number(0), column(UInt64Array::from(vec![1, u64::MAX]))],
            2,
            "span_make: argument \"end\" is beyond Int64 in row 2 of the batch",
        ),
        (
            "span_make",
            vec![numbers(&[Some(1), Some(1)]), number(2), words(&[Some("byte"), Some("char")])],
            2,
            "span_make: argument \"col_unit\" is \"char\" in row 2 of the batch; the units are byte, utf16, codepoint",
        ),
        (
            "span_make",
            vec![numbers(&[Some(1)]), number(2), text("BYTE")],
            1,
            "span_make: argument \"col_unit\" is \"BYTE\"; the units",
        ),
        (
            "span_len",
            vec![structs(number(5), numbers(&[Some(5), Some(4)]), text("byte"), 2)],
            2,
            "span_len: the end of argument \"span\" is 4 in row 2 of the batch",
        ),
        (
            "span_overlaps",
            vec![span(0, 1), structs(number(-5), number(4), text("byte"), 1)],
            1,
            "span_overlaps: the start of argument \"b\" is -5 in row 1 of the batch",
        ),
        (
            "span_contains",
            vec![structs(number(0), number(4), text("chars"), 1), number(3)],
            1,
            "span_contains: the unit of argument \"a\" is \"chars\" in row 1",
        ),
        (
            "span_id",
            vec![text("s"), text("p"), number(4), numbers(&[Some(4), Some(3)])],
            2,
            "span_id: argument \"end\" is 3 in row 2 of the batch",
        ),
    ];
    for (name, args, rows, expected) in cases {
        let message = message(name, &args, rows);
        assert!(message.contains(expected), "{message}\n{expected}");
    }
}

#[test]
fn a_row_with_null_is_null_whatever_else_is_in_it() {
    let bad = structs(number(5), number(2), text("chars"), 1);
    assert_eq!(test("span_overlaps", &null(), &bad), None);
    assert_eq!(test("span_contains", &bad, &null()), None);
    assert_eq!(rows("span_make", &[number(-1), null(), text("chars")], 1).unwrap(), [None]);
    assert_eq!(rows("span_id", &[text("s"), null(), number(5), number(2)], 1).unwrap(), [None]);
    assert_eq!(rows("span_len", &[number(5), number(2), null()], 1).unwrap(), [None]);
    let partial = structs(number(1), null(), text("byte"), 1);
    assert_eq!(rows("span_len", &[partial], 1).unwrap(), [None]);
}

#[test]
fn overlapping_and_containing_are_half_open() {
    assert_eq!(test("span_overlaps", &span(0, 4), &span(3, 8)), Some(true));
    assert_eq!(test("span_overlaps", &span(0, 4), &span(4, 8)), Some(false));
    assert_eq!(test("span_contains", &span(0, 8), &span(0, 8)), Some(true));
    assert_eq!(test("span_contains", &span(0, 8), &span(3, 9)), Some(false));
    assert_eq!(test("span_contains", &span(0, 8), &number(0)), Some(true));
    assert_eq!(test("span_contains", &span(0, 8), &number(8)), Some(false));
    assert_eq!(test("span_contains", &span(0, 8), &number(-1)), Some(false));
    assert_eq!(test("span_contains", &span(0, 8), &column(UInt64Array::from(vec![u64::MAX]))), Some(false));
}

#[test]
fn an_empty_span_is_a_place() {
    assert_eq!(rows("span_len", &[span(3, 3)], 1).unwrap(), [Some("0".to_owned())]);
    assert_eq!(test("span_overlaps", &span(3, 3), &span(0, 8)), Some(false));
    assert_eq!(test("span_overlaps", &span(3, 3), &span(3, 3)), Some(false));
    for place in [0, 3, 8] {
        assert_eq!(test("span_contains", &span(0, 8), &span(place, place)), Some(true));
    }
    assert_eq!(test("span_contains", &span(0, 8), &span(9, 9)), Some(false));
    assert_eq!(test("span_contains", &span(3, 3), &span(3, 3)), Some(true));
    assert_eq!(test("span_contains", &span(3, 3), &span(3, 4)), Some(false));
    assert_eq!(test("span_contains", &span(3, 3), &number(3)), Some(false));
}

#[test]
fn spans_in_different_units_cannot_be_compared() {
    let units = words(&[Some("byte"), Some("utf16"), None]);
    let spans = call("span_make", &[number(0), numbers(&[Some(4); 3]), units], 3).unwrap();
    for name in ["span_overlaps", "span_contains"] {
        let message = message(name, &[span(0, 4), spans.clone()], 3);
        let expected = "arguments \"a\" and \"b\" are in different units in row 2 of the batch, \"byte\" and \"utf16\"";
        assert!(
            message.starts_with("Execution error: ") && message.contains(&format!("{name}: {expected}")),
            "{message}"
        );
        assert!(call(name, &[spans.clone(), spans.clone()], 3).is_ok());
    }
}

#[test]
fn a_span_id_is_the_id_of_its_parts() {
    let args = [text("span"), text("src/a.py"), number(3), number(8)];
    assert_eq!(rows("span_id", &args, 1).unwrap(), rows("stable_id_parts", &args, 1).unwrap());
    let ids = rows("span_id", &[text("span"), words(&[Some("a"), None]), number(3), number(8)], 2).unwrap();
    assert!(ids[0].is_some() && ids[1].is_none());
    assert_eq!(rows("span_id", &[null(), text("a"), number(3), number(8)], 1).unwrap(), [None]);
}

#[test]
fn wrong_types_and_counts_are_refused_while_planning() {
    let refusal = |name: &str, types: &[DataType]| {
        let fields: Vec<FieldRef> =
            types.iter().map(|data_type| Arc::new(Field::new("c", data_type.clone(), true)) as FieldRef).collect();
        return_field(name, &fields, &vec![None; types.len()]).unwrap_err().strip_backtrace()
    };
    let (integer, words, float) = (DataType::Int64, DataType::Utf8, DataType::Float64);
    let cases = [
        ("span_make", vec![integer.clone()], "span_make takes 2 to 3 arguments, not 1"),
        ("span_make", vec![integer.clone(), float.clone()], "span_make: argument \"end\" is an integer, not Float64"),
        (
            "span_make",
            vec![integer.clone(), integer.clone(), float],
            "span_make: argument \"col_unit\" is a string, not Float64",
        ),
        ("span_len", vec![words.clone()], "span_len: argument \"span\" is a span"),
        ("span_overlaps", vec![span_type(), integer.clone()], "span_overlaps: argument \"b\" is a span"),
        (
            "span_contains",
            vec![span_type(), words.clone()],
            "span_contains: argument \"b\" is a span (a struct with the fields start, end and unit) or an integer, not Utf8",
        ),
        ("span_id", vec![words.clone(), words.clone(), integer.clone()], "span_id takes 4 arguments, not 3"),
        ("span_overlaps", vec![integer.clone(); 3], "span_overlaps takes 2 arguments, not 3"),
        (
            "span_contains",
            vec![integer.clone(), integer.clone(), words.clone()],
            "span_contains: argument \"position\" is an integer, not Utf8",
        ),
        (
            "span_contains",
            vec![integer.clone(), integer.clone(), integer, words.clone()],
            "span_contains: argument \"other_end\" is an integer, not Utf8",
        ),
    ];
    for (name, types, expected) in cases {
        let message = refusal(name, &types);
        assert!(message.contains(expected), "{message}\n{expected}");
    }
}

#[test]
fn making_a_span_is_null_only_if_an_argument_is() {
    let field = |nullable| Arc::new(Field::new("c", DataType::Int64, nullable)) as FieldRef;
    let nullable = |end| return_field("span_make", &[field(false), field(end)], &[None, None]).unwrap().is_nullable();
    assert!(!nullable(false));
    assert!(nullable(true));
}

#[tokio::test]
async fn fields_can_be_read_and_spans_join() {
    for session in [session(true), session(false)] {
        let fields = "SELECT s['start'], s['end'], s['unit'] FROM (SELECT span_make(a, b, 'utf16') AS s \
                      FROM (VALUES (1, 2), (3, NULL)) AS t(a, b)) ORDER BY 1";
        let read = query(&session, fields).await.unwrap();
        let first = vec![Some("1".to_owned()), Some("2".to_owned()), Some("utf16".to_owned())];
        assert_eq!(read, [first, vec![None; 3]]);

        session.sql("CREATE TABLE tokens AS SELECT n AS token, span_make(n * 4, n * 4 + 4) AS span FROM (VALUES (0), (1), (2), (3)) AS t(n)").await.unwrap().collect().await.unwrap();
        session
            .sql("CREATE TABLE scopes AS VALUES ('f', span_make(2, 9)), ('g', span_make(8, 16)), ('h', NULL)")
            .await
            .unwrap()
            .collect()
            .await
            .unwrap();
        let joined = query(
            &session,
            "SELECT column1, token, span_contains(column2, span) FROM scopes JOIN tokens ON span_overlaps(column2, span) \
             ORDER BY column1, token",
        )
        .await
        .unwrap();
        let expected =
            [("f", "0", "false"), ("f", "1", "true"), ("f", "2", "false"), ("g", "2", "true"), ("g", "3", "true")];
        assert_eq!(
            joined,
            expected.map(|(scope, token, within)| [scope, token, within].map(|text| Some(text.to_owned())).to_vec())
        );
    }
}

#[tokio::test]
async fn they_are_listed_and_their_errors_reach_sql() {
    let session = session(true);
    for (name, parameters) in [
        ("span_make", vec!["start", "end", "col_unit"]),
        ("span_len", vec!["span"]),
        ("span_overlaps", vec!["a", "b"]),
        ("span_contains", vec!["a", "b"]),
        ("span_id", vec!["prefix", "path", "start", "end"]),
    ] {
        let listed = query(
            &session,
            &format!(
                "SELECT DISTINCT ordinal_position, parameter_name FROM information_schema.parameters \
                 WHERE specific_name = '{name}' AND parameter_mode = 'IN' ORDER BY 1"
            ),
        )
        .await
        .unwrap();
        assert_eq!(listed.into_iter().map(|row| row[1].clone().unwrap()).collect::<Vec<_>>(), parameters);
    }
    let named =
        query(&session, "SELECT span_len(span_make(end => 9, start => 4, col_unit => 'codepoint'))").await.unwrap();
    assert_eq!(named, [[Some("5".to_owned())]]);
    let error = query(&session, "SELECT span_make('a', 3)").await.unwrap_err().strip_backtrace();
    assert!(error.contains("span_make: argument \"start\" is an integer, not Utf8"), "{error}");
}

#[tokio::test]
async fn the_length_of_a_made_span_makes_no_span_and_keeps_its_errors() {
    let session = session(true);
    session.sql("CREATE TABLE t AS VALUES (3, 8), (8, 3)").await.unwrap().collect().await.unwrap();
    let length = "SELECT span_len(span_make(column1, column2, 'utf16')) AS length FROM t";
    let shown = plan(&session, length).await;
    assert!(shown.contains("span_len(t.column1, t.column2, Utf8(\"utf16\"))"), "{shown}");
    assert!(!shown.contains("span_make"), "{shown}");
    let with = query(&session, length).await.unwrap_err().strip_backtrace();
    let unoptimized = crate::scalar_calls::session(false);
    unoptimized.sql("CREATE TABLE t AS VALUES (3, 8), (8, 3)").await.unwrap().collect().await.unwrap();
    let without = query(&unoptimized, length).await.unwrap_err().strip_backtrace();
    assert_eq!(with, without);
    assert!(with.contains("span_make: argument \"end\" is 3 in row 2 of the batch"), "{with}");
    // A literal that is malformed is an error only where it is evaluated.
    let guarded = "SELECT CASE WHEN column1 < 0 THEN span_len(span_make(5, 2)) ELSE 0 END AS length FROM t";
    assert_eq!(query(&session, guarded).await.unwrap().len(), 2);
}

#[tokio::test]
async fn made_spans_are_compared_without_being_made_and_keep_their_errors() {
    let rows = "(3, 8, 5), (3, 3, 3), (NULL, 9, 4), (1, NULL, 2), (2, 7, NULL)";
    let calls = [
        ("span_overlaps(span_make(a, b), span_make(c, c + 2))", "span_overlaps(t.a, t.b, t.c, t.c + Int64(2))"),
        ("span_contains(span_make(a, b), span_make(c, c, 'byte'))", "span_contains(t.a, t.b, t.c, t.c)"),
        ("span_contains(span_make(a, b, 'utf16'), c)", "span_contains(t.a, t.b, t.c)"),
    ];
    let sessions = [session(true), session(false)];
    for (table, values) in [("t", rows.to_owned()), ("bad", format!("{rows}, (8, 3, NULL)"))] {
        for session in &sessions {
            let create = format!("CREATE TABLE {table} AS SELECT * FROM (VALUES {values}) AS v(a, b, c)");
            session.sql(&create).await.unwrap().collect().await.unwrap();
        }
    }
    for (call, unmade) in calls {
        let shown = plan(&sessions[0], &format!("SELECT {call} AS answer FROM t")).await;
        assert!(shown.contains(unmade) && !shown.contains("span_make"), "{shown}");
        let good = format!("SELECT {call} FROM t");
        assert_eq!(query(&sessions[0], &good).await.unwrap(), query(&sessions[1], &good).await.unwrap());
        let bad = format!("SELECT {call} FROM bad");
        let with = query(&sessions[0], &bad).await.unwrap_err().strip_backtrace();
        let without = query(&sessions[1], &bad).await.unwrap_err().strip_backtrace();
        assert_eq!(with, without);
        assert!(with.contains("span_make: argument \"end\" is 3 in row 6 of the batch"), "{with}");
    }
    for unit in ["'utf16'", "'char'", "NULL"] {
        let call = format!("span_overlaps(span_make(a, b), span_make(c, c, {unit}))");
        let kept = plan(&sessions[0], &format!("SELECT {call} AS answer FROM t")).await;
        assert!(kept.contains("span_make(t.a, t.b)"), "{kept}");
    }
}

fn position() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![8 => (0_i64..12).prop_map(Some), 1 => Just(None), 1 => (-2_i64..0).prop_map(Some)]
}

fn unit() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![12 => Just(Some("byte")), 2 => Just(Some("utf16")), 1 => Just(Some("char")), 1 => Just(None)]
}

type RawSpan = (Option<i64>, Option<i64>, Option<&'static str>);

/// What the documentation says about a row: NULL, an error, or a span.
fn model(span: RawSpan) -> Option<std::result::Result<(i64, i64, &'static str), ()>> {
    let (Some(start), Some(end), Some(unit)) = span else { return None };
    Some(if start >= 0 && start <= end && UNITS.contains(&unit) { Ok((start, end, unit)) } else { Err(()) })
}

/// Comparisons of so many rows that there are several words of answers, with one side constant and without.
#[test]
fn many_rows_are_compared_as_each_by_itself() {
    let place = |row: i64, factor: i64| (row * factor) % 23;
    for length in [0, 1, 63, 64, 65, 200] {
        let of = |factor: i64, more: i64| -> Vec<Option<i64>> {
            (0..length).map(|row| (row % 11 != 10).then(|| place(row, factor) + more * (row % 4))).collect()
        };
        let sides = [(of(7, 0), of(7, 1)), (of(5, 0), of(5, 2))];
        let fixed = [(number(9), number(14)), (number(14), number(14))];
        let columns = |(starts, ends): &(Vec<Option<i64>>, Vec<Option<i64>>)| (numbers(starts), numbers(ends));
        let many = usize::try_from(length).unwrap();
        let mut pairs = vec![(columns(&sides[0]), columns(&sides[1]))];
        for one in &fixed {
            pairs.push((columns(&sides[0]), one.clone()));
            pairs.push((one.clone(), columns(&sides[1])));
        }
        for (a, b) in pairs {
            let arguments = [a.0, a.1, b.0, b.1];
            for (name, test) in
                [("span_overlaps", overlap as fn([i64; 4]) -> bool), ("span_contains", contain as fn([i64; 4]) -> bool)]
            {
                let expected: Vec<Option<String>> = (0..many)
                    .map(|row| {
                        let at = |argument: &ColumnarValue| {
                            let array = argument.to_array(many).unwrap();
                            let array = array.as_primitive::<arrow::datatypes::Int64Type>();
                            array.is_valid(row).then(|| array.value(row))
                        };
                        let [start, end, other_start, other_end] = [0, 1, 2, 3].map(|place| at(&arguments[place]));
                        Some(test([start?, end?, other_start?, other_end?]).to_string())
                    })
                    .collect();
                assert_eq!(rows(name, &arguments, many).unwrap(), expected, "{name}, {length} rows");
            }
        }
    }
}

fn overlap([start, end, other_start, other_end]: [i64; 4]) -> bool {
    start.max(other_start) < end.min(other_end)
}

fn contain([start, end, other_start, other_end]: [i64; 4]) -> bool {
    start <= other_start && other_end <= end
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_algebra_is_that_of_sets_of_positions(a in (position(), position(), unit()), b in (position(), position(), unit()), place in position()) {
        let spans = |span: RawSpan| structs(numbers(&[span.0]), numbers(&[span.1]), words(&[span.2]), 1);
        let within = |start: i64, end: i64| (start..end).collect::<std::collections::BTreeSet<i64>>();
        let compare = |name: &str, args: &[ColumnarValue]| rows(name, args, 1).map(|mut rows| rows.remove(0)).ok();
        let pair = match (model(a), model(b)) {
            (None, _) | (_, None) => None,
            (Some(Ok(a)), Some(Ok(b))) if a.2 == b.2 => Some(Ok((a, b))),
            _ => Some(Err(())),
        };
        let overlaps = compare("span_overlaps", &[spans(a), spans(b)]);
        let contains = compare("span_contains", &[spans(a), spans(b)]);
        match pair {
            None => { prop_assert_eq!(overlaps, Some(None)); prop_assert_eq!(contains, Some(None)); }
            Some(Err(())) => { prop_assert_eq!(overlaps, None); prop_assert_eq!(contains, None); }
            Some(Ok((a, b))) => {
                let (left, right) = (within(a.0, a.1), within(b.0, b.1));
                prop_assert_eq!(overlaps, Some(Some((!left.is_disjoint(&right)).to_string())));
                let inside = if right.is_empty() { (a.0..=a.1).contains(&b.0) } else { right.is_subset(&left) };
                prop_assert_eq!(contains, Some(Some(inside.to_string())));
            }
        }
        let position = compare("span_contains", &[spans(a), numbers(&[place])]);
        match (model(a), place) {
            (None, _) | (_, None) => prop_assert_eq!(position, Some(None)),
            (Some(Err(())), _) => prop_assert_eq!(position, None),
            (Some(Ok(a)), Some(place)) => prop_assert_eq!(position, Some(Some(within(a.0, a.1).contains(&place).to_string()))),
        }
    }

    #[test]
    fn rows_are_independent_of_their_batch(table in prop::collection::vec((position(), position(), unit()), 1..12), cut in any::<prop::sample::Index>()) {
        let length = table.len();
        let starts: Vec<_> = table.iter().map(|row| row.0).collect();
        let ends: Vec<_> = table.iter().map(|row| row.1).collect();
        let units: Vec<_> = table.iter().map(|row| row.2).collect();
        let args = [numbers(&starts), numbers(&ends), words(&units)];
        let slice = |offset: usize, length: usize| -> Vec<ColumnarValue> {
            args.iter().map(|argument| ColumnarValue::Array(argument.to_array(0).unwrap().slice(offset, length))).collect()
        };
        for name in ["span_make", "span_len"] {
            let whole = rows(name, &args, length);
            let singles: Result<Vec<_>> = (0..length).map(|row| rows(name, &slice(row, 1), 1).map(|mut rows| rows.remove(0))).collect();
            prop_assert_eq!(whole.as_ref().ok(), singles.as_ref().ok());
            let cut = cut.index(length);
            if let Ok(whole) = &whole {
                let parts = [rows(name, &slice(0, cut), cut).unwrap(), rows(name, &slice(cut, length - cut), length - cut).unwrap()].concat();
                prop_assert_eq!(&parts, whole);
            } else {
                let bad = table.iter().position(|row| matches!(model(*row), Some(Err(())))).unwrap();
                let first = whole.unwrap_err().strip_backtrace();
                prop_assert!(first.contains("of the batch"), "{} {}", bad, first);
            }
        }
        // A struct that is taken apart and put together again is the same span.
        if let Ok(made) = call("span_make", &args, length) {
            let made = made.to_array(length).unwrap();
            let reversed = take(&made, &Int32Array::from_iter_values((0..i32::try_from(length).unwrap()).rev()), None).unwrap();
            let mut lengths = rows("span_len", &[ColumnarValue::Array(reversed)], length).unwrap();
            lengths.reverse();
            prop_assert_eq!(lengths, rows("span_len", &args, length).unwrap());
        }
    }
}
