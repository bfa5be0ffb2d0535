"""A cycle in which nothing changed: milliseconds for each idle view."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from benchmarks.measurement import Goal, Result, Setting, repeat
from benchmarks.projects import open_recorded, write_project, write_rows
from benchmarks.recording import Call, largest, spent

NAME: Final = "idle_views"
GOAL: Final = Goal("under 1 ms per view", 1)


def run(setting: Setting) -> Iterator[Result]:
    """Measure views that all read one dataset, views over ten, and views in chains of ten."""
    count = setting.choose(30, 100)
    flat = {f"view_{number:03}": _query("rows_0", number) for number in range(count)}
    wide = {f"view_{number:03}": _query(f"rows_{number % 10}", number) for number in range(count)}
    deep = {
        f"view_{number:03}": _query("rows_0" if number % 10 == 0 else f"view_{number - 1:03}", number)
        for number in range(count)
    }
    yield _measure(setting, "one dataset", 1, flat)
    yield _measure(setting, "ten datasets", 10, wide)
    yield _measure(setting, "chains of ten views", 1, deep)


def _query(relation: str, number: int) -> str:
    return f"SELECT id, grp, kind, amount, quantity FROM {relation} WHERE quantity > {number % 5}"


def _measure(setting: Setting, case: str, datasets: int, views: dict[str, str]) -> Result:
    setting.tell(case)
    root = setting.folder(f"{NAME}_{case.replace(' ', '_')}")
    names = [f"rows_{number}" for number in range(datasets)]
    for name in names:
        write_rows(root / "lake" / name, 1_000)
    write_project(root, names, views)
    keeper, recorder = open_recorded(root)
    keeper.run_cycle(cause="benchmark")
    rounds: list[list[Call]] = []

    def idle() -> None:
        recorder.drain()
        report = keeper.run_cycle(cause="benchmark")
        rounds.append(recorder.drain())
        if report.changed or report.failed:
            raise RuntimeError("the cycle was not idle")

    samples = repeat(idle, setting.choose(10, 50), warm=2)
    keeper.close()
    phases = spent(rounds[2:])
    each = samples.wall_ms / len(views)
    return Result(
        benchmark=NAME,
        case=f"{len(views)} views, {case}",
        value=each,
        unit="ms per view",
        low=samples.low_ms / len(views),
        high=samples.high_ms / len(views),
        runs=len(samples.runs),
        cpu_ms=samples.cpu_ms / len(views),
        goal=GOAL.text,
        met=GOAL.met(each),
        note=f"of a cycle: {largest(phases, 2)}",
        details={"cycle_ms": samples.wall_ms, "phases_ms": phases, "calls": len(rounds[-1])},
    )
