"""The options of a view: read from an SQL header, a Python decorator or the project's defaults, all by one rule."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from registry import toml_document as toml
from registry.location import place
from registry.toml_document import Section, Unexpected
from registry.view import DeltaWriteSpec, RecomputeWrites, RefreshPolicy, StateTable

TARGET_FILE_SIZE: Final = 128_000_000
TARGET_FILE_SIZE_MIN: Final = 1_000_000

# Table properties that have an option of their own, or that would break what a target promises.
_REFUSED_PROPERTIES: Final = {
    "delta.enablechangedatafeed": "use the option change_data_feed",
    "delta.enabledeletionvectors": "use the option deletion_vectors",
    "delta.targetfilesize": "use the option target_file_size",
    "delta.columnmapping.mode": "targets are written without column mapping; remove it",
    "delta.enablerowtracking": "the writer cannot keep row ids; remove it",
    "delta.appendonly": "a view also deletes rows; remove it",
}


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """What a view may say about its refreshes and its target; `target` is a uri or path, None for the default."""

    target_lag_ms: int = 60_000
    refresh: RefreshPolicy = RefreshPolicy.AUTO
    write: DeltaWriteSpec = field(default_factory=lambda: DeltaWriteSpec(target_file_size=TARGET_FILE_SIZE))
    exact_sums: bool = True
    state_table: StateTable = StateTable.AUTO
    target: str | None = None
    description: str = ""


def read_defaults(section: Section) -> ViewOptions:
    """Read the options that hold for all views."""
    return _read(section, ViewOptions())


def read_options(section: Section, defaults: ViewOptions) -> ViewOptions:
    """Read the options of one view, complain about what is left over."""
    options = _read(section, defaults)
    target = section.take("target", _optional_place, None)
    description = section.take("description", toml.any_text, "")
    section.finish()
    return replace(options, target=target, description=description)


def _read(section: Section, defaults: ViewOptions) -> ViewOptions:
    write = DeltaWriteSpec(
        partition_by=section.take("partition_by", toml.texts, defaults.write.partition_by),
        target_file_size=section.take("target_file_size", _file_size, defaults.write.target_file_size),
        change_data_feed=section.take("change_data_feed", toml.boolean, defaults.write.change_data_feed),
        deletion_vectors=section.take("deletion_vectors", toml.boolean, defaults.write.deletion_vectors),
        recompute_writes=section.take(
            "recompute_writes", toml.one_of(RecomputeWrites), defaults.write.recompute_writes
        ),
        compact=section.take("compact", toml.boolean, defaults.write.compact),
        properties={**defaults.write.properties, **section.take("properties", _properties, {})},
    )
    return ViewOptions(
        target_lag_ms=section.take("target_lag", toml.duration_ms, defaults.target_lag_ms),
        refresh=section.take("refresh", toml.one_of(RefreshPolicy), defaults.refresh),
        write=write,
        exact_sums=section.take("exact_sums", toml.boolean, defaults.exact_sums),
        state_table=section.take("state_table", toml.one_of(StateTable), defaults.state_table),
    )


def _optional_place(value: object) -> str | None:
    return place(value)


def _file_size(value: object) -> int | None:
    size = toml.size_bytes(value)
    if size < TARGET_FILE_SIZE_MIN:
        raise Unexpected("at least 1MB", "small files make every reader slow")
    return size


def _properties(value: object) -> dict[str, str]:
    properties = toml.text_map(value)
    for key in properties:
        lower = key.lower()
        if lower.startswith("deltakeep."):
            raise Unexpected(f'no property "{key}"', "properties that start with deltakeep. are ours")
        if lower in _REFUSED_PROPERTIES:
            raise Unexpected(f'no property "{key}"', _REFUSED_PROPERTIES[lower])
    return properties
