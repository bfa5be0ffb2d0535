"""Until when the versions that views are pinned to stay readable, as the tables' own properties promise.

A version can be read while its successor is younger than what the table keeps: data files that the successor removed
(`delta.deletedFileRetentionDuration`), and the successor's own log entry (`delta.logRetentionDuration`), without which
nobody knows what changed. The newest version of a table stays readable whatever is kept.
Whoever runs VACUUM with a shorter retention than the table's breaks that promise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DAY_MS = 86_400_000
FILES_KEPT_MS = 7 * DAY_MS
"""What Delta keeps removed files for where a table says nothing."""
LOG_KEPT_MS = 30 * DAY_MS
FILES_PROPERTY = "delta.deletedFileRetentionDuration"
LOG_PROPERTY = "delta.logRetentionDuration"
_UNITS = {
    "week": 7 * DAY_MS,
    "day": DAY_MS,
    "hour": 3_600_000,
    "minute": 60_000,
    "second": 1_000,
    "millisecond": 1,
}


@dataclass(frozen=True, slots=True)
class Kept:
    """How long a table keeps what it no longer needs, in milliseconds."""

    files_ms: int
    log_ms: int

    @property
    def shortest_ms(self) -> int:
        """How long a version stays readable after the next one has come."""
        return min(self.files_ms, self.log_ms)

    @property
    def limited_by(self) -> str:
        """The property to raise."""
        return FILES_PROPERTY if self.files_ms <= self.log_ms else LOG_PROPERTY


def kept_by(properties: Mapping[str, str]) -> Kept:
    """What the properties of a table promise."""
    files, log = retention_ms(properties.get(FILES_PROPERTY)), retention_ms(properties.get(LOG_PROPERTY))
    return Kept(FILES_KEPT_MS if files is None else files, LOG_KEPT_MS if log is None else log)


def readable_until_ms(superseded_ms: int, kept: Kept) -> int:
    """The moment until which a version is surely readable whose successor was committed at `superseded_ms`."""
    return superseded_ms + kept.shortest_ms


def retention_ms(text: str | None) -> int | None:
    """The milliseconds of an interval like `interval 7 days`; None where there is none or it is not understood.

    >>> retention_ms("interval 1 week"), retention_ms("interval 1 day 12 hours")
    (604800000, 129600000)
    """
    words = (text or "").lower().removeprefix("interval").split()
    if not words or len(words) % 2:
        return None
    total = 0
    for number, unit in zip(words[::2], words[1::2], strict=True):
        factor = _UNITS.get(unit.rstrip("s"))
        if factor is None or not number.isdigit():
            return None
        total += int(number) * factor
    return total
