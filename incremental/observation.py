"""Observation: the versions of the datasets at the start of a cycle; an edge.

The cheapest look is one request for the next log entry; a thorough look checks that the version seen last is still
that very version, so that a cleaned log, a re-created or a restored table is noticed.
Notifications of any kind only make a look earlier: the log is the truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from registry.dataset import Dataset
from registry.errors import DeltakeepError
from registry.names import DatasetName
from registry.native import DeltaInputPin, TableIdentity, TableState
from registry.session import SessionRuntime

THOROUGH_EVERY_MS: Final = 60_000
"""The longest time between two thorough looks at a dataset that is observed at all."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A dataset as it was seen last.

    `seen_ms` is when the pin was last known to be the newest version, `checked_ms` when its identity was last checked.
    """

    pin: DeltaInputPin
    schema_text: str
    properties: Mapping[str, str]
    rows: int | None
    bytes: int
    seen_ms: int
    checked_ms: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A dataset that could not be observed."""

    error: DeltakeepError


Observation = Observed | Unreadable


class Datasets:
    """What is known of the datasets; losing it costs one thorough look."""

    def __init__(self, runtime: SessionRuntime) -> None:
        self._runtime = runtime
        self._seen: dict[DatasetName, Observation] = {}

    def last(self, name: DatasetName) -> Observation | None:
        """What the last look saw; None before the first."""
        return self._seen.get(name)

    def observe(
        self, datasets: Iterable[Dataset], now_ms: int, *, thorough: bool = False
    ) -> dict[DatasetName, Observation]:
        """Look at each dataset; one that cannot be read is reported in its place and hurts no other."""
        found: dict[DatasetName, Observation] = {}
        for dataset in datasets:
            last = self._seen.get(dataset.name)
            try:
                found[dataset.name] = self._look(dataset, last, now_ms, thorough=thorough)
            except DeltakeepError as error:
                found[dataset.name] = Unreadable(error)
            self._seen[dataset.name] = found[dataset.name]
        return found

    def forget(self, names: Iterable[DatasetName]) -> None:
        """Make the next look a thorough one."""
        for name in names:
            self._seen.pop(name, None)

    def _look(self, dataset: Dataset, last: Observation | None, now_ms: int, *, thorough: bool) -> Observed:
        if not isinstance(last, Observed) or last.pin.uri != dataset.table.uri:
            return self._open(dataset, None, now_ms)
        checked_ms = last.checked_ms
        if thorough or now_ms - last.checked_ms >= THOROUGH_EVERY_MS or now_ms < last.checked_ms:
            if not self._same(dataset, last):
                return self._open(dataset, None, now_ms)
            checked_ms = now_ms
        elif not self._runtime.next_version_exists(dataset.table, last.pin.version):
            return replace(last, seen_ms=now_ms)
        version = self._runtime.latest_version(dataset.table, last.pin.version)
        if version == last.pin.version:
            return replace(last, seen_ms=now_ms, checked_ms=checked_ms)
        return replace(self._open(dataset, version, now_ms), checked_ms=checked_ms)

    def _same(self, dataset: Dataset, last: Observed) -> bool:
        """Whether the version seen last is still that very version."""
        try:
            identity = self._runtime.identity(dataset.table, last.pin.version)
        except DeltakeepError as error:
            if error.code in _GONE:
                return False
            raise
        return same_identity(identity, TableIdentity(table_id=last.pin.table_id, commit_hash=last.pin.commit_hash))

    def _open(self, dataset: Dataset, version: int | None, now_ms: int) -> Observed:
        state = self._runtime.table_state(dataset.table, version)
        return Observed(
            pin=pin_of(dataset, state),
            schema_text=state.schema_text,
            properties=state.properties,
            rows=state.rows,
            bytes=state.bytes,
            seen_ms=now_ms,
            checked_ms=now_ms,
        )


def unreadable(observations: Mapping[DatasetName, Observation]) -> dict[str, DeltakeepError]:
    """What is in the way of the datasets that could not be observed."""
    return {name: one.error for name, one in observations.items() if isinstance(one, Unreadable)}


def same_identity(left: TableIdentity, right: TableIdentity) -> bool:
    """Whether two identities may be of the same version: hashes decide where both are known."""
    if left.table_id != right.table_id:
        return False
    return left.commit_hash is None or right.commit_hash is None or left.commit_hash == right.commit_hash


def pin_of(dataset: Dataset, state: TableState) -> DeltaInputPin:
    """The pin that a table's state stands for."""
    return DeltaInputPin(
        relation=dataset.name,
        uri=dataset.table.uri,
        table_id=state.table_id,
        version=state.version,
        timestamp_ms=state.timestamp_ms,
        commit_hash=state.commit_hash,
    )


# The version is not there any more: the log was cleaned or the table created anew.
_GONE: Final = frozenset({"version_not_found", "history_gone", "not_a_table"})
