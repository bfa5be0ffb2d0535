"""What can be asked of a project: one table of operations, the same for the socket and for `daemonctl` alone.

An operation is a function from a keeper, checked parameters and an observer to a value with a JSON form.
Invariant: the answer does not depend on who ran it, so `-o json` is the same online and offline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from daemon.port import CycleOutcome, JsonValue, KeeperPort, Observer, ReloadOutcome
from registry.errors import EXIT_NOT_REACHABLE, EXIT_USAGE, DeltakeepError

Parameters = Mapping[str, JsonValue]
ParameterType = Literal["text", "flag", "number", "names", "texts"]
HISTORY_LIMIT = 20
QUERY_LIMIT = 1_000


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
    """One parameter of an operation; without a default it is required."""

    name: str
    type: ParameterType
    default: JsonValue = _MISSING

    def read(self, operation: str, value: JsonValue) -> JsonValue:
        """The value if it has the right type."""
        match self.type, value:
            case _, None if self.default is None:
                return None
            case "text", str():
                return value
            case "flag", bool():
                return value
            case "number", int() if not isinstance(value, bool) and value >= 0:
                return value
            case "names", [*names] if all(isinstance(name, str) for name in names):
                return tuple(names)
            case "texts", dict() if all(isinstance(part, str) for item in value.items() for part in item):
                return value
        raise UsageError("usage", f'parameter "{self.name}" of "{operation}" has to be a {self.type}, got {value!r}')


@dataclass(frozen=True, slots=True)
class Operation:
    """Something that can be asked; `writes` says whether it changes anything but caches."""

    name: str
    summary: str
    writes: bool
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
            elif parameter.default is _MISSING:
                raise UsageError("usage", f'"{self.name}" needs the parameter "{name}"')
            else:
                found[name] = parameter.default
        return found


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


def _verify(keeper: KeeperPort, given: Parameters, _observer: Observer) -> JsonValue:
    return keeper.verify(given["views"] or None)


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

OPERATIONS: Mapping[str, Operation] = {
    one.name: one
    for one in (
        Operation("status", "How each view and dataset is.", False, (), _status),
        Operation("views", "What each view reads and how it is kept.", False, (), _views),
        Operation(
            "lineage", "Columns of a view, or who reads whom.", False, (Parameter("view", "text", None),), _lineage
        ),
        Operation(
            "history",
            "The last refreshes, newest first.",
            False,
            (Parameter("view", "text", None), Parameter("limit", "number", HISTORY_LIMIT)),
            _history,
        ),
        Operation("why", "The facts behind the last decision.", False, (_VIEW,), _why),
        Operation("explain", "Plan and maintenance of a view.", False, (_VIEW,), _explain),
        Operation(
            "preview",
            "What pending, hypothetical or edited changes would do.",
            False,
            (
                _VIEWS,
                Parameter("dataset", "text", None),
                Parameter("where", "text", None),
                Parameter("definitions", "text", None),
                Parameter("edited", "texts", {}),
                Parameter("exact", "flag", False),
            ),
            _preview,
        ),
        Operation("verify", "Compare views with their recomputation.", False, (_VIEWS,), _verify),
        Operation(
            "query",
            "Rows of a SQL query.",
            False,
            (Parameter("sql", "text"), Parameter("limit", "number", QUERY_LIMIT)),
            _query,
        ),
        Operation(
            "cycle",
            "One pass over the views.",
            True,
            (_VIEWS, _RECOMPUTE, Parameter("cause", "text", "request")),
            _cycle,
        ),
        Operation("refresh", "Refresh views now.", True, (_VIEWS, _RECOMPUTE), _refresh),
        Operation("replan", "Compile views anew.", True, (_VIEWS,), _replan),
        Operation("pause", "Stop refreshing a view.", True, (_VIEW, Parameter("reason", "text", "")), _pause),
        Operation("resume", "Refresh a view again.", True, (_VIEW,), _resume),
        Operation("reload", "Read the definitions again.", True, (), _reload),
        Operation(
            "log_level",
            "The level of the daemon's log; sets it where one is given.",
            True,
            (Parameter("level", "text", None),),
            _of_the_daemon,
        ),
        Operation("diagnostics", "State, stacks, last log lines and metrics of the daemon.", False, (), _of_the_daemon),
    )
}
