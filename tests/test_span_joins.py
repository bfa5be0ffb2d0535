"""Spans as join conditions: in views that changes keep, and in DataFrames."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from datafusion import SessionContext, col

import datafusion_ext
from datafusion_ext import span_contains, span_make, span_overlaps
from tests import oracle
from tests.workspace import Workspace

TOKENS: Final = pa.schema([("path", pa.string()), ("token", pa.string()), ("first", pa.int64()), ("last", pa.int64())])
SCOPES: Final = pa.schema(
    [("file", pa.string()), ("scope", pa.string()), ("opens", pa.int64()), ("closes", pa.int64())]
)
JOINED: Final = "SELECT s.scope, t.token FROM scopes s JOIN tokens t ON"
LONELY: Final = "SELECT t.token FROM tokens t WHERE NOT EXISTS (SELECT 1 FROM scopes s WHERE"
SPANS: Final = "span_make(s.opens, s.closes), span_make(t.first, t.last)"
OVERLAP: Final = "s.opens < t.last AND t.first < s.closes AND s.opens < s.closes AND t.first < t.last"
# What the views say without functions, which is what the oracle runs.
VIEWS: Final = {
    "overlaps": (
        f"{JOINED} s.file = t.path AND span_make(s.opens, s.closes) && span_make(t.first, t.last)",
        f"{JOINED} s.file = t.path AND {OVERLAP}",
    ),
    "contains": (
        f"{JOINED} span_make(s.opens, s.closes) @> span_make(t.first, t.last)",
        f"{JOINED} s.opens <= t.first AND t.last <= s.closes",
    ),
    "outside": (f"{LONELY} span_overlaps({SPANS}))", f"{LONELY} {OVERLAP})"),
}


def tokens(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "path": f"{number % 2}.py",
            "token": f"t{number}",
            "first": number * 3 % 40,
            "last": number * 3 % 40 + number % 4,
        }
        for number in range(first, first + count)
    ]


SCOPE_ROWS: Final[list[dict[str, Any]]] = [
    {"file": "0.py", "scope": "f", "opens": 2, "closes": 9},
    {"file": "1.py", "scope": "g", "opens": 8, "closes": 16},
    {"file": "0.py", "scope": "empty", "opens": 6, "closes": 6},
    {"file": "0.py", "scope": "unknown", "opens": None, "closes": 4},
]


def assert_right(workspace: Workspace, about: str) -> None:
    relations = {name: table.content() for name, table in workspace.datasets.items()}
    for name, (_, plain) in VIEWS.items():
        expected = oracle.recompute(plain, relations)
        assert expected.num_rows > 0
        oracle.assert_equal(expected, oracle.read(workspace.target(name)), about=f"{name} {about}")


def test_views_that_join_on_spans_are_kept_right(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.dataset("tokens", TOKENS, tokens(40))
    workspace.dataset("scopes", SCOPES, SCOPE_ROWS)
    for name, (query, _) in VIEWS.items():
        workspace.view(name, query)
    keeper = workspace.open()
    workspace.cycle(keeper)
    assert_right(workspace, "at first")
    workspace.datasets["tokens"].append(tokens(5, first=40))
    workspace.datasets["tokens"].delete("token = 't2'")
    workspace.datasets["scopes"].append([{"file": "1.py", "scope": "h", "opens": 20, "closes": 30}])
    records = workspace.cycle(keeper)
    assert records["overlaps"].strategy == "incremental", records["overlaps"].message
    assert_right(workspace, "after changes of both sides")
    assert all(report.equal for report in keeper.verify())
    keeper.close()


def test_dataframes_join_on_spans() -> None:
    context = SessionContext()
    datafusion_ext.register_functions(context)
    left = context.from_pylist(SCOPE_ROWS).select(
        col("scope"), span_make(col("opens"), col("closes")).alias("scope_span")
    )
    right = context.from_pylist(tokens(8)).select(
        col("token"), span_make(col("first"), col("last")).alias("token_span")
    )
    scopes = [row for row in SCOPE_ROWS if row["opens"] is not None]
    for condition, holds in ((span_overlaps, overlap), (span_contains, contain)):
        joined = left.join_on(right, condition(col("scope_span"), col("token_span")), how="inner").to_pylist()
        found = {(row["scope"], row["token"]) for row in joined}
        expected = {(s["scope"], t["token"]) for s in scopes for t in tokens(8) if holds(s, t)}
        assert found == expected
        assert found


def overlap(scope: dict[str, Any], token: dict[str, Any]) -> bool:
    return bool(max(scope["opens"], token["first"]) < min(scope["closes"], token["last"]))


def contain(scope: dict[str, Any], token: dict[str, Any]) -> bool:
    return bool(scope["opens"] <= token["first"] and token["last"] <= scope["closes"])
