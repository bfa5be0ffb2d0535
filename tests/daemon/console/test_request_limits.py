"""One client cannot have more than its share of the console, and remembering clients has a bound."""

from __future__ import annotations

from daemon.console.request_limits import (
    BURST,
    CLIENTS_MAX,
    OPEN_MAX,
    OPEN_OF_ONE_MAX,
    PER_SECOND,
    Limited,
    RequestLimits,
)


def asked(limits: RequestLimits, address: str, now_ms: int, times: int) -> int:
    """How many of so many requests, each answered before the next, are let in."""
    let_in = 0
    for _ in range(times):
        if limits.enter(address, now_ms) is None:
            let_in += 1
            limits.leave(address)
    return let_in


def test_a_burst_is_let_in_and_then_so_many_a_second() -> None:
    limits = RequestLimits()
    assert asked(limits, "a", 0, BURST + 10) == BURST
    assert asked(limits, "a", 999, BURST) == PER_SECOND - 1
    assert asked(limits, "a", 10_999, BURST + 10) == BURST, "not more than a burst is saved up"
    assert asked(limits, "a", 11_999, BURST) == PER_SECOND
    assert asked(limits, "b", 11_999, BURST) == BURST, "each client has a burst of its own"


def test_who_waits_as_long_as_it_is_told_comes_in_and_it_is_said_once() -> None:
    limits = RequestLimits()
    asked(limits, "a", 0, BURST)
    assert limits.enter("a", 0) == Limited(1_000, first=True)
    assert limits.enter("a", 0) == Limited(1_000, first=False)
    assert limits.enter("a", 1_000) is None
    asked(limits, "a", 1_000, BURST)
    assert limits.enter("a", 1_000) == Limited(1_000, first=False)
    # After a calm while the next flood is one of its own.
    assert asked(limits, "a", 60_000, BURST) == BURST
    assert limits.enter("a", 60_000) == Limited(1_000, first=True)


def test_so_many_are_open_at_once_of_one_client_and_of_all() -> None:
    limits = RequestLimits()
    assert [limits.enter("a", 0) for _ in range(OPEN_OF_ONE_MAX)] == [None] * OPEN_OF_ONE_MAX
    assert limits.enter("a", 0) == Limited(1_000, first=True)
    limits.leave("a")
    assert limits.enter("a", 0) is None
    others = OPEN_MAX - OPEN_OF_ONE_MAX
    assert [limits.enter(f"b{number}", 0) for number in range(others)] == [None] * others
    assert limits.enter("c", 0) == Limited(1_000, first=True)
    limits.leave("b0")
    assert limits.enter("c", 0) is None


def test_clients_that_asked_longest_ago_are_forgotten_first_but_not_while_something_is_open() -> None:
    limits = RequestLimits()
    assert limits.enter("open", 0) is None
    assert asked(limits, "first", 0, BURST + 1) == BURST
    for number in range(CLIENTS_MAX - 2):
        asked(limits, f"a{number}", 0, 1)
    assert limits.enter("first", 0) is not None
    for number in range(CLIENTS_MAX - 1):
        asked(limits, f"b{number}", 0, 1)
    assert asked(limits, "first", 0, 1) == 1, "it was forgotten"
    limits.leave("open")
