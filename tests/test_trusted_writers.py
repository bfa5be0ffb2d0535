"""Change files of writers that a project trusts: read where they can be true, told and left alone where they cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from incremental.keeper import Keeper
from tests.lake import SourceTable
from tests.workspace import Workspace

ROWS: Final = pa.schema([("id", pa.int64()), ("word", pa.string())])


def rows_of(*rows: tuple[int, str]) -> list[dict[str, Any]]:
    return [{"id": number, "word": word} for number, word in rows]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, trusted_writers=["delta-rs"])


def counted_words(workspace: Workspace) -> SourceTable:
    """Make a table of 200 rows that tells its changes, and a view over it."""
    workspace.view("words", "SELECT word, count(*) AS many, sum(id) AS ids FROM rows GROUP BY word")
    rows = rows_of(*((number, "a" * (number % 3)) for number in range(200)))
    return workspace.dataset("rows", ROWS, rows, change_data_feed=True)


def changes_of(keeper: Keeper, view: str) -> dict[str, Any]:
    """Give what the newest refresh of a view found out about its only input."""
    report = keeper.why(view).to_json()
    [found] = [fact["values"] for fact in report["fact"]["because"] if fact["code"] == "changed"]
    return dict(found)


def rewrite_change_file(table: SourceTable, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change what the newest commit's only change file says."""
    entry = table.log / f"{table.version:020}.json"
    actions = [json.loads(line) for line in entry.read_text().splitlines()]
    [cdc] = [action["cdc"] for action in actions if "cdc" in action]
    file = table.path / cdc["path"]
    pq.write_table(change(pq.read_table(file)), file)
    cdc["size"] = file.stat().st_size
    entry.write_text("".join(json.dumps(action) + "\n" for action in actions))


def test_true_change_files_are_read(workspace: Workspace) -> None:
    rows = counted_words(workspace)
    keeper = workspace.open()
    workspace.cycle(keeper)
    changes: list[Callable[[], object]] = [
        lambda: rows.update({"word": "'b'"}, "id < 7"),
        lambda: rows.merge(rows_of((3, "c"), (700, "d")), "id"),
        lambda: rows.delete("id = 8"),
    ]
    for change in changes:
        change()
        done = workspace.cycle(keeper)["words"]
        assert (done.strategy, done.outcome) == ("incremental", "committed")
        found = changes_of(keeper, "words")
        assert (found["feed"], found["distrusted"]) == ("change_files", None)
        workspace.assert_right()


def test_an_update_whose_change_files_lose_a_row_is_right(workspace: Workspace) -> None:
    """delta-rs leaves the image after an update out where the table has an equal row."""
    rows = workspace.dataset("rows", ROWS, rows_of((1, "a"), (1, "b"), (2, "b"), (2, "c")), change_data_feed=True)
    workspace.view("words", "SELECT id, word FROM rows WHERE word < 'c'")
    keeper = workspace.open()
    workspace.cycle(keeper)
    rows.update({"word": "'a'"}, "word = 'b'")
    done = workspace.cycle(keeper)["words"]
    assert (done.strategy, done.outcome) == ("incremental", "committed")
    workspace.assert_right()
    found = changes_of(keeper, "words")
    assert found["feed"] == "difference"
    assert found["distrusted"] == "they have 2 rows from before an update and 1 from after one"
    text = " ".join(keeper.why("words").fact.lines())
    assert "Its change files are not read, because they have 2 rows from before" in text


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda rows: rows.slice(1), "they make -4 rows, and the table has -5"),
        (
            lambda rows: rows.set_column(
                rows.schema.get_field_index("_change_type"),
                "_change_type",
                pc.if_else(pc.equal(rows["id"], 3), None, rows["_change_type"]),
            ),
            "1 of their 5 rows have no change type",
        ),
        (
            lambda rows: rows.set_column(
                rows.schema.get_field_index("_change_type"), "_change_type", pa.array(["upsert"] * len(rows))
            ),
            (
                'they say what nobody understands (cdf_change_rank: argument "change_type" is "upsert" in row 1 of the '
                "batch; the change types are update_preimage, delete, insert and update_postimage)"
            ),
        ),
    ],
    ids=["a row is missing", "no change type", "an unknown change type"],
)
def test_change_files_that_do_not_add_up_are_not_read(
    workspace: Workspace, change: Callable[[pa.Table], pa.Table], found: str
) -> None:
    rows = counted_words(workspace)
    keeper = workspace.open()
    workspace.cycle(keeper)
    rows.delete("id < 5")
    rewrite_change_file(rows, change)
    done = workspace.cycle(keeper)["words"]
    assert (done.strategy, done.outcome) == ("incremental", "committed")
    workspace.assert_right()
    assert changes_of(keeper, "words")["distrusted"] == found
