"""Both paths of a view: what the keeper chooses, and what each path takes where it is forced.

A view has a twin over the same query that says `refresh = "incremental"`; its recompute is forced by request.
So the view itself learns only from its own choices.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.measurement import Sample, Samples
from benchmarks.projects import open_recorded, require_committed, write_project
from benchmarks.recording import Recorder
from incremental.events import CycleEvent, EventKind
from incremental.keeper import Force, Keeper
from incremental.outcome import Outcome
from registry.artifact_rows import RefreshRecord
from registry.view import StateTable

TOLERANCE: Final = 1.1
"""How much longer than the other path the chosen one may take and still be right: a single run tells no finer."""

_TWIN: Final = "_forced"
_ENDS: Final = (EventKind.REFRESH_FINISHED, EventKind.VIEW_SKIPPED)
_DONE: Final = (Outcome.COMMITTED, Outcome.UNCHANGED)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """One refresh of one view: from the look at its datasets to its commit.

    `paths` are the strategies of its stages, states included; `rows_read` counts the rows of the files that it read,
    before what row groups and keys rule out.
    """

    sample: Sample
    record: RefreshRecord
    paths: frozenset[str]
    rows_read: int
    rows_written: int

    @property
    def done(self) -> bool:
        """Whether rows were computed, even if none of the view changed."""
        return self.record.outcome in _DONE

    @property
    def well(self) -> bool:
        """Whether the view is up to date."""
        return self.done or self.record.outcome == Outcome.SKIPPED


@dataclass(frozen=True, slots=True)
class Round:
    """A refresh of a view after a change, and what each path took for it, if it was forced and can be taken."""

    refreshed: Refreshed
    incremental: Sample | None = None
    recompute: Sample | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """The refreshes of a view after changes of one kind."""

    rounds: tuple[Round, ...]

    @property
    def computed(self) -> tuple[Refreshed, ...]:
        """Those that were not skipped and did not fail."""
        return tuple(one.refreshed for one in self.rounds if one.refreshed.done)

    @property
    def samples(self) -> Samples:
        """What they took; not to be asked where none was computed."""
        return Samples(tuple(one.sample for one in self.computed))

    @property
    def incremental(self) -> Samples | None:
        """What applying the changes takes where it is forced."""
        return _samples(one.incremental for one in self.rounds)

    @property
    def recompute(self) -> Samples | None:
        """What a recompute by the keeper takes where it is forced."""
        return _samples(one.recompute for one in self.rounds)

    @property
    def strategies(self) -> str:
        """How often each strategy was taken, or what became of the refresh otherwise."""
        return counted(
            one.refreshed.record.strategy if one.refreshed.well else one.refreshed.record.outcome for one in self.rounds
        )

    @property
    def regrets(self) -> tuple[float, ...]:
        """How much longer each chosen path takes than the better one, as a share of that; none without a choice.

        Where a state took one path and the view the other, it is what that took, if it is longer than the better path.
        """
        incremental, recompute = self.incremental, self.recompute
        if incremental is None or recompute is None:
            return ()
        took = {frozenset({"incremental"}): incremental.wall_ms, frozenset({"recompute"}): recompute.wall_ms}
        better = min(took.values())
        chosen = (took.get(one.paths, max(one.sample.wall_ms, better)) for one in self.computed)
        return tuple(ms / better - 1 for ms in chosen)

    @property
    def paths(self) -> str:
        """What both paths take, in words."""
        paths = (("incremental", self.incremental), ("recompute", self.recompute))
        return ", ".join(f"{name} {one.wall_ms:.0f} ms" for name, one in paths if one is not None)


@dataclass(slots=True)
class Project:
    """A keeper over views and their twins, built and up to date."""

    root: Path
    views: Mapping[str, str]
    keeper: Keeper
    _recorder: Recorder

    @classmethod
    def build(
        cls, root: Path, datasets: Iterable[str], views: Mapping[str, str], trusted_writers: Iterable[str] = ()
    ) -> Project:
        """Build the views of a project whose datasets lie at `lake/<name>`.

        Views have states wherever these help: what is measured is tables that are large for their changes.
        """
        twins = {f"{name}{_TWIN}": f'/*\nrefresh = "incremental"\n*/\n{query}' for name, query in views.items()}
        write_project(
            root, datasets, {**views, **twins}, trusted_writers=trusted_writers, state_table=StateTable.ALWAYS
        )
        keeper, recorder = open_recorded(root)
        require_committed(keeper.run_cycle(cause="benchmark"), *views)
        return cls(root, views, keeper, recorder)

    def refresh_after(self, change: Callable[[], None], *, forced: bool) -> dict[str, Round]:
        """Refresh each view after a change; `forced` takes both paths with its twin too."""
        if forced:
            # The twins may have missed other changes; this brings them to the state before this one.
            for view in self.views:
                self.refresh(view + _TWIN, force="recompute")
        change()
        refreshed = {view: self.refresh(view) for view in self.views}
        if not forced:
            return {view: Round(one) for view, one in refreshed.items()}
        incremental = {view: self.refresh(view + _TWIN) for view in self.views}
        # Of the same files as the other path: those from before the change may be better to read.
        recomputed = {view: self.refresh(view + _TWIN, force="recompute") for view in self.views}
        return {
            view: Round(one, _took(incremental[view], "incremental"), _took(recomputed[view], "recompute"))
            for view, one in refreshed.items()
        }

    def unequal(self) -> list[str]:
        """The views that are not what their queries say."""
        return [one.view for one in self.keeper.verify(list(self.views)) if not (one.checked and one.equal)]

    def refresh(self, view: str, force: Force | None = None) -> Refreshed:
        """Refresh one view or twin."""
        return refresh_once(self.keeper, self._recorder, view, force)


def refresh_once(keeper: Keeper, recorder: Recorder, view: str, force: Force | None = None) -> Refreshed:
    """Run a cycle of one view; what the cycle records of itself afterwards is not part of the sample."""
    ends: list[tuple[float, float]] = []

    def note(event: CycleEvent) -> None:
        if event.kind in _ENDS:
            ends.append((time.perf_counter(), time.process_time()))

    recorder.drain()
    cpu, wall = time.process_time(), time.perf_counter()
    report = keeper.run_cycle([view], cause="benchmark", force=force, observer=note)
    record = report.of(view)
    ended, spent = ends[-1]
    answers = [call.answer for call in recorder.drain() if call.method == "refresh"]
    last = answers[-1] if answers else {}
    return Refreshed(
        sample=Sample((ended - wall) * 1000, (spent - cpu) * 1000),
        record=record,
        paths=frozenset(one.strategy for one in report.views if one.outcome in _DONE),
        rows_read=sum(unit["rows"] or 0 for unit in last.get("scan_units", ())),
        rows_written=last.get("written", {}).get("rows") or 0,
    )


def geometric_mean(values: Iterable[float]) -> float:
    """The geometric mean of positive numbers; at least one."""
    logarithms = [math.log(one) for one in values]
    return math.exp(sum(logarithms) / len(logarithms))


def counted(words: Iterable[str]) -> str:
    """How often each word occurs, in words."""
    return "+".join(f"{number} {word}" for word, number in Counter(words).items())


def _samples(samples: Iterable[Sample | None]) -> Samples | None:
    known = tuple(one for one in samples if one is not None)
    return Samples(known) if known else None


def _took(one: Refreshed, strategy: str) -> Sample | None:
    return one.sample if one.done and one.record.strategy == strategy else None
