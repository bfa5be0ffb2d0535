"""Reads the Markdown specs of `tests/specs`: given tables and views, changes, and what becomes of the views.

A spec has a title, one `## Given` with a `### `name`` and a table for each dataset, a `## View `name`` with SQL for
each view, and a `## Change: …` for each step, with directives and expectations:

    Append to `t`: | Overwrite `t`: | Recreate `t`: | Merge into `t` on `key`:     followed by a table
    Delete from `t` where `…` | Delete by vector from `t` where `column = literal`
    Update `t` set `column` = `…` where `…` | Add column `c` of type `long` to `t`
    Optimize `t` | Restore `t` to version N

    `v` is refreshed: incremental | `v` is recomputed: reason | `v` is skipped: reason     may be followed by a table
    `v` is kept, followed by a table    | `v` is unchanged                                 whatever the strategy
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

TYPES: Final = {
    "long": pa.int64(),
    "int": pa.int32(),
    "double": pa.float64(),
    "decimal": pa.decimal128(10, 2),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}
TABLE_LINE: Final = re.compile(r"^\|(.*)\|$")
DIRECTIVES: Final = {
    "append": re.compile(r"Append to `(?P<table>\w+)`:"),
    "overwrite": re.compile(r"Overwrite `(?P<table>\w+)`:"),
    "recreate": re.compile(r"Recreate `(?P<table>\w+)`:"),
    "merge": re.compile(r"Merge into `(?P<table>\w+)` on `(?P<key>\w+)`:"),
    "delete": re.compile(r"Delete from `(?P<table>\w+)` where `(?P<where>.*)`"),
    "delete_by_vector": re.compile(r"Delete by vector from `(?P<table>\w+)` where `(?P<column>\w+) = (?P<value>.*)`"),
    "update": re.compile(r"Update `(?P<table>\w+)` set `(?P<column>\w+)` = `(?P<value>.*)` where `(?P<where>.*)`"),
    "optimize": re.compile(r"Optimize `(?P<table>\w+)`"),
    "restore": re.compile(r"Restore `(?P<table>\w+)` to version (?P<version>\d+)"),
    "add_column": re.compile(r"Add column `(?P<column>\w+)` of type `(?P<kind>\w+)` to `(?P<table>\w+)`"),
}
EXPECTATION: Final = re.compile(
    r"`(?P<view>\w+)` is (?P<strategy>refreshed|recomputed|skipped|kept|unchanged)(: (?P<reason>\w+))?"
)
STRATEGIES: Final = {
    "refreshed": "incremental",
    "recomputed": "recompute",
    "skipped": "skip",
    "kept": None,
    "unchanged": None,
}

Cells = list[list[str]]


@dataclass(frozen=True, slots=True)
class GivenTable:
    """A dataset as a spec gives it."""

    name: str
    schema: pa.Schema
    rows: list[dict[str, Any]]
    partition_by: tuple[str, ...]
    deletion_vectors: bool


@dataclass(frozen=True, slots=True)
class Directive:
    """One commit; `cells` is the table beneath it, the header first."""

    kind: str
    arguments: dict[str, str]
    cells: Cells


@dataclass(frozen=True, slots=True)
class Expectation:
    """What becomes of a view; no strategy means any, no cells that the change itself is not told."""

    view: str
    strategy: str | None
    reason: str | None
    cells: Cells


@dataclass(slots=True)
class Step:
    """A change: commits, then what one cycle makes of them."""

    title: str
    directives: list[Directive] = field(default_factory=list)
    expectations: list[Expectation] = field(default_factory=list)


@dataclass(slots=True)
class Spec:
    """A Markdown spec, parsed."""

    title: str
    tables: list[GivenTable] = field(default_factory=list)
    views: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)


def parse(path: Path) -> Spec:
    """Parse a spec; a line that means nothing is an error."""
    title, *sections = re.split(r"^## ", path.read_text(), flags=re.MULTILINE)
    spec = Spec(title.strip().removeprefix("# "))
    for section in sections:
        heading, _, body = section.partition("\n")
        if heading == "Given":
            spec.tables = [_given(part) for part in re.split(r"^### ", body, flags=re.MULTILINE)[1:]]
        elif view := re.fullmatch(r"View `(\w+)`", heading):
            query = re.search(r"```sql\n(.*?)```", body, flags=re.DOTALL)
            if query is None:
                raise ValueError(f"{path.name}: view {view[1]} has no SQL")
            spec.views[view[1]] = query[1].strip()
        elif heading.startswith("Change: "):
            spec.steps.append(_step(heading.removeprefix("Change: "), body, path.name))
        else:
            raise ValueError(f'{path.name}: "{heading}" is no section')
    return spec


def rows(cells: Cells, schema: pa.Schema) -> list[dict[str, Any]]:
    """Turn the cells of a table into rows of a schema."""
    header, *body = cells
    return [
        {name: value(cell, schema.field(name).type) for name, cell in zip(header, line, strict=True)} for line in body
    ]


def value(cell: str, kind: pa.DataType) -> Any:
    """Turn a cell into a value: NULL, or a literal of the type."""
    if cell == "NULL":
        return None
    if pa.types.is_integer(kind):
        return int(cell)
    if pa.types.is_floating(kind):
        return float(cell)
    if pa.types.is_decimal(kind):
        return Decimal(cell)
    if pa.types.is_boolean(kind):
        return {"true": True, "false": False}[cell]
    if pa.types.is_date(kind):
        return date.fromisoformat(cell)
    if pa.types.is_timestamp(kind):
        return datetime.fromisoformat(cell).replace(tzinfo=UTC)
    return cell


def _given(part: str) -> GivenTable:
    heading, _, body = part.partition("\n")
    name = re.match(r"`(\w+)`", heading)
    if name is None:
        raise ValueError(f'"{heading}" names no dataset')
    partition_by = re.search(r"partitioned by `(\w+)`", heading)
    header, *lines = _cells(body.splitlines())
    fields = [column.split(": ") for column in header]
    schema = pa.schema([pa.field(column, TYPES[kind]) for column, kind in fields])
    return GivenTable(
        name=name[1],
        schema=schema,
        rows=rows([schema.names, *lines], schema),
        partition_by=(partition_by[1],) if partition_by else (),
        deletion_vectors="deletion vectors" in heading,
    )


def _step(title: str, body: str, file: str) -> Step:
    step = Step(title)
    for line, cells in _paragraphs(body.splitlines()):
        expectation = EXPECTATION.fullmatch(line)
        matches = {kind: match for kind, pattern in DIRECTIVES.items() if (match := pattern.fullmatch(line))}
        if expectation:
            strategy, reason = STRATEGIES[expectation["strategy"]], expectation["reason"]
            step.expectations.append(Expectation(expectation["view"], strategy, reason, cells))
        elif matches:
            kind, match = next(iter(matches.items()))
            step.directives.append(Directive(kind, match.groupdict(), cells))
        else:
            raise ValueError(f'{file}: "{line}" is neither a directive nor an expectation')
    return step


def _paragraphs(lines: list[str]) -> Iterator[tuple[str, Cells]]:
    """Yield each line of text with the table beneath it."""
    text = [line for line in lines if line.strip()]
    for position, line in enumerate(text):
        if not TABLE_LINE.match(line):
            following = text[position + 1 :]
            stop = next((end for end, other in enumerate(following) if not TABLE_LINE.match(other)), len(following))
            yield line, _cells(following[:stop])


def _cells(lines: list[str]) -> Cells:
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if TABLE_LINE.match(line)]
    return [line for line in cells if not all(re.fullmatch(r"-+", cell) for cell in line)]
