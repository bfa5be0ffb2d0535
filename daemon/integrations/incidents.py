"""Incidents: from the first sign that something is wrong until it is over, with one notification at each end.

Pure: `noticed` takes what happened and gives the incidents that are open now, and what has to be told.
Invariant: each incident is told once when it begins and once when it ends, however often the same failure is seen;
a paused view neither begins nor ends one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, assert_never

from daemon.integrations.happenings import (
    CycleEnded,
    CycleEventSeen,
    CycleFailed,
    Happening,
    Reloaded,
    StatesSeen,
)

Kind = Literal["failed", "late", "reload_failed"]
ENDS: Final[Mapping[Kind, str]] = {"failed": "recovered", "late": "fresh", "reload_failed": "reloaded"}
_ON_TIME: Final = frozenset({"fresh", "due"})
_NAMESPACE: Final = uuid.UUID("6a1f3c0e-8a55-5d0e-9a53-0d6f1f6f6b11")


@dataclass(frozen=True, slots=True)
class Incident:
    """Something is wrong since a moment; `subject` is the view, or empty for the project."""

    kind: Kind
    subject: str
    since_ms: int
    reason: str = ""
    message: str = ""
    hint: str = ""

    @property
    def id(self) -> str:
        """The same in both notifications of an incident."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.kind}/{self.subject}/{self.since_ms}"))


@dataclass(frozen=True, slots=True)
class Notification:
    """What is told: an incident began, or (`ended_ms`) is over."""

    incident: Incident
    ended_ms: int | None = None

    @property
    def word(self) -> str:
        """`failed` or `recovered`, `late` or `fresh`, `reload_failed` or `reloaded`."""
        return self.incident.kind if self.ended_ms is None else ENDS[self.incident.kind]


@dataclass(frozen=True, slots=True)
class Incidents:
    """The incidents that are open, by kind and subject."""

    open: Mapping[tuple[Kind, str], Incident] = field(default_factory=lambda: MappingProxyType({}))

    def noticed(self, happening: Happening) -> tuple[Incidents, tuple[Notification, ...]]:
        """The incidents after something happened, and what has to be told."""
        match happening:
            case CycleEventSeen():
                return self, ()
            case CycleEnded(ended_ms=at_ms, outcome=outcome):
                bad = [
                    Incident("failed", one.view, at_ms, one.reason, one.error or one.message)
                    for one in outcome.views
                    if one.failed
                ]
                good = [one.view for one in outcome.views if not (one.failed or one.waiting or one.paused)]
                return _after(self, "failed", bad, good, at_ms)
            case CycleFailed(at_ms=at_ms, views=views, failure=failure):
                bad = [Incident("failed", view, at_ms, failure.code, failure.message, failure.hint) for view in views]
                return _after(self, "failed", bad, (), at_ms)
            case StatesSeen(at_ms=at_ms, states=states):
                return _after_states(self, states, at_ms)
            case Reloaded(at_ms=at_ms, failure=failure) if failure is None:
                return _after(self, "reload_failed", (), [""], at_ms)
            case Reloaded(at_ms=at_ms, failure=failure):
                assert failure is not None, "a reload that did not fail is the case above"
                where = "; ".join(f"{one.where}: {one.what}" for one in failure.troubles) or failure.message
                bad = [Incident("reload_failed", "", at_ms, failure.code, where, failure.hint)]
                return _after(self, "reload_failed", bad, (), at_ms)
            case _:
                assert_never(happening)


def _after_states(
    before: Incidents, states: Mapping[str, str], at_ms: int
) -> tuple[Incidents, tuple[Notification, ...]]:
    late = [
        Incident("late", view, at_ms, "late", f'View "{view}" is older than its target lag.', f"run `why {view}`")
        for view, state in states.items()
        if state == "late"
    ]
    gone = [view for kind, view in before.open if kind != "reload_failed" and view not in states]
    on_time = [view for view, state in states.items() if state in _ON_TIME]
    after, told = _after(before, "late", late, [*on_time, *gone], at_ms)
    after, more = _after(after, "failed", (), gone, at_ms)
    return after, (*told, *more)


def _after(
    before: Incidents, kind: Kind, bad: Iterable[Incident], good: Iterable[str], at_ms: int
) -> tuple[Incidents, tuple[Notification, ...]]:
    """Begin what is bad and not open yet, end what is good and open."""
    found, told = dict(before.open), []
    for incident in bad:
        if (kind, incident.subject) not in found:
            found[(kind, incident.subject)] = incident
            told.append(Notification(incident))
    for subject in good:
        over = found.pop((kind, subject), None)
        if over is not None:
            told.append(Notification(over, at_ms))
    return (Incidents(MappingProxyType(found)) if told else before), tuple(told)
