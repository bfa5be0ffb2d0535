"""The rows of the artifact tables: one schema and one way to make a row for each table.

The tables are append-only history. `recorded_ms` orders the rows of each, in milliseconds since the epoch; times come
from the caller.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal, TypeAlias

import pyarrow as pa

from registry.bundle import PinnedBundle, PlanBundle
from registry.formats import BUNDLE_FORMAT, FORMAT_KEY
from registry.native import DeltaInputPin, ScanUnit
from registry.session import Registration

Row: TypeAlias = dict[str, Any]


class ArtifactTable(StrEnum):
    """The artifact tables by their names in schema `deltakeep`."""

    PLAN_ARTIFACTS = "plan_artifacts"
    LINEAGE = "lineage"
    SCAN_UNITS = "scan_units"
    REFRESHES = "refreshes"
    REGISTRATIONS = "registrations"
    COMMANDS = "commands"
    REQUESTS = "requests"


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


_TEXT: Final = pa.string()
_INT: Final = pa.int64()
_FLAG: Final = pa.bool_()

SCHEMAS: Final[Mapping[ArtifactTable, pa.Schema]] = {
    ArtifactTable.PLAN_ARTIFACTS: _schema(
        recorded_ms=_INT,
        cycle_id=_TEXT,
        view_name=_TEXT,
        compile_key=_TEXT,
        plan_fingerprint=_TEXT,
        content_key=_TEXT,
        plan_encoding=_TEXT,
        plan_encoding_reason=_TEXT,
        udf_snapshot_hash=_TEXT,
        function_registry_hash=_TEXT,
        required_udfs_json=_TEXT,
        required_rewrite_tags_json=_TEXT,
        domain_planner_names_json=_TEXT,
        delta_inputs_json=_TEXT,
        df_settings_json=_TEXT,
        logical_plan_display=_TEXT,
        optimized_plan_display=_TEXT,
        execution_plan_display=_TEXT,
        optimized_plan_pgjson=_TEXT,
        optimized_plan_graphviz=_TEXT,
        lineage_json=_TEXT,
        scan_units_json=_TEXT,
        plan_details_json=_TEXT,
        udf_compatibility_ok=_FLAG,
        engine_version=_TEXT,
        bundle_json=_TEXT,
    ),
    ArtifactTable.LINEAGE: _schema(
        recorded_ms=_INT,
        view_name=_TEXT,
        plan_fingerprint=_TEXT,
        output_column=_TEXT,
        relation=_TEXT,
        input_column=_TEXT,
        how=_TEXT,
    ),
    ArtifactTable.SCAN_UNITS: _schema(
        recorded_ms=_INT,
        cycle_id=_TEXT,
        view_name=_TEXT,
        plan_fingerprint=_TEXT,
        relation=_TEXT,
        version=_INT,
        side=_TEXT,
        files=_INT,
        skipped_files=_INT,
        bytes=_INT,
        rows=_INT,
        files_json=_TEXT,
        filters_json=_TEXT,
        columns_json=_TEXT,
    ),
    ArtifactTable.REFRESHES: _schema(
        recorded_ms=_INT,
        cycle_id=_TEXT,
        view_name=_TEXT,
        strategy=_TEXT,
        reason=_TEXT,
        message=_TEXT,
        outcome=_TEXT,
        pins_json=_TEXT,
        version=_INT,
        rows_inserted=_INT,
        rows_deleted=_INT,
        rows_target=_INT,
        bytes_read=_INT,
        files_read=_INT,
        bytes_written=_INT,
        bytes_recompute=_INT,
        started_ms=_INT,
        elapsed_ms=_INT,
        error=_TEXT,
    ),
    ArtifactTable.REGISTRATIONS: _schema(
        recorded_ms=_INT,
        name=_TEXT,
        kind=_TEXT,
        uri=_TEXT,
        version=_INT,
        udf_snapshot_hash=_TEXT,
    ),
    ArtifactTable.COMMANDS: _schema(
        recorded_ms=_INT,
        command=_TEXT,
        view_name=_TEXT,
        reason=_TEXT,
    ),
    ArtifactTable.REQUESTS: _schema(
        recorded_ms=_INT,
        who=_TEXT,
        way=_TEXT,
        operation=_TEXT,
        parameters_json=_TEXT,
        reason=_TEXT,
        result=_TEXT,
        message=_TEXT,
        elapsed_ms=_INT,
    ),
}


@dataclass(frozen=True, slots=True)
class RefreshRecord:
    """What one view did in one cycle, or why it did nothing.

    Times in milliseconds, sizes in bytes; None where it is not known. `bytes_recompute` is what a recompute would have
    read, and `error` the message of a failure.
    """

    cycle_id: str
    view: str
    strategy: str
    reason: str
    message: str
    outcome: str
    pins: tuple[DeltaInputPin, ...] = ()
    version: int | None = None
    rows_inserted: int | None = None
    rows_deleted: int | None = None
    rows_target: int | None = None
    bytes_read: int | None = None
    files_read: int | None = None
    bytes_written: int | None = None
    bytes_recompute: int | None = None
    started_ms: int = 0
    elapsed_ms: int = 0
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON values."""
        return {**asdict(self), "pins": [pin.to_json() for pin in self.pins]}


@dataclass(frozen=True, slots=True)
class Command:
    """What somebody ordered; pauses and resumes are replayed at start."""

    command: Literal["pause", "resume"]
    view: str
    reason: str
    recorded_ms: int

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """Who asked for a change, when it was done, and what came of it.

    `who` is a user of the machine or the name of a token, `way` says which: `socket`, `here` or `token`. `result` is
    `ok` or the code of the error, and `message` tells more about an error.
    """

    recorded_ms: int
    who: str
    way: str
    operation: str
    parameters: Mapping[str, Any]
    reason: str
    result: str
    message: str = ""
    elapsed_ms: int = 0

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON values."""
        return {**asdict(self), "parameters": dict(self.parameters)}


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """A bundle with the key under which it is found again, and what planning found out about it."""

    bundle: PlanBundle
    compile_key: str
    recorded_ms: int
    cycle_id: str = ""
    pinned: PinnedBundle | None = None
    incompatibilities: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


def plan_row(record: PlanRecord) -> Row:
    """Make the row of a plan."""
    bundle = record.bundle
    artifacts = bundle.artifacts()
    pins = record.pinned.pins if record.pinned else ()
    units = record.pinned.scan_units if record.pinned else ()
    details = {
        "maintenance": bundle.maintenance.to_json(),
        "output_schema": [column.to_json() for column in bundle.output_schema],
        "functions_used": dict(bundle.functions_used),
        "macros_used": dict(bundle.macros_used),
        "domain_planner_functions": {
            planner: list(names) for planner, names in bundle.domain_planner_functions.items()
        },
        "incompatibilities": list(record.incompatibilities),
        **record.details,
    }
    return {
        "recorded_ms": record.recorded_ms,
        "cycle_id": record.cycle_id,
        "view_name": bundle.name,
        "compile_key": record.compile_key,
        "plan_fingerprint": bundle.fingerprint,
        "content_key": bundle.content_key,
        "plan_encoding": bundle.encoding,
        "plan_encoding_reason": bundle.encoding_reason,
        "udf_snapshot_hash": bundle.function_snapshot_hash,
        "function_registry_hash": bundle.function_registry_hash,
        "required_udfs_json": _json(bundle.required_functions),
        "required_rewrite_tags_json": _json(bundle.required_rewrite_tags),
        "domain_planner_names_json": _json(bundle.domain_planners),
        "delta_inputs_json": _json([pin.to_json() for pin in pins]),
        "df_settings_json": _json(bundle.settings),
        "logical_plan_display": artifacts.logical_plan_display,
        "optimized_plan_display": artifacts.optimized_plan_display,
        "execution_plan_display": artifacts.execution_plan_display,
        "optimized_plan_pgjson": artifacts.optimized_plan_pgjson,
        "optimized_plan_graphviz": artifacts.optimized_plan_graphviz,
        "lineage_json": _json(bundle.lineage),
        "scan_units_json": _json([unit.to_json() for unit in units]),
        "plan_details_json": _json(details),
        "udf_compatibility_ok": not record.incompatibilities,
        "engine_version": bundle.engine_version,
        "bundle_json": _json({FORMAT_KEY: BUNDLE_FORMAT, **bundle.document}),
    }


def lineage_rows(bundle: PlanBundle, recorded_ms: int) -> Iterator[Row]:
    """Make a row for each use of an input column.

    `how` says what it does: `copied`, `computed` or `aggregated` into `output_column`, or, without one, `filtered_by`,
    `joined_on`, `grouped_by` or `ordered_by`.
    """
    fixed = {"recorded_ms": recorded_ms, "view_name": bundle.name, "plan_fingerprint": bundle.fingerprint}
    for output in bundle.lineage.get("outputs", ()):
        for source in output.get("sources", ()):
            yield {
                **fixed,
                "output_column": output["name"],
                "relation": source["relation"],
                "input_column": source["column"],
                "how": source["how"],
            }
    for how in ("filtered_by", "joined_on", "grouped_by", "ordered_by"):
        for source in bundle.lineage.get(how, ()):
            yield {
                **fixed,
                "output_column": None,
                "relation": source["relation"],
                "input_column": source["column"],
                "how": how,
            }


def scan_unit_row(unit: ScanUnit, view: str, fingerprint: str, cycle_id: str, recorded_ms: int) -> Row:
    """Make the row of a scan unit."""
    return {
        "recorded_ms": recorded_ms,
        "cycle_id": cycle_id,
        "view_name": view,
        "plan_fingerprint": fingerprint,
        "relation": unit.relation,
        "version": unit.version,
        "side": unit.side,
        "files": len(unit.files),
        "skipped_files": unit.skipped_files,
        "bytes": unit.bytes,
        "rows": unit.rows,
        "files_json": _json(unit.files),
        "filters_json": _json(unit.filters),
        "columns_json": _json(unit.columns),
    }


def scan_unit_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """Give the row of a scan unit as plain JSON values."""
    lists = {name: json.loads(row[f"{name}_json"] or "[]") for name in ("files", "filters", "columns")}
    counts = {name: row[name] for name in ("relation", "version", "side", "skipped_files", "bytes", "rows")}
    return {
        **counts,
        "files": row["files"],
        "file_names": lists["files"],
        **{k: lists[k] for k in ("filters", "columns")},
    }


def refresh_row(record: RefreshRecord) -> Row:
    """Make the row of a refresh."""
    values = asdict(record)
    values["view_name"] = values.pop("view")
    values["pins_json"] = _json([pin.to_json() for pin in record.pins])
    del values["pins"]
    return {"recorded_ms": record.started_ms + record.elapsed_ms, **values}


def refresh_record(row: Mapping[str, Any]) -> RefreshRecord:
    """Read a refresh back from its row."""
    values = {name: row[name] for name in RefreshRecord.__dataclass_fields__ if name not in ("view", "pins")}
    pins = tuple(DeltaInputPin.model_validate(pin) for pin in json.loads(row["pins_json"] or "[]"))
    return RefreshRecord(view=row["view_name"], pins=pins, **values)


def registration_row(registration: Registration, recorded_ms: int) -> Row:
    """Make the row of a registration."""
    return {
        "recorded_ms": recorded_ms,
        "name": registration.name,
        "kind": registration.kind,
        "uri": registration.uri,
        "version": registration.version,
        "udf_snapshot_hash": registration.function_snapshot_hash,
    }


def command_row(command: Command) -> Row:
    """Make the row of a command."""
    return {
        "recorded_ms": command.recorded_ms,
        "command": command.command,
        "view_name": command.view,
        "reason": command.reason,
    }


def request_row(record: RequestRecord) -> Row:
    """Make the row of a request."""
    values = asdict(record)
    values["parameters_json"] = _json(values.pop("parameters"))
    return values


def request_record(row: Mapping[str, Any]) -> RequestRecord:
    """Read a request back from its row."""
    values = {name: row[name] for name in RequestRecord.__dataclass_fields__ if name != "parameters"}
    return RequestRecord(parameters=json.loads(row["parameters_json"]), **values)


def rows_to_table(table: ArtifactTable, rows: list[Row]) -> pa.Table:
    """Make the Arrow table of rows; with no rows it has the schema only."""
    return pa.Table.from_pylist(rows, schema=SCHEMAS[table])


def _json(value: Any) -> str:
    """Write canonical JSON: sorted keys, no white space, so that equal values are equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
