use std::collections::HashMap;

use datafusion::common::DFSchema;

use super::*;
use crate::scalar_calls::{call, every_representation, plan, query, return_field, rows, session, text, texts};

const NAMES: [&str; 3] = ["utf8_normalize", "utf8_null_if_blank", "qname_normalize"];

fn flag(value: bool) -> ColumnarValue {
    ColumnarValue::Scalar(ScalarValue::Boolean(Some(value)))
}

fn null() -> ColumnarValue {
    ColumnarValue::Scalar(ScalarValue::Null)
}

fn strings(values: &[Option<&str>]) -> ColumnarValue {
    ColumnarValue::Array(Arc::clone(&every_representation(values)[0]))
}

fn owned(values: &[Option<&str>]) -> Vec<Option<String>> {
    values.iter().map(|value| value.map(str::to_owned)).collect()
}

fn one(name: &str, args: &[ColumnarValue]) -> Option<String> {
    rows(name, args, 1).unwrap().remove(0)
}

#[test]
fn every_representation_keeps_its_type() {
    let given = [Some("Stra\u{df}e e\u{301}"), None, Some("  "), Some("ascii"), Some(""), Some("\u{a0}\u{2003}")];
    let normalized = [Some("strasse \u{e9}"), None, Some("  "), Some("ascii"), Some(""), Some("\u{a0}\u{2003}")];
    let kept = [given[0], None, None, given[3], None, None];
    let named = [Some("Stra\u{df}e \u{e9}"), None, None, Some("ascii"), None, None];
    for array in every_representation(&given) {
        let length = array.len();
        for (name, options, expected) in [
            ("utf8_normalize", vec![text("NFC"), flag(true)], normalized),
            ("utf8_null_if_blank", vec![], kept),
            ("qname_normalize", vec![], named),
        ] {
            for (offset, length) in [(0, length), (2, 3), (4, 0)] {
                let args = [vec![ColumnarValue::Array(array.slice(offset, length))], options.clone()].concat();
                let result = call(name, &args, length).unwrap().to_array(length).unwrap();
                assert_eq!(result.data_type(), array.data_type(), "{name}");
                assert_eq!(texts(&result), owned(&expected[offset..offset + length]), "{name} {}", array.data_type());
            }
            for (row, expected) in expected.into_iter().enumerate() {
                let value = ScalarValue::try_from_array(&array, row).unwrap();
                let args = [vec![ColumnarValue::Scalar(value)], options.clone()].concat();
                let ColumnarValue::Scalar(result) = call(name, &args, 1).unwrap() else { panic!("a scalar") };
                assert_eq!(&result.data_type(), array.data_type());
                assert_eq!(texts(&result.to_array().unwrap()), owned(&[expected]), "{name}");
            }
        }
    }
}

#[test]
fn null_is_utf8_whatever_the_function() {
    for name in NAMES {
        let ColumnarValue::Scalar(result) = call(name, &[null()], 1).unwrap() else { panic!("a scalar") };
        assert_eq!(result, ScalarValue::Utf8(None));
        let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Null));
        for data_type in [DataType::Null, dictionary] {
            let nulls = ColumnarValue::Array(new_null_array(&data_type, 3));
            assert_eq!(rows(name, &[nulls], 3).unwrap(), [None, None, None]);
        }
    }
}

#[test]
fn forms_and_folding_may_be_literals_columns_or_null() {
    let value = "\u{fb01} \u{c9}";
    let forms = strings(&[Some("NFC"), Some("nfd"), Some("NFKC"), None]);
    let same = strings(&[Some(value); 4]);
    let expected = [Some("\u{fb01} \u{c9}"), Some("\u{fb01} E\u{301}"), Some("fi \u{c9}"), None];
    for array in every_representation(&[Some(value); 4]) {
        let result = call("utf8_normalize", &[ColumnarValue::Array(array), forms.clone()], 4).unwrap();
        assert_eq!(texts(&result.to_array(4).unwrap()), owned(&expected));
    }
    assert_eq!(rows("utf8_normalize", &[text(value), forms], 4).unwrap(), owned(&expected));
    let folds = ColumnarValue::Array(Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)])));
    let folded = [Some("fi \u{e9}"), Some(value), None, Some("fi \u{e9}")];
    assert_eq!(rows("utf8_normalize", &[same.clone(), text("NFC"), folds], 4).unwrap(), owned(&folded));
    assert_eq!(rows("utf8_normalize", &[same.clone(), null()], 4).unwrap(), vec![None; 4]);
    assert_eq!(rows("utf8_normalize", &[same, text("NFC"), null()], 4).unwrap(), vec![None; 4]);
    assert_eq!(one("utf8_normalize", &[text("\u{fb01}")]).as_deref(), Some("\u{fb01}"), "NFC is the default");
}

#[test]
fn what_is_normal_already_is_not_copied() {
    for array in every_representation(&[Some("plain"), None, Some("caf\u{e9}")]) {
        let result = call("utf8_normalize", &[ColumnarValue::Array(Arc::clone(&array)), text("NFC")], 3).unwrap();
        let result = result.to_array(3).unwrap().to_data();
        let given = array.to_data();
        let buffers = |data: &arrow::array::ArrayData| {
            data.buffers()
                .iter()
                .chain(data.child_data().iter().flat_map(arrow::array::ArrayData::buffers))
                .map(arrow::buffer::Buffer::as_ptr)
                .collect::<Vec<_>>()
        };
        assert_eq!(buffers(&result), buffers(&given), "{}", array.data_type());
    }
}

#[test]
fn views_of_ascii_are_told_byte_by_byte() {
    for byte in 0..=0x7f_u8 {
        for length in [1, 2, 11, 12, 13, 40] {
            for place in [0, length / 2, length - 1] {
                let mut bytes = vec![b'a'; length];
                bytes[place] = byte;
                let word = String::from_utf8(bytes).unwrap();
                let views = StringViewArray::from(vec![Some(word.as_str()), None, Some(""), Some("Zz@[`{")]);
                let ascii =
                    |views: &StringViewArray, casefold| normalize_ascii_views(views, casefold).unwrap().unwrap();
                let lower = word.to_ascii_lowercase();
                let folded = StringViewArray::from(vec![Some(lower.as_str()), None, Some(""), Some("zz@[`{")]);
                assert_eq!(ascii(&views, true).as_string_view(), &folded, "{word:?}");
                assert_eq!(ascii(&views.slice(0, 3), true).as_string_view(), &folded.slice(0, 3), "{word:?}");
                assert_eq!(ascii(&views, false).as_string_view(), &views);
                // What is normal already stays where it is.
                assert_eq!(ascii(&folded, true).as_string_view().views().as_ptr(), folded.views().as_ptr());
            }
        }
    }
    for word in ["\u{e9}", "aaaaaaaaaa\u{e9}", "aaaaaaaaaaaaaaaaaa\u{e9}"] {
        for casefold in [false, true] {
            assert!(normalize_ascii_views(&StringViewArray::from(vec!["A", word]), casefold).unwrap().is_none());
        }
    }
}

#[test]
fn blank_is_unicode_white_space() {
    let blanks =
        ["", " ", "\t\n\r\u{b}\u{c}", "\u{85}\u{a0}\u{1680}\u{2000}\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}"];
    for blank in blanks {
        assert_eq!(one("utf8_null_if_blank", &[text(blank)]), None, "{blank:?}");
    }
    for other in ["\u{200b}", "\u{feff}", "\u{180e}", " a ", "\0"] {
        assert_eq!(one("utf8_null_if_blank", &[text(other)]).as_deref(), Some(other));
    }
}

#[test]
fn modules_and_languages_may_be_literals_columns_or_null() {
    let symbols = strings(&[Some("C.f"), Some("g"), None, Some("..")]);
    let modules = strings(&[Some("pkg.__init__"), None, Some("m"), Some("m")]);
    let languages = strings(&[Some("python"), None, Some("cobol"), Some("NEUTRAL")]);
    let args = [symbols.clone(), modules.clone(), languages];
    assert_eq!(rows("qname_normalize", &args, 4).unwrap(), owned(&[Some("pkg.C.f"), Some("g"), None, None]));
    let named = rows("qname_normalize", &[symbols.clone(), text("m"), text("python")], 4).unwrap();
    assert_eq!(named, owned(&[Some("m.C.f"), Some("m.g"), None, None]));
    let named = rows("qname_normalize", &[symbols.clone(), modules], 4).unwrap();
    assert_eq!(named, owned(&[Some("pkg.__init__.C.f"), Some("g"), None, None]));
    assert_eq!(
        rows("qname_normalize", &[symbols, null(), null()], 4).unwrap(),
        owned(&[Some("C.f"), Some("g"), None, None])
    );
}

#[test]
fn unknown_forms_and_languages_are_errors_where_they_are_needed() {
    let message =
        |name: &str, args: &[ColumnarValue], rows: usize| call(name, args, rows).unwrap_err().strip_backtrace();
    let two = strings(&[None, Some("a")]);
    let bad = strings(&[Some("NFX"), Some("NFX")]);
    let shown = message("utf8_normalize", &[two.clone(), bad], 2);
    assert!(
        shown.contains("utf8_normalize: argument \"form\" is \"NFX\" in row 2 of the batch; the forms are NFC"),
        "{shown}"
    );
    let shown = message("utf8_normalize", &[two.clone(), text("NFX")], 2);
    assert!(shown.contains("utf8_normalize: argument \"form\" is \"NFX\"; the forms are"), "{shown}");
    let shown = message("qname_normalize", &[two.clone(), null(), text("cobol")], 2);
    assert!(
        shown.contains("qname_normalize: argument \"lang\" is \"cobol\"; the languages are neutral and python"),
        "{shown}"
    );
    let shown = message("qname_normalize", &[two, null(), strings(&[None, Some("cobol")])], 2);
    assert!(shown.contains("\"cobol\" in row 2 of the batch"), "{shown}");
    assert_eq!(rows("utf8_normalize", &[strings(&[None]), text("NFX")], 1).unwrap(), [None]);
    assert_eq!(rows("qname_normalize", &[strings(&[None]), null(), text("cobol")], 1).unwrap(), [None]);
}

#[test]
fn wrong_types_and_counts_are_refused_while_planning() {
    let refusal = |name: &str, types: &[DataType]| {
        let fields: Vec<FieldRef> =
            types.iter().map(|data_type| Arc::new(Field::new("c", data_type.clone(), true)) as FieldRef).collect();
        return_field(name, &fields, &vec![None; types.len()]).unwrap_err().strip_backtrace()
    };
    let words = DataType::Utf8;
    for (name, types, expected) in [
        ("utf8_normalize", vec![DataType::Binary], "utf8_normalize: argument \"value\" is a string, not Binary"),
        (
            "utf8_normalize",
            vec![words.clone(), DataType::Int8],
            "utf8_normalize: argument \"form\" is a string, not Int8",
        ),
        (
            "utf8_normalize",
            vec![words.clone(), words.clone(), words.clone()],
            "utf8_normalize: argument \"casefold\" is a boolean, not Utf8",
        ),
        ("utf8_normalize", vec![words.clone(); 4], "utf8_normalize takes 1 to 3 arguments, not 4"),
        ("utf8_null_if_blank", vec![words.clone(); 2], "utf8_null_if_blank takes 1 argument, not 2"),
        (
            "qname_normalize",
            vec![words, DataType::Date32],
            "qname_normalize: argument \"module\" is a string, not Date32",
        ),
    ] {
        let message = refusal(name, &types);
        assert!(message.contains(expected), "{message}\n{expected}");
    }
}

#[test]
fn metadata_and_nullability_follow_the_text() {
    let metadata = HashMap::from([("unit".to_owned(), "symbol".to_owned())]);
    let field = |nullable| -> FieldRef {
        Arc::new(Field::new("c", DataType::Utf8View, nullable).with_metadata(metadata.clone()))
    };
    for name in NAMES {
        let result = return_field(name, &[field(false)], &[None]).unwrap();
        assert_eq!((result.metadata(), result.data_type()), (&metadata, &DataType::Utf8View));
        assert_eq!(result.is_nullable(), name != "utf8_normalize");
    }
    assert!(return_field("utf8_normalize", &[field(false), field(true)], &[None, None]).unwrap().is_nullable());
}

#[tokio::test]
async fn metadata_survives_a_query() {
    let session = session(true);
    let metadata = HashMap::from([("unit".to_owned(), "symbol".to_owned())]);
    let schema =
        arrow::datatypes::Schema::new(vec![Field::new("s", DataType::Utf8, true).with_metadata(metadata.clone())]);
    let batch =
        arrow::array::RecordBatch::try_new(Arc::new(schema), every_representation(&[Some("A")])[..1].to_vec()).unwrap();
    session.register_batch("t", batch).unwrap();
    let frame = session
        .sql("SELECT utf8_normalize(s) AS n, utf8_null_if_blank(s) AS b, qname_normalize(s) AS q FROM t")
        .await
        .unwrap();
    let schema: &DFSchema = frame.schema();
    assert!(schema.fields().iter().all(|field| field.metadata() == &metadata), "{schema:?}");
    let batches = frame.collect().await.unwrap();
    assert!(batches[0].schema().fields().iter().all(|field| field.metadata() == &metadata));
}

#[tokio::test]
async fn they_are_listed_named_and_simplified_in_sql() {
    let session = session(true);
    session.sql("CREATE TABLE t AS VALUES ('a')").await.unwrap().collect().await.unwrap();
    for (name, parameters) in
        NAMES.into_iter().zip([vec!["value", "form", "casefold"], vec!["value"], vec!["symbol", "module", "lang"]])
    {
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
    for (expression, expected) in [
        ("utf8_normalize('\u{c9}', casefold => true, form => 'NFD')", "Utf8(\"e\u{301}\")"),
        ("utf8_null_if_blank(' ')", "Utf8(NULL)"),
        ("qname_normalize(' a :: b ')", "Utf8(\"a.b\")"),
        ("utf8_normalize(utf8_normalize(column1, 'NFC'))", "Projection: utf8_normalize(t.column1, Utf8(\"NFC\"))"),
        (
            "utf8_normalize(utf8_normalize(column1, 'NFKC', true), 'NFKC', true)",
            "Projection: utf8_normalize(t.column1, Utf8(\"NFKC\"), Boolean(true))",
        ),
        (
            "utf8_normalize(utf8_normalize(column1, 'NFD'), 'NFKC')",
            "Projection: utf8_normalize(t.column1, Utf8(\"NFKC\"))",
        ),
        (
            "utf8_normalize(utf8_normalize(column1, 'NFKC'), 'NFC')",
            "Projection: utf8_normalize(t.column1, Utf8(\"NFKC\"))",
        ),
        (
            "utf8_normalize(utf8_normalize(column1, 'NFKC'), 'NFD')",
            "utf8_normalize(utf8_normalize(t.column1, Utf8(\"NFKC\")), Utf8(\"NFD\"))",
        ),
        (
            "utf8_normalize(utf8_normalize(column1, 'NFX'), 'NFX')",
            "utf8_normalize(utf8_normalize(t.column1, Utf8(\"NFX\")), Utf8(\"NFX\"))",
        ),
        (
            "utf8_normalize(utf8_normalize(column1, 'NFC', true), 'NFC')",
            "utf8_normalize(utf8_normalize(t.column1, Utf8(\"NFC\"), Boolean(true)), Utf8(\"NFC\"))",
        ),
        ("utf8_null_if_blank(utf8_null_if_blank(column1))", "Projection: utf8_null_if_blank(t.column1)"),
        ("qname_normalize(qname_normalize(column1))", "Projection: qname_normalize(t.column1)"),
        ("qname_normalize(qname_normalize(column1, 'm'))", "qname_normalize(qname_normalize(t.column1, Utf8(\"m\")))"),
    ] {
        let shown = plan(&session, &format!("SELECT {expression} AS result FROM t")).await;
        assert!(shown.contains(expected), "{shown}\n{expected}");
    }
    let error = query(&session, "SELECT utf8_normalize(1)").await.unwrap_err().strip_backtrace();
    assert!(error.contains("utf8_normalize: argument \"value\" is a string, not Int64"), "{error}");
}
