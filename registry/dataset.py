"""Tables and datasets: where a Delta table is, and how often we look at it.

Storage options may hold secrets, so their values appear only in the text that is made for the engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, SerializationInfo, field_serializer

from registry.names import DatasetName
from registry.secrets import HIDDEN

REVEAL: Final = {"reveal_options": True}


class TableRef(BaseModel):
    """A Delta table: an absolute uri and the options of its store.

    `repr`, errors and `model_dump` show the keys of the options only; `to_json_text` and `REVEAL` give the values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    options: Mapping[str, str] = Field(default_factory=dict, repr=False)

    @field_serializer("options")
    def _serialize_options(self, options: Mapping[str, str], info: SerializationInfo) -> dict[str, str]:
        context: Any = info.context
        if isinstance(context, dict) and context.get("reveal_options"):
            return dict(options)
        return dict.fromkeys(options, HIDDEN)

    def __hash__(self) -> int:
        return hash((self.uri, tuple(sorted(self.options.items()))))

    def to_json_text(self) -> str:
        """Give the JSON that the engine takes, with the values of the options."""
        return json.dumps({"uri": self.uri, "options": dict(self.options)}, sort_keys=True)


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """Where something is declared: a file relative to the project root, and a line counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A Delta table that others write.

    `poll_ms` is the longest time between two looks; `trusted_writers` are `engineInfo` prefixes whose change files
    are believed.
    """

    name: DatasetName
    table: TableRef
    poll_ms: int
    trusted_writers: tuple[str, ...]
    source: SourcePosition
    description: str = ""

    def to_json(self) -> dict[str, object]:
        """Give the dataset as plain JSON values, without the values of its store's options."""
        return {
            "name": self.name,
            "table": self.table.model_dump(mode="json"),
            "poll_ms": self.poll_ms,
            "trusted_writers": list(self.trusted_writers),
            "source": str(self.source),
            "description": self.description,
        }
