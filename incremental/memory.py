"""What a keeper remembers of each view between cycles; losing it costs looks, never rows.

Values are frozen; the shelf that holds them is filled by one cycle at a time, each view by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from incremental.frontier import Broken, Frontier, Remembered, ViewTarget, covers, frontier_of
from incremental.retention import kept_by
from incremental.strategy import Estimate, Experience
from incremental.view_plan import ViewPlan
from registry.names import ContentKey, Version, ViewName
from registry.native import DeltaInputPin

DURABLE_AFTER_COMMITS: Final = 1_000
"""After how many skipped commits of an input the effective frontier is committed."""

BELIEVED_MS: Final = 60_000
"""For how long a target is believed to be the table that it was, as long as it has no new version."""


@dataclass(frozen=True, slots=True)
class ViewMemory:
    """What is known of one view.

    `target` is the target as last read (None: read it again), at `read_ms`; `seen_version` is its newest version ever
    seen.
    `effective` is the frontier moved on by proofs since the commit `own_version`, `tried_durable` the one that was last
    offered for a commit without files.
    `hint` are the pins that the history says were proved or committed last, at `hint_ms`.
    `plan` is the last decision, `experience` what the last refreshes cost, `stopped` says why a person has
    to act, `failures` counts failures in a row.
    """

    target: ViewTarget | None = None
    read_ms: int = 0
    seen_version: Version | None = None
    own_version: Version | None = None
    effective: Frontier | None = None
    content_key: ContentKey | None = None
    plan: ViewPlan | None = None
    experience: Experience = field(default_factory=Experience)
    stopped: str | None = None
    failures: int = 0
    tried_durable: Frontier | None = None
    hint: tuple[DeltaInputPin, ...] = ()
    hint_ms: int = 0

    @property
    def remembered(self) -> Remembered:
        """What reading the target's log has to know of the past."""
        return Remembered(self.seen_version, self.content_key)

    def frontier(self, target: ViewTarget) -> Frontier:
        """The frontier to start looking from: the effective one if it belongs to the target's newest commit of ours."""
        if self.effective is not None and self.own_version == target.own_version:
            return self.effective
        return self._hinted(frontier_of(target), target)

    @property
    def known_frontier(self) -> Frontier | None:
        """The frontier as far as memory knows it; None for a content that the next refresh does not build upon."""
        plan, effective = self.plan, self.effective
        if plan is not None and isinstance(plan.state, Broken):
            renewed = effective is not None and bool(plan.pins) and covers(effective, plan.pins)
            return effective if renewed else None
        if self.target is None:
            return self.effective
        return None if self.target.own_version is None else self.frontier(self.target)

    def _hinted(self, durable: Frontier, target: ViewTarget) -> Frontier:
        """The durable frontier moved on by what the history says was proved after the target's newest commit.

        A hint counts only for the very tables of the frontier, and never takes it back; its commit hashes let the next
        look notice a table that was replaced since.
        """
        known = {pin.table_id for pin in self.hint} <= durable.pins.keys()
        if not self.hint or not known or (target.timestamp_ms or 0) > self.hint_ms:
            return durable
        return durable.advanced(self.hint, None)

    def seen(self, target: ViewTarget, now_ms: int) -> ViewMemory:
        """With the target as it is now; one that was only remembered is no younger for it."""
        if target is self.target:
            return self
        version = self.seen_version if target.version is None else Version(target.version)
        return replace(self, target=target, read_ms=now_ms, seen_version=version)

    def known_target(self, now_ms: int) -> ViewTarget | None:
        """The target as last read, if that was not too long ago to be believed without reading its log."""
        if self.target is None or not 0 <= now_ms - self.read_ms < BELIEVED_MS:
            return None
        return self.target

    def estimated(self, estimate: Estimate) -> ViewMemory:
        """With one more refresh to learn from."""
        return replace(self, experience=self.experience.after(estimate))


class Shelf:
    """The memories of all views."""

    def __init__(self) -> None:
        self._views: dict[ViewName, ViewMemory] = {}

    def get(self, view: ViewName) -> ViewMemory:
        """What is known of a view; an empty memory for one that was never looked at."""
        return self._views.get(view) or ViewMemory()

    def put(self, view: ViewName, memory: ViewMemory) -> None:
        """Remember."""
        self._views[view] = memory

    def forget(self, views: Iterable[ViewName]) -> None:
        """Forget views altogether."""
        for view in views:
            self._views.pop(view, None)


def due_for_commit(
    durable: Frontier, effective: Frontier, properties: Mapping[str, Mapping[str, str]], after_commits: int
) -> bool:
    """Whether the effective frontier should be made durable.

    `properties` are the table properties of the inputs by table id.
    It is due when an input skipped `after_commits` commits, or half of the time for which it keeps its log or files.
    """
    for table_id, version in effective.pins.items():
        old = durable.position(table_id)
        if old is None or old == version:
            continue
        if version - old >= after_commits:
            return True
        before, now = durable.details.get(table_id), effective.details.get(table_id)
        if before is None or now is None:
            return True
        if now.timestamp_ms - before.timestamp_ms >= kept_by(properties.get(table_id, {})).shortest_ms // 2:
            return True
    return False
