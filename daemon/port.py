"""What the daemon needs of a keeper.

`daemon.live_keeper` gives it over `incremental.keeper.Keeper`; the tests give it by a fake.
A keeper is used by one thread at a time; only `cancel`, `reserved_bytes` and `spilled` may be called from another one.
Values for clients are plain JSON values, the rest is reduced to what scheduling, metrics and logs need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from daemon.topology import Topology
from registry.spill import Spilled

JsonValue = Any
Observer = Callable[[Mapping[str, JsonValue]], None]


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a dataset: `version` is the newest one, `moved` says that it differs from the look before."""

    dataset: str
    version: int | None
    moved: bool
    elapsed_ms: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ViewOutcome:
    """What a cycle did for one view.

    `waiting`: it was left alone because something that it depends on is not ready.
    """

    view: str
    strategy: str
    reason: str
    outcome: str
    message: str = ""
    version: int | None = None
    rows_inserted: int = 0
    rows_deleted: int = 0
    files_read: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    bytes_recompute: int = 0
    elapsed_ms: int = 0
    failed: bool = False
    waiting: bool = False
    paused: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True)
class CycleOutcome:
    """A cycle's end: the views that it covered, and its report as it goes to clients."""

    views: tuple[ViewOutcome, ...]
    report: JsonValue

    def to_json(self) -> JsonValue:
        """The report for clients."""
        return self.report


@dataclass(frozen=True, slots=True)
class ReloadOutcome:
    """Definitions that were taken over; `changed` are the views that have to be looked at."""

    changed: tuple[str, ...]
    report: JsonValue

    def to_json(self) -> JsonValue:
        """The report for clients."""
        return self.report


@dataclass(frozen=True, slots=True)
class Retention:
    """The retention clock of a dataset, or of a view's target that other views read: what it keeps, what they need.

    `until_ms` is None while the pinned version is the newest: it then stays for at least `kept_ms` from now.
    """

    relation: str
    version: int
    committed_ms: int
    oldest: int | None
    pinned: int | None
    kept_ms: int
    until_ms: int | None


@dataclass(frozen=True, slots=True)
class PlansMade:
    """One time that definitions were compiled."""

    planned: int
    reused: int
    failed: int
    elapsed_ms: int


@dataclass(frozen=True, slots=True)
class KeeperFigures:
    """What monitoring wants to know of a keeper; `plans` are those since it was asked last."""

    datasets: tuple[Retention, ...] = ()
    targets: tuple[Retention, ...] = ()
    pending: Mapping[str, int] = field(default_factory=dict)
    plans: tuple[PlansMade, ...] = ()
    memory_limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class RequestMade:
    """A request that asked for a change: who asked, for what, and what came of it.

    `result` is `ok` or the code of the error, `message` tells more about an error.
    """

    recorded_ms: int
    who: str
    way: str
    operation: str
    parameters: Mapping[str, JsonValue]
    reason: str
    result: str
    message: str
    elapsed_ms: int


class KeeperPort(Protocol):
    """The keeper, as the operations and the service use it."""

    def topology(self) -> Topology:
        """Views, datasets and edges of the definitions in use."""
        ...

    def look(self, datasets: Iterable[str]) -> Sequence[Look]:
        """The cheapest look at datasets; a dataset that cannot be read is reported, not raised."""
        ...

    def run_cycle(
        self, views: Sequence[str] | None, *, cause: str, force: str | None, observer: Observer
    ) -> CycleOutcome:
        """Bring views (all: None) and what they depend on up to date; `force` may be `recompute`."""
        ...

    def reload(self) -> ReloadOutcome:
        """Read the definitions again; raises `DefinitionError` and changes nothing where they are broken."""
        ...

    def paused(self) -> frozenset[str]:
        """The views that are paused."""
        ...

    def status(self) -> JsonValue:
        """How each view and dataset is."""
        ...

    def views(self) -> JsonValue:
        """What each view reads and how it is kept."""
        ...

    def preview(self, request: Mapping[str, JsonValue]) -> JsonValue:
        """What pending, hypothetical or edited changes would do."""
        ...

    def why(self, view: str) -> JsonValue:
        """The facts behind the last decision."""
        ...

    def explain(self, view: str) -> JsonValue:
        """Plan and maintenance of a view."""
        ...

    def lineage(self, view: str | None) -> JsonValue:
        """Columns of a view, or the graph of relations."""
        ...

    def history(self, view: str | None, limit: int) -> JsonValue:
        """The last refreshes, newest first."""
        ...

    def scans(self, view: str, cycle_id: str) -> JsonValue:
        """One refresh and what it read: `{"refresh": {…}, "scan_units": […]}`."""
        ...

    def requests(self, limit: int) -> JsonValue:
        """The last requests that asked for a change, newest first."""
        ...

    def record_request(self, request: RequestMade) -> None:
        """Keep who asked for a change; raises where it cannot be written now."""
        ...

    def verify(self, views: Sequence[str] | None, *, digest: bool, version: int | None) -> JsonValue:
        """Compare views (all: None) with their recomputation: rows, or digests, of a version of the past too."""
        ...

    def query(self, sql: str, limit: int) -> JsonValue:
        """`{"columns": […], "rows": [[…]], "truncated": bool}`."""
        ...

    def replan(self, views: Sequence[str]) -> JsonValue:
        """Compile views anew."""
        ...

    def pause(self, view: str, reason: str) -> JsonValue:
        """Stop refreshing a view."""
        ...

    def resume(self, view: str) -> JsonValue:
        """Refresh a view again."""
        ...

    def portraits(self, views: Sequence[str]) -> Mapping[str, JsonValue]:
        """What others are told of views: target, columns, lineage, places of the inputs, query."""
        ...

    def versions(self) -> Mapping[str, str]:
        """Versions of the engine and its parts."""
        ...

    def figures(self) -> KeeperFigures:
        """What monitoring wants to know, from memory alone."""
        ...

    def reserved_bytes(self) -> int:
        """What the engine holds of its memory pool now; callable from any thread."""
        ...

    def spilled(self) -> Spilled:
        """What the engine holds on disk beyond its memory pool now; callable from any thread."""
        ...

    def housekeeping(self) -> Sequence[str]:
        """Compact and clean what is ours; gives the views whose targets were compacted."""
        ...

    def cancel(self) -> None:
        """Interrupt what the engine does now; callable from any thread."""
        ...

    def close(self) -> None:
        """Give back what is held; what is committed stays committed."""
        ...


KeeperFactory = Callable[[], KeeperPort]
