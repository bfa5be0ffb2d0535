"""Merging the small files of targets; an edge.

Each refresh adds files and rewrites only those whose rows change, so that a target that is appended to gets more and
more of them, and every reader of it slower.
Invariant: a compaction is a commit that changes no row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from incremental.frontier import ViewTarget
from registry.errors import DeltakeepError, PlanAgain
from registry.names import ViewName
from registry.session import SessionRuntime
from registry.view import View

# Files that a target may have beyond those that its size needs.
FILES_TOO_MANY: Final = 32


class Compaction:
    """Merges where it is due, and remembers how many files that left."""

    def __init__(self, runtime: SessionRuntime) -> None:
        self._runtime = runtime
        self._left: dict[ViewName, int] = {}

    def run(self, targets: Iterable[tuple[View, ViewTarget]]) -> tuple[ViewName, ...]:
        """Merge the small files of those targets, as they were seen last, that have too many; gives their views.

        A target that cannot be merged keeps no other from it; the first error is raised at the end.
        """
        merged: list[ViewName] = []
        failure: DeltakeepError | None = None
        for view, target in targets:
            if not is_due(view, target, self._left.get(view.name, 0)):
                continue
            try:
                if self._runtime.compact(view.target, view.write.target_file_size) is not None:
                    merged.append(view.name)
                self._left[view.name] = self._runtime.table_state(view.target).files
            except PlanAgain:
                continue  # somebody committed meanwhile; the next time tries again
            except DeltakeepError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return tuple(merged)


def is_due(view: View, target: ViewTarget, left: int) -> bool:
    """Whether a target of ours has many more files than its size needs, and than its last compaction `left`."""
    if not view.write.compact or target.owner_view_id != view.id or target.files is None or target.bytes is None:
        return False
    size = view.write.target_file_size
    needed = 1 if size is None else -(-target.bytes // size)
    return target.files >= max(needed, left) + FILES_TOO_MANY
