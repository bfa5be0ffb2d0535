"""One word for how a view is, from what the keeper says and what the daemon knows better.

Pure; the same for `daemonctl status`, `daemonctl top` and the console.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Json = Mapping[str, Any]
BAD_STATES: Final = frozenset({"failed", "refused", "late", "not_planned"})
"""States that need a person."""
CALM_STATES: Final = frozenset({"fresh", "behind", "not_built"})
STATE_ORDER: Final = (
    "failed",
    "refused",
    "not_planned",
    "unreadable",
    "late",
    "running",
    "waiting",
    "paused",
    "due",
    "behind",
    "not_built",
    "fresh",
    "readable",
)
"""What needs a person first."""
SERVICE_STATES: Final = tuple(
    state for state in STATE_ORDER if state in {"failed", "late", "running", "waiting", "paused", "due", "fresh"}
)
"""Those that the service tells by itself, from its memory; its metrics have no others."""


def state_of(view: Json, live: Json) -> str:
    """The keeper's word for a view, or the daemon's where it knows better: it runs now, or it is late."""
    state = str(view.get("state"))
    return str(live["state"]) if live.get("state") in {"running", "late"} and state in CALM_STATES else state


def lag_of(view: Json, live: Json) -> int | None:
    """How old the data of a view is, in milliseconds: as the daemon counts it, else as the keeper saw it."""
    known = live.get("lag_ms")
    return view.get("lag_ms") if known is None else known
