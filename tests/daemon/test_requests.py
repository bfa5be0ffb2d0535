"""Who asked for which change: kept by the daemon and without it."""

from __future__ import annotations

import asyncio
import getpass
from pathlib import Path

import pytest

from daemon.caller import LOOPBACK, Caller
from daemon.failure import Failed
from daemon.live_keeper import LiveKeeper
from daemon.operations import perform_here
from daemon.unix_user import caller_here
from registry.errors import DeltakeepError
from tests.daemon.fakes import FakeKeeper, ManualClock
from tests.daemon.running import Running, running
from tests.incremental.fake_lake import Shop

ANN = Caller("ann", "operate", "token")
HERE = caller_here()


async def settled(one: Running, keeper: FakeKeeper, count: int) -> None:
    await one.until(lambda: len(keeper.made) >= count)


def test_a_change_is_kept_with_the_user_at_the_other_end_of_the_socket(tmp_path: Path) -> None:
    async def scenario() -> None:
        keeper = FakeKeeper()
        async with running(tmp_path, keeper) as one:
            await one.call("pause", view="clean", reason="until noon")
            await settled(one, keeper, 1)
            (made,) = keeper.made
            assert (made.who, made.way) == (HERE.name, "socket")
            assert (made.operation, made.parameters, made.reason) == ("pause", {"view": "clean"}, "until noon")
            assert (made.result, made.message) == ("ok", "")
            assert (await one.call("requests"))[0]["who"] == HERE.name

    asyncio.run(scenario())


def test_a_change_that_failed_is_kept_with_its_error_and_looking_is_not_kept(tmp_path: Path) -> None:
    class Refusing(FakeKeeper):
        def pause(self, view: str, reason: str) -> object:
            raise DeltakeepError("store_error", "the disk is full")

    async def scenario() -> None:
        keeper = Refusing()
        async with running(tmp_path, keeper) as one:
            await one.call("status")
            await one.call("why", view="clean")
            await one.call("log_level")
            with pytest.raises(Failed, match="disk is full"):
                await one.call("pause", view="clean")
            await settled(one, keeper, 1)
            assert [(made.result, made.message) for made in keeper.made] == [("store_error", "the disk is full")]

    asyncio.run(scenario())


def test_who_gave_no_token_is_refused_and_fills_no_table(tmp_path: Path) -> None:
    async def scenario() -> None:
        keeper = FakeKeeper()
        async with running(tmp_path, keeper) as one:
            reader = Caller("rita", "read", "token")
            for caller in (LOOPBACK, reader):
                with pytest.raises(DeltakeepError, match="needs the role"):
                    await one.service.perform("pause", {"view": "clean"}, lambda _event: None, caller)
            await settled(one, keeper, 1)
            assert [(made.who, made.result) for made in keeper.made] == [("rita", "not_allowed")]
            assert not keeper.paused_views

    asyncio.run(scenario())


def test_a_row_that_cannot_be_written_hurts_nobody(tmp_path: Path) -> None:
    class Full(FakeKeeper):
        def record_request(self, request: object) -> None:
            raise DeltakeepError("store_error", "the disk is full")

    async def scenario() -> None:
        keeper = Full()
        async with running(tmp_path, keeper) as one:
            assert (await one.call("pause", view="clean"))["view"] == "clean"
            assert (await one.call("resume", view="clean"))["view"] == "clean"
            assert one.state == "running"

    asyncio.run(scenario())


def test_what_is_too_long_is_cut(tmp_path: Path) -> None:
    keeper = FakeKeeper()
    given = {"views": ["clean"] * 5_000, "reason": "x" * 5_000}
    perform_here(keeper, "refresh", given, lambda _event: None, caller=ANN, clock=ManualClock())
    (made,) = keeper.made
    assert made.parameters == {"cut": "more than 10000 characters"}
    assert len(made.reason) == 1_000


def test_without_a_daemon_the_rows_are_in_the_table_and_an_idle_cycle_writes_none(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.dataset("orders", (1, 10))
    shop.view("clean", "SELECT k, v FROM orders")
    keeper = LiveKeeper(shop.open(), shop.clock)

    def ask(operation: str, **given: object) -> None:
        perform_here(keeper, operation, given, lambda _event: None, caller=HERE, clock=shop.clock)

    ask("cycle")
    shop.clock.step(60_000)
    ask("cycle")
    ask("pause", view="clean", reason='it\'s "late"')
    shop.clock.step(1_000)
    with pytest.raises(DeltakeepError):
        ask("pause", view="cleen")
    shop.clock.step(1_000)
    ask("resume", view="clean")
    assert [(one["operation"], one["result"]) for one in keeper.requests(10)] == [
        ("resume", "ok"),
        ("pause", "not_found"),
        ("pause", "ok"),
        ("cycle", "ok"),
    ]
    assert {one["who"] for one in keeper.requests(10)} == {getpass.getuser()}
    assert keeper.requests(10)[2]["reason"] == 'it\'s "late"'
