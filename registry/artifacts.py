"""The artifact store: what was planned, read and refreshed, as Delta tables that anyone can query.

Records are buffered and written by `flush`, at most one commit a table and cycle; nothing buffered, nothing written.
A record that cannot be written is history lost and never a wrong result; `commands` alone is more than history, so
recording one writes at once and fails loudly.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from registry.artifact_rows import (
    ArtifactTable,
    Command,
    PlanRecord,
    RefreshRecord,
    RequestRecord,
    Row,
    command_row,
    lineage_rows,
    plan_row,
    refresh_record,
    refresh_row,
    registration_row,
    request_record,
    request_row,
    rows_to_table,
    scan_unit_json,
    scan_unit_row,
)
from registry.bundle import PlanBundle
from registry.dataset import TableRef
from registry.errors import DeltakeepError, MustStop, PlanAgain
from registry.formats import FORMAT_KEY, STORE_FORMAT, STORE_PROPERTY, bundle_is_known, require_store_format
from registry.location import join_uri
from registry.names import CompileKey, ViewName
from registry.native import AppendRequest, ScanUnit
from registry.session import Registration, SessionRuntime, TableSpec, register_table_spec

CATALOG_SCHEMA: Final = "deltakeep"
# Plans of a view that are kept at hand: enough to go back and forth between two definitions.
PLANS_KEPT: Final = 4
COMPACT_AFTER_COMMITS: Final = 64
APPEND_ATTEMPTS: Final = 5

_PROPERTIES: Final = {
    "delta.checkpointInterval": "20",
    "delta.logRetentionDuration": "interval 7 days",
    STORE_PROPERTY: str(STORE_FORMAT),
}
# Names of views are names within one project: records of another one would be taken for ours.
_OWNER: Final = "deltakeep.project"


class ArtifactStore:
    """The artifact tables of a project, under one uri.

    Safe to use from several threads. The tables are created by the first `flush` that has something to write; from
    then on they are in the session's catalogue as `deltakeep.<table>`.
    """

    def __init__(self, runtime: SessionRuntime, store: TableRef | str, project: str = "") -> None:
        """Look which tables exist, and register them; `project` is the name of the project whose records they hold.

        Raises `MustStop` with the code `not_ours` where they are those of another project, and `NewerFormat` where a
        newer version wrote them.
        """
        self._runtime = runtime
        self._properties = {**_PROPERTIES, _OWNER: project} if project else _PROPERTIES
        self._store = TableRef(uri=store) if isinstance(store, str) else store
        self._lock = threading.Lock()
        self._rows: dict[ArtifactTable, list[Row]] = {table: [] for table in ArtifactTable}
        self._commits: dict[ArtifactTable, int] = {}
        for table in ArtifactTable:
            version = self._version(table)
            if version is not None:
                self._commits[table] = version % COMPACT_AFTER_COMMITS
                self._register(table)
        if self._commits:
            self._require_ours(project)

    def table(self, table: ArtifactTable) -> TableRef:
        """Give where a table lies."""
        return TableRef(uri=join_uri(self._store.uri, table.value), options=self._store.options)

    def tables(self) -> tuple[TableSpec, ...]:
        """Give the tables that exist, as they are registered."""
        return tuple(TableSpec.delta(f"{CATALOG_SCHEMA}.{table}", self.table(table)) for table in self._commits)

    # --- recording ---

    def record_plan(self, record: PlanRecord) -> None:
        """Record a plan and its lineage."""
        self._add(ArtifactTable.PLAN_ARTIFACTS, [plan_row(record)])
        self._add(ArtifactTable.LINEAGE, lineage_rows(record.bundle, record.recorded_ms))

    def record_refresh(self, record: RefreshRecord) -> None:
        """Record what a view did in a cycle."""
        self._add(ArtifactTable.REFRESHES, [refresh_row(record)])

    def record_scan_units(
        self, view: str, fingerprint: str, cycle_id: str, units: Iterable[ScanUnit], recorded_ms: int
    ) -> None:
        """Record what a refresh read."""
        rows = (scan_unit_row(unit, view, fingerprint, cycle_id, recorded_ms) for unit in units)
        self._add(ArtifactTable.SCAN_UNITS, rows)

    def record_registration(self, registration: Registration, recorded_ms: int) -> None:
        """Record that a table was registered."""
        self._add(ArtifactTable.REGISTRATIONS, [registration_row(registration, recorded_ms)])

    def record_command(self, command: Command) -> None:
        """Record a command and write it at once; raises where that fails."""
        self._add(ArtifactTable.COMMANDS, [command_row(command)])
        self.flush((ArtifactTable.COMMANDS,))

    def record_request(self, record: RequestRecord) -> None:
        """Record a request and write it at once; one that cannot be written stays buffered, and the error is raised."""
        self._add(ArtifactTable.REQUESTS, [request_row(record)])
        self.flush((ArtifactTable.REQUESTS,))

    def pending(self) -> int:
        """Give the number of rows that wait for `flush`."""
        with self._lock:
            return sum(len(rows) for rows in self._rows.values())

    def flush(self, tables: Iterable[ArtifactTable] = tuple(ArtifactTable)) -> tuple[ArtifactTable, ...]:
        """Write what is buffered, one commit a table; gives the tables that were written.

        Rows that could not be written stay buffered and the error is raised after the other tables were tried.
        """
        wanted = tuple(tables)
        with self._lock:
            taken = {table: self._rows[table] for table in wanted if self._rows[table]}
            for table in taken:
                self._rows[table] = []
        if not taken:
            return ()
        now_ms = max(row["recorded_ms"] for rows in taken.values() for row in rows)
        # A query may name all tables once one exists.
        taken.update({table: [] for table in ArtifactTable if table not in self._commits and table not in taken})
        failure: DeltakeepError | None = None
        written = []
        for table, rows in taken.items():
            try:
                self._append(table, rows, now_ms)
                written += [table] if rows else []
            except DeltakeepError as error:
                failure = failure or error
                with self._lock:
                    self._rows[table] = rows + self._rows[table]
        if failure is not None:
            raise failure
        return tuple(written)

    def compact_if_needed(self) -> tuple[ArtifactTable, ...]:
        """Merge the small files of tables that had many commits since they were last merged; gives those tables.

        What an earlier merge replaced is deleted when the table's retention has passed.
        """
        due = [table for table, commits in self._commits.items() if commits >= COMPACT_AFTER_COMMITS]
        done = []
        for table in due:
            try:
                self._runtime.compact(self.table(table))
            except PlanAgain:
                continue  # somebody appended meanwhile; the next cycle tries again
            self._commits[table] = 0
            done.append(table)
        for table in done:
            self._runtime.vacuum(self.table(table))
        return tuple(done)

    # --- asking ---

    def load_bundles(self) -> dict[CompileKey, PlanBundle]:
        """Give the newest plans of each view by their compile keys, oldest first.

        A plan that cannot be read is left out: it is planned again.
        """
        sql = (
            "SELECT compile_key, bundle_json FROM ("
            " SELECT compile_key, bundle_json, recorded_ms,"
            " row_number() OVER (PARTITION BY view_name ORDER BY recorded_ms DESC, compile_key) AS position"
            f" FROM {CATALOG_SCHEMA}.plan_artifacts) AS plans WHERE position <= {PLANS_KEPT} ORDER BY recorded_ms"
        )
        found: dict[CompileKey, PlanBundle] = {}
        for row in self._query(ArtifactTable.PLAN_ARTIFACTS, sql):
            key = CompileKey(row["compile_key"])
            found.pop(key, None)  # a plan that was recorded again goes to the end: the last one is in force
            try:
                document = json.loads(row["bundle_json"])
                if bundle_is_known(document):
                    document.pop(FORMAT_KEY, None)
                    found[key] = PlanBundle.model_validate(document)
            except (ValueError, AttributeError):
                continue
        return found

    def bundle(self, view: str, fingerprint: str) -> PlanBundle | None:
        """Give the recorded plan of a view with this fingerprint; None if there is none that can be read."""
        sql = (
            f"SELECT bundle_json FROM {CATALOG_SCHEMA}.plan_artifacts WHERE view_name = {_literal(view)}"
            f" AND plan_fingerprint = {_literal(fingerprint)} ORDER BY recorded_ms DESC LIMIT 1"
        )
        for row in self._query(ArtifactTable.PLAN_ARTIFACTS, sql):
            with suppress(ValueError):
                return PlanBundle.from_text(row["bundle_json"])
        return None

    def latest_bundles(self) -> dict[ViewName, PlanBundle]:
        """Give the plan of each view that was recorded last."""
        return {ViewName(bundle.name): bundle for bundle in self.load_bundles().values()}

    def recent_refreshes(self, view: str | None = None, limit: int = 100) -> tuple[RefreshRecord, ...]:
        """Give the last refreshes of a view, or of all views, newest first."""
        where = "" if view is None else f" WHERE view_name = {_literal(view)}"
        sql = (
            f"SELECT * FROM {CATALOG_SCHEMA}.refreshes{where}"
            f" ORDER BY recorded_ms DESC, started_ms DESC, view_name LIMIT {int(limit)}"
        )
        return tuple(refresh_record(row) for row in self._query(ArtifactTable.REFRESHES, sql))

    def refresh_of(self, view: str, cycle_id: str) -> RefreshRecord | None:
        """Give what a view did in a cycle."""
        sql = (
            f"SELECT * FROM {CATALOG_SCHEMA}.refreshes"
            f" WHERE view_name = {_literal(view)} AND cycle_id = {_literal(cycle_id)} LIMIT 1"
        )
        return next((refresh_record(row) for row in self._query(ArtifactTable.REFRESHES, sql)), None)

    def scan_units_of(self, view: str, cycle_id: str) -> tuple[Mapping[str, Any], ...]:
        """Give what a view read in a cycle, for people."""
        sql = (
            "SELECT relation, version, side, files, skipped_files, bytes, rows, files_json, filters_json, columns_json"
            f" FROM {CATALOG_SCHEMA}.scan_units"
            f" WHERE view_name = {_literal(view)} AND cycle_id = {_literal(cycle_id)}"
            " ORDER BY relation, side, version"
        )
        return tuple(scan_unit_json(row) for row in self._query(ArtifactTable.SCAN_UNITS, sql))

    def recent_requests(self, limit: int = 100) -> tuple[RequestRecord, ...]:
        """Give the last requests, newest first."""
        sql = f"SELECT * FROM {CATALOG_SCHEMA}.requests ORDER BY recorded_ms DESC LIMIT {int(limit)}"
        return tuple(request_record(row) for row in self._query(ArtifactTable.REQUESTS, sql))

    def paused(self) -> Mapping[ViewName, str]:
        """Give the paused views with the reasons that were given; the last command of a view counts."""
        sql = f"SELECT command, view_name, reason FROM {CATALOG_SCHEMA}.commands ORDER BY recorded_ms"
        found: dict[ViewName, str] = {}
        for row in self._query(ArtifactTable.COMMANDS, sql):
            if row["command"] == "pause":
                found[ViewName(row["view_name"])] = row["reason"] or ""
            elif row["command"] == "resume":
                found.pop(ViewName(row["view_name"]), None)
        return found

    def lineage(self, view: str) -> tuple[Mapping[str, Any], ...]:
        """Give the stored column lineage of a view's newest plan, for people."""
        sql = (
            f"SELECT * FROM {CATALOG_SCHEMA}.lineage WHERE view_name = {_literal(view)} AND recorded_ms ="
            f" (SELECT max(recorded_ms) FROM {CATALOG_SCHEMA}.lineage WHERE view_name = {_literal(view)})"
            " ORDER BY output_column, how, relation, input_column"
        )
        return tuple(self._query(ArtifactTable.LINEAGE, sql))

    # --- tables ---

    def _add(self, table: ArtifactTable, rows: Iterable[Row]) -> None:
        made = list(rows)
        with self._lock:
            self._rows[table] += made

    def _query(self, table: ArtifactTable, sql: str) -> list[Row]:
        if table not in self._commits:
            return []
        rows: list[Row] = self._runtime.query(sql, tables=self.tables()).read_all().to_pylist()
        return rows

    def _append(self, table: ArtifactTable, rows: list[Row], now_ms: int) -> None:
        request = AppendRequest(table=self.table(table), properties=self._properties, timestamp_ms=now_ms)
        data = rows_to_table(table, rows)
        for attempt in range(1, APPEND_ATTEMPTS + 1):
            try:
                self._runtime.append(request, data)
                break
            except PlanAgain:
                # Another process appended first. Appends do not depend on each other, so the next version will do.
                if attempt == APPEND_ATTEMPTS:
                    raise
        known = table in self._commits
        self._commits[table] = self._commits.get(table, 0) + 1
        if not known:
            self._register(table)

    def _register(self, table: ArtifactTable) -> None:
        register_table_spec(self._runtime, TableSpec.delta(f"{CATALOG_SCHEMA}.{table}", self.table(table)))

    def _require_ours(self, project: str) -> None:
        """Refuse the tables of another project, or of a newer version.

        All are created together, so that the first that is sound tells.
        """
        for table in self._commits:
            try:
                properties = self._runtime.table_state(self.table(table)).properties
            except DeltakeepError:
                continue  # whoever needs this table will say what is wrong with it
            require_store_format(self._store.uri, properties)
            owner = properties.get(_OWNER, project)
            if project and owner != project:
                message = f'the store {self._store.uri} holds the records of project "{owner}", not of "{project}"'
                raise MustStop("not_ours", message, 'give each project a place of its own by [project] store = "…"')
            return

    def _version(self, table: ArtifactTable) -> int | None:
        try:
            return self._runtime.latest_version(self.table(table))
        except DeltakeepError as error:
            if error.code in ("not_a_table", "version_not_found"):
                return None
            raise


def _literal(text: str) -> str:
    """Write an SQL text literal."""
    return "'" + text.replace("'", "''") + "'"
