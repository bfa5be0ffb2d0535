"""Until when the versions that views are pinned to stay readable, as the tables' own properties promise.

A version can be read while its successor is younger than what the table keeps: data files that the successor removed
(`delta.deletedFileRetentionDuration`), and the successor's own log entry (`delta.logRetentionDuration`), without which
nobody knows what changed. The newest version of a table stays readable whatever is kept.
Whoever runs VACUUM with a shorter retention than the table's breaks that promise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from incremental.retention import file_retention_ms, log_retention_ms

FILES_PROPERTY = "delta.deletedFileRetentionDuration"
LOG_PROPERTY = "delta.logRetentionDuration"


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
    return Kept(file_retention_ms(properties), log_retention_ms(properties))


def readable_until_ms(superseded_ms: int, kept: Kept) -> int:
    """The moment until which a version is surely readable whose successor was committed at `superseded_ms`."""
    return superseded_ms + kept.shortest_ms
