"""One appended row through a chain of three views: from the source's commit to the last view's.

The time runs from the return of the append, which the PyPI `deltalake` does, to the end of the last refresh.
How long a notification takes to arrive is not part of it, nor is what the cycle records of itself afterwards (`append`
among the phases); processor time and phases are those of the whole cycle.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from benchmarks.measurement import Goal, Result, Sample, Samples, Setting, timed
from benchmarks.projects import append_rows, open_recorded, require_committed, write_project, write_rows
from benchmarks.recording import Call, largest, spent
from incremental.events import CycleEvent, EventKind
from incremental.keeper import Keeper

NAME: Final = "chain"
GOAL: Final = Goal("under 100 ms", 100)
WARM: Final = 2
"""Rounds that fill caches and are not counted."""

VIEWS: Final = {
    "kept": "SELECT id, grp, kind, quantity, amount, label FROM rows WHERE kind <> 3",
    "priced": "SELECT id, grp, quantity, quantity * amount AS price FROM kept",
    "per_group": "SELECT grp, count(*) AS n, sum(quantity) AS quantity, max(price) AS dearest FROM priced GROUP BY grp",
}


def run(setting: Setting) -> Iterator[Result]:
    """Measure small and larger tables, without and with durability."""
    for rows in (10_000, setting.choose(100_000, 1_000_000)):
        for durable in (False, True):
            yield _measure(setting, rows, durable=durable)


def _measure(setting: Setting, rows: int, *, durable: bool) -> Result:
    word = "durable" if durable else "not durable"
    setting.tell(f"{rows:,} rows, {word}")
    root = setting.folder(f"{NAME}_{rows}_{word.replace(' ', '_')}")
    source = root / "lake" / "rows"
    write_rows(source, rows, files=4)
    write_project(root, ["rows"], VIEWS, durable=durable)
    keeper, recorder = open_recorded(root)
    require_committed(keeper.run_cycle(cause="benchmark"), *VIEWS)
    taken: list[Sample] = []
    rounds: list[list[Call]] = []
    strategies: dict[str, int] = {}
    next_id = rows
    for number in range(setting.choose(5, 22)):
        # A row that no view filters out.
        while next_id * 2_654_435_761 % 2**31 % 7 == 3:
            next_id += 1
        append_rows(source, next_id, 1)
        next_id += 1
        recorder.drain()
        one = _cycle(keeper, strategies if number >= WARM else {})
        if number >= WARM:
            taken.append(one)
            rounds.append(recorder.drain())
    keeper.close()
    phases = spent(rounds)
    native = sum(sum(call.wall_ms for call in calls) for calls in rounds) / len(rounds)
    samples = Samples(tuple(taken))
    return timed(
        NAME,
        f"{rows:,} rows, {word}",
        samples,
        goal=GOAL,
        note=f"{'+'.join(f'{count} {name}' for name, count in strategies.items())}; {largest(phases)}",
        details={"phases_ms": phases, "native_ms": round(native, 2), "strategies": strategies},
    )


def _cycle(keeper: Keeper, strategies: dict[str, int]) -> Sample:
    """Run a cycle, and count the strategies of its views."""
    finished: list[float] = []

    def note(event: CycleEvent) -> None:
        if event.kind is EventKind.REFRESH_FINISHED:
            finished.append(time.perf_counter())

    cpu, began = time.process_time(), time.perf_counter()
    report = keeper.run_cycle(cause="benchmark", observer=note)
    cpu_ms = (time.process_time() - cpu) * 1000
    require_committed(report, *VIEWS)
    for view in report.views:
        strategies[view.strategy] = strategies.get(view.strategy, 0) + 1
    return Sample((finished[-1] - began) * 1000, cpu_ms)
