"""The digest of a view's content: kept through every kind of refresh, compared with that of the query, past or new."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

from incremental.audit import AuditReport
from incremental.keeper import Keeper
from registry.reasons import ReasonCode
from tests import oracle
from tests.lake import SourceTable
from tests.value_bytes import content_digest
from tests.workspace import Workspace

SALES: Final = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("city", pa.string()),
        pa.field("x", pa.float64()),
        pa.field("tags", pa.list_(pa.string())),
    ]
)
VIEWS: Final = {
    "rows": "SELECT id, city, x, tags FROM sales WHERE id % 7 <> 3",
    "cities": "SELECT city, count(*) AS n, sum(x) AS total, max(id) AS newest FROM sales GROUP BY city",
    "best": "SELECT city, sum(id) AS ids FROM sales GROUP BY city ORDER BY ids DESC, city LIMIT 2",
    "large": "SELECT city, n FROM cities WHERE n > 1",
}


def sales(first: int, count: int) -> list[dict[str, Any]]:
    """Rows with NULLs, NaN, both zeros and rows that are there twice."""
    cities, floats = ["Oslo", "Rome", None, ""], [0.5, -0.0, 0.0, float("nan"), None]
    return [
        {"id": id_ // 2, "city": cities[id_ // 2 % 4], "x": floats[id_ // 2 % 5], "tags": [None, "a"][: id_ % 3]}
        for id_ in range(first, first + count)
    ]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.dataset("sales", SALES, sales(0, 40))
    for name, query in VIEWS.items():
        workspace.view(name, query)
    return workspace


@pytest.fixture
def keeper(workspace: Workspace) -> Iterator[Keeper]:
    keeper = workspace.open()
    yield keeper
    keeper.close()


def changed(table: SourceTable, step: int) -> None:
    """Change the dataset in the way of a step."""
    match step:
        case 0:
            table.append(sales(40, 30))
        case 1:
            table.delete("id % 5 = 2")
        case 2:
            table.update({"city": "'Rome'"}, "id < 9")
        case 3:
            table.optimize()
        case 4:
            table.merge(sales(90, 3), on="id")
        case 5:
            table.overwrite(sales(20, 11))
        case 6:
            table.delete()
        case 7:
            table.append(sales(0, 5))


def own_commits(target: Path) -> dict[int, dict[str, Any]]:
    """Return what our commits say of themselves, by version."""
    found: dict[int, dict[str, Any]] = {}
    for entry in sorted((target / "_delta_log").glob("*.json")):
        for line in entry.read_text().splitlines():
            if said := json.loads(line).get("commitInfo", {}).get("deltakeep"):
                found[int(entry.stem)] = said
    return found


def verdict(report: AuditReport) -> tuple[bool, bool, ReasonCode | None]:
    return report.checked, report.equal, report.reason


def test_every_commit_carries_the_digest_of_its_rows_and_each_can_be_derived_again(
    workspace: Workspace, keeper: Keeper
) -> None:
    workspace.cycle(keeper)
    strategies = set()
    for step in range(8):
        changed(workspace.datasets["sales"], step)
        strategies |= {record.strategy for record in workspace.cycle(keeper).values()}
        workspace.assert_right(about=f"after step {step}")
        assert all(verdict(one) == (True, True, None) for one in keeper.verify(digest=True))
    assert strategies >= {"incremental", "skip"}
    for view in VIEWS:
        commits = own_commits(workspace.target(view))
        assert len(commits) >= 4
        for version, said in commits.items():
            assert said["content_digest"] == content_digest(oracle.read(workspace.target(view), version))
            (report,) = [one for one in keeper.verify([view], version=version) if one.view == view]
            assert verdict(report) == (True, True, None), report.message
            assert report.version == version
            assert report.digest is not None
            assert report.digest.committed == report.digest.computed == said["content_digest"]


def test_a_digest_that_is_not_the_querys_is_a_difference(workspace: Workspace, keeper: Keeper) -> None:
    workspace.cycle(keeper)
    entry = workspace.target("rows") / "_delta_log" / f"{0:020}.json"
    digest = own_commits(workspace.target("rows"))[0]["content_digest"]
    entry.write_text(entry.read_text().replace(digest, "0" * 32))
    keeper.close()
    other = workspace.open()
    try:
        (report,) = other.verify(["rows"], digest=True)
        assert verdict(report) == (True, False, None)
        assert "0" * 32 in report.message
        assert digest in report.message
    finally:
        other.close()


def test_what_cannot_be_compared_by_digest_says_why(workspace: Workspace, keeper: Keeper) -> None:
    workspace.view("loose", "SELECT city, sum(x) AS total FROM sales GROUP BY city", "exact_sums = false")
    keeper.reload()
    (report,) = keeper.verify(["rows"], digest=True)
    assert verdict(report) == (False, False, ReasonCode.FIRST_BUILD)
    workspace.cycle(keeper)
    (report,) = keeper.verify(["loose"], digest=True)
    assert verdict(report) == (False, False, ReasonCode.FLOAT_ORDER_DEPENDENT)
    assert "total" in report.message
    workspace.targets()["rows"].delete("id = 1")
    (report,) = keeper.verify(["rows"], digest=True)
    assert verdict(report) == (False, False, ReasonCode.TARGET_MODIFIED)
    workspace.datasets["sales"].overwrite(sales(0, 3))
    workspace.datasets["sales"].vacuum()
    report = next(one for one in keeper.verify(["cities"], version=0) if one.view == "cities")
    assert verdict(report) == (False, False, ReasonCode.HISTORY_GONE)


def test_a_commit_without_a_digest_is_built_upon_without_one_until_a_recompute(workspace: Workspace) -> None:
    with_keeper(workspace)
    entry = workspace.target("rows") / "_delta_log" / f"{0:020}.json"
    digest = own_commits(workspace.target("rows"))[0]["content_digest"]
    entry.write_text(entry.read_text().replace(f',"content_digest":"{digest}"', ""))
    assert "content_digest" not in own_commits(workspace.target("rows"))[0]
    keeper = workspace.open()
    try:
        workspace.datasets["sales"].append(sales(40, 6))
        assert workspace.cycle(keeper, ["rows"])["rows"].strategy == "incremental"
        (report,) = keeper.verify(["rows"], digest=True)
        assert verdict(report) == (False, False, ReasonCode.DIGEST_UNKNOWN)
        assert own_commits(workspace.target("rows"))[1]["content_digest"] is None
        keeper.run_cycle(["rows"], cause="test", force="recompute")
        (report,) = keeper.verify(["rows"], digest=True)
        assert verdict(report) == (True, True, None)
    finally:
        keeper.close()


def test_content_of_an_earlier_definition_is_derived_from_its_recorded_plan(
    workspace: Workspace, keeper: Keeper
) -> None:
    workspace.cycle(keeper)
    workspace.view("rows", "SELECT id, city FROM sales WHERE id % 2 = 0")
    keeper.reload()
    workspace.cycle(keeper)
    for version in (0, 1):
        (report,) = keeper.verify(["rows"], version=version)
        assert verdict(report) == (True, True, None), report.message


def with_keeper(workspace: Workspace) -> None:
    """Build every view once."""
    keeper = workspace.open()
    try:
        workspace.cycle(keeper)
    finally:
        keeper.close()
