"""Which role may ask for what."""

from __future__ import annotations

import pytest

from daemon.caller import LOOPBACK, ROLES, Caller, NotAllowed, Role
from daemon.operations import OPERATIONS
from daemon.port import JsonValue

READ = {"status", "views", "lineage", "history", "scans", "why", "explain", "preview"}
OPERATE = {"requests", "verify", "cycle", "refresh", "replan", "pause", "resume"}
ADMIN = {"query", "reload", "log_level", "diagnostics"}


def may(role: Role, operation: str, **given: JsonValue) -> bool:
    try:
        OPERATIONS[operation].allow(Caller("ann", role, "token"), given)
    except NotAllowed:
        return False
    return True


@pytest.mark.parametrize(
    ("role", "allowed"), [("read", READ), ("operate", READ | OPERATE), ("admin", READ | OPERATE | ADMIN)]
)
def test_a_role_allows_its_operations_and_no_others(role: Role, allowed: set[str]) -> None:
    assert {name for name in OPERATIONS if may(role, name)} == allowed


def test_nothing_that_changes_something_is_for_readers() -> None:
    assert not [one.name for one in OPERATIONS.values() if one.writes and one.role == "read"]


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        ({"definitions": "somewhere"}, "admin"),
        ({"edited": {"daily": "SELECT 1"}}, "admin"),
        ({"exact": True}, "operate"),
        ({"dataset": "orders", "where": "true"}, "operate"),
        ({"dataset": "orders", "where": None, "views": ["daily"], "exact": False, "edited": {}}, "read"),
    ],
)
def test_a_preview_of_other_definitions_or_of_rows_needs_more_than_reading(
    given: dict[str, JsonValue], needed: Role
) -> None:
    assert {role for role in ROLES if may(role, "preview", **given)} == set(ROLES[ROLES.index(needed) :])


def test_who_has_no_token_is_told_how_to_get_one() -> None:
    with pytest.raises(NotAllowed, match="without a token") as caught:
        OPERATIONS["pause"].allow(LOOPBACK, {})
    assert "--role operate" in caught.value.hint
    assert caught.value.exit_code == 4
