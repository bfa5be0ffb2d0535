"""Observation: the versions of the datasets at the start of a cycle; an edge.

The cheapest look is one request for the next log entry, and all datasets that it will do for are looked at in one call
of the engine; a thorough look checks that the version seen last is still
that very version, so that a cleaned log, a re-created or a restored table is noticed.
Notifications of any kind only make a look earlier: the log is the truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from registry.dataset import Dataset, TableRef
from registry.errors import DeltakeepError
from registry.names import DatasetName, RelationName
from registry.native import DeltaInputPin, TableIdentity, TableState
from registry.session import SessionRuntime

THOROUGH_EVERY_MS: Final = 60_000
"""The longest time between two thorough looks at a dataset that is observed at all."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A dataset as it was seen last.

    `seen_ms` is when the pin was last known to be the newest version, `checked_ms` when its identity was last checked.
    `oldest` is the oldest version that the log told of when it was opened.
    """

    pin: DeltaInputPin
    schema_text: str
    properties: Mapping[str, str]
    rows: int | None
    bytes: int
    seen_ms: int
    checked_ms: int
    oldest: int | None = None


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
        chosen = tuple(datasets)
        news = self._news(chosen, now_ms, thorough=thorough)
        found: dict[DatasetName, Observation] = {}
        for dataset in chosen:
            try:
                found[dataset.name] = self._look(dataset, news, now_ms)
            except DeltakeepError as error:
                found[dataset.name] = Unreadable(error)
            self._seen[dataset.name] = found[dataset.name]
        return found

    def forget(self, names: Iterable[DatasetName]) -> None:
        """Make the next look a thorough one."""
        for name in names:
            self._seen.pop(name, None)

    def _news(
        self, datasets: tuple[Dataset, ...], now_ms: int, *, thorough: bool
    ) -> Mapping[DatasetName, bool | DeltakeepError]:
        """Whether the datasets for which the cheapest look will do have a new version; all of them in one call."""
        looks: list[tuple[DatasetName, TableRef, int]] = []
        for dataset in () if thorough else datasets:
            last = self._seen.get(dataset.name)
            if isinstance(last, Observed) and last.pin.uri == dataset.table.uri and not _due(last, now_ms):
                looks.append((dataset.name, dataset.table, last.pin.version))
        try:
            seen = self._runtime.look([(table, version) for _, table, version in looks])
        except DeltakeepError as error:
            return {name: error for name, _, _ in looks}
        return {name: one for (name, _, _), one in zip(looks, seen, strict=True)}

    def _look(self, dataset: Dataset, news: Mapping[DatasetName, bool | DeltakeepError], now_ms: int) -> Observed:
        """What the cheapest look tells, and where there was none a look that checks the version seen last."""
        last = self._seen.get(dataset.name)
        match news.get(dataset.name):
            case DeltakeepError() as error:
                raise error
            case False if isinstance(last, Observed):
                return replace(last, seen_ms=now_ms)
            case True if isinstance(last, Observed):
                return self._newest(dataset, last, last.checked_ms, now_ms)
            case _:
                pass
        if not isinstance(last, Observed) or last.pin.uri != dataset.table.uri or not self._same(dataset, last):
            return self._open(dataset, None, now_ms)
        return self._newest(dataset, last, now_ms, now_ms)

    def _newest(self, dataset: Dataset, last: Observed, checked_ms: int, now_ms: int) -> Observed:
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
            pin=pin_of(RelationName(dataset.name), dataset.table, state),
            schema_text=state.schema_text,
            properties=state.properties,
            rows=state.rows,
            bytes=state.bytes,
            seen_ms=now_ms,
            checked_ms=now_ms,
            oldest=state.oldest_version,
        )


def _due(last: Observed, now_ms: int) -> bool:
    """Whether the identity of what was seen last has to be checked again."""
    return not 0 <= now_ms - last.checked_ms < THOROUGH_EVERY_MS


def unreadable(observations: Mapping[DatasetName, Observation]) -> dict[str, DeltakeepError]:
    """What is in the way of the datasets that could not be observed."""
    return {name: one.error for name, one in observations.items() if isinstance(one, Unreadable)}


def sizes(observations: Mapping[DatasetName, Observation]) -> dict[str, int]:
    """The bytes of the datasets that could be observed."""
    return {name: one.bytes for name, one in observations.items() if isinstance(one, Observed)}


def same_identity(left: TableIdentity, right: TableIdentity) -> bool:
    """Whether two identities may be of the same version: hashes decide where both are known."""
    if left.table_id != right.table_id:
        return False
    return left.commit_hash is None or right.commit_hash is None or left.commit_hash == right.commit_hash


def pin_of(relation: RelationName, table: TableRef, state: TableState) -> DeltaInputPin:
    """The pin that a table's state stands for."""
    return DeltaInputPin(
        relation=relation,
        uri=table.uri,
        table_id=state.table_id,
        version=state.version,
        timestamp_ms=state.timestamp_ms,
        commit_hash=state.commit_hash,
    )


# The version is not there any more: the log was cleaned or the table created anew.
_GONE: Final = frozenset({"version_not_found", "history_gone", "not_a_table"})
