//! Views sum floats exactly: in the plan, in its encodings, in its identities and in its lineage.

use arrow::datatypes::DataType;

use crate::bundle::{InputSchema, PlanBundle, PlanEncoding, decode_plan};
use crate::compile::{CompileOptions, Definition, compile, definition_key};
use crate::lineage::Derivation;
use crate::session::{EngineOptions, EngineSession};
use crate::tpch::table;

const PLAIN: CompileOptions = CompileOptions { exact_sums: false, state: None };

fn session() -> EngineSession {
    EngineSession::new(EngineOptions::default()).unwrap()
}

fn sales() -> Vec<InputSchema> {
    vec![table(
        "sales",
        &[
            ("k", DataType::Int64),
            ("n", DataType::Int64),
            ("price", DataType::Decimal128(12, 2)),
            ("x", DataType::Float64),
            ("y", DataType::Float64),
            ("f", DataType::Float32),
        ],
    )]
}

fn compiled(text: &str, options: &CompileOptions) -> PlanBundle {
    compile(&session(), "v", &Definition::Sql(text.to_owned()), &sales(), options)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn sums_of_floats_are_exact_in_both_encodings() {
    for (text, encoding) in [
        ("SELECT k, sum(x) AS s, avg(f) AS a, sum(n) AS i FROM sales GROUP BY k", PlanEncoding::Substrait),
        ("SELECT stddev(x) AS s, corr(y, x) AS c, regr_slope(y, x) AS r FROM sales", PlanEncoding::Substrait),
        ("SELECT k, sum(x) AS s FROM sales GROUP BY k HAVING sum(x) > avg(x)", PlanEncoding::Substrait),
        ("SELECT k, sum(x) OVER (PARTITION BY k ORDER BY n) AS s FROM sales", PlanEncoding::Substrait),
        ("SELECT k, sum(x) FILTER (WHERE n > 1) OVER (PARTITION BY k) AS s FROM sales", PlanEncoding::Proto),
        ("SELECT k, n, sum(DISTINCT x) AS s FROM sales GROUP BY GROUPING SETS ((k), (k, n))", PlanEncoding::Substrait),
        ("SELECT k FROM sales s WHERE x > (SELECT avg(x) FROM sales t WHERE t.k = s.k)", PlanEncoding::Substrait),
    ] {
        let bundle = compiled(text, &CompileOptions::default());
        let plan = decode_plan(&session(), &bundle, &sales()).unwrap().display_indent().to_string();
        assert!(plan.contains("_exact(") && !plan.contains("[[sum("), "{text}: {plan}");
        assert!(bundle.displays.optimized.contains("_exact("), "{}", bundle.displays.optimized);
        // A physical window is shown under the name of its column, which stays what it was.
        let physical = bundle.displays.physical.as_ref().unwrap();
        assert!(physical.contains("_exact(") || text.contains("OVER"), "{text}: {physical}");
        assert_eq!(bundle.encoding, encoding, "{text}: {:?}", bundle.encoding_reason);
        assert_eq!(bundle.required_rewrite_tags, ["aggregate", "deterministic"], "{text}");
        let inexact = compiled(text, &PLAIN);
        assert!(!inexact.displays.optimized.contains("_exact("), "{text}");
        let columns = |bundle: &PlanBundle| -> Vec<String> {
            bundle.output_schema.iter().map(|column| format!("{} {}", column.name, column.data_type)).collect()
        };
        assert_eq!(columns(&bundle), columns(&inexact), "{text}");
    }
}

#[test]
fn grouped_views_stay_incremental() {
    for text in [
        "SELECT k, sum(x) AS s, avg(n) AS a, var_pop(x) AS v, covar_pop(y, x) AS c FROM sales GROUP BY k",
        "SELECT k, sum(x) / count(*) AS s FROM sales WHERE n > 1 GROUP BY k HAVING avg(x) > 1",
    ] {
        let bundle = compiled(text, &CompileOptions::default());
        assert!(bundle.maintenance.incremental, "{text}: {:?}", bundle.maintenance.reason);
    }
}

#[test]
fn the_option_is_part_of_the_identities_where_it_matters() {
    let floats = "SELECT k, sum(x) AS s FROM sales GROUP BY k";
    let (exact, plain) = (compiled(floats, &CompileOptions::default()), compiled(floats, &PLAIN));
    assert_ne!(exact.compile_key, plain.compile_key);
    assert_ne!(exact.fingerprint, plain.fingerprint);
    assert_ne!(exact.content_key, plain.content_key);
    for (bundle, options) in [(&exact, &CompileOptions::default()), (&plain, &PLAIN)] {
        let definition = Definition::Sql(floats.to_owned());
        let key = definition_key(&session(), "v", &definition, &sales(), options).unwrap();
        assert_eq!(key, bundle.compile_key);
    }

    // Both use the same functions, each for another argument.
    let mixed = "SELECT k, sum(x) AS s, sum_exact(y) AS e, sum(n) AS n FROM sales GROUP BY k";
    let (exact, plain) = (compiled(mixed, &CompileOptions::default()), compiled(mixed, &PLAIN));
    assert_eq!(exact.functions_used.keys().collect::<Vec<_>>(), plain.functions_used.keys().collect::<Vec<_>>());
    assert_ne!(exact.content_key, plain.content_key);

    let integers = "SELECT k, sum(n) AS s, avg(price) AS a, max(x) AS m FROM sales GROUP BY k";
    let (exact, plain) = (compiled(integers, &CompileOptions::default()), compiled(integers, &PLAIN));
    assert_ne!(exact.compile_key, plain.compile_key);
    assert_eq!(exact.fingerprint, plain.fingerprint);
    assert_eq!(exact.content_key, plain.content_key);
    assert!(exact.required_functions.is_empty());
}

#[test]
fn lineage_tells_what_depends_on_the_order_of_rows() {
    let text = "SELECT k, sum(x) AS s, sum(x) / 2 AS half, sum(n) AS i, max(y) AS m, approx_median(y) AS middle, \
                avg(y) AS a FROM sales GROUP BY k";
    let dependent = |options: &CompileOptions| -> Vec<String> {
        let outputs = compiled(text, options).lineage.outputs.into_iter();
        outputs
            .filter(|output| output.sources.iter().any(|source| source.how == Derivation::OrderDependent))
            .map(|output| output.name)
            .collect()
    };
    assert_eq!(dependent(&CompileOptions::default()), ["middle"]);
    assert_eq!(dependent(&PLAIN), ["s", "half", "middle", "a"]);
}
