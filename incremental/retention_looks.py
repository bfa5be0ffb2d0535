"""Retention looks: what only the log of a table tells of versions that views lag behind at; an edge.

Most views catch up within a cycle, so that only what lasts until the next housekeeping costs a look, and only once.
Losing what is known costs looks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from incremental.pinned_tables import PinnedTable
from incremental.retention import Fate, Gone, Kept, RetentionClock, Superseded, kept_by, retention_clock
from registry.errors import DeltakeepError
from registry.names import TableId, Version
from registry.session import SessionRuntime

KEPT_BELIEVED_MS: Final = 3_600_000
"""For how long a target is believed to keep what its properties said."""

_GONE: Final = frozenset({"version_not_found", "history_gone", "missing_file"})


class RetentionLooks:
    """What was looked up, and the clocks that it gives."""

    def __init__(self, runtime: SessionRuntime) -> None:
        self._runtime = runtime
        self._kept: dict[TableId, tuple[Kept, int]] = {}
        self._fates: dict[tuple[TableId, Version], Fate] = {}

    def look(self, tables: Iterable[PinnedTable], now_ms: int) -> None:
        """Look up what is not known of these tables, and forget all others; what cannot be read is asked again."""
        asked = tuple(tables)
        ids = {one.table_id for one in asked}
        pins = {(one.table_id, one.pinned) for one in asked}
        self._kept = {key: value for key, value in self._kept.items() if key in ids}
        self._fates = {key: value for key, value in self._fates.items() if key in pins}
        for one in asked:
            self._look_at_properties(one, now_ms)
            if one.pinned is not None and one.pinned < one.newest.version:
                self._look_at_version(one, one.pinned, now_ms)

    def clocks(self, tables: Iterable[PinnedTable]) -> tuple[RetentionClock, ...]:
        """The clocks of those tables whose properties are known, from memory."""
        found: list[RetentionClock] = []
        for one in tables:
            known = self._kept.get(one.table_id)
            kept = kept_by(one.properties) if one.properties is not None else None if known is None else known[0]
            if kept is not None:
                fate = None if one.pinned is None else self._fates.get((one.table_id, one.pinned))
                found.append(retention_clock(one.newest, one.oldest, kept, one.pinned, fate))
        return tuple(found)

    def _look_at_properties(self, one: PinnedTable, now_ms: int) -> None:
        known = self._kept.get(one.table_id)
        if one.properties is not None or (known is not None and 0 <= now_ms - known[1] < KEPT_BELIEVED_MS):
            return
        try:
            self._kept[one.table_id] = (kept_by(self._runtime.table_state(one.table).properties), now_ms)
        except DeltakeepError:
            return

    def _look_at_version(self, one: PinnedTable, version: Version, now_ms: int) -> None:
        if (one.table_id, version) in self._fates:
            return
        try:
            committed_ms = self._runtime.table_state(one.table, version).timestamp_ms
            next_ms = self._runtime.table_state(one.table, version + 1).timestamp_ms
        except DeltakeepError as error:
            if error.code in _GONE:
                self._fates[one.table_id, version] = Gone(now_ms)
            return
        self._fates[one.table_id, version] = Superseded(committed_ms, next_ms)
