"""Samples and results: what a benchmark measures and what it hands to the table.

Rivals take turns within one run, so that a busy machine slows all of them alike; what counts is the ratio of medians.
Processor time stands beside wall time, because other work on the machine moves it less.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

Work = Callable[[], object]
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one piece of work, in milliseconds; `cpu_ms` counts all threads of this process."""

    wall_ms: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Samples:
    """The runs of one piece of work; at least one."""

    runs: tuple[Sample, ...]

    @property
    def wall_ms(self) -> float:
        return statistics.median(one.wall_ms for one in self.runs)

    @property
    def cpu_ms(self) -> float:
        return statistics.median(one.cpu_ms for one in self.runs)

    @property
    def best(self) -> Samples:
        """The fastest run alone."""
        return Samples((min(self.runs, key=lambda one: one.wall_ms),))

    @property
    def low_ms(self) -> float:
        return min(one.wall_ms for one in self.runs)

    @property
    def high_ms(self) -> float:
        return max(one.wall_ms for one in self.runs)


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should stay below, or above where `at_least`."""

    text: str
    limit: float
    at_least: bool = False

    def met(self, figure: float) -> bool:
        return figure >= self.limit if self.at_least else figure <= self.limit


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table.

    `value`, `low` and `high` are in `unit`; `ratio` is the value divided by that of the case named `against`.
    `met` is None where there is no goal. `details` goes to the JSON only.
    """

    benchmark: str
    case: str
    value: float
    unit: str
    low: float
    high: float
    runs: int
    cpu_ms: float | None = None
    against: str | None = None
    ratio: float | None = None
    goal: str | None = None
    met: bool | None = None
    note: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a long benchmark to run; what is empty or None is what the benchmark thinks right."""

    scale: float | None = None
    views: tuple[str, ...] = ()
    percents: tuple[float, ...] = ()
    kinds: tuple[str, ...] = ()
    rounds: int | None = None
    change_files: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a benchmark may write, and how much it may do.

    `scratch` is gone after the run, `kept` may hold what a later run can use again.
    """

    scratch: Path
    kept: Path
    quick: bool
    tell: Callable[[str], None]
    selection: Selection = Selection()

    def choose(self, quick: int, full: int) -> int:
        """A size or a number of rounds."""
        return quick if self.quick else full

    def folder(self, name: str) -> Path:
        """A new folder for one project."""
        path = self.scratch / name
        path.mkdir(parents=True)
        return path


def sample_of(work: Callable[[], Answer]) -> tuple[Sample, Answer]:
    """Run the work once, and return what it returned too."""
    cpu, wall = time.process_time(), time.perf_counter()
    answer = work()
    return Sample((time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000), answer


def repeat(work: Work, rounds: int, warm: int = 1) -> Samples:
    """Run one piece of work several times; the first `warm` runs are not counted."""
    return take_turns({"only": work}, rounds, warm)["only"]


def take_turns(works: Mapping[str, Work], rounds: int, warm: int = 1) -> dict[str, Samples]:
    """Run rivals one after the other, `rounds` times; the first `warm` rounds are not counted."""
    taken: dict[str, list[Sample]] = {name: [] for name in works}
    for number in range(warm + rounds):
        for name, work in works.items():
            one, _ = sample_of(work)
            if number >= warm:
                taken[name].append(one)
    return {name: Samples(tuple(runs)) for name, runs in taken.items()}


def timed(
    benchmark: str,
    case: str,
    samples: Samples,
    *,
    against: tuple[str, Samples] | None = None,
    goal: Goal | None = None,
    goal_of_ratio: bool = False,
    note: str = "",
    details: Mapping[str, Any] | None = None,
) -> Result:
    """Make the line of a piece of work that is measured in milliseconds."""
    ratio = samples.wall_ms / against[1].wall_ms if against is not None and against[1].wall_ms else None
    figure = ratio if goal_of_ratio else samples.wall_ms
    # Where processor time was not measured it is 0.
    cpu_ratio = samples.cpu_ms / against[1].cpu_ms if against and samples.cpu_ms and against[1].cpu_ms else None
    return Result(
        benchmark=benchmark,
        case=case,
        value=samples.wall_ms,
        unit="ms",
        low=samples.low_ms,
        high=samples.high_ms,
        runs=len(samples.runs),
        cpu_ms=samples.cpu_ms,
        against=None if against is None else against[0],
        ratio=ratio,
        goal=None if goal is None else goal.text,
        met=None if goal is None or figure is None else goal.met(figure),
        note=note,
        details={**(details or {}), **({} if cpu_ratio is None else {"cpu_ratio": cpu_ratio})},
    )
