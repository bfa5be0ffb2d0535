"""All integrations of a daemon, as one thing to tell what happens; an empty one costs nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from daemon.clock import Clock
from daemon.failure import Failure
from daemon.integrations.happenings import (
    CycleEnded,
    CycleEventSeen,
    CycleFailed,
    Happening,
    Reloaded,
    StatesSeen,
)
from daemon.log import logger
from daemon.metrics import Metrics
from daemon.port import CycleOutcome, KeeperPort, Observer
from registry.errors import EXIT_CONFIGURATION, DeltakeepError
from registry.integrations import IntegrationSettings

JsonValue = Any


class Outlet(Protocol):
    """One integration."""

    def take(self, happening: Happening) -> None:
        """Notice what happened, at once; what takes time is done in a thread."""
        ...

    def close(self) -> None:
        """Deliver what waits, briefly."""
        ...


class ExtraMissing(DeltakeepError):
    """An integration is switched on whose packages are not installed."""

    exit_code_of_class = EXIT_CONFIGURATION


class Outlets:
    """Tells every outlet what happens; an outlet that raises is left out of it, and nobody else notices."""

    def __init__(
        self, clock: Clock, outlets: Sequence[Outlet] = (), *, portraits: bool = False, states: bool = False
    ) -> None:
        """`portraits` and `states` say whether somebody wants those: they cost something to make."""
        self._clock = clock
        self._outlets = tuple(outlets)
        self._portraits = portraits
        self.wants_states = states
        # Events come from the keeper's thread, states and reloads from the event loop's.
        self._lock = threading.Lock()

    def watching(self, observer: Observer) -> Observer:
        """An observer that also tells the outlets; used in the keeper's thread."""
        if not self._outlets:
            return observer

        def watch(event: Mapping[str, JsonValue]) -> None:
            self._take(CycleEventSeen(self._clock.now_ms(), event))
            observer(event)

        return watch

    def cycle_ended(self, keeper: KeeperPort, outcome: CycleOutcome, started_ms: int) -> None:
        """A cycle ended; used in the keeper's thread."""
        if not self._outlets:
            return
        refreshed = [one.view for one in outcome.views if one.outcome in {"committed", "unchanged", "failed"}]
        portraits = keeper.portraits(refreshed) if self._portraits and refreshed else {}
        self._take(CycleEnded(started_ms, self._clock.now_ms(), outcome, portraits))

    def cycle_failed(self, views: Sequence[str], failure: Failure) -> None:
        """A cycle ended without a report."""
        self._take(CycleFailed(self._clock.now_ms(), tuple(views), failure))

    def states(self, states: Callable[[], Mapping[str, str]]) -> None:
        """How each view is now, if anybody wants to know."""
        if self.wants_states:
            self._take(StatesSeen(self._clock.now_ms(), states()))

    def reloaded(self, failure: Failure | None = None) -> None:
        """Definitions were read again, or refused."""
        self._take(Reloaded(self._clock.now_ms(), failure))

    def close(self) -> None:
        """Deliver what waits, briefly."""
        for outlet in self._outlets:
            outlet.close()

    def _take(self, happening: Happening) -> None:
        with self._lock:
            for outlet in self._outlets:
                try:
                    outlet.take(happening)
                except Exception as error:  # noqa: BLE001 - an integration must not hurt a refresh
                    logger("integrations").error("integration failed", error=f"{type(error).__name__}: {error}")


def build_outlets(settings: IntegrationSettings, project: str, clock: Clock, metrics: Metrics) -> Outlets:
    """The integrations that a project switches on; raises `ExtraMissing` where one's packages are not there."""
    from functools import partial

    outlets: list[Outlet] = []
    if settings.webhooks or settings.lineage is not None:
        import stamina.instrumentation

        # What is tried again is told by us, without the arguments of the call.
        stamina.instrumentation.set_on_retry_hooks([])
    for webhook in settings.webhooks:
        from daemon.integrations.webhook import Webhook

        outlets.append(Webhook(webhook, project, clock, _counted(metrics, "notifications_total", target=webhook.name)))
    if settings.lineage is not None:
        from daemon.integrations.lineage import Lineage

        lineage = partial(Lineage, settings.lineage, project, _counted(metrics, "lineage_events_total"))
        outlets.append(_with_extra("lineage", "openlineage", lineage))
    if settings.tracing is not None:
        from daemon.integrations.tracing import Tracing

        tracing = partial(Tracing, settings.tracing, project, _counted(metrics, "traces_total"))
        outlets.append(_with_extra("tracing", "opentelemetry", tracing))
    wants_states = any("late" in webhook.notifications for webhook in settings.webhooks)
    return Outlets(clock, outlets, portraits=settings.lineage is not None, states=wants_states)


def _counted(metrics: Metrics, name: str, **labels: str) -> Callable[[str], None]:
    """What counts the results of one outlet; all of them begin at zero."""

    def count(result: str, amount: int = 1) -> None:
        metrics.add(name, amount, result=result, **labels)

    for result in ("ok", "failed", "dropped"):
        count(result, 0)
    return count


def _with_extra(table: str, extra: str, make: Callable[[], Outlet]) -> Outlet:
    """An outlet whose packages come with an extra of ours; `table` switches it on."""
    try:
        return make()
    except ImportError as error:
        raise ExtraMissing(
            "not_installed",
            f"[{table}] needs packages that are not installed: {error}",
            hint=f'pip install "deltakeep[{extra}]", or take the table out of deltakeep.toml',
        ) from None
