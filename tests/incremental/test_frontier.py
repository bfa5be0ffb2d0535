from __future__ import annotations

from typing import Any

import pytest

from incremental.alignment import Position
from incremental.frontier import (
    Absent,
    Broken,
    Definition,
    Disputed,
    Frontier,
    Held,
    NewerCommit,
    NotOurs,
    Remembered,
    ViewTarget,
    covers,
    frontier_of,
    latest_of_both,
    read_frontier,
)
from incremental.invalidation import (
    Ahead,
    Changed,
    Finding,
    Moved,
    Newer,
    Nothing,
    Proved,
    Replaced,
    Stale,
    Still,
    Unmoved,
    Untrusted,
    Unusable,
    judge,
    judge_input,
    movement,
)
from incremental.memory import ViewMemory, due_for_commit
from registry.names import ContentKey, Fingerprint, RelationName, TableId, Version
from registry.native import ChangeSummary, DeltaInputPin
from registry.reasons import ReasonCode

MINE = Definition("view-id", ContentKey("key"), Fingerprint("f"), "digest", "functions")
ORDERS = RelationName("orders")


def pin(version: int, *, table_id: str = "t", relation: str = "orders", at_ms: int = 0) -> DeltaInputPin:
    return DeltaInputPin(
        relation=relation,
        uri="file:///x",
        table_id=table_id,
        version=version,
        timestamp_ms=at_ms,
        commit_hash=f"h{version}",
    )


def target(**changes: Any) -> ViewTarget:
    details = {
        "pins": [pin(3).model_dump()],
        "vector": {"orders": {"table_id": "t", "version": 3}},
        "definition": "digest",
        "functions": "functions",
    }
    values = {
        "exists": True,
        "version": 7,
        "table_id": "target",
        "owner_view_id": "view-id",
        "owner_view": "mine",
        "content_key": "key",
        "own_version": 7,
        "frontier": {"t": 3},
        "details": details,
        "foreign": "none",
        "timestamp_ms": 100,
    }
    return ViewTarget.model_validate({**values, **changes})


def frontier(version: int, at_ms: int = 0) -> Frontier:
    return Frontier({TableId("t"): Version(version)}, {TableId("t"): pin(version, at_ms=at_ms)}, None)


NEVER = Remembered()


def test_a_target_that_holds_gives_its_frontier() -> None:
    state = read_frontier(target(), MINE, NEVER)
    assert isinstance(state, Held)
    assert state.frontier.pins == {"t": 3}
    assert state.frontier.vector == {"orders": Position(TableId("t"), Version(3))}


@pytest.mark.parametrize(
    ("state", "remembered", "kind", "reason"),
    [
        (ViewTarget(exists=False), NEVER, Absent, "first_build"),
        (ViewTarget(exists=False), Remembered(Version(3)), Absent, "target_missing"),
        (target(owner_view_id="other"), NEVER, NotOurs, None),
        (target(owner_view_id=None, owner_view=None), NEVER, NotOurs, None),
        (target(own_version=None), NEVER, Broken, "history_gone"),
        (target(foreign="data"), NEVER, Broken, "target_modified"),
        (target(foreign="unknown"), NEVER, Broken, "history_gone"),
        (target(foreign="no_data"), NEVER, Held, None),
        (target(content_key="else", details={"definition": "old"}), NEVER, Broken, "definition_changed"),
        (target(content_key="else", details={"functions": "old"}), NEVER, Broken, "function_changed"),
        (target(content_key="else"), NEVER, Broken, "content_key_changed"),
        (target(content_key="else", details=None), NEVER, Broken, "content_key_changed"),
        (target(content_key="else"), Remembered(Version(6), ContentKey("key")), Disputed, None),
        (target(details={"format": 2}), NEVER, NewerCommit, None),
        # What else a newer version says of its commit may have any form.
        (target(details={"format": 2, "pins": "elsewhere", "rows": 7}), NEVER, NewerCommit, None),
        (target(content_key="else"), Remembered(Version(6), ContentKey("else")), Broken, "content_key_changed"),
    ],
)
def test_what_a_log_says(state: ViewTarget, remembered: Remembered, kind: type[object], reason: str | None) -> None:
    found = read_frontier(state, MINE, remembered)
    assert isinstance(found, kind)
    assert getattr(found, "reason", None) == reason


def test_without_details_only_the_versions_are_known() -> None:
    found = frontier_of(target(details=None))
    assert (found.pins, dict(found.details), found.vector) == ({"t": 3}, {}, None)


def test_details_of_another_version_are_not_believed() -> None:
    found = frontier_of(target(frontier={"t": 4}))
    assert (found.pins, dict(found.details), found.vector) == ({"t": 4}, {}, None)


def test_a_frontier_never_goes_back() -> None:
    assert frontier(5).advanced([pin(3)], None).pins == {"t": 5}
    assert frontier(5).advanced([pin(8)], None).pins == {"t": 8}


def test_winners_are_compared_pin_by_pin() -> None:
    assert covers(frontier(5), [pin(5)])
    assert not covers(frontier(5), [pin(6)])
    assert not covers(frontier(5), [pin(2, table_id="new")])
    assert [one.version for one in latest_of_both(frontier(5), [pin(3), pin(9, table_id="u")])] == [5, 9]


@pytest.mark.parametrize(
    ("now", "kind"),
    [(pin(3), Unmoved), (pin(5), Moved), (pin(2), Ahead), (pin(0, table_id="new"), Replaced)],
)
def test_how_an_input_moved(now: DeltaInputPin, kind: type[object]) -> None:
    assert isinstance(movement(ORDERS, now, frontier(3)), kind)


MOVED = Moved(ORDERS, Version(3), "h3", pin(5))


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ({"problem": {"reason": "schema_changed", "message": "m"}}, Untrusted(ORDERS, ReasonCode.SCHEMA_CHANGED, "m")),
        ({"problem": {"reason": "odd", "message": "m"}}, Untrusted(ORDERS, ReasonCode.HISTORY_GONE, "m")),
        ({"commits": 2}, Proved(ORDERS, ReasonCode.NO_DATA_CHANGE, Version(3), Version(5), 2)),
        ({"schema_changed": True}, Proved(ORDERS, ReasonCode.UNUSED_COLUMNS, Version(3), Version(5), 0)),
        (
            {"data_changed": True, "matching": {"files": 0}},
            Proved(ORDERS, ReasonCode.FILTERED_OUT, Version(3), Version(5), 0),
        ),
    ],
)
def test_what_commits_mean(summary: dict[str, Any], expected: Finding) -> None:
    assert judge_input(MOVED, ChangeSummary.model_validate(summary)) == expected


def test_a_count_that_was_not_given_proves_nothing() -> None:
    assert isinstance(judge_input(MOVED, ChangeSummary(data_changed=True)), Changed)


def test_findings_are_put_together() -> None:
    still = Still(ORDERS)
    proved = Proved(ORDERS, ReasonCode.FILTERED_OUT, Version(1), Version(2), 1)
    changed = Changed(ORDERS, Version(1), Version(2), None)
    gone = Untrusted(ORDERS, ReasonCode.HISTORY_GONE, "gone")
    newer = Newer(ORDERS, Version(4), Version(2))
    assert judge([]) == judge([still])
    assert isinstance(judge([still]), Nothing)
    assert judge([still, proved, changed]) == Stale((ORDERS,))
    assert judge([changed, gone]) == Unusable(ReasonCode.HISTORY_GONE, "gone")
    verdicts = [judge([proved, still]), judge([newer, still])]
    assert [one.reason for one in verdicts if isinstance(one, Nothing)] == ["filtered_out", "lost_race"]


def test_a_frontier_is_committed_when_it_ran_far_ahead() -> None:
    assert not due_for_commit(frontier(3), frontier(3), {}, 1)
    assert not due_for_commit(frontier(3), frontier(12), {}, 10)
    assert due_for_commit(frontier(3), frontier(13), {}, 10)
    week = {"t": {"delta.logRetentionDuration": "interval 1 week"}}
    days = 86_400_000
    assert not due_for_commit(frontier(3), frontier(4, at_ms=3 * days), week, 10)
    assert due_for_commit(frontier(3), frontier(4, at_ms=4 * days), week, 10)


def test_hints_of_the_history_only_move_forward_and_only_the_same_tables() -> None:
    def hinted(*pins: DeltaInputPin, at_ms: int = 200) -> Any:
        return ViewMemory(hint=pins, hint_ms=at_ms).frontier(target()).pins

    assert hinted(pin(9)) == {"t": 9}
    assert hinted(pin(2)) == {"t": 3}
    assert hinted(pin(9, table_id="new")) == {"t": 3}
    assert hinted(pin(9), at_ms=50) == {"t": 3}, "the target was committed after the hint"


def test_what_is_remembered_belongs_to_one_commit() -> None:
    memory = ViewMemory(effective=frontier(9), own_version=Version(7))
    assert memory.frontier(target()).pins == {"t": 9}
    assert memory.frontier(target(own_version=8, version=8)).pins == {"t": 3}


def test_a_target_is_believed_for_a_while() -> None:
    seen = ViewMemory().seen(target(), 1_000)
    assert seen.known_target(60_000) is seen.target
    assert seen.known_target(61_000) is None
    assert seen.known_target(500) is None, "the clock was set back"
    assert seen.target is not None
    assert seen.seen(seen.target, 50_000).read_ms == 1_000
