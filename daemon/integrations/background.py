"""A thread that delivers what it is given, from a queue that never makes anybody wait."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from daemon.log import logger

Item = TypeVar("Item")
CAPACITY: Final = 1_000
CLOSE_PATIENCE_S: Final = 3.0


class Undelivered(Exception):
    """Delivering failed for good; the message says why, without address and secrets."""


class _Stop:
    """The last thing that the thread takes."""


class Background(Generic[Item]):
    """Delivers items one after the other; counts what was delivered, what failed, and what found the queue full."""

    def __init__(
        self,
        name: str,
        deliver: Callable[[Item], None],
        on_result: Callable[[str], None],
        capacity: int = CAPACITY,
    ) -> None:
        """`deliver` runs in the thread and may raise whatever it likes; `on_result` is told ok, failed or dropped."""
        self._name = name
        self._deliver = deliver
        self._on_result = on_result
        self._queue: queue.Queue[Item | _Stop] = queue.Queue(capacity)
        self._log = logger("integrations").bind(integration=name)
        self._closing = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name=f"integration-{name}", daemon=True)
        self._thread.start()

    def give(self, item: Item) -> None:
        """Hand an item over; never waits and never raises."""
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self._on_result("dropped")

    def close(self, patience_s: float = CLOSE_PATIENCE_S) -> None:
        """Deliver what is waiting, but not for longer than the patience."""
        self._closing.set()
        try:
            self._queue.put(_Stop(), timeout=patience_s)
        except queue.Full:
            return
        self._thread.join(patience_s)

    @property
    def closing(self) -> bool:
        """Whether there is no time for another try."""
        return self._closing.is_set()

    def _run(self) -> None:
        while not isinstance(item := self._queue.get(), _Stop):
            try:
                self._deliver(item)
            except Exception as error:  # noqa: BLE001 - whatever goes wrong out there stays out there
                self._on_result("failed")
                if not self._failing:
                    self._log.warning("not delivered", error=str(error) or type(error).__name__)
                self._failing = True
            else:
                self._on_result("ok")
                if self._failing:
                    self._log.info("delivered again")
                self._failing = False
