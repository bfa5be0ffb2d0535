"""Retention: until when a version that views still have to read stays readable.

Pure, and the one rule of it: metrics, `doctor` and the choice to make a frontier durable all go by it.

    until(version) = min(committed(version) + log retention, superseded(version) + file retention)

Reading version v takes its own entry of the log, and its data files.
Writers that clean the log let each entry go by its own age (`delta.logRetentionDuration`) once a checkpoint at a later
version makes it superfluous; entries before v may go earlier, since whoever cleans leaves a checkpoint to read what is
left.  Data files that left with v + 1 stay for `delta.deletedFileRetentionDuration` from then on.
The newest version has no such moment: neither its entry nor its files are taken away while nothing follows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from incremental.frontier import Frontier
from registry.names import RelationName, TableId, Version
from registry.native import DeltaInputPin

DAY_MS: Final = 86_400_000
LOG_PROPERTY: Final = "delta.logRetentionDuration"
FILES_PROPERTY: Final = "delta.deletedFileRetentionDuration"
LOG_RETENTION_MS: Final = 30 * DAY_MS
FILE_RETENTION_MS: Final = 7 * DAY_MS


@dataclass(frozen=True, slots=True)
class Kept:
    """How long a table keeps entries of its log, and data files that left it, in milliseconds."""

    log_ms: int
    files_ms: int

    @property
    def shortest_ms(self) -> int:
        """The shorter of the two."""
        return min(self.log_ms, self.files_ms)

    @property
    def limited_by(self) -> str:
        """The property of the shorter one."""
        return FILES_PROPERTY if self.files_ms <= self.log_ms else LOG_PROPERTY


def kept_by(properties: Mapping[str, str]) -> Kept:
    """What a table with these properties keeps; what is missing or not understood counts as Delta's default."""
    log_ms, files_ms = interval_ms(properties.get(LOG_PROPERTY)), interval_ms(properties.get(FILES_PROPERTY))
    return Kept(
        log_ms=LOG_RETENTION_MS if log_ms is None else log_ms,
        files_ms=FILE_RETENTION_MS if files_ms is None else files_ms,
    )


@dataclass(frozen=True, slots=True)
class ReadableUntil:
    """The moment from which a version may be taken away, and the property of the table that says so."""

    at_ms: int
    limited_by: str


def readable_until(committed_ms: int, superseded_ms: int, kept: Kept) -> ReadableUntil:
    """Until when a version stays readable: when it was committed, and when the next one was."""
    entry_ms, files_ms = committed_ms + kept.log_ms, superseded_ms + kept.files_ms
    return ReadableUntil(min(entry_ms, files_ms), FILES_PROPERTY if files_ms <= entry_ms else LOG_PROPERTY)


@dataclass(frozen=True, slots=True)
class Superseded:
    """When a version was committed, and when the next one was."""

    committed_ms: int
    next_ms: int


@dataclass(frozen=True, slots=True)
class Gone:
    """A version that could not be read any more at `seen_ms`."""

    seen_ms: int


Fate = Superseded | Gone
"""What became of a version that is not the newest any more."""


@dataclass(frozen=True, slots=True)
class RetentionClock:
    """What a relation's table keeps, and what views still need of it.

    `oldest` is the oldest version that the log could tell of at the last look that opened it.
    `pinned` is the lowest version that the frontier of an incremental view stands at, None where no view needs any.
    `kept_ms` is the shorter of the two retentions.
    `until_ms` is the moment from which a vacuum, or a clean-up of the log, may take the pinned version away; None
    while that version is the newest, and until it was looked up when the next one was committed.
    """

    relation: RelationName
    newest: int
    newest_ms: int
    oldest: int | None
    pinned: int | None
    kept_ms: int
    until_ms: int | None


def retention_clock(
    newest: DeltaInputPin, oldest: int | None, kept: Kept, pinned: Version | None, fate: Fate | None
) -> RetentionClock:
    """The clock of the relation whose newest version is `newest`; `fate` is that of the pinned version, if known."""
    until_ms: int | None = None
    if pinned is not None and pinned < newest.version:
        match fate:
            case Superseded(committed_ms, next_ms):
                until_ms = readable_until(committed_ms, next_ms, kept).at_ms
            case Gone(seen_ms):
                until_ms = seen_ms
            case None:
                pass
            case _:
                assert_never(fate)
    return RetentionClock(
        relation=RelationName(newest.relation),
        newest=newest.version,
        newest_ms=newest.timestamp_ms,
        oldest=oldest,
        pinned=pinned,
        kept_ms=kept.shortest_ms,
        until_ms=until_ms,
    )


def pending_versions(frontier: Frontier, newest: Iterable[tuple[str, int]]) -> int:
    """How many versions of its inputs a content does not reflect; `newest` are their table ids and newest versions.

    Of a table that the content was never made from, all versions are pending.
    """
    pending = 0
    for table_id, version in newest:
        known = frontier.position(TableId(table_id))
        pending += version + 1 if known is None else max(0, version - known)
    return pending


_UNITS_MS: Final = {
    "millisecond": 1,
    "second": 1_000,
    "minute": 60_000,
    "hour": 3_600_000,
    "day": DAY_MS,
    "week": 7 * DAY_MS,
    "month": 30 * DAY_MS,
}


def interval_ms(text: str | None) -> int | None:
    """The milliseconds of an interval of Delta's; None where there is none or it is not understood.

    >>> interval_ms("interval 1 week"), interval_ms("interval 1 day 12 hours")
    (604800000, 129600000)
    """
    words = (text or "").lower().removeprefix("interval").split()
    if not words or len(words) % 2:
        return None
    total = 0
    for number, unit in zip(words[::2], words[1::2], strict=True):
        factor = _UNITS_MS.get(unit.removesuffix("s"))
        if factor is None or not number.isdigit():
            return None
        total += int(number) * factor
    return total
