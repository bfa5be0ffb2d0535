"""Events for whoever watches: the last notable ones are kept, each watcher has a bounded queue.

Used by the event loop's thread only.
Invariant: a watcher that does not keep up holds up nobody: it misses the oldest, and the numbers tell which.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from daemon.clock import Clock
from daemon.port import JsonValue

KEPT_MAX = 300
PASSING = frozenset({"view_examined", "view_skipped", "refresh_step"})
"""Kinds that are told to who watches now and are not kept: an idle daemon has nothing else."""
WAITING_MAX = 1_000
WATCHERS_MAX = 64


@dataclass(frozen=True, slots=True)
class Happened:
    """An event with its number, which only grows while the process lives, and its time."""

    number: int
    at_ms: int
    event: Mapping[str, JsonValue]

    def to_json(self) -> dict[str, JsonValue]:
        """The event for clients."""
        return {"number": self.number, "at_ms": self.at_ms, **self.event}


class EventStream:
    """What happens in this process, for any number of watchers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: deque[Happened] = deque(maxlen=KEPT_MAX)
        self._number = 0
        self._watchers: set[_Watcher] = set()
        self._closed = False

    @property
    def number(self) -> int:
        """The number of the last event."""
        return self._number

    @property
    def full(self) -> bool:
        """Whether no further watcher is taken."""
        return len(self._watchers) >= WATCHERS_MAX

    def publish(self, event: Mapping[str, JsonValue]) -> None:
        """Tell an event to everybody who watches."""
        self._number += 1
        happened = Happened(self._number, self._clock.now_ms(), event)
        if event.get("kind") not in PASSING:
            self._kept.append(happened)
        for watcher in self._watchers:
            watcher.offer(happened)

    def close(self) -> None:
        """Let everybody go who watches."""
        self._closed = True
        for watcher in self._watchers:
            watcher.wake()

    def kept(self, after: int = 0) -> Sequence[Happened]:
        """The last notable events with a greater number, oldest first."""
        return [one for one in self._kept if one.number > after]

    async def watch(self, after: int, idle_s: float) -> AsyncIterator[Sequence[Happened]]:
        """Events after a number as they come, in batches; an empty batch after each idle time."""
        watcher = _Watcher()
        self._watchers.add(watcher)
        try:
            if after > self._number:
                after = 0  # the number is of a process that has ended
            yield self.kept(after)
            while not self._closed:
                yield await watcher.take(idle_s)
        finally:
            self._watchers.discard(watcher)


class _Watcher:
    def __init__(self) -> None:
        self._waiting: deque[Happened] = deque(maxlen=WAITING_MAX)
        self._there = asyncio.Event()

    def offer(self, happened: Happened) -> None:
        self._waiting.append(happened)
        self._there.set()

    def wake(self) -> None:
        self._there.set()

    async def take(self, idle_s: float) -> Sequence[Happened]:
        try:
            await asyncio.wait_for(self._there.wait(), idle_s)
        except TimeoutError:
            return ()
        taken = tuple(self._waiting)
        self._waiting.clear()
        self._there.clear()
        return taken
