"""Which requests come in at all, and which need a token to read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from daemon.console.access import (
    FORWARDED_MAX,
    Asked,
    Refused,
    check,
    is_free,
    is_loopback,
    seen_through_proxy,
)
from daemon.console.settings import ConsoleSettings, console_settings
from registry.errors import DefinitionError

PLAIN = ConsoleSettings(Path("tokens.json"), hosts=frozenset({"keep.example"}))
PROXIED = ConsoleSettings(Path("tokens.json"), hosts=frozenset({"keep.example"}), behind_proxy=True)
TLS = ConsoleSettings(Path("tokens.json"), tls_certificate=Path("c"), tls_key=Path("k"))


def asked(peer: str = "127.0.0.1", method: str = "GET", *, to_page: bool = False, **headers: str) -> Asked:
    given = {"host": "127.0.0.1:9187", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Asked(peer, method, given, to_page)


def refusal(one: Asked, settings: ConsoleSettings = PLAIN) -> str | None:
    try:
        check(one, settings)
    except Refused as refused:
        return refused.code
    return None


@pytest.mark.parametrize(
    "host", ["localhost:9187", "LOCALHOST", "127.0.0.1", "[::1]:80", "10.1.2.3", "keep.example", "Keep.Example:443"]
)
def test_a_name_that_cannot_be_pointed_elsewhere_or_is_configured_comes_in(host: str) -> None:
    assert refusal(asked(host=host)) is None


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example", "keep.example.evil", "127.0.0.1.nip.io", "[", "[evil]:80"]
)
def test_a_name_that_somebody_pointed_here_is_refused(host: str) -> None:
    assert refusal(asked(host=host)) == "wrong_host"


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1:9187.evil.example", "127.0.0.1:9187", ""],
)
def test_a_page_of_another_origin_may_not_ask(origin: str) -> None:
    assert refusal(asked(method="POST", origin=origin)) == "other_origin"


def test_the_consoles_own_pages_may_ask_and_a_link_from_elsewhere_may_open_a_page() -> None:
    own = asked(method="POST", origin="http://127.0.0.1:9187", sec_fetch_site="same-origin")
    assert refusal(own) is None
    link = asked(to_page=True, sec_fetch_site="cross-site", sec_fetch_mode="navigate")
    assert refusal(link) is None
    assert refusal(asked(to_page=True, sec_fetch_site="cross-site", sec_fetch_mode="no-cors")) == "other_origin"
    assert refusal(asked(sec_fetch_site="cross-site", sec_fetch_mode="navigate")) == "other_origin"
    assert refusal(asked(sec_fetch_site="same-site")) == "other_origin"


def test_other_machines_come_in_over_tls_or_a_proxy_only() -> None:
    away = asked(peer="10.0.0.9", host="10.0.0.1:9187")
    assert refusal(away) == "not_encrypted"
    assert refusal(away, TLS) is None
    assert refusal(away, PROXIED) is None


def test_reading_is_free_on_this_machine_and_nowhere_else() -> None:
    assert is_free(asked(), PLAIN)
    assert is_free(asked(peer="::1"), PLAIN)
    assert is_free(asked(peer="::ffff:127.0.0.1"), PLAIN)
    assert not is_free(asked(peer="10.0.0.9"), PLAIN)
    assert not is_free(asked(peer=""), PLAIN)


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "via", "x-real-ip"])
def test_what_a_proxy_passed_on_is_not_from_this_machine(header: str) -> None:
    assert not is_free(replace(asked(), headers={"host": "localhost", header: "127.0.0.1"}), PLAIN)
    assert not is_free(asked(), PROXIED)


def test_failures_behind_a_proxy_count_for_whom_the_proxy_saw() -> None:
    one = asked(x_forwarded_for="1.1.1.1, 203.0.113.9")
    assert seen_through_proxy(one, PROXIED).address == "203.0.113.9"
    assert seen_through_proxy(one, PLAIN).address == "127.0.0.1"
    assert asked(peer="2001:db8::1").address == asked(peer="2001:db8::2").address == "2001:db8::/64"


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("203.0.113.9:4711", "203.0.113.9"),
        ("[2001:db8::1]:4711", "2001:db8::/64"),
        ("2001:db8::1", "2001:db8::/64"),
        ("unknown", "unknown"),
        ("x" * 10_000, "x" * FORWARDED_MAX),
        (" ", "127.0.0.1"),
    ],
)
def test_whom_a_proxy_saw_is_an_address_without_a_port_and_nothing_long(entry: str, address: str) -> None:
    assert seen_through_proxy(asked(x_forwarded_for=f"1.1.1.1, {entry}"), PROXIED).address == address


def test_loopback_is_what_the_standards_call_so() -> None:
    assert is_loopback("127.8.8.8")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("localhost")


@pytest.mark.parametrize(
    "settings",
    [
        {"behind_proxy": "yes"},
        {"console": 1},
        {"hosts": "keep.example"},
        {"hosts": [1]},
        {"tokens": 5},
        {"tls_certificate": "only.pem"},
        {"tls_key": "only.pem"},
    ],
)
def test_nothing_that_guards_the_console_is_guessed(settings: dict[str, object]) -> None:
    with pytest.raises(DefinitionError) as caught:
        console_settings(Path(), settings)
    assert caught.value.exit_code == 78


def test_the_console_can_be_switched_off() -> None:
    assert console_settings(Path(), {"console": False}) is None
    found = console_settings(Path("/p"), {"tls_certificate": "c.pem", "tls_key": "/k.pem", "hosts": ["Keep.example"]})
    assert found is not None
    assert (found.tls_certificate, found.tls_key) == (Path("/p/c.pem"), Path("/k.pem"))
    assert found.hosts == {"keep.example"}
