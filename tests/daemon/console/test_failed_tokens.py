"""Guessing tokens ends soon, and remembering who guesses has a bound."""

from __future__ import annotations

from daemon.console.failed_tokens import ADDRESSES_MAX, FAILED_MAX, WINDOW_MS, FailedTokens


def test_after_ten_wrong_tokens_an_address_waits_until_the_first_is_a_minute_old() -> None:
    failed = FailedTokens()
    for number in range(FAILED_MAX):
        assert failed.wait_ms("a", number) == 0
        failed.failed("a", number)
    assert failed.wait_ms("a", FAILED_MAX) == WINDOW_MS - FAILED_MAX
    assert failed.wait_ms("b", FAILED_MAX) == 0
    assert failed.wait_ms("a", WINDOW_MS - 1) == 1
    assert failed.wait_ms("a", WINDOW_MS) == 0


def test_addresses_that_failed_longest_ago_are_forgotten_first() -> None:
    failed = FailedTokens()
    for number in range(FAILED_MAX):
        failed.failed("first", number)
    for number in range(ADDRESSES_MAX - 1):
        failed.failed(f"a{number}", 20)
    assert failed.wait_ms("first", 20) > 0
    failed.failed("one more", 20)
    assert failed.wait_ms("first", 20) == 0
