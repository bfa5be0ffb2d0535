"""The life of the service as an explicit state machine.

Pure: `transition(state, event)` gives the next state and the actions that the service has to carry out, in order.
Invariant: `Stopped` is final, and every path to it ends with exactly one `Leave`.
Nothing has to happen in `Stopped` for correctness: kill -9 at any moment and the next start finds everything in the
tables, so stopping is only about being polite to work that is nearly done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

DRAIN_MS = 30_000
EXIT_OK = 0
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Starting:
    """The project is being opened; nothing is served but health."""


@dataclass(frozen=True, slots=True)
class Running:
    """The loops turn and requests are taken."""


@dataclass(frozen=True, slots=True)
class Draining:
    """No new work is taken; the work in hand may finish until the deadline."""

    deadline_ms: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """Done; the process leaves with this code."""

    exit_code: int


State = Starting | Running | Draining | Stopped


@dataclass(frozen=True, slots=True)
class Opened:
    """The project was opened."""


@dataclass(frozen=True, slots=True)
class OpenFailed:
    """The project could not be opened; 78 says that starting again is pointless."""

    exit_code: int


@dataclass(frozen=True, slots=True)
class StopAsked:
    """TERM, INT, or the stop request of the control socket; `at_ms` is monotonic."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class ReloadAsked:
    """HUP, the reload request of the control socket, or definitions that changed on disk."""


@dataclass(frozen=True, slots=True)
class WorkDone:
    """The worker has nothing in hand."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed; `at_ms` is monotonic."""

    at_ms: int


Event = Opened | OpenFailed | StopAsked | ReloadAsked | WorkDone | Ticked


@dataclass(frozen=True, slots=True)
class StartLoops:
    """Start watching, polling and scheduling, then report readiness."""


@dataclass(frozen=True, slots=True)
class StopLoops:
    """Take no new work and say so."""


@dataclass(frozen=True, slots=True)
class ReloadDefinitions:
    """Read the project's files again."""


@dataclass(frozen=True, slots=True)
class CancelWork:
    """Interrupt the work in hand; it commits nothing more."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Close what is open and leave with this code."""

    exit_code: int


Action = StartLoops | StopLoops | ReloadDefinitions | CancelWork | Leave


def state_name(state: State) -> str:
    """The state in one word, as status, metrics and logs show it."""
    match state:
        case Starting():
            return "starting"
        case Running():
            return "running"
        case Draining():
            return "draining"
        case Stopped():
            return "stopped"
        case _:
            assert_never(state)


STATE_NAMES = tuple(state_name(state) for state in (Starting(), Running(), Draining(0), Stopped(0)))


def transition(state: State, event: Event, drain_ms: int = DRAIN_MS) -> tuple[State, tuple[Action, ...]]:
    """The state after an event, and what has to be done about it, in order."""
    match state:
        case Starting():
            return _while_starting(state, event, drain_ms)
        case Running():
            return _while_running(state, event, drain_ms)
        case Draining():
            return _while_draining(state, event)
        case Stopped():
            return state, ()
        case _:
            assert_never(state)


def _while_starting(state: Starting, event: Event, drain_ms: int) -> tuple[State, tuple[Action, ...]]:
    match event:
        case Opened():
            return Running(), (StartLoops(),)
        case OpenFailed(exit_code):
            return Stopped(exit_code), (Leave(exit_code),)
        case StopAsked(at_ms):
            return Draining(at_ms + drain_ms), (StopLoops(),)
        case ReloadAsked() | WorkDone() | Ticked():
            # A reload while starting is met by the start itself: it reads the files anyway.
            return state, ()
        case _:
            assert_never(event)


def _while_running(state: Running, event: Event, drain_ms: int) -> tuple[State, tuple[Action, ...]]:
    match event:
        case StopAsked(at_ms):
            return Draining(at_ms + drain_ms), (StopLoops(),)
        case ReloadAsked():
            return state, (ReloadDefinitions(),)
        case Opened() | OpenFailed() | WorkDone() | Ticked():
            return state, ()
        case _:
            assert_never(event)


def _while_draining(state: Draining, event: Event) -> tuple[State, tuple[Action, ...]]:
    match event:
        case WorkDone():
            return Stopped(EXIT_OK), (Leave(EXIT_OK),)
        case OpenFailed(exit_code):
            return Stopped(exit_code), (Leave(exit_code),)
        case StopAsked():
            return Stopped(EXIT_INTERRUPTED), (CancelWork(), Leave(EXIT_INTERRUPTED))
        case Ticked(at_ms):
            if at_ms < state.deadline_ms:
                return state, ()
            # What is interrupted here is done again after the next start, so this is no failure.
            return Stopped(EXIT_OK), (CancelWork(), Leave(EXIT_OK))
        case Opened() | ReloadAsked():
            return state, ()
        case _:
            assert_never(event)
