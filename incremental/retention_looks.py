"""Retention looks: what only the log of a table tells of versions that views lag behind at; an edge.

Most views catch up soon, so that only what still lags at the second look costs one, and only once.
Invariant: one round opens a bounded number of tables, however many there are; losing what is known costs looks.
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

LOOKS_MAX: Final = 20
"""How many tables one round opens; the rest waits for the next one."""

_GONE: Final = frozenset({"version_not_found", "history_gone", "missing_file"})

Pin = tuple[TableId, Version]


class RetentionLooks:
    """What was looked up, and the clocks that it gives."""

    def __init__(self, runtime: SessionRuntime) -> None:
        self._runtime = runtime
        self._kept: dict[TableId, tuple[Kept, int]] = {}
        self._fates: dict[Pin, Fate] = {}
        self._lagging: frozenset[Pin] = frozenset()

    def look(self, tables: Iterable[PinnedTable], now_ms: int) -> None:
        """Look up what is not known of these tables, and forget all others; what cannot be read is asked again."""
        asked = tuple(tables)
        pins = {pin: one for one in asked if (pin := _lagging_pin(one)) is not None}
        ids = {one.table_id for one in asked}
        self._kept = {key: value for key, value in self._kept.items() if key in ids}
        self._fates = {key: value for key, value in self._fates.items() if key in pins}
        versions = [pin for pin in pins if pin in self._lagging and pin not in self._fates][:LOOKS_MAX]
        for pin in versions:
            self._look_at_version(pins[pin], pin, now_ms)
        unknown = [one for one in asked if self._has_to_tell(one, now_ms)][: LOOKS_MAX - len(versions)]
        for one in unknown:
            self._look_at_properties(one, now_ms)
        self._lagging = frozenset(pins)

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

    def _has_to_tell(self, one: PinnedTable, now_ms: int) -> bool:
        known = self._kept.get(one.table_id)
        return one.properties is None and (known is None or not 0 <= now_ms - known[1] < KEPT_BELIEVED_MS)

    def _look_at_properties(self, one: PinnedTable, now_ms: int) -> None:
        try:
            self._kept[one.table_id] = (kept_by(self._runtime.table_state(one.table).properties), now_ms)
        except DeltakeepError:
            return

    def _look_at_version(self, one: PinnedTable, pin: Pin, now_ms: int) -> None:
        version = pin[1]
        try:
            committed_ms = self._runtime.table_state(one.table, version).timestamp_ms
            next_ms = self._runtime.table_state(one.table, version + 1).timestamp_ms
        except DeltakeepError as error:
            if error.code in _GONE:
                self._fates[pin] = Gone(now_ms)
            return
        self._fates[pin] = Superseded(committed_ms, next_ms)


def _lagging_pin(one: PinnedTable) -> Pin | None:
    """The version of a table that is pinned and not the newest any more."""
    return None if one.pinned is None or one.pinned >= one.newest.version else (one.table_id, one.pinned)
