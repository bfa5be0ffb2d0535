"""The one thread that uses the keeper: a bounded queue in front of it, requests before cycles.

Invariant: never two calls at once, so nothing above the keeper needs locks.
A job that has started is never abandoned by the queue; who waits for it may stop waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar

from daemon.clock import Clock
from daemon.failure import EnginePanic, is_panic
from daemon.port import JsonValue, Observer
from registry.errors import RetryLater

QUEUE_MAX = 256

Result = TypeVar("Result")


class Priority(IntEnum):
    """What goes first: somebody who waits, then definitions, then looking, then refreshing; last what only probes."""

    REQUEST = 0
    RELOAD = 1
    POLL = 2
    CYCLE = 3
    TURN = 4


@dataclass(frozen=True, slots=True, order=True)
class _Job:
    priority: Priority
    sequence: int
    label: str = field(compare=False)
    queued_ms: int = field(compare=False)
    call: Callable[[], Any] = field(compare=False)
    done: asyncio.Future[Any] = field(compare=False)


@dataclass(frozen=True, slots=True)
class InHand:
    """The job that runs now; `started_ms` is monotonic."""

    label: str
    started_ms: int


class Worker:
    """Runs calls one after the other in a thread of its own."""

    def __init__(self, clock: Clock, on_wait: Callable[[float], None] | None = None) -> None:
        """`on_wait` is told how many seconds each job spent in the queue."""
        self._clock = clock
        self._on_wait = on_wait
        self._queue: asyncio.PriorityQueue[_Job] = asyncio.PriorityQueue(QUEUE_MAX)
        self._sequence = itertools.count()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="keeper")
        self.in_hand: InHand | None = None

    @property
    def queued(self) -> int:
        """How many jobs wait."""
        return self._queue.qsize()

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return self.in_hand is None and self._queue.empty()

    def submit(self, priority: Priority, label: str, call: Callable[[], Result]) -> asyncio.Future[Result]:
        """Queue a call; raises `RetryLater` with code `busy` when the queue is full."""
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        job = _Job(priority, next(self._sequence), label, self._clock.monotonic_ms(), call, done)
        try:
            self._queue.put_nowait(job)
        except asyncio.QueueFull:
            raise RetryLater(
                "busy",
                f"{QUEUE_MAX} calls wait already" + (f', "{self.in_hand.label}" runs' if self.in_hand else ""),
                hint="wait and repeat",
            ) from None
        return done

    async def run(self) -> None:
        """Work until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            job = await self._queue.get()
            if job.done.cancelled():
                continue
            started = self._clock.monotonic_ms()
            if self._on_wait is not None and job.priority is not Priority.TURN:
                self._on_wait((started - job.queued_ms) / 1000)
            self.in_hand = InHand(job.label, started)
            try:
                value = await loop.run_in_executor(self._executor, _guarded(job.call))
            except Exception as error:  # noqa: BLE001 - it belongs to the one who waits
                if not job.done.cancelled():
                    job.done.set_exception(error)
            else:
                if not job.done.cancelled():
                    job.done.set_result(value)
            finally:
                self.in_hand = None

    def refuse_waiting(self, reason: str) -> None:
        """Fail what has not started; used when draining."""
        while not self._queue.empty():
            job = self._queue.get_nowait()
            if not job.done.done():
                job.done.set_exception(RetryLater("draining", reason, hint="repeat when the daemon is up again"))

    def close(self) -> None:
        """Let the thread end after the job in hand; does not wait for it."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _guarded(call: Callable[[], Any]) -> Callable[[], Any]:
    """The call, with a panic of the engine turned into an error: one view's defect must not end the thread."""

    def guarded() -> Any:
        try:
            return call()
        except BaseException as error:
            if is_panic(error):
                raise EnginePanic(error) from error
            raise

    return guarded


def in_event_loop(observer: Observer) -> Observer:
    """An observer for the worker's thread that hands each event to the event loop that this is called in."""
    loop = asyncio.get_running_loop()

    def forward(event: Mapping[str, JsonValue]) -> None:
        # After the loop has closed nobody is interested in events any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(observer, event)

    return forward
