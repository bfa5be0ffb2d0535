"""What a refresh costs where there is hardly anything to do: no new version, one that cannot matter, one row.

One view of a filter over a million rows; the time runs from the look at its dataset to its commit, and what a cycle
records of itself is not part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from benchmarks.both_paths import Refreshed, refresh_once
from benchmarks.measurement import Goal, Result, Samples, Setting, timed
from benchmarks.projects import append_rows, open_recorded, require_committed, write_project, write_rows

NAME: Final = "fixed_cost"
SKIPPED: Final = Goal("under 1 ms", 1)
ONE_ROW: Final = Goal("under 20 ms", 20)
WARM: Final = 2
"""Rounds that fill caches and are not counted."""

VIEW: Final = "kept"
QUERY: Final = "SELECT id, grp, quantity, amount, label FROM rows WHERE id >= 0 AND quantity >= 0"


def run(setting: Setting) -> Iterator[Result]:
    """Measure the three on one project."""
    rows = setting.choose(100_000, 1_000_000)
    root = setting.folder(NAME)
    source = root / "lake" / "rows"
    write_rows(source, rows, files=4)
    write_project(root, ["rows"], {VIEW: QUERY})
    keeper, recorder = open_recorded(root)
    require_committed(keeper.run_cycle(cause="benchmark"), VIEW)

    def nothing(_number: int) -> None:
        pass

    def foreign_row(number: int) -> None:
        append_rows(source, -1 - number, 1)

    def one_row(number: int) -> None:
        append_rows(source, rows + number, 1)

    cases: tuple[tuple[str, Callable[[int], None], str, Goal | None], ...] = (
        ("no new version", nothing, "skip", SKIPPED),
        ("a row that the view's filter rules out", foreign_row, "skip", None),
        ("a row that the view keeps", one_row, "incremental", ONE_ROW),
    )
    for text, change, expected, goal in cases:
        setting.tell(text)
        taken: list[Refreshed] = []
        for number in range(WARM + setting.choose(5, 30)):
            change(number)
            taken.append(refresh_once(keeper, recorder, VIEW))
        found = {one.record.strategy for one in taken}
        if found != {expected}:
            raise RuntimeError(f'"{text}" should be answered by {expected}, and was by {", ".join(sorted(found))}')
        samples = Samples(tuple(one.sample for one in taken[WARM:]))
        yield timed(NAME, f"{text}, {rows:,} rows", samples, goal=goal)
    keeper.close()
