"""A daemon that has nothing to do: the share of a core that looking at local datasets once a second takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from benchmarks.measurement import Goal, Result, Setting, repeat
from benchmarks.projects import copy_table, open_recorded, write_project, write_rows
from daemon.clock import SystemClock
from daemon.live_keeper import LiveKeeper
from incremental.observation import THOROUGH_EVERY_MS

NAME: Final = "idle_poll"
GOAL: Final = Goal("under 10 % of a core", 10)


def run(setting: Setting) -> Iterator[Result]:
    """Measure looks as the daemon makes them, and a look that checks identities too."""
    count = setting.choose(250, 1_000)
    root = setting.folder(NAME)
    setting.tell(f"{count:,} datasets")
    write_rows(root / "lake" / "rows_0000", 100)
    names = [f"rows_{number:04}" for number in range(count)]
    for name in names[1:]:
        copy_table(root / "lake" / names[0], root / "lake" / name)
    write_project(root, names, {"one": "SELECT id, grp FROM rows_0000"})
    keeper, _ = open_recorded(root)
    keeper.run_cycle(cause="benchmark")
    live = LiveKeeper(keeper, SystemClock())
    live.look(names)

    seconds = setting.choose(4, 30)
    setting.tell(f"one look a second for {seconds} s")
    shares: list[float] = []
    cpu_ms: list[float] = []
    for _ in range(seconds):
        began, cpu = time.perf_counter(), time.process_time()
        looks = live.look(names)
        if any(one.moved or one.error for one in looks):
            raise RuntimeError("a dataset moved, or could not be read")
        time.sleep(max(0.0, 1 - (time.perf_counter() - began)))
        used = time.process_time() - cpu
        cpu_ms.append(used * 1000)
        shares.append(used / (time.perf_counter() - began) * 100)
    shares.sort()
    median = shares[len(shares) // 2]
    yield Result(
        benchmark=NAME,
        case=f"{count:,} datasets, once a second",
        value=median,
        unit="% of a core",
        low=shares[0],
        high=shares[-1],
        runs=len(shares),
        cpu_ms=sorted(cpu_ms)[len(cpu_ms) // 2],
        goal=None if setting.quick else GOAL.text,
        met=None if setting.quick else GOAL.met(median),
        note=f"{median * 10 / count * 1000:.0f} µs of a processor for a look",
    )

    setting.tell("looks that check identities")
    datasets = [keeper.project.datasets[name] for name in keeper.project.datasets]
    at_ms = SystemClock().now_ms()

    def thorough() -> None:
        keeper._datasets.observe(datasets, at_ms, thorough=True)  # noqa: SLF001

    samples = repeat(thorough, setting.choose(3, 10))
    share = samples.cpu_ms / THOROUGH_EVERY_MS * 100
    yield Result(
        benchmark=NAME,
        case=f"{count:,} datasets, identities checked once a minute",
        value=share,
        unit="% of a core",
        low=min(one.cpu_ms for one in samples.runs) / THOROUGH_EVERY_MS * 100,
        high=max(one.cpu_ms for one in samples.runs) / THOROUGH_EVERY_MS * 100,
        runs=len(samples.runs),
        cpu_ms=samples.cpu_ms,
        note="comes on top of the line above",
    )
    keeper.close()
