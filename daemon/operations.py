"""What can be asked of a project: one table of operations, the same for the socket and for `daemonctl` alone.

An operation is a function from a keeper, checked parameters and an observer to a value with a JSON form.
Invariant: the answer does not depend on who ran it, so `-o json` is the same online and offline.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from daemon.caller import Caller, NotAllowed, Role, covers
from daemon.clock import Clock
from daemon.failure import Failure, failure_of
from daemon.port import CycleOutcome, JsonValue, KeeperPort, Observer, ReloadOutcome, RequestMade
from registry.errors import EXIT_NOT_REACHABLE, EXIT_USAGE, DeltakeepError

Parameters = Mapping[str, JsonValue]
ParameterType = Literal["text", "flag", "number", "names", "texts"]
HISTORY_LIMIT = 20
HISTORY_LIMIT_MAX = 10_000
QUERY_LIMIT = 1_000
NUMBER_MAX = 1_000_000_000
PARAMETERS_MAX = 10_000
"""Characters of a request's parameters that are kept."""
REASON_MAX = 1_000


class _Missing:
    """The default of a parameter that has to be given."""


_MISSING = _Missing()


class UsageError(DeltakeepError):
    """A parameter is unknown, missing or of the wrong type."""

    exit_code_of_class = EXIT_USAGE


class NeedsDaemon(DeltakeepError):
    """The question is about a running daemon, and none answers."""

    exit_code_of_class = EXIT_NOT_REACHABLE


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation; without a default it is required.

    Whoever gives it needs `role` at least, whatever the operation asks for.
    """

    name: str
    type: ParameterType
    default: JsonValue = _MISSING
    role: Role = "read"
    maximum: int = NUMBER_MAX

    @property
    def required(self) -> bool:
        """Whether it has to be given."""
        return self.default is _MISSING

    def read(self, operation: str, value: JsonValue) -> JsonValue:
        """The value if it has the right type."""
        match self.type, value:
            case _, None if self.default is None:
                return None
            case "text", str() if _is_text(value):
                return value
            case "flag", bool():
                return value
            case "number", int() if not isinstance(value, bool) and 0 <= value <= self.maximum:
                return value
            case "names", [*names] if all(_is_text(name) for name in names):
                return tuple(names)
            case "texts", dict() if all(_is_text(part) for item in value.items() for part in item):
                return value
        raise UsageError(
            "usage", f'parameter "{self.name}" of "{operation}" has to be a {self.type}, got {value!r:.200}'
        )


def _is_text(value: JsonValue) -> bool:
    """Whether it is a text that has a form in UTF-8: JSON can write halves of characters."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


@dataclass(frozen=True, slots=True)
class Operation:
    """Something that can be asked by who has the role; `writes` says whether it changes anything but caches."""

    name: str
    summary: str
    writes: bool
    role: Role
    parameters: tuple[Parameter, ...]
    run: Callable[[KeeperPort, Parameters, Observer], Any]

    def check(self, given: Parameters) -> Parameters:
        """All parameters with defaults filled in; raises `UsageError` for the first that is wrong."""
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                listed = ", ".join(known) or "none"
                raise UsageError("usage", f'"{self.name}" has no parameter "{name}"', hint=f"known: {listed}")
        found: dict[str, JsonValue] = {}
        for name, parameter in known.items():
            if name in given:
                found[name] = parameter.read(self.name, given[name])
            elif parameter.required:
                raise UsageError("usage", f'"{self.name}" needs the parameter "{name}"')
            else:
                found[name] = parameter.default
        return found

    def allow(self, caller: Caller, given: Parameters) -> None:
        """Raise `NotAllowed` where the caller's role does not cover the operation and the parameters that are given."""
        needed: list[tuple[Role, str]] = [(self.role, f'"{self.name}"')]
        needed += [
            (one.role, f'"{one.name}" of "{self.name}"')
            for one in self.parameters
            if one.name in given and given[one.name] != one.default
        ]
        for role, what in needed:
            if not covers(caller.role, role):
                raise NotAllowed(caller, role, what)


def find_operation(name: str) -> Operation:
    """The operation of that name; raises `UsageError` for an unknown one."""
    operation = OPERATIONS.get(name)
    if operation is None:
        raise UsageError("usage", f'there is no operation "{name}"', hint=f"known: {', '.join(OPERATIONS)}")
    return operation


def run_operation(keeper: KeeperPort, name: str, given: Parameters, observer: Observer) -> Any:
    """Check and run an operation; `answer` gives the JSON form of what it returns."""
    operation = find_operation(name)
    return operation.run(keeper, operation.check(given), observer)


def perform_here(
    keeper: KeeperPort, name: str, given: Parameters, observer: Observer, *, caller: Caller, clock: Clock
) -> JsonValue:
    """Run an operation without a daemon; a change is kept with who asked for it, whether it succeeded or not."""
    operation = find_operation(name)
    checked = operation.check(given)
    started_ms, failure, value = clock.monotonic_ms(), None, None
    try:
        value = operation.run(keeper, checked, observer)
        return answer(value)
    except DeltakeepError as error:
        failure = failure_of(error)
        raise
    finally:
        elapsed_ms = clock.monotonic_ms() - started_ms
        made = request_made(caller, operation, checked, value, failure, now_ms=clock.now_ms(), elapsed_ms=elapsed_ms)
        if made is not None:
            # What cannot be written now is written when the keeper closes.
            with contextlib.suppress(DeltakeepError):
                keeper.record_request(made)


def request_made(
    caller: Caller,
    operation: Operation,
    given: Parameters,
    value: Any,
    failure: Failure | None,
    *,
    now_ms: int,
    elapsed_ms: int,
) -> RequestMade | None:
    """What is kept of a request and what it returned; None where nothing is kept.

    That is so where it only looks, and where a cycle changed nothing: an idle cycle writes nothing.
    """
    looks = not operation.writes or (operation.name == "log_level" and given.get("level") is None)
    idle = isinstance(value, CycleOutcome) and not any(one.failed or one.outcome == "committed" for one in value.views)
    if looks or (operation.name == "cycle" and idle):
        return None
    parameters = {name: value for name, value in given.items() if name != "reason"}
    if len(json.dumps(parameters)) > PARAMETERS_MAX:
        parameters = {"cut": f"more than {PARAMETERS_MAX} characters"}
    return RequestMade(
        recorded_ms=now_ms,
        who=caller.name,
        way=caller.way,
        operation=operation.name,
        parameters=parameters,
        reason=str(given.get("reason", ""))[:REASON_MAX],
        result="ok" if failure is None else failure.code,
        message="" if failure is None else failure.message[:REASON_MAX],
        elapsed_ms=elapsed_ms,
    )


def answer(value: Any) -> JsonValue:
    """The JSON form of what an operation returned."""
    return value.to_json() if isinstance(value, CycleOutcome | ReloadOutcome) else value


# --- the table --------------------------------------------------------------------------------------------------------


def _cycle(keeper: KeeperPort, given: Parameters, observer: Observer) -> CycleOutcome:
    force = "recompute" if given["recompute"] else None
    return keeper.run_cycle(given["views"] or None, cause=given["cause"], force=force, observer=observer)


def _refresh(keeper: KeeperPort, given: Parameters, observer: Observer) -> CycleOutcome:
    if not given["views"]:
        raise UsageError("usage", '"refresh" needs the name of at least one view')
    force = "recompute" if given["recompute"] else None
    return keeper.run_cycle(given["views"], cause="request", force=force, observer=observer)


def _status(keeper: KeeperPort, _given: Parameters, _observer: Observer) -> JsonValue:
    return {"daemon": None, **keeper.status()}


def _views(keeper: KeeperPort, _given: Parameters, _observer: Observer) -> JsonValue:
    return keeper.views()


def _lineage(keeper: KeeperPort, given: Parameters, _observer: Observer) -> JsonValue:
    return keeper.lineage(given["view"])


def _history(keeper: KeeperPort, given: Parameters, _observer: Observer) -> JsonValue:
    return keeper.history(given["view"], given["limit"])


def _why(keeper: KeeperPort, given: Parameters, _observer: Observer) -> JsonValue:
    return keeper.why(given["view"])


def _explain(keeper: KeeperPort, given: Parameters, _observer: Observer) -> JsonValue:
    return keeper.explain(given["view"])


def _preview(keeper: KeeperPort, given: Parameters, _observer: Observer) -> JsonValue:
    return keeper.preview(given)


def _scans(keeper: KeeperPort, given: Parameters, _observer: Observer) -> JsonValue:
    return keeper.scans(given["view"], given["cycle_id"])


def _requests(keeper: KeeperPort, given: Parameters, _observer: Observer) -> JsonValue:
    return keeper.requests(given["limit"])


def _verify(keeper: KeeperPort, given: Parameters, _observer: Observer) -> JsonValue:
    if given["version"] is not None and len(given["views"]) != 1:
        raise UsageError("usage", "a version is one of one view: name that view")
    return keeper.verify(given["views"] or None, digest=given["digest"], version=given["version"])


def _query(keeper: KeeperPort, given: Parameters, _observer: Observer) -> JsonValue:
    return keeper.query(given["sql"], given["limit"])


def _replan(keeper: KeeperPort, given: Parameters, _observer: Observer) -> JsonValue:
    return keeper.replan(given["views"])


def _pause(keeper: KeeperPort, given: Parameters, _observer: Observer) -> JsonValue:
    return keeper.pause(given["view"], given["reason"])


def _resume(keeper: KeeperPort, given: Parameters, _observer: Observer) -> JsonValue:
    return keeper.resume(given["view"])


def _reload(keeper: KeeperPort, _given: Parameters, _observer: Observer) -> ReloadOutcome:
    return keeper.reload()


def _of_the_daemon(_keeper: KeeperPort, _given: Parameters, _observer: Observer) -> JsonValue:
    """The service answers these itself, also while its keeper is busy or not there yet."""
    raise NeedsDaemon(
        "daemon_not_reachable",
        "no daemon runs, and this is about the daemon",
        hint="start it with `daemonctl run` or `systemctl start deltakeep`",
    )


_VIEW = Parameter("view", "text")
_VIEWS = Parameter("views", "names", ())
_RECOMPUTE = Parameter("recompute", "flag", False)
_REASON = Parameter("reason", "text", "")
_LIMIT = Parameter("limit", "number", HISTORY_LIMIT, maximum=HISTORY_LIMIT_MAX)
_PREVIEW = (
    _VIEWS,
    Parameter("dataset", "text", None),
    # A condition may be as dear to fold as its writer likes.
    Parameter("where", "text", None, "operate"),
    # Definitions of another folder may bring Python code, and edited ones any query.
    Parameter("definitions", "text", None, "admin"),
    Parameter("edited", "texts", {}, "admin"),
    Parameter("exact", "flag", False, "operate"),
)

OPERATIONS: Mapping[str, Operation] = {
    one.name: one
    for one in (
        Operation("status", "How each view and dataset is.", False, "read", (), _status),
        Operation("views", "What each view reads and how it is kept.", False, "read", (), _views),
        Operation(
            "lineage",
            "Columns of a view, or who reads whom.",
            False,
            "read",
            (Parameter("view", "text", None),),
            _lineage,
        ),
        Operation(
            "history",
            "The last refreshes, newest first.",
            False,
            "read",
            (Parameter("view", "text", None), _LIMIT),
            _history,
        ),
        Operation(
            "scans", "One refresh and what it read.", False, "read", (_VIEW, Parameter("cycle_id", "text")), _scans
        ),
        Operation("why", "The facts behind the last decision.", False, "read", (_VIEW,), _why),
        Operation(
            "explain", "Plan, maintenance and costs of a view and its states.", False, "read", (_VIEW,), _explain
        ),
        Operation(
            "preview",
            "What pending, hypothetical or edited changes would do.",
            False,
            "read",
            _PREVIEW,
            _preview,
        ),
        Operation("requests", "Who asked for which change, newest first.", False, "operate", (_LIMIT,), _requests),
        Operation(
            "verify",
            "Compare views with their recomputation.",
            False,
            "operate",
            (_VIEWS, Parameter("digest", "flag", False), Parameter("version", "number", None)),
            _verify,
        ),
        Operation(
            "query",
            "Rows of a SQL query.",
            False,
            "admin",
            (Parameter("sql", "text"), Parameter("limit", "number", QUERY_LIMIT)),
            _query,
        ),
        Operation(
            "cycle",
            "One pass over the views.",
            True,
            "operate",
            (_VIEWS, _RECOMPUTE, Parameter("cause", "text", "request"), _REASON),
            _cycle,
        ),
        Operation("refresh", "Refresh views now.", True, "operate", (_VIEWS, _RECOMPUTE, _REASON), _refresh),
        Operation("replan", "Compile views anew.", True, "operate", (_VIEWS, _REASON), _replan),
        Operation("pause", "Stop refreshing a view.", True, "operate", (_VIEW, _REASON), _pause),
        Operation("resume", "Refresh a view again.", True, "operate", (_VIEW, _REASON), _resume),
        Operation("reload", "Read the definitions again.", True, "admin", (_REASON,), _reload),
        Operation(
            "log_level",
            "The level of the daemon's log; sets it where one is given.",
            True,
            "admin",
            (Parameter("level", "text", None), _REASON),
            _of_the_daemon,
        ),
        Operation(
            "diagnostics",
            "State, stacks, last log lines and metrics of the daemon.",
            False,
            "admin",
            (),
            _of_the_daemon,
        ),
    )
}
