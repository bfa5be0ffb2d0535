"""Explain: sizes of what is scanned, states with their operators, what a recompute costs and what refreshes took."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from daemon.cli.trees import show_explained
from incremental.keeper import Keeper
from tests.lake import Rows
from tests.workspace import Workspace

SALES: Final = pa.schema([("shop", pa.string()), ("day", pa.int64()), ("items", pa.int64())])
LARGE: Final = """SELECT items, n FROM (
    SELECT count(*) AS n, sum(s.items) AS items
    FROM sales s JOIN (SELECT shop, sum(items) AS items, count(*) AS n FROM sales GROUP BY shop) g ON s.shop = g.shop
    WHERE s.items * g.n > g.items
) q WHERE n > 0"""


def sales(first: int, count: int) -> Rows:
    return [{"shop": f"s{one % 5}", "day": one // 10, "items": one * 7 % 11} for one in range(first, first + count)]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    made.dataset("sales", SALES, sales(0, 40), partition_by=["day"])
    made.view("late", "SELECT shop, items FROM sales WHERE day = 3")
    made.view("best", "SELECT shop, sum(items) AS items FROM late GROUP BY shop ORDER BY items DESC, shop LIMIT 2")
    return made


@pytest.fixture
def opened(workspace: Workspace) -> Iterator[Callable[[], Keeper]]:
    keepers: list[Keeper] = []

    def open_one() -> Keeper:
        keepers.append(workspace.open())
        return keepers[-1]

    yield open_one
    for keeper in keepers:
        keeper.close()


def told(keeper: Keeper, view: str) -> dict[str, Any]:
    return keeper.explain(view).to_json()


def size_of(path: Path) -> dict[str, Any]:
    """The size of a table as a stranger sees it."""
    table = DeltaTable(path)
    actions = pa.table(table.get_add_actions(flatten=True))
    return {
        "version": table.version(),
        "rows": sum(actions["num_records"].to_pylist()),
        "files": actions.num_rows,
        "bytes": sum(actions["size_bytes"].to_pylist()),
        "unknown": "",
    }


def scans(explained: dict[str, Any]) -> dict[str, dict[str, Any]]:
    operators = explained["maintenance"]["operators"]
    found = {one["scan"]["relation"]: dict(one["scan"]) for one in operators if one["scan"] is not None}
    for scan in found.values():
        del scan["relation"]
    return found


def files(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def test_a_scan_shows_how_large_its_relation_is_now(workspace: Workspace, opened: Callable[[], Keeper]) -> None:
    keeper = opened()
    workspace.cycle(keeper)
    workspace.datasets["sales"].append(sales(40, 3))
    explained = told(keeper, "late")
    assert scans(explained) == {"sales": size_of(workspace.datasets["sales"].path)}
    assert scans(explained)["sales"]["rows"] == 43
    size = size_of(workspace.target("late"))
    assert explained["size"] == {"relation": "late", **size}
    assert explained["states"] == []
    assert all(one["scan"] is None for one in explained["maintenance"]["operators"] if "Scan" not in one["operator"])


def test_a_recompute_reads_what_filters_leave_and_writes_about_the_target(
    workspace: Workspace, opened: Callable[[], Keeper]
) -> None:
    keeper = opened()
    workspace.cycle(keeper)
    cost = told(keeper, "late")["costs"]["recompute"]
    assert (cost["reads_files"], cost["skips_files"], cost["unknown"]) == (1, 3, "")
    whole = size_of(workspace.datasets["sales"].path)["bytes"]
    assert 0 < cost["reads_bytes"] < whole / 2
    assert cost["writes_bytes"] == size_of(workspace.target("late"))["bytes"]


def test_all_states_are_explained_with_their_tables_and_operators(
    workspace: Workspace, opened: Callable[[], Keeper]
) -> None:
    workspace.view("large", LARGE, 'state_table = "always"')
    keeper = opened()
    workspace.cycle(keeper)
    explained = told(keeper, "large")
    states = {one["name"]: one for one in explained["states"]}
    assert list(states) == ["large__state", "large__state__state"]
    for name, state in states.items():
        assert state["size"] == {"relation": name, **size_of(workspace.root / "state" / name)}
        assert state["maintenance"]["incremental"]
        assert state["costs"]["recompute"]["reads_bytes"] > 0
    assert set(scans(explained)) == {"large__state"}
    assert set(scans(states["large__state"])) == {"sales", "large__state__state"}
    assert set(scans(states["large__state__state"])) == {"sales"}
    assert [one["name"] for one in told(keeper, "large__state")["states"]] == ["large__state__state"]


def test_the_history_tells_what_refreshes_changed_and_took(workspace: Workspace, opened: Callable[[], Keeper]) -> None:
    keeper = opened()
    workspace.cycle(keeper)
    history = told(keeper, "late")["costs"]["history"]
    assert history["incremental"] == {
        "refreshes": 0,
        "median_rows": None,
        "median_bytes_read": None,
        "median_ms": None,
    }
    assert (history["recompute"]["refreshes"], history["recompute"]["median_rows"]) == (1, 10)
    for number in (1, 5, 2):
        workspace.datasets["sales"].append([{"shop": "s9", "day": 3, "items": one} for one in range(number)])
        workspace.cycle(keeper)
    # A new process has it from the store.
    history = told(opened(), "late")["costs"]["history"]
    assert history["records"] == 4
    assert (history["incremental"]["refreshes"], history["incremental"]["median_rows"]) == (3, 2)
    assert history["incremental"]["median_bytes_read"] > 0
    assert (history["recompute"]["refreshes"], history["recompute"]["median_rows"]) == (1, 10)


def test_what_is_not_built_is_unknown_and_says_so(
    workspace: Workspace, opened: Callable[[], Keeper], capsys: pytest.CaptureFixture[str]
) -> None:
    keeper = opened()
    before = files(workspace.root)
    explained = told(keeper, "best")
    assert explained["size"]["unknown"] == "there is no table yet"
    assert explained["size"]["rows"] is None
    [state] = explained["states"]
    assert scans(state)["late"]["unknown"] == "there is no table yet"
    assert state["costs"]["recompute"]["reads_bytes"] is None
    assert "late" in state["costs"]["recompute"]["unknown"]
    show_explained(explained, physical=False)
    shown = capsys.readouterr().out
    assert "target: size unknown, there is no table yet" in shown
    assert 'a recompute reads an unknown amount and writes an unknown amount: of "late", there is no table yet' in shown
    assert "what its refreshes take is unknown: none is recorded" in shown
    assert files(workspace.root) == before, "explaining writes nothing"


def test_what_cannot_be_read_is_unknown_and_says_so(
    workspace: Workspace, opened: Callable[[], Keeper], capsys: pytest.CaptureFixture[str]
) -> None:
    keeper = opened()
    workspace.cycle(keeper)
    for log in (workspace.root / "state" / "refreshes").glob("*.parquet"):
        log.unlink()
    shutil.rmtree(workspace.datasets["sales"].path)
    explained = told(keeper, "late")
    assert scans(explained)["sales"]["unknown"]
    assert scans(explained)["sales"]["rows"] is None
    assert explained["costs"]["history"] is None
    assert explained["costs"]["recompute"]["reads_bytes"] is None
    assert explained["costs"]["recompute"]["writes_bytes"] > 0
    show_explained(explained, physical=False)
    shown = capsys.readouterr().out
    assert "what its refreshes took is unknown: the history cannot be read" in shown
    assert shown.splitlines()[-1] == "refreshed incrementally"


def test_explaining_shows_all_of_it_and_writes_nothing(
    workspace: Workspace, opened: Callable[[], Keeper], capsys: pytest.CaptureFixture[str]
) -> None:
    keeper = opened()
    workspace.cycle(keeper)
    before = files(workspace.root)
    explained = told(keeper, "best")
    assert files(workspace.root) == before
    show_explained(explained, physical=False)
    shown = capsys.readouterr().out
    assert "target: version 0, 2 rows, " in shown
    assert "state best__state, kept by changes" in shown
    assert "its table: version 0, 5 rows, " in shown
    assert shown.count("a recompute reads ") == 2
    assert "of its last 1 record: 1 recompute, median 2 rows changed, " in shown
    assert "of its last 1 record: 1 recompute, median 5 rows changed, " in shown
    assert "unknown" not in shown
    scan = next(line for line in shown.splitlines() if line.startswith("TableScan: best__state"))
    assert scan.split("linear")[1].split()[:2] == ["5", "1"]
