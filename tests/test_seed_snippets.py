"""The snippets of scopes 8 and 11 to 16 of the seed, as written there except for the names of modules.

DataFusion 55 calls two arguments of `DataFrame.aggregate` otherwise than the seed does: `group_by` and `aggs`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import pyarrow as pa
from datafusion import SessionConfig, SessionContext, col, lit
from datafusion.dataframe import DataFrame

from datafusion_ext import (
    any_value_det,
    arg_max,
    cdf_change_rank,
    cdf_is_delete,
    cdf_is_upsert,
    collect_set,
    list_compact,
    list_unique_sorted,
    map_get_default,
    prefixed_hash_parts64,
    qname_normalize,
    span_id,
    span_make,
    span_overlaps,
    stable_id_parts,
    struct_pick,
    utf8_normalize,
    utf8_null_if_blank,
)
from registry.functions import domain_planner_names_from_snapshot, rewrite_tag_index, rust_udf_snapshot_hash
from registry.udf_platform import RustUdfPlatformOptions, install_rust_udf_platform

# --- scope 8 ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UdfPlanningSnapshot:
    """Planning-time UDF identity for determinism and caching."""

    snapshot_hash: str
    rewrite_tags: tuple[str, ...]
    domain_planner_names: tuple[str, ...]


def install_udf_layer(ctx: SessionContext) -> UdfPlanningSnapshot:
    """Install UDFs and return the planning snapshot identity."""
    platform = install_rust_udf_platform(
        ctx,
        options=RustUdfPlatformOptions(
            enable_udfs=True,
            enable_function_factory=True,
            enable_expr_planners=True,
            strict=True,
        ),
    )
    snapshot_hash = rust_udf_snapshot_hash(platform.snapshot or {})
    tag_index = rewrite_tag_index(platform.snapshot or {})
    rewrite_tags = tuple(sorted(tag_index))
    planner_names = domain_planner_names_from_snapshot(platform.snapshot)
    return UdfPlanningSnapshot(
        snapshot_hash=snapshot_hash,
        rewrite_tags=rewrite_tags,
        domain_planner_names=planner_names,
    )


def test_the_layer_is_installed_before_anything_is_planned() -> None:
    found = install_udf_layer(SessionContext(SessionConfig().with_information_schema(enabled=True)))
    assert len(found.snapshot_hash) == 64
    assert set(found.rewrite_tags) == {
        *("aggregate", "cdf", "delta", "deterministic", "hash", "id", "incremental", "list", "map", "nested"),
        *("position_encoding", "span", "string_norm", "struct", "symbol"),
    }
    assert set(found.domain_planner_names) == {
        *("change_types", "exact_sums", "identifiers", "nested", "spans", "strings"),
    }


# --- scope 11 ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IdentifierSpec:
    """Declarative identifier construction contract."""

    prefix: str
    parts: tuple[str, ...]


def add_identifier_columns(df: DataFrame, *, spec: IdentifierSpec) -> DataFrame:
    """Apply canonical identifier UDFs without SQL scaffolding."""
    part_exprs = tuple(col(name) for name in spec.parts)
    return df.with_column("stable_id", stable_id_parts(spec.prefix, *part_exprs)).with_column(
        "hash64", prefixed_hash_parts64(spec.prefix, *part_exprs)
    )


def test_identifier_columns_are_added() -> None:
    frame = SessionContext().from_pydict({"a": ["ab", "a", None], "b": ["c", "bc", ""]})
    rows = add_identifier_columns(frame, spec=IdentifierSpec("thing", ("a", "b"))).to_pylist()
    assert all(row["stable_id"].startswith("thing:") for row in rows)
    assert len({row["stable_id"] for row in rows}) == len({row["hash64"] for row in rows}) == 3


# --- scope 12 ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SpanSpec:
    """Declarative span construction contract."""

    path_col: str = "path"
    bstart_col: str = "bstart"
    bend_col: str = "bend"


def add_span_columns(df: DataFrame, *, spec: SpanSpec) -> DataFrame:
    """Attach canonical span and span_id columns."""
    span = span_make(col(spec.bstart_col), col(spec.bend_col), col_unit=lit("byte"))
    span_key = span_id("span", col(spec.path_col), col(spec.bstart_col), col(spec.bend_col))
    return df.with_column("span", span).with_column("span_id", span_key)


def filter_span_overlaps(df: DataFrame) -> DataFrame:
    """Filter by the span algebra without SQL."""
    return df.filter(span_overlaps(col("span"), col("candidate_span")))


def test_spans_are_attached_and_filtered() -> None:
    frame = SessionContext().from_pydict({"path": ["a.py", "a.py"], "bstart": [0, 4], "bend": [4, 8]})
    spans = add_span_columns(frame, spec=SpanSpec())
    found = filter_span_overlaps(spans.with_column("candidate_span", span_make(3, 4))).to_pylist()
    assert [row["span"] for row in found] == [{"start": 0, "end": 4, "unit": "byte"}]
    assert found[0]["span_id"].startswith("span:")


# --- scope 13 ---------------------------------------------------------------------------------------------------------


def normalize_symbols(df: DataFrame) -> DataFrame:
    """Apply canonical symbol normalization without SQL."""
    normalized = utf8_normalize(col("symbol"), form=lit("NFKC"), casefold=lit(True))
    cleaned = utf8_null_if_blank(normalized)
    qname = qname_normalize(cleaned, module=col("module"), lang=lit("python"))
    return df.with_column("symbol_norm", cleaned).with_column("qname_norm", qname)


def test_symbols_are_normalized() -> None:
    frame = SessionContext().from_pydict({"symbol": ["Ｆｏｏ", "  ", None], "module": ["pkg.mod", "pkg", "pkg"]})
    rows = normalize_symbols(frame).to_pylist()
    assert [row["symbol_norm"] for row in rows] == ["foo", None, None]
    assert rows[0]["qname_norm"] == "pkg.mod.foo"


# --- scope 14 ---------------------------------------------------------------------------------------------------------


def normalize_nested_attrs(df: DataFrame) -> DataFrame:
    """Apply canonical nested operations without SQL."""
    attrs = map_get_default(col("attrs"), lit("error_stage"), lit("unknown"))
    tags = list_unique_sorted(list_compact(col("tags")))
    minimal = struct_pick(col("payload"), lit("kind"), lit("span"), lit("symbol"))
    return (
        df.with_column("error_stage", attrs)
        .with_column("tags_norm", tags)
        .with_column(
            "payload_min",
            minimal,
        )
    )


def test_nested_attributes_are_normalized() -> None:
    payload = {"kind": "call", "span": 1, "symbol": "f", "rest": True}
    table = pa.table(
        {
            "attrs": pa.array([[("error_stage", "parse")], []], pa.map_(pa.string(), pa.string())),
            "tags": pa.array([["b", None, "a", "b"], None], pa.list_(pa.string())),
            "payload": [payload, payload],
        }
    )
    rows = normalize_nested_attrs(SessionContext().from_arrow(table)).to_pylist()
    assert [row["error_stage"] for row in rows] == ["parse", "unknown"]
    assert [row["tags_norm"] for row in rows] == [["a", "b"], None]
    assert rows[0]["payload_min"] == {"kind": "call", "span": 1, "symbol": "f"}


# --- scope 15 ---------------------------------------------------------------------------------------------------------


def canonicalize_group(df: DataFrame) -> DataFrame:
    """Use deterministic aggregates for canonical outputs."""
    return df.aggregate(
        group_by=[col("entity_id")],
        aggs=[
            collect_set(col("symbol")).alias("symbols"),
            arg_max(col("confidence"), col("updated_at")).alias("best_confidence"),
            any_value_det(col("path"), col("updated_at")).alias("canonical_path"),
        ],
    )


def test_groups_are_canonicalized() -> None:
    day = dt.datetime(2024, 1, 1)  # noqa: DTZ001 - a column without a zone
    frame = SessionContext().from_pydict(
        {
            "entity_id": [1, 1, 1],
            "symbol": ["b", "a", "b"],
            "confidence": [0.5, 0.9, 0.1],
            "updated_at": [day, day + dt.timedelta(days=2), day + dt.timedelta(days=1)],
            "path": [None, "late", "early"],
        }
    )
    (row,) = canonicalize_group(frame).to_pylist()
    assert row == {"entity_id": 1, "symbols": ["a", "b"], "best_confidence": 0.9, "canonical_path": "early"}


# --- scope 16 ---------------------------------------------------------------------------------------------------------


def classify_cdf_changes(df: DataFrame) -> DataFrame:
    """Classify CDF change semantics without SQL."""
    return (
        df.with_column("change_rank", cdf_change_rank(col("_change_type")))
        .with_column("is_upsert", cdf_is_upsert(col("_change_type")))
        .with_column("is_delete", cdf_is_delete(col("_change_type")))
    )


def test_changes_are_classified() -> None:
    frame = SessionContext().from_pydict({"_change_type": ["insert", "delete", "update_preimage", None]})
    rows = classify_cdf_changes(frame).to_pylist()
    assert [row["change_rank"] for row in rows] == [2, 1, 0, None]
    assert [row["is_upsert"] for row in rows] == [True, False, False, None]
    assert [row["is_delete"] for row in rows] == [False, True, False, None]
