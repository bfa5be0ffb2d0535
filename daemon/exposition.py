"""What a scrape is answered with: counters as they are, gauges and the keeper's figures as of now.

Invariant: a scrape waits for nothing that takes long, and costs the loops nothing while it is made.
"""

from __future__ import annotations

import asyncio

from daemon.clock import Clock
from daemon.keeping import Keeping
from daemon.metrics import Metrics
from daemon.port import KeeperFigures, KeeperPort
from daemon.worker import Priority, Worker
from registry.errors import RetryLater

FIGURES_PATIENCE_S = 0.1


class Exposition:
    """The metrics of one service; used by the event loop's thread."""

    def __init__(self, clock: Clock, metrics: Metrics, keeping: Keeping, worker: Worker) -> None:
        self._clock = clock
        self._metrics = metrics
        self._keeping = keeping
        self._worker = worker
        self._figures: asyncio.Future[KeeperFigures] | None = None

    async def text(self, keeper: KeeperPort | None, *, ready: bool) -> bytes:
        """The metrics as text; `keeper` is None where there is none that may be asked."""
        if keeper is not None:
            await self._take_figures(keeper)
            self._metrics.gauge("memory_pool_reserved_bytes", keeper.reserved_bytes())
            spilled = await asyncio.to_thread(keeper.spilled)
            self._metrics.gauge("spill_files", spilled.files)
            self._metrics.gauge("spill_bytes", spilled.bytes)
        self._metrics.gauge("ready", 1 if ready else 0)
        self._read_worker()
        self._keeping.read_gauges()
        # With a thousand views it is megabytes; the loops go on meanwhile.
        return await asyncio.to_thread(self._metrics.render)

    async def _take_figures(self, keeper: KeeperPort) -> None:
        """Ask the keeper for its figures because somebody scrapes; never wait long, and never ask twice at once.

        They cost time for each view of the project, which a cycle over one view must not.
        """
        if self._figures is None or self._figures.done():
            try:
                self._figures = self._worker.submit(Priority.REQUEST, "figures", keeper.figures)
            except RetryLater:
                return
            self._figures.add_done_callback(self._took_figures)
        # During a long cycle the figures of the scrape before are shown; the next one has these.
        await asyncio.wait([self._figures], timeout=FIGURES_PATIENCE_S)

    def _took_figures(self, figures: asyncio.Future[KeeperFigures]) -> None:
        if not figures.cancelled() and figures.exception() is None:
            self._metrics.figures(figures.result())

    def _read_worker(self) -> None:
        in_hand = self._worker.in_hand
        started_s = 0.0
        if in_hand is not None:
            running_ms = self._clock.monotonic_ms() - in_hand.started_ms
            started_s = (self._clock.now_ms() - running_ms) / 1000
        self._metrics.gauge("work_started_timestamp_seconds", started_s)
        self._metrics.gauge("workers", 1)
        self._metrics.gauge("workers_busy", 0 if in_hand is None else 1)
        self._metrics.gauge("queue_length", self._worker.queued, queue="calls")
