"""What a service is told at its start, and what it tells at its end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from daemon.console.settings import ConsoleSettings
from daemon.failure import Failure
from daemon.lifecycle import DRAIN_MS

RECONCILE_MS = 60_000
OPENING_PATIENCE_MS = 20_000


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Where to listen, and how patient to be; `listen` None serves no TCP, `console` None no console.

    `opening_patience_ms` is how long a request waits for the project to be opened.
    """

    root: Path
    socket: Path
    listen: str | None
    console: ConsoleSettings | None = None
    drain_ms: int = DRAIN_MS
    reconcile_ms: int = RECONCILE_MS
    opening_patience_ms: int = OPENING_PATIENCE_MS
    handle_signals: bool = True


@dataclass(frozen=True, slots=True)
class Left:
    """How the service ended; `abandoned` says that its thread still works and the process has to be ended hard."""

    exit_code: int
    abandoned: bool
    failure: Failure | None
