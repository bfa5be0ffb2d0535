"""Errors as values: what crosses the control socket and what the command line prints.

Invariant: an error looks the same whether it was raised in this process or in the daemon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry.errors import EXIT_FAILED, EXIT_INTERRUPTED, DefinitionError, DeltakeepError
from registry.secrets import masked


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong in a definition."""

    where: str
    what: str
    expected: str
    hint: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An error, ready to be sent or shown."""

    code: str
    message: str
    hint: str = ""
    where: str = ""
    exit_code: int = EXIT_FAILED
    troubles: tuple[Trouble, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the inverse of `failure_from_json`."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "where": self.where,
            "exit_code": self.exit_code,
            "problems": [
                {"where": one.where, "what": one.what, "expected": one.expected, "hint": one.hint}
                for one in self.troubles
            ],
        }


def is_panic(error: BaseException) -> bool:
    """Whether an exception is a panic of the native engine, which Python does not count among the `Exception`s."""
    return type(error).__name__ == "PanicException"


class EnginePanic(DeltakeepError):
    """The native engine met a state that it thought impossible; nothing was committed by the call that did."""

    def __init__(self, error: BaseException) -> None:
        message = f"the native engine gave up: {error}"
        super().__init__("engine_panic", message, hint="this is a defect; report it with the lines on stderr before")


class Failed(Exception):
    """A failure on its way to the person who typed the command."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def failure_of(error: BaseException) -> Failure:
    """The failure that an exception stands for; what we did not raise on purpose is `internal`."""
    match error:
        case Failed(failure=failure):
            return failure
        case DefinitionError(problems=(only,)) if error.code != "definition_invalid":
            # A name that does not exist was typed, not declared: there is no place to show.
            return Failure(error.code, only.what, only.hint, exit_code=error.exit_code)
        case DefinitionError(problems=problems):
            troubles = tuple(Trouble(one.where, one.what, one.expected, one.hint) for one in problems)
            count = f"{len(troubles)} problems" if len(troubles) != 1 else "1 problem"
            return Failure(error.code, f"the definitions have {count}", exit_code=error.exit_code, troubles=troubles)
        case DeltakeepError():
            return Failure(error.code, error.message, error.hint, error.where, error.exit_code)
        case KeyboardInterrupt():
            return Failure("interrupted", "interrupted", exit_code=EXIT_INTERRUPTED)
        case ImportError():
            return Failure(
                "not_installed", masked(str(error)), hint="reinstall deltakeep: a part of it is missing here"
            )
        case MemoryError():
            return Failure("out_of_memory", "not enough memory", hint="lower [engine] memory or concurrency")
        case OSError() if error.filename is not None:
            return Failure(
                "os_error",
                masked(f'"{error.filename}": {error.strerror}'),
                hint="check that it exists and its rights",
            )
        case _:
            return Failure(
                "internal",
                masked(f"{type(error).__name__}: {error}"),
                hint="this is a defect; repeat with DELTAKEEP_TRACEBACK=1 and report it",
            )


def failure_from_json(value: Mapping[str, Any]) -> Failure:
    """Read what `Failure.to_json` wrote, tolerating a daemon of another version."""
    return Failure(
        code=str(value.get("code", "unknown")),
        message=str(value.get("message", "the daemon gave no message")),
        hint=str(value.get("hint", "")),
        where=str(value.get("where", "")),
        exit_code=int(value.get("exit_code", EXIT_FAILED)),
        troubles=tuple(
            Trouble(
                str(one.get("where", "")),
                str(one.get("what", "")),
                str(one.get("expected", "")),
                str(one.get("hint", "")),
            )
            for one in value.get("problems", ())
        ),
    )
