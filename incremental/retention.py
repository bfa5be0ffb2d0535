"""The retention clock: until when a dataset keeps the version that views still have to read.

Pure: from what the last look told of the dataset and from the frontiers in memory, never from a log.
Delta keeps a data file that left a table for `delta.deletedFileRetentionDuration`, and an entry of the log for
`delta.logRetentionDuration`; a refresh needs both at the version that its frontier pins.

    until(version) = min(committed(version) + log retention, superseded(version) + file retention)

A version that is the newest has no such moment: were it superseded now, its files would stay for the retention.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from incremental.frontier import Frontier
from registry.names import DatasetName, TableId
from registry.native import DeltaInputPin

DAY_MS: Final = 86_400_000
LOG_RETENTION_MS: Final = 30 * DAY_MS
FILE_RETENTION_MS: Final = 7 * DAY_MS


@dataclass(frozen=True, slots=True)
class RetentionClock:
    """What a dataset keeps, and what views still need of it.

    `oldest` is the oldest version that the log could tell of at the last look that opened it.
    `pinned` is the lowest version that the frontier of an incremental view stands at, None where no view needs any.
    `kept_ms` is the shorter of the two retentions.
    `until_ms` is the moment from which a vacuum, or a clean-up of the log, may take the pinned version away; None
    while that version is the newest.
    """

    dataset: DatasetName
    newest: int
    newest_ms: int
    oldest: int | None
    pinned: int | None
    kept_ms: int
    until_ms: int | None


def retention_clock(
    pin: DeltaInputPin,
    oldest: int | None,
    properties: Mapping[str, str],
    superseded_ms: Mapping[int, int],
    frontiers: Iterable[Frontier],
) -> RetentionClock:
    """The clock of the dataset whose newest version is `pin`.

    `superseded_ms` says of versions when they were last seen to be the newest; of one that is missing only the time
    of its commit is known, which is earlier and therefore safe.
    """
    pinned = _lowest(pin, frontiers)
    clock = RetentionClock(
        dataset=DatasetName(pin.relation),
        newest=pin.version,
        newest_ms=pin.timestamp_ms,
        oldest=oldest,
        pinned=None if pinned is None else pinned[0],
        kept_ms=retention_ms(properties),
        until_ms=None,
    )
    if pinned is None or pinned[0] >= pin.version:
        return clock
    version, committed_ms = pinned
    known_ms = [ms for ms in (committed_ms, superseded_ms.get(version)) if ms is not None]
    if not known_ms:
        return clock
    left_ms = max(known_ms) + file_retention_ms(properties)
    until_ms = left_ms if committed_ms is None else min(committed_ms + log_retention_ms(properties), left_ms)
    return replace(clock, until_ms=until_ms)


def _lowest(pin: DeltaInputPin, frontiers: Iterable[Frontier]) -> tuple[int, int | None] | None:
    """The lowest version of the pin's table among the frontiers, with the time of its commit where that is known."""
    table = TableId(pin.table_id)
    found: tuple[int, int | None] | None = None
    for frontier in frontiers:
        version = frontier.position(table)
        if version is None:
            continue
        details = frontier.details.get(table)
        committed_ms = None if details is None or details.version != version else details.timestamp_ms
        if found is None or version < found[0] or (version == found[0] and found[1] is None):
            found = (version, committed_ms)
    return found


def pending_versions(frontier: Frontier, newest: Iterable[tuple[str, int]]) -> int:
    """How many versions of its inputs a content does not reflect; `newest` are their table ids and newest versions.

    Of a table that the content was never made from, all versions are pending.
    """
    pending = 0
    for table_id, version in newest:
        known = frontier.position(TableId(table_id))
        pending += version + 1 if known is None else max(0, version - known)
    return pending


def log_retention_ms(properties: Mapping[str, str]) -> int:
    """For how long a table keeps entries of its log, in milliseconds."""
    return _interval_ms(properties.get("delta.logRetentionDuration"), LOG_RETENTION_MS)


def file_retention_ms(properties: Mapping[str, str]) -> int:
    """For how long a table keeps data files that left it, in milliseconds."""
    return _interval_ms(properties.get("delta.deletedFileRetentionDuration"), FILE_RETENTION_MS)


def retention_ms(properties: Mapping[str, str]) -> int:
    """For how long a table keeps what a frontier needs: the shorter of log and file retention, in milliseconds."""
    return min(log_retention_ms(properties), file_retention_ms(properties))


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


def _interval_ms(text: str | None, default: int) -> int:
    """What is not understood counts as the default."""
    found = interval_ms(text)
    return default if found is None else found
