"""The JSON that crosses between Python and the native engine, as frozen models.

What comes from the engine is read tolerantly (keys that we do not know are ignored), what goes to it is written
strictly. Requests hold `TableRef`s; only `to_json_text` writes the values of their options.
Schemas are Delta schema strings; a schema that arrives as an object is turned into its string.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from registry.dataset import REVEAL, TableRef


def _schema_text(value: object) -> object:
    """Give a schema object as its JSON string; strings stay as they are."""
    return json.dumps(value) if isinstance(value, dict | list) else value


SchemaText = Annotated[str, BeforeValidator(_schema_text)]
Strategy = Literal["incremental", "recompute"]
Side = Literal["before", "now", "changes"]


class NativeModel(BaseModel):
    """A value that the engine gives: frozen, unknown keys ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read the engine's JSON text."""
        return cls.model_validate_json(text)

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON values, without the values of store options."""
        return self.model_dump(mode="json")


class NativeRequest(BaseModel):
    """A value that the engine takes: frozen, unknown keys are mistakes of ours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json_text(self) -> str:
        """Give the JSON text for the engine, with the values of store options."""
        return self.model_dump_json(context=REVEAL)


# --- tables -----------------------------------------------------------------------------------------------------------


class Column(NativeModel):
    """A column of a table; `type` is a word of Delta's, or the JSON text of a nested type."""

    name: str
    type: SchemaText
    nullable: bool = True


class TableIdentity(NativeModel):
    """What makes a version of a table that very version: the table's id and the SHA-256 of the commit's JSON.

    `commit_hash` is None where the log's JSON has been cleaned up.
    """

    table_id: str
    commit_hash: str | None = None


class TableState(NativeModel):
    """One version of a table, as its log tells; no data file was read. Sizes in bytes, `rows` None where unknown."""

    uri: str
    version: int
    table_id: str
    timestamp_ms: int
    schema_text: SchemaText = Field(alias="schema")
    partition_columns: tuple[str, ...] = ()
    properties: Mapping[str, str] = Field(default_factory=dict)
    reader_features: tuple[str, ...] = ()
    writer_features: tuple[str, ...] = ()
    files: int = 0
    bytes: int = 0
    rows: int | None = None
    commit_hash: str | None = None
    oldest_version: int | None = None

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Give the columns with their types in Delta's words."""
        fields = json.loads(self.schema_text).get("fields", ())
        return tuple(Column.model_validate(field) for field in fields)

    @property
    def identity(self) -> TableIdentity:
        """Give the identity of this version."""
        return TableIdentity(table_id=self.table_id, commit_hash=self.commit_hash)


class DeltaInputPin(NativeModel):
    """A relation at one version of its table: what a refresh was computed from."""

    relation: str
    uri: str
    table_id: str
    version: int
    timestamp_ms: int
    commit_hash: str | None = None


class FrontierDetails(NativeModel):
    """What a commit of ours says of itself under `deltakeep` in its commit information.

    `content_digest` is the digest of all rows of the target after it, None where nobody knows it.
    """

    commit_id: str = ""
    view: str = ""
    view_id: str = ""
    content_key: str = ""
    fingerprint: str = ""
    function_snapshot_hash: str = ""
    clock: int | str | None = None
    pins: tuple[DeltaInputPin, ...] = ()
    strategy: str = ""
    reason: str = ""
    rows: Mapping[str, int | None] = Field(default_factory=dict)
    engine_version: str = ""
    content_digest: str | None = None


class TargetState(NativeModel):
    """A view's target as it is: whose it is, what it reflects, and what others did to it since.

    `frontier` maps table ids of the inputs to pinned versions; `own_version` is the newest commit of the view, and
    `foreign` says what commits after it did. Everything but `exists` is empty where the table does not exist.
    """

    exists: bool
    version: int | None = None
    table_id: str | None = None
    owner_view_id: str | None = None
    owner_view: str | None = None
    content_key: str | None = None
    own_version: int | None = None
    frontier: Mapping[str, int] = Field(default_factory=dict)
    details: FrontierDetails | None = None
    foreign: Literal["none", "no_data", "data", "unknown"] = "none"
    bytes: int | None = None
    rows: int | None = None
    files: int | None = None
    schema_text: SchemaText | None = Field(default=None, alias="schema")
    commit_hash: str | None = None
    oldest_version: int | None = None
    timestamp_ms: int | None = None

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Amount(NativeModel):
    """Files, bytes and rows; `rows` is None where the log does not tell."""

    files: int = 0
    bytes: int = 0
    rows: int | None = None


class ExamineProblem(NativeModel):
    """Why a range of changes cannot be read: a reason code and what was found."""

    reason: str
    message: str = ""


class ExamineRequest(NativeRequest):
    """Asks what happened to a table in `(after, upto]`, as its log tells.

    `identity` is what version `after` has to be; `filters_of` is the bundle (as JSON values) whose filters on
    `relation` decide which changed files matter.
    """

    table: TableRef
    after: int
    upto: int
    identity: TableIdentity | None = None
    filters_of: Mapping[str, Any] | None = None
    relation: str
    trusted_writers: tuple[str, ...] = ()


class ChangeSummary(NativeModel):
    """What happened to a table in a range of versions; of its files only change files of other writers were looked at.

    `matching` is the part of the changed files whose partition values and statistics can meet the view's filters,
    `distrusted` what is wrong with change files of a trusted writer, which are therefore not read.
    """

    problem: ExamineProblem | None = None
    commits: int = 0
    data_changed: bool = False
    schema_changed: bool = False
    insert_only: bool = False
    feed: str | None = None
    distrusted: str | None = None
    added: Amount = Amount()
    removed: Amount = Amount()
    matching: Amount = Amount()
    operations: tuple[str, ...] = ()


# --- compiling --------------------------------------------------------------------------------------------------------


class InputSchema(NativeRequest):
    """The schema of a relation that a view reads."""

    relation: str
    schema_text: SchemaText = Field(serialization_alias="schema")


class FunctionSource(NativeRequest):
    """The text of a macro, and the name that its file gives it."""

    name: str
    text: str


class FunctionProblem(NativeModel):
    """A macro that cannot be made, and why."""

    name: str
    message: str


class StateOption(NativeRequest):
    """The name under which a view reads its state, and whether it has one also where it could do without."""

    name: str
    always: bool = False


class CompileRequest(NativeRequest):
    """Asks for a view's bundle; `sql` is None where the plan comes as bytes. `functions` are the project's macros.

    With `exact_sums` sums of floats do not depend on the order of rows. `state` is the state that the view may
    have; None keeps it in one stage.
    """

    name: str
    sql: str | None
    inputs: tuple[InputSchema, ...]
    functions: tuple[FunctionSource, ...] = ()
    exact_sums: bool = True
    state: StateOption | None = None

    def to_json_text(self) -> str:
        """Give the JSON text for the engine."""
        return self.model_dump_json(by_alias=True)


# --- refreshing -------------------------------------------------------------------------------------------------------


class ScanUnit(NativeModel):
    """One input of one task: a relation at a version, the files to read, the filters and columns pushed to them."""

    relation: str
    version: int
    side: Side = "now"
    files: tuple[str, ...] = ()
    skipped_files: int = 0
    bytes: int = 0
    rows: int | None = None
    filters: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


class RefreshInput(NativeRequest):
    """An input of a refresh: from the version that the target reflects (None: none) to the pinned one."""

    relation: str
    table: TableRef
    before: int | None
    now: int
    table_id: str
    timestamp_ms: int = 0
    commit_hash: str | None = None
    before_commit_hash: str | None = None
    trusted_writers: tuple[str, ...] = ()


class RefreshTarget(NativeRequest):
    """Where a refresh commits: `base` is the version that it builds upon, None where the table has to be created.

    `content_digest` is the digest of its rows, if the last commit told, and `clock_ms` what `now()` meant in them.
    """

    table: TableRef
    base: int | None = None
    own_version: int | None = None
    content_digest: str | None = None
    clock_ms: int | None = None


class WriteSpec(NativeRequest):
    """How the target is written."""

    partition_by: tuple[str, ...] = ()
    target_file_size: int | None = None
    properties: Mapping[str, str] = Field(default_factory=dict)
    change_data_feed: bool = True
    recompute_difference: bool = False


class ViewIdentity(NativeRequest):
    """The mark of a view on its target."""

    name: str
    id: str


class RefreshRequest(NativeRequest):
    """Asks for one refresh of one view, or for its plan. `bundle` is the bundle as JSON values.

    `commit_empty` commits although nothing changes, to record pins and clock, `change_budget_bytes` bounds what the
    incremental path may hold in memory (None: a quarter of the pool), `change_limit_rows` the rows of the view that it
    compares before it gives up because a recompute is cheaper (None: no limit), `exact` makes a plan count the changed
    rows, and `hypothetical` maps relations to predicates that stand for their changes.
    """

    bundle: Mapping[str, Any]
    strategy: Strategy
    reason: str
    clock_ms: int
    inputs: tuple[RefreshInput, ...]
    target: RefreshTarget
    write: WriteSpec
    view: ViewIdentity
    content_key: str
    replace_definition: bool = False
    commit_empty: bool = False
    change_budget_bytes: int | None = None
    change_limit_rows: int | None = None
    extra_info: Mapping[str, Any] = Field(default_factory=dict)
    exact: bool = False
    hypothetical: Mapping[str, str] = Field(default_factory=dict)


def _with_reason(value: object) -> object:
    """Spread the engine's reason, `{"code", "message", "hint"}`, over the fields of the model that holds it."""
    if isinstance(value, dict) and isinstance(value.get("reason"), dict):
        reason = value["reason"]
        return {**value, "reason": reason["code"], "message": reason.get("message"), "hint": reason.get("hint")}
    return value


class Reasoned(NativeModel):
    """A verdict of the engine's algebra: the code of the reason, what was found, and what to do about it."""

    reason: str | None = None
    message: str | None = None
    hint: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _spread(cls, value: object) -> object:
        return _with_reason(value)


class OperatorMaintenance(Reasoned):
    """How one operator of a plan is maintained; `reason` says why where it falls back."""

    operator: str
    how: str


class RowCounts(NativeModel):
    """Rows that a refresh inserts into and deletes from its target."""

    inserted: int = 0
    deleted: int = 0


class RefreshPlan(NativeModel):
    """What a refresh would read and write at most; nothing was written to find out.

    `strategy` is the one asked for, or `recompute` with the reason why the other is not possible.
    `change_rows` is None unless it was asked for by `exact`.
    """

    strategy: Strategy
    reason: str | None = None
    message: str | None = None
    scan_units: tuple[ScanUnit, ...] = ()
    bytes_to_read: int = 0
    bytes_to_compare: int = 0
    candidate_target_files: int = 0
    bytes_to_write_bound: int = 0
    change_rows_bound: int = 0
    change_rows: RowCounts | None = None
    recompute_bytes: int = 0
    operators: tuple[OperatorMaintenance, ...] = ()


class RefreshResult(NativeModel):
    """What a refresh did. Times in milliseconds, one for each phase.

    `unchanged`: the change set was empty and nothing was committed. `conflict`: `winner` is the version that somebody
    else committed. `fell_back`: the incremental run was given up for `reason`; nothing was committed.
    """

    outcome: Literal["committed", "unchanged", "conflict", "fell_back"]
    version: int | None = None
    timestamp_ms: int | None = None
    winner: int | None = None
    reason: str | None = None
    message: str | None = None
    rows: RowCounts = RowCounts()
    target_rows: int | None = None
    change_rows: Mapping[str, int] = Field(default_factory=dict)
    read: Amount = Amount()
    written: Amount = Amount()
    removed_files: int = 0
    scan_units: tuple[ScanUnit, ...] = ()
    elapsed_ms: Mapping[str, float] = Field(default_factory=dict)


# --- verifying and asking ---------------------------------------------------------------------------------------------


class PinnedInput(NativeRequest):
    """An input at a pin."""

    relation: str
    table: TableRef
    version: int
    table_id: str


class VerifyRequest(NativeRequest):
    """Asks whether a target's version equals its view at the pins `inputs`, as bags."""

    bundle: Mapping[str, Any]
    inputs: tuple[PinnedInput, ...]
    target: TableRef
    version: int
    clock_ms: int = 0


class DigestRequest(NativeRequest):
    """Asks for the digest of a view's query at the pins `inputs`."""

    bundle: Mapping[str, Any]
    inputs: tuple[PinnedInput, ...]
    clock_ms: int = 0


class DigestReport(NativeModel):
    """The digest of what a query gives, and how many rows that are.

    `approximate_columns` are not the same bits in every run, so that the digest is not either.
    """

    digest: str
    rows: int = 0
    approximate_columns: tuple[str, ...] = ()


class VerifyReport(NativeModel):
    """Whether target and recomputation are equal as counted bags; `samples` shows some of the rows that differ."""

    equal: bool
    rows: int = 0
    missing: int = 0
    unexpected: int = 0
    samples: tuple[Any, ...] = ()
    approximate_columns: tuple[str, ...] = ()
    approximate_reason: str | None = None


class QueryTable(NativeRequest):
    """A table that a query may name, as `name` or `schema.name`: a Delta table, or a folder of Parquet files."""

    name: str
    kind: Literal["delta", "listing"] = "delta"
    uri: str
    options: Mapping[str, str] = Field(default_factory=dict, repr=False)
    version: int | None = None


class QueryRequest(NativeRequest):
    """A read-only query over named tables, which may call the macros `functions`; `limit` bounds the rows."""

    sql: str
    tables: tuple[QueryTable, ...] = ()
    functions: tuple[FunctionSource, ...] = ()
    limit: int | None = None


class AppendRequest(NativeRequest):
    """Asks to append rows to a table of ours, which is created where it does not exist.

    `timestamp_ms` is when the commit says that it was made, in milliseconds since the epoch.
    """

    table: TableRef
    partition_by: tuple[str, ...] = ()
    properties: Mapping[str, str] = Field(default_factory=dict)
    timestamp_ms: int = 0
