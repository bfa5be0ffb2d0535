"""Functions of a project: views that call them are right, and an edit touches exactly the views that reach it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from daemon.checking import check_project
from incremental.keeper import Keeper
from registry.errors import DefinitionError
from registry.native import QueryRequest
from registry.project import load_project
from tests import oracle
from tests.workspace import Workspace

FLIGHTS = pa.schema([("id", pa.int64()), ("dest", pa.string()), ("delay", pa.float64())])
ROWS: list[dict[str, Any]] = [
    {"id": 1, "dest": " Rome ", "delay": 3.0},
    {"id": 2, "dest": None, "delay": 30.0},
    {"id": 3, "dest": "Oslo", "delay": None},
]
LATE = (
    "-- Whether an arrival counts as late.\nCREATE FUNCTION late(minutes DOUBLE) RETURNS BOOLEAN RETURN minutes > 15\n"
)
CITY = "CREATE FUNCTION city(name VARCHAR) RETURNS VARCHAR RETURN upper(trim($name))"
LABEL = (
    "CREATE FUNCTION label(name VARCHAR, minutes DOUBLE) RETURNS VARCHAR\n"
    "RETURN city(name) || CASE WHEN late($2) THEN '!' ELSE '' END"
)
# What the views say without functions, which is what the oracle runs.
VIEWS = {
    "late_ones": ("SELECT id FROM flights WHERE late(delay)", "SELECT id FROM flights WHERE delay > 15"),
    "labels": (
        "SELECT id, label(minutes => delay, name => dest) AS label FROM flights",
        "SELECT id, upper(trim(dest)) || CASE WHEN delay > 15 THEN '!' ELSE '' END AS label FROM flights",
    ),
    "cities": (
        "SELECT city(dest) AS city, count(*) AS n FROM flights GROUP BY city(dest)",
        "SELECT upper(trim(dest)) AS city, count(*) AS n FROM flights GROUP BY 1",
    ),
    "ids": ("SELECT id FROM flights", "SELECT id FROM flights"),
}


def write(root: Path, name: str, text: str) -> None:
    (root / "functions").mkdir(exist_ok=True)
    (root / "functions" / f"{name}.sql").write_text(text)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    made.dataset("flights", FLIGHTS, ROWS)
    for name, (query, _) in VIEWS.items():
        made.view(name, query)
    for name, text in {"late": LATE, "city": CITY, "label": LABEL}.items():
        write(tmp_path, name, text)
    return made


@pytest.fixture
def keeper(workspace: Workspace) -> Iterator[Keeper]:
    opened = workspace.open()
    workspace.cycle(opened)
    yield opened
    opened.close()


def assert_right(workspace: Workspace, late: str = "15") -> None:
    for name, (_, plain) in VIEWS.items():
        relations = {"flights": workspace.datasets["flights"].content()}
        expected = oracle.recompute(plain.replace("delay > 15", f"delay > {late}"), relations)
        oracle.assert_equal(expected, oracle.read(workspace.target(name)), about=name)


def test_views_that_call_them_are_kept_right(workspace: Workspace, keeper: Keeper) -> None:
    assert_right(workspace)
    workspace.datasets["flights"].append([{"id": 4, "dest": "rome", "delay": 16.0}])
    records = workspace.cycle(keeper)
    assert {name: record.strategy for name, record in records.items()} == dict.fromkeys(VIEWS, "incremental")
    assert_right(workspace)
    assert all(report.equal for report in keeper.verify())


def test_an_edit_recomputes_exactly_the_views_that_reach_the_function(workspace: Workspace, keeper: Keeper) -> None:
    write(workspace.root, "late", LATE.replace("15", "20"))
    report = keeper.reload()
    assert sorted(report.changed) == ["labels", "late_ones"]
    assert sorted(report.planned) == ["labels", "late_ones"]
    workspace.datasets["flights"].append([{"id": 4, "dest": "rome", "delay": 16.0}])
    records = workspace.cycle(keeper)
    recomputed = sorted(name for name, record in records.items() if record.strategy == "recompute")
    assert recomputed == ["labels", "late_ones"]
    assert_right(workspace, late="20")


def test_a_comment_or_another_file_touches_nothing(workspace: Workspace, keeper: Keeper) -> None:
    write(workspace.root, "late", LATE.replace("counts as", "is called").replace("RETURN minutes", "RETURN\n  minutes"))
    write(workspace.root, "unused", "CREATE FUNCTION unused(a INT) RETURNS INT RETURN a")
    report = keeper.reload()
    assert (report.changed, report.planned) == ((), ())
    assert {record.strategy for record in workspace.cycle(keeper).values()} == {"skip"}


def test_a_restart_plans_nothing(workspace: Workspace, keeper: Keeper) -> None:
    keeper.close()
    again = workspace.open()
    assert again.world.compiled.planned == ()
    assert {record.strategy for record in workspace.cycle(again).values()} == {"skip"}
    again.close()


def test_a_stored_plan_names_its_macros_and_explain_shows_them(workspace: Workspace, keeper: Keeper) -> None:
    explained = keeper.explain("labels").to_json()
    assert sorted(explained["macros"]) == ["city", "label", "late"]
    assert "label(" not in explained["displays"]["optimized"].replace("AS label", "")
    details = keeper.query("SELECT plan_details_json FROM deltakeep.plan_artifacts WHERE view_name = 'late_ones'")
    assert '"macros_used":{"late":' in details.read_all().column(0)[0].as_py()


def test_queries_may_call_them(keeper: Keeper) -> None:
    assert keeper.query("SELECT city(' ulm ') AS c, late(16) AS l").read_all().to_pylist() == [{"c": "ULM", "l": True}]
    with pytest.raises(Exception, match="city"):
        keeper.runtime.query("SELECT city('x')")
    assert QueryRequest(sql="SELECT 1").functions == ()


def test_a_project_that_is_right_lists_them_with_their_views(workspace: Workspace) -> None:
    workspace.configure()
    report = check_project(workspace.root)
    assert [(one["name"], one["arguments"], one["returns"], one["views"]) for one in report.functions] == [
        ("city", ["name"], "Utf8View", ["cities", "labels"]),
        ("label", ["name", "minutes"], "Utf8View", ["labels"]),
        ("late", ["minutes"], "Boolean", ["labels", "late_ones"]),
    ]
    assert report.functions[0]["source"] == "functions/city.sql:1"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("late", "", 'functions/late.sql:1: function "late": there is no statement'),
        ("late", LATE + ";\nSELECT 1", 'functions/late.sql:4: function "late": there is a second statement'),
        ("late", LATE.replace("CREATE", "CREATE OR REPLACE"), "it says OR REPLACE"),
        ("late", LATE.replace("minutes >", "hours >"), 'functions/late.sql:2: function "late": there is no argument'),
        ("late", LATE.replace("> 15", "> DATE '2024-01-01'"), 'functions/late.sql:1: function "late"'),
        ("late", LATE.replace("BOOLEAN", "DATE"), "Boolean, which is not assigned to Date32"),
        ("late", LATE.replace("FUNCTION late", "FUNCTION later"), 'it defines "later"'),
        ("late", LATE.replace("minutes >", "length(label('', 1)) >"), "label -> late -> label"),
        ("upper", "CREATE FUNCTION upper(a VARCHAR) RETURNS VARCHAR RETURN a", 'the name "upper" is taken'),
        ("Late", LATE, 'functions/Late.sql:1: "Late" is not a name for a function'),
    ],
)
def test_a_broken_function_changes_nothing_and_is_told_with_its_place(
    workspace: Workspace, keeper: Keeper, name: str, text: str, told: str
) -> None:
    good = keeper.world
    write(workspace.root, name, text)
    with pytest.raises(DefinitionError) as caught:
        keeper.reload()
    assert told in " ".join(str(caught.value).split()).replace("at line 4, ", ""), caught.value
    assert keeper.world is good
    workspace.datasets["flights"].append([{"id": 4, "dest": "rome", "delay": 16.0}])
    workspace.cycle(keeper)
    assert_right(workspace)


def test_a_view_that_calls_a_removed_function_is_told(workspace: Workspace, keeper: Keeper) -> None:
    (workspace.root / "functions" / "late.sql").unlink()
    (workspace.root / "functions" / "label.sql").unlink()
    workspace.view("labels", "SELECT id FROM flights")
    with pytest.raises(DefinitionError, match=r"views/late_ones.sql.*late"):
        keeper.reload()


def test_python_views_do_not_see_them_and_say_so(workspace: Workspace) -> None:
    source = (
        "from datafusion import col, functions as f\nfrom registry.authoring import view\n\n"
        "@view\ndef late_flights(flights):\n    return flights.filter(late(col('delay')))\n"
    )
    (workspace.root / "views" / "python.py").write_text(source)
    keeper = workspace.open()
    failure = keeper.failed_views()
    assert [str(name) for name in failure] == ["late_flights"]
    keeper.close()
    assert load_project(workspace.root).functions.keys() == {"city", "label", "late"}
