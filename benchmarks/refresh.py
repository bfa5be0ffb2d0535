"""The flights example: what a day costs each view incrementally, against recomputing that view."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from benchmarks.measurement import Goal, Result, Sample, Samples, Setting, timed
from benchmarks.projects import open_recorded
from benchmarks.recording import Call, largest, spent
from examples.flights.replay import FIRST_DAY, Lake, prepare
from incremental.keeper import Force
from incremental.outcome import Outcome
from registry.artifact_rows import RefreshRecord

NAME: Final = "refresh"
GOAL: Final = Goal("ratio at most 1.1", 1.1)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A refresh of a view, and the calls of the engine that were about that view."""

    record: RefreshRecord
    calls: list[Call]


def run(setting: Setting) -> Iterator[Result]:
    """Replay days; after each, one cycle and then a recompute of every view."""
    root = setting.folder(NAME)
    prepare(root)
    setting.tell("load the flights")
    lake = Lake(root / "lake", lambda _: None)
    lake.load()
    keeper, recorder = open_recorded(root)
    keeper.run_cycle(cause="benchmark")
    daily: dict[str, list[Refreshed]] = {}
    whole: dict[str, list[Refreshed]] = {}
    for number in range(setting.choose(2, 10)):
        setting.tell(f"day {number + 1}")
        lake.play(FIRST_DAY + timedelta(days=number))
        passes: tuple[tuple[dict[str, list[Refreshed]], Force | None], ...] = ((daily, None), (whole, "recompute"))
        for kept, force in passes:
            recorder.drain()
            report = keeper.run_cycle(cause="benchmark", force=force)
            calls = recorder.drain()
            for record in report.views:
                if record.outcome == Outcome.COMMITTED:
                    mine = [call for call in calls if call.view == record.view]
                    kept.setdefault(record.view, []).append(Refreshed(record, mine))
    keeper.close()
    for view in sorted(daily):
        yield _compare(view, daily[view], whole[view])
    yield timed(
        NAME,
        "all views, a day",
        _total(daily),
        against=("recompute of all", _total(whole)),
        goal=GOAL,
        goal_of_ratio=True,
    )


def _compare(view: str, daily: list[Refreshed], whole: list[Refreshed]) -> Result:
    strategies: dict[str, int] = {}
    for one in daily:
        strategies[one.record.strategy] = strategies.get(one.record.strategy, 0) + 1
    read = sum(one.record.bytes_read or 0 for one in daily) / len(daily)
    otherwise = sum(one.record.bytes_read or 0 for one in whole) / len(whole)
    share = read / otherwise if otherwise else 1.0
    phases = spent([one.calls for one in daily])
    chosen = ", ".join(f"{count} {name}" for name, count in strategies.items())
    return timed(
        NAME,
        f"{view}, a day",
        _samples(daily),
        against=("recompute", _samples(whole)),
        goal=GOAL,
        goal_of_ratio=True,
        note=f"{chosen}; {share:.0%} of the bytes read; {largest(phases)}",
        details={
            "bytes_read": read,
            "bytes_read_by_recompute": otherwise,
            "strategies": strategies,
            "phases_ms": phases,
            "recompute_phases_ms": spent([one.calls for one in whole]),
        },
    )


def _samples(refreshed: list[Refreshed]) -> Samples:
    # The processor time of one view among others is not known.
    return Samples(tuple(Sample(float(one.record.elapsed_ms), 0.0) for one in refreshed))


def _total(refreshed: dict[str, list[Refreshed]]) -> Samples:
    """The time of all views, day by day; a view that had nothing to do on a day has fewer entries."""
    days = max(len(one) for one in refreshed.values())
    totals = [sum(one[day].record.elapsed_ms for one in refreshed.values() if day < len(one)) for day in range(days)]
    return Samples(tuple(Sample(float(total), 0.0) for total in totals))
