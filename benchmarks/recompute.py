"""A full recompute through the keeper against DataFusion, and DuckDB, writing the same rows to Parquet.

The three read the same files with as many threads and compress alike; the keeper also collects statistics, commits and
plans.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.measurement import Goal, Result, Setting, Work, take_turns, timed
from benchmarks.projects import open_recorded, require_committed, write_project, write_rows
from benchmarks.recording import Call, largest, spent
from benchmarks.rivals import Rivals

NAME: Final = "recompute"
GOAL: Final = Goal("ratio at most 1.1", 1.1)
# Unquoted, ROWS is a keyword of DuckDB.
VIEWS: Final = {
    "copied": 'SELECT id, grp, kind, quantity * 2 AS doubled, amount, label, moment FROM "rows" WHERE kind <> 3',
    "grouped": 'SELECT grp, kind, count(*) AS n, sum(quantity) AS quantity, max(amount) AS most FROM "rows" '
    "GROUP BY grp, kind",
    "by_label": 'SELECT label, count(*) AS n, min(moment) AS earliest, sum(quantity) AS quantity FROM "rows" '
    "GROUP BY label",
}


def run(setting: Setting) -> Iterator[Result]:
    """Measure each view."""
    rows = setting.choose(200_000, 5_000_000)
    root = setting.folder(NAME)
    write_rows(root / "lake" / "rows", rows, files=8)
    write_project(root, ["rows"], VIEWS)
    keeper, recorder = open_recorded(root)
    require_committed(keeper.run_cycle(cause="benchmark"), *VIEWS)
    others = Rivals(root, ["rows"])
    for view, query in VIEWS.items():
        setting.tell(f"{view}, {rows:,} rows")
        rounds: list[list[Call]] = []

        def through_keeper(view: str = view, rounds: list[list[Call]] = rounds) -> None:
            recorder.drain()
            report = keeper.run_cycle([view], cause="benchmark", force="recompute")
            require_committed(report, view)
            rounds.append(recorder.drain())

        rivals: dict[str, Work] = {"deltakeep": through_keeper, **others.works(query)}
        found = take_turns(rivals, setting.choose(2, 4))
        phases = spent(rounds[1:])
        case = f"{view}, {rows:,} rows"
        yield timed(
            NAME,
            case,
            found["deltakeep"],
            against=("DataFusion", found["DataFusion"]),
            goal=GOAL,
            goal_of_ratio=True,
            note=largest(phases),
            details={"phases_ms": phases},
        )
        yield timed(NAME, f"{case}: DataFusion", found["DataFusion"])
        yield timed(NAME, f"{case}: DuckDB", found["DuckDB"], against=("DataFusion", found["DataFusion"]))
    others.close()
    keeper.close()
