"""The service with a fake keeper and the machine's clock: real sockets, real loops, no engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from daemon.client import DaemonClient, NoDaemon
from daemon.control import CannotListen
from daemon.failure import Failed
from daemon.port import KeeperFigures, KeeperPort, PlansMade
from daemon.service_options import Left
from registry.errors import DefinitionError, MustStop, Problem
from registry.spill import Spilled
from tests.daemon.fakes import FakeKeeper, shop
from tests.daemon.running import PATIENCE_S, running


def test_after_the_start_every_view_is_looked_at_once_and_it_is_ready(tmp_path: Path) -> None:
    async def scenario() -> None:
        keeper = FakeKeeper()
        async with running(tmp_path, keeper) as one:
            await one.until(lambda: len(keeper.cycles()) == 2)
            assert sorted(keeper.cycles()) == [("start", "clean", "daily"), ("start", "fleet")]
            await one.until(lambda: all(one.service.ready_gates().values()))
            assert await one.get("/-/healthy") == (200, "healthy\n")
            assert await one.get("/-/ready?verbose") == (200, "ok  project loaded\nok  every view looked at\n")
            assert one.value("view_refreshes_total", view="clean", strategy="incremental", result="ok") == 1
            status = await one.call("status")
            assert status["daemon"]["views"]["clean"]["state"] == "fresh"
        assert keeper.closed

    asyncio.run(scenario())


def test_the_control_socket_is_ours_alone_and_gone_afterwards(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:
            assert one.socket.stat().st_mode & 0o777 == 0o600
        assert not one.socket.exists()
        with pytest.raises(NoDaemon):
            await one.call("status")

    asyncio.run(scenario())


def test_a_socket_path_longer_than_the_kernel_allows_works(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 60) / ("b" * 60)
    deep.mkdir(parents=True)

    async def scenario() -> None:
        async with running(deep, FakeKeeper()) as one:
            assert len(str(one.socket)) > 108
            assert (await one.call("why", view="clean")) == {"view": "clean"}

    asyncio.run(scenario())


def test_a_second_daemon_on_the_same_socket_is_refused_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:
            with pytest.raises(CannotListen, match="answers") as caught:
                async with running(tmp_path, FakeKeeper()) as two:
                    await two.task
            assert caught.value.exit_code == 78
            assert one.state == "running"

    asyncio.run(scenario())
    path = tmp_path / "state" / "deltakeep.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    asyncio.run(scenario())


def test_a_poll_that_finds_a_new_version_refreshes_only_what_reads_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        keeper = FakeKeeper(shape=shop(poll_ms=100))
        async with running(tmp_path, keeper) as one:
            await one.until(lambda: len(keeper.cycles()) == 2)
            keeper.moved.add("planes")
            await one.until(lambda: ("poll", "fleet") in keeper.cycles())
            await one.until(lambda: one.value("freshness_latency_seconds_count") == 1)
            assert len(keeper.cycles()) == 3
            assert one.value("dataset_polls_total", dataset="planes", result="new") == 1

    asyncio.run(scenario())


def test_an_unreadable_dataset_is_counted_and_hurts_no_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        keeper = FakeKeeper(shape=shop(poll_ms=100), look_errors={"orders": "gone"})
        async with running(tmp_path, keeper) as one:
            await one.until(lambda: (one.value("dataset_polls_total", dataset="orders", result="error") or 0) > 0)
            await one.until(lambda: (one.value("dataset_polls_total", dataset="planes", result="same") or 0) > 0)

    asyncio.run(scenario())


def test_a_new_log_entry_is_noticed_by_watching(tmp_path: Path) -> None:
    folder = tmp_path / "lake" / "orders" / "_delta_log"
    folder.mkdir(parents=True)

    async def scenario() -> None:
        keeper = FakeKeeper(shape=shop(poll_ms=60_000, log_folder=str(folder)))
        async with running(tmp_path, keeper) as one:
            await one.until(lambda: len(keeper.cycles()) == 2)
            await asyncio.sleep(0.2)  # the kernel's watch has to be in place
            (folder / f"{0:020}.crc").write_text("{}")
            (folder / f"{0:020}.json").write_text("{}")
            await one.until(lambda: ("event", "clean", "daily") in keeper.cycles())
            assert len(keeper.cycles()) == 3

    asyncio.run(scenario())


def test_a_failed_view_is_tried_again_and_shown(tmp_path: Path) -> None:
    async def scenario() -> None:
        keeper = FakeKeeper(failing={"fleet"})
        async with running(tmp_path, keeper) as one:
            await one.until(lambda: one.value("view_failures_total", view="fleet", reason="refresh_failed") == 1)
            status = await one.call("status")
            assert status["daemon"]["views"]["fleet"]["state"] == "failed"
            keeper.failing.clear()
            await one.until(lambda: one.value("view_consecutive_failures", view="fleet") == 0)

    asyncio.run(scenario())


def test_a_broken_file_changes_nothing_and_is_shown_until_it_is_mended(tmp_path: Path) -> None:
    async def scenario() -> None:
        keeper = FakeKeeper()
        async with running(tmp_path, keeper) as one:
            await one.until(lambda: len(keeper.cycles()) == 2)
            await asyncio.sleep(0.3)  # the kernel's watch has to be in place
            keeper.reload_error = DefinitionError([Problem("views/clean.sql", 3, "no such column", "amount", "fix")])
            (tmp_path / "views" / "clean.sql").write_text("SELECT broken")
            await one.until(lambda: one.value("config_last_reload_successful") == 0)
            failure = (await one.call("status"))["daemon"]["definitions_failure"]
            assert failure["problems"][0]["where"] == "views/clean.sql:3"
            with pytest.raises(Failed) as caught:
                await one.call("reload")
            assert caught.value.failure.exit_code == 78
            assert len(keeper.cycles()) == 2
            keeper.reload_error, keeper.reload_changes = None, ("clean",)
            (tmp_path / "views" / "clean.sql").write_text("SELECT 1")
            await one.until(lambda: ("definition", "clean") in keeper.cycles())
            assert one.value("config_last_reload_successful") == 1
            assert (await one.call("status"))["daemon"]["definitions_failure"] is None

    asyncio.run(scenario())


def test_draining_lets_the_cycle_in_hand_finish(tmp_path: Path) -> None:
    async def scenario() -> None:
        keeper = FakeKeeper(hold=threading.Event())
        async with running(tmp_path, keeper) as one:
            await asyncio.to_thread(keeper.started.wait, PATIENCE_S)
            one.service.request_stop()
            await one.until(lambda: one.state == "draining")
            with pytest.raises(Failed) as caught:
                await one.call("refresh", views=["clean"])
            assert (caught.value.failure.code, caught.value.failure.exit_code) == ("draining", 75)
            assert not one.task.done()
            assert keeper.hold is not None
            keeper.hold.set()
            left = await asyncio.wait_for(one.task, PATIENCE_S)
        assert left == Left(0, abandoned=False, failure=None)
        assert keeper.closed
        assert not keeper.cancelled.is_set()

    asyncio.run(scenario())


def test_draining_cancels_at_its_deadline(tmp_path: Path) -> None:
    async def scenario() -> Left:
        keeper = FakeKeeper(hold=threading.Event())
        async with running(tmp_path, keeper, drain_ms=100) as one:
            await asyncio.to_thread(keeper.started.wait, PATIENCE_S)
            one.service.request_stop()
            left = await asyncio.wait_for(one.task, PATIENCE_S)
        assert keeper.cancelled.is_set()
        return left

    assert asyncio.run(scenario()).exit_code == 0


def test_a_second_stop_stops_now(tmp_path: Path) -> None:
    async def scenario() -> Left:
        keeper = FakeKeeper(hold=threading.Event())
        async with running(tmp_path, keeper) as one:
            await asyncio.to_thread(keeper.started.wait, PATIENCE_S)
            one.service.request_stop()
            one.service.request_stop()
            return await asyncio.wait_for(one.task, PATIENCE_S)

    assert asyncio.run(scenario()).exit_code == 130


def test_a_project_that_cannot_be_opened_ends_with_its_code(tmp_path: Path) -> None:
    def broken() -> KeeperPort:
        raise DefinitionError([Problem("deltakeep.toml", 1, "bad")])

    async def scenario() -> Left:
        async with running(tmp_path, FakeKeeper(), open_keeper=broken) as one:
            return await asyncio.wait_for(one.task, PATIENCE_S)

    left = asyncio.run(scenario())
    assert left.exit_code == 78
    assert left.failure is not None
    assert left.failure.troubles[0].where == "deltakeep.toml:1"


def test_a_request_waits_while_the_project_opens_and_is_asked_to_come_back_when_that_takes_long(tmp_path: Path) -> None:
    go = threading.Event()

    def slow() -> KeeperPort:
        go.wait(PATIENCE_S)
        return FakeKeeper()

    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper(), open_keeper=slow, opening_patience_ms=100) as one:
            await one.until(lambda: one.socket.exists() and one.service.public_address is not None)
            with pytest.raises(Failed) as caught:
                await one.call("status")
            assert (caught.value.failure.code, caught.value.failure.exit_code) == ("starting", 75)
            assert (await one.get("/-/ready"))[0] == 503
            go.set()
            await one.until(lambda: one.state == "running")
        go.clear()
        async with running(tmp_path, FakeKeeper(), open_keeper=slow) as one:
            await one.until(lambda: one.socket.exists() and one.service.public_address is not None)
            patient = asyncio.create_task(one.call("why", view="clean"))
            await one.until(lambda: bool(asyncio.all_tasks()) and one.state == "starting")
            go.set()
            assert await patient == {"view": "clean"}

    asyncio.run(scenario())


def test_status_answers_during_a_long_cycle_and_says_what_runs(tmp_path: Path) -> None:
    async def scenario() -> None:
        keeper = FakeKeeper()
        async with running(tmp_path, keeper) as one:
            await one.until(lambda: len(keeper.cycles()) == 2)
            keeper.hold = threading.Event()
            keeper.started.clear()
            refreshing = asyncio.create_task(one.call("refresh", views=["fleet"]))
            await asyncio.to_thread(keeper.started.wait, PATIENCE_S)
            status = await one.call("status")
            assert status["daemon"]["in_hand"]["what"] == "refresh"
            assert status["daemon"]["views"]["fleet"]["state"] == "running"
            keeper.hold.set()
            assert (await refreshing)["views"] == [{"view": "fleet", "outcome": "committed"}]

    asyncio.run(scenario())


def test_errors_cross_the_socket_whole_and_events_come_before_the_result(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:
            with pytest.raises(Failed) as caught:
                await one.call("why", view="nosuch")
            failure = caught.value.failure
            assert (failure.code, failure.exit_code) == ("not_found", 5)
            assert failure.hint == "known: clean, daily, fleet"
            with pytest.raises(Failed, match='no operation "nothing"'):
                await one.call("nothing")
            with pytest.raises(Failed, match='no parameter "vieww"'):
                await one.call("why", vieww="clean")
            seen: list[Mapping[str, Any]] = []
            client = DaemonClient(one.socket)
            await asyncio.to_thread(client.call, "refresh", {"views": ["fleet"]}, seen.append)
            assert [event["kind"] for event in seen] == ["cycle_started", "refresh_planned", "refresh_finished"]
            assert one.value("control_requests_total", operation="refresh", result="ok") == 1
            assert one.value("control_requests_total", operation="unknown", result="failed") == 1

    asyncio.run(scenario())


def test_a_paused_view_is_not_observed_and_shown_as_paused(tmp_path: Path) -> None:
    async def scenario() -> None:
        keeper = FakeKeeper()
        async with running(tmp_path, keeper) as one:
            await one.until(lambda: len(keeper.cycles()) == 2)
            await one.call("pause", view="fleet", reason="maintenance")
            assert (await one.call("status"))["daemon"]["views"]["fleet"]["state"] == "paused"
            before = len(keeper.cycles())
            await one.call("resume", view="fleet")
            await one.until(lambda: len(keeper.cycles()) > before)

    asyncio.run(scenario())


def test_a_scrape_shows_the_figures_of_the_keeper_and_does_not_wait_for_a_long_cycle(tmp_path: Path) -> None:
    async def story() -> None:
        hold, keeper = threading.Event(), FakeKeeper()
        keeper.told = KeeperFigures(pending={"clean": 2}, plans=(PlansMade(3, 4, 0, 5),), memory_limit_bytes=1_000)
        keeper.reserved, keeper.on_disk = 400, Spilled(files=3, bytes=8_192)
        async with running(tmp_path, keeper) as one:
            await one.until(lambda: all(one.service.ready_gates().values()))
            _, text = await one.get("/metrics")
            assert 'deltakeep_view_pending_versions{view="clean"} 2.0' in text
            assert "deltakeep_memory_pool_limit_bytes 1000.0" in text
            assert "deltakeep_memory_pool_reserved_bytes 400.0" in text
            assert "deltakeep_spill_files 3.0" in text
            assert "deltakeep_spill_bytes 8192.0" in text
            keeper.started.clear()
            keeper.hold = hold
            refresh = asyncio.create_task(one.call("refresh", views=["clean"]))
            await one.until(keeper.started.is_set)
            keeper.told = KeeperFigures(pending={"clean": 7})
            _, text = await one.get("/metrics")
            assert 'deltakeep_view_pending_versions{view="clean"} 2.0' in text
            assert "deltakeep_workers_busy 1.0" in text
            assert one.value("work_started_timestamp_seconds") != 0
            hold.set()
            await refresh
            await one.until(lambda: one.value("view_pending_versions", view="clean") == 7)

    asyncio.run(story())


def test_the_tcp_side_stops_nothing_and_changes_nothing_by_looking(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:
            assert (await one.get("/-/quit"))[0] == 404
            assert (await one.get("/v1/reload"))[0] == 405
            status, text = await one.get("/metrics")
            assert status == 200
            assert 'deltakeep_lifecycle_state{state="running"} 1.0' in text

    asyncio.run(scenario())


def test_systemd_is_told_ready_reloading_and_stopping(tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(PATIENCE_S)
        environment = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "3000000"}

        async def scenario() -> None:
            async with running(tmp_path, FakeKeeper(), environment=environment) as one:
                await one.call("reload")

        asyncio.run(scenario())
        messages = []
        manager.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                messages.append(manager.recv(4096).decode())
    first_words = [message.split("\n")[0] for message in messages]
    for expected in ("READY=1", "RELOADING=1", "STOPPING=1", "WATCHDOG=1"):
        assert expected in first_words
    assert first_words.index("RELOADING=1") > first_words.index("READY=1")


def test_plain_http_clients_get_one_value_and_a_status_that_fits(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, FakeKeeper()) as one:

            def raw(request: str) -> tuple[str, Any]:
                with socket.socket(socket.AF_UNIX) as stream:
                    stream.connect(str(one.socket))
                    stream.sendall(request.encode())
                    answer = b""
                    while chunk := stream.recv(65536):
                        answer += chunk
                head, _, body = answer.partition(b"\r\n\r\n")
                return head.decode().split("\r\n")[0], json.loads(body)

            def post(path: str, body: str) -> tuple[str, Any]:
                return raw(
                    f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}"
                )

            line, value = await asyncio.to_thread(post, "/v1/why", '{"view": "clean"}')
            assert (line, value) == ("HTTP/1.1 200 OK", {"view": "clean"})
            line, value = await asyncio.to_thread(post, "/v1/why", "[]")
            assert line.startswith("HTTP/1.1 400")
            line, value = await asyncio.to_thread(post, "/v1/why", '{"view": "nosuch"}')
            assert (line.split()[1], value["error"]["code"]) == ("404", "not_found")

    asyncio.run(scenario())


def test_a_panic_of_the_engine_fails_one_call_and_ends_nothing(tmp_path: Path) -> None:
    class PanicException(BaseException):
        """Named and based as the one of PyO3."""

    class Panicking(FakeKeeper):
        def explain(self, view: str) -> Any:
            raise PanicException("called `Option::unwrap()` on a `None` value")

        def run_cycle(self, *arguments: Any, **options: Any) -> Any:
            if not self.calls:
                self.calls.append(("panic",))
                raise PanicException("odd")
            return super().run_cycle(*arguments, **options)

    async def scenario() -> None:
        keeper = Panicking()
        async with running(tmp_path, keeper) as one:
            with pytest.raises(Failed, match="the native engine gave up") as caught:
                await one.call("explain", view="clean")
            assert caught.value.failure.code == "engine_panic"
            # The first cycle panicked; its views are tried again.
            await one.until(lambda: len(keeper.cycles()) >= 2)
            assert one.service.is_healthy()

    asyncio.run(scenario())


def test_a_failing_call_outside_the_plan_is_an_internal_error_and_the_service_goes_on(tmp_path: Path) -> None:
    class Odd(FakeKeeper):
        def explain(self, view: str) -> Any:
            raise MustStop("engine_error", f"cannot plan {view}") if view == "clean" else ZeroDivisionError("odd")

    async def scenario() -> None:
        async with running(tmp_path, Odd()) as one:
            with pytest.raises(Failed, match="cannot plan clean"):
                await one.call("explain", view="clean")
            with pytest.raises(Failed, match="ZeroDivisionError"):
                await one.call("explain", view="daily")
            assert one.state == "running"

    asyncio.run(scenario())
