"""What is told to the integrations, as values: events of a cycle as they come, its end, states, reloads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from daemon.failure import Failure
from daemon.port import CycleOutcome

JsonValue = Any


@dataclass(frozen=True, slots=True)
class CycleEventSeen:
    """An event of a running cycle, with the moment at which it happened."""

    at_ms: int
    event: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class CycleEnded:
    """A cycle ended with a report; `portraits` are what is known of the views that it refreshed."""

    started_ms: int
    ended_ms: int
    outcome: CycleOutcome
    portraits: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CycleFailed:
    """A cycle ended without a report."""

    at_ms: int
    views: tuple[str, ...]
    failure: Failure


@dataclass(frozen=True, slots=True)
class StatesSeen:
    """How each view is now."""

    at_ms: int
    states: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reloaded:
    """Definitions were read again; `failure` says why they were not taken over."""

    at_ms: int
    failure: Failure | None = None


Happening = CycleEventSeen | CycleEnded | CycleFailed | StatesSeen | Reloaded
