"""Reading the changes of a range of versions against computing the full difference of both versions.

The change is what a refresh reads for a view that has all rows and columns of its source, so that nothing is filtered:
the phases that the engine reports as `plan` (the log and the plan of the change) and `changes` (the rows, counted).
The rival groups both versions by all columns, in the same engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa

from benchmarks.measurement import Goal, Result, Sample, Samples, Setting, sample_of, timed
from benchmarks.projects import append_rows, delete_rows, open_recorded, require_committed, write_project, write_rows
from registry.dataset import TableRef
from registry.native import ExamineRequest
from registry.session import SessionRuntime, TableSpec

NAME: Final = "change_feed"
FILES: Final = 16
GOAL: Final = Goal("ratio below 1", 1)
FULL_DIFFERENCE: Final = """
SELECT id, grp, kind, quantity, amount, label, moment, sum(weight) AS times
FROM (SELECT *, 1 AS weight FROM now UNION ALL SELECT *, -1 AS weight FROM before)
GROUP BY id, grp, kind, quantity, amount, label, moment HAVING sum(weight) <> 0
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A change of 0.1 % of the rows; `change` gets the table, its rows at first and the number of the round."""

    text: str
    change: Callable[[Path, int, int], int]
    trusted: bool = False


def _append(path: Path, rows: int, number: int) -> int:
    some = rows // 1_000
    append_rows(path, rows + number * some, some)
    return some


def _delete_near(path: Path, rows: int, number: int) -> int:
    some = rows // 1_000
    first = rows // 2 + number * some
    return delete_rows(path, f"id >= {first} AND id < {first + some}")


def _delete_far(path: Path, _rows: int, number: int) -> int:
    return delete_rows(path, f"id % 1000 = {number}")


CASES: Final = (
    Case("append 0.1 %", _append),
    Case("delete 0.1 % in one file", _delete_near),
    Case("delete 0.1 % in one file, trusted change files", _delete_near, trusted=True),
    Case("delete 0.1 % in all files", _delete_far),
    Case("delete 0.1 % in all files, trusted change files", _delete_far, trusted=True),
)


def run(setting: Setting) -> Iterator[Result]:
    """Measure each kind of change."""
    rows = setting.choose(200_000, 1_000_000)
    for number, case in enumerate(CASES):
        setting.tell(f"{case.text}, {rows:,} rows")
        yield _measure(setting, setting.folder(f"{NAME}_{number}"), case, rows)


def _measure(setting: Setting, root: Path, case: Case, rows: int) -> Result:
    path = root / "lake" / "rows"
    trusted = ("delta-rs",) if case.trusted else ()
    write_rows(path, rows, files=FILES, properties={"delta.enableChangeDataFeed": "true"} if case.trusted else {})
    views = {"copied": '/*\nrefresh = "incremental"\n*/\nSELECT * FROM rows'}
    write_project(root, ["rows"], views, trusted_writers=trusted)
    keeper, recorder = open_recorded(root)
    require_committed(keeper.run_cycle(cause="benchmark"), "copied")
    table = keeper.project.relations["rows"]
    feeds: list[Sample] = []
    differences: list[Sample] = []
    kinds: set[str] = set()
    phases: dict[str, float] = {}
    for number in range(setting.choose(2, 3) + 1):
        before = keeper.runtime.latest_version(table)
        changed = case.change(path, rows, number)
        asked = ExamineRequest(table=table, after=before, upto=before + 1, relation="rows", trusted_writers=trusted)
        kinds.add(str(keeper.runtime.examine(asked).feed))
        recorder.drain()
        require_committed(keeper.run_cycle(cause="benchmark"), "copied")
        answer = next(one.answer for one in recorder.drain() if one.method == "refresh")
        _require_rows(answer["change_rows"]["rows"], changed)
        phases = answer["elapsed_ms"]
        one, found = sample_of(partial(_full_difference, keeper.runtime, table, before))
        _require_rows(found.num_rows, changed)
        # The first round fills caches.
        if number > 0:
            feeds.append(Sample(phases["plan"] + phases["changes"], 0.0))
            differences.append(one)
    keeper.close()
    return timed(
        NAME,
        f"{case.text}, {rows:,} rows",
        Samples(tuple(feeds)),
        against=("full difference", Samples(tuple(differences))),
        goal=GOAL,
        goal_of_ratio=True,
        note=f"feed: {', '.join(sorted(kinds))}",
        details={"differences_ms": [one.wall_ms for one in differences], "last_phases_ms": phases},
    )


def _full_difference(runtime: SessionRuntime, table: TableRef, before: int) -> pa.Table:
    """The rows of the next version that the version before has not, and the other way round, with their counts."""
    versions = (("before", before), ("now", before + 1))
    tables = tuple(TableSpec.delta(name, table, version) for name, version in versions)
    return runtime.query(FULL_DIFFERENCE, None, tables).read_all()


def _require_rows(found: int, changed: int) -> None:
    if found != changed:
        raise RuntimeError(f"{changed} rows changed, {found} were found")
