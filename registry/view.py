"""Views: a name, a query, a target, and how the target is kept.

A view's identity is its id; its definition is only the query, so that changing an option recomputes nothing.
The exceptions are `exact_sums`, which decides how the query's sums of floats are computed, and `state_table`, which
decides in how many stages it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from registry.dataset import SourcePosition, TableRef
from registry.names import ViewName

STATE_SUFFIX: Final = "__state"
"""Ends the name of a state, once for each state that stands between it and the view; the engine's is the same."""


class RefreshPolicy(StrEnum):
    """Which strategies a view allows."""

    AUTO = "auto"
    """Incremental where it is right and cheaper, else recompute."""
    INCREMENTAL = "incremental"
    """Fail with the reason rather than recompute."""
    RECOMPUTE = "recompute"
    """Always recompute; the only policy for plans that cannot be made deterministic."""


class RecomputeWrites(StrEnum):
    """What a recompute writes."""

    REPLACE = "replace"
    """Replace all files."""
    DIFFERENCE = "difference"
    """Write only the rows that differ."""


class StateTable(StrEnum):
    """When a view has a state: a table of its own, from which the rest of the view is computed."""

    AUTO = "auto"
    """Where changes cannot keep the view as a whole, and can keep a part of it."""
    ALWAYS = "always"
    """Also where groups can be added up, in whatever part of it, so that no input is read again for them."""
    NEVER = "never"
    """Never."""


@dataclass(frozen=True, slots=True)
class SqlDefinition:
    """A query in SQL: the text after the header, and the line of the file where it starts."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class PythonDefinition:
    """A function in a Python file; `parameters` are the names of the relations that it reads.

    `path` is absolute, `source_digest` is the SHA-256 of all Python files beneath `views/`, since the function may
    use any of them.
    """

    path: str
    function: str
    parameters: tuple[str, ...]
    source_digest: str
    line: int


ViewDefinition = SqlDefinition | PythonDefinition


@dataclass(frozen=True, slots=True)
class DeltaWriteSpec:
    """How the files and the table of a target are written."""

    partition_by: tuple[str, ...] = ()
    target_file_size: int | None = None
    change_data_feed: bool = True
    deletion_vectors: bool = False
    recompute_writes: RecomputeWrites = RecomputeWrites.REPLACE
    compact: bool = True
    properties: Mapping[str, str] = field(default_factory=dict)

    def table_properties(self) -> dict[str, str]:
        """Give the table properties of the target: the declared ones and those that the options stand for."""
        found = dict(self.properties)
        found["delta.enableChangeDataFeed"] = "true" if self.change_data_feed else "false"
        if self.deletion_vectors:
            found["delta.enableDeletionVectors"] = "true"
        if self.target_file_size is not None:
            found["delta.targetFileSize"] = str(self.target_file_size)
        return dict(sorted(found.items()))

    def to_json(self) -> dict[str, object]:
        """Give the `write` part of a refresh request."""
        return {
            "partition_by": list(self.partition_by),
            "target_file_size": self.target_file_size,
            "properties": self.table_properties(),
            "change_data_feed": self.change_data_feed,
            "recompute_difference": self.recompute_writes is RecomputeWrites.DIFFERENCE,
        }


@dataclass(frozen=True, slots=True)
class View:
    """A Delta table that we write.

    `state_table` is when it has states, in tables of their own; `state_of` is the view whose state this is.
    """

    name: ViewName
    id: str
    definition: ViewDefinition
    target: TableRef
    target_lag_ms: int
    refresh: RefreshPolicy
    write: DeltaWriteSpec
    source: SourcePosition
    description: str = ""
    exact_sums: bool = True
    state_table: StateTable = StateTable.AUTO
    state_of: ViewName | None = None

    @property
    def state_name(self) -> ViewName:
        """Give the name of the view's first state, or of the one behind this state, if there is one."""
        return ViewName(self.name + STATE_SUFFIX)

    def names_state(self, name: str) -> bool:
        """Whether a state of this view, or one behind this state, has this name."""
        suffixes = name.removeprefix(self.name)
        return name.startswith(self.name) and bool(suffixes) and not suffixes.replace(STATE_SUFFIX, "")

    def state(self, target: TableRef, state_id: str) -> View:
        """Give the view's state: a view of its own, kept by the changes of what the view would otherwise read."""
        return replace(
            self,
            name=self.state_name,
            id=state_id,
            target=target,
            # A state is read by nobody else, and few of its rows change at a time.
            write=DeltaWriteSpec(target_file_size=self.write.target_file_size, deletion_vectors=True),
            description=f"the state of {self.name}",
            state_of=self.state_of or self.name,
        )

    @property
    def partition_by(self) -> tuple[str, ...]:
        """Give the columns by which the target is partitioned."""
        return self.write.partition_by

    @property
    def language(self) -> str:
        """Give `sql` or `python`."""
        return "sql" if isinstance(self.definition, SqlDefinition) else "python"

    def to_json(self) -> dict[str, object]:
        """Give the view as plain JSON values, without the values of its store's options."""
        return {
            "name": self.name,
            "id": self.id,
            "language": self.language,
            "target": self.target.model_dump(mode="json"),
            "target_lag_ms": self.target_lag_ms,
            "refresh": self.refresh.value,
            "write": self.write.to_json(),
            "exact_sums": self.exact_sums,
            "state_table": self.state_table.value,
            "state_of": self.state_of,
            "source": str(self.source),
            "description": self.description,
        }
