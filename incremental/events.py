"""Events of a cycle, for progress displays, metrics and logs; losing one loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from registry.names import ViewName


class EventKind(StrEnum):
    """What happened."""

    CYCLE_STARTED = "cycle_started"
    VIEW_EXAMINED = "view_examined"
    REFRESH_PLANNED = "refresh_planned"
    REFRESH_STEP = "refresh_step"
    REFRESH_FINISHED = "refresh_finished"
    VIEW_SKIPPED = "view_skipped"
    CYCLE_FINISHED = "cycle_finished"


@dataclass(frozen=True, slots=True)
class CycleEvent:
    """One event; `view` is None where it concerns the cycle as a whole."""

    kind: EventKind
    view: ViewName | None
    fields: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """The event as JSON values."""
        return {"kind": self.kind.value, "view": self.view, **self.fields}


Observer = Callable[[CycleEvent], None]


def ignore(event: CycleEvent) -> None:
    """Observe nothing."""
