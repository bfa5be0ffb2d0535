"""The errors of Deltakeep: one class for each way in which a caller reacts.

```text
DeltakeepError            report it; nothing else is known
├── DefinitionError       fix the definition: carries every problem found in one pass
├── RetryLater            the world was not ready (store, network, lock): the same call may succeed later
├── PlanAgain             the facts that the plan was made from have moved: observe and plan anew
├── MustRecompute         changes cannot be trusted or are gone: only a recompute is right
└── MustStop              going on would do harm: a person has to look
```

Every error has a `code` from a closed list, a message that names the thing, a `hint` that says what to do, and an
`exit_code` for the command line.
Invariant: no error carries a secret value that the process was given, whoever wrote its message.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Final

from registry.secrets import masked

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_CHANGES_PENDING: Final = 3
EXIT_NOT_ALLOWED: Final = 4
EXIT_NOT_FOUND: Final = 5
EXIT_CONFLICT: Final = 6
EXIT_NOT_REACHABLE: Final = 7
EXIT_CHECK_FAILED: Final = 8
EXIT_RETRY_LATER: Final = 75
EXIT_CONFIGURATION: Final = 78
EXIT_INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a definition: where, what, what was expected, and what to do.

    `file` is relative to the project root; `line` counts from 1 and is None where the whole file is meant.
    """

    file: str
    line: int | None
    what: str
    expected: str = ""
    hint: str = ""

    @property
    def where(self) -> str:
        """Give the place as `file:line`, or only the file."""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}"
        if self.expected:
            text += f"; expected {self.expected}"
        if self.hint:
            text += f"\n    hint: {self.hint}"
        return text

    def to_json(self) -> dict[str, object]:
        """Give the problem as plain JSON values."""
        return {
            "file": self.file,
            "line": self.line,
            "what": self.what,
            "expected": self.expected,
            "hint": self.hint,
        }


class DeltakeepError(Exception):
    """The root of all errors that this project raises on purpose."""

    exit_code_of_class: ClassVar[int] = EXIT_FAILED

    def __init__(self, code: str, message: str, hint: str = "", where: str = "") -> None:
        super().__init__(masked(message))
        self.code = code
        self.message = masked(message)
        self.hint = masked(hint)
        self.where = masked(where)

    @property
    def exit_code(self) -> int:
        """Give the exit code of a command that ends with this error."""
        return _EXIT_CODES.get(self.code, self.exit_code_of_class)

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n    hint: {self.hint}" if self.hint else text

    def to_json(self) -> dict[str, object]:
        """Give the error as plain JSON values."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "where": self.where}


class DefinitionError(DeltakeepError):
    """The project, a view or an option is wrong; all problems that one pass found are in `problems`."""

    exit_code_of_class = EXIT_CONFIGURATION

    def __init__(self, problems: list[Problem] | tuple[Problem, ...], code: str = "definition_invalid") -> None:
        self.problems: tuple[Problem, ...] = tuple(
            replace(one, what=masked(one.what), expected=masked(one.expected), hint=masked(one.hint))
            for one in problems
        )
        count = len(self.problems)
        first = self.problems[0]
        message = str(first) if count == 1 else f"{count} problems:\n" + "\n".join(str(one) for one in self.problems)
        super().__init__(code, message)

    def to_json(self) -> dict[str, object]:
        """Give the error and each of its problems as plain JSON values."""
        return {**super().to_json(), "problems": [problem.to_json() for problem in self.problems]}


class RetryLater(DeltakeepError):
    """The same call may succeed later: a store, a network or a lock was not ready."""

    exit_code_of_class = EXIT_RETRY_LATER


class PlanAgain(DeltakeepError):
    """The facts that a plan was made from have moved: observe and plan anew."""

    exit_code_of_class = EXIT_CONFLICT


class MustRecompute(DeltakeepError):
    """The changes between two versions are gone or cannot be trusted: only a recompute is right."""


class MustStop(DeltakeepError):
    """Going on would do harm or cannot work: a person has to look."""


_EXIT_CODES: Final[dict[str, int]] = {
    "not_a_table": EXIT_NOT_FOUND,
    "version_not_found": EXIT_NOT_FOUND,
    "not_found": EXIT_NOT_FOUND,
    "not_ours": EXIT_NOT_ALLOWED,
    "not_allowed": EXIT_NOT_ALLOWED,
    "commit_conflict": EXIT_CONFLICT,
    "definition_conflict": EXIT_CONFLICT,
    "newer_format": EXIT_CONFIGURATION,
    "check_failed": EXIT_CHECK_FAILED,
    "daemon_not_reachable": EXIT_NOT_REACHABLE,
    "usage": EXIT_USAGE,
    "cancelled": EXIT_INTERRUPTED,
}

# What a caller does about each code that the native engine raises.
_NATIVE: Final[dict[str, tuple[type[DeltakeepError], str]]] = {
    "not_a_table": (MustStop, "check the uri, and that the table's first commit has been written"),
    "version_not_found": (PlanAgain, "the version does not exist; look at the table's history"),
    "history_gone": (MustRecompute, "keep the log and the files of the inputs longer than the longest target lag"),
    "table_replaced": (MustRecompute, "the table was created anew under the same uri; the view is recomputed"),
    "unsupported_feature": (MustStop, "switch the table feature off, or read a copy of the table without it"),
    "corrupt_log": (MustStop, "repair the table's _delta_log, or restore it from a copy"),
    "missing_file": (PlanAgain, "a pinned file is gone, perhaps vacuumed; the next plan uses what is there"),
    "commit_conflict": (PlanAgain, "somebody else committed first; the next plan starts from their commit"),
    "schema_mismatch": (MustStop, "compare the table's schema with what the view makes"),
    "constraint_violated": (MustStop, "the view makes rows that the target's constraints forbid"),
    "not_ours": (MustStop, "choose another target, or adopt the table by an explicit command"),
    "store_error": (RetryLater, "check that the store can be reached and written to"),
    "invalid_argument": (MustStop, ""),
    "engine_error": (MustStop, ""),
    "invalid_query": (MustStop, "correct the query"),
    "unsupported_type": (MustStop, "cast the column to a type that Delta can store"),
    "unknown_relation": (MustStop, "declare the table under [datasets] in deltakeep.toml, or correct the name"),
    "function_changed": (PlanAgain, "the view is planned again with the functions that are there now"),
    "platform_missing": (MustStop, "reinstall deltakeep: the functions of the engine could not be installed"),
    "corrupt_bundle": (PlanAgain, "the stored plan cannot be read; the view is planned again"),
    "out_of_memory": (RetryLater, "raise [engine] memory, or give the spill directory more space"),
    "execution_failed": (MustStop, ""),
    "schema_changed": (PlanAgain, "the schema of an input moved; the view is planned again"),
    "budget_exceeded": (MustRecompute, ""),
    "cheaper_recompute": (MustRecompute, ""),
    "target_mismatch": (MustRecompute, "run verify to see what somebody else changed in the target"),
    "engine_defect": (MustStop, "report it with the message and the view's definition"),
    "cancelled": (RetryLater, ""),
}


def from_native(code: str, message: str) -> DeltakeepError:
    """Give the error of this tree for an error of the native engine.

    An unknown code becomes `MustStop`: what is not understood is not repeated.
    """
    kind, hint = _NATIVE.get(code, (MustStop, ""))
    return kind(code, message, hint)
