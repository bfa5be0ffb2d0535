"""Changes that are hard to apply: a small change of the input that is a large one of the view, or of its state.

Each against a recompute of the view by the keeper itself, on the same files; the rivals are in the remarks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from benchmarks.both_paths import Measured, Project, Round
from benchmarks.measurement import Goal, Result, Setting, repeat, timed
from benchmarks.projects import append_table, delete_rows, update_rows
from benchmarks.rivals import Rivals

NAME: Final = "adversarial"
GOAL: Final = Goal("ratio at most 1.1", 1.1)
SEED: Final = 20261126
FILES: Final = 4
DIMENSIONS: Final = 100


@dataclass(frozen=True, slots=True)
class Case:
    """A view over `facts` and `kinds`; `change` gets the lake, the rows of `facts` at first, and the round's number."""

    name: str
    text: str
    query: str
    change: Callable[[Path, int, int], None]


def _append(lake: Path, rows: int, number: int) -> None:
    append_table(lake / "facts", _facts(rows + number * 1_000, 1_000))


def _one_row(lake: Path, _rows: int, number: int) -> None:
    """A row at the front of the one partition: every later rank and sum moves."""
    append_table(lake / "facts", _facts(-1 - number, 1))


def _every_dimension(lake: Path, _rows: int, _number: int) -> None:
    update_rows(lake / "kinds", {"factor": "factor + 1"})


def _extremes(lake: Path, _rows: int, number: int) -> None:
    """The tenth of the rows with the least and the greatest amounts, which hold every group's extremes."""
    low, high = 5 * (number + 1), 100 - 5 * (number + 1)
    delete_rows(lake / "facts", f"amount < {low} OR amount >= {high}")


CASES: Final = (
    Case(
        "hot_group",
        "0.1 % of rows arrive, half in one group with half of all rows; sums, extremes and distinct",
        "SELECT grp, count(*) AS n, sum(amount) AS amount, min(amount) AS least, max(amount) AS most, "
        "count(DISTINCT label) AS labels FROM facts GROUP BY grp",
        _append,
    ),
    Case(
        "one_partition",
        "one row before all others in a window partition of all rows",
        "SELECT id, amount, row_number() OVER (PARTITION BY one ORDER BY id) AS place, "
        "sum(quantity) OVER (PARTITION BY one ORDER BY id) AS running FROM facts",
        _one_row,
    ),
    Case(
        "every_fact",
        "an update of a dimension that touches every fact",
        "SELECT id, label, amount * factor AS worth FROM facts JOIN kinds ON kind = kinds.key",
        _every_dimension,
    ),
    Case(
        "every_fact_grouped",
        "an update of a dimension that touches every fact, below an aggregate",
        "SELECT label, sum(quantity * factor) AS worth FROM facts JOIN kinds ON kind = kinds.key GROUP BY label",
        _every_dimension,
    ),
    Case(
        "extremes",
        "deletes of the tenth of rows that holds each group's minimum and maximum",
        "SELECT label, min(amount) AS least, max(amount) AS most FROM facts GROUP BY label",
        _extremes,
    ),
)


def run(setting: Setting) -> Iterator[Result]:
    """Measure each case."""
    rows = setting.choose(100_000, 1_000_000)
    for case in CASES:
        setting.tell(f"{case.name}, {rows:,} rows")
        yield _measure(setting, case, rows)


def _measure(setting: Setting, case: Case, rows: int) -> Result:
    root = setting.folder(f"{NAME}_{case.name}")
    lake, rounds = root / "lake", setting.choose(2, 5)
    for first in range(0, rows, rows // FILES):
        append_table(lake / "facts", _facts(first, rows // FILES))
    keys = np.arange(DIMENSIONS)
    append_table(lake / "kinds", pa.table({"key": keys, "factor": keys + 1}))
    project = Project.build(root, ["facts", "kinds"], {case.name: case.query})
    taken: list[Round] = []
    for number in range(rounds):
        changed = project.refresh_after(partial(case.change, lake, rows, number), forced=True)
        taken.append(changed[case.name])
    wrong = project.unequal()
    if wrong:
        raise RuntimeError(f'view "{case.name}" is not what its query says')
    rivals = Rivals(root, ["facts", "kinds"])
    others = {name: repeat(work, 2, warm=0).best.wall_ms for name, work in rivals.works(case.query).items()}
    rivals.close()
    project.keeper.close()
    measured = Measured(tuple(taken))
    assert measured.recompute is not None, "every round forces a recompute"
    told = ", ".join(f"{name} {took:.0f} ms" for name, took in others.items())
    return timed(
        NAME,
        f"{case.text}, {rows:,} rows",
        measured.samples,
        against=("recompute", measured.recompute),
        goal=GOAL,
        goal_of_ratio=True,
        note=f"{measured.strategies}; forced: {measured.paths}; {told}",
        details={"rivals_ms": others},
    )


def _facts(first: int, count: int) -> pa.Table:
    """Rows with ids from `first` on; half of them are in group 0."""
    random = np.random.default_rng([SEED, abs(first), count])
    ids = np.arange(first, first + count)
    return pa.table(
        {
            "id": ids,
            "one": np.ones(count, np.int64),
            "grp": np.where(random.random(count) < 0.5, 0, random.integers(1, 2_000, count)),
            "kind": random.integers(0, DIMENSIONS, count),
            "label": random.integers(0, 20_000, count),
            "quantity": random.integers(1, 100, count),
            "amount": random.integers(0, 10_000, count) / 100,
        }
    )
