"""Builders of Delta histories: a table that a stranger writes, step by step.

Everything is done by the PyPI `deltalake`, but for deletion vectors, which no operation of it writes: those are written
here by hand, byte by byte.  Each method is one commit, and returns the version that it made.
"""

from __future__ import annotations

import json
import shutil
import struct
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, Field, PostCommitHookProperties, write_deltalake
from deltalake.schema import PrimitiveType

from tests import oracle

Rows = Sequence[Mapping[str, Any]]
Mode = Literal["append", "error", "overwrite"]

Z85: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
VECTOR_MAGIC: Final = 1681511377
ROARING_COOKIE_WITHOUT_RUNS: Final = 12346
_QUIET: Final = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


@dataclass(slots=True)
class SourceTable:
    """A Delta table that others write."""

    path: Path
    schema: pa.Schema
    partition_by: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    readable_since: int = 0
    """The oldest version whose files are all there: VACUUM moves it on."""
    _vectors: dict[str, frozenset[int]] = field(default_factory=dict)

    @classmethod
    def create(
        cls,
        path: Path,
        schema: pa.Schema,
        rows: Rows = (),
        *,
        partition_by: Sequence[str] = (),
        change_data_feed: bool = False,
        deletion_vectors: bool = False,
        properties: Mapping[str, str] | None = None,
    ) -> SourceTable:
        """Create the table as version 0, with rows in it."""
        wanted = dict(properties or {})
        if change_data_feed:
            wanted["delta.enableChangeDataFeed"] = "true"
        if deletion_vectors:
            wanted["delta.enableDeletionVectors"] = "true"
        table = cls(path, schema, tuple(partition_by), wanted)
        table._write(rows, mode="error")
        return table

    @property
    def version(self) -> int:
        return DeltaTable(self.path).version()

    def content(self, version: int | None = None) -> pa.Table:
        return oracle.read(self.path, version)

    def files(self) -> list[str]:
        return sorted(DeltaTable(self.path).file_uris())

    def append(self, rows: Rows) -> int:
        return self._write(rows, mode="append")

    def overwrite(self, rows: Rows) -> int:
        return self._write(rows, mode="overwrite")

    def delete(self, predicate: str | None = None) -> int:
        DeltaTable(self.path).delete(predicate, post_commithook_properties=_QUIET)
        return self.version

    def update(self, updates: Mapping[str, str], predicate: str | None = None) -> int:
        DeltaTable(self.path).update(dict(updates), predicate=predicate, post_commithook_properties=_QUIET)
        return self.version

    def merge(self, rows: Rows, on: str) -> int:
        """Update the rows with the key, insert those that are new."""
        merge = DeltaTable(self.path).merge(
            self._table(rows),
            f"t.{on} = s.{on}",
            source_alias="s",
            target_alias="t",
            post_commithook_properties=_QUIET,
        )
        merge.when_matched_update_all().when_not_matched_insert_all().execute()
        return self.version

    def optimize(self) -> int:
        DeltaTable(self.path).optimize.compact(post_commithook_properties=_QUIET)
        return self.version

    def z_order(self, columns: Sequence[str]) -> int:
        DeltaTable(self.path).optimize.z_order(list(columns), post_commithook_properties=_QUIET)
        return self.version

    def restore(self, version: int) -> int:
        DeltaTable(self.path).restore(version)
        self._read_schema()
        return self.version

    def add_column(self, name: str, kind: str) -> int:
        """Add a column that is NULL in all rows; `kind` is a Delta type such as `long`."""
        DeltaTable(self.path).alter.add_columns([Field(name, PrimitiveType(kind), nullable=True)])
        self._read_schema()
        return self.version

    def set_property(self, name: str, value: str) -> int:
        DeltaTable(self.path).alter.set_table_properties({name: value})
        return self.version

    def recreate(self, rows: Rows = ()) -> int:
        """Drop the directory and create another table in its place: another id, version 0."""
        shutil.rmtree(self.path)
        self._vectors.clear()
        self.readable_since = 0
        return self._write(rows, mode="error")

    def replace_schema(self, schema: pa.Schema, rows: Rows) -> int:
        self.schema = schema
        write_deltalake(
            self.path,
            self._table(rows),
            mode="overwrite",
            schema_mode="overwrite",
            post_commithook_properties=_QUIET,
        )
        return self.version

    def vacuum(self) -> int:
        """Delete every file that the latest version does not need, and say so in the log."""
        self.readable_since = self.version
        DeltaTable(self.path).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
        return self.version

    def checkpoint(self) -> None:
        DeltaTable(self.path).create_checkpoint()

    def clean_log(self, before: int) -> None:
        """Write a checkpoint and take away the entries below a version, as log retention does."""
        self.checkpoint()
        for entry in self.log.glob("*.json"):
            if entry.stem.isdigit() and int(entry.stem) < before:
                entry.unlink()

    def empty_commits(self, count: int) -> int:
        """Make commits that change no data, with a transaction identifier each; written by hand, as they are many."""
        version = max(int(entry.stem) for entry in self.log.glob("*.json"))
        for number in range(version + 1, version + count + 1):
            info = {"timestamp": 1_700_000_000_000 + number, "operation": "STREAMING UPDATE", "engineInfo": "by hand"}
            self._put(number, [{"commitInfo": info}, {"txn": {"appId": "stream", "version": number}}])
        return version + count

    def delete_by_vector(self, doomed: Callable[[Mapping[str, Any]], bool]) -> int:
        """Delete rows by deletion vectors; the data files stay as they are."""
        actions: list[dict[str, Any]] = []
        stamp = 1_700_000_000_000 + self.version
        for add in self.live_adds():
            gone = self._vectors.get(_vector_key(add), frozenset())
            content = self._file_rows(add)
            chosen = {position for position, row in enumerate(content) if position not in gone and doomed(row)}
            if not chosen:
                continue
            remove = {
                "path": add["path"],
                "deletionTimestamp": stamp,
                "dataChange": True,
                "extendedFileMetadata": True,
                "partitionValues": add.get("partitionValues", {}),
                "size": add["size"],
            }
            if "deletionVector" in add:
                remove["deletionVector"] = add["deletionVector"]
            actions.append({"remove": remove})
            if len(gone | chosen) == len(content):
                continue
            statistics = json.loads(add["stats"]) | {"tightBounds": False}
            fresh = add | {
                "dataChange": True,
                "stats": json.dumps(statistics),
                "deletionVector": self._write_vector(gone | chosen),
            }
            self._vectors[_vector_key(fresh)] = frozenset(gone | chosen)
            actions.append({"add": fresh})
        if not actions:
            return self.version
        info = {"timestamp": stamp, "operation": "DELETE", "engineInfo": "by hand", "operationParameters": {}}
        version = self.version + 1
        self._put(version, [{"commitInfo": info}, *actions])
        return version

    @property
    def log(self) -> Path:
        return self.path / "_delta_log"

    def commit(self, version: int) -> list[dict[str, Any]]:
        """Return the actions of a commit."""
        return [json.loads(line) for line in (self.log / f"{version:020}.json").read_text().splitlines() if line]

    def live_adds(self) -> list[dict[str, Any]]:
        """Return the `add` actions of the latest version, replayed from the JSON entries: all must still be there."""
        live: dict[str, dict[str, Any]] = {}
        for version in range(self.version + 1):
            actions = self.commit(version)
            for removed in (action["remove"] for action in actions if "remove" in action):
                live.pop(removed["path"], None)
            live |= {action["add"]["path"]: action["add"] for action in actions if "add" in action}
        return [live[path] for path in sorted(live)]

    def _read_schema(self) -> None:
        self.schema = pa.schema(DeltaTable(self.path).schema().to_arrow())

    def _write(self, rows: Rows, mode: Mode) -> int:
        if mode == "overwrite":
            write_deltalake(self.path, self._table(rows), mode=mode, post_commithook_properties=_QUIET)
        else:
            write_deltalake(
                self.path,
                self._table(rows),
                mode=mode,
                partition_by=list(self.partition_by) or None,
                configuration=dict(self.properties) if mode == "error" else None,
                post_commithook_properties=_QUIET,
            )
        return self.version

    def _table(self, rows: Rows) -> pa.Table:
        return pa.Table.from_pylist([dict(row) for row in rows], schema=self.schema)

    def _file_rows(self, add: Mapping[str, Any]) -> list[dict[str, Any]]:
        content = pq.ParquetFile(self.path / add["path"]).read()
        return [dict(add.get("partitionValues", {})) | row for row in content.to_pylist()]

    def _write_vector(self, positions: Iterable[int]) -> dict[str, Any]:
        chosen = sorted(positions)
        payload = struct.pack("<IQI", VECTOR_MAGIC, 1, 0) + _roaring(chosen)
        name = uuid.uuid4()
        body = b"\x01" + struct.pack(">I", len(payload)) + payload + struct.pack(">I", zlib.crc32(payload))
        (self.path / f"deletion_vector_{name}.bin").write_bytes(body)
        return {
            "storageType": "u",
            "pathOrInlineDv": _z85(name.bytes),
            "offset": 1,
            "sizeInBytes": len(payload),
            "cardinality": len(chosen),
        }

    def _put(self, version: int, actions: Iterable[Mapping[str, Any]]) -> None:
        text = "".join(json.dumps(action) + "\n" for action in actions)
        with (self.log / f"{version:020}.json").open("x") as entry:
            entry.write(text)


def _vector_key(add: Mapping[str, Any]) -> str:
    vector = add.get("deletionVector")
    return f"{add['path']}#{vector['pathOrInlineDv']}" if vector else ""


def _roaring(positions: Sequence[int]) -> bytes:
    """Serialize a 32-bit roaring bitmap of array containers: enough for files below 65,536 rows a container."""
    containers: dict[int, list[int]] = {}
    for position in positions:
        containers.setdefault(position >> 16, []).append(position & 0xFFFF)
    if any(len(container) > 4096 for container in containers.values()):
        raise ValueError("a container of more than 4,096 positions is a bitmap; this writer makes arrays only")
    header = struct.pack("<II", ROARING_COOKIE_WITHOUT_RUNS, len(containers))
    keys = b"".join(struct.pack("<HH", key, len(values) - 1) for key, values in containers.items())
    start = len(header) + len(keys) + 4 * len(containers)
    offsets, bodies = b"", b""
    for values in containers.values():
        offsets += struct.pack("<I", start + len(bodies))
        bodies += struct.pack(f"<{len(values)}H", *values)
    return header + keys + offsets + bodies


def _z85(content: bytes) -> str:
    text = ""
    for start in range(0, len(content), 4):
        value = int.from_bytes(content[start : start + 4])
        digits = ""
        for _ in range(5):
            value, digit = divmod(value, 85)
            digits = Z85[digit] + digits
        text += digits
    return text
