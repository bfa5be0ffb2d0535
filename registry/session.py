"""The session: the one place that constructs the native engine and the only one that registers tables.

`SessionRuntime` gives each call of the engine with typed values and with errors of `registry.errors`. Planning needs
the function platform: a runtime without it cannot be built.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa

import datafusion_ext
from registry.bundle import PlanBundle
from registry.dataset import TableRef
from registry.errors import DeltakeepError, MustStop, from_native
from registry.functions import FunctionEntry, UdfPlanningSnapshot, domain_planner_names_from_snapshot, rewrite_tag_index
from registry.native import (
    AppendRequest,
    ChangeSummary,
    CompileRequest,
    DigestReport,
    DigestRequest,
    ExamineRequest,
    FunctionProblem,
    FunctionSource,
    QueryRequest,
    QueryTable,
    RefreshPlan,
    RefreshRequest,
    RefreshResult,
    TableIdentity,
    TableState,
    VerifyReport,
    VerifyRequest,
)
from registry.project import EngineSettings
from registry.spill import Spilled, own_spill_folder, spilled

TableKind = Literal["delta", "listing", "memory"]


@dataclass(frozen=True, slots=True)
class RuntimeProfile:
    """What a session is made from; equal profiles plan equal queries to equal plans on any machine."""

    settings: Mapping[str, str] = field(default_factory=dict)
    memory_limit_bytes: int | None = None
    spill_directory: str | None = None
    target_partitions: int | None = None
    durable: bool = True

    @classmethod
    def of(cls, engine: EngineSettings) -> RuntimeProfile:
        """Make the profile of a project's `[engine]`."""
        return cls(
            settings=dict(engine.settings),
            memory_limit_bytes=engine.memory_bytes,
            spill_directory=str(engine.spill),
            target_partitions=engine.target_partitions,
            durable=engine.durable,
        )


@dataclass(frozen=True, slots=True)
class TableSpec:
    """How a table is registered: the only way for a name to get into a session's catalogue.

    `name` may be `schema.name`; `version` None means the newest one at the time of each query.
    `listing` is a folder of Parquet files, `memory` are the rows of `data`. Both serve queries only: a view needs
    inputs whose versions can be pinned.
    """

    name: str
    kind: TableKind
    uri: str
    version: int | None = None
    storage_options: Mapping[str, str] = field(default_factory=dict, repr=False)
    data: pa.Table | None = field(default=None, repr=False)

    @classmethod
    def listing(cls, name: str, folder: TableRef) -> TableSpec:
        """Make the specification of a folder of Parquet files."""
        return cls(name, "listing", folder.uri, None, dict(folder.options))

    @classmethod
    def memory(cls, name: str, data: pa.Table) -> TableSpec:
        """Make the specification of rows in memory."""
        return cls(name, "memory", f"memory:///{name}", data=data)

    @classmethod
    def delta(cls, name: str, table: TableRef, version: int | None = None) -> TableSpec:
        """Make the specification of a Delta table."""
        return cls(name, "delta", table.uri, version, dict(table.options))


@dataclass(frozen=True, slots=True)
class Registration:
    """What a registration was: the specification and the functions that were installed at that time."""

    name: str
    kind: TableKind
    uri: str
    version: int | None
    function_snapshot_hash: str


class Catalog:
    """The names that queries may use; changed only by `register_table_spec` and `deregister_table`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._specs: dict[str, TableSpec] = {}

    def put(self, spec: TableSpec) -> bool:
        """Register a table, replacing what had its name; say whether that changed anything."""
        with self._lock:
            changed = self._specs.get(spec.name) != spec
            self._specs[spec.name] = spec
        return changed

    def remove(self, name: str) -> None:
        """Forget a name; one that is not there is no error."""
        with self._lock:
            self._specs.pop(name, None)

    def specs(self) -> tuple[TableSpec, ...]:
        """Give all registered tables in the order of their names."""
        with self._lock:
            return tuple(self._specs[name] for name in sorted(self._specs))


@dataclass(frozen=True, slots=True)
class SessionRuntime:
    """The authoritative surface for planning and running: the engine with the identity of what it plans with."""

    engine: datafusion_ext.Engine
    profile: RuntimeProfile
    functions: UdfPlanningSnapshot
    rewrite_tags: tuple[str, ...]
    domain_planner_names: tuple[str, ...]
    settings: Mapping[str, str]
    catalog: Catalog = field(default_factory=Catalog)

    @property
    def function_snapshot_hash(self) -> str:
        """Give the hash of the installed functions, their tags and planners."""
        return self.functions.snapshot_hash

    # --- the lake ---

    def table_state(self, table: TableRef, version: int | None = None) -> TableState:
        """Give a version of a table (default: the newest) as its log tells."""
        with native_errors():
            return TableState.from_text(self.engine.table_state(table.to_json_text(), version))

    def next_version_exists(self, table: TableRef, after: int) -> bool:
        """Say whether version `after + 1` exists: one look at one object."""
        with native_errors():
            return self.engine.next_version_exists(table.to_json_text(), after)

    def look(self, looks: Sequence[tuple[TableRef, int]]) -> tuple[bool | DeltakeepError, ...]:
        """Say for each table whether the version after the given one exists; one that cannot be read has its error.

        One crossing and one look at one object each, many of them at once.
        """
        if not looks:
            return ()
        asked = [
            {"table": {"uri": table.uri, "options": dict(table.options)}, "after": after} for table, after in looks
        ]
        with native_errors():
            seen = json.loads(self.engine.look(json.dumps(asked)))
        return tuple(one if isinstance(one, bool) else from_native(one["code"], one["message"]) for one in seen)

    def latest_version(self, table: TableRef, at_least: int | None = None) -> int:
        """Give the newest version of a table, found by listing its log."""
        with native_errors():
            return self.engine.latest_version(table.to_json_text(), at_least)

    def identity(self, table: TableRef, version: int) -> TableIdentity:
        """Give what makes a version of a table that very version."""
        with native_errors():
            return TableIdentity.from_text(self.engine.identity(table.to_json_text(), version))

    def examine(self, request: ExamineRequest) -> ChangeSummary:
        """Say what happened to a table in a range of versions."""
        with native_errors():
            return ChangeSummary.from_text(self.engine.examine(request.to_json_text()))

    # --- plans ---

    def define_functions(
        self, sources: tuple[FunctionSource, ...]
    ) -> tuple[tuple[FunctionEntry, ...], tuple[FunctionProblem, ...]]:
        """Make the macros of a project: what each is, or everything that is wrong with them."""
        texts = json.dumps([source.model_dump() for source in sources])
        with native_errors():
            answer = json.loads(self.engine.define_functions(texts))
        functions = tuple(FunctionEntry.model_validate(one) for one in answer["functions"])
        return functions, tuple(FunctionProblem.model_validate(one) for one in answer["problems"])

    def relations(self, sql: str) -> tuple[str, ...]:
        """Give the names of the tables that a query reads."""
        with native_errors():
            return tuple(json.loads(self.engine.relations(sql)))

    def compile(self, request: CompileRequest, plan: bytes | None = None) -> PlanBundle:
        """Plan a view."""
        with native_errors():
            return PlanBundle.from_text(self.engine.compile(request.to_json_text(), plan))

    def compile_key(self, request: CompileRequest, plan: bytes | None = None) -> str:
        """Give the identity of everything that planning a view depends on, without planning."""
        with native_errors():
            return self.engine.compile_key(request.to_json_text(), plan)

    # --- refreshes ---

    def plan_refresh(self, request: RefreshRequest) -> RefreshPlan:
        """Say what a refresh would read and write; writes nothing."""
        with native_errors():
            return RefreshPlan.from_text(self.engine.plan_refresh(request.to_json_text()))

    def refresh(self, request: RefreshRequest, observer: Callable[[str], None] | None = None) -> RefreshResult:
        """Refresh a view; `observer` gets the name of each step before it is taken."""
        with native_errors():
            return RefreshResult.from_text(self.engine.refresh(request.to_json_text(), observer))

    def verify(self, request: VerifyRequest) -> VerifyReport:
        """Compare a target with its view at its pins, as bags."""
        with native_errors():
            return VerifyReport.from_text(self.engine.verify(request.to_json_text()))

    def digest(self, request: DigestRequest) -> DigestReport:
        """The digest of a view's query at its pins; only the inputs are read."""
        with native_errors():
            return DigestReport.from_text(self.engine.digest(request.to_json_text()))

    # --- rows ---

    def query(
        self,
        sql: str,
        limit: int | None = None,
        tables: tuple[TableSpec, ...] | None = None,
        functions: tuple[FunctionSource, ...] = (),
    ) -> pa.RecordBatchReader:
        """Start a read-only query over the registered tables, or over `tables` alone; it may call the macros given.

        Rows are computed as they are taken from the reader; `cancel` ends a reader that waits for some.
        """
        specs = self.catalog.specs() if tables is None else tables
        named = tuple(
            QueryTable(
                name=spec.name,
                kind=spec.kind,
                uri=spec.uri,
                options=dict(spec.storage_options),
                version=spec.version,
            )
            for spec in specs
            if spec.kind != "memory"
        )
        request = QueryRequest(sql=sql, tables=named, limit=limit, functions=functions).to_json_text()
        memory = {spec.name: spec.data for spec in specs if spec.data is not None}
        with native_errors():
            rows = self.engine.query(request, memory) if memory else self.engine.query(request)
        return pa.RecordBatchReader.from_batches(rows.schema, _batches(rows))

    def append(self, request: AppendRequest, data: pa.Table | pa.RecordBatchReader) -> int:
        """Append rows to a table, which is created where it does not exist; gives the version made."""
        with native_errors():
            return self.engine.append(request.to_json_text(), data)

    def compact(self, table: TableRef, target_file_size: int | None = None) -> int | None:
        """Merge small files of a table without changing data; gives the version made, None where nothing was to do."""
        with native_errors():
            return self.engine.compact(table.to_json_text(), target_file_size)

    def vacuum(self, table: TableRef) -> int:
        """Delete the data files that left a table longer ago than it keeps them; gives how many went."""
        with native_errors():
            return self.engine.vacuum(table.to_json_text())

    def reserved_bytes(self) -> int:
        """Give what refreshes and queries hold of the memory pool now; callable from any thread."""
        return self.engine.reserved_bytes()

    def spilled(self) -> Spilled:
        """Give what queries and refreshes hold on disk now; callable from any thread.

        Nothing where the session spills to the system's temporary folder, which it shares.
        """
        folder = self.profile.spill_directory
        return Spilled() if folder is None else spilled(Path(folder))

    def cancel(self) -> None:
        """Interrupt what the engine is doing in other threads."""
        self.engine.cancel()


def build_session_runtime(profile: RuntimeProfile, engine: datafusion_ext.Engine | None = None) -> SessionRuntime:
    """Build the session; `engine` is given only where a test brings its own.

    Raises `MustStop` where settings or functions cannot be installed.
    """
    spill = profile.spill_directory
    with native_errors():
        built = engine or datafusion_ext.Engine(
            settings=dict(profile.settings),
            memory_limit_bytes=profile.memory_limit_bytes,
            spill_directory=None if spill is None else str(own_spill_folder(Path(spill))),
            target_partitions=profile.target_partitions,
            durable=profile.durable,
        )
        functions = UdfPlanningSnapshot.from_text(built.function_snapshot())
        settings = json.loads(built.settings())
    if not functions.snapshot_hash:
        raise MustStop("platform_missing", "the session has no function platform", "reinstall deltakeep")
    return SessionRuntime(
        engine=built,
        profile=profile,
        functions=functions,
        rewrite_tags=tuple(rewrite_tag_index(functions)),
        domain_planner_names=domain_planner_names_from_snapshot(functions),
        settings=settings,
    )


def register_table_spec(runtime: SessionRuntime, spec: TableSpec) -> Registration:
    """Register a table under a name, replacing what had the name.

    Raises `MustStop` for a version that does not exist, a folder without files, and for rows in memory without rows.
    """
    if spec.kind != "delta" and spec.version is not None:
        message = f'table "{spec.name}" of kind "{spec.kind}" has no versions, but version {spec.version} was asked for'
        raise MustStop("invalid_argument", message, "leave the version out")
    if (spec.kind == "memory") != (spec.data is not None):
        message = f'table "{spec.name}" of kind "{spec.kind}" was given {"no" if spec.data is None else "other"} rows'
        raise MustStop("invalid_argument", message, "give rows to a table in memory, and a uri to any other")
    if spec.kind == "listing":
        name = ".".join(f'"{part}"' for part in spec.name.split("."))
        runtime.query(f"SELECT * FROM {name} LIMIT 0", tables=(spec,)).close()
    if spec.version is not None:
        table = TableRef(uri=spec.uri, options=spec.storage_options)
        with native_errors():
            runtime.engine.identity(table.to_json_text(), spec.version)
    runtime.catalog.put(spec)
    return Registration(spec.name, spec.kind, spec.uri, spec.version, runtime.function_snapshot_hash)


def deregister_table(runtime: SessionRuntime, name: str) -> None:
    """Forget a registered name."""
    runtime.catalog.remove(name)


def _batches(rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Take the rows of a query, with errors of ours where the query fails half-way."""
    with native_errors():
        yield from rows


@contextmanager
def native_errors() -> Iterator[None]:
    """Turn errors of the engine into those of `registry.errors`."""
    try:
        yield
    except datafusion_ext.DeltakeepError as error:
        code, message = error.args
        raise from_native(code, message) from error
