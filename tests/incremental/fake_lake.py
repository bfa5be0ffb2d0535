"""A lake in memory: Delta tables as lists of bags, views that the PyPI DataFusion computes from them.

It keeps what the native engine promises about versions, frontiers, compare-and-set and changes.
An incremental refresh really adds `query(now) - query(before)` to the target: a wrong frontier gives wrong rows.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
from datafusion import SessionContext

from incremental.keeper import Keeper
from registry.artifact_rows import RefreshRecord
from registry.errors import DeltakeepError, MustRecompute, MustStop
from registry.session import RuntimeProfile, SessionRuntime, build_session_runtime
from tests.registry.fake_engine import FakeEngine

Row = tuple[int | None, ...]
Bag = Counter[Row]

DAY_MS = 86_400_000


@dataclass(slots=True)
class Entry:
    """One version of a table."""

    rows: Bag
    columns: tuple[str, ...]
    changes_data: bool
    operation: str
    timestamp_ms: int
    own: bool = False
    details: dict[str, Any] | None = None
    frontier: dict[str, int] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    owner: tuple[str, str] | None = None
    content_key: str | None = None

    @property
    def hash(self) -> str:
        text = json.dumps([sorted(map(str, self.rows.items())), self.operation, self.timestamp_ms])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(slots=True)
class Table:
    """A table with its log; entries below `first` were cleaned up."""

    table_id: str
    log: list[Entry]
    first: int = 0

    @property
    def version(self) -> int:
        return len(self.log) - 1

    @property
    def now(self) -> Entry:
        return self.log[-1]


@dataclass(slots=True)
class SteppedClock:
    """A clock that stands still until a test moves it."""

    at_ms: int = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic_ms(self) -> int:
        return self.at_ms

    def step(self, by_ms: int = 1_000) -> None:
        self.at_ms += by_ms


class FakeLake(FakeEngine):
    """The native engine's surface over tables in memory; `calls` counts what was asked of it."""

    def __init__(self, clock: SteppedClock) -> None:
        super().__init__()
        self.clock = clock
        self.tables: dict[str, Table] = {}
        self.calls: Counter[str] = Counter()
        self.failing: dict[str, DeltakeepError] = {}
        self.before_commit: dict[str, Callable[[], None]] = {}
        self.on_refresh: dict[str, Callable[[], None]] = {}
        self.costs: dict[str, tuple[int, int]] = {}
        self.not_incremental: dict[str, str] = {}
        self.fall_back: dict[str, str] = {}
        self.requests: list[dict[str, Any]] = []
        self._ids = 0

    # --- what a test does to the lake ---

    def create(
        self, uri: str, columns: tuple[str, ...], rows: Iterable[Row] = (), properties: Mapping[str, str] | None = None
    ) -> Table:
        self._ids += 1
        entry = Entry(Counter(rows), columns, True, "CREATE TABLE", self.clock.at_ms, properties=dict(properties or {}))
        self.tables[uri] = Table(f"table-{self._ids}", [entry])
        return self.tables[uri]

    def add(self, uri: str, *rows: Row) -> int:
        return self._write(uri, self.tables[uri].now.rows + Counter(rows), "WRITE")

    def remove(self, uri: str, *rows: Row) -> int:
        return self._write(uri, self.tables[uri].now.rows - Counter(rows), "DELETE")

    def optimize(self, uri: str) -> int:
        return self._write(uri, self.tables[uri].now.rows, "OPTIMIZE", changes_data=False)

    def add_column(self, uri: str, name: str) -> int:
        now = self.tables[uri].now
        rows = widened(now.rows, len(now.columns) + 1)
        version = self._write(uri, rows, "ADD COLUMNS", changes_data=False)
        self.tables[uri].now.columns = (*now.columns, name)
        return version

    def _write(self, uri: str, rows: Bag, operation: str, *, changes_data: bool = True) -> int:
        table = self.tables[uri]
        now = table.now
        self.clock.step(1)
        entry = Entry(rows, now.columns, changes_data, operation, self.clock.at_ms, properties=now.properties)
        entry.frontier, entry.owner, entry.content_key = now.frontier, now.owner, now.content_key
        table.log.append(entry)
        return table.version

    # --- the engine's surface ---

    def reserved_bytes(self) -> int:
        return 0

    def _find(self, table: str) -> Table:
        uri = json.loads(table)["uri"]
        if uri not in self.tables:
            raise MustStop("not_a_table", f"there is no Delta table at '{uri}'")
        return self.tables[uri]

    def _is_artifact(self, table: str) -> bool:
        return "/state/" in json.loads(table)["uri"]

    def table_state(self, table: str, version: int | None = None) -> str:
        if self._is_artifact(table):
            return super().table_state(table, version)
        self.calls["table_state"] += 1
        found = self._find(table)
        at = found.version if version is None else version
        entry = found.log[at]
        return json.dumps(
            {
                "uri": json.loads(table)["uri"],
                "version": at,
                "table_id": found.table_id,
                "timestamp_ms": entry.timestamp_ms,
                "schema": delta_schema(entry.columns),
                "properties": entry.properties,
                "files": 1,
                "bytes": entry.rows.total() * 100,
                "rows": entry.rows.total(),
                "commit_hash": entry.hash,
                "oldest_version": found.first,
            }
        )

    def next_version_exists(self, table: str, after: int) -> bool:
        self.calls["next_version_exists"] += 1
        return self._is_newer(json.loads(table)["uri"], after)

    def look(self, looks: str) -> str:
        asked = json.loads(looks)
        self.calls["look"] += 1
        self.calls["tables_looked_at"] += len(asked)
        return json.dumps([self._is_newer(one["table"]["uri"], one["after"]) for one in asked])

    def _is_newer(self, uri: str, after: int) -> bool:
        return uri in self.tables and self.tables[uri].version > after

    def latest_version(self, table: str, at_least: int | None = None) -> int:
        self.calls["latest_version"] += 1
        if self._is_artifact(table):
            return super().latest_version(table, at_least)
        return self._find(table).version

    def identity(self, table: str, version: int) -> str:
        if self._is_artifact(table):
            return super().identity(table, version)
        self.calls["identity"] += 1
        found = self._find(table)
        if version > found.version:
            raise MustStop("version_not_found", f"version {version} does not exist")
        return json.dumps({"table_id": found.table_id, "commit_hash": found.log[version].hash})

    def examine(self, request: str) -> str:
        self.calls["examine"] += 1
        asked = json.loads(request)
        table, after, upto = self._find(json.dumps(asked["table"])), asked["after"], asked["upto"]
        self.calls["entries_read"] += upto - after
        if after + 1 < table.first:
            problem = {"reason": "history_gone", "message": f"version {after + 1} was cleaned up"}
            return json.dumps({"problem": problem})
        identity = asked["identity"]
        if identity["commit_hash"] not in (None, table.log[after].hash):
            return json.dumps({"problem": {"reason": "table_replaced", "message": f"version {after} is another one"}})
        span = table.log[after + 1 : upto + 1]
        before, now = table.log[after], table.log[upto]
        old = widened(before.rows, len(now.columns))
        added, removed = now.rows - old, old - now.rows
        changed = any(entry.changes_data for entry in span)
        sql = asked["filters_of"]["sql"]
        matching = self._matching(sql, asked["relation"], now.columns, added + removed)
        return json.dumps(
            {
                "problem": None,
                "commits": upto - after,
                "data_changed": changed,
                "schema_changed": before.columns != now.columns,
                "insert_only": not removed,
                "added": {"files": 1 if added else 0, "bytes": 100 * added.total(), "rows": added.total()},
                "removed": {"files": 1 if removed else 0, "bytes": 100 * removed.total(), "rows": removed.total()},
                "matching": {"files": 1 if matching else 0, "bytes": 100 * matching, "rows": matching},
                "operations": sorted({entry.operation for entry in span}),
            }
        )

    def _matching(self, sql: str, relation: str, columns: tuple[str, ...], rows: Bag) -> int:
        """Rows of a change that the filter of a view over one relation lets through."""
        condition = re.search(r"\bwhere\b(.*?)(group by|$)", sql, re.IGNORECASE)
        if condition is None or " join " in sql.lower():
            return rows.total()
        return self._run(f"SELECT * FROM {relation} WHERE {condition[1]}", {relation: (columns, rows)})[1].total()

    def target_state(self, table: str, view_id: str, version: int | None = None) -> str:
        self.calls["target_state"] += 1
        uri = json.loads(table)["uri"]
        if uri not in self.tables:
            return json.dumps({"exists": False})
        found = self.tables[uri]
        own = max((at for at, entry in enumerate(found.log) if entry.own), default=None)
        later = found.log[own + 1 :] if own is not None else []
        foreign = "none" if not later else "data" if any(one.changes_data for one in later) else "no_data"
        now = found.now
        return json.dumps(
            {
                "exists": True,
                "version": found.version,
                "table_id": found.table_id,
                "owner_view_id": None if now.owner is None else now.owner[0],
                "owner_view": None if now.owner is None else now.owner[1],
                "content_key": now.content_key,
                "own_version": own,
                "frontier": now.frontier,
                "details": None if own is None else found.log[own].details,
                "foreign": foreign if own is not None else "unknown",
                "bytes": now.rows.total() * 100,
                "rows": now.rows.total(),
                "files": 1,
                "commit_hash": now.hash,
                "timestamp_ms": now.timestamp_ms,
            }
        )

    def compile(self, request: str, plan: bytes | None = None) -> str:
        asked = json.loads(request)
        sql, inputs = asked["sql"], asked["inputs"]
        if "no such column" in sql:
            return super().compile(request, plan)
        self.compiled.append(asked["name"])
        schemas = {one["relation"]: columns_of(one["schema"]) for one in inputs}
        try:
            columns, _ = self._run(sql, {name: (columns, Counter()) for name, columns in schemas.items()})
        except ValueError as error:
            raise MustStop("invalid_query", str(error)) from error
        words = set(re.findall(r"\w+", sql))
        used = {name: [column for column in names if column in words] for name, names in schemas.items()}
        content = hashlib.sha256(json.dumps([sql, used]).encode()).hexdigest()
        reason = self.not_incremental.get(asked["name"])
        return json.dumps(
            {
                "name": asked["name"],
                "sql": sql,
                "encoding": "substrait",
                "plan_bytes": "AAAA",
                "compile_key": self.compile_key(request, plan),
                "fingerprint": f"fingerprint-{content[:8]}-{self.engine_version}",
                "content_key": content,
                "output_schema": [{"name": name, "type": "long", "nullable": True} for name in columns],
                "table_schema": delta_schema(columns),
                "function_snapshot_hash": self.snapshot["snapshot_hash"],
                "lineage": {
                    "relations": [{"relation": name, "columns": names} for name, names in sorted(used.items())],
                    "outputs": [],
                },
                "maintenance": {
                    "incremental": reason is None,
                    "reason": reason,
                    "operators": [{"operator": "Query", "how": "linear", "reason": reason}],
                },
                "inputs": {name: {"columns": [], "schema_hash": str(columns)} for name, columns in schemas.items()},
                "engine_version": self.engine_version,
            }
        )

    def plan_refresh(self, request: str) -> str:
        self.calls["plan_refresh"] += 1
        asked = json.loads(request)
        view = asked["view"]["name"]
        incremental = asked["strategy"] == "incremental"
        read, recompute = self.costs.get(view, (1, 1_000_000))
        units = []
        changed_rows: Bag = Counter()
        for one in asked["inputs"]:
            table = self._find(json.dumps(one["table"]))
            rows = table.log[one["now"]].rows
            if incremental and one["before"] is not None:
                before = table.log[one["before"]].rows
                rows = (rows - before) + (before - rows)
                changed_rows += rows
            units.append(
                {
                    "relation": one["relation"],
                    "version": one["now"],
                    "side": "changes" if incremental else "now",
                    "files": ["part-0.parquet"] if rows else [],
                    "skipped_files": 0 if rows else 1,
                    "bytes": rows.total() * 100,
                    "rows": rows.total(),
                }
            )
        rows_found = None
        if asked["exact"] and incremental and not asked["hypothetical"]:
            _, new, old = self._contents(asked)
            rows_found = {"inserted": (new - old).total(), "deleted": (old - new).total()}
        return json.dumps(
            {
                "strategy": asked["strategy"],
                "scan_units": units,
                "bytes_to_read": read if incremental else recompute,
                "candidate_target_files": 1,
                "bytes_to_write_bound": 1,
                "change_rows_bound": changed_rows.total(),
                "change_rows": rows_found,
                "recompute_bytes": recompute,
            }
        )

    def refresh(self, request: str, observer: Callable[[str], None] | None = None) -> str:
        self.calls["refresh"] += 1
        asked = json.loads(request)
        view, uri = asked["view"]["name"], asked["target"]["table"]["uri"]
        self.requests.append(asked)
        if observer is not None:
            observer("planning")
        failure = self.failing.get(view)
        self.on_refresh.pop(view, lambda: None)()
        if failure is not None:
            raise failure
        if asked["strategy"] == "incremental" and view in self.fall_back:
            return json.dumps({"outcome": "fell_back", "reason": self.fall_back[view], "message": "gave up"})
        columns, new, old = self._contents(asked)
        if asked["strategy"] == "incremental" and new == old and not asked.get("commit_empty"):
            return json.dumps({"outcome": "unchanged", "read": {"files": 1, "bytes": 10, "rows": 1}})
        hook = self.before_commit.pop(view, None)
        if hook is not None:
            hook()
        table, base = self.tables.get(uri), asked["target"]["base"]
        if (table is None) != (base is None) or (table is not None and table.version != base):
            assert table is not None
            return json.dumps({"outcome": "conflict", "winner": table.version})
        self.commit(asked, columns, new)
        made = self.tables[uri]
        return json.dumps(
            {
                "outcome": "committed",
                "version": made.version,
                "timestamp_ms": made.now.timestamp_ms,
                "rows": {"inserted": (new - old).total(), "deleted": (old - new).total()},
                "target_rows": new.total(),
                "read": {"files": 1, "bytes": 10, "rows": 1},
                "written": {"files": 1, "bytes": 100, "rows": new.total()},
                "scan_units": [{"relation": one["relation"], "version": one["now"]} for one in asked["inputs"]],
            }
        )

    def commit(self, asked: dict[str, Any], columns: tuple[str, ...], rows: Bag) -> None:
        """Commit a refresh as the engine does: rows and frontier together."""
        uri, view = asked["target"]["table"]["uri"], asked["view"]
        table = self.tables.get(uri)
        frontier = {} if table is None else dict(table.now.frontier)
        frontier |= {one["table_id"]: one["now"] for one in asked["inputs"]}
        pins = [
            {
                "relation": one["relation"],
                "uri": one["table"]["uri"],
                "table_id": one["table_id"],
                "version": one["now"],
                "timestamp_ms": one["timestamp_ms"],
                "commit_hash": one["commit_hash"],
            }
            for one in asked["inputs"]
        ]
        details = {**asked["extra_info"], "content_key": asked["content_key"], "clock_ms": asked["clock_ms"]}
        entry = Entry(
            rows,
            columns,
            True,
            "WRITE",
            self.clock.at_ms,
            own=True,
            details={**details, "pins": pins},
            frontier=frontier,
            owner=(view["id"], view["name"]),
            content_key=asked["content_key"],
        )
        if table is None:
            self._ids += 1
            self.tables[uri] = Table(f"table-{self._ids}", [entry])
        else:
            table.log.append(entry)

    def verify(self, request: str) -> str:
        asked = json.loads(request)
        inputs = {}
        for one in asked["inputs"]:
            entry = self._find(json.dumps(one["table"])).log[one["version"]]
            inputs[one["relation"]] = (entry.columns, entry.rows)
        _, expected = self._run(asked["bundle"]["sql"], inputs)
        found = self._find(json.dumps(asked["target"])).log[asked["version"]].rows
        missing, unexpected = expected - found, found - expected
        return json.dumps(
            {
                "equal": not missing and not unexpected,
                "rows": found.total(),
                "missing": missing.total(),
                "unexpected": unexpected.total(),
            }
        )

    # --- computing ---

    def _contents(self, asked: dict[str, Any]) -> tuple[tuple[str, ...], Bag, Bag]:
        """Columns, new content and old content of a refresh."""
        sql, uri, base = asked["bundle"]["sql"], asked["target"]["table"]["uri"], asked["target"]["base"]
        now, before = {}, {}
        for one in asked["inputs"]:
            table = self._find(json.dumps(one["table"]))
            if table.table_id != one["table_id"]:
                raise MustRecompute("table_replaced", "the input is another table")
            entry = table.log[one["now"]]
            now[one["relation"]] = (entry.columns, entry.rows)
            if one["before"] is not None:
                old_entry = table.log[one["before"]]
                before[one["relation"]] = (old_entry.columns, old_entry.rows)
        columns, recomputed = self._run(sql, now)
        old: Bag = Counter() if base is None else self.tables[uri].log[base].rows
        if asked["strategy"] == "recompute":
            return columns, recomputed, old
        _, reflected = self._run(sql, before)
        new = Counter(old)
        new.update(recomputed)
        new.subtract(reflected)
        assert all(count >= 0 for count in new.values()), "the frontier does not describe the target"
        return columns, +new, old

    def _run(self, sql: str, inputs: dict[str, tuple[tuple[str, ...], Bag]]) -> tuple[tuple[str, ...], Bag]:
        context = SessionContext()
        for name, (columns, rows) in inputs.items():
            context.from_arrow(arrow(columns, rows), name=name)
        found = context.sql(sql).to_arrow_table()
        return tuple(found.column_names), Counter(tuple(row.values()) for row in found.to_pylist())


def widened(rows: Bag, width: int) -> Bag:
    """Rows of an older schema with NULL in the columns that were added."""
    found: Bag = Counter()
    for row, count in rows.items():
        found[(*row, *(None for _ in range(width - len(row))))] += count
    return found


def arrow(columns: tuple[str, ...], rows: Bag) -> pa.Table:
    """A bag as an Arrow table of nullable longs."""
    schema = pa.schema([pa.field(name, pa.int64()) for name in columns])
    listed = [dict(zip(columns, row, strict=True)) for row in sorted(rows.elements(), key=str)]
    return pa.Table.from_pylist(listed, schema=schema)


def delta_schema(columns: Iterable[str]) -> str:
    fields = [{"name": name, "type": "long", "nullable": True, "metadata": {}} for name in columns]
    return json.dumps({"type": "struct", "fields": fields})


def columns_of(schema: Any) -> tuple[str, ...]:
    parsed = json.loads(schema) if isinstance(schema, str) else schema
    return tuple(one["name"] for one in parsed["fields"])


@dataclass(slots=True)
class Shop:
    """A project on disk over a lake in memory; datasets have the columns `k` and `v` unless told otherwise."""

    root: Path
    clock: SteppedClock = field(default_factory=SteppedClock)
    lake: FakeLake = field(init=False)
    datasets: list[str] = field(default_factory=list)
    views: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lake = FakeLake(self.clock)

    def uri(self, name: str) -> str:
        folder = "views_out" if name in self.views else "lake"
        return (self.root / folder / name).as_uri()

    def dataset(
        self, name: str, *rows: Row, columns: tuple[str, ...] = ("k", "v"), properties: Mapping[str, str] | None = None
    ) -> Table:
        self.datasets.append(name)
        return self.lake.create(self.uri(name), columns, rows, properties)

    def view(self, name: str, sql: str, header: str = "") -> None:
        self.views[name] = sql
        self.write()
        text = f"/*\n{header}\n*/\n{sql}\n" if header else f"{sql}\n"
        (self.root / "views" / f"{name}.sql").write_text(text)

    def drop_view(self, name: str) -> None:
        del self.views[name]
        (self.root / "views" / f"{name}.sql").unlink()

    def write(self) -> None:
        (self.root / "views").mkdir(parents=True, exist_ok=True)
        lines = ['[project]\nname = "shop"', *(f'[datasets.{name}]\nuri = "lake/{name}"' for name in self.datasets)]
        (self.root / "deltakeep.toml").write_text("\n\n".join(lines) + "\n")

    def runtime(self) -> SessionRuntime:
        return build_session_runtime(RuntimeProfile(), cast("Any", self.lake))

    def open(self, **options: Any) -> Keeper:
        """Open a keeper, as a new process would."""
        self.write()
        return Keeper.open(self.root, clock=self.clock, runtime=self.runtime(), **options)

    def table(self, name: str) -> Table:
        return self.lake.tables[self.uri(name)]

    def add(self, name: str, *rows: Row) -> int:
        return self.lake.add(self.uri(name), *rows)

    def remove(self, name: str, *rows: Row) -> int:
        return self.lake.remove(self.uri(name), *rows)

    def optimize(self, name: str) -> int:
        return self.lake.optimize(self.uri(name))

    def cycle(self, keeper: Keeper, *views: str, step_ms: int = 1_000) -> dict[str, RefreshRecord]:
        """Run one cycle a moment later, and give what was done to each view."""
        self.clock.step(step_ms)
        return {one.view: one for one in keeper.run_cycle(views or None, cause="test").views}

    def content(self, name: str, vector: dict[str, int] | None = None) -> Bag:
        """What a relation should hold at some versions of the datasets (the newest by default), by recomputation."""
        if name in self.datasets:
            return self._entry(name, vector).rows
        return self.lake._run(self.views[name], {one: self._relation(one, vector) for one in self._inputs(name)})[1]

    def _relation(self, name: str, vector: dict[str, int] | None) -> tuple[tuple[str, ...], Bag]:
        if name in self.datasets:
            entry = self._entry(name, vector)
            return entry.columns, entry.rows
        return self.lake._run(self.views[name], {one: self._relation(one, vector) for one in self._inputs(name)})

    def _entry(self, name: str, vector: dict[str, int] | None) -> Entry:
        table = self.table(name)
        return table.now if vector is None else table.log[vector[name]]

    def _inputs(self, view: str) -> list[str]:
        return sorted(set(re.findall(r"(?:from|join)\s+(\w+)", self.views[view], re.IGNORECASE)))

    def assert_right(self, *views: str) -> None:
        """Fail unless the views (default: all) equal their recomputation at the newest versions."""
        for view in views or tuple(self.views):
            assert self.table(view).now.rows == self.content(view), f'view "{view}"'

    def assert_consistent(self) -> None:
        """Fail unless every view that exists equals its recomputation at the one vector that its commit names."""
        for view in self.views:
            table = self.lake.tables.get(self.uri(view))
            if table is None:
                continue
            own = max(at for at, entry in enumerate(table.log) if entry.own)
            details = table.log[own].details
            assert details is not None
            vector = {name: position["version"] for name, position in details["vector"].items()}
            assert table.log[own].rows == self.content(view, vector), f'view "{view}" at {vector}'
