"""Invalidation: which inputs of a view moved, and whether that can change the view's rows.

Pure: from a frontier, the pins of the cycle and what the log says about the commits between them.
Invariant: an input is called unchanged only on a proof from the log; everything else counts as changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from incremental.frontier import Frontier
from registry.names import RelationName, TableId, Version
from registry.native import ChangeSummary, DeltaInputPin
from registry.reasons import ReasonCode


@dataclass(frozen=True, slots=True)
class Unmoved:
    """The input is at the version that the content reflects."""

    relation: RelationName


@dataclass(frozen=True, slots=True)
class Moved:
    """The input has versions `(after, now.version]` that nobody has looked at yet."""

    relation: RelationName
    after: Version
    after_hash: str | None
    now: DeltaInputPin


@dataclass(frozen=True, slots=True)
class Ahead:
    """The content reflects a newer version than the cycle's pin: somebody refreshed the view from newer inputs."""

    relation: RelationName
    reflects: Version
    pinned: Version


@dataclass(frozen=True, slots=True)
class Replaced:
    """The content was never made from the table that the pin names."""

    relation: RelationName
    known: tuple[TableId, ...]


Movement = Unmoved | Moved | Ahead | Replaced


def movement(relation: RelationName, pin: DeltaInputPin, frontier: Frontier) -> Movement:
    """Compare an input's pin with the frontier."""
    version = frontier.position(TableId(pin.table_id))
    if version is None:
        return Replaced(relation, tuple(sorted(frontier.pins)))
    if version == pin.version:
        return Unmoved(relation)
    if version > pin.version:
        return Ahead(relation, version, Version(pin.version))
    known = frontier.details.get(TableId(pin.table_id))
    return Moved(relation, version, known.commit_hash if known else None, pin)


@dataclass(frozen=True, slots=True)
class Still:
    """The input has no new version."""

    relation: RelationName


@dataclass(frozen=True, slots=True)
class Proved:
    """New versions that provably change nothing in the view: `no_data_change`, `filtered_out`, `unused_columns`."""

    relation: RelationName
    reason: ReasonCode
    after: Version
    upto: Version
    commits: int


@dataclass(frozen=True, slots=True)
class Changed:
    """New versions that may change the view; `summary` is None where the change does not exist yet (previews)."""

    relation: RelationName
    after: Version
    upto: Version
    summary: ChangeSummary | None


@dataclass(frozen=True, slots=True)
class Untrusted:
    """Changes that are gone or cannot be trusted; the view has to be recomputed."""

    relation: RelationName
    reason: ReasonCode
    message: str


@dataclass(frozen=True, slots=True)
class Newer:
    """The content already reflects a newer version than this cycle's."""

    relation: RelationName
    reflects: Version
    pinned: Version


Finding = Still | Proved | Changed | Untrusted | Newer


def judge_input(moved: Moved, summary: ChangeSummary) -> Finding:
    """Decide what the commits of a range mean for the view."""
    after, upto = moved.after, Version(moved.now.version)
    if summary.problem is not None:
        return Untrusted(moved.relation, _problem_reason(summary.problem.reason), summary.problem.message)
    if not summary.data_changed:
        # A commit that only changes the schema, in columns that the view does not use: otherwise the content key
        # would have changed too.
        reason = ReasonCode.UNUSED_COLUMNS if summary.schema_changed else ReasonCode.NO_DATA_CHANGE
        return Proved(moved.relation, reason, after, upto, summary.commits)
    # Only a count that the engine really gave is a proof.
    if "matching" in summary.model_fields_set and summary.matching.files == 0:
        return Proved(moved.relation, ReasonCode.FILTERED_OUT, after, upto, summary.commits)
    return Changed(moved.relation, after, upto, summary)


def _problem_reason(code: str) -> ReasonCode:
    try:
        return ReasonCode(code)
    except ValueError:
        # Whatever it is, the changes cannot be had.
        return ReasonCode.HISTORY_GONE


@dataclass(frozen=True, slots=True)
class Nothing:
    """No row of the view can have changed; `moved` tells whether an input moved at all."""

    reason: ReasonCode
    message: str
    moved: bool


@dataclass(frozen=True, slots=True)
class Stale:
    """Rows may have changed: these inputs brought changes."""

    changed: tuple[RelationName, ...]


@dataclass(frozen=True, slots=True)
class Unusable:
    """The old content cannot be built upon."""

    reason: ReasonCode
    message: str


Verdict = Nothing | Stale | Unusable


# The strongest proof first: it is the one that is worth telling.
_TELLING = (ReasonCode.FILTERED_OUT, ReasonCode.UNUSED_COLUMNS, ReasonCode.NO_DATA_CHANGE)


def judge(findings: Sequence[Finding]) -> Verdict:
    """Put the findings of all inputs together."""
    untrusted = [one for one in findings if isinstance(one, Untrusted)]
    if untrusted:
        return Unusable(untrusted[0].reason, " ".join(one.message for one in untrusted))
    changed = tuple(one.relation for one in findings if isinstance(one, Changed))
    if changed:
        return Stale(changed)
    newer = [one for one in findings if isinstance(one, Newer)]
    if newer:
        names = ", ".join(f'"{one.relation}" at {one.reflects}' for one in newer)
        return Nothing(
            ReasonCode.LOST_RACE, f"The content was already made from newer versions than were seen: {names}.", True
        )
    proved = [one for one in findings if isinstance(one, Proved)]
    for reason in _TELLING:
        told = [one for one in proved if one.reason == reason]
        if told:
            ranges = ", ".join(f'"{one.relation}" ({one.after}, {one.upto}]' for one in proved)
            return Nothing(reason, f"{_WORDS[reason]}: {ranges}.", True)
    return Nothing(ReasonCode.NO_NEW_VERSIONS, "No input has a new version.", False)


_WORDS: Mapping[ReasonCode, str] = {
    ReasonCode.FILTERED_OUT: "No changed file can hold rows that the view's filters let through",
    ReasonCode.UNUSED_COLUMNS: "Only columns that the view does not use changed",
    ReasonCode.NO_DATA_CHANGE: "No commit changed rows",
}
