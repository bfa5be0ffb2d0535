"""Answering: an operation that is asked for is checked, waits its turn, is counted, and kept if it changes something.

Used in the event loop; what needs the keeper runs in the worker's thread.
Invariant: what is told of the daemon itself waits neither for the project to be opened nor for a cycle to end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from daemon.caller import Caller
from daemon.clock import Clock
from daemon.diagnosis import Diagnosis
from daemon.event_stream import EventStream
from daemon.failure import failure_of
from daemon.integrations.outlets import Outlets
from daemon.keeping import Keeping
from daemon.log import logger
from daemon.metrics import Metrics
from daemon.operations import answer, find_operation
from daemon.port import JsonValue, KeeperPort, Observer, ReloadOutcome, RequestMade
from daemon.request_book import RequestBook
from daemon.worker import Priority, Worker, in_event_loop
from registry.errors import DeltakeepError

STATUS_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What answers need of the service: its keeper, its reload, what it does with an event and a new thing to do.

    `keeper` raises `RetryLater` where none can be asked; `live` is what status tells of the daemon itself.
    """

    keeper: Callable[[], KeeperPort]
    reload: Callable[[], Awaitable[ReloadOutcome]]
    took_event: Observer
    wake: Callable[[], None]
    live: Callable[[], Mapping[str, JsonValue]]


class Answering:
    """Answers for one service."""

    def __init__(
        self,
        asked: Asked,
        *,
        clock: Clock,
        metrics: Metrics,
        keeping: Keeping,
        worker: Worker,
        outlets: Outlets,
        events: EventStream,
        diagnosis: Diagnosis,
        opening_patience_ms: int,
    ) -> None:
        """`opening_patience_ms` is how long a request waits for the project to be opened."""
        self._asked = asked
        self._clock = clock
        self._metrics = metrics
        self._keeping = keeping
        self._worker = worker
        self._outlets = outlets
        self._diagnosis = diagnosis
        self._opening_patience_ms = opening_patience_ms
        self._book = RequestBook(clock, events, self._record)
        self._log = logger("requests")
        self._opened = asyncio.Event()
        self._status: JsonValue = None

    def opened(self) -> None:
        """The project was opened, or could not be: requests need not wait for it any more."""
        self._opened.set()

    async def perform(
        self, operation: str, parameters: Mapping[str, JsonValue], observer: Observer, caller: Caller
    ) -> JsonValue:
        """Run an operation for a client if it may, count it, and keep who asked for a change."""
        started_ms = self._clock.monotonic_ms()
        label, result = "unknown", "failed"
        try:
            found = find_operation(operation)
            label = operation
            self._log.debug("request", operation=operation)
            checked = found.check(parameters)
            value = await self._book.enter(caller, found, checked, lambda: self._answer(operation, checked, observer))
            result = "ok"
            return answer(value)
        finally:
            self._metrics.add("control_requests_total", operation=label, result=result)
            elapsed_s = (self._clock.monotonic_ms() - started_ms) / 1000
            self._metrics.observe("control_request_duration_seconds", elapsed_s)

    def turned_away(self, caller: Caller, operation: str, error: DeltakeepError) -> None:
        """Keep that a caller was not let in."""
        self._book.turned_away(caller, operation, failure_of(error))

    async def _answer(self, operation: str, given: Mapping[str, JsonValue], observer: Observer) -> Any:
        """Tell about the daemon at once, whatever it does, and about the project as soon as it is open."""
        value = self._diagnosis.answer(operation, given)
        if value is not None:
            return value
        await self._wait_for_opening(observer)
        keeper = self._asked.keeper()
        match operation:
            case "reload":
                return await self._asked.reload()
            case "status":
                return await self._tell_status(keeper)
            case _:
                return await self._run(keeper, operation, given, observer)

    async def _wait_for_opening(self, observer: Observer) -> None:
        """Let a request that comes while the project is opened wait, so that a restart refuses nobody."""
        if self._opened.is_set():
            return
        observer({"kind": "waiting", "view": None, "what": "opening the project"})
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._opened.wait(), self._opening_patience_ms / 1000)

    async def _tell_status(self, keeper: KeeperPort) -> JsonValue:
        """Status never waits for a long cycle: then it shows what was known before, and what runs."""
        waiting = self._worker.submit(Priority.REQUEST, "status", keeper.status)
        with contextlib.suppress(TimeoutError):
            self._status = await asyncio.wait_for(waiting, STATUS_PATIENCE_S)
        status = self._status if isinstance(self._status, dict) else self._keeping.bare_status()
        return {"daemon": self._asked.live(), **status}

    async def _run(self, keeper: KeeperPort, name: str, given: Mapping[str, JsonValue], observer: Observer) -> Any:
        """Run an operation in the worker's thread, and take over what it changed."""
        operation = find_operation(name)

        def forward(event: Mapping[str, JsonValue]) -> None:
            self._asked.took_event(event)
            observer(event)

        if self._worker.in_hand is not None:
            observer({"kind": "waiting", "view": None, "what": self._worker.in_hand.label})
        across = in_event_loop(forward)
        started_ms, started_wall_ms = self._clock.monotonic_ms(), self._clock.now_ms()

        def call() -> Any:
            if name not in {"cycle", "refresh"}:
                return operation.run(keeper, given, across)
            began_ms = self._clock.now_ms()
            outcome = operation.run(keeper, given, self._outlets.watching(across))
            self._outlets.cycle_ended(keeper, outcome, began_ms)
            return outcome

        value = await self._worker.submit(Priority.REQUEST, name, call)
        if name in {"cycle", "refresh"}:
            self._keeping.took_cycle(value, "request", started_ms, started_wall_ms)
        if name in {"pause", "resume"}:
            self._keeping.paused = await self._worker.submit(Priority.REQUEST, name, keeper.paused)
        if name in {"replan", "resume"}:
            views = [given["view"]] if name == "resume" else given["views"]
            self._keeping.notice(views, "request", urgent=True)
            self._asked.wake()
        return value

    async def _record(self, made: RequestMade) -> None:
        keeper = self._asked.keeper()
        await self._worker.submit(Priority.REQUEST, "record a request", lambda: keeper.record_request(made))
