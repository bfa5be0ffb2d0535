"""Deletion vectors of targets: few rows of a large file are hidden, and every reader sees the same rows and changes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from tests import oracle
from tests.lake import Rows
from tests.test_target_feeds import change_of, feed_of
from tests.workspace import Workspace

ROWS: Final = 8_000
SCHEMA: Final = pa.schema([("id", pa.int64()), ("kind", pa.int64()), ("text", pa.string())])
KEPT: Final = "SELECT id, kind, text FROM facts WHERE kind <> 6"
VECTORS: Final = "deletion_vectors = true"


def rows(first: int, count: int) -> Rows:
    """Make rows whose texts fill their file; every hundredth is there twice."""
    made: list[dict[str, Any]] = []
    for number in range(first, first + count):
        text = hashlib.sha256(str(number).encode()).hexdigest()
        row: dict[str, Any] = {"id": number, "kind": number % 7, "text": None if number % 50 == 1 else text}
        made += [row, row] if number % 100 == 0 else [row]
    return made


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path)
    made.dataset("facts", SCHEMA, rows(0, ROWS))
    made.view("kept", KEPT, VECTORS)
    return made


def actions(target: Path, version: int, kind: str) -> list[dict[str, Any]]:
    """Read the actions of one kind in one commit."""
    lines = (target / "_delta_log" / f"{version:020}.json").read_text().splitlines()
    return [line[kind] for line in map(json.loads, lines) if kind in line]


def hidden(target: Path, version: int) -> list[dict[str, Any]]:
    """Read the files that a commit put back with a deletion vector."""
    return [add for add in actions(target, version, "add") if "deletionVector" in add]


def test_few_rows_of_a_large_file_are_hidden(workspace: Workspace) -> None:
    keeper, facts, target = workspace.open(), workspace.datasets["facts"], workspace.target("kept")
    workspace.cycle(keeper)
    [file] = actions(target, 0, "add")
    deleted = 0
    for count, condition in enumerate(("id < 20", "id = 100", "id >= 7990"), start=1):
        facts.delete(condition)
        record = workspace.cycle(keeper)["kept"]
        assert record.strategy == "incremental"
        [again] = hidden(target, DeltaTable(target).version())
        assert (again["path"], again["size"]) == (file["path"], file["size"])
        assert json.loads(again["stats"])["tightBounds"] is False
        assert len(list(target.glob("deletion_vector_*.bin"))) == count
        assert record.bytes_written is not None
        assert record.bytes_written < file["size"] / 10
        workspace.assert_right()
        version = DeltaTable(target).version()
        assert feed_of(target, version) == change_of(target, version)
        deleted += record.rows_deleted or 0
        assert again["deletionVector"]["cardinality"] == deleted


def test_many_rows_are_written_again(workspace: Workspace) -> None:
    keeper, facts, target = workspace.open(), workspace.datasets["facts"], workspace.target("kept")
    workspace.cycle(keeper)
    for first in range(0, 1_200, 300):
        facts.update({"text": "concat(text, '!')"}, f"id >= {first} AND id < {first + 300}")
        assert workspace.cycle(keeper)["kept"].strategy == "incremental"
        workspace.assert_right()
    version = DeltaTable(target).version()
    kinds = [bool(hidden(target, one)) for one in range(1, version + 1)]
    # What is left after the third is a new file, which hides what the fourth takes.
    assert kinds == [True, True, False, True]


def test_a_recompute_hides_nothing_from_readers_of_the_feed(workspace: Workspace) -> None:
    keeper, facts, target = workspace.open(), workspace.datasets["facts"], workspace.target("kept")
    workspace.cycle(keeper)
    facts.delete("id < 30")
    workspace.cycle(keeper)
    vector = DeltaTable(target).version()
    workspace.clock.step()
    facts.append(rows(9_000, 10))
    [record] = keeper.run_cycle(["kept"], cause="test", force="recompute").views
    assert (record.strategy, record.outcome) == ("recompute", "committed")
    workspace.assert_right()
    assert record.version == vector + 2
    assert not any(action["dataChange"] for action in actions(target, vector + 1, "remove"))
    assert feed_of(target, vector + 1) == Counter()
    told = feed_of(target, vector + 2)
    before, now = (oracle.bag(oracle.read(target, one)) for one in (vector + 1, vector + 2))
    assert told == Counter({(*row, -1): count for row, count in before.items()}) + Counter(
        {(*row, 1): count for row, count in now.items()}
    )


def test_strangers_may_do_what_they_do_with_tables(workspace: Workspace) -> None:
    """Checkpoint, OPTIMIZE, RESTORE and DELETE by delta-rs; the view is right after the next refresh, each time."""
    keeper, facts, target = workspace.open(), workspace.datasets["facts"], workspace.target("kept")
    workspace.cycle(keeper)
    facts.delete("id < 15")
    workspace.cycle(keeper)
    hiding = DeltaTable(target).version()
    DeltaTable(target).create_checkpoint()
    strangers: tuple[Callable[[], object], ...] = (
        DeltaTable(target).optimize.compact,
        lambda: DeltaTable(target).restore(hiding),
        lambda: DeltaTable(target).delete("kind = 3"),
    )
    for number, stranger in enumerate(strangers):
        stranger()
        facts.delete(f"id = {100 + number}")
        records = workspace.cycle(keeper)
        assert not [record.error for record in records.values() if record.error]
        workspace.assert_right()


def test_a_table_without_the_feature_is_written_as_before(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    facts = workspace.dataset("facts", SCHEMA, rows(0, ROWS))
    workspace.view("kept", KEPT)
    keeper = workspace.open()
    workspace.cycle(keeper)
    facts.delete("id < 20")
    workspace.cycle(keeper)
    workspace.view("kept", KEPT, VECTORS)
    keeper.close()
    keeper = workspace.open()
    facts.delete("id < 40")
    workspace.cycle(keeper)
    workspace.assert_right()
    target = workspace.target("kept")
    assert not list(target.glob("deletion_vector_*.bin"))
    assert not hidden(target, DeltaTable(target).version())


def test_a_state_hides_the_rows_of_its_groups(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    facts = workspace.dataset("facts", SCHEMA, rows(0, ROWS))
    workspace.view(
        "totals",
        "SELECT text, count(*) AS n, sum(kind) AS kinds FROM facts GROUP BY text ORDER BY n DESC, text LIMIT 9",
    )
    keeper = workspace.open()
    workspace.cycle(keeper)
    facts.delete("id = 100")
    facts.append(rows(50, 3))
    assert workspace.cycle(keeper)["totals__state"].strategy == "incremental"
    [state] = [one for one in tmp_path.rglob("totals__state") if one.is_dir()]
    assert hidden(state, DeltaTable(state).version())
    workspace.assert_right()


def test_a_feed_that_is_switched_off_for_the_view_stays_right_for_the_table(workspace: Workspace) -> None:
    keeper, facts, target = workspace.open(), workspace.datasets["facts"], workspace.target("kept")
    workspace.cycle(keeper)
    workspace.view("kept", KEPT, f"{VECTORS}\nchange_data_feed = false")
    keeper.reload()
    facts.delete("id < 20")
    record = workspace.cycle(keeper)["kept"]
    assert (record.strategy, record.error) == ("incremental", None)
    version = DeltaTable(target).version()
    assert hidden(target, version)
    assert feed_of(target, version) == change_of(target, version)
    workspace.assert_right()


def test_a_lost_vector_is_made_good_by_a_recompute(workspace: Workspace) -> None:
    facts, target = workspace.datasets["facts"], workspace.target("kept")
    daemonctl = str(Path(sys.executable).with_name("daemonctl"))
    run = [daemonctl, "-C", str(workspace.root), "-q", "run", "--once"]
    # In processes of their own, which keep vectors in memory.
    subprocess.run(run, check=True, capture_output=True)
    facts.delete("id < 20")
    subprocess.run(run, check=True, capture_output=True)
    vectors = list(target.glob("deletion_vector_*.bin"))
    assert vectors
    for vector in vectors:
        vector.unlink()
    facts.delete("id < 40")
    keeper = workspace.open()
    records = [workspace.cycle(keeper)["kept"] for _ in range(3)]
    assert [(one.strategy, one.error) for one in records if one.outcome == "committed"] == [("recompute", None)]
    workspace.assert_right()


def test_commits_keep_the_order_of_their_times(workspace: Workspace) -> None:
    keeper, facts, target = workspace.open(), workspace.datasets["facts"], workspace.target("kept")
    workspace.cycle(keeper)
    facts.delete("id < 30")
    workspace.cycle(keeper)
    workspace.clock.step()
    keeper.run_cycle(["kept"], cause="test", force="recompute")
    times = [one["timestamp"] for one in DeltaTable(target).history()]
    assert len(times) == 4
    assert times == sorted(times, reverse=True)
