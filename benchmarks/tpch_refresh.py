"""The 22 views of TPC-H after changes of a share of the rows, against the faster of DataFusion and DuckDB.

Every view is refreshed by itself after each change, from the look at its datasets to its commit; the commits of the
sources are not measured, nor is what a cycle records of itself.
The rivals recompute the query from the files as they are after the last change, and write Parquet: once for each share
and kind, the better of two runs, since their time does not depend on what changed.
A table line stands for all views; views have lines of their own at 0.1 %, and wherever they lose.
Refreshes that were skipped, because the change cannot concern the view, are in no mean.
Deletes and updates rewrite files; with change files (`--change-files`) they also say which rows changed, as they do for
tables with a change data feed.
Choices are judged by what both paths take for the last change of each kind, when they are forced on a twin of the view.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.both_paths import TOLERANCE, Measured, Project, Round, counted, geometric_mean
from benchmarks.measurement import Goal, Result, Samples, Setting, repeat, timed
from benchmarks.projects import record_changes
from benchmarks.rivals import Rivals
from benchmarks.tpch_changes import KINDS, STREAMS, Kind, change
from benchmarks.tpch_data import Sizes, prepare
from tests.tpc.queries import load
from tests.tpc.schemas import TPCH

NAME: Final = "tpch_refresh"
PERCENTS: Final = (0.001, 0.01, 0.1, 1.0, 10.0, 50.0)
SHOWN_PERCENT: Final = 0.1
"""The share that the speedup is promised for."""

FAST: Final = Goal("ratio at most 0.1", 0.1)
NO_LOSS: Final = Goal("ratio at most 1.1", 1.1)
RIGHT: Final = Goal("at least 95 %", 95, at_least=True)
REGRET: Final = Goal("at most 5 %", 5)
NONE: Final = Goal("none", 0)
CHANGE_FILES: Final = ", change files"


@dataclass(frozen=True, slots=True)
class Case:
    """All views after changes of one kind that reach a share of the rows."""

    percent: float
    kind: Kind
    change_files: bool
    views: Mapping[str, Measured]
    rivals: Mapping[str, Mapping[str, Samples]]

    @property
    def text(self) -> str:
        return f"{self.percent:g} % {self.kind}{CHANGE_FILES if self.change_files else ''}"

    def faster(self, view: str) -> tuple[str, Samples]:
        """The rival that takes less for a view."""
        return min(self.rivals[view].items(), key=lambda one: one[1].wall_ms)

    @property
    def ratios(self) -> dict[str, float]:
        """What a view takes as a share of the faster rival's time; those with nothing to do are left out."""
        computed = {view: one for view, one in self.views.items() if one.computed}
        return {view: one.samples.wall_ms / self.faster(view)[1].wall_ms for view, one in computed.items()}


@dataclass(frozen=True, slots=True)
class Extent:
    """What of the matrix is run."""

    scale: float
    views: Mapping[str, str]
    percents: Sequence[float]
    kinds: Sequence[Kind]
    rounds: int
    change_files: bool

    @classmethod
    def of(cls, setting: Setting) -> Extent:
        chosen = setting.selection
        queries = {query.stem: query.sql for query in load("tpch")}
        unknown = {*chosen.views} - {*queries} or {*chosen.kinds} - {*KINDS}
        if unknown:
            raise ValueError(f"there is no {', '.join(sorted(unknown))}; there are {', '.join((*queries, *KINDS))}")
        return cls(
            scale=chosen.scale or (0.01 if setting.quick else 1.0),
            views={view: sql for view, sql in queries.items() if view in (chosen.views or queries)},
            percents=chosen.percents or ((SHOWN_PERCENT,) if setting.quick else PERCENTS),
            kinds=[kind for kind in KINDS if kind in (chosen.kinds or KINDS)],
            rounds=chosen.rounds or setting.choose(2, 10),
            change_files=chosen.change_files,
        )


def run(setting: Setting) -> Iterator[Result]:
    """Measure the chosen part of the matrix; a lake and a project are made anew for each share and stream of kinds."""
    extent = Extent.of(setting)
    setting.tell(f"tables at scale {extent.scale:g}")
    base = prepare(setting.kept, extent.scale)
    cases: list[Case] = []
    wrong: list[str] = []
    for percent in extent.percents:
        for stream in STREAMS:
            if not {*stream} & {*extent.kinds}:
                continue
            found, unequal = _measure(setting, extent, base, percent, stream)
            wrong += unequal
            for case in found:
                yield from _lines(case)
            cases += found
    part = f"{', '.join(f'{percent:g}' for percent in extent.percents)} % {', '.join(extent.kinds)}"
    part += CHANGE_FILES if extent.change_files else ""
    yield from _choices(cases, part)
    yield Result(
        benchmark=NAME,
        case=f"refreshes that failed, and views that are wrong: {part}",
        value=len(wrong),
        unit="",
        low=len(wrong),
        high=len(wrong),
        runs=len(cases) * len(extent.views),
        goal=NONE.text,
        met=not wrong,
        note="; ".join(wrong),
    )


def _measure(
    setting: Setting, extent: Extent, base: Path, percent: float, stream: Sequence[Kind]
) -> tuple[list[Case], list[str]]:
    """Play a stream on a copy of the lake; also say which views are not what their queries say in the end."""
    root, sizes = setting.folder(f"{NAME}_{percent:g}_{stream[0]}"), Sizes(extent.scale)
    lake = root / "lake"
    # Files of a Delta table are never written again, so links are as good as copies.
    shutil.copytree(base, lake, copy_function=os.link)
    setting.tell(f"{percent:g} % {' and '.join(stream)}: build")
    if extent.change_files:
        for name in TPCH:
            record_changes(lake / name)
    project = Project.build(root, TPCH, extent.views, ["delta-rs"] if extent.change_files else [])
    rounds: dict[Kind, list[Mapping[str, Round]]] = {kind: [] for kind in stream}
    rivals: dict[Kind, Mapping[str, Mapping[str, Samples]]] = {}
    for number in range(extent.rounds):
        for kind in stream:
            last = number == extent.rounds - 1 and kind in extent.kinds
            one = project.refresh_after(partial(change, lake, sizes, kind, percent / 100, number), forced=last)
            rounds[kind].append(one)
            took_ms = sum(found.refreshed.sample.wall_ms for found in one.values())
            setting.tell(f"{percent:g} % {kind}, {number + 1} of {extent.rounds}: {took_ms:,.0f} ms")
            if last:
                rivals[kind] = _recompute(root, extent.views)
    wrong = [f"{view} {percent:g} % {' and '.join(stream)}" for view in project.unequal()]
    project.keeper.close()
    shutil.rmtree(root)
    cases = [
        Case(
            percent,
            kind,
            extent.change_files,
            {view: Measured(tuple(one[view] for one in rounds[kind])) for view in extent.views},
            rivals[kind],
        )
        for kind in rivals
    ]
    failed = [
        f"{view} {case.text}: {one.refreshed.record.error or one.refreshed.record.message}"
        for case in cases
        for view, measured in case.views.items()
        for one in measured.rounds
        if not one.refreshed.well
    ]
    return cases, [*wrong, *failed]


def _recompute(root: Path, views: Mapping[str, str]) -> dict[str, dict[str, Samples]]:
    """What the rivals take for each view on the lake as it is now."""
    rivals = Rivals(root, TPCH)
    found = {
        view: {name: repeat(work, 2, warm=0).best for name, work in rivals.works(query).items()}
        for view, query in views.items()
    }
    rivals.close()
    return found


def _lines(case: Case) -> Iterator[Result]:
    """The line of all views, and those of single views that have one."""
    ratios = case.ratios
    if ratios:
        yield _all_views(case, ratios)
    for view, ratio in ratios.items():
        if case.percent == SHOWN_PERCENT or not NO_LOSS.met(ratio):
            yield timed(
                NAME,
                f"{view}, {case.text}",
                case.views[view].samples,
                against=case.faster(view),
                goal=NO_LOSS,
                goal_of_ratio=True,
                note=_remark(case.views[view]),
                details=_figures(case, view),
            )


def _all_views(case: Case, ratios: Mapping[str, float]) -> Result:
    walls = [case.views[view].samples.wall_ms for view in ratios]
    spent = geometric_mean(case.views[view].samples.cpu_ms for view in ratios)
    goal = FAST if case.percent == SHOWN_PERCENT else NO_LOSS
    ratio = geometric_mean(ratios.values())
    slowest = max(ratios, key=lambda view: ratios[view])
    lost = sum(not NO_LOSS.met(one) for one in ratios.values())
    strategies = counted(one.record.strategy for view in ratios for one in case.views[view].computed)
    return Result(
        benchmark=NAME,
        case=f"{len(ratios)} of {len(case.views)} views, {case.text}: geometric mean",
        value=geometric_mean(walls),
        unit="ms",
        low=min(walls),
        high=max(walls),
        runs=len(ratios),
        cpu_ms=spent,
        against="the faster rival",
        ratio=ratio,
        goal=goal.text,
        met=goal.met(ratio),
        note=f"{strategies}; {lost} above 1.1; worst {slowest}, {ratios[slowest]:.2f}",
        details={
            "cpu_ratio": spent / geometric_mean(case.faster(view)[1].cpu_ms for view in ratios),
            "views": {view: _figures(case, view) for view in case.views},
        },
    )


def _remark(measured: Measured) -> str:
    records = [one.record for one in measured.computed]
    read, written = _mean(one.bytes_read for one in records), _mean(one.bytes_written for one in records)
    rows = _mean(one.rows_read for one in measured.computed)
    amounts = f"reads {read / 1e6:.1f} MB of {rows:,.0f} rows, writes {written / 1e6:.2f} MB"
    return f"{measured.strategies}; {amounts}; forced: {measured.paths}"


def _figures(case: Case, view: str) -> dict[str, Any]:
    """Everything that was measured of a view, for the JSON; means over its refreshes, bytes and milliseconds."""
    measured = case.views[view]
    computed = measured.computed
    return {
        "strategies": measured.strategies,
        "wall_ms": measured.samples.wall_ms if computed else None,
        "cpu_ms": measured.samples.cpu_ms if computed else None,
        "ratio": case.ratios.get(view),
        "rivals_ms": {name: samples.wall_ms for name, samples in case.rivals[view].items()},
        "rivals_cpu_ms": {name: samples.cpu_ms for name, samples in case.rivals[view].items()},
        "bytes_read": _mean(one.record.bytes_read for one in computed),
        "bytes_written": _mean(one.record.bytes_written for one in computed),
        "rows_read": _mean(one.rows_read for one in computed),
        "rows_written": _mean(one.rows_written for one in computed),
        "rows_changed": _mean((one.record.rows_inserted or 0) + (one.record.rows_deleted or 0) for one in computed),
        "incremental_ms": None if measured.incremental is None else measured.incremental.wall_ms,
        "recompute_ms": None if measured.recompute is None else measured.recompute.wall_ms,
        "reasons": counted(one.refreshed.record.reason for one in measured.rounds),
    }


def _choices(cases: Sequence[Case], part: str) -> Iterator[Result]:
    """How often the better path was chosen, and what the other choices cost."""
    regrets = [
        (regret, f"{view} {case.text}")
        for case in cases
        for view, measured in case.views.items()
        for regret in measured.regrets
    ]
    if not regrets:
        return
    right = 100 * sum(regret <= TOLERANCE - 1 for regret, _ in regrets) / len(regrets)
    better = 100 * sum(regret == 0 for regret, _ in regrets) / len(regrets)
    mean = 100 * sum(regret for regret, _ in regrets) / len(regrets)
    yield Result(
        benchmark=NAME,
        case=f"right choices: {part}",
        value=right,
        unit="%",
        low=better,
        high=right,
        runs=len(regrets),
        goal=RIGHT.text,
        met=RIGHT.met(right),
        note=f"at most {TOLERANCE:g} times the better path; {better:.1f} % took the better one",
    )
    worst = {name: regret for regret, name in sorted(regrets) if regret}
    named = [f"{name} {regret:.0%}" for name, regret in reversed(worst.items())]
    yield Result(
        benchmark=NAME,
        case=f"mean regret: {part}",
        value=mean,
        unit="%",
        low=100 * min(regrets)[0],
        high=100 * max(regrets)[0],
        runs=len(regrets),
        goal=REGRET.text,
        met=REGRET.met(mean),
        note=f"worst: {', '.join(named[:8])}" if named else "",
        details={"regrets": worst},
    )


def _mean(values: Iterable[float | None]) -> float:
    known = [one for one in values if one is not None]
    return sum(known) / len(known) if known else 0.0
