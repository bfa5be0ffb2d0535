"""Keepers in processes of their own, which stop or die at a step of a refresh.

Forked from a server that has imported everything and started nothing, so that a process costs little.
They talk over a pipe: a process says where it is and waits for an order; nobody sleeps.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Final, cast

import datafusion_ext
from incremental.events import CycleEvent, EventKind, Observer
from incremental.keeper import Keeper
from incremental.memory import DURABLE_AFTER_COMMITS
from registry.artifact_rows import RefreshRecord
from registry.project import load_project
from registry.session import RuntimeProfile, build_session_runtime
from tests.workspace import SteppedClock

TIME_LIMIT_S: Final = 60
KILLED: Final = -signal.SIGKILL
AT_THE_STEP: Final = "at the step"
GO_ON: Final = "go on"
TELL: Final = "tell"
STOP: Final = "stop"
PAUSED: Final = "large"
"""The view that a process pauses whose `commands` table is to be hurt."""
FINISHED: Final = EventKind.REFRESH_FINISHED.value
"""Stands for the end of a refresh where a step is asked for."""

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.simulation.processes"])

Told = list[tuple[str, str, str | None]]
"""View, outcome and error of each record of a cycle."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A process and the pipe to it."""

    process: ForkServerProcess
    pipe: Connection

    def hears(self) -> Any:
        """Return what the process says next; fail if it ends or says nothing for too long."""
        assert self.pipe.poll(TIME_LIMIT_S), "the process says nothing"
        return self.pipe.recv()

    def order(self, word: str) -> None:
        self.pipe.send(word)

    def kill(self) -> None:
        self.process.kill()

    def killed_after(self, seconds: float) -> int:
        """Let the process go on for so long, then kill it, wherever it is; its exit code, 0 if it had ended before."""
        self.process.join(seconds)
        self.process.kill()
        return self.ended()

    def ended(self) -> int:
        """Wait for the end of the process; its exit code."""
        self.process.join(TIME_LIMIT_S)
        code = self.process.exitcode
        assert code is not None, "the process does not end"
        return code


@contextmanager
def cycle_killed_at(
    root: Path, clock_ms: int, view: str, step: str, durable_after_commits: int = DURABLE_AFTER_COMMITS
) -> Iterator[Worker]:
    """Run one cycle in a process that kills itself when a view's refresh comes to a step."""
    with _started(_killed_cycle, root, clock_ms, view, step, durable_after_commits) as worker:
        yield worker


@contextmanager
def history_killed_at(root: Path, clock_ms: int, table: str, step: str) -> Iterator[Worker]:
    """Pause a view and run one cycle in a process that kills itself at a step of writing an artifact table."""
    with _started(_killed_history, root, clock_ms, table, step) as worker:
        yield worker


@contextmanager
def cycle_killed_after(root: Path, clock_ms: int, steps: int) -> Iterator[Worker]:
    """Run cycles in a process that kills itself when all refreshes together have told so many steps."""
    with _started(_cycles_killed_after, root, clock_ms, steps) as worker:
        yield worker


@contextmanager
def cycle_held_at(root: Path, clock_ms: int, view: str, step: str) -> Iterator[Worker]:
    """Run one cycle in a process that says when a view's refresh comes to a step, and waits there for an order."""
    with _started(_held_cycle, root, clock_ms, view, step) as worker:
        yield worker


@contextmanager
def endless_cycles(root: Path, clock_ms: int) -> Iterator[Worker]:
    """Run cycles in a process until it is told to stop; it tells what each came to when it is asked, or stops."""
    with _started(_endless_cycles, root, clock_ms) as worker:
        yield worker


@contextmanager
def _started(target: Any, *arguments: Any) -> Iterator[Worker]:
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=target, args=(*arguments, theirs))
    process.start()
    theirs.close()
    try:
        yield Worker(process, ours)
    finally:
        process.kill()
        process.join(TIME_LIMIT_S)
        process.close()
        ours.close()


def _killed_cycle(
    root: Path, clock_ms: int, view: str, step: str, durable_after_commits: int, pipe: Connection
) -> None:
    def observe(event: CycleEvent) -> None:
        if _is(event, view, step):
            os.kill(os.getpid(), signal.SIGKILL)

    _one_cycle(root, clock_ms, pipe, observe, durable_after_commits)


class _DyingEngine:
    """Passes every call on, and kills the process at a step of an append to one table."""

    def __init__(self, engine: datafusion_ext.Engine, table: str, step: str) -> None:
        self._engine = engine
        self._table = table
        self._step = step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def append(self, request: str, data: object) -> int:
        def observe(step: str) -> None:
            if step == self._step:
                os.kill(os.getpid(), signal.SIGKILL)

        mortal = json.loads(request)["table"]["uri"].endswith(f"/{self._table}")
        return self._engine.append(request, data, observe if mortal else None)


def _killed_history(root: Path, clock_ms: int, table: str, step: str, pipe: Connection) -> None:
    profile = RuntimeProfile.of(load_project(root).engine)
    engine = _DyingEngine(datafusion_ext.Engine(target_partitions=2, durable=profile.durable), table, step)
    runtime = build_session_runtime(profile, cast("datafusion_ext.Engine", engine))
    keeper = Keeper.open(root, clock=SteppedClock(clock_ms), runtime=runtime)
    if table == "commands":
        keeper.pause(PAUSED, "before the end")
    report = keeper.run_cycle(cause="test")
    keeper.close()
    pipe.send(told(report.views))


def _cycles_killed_after(root: Path, clock_ms: int, steps: int, pipe: Connection) -> None:
    lock, left = threading.Lock(), steps

    def observe(event: CycleEvent) -> None:
        nonlocal left
        if event.kind is EventKind.REFRESH_STEP:
            with lock:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

    _one_cycle(root, clock_ms, pipe, observe)


def _held_cycle(root: Path, clock_ms: int, view: str, step: str, pipe: Connection) -> None:
    held = threading.Lock()

    def observe(event: CycleEvent) -> None:
        # A refresh that lost a race is planned again and comes to the step once more: it waits only once.
        if _is(event, view, step) and held.acquire(blocking=False):
            pipe.send(AT_THE_STEP)
            assert pipe.recv() == GO_ON

    _one_cycle(root, clock_ms, pipe, observe)


def _one_cycle(
    root: Path,
    clock_ms: int,
    pipe: Connection,
    observe: Observer,
    durable_after_commits: int = DURABLE_AFTER_COMMITS,
) -> None:
    keeper = Keeper.open(root, clock=SteppedClock(clock_ms), durable_after_commits=durable_after_commits)
    report = keeper.run_cycle(cause="test", observer=observe)
    keeper.close()
    pipe.send(told(report.views))


def _endless_cycles(root: Path, clock_ms: int, pipe: Connection) -> None:
    clock = SteppedClock(clock_ms)
    keeper = Keeper.open(root, clock=clock)
    done: list[Told] = []

    def run_cycle() -> None:
        clock.step(1_000)
        done.append(told(keeper.run_cycle(cause="test").views))

    word = ""
    while word != STOP:
        run_cycle()
        if pipe.poll():
            word = pipe.recv()
            # What is told includes a whole cycle that began after the question.
            run_cycle()
            pipe.send(done.copy())
            done.clear()
    keeper.close()


def told(records: tuple[RefreshRecord, ...]) -> Told:
    return [(record.view, record.outcome, record.error) for record in records]


def _is(event: CycleEvent, view: str, step: str) -> bool:
    return event.view == view and step in (event.kind.value, event.fields.get("step"))
