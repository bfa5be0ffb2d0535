"""The flights example: what a day costs each view incrementally, against recomputing that view."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from benchmarks.measurement import Goal, Result, Sample, Samples, Setting, timed
from benchmarks.projects import open_recorded
from benchmarks.recording import largest, spent
from examples.flights.replay import FIRST_DAY, Lake, prepare
from incremental.outcome import Outcome
from registry.artifact_rows import RefreshRecord

NAME: Final = "refresh"
GOAL: Final = Goal("ratio at most 1.1", 1.1)


def run(setting: Setting) -> Iterator[Result]:
    """Replay days; after each, one cycle and then a recompute of every view."""
    root = setting.folder(NAME)
    prepare(root)
    setting.tell("load the flights")
    lake = Lake(root / "lake", lambda _: None)
    lake.load()
    keeper, recorder = open_recorded(root)
    keeper.run_cycle(cause="benchmark")
    daily: dict[str, list[RefreshRecord]] = {}
    whole: dict[str, list[RefreshRecord]] = {}
    cycles: list[dict[str, float]] = []
    for number in range(setting.choose(2, 10)):
        setting.tell(f"day {number + 1}")
        lake.play(FIRST_DAY + timedelta(days=number))
        recorder.drain()
        for record in keeper.run_cycle(cause="benchmark").views:
            if record.outcome == Outcome.COMMITTED:
                daily.setdefault(record.view, []).append(record)
        cycles.append(spent([recorder.drain()]))
        for record in keeper.run_cycle(cause="benchmark", force="recompute").views:
            if record.outcome == Outcome.COMMITTED:
                whole.setdefault(record.view, []).append(record)
    keeper.close()
    names = {name for one in cycles for name in one}
    means = {name: round(sum(one.get(name, 0.0) for one in cycles) / len(cycles), 2) for name in names}
    phases = dict(sorted(means.items(), key=lambda one: -one[1]))
    for view in sorted(daily):
        if view in whole:
            yield _compare(view, daily[view], whole[view])
    yield timed(
        NAME,
        "all views, a day",
        _total(daily),
        against=("recompute of all", _total(whole)),
        goal=GOAL,
        goal_of_ratio=True,
        note=largest(phases),
        details={"phases_ms": phases},
    )


def _compare(view: str, daily: list[RefreshRecord], whole: list[RefreshRecord]) -> Result:
    strategies: dict[str, int] = {}
    for record in daily:
        strategies[record.strategy] = strategies.get(record.strategy, 0) + 1
    read = sum(record.bytes_read or 0 for record in daily) / len(daily)
    otherwise = sum(record.bytes_read or 0 for record in whole) / len(whole)
    share = read / otherwise if otherwise else 1.0
    return timed(
        NAME,
        f"{view}, a day",
        _samples(daily),
        against=("recompute", _samples(whole)),
        goal=GOAL,
        goal_of_ratio=True,
        note=f"{', '.join(f'{count} {name}' for name, count in strategies.items())}; {share:.0%} of the bytes read",
        details={"bytes_read": read, "bytes_read_by_recompute": otherwise, "strategies": strategies},
    )


def _samples(records: list[RefreshRecord]) -> Samples:
    # The processor time of one view among others is not known.
    return Samples(tuple(Sample(float(record.elapsed_ms), 0.0) for record in records))


def _total(records: dict[str, list[RefreshRecord]]) -> Samples:
    days = max(len(one) for one in records.values())
    totals = [sum(one[day].elapsed_ms for one in records.values() if day < len(one)) for day in range(days)]
    return Samples(tuple(Sample(float(total), 0.0) for total in totals))
