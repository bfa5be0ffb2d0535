"""What goes wrong in the world: each mistake has a clear error, costs no row, and is over when it is mended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from incremental.keeper import Keeper
from registry.artifact_rows import RefreshRecord
from registry.errors import DefinitionError
from tests import oracle
from tests.lake import SourceTable
from tests.sources import ROOT
from tests.workspace import Workspace

ORDERS = pa.schema([("id", pa.int64()), ("city", pa.string()), ("amount", pa.int64())])
FIRST = [{"id": 1, "city": "Rome", "amount": 10}, {"id": 2, "city": "Oslo", "amount": 20}]
SECOND = [{"id": 3, "city": "Rome", "amount": 30}]
NOBODY = 65534


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    made.dataset("orders", ORDERS, FIRST)
    made.dataset("notes", pa.schema([("text", pa.string())]), [{"text": "hello"}])
    made.view("cities", "SELECT city, sum(amount) AS amount FROM orders GROUP BY city")
    made.view("texts", "SELECT text FROM notes")
    return made


@pytest.fixture
def keeper(workspace: Workspace) -> Iterator[Keeper]:
    opened = workspace.open()
    workspace.cycle(opened)
    yield opened
    opened.close()


def said(record: RefreshRecord) -> str:
    return f"{record.reason} {record.message} {record.error or ''}"


def other_view_goes_on(workspace: Workspace, keeper: Keeper) -> RefreshRecord:
    """Run a cycle in which `cities` cannot be refreshed and `texts` must be; return what is said about `cities`."""
    before = oracle.read(workspace.target("cities"))
    workspace.datasets["notes"].append([{"text": "more"}])
    records = workspace.cycle(keeper)
    assert records["texts"].outcome == "committed"
    assert records["cities"].outcome not in {"committed", "unchanged"}
    oracle.assert_equal(before, oracle.read(workspace.target("cities")), about="the last good content of cities")
    return records["cities"]


def all_is_well(workspace: Workspace, keeper: Keeper) -> None:
    workspace.cycle(keeper)
    workspace.assert_right()
    assert all(report.equal for report in keeper.verify())


# ---- definitions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[project\n", ["deltakeep.toml:1"]),
        ("[project]\nname = 'x'\nstoer = 'y'\n", ["deltakeep.toml:3", "stoer", "store"]),
        ("[project]\nname = 'x'\n[datasets.orders]\nuri = 5\n", ["deltakeep.toml:4", "uri"]),
    ],
    ids=["no TOML", "unknown key", "wrong type"],
)
def test_a_bad_project_file_is_told_with_its_line(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "deltakeep.toml").write_text(text)
    with pytest.raises(DefinitionError) as caught:
        Keeper.open(tmp_path, clock=Workspace(tmp_path).clock)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("SELEC city FROM orders", "SELEC"),
        ("SELECT town FROM orders", "town"),
        ("SELECT city FROM ordres", "orders"),
        ("SELECT city, amount AS city FROM orders", "city"),
        ("DROP TABLE orders", "DROP"),
    ],
    ids=["no SQL", "unknown column", "unknown relation", "a name twice", "not a query"],
)
def test_a_broken_query_changes_nothing_on_reload(workspace: Workspace, keeper: Keeper, query: str, word: str) -> None:
    good = workspace.views["cities"]
    workspace.view("cities", query)
    with pytest.raises(DefinitionError) as caught:
        keeper.reload()
    told = str(caught.value)
    assert "views/cities.sql" in told
    assert word.lower() in told.lower()
    workspace.views["cities"] = good
    workspace.datasets["orders"].append(SECOND)
    all_is_well(workspace, keeper)


def test_a_view_of_chance_is_refused_unless_it_says_recompute(workspace: Workspace) -> None:
    """The call is deep inside, below an operator that is recomputed for a reason of its own."""
    query = (
        "SELECT id FROM (SELECT id FROM orders WHERE id > (SELECT count(*) FROM notes WHERE random() > 2)) q LIMIT 9"
    )
    workspace.view("chances", query)
    keeper = workspace.open()
    try:
        records = workspace.cycle(keeper)
        assert records["cities"].outcome == "committed"
        assert records["chances"].outcome == "failed"
        told = said(records["chances"])
        assert all(word in told for word in ('"chances"', "random()", "views/chances.sql")), told
        assert 'refresh = "recompute"' in told
    finally:
        keeper.close()
    workspace.view("chances", query, 'refresh = "recompute"')
    keeper = workspace.open()
    try:
        workspace.cycle(keeper)
        workspace.datasets["orders"].append(SECOND)
        records = workspace.cycle(keeper)
        assert (records["chances"].outcome, records["chances"].reason) == ("committed", "policy_recompute")
        workspace.assert_right()
        (report,) = keeper.verify(["chances"])
        assert (report.checked, report.reason) == (False, "volatile_function")
        assert "random()" in report.message
    finally:
        keeper.close()


@pytest.mark.parametrize("named", ["best", "best__state"])
def test_a_view_and_its_state_are_paused_together(workspace: Workspace, named: str) -> None:
    workspace.view("best", "SELECT city, count(*) AS n FROM orders GROUP BY city ORDER BY n DESC, city LIMIT 1")
    keeper = workspace.open()
    try:
        assert "best__state" in workspace.cycle(keeper)
        keeper.pause(named, "later")
        assert keeper.paused() == {"best": "later", "best__state": "later"}
        workspace.datasets["orders"].append(SECOND)
        records = workspace.cycle(keeper)
        # The view's only input is its state, which stood still.
        assert (records["best__state"].reason, records["best"].reason) == ("paused", "no_new_versions")
        assert records["cities"].outcome == "committed"
        states: dict[str, str] = {view.name: view.state for view in keeper.status().views}
        assert (states["best"], states["best__state"], states["cities"]) == ("paused", "paused", "fresh")
        keeper.resume(named)
        assert keeper.paused() == {}
        all_is_well(workspace, keeper)
    finally:
        keeper.close()


def test_views_in_a_circle_are_named(workspace: Workspace) -> None:
    workspace.view("one", "SELECT * FROM other")
    workspace.view("other", "SELECT * FROM one")
    with pytest.raises(DefinitionError, match=r"one.*other|other.*one"):
        workspace.open()


def test_a_target_that_belongs_to_somebody_else_is_not_touched(workspace: Workspace) -> None:
    foreign = SourceTable.create(workspace.target("cities"), ORDERS, FIRST)
    keeper = workspace.open()
    try:
        records = workspace.cycle(keeper)
        assert records["cities"].reason == "not_ours"
        assert foreign.version == 0
        assert records["texts"].outcome == "committed"
    finally:
        keeper.close()


# ---- tables --------------------------------------------------------------------------------------------------------


def test_a_missing_table_stops_its_readers_only(workspace: Workspace, keeper: Keeper) -> None:
    orders = workspace.datasets["orders"]
    away = orders.path.with_name("away")
    orders.append(SECOND)
    orders.path.rename(away)
    record = other_view_goes_on(workspace, keeper)
    assert record.reason == "input_missing"
    assert "orders" in said(record)
    away.rename(orders.path)
    all_is_well(workspace, keeper)


def test_an_unreadable_feature_is_named(workspace: Workspace, keeper: Keeper) -> None:
    orders = workspace.datasets["orders"]
    version = orders.append(SECOND)
    feature = ["typeWidening"]
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": feature, "writerFeatures": feature}
    actions = [{"commitInfo": {"timestamp": 1, "operation": "UPGRADE PROTOCOL"}}, {"protocol": protocol}]
    entry = orders.log / f"{version + 1:020}.json"
    entry.write_text("".join(json.dumps(action) + "\n" for action in actions))
    record = other_view_goes_on(workspace, keeper)
    assert "typeWidening" in said(record)
    entry.unlink()
    all_is_well(workspace, keeper)


@pytest.mark.parametrize("text", ["", "{", '{"add": {"path"', "\0\0\0\0", '{"add": {}}\n'], ids=repr)
def test_a_corrupt_log_entry_is_named(workspace: Workspace, keeper: Keeper, text: str) -> None:
    orders = workspace.datasets["orders"]
    version = orders.append(SECOND)
    entry = orders.log / f"{version:020}.json"
    good = entry.read_text()
    entry.write_text(text)
    record = other_view_goes_on(workspace, keeper)
    assert "orders" in said(record)
    assert str(version) in said(record)
    entry.write_text(good)
    all_is_well(workspace, keeper)


def test_a_gap_in_the_log_is_no_new_version_and_no_guess(workspace: Workspace, keeper: Keeper) -> None:
    orders = workspace.datasets["orders"]
    missing = orders.append(SECOND)
    orders.append([{"id": 4, "city": "Bern", "amount": 1}])
    entry = orders.log / f"{missing:020}.json"
    away = entry.with_suffix(".away")
    entry.rename(away)
    keeper_after_a_restart = workspace.open()
    try:
        record = other_view_goes_on(workspace, keeper_after_a_restart)
        assert "orders" in said(record)
    finally:
        keeper_after_a_restart.close()
    away.rename(entry)
    all_is_well(workspace, keeper)


def test_a_data_file_that_is_gone_loses_nothing(workspace: Workspace, keeper: Keeper) -> None:
    orders = workspace.datasets["orders"]
    orders.append(SECOND)
    fresh = max(orders.path.glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    away = fresh.with_suffix(".away")
    fresh.rename(away)
    other_view_goes_on(workspace, keeper)
    away.rename(fresh)
    all_is_well(workspace, keeper)


def test_a_target_that_somebody_wrote_to_is_recomputed_and_says_so(workspace: Workspace, keeper: Keeper) -> None:
    SourceTable(workspace.target("cities"), pa.schema([])).delete("city = 'Rome'")
    assert workspace.cycle(keeper)["cities"].reason == "target_modified"
    all_is_well(workspace, keeper)


def test_a_target_that_was_compacted_by_a_stranger_is_still_right(workspace: Workspace, keeper: Keeper) -> None:
    for number in range(3):
        workspace.datasets["orders"].append([{"id": 10 + number, "city": f"city {number}", "amount": 1}])
        workspace.cycle(keeper)
    SourceTable(workspace.target("cities"), pa.schema([])).optimize()
    assert workspace.cycle(keeper)["cities"].strategy == "skip"
    workspace.datasets["orders"].append(SECOND)
    all_is_well(workspace, keeper)


def test_a_target_that_was_dropped_is_built_again(workspace: Workspace, keeper: Keeper) -> None:
    shutil.rmtree(workspace.target("cities"))
    record = workspace.cycle(keeper)["cities"]
    assert record.reason in {"target_missing", "first_build"}
    all_is_well(workspace, keeper)


def test_the_loss_of_the_artifact_tables_costs_history_only(workspace: Workspace, keeper: Keeper) -> None:
    keeper.close()
    shutil.rmtree(workspace.root / "state")
    workspace.datasets["orders"].append(SECOND)
    again = workspace.open()
    try:
        assert workspace.cycle(again)["cities"].strategy in {"incremental", "recompute"}
        all_is_well(workspace, again)
    finally:
        again.close()


# ---- the machine ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-48, 24 * 365 * 10], ids=["back", "ahead"])
def test_a_clock_that_jumps_changes_no_row(workspace: Workspace, keeper: Keeper, hours: int) -> None:
    workspace.clock.step(hours * 3_600_000)
    workspace.datasets["orders"].append(SECOND)
    all_is_well(workspace, keeper)
    workspace.clock.step(-hours * 3_600_000)
    workspace.datasets["orders"].delete("id = 1")
    all_is_well(workspace, keeper)


ONE_CYCLE = """
import os, resource, sys
from pathlib import Path
from incremental.keeper import Keeper
from tests.workspace import SteppedClock

root, limit, user = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
keeper = Keeper.open(root, clock=SteppedClock(1_800_000_000_000))
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
if user:
    os.seteuid(user)
report = keeper.run_cycle(cause="test")
for one in report.views:
    print(one.view, one.outcome, one.reason, one.message, one.error)
"""


def one_cycle(root: Path, *, limit: int = 0, user: int = 0) -> str:
    """Run a cycle in a process of its own, with a largest file size or as another user, and return what it said."""
    command = [sys.executable, "-c", ONE_CYCLE, str(root), str(limit), str(user)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_full_disk_loses_nothing(workspace: Workspace, keeper: Keeper) -> None:
    """A limit on the size of files stands for a full disk: writes fail in the middle of a file, for root as well."""
    keeper.close()
    before = SourceTable(workspace.target("cities"), pa.schema([])).version
    workspace.datasets["orders"].append(SECOND)
    told = one_cycle(workspace.root, limit=200)
    assert "cities failed" in told
    assert SourceTable(workspace.target("cities"), pa.schema([])).version == before
    again = workspace.open()
    try:
        all_is_well(workspace, again)
    finally:
        again.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who may not write")
def test_a_locked_directory_is_told_and_loses_nothing() -> None:
    root = Path(tempfile.mkdtemp(prefix="deltakeep-locked-"))
    root.chmod(0o755)
    try:
        workspace = Workspace(root)
        workspace.dataset("orders", ORDERS, FIRST)
        workspace.view("cities", "SELECT city, sum(amount) AS amount FROM orders GROUP BY city")
        assert "cities committed" in one_cycle(root)
        workspace.datasets["orders"].append(SECOND)
        told = one_cycle(root, user=NOBODY)
        assert "cities failed" in told
        assert "ermission" in told
        assert "cities committed" in one_cycle(root)
        workspace.assert_right()
    finally:
        shutil.rmtree(root)
