"""Work that comes back: looks at datasets, reconciling looks, housekeeping; each with jitter, on APScheduler.

A turn that is still running when the next one comes swallows it, so a long cycle builds up no backlog.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

JITTER_SHARE = 0.1

Poll = Callable[[tuple[str, ...]], Awaitable[None]]
Chore = tuple[str, Callable[[], Awaitable[None]], float]


class Polling:
    """The timetable of one service, in the running event loop."""

    def __init__(self, poll: Poll, chores: Iterable[Chore]) -> None:
        """`chores` are names, what to do, and how often in seconds."""
        self._poll = poll
        self._chores = tuple(chores)
        self._scheduler: Any = AsyncIOScheduler(timezone="UTC")

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def stop(self) -> None:
        """End; what runs is left to finish."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def plan(self, groups: Mapping[int, tuple[str, ...]]) -> None:
        """Take over which datasets are looked at how often, by milliseconds.

        One job for each distinct interval: a thousand jobs would cost more than their looks.
        """
        self._scheduler.remove_all_jobs()
        for poll_ms, datasets in sorted(groups.items()):
            self._add(f"poll-{poll_ms}", self._poll, poll_ms / 1000, (datasets,))
        for name, chore, seconds in self._chores:
            self._add(name, chore, seconds, ())

    def _add(self, name: str, work: Callable[..., Awaitable[None]], seconds: float, arguments: tuple[Any, ...]) -> None:
        self._scheduler.add_job(
            work,
            IntervalTrigger(seconds=seconds, jitter=seconds * JITTER_SHARE, timezone="UTC"),
            args=arguments,
            id=name,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )
